//! The host's half of a stream's control loop: from what a client reports to what the stages do.
//!
//! ```text
//! departures ─▶ ┌──────────┐ ─▶ Orders: bitrate, protection, pace
//! feedback   ─▶ │ Steering │ ─▶ Task: repeat, tail, echo, probes of rate and size
//!               └──────────┘ ─▶ Repair: recovery picture, IDR
//! ```
//!
//! Sans-IO: after each `handle_*`, and when [`Steering::poll_timeout`] or
//! [`Steering::poll_deadline`] say so, the caller asks [`Steering::poll`], then takes tasks and
//! repairs until there are none.
//!
//! The size of datagrams is that of [`PathMtu`], within what was agreed: it hears what became of
//! each datagram, by size. When the size falls (a black hole, or a refusal of the kernel), what was
//! lost for it counts as loss no more, repeats of the frames so far are refused, as they have the
//! old size, and the encoder is asked for a recovery before the client knows that it needs one.

mod codecs;
mod fill;

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroU8;
use std::time::Duration;

use crate::crypto::Opener;
use crate::feedback::{Feedback, FeedbackError, WANTS_MAX};
use crate::ladder::{self, Ladder, LadderConfig, Path, Repair, Rung, SentFrame, Tail};
use crate::limits::{
    DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN, MEDIA_HEADER_BYTES, SHARD_BYTES_MAX, TAG_BYTES,
};
use crate::media::{self, Kind, MediaError, VideoError};
use crate::packetize::{Columns, Protection};
use crate::path_mtu::PathMtu;
use crate::rate::UNMEASURED_BURST_BYTES;
use crate::rate::{self, Decision, Fate, Judged, Pace, Rate, Sent, SentKind};
use crate::units::{BitsPerSecond, FrameId, Timestamp};

use codecs::Codecs;
use fill::Fill;

/// Tasks that nobody has taken yet, those of a few feedbacks; more are dropped and counted, the
/// client asks again.
pub const TASKS: usize = 4 * WANTS_MAX;
/// Clock stamps are answered no oftener: the client keeps the best of each second.
const ECHO_INTERVAL: Duration = Duration::from_millis(50);
/// What a datagram has beside its shard.
const AROUND_BYTES: usize = MEDIA_HEADER_BYTES + TAG_BYTES;
/// Where parity alone must do it, frames of few shards are cut into about twice as many: the
/// number lost strays less from its mean, and slices end in less of a short shard, which whole
/// parity protects. At 5 % and 20 Mbit/s that takes a quarter off the parity.
const SMALL_DATAGRAM_BYTES: usize = AROUND_BYTES + SMALL_SHARD_BYTES;
const SMALL_SHARD_BYTES: usize = 704;
const _: () = assert!(SMALL_SHARD_BYTES.is_multiple_of(64) && SMALL_SHARD_BYTES < SHARD_BYTES_MAX);
/// A frame of fewer bytes is cut so, one of more than twice as many no longer: it has shards
/// enough.
const SMALL_FRAME_BYTES: usize = 48 * SHARD_BYTES_MAX;
/// Loss that is worth it, and loss that no longer is.
const SMALL_FROM_SHARE: f64 = 0.005;
const SMALL_TO_SHARE: f64 = 0.001;
/// Room above the largest bitrate for parity and repeats, as a part of it: what the ladder sends
/// on a path that loses a twentieth, so that such a path costs no quality where it has the rate.
const HEADROOM_SHARE: f64 = 0.3;
/// Losses are counted as of so many datagrams at least.
const LOSS_DATAGRAMS_MIN: u32 = 500;
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
    /// The largest datagram, bytes, that client and host have agreed on.
    pub datagram_bytes_max: usize,
}

/// What the stages are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orders {
    /// What the encoder aims for.
    pub bitrate: BitsPerSecond,
    /// Of so many pictures one is encoded: more than 1 where encoder or decoder cannot follow.
    pub frame_divisor: NonZeroU8,
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
        frame_divisor: NonZeroU8::MIN,
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
    /// The last shard of the newest frame, which nothing seems to follow. Not if something does.
    Tail(Columns),
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
    /// One datagram of padding of a size that is being tried. It leaves after the frame in work.
    MtuProbe {
        /// UDP payload, bytes.
        datagram_bytes: u16,
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
    /// The highest rung of the ladder that is in use.
    pub rung: Rung,
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
    /// Data shards of a frame lately, and the parity that it gets.
    pub frame: (usize, usize),
    /// Queue in front of the bottleneck.
    pub queue_delay: Duration,
    /// What the bottleneck passes, if known.
    pub bottleneck: Option<BitsPerSecond>,
    /// The largest datagram that the path is known to carry, bytes, within what was agreed.
    pub path_bytes: usize,
    /// Larger ones are being tried.
    pub is_path_searched: bool,
    /// Times that the path stopped carrying what it had.
    pub black_holes: u64,
    /// Last columns sent again because nothing was heard of a frame's end.
    pub tail_probes: u64,
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
            ", encoder {:.1}, one picture of {}, parity {} of {}, {}, paced at {:.0}, round trip {:.1} ms, \
             queue {:.1} ms, loss {:.1} % in runs of {:.1}, datagrams of {}",
            mbit(self.orders.bitrate),
            self.orders.frame_divisor,
            self.frame.1,
            self.frame.0,
            self.rung,
            mbit(self.orders.pace.rate),
            ms(self.round_trip),
            ms(self.queue_delay),
            self.loss_share * 100.0,
            self.loss_burst,
            self.orders.datagram_bytes_max,
        )?;
        if self.orders.datagram_bytes_max < self.path_bytes {
            write!(f, " of {}", self.path_bytes)?;
        }
        if self.is_path_searched {
            f.write_str(" (trying more)")?;
        }
        if self.black_holes > 0 {
            write!(f, ", shrunk {} ×", self.black_holes)?;
        }
        Ok(())
    }
}

/// The machine; see the module's text.
pub struct Steering {
    config: SteeringConfig,
    opener: Opener,
    rate: Rate,
    decision: Decision,
    ladder: Ladder,
    tail: Tail,
    mtu: PathMtu,
    /// What [`PathMtu`] said last.
    path_bytes: usize,
    codecs: Codecs,
    fill: Fill,
    newest_lost: FrameId,
    last_good: Option<FrameId>,
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
        let config = SteeringConfig {
            datagram_bytes_max: config
                .datagram_bytes_max
                .clamp(DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX),
            ..config
        };
        let ladder = Ladder::new(LadderConfig::default());
        let mtu = PathMtu::new(now, config.datagram_bytes_max);
        let protection = config.protection.unwrap_or(ladder.protection());
        let on_wire = |bitrate: BitsPerSecond| {
            let payload_share = payload_share(config.datagram_bytes_max);
            let wire = bitrate.0 as f64 * (1.0 + HEADROOM_SHARE) / payload_share;
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
                frame_divisor: NonZeroU8::MIN,
                protection,
                pace: Pace {
                    rate: BitsPerSecond(2 * config.bitrate_max.0),
                    burst_bytes: UNMEASURED_BURST_BYTES,
                },
                datagram_bytes_max: mtu.datagram_bytes_max(),
            },
            codecs: Codecs::new(config.frame_interval),
            fill: Fill::new(),
            config,
            opener,
            rate,
            decision,
            ladder,
            tail: Tail::new(),
            path_bytes: mtu.datagram_bytes_max(),
            mtu,
            newest_lost: FrameId(0),
            last_good: None,
            tasks: VecDeque::with_capacity(TASKS),
            echo_due: now,
            feedbacks: 0,
            refused: 0,
            tasks_dropped: 0,
        };
        steering.decide();
        steering
    }

    /// The mode has changed: frames come in this interval from now on, and how long those of the
    /// mode before took encoder and decoder says nothing of them.
    pub fn change_mode(&mut self, frame_interval: Duration) {
        self.config.frame_interval = frame_interval;
        self.codecs = Codecs::new(frame_interval);
        self.rate.set_frame_interval(frame_interval);
    }

    /// Media goes to another address of the client's from now on. What was sent to the one before
    /// lately is lost, which is no loss of the path: the next picture refers to nothing of it.
    pub fn handle_move(&mut self, now: Timestamp) {
        self.rate.forget_losses();
        self.ladder.handle_move(now, self.last_good);
    }

    /// What holds now.
    #[must_use]
    pub const fn orders(&self) -> Orders {
        self.orders
    }

    /// Datagrams have left at `at`, in the order of their sequences; `frame` is what is known of
    /// the frame whose slice begins with them.
    pub fn handle_sent(&mut self, at: Timestamp, sent: &Sent, frame: Option<SentFrame>) {
        self.rate.handle_sent(at, sent);
        if self.fill.is_new_picture(sent) {
            let wire_rate = (self.orders.bitrate.0 as f64 / self.video_share()).trunc();
            let pictures_per_s = 1.0 / self.config.frame_interval.as_secs_f64();
            self.fill.begin_picture(sent, wire_rate / pictures_per_s);
        }
        self.fill.handle_sent(sent);
        if let Some(frame) = frame {
            self.ladder.handle_sent(at, frame);
        }
        match sent.kind {
            SentKind::Video => self.tail.handle_sent(at, sent.last_sequence(), frame),
            SentKind::MtuProbe => {
                let bytes = usize::from(sent.datagram_bytes);
                self.mtu.handle_probe_sent(at, bytes);
            }
            SentKind::Repeat => {
                let frame = FrameId(sent.burst);
                self.tail.handle_repeated(frame, sent.last_sequence());
            }
            SentKind::Probe | SentKind::Echo => {}
        }
    }

    /// Datagrams that the kernel refused at `at`, as the first hop takes none so large.
    pub fn handle_refused(&mut self, at: Timestamp, sent: &Sent, frame: Option<SentFrame>) {
        if let Some(frame) = frame {
            self.ladder.handle_sent(at, frame);
        }
        self.mtu
            .handle_refusal(at, usize::from(sent.datagram_bytes));
        self.follow_path(at);
    }

    /// The encoder has taken so long for a picture, on average of those since the last call.
    pub fn handle_encoder(&mut self, now: Timestamp, took: Duration) {
        self.codecs.handle_encoder(now, took);
        self.rate.handle_encoder(self.codecs.encoder_load());
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
        let mut taken = self.open(datagram);
        match &mut taken {
            Ok(feedback) => {
                self.feedbacks += 1;
                let took = Duration::from_micros(feedback.decode_us.into());
                self.codecs.handle_decoder(now, took);
                // Rate control knows of intervals, and not that a picture lasts several.
                feedback.decode_us = self.codecs.decoder_share_us(feedback.decode_us);
                self.take(now, feedback);
                self.climb(now, feedback);
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
            // At most DATAGRAM_BYTES_MAX.
            let datagram_bytes = self.path_bytes as u16;
            let datagrams = probe.bytes.div_ceil(datagram_bytes.into());
            self.push(Task::Probe {
                datagram_bytes,
                datagrams: datagrams.min(u16::MAX.into()) as u16,
                pace: probe.pace,
                burst: probe.burst,
            });
        }
        if let Some(datagram_bytes) = self.mtu.poll_probe(now) {
            let datagram_bytes = datagram_bytes as u16;
            self.push(Task::MtuProbe { datagram_bytes });
        }
        self.follow_path(now);
        self.tail.handle_alive(self.decision.signals.answered);
        if let Some(columns) = self.tail.poll(now, self.decision.signals.rtt)
            && self.ladder.can_pass(columns.frame)
        {
            self.push(Task::Tail(columns));
        }
        self.decide()
    }

    /// When to poll next at the latest; some time later does little harm.
    #[must_use]
    pub fn poll_timeout(&self) -> Timestamp {
        self.rate.poll_timeout().min(self.mtu.poll_timeout())
    }

    /// When to poll next for what a client waits for, if for anything.
    #[must_use]
    pub fn poll_deadline(&self) -> Option<Timestamp> {
        self.tail.poll_timeout(self.decision.signals.rtt)
    }

    /// What the encoder is to be asked for, until there is nothing.
    pub fn poll_repair(&mut self) -> Option<Repair> {
        self.ladder.poll_repair()
    }

    /// The newest frame that the client reported lost.
    #[must_use]
    pub const fn newest_lost(&self) -> FrameId {
        self.newest_lost
    }

    /// The next task, until there is none.
    pub fn poll_task(&mut self) -> Option<Task> {
        self.tasks.pop_front()
    }

    /// What is going on.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> SteeringStatus {
        let signals = &self.decision.signals;
        SteeringStatus {
            state: self.decision.state,
            rung: self.ladder.rung(now),
            wire_rate: self.decision.wire_rate,
            orders: self.orders,
            loss_share: signals.loss.share(),
            loss_burst: signals.loss.burst_mean(),
            round_trip: signals.rtt,
            frame: {
                let data = self.ladder.frame_size().data_shards;
                (data, self.orders.protection.parity_for(data))
            },
            queue_delay: signals.queue_delay,
            bottleneck: signals.bottleneck.map(|rate| BitsPerSecond(rate as u64)),
            path_bytes: self.path_bytes,
            is_path_searched: self.mtu.is_searching(),
            black_holes: self.mtu.stats().black_holes,
            tail_probes: self.tail.probes(),
            feedbacks: self.feedbacks,
            refused: self.refused,
            tasks_dropped: self.tasks_dropped,
        }
    }

    /// Lets rate control and the path's size hear what arrived.
    fn take(&mut self, now: Timestamp, feedback: &Feedback) {
        let Self { rate, mtu, .. } = self;
        rate.handle_feedback_with(now, feedback, |judged| is_load(mtu, now, judged));
        self.tail
            .handle_feedback(|sequence| self.rate.is_received(sequence));
        if let Some(good) = feedback.last_good
            && self
                .last_good
                .is_none_or(|before| ladder::is_before(before, good))
        {
            self.last_good = Some(good);
        }
        self.follow_path(now);
    }

    /// If the path carries less than before, what was lost for that is no longer waited for.
    fn follow_path(&mut self, now: Timestamp) {
        let bytes = self.mtu.datagram_bytes_max();
        if bytes < self.path_bytes {
            self.rate.forget_losses();
            self.ladder.handle_black_hole(now, self.last_good);
        }
        self.path_bytes = bytes;
    }

    /// Lets the ladder answer a feedback.
    fn climb(&mut self, now: Timestamp, feedback: &Feedback) {
        let loss = self.rate.loss(now);
        // A share of a few datagrams is a game of dice.
        let datagrams = f64::from(loss.datagrams.max(LOSS_DATAGRAMS_MIN));
        let path = Path {
            loss_share: f64::from(loss.lost) / datagrams,
            burst_mean: loss.burst_mean(),
            round_trip: self.rate.round_trip(),
        };
        // Parity would remember for seconds what was no loss of the path. Where it was, it is told
        // as soon as a datagram of full size arrives.
        if !self.mtu.is_suspicious() {
            self.ladder.handle_path(now, &path, self.decision.wire_rate);
        }
        self.ladder.handle_feedback(now, feedback);
        if let Some(damage) = feedback.damage {
            self.newest_lost = damage.newest_lost;
        }
        while let Some(columns) = self.ladder.poll_repeat(now) {
            self.push(Task::Repeat(columns));
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
        self.orders.protection = self.config.protection.unwrap_or(self.ladder.protection());
        self.orders.datagram_bytes_max = self.datagram_bytes();
        let video = self.decision.wire_rate.0 as f64 * self.video_share() * self.fill.factor();
        let (min, max) = (self.config.bitrate_min.0, self.config.bitrate_max.0);
        let bitrate = (video as u64).clamp(min.min(max), max);
        let step = (bitrate as f64 / before.bitrate.0.max(1) as f64 - 1.0).abs();
        if step >= BITRATE_STEP || bitrate == min || bitrate == max {
            self.orders.bitrate = BitsPerSecond(bitrate);
        }
        self.orders.pace = self.decision.pace;
        self.orders.frame_divisor = self.codecs.divisor();
        self.orders != before
    }

    /// How large datagrams are to be.
    fn datagram_bytes(&self) -> usize {
        let datagram_bytes = self.orders.datagram_bytes_max;
        let is_small = datagram_bytes <= SMALL_DATAGRAM_BYTES;
        let frame_bytes = self.ladder.frame_size().whole_shards * (datagram_bytes - AROUND_BYTES);
        let (share_min, frame_bytes_max) = if is_small {
            (SMALL_TO_SHARE, 2 * SMALL_FRAME_BYTES)
        } else {
            (SMALL_FROM_SHARE, SMALL_FRAME_BYTES)
        };
        if self.ladder.share_alone() > share_min && frame_bytes < frame_bytes_max {
            SMALL_DATAGRAM_BYTES.min(self.path_bytes)
        } else {
            self.path_bytes
        }
    }

    /// What is video of all that the wire carries, as the orders and the path are now.
    fn video_share(&self) -> f64 {
        payload_share(self.orders.datagram_bytes_max) / (1.0 + self.extra_share())
    }

    /// Parity and repeats over data, as the path is now.
    fn extra_share(&self) -> f64 {
        let size = self.ladder.frame_size();
        // Fixed parity may be other than the ladder's own.
        let parity = self.orders.protection.parity_for(size.data_shards);
        let repeats = self.decision.signals.loss.share();
        parity as f64 / size.whole_shards.max(1) as f64 + repeats
    }

    fn push(&mut self, task: Task) {
        if self.tasks.len() < TASKS {
            self.tasks.push_back(task);
        } else {
            self.tasks_dropped += 1;
        }
    }
}

/// Tells the path's size of a datagram's fate. True if its loss would be one of load: not where
/// it is larger than what the path carries by now.
fn is_load(mtu: &mut PathMtu, now: Timestamp, judged: &Judged) -> bool {
    let bytes = usize::from(judged.bytes);
    match judged.fate {
        Fate::Arrived if judged.is_certain => mtu.handle_receipt(now, judged.departure, bytes),
        Fate::Arrived => {}
        Fate::Lost => mtu.handle_loss(now, judged.departure, bytes),
    }
    judged.fate == Fate::Arrived || bytes <= mtu.datagram_bytes_max()
}

/// What the headers leave of a datagram of this size, share.
fn payload_share(datagram_bytes: usize) -> f64 {
    (datagram_bytes - AROUND_BYTES) as f64 / datagram_bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Aead, EXPORTER_BYTES, MediaKeys};
    use crate::path_mtu;

    #[test]
    fn datagrams_are_never_larger_than_agreed() {
        for agreed in [DATAGRAM_BYTES_MIN, 1000, DATAGRAM_BYTES_MAX] {
            let now = Timestamp::from_ns(1);
            let keys = MediaKeys::from_exporter(Aead::Aes128Gcm, &mut [1; EXPORTER_BYTES]);
            let config = SteeringConfig {
                bitrate_min: BitsPerSecond(1_000_000),
                bitrate_max: BitsPerSecond(20_000_000),
                frame_interval: Duration::from_millis(16),
                protection: None,
                datagram_bytes_max: agreed,
            };
            let mut steering = Steering::new(now, Opener::new(keys), config);
            let least = agreed.min(path_mtu::BASE_BYTES);
            let within = |bytes: usize| bytes <= least && bytes + 64 > least;
            assert!(within(steering.orders().datagram_bytes_max));
            steering.poll(now + Duration::from_millis(20));
            assert!(within(steering.orders().datagram_bytes_max));
            while let Some(task) = steering.poll_task() {
                if let Task::MtuProbe { datagram_bytes } = task {
                    assert!(usize::from(datagram_bytes) <= agreed);
                }
            }
        }
    }
}
