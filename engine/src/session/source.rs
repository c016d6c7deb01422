//! Where a session's pictures come from, and its cursor if the client draws that itself.

use platform::capture::synthetic::{self, Pattern};
use platform::capture::{Capture, CaptureBackend, CaptureError};
use platform::cursor::CursorSource;
use platform::display::{OutputAddress, VirtualDisplay};
use platform::select;

use super::SessionError;

/// An open capture.
pub(super) struct Opened {
    pub(super) capture: Box<dyn Capture>,
    /// Name of its backend.
    pub(super) name: &'static str,
    /// Tells of the pointer, which the pictures then lack.
    pub(super) cursor: Option<Box<dyn CursorSource>>,
}

/// Captures a display: by the best backend for its output, or, where it has none because it is
/// synthetic, by drawing. `apart`: with a cursor of its own, if that can be had.
pub(super) fn open(display: &dyn VirtualDisplay, apart: bool) -> Result<Opened, SessionError> {
    let Some(address) = display.address() else {
        return Ok(draw(display, apart)?);
    };
    let candidates = platform::capture::candidates();
    let selection = select::choose_capture(candidates, address, None);
    match &selection.chosen {
        Some(backend) => Ok(open_with(&**backend, address, apart)?),
        None => Err(SessionError::NoCapture {
            reasons: selection.refusals(),
        }),
    }
}

/// As [`open`], by the backend that captured it before, which is not asked again whether it can; if
/// that fails, by any.
pub(super) fn reopen(
    display: &dyn VirtualDisplay,
    name: &'static str,
    apart: bool,
) -> Result<Opened, SessionError> {
    let candidates = platform::capture::candidates();
    let known = candidates.iter().find(|it| it.name() == name);
    if let (Some(address), Some(backend)) = (display.address(), known)
        && let Ok(opened) = open_with(&**backend, address, apart)
    {
        return Ok(opened);
    }
    open(display, apart)
}

fn open_with(
    backend: &dyn CaptureBackend,
    address: &OutputAddress,
    apart: bool,
) -> Result<Opened, CaptureError> {
    let name = backend.name();
    if apart {
        match backend.open_with_cursor(address) {
            Ok(Some((capture, cursor))) => {
                log::info!("{name}: the cursor by {}", cursor.name());
                let cursor = Some(cursor);
                return Ok(Opened {
                    capture,
                    name,
                    cursor,
                });
            }
            Ok(None) => {}
            // What is wrong with the cursor alone costs no session.
            Err(error) => log::warn!("{name}: no cursor: {error}"),
        }
    }
    Ok(Opened {
        capture: backend.open(address)?,
        name,
        cursor: None,
    })
}

fn draw(display: &dyn VirtualDisplay, apart: bool) -> Result<Opened, CaptureError> {
    let (mode, name) = (display.mode(), "synthetic");
    let (capture, cursor) = match display.pointer() {
        Some(pointer) if apart => {
            let capture = synthetic::open(mode, Pattern::Moving)?;
            (capture, Some(pointer.source()?))
        }
        Some(pointer) => (synthetic::open_with_pointer(mode, pointer.clone())?, None),
        None => (synthetic::open(mode, Pattern::Moving)?, None),
    };
    Ok(Opened {
        capture,
        name,
        cursor,
    })
}
