//! The loss ladder: parity, repeats, references, and an IDR at last.
//!
//! | rung | host | client |
//! |---|---|---|
//! | parity | [`parity`] chooses how much | the reassembler uses it |
//! | repeat | [`repeats`] answers | [`wants`] asks, while a repeat comes before a frame is due |
//! | the same, unasked | [`tail`]: the last column before the picture stands still | |
//! | invalidate | [`references`] asks the encoder to refer past a loss | reports the damage |
//! | IDR | the same, where invalidation did not help | |
//!
//! Each rung gives up by time, never by hope: a frame is of use for [`FRAME_WAIT`] after its last
//! datagram, at both ends. `net/LADDER.md` has the choices and the runs that decided them.
//!
//! [`Ladder`] is the host's side in one; [`Wants`] is all of the client's. Sans-IO: after each
//! `handle_*` the caller drains [`Ladder::poll_repeat`] and [`Ladder::poll_repair`], and uses
//! [`Ladder::protection`] for the next group. There is no timer: feedback drives everything.

pub mod parity;
pub mod references;
pub mod repeats;
pub mod tail;
#[cfg(test)]
mod tests;
pub mod wants;

use std::fmt;
use std::time::Duration;

use crate::feedback::Feedback;
use crate::limits::COLUMNS_PER_FRAME_MAX;
use crate::packetize::{Columns, Protection};
use crate::units::{BitsPerSecond, FrameId, Timestamp};

pub use parity::{FrameSize, Parity, ParityConfig, Path};
pub use references::{References, ReferencesConfig, ReferencesStats, Repair};
pub use repeats::{Repeats, RepeatsConfig, RepeatsStats};
pub use tail::Tail;
pub use wants::{Wants, WantsConfig, WantsStats};

/// How long after its last datagram a frame is of use. What a frame of 60 Hz takes to be sent
/// (10 ms where the pacer spreads it over two thirds of its interval) and this are below 50 ms;
/// and if it comes to nothing, a report, the next frame and its way fit into 100 ms.
pub const FRAME_WAIT: Duration = Duration::from_millis(36);
/// The same for a frame that nothing newer followed, at the client since anything came of it: its
/// reassembler gives the frame up after so long a silence.
pub const STILL_WAIT: Duration = Duration::from_millis(150);
/// And at the host since the frame left: the client's way to ask, and the reassembler's age limit.
pub const STILL_WAIT_HOST: Duration = Duration::from_millis(500);
/// Typical size of a frame until some were sent, data shards.
const DATA_SHARDS_AT_FIRST: u32 = 32;
/// For how long a rung counts as the state after it was used.
const RUNG_HOLD: Duration = Duration::from_secs(1);

/// How a host's ladder is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LadderConfig {
    /// First rung.
    pub parity: ParityConfig,
    /// Second rung.
    pub repeats: RepeatsConfig,
    /// The rest.
    pub references: ReferencesConfig,
}

/// The highest rung in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// Parity alone, if anything is lost at all.
    #[default]
    Parity,
    /// Columns were repeated within the last second.
    Repeat,
    /// The encoder goes on past a loss.
    Invalidate,
    /// The stream begins anew.
    Idr,
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Parity => "parity",
            Self::Repeat => "repeat",
            Self::Invalidate => "invalidate",
            Self::Idr => "IDR",
        })
    }
}

/// What is sent of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentFrame {
    /// Which frame.
    pub frame: FrameId,
    /// Its data shards so far: [`crate::packetize::Packetizer::columns`].
    pub columns: usize,
    /// Its bytes so far, in whole shards: [`crate::packetize::Packetizer::whole_shards`].
    pub whole_shards: usize,
    /// It is an IDR, or refers to nothing that the client reported lost.
    pub is_recovery: bool,
}

/// The host's side for one session.
#[derive(Debug)]
pub struct Ladder {
    parity: Parity,
    repeats: Repeats,
    references: References,
    round_trip: Duration,
    /// The frame in work, and its columns so far.
    frame: Option<SentFrame>,
    /// Smoothed data shards and whole shards of a frame, × 16.
    data_shards_16: u32,
    whole_shards_16: u32,
    last_repeat: Option<Timestamp>,
}

impl Ladder {
    /// Allocates everything that it will ever use.
    #[must_use]
    pub fn new(config: LadderConfig) -> Self {
        Self {
            parity: Parity::new(config.parity),
            repeats: Repeats::new(config.repeats),
            references: References::new(config.references),
            round_trip: Duration::from_millis(20),
            frame: None,
            data_shards_16: DATA_SHARDS_AT_FIRST * 16,
            whole_shards_16: DATA_SHARDS_AT_FIRST * 16,
            last_repeat: None,
        }
    }

    /// How to protect the next group.
    #[must_use]
    pub const fn protection(&self) -> Protection {
        self.parity.protection()
    }

    /// The highest rung in use at `now`.
    #[must_use]
    pub fn rung(&self, now: Timestamp) -> Rung {
        match self.references.repairing() {
            Some(Repair::Idr) => Rung::Idr,
            Some(Repair::Invalidate { .. }) => Rung::Invalidate,
            None if self
                .last_repeat
                .is_some_and(|last| now.since(last) < RUNG_HOLD) =>
            {
                Rung::Repeat
            }
            None => Rung::Parity,
        }
    }

    /// Size of a frame lately.
    #[must_use]
    pub const fn frame_size(&self) -> FrameSize {
        FrameSize {
            data_shards: self.data_shards_16.div_ceil(16) as usize,
            whole_shards: self.whole_shards_16.div_ceil(16) as usize,
        }
    }

    /// Share of datagrams that parity alone must make good: none while a repeat comes in time.
    #[must_use]
    pub const fn share_alone(&self) -> f64 {
        self.parity.share_alone()
    }

    /// Counters of the second rung.
    #[must_use]
    pub const fn repeats_stats(&self) -> RepeatsStats {
        self.repeats.stats()
    }

    /// Counters of the rungs above.
    #[must_use]
    pub const fn references_stats(&self) -> ReferencesStats {
        self.references.stats()
    }

    /// A slice was packetized and goes out from `now` on; to be told for each slice.
    pub fn handle_sent(&mut self, now: Timestamp, sent: SentFrame) {
        if let Some(before) = self.frame.filter(|before| before.frame != sent.frame) {
            // Smoothed over 16 frames, in sixteenths.
            let smooth = |held: u32, shards: usize| {
                held - held / 16 + shards.min(COLUMNS_PER_FRAME_MAX) as u32
            };
            self.data_shards_16 = smooth(self.data_shards_16, before.columns);
            self.whole_shards_16 = smooth(self.whole_shards_16, before.whole_shards);
        }
        self.frame = Some(sent);
        self.repeats.handle_sent(now, sent.frame, sent.columns);
        self.references
            .handle_sent(now, sent.frame, sent.is_recovery);
    }

    /// What is known of the path and the session's rate; with each feedback, or less often.
    pub fn handle_path(&mut self, now: Timestamp, path: &Path, rate: BitsPerSecond) {
        self.round_trip = path.round_trip;
        self.repeats.set_path(path.round_trip, rate);
        self.parity.update(now, path, self.frame_size());
    }

    /// An authentic feedback came.
    pub fn handle_feedback(&mut self, now: Timestamp, feedback: &Feedback) {
        self.repeats.handle_wants(now, feedback.wants.as_slice());
        self.references
            .handle_feedback(now, feedback, self.round_trip);
    }

    /// The next columns to send again ([`crate::packetize::Packetizer::repeat`]), until `None`.
    pub fn poll_repeat(&mut self, now: Timestamp) -> Option<Columns> {
        let columns = self.repeats.poll(now)?;
        self.last_repeat = Some(now);
        Some(columns)
    }

    /// The path no longer carries datagrams as large as those sent so far. What the client has not
    /// whole of what followed `last_good` is lost with all repeats: the encoder is asked at once.
    pub fn handle_black_hole(&mut self, now: Timestamp, last_good: Option<FrameId>) {
        self.repeats.refuse_large();
        self.references.foresee(now, last_good, self.round_trip);
    }

    /// The client is at another address: what it has not whole of what followed `last_good` went to
    /// the one before. The encoder is asked at once.
    pub fn handle_move(&mut self, now: Timestamp, last_good: Option<FrameId>) {
        self.references.foresee(now, last_good, self.round_trip);
    }

    /// False if the path no longer carries the frame's datagrams.
    #[must_use]
    pub fn can_pass(&self, frame: FrameId) -> bool {
        self.repeats.can_pass(frame)
    }

    /// What the encoder is to be asked, until `None`.
    pub fn poll_repair(&mut self) -> Option<Repair> {
        self.references.poll()
    }
}

/// True if `a` lies before `b`, modulo 2³².
pub(crate) const fn is_before(a: FrameId, b: FrameId) -> bool {
    a.0 != b.0 && b.0.wrapping_sub(a.0) <= u32::MAX / 2
}
