//! Asking for other modes, from any thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::Waker;

use crate::native::{Reconfigure, Reconfigured};
use crate::units::Mode;

/// Asks the host for other modes.
///
/// The old mode's pictures go on until the new one's come. What came of a request is told by
/// [`ClientNotice::Reconfigured`](super::ClientNotice::Reconfigured): the mode that holds, and its
/// first frame. Requests may come as fast as a window is dragged: the newest wins.
#[derive(Clone)]
pub struct ClientModes {
    requests: Arc<Requests>,
    waker: Arc<Waker>,
}

/// Between callers and the receive thread. The lock is held for a few instructions.
#[derive(Debug, Default)]
pub(super) struct Requests(Mutex<Slot>);

#[derive(Debug, Default)]
struct Slot {
    /// Number of the newest request.
    number: u32,
    waiting: Option<Mode>,
    /// The host's newest answer.
    answer: Option<Reconfigured>,
}

impl Requests {
    /// The newest request, once.
    pub(super) fn take(&self) -> Option<Reconfigure> {
        let mut slot = self.lock();
        let mode = slot.waiting.take()?;
        Some(Reconfigure {
            number: slot.number,
            mode: mode.into(),
        })
    }

    /// The host has answered.
    pub(super) fn answered(&self, answer: Reconfigured) {
        self.lock().answer = Some(answer);
    }

    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientModes {
    pub(super) const fn new(requests: Arc<Requests>, waker: Arc<Waker>) -> Self {
        Self { requests, waker }
    }

    /// Asks for `mode`; never waits. The number of the request: an answer to it or a later one
    /// answers it.
    pub fn request(&self, mode: Mode) -> u32 {
        let mut slot = self.requests.lock();
        slot.number += 1;
        slot.waiting = Some(mode);
        let number = slot.number;
        drop(slot);
        if let Err(error) = self.waker.wake() {
            log::error!("the receive thread cannot be woken: {error}");
        }
        number
    }

    /// The host's newest answer, for those who take no notices; `None` before the first.
    #[must_use]
    pub fn answer(&self) -> Option<Reconfigured> {
        self.requests.lock().answer.clone()
    }
}
