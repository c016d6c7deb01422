//! What a person does. None of these waits: PUNKTFUNK_STATUS_QUEUE_FULL says that the event was not
//! taken because more than 256 wait, which takes a machine that stands still.

use net::input::InputEvent;

use super::session::{PunktfunkSession, call};
use super::{bytes, read};
use crate::events;
use crate::status::{Failure, PunktfunkStatus};
use crate::types::{
    PunktfunkPadArrival, PunktfunkPadBattery, PunktfunkPadMotion, PunktfunkPadState,
    PunktfunkPadTouch, PunktfunkPen, PunktfunkTouch,
};

/// A key went down or up: a Windows virtual key, and PUNKTFUNK_KEY_* flags.
///
/// # Safety
/// `session` was not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_send_key(
    session: *const PunktfunkSession,
    virtual_key: u8,
    flags: u8,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe { send(session, || events::key(virtual_key, flags)) }
}

/// Text that needs no keys: length bytes of UTF-8 without zeros. *taken says how many bytes of it
/// were taken, all of them unless the call fails; it may be NULL.
///
/// # Safety
/// `session` was not closed; `text` has `length` bytes; `taken` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_send_text(
    session: *const PunktfunkSession,
    text: *const u8,
    length: usize,
    taken: *mut usize,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe {
        call(session, |session| {
            let mut sent = 0;
            let outcome = bytes(text, length, "text").and_then(|bytes| {
                let text = str::from_utf8(bytes)
                    .map_err(|_| Failure::argument("the text is not UTF-8"))?;
                while sent < text.len() {
                    let (event, piece_bytes) = events::text(&text[sent..])?;
                    session.send(event)?;
                    sent += piece_bytes;
                }
                Ok(())
            });
            if let Some(taken) = taken.as_mut() {
                *taken = sent;
            }
            outcome
        })
    }
}

/// The pointer moved to the right and down, by so many pixels of the client.
///
/// # Safety
/// `session` was not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_send_pointer_motion(
    session: *const PunktfunkSession,
    dx: i16,
    dy: i16,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe { send(session, || Ok(InputEvent::PointerMotion { dx, dy })) }
}

/// The pointer was put there: shares of the picture, 0 to 1, from the left and from the top.
///
/// # Safety
/// `session` was not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_send_pointer_position(
    session: *const PunktfunkSession,
    x: f32,
    y: f32,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe { send(session, || events::position(x, y)) }
}

/// A button of the pointer, PUNKTFUNK_BUTTON_*, went down (pressed is not 0) or up.
///
/// # Safety
/// `session` was not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_send_pointer_button(
    session: *const PunktfunkSession,
    button: u8,
    pressed: u8,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe { send(session, || events::button(button, pressed != 0)) }
}

/// A wheel turned, PUNKTFUNK_SCROLL_*: 120 is a notch, up and right are positive.
///
/// # Safety
/// `session` was not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_send_scroll(
    session: *const PunktfunkSession,
    axis: u8,
    amount: i16,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe { send(session, || events::scroll(axis, amount)) }
}

/// A finger touched, moved or left.
///
/// # Safety
/// `session` was not closed; `touch` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_send_touch(
    session: *const PunktfunkSession,
    touch: *const PunktfunkTouch,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe { send(session, || events::touch(&read(touch)?)) }
}

/// A pen came, moved or left.
///
/// # Safety
/// `session` was not closed; `pen` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_send_pen(
    session: *const PunktfunkSession,
    pen: *const PunktfunkPen,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe { send(session, || events::pen(&read(pen)?)) }
}

/// A controller was plugged in. One that is missing in a later state's present was unplugged.
///
/// # Safety
/// `session` was not closed; `arrival` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_send_pad_arrival(
    session: *const PunktfunkSession,
    arrival: *const PunktfunkPadArrival,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe { send(session, || events::pad_arrival(&read(arrival)?)) }
}

/// A controller's buttons, triggers and sticks as they are now.
///
/// # Safety
/// `session` was not closed; `state` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_send_pad_state(
    session: *const PunktfunkSession,
    state: *const PunktfunkPadState,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe { send(session, || events::pad_state(&read(state)?)) }
}

/// A finger on a controller's touchpad.
///
/// # Safety
/// `session` was not closed; `touch` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_send_pad_touch(
    session: *const PunktfunkSession,
    touch: *const PunktfunkPadTouch,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe { send(session, || events::pad_touch(&read(touch)?)) }
}

/// A controller was moved.
///
/// # Safety
/// `session` was not closed; `motion` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_send_pad_motion(
    session: *const PunktfunkSession,
    motion: *const PunktfunkPadMotion,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe { send(session, || events::pad_motion(&read(motion)?)) }
}

/// How a controller's battery is.
///
/// # Safety
/// `session` was not closed; `battery` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_send_pad_battery(
    session: *const PunktfunkSession,
    battery: *const PunktfunkPadBattery,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe { send(session, || events::pad_battery(&read(battery)?)) }
}

/// # Safety
/// `session` is null or was not closed before the call began.
unsafe fn send(
    session: *const PunktfunkSession,
    event: impl FnOnce() -> Result<InputEvent, Failure>,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe { call(session, |session| session.send(event()?)) }
}
