//! The rung of references: a frame was lost for good, and the encoder must go on without it.
//!
//! The client says in each feedback what is damaged until it is whole again. The first report
//! asks the encoder for a picture that refers to nothing lost; the same report again does nothing
//! until that picture had time to arrive, or was lost itself. Then it is asked for once more, and
//! after [`ReferencesConfig::invalidations_max`] of these an IDR.
//!
//! Where the host knows of a loss before the client does ([`References::foresee`]), the encoder is
//! asked at once, and the client's report finds that under way.

use std::fmt;
use std::time::Duration;

use crate::feedback::{Damage, Feedback};
use crate::units::{FrameId, Timestamp};

use super::is_before;

/// What the encoder is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repair {
    /// From the next frame on refer to nothing from `first_lost` on, which includes what was
    /// encoded since.
    Invalidate {
        /// The first frame that the client lost.
        first_lost: FrameId,
        /// The newest of which it is known.
        newest_lost: FrameId,
    },
    /// Begin anew.
    Idr,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalidate {
                first_lost,
                newest_lost,
            } => write!(f, "invalidate {first_lost} to {newest_lost}"),
            Self::Idr => f.write_str("IDR"),
        }
    }
}

/// The choices behind [`References`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReferencesConfig {
    /// Invalidations for one damage, before an IDR.
    pub invalidations_max: u8,
    /// Beside the round trip: until a recovery that was sent is decoded and reported.
    pub report: Duration,
    /// How long an encoder may take to begin a recovery, of a still picture too.
    pub encode: Duration,
    /// Between two IDRs at least: each is as large as several frames.
    pub idr_interval: Duration,
}

impl Default for ReferencesConfig {
    fn default() -> Self {
        Self {
            invalidations_max: 2,
            report: Duration::from_millis(30),
            encode: Duration::from_millis(50),
            idr_interval: Duration::from_millis(100),
        }
    }
}

/// What was asked.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Timestamp,
    repair: Repair,
    /// The picture that answers, and when the last of it was sent.
    recovery: Option<(FrameId, Timestamp)>,
    /// Until then feedback of a client that does not know of it yet ends nothing.
    foreseen_until: Timestamp,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReferencesStats {
    /// Damages reported, each counted once.
    pub damages: u64,
    /// Invalidations asked for.
    pub invalidations: u64,
    /// IDRs asked for.
    pub idrs: u64,
    /// Reports of frames that were never sent.
    pub impossible: u64,
}

/// Turns reports of damage into repairs.
#[derive(Debug)]
pub struct References {
    config: ReferencesConfig,
    /// Send time of the newest feedback, client's clock.
    newest_report: Timestamp,
    newest_sent: Option<FrameId>,
    asked: Option<Asked>,
    attempts: u8,
    pending: Option<Repair>,
    last_idr: Option<Timestamp>,
    stats: ReferencesStats,
}

impl References {
    /// Nothing is damaged.
    #[must_use]
    pub fn new(config: ReferencesConfig) -> Self {
        Self {
            config,
            newest_report: Timestamp::ZERO,
            newest_sent: None,
            asked: None,
            attempts: 0,
            pending: None,
            last_idr: None,
            stats: ReferencesStats::default(),
        }
    }

    /// Counters since the start.
    #[must_use]
    pub const fn stats(&self) -> ReferencesStats {
        self.stats
    }

    /// What is under way, until the client reports that it is whole.
    #[must_use]
    pub fn repairing(&self) -> Option<Repair> {
        self.asked.map(|asked| asked.repair)
    }

    /// A slice of `frame` was sent; `is_recovery` if the frame refers to nothing lost (an IDR
    /// too).
    pub fn handle_sent(&mut self, now: Timestamp, frame: FrameId, is_recovery: bool) {
        if self
            .newest_sent
            .is_none_or(|newest| !is_before(frame, newest))
        {
            self.newest_sent = Some(frame);
        }
        if let Some(asked) = &mut self.asked
            && is_recovery
            && self.pending.is_none()
            && asked.recovery.is_none_or(|(recovery, _)| recovery == frame)
        {
            asked.recovery = Some((frame, now));
        }
    }

    /// Takes what the client says of its pictures.
    pub fn handle_feedback(&mut self, now: Timestamp, feedback: &Feedback, round_trip: Duration) {
        if feedback.sent < self.newest_report {
            return;
        }
        self.newest_report = feedback.sent;
        let Some(damage) = feedback.damage else {
            if self.asked.is_some_and(|asked| now < asked.foreseen_until) {
                return;
            }
            self.asked = None;
            self.attempts = 0;
            self.pending = None;
            return;
        };
        let was_sent = |newest| !is_before(newest, damage.newest_lost);
        if !self.newest_sent.is_some_and(was_sent) {
            self.stats.impossible += 1;
            return;
        }
        if self.is_to_be_repaired(now, &damage, round_trip) {
            self.ask(now, &damage);
        }
    }

    /// What the client has not whole of the frames after `last_good` will not come, and it does
    /// not know yet.
    pub fn foresee(&mut self, now: Timestamp, last_good: Option<FrameId>, round_trip: Duration) {
        let Some(newest_lost) = self.newest_sent else {
            return;
        };
        let repair = match last_good {
            Some(good) if is_before(good, newest_lost) => Repair::Invalidate {
                first_lost: good.next(),
                newest_lost,
            },
            Some(_) => return,
            None => Repair::Idr,
        };
        self.stats.damages += u64::from(self.asked.is_none());
        self.attempts = 1;
        self.pending = Some(repair);
        self.asked = Some(Asked {
            at: now,
            repair,
            recovery: None,
            foreseen_until: now + self.config.encode + round_trip + self.config.report,
        });
    }

    /// What the encoder is to be asked now.
    pub fn poll(&mut self) -> Option<Repair> {
        let repair = self.pending.take()?;
        match repair {
            Repair::Invalidate { .. } => self.stats.invalidations += 1,
            Repair::Idr => self.stats.idrs += 1,
        }
        Some(repair)
    }

    fn is_to_be_repaired(&mut self, now: Timestamp, damage: &Damage, round_trip: Duration) -> bool {
        let Some(asked) = self.asked else {
            self.stats.damages += 1;
            return true;
        };
        if asked.repair == Repair::Idr && now.since(asked.at) < self.config.idr_interval {
            return false;
        }
        let Some((recovery, sent)) = asked.recovery else {
            return now.since(asked.at) > self.config.encode;
        };
        if !is_before(damage.first_lost, recovery) {
            // The recovery came; that the client was whole was told in a feedback that was lost.
            self.attempts = 0;
            self.stats.damages += 1;
            return true;
        }
        let answer = round_trip + round_trip / 4 + self.config.report;
        !is_before(damage.newest_lost, recovery) || now.since(sent) > answer
    }

    fn ask(&mut self, now: Timestamp, damage: &Damage) {
        self.attempts = self.attempts.saturating_add(1);
        let since_idr = self.last_idr.map(|last| now.since(last));
        let may_idr = since_idr.is_none_or(|since| since >= self.config.idr_interval);
        let repair = if self.attempts > self.config.invalidations_max && may_idr {
            self.last_idr = Some(now);
            Repair::Idr
        } else {
            Repair::Invalidate {
                first_lost: damage.first_lost,
                newest_lost: damage.newest_lost,
            }
        };
        self.pending = Some(repair);
        self.asked = Some(Asked {
            at: now,
            repair,
            recovery: None,
            foreseen_until: now,
        });
    }
}

#[cfg(test)]
#[path = "references_tests.rs"]
mod tests;
