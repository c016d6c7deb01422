//! Cursors: what a desktop's pointer looks like and where it is, apart from the pictures.
//!
//! A source belongs to the capture that it was opened with
//! ([`crate::capture::CaptureBackend::open_with_cursor`]), which then leaves the pointer out of its
//! pictures. Where none can be had, the compositor paints the pointer as ever.
//!
//! | source | belongs to |
//! |---|---|
//! | [`synthetic`] | a display that draws its pictures itself |
//! | the shape from the compositor, the place reckoned from what is injected | [`crate::capture::nest`],
//! where the display was made for it ([`crate::display::DisplayRequest::cursor_apart`]) |
//! | `ext-image-copy-capture-v1`'s cursor session | [`crate::capture::ext_image_copy`], where the
//! compositor has the pointer on a plane of its own |
//! | metadata of PipeWire's buffers | [`crate::capture::pipewire`], for displays of KWin and Mutter that
//! were made so ([`crate::display::DisplayRequest::cursor_apart`]) |
//!
//! `wlr-screencopy` tells nothing of the pointer, so it has no source.

mod news;
pub(crate) mod reckoned;
pub(crate) mod shape;
pub mod synthetic;

use std::os::fd::BorrowedFd;

use net::cursor::Cursor;

use crate::capture::CaptureError;

/// A source of cursors, driven by a thread of its own.
///
/// Positions are pixels of the captured output, shapes within the limits of
/// [`net::cursor::ShapeLayout`]; what is larger a source cuts or scales. It keeps nothing but the
/// newest, whatever the desktop does.
pub trait CursorSource: Send {
    /// Name for logs.
    fn name(&self) -> &'static str;

    /// All that is known now, if any of it has changed since this was asked last; the first time
    /// always. Never waits.
    ///
    /// # Errors
    /// See [`CaptureError`]; the source is of no more use then.
    fn poll(&mut self) -> Result<Option<Cursor>, CaptureError>;

    /// Becomes readable when [`CursorSource::poll`] may have news; asking takes that back.
    fn descriptor(&self) -> BorrowedFd<'_>;
}
