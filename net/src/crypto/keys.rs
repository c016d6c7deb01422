//! Where media keys come from, and how they follow each other.

use zeroize::{Zeroize, Zeroizing};

use super::ffi::{AeadContext, hkdf_expand_sha256};

/// Label for the TLS exporter.
pub const EXPORTER_LABEL: &str = "EXPORTER-punktfunk-1-media";
/// Bytes to export for each direction: secret, then salt.
pub const EXPORTER_BYTES: usize = SECRET_BYTES + SALT_BYTES;
const SECRET_BYTES: usize = 32;
const SALT_BYTES: usize = 12;
const INFO_KEY: &[u8] = b"punktfunk/1 media key";
const INFO_NEXT: &[u8] = b"punktfunk/1 media next";

/// Context for the TLS exporter: the session id, then one byte for the direction.
#[must_use]
pub fn exporter_context(session: &[u8; 16], direction: Direction) -> [u8; 17] {
    let mut context = [0; 17];
    context[..16].copy_from_slice(session);
    context[16] = direction as u8;
    context
}

/// An authenticated cipher that a session can agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Aead {
    /// AES-128-GCM (NIST SP 800-38D): the fastest where the CPU has AES.
    Aes128Gcm = 1,
    /// ChaCha20-Poly1305 (RFC 8439), for CPUs without AES.
    ChaCha20Poly1305 = 2,
}

impl Aead {
    /// Length of a key, bytes.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::ChaCha20Poly1305 => 32,
        }
    }

    /// From its number on the wire.
    #[must_use]
    pub const fn from_wire(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Aes128Gcm),
            2 => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }
}

/// Who seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// Video.
    HostToClient = 0,
    /// Feedback.
    ClientToHost = 1,
}

/// The secrets of one direction of one session: those of its first key phase. Erased on drop,
/// never printed.
pub struct MediaKeys {
    aead: Aead,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
    salt: Zeroizing<[u8; SALT_BYTES]>,
}

impl MediaKeys {
    /// From the exporter's output, which is erased.
    #[must_use]
    pub fn from_exporter(aead: Aead, exported: &mut [u8; EXPORTER_BYTES]) -> Self {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        let mut salt = Zeroizing::new([0; SALT_BYTES]);
        secret.copy_from_slice(&exported[..SECRET_BYTES]);
        salt.copy_from_slice(&exported[SECRET_BYTES..]);
        exported.zeroize();
        Self { aead, secret, salt }
    }

    /// Which cipher they are for.
    #[must_use]
    pub const fn aead(&self) -> Aead {
        self.aead
    }

    pub(super) fn nonce(&self, sequence: u64) -> [u8; SALT_BYTES] {
        let mut nonce = *self.salt;
        for (byte, mask) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
            *byte ^= mask;
        }
        nonce
    }

    /// The context of the phase that the secret stands at; the secret moves to the next phase.
    pub(super) fn next_context(&mut self) -> AeadContext {
        let mut key = Zeroizing::new([0; 32]);
        let key = self.next_key(&mut key);
        AeadContext::new(self.aead, key)
    }

    /// As [`Self::next_context`], into a context that is not needed any more.
    pub(super) fn rekey(&mut self, context: &mut AeadContext) {
        let mut key = Zeroizing::new([0; 32]);
        let key = self.next_key(&mut key);
        context.rekey(key);
    }

    fn next_key<'k>(&mut self, key: &'k mut [u8; 32]) -> &'k [u8] {
        let key = &mut key[..self.aead.key_bytes()];
        hkdf_expand_sha256(&self.secret, INFO_KEY, key);
        let mut next = Zeroizing::new([0; SECRET_BYTES]);
        hkdf_expand_sha256(&self.secret, INFO_NEXT, &mut *next);
        self.secret = next;
        key
    }
}
