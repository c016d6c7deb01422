//! AES-128-GCM under nonces of the caller's choice, as GameStream has them: key and nonces are
//! not ours to derive there.

use super::ffi::AeadContext;
use super::keys::Aead;
use crate::limits::TAG_BYTES;

/// A key, ready for use. The caller never seals twice under one nonce.
pub(crate) struct Gcm {
    context: AeadContext,
}

impl Gcm {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        Self {
            context: AeadContext::new(Aead::Aes128Gcm, key),
        }
    }

    /// Seals `plaintext` into `out`, of the same length, with its tag beside it.
    pub(crate) fn seal(
        &self,
        nonce: &[u8; 12],
        plaintext: &[u8],
        out: &mut [u8],
        tag: &mut [u8; TAG_BYTES],
    ) {
        self.context.seal(nonce, &[], plaintext, out, tag);
    }

    /// Opens `data` in place; false if the tag does not fit, and `data` is then worthless.
    pub(crate) fn open(&self, nonce: &[u8; 12], data: &mut [u8], tag: &[u8; TAG_BYTES]) -> bool {
        self.context.open(nonce, &[], data, tag)
    }
}
