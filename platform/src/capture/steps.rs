//! What the Wayland captures share. A frame passes three states: none asked for, asked for (an
//! object stands for it, without a buffer), and being copied into a buffer. Asking is the only
//! step that allocates, inside the protocol library, and is done when the frame before has been
//! handed over.

use std::time::Duration;

use gpu::frame::Frame;
use net::clock;

use super::link::{Link, Wait};
use super::{BUSY_INTERVAL, CaptureError, Captured};

/// What differs between the capture protocols.
pub(super) trait Steps {
    /// What the protocol's events have told.
    type Protocol: 'static;

    /// The connection.
    fn link(&mut self) -> &mut Link<Self::Protocol>;

    /// Asks for a frame, unless one is in the making.
    fn ask(&mut self) -> Result<(), CaptureError>;

    /// Gives the frame asked for its buffer, if it has none. False if it must wait for a free one.
    fn advance(&mut self) -> Result<bool, CaptureError>;

    /// The frame in the making, if it is done.
    fn take(&mut self) -> Result<Option<Frame>, CaptureError>;
}

/// See [`super::Capture::next`].
pub(super) fn next_frame(
    capture: &mut impl Steps,
    timeout: Duration,
) -> Result<Captured, CaptureError> {
    let deadline = clock::now() + timeout;
    // Asked first, so that a flood of frames cannot starve it.
    if capture.link().waker.take() {
        return Ok(Captured::Woken);
    }
    loop {
        capture.ask()?;
        let has_buffer = capture.advance()?;
        let busy_until = clock::now() + BUSY_INTERVAL;
        let until = if has_buffer {
            deadline
        } else {
            deadline.min(busy_until)
        };
        match capture.link().wait(until)? {
            Wait::Woken => return Ok(Captured::Woken),
            Wait::TimedOut if until == deadline => return Ok(Captured::Still),
            Wait::TimedOut => {}
            Wait::Events => {
                if let Some(frame) = capture.take()? {
                    return Ok(Captured::Frame(frame));
                }
            }
        }
    }
}
