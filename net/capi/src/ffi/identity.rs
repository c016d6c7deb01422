//! Identities.

use net::identity::Identity;

use super::{bytes, give, guard, reference};
use crate::status::{Failure, PunktfunkStatus};
use crate::types::PunktfunkIdentity;

/// Makes a new identity. Keep its certificate and its key, the latter in a file that nobody else
/// can read: hosts know the client by them.
///
/// # Safety
/// `identity` has room for a pointer, to be freed with punktfunk_identity_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_identity_generate(
    identity: *mut *mut PunktfunkIdentity,
) -> PunktfunkStatus {
    guard(|| {
        let new = Identity::generate()?;
        // SAFETY: the caller's promise.
        unsafe { give(identity, Box::new(PunktfunkIdentity(new))) }
    })
}

/// Loads an identity from the PEM texts of a certificate and a PKCS#8 key.
///
/// # Safety
/// The texts have as many bytes as their lengths say; `identity` has room for a pointer, to be
/// freed with punktfunk_identity_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_identity_load(
    certificate_pem: *const u8,
    certificate_bytes: usize,
    key_pem: *const u8,
    key_bytes: usize,
    identity: *mut *mut PunktfunkIdentity,
) -> PunktfunkStatus {
    guard(|| {
        // SAFETY: the caller's promise.
        let (certificate, key) = unsafe {
            (
                bytes(certificate_pem, certificate_bytes, "certificate_pem")?,
                bytes(key_pem, key_bytes, "key_pem")?,
            )
        };
        let loaded = Identity::from_pem(certificate, key)?;
        // SAFETY: the caller's promise.
        unsafe { give(identity, Box::new(PunktfunkIdentity(loaded))) }
    })
}

/// Copies the certificate as PEM to buffer, without a zero byte at its end. *length says how much
/// room there is and then how many bytes it is; buffer may be NULL to ask for that, which answers
/// PUNKTFUNK_STATUS_BUFFER_TOO_SMALL.
///
/// # Safety
/// `identity` was not freed; `buffer` is NULL or has `*length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_identity_certificate(
    identity: *const PunktfunkIdentity,
    buffer: *mut u8,
    length: *mut usize,
) -> PunktfunkStatus {
    guard(|| {
        // SAFETY: the caller's promise.
        let identity = unsafe { reference(identity, "identity")? };
        let pem = identity.0.certificate_pem()?;
        // SAFETY: the caller's promise.
        unsafe { copy(&pem, buffer, length) }
    })
}

/// Copies the private key as PEM (PKCS#8) to buffer, as punktfunk_identity_certificate does. For a
/// file that nobody else can read, and nothing else.
///
/// # Safety
/// `identity` was not freed; `buffer` is NULL or has `*length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_identity_key(
    identity: *const PunktfunkIdentity,
    buffer: *mut u8,
    length: *mut usize,
) -> PunktfunkStatus {
    guard(|| {
        // SAFETY: the caller's promise.
        let identity = unsafe { reference(identity, "identity")? };
        let pem = identity.0.key_pem()?;
        // SAFETY: the caller's promise.
        unsafe { copy(&pem, buffer, length) }
    })
}

/// Copies the fingerprint, by which hosts know this client: PUNKTFUNK_FINGERPRINT_BYTES.
///
/// # Safety
/// `identity` was not freed; `fingerprint` has so many bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_identity_fingerprint(
    identity: *const PunktfunkIdentity,
    fingerprint: *mut u8,
) -> PunktfunkStatus {
    guard(|| {
        // SAFETY: the caller's promise.
        let identity = unsafe { reference(identity, "identity")? };
        if fingerprint.is_null() {
            return Err(Failure::argument("fingerprint is NULL"));
        }
        let digest = identity.0.fingerprint();
        let digest = digest.as_bytes();
        // SAFETY: the caller's promise.
        unsafe { fingerprint.copy_from_nonoverlapping(digest.as_ptr(), digest.len()) };
        Ok(())
    })
}

/// Frees an identity; NULL is allowed. Sessions go on without it.
///
/// # Safety
/// `identity` came from this library and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_identity_free(identity: *mut PunktfunkIdentity) {
    guard(|| {
        if !identity.is_null() {
            // SAFETY: the caller's promise: it was boxed by `give`, and is freed once.
            drop(unsafe { Box::from_raw(identity) });
        }
        Ok(())
    });
}

/// # Safety
/// `buffer` is null or has `*length` bytes; `length` is null or valid.
unsafe fn copy(from: &[u8], buffer: *mut u8, length: *mut usize) -> Result<(), Failure> {
    // SAFETY: the caller's promise.
    let Some(length) = (unsafe { length.as_mut() }) else {
        return Err(Failure::argument("length is NULL"));
    };
    let room = std::mem::replace(length, from.len());
    if buffer.is_null() || room < from.len() {
        let text = format!("{} bytes are needed", from.len());
        return Err(Failure::new(PunktfunkStatus::BufferTooSmall, text));
    }
    // SAFETY: the caller's promise, and there is room.
    unsafe { buffer.copy_from_nonoverlapping(from.as_ptr(), from.len()) };
    Ok(())
}
