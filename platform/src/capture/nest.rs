//! `nested`: the pictures of a compositor that runs inside ours (`display::nest`), in the
//! memory where it drew them. Nothing is asked for and nothing is copied: a picture is there when
//! the compositor has committed it.
//!
//! One capture at a time: the one that opened last has the pictures.

use std::sync::Arc;
use std::time::Duration;

use gpu::frame::{Frame, Size};
use net::clock;
use net::units::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::link::{EventWaker, ended};
use super::{Apart, Capture, CaptureBackend, CaptureError, Captured, Waker, refusal};
use crate::display::{NestedOutput, OutputAddress};
use crate::process::timespec;
use crate::select::Refusal;

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct NestBackend;

impl CaptureBackend for NestBackend {
    fn name(&self) -> &'static str {
        "nested"
    }

    fn probe(&self, output: &OutputAddress) -> Result<String, Refusal> {
        over_nest(output).map_err(|error| refusal(&error))?;
        Ok("the compositor's own buffers".to_owned())
    }

    fn open(&self, output: &OutputAddress) -> Result<Box<dyn Capture>, CaptureError> {
        if over_nest(output)?.pointer().is_some() {
            let reason = "the display was made without the pointer in its pictures".to_owned();
            return Err(CaptureError::Ended { reason });
        }
        watch(output)
    }

    fn open_with_cursor(&self, output: &OutputAddress) -> Result<Option<Apart>, CaptureError> {
        let Some(pointer) = over_nest(output)?.pointer() else {
            return Ok(None);
        };
        let source = pointer.source()?;
        Ok(Some((watch(output)?, source)))
    }
}

fn watch(output: &OutputAddress) -> Result<Box<dyn Capture>, CaptureError> {
    let no_eventfd = |error: Errno| ended(format!("no eventfd: {error}"));
    let output = over_nest(output)?.clone();
    let news = Arc::new(EventWaker::new().map_err(no_eventfd)?);
    let waker = Arc::new(EventWaker::new().map_err(no_eventfd)?);
    let number = output.shared().watch(Arc::clone(&news));
    Ok(Box::new(Nested {
        output,
        number,
        news,
        waker,
        size: None,
    }))
}

fn over_nest(output: &OutputAddress) -> Result<&NestedOutput, CaptureError> {
    let way = "compositor inside ours";
    output.nested.as_ref().ok_or(CaptureError::NoWay { way })
}

struct Nested {
    output: NestedOutput,
    number: u64,
    /// There may be a picture.
    news: Arc<EventWaker>,
    waker: Arc<EventWaker>,
    /// Of the pictures so far.
    size: Option<Size>,
}

impl Nested {
    fn take(&mut self) -> Result<Option<Frame>, CaptureError> {
        let Some(frame) = self.output.shared().take(self.number)? else {
            return Ok(None);
        };
        let size = frame.surface.size();
        match self.size.replace(size) {
            Some(before) if before != size => Err(ended(format!(
                "the output changed from {}x{} to {}x{}",
                before.width, before.height, size.width, size.height
            ))),
            _ => Ok(Some(frame)),
        }
    }

    fn wait(&self, until: Timestamp) -> Result<(), CaptureError> {
        let left = until.since(clock::now());
        let mut fds = [
            PollFd::new(self.news.fd(), PollFlags::IN),
            PollFd::new(self.waker.fd(), PollFlags::IN),
        ];
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(ended(format!("poll failed: {error}"))),
        }
    }
}

impl Capture for Nested {
    fn next(&mut self, timeout: Duration) -> Result<Captured, CaptureError> {
        let deadline = clock::now() + timeout;
        loop {
            // Asked first, so that a flood of frames cannot starve it.
            if self.waker.take() {
                return Ok(Captured::Woken);
            }
            // Before the look, so that what comes after it is news.
            self.news.take();
            if let Some(frame) = self.take()? {
                return Ok(Captured::Frame(frame));
            }
            if clock::now() >= deadline {
                return Ok(Captured::Still);
            }
            self.wait(deadline)?;
        }
    }

    fn waker(&self) -> Arc<dyn Waker> {
        Arc::clone(&self.waker) as Arc<dyn Waker>
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        let superseded = self.output.shared().unwatch(self.number);
        if superseded > 0 {
            log::debug!("nested: {superseded} pictures were displaced by newer ones");
        }
    }
}
