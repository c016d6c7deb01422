//! Who a peer is: a self-signed ECDSA P-256 certificate, known by the SHA-256 of its DER bytes.
//!
//! There is no authority: a client pins its host's [`Fingerprint`], a host will pin its paired
//! clients'. Names and validity dates in the certificate mean nothing and are not read.

use std::fmt;
use std::str::FromStr;

use boring::asn1::Asn1Time;
use boring::bn::{BigNum, MsbOption};
use boring::ec::{EcGroup, EcKey};
use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::nid::Nid;
use boring::pkey::{PKey, Private};
use boring::x509::{X509, X509NameBuilder, X509Ref};
use zeroize::Zeroizing;

/// Days that a certificate claims to be valid: nobody checks, but TLS libraries parse it.
const VALID_DAYS: u32 = 365 * 30;

/// SHA-256 of a certificate's DER encoding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

/// A text is not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits, colons allowed between pairs")]
pub struct FingerprintError;

/// A peer's certificate and its private key.
#[derive(Clone)]
pub struct Identity {
    certificate: X509,
    key: PKey<Private>,
    fingerprint: Fingerprint,
}

/// An identity could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The cryptographic library failed.
    #[error("the cryptographic library failed: {0}")]
    Library(#[from] ErrorStack),
    /// Certificate and key do not belong together.
    #[error("the certificate does not belong to the private key; delete both to make new ones")]
    Mismatch,
}

impl Fingerprint {
    /// Of a certificate.
    ///
    /// # Errors
    /// The library's, if the certificate cannot be encoded.
    pub fn of(certificate: &X509Ref) -> Result<Self, ErrorStack> {
        let digest = certificate.digest(MessageDigest::sha256())?;
        let bytes: &[u8] = &digest;
        Ok(Self(bytes.try_into().expect("SHA-256 has 32 bytes")))
    }

    /// The 32 bytes of the digest.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for Fingerprint {
    /// From the bytes of the digest.
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let mut bytes = [0; 32];
        let mut digits = text.trim().bytes().filter(|&b| b != b':').map(|b| {
            let digit = char::from(b).to_digit(16).ok_or(FingerprintError)?;
            Ok::<_, FingerprintError>(digit as u8)
        });
        for byte in &mut bytes {
            let high = digits.next().ok_or(FingerprintError)??;
            let low = digits.next().ok_or(FingerprintError)??;
            *byte = high << 4 | low;
        }
        if digits.next().is_some() {
            Err(FingerprintError)
        } else {
            Ok(Self(bytes))
        }
    }
}

impl Identity {
    /// Makes a new one.
    ///
    /// # Errors
    /// [`IdentityError::Library`].
    pub fn generate() -> Result<Self, IdentityError> {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
        let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
        Self::new(self_signed("punktfunk", &key)?, key)
    }

    /// From the PEM texts of certificate and PKCS#8 key.
    ///
    /// # Errors
    /// [`IdentityError`] if a text is damaged or they do not belong together.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        Self::new(
            X509::from_pem(certificate)?,
            PKey::private_key_from_pem(key)?,
        )
    }

    /// From a certificate and its key, which must belong together.
    pub(crate) fn new(certificate: X509, key: PKey<Private>) -> Result<Self, IdentityError> {
        if !certificate.public_key()?.public_eq(&key) {
            return Err(IdentityError::Mismatch);
        }
        let fingerprint = Fingerprint::of(&certificate)?;
        Ok(Self {
            certificate,
            key,
            fingerprint,
        })
    }

    /// The certificate as PEM.
    ///
    /// # Errors
    /// [`IdentityError::Library`].
    pub fn certificate_pem(&self) -> Result<Vec<u8>, IdentityError> {
        Ok(self.certificate.to_pem()?)
    }

    /// The private key as PEM (PKCS#8). For a file of mode 0600 and nothing else.
    ///
    /// # Errors
    /// [`IdentityError::Library`].
    pub fn key_pem(&self) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
        Ok(Zeroizing::new(self.key.private_key_to_pem_pkcs8()?))
    }

    /// What peers know it by.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    pub(crate) const fn certificate(&self) -> &X509 {
        &self.certificate
    }

    pub(crate) const fn key(&self) -> &PKey<Private> {
        &self.key
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// A certificate for `key`, signed by itself, with a serial number of its own.
pub(crate) fn self_signed(common_name: &str, key: &PKey<Private>) -> Result<X509, IdentityError> {
    let mut name = X509NameBuilder::new()?;
    name.append_entry_by_text("CN", common_name)?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;

    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(&name)?;
    builder.set_pubkey(key)?;
    builder.set_not_before(&*Asn1Time::from_unix(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(VALID_DAYS)?)?;
    builder.sign(key, MessageDigest::sha256())?;
    Ok(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_survives_its_pem_texts() {
        let identity = Identity::generate().expect("generate");
        let certificate = identity.certificate_pem().expect("pem");
        let key = identity.key_pem().expect("pem");
        let again = Identity::from_pem(&certificate, &key).expect("read back");
        assert_eq!(again.fingerprint(), identity.fingerprint());
    }

    #[test]
    fn a_foreign_key_is_refused() {
        let one = Identity::generate().expect("generate");
        let other = Identity::generate().expect("generate");
        let certificate = one.certificate_pem().expect("pem");
        let key = other.key_pem().expect("pem");
        assert!(matches!(
            Identity::from_pem(&certificate, &key),
            Err(IdentityError::Mismatch)
        ));
    }

    #[test]
    fn a_fingerprint_reads_its_own_text_with_and_without_colons() {
        let fingerprint = Identity::generate().expect("generate").fingerprint();
        let text = fingerprint.to_string();
        assert_eq!(text.parse(), Ok(fingerprint));
        let pairs: Vec<&str> = (0..32).map(|i| &text[2 * i..2 * i + 2]).collect();
        assert_eq!(pairs.join(":").to_uppercase().parse(), Ok(fingerprint));
        assert_eq!(text[1..].parse::<Fingerprint>(), Err(FingerprintError));
        assert_eq!(
            format!("{text}0").parse::<Fingerprint>(),
            Err(FingerprintError)
        );
    }
}
