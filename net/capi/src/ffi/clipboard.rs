//! The clipboard: text that is copied on one side is pasted on the other, if the connect options
//! asked for it and the host has agreed.

use super::session::{PunktfunkSession, call};
use super::{bytes, limit, write};
use crate::status::{Failure, PunktfunkStatus};
use crate::types::PunktfunkText;

/// This side's clipboard has that text now: length bytes of UTF-8, at most
/// PUNKTFUNK_CLIPBOARD_BYTES_MAX. Never waits; the newest text wins, and one that the host has
/// already is not sent. PUNKTFUNK_STATUS_NO_CLIPBOARD if none is shared.
///
/// # Safety
/// `session` was not closed; `text` has `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_set_clipboard(
    session: *const PunktfunkSession,
    text: *const u8,
    length: usize,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe {
        call(session, |session| {
            let text = str::from_utf8(bytes(text, length, "text")?)
                .map_err(|_| Failure::argument("the text is not UTF-8"))?;
            session.set_clipboard(text)
        })
    }
}

/// Waits for the next text that is copied on the host's desktop, at most timeout_ms. Of those that
/// nobody takes the newest waits. text.data is valid until the next call of this function for the
/// session, and until punktfunk_close; no zero ends it. PUNKTFUNK_STATUS_NO_CLIPBOARD if none is
/// shared.
///
/// # Safety
/// `session` was not closed; `text` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_next_clipboard(
    session: *const PunktfunkSession,
    timeout_ms: u32,
    text: *mut PunktfunkText,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe {
        call(session, |session| {
            // Before a text is taken that could not be handed out.
            super::struct_size(text)?;
            let told = session.next_clipboard(limit(timeout_ms), |taken| PunktfunkText {
                struct_size: 0,
                reserved: 0,
                data: taken.as_ptr(),
                length: taken.len(),
            })?;
            write(text, &told)
        })
    }
}
