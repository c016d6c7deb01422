//! A host's identity as GameStream's clients demand it: a self-signed certificate with an RSA-2048
//! key.

use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::pkey::{PKey, PKeyRef, Private};
use boring::rsa::Rsa;
use boring::sign::Signer;
use boring::x509::{X509, X509Ref};
use zeroize::Zeroizing;

use super::CryptoError;
use crate::identity::{IdentityError, self_signed};

/// Clients accept nothing else.
const RSA_BITS: u32 = 2048;

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
        Self::new(self_signed("punktfunk GameStream host", &key)?, key)
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
