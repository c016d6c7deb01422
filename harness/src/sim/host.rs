//! The host's end of a session: the encoder model before the real packetizer, seal, pacer and
//! rate control, and what a feedback makes them do.
//!
//! ```text
//!  encoder ─▶ slices waiting ─▶ packetizer ─▶ pacer ─▶ network
//!     ▲                             ▲
//!     └───── rate, references ──────┴── repeats ◀── feedback
//! ```
//!
//! A batch is sealed when the one before has left, so that a repeat never overtakes much and
//! sequences leave in order but for one batch. Latencies are counted from capture and from the
//! encoder's last slice.

use std::collections::VecDeque;
use std::time::Duration;

use net::clock_sync::Echo;
use net::crypto::{MediaKeys, Opener, Sealer};
use net::feedback::Feedback;
use net::ladder::{Ladder, LadderConfig, Path, Repair, SentFrame};
use net::limits::{DATAGRAM_BYTES_MAX as MEDIA_BYTES_MAX, MEDIA_HEADER_BYTES, TAG_BYTES};
use net::media::{Kind, open_plain};
use net::packetize::{Batch, Cargo, Columns, Packetizer, PacketizerConfig, Protection, SliceMeta};
use net::rate::{Config, Decision, Pacer, Probe, Rate, Sent, SentKind, Urgency};
use net::units::{BitsPerSecond, RefreshMilliHz, Timestamp};

use super::encoder::{Encoder, ModelSlice};
use super::network::{Endpoint, Transmit};
use super::packet::{Address, DATAGRAM_BYTES_MAX};
use super::unit::Picture;

/// Padding datagrams are full size.
const PADDING_BYTES: usize = MEDIA_BYTES_MAX - MEDIA_HEADER_BYTES - TAG_BYTES;
/// Echoes: the first ones quickly, then ten a second; the client filters.
const ECHO_INTERVAL: Duration = Duration::from_millis(100);
/// Slices that wait for the pacer, at most: four frames of most. Beyond, the encoder's blocked.
const SLICES_WAITING_MAX: usize = 128;

/// How a host protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// Always so, to sweep it.
    Fixed(Protection),
    /// As the ladder says.
    Ladder,
}

/// How a host is opened.
#[derive(Clone, Copy, Debug)]
pub struct HostConfig {
    /// Pictures a second.
    pub refresh: RefreshMilliHz,
    /// Most that the operator allows.
    pub ceiling: BitsPerSecond,
    /// Rate control sets the encoder; else it stays at the ceiling.
    pub adaptive: bool,
    /// How frames are protected.
    pub parity: Parity,
    /// Wants are answered.
    pub repeats: bool,
}

/// Bytes given to the network, by what they carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SentBytes {
    /// Data, the first time.
    pub data: u64,
    /// Parity.
    pub parity: u64,
    /// Data again.
    pub repeats: u64,
    /// Padding of probes.
    pub padding: u64,
    /// Echoes.
    pub control: u64,
}

impl SentBytes {
    /// Parity and repeats over data.
    #[must_use]
    pub fn overhead(&self) -> f64 {
        (self.parity + self.repeats) as f64 / self.data.max(1) as f64
    }
}

/// A sealed batch and when it goes.
struct Outgoing {
    batch: Batch,
    at: usize,
    departure: Timestamp,
}

/// Padding that is still to be sent.
struct Padding {
    probe: Probe,
    left: u32,
    next: Timestamp,
}

/// The host's end.
pub struct VideoHost {
    to: Address,
    config: HostConfig,
    encoder: Encoder,
    packetizer: Packetizer,
    opener: Opener,
    rate: Rate,
    ladder: Ladder,
    pacer: Pacer,
    decision: Decision,
    slices: VecDeque<ModelSlice>,
    unit: Vec<u8>,
    video: Option<Outgoing>,
    repeat: Option<Outgoing>,
    control: Option<Outgoing>,
    padding: Option<Padding>,
    sending: Option<Outgoing>,
    spare: Vec<Batch>,
    wanted: VecDeque<Columns>,
    last_echo: Option<Timestamp>,
    sent: SentBytes,
    /// Bytes on the wire over bytes encoded, of the last few frames.
    wire_share: f64,
    loss_share: f64,
    /// By frame: when its last slice was encoded.
    encoded: Vec<Timestamp>,
    feedbacks: u64,
    refused: u64,
    idrs: u64,
    recoveries: u64,
    slices_waiting_max: usize,
    targets: Vec<(Timestamp, u64)>,
}

impl VideoHost {
    /// Streams to `to` from `now` on. `seals` are the keys of video, `opens` those of feedback.
    #[must_use]
    pub fn new(
        to: Address,
        config: HostConfig,
        encoder: Encoder,
        (seals, opens): (MediaKeys, MediaKeys),
        now: Timestamp,
    ) -> Self {
        let mut rate = Rate::new(now, rate_config(&config));
        let decision = rate.poll(now);
        let ladder = Ladder::new(LadderConfig::default());
        let protection = match config.parity {
            Parity::Fixed(fixed) => fixed,
            Parity::Ladder => ladder.protection(),
        };
        let packetizer = PacketizerConfig {
            protection,
            ..PacketizerConfig::default()
        };
        Self {
            to,
            config,
            encoder,
            packetizer: Packetizer::new(Sealer::new(seals), packetizer),
            opener: Opener::new(opens),
            rate,
            ladder,
            pacer: Pacer::new(decision.pace),
            decision,
            slices: VecDeque::new(),
            unit: Vec::new(),
            video: None,
            repeat: None,
            control: None,
            padding: None,
            sending: None,
            spare: Vec::new(),
            wanted: VecDeque::new(),
            last_echo: None,
            sent: SentBytes::default(),
            wire_share: 1.1,
            loss_share: 0.0,
            encoded: Vec::new(),
            feedbacks: 0,
            refused: 0,
            idrs: 0,
            recoveries: 0,
            slices_waiting_max: 0,
            targets: Vec::new(),
        }
    }

    /// The encoder.
    #[must_use]
    pub const fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// When each frame's last slice was encoded, by its number.
    #[must_use]
    pub fn encoded(&self) -> &[Timestamp] {
        &self.encoded
    }

    /// Bytes sent so far.
    #[must_use]
    pub const fn sent(&self) -> SentBytes {
        self.sent
    }

    /// Feedbacks taken so far.
    #[must_use]
    pub const fn feedbacks(&self) -> u64 {
        self.feedbacks
    }

    /// Datagrams that were no authentic feedback.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// IDRs after the first, and recovery pictures, that reports caused.
    #[must_use]
    pub const fn repairs(&self) -> (u64, u64) {
        (self.idrs, self.recoveries)
    }

    /// What rate control said last.
    #[must_use]
    pub const fn decision(&self) -> &Decision {
        &self.decision
    }

    /// The bitrate of the encoder by time, whenever it changed.
    #[must_use]
    pub fn targets(&self) -> &[(Timestamp, u64)] {
        &self.targets
    }

    /// Most slices that waited for the pacer.
    #[must_use]
    pub const fn slices_waiting_max(&self) -> usize {
        self.slices_waiting_max
    }

    fn take_feedback(&mut self, now: Timestamp, feedback: &Feedback) {
        self.feedbacks += 1;
        self.rate.handle_feedback(now, feedback);
        self.ladder.handle_feedback(now, feedback);
        while let Some(columns) = self.ladder.poll_repeat(now) {
            if self.config.repeats {
                self.wanted.push_back(columns);
            }
        }
        while let Some(repair) = self.ladder.poll_repair() {
            self.mend(repair);
        }
        self.echo(now, feedback.sent);
        self.decide(now);
    }

    fn mend(&mut self, repair: Repair) {
        let invalidated = match repair {
            Repair::Invalidate { first_lost, .. } => self.encoder.invalidate_references(first_lost),
            Repair::Idr => false,
        };
        if invalidated {
            self.recoveries += 1;
        } else {
            self.encoder.request_idr();
            self.idrs += 1;
        }
    }

    fn echo(&mut self, now: Timestamp, client_sent: Timestamp) {
        let is_due = self
            .last_echo
            .is_none_or(|last| now.since(last) >= ECHO_INTERVAL);
        if !is_due || self.control.is_some() {
            return;
        }
        self.last_echo = Some(now);
        let echo = Echo {
            client_sent,
            host_received: now,
            host_sent: now,
        };
        let mut batch = self.spare.pop().unwrap_or_default();
        self.packetizer
            .plain(Kind::Echo, &echo.to_wire(), &mut batch);
        self.control = Some(self.schedule(now, batch, Urgency::Audio, SentKind::Repeat));
    }

    /// Takes what rate control says, and now and then looks at the protection.
    fn decide(&mut self, now: Timestamp) {
        self.decision = self.rate.poll(now);
        self.pacer.set_pace(now, self.decision.pace);
        self.packetizer
            .set_batch_datagrams_max(usize::from(self.pacer.batch_datagrams()));
        if let Some(probe) = self.decision.probe {
            self.padding = Some(Padding {
                probe,
                left: probe.bytes,
                next: now,
            });
        }
        let signals = &self.decision.signals;
        let path = Path {
            loss_share: signals.loss.share(),
            burst_mean: signals.loss.burst_mean(),
            round_trip: signals.rtt,
        };
        self.loss_share = path.loss_share;
        let rate = if self.config.adaptive {
            self.decision.wire_rate
        } else {
            self.config.ceiling
        };
        self.ladder.handle_path(now, &path, rate);
        if self.config.adaptive {
            let target = self.encoder_rate();
            if target != self.encoder.bitrate() {
                self.encoder.set_bitrate(target);
                self.targets.push((now, target.0));
            }
        }
    }

    /// What is left of the wire rate for the encoder.
    fn encoder_rate(&self) -> BitsPerSecond {
        // What is lost is sent once more.
        let share = self.wire_share * (1.0 + self.loss_share);
        let bits = self.decision.wire_rate.0 as f64 / share;
        BitsPerSecond((bits as u64).min(self.config.ceiling.0))
    }

    /// Seals the next video and the next repeat, if there are any.
    fn prepare(&mut self, now: Timestamp) {
        if self.video.is_none() {
            let mut batch = self.spare.pop().unwrap_or_default();
            loop {
                if self.packetizer.next_batch(&mut batch) {
                    self.video = Some(self.schedule(now, batch, Urgency::Video, SentKind::Video));
                    break;
                }
                let Some(slice) = self.slices.pop_front() else {
                    self.spare.push(batch);
                    break;
                };
                self.begin(now, &slice);
            }
        }
        while self.repeat.is_none() {
            let Some(columns) = self.wanted.front_mut() else {
                break;
            };
            let mut batch = self.spare.pop().unwrap_or_default();
            let sealed = self.packetizer.repeat(columns, &mut batch);
            if columns.range.is_empty() {
                self.wanted.pop_front();
            }
            if sealed {
                self.repeat = Some(self.schedule(now, batch, Urgency::Repeat, SentKind::Repeat));
            } else {
                self.spare.push(batch);
            }
        }
    }

    fn begin(&mut self, now: Timestamp, slice: &ModelSlice) {
        self.unit.resize(slice.bytes as usize, 0);
        slice.unit.fill(slice.offset as usize, &mut self.unit);
        let meta = SliceMeta {
            frame: slice.unit.frame,
            index: slice.slice,
            last: slice.last,
            keyframe: slice.unit.picture == Picture::Idr,
            recovery: matches!(slice.unit.picture, Picture::Recovery(_)),
            captured: slice.captured,
        };
        let protection = match self.config.parity {
            Parity::Ladder => self.ladder.protection(),
            Parity::Fixed(protection) => protection,
        };
        self.packetizer.set_protection(protection);
        self.packetizer
            .begin(&meta, &self.unit)
            .expect("the model's slices keep to the limits");
        let columns = self.packetizer.columns();
        let sent = SentFrame {
            frame: meta.frame,
            columns,
            whole_shards: self.packetizer.whole_shards(),
            is_recovery: meta.keyframe || meta.recovery,
        };
        self.ladder.handle_sent(now, sent);
        if slice.last {
            let wire = f64::from(slice.unit.bytes)
                + (columns * (MEDIA_HEADER_BYTES + TAG_BYTES)) as f64
                + (protection.parity_for(columns) * MEDIA_BYTES_MAX) as f64;
            let share = wire / f64::from(slice.unit.bytes);
            self.wire_share += (share - self.wire_share) / 4.0;
        }
    }

    fn schedule(
        &mut self,
        now: Timestamp,
        batch: Batch,
        urgency: Urgency,
        kind: SentKind,
    ) -> Outgoing {
        let bytes = batch.bytes().len() as u32;
        let departure = self.pacer.departure(now, bytes, urgency);
        let sent = Sent {
            first_sequence: batch.first_sequence,
            datagrams: batch.datagrams,
            datagram_bytes: batch.segment_bytes,
            burst: batch.frame.0,
            kind,
        };
        self.rate.handle_sent(departure, &sent);
        Outgoing {
            batch,
            at: 0,
            departure,
        }
    }

    /// The next padding datagram, if it is due.
    fn pad(&mut self, now: Timestamp) {
        let Some(padding) = &mut self.padding else {
            return;
        };
        if padding.next > now || self.control.is_some() {
            return;
        }
        let mut batch = self.spare.pop().unwrap_or_default();
        self.packetizer
            .plain(Kind::Padding, &[0; PADDING_BYTES], &mut batch);
        let bytes = batch.bytes().len() as u32;
        let sent = Sent {
            first_sequence: batch.first_sequence,
            datagrams: 1,
            datagram_bytes: batch.segment_bytes,
            burst: padding.probe.burst,
            kind: SentKind::Probe,
        };
        self.rate.handle_sent(now, &sent);
        padding.left = padding.left.saturating_sub(bytes);
        let rate = padding.probe.pace.rate.0.max(1);
        padding.next = now + Duration::from_nanos(u64::from(bytes) * 8_000_000_000 / rate);
        if padding.left == 0 {
            self.padding = None;
        }
        self.sent.padding += u64::from(bytes);
        self.control = Some(Outgoing {
            batch,
            at: 0,
            departure: now,
        });
    }

    /// The next batch that may leave by `now`.
    fn next_outgoing(&mut self, now: Timestamp) -> Option<Outgoing> {
        let due = |it: &mut Outgoing| it.departure <= now;
        if let Some(out) = self.control.take_if(due) {
            return Some(out);
        }
        self.prepare(now);
        if let Some(out) = self.repeat.take_if(due) {
            return Some(out);
        }
        if let Some(out) = self.video.take_if(due) {
            return Some(out);
        }
        self.pad(now);
        self.control.take_if(due)
    }
}

impl Endpoint for VideoHost {
    fn handle(&mut self, now: Timestamp, from: Address, datagram: &mut [u8]) {
        let is_feedback = datagram.first().copied() == Some(Kind::Feedback as u8);
        let feedback = is_feedback
            .then(|| open_plain(&mut self.opener, datagram).ok())
            .flatten()
            .and_then(|plaintext| Feedback::parse(plaintext).ok());
        match feedback {
            Some(feedback) => {
                self.to = from;
                self.take_feedback(now, &feedback);
            }
            None => self.refused += 1,
        }
    }

    fn poll_transmit(
        &mut self,
        now: Timestamp,
        datagram: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<Transmit> {
        loop {
            let mut out = match self.sending.take() {
                Some(out) => out,
                None => self.next_outgoing(now)?,
            };
            let rest = &out.batch.bytes()[out.at..];
            let bytes = rest.len().min(usize::from(out.batch.segment_bytes));
            if bytes == 0 {
                self.spare.push(out.batch);
                continue;
            }
            datagram[..bytes].copy_from_slice(&rest[..bytes]);
            let counter = match out.batch.cargo {
                Cargo::Data => &mut self.sent.data,
                Cargo::Parity => &mut self.sent.parity,
                Cargo::Repeat => &mut self.sent.repeats,
                Cargo::Probe | Cargo::Echo => &mut self.sent.control,
            };
            *counter += bytes as u64;
            out.at += bytes;
            self.sending = Some(out);
            return Some(Transmit { to: self.to, bytes });
        }
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        let departure = |it: &Option<Outgoing>| it.as_ref().map(|out| out.departure);
        let idle = self.video.is_none() && !self.slices.is_empty();
        [
            Some(self.encoder.poll_timeout()),
            Some(self.rate.poll_timeout()),
            departure(&self.video),
            departure(&self.repeat),
            departure(&self.control),
            self.padding.as_ref().map(|padding| padding.next),
            idle.then_some(Timestamp::ZERO),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        self.encoder.handle_timeout(now);
        while self.slices.len() < SLICES_WAITING_MAX
            && let Some(slice) = self.encoder.poll_slice(now)
        {
            if slice.last {
                self.encoded.push(slice.encoded);
            }
            self.slices.push_back(slice);
        }
        self.slices_waiting_max = self.slices_waiting_max.max(self.slices.len());
        if now >= self.rate.poll_timeout() {
            self.decide(now);
        }
    }
}

fn rate_config(config: &HostConfig) -> Config {
    let defaults = Config::default();
    let frame_interval = config.refresh.interval();
    // A fixed session sends its bitrate and what protects it, whatever the target.
    let ceiling = if config.adaptive {
        config.ceiling.0
    } else {
        config.ceiling.0 * 3 / 2
    };
    Config {
        ceiling: BitsPerSecond(ceiling),
        frame_interval,
        ..defaults
    }
}
