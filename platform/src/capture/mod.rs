//! Capture: pictures of an output, when they change.

mod cursor_session;
pub mod ext_image_copy;
pub(crate) mod link;
pub mod nest;
mod pacing;
pub mod pipewire;
pub(crate) mod pool;
pub mod screencopy;
mod steps;
pub mod synthetic;

use std::sync::Arc;
use std::time::Duration;

use gpu::frame::Frame;

pub use pacing::Pacing;

use crate::cursor::CursorSource;
use crate::display::OutputAddress;
use crate::select::Refusal;

/// Something in a capture went wrong; the stream needs a new capture, or a new output.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The compositor cannot be reached.
    #[error("the compositor at {socket} cannot be reached: {reason}")]
    Connect {
        /// Its socket.
        socket: String,
        /// The system's answer.
        reason: String,
    },
    /// The display cannot be reached that way.
    #[error("the display offers no {way}")]
    NoWay {
        /// What it would have to offer.
        way: &'static str,
    },
    /// The compositor lacks a protocol.
    #[error("the compositor offers no {protocol}")]
    Unsupported {
        /// The missing global.
        protocol: &'static str,
    },
    /// There is no such output.
    #[error("the compositor has no output {output}")]
    NoOutput {
        /// The wanted name.
        output: String,
    },
    /// The compositor went away or broke the protocol.
    #[error("capture ended: {reason}")]
    Ended {
        /// What happened.
        reason: String,
    },
}

/// A kind of capture, tried in order for an output.
pub trait CaptureBackend: Send + Sync {
    /// Name for logs, `doctor` and statistics.
    fn name(&self) -> &'static str;

    /// Can it capture that output? Ready with a detail, or why not.
    ///
    /// # Errors
    /// The reason, and the fix.
    fn probe(&self, output: &OutputAddress) -> Result<String, Refusal>;

    /// Opens the output. All buffers are allocated here.
    ///
    /// # Errors
    /// See [`CaptureError`].
    fn open(&self, output: &OutputAddress) -> Result<Box<dyn Capture>, CaptureError>;

    /// Like [`CaptureBackend::open`], without the pointer in the pictures: the source tells where it
    /// is and what it looks like. `None` where this way, or this compositor, cannot do that; then
    /// nothing was opened.
    ///
    /// # Errors
    /// See [`CaptureError`].
    fn open_with_cursor(&self, output: &OutputAddress) -> Result<Option<Apart>, CaptureError> {
        let _ = output;
        Ok(None)
    }
}

/// A capture without the pointer in its pictures, and what tells of the pointer.
pub type Apart = (Box<dyn Capture>, Box<dyn CursorSource>);

/// What a wait for a frame came to.
pub enum Captured {
    /// A new picture. The first one after opening comes at once, later ones with damage.
    Frame(Frame),
    /// Nothing changed within the time given.
    Still,
    /// Somebody called [`Waker::wake`].
    Woken,
}

/// An open capture, driven by the capture thread.
pub trait Capture: Send {
    /// Asks for the next picture, and does not wait for it. The capture thread calls this once
    /// the picture at hand is on its way, which thus never waits for a request; and what asking
    /// costs is measured apart from it. [`Capture::next`] asks where nobody has. A source that
    /// delivers by itself need not be asked.
    ///
    /// # Errors
    /// See [`CaptureError`].
    fn ask(&mut self) -> Result<(), CaptureError> {
        Ok(())
    }

    /// Waits for the next picture, at most `timeout`. Never returns a picture that did not
    /// change, and never ticks by itself: the compositor's own frames set the pace. If every
    /// buffer is still in use by frames not yet dropped it waits for one (the damage is kept).
    ///
    /// # Errors
    /// See [`CaptureError`].
    fn next(&mut self, timeout: Duration) -> Result<Captured, CaptureError>;

    /// Wakes [`Capture::next`] from another thread.
    fn waker(&self) -> Arc<dyn Waker>;
}

/// Interrupts a waiting capture.
pub trait Waker: Send + Sync {
    /// Makes the current or next [`Capture::next`] return [`Captured::Woken`].
    fn wake(&self);
}

/// All kinds of capture, best first.
#[must_use]
pub fn candidates() -> Vec<Box<dyn CaptureBackend>> {
    vec![
        Box::new(nest::NestBackend),
        Box::new(ext_image_copy::ExtImageCopyBackend),
        Box::new(screencopy::ScreencopyBackend),
        Box::new(pipewire::PipeWireBackend),
    ]
}

/// How often to look for a free buffer when all are in use: the users are threads of ours that
/// give no signal, and with four buffers this is not the rule.
pub(crate) const BUSY_INTERVAL: Duration = Duration::from_micros(500);

fn refusal(error: &CaptureError) -> Refusal {
    let fix = match error {
        CaptureError::Connect { .. } => "check that the compositor runs",
        CaptureError::NoOutput { .. } => "name one of the compositor's outputs",
        CaptureError::NoWay { .. }
        | CaptureError::Unsupported { .. }
        | CaptureError::Ended { .. } => "",
    };
    Refusal::new(error.to_string(), fix)
}
