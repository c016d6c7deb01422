//! The host's half of a stream's control loop: from what a client reports to what the stages do.
//!
//! ```text
//! departures ─▶ ┌──────────┐ ─▶ Orders: bitrate, protection, pace
//! feedback   ─▶ │ Steering │ ─▶ Task: repeat, echo, probe
//!               └──────────┘ ─▶ Repair: recovery picture, IDR
//! ```
//!
//! Sans-IO: after each `handle_*`, and when [`Steering::poll_timeout`] says so, the caller asks
//! [`Steering::poll`], then takes tasks until there are none.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::crypto::Opener;
use crate::feedback::{Feedback, FeedbackError};
use crate::limits::{DATAGRAM_BYTES_MAX, MEDIA_HEADER_BYTES, SHARD_BYTES_MAX, TAG_BYTES};
use crate::media::{self, Kind, MediaError, VideoError};
use crate::packetize::{Columns, Protection};
use crate::rate::{self, Decision, Pace, Rate, Sent, UNMEASURED_BURST_BYTES};
use crate::units::{BitsPerSecond, Timestamp};

/// Tasks that the caller has not taken yet; more are dropped and counted, the client asks again.
const TASKS: usize = 64;
/// Clock stamps are answered no oftener: the client keeps the best of each second.
const ECHO_INTERVAL: Duration = Duration::from_millis(50);
/// Payload of full datagrams over their size: what the headers leave.
const PAYLOAD_SHARE: f64 =
    SHARD_BYTES_MAX as f64 / (MEDIA_HEADER_BYTES + SHARD_BYTES_MAX + TAG_BYTES) as f64;
/// A change of the encoder's bitrate by less than this is no order: each costs it a little of
/// what its own controller has learned.
const BITRATE_STEP: f64 = 0.02;

/// What a session lets the path decide, and what it does not.
#[derive(Clone, Copy, Debug)]
pub struct SteeringConfig {
    /// The encoder never aims for less.
    pub bitrate_min: BitsPerSecond,
    /// The encoder never aims for more: what client and operator have agreed on.
    pub bitrate_max: BitsPerSecond,
    /// Time between two frames.
    pub frame_interval: Duration,
    /// Protection that the operator or the client has fixed.
    pub protection: Option<Protection>,
}

/// What the stages are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orders {
    /// What the encoder aims for.
    pub bitrate: BitsPerSecond,
    /// How frames are protected.
    pub protection: Protection,
    /// How fast datagrams leave.
    pub pace: Pace,
    /// The largest datagram, bytes.
    pub datagram_bytes_max: usize,
}

/// Orders that hold back nothing, for a pipeline that nobody steers.
#[must_use]
pub const fn unsteered(protection: Protection) -> Orders {
    Orders {
        bitrate: BitsPerSecond(10_000_000),
        protection,
        pace: Pace {
            rate: BitsPerSecond(u64::MAX),
            burst_bytes: u32::MAX,
        },
        datagram_bytes_max: DATAGRAM_BYTES_MAX,
    }
}

/// Something to seal beside the slices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Shards that the client misses.
    Repeat(Columns),
    /// The answer to a feedback's clock stamp; see [`crate::clock_sync::Echo`].
    Echo {
        /// When the client sent it, its clock.
        client_sent: Timestamp,
        /// When the feedback came.
        host_received: Timestamp,
    },
    /// Padding.
    Probe {
        /// UDP payload of each datagram, bytes.
        datagram_bytes: u16,
        /// How many.
        datagrams: u16,
        /// How fast they leave.
        pace: Pace,
        /// The burst that they belong to, as rate control counts them.
        burst: u32,
    },
}

/// Why a datagram of the client was of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SteeringError {
    /// It is no feedback, or not authentic.
    #[error(transparent)]
    Datagram(#[from] VideoError),
    /// It is authentic and not well formed.
    #[error(transparent)]
    Feedback(#[from] FeedbackError),
}

/// What is going on, for display.
#[derive(Clone, Copy, Debug)]
pub struct SteeringStatus {
    /// What the rate controller does.
    pub state: rate::State,
    /// What it lets on the wire, bits a second of UDP payload.
    pub wire_rate: BitsPerSecond,
    /// What the stages were told last.
    pub orders: Orders,
    /// Share of datagrams lost, 0 to 1, and their mean run.
    pub loss_share: f64,
    /// Mean run of lost datagrams.
    pub loss_burst: f64,
    /// Smoothed round trip; zero before the first.
    pub round_trip: Duration,
    /// Queue in front of the bottleneck.
    pub queue_delay: Duration,
    /// What the bottleneck passes, if known.
    pub bottleneck: Option<BitsPerSecond>,
    /// Feedbacks taken.
    pub feedbacks: u64,
    /// Datagrams that were no feedback.
    pub refused: u64,
    /// Tasks dropped because nobody took them.
    pub tasks_dropped: u64,
}

impl fmt::Display for SteeringStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mbit = |rate: BitsPerSecond| rate.0 as f64 * 1e-6;
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        write!(f, "path {}: {:.1} Mbit/s", self.state, mbit(self.wire_rate))?;
        if let Some(bottleneck) = self.bottleneck {
            write!(f, " of {:.0}", mbit(bottleneck))?;
        }
        write!(
            f,
            ", encoder {:.1}, parity {} %, paced at {:.0}, round trip {:.1} ms, queue {:.1} ms, \
             loss {:.1} % in runs of {:.1}",
            mbit(self.orders.bitrate),
            self.orders.protection.percent,
            mbit(self.orders.pace.rate),
            ms(self.round_trip),
            ms(self.queue_delay),
            self.loss_share * 100.0,
            self.loss_burst,
        )
    }
}

/// The machine; see the module's text.
pub struct Steering {
    config: SteeringConfig,
    opener: Opener,
    rate: Rate,
    decision: Decision,
    orders: Orders,
    tasks: VecDeque<Task>,
    echo_due: Timestamp,
    feedbacks: u64,
    refused: u64,
    tasks_dropped: u64,
}

impl Steering {
    /// `opener` has the client's keys. The orders that hold at first are [`Steering::orders`].
    #[must_use]
    pub fn new(now: Timestamp, opener: Opener, config: SteeringConfig) -> Self {
        let protection = config.protection.unwrap_or(Protection::at_frame_end(10));
        let on_wire = |bitrate: BitsPerSecond| {
            let wire = bitrate.0 as f64 * (1.0 + parity_share(protection)) / PAYLOAD_SHARE;
            BitsPerSecond(wire as u64)
        };
        let ceiling = on_wire(config.bitrate_max);
        let defaults = rate::Config::default();
        let mut rate = Rate::new(
            now,
            rate::Config {
                floor: on_wire(config.bitrate_min),
                ceiling,
                start: BitsPerSecond(defaults.start.0.min(ceiling.0)),
                frame_interval: config.frame_interval,
            },
        );
        let decision = rate.poll(now);
        let mut steering = Self {
            orders: Orders {
                bitrate: config.bitrate_max,
                protection,
                pace: Pace {
                    rate: BitsPerSecond(2 * config.bitrate_max.0),
                    burst_bytes: UNMEASURED_BURST_BYTES,
                },
                datagram_bytes_max: DATAGRAM_BYTES_MAX,
            },
            config,
            opener,
            rate,
            decision,
            tasks: VecDeque::with_capacity(TASKS),
            echo_due: now,
            feedbacks: 0,
            refused: 0,
            tasks_dropped: 0,
        };
        steering.decide();
        steering
    }

    /// What holds now.
    #[must_use]
    pub const fn orders(&self) -> Orders {
        self.orders
    }

    /// Datagrams have left at `at`, in the order of their sequences.
    pub fn handle_sent(&mut self, at: Timestamp, sent: &Sent) {
        self.rate.handle_sent(at, sent);
    }

    /// A media datagram has come from the client.
    ///
    /// # Errors
    /// See [`SteeringError`]; it is counted, and nothing has changed.
    pub fn handle_datagram(
        &mut self,
        now: Timestamp,
        datagram: &mut [u8],
    ) -> Result<(), SteeringError> {
        let taken = self.open(datagram);
        match &taken {
            Ok(feedback) => {
                self.feedbacks += 1;
                self.rate.handle_feedback(now, feedback);
                if now >= self.echo_due {
                    self.echo_due = now + ECHO_INTERVAL;
                    self.push(Task::Echo {
                        client_sent: feedback.sent,
                        host_received: now,
                    });
                }
            }
            Err(_) => self.refused += 1,
        }
        taken.map(|_| ())
    }

    /// Decides anew; true if the orders have changed.
    pub fn poll(&mut self, now: Timestamp) -> bool {
        self.decision = self.rate.poll(now);
        if let Some(probe) = self.decision.probe {
            let datagrams = probe.bytes.div_ceil(DATAGRAM_BYTES_MAX as u32);
            self.push(Task::Probe {
                datagram_bytes: DATAGRAM_BYTES_MAX as u16,
                datagrams: datagrams.min(u16::MAX.into()) as u16,
                pace: probe.pace,
                burst: probe.burst,
            });
        }
        self.decide()
    }

    /// When to poll next at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Timestamp {
        self.rate.poll_timeout()
    }

    /// The next task, until there is none.
    pub fn poll_task(&mut self) -> Option<Task> {
        self.tasks.pop_front()
    }

    /// What is going on.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> SteeringStatus {
        let signals = self.rate.signals(now);
        SteeringStatus {
            state: self.decision.state,
            wire_rate: self.decision.wire_rate,
            orders: self.orders,
            loss_share: signals.loss.share(),
            loss_burst: signals.loss.burst_mean(),
            round_trip: signals.rtt,
            queue_delay: signals.queue_delay,
            bottleneck: signals.bottleneck.map(|rate| BitsPerSecond(rate as u64)),
            feedbacks: self.feedbacks,
            refused: self.refused,
            tasks_dropped: self.tasks_dropped,
        }
    }

    fn open(&mut self, datagram: &mut [u8]) -> Result<Feedback, SteeringError> {
        let kind = datagram.first().copied().unwrap_or_default();
        if Kind::from_wire(kind) != Some(Kind::Feedback) {
            return Err(VideoError::Header(MediaError::Type { kind }).into());
        }
        let plaintext = media::open_plain(&mut self.opener, datagram)?;
        Ok(Feedback::parse(plaintext)?)
    }

    /// Makes orders of the latest decision; true if they are others than before.
    fn decide(&mut self) -> bool {
        let before = self.orders;
        let video = self.decision.wire_rate.0 as f64 * PAYLOAD_SHARE
            / (1.0 + parity_share(self.orders.protection));
        let (min, max) = (self.config.bitrate_min.0, self.config.bitrate_max.0);
        let bitrate = (video as u64).clamp(min.min(max), max);
        let step = (bitrate as f64 / before.bitrate.0.max(1) as f64 - 1.0).abs();
        if step >= BITRATE_STEP || bitrate == min || bitrate == max {
            self.orders.bitrate = BitsPerSecond(bitrate);
        }
        self.orders.pace = self.decision.pace;
        self.orders != before
    }

    fn push(&mut self, task: Task) {
        if self.tasks.len() < TASKS {
            self.tasks.push_back(task);
        } else {
            self.tasks_dropped += 1;
        }
    }
}

/// Parity over data, for frames of many shards.
fn parity_share(protection: Protection) -> f64 {
    f64::from(protection.percent) / 100.0
}
