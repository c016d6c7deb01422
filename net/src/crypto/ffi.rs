//! The few BoringSSL functions that `boring` does not wrap: AEAD contexts that work on separate
//! input, output and tag buffers, and HKDF-Expand.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::ptr;

use boring_sys as sys;

use super::keys::Aead;
use crate::limits::TAG_BYTES;

/// An AEAD with its key set. Boxed, because the C structure must not move while it is in use.
pub(super) struct AeadContext {
    context: Box<sys::EVP_AEAD_CTX>,
    aead: Aead,
}

// SAFETY: an EVP_AEAD_CTX belongs to no thread; BoringSSL's aead.h says that sealing and opening
// with one context is safe from several threads, and re-keying takes `&mut self` here.
unsafe impl Send for AeadContext {}

impl AeadContext {
    /// A context for `key`, which has [`Aead::key_bytes`] bytes.
    pub(super) fn new(aead: Aead, key: &[u8]) -> Self {
        let mut context: Box<MaybeUninit<sys::EVP_AEAD_CTX>> = Box::new(MaybeUninit::zeroed());
        // SAFETY: `EVP_AEAD_CTX_zero` sets the structure to its valid empty state; it is a plain C
        // structure for which all zero bytes are valid too.
        let context = unsafe {
            sys::EVP_AEAD_CTX_zero(context.as_mut_ptr());
            context.assume_init()
        };
        let mut new = Self { context, aead };
        new.rekey(key);
        new
    }

    /// Replaces the key, without allocating.
    pub(super) fn rekey(&mut self, key: &[u8]) {
        assert_eq!(
            key.len(),
            self.aead.key_bytes(),
            "the caller derives keys of this length"
        );
        // SAFETY: the context is initialised (empty or keyed), so cleaning it up is allowed and
        // leaves it empty; `key` is readable for its length; the ENGINE argument may be null.
        let ok = unsafe {
            sys::EVP_AEAD_CTX_cleanup(&raw mut *self.context);
            sys::EVP_AEAD_CTX_init(
                &raw mut *self.context,
                algorithm(self.aead),
                key.as_ptr(),
                key.len(),
                TAG_BYTES,
                ptr::null_mut(),
            )
        };
        assert_eq!(
            ok, 1,
            "both AEADs take a key of this length and a tag of 16 bytes"
        );
    }

    /// Seals `plaintext` into `out`, of the same length, and writes the tag.
    pub(super) fn seal(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
        tag: &mut [u8; TAG_BYTES],
    ) {
        assert_eq!(
            plaintext.len(),
            out.len(),
            "the caller cuts `out` to the plaintext"
        );
        let mut tag_bytes = 0;
        // SAFETY: every pointer comes from a slice and goes with that slice's length; `out` is as
        // long as the input and, being a `&mut`, does not overlap it; the tag has room for the 16
        // bytes that the context was set up with.
        let ok = unsafe {
            sys::EVP_AEAD_CTX_seal_scatter(
                &raw const *self.context,
                out.as_mut_ptr(),
                tag.as_mut_ptr(),
                &raw mut tag_bytes,
                TAG_BYTES,
                nonce.as_ptr(),
                nonce.len(),
                plaintext.as_ptr(),
                plaintext.len(),
                ptr::null(),
                0,
                aad.as_ptr(),
                aad.len(),
            )
        };
        assert!(
            ok == 1 && tag_bytes == TAG_BYTES,
            "sealing fails on wrong lengths only"
        );
    }

    /// Opens `data` in place; false if the tag does not fit, and `data` is then worthless.
    pub(super) fn open(
        &self,
        nonce: &[u8; 12],
        aad: &[u8],
        data: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> bool {
        // SAFETY: every pointer comes from a slice and goes with that slice's length; input and
        // output are the same buffer, which aead.h allows ("out" equal to "in").
        let ok = unsafe {
            let at = data.as_mut_ptr();
            sys::EVP_AEAD_CTX_open_gather(
                &raw const *self.context,
                at,
                nonce.as_ptr(),
                nonce.len(),
                at,
                data.len(),
                tag.as_ptr(),
                tag.len(),
                aad.as_ptr(),
                aad.len(),
            )
        };
        if ok != 1 {
            // SAFETY: it takes no argument. A forged packet must not leave an entry behind that
            // the TLS code would read as its own error.
            unsafe { sys::ERR_clear_error() };
        }
        ok == 1
    }
}

impl Drop for AeadContext {
    fn drop(&mut self) {
        // SAFETY: the context is initialised, and nobody uses it after this. BoringSSL erases
        // only what it allocated itself, so the inline state is erased here.
        unsafe {
            sys::EVP_AEAD_CTX_cleanup(&raw mut *self.context);
            sys::OPENSSL_cleanse(
                (&raw mut *self.context).cast(),
                size_of::<sys::EVP_AEAD_CTX>(),
            );
        }
    }
}

fn algorithm(aead: Aead) -> *const sys::EVP_AEAD {
    // SAFETY: both return a pointer to a static table.
    unsafe {
        match aead {
            Aead::Aes128Gcm => sys::EVP_aead_aes_128_gcm(),
            Aead::ChaCha20Poly1305 => sys::EVP_aead_chacha20_poly1305(),
        }
    }
}

/// HKDF-Expand (RFC 5869) with SHA-256 into all of `out`, at most 255 × 32 bytes.
pub(super) fn hkdf_expand_sha256(secret: &[u8; 32], info: &[u8], out: &mut [u8]) {
    // SAFETY: every pointer comes from a slice and goes with that slice's length; EVP_sha256
    // returns a pointer to a static table.
    let ok = unsafe {
        sys::HKDF_expand(
            out.as_mut_ptr(),
            out.len(),
            sys::EVP_sha256(),
            secret.as_ptr(),
            secret.len(),
            info.as_ptr(),
            info.len(),
        )
    };
    assert_eq!(ok, 1, "expansion fails on outputs above 8160 bytes only");
}
