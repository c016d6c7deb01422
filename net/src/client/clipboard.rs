//! The clipboard's two ways, for any thread.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use mio::Waker;

use crate::limits::CLIPBOARD_BYTES_MAX;
use crate::native::clipboard::TooLong;

/// Tells the host what was copied here.
#[derive(Clone)]
pub struct ClientClipboard {
    /// `None` if no clipboard was agreed on.
    slot: Option<Arc<Slot>>,
    waker: Arc<Waker>,
}

/// A text was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClipboardRefused {
    /// The session has no clipboard.
    #[error(
        "the session shares no clipboard: ask for it, and have the operator allow it on the host \
         (`punktfunk host --clipboard`, and the right `clipboard`)"
    )]
    NotShared,
    /// It is too long.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}

impl ClientClipboard {
    pub(super) fn new(slot: Option<&Arc<Slot>>, waker: &Arc<Waker>) -> Self {
        Self {
            slot: slot.map(Arc::clone),
            waker: Arc::clone(waker),
        }
    }

    /// This side's clipboard has that text now: the host's desktop gets it, unless it has it
    /// already. Never waits; a text that is on its way still is given up for the newer one.
    ///
    /// # Errors
    /// [`ClipboardRefused`]; nothing is sent.
    pub fn set(&self, text: String) -> Result<(), ClipboardRefused> {
        let Some(slot) = &self.slot else {
            return Err(ClipboardRefused::NotShared);
        };
        if text.len() > CLIPBOARD_BYTES_MAX {
            return Err(TooLong { bytes: text.len() }.into());
        }
        slot.put(text);
        if let Err(error) = self.waker.wake() {
            log::error!("the receive thread cannot be woken: {error}");
        }
        Ok(())
    }
}

/// One text, the newest. The lock is held for a few instructions.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<Option<String>>);

impl Slot {
    fn put(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The receive thread's end of a channel of one place, in which the newest displaces what waits.
pub(super) struct Newest {
    into: Sender<String>,
    /// Takes out what is displaced.
    out: Receiver<String>,
}

impl Newest {
    pub(super) fn channel() -> (Self, Receiver<String>) {
        let (into, out) = bounded(1);
        let end = out.clone();
        (Self { into, out }, end)
    }

    /// Only one thread puts, so that the second turn finds room at the latest.
    pub(super) fn put(&self, mut text: String) {
        while let Err(TrySendError::Full(back)) = self.into.try_send(text) {
            text = back;
            let _displaced = self.out.try_recv();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_text_waits() {
        let (newest, copied) = Newest::channel();
        for text in ["a", "b", "c"] {
            newest.put(text.to_owned());
        }
        assert_eq!(copied.try_iter().collect::<Vec<_>>(), ["c"]);
        drop(newest);
        assert!(copied.recv().is_err(), "the session is over");
    }
}
