//! The functions that C sees, and all that is unsafe about them.
//!
//! A pointer that C gives is NULL or valid for what the function's text says; NULL where that is
//! not allowed is an invalid argument. A structure is read and written bytewise:
//!
//! * What a program gives is as long as its `struct_size` says. A shorter one, of an older
//!   program, is read as if zeros followed. Of a longer one, of a newer program, the rest must be
//!   zeros, or else it asks for what this library does not know.
//! * What the library gives is cut to `struct_size`, which stays as it is; what a newer program
//!   has beyond that is left alone.
#![allow(unsafe_code)]

mod clipboard;
mod cursor;
mod identity;
mod input;
mod microphone;
mod pair;
mod session;

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::time::Duration;

use crate::status::{Failure, PunktfunkStatus};
use crate::types::{
    PUNKTFUNK_ABI_VERSION, PUNKTFUNK_FOREVER, PunktfunkAudio, PunktfunkConnectOptions,
    PunktfunkConnectResult, PunktfunkCursor, PunktfunkMode, PunktfunkPadArrival,
    PunktfunkPadBattery, PunktfunkPadMotion, PunktfunkPadOutput, PunktfunkPadState,
    PunktfunkPadTouch, PunktfunkPairOptions, PunktfunkPairResult, PunktfunkPen,
    PunktfunkSessionInfo, PunktfunkStatistics, PunktfunkText, PunktfunkTouch, PunktfunkUnit,
};

thread_local! {
    /// The text of this thread's last failure.
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// Decides about a host that nobody vouches for: not zero to trust it. Called on the thread that
/// connects, while no connection is open, so it may take as long as a person does. It must not
/// unwind.
pub type PunktfunkAsk =
    Option<unsafe extern "C" fn(user: *mut c_void, fingerprint: *const u8) -> i32>;

/// PUNKTFUNK_ABI_VERSION of the library, which may be later than that of the header.
#[unsafe(no_mangle)]
pub extern "C" fn punktfunk_abi_version() -> u32 {
    PUNKTFUNK_ABI_VERSION
}

/// What went wrong in this thread's last call that failed: UTF-8, one line, never NULL. It is valid
/// until the next call that fails on the same thread.
#[unsafe(no_mangle)]
pub extern "C" fn punktfunk_last_error() -> *const c_char {
    // While the thread ends there is no text any more.
    LAST_ERROR
        .try_with(|last| last.borrow().as_ptr())
        .unwrap_or(c"".as_ptr())
}

/// Runs a call: a failure's text is kept, a panic is caught.
fn guard(call: impl FnOnce() -> Result<(), Failure>) -> PunktfunkStatus {
    let outcome = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        // What a panic carries may panic in turn when it is dropped.
        std::mem::forget(panic);
        let text = "a bug in punktfunk: it panicked; please report it with what its log says";
        Err(Failure::new(PunktfunkStatus::Panic, text))
    });
    match outcome {
        Ok(()) => PunktfunkStatus::Ok,
        Err(failure) => {
            let text = CString::new(failure.text.replace('\0', " ")).unwrap_or_default();
            let _ = LAST_ERROR.try_with(|last| *last.borrow_mut() = text);
            failure.status
        }
    }
}

/// A structure of the ABI.
///
/// # Safety
/// It is `repr(C)`, begins with a u32 `struct_size`, and any bytes are a valid value of it.
unsafe trait Structure: Copy {
    /// Bytes that it had when it came into being: no program knows a shorter one.
    const FIRST_BYTES: usize;
    /// Its name for errors.
    const NAME: &str;
}

macro_rules! structures {
    ($($name:ident $first_bytes:expr,)*) => {$(
        // SAFETY: numbers, arrays of them, and pointers that may be null, in `repr(C)`, the first
        // of them `struct_size`.
        unsafe impl Structure for $name {
            const FIRST_BYTES: usize = $first_bytes;
            const NAME: &str = stringify!($name);
        }
        // It may grow, at its end.
        const _: () = assert!(std::mem::offset_of!($name, struct_size) == 0);
        const _: () = assert!(size_of::<$name>() >= $first_bytes);
    )*};
}

structures! {
    PunktfunkConnectOptions 80 + 5 * size_of::<usize>(),
    PunktfunkConnectResult 40,
    PunktfunkPairOptions 8 + 4 * size_of::<usize>(),
    PunktfunkPairResult 112,
    PunktfunkMode 28,
    PunktfunkSessionInfo 208,
    PunktfunkUnit 40 + 2 * size_of::<usize>(),
    PunktfunkAudio 8 + 2 * size_of::<usize>(),
    PunktfunkText 8 + 2 * size_of::<usize>(),
    PunktfunkPadOutput 12,
    PunktfunkCursor 48 + size_of::<usize>(),
    PunktfunkStatistics 136,
    PunktfunkTouch 32,
    PunktfunkPen 32,
    PunktfunkPadArrival 12,
    PunktfunkPadState 24,
    PunktfunkPadTouch 24,
    PunktfunkPadMotion 20,
    PunktfunkPadBattery 8,
}

/// Reads a structure that a program gives.
///
/// # Safety
/// `given` is null or points to as many readable bytes as the u32 there says, and to 4 at least.
unsafe fn read<T: Structure>(given: *const T) -> Result<T, Failure> {
    // SAFETY: the caller's promise.
    let given_bytes = unsafe { struct_size(given)? };
    let known_bytes = given_bytes.min(size_of::<T>());
    // SAFETY: within `given_bytes`, which the caller promises to be readable.
    let beyond = unsafe {
        let rest = given.cast::<u8>().add(known_bytes);
        std::slice::from_raw_parts(rest, given_bytes - known_bytes)
    };
    if beyond.iter().any(|byte| *byte != 0) {
        let text = format!("{} asks for what this library does not know", T::NAME);
        return Err(Failure::new(PunktfunkStatus::StructSize, text));
    }
    let mut known = MaybeUninit::<T>::zeroed();
    // SAFETY: both have `known_bytes` bytes, and do not overlap; any bytes are a valid `T`.
    unsafe {
        ptr::copy_nonoverlapping(given.cast::<u8>(), known.as_mut_ptr().cast(), known_bytes);
        Ok(known.assume_init())
    }
}

/// Writes a structure that the library gives.
///
/// # Safety
/// `place` is null or points to as many writable bytes as the u32 there says, and to 4 at least.
unsafe fn write<T: Structure>(place: *mut T, value: &T) -> Result<(), Failure> {
    const SIZE_BYTES: usize = size_of::<u32>();
    // SAFETY: the caller's promise.
    let given_bytes = unsafe { struct_size(place)? };
    let bytes = given_bytes.min(size_of::<T>()) - SIZE_BYTES;
    // SAFETY: both have `bytes` bytes behind `struct_size`; `value` is the library's.
    unsafe {
        let from = ptr::from_ref(value).cast::<u8>().add(SIZE_BYTES);
        ptr::copy_nonoverlapping(from, place.cast::<u8>().add(SIZE_BYTES), bytes);
    }
    Ok(())
}

/// # Safety
/// `given` is null or points to a u32.
unsafe fn struct_size<T: Structure>(given: *const T) -> Result<usize, Failure> {
    /// Most that a later version could have; beyond it is no structure.
    const BYTES_MAX: usize = 4096;
    if given.is_null() {
        return Err(Failure::argument(format!("{} is NULL", T::NAME)));
    }
    // SAFETY: the caller's promise; it need not be aligned.
    let bytes = unsafe { given.cast::<u32>().read_unaligned() } as usize;
    if !(T::FIRST_BYTES..=BYTES_MAX).contains(&bytes) {
        let text = format!("struct_size {bytes} is not a size of {}", T::NAME);
        return Err(Failure::new(PunktfunkStatus::StructSize, text));
    }
    Ok(bytes)
}

/// What a pointer leads to.
///
/// # Safety
/// `pointer` is null or valid for as long as what is returned is used.
unsafe fn reference<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Failure> {
    // SAFETY: the caller's promise.
    let reference = unsafe { pointer.as_ref() };
    reference.ok_or_else(|| Failure::argument(format!("{name} is NULL")))
}

/// A text that ends with a zero byte.
///
/// # Safety
/// `text` is null or ends with a zero byte, and stays as it is while what is returned is used.
unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::argument(format!("{name} is NULL")));
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    let text = text.to_str();
    text.map_err(|_| Failure::argument(format!("{name} is not UTF-8")))
}

/// Bytes of a length.
///
/// # Safety
/// `bytes` is null or has `length` readable bytes, which stay as they are while used.
unsafe fn bytes<'a>(bytes: *const u8, length: usize, name: &str) -> Result<&'a [u8], Failure> {
    if length == 0 {
        return Ok(&[]);
    }
    if bytes.is_null() || isize::try_from(length).is_err() {
        return Err(Failure::argument(format!(
            "{name} is NULL, or its length absurd"
        )));
    }
    // SAFETY: the caller's promise, and the length is one that a slice may have.
    Ok(unsafe { std::slice::from_raw_parts(bytes, length) })
}

/// Puts a pointer where C waits for it.
///
/// # Safety
/// `place` is null or has room for a pointer.
unsafe fn give<T>(place: *mut *mut T, value: Box<T>) -> Result<(), Failure> {
    if place.is_null() {
        return Err(Failure::argument("the place for the result is NULL"));
    }
    // SAFETY: the caller's promise.
    unsafe { place.write(Box::into_raw(value)) };
    Ok(())
}

/// A timeout in the ABI's terms: `None` for as long as it takes.
fn limit(timeout_ms: u32) -> Option<Duration> {
    (timeout_ms != PUNKTFUNK_FOREVER).then(|| Duration::from_millis(timeout_ms.into()))
}

#[cfg(test)]
mod tests;
