//! The clipboard of a display without a compositor: its one user pastes whatever is put there, and
//! copies it back in capital letters. So both ways can be seen without a desktop.

use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};

use super::{Clipboard, ClipboardBackend, ClipboardError, Copied, is_shared};
use crate::capture::Waker;
use crate::capture::link::EventWaker;
use crate::display::OutputAddress;
use crate::process::timespec;
use crate::select::Refusal;

/// What is there at first.
pub const FIRST: &str = "synthetic clipboard";

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Synthetic;

struct Mirror {
    next: Option<String>,
    waker: Arc<EventWaker>,
}

impl ClipboardBackend for Synthetic {
    fn name(&self) -> &'static str {
        "synthetic"
    }

    fn probe(&self, output: Option<&OutputAddress>) -> Result<String, Refusal> {
        match output {
            None => Ok("for a display that is drawn here".to_owned()),
            Some(_) => Err(Refusal::new("the display has a compositor", "")),
        }
    }

    fn open(&self, _: Option<&OutputAddress>) -> Result<Box<dyn Clipboard>, ClipboardError> {
        let waker = EventWaker::new().map_err(|error| ClipboardError::System(error.into()))?;
        Ok(Box::new(Mirror {
            next: Some(FIRST.to_owned()),
            waker: Arc::new(waker),
        }))
    }
}

impl Clipboard for Mirror {
    fn name(&self) -> &'static str {
        "synthetic"
    }

    fn set(&mut self, text: &str) -> Result<(), ClipboardError> {
        self.next = Some(text.to_uppercase()).filter(|it| it != text && is_shared(it));
        Ok(())
    }

    fn next(&mut self, timeout: Duration) -> Result<Copied, ClipboardError> {
        if let Some(text) = self.next.take() {
            return Ok(Copied::Text(text));
        }
        let mut fds = [PollFd::new(self.waker.fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&timespec(timeout))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(ClipboardError::System(error.into())),
        }
        Ok(match self.waker.take() {
            true => Copied::Woken,
            false => Copied::Nothing,
        })
    }

    fn waker(&self) -> Arc<dyn Waker> {
        Arc::clone(&self.waker) as Arc<dyn Waker>
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_there_comes_back_in_capitals() {
        let mut clipboard = Synthetic.open(None).expect("a descriptor");
        let mut next = || clipboard.next(Duration::ZERO).expect("works");
        assert_eq!(next(), Copied::Text(FIRST.to_owned()));
        assert_eq!(next(), Copied::Nothing);
        clipboard.set("Grüße").expect("works");
        let mut next = || clipboard.next(Duration::ZERO).expect("works");
        assert_eq!(next(), Copied::Text("GRÜSSE".to_owned()));
        clipboard.waker().wake();
        let next = clipboard.next(Duration::from_secs(60)).expect("works");
        assert_eq!(next, Copied::Woken);
    }
}
