//! The client's side of feedback: what arrived when, and when to say so.
//!
//! Neither allocates, and both are a handful of comparisons a datagram.

use std::time::Duration;

use super::{Feedback, RECEIPT_WINDOW_US, RECEIPTS_MAX, Receipt};
use crate::units::Timestamp;

/// Receipts of the last [`RECEIPT_WINDOW_US`], at most [`RECEIPTS_MAX`] runs of them; where there
/// are more, the oldest is dropped and counted.
#[derive(Debug)]
pub struct ReceiptLog {
    /// A ring; `next` is where the next run goes.
    runs: [Receipt; RECEIPTS_MAX],
    next: usize,
    len: usize,
    received: u64,
    dropped_runs: u64,
    highest: Option<u64>,
}

impl ReceiptLog {
    /// An empty log.
    #[must_use]
    pub fn new() -> Self {
        Self {
            runs: [Receipt::default(); RECEIPTS_MAX],
            next: 0,
            len: 0,
            received: 0,
            dropped_runs: 0,
            highest: None,
        }
    }

    /// Notes an authentic datagram that was taken from the socket at `now`. All datagrams of one
    /// receive call should get the same `now`: they make one run.
    ///
    /// Returns true if sequences below this one are missing that were not missing before.
    pub fn on_datagram(&mut self, sequence: u64, now: Timestamp) -> bool {
        let arrival = Timestamp::from_ns(now.as_ns() / 1000 * 1000);
        self.received += 1;
        let expected = self
            .highest
            .map_or(sequence, |highest| highest.saturating_add(1));
        self.highest = self.highest.max(Some(sequence));
        let newest = &mut self.runs[(self.next + RECEIPTS_MAX - 1) % RECEIPTS_MAX];
        let continues = self.len > 0
            && newest.arrival == arrival
            && newest.count < u16::MAX
            && newest.first.checked_add(u64::from(newest.count)) == Some(sequence);
        if continues {
            newest.count += 1;
        } else {
            self.push(Receipt {
                first: sequence,
                count: 1,
                arrival,
            });
        }
        sequence > expected
    }

    /// Fills in `received` and `receipts` of a feedback, oldest run first.
    pub fn fill(&self, feedback: &mut Feedback) {
        feedback.received = self.received;
        feedback.receipts.clear();
        let oldest = (self.next + RECEIPTS_MAX - self.len) % RECEIPTS_MAX;
        let (younger, older) = self.runs.split_at(oldest);
        let older = &older[..self.len.min(older.len())];
        let younger = &younger[..self.len - older.len()];
        let runs = older.iter().chain(younger);
        let Some(newest) = runs.clone().map(|run| run.arrival).max() else {
            return;
        };
        let window = Duration::from_micros(RECEIPT_WINDOW_US);
        // A chain is quick from within only.
        runs.for_each(|run| {
            if newest.since(run.arrival) <= window {
                feedback.receipts.push(*run);
            }
        });
    }

    /// Datagrams noted so far.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Runs dropped within the window because the log was full. The host counts their datagrams
    /// as received (by [`Feedback::received`]), only without a time, unless they were told before.
    #[must_use]
    pub const fn dropped_runs(&self) -> u64 {
        self.dropped_runs
    }

    fn push(&mut self, run: Receipt) {
        let window = Duration::from_micros(RECEIPT_WINDOW_US);
        if self.len < RECEIPTS_MAX {
            self.len += 1;
        } else if run.arrival.since(self.runs[self.next].arrival) <= window {
            self.dropped_runs += 1;
        }
        self.runs[self.next] = run;
        self.next = (self.next + 1) % RECEIPTS_MAX;
    }
}

impl Default for ReceiptLog {
    fn default() -> Self {
        Self::new()
    }
}

/// How often feedback goes out.
#[derive(Clone, Copy, Debug)]
pub struct ScheduleConfig {
    /// Between two feedbacks while datagrams arrive.
    pub interval: Duration,
    /// Between two feedbacks where one is urgent.
    pub urgent_interval: Duration,
    /// A feedback is said again after this long, even if nothing arrived since.
    pub repeat_interval: Duration,
    /// How often a feedback is said again while nothing arrives.
    pub repeats: u8,
}

impl Default for ScheduleConfig {
    /// 5 ms: three or four in a frame of 60 Hz, so that the host knows within the frame that a
    /// queue grows. 1 ms where something is lost: a repeat can still come in time. 20 ms and
    /// three repeats: at 5 % loss the last receipt stays unknown once in 160 000 times.
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(5),
            urgent_interval: Duration::from_millis(1),
            repeat_interval: Duration::from_millis(20),
            repeats: 3,
        }
    }
}

/// Says when the next feedback is due.
#[derive(Debug)]
pub struct FeedbackSchedule {
    config: ScheduleConfig,
    last: Timestamp,
    is_pending: bool,
    is_urgent: bool,
    repeats_left: u8,
}

impl FeedbackSchedule {
    /// Nothing is due until something arrives.
    #[must_use]
    pub const fn new(config: ScheduleConfig) -> Self {
        Self {
            config,
            last: Timestamp::ZERO,
            is_pending: false,
            is_urgent: false,
            repeats_left: 0,
        }
    }

    /// A datagram arrived; `is_urgent` if it shows a loss, or the client wants something.
    pub fn on_datagram(&mut self, is_urgent: bool) {
        self.is_pending = true;
        self.is_urgent |= is_urgent;
    }

    /// The client has something to say that cannot wait, without a datagram having come.
    pub fn on_urgent(&mut self) {
        self.is_pending = true;
        self.is_urgent = true;
    }

    /// When the next feedback is due; possibly in the past.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let wait = if self.is_urgent {
            self.config.urgent_interval
        } else if self.is_pending {
            self.config.interval
        } else if self.repeats_left > 0 {
            self.config.repeat_interval
        } else {
            return None;
        };
        Some(self.last + wait)
    }

    /// True if a feedback is to be sent now; the caller does, and it counts as sent.
    pub fn poll(&mut self, now: Timestamp) -> bool {
        let is_due = self.poll_timeout().is_some_and(|due| due <= now);
        if is_due {
            self.repeats_left = if self.is_pending {
                self.config.repeats
            } else {
                self.repeats_left - 1
            };
            self.is_pending = false;
            self.is_urgent = false;
            self.last = now;
        }
        is_due
    }
}

impl Default for FeedbackSchedule {
    fn default() -> Self {
        Self::new(ScheduleConfig::default())
    }
}
