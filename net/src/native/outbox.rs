//! Bytes on their way into the control stream, which takes them as its flow control allows.

use crate::limits::CONTROL_OUTBOX_BYTES_MAX;

use super::messages::Message;

/// What is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Priority {
    /// Steps of the session: a handful of small messages, always let in.
    Control,
    /// Repeated messages: let in while the outbox is less than half full.
    Droppable,
}

/// A bounded queue of bytes.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    /// Bytes at the front that the stream has taken.
    taken: usize,
}

impl Outbox {
    /// Appends a message; false if it was droppable and there is no room.
    pub(super) fn push(&mut self, message: &Message, priority: Priority) -> bool {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        let begin = self.bytes.len();
        message.write(&mut self.bytes);
        let over = self.bytes.len() > CONTROL_OUTBOX_BYTES_MAX / 2;
        if over && priority == Priority::Droppable {
            self.bytes.truncate(begin);
            return false;
        }
        assert!(
            self.bytes.len() <= CONTROL_OUTBOX_BYTES_MAX,
            "control messages are few and far smaller than half the outbox"
        );
        true
    }

    /// True if a droppable message of up to `bytes`, header included, would be let in.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.bytes.len() - self.taken + bytes <= CONTROL_OUTBOX_BYTES_MAX / 2
    }

    /// What the stream should take next; `None` if nothing waits.
    pub(super) fn waiting(&self) -> Option<&[u8]> {
        let waiting = &self.bytes[self.taken..];
        (!waiting.is_empty()).then_some(waiting)
    }

    /// The stream has taken the first `count` bytes of [`Self::waiting`].
    pub(super) fn consumed(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.bytes.len());
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        }
    }
}
