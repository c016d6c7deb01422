//! Round trips one by one.
//!
//! ENet smooths its round trip over eight of them and measures none while the client talks by
//! itself, so a queue that filled and drained shows seconds later. Here the host pings every
//! [`PING_INTERVAL`], and each acknowledgement that names the time of a datagram of ours
//! (`receivedSentTime` in `enet/protocol.h`) is an [`Echo`].

use std::collections::VecDeque;
use std::time::Duration;

use crate::units::Timestamp;

/// Between two pings of a peer: three frames, so that a queue is noticed before it overflows.
pub const PING_INTERVAL: Duration = Duration::from_millis(50);
/// Datagrams whose time is remembered: a second's of all peers, less than the 65 s after which
/// their times repeat.
const SENT_MAX: usize = 512;
/// Pings without an answer that are remembered; ENet gives a client up before there are more.
const WAITING_MAX: usize = 256;
/// Echoes that nobody took; the oldest go.
const ECHOES_MAX: usize = 32;

/// Something of ours was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// When it was sent.
    pub sent: Timestamp,
    /// When its acknowledgement came.
    pub came: Timestamp,
}

impl Echo {
    /// The round trip.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.came.since(self.sent)
    }
}

/// When datagrams left, by ENet's name for the time.
#[derive(Clone, Debug, Default)]
pub(super) struct SentTimes(VecDeque<(u16, Timestamp)>);

impl SentTimes {
    /// A datagram leaves.
    pub(super) fn note(&mut self, now: Timestamp, datagram: &[u8]) {
        let Some(&[head, _, high, low]) = datagram.first_chunk::<4>() else {
            return;
        };
        // The highest bit says that a time follows.
        if head & 0x80 == 0 {
            return;
        }
        let time_ms = u16::from_be_bytes([high, low]);
        if self.0.back().is_some_and(|&(last, _)| last == time_ms) {
            return;
        }
        if self.0.len() == SENT_MAX {
            self.0.pop_front();
        }
        self.0.push_back((time_ms, now));
    }

    fn find(&self, time_ms: u16) -> Option<Timestamp> {
        let newest_first = self.0.iter().rev();
        newest_first
            .into_iter()
            .find(|&&(time, _)| time == time_ms)
            .map(|&(_, at)| at)
    }
}

/// One peer's.
#[derive(Clone, Debug, Default)]
pub(super) struct Echoes {
    pinged: Option<Timestamp>,
    /// Pings later than anything that was acknowledged.
    waiting: VecDeque<Timestamp>,
    newest: Option<Timestamp>,
    echoes: VecDeque<Echo>,
}

impl Echoes {
    /// True if a ping is due; it is taken to be sent.
    pub(super) fn ping(&mut self, now: Timestamp) -> bool {
        if self.pinged.is_some_and(|at| now.since(at) < PING_INTERVAL) {
            return false;
        }
        self.pinged = Some(now);
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(now);
        }
        true
    }

    /// An acknowledgement of what was sent at `time_ms` came.
    pub(super) fn acknowledge(&mut self, now: Timestamp, sent: &SentTimes, time_ms: u16) {
        let Some(sent) = sent.find(time_ms) else {
            return;
        };
        // One that came out of order says nothing new.
        if self.newest.is_some_and(|newest| sent <= newest) {
            return;
        }
        self.newest = Some(sent);
        while self.waiting.front().is_some_and(|&ping| ping <= sent) {
            self.waiting.pop_front();
        }
        if self.echoes.len() == ECHOES_MAX {
            self.echoes.pop_front();
        }
        self.echoes.push_back(Echo { sent, came: now });
    }

    pub(super) fn poll(&mut self) -> Option<Echo> {
        self.echoes.pop_front()
    }

    /// The oldest ping after everything that was acknowledged.
    pub(super) fn waits_since(&self) -> Option<Timestamp> {
        self.waiting.front().copied()
    }
}
