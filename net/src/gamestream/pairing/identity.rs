//! A host's identity as GameStream's clients demand it: a self-signed certificate with an RSA-2048
//! key.

use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::pkey::{PKey, PKeyRef, Private};
use boring::rsa::Rsa;
use boring::sign::Signer;
use boring::x509::X509Ref;
use zeroize::Zeroizing;

use super::CryptoError;
use crate::identity::{Identity, IdentityError, self_signed};

/// Clients accept nothing else.
const RSA_BITS: u32 = 2048;

/// Certificate and key.
#[derive(Clone)]
pub struct PairingIdentity {
    identity: Identity,
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
        let certificate = self_signed("punktfunk GameStream host", &key)?;
        Self::new(Identity::new(certificate, key)?)
    }

    /// From PEM texts of certificate and PKCS#8 key; both may be one text.
    ///
    /// # Errors
    /// [`IdentityError`] if a text is damaged or they do not belong together.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        Self::new(Identity::from_pem(certificate, key)?)
    }

    fn new(identity: Identity) -> Result<Self, IdentityError> {
        Ok(Self {
            pem: identity.certificate_pem()?,
            signature: identity.certificate().signature().as_slice().to_vec(),
            identity,
        })
    }

    /// For a TLS server.
    #[must_use]
    pub fn certificate(&self) -> &X509Ref {
        self.identity.certificate()
    }

    /// For a TLS server.
    #[must_use]
    pub fn key(&self) -> &PKeyRef<Private> {
        self.identity.key()
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
        self.identity.key_pem()
    }

    /// The signature in the certificate.
    pub(super) fn certificate_signature(&self) -> &[u8] {
        &self.signature
    }

    /// Signs with RSA, PKCS #1 v1.5, SHA-256.
    pub(super) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let sign = || -> Result<Vec<u8>, ErrorStack> {
            let mut signer = Signer::new(MessageDigest::sha256(), self.identity.key())?;
            signer.update(bytes)?;
            signer.sign_to_vec()
        };
        Ok(sign()?)
    }
}
