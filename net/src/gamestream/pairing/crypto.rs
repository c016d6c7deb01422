//! What GameStream pairing computes: AES-128-ECB under a key of salt and PIN, SHA-256, RSA with
//! PKCS #1 v1.5, and the signatures inside certificates.

use boring::error::ErrorStack;
use boring::hash::MessageDigest;
use boring::pkey::{Id, PKey, Public};
use boring::sha::Sha256;
use boring::sign::Verifier;
use boring::symm::{Cipher, Crypter, Mode};
use boring::x509::X509;
use zeroize::Zeroizing;

use crate::identity::Fingerprint;

/// RSA keys of clients, bits: stock clients make 2048.
const RSA_BITS_MIN: u32 = 2048;
const RSA_BITS_MAX: u32 = 4096;

/// Why something cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// Not a certificate in PEM.
    #[error("it is not a certificate in PEM")]
    NotACertificate,
    /// Not the kind of key that GameStream signs with.
    #[error("it must hold an RSA key of 2048 to 4096 bits")]
    Key,
    /// The library failed.
    #[error("the cryptographic library failed")]
    Library,
}

impl From<ErrorStack> for CryptoError {
    fn from(error: ErrorStack) -> Self {
        log::error!("GameStream pairing: {error}");
        Self::Library
    }
}

/// A client's certificate, checked to be one that can be used.
#[derive(Clone)]
pub struct ClientCertificate {
    pem: Vec<u8>,
    key: PKey<Public>,
    signature: Vec<u8>,
    fingerprint: Fingerprint,
}

impl ClientCertificate {
    /// Reads PEM text.
    ///
    /// # Errors
    /// [`CryptoError::NotACertificate`] and [`CryptoError::Key`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, CryptoError> {
        let certificate = X509::from_pem(pem).map_err(|_| CryptoError::NotACertificate)?;
        let key = certificate.public_key().map_err(|_| CryptoError::Key)?;
        if key.id() != Id::RSA || !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&key.bits()) {
            return Err(CryptoError::Key);
        }
        Ok(Self {
            pem: certificate.to_pem()?,
            key,
            signature: certificate.signature().as_slice().to_vec(),
            fingerprint: Fingerprint::of(&certificate)?,
        })
    }

    /// The certificate alone, as PEM: what else the client's text held is left out.
    #[must_use]
    pub fn pem(&self) -> &[u8] {
        &self.pem
    }

    /// What tells it from all others.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The signature in it: both sides mix it into their hashes.
    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// True if `signature` is one of this certificate's key over `bytes`.
    pub(super) fn has_signed(&self, bytes: &[u8], signature: &[u8]) -> bool {
        let verify = || -> Result<bool, ErrorStack> {
            let mut verifier = Verifier::new(MessageDigest::sha256(), &self.key)?;
            verifier.update(bytes)?;
            verifier.verify(signature)
        };
        // An error here says that the bytes are no signature at all.
        verify().unwrap_or(false)
    }
}

impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for ClientCertificate {}

impl std::fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientCertificate({})", self.fingerprint)
    }
}

/// The first half of SHA-256 over salt and PIN.
pub(super) fn key(salt: &[u8; 16], pin: &[u8; 4]) -> Zeroizing<[u8; 16]> {
    let digest = Zeroizing::new(hash(&[salt, pin]));
    let mut key = Zeroizing::new([0; 16]);
    key.copy_from_slice(&digest[..16]);
    key
}

/// SHA-256 over the parts, one after the other.
pub(super) fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finish()
}

/// AES-128-ECB without padding; N is a multiple of 16.
pub(super) fn encrypt<const N: usize>(
    key: &[u8; 16],
    plain: &[u8; N],
) -> Result<[u8; N], CryptoError> {
    ecb(Mode::Encrypt, key, plain)
}

/// The way back.
pub(super) fn decrypt<const N: usize>(
    key: &[u8; 16],
    sealed: &[u8; N],
) -> Result<[u8; N], CryptoError> {
    ecb(Mode::Decrypt, key, sealed)
}

fn ecb<const N: usize>(
    mode: Mode,
    key: &[u8; 16],
    input: &[u8; N],
) -> Result<[u8; N], CryptoError> {
    const { assert!(N.is_multiple_of(16)) };
    let mut crypter = Crypter::new(Cipher::aes_128_ecb(), mode, key, None)?;
    crypter.pad(false);
    // The library wants room for one block more, whatever it writes.
    let mut output = Zeroizing::new(vec![0; N + 16]);
    let mut written = crypter.update(input, &mut output)?;
    written += crypter.finalize(&mut output[written..])?;
    output[..written]
        .try_into()
        .map_err(|_| CryptoError::Library)
}
