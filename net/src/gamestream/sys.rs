//! AES-128-CBC as BoringSSL has it, with a key that is set once and no allocation.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

use boring_sys as sys;

/// Bytes of a block.
pub(super) const BLOCK_BYTES: usize = 16;

/// A key for encryption.
pub(super) struct CbcKey {
    key: sys::AES_KEY,
}

impl CbcKey {
    pub(super) fn new(key: &[u8; 16]) -> Self {
        let mut schedule = MaybeUninit::<sys::AES_KEY>::zeroed();
        // SAFETY: `key` holds the 128 bits that are announced; AES_KEY is a plain C structure, for
        // which zeros are valid, and the call fills it in.
        let key = unsafe {
            let failed = sys::AES_set_encrypt_key(key.as_ptr(), 128, schedule.as_mut_ptr());
            assert_eq!(failed, 0, "128 bits are a size of AES");
            schedule.assume_init()
        };
        Self { key }
    }

    /// Encrypts `data` in place, which is a whole number of blocks.
    pub(super) fn encrypt(&self, mut iv: [u8; BLOCK_BYTES], data: &mut [u8]) {
        assert_eq!(data.len() % BLOCK_BYTES, 0, "the caller pads");
        let at = data.as_mut_ptr();
        // SAFETY: both pointers are to `data`, which has `data.len()` bytes, a multiple of the
        // block, and aes.h allows input and output to be the same; the key was set for encryption;
        // `iv` is 16 bytes, which the call changes.
        unsafe {
            sys::AES_cbc_encrypt(
                at,
                at,
                data.len(),
                &raw const self.key,
                iv.as_mut_ptr(),
                sys::AES_ENCRYPT,
            );
        }
    }
}

impl Drop for CbcKey {
    fn drop(&mut self) {
        // SAFETY: the structure is ours, of that size, and nobody uses it after this.
        unsafe {
            sys::OPENSSL_cleanse((&raw mut self.key).cast(), size_of::<sys::AES_KEY>());
        }
    }
}
