//! What a host sends again of what a client asks for.
//!
//! Wants come from the network and say anything, again and again. Each column is sent once in
//! about a round trip, not after its frame is due, and within a share of the session's rate;
//! what is refused is counted. Memory is fixed: [`FRAMES_KEPT`] frames, [`RECENT_MAX`] columns,
//! [`RUNS_MAX`] runs that wait for the sender.

use std::time::Duration;

use crate::feedback::{WANTS_MAX, Want};
use crate::limits::{COLUMNS_PER_FRAME_MAX, DATAGRAM_BYTES_MAX};
use crate::packetize::Columns;
use crate::units::{BitsPerSecond, FrameId, Timestamp};

use super::is_before;

/// Frames of which it is known when they were sent: a quarter of a second at 240 Hz.
pub const FRAMES_KEPT: usize = 64;
/// Columns of which it is known when they were repeated last. Two that share a place forget one
/// another, and one of them may be sent twice within a round trip: the budget bounds that.
pub const RECENT_MAX: usize = 4096;
/// Runs that wait to be sent, beyond which wants are refused until some were.
pub const RUNS_MAX: usize = 4 * WANTS_MAX;
const _: () = assert!(COLUMNS_PER_FRAME_MAX <= u16::MAX as usize);
/// A client says a want thrice within this (see [`super::wants`]); where the round trip is as short,
/// the third time must not be taken for a repeat that was lost. It says that 1.25 round trips and
/// 3 ms later at the earliest.
const SAYINGS_SPAN: Duration = Duration::from_micros(1500);

/// The choices behind [`Repeats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepeatsConfig {
    /// How long after its last datagram a frame is of use, as the client's
    /// [`super::WantsConfig::wait`].
    pub wait: Duration,
    /// The same for the newest frame, after which nothing was sent.
    pub wait_newest: Duration,
    /// Most repeats, percent of the session's rate.
    pub percent: u32,
    /// Over how long that is counted, and so how large a burst may be.
    pub window: Duration,
    /// Datagrams that may be repeated in a window in any case: a small frame at a low rate.
    pub datagrams_min: u32,
}

impl Default for RepeatsConfig {
    fn default() -> Self {
        Self {
            wait: super::FRAME_WAIT,
            wait_newest: super::STILL_WAIT_HOST,
            percent: 25,
            window: Duration::from_millis(200),
            datagrams_min: 8,
        }
    }
}

/// What became of the columns that were asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepeatsStats {
    /// Asked for, of frames that are known, each time that they were.
    pub asked: u64,
    /// Handed out to be sent again.
    pub repeated: u64,
    /// Refused: repeated less than a round trip ago.
    pub too_recent: u64,
    /// Refused, or dropped while they waited: their frame is past its time.
    pub too_late: u64,
    /// Refused: the budget was used up.
    pub over_budget: u64,
    /// Refused: too many runs wait already.
    pub queue_full: u64,
    /// Refused: the path no longer carries datagrams of their size.
    pub too_large: u64,
    /// Wants (not columns) of frames that were not sent, or are forgotten.
    pub unknown_frames: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    frame: FrameId,
    columns: u16,
    at: Timestamp,
}

#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    frame: FrameId,
    column: u16,
    at: Timestamp,
}

#[derive(Clone, Copy, Debug, Default)]
struct Run {
    frame: FrameId,
    first: u16,
    end: u16,
}

/// Answers wants.
#[derive(Debug)]
pub struct Repeats {
    config: RepeatsConfig,
    /// Frame `f` is at `f % FRAMES_KEPT`.
    sent: [Sent; FRAMES_KEPT],
    newest: Option<FrameId>,
    /// The path does not carry this frame's datagrams, nor those of frames before.
    too_large: Option<FrameId>,
    recent: Box<[Recent]>,
    /// Oldest frame first.
    runs: [Run; RUNS_MAX],
    run_count: usize,
    budget_bytes: u64,
    budget_max_bytes: u64,
    refilled: Timestamp,
    /// No column goes out twice within this.
    quiet: Duration,
    stats: RepeatsStats,
}

impl Repeats {
    /// Allocates everything that it will ever use.
    #[must_use]
    pub fn new(config: RepeatsConfig) -> Self {
        let budget_max_bytes = u64::from(config.datagrams_min) * DATAGRAM_BYTES_MAX as u64;
        Self {
            config,
            sent: [Sent::default(); FRAMES_KEPT],
            newest: None,
            too_large: None,
            recent: vec![Recent::default(); RECENT_MAX].into_boxed_slice(),
            runs: [Run::default(); RUNS_MAX],
            run_count: 0,
            budget_bytes: budget_max_bytes,
            budget_max_bytes,
            refilled: Timestamp::ZERO,
            quiet: Duration::from_millis(1),
            stats: RepeatsStats::default(),
        }
    }

    /// Counters since the start.
    #[must_use]
    pub const fn stats(&self) -> RepeatsStats {
        self.stats
    }

    /// The round trip, and the rate of which repeats may have their share.
    pub fn set_path(&mut self, round_trip: Duration, rate: BitsPerSecond) {
        self.quiet = round_trip + SAYINGS_SPAN;
        let window_us = self.config.window.as_micros().min(1 << 32) as u64;
        let share = rate.0.saturating_mul(u64::from(self.config.percent)) / 100 / 8;
        let least = u64::from(self.config.datagrams_min) * DATAGRAM_BYTES_MAX as u64;
        self.budget_max_bytes = (share.saturating_mul(window_us) / 1_000_000).max(least);
        self.budget_bytes = self.budget_bytes.min(self.budget_max_bytes);
    }

    /// A slice of `frame` was sent at `now`; the frame has so many columns by now.
    pub fn handle_sent(&mut self, now: Timestamp, frame: FrameId, columns: usize) {
        if self.newest.is_none_or(|newest| !is_before(frame, newest)) {
            self.newest = Some(frame);
        }
        self.sent[frame.0 as usize % FRAMES_KEPT] = Sent {
            frame,
            columns: columns.min(COLUMNS_PER_FRAME_MAX) as u16,
            at: now,
        };
    }

    /// The path no longer carries datagrams as large as those of all frames so far.
    pub const fn refuse_large(&mut self) {
        self.too_large = self.newest;
    }

    /// False if the path no longer carries the frame's datagrams.
    #[must_use]
    pub fn can_pass(&self, frame: FrameId) -> bool {
        self.too_large.is_none_or(|last| is_before(last, frame))
    }

    /// Takes what a client wants.
    pub fn handle_wants(&mut self, now: Timestamp, wants: &[Want]) {
        self.refill(now);
        let mut order: [Want; WANTS_MAX] = [Want::default(); WANTS_MAX];
        let count = wants.len().min(WANTS_MAX);
        order[..count].copy_from_slice(&wants[..count]);
        order[..count].sort_unstable_by_key(|want| (want.frame, want.first_column));
        for want in &order[..count] {
            self.handle_want(now, want);
        }
    }

    /// The next columns to send again, oldest frame first.
    pub fn poll(&mut self, now: Timestamp) -> Option<Columns> {
        while self.run_count > 0 {
            let run = self.runs[0];
            self.runs.copy_within(1..self.run_count, 0);
            self.run_count -= 1;
            let columns = u64::from(run.end - run.first);
            let sent = self.sent_of(run.frame);
            if sent.is_some_and(|sent| !self.is_late(now, sent)) {
                self.stats.repeated += columns;
                return Some(Columns {
                    frame: run.frame,
                    range: run.first..run.end,
                });
            }
            self.stats.too_late += columns;
        }
        None
    }

    fn handle_want(&mut self, now: Timestamp, want: &Want) {
        let Some(&sent) = self.sent_of(want.frame) else {
            self.stats.unknown_frames += 1;
            return;
        };
        // Open ended wants reach beyond what the frame has.
        let end = want.first_column.saturating_add(want.count);
        let end = end.min(sent.columns);
        let columns = want.first_column.min(end)..end;
        self.stats.asked += columns.len() as u64;
        if self.is_late(now, &sent) {
            self.stats.too_late += columns.len() as u64;
            return;
        }
        if !self.can_pass(want.frame) {
            self.stats.too_large += columns.len() as u64;
            return;
        }
        let mut run: Option<Run> = None;
        for column in columns {
            if self.is_recent(now, want.frame, column) {
                self.stats.too_recent += 1;
                continue;
            }
            if self.budget_bytes < DATAGRAM_BYTES_MAX as u64 {
                self.stats.over_budget += u64::from(end - column);
                break;
            }
            let joined = run.as_mut().filter(|run| run.end == column);
            if let Some(run) = joined {
                run.end += 1;
            } else {
                self.push(run.take());
                if self.run_count == RUNS_MAX {
                    self.stats.queue_full += 1;
                    continue;
                }
                run = Some(Run {
                    frame: want.frame,
                    first: column,
                    end: column + 1,
                });
            }
            self.budget_bytes -= DATAGRAM_BYTES_MAX as u64;
            self.recent[recent_place(want.frame, column)] = Recent {
                frame: want.frame,
                column,
                at: now,
            };
        }
        self.push(run);
    }

    /// Puts a run in its place; there is room, as `handle_want` looked before it made the run.
    fn push(&mut self, run: Option<Run>) {
        let Some(run) = run else { return };
        let runs = &self.runs[..self.run_count];
        let at = runs.partition_point(|other| other.frame <= run.frame);
        self.runs.copy_within(at..self.run_count, at + 1);
        self.runs[at] = run;
        self.run_count += 1;
    }

    fn sent_of(&self, frame: FrameId) -> Option<&Sent> {
        let sent = &self.sent[frame.0 as usize % FRAMES_KEPT];
        (sent.frame == frame && sent.columns > 0).then_some(sent)
    }

    /// The newest frame is of use as long as nothing newer was sent: a still picture.
    fn is_late(&self, now: Timestamp, sent: &Sent) -> bool {
        let wait = if self.newest == Some(sent.frame) {
            self.config.wait_newest
        } else {
            self.config.wait
        };
        now.since(sent.at) > wait
    }

    fn is_recent(&self, now: Timestamp, frame: FrameId, column: u16) -> bool {
        let recent = &self.recent[recent_place(frame, column)];
        recent.frame == frame
            && recent.column == column
            && !recent.at.is_zero()
            && now.since(recent.at) < self.quiet
    }

    fn refill(&mut self, now: Timestamp) {
        let window_us = self.config.window.as_micros().clamp(1, 1 << 32) as u64;
        let elapsed_us = now
            .since(self.refilled)
            .as_micros()
            .min(u128::from(window_us)) as u64;
        let bytes = u128::from(self.budget_max_bytes) * u128::from(elapsed_us);
        let bytes = (bytes / u128::from(window_us)) as u64;
        // A step too small to give a byte counts with the next one.
        if bytes > 0 {
            self.budget_bytes = (self.budget_bytes + bytes).min(self.budget_max_bytes);
            self.refilled = now;
        }
    }
}

/// Neighbouring columns lie side by side, and frames far apart.
const fn recent_place(frame: FrameId, column: u16) -> usize {
    (frame.0 as usize)
        .wrapping_mul(577)
        .wrapping_add(column as usize)
        % RECENT_MAX
}

#[cfg(test)]
#[path = "repeats_tests.rs"]
mod tests;
