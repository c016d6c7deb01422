//! How much video a client's path takes, from what its reports tell: loss, frames that could not
//! be made whole, and the control stream's round trips, which share the bottleneck's queue.
//!
//! Stock clients report no arrival times, so the bottleneck shows once it has a queue: a ping that
//! waits there came after all video sent before it. While there is one, what was sent between two
//! pings, over the time between their answers, is what the bottleneck takes
//! ([`LinkRate::handle_echo`]).
//!
//! The rate begins with a half of what the client asked for, reaches that within half a second if
//! no queue grows, and never exceeds it. A queue is let drain, below what the bottleneck was
//! measured to take; then the rate goes on a little below that. Loss without a queue is a reason
//! to fall only where links do not have so much by themselves: random loss up to
//! [`LOSS_OF_CONGESTION`], and frames lost to bursts, are parity's task. The rate rises slowly, and
//! slower where it was congested before.
//!
//! Sans-IO: the caller tells what came and calls [`LinkRate::poll`] some ten times a second.

use std::collections::VecDeque;
use std::time::Duration;

use super::enet::{Echo, PING_INTERVAL};
use crate::units::{BitsPerSecond, Timestamp};

/// Share of packets lost over [`LOSS_WINDOW`] that a queue's end explains better than the air.
pub const LOSS_OF_CONGESTION: f64 = 0.2;
/// What loss is looked at over: a few bursts in half a second are no congestion.
pub const LOSS_WINDOW: Duration = Duration::from_secs(2);
/// And lost frames.
const DAMAGE_WINDOW: Duration = Duration::from_millis(600);
/// Frames lost within [`DAMAGE_WINDOW`] that are congestion, too: blocks that are lost whole are in
/// no report of packets. Nearly half of those at 60 Hz; bursts of eight packets that take 5 % cost
/// a fifth while a frame has a dozen packets, and more of smaller ones.
const DAMAGES_OF_CONGESTION: usize = 16;
/// So much over the smallest round trip is a queue: two answers in a row, since one can be late by
/// itself.
const QUEUE_OF_CONGESTION: Duration = Duration::from_millis(60);
/// An answer that is overdue by so much is one, too: the next ping's would have come.
const OVERDUE: Duration = Duration::from_millis(60 + PING_INTERVAL.as_millis() as u64 / 2);
/// A queue of less is none.
const DRAINED: Duration = Duration::from_millis(20);
/// A queue that is still there after so long below the bottleneck is somebody else's.
const DRAIN_MAX: Duration = Duration::from_millis(1500);
/// In which a queue is to drain.
const DRAIN_WITHIN_S: f64 = 0.5;
/// Of what the bottleneck takes: with a queue less by what is to drain, at least this.
const DRAIN_SHARE_MIN: f64 = 0.3;
/// Of what the bottleneck takes, without a queue.
const CAPACITY_SHARE: f64 = 0.88;
/// While nothing is measured, of the rate that made the queue.
const UNMEASURED: f64 = 0.4;
/// Between the answers that the bottleneck is measured with: the client's own delays are some
/// milliseconds.
const SPAN_MIN: Duration = Duration::from_millis(80);
const SPAN_MAX: Duration = Duration::from_millis(400);
/// The smallest round trip is forgotten after so long: the path may have changed.
const ROUND_TRIP_MEMORY: Duration = Duration::from_secs(30);
/// Between two steps down: until the step before shows in what the client reports.
const FALL_INTERVAL: Duration = Duration::from_millis(400);
/// A step down for loss.
const FALL: f64 = 0.65;
/// Share of the ceiling to begin with, and a step up from there.
const BEGIN: f64 = 0.5;
const BEGIN_RISE: f64 = 1.2;
const BEGIN_INTERVAL: Duration = Duration::from_millis(100);
/// Without congestion for so long, the rate rises.
const RISE_AFTER: Duration = Duration::from_secs(2);
/// Between two steps up.
const RISE_INTERVAL: Duration = Duration::from_millis(500);
/// A step up, and one near the rate that was congested last.
const RISE: f64 = 1.06;
const RISE_NEAR: f64 = 1.02;
/// Departures that are remembered: a second's, in eight batches a frame.
const SENT_MAX: usize = 512;
/// Answers that are remembered: more than come in [`SPAN_MAX`].
const ANSWERS_MAX: usize = 16;

/// A ping and its answer.
#[derive(Clone, Copy, Debug)]
struct Answer {
    came: Timestamp,
    round_trip: Duration,
    /// Bytes sent before it.
    sent_bytes: u64,
}

/// A queue that drains.
#[derive(Clone, Copy, Debug)]
struct Drain {
    since: Timestamp,
    /// The rate that made it.
    before: f64,
    /// What the bottleneck takes, once it is measured, bits a second.
    capacity: Option<f64>,
}

/// The rate of one session.
#[derive(Clone, Debug)]
pub struct LinkRate {
    floor: f64,
    ceiling: f64,
    rate: f64,
    is_beginning: bool,
    /// What was too much last.
    too_much: Option<f64>,
    last_congested: Option<Timestamp>,
    last_fall: Option<Timestamp>,
    last_rise: Timestamp,
    damages: [Option<Timestamp>; DAMAGES_OF_CONGESTION],
    round_trip_min: Option<(Duration, Timestamp)>,
    sent: VecDeque<(Timestamp, u64)>,
    sent_bytes: u64,
    answers: VecDeque<Answer>,
    waits_since: Option<Timestamp>,
    drain: Option<Drain>,
}

impl LinkRate {
    /// Between these two, bits a second on the wire.
    #[must_use]
    pub fn new(now: Timestamp, floor: BitsPerSecond, ceiling: BitsPerSecond) -> Self {
        let ceiling = ceiling.0.max(1) as f64;
        let floor = (floor.0 as f64).min(ceiling);
        Self {
            floor,
            ceiling,
            rate: (BEGIN * ceiling).max(floor),
            is_beginning: true,
            too_much: None,
            last_congested: None,
            last_fall: None,
            last_rise: now,
            damages: [None; DAMAGES_OF_CONGESTION],
            round_trip_min: None,
            sent: VecDeque::with_capacity(SENT_MAX),
            sent_bytes: 0,
            answers: VecDeque::with_capacity(ANSWERS_MAX),
            waits_since: None,
            drain: None,
        }
    }

    /// The rate, parity included.
    #[must_use]
    pub const fn rate(&self) -> BitsPerSecond {
        BitsPerSecond(self.rate as u64)
    }

    /// It has fallen and waits until it may rise.
    #[must_use]
    pub fn is_congested(&self, now: Timestamp) -> bool {
        self.last_congested
            .is_some_and(|at| now.since(at) < RISE_AFTER)
    }

    /// What the last answers waited in a queue, over the smallest round trip known.
    #[must_use]
    pub fn queue_delay(&self) -> Duration {
        let last_two = self.answers.iter().rev().take(2);
        let least = last_two.map(|it| it.round_trip).min();
        self.over_least(least.unwrap_or_default())
    }

    /// So many bytes of video have left.
    pub fn handle_sent(&mut self, now: Timestamp, bytes: u64) {
        if self.sent.len() == SENT_MAX {
            self.sent.pop_front();
        }
        self.sent_bytes += bytes;
        self.sent.push_back((now, self.sent_bytes));
    }

    /// A ping was answered.
    pub fn handle_echo(&mut self, echo: Echo) {
        let round_trip = echo.round_trip();
        let is_new = |(min, at): (Duration, Timestamp)| {
            round_trip <= min || echo.came.since(at) > ROUND_TRIP_MEMORY
        };
        if self.round_trip_min.is_none_or(is_new) {
            self.round_trip_min = Some((round_trip, echo.came));
        }
        let before = self.sent.iter().rev().find(|(at, _)| *at <= echo.sent);
        let Some(&(_, sent_bytes)) = before.or(self.sent.front()) else {
            return;
        };
        if self.answers.len() == ANSWERS_MAX {
            self.answers.pop_front();
        }
        self.answers.push_back(Answer {
            came: echo.came,
            round_trip,
            sent_bytes,
        });
        if let Some(capacity) = self.measure()
            && let Some(drain) = &mut self.drain
        {
            let held = drain.capacity.unwrap_or(capacity);
            drain.capacity = Some(0.5 * held + 0.5 * capacity);
        }
    }

    /// The client could not make a frame whole.
    pub fn handle_damage(&mut self, now: Timestamp) {
        self.damages.rotate_left(1);
        if let Some(newest) = self.damages.last_mut() {
            *newest = Some(now);
        }
    }

    /// Decides anew: `loss_share` over [`LOSS_WINDOW`], and since when a ping waits.
    pub fn poll(&mut self, now: Timestamp, loss_share: f64, waits_since: Option<Timestamp>) {
        self.waits_since = waits_since;
        if self.is_queued(now) {
            self.last_congested = Some(now);
            self.is_beginning = false;
            if self.drain.is_none() {
                self.too_much = Some(self.rate);
                self.drain = Some(Drain {
                    since: now,
                    before: self.rate,
                    capacity: self.measure(),
                });
            }
        }
        if let Some(drain) = self.drain {
            return self.drain(now, drain, loss_share);
        }
        let oldest = self.damages[0];
        let is_damaged = oldest.is_some_and(|at| now.since(at) <= DAMAGE_WINDOW);
        if loss_share > LOSS_OF_CONGESTION || is_damaged {
            self.last_congested = Some(now);
            self.is_beginning = false;
            self.fall(now);
        } else {
            self.rise(now);
        }
    }

    fn over_least(&self, round_trip: Duration) -> Duration {
        let least = self.round_trip_min.map_or(round_trip, |(min, _)| min);
        round_trip.saturating_sub(least)
    }

    /// What the ping that waits has waited, over the smallest round trip.
    fn overdue(&self, now: Timestamp) -> Duration {
        // Before the first answer nothing is known.
        match (self.waits_since, self.round_trip_min) {
            (Some(since), Some(_)) => self.over_least(now.since(since)),
            _ => Duration::ZERO,
        }
    }

    fn is_queued(&self, now: Timestamp) -> bool {
        self.queue_delay() > QUEUE_OF_CONGESTION || self.overdue(now) > OVERDUE
    }

    /// What the bottleneck takes, bits a second, if the last answers all waited.
    fn measure(&self) -> Option<f64> {
        let newest = self.answers.back()?;
        let waited = |it: &&Answer| {
            self.over_least(it.round_trip) > DRAINED && newest.came.since(it.came) <= SPAN_MAX
        };
        let oldest = self.answers.iter().rev().take_while(waited).last()?;
        let span = newest.came.since(oldest.came);
        let bytes = newest.sent_bytes.saturating_sub(oldest.sent_bytes);
        (span >= SPAN_MIN && bytes > 0).then(|| 8.0 * bytes as f64 / span.as_secs_f64())
    }

    fn drain(&mut self, now: Timestamp, drain: Drain, loss_share: f64) {
        // It is over when two answers say so.
        let last_two = self.answers.iter().rev().take(2);
        let waited = last_two.map(|it| it.round_trip).max();
        let waited = self.over_least(waited.unwrap_or_default());
        let queue = waited.max(self.overdue(now));
        // Of what was sent, the queue's end dropped some.
        let capacity = drain.capacity.map(|it| it * (1.0 - loss_share));
        let most = match capacity {
            Some(capacity) => (CAPACITY_SHARE * capacity).min(0.95 * drain.before),
            None => FALL * drain.before,
        };
        let is_foreign = now.since(drain.since) > DRAIN_MAX;
        if queue <= DRAINED || is_foreign {
            if is_foreign && let Some(last) = self.answers.back() {
                self.round_trip_min = Some((last.round_trip, now));
            }
            self.drain = None;
            // What was lost meanwhile is yet to be reported.
            self.last_fall = Some(now + LOSS_WINDOW);
            self.rate = most.clamp(self.floor, self.ceiling);
            return;
        }
        let rate = match capacity {
            Some(capacity) => {
                let share = CAPACITY_SHARE - queue.as_secs_f64() / DRAIN_WITHIN_S;
                (capacity * share.max(DRAIN_SHARE_MIN)).min(most)
            }
            None => UNMEASURED * drain.before,
        };
        self.rate = rate.clamp(self.floor, self.ceiling);
    }

    fn fall(&mut self, now: Timestamp) {
        let fell = |at: Timestamp| now < at + FALL_INTERVAL;
        if self.last_fall.is_some_and(fell) {
            return;
        }
        self.too_much = Some(self.rate);
        self.last_fall = Some(now);
        self.rate = (self.rate * FALL).max(self.floor);
    }

    fn rise(&mut self, now: Timestamp) {
        let interval = match self.is_beginning {
            true => BEGIN_INTERVAL,
            false => RISE_INTERVAL,
        };
        let is_quiet = |at: Timestamp| now.since(at) >= RISE_AFTER;
        let waits = self.last_congested.is_some_and(|at| !is_quiet(at));
        if waits || now.since(self.last_rise) < interval {
            return;
        }
        if self.is_beginning {
            if self.rate >= self.ceiling {
                self.is_beginning = false;
            } else if self.queue_delay() > DRAINED || self.overdue(now) > DRAINED {
                return;
            }
        }
        self.last_rise = now;
        let is_near = self
            .too_much
            .is_some_and(|it| self.rate > 0.7 * it && self.rate < 1.1 * it);
        let step = match (self.is_beginning, is_near) {
            (true, _) => BEGIN_RISE,
            (false, true) => RISE_NEAR,
            (false, false) => RISE,
        };
        self.rate = (self.rate * step).min(self.ceiling);
    }
}

#[cfg(test)]
#[path = "rate_tests.rs"]
mod tests;
