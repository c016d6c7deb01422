//! A session's control loop on the control thread: feedback in, orders and tasks out.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use net::crypto::Opener;
use net::ladder::Repair;
use net::steering::{Steering, SteeringConfig};
use net::units::Timestamp;

use crate::metrics::{SessionMetrics, add};
use crate::stage::encode::EncodeCommand;
use crate::steering::{ControlEnds, Departed, PipelineEnds, ways};

/// Without feedback the path is looked at this often: an outage is found within a frame, and a
/// frame whose end is not answered is known to have left.
const TICK: Duration = Duration::from_millis(10);

/// Between two looks for the sake of a deadline.
const DEADLINE_MIN: Duration = Duration::from_millis(1);

/// One session's steering and its ways to the pipeline.
pub(super) struct Steer {
    steering: Steering,
    ends: ControlEnds,
    metrics: Arc<SessionMetrics>,
    polled: Timestamp,
}

impl Steer {
    /// The steering of a session that is about to start, and its pipeline's ends.
    pub(super) fn new(
        now: Timestamp,
        opener: Opener,
        config: SteeringConfig,
        metrics: Arc<SessionMetrics>,
    ) -> (Self, PipelineEnds) {
        let steering = Steering::new(now, opener, config);
        let (pipeline, ends) = ways(&steering.orders());
        let this = Self {
            steering,
            ends,
            metrics,
            polled: now,
        };
        (this, pipeline)
    }

    /// A media datagram has come from the session's client.
    pub(super) fn handle_datagram(&mut self, now: Timestamp, datagram: &mut [u8]) {
        // First what has left: the client may speak of it already.
        self.take_departures();
        match self.steering.handle_datagram(now, datagram) {
            Ok(()) => self.poll(now),
            Err(error) => log::trace!("{error}"),
        }
    }

    /// The client has moved; what was on its way to where it was is lost.
    pub(super) fn handle_move(&mut self, now: Timestamp) {
        self.take_departures();
        self.steering.handle_move(now);
    }

    /// The mode has changed: frames come in this interval from now on.
    pub(super) fn change_mode(&mut self, frame_interval: Duration) {
        self.steering.change_mode(frame_interval);
    }

    /// When [`Steer::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Timestamp {
        let due = self.steering.poll_timeout().max(self.polled + TICK);
        // At once, but never twice without time between.
        let deadline = self.steering.poll_deadline();
        deadline.map_or(due, |deadline| {
            due.min(deadline.max(self.polled + DEADLINE_MIN))
        })
    }

    /// What the encoder is to be asked for, until there is nothing.
    pub(super) fn poll_repair(&mut self) -> Option<EncodeCommand> {
        let repair = self.steering.poll_repair()?;
        Some(match repair {
            Repair::Invalidate {
                first_lost,
                newest_lost,
            } => EncodeCommand::Invalidate {
                first_lost,
                newest_lost,
            },
            Repair::Idr => EncodeCommand::Keyframe {
                newest_lost: self.steering.newest_lost(),
            },
        })
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        if self.poll_timeout() <= now {
            self.take_departures();
            self.poll(now);
        }
    }

    fn take_departures(&mut self) {
        while let Ok(departed) = self.ends.departures.try_recv() {
            let Departed {
                at,
                sent,
                frame,
                is_refused,
            } = departed;
            if is_refused {
                self.steering.handle_refused(at, &sent, frame);
            } else {
                self.steering.handle_sent(at, &sent, frame);
            }
        }
    }

    fn poll(&mut self, now: Timestamp) {
        self.polled = now;
        if let Some(took) = self.ends.load.take() {
            self.steering.handle_encoder(now, took);
        }
        if self.steering.poll(now) {
            self.ends.orders.set(&self.steering.orders());
        }
        while let Some(task) = self.steering.poll_task() {
            if self.ends.tasks.try_send(task).is_err() {
                add(&self.metrics.counters.tasks_dropped, 1);
            }
        }
        let status = self.steering.status(now);
        let counters = &self.metrics.counters;
        counters.feedback_refused.store(status.refused, Relaxed);
        self.metrics.set_path(status);
    }
}
