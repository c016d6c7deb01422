//! Rate control: how much to send, how fast to pace it, and what the path is like.
//!
//! `RATE.md` beside this crate's manifest states the algorithm with its constants and the runs
//! that decided them; the code follows it in the same words. Data flows top to bottom:
//!
//! ```text
//! Sent ─▶ sent ─┬▶ arrivals   ─┐
//! Feedback ─────┼▶ bottleneck  ├▶ estimator ─▶ Signals ─▶ controller ─▶ Decision ─▶ pacer
//!               └▶ loss       ─┘
//! ```
//!
//! Everything is sans-IO. After each `handle_*`, and when [`Rate::poll_timeout`] says so, the
//! caller asks [`Rate::poll`]. All rates are bits a second of UDP payload. After construction
//! nothing allocates.

mod sent;
mod arrivals;
mod bottleneck;
mod loss;
mod estimator;
mod decision;
mod load;
mod controller;
mod pacer;
#[cfg(test)]
mod testnet;
#[cfg(test)]
mod tests;

pub use decision::{Config, Decision, Load, Probe, State};
pub use estimator::Signals;
pub use loss::Loss;
pub use pacer::{Pace, Pacer, UNMEASURED_BURST_BYTES, Urgency};
pub use sent::{Fate, Judged, SENT_MAX, Sent, SentKind};

use std::time::Duration;

use crate::feedback::Feedback;
use crate::units::{BitsPerSecond, Timestamp};

use controller::Controller;
use estimator::Estimator;

/// Estimator and controller of one session.
#[derive(Debug)]
pub struct Rate {
    estimator: Estimator,
    controller: Controller,
    was_outage: bool,
}

impl Rate {
    /// Starts at `config.start`.
    #[must_use]
    pub fn new(now: Timestamp, config: Config) -> Self {
        Self {
            estimator: Estimator::new(),
            controller: Controller::new(now, config),
            was_outage: false,
        }
    }

    /// Datagrams were given to the kernel at `now`. Sequences must grow from call to call.
    pub fn handle_sent(&mut self, now: Timestamp, sent: &Sent) {
        self.estimator.handle_sent(now, sent);
    }

    /// A feedback came at `now`. Its times of decoding are taken as load.
    pub fn handle_feedback(&mut self, now: Timestamp, feedback: &Feedback) {
        self.handle_feedback_with(now, feedback, |_| true);
    }

    /// The same. `is_load` sees what became of each datagram, in the order of their sequences,
    /// and says whether it counts as loss of the path: what is lost for its size does not.
    pub fn handle_feedback_with(
        &mut self,
        now: Timestamp,
        feedback: &Feedback,
        is_load: impl FnMut(&Judged) -> bool,
    ) {
        self.estimator.handle_feedback(now, feedback, is_load);
        self.controller.handle_decoder(Load {
            time: Duration::from_micros(feedback.decode_us.into()),
            waiting: feedback.waiting_units,
        });
    }

    /// What was lost lately was lost for its size, and says nothing of what the path takes now.
    pub fn forget_losses(&mut self) {
        self.estimator.forget_losses();
    }

    /// True if the client has named that datagram.
    #[must_use]
    pub fn is_received(&self, sequence: u64) -> bool {
        self.estimator.log().is_received(sequence)
    }

    /// How busy the encoder is, after each frame: for how long the newest one kept it from the
    /// next (from when it took the picture until it could take another, not the time through a
    /// pipeline of several), and pictures that wait or were dropped for it since the one before.
    /// It is too busy if that is more than the frame interval, or more than two wait, for half a
    /// second of a picture that moves.
    pub fn handle_encoder(&mut self, load: Load) {
        self.controller.handle_encoder(load);
    }

    /// New bounds, of the operator or the client.
    pub fn set_bounds(&mut self, floor: BitsPerSecond, ceiling: BitsPerSecond) {
        self.controller.set_bounds(floor, ceiling);
    }

    /// Frames come in another interval from now on.
    pub fn set_frame_interval(&mut self, interval: Duration) {
        self.controller.set_frame_interval(interval);
    }

    /// What to do from now on.
    pub fn poll(&mut self, now: Timestamp) -> Decision {
        let signals = self.estimator.signals(now);
        let decision = self.controller.poll(now, &signals);
        if self.was_outage && decision.state != State::Outage {
            self.estimator.forget_losses();
        }
        self.was_outage = decision.state == State::Outage;
        decision
    }

    /// When to call [`Self::poll`] next, if nothing comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Timestamp {
        self.controller.poll_timeout()
    }

    /// What is known about the path.
    #[must_use]
    pub fn signals(&self, now: Timestamp) -> Signals {
        self.estimator.signals(now)
    }

    /// Loss over two seconds: that of [`Self::signals`], without the cost of the others.
    #[must_use]
    pub fn loss(&self, now: Timestamp) -> Loss {
        self.estimator.loss(now)
    }

    /// Smoothed round trip; zero before the first. Likewise.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        self.estimator.round_trip()
    }

    /// All losses so far, datagrams.
    #[must_use]
    pub const fn total_lost(&self) -> u64 {
        self.estimator.total_lost()
    }

    /// Receipts of datagrams that were never sent, or long ago: a client that lies or sleeps.
    #[must_use]
    pub const fn unknown_receipts(&self) -> u64 {
        self.estimator.log().unknown_receipts()
    }
}
