//! The host's pointer on its way to whoever draws it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};

use super::Counters;
use crate::native::cursor::{CursorReceiver, SeenCursor};
use crate::units::Timestamp;

/// The host's pointer, as it is to be drawn from now on.
#[derive(Clone, Debug, Default)]
pub struct ClientCursor {
    /// Whether, where and what.
    pub seen: SeenCursor,
    /// When this client heard of it.
    pub received: Timestamp,
}

/// The receive thread's end of a channel for one cursor. Newest wins: one that nobody has taken is
/// out of date.
pub(super) struct CursorOut {
    newest: Sender<ClientCursor>,
    stale: Receiver<ClientCursor>,
}

impl CursorOut {
    /// Both ends.
    pub(super) fn new() -> (Self, Receiver<ClientCursor>) {
        let (newest, cursors) = bounded(1);
        let stale = cursors.clone();
        (Self { newest, stale }, cursors)
    }

    /// Hands out what is to be drawn.
    pub(super) fn put(&self, now: Timestamp, receiver: &CursorReceiver) {
        let mut cursor = ClientCursor {
            seen: receiver.cursor(),
            received: now,
        };
        while let Err(TrySendError::Full(newest)) = self.newest.try_send(cursor) {
            cursor = newest;
            drop(self.stale.try_recv());
        }
    }
}

/// Copies what the receiver has counted.
pub(super) fn count(receiver: &CursorReceiver, counters: &Arc<Counters>) {
    let stats = receiver.stats();
    for (counter, value) in [
        (&counters.cursor_states, stats.states),
        (&counters.cursor_repaired, stats.repaired),
        (&counters.cursor_stale, stats.stale),
        (&counters.cursor_shapes, stats.shapes),
    ] {
        counter.store(value, Relaxed);
    }
}
