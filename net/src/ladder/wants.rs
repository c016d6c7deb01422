//! What a client asks its host to send again, and how long it waits for it.
//!
//! Every authentic shard goes to [`Wants::handle_shard`] beside the reassembler. When
//! [`Wants::poll_timeout`] is due, a feedback should go out at once, with what
//! [`Wants::poll_wants`] says in it; a feedback that goes out anyway asks too. After each turn
//! the reassembler is told how long to wait: [`Wants::reorder_grace`].
//!
//! A gap is asked for when neither reordering nor parity will close it any more:
//!
//! | what is known of the frame | asked for |
//! |---|---|
//! | a newer frame has begun | the time that reordering takes after that |
//! | its end came (last shard, or parity of the last group) | [`WantsConfig::parity_quiet`] later |
//! | more is missing than parity lately brings | as many shards, or as long, as reordering takes |
//! | it is the newest, its end did not come | [`WantsConfig::tail_quiet`] without a shard |
//!
//! A want is said in [`SAYINGS`] feedbacks, as one of them may be lost and the host sends a column
//! once in a round trip; it is said anew when a repeat should have come and did not (and then in
//! [`SAYINGS_AGAIN`]), and never when it cannot come before the frame is due. A repeat of the last
//! column of the newest frame ([`super::tail`]) says that nothing newer was sent: then the frame is
//! due [`WantsConfig::wait_still`] after that, unless something newer comes. While the picture is
//! damaged, frames before the one that repairs it are neither asked nor waited for.

use std::time::Duration;

use crate::feedback::{List, WANTS_MAX, Want};
use crate::limits::FRAMES_IN_FLIGHT_MAX;
use crate::media::VideoHeader;
use crate::reassemble::Reassembler;
use crate::units::{FrameId, Timestamp};

use super::is_before;

/// Feedbacks that say the same want. At 5 % of loss both ways one in 8000 is not heard at all.
pub const SAYINGS: u8 = 3;
/// The same in later rounds: a path back that loses bursts may have lost the first round whole.
pub const SAYINGS_AGAIN: u8 = 16;
/// Between two of them: a burst of loss should not take all. The schedule of feedbacks may be
/// slower.
const SAYING_INTERVAL: Duration = Duration::from_micros(500);
/// Later shards until one is missing and not late, at first: RFC 9002 section 6.1.1.
const REORDER_COLUMNS_MIN: u16 = 3;
/// And at most, whatever was seen.
const REORDER_COLUMNS_MAX: u16 = 64;

/// The choices behind [`Wants`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantsConfig {
    /// How long after the last datagram that came of it by itself a frame is of use.
    pub wait: Duration,
    /// The same after its last column was repeated because nothing newer is sent.
    pub wait_still: Duration,
    /// Reordering that is allowed for, at first and at most.
    pub reorder_min: Duration,
    /// See [`Self::reorder_min`].
    pub reorder_max: Duration,
    /// How long after a frame's end more of its parity may come.
    pub parity_quiet: Duration,
    /// How long the newest frame may be silent before its end.
    pub tail_quiet: Duration,
    /// Beside the round trip and a quarter of it: until a repeat is overdue.
    pub margin: Duration,
    /// The round trip until [`Wants::set_round_trip`].
    pub round_trip: Duration,
}

impl Default for WantsConfig {
    fn default() -> Self {
        Self {
            wait: super::FRAME_WAIT,
            wait_still: super::STILL_WAIT,
            reorder_min: Duration::from_millis(1),
            reorder_max: Duration::from_millis(8),
            parity_quiet: Duration::from_millis(2),
            tail_quiet: Duration::from_millis(10),
            margin: Duration::from_millis(3),
            round_trip: Duration::from_millis(20),
        }
    }
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WantsStats {
    /// Wants said, each time.
    pub wants: u64,
    /// Rounds: a frame's gaps were asked for.
    pub rounds: u64,
    /// Of these because a repeat was overdue.
    pub rounds_again: u64,
    /// Shards that came after a later one.
    pub reordered: u64,
}

/// One frame of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Tracked {
    frame: FrameId,
    is_used: bool,
    /// The latest shard that came by itself; before the first, when a newer frame began.
    latest: Timestamp,
    /// When a newer frame began.
    superseded: Option<Timestamp>,
    /// One beyond the highest column that came.
    highest: u16,
    ended: bool,
    /// When its last column came as a repeat.
    probed: Option<Timestamp>,
    /// Something of it came: what its header says is known.
    has_come: bool,
    /// It refers to nothing that was lost.
    is_recovery: bool,
    parity_seen: u16,
    /// One beyond the highest index of parity that came.
    parity_highest: u16,
    /// It has parity that does not cover the frame's begin: how much is to come is not known.
    has_groups: bool,
    /// Columns missing as of this turn.
    missing: u32,
    asked: Option<Asked>,
}

/// The round that a frame's gaps are in.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Timestamp,
    said: Timestamp,
    says_left: u8,
    /// Gaps that begin below are asked for.
    end: u16,
}

/// Decides what to ask for.
#[derive(Debug)]
pub struct Wants {
    config: WantsConfig,
    /// Frame `f` is at `f % FRAMES_IN_FLIGHT_MAX`.
    frames: [Tracked; FRAMES_IN_FLIGHT_MAX],
    newest: Option<FrameId>,
    round_trip: Duration,
    is_damaged: bool,
    reorder: Duration,
    reorder_columns: u16,
    stats: WantsStats,
}

impl Wants {
    /// Nothing is missing.
    #[must_use]
    pub fn new(config: WantsConfig) -> Self {
        Self {
            frames: [Tracked::default(); FRAMES_IN_FLIGHT_MAX],
            newest: None,
            round_trip: config.round_trip,
            is_damaged: false,
            reorder: config.reorder_min,
            reorder_columns: REORDER_COLUMNS_MIN,
            stats: WantsStats::default(),
            config,
        }
    }

    /// Counters since the start.
    #[must_use]
    pub const fn stats(&self) -> WantsStats {
        self.stats
    }

    /// The smoothed round trip, whenever it is known better.
    pub const fn set_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = round_trip;
    }

    /// Whether the picture is damaged: a frame was lost, and no recovery delivered since.
    pub const fn set_damaged(&mut self, is_damaged: bool) {
        self.is_damaged = is_damaged;
    }

    /// An authentic shard came. Also to be told of those that the reassembler has no use for.
    pub fn handle_shard(&mut self, now: Timestamp, header: &VideoHeader) {
        let frame = header.frame().frame;
        if self.newest.is_none_or(|newest| is_before(newest, frame)) {
            self.begin(now, frame);
        }
        let tracked = &mut self.frames[slot(frame)];
        if tracked.frame != frame {
            return;
        }
        tracked.has_come = true;
        tracked.is_recovery = header.frame().keyframe || header.frame().recovery;
        match header {
            VideoHeader::Data(data) => {
                if data.repeat && data.descriptor.ends_frame() {
                    tracked.probed = Some(now);
                }
                let is_late = data.column < tracked.highest || tracked.superseded.is_some();
                let overtaken = tracked.superseded.unwrap_or(tracked.latest);
                let columns = tracked.highest.saturating_sub(data.column);
                tracked.highest = tracked.highest.max(data.column.saturating_add(1));
                tracked.ended |= data.descriptor.ends_frame();
                if !data.repeat {
                    tracked.latest = now;
                    if is_late {
                        self.note_reordering(now.since(overtaken), columns);
                    }
                }
            }
            VideoHeader::Parity(parity) => {
                tracked.latest = now;
                tracked.ended |= parity.last_group;
                tracked.has_groups |= parity.first_column != 0;
                tracked.parity_seen = tracked.parity_seen.saturating_add(1);
                tracked.parity_highest = tracked.parity_highest.max(parity.index.saturating_add(1));
            }
        }
    }

    /// What to say in the feedback that is sent now.
    pub fn poll_wants(
        &mut self,
        now: Timestamp,
        reassembler: &Reassembler,
    ) -> List<Want, WANTS_MAX> {
        let mut wants = List::default();
        if !self.count_missing(now, reassembler) {
            return wants;
        }
        // What is said once more of each frame, and up to where something is said anew.
        let mut said = [false; FRAMES_IN_FLIGHT_MAX];
        let mut fresh = [None; FRAMES_IN_FLIGHT_MAX];
        self.gaps(now, reassembler, |want| {
            let at = slot(want.frame);
            let tracked = &self.frames[at];
            let is_due = self.due(tracked, want).is_some_and(|due| due <= now);
            if !is_due || !wants.push(*want) {
                return;
            }
            if self
                .round(now, tracked)
                .is_some_and(|round| want.first_column < round.end)
            {
                said[at] = true;
            } else {
                let end = want.first_column.saturating_add(want.count);
                fresh[at] = fresh[at].max(Some(end));
            }
        });
        for at in 0..FRAMES_IN_FLIGHT_MAX {
            self.note_said(now, at, said[at], fresh[at]);
        }
        self.stats.wants += wants.as_slice().len() as u64;
        wants
    }

    /// When something is to be asked for, which may be past: a feedback is then due at once.
    /// `None` while nothing is missing, or nothing of it can still come.
    pub fn poll_timeout(&mut self, now: Timestamp, reassembler: &Reassembler) -> Option<Timestamp> {
        if !self.count_missing(now, reassembler) {
            // The newest may have lost its end.
            let newest = &self.frames[slot(self.newest?)];
            let first_useful = self.first_useful(reassembler)?;
            return (!newest.ended && !is_before(newest.frame, first_useful))
                .then_some(newest.latest + self.config.tail_quiet)
                .filter(|&due| self.is_in_time(newest, due));
        }
        let mut first: Option<Timestamp> = None;
        self.gaps(Timestamp::from_ns(u64::MAX), reassembler, |want| {
            if let Some(due) = self.due(&self.frames[slot(want.frame)], want) {
                first = Some(first.map_or(due, |first| first.min(due)));
            }
        });
        first
    }

    /// How long the reassembler should wait for its front frame from when a newer one was
    /// complete: [`Reassembler::set_reorder_grace`]. While a repeat can come in time, until the
    /// front frame is due; else as long as reordering takes.
    #[must_use]
    pub fn reorder_grace(&self, now: Timestamp, reassembler: &Reassembler) -> Duration {
        let Some(complete) = reassembler.newer_complete() else {
            return self.config.wait;
        };
        let front = &self.frames[slot(reassembler.front())];
        if front.frame != reassembler.front() || !front.is_used {
            return self.reorder;
        }
        if self.first_useful(reassembler) != Some(front.frame) {
            return self.reorder;
        }
        let due = front.latest + self.config.wait;
        let until = match front.asked {
            // No further round fits: the one under way is the last.
            Some(asked) if !self.is_in_time(front, asked.at + self.overdue()) => {
                due.min(asked.at + self.overdue())
            }
            None if !self.is_in_time(front, now) => Timestamp::ZERO,
            _ => due,
        };
        until.since(complete).max(self.reorder)
    }

    /// `frame` is the newest now: those between were overtaken, if not lost.
    fn begin(&mut self, now: Timestamp, frame: FrameId) {
        let window = FRAMES_IN_FLIGHT_MAX as u32;
        for tracked in self.frames.iter_mut().filter(|tracked| tracked.is_used) {
            tracked.superseded.get_or_insert(now);
        }
        let ahead = self
            .newest
            .map_or(1, |newest| frame.0.wrapping_sub(newest.0));
        let before = self
            .newest
            .map_or(now, |newest| self.frames[slot(newest)].latest);
        for back in (0..ahead.min(window)).rev() {
            let frame = FrameId(frame.0.wrapping_sub(back));
            // Of a frame of which nothing came: when it should have.
            let latest = now - now.since(before) / ahead * back;
            self.frames[slot(frame)] = Tracked {
                frame,
                is_used: true,
                latest,
                superseded: (back > 0).then_some(now),
                ..Tracked::default()
            };
        }
        self.newest = Some(frame);
        // What was seen is forgotten over a few hundred frames.
        self.reorder -= (self.reorder - self.config.reorder_min) / 256;
        if frame.0.is_multiple_of(256) && self.reorder_columns > REORDER_COLUMNS_MIN {
            self.reorder_columns -= 1;
        }
    }

    fn note_reordering(&mut self, late: Duration, columns: u16) {
        self.stats.reordered += 1;
        let allow = (late + late / 4).min(self.config.reorder_max);
        self.reorder = self.reorder.max(allow);
        let columns = columns.saturating_add(1).min(REORDER_COLUMNS_MAX);
        self.reorder_columns = self.reorder_columns.max(columns);
    }

    /// Notes how much of each frame is missing; false if nothing is.
    fn count_missing(&mut self, now: Timestamp, reassembler: &Reassembler) -> bool {
        let mut missing = [0; FRAMES_IN_FLIGHT_MAX];
        let mut is_any = false;
        self.gaps(now, reassembler, |want| {
            is_any = true;
            // Of an open end at least one is missing.
            let is_open = want.first_column + want.count == u16::MAX;
            missing[slot(want.frame)] += if is_open { 1 } else { u32::from(want.count) };
        });
        for (tracked, missing) in self.frames.iter_mut().zip(missing) {
            tracked.missing = missing;
        }
        is_any
    }

    /// All that is missing of frames that are tracked. The end of the newest is, once it was
    /// silent for long enough at `now`.
    fn gaps(&self, now: Timestamp, reassembler: &Reassembler, mut gap: impl FnMut(&Want)) {
        let Some(first_useful) = self.first_useful(reassembler) else {
            return;
        };
        reassembler.gaps(|missing| {
            let (first_column, end) = (missing.columns.start, missing.columns.end);
            let is_tracked = self.frames[slot(missing.frame)].frame == missing.frame;
            if end > first_column && is_tracked && !is_before(missing.frame, first_useful) {
                gap(&Want {
                    frame: missing.frame,
                    first_column,
                    count: end - first_column,
                });
            }
        });
        let Some(newest) = self.newest.map(|newest| &self.frames[slot(newest)]) else {
            return;
        };
        let is_silent = newest.latest + self.config.tail_quiet <= now;
        let is_useful = !is_before(newest.frame, first_useful);
        if !newest.ended && is_silent && is_useful {
            gap(&Want {
                frame: newest.frame,
                first_column: newest.highest,
                count: u16::MAX - newest.highest,
            });
        }
    }

    /// The first frame that is of use once it is complete: the front one, or while damaged the
    /// first that repairs, as far as is known.
    fn first_useful(&self, reassembler: &Reassembler) -> Option<FrameId> {
        let front = reassembler.front();
        if !self.is_damaged {
            return Some(front);
        }
        let window = 0..FRAMES_IN_FLIGHT_MAX as u32;
        let mut frames = window.map(|ahead| FrameId(front.0.wrapping_add(ahead)));
        frames.find(|&frame| {
            let tracked = &self.frames[slot(frame)];
            tracked.frame == frame && (tracked.is_recovery || !tracked.has_come)
        })
    }

    /// When to ask for `want`; `None` for never.
    fn due(&self, tracked: &Tracked, want: &Want) -> Option<Timestamp> {
        let due = match tracked.asked {
            Some(asked) if want.first_column < asked.end => {
                let again = asked.at + self.overdue();
                if asked.says_left > 0 {
                    again.min(asked.said + SAYING_INTERVAL)
                } else {
                    again
                }
            }
            _ => self.ready(tracked, want),
        };
        self.is_in_time(tracked, due).then_some(due)
    }

    /// When neither reordering nor parity will bring it any more.
    fn ready(&self, tracked: &Tracked, want: &Want) -> Timestamp {
        let mut ready = tracked.latest + self.config.tail_quiet;
        if tracked.ended {
            ready = tracked.latest + self.config.parity_quiet.max(self.reorder);
        }
        if let Some(superseded) = tracked.superseded {
            ready = ready.min(superseded + self.reorder);
        }
        if self.is_beyond_parity(tracked) {
            let end = want.first_column.saturating_add(want.count);
            let is_passed = end.saturating_add(self.reorder_columns) <= tracked.highest;
            ready = ready.min(if is_passed {
                tracked.latest
            } else {
                tracked.latest + self.reorder
            });
        }
        ready
    }

    /// More is missing than parity can bring, if the frame has as much as the ones before it.
    fn is_beyond_parity(&self, tracked: &Tracked) -> bool {
        // Those that all of came that will.
        let others = self.frames.iter().filter(|other| {
            other.has_come && other.superseded.is_some() && other.frame != tracked.frame
        });
        if tracked.has_groups || others.clone().any(|other| other.has_groups) {
            return false;
        }
        let Some(expected) = others.map(|other| other.parity_highest).max() else {
            return false;
        };
        let to_come = expected.saturating_sub(tracked.parity_highest);
        tracked.missing > u32::from(tracked.parity_seen) + u32::from(to_come)
    }

    /// True if a repeat that is asked for at `due` comes before the frame is due.
    fn is_in_time(&self, tracked: &Tracked, due: Timestamp) -> bool {
        let mut until = tracked.latest + self.config.wait;
        if let (Some(probed), None) = (tracked.probed, tracked.superseded) {
            until = until.max(probed + self.config.wait_still);
        }
        due + self.round_trip <= until
    }

    /// From asking until a repeat should have come.
    fn overdue(&self) -> Duration {
        self.round_trip + self.round_trip / 4 + self.config.margin
    }

    /// The round that a frame is in, unless it is overdue.
    fn round(&self, now: Timestamp, tracked: &Tracked) -> Option<Asked> {
        let overdue = self.overdue();
        tracked.asked.filter(|asked| asked.at + overdue > now)
    }

    fn note_said(&mut self, now: Timestamp, at: usize, said: bool, fresh: Option<u16>) {
        let round = self.round(now, &self.frames[at]);
        let tracked = &mut self.frames[at];
        if let Some(end) = fresh {
            let is_again = tracked.asked.is_some() && round.is_none();
            let sayings = if is_again { SAYINGS_AGAIN } else { SAYINGS };
            self.stats.rounds += 1;
            self.stats.rounds_again += u64::from(is_again);
            tracked.asked = Some(Asked {
                at: now,
                said: now,
                says_left: sayings - 1,
                end: round.map_or(end, |round| round.end.max(end)),
            });
        } else if let Some(asked) = tracked.asked.as_mut().filter(|_| said) {
            asked.said = now;
            asked.says_left = asked.says_left.saturating_sub(1);
        }
    }
}

const fn slot(frame: FrameId) -> usize {
    frame.0 as usize % FRAMES_IN_FLIGHT_MAX
}

#[cfg(test)]
#[path = "wants_tests.rs"]
mod tests;
