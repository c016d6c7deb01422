//! A host's identity as GameStream's clients demand it: a self-signed certificate with an RSA-2048
//! key.

use boring::asn1::Asn1Time;
use boring::bn::{BigNum, MsbOption};
use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::pkey::{PKey, PKeyRef, Private};
use boring::rsa::Rsa;
use boring::sign::Signer;
use boring::x509::{X509, X509NameBuilder, X509Ref};
use zeroize::Zeroizing;

use super::CryptoError;
use crate::identity::IdentityError;

/// Clients accept nothing else.
const RSA_BITS: u32 = 2048;
/// Days that a certificate claims to be valid; clients pin it and do not look.
const VALID_DAYS: u32 = 365 * 20;

/// Certificate and key.
#[derive(Clone)]
pub struct PairingIdentity {
    certificate: X509,
    key: PKey<Private>,
    pem: Vec<u8>,
    signature: Vec<u8>,
}

impl PairingIdentity {
    /// Makes a new one; takes some tenths of a second.
    ///
    /// # Errors
    /// [`IdentityError::Library`].
    pub fn generate() -> Result<Self, IdentityError> {
        let key = PKey::from_rsa(Rsa::generate(RSA_BITS)?)?;
        let mut name = X509NameBuilder::new()?;
        name.append_entry_by_text("CN", "punktfunk GameStream host")?;
        let name = name.build();
        let mut serial = BigNum::new()?;
        serial.rand(127, MsbOption::MAYBE_ZERO, false)?;

        let mut builder = X509::builder()?;
        builder.set_version(2)?;
        builder.set_serial_number(&*serial.to_asn1_integer()?)?;
        builder.set_subject_name(&name)?;
        builder.set_issuer_name(&name)?;
        builder.set_pubkey(&key)?;
        builder.set_not_before(&*Asn1Time::from_unix(0)?)?;
        builder.set_not_after(&*Asn1Time::days_from_now(VALID_DAYS)?)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Self::new(builder.build(), key)
    }

    /// From PEM texts of certificate and PKCS#8 key; both may be one text.
    ///
    /// # Errors
    /// [`IdentityError`] if a text is damaged or they do not belong together.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        Self::new(
            X509::from_pem(certificate)?,
            PKey::private_key_from_pem(key)?,
        )
    }

    fn new(certificate: X509, key: PKey<Private>) -> Result<Self, IdentityError> {
        if !certificate.public_key()?.public_eq(&key) {
            return Err(IdentityError::Mismatch);
        }
        Ok(Self {
            pem: certificate.to_pem()?,
            signature: certificate.signature().as_slice().to_vec(),
            certificate,
            key,
        })
    }

    /// For a TLS server.
    #[must_use]
    pub fn certificate(&self) -> &X509Ref {
        &self.certificate
    }

    /// For a TLS server.
    #[must_use]
    pub fn key(&self) -> &PKeyRef<Private> {
        &self.key
    }

    /// The certificate as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &[u8] {
        &self.pem
    }

    /// The private key as PEM (PKCS#8). For a file of mode 0600 and nothing else.
    ///
    /// # Errors
    /// [`IdentityError::Library`].
    pub fn key_pem(&self) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
        Ok(Zeroizing::new(self.key.private_key_to_pem_pkcs8()?))
    }

    /// The signature in the certificate.
    pub(super) fn certificate_signature(&self) -> &[u8] {
        &self.signature
    }

    /// Signs with RSA, PKCS #1 v1.5, SHA-256.
    pub(super) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let sign = || -> Result<Vec<u8>, ErrorStack> {
            let mut signer = Signer::new(MessageDigest::sha256(), &self.key)?;
            signer.update(bytes)?;
            signer.sign_to_vec()
        };
        Ok(sign()?)
    }
}
