//! The host's end of a session: the encoder model before the real packetizer, seal, pacer and
//! steering, put together as the engine's protect and send stages and its control do.
//!
//! ```text
//!  encoder ─▶ slices waiting ─▶ protect ─▶ batches ─▶ send ─▶ network
//!     ▲                            ▲ orders, tasks      │ departures
//!     └──────── repairs ──────── Steering ◀─────────────┘◀── feedback
//! ```
//!
//! As in the engine, protect seals no further than `LEAD` ahead of a departure and takes tasks
//! between two batches, and what is sealed leaves in order.

use std::collections::VecDeque;
use std::time::Duration;

use engine::pipeline::BATCHES;
use engine::stage::encode::is_urgent;
use net::clock_sync::Echo;
use net::crypto::{MediaKeys, Opener, Sealer};
use net::ladder::{Repair, SentFrame};
use net::limits::{BITRATE_MIN, DATAGRAM_BYTES_MAX as MEDIA_BYTES_MAX};
use net::limits::{MEDIA_HEADER_BYTES, TAG_BYTES};
use net::media::Kind;
use net::packetize::{Batch, Cargo, Columns, Packetizer, PacketizerConfig, Protection, SliceMeta};
use net::rate::{Pacer, Sent, Urgency};
use net::steering::TASKS;
use net::steering::{Steering, SteeringConfig, Task};
use net::units::{BitsPerSecond, FrameId, RefreshMilliHz, Timestamp};

use super::encoder::{Encoder, ModelSlice};
use super::network::{Endpoint, Transmit};
use super::packet::{Address, DATAGRAM_BYTES_MAX};
use super::unit::Picture;

/// How far ahead of its departure a batch is sealed at most, as in the engine's protect stage.
pub(super) const LEAD: Duration = Duration::from_millis(2);
/// Without feedback control looks at the path this often, as in the engine.
const TICK: Duration = Duration::from_millis(10);
/// Between two looks for the sake of a deadline, as in the engine.
const DEADLINE_MIN: Duration = Duration::from_millis(1);
/// Slices that wait for protect, at most: four frames of most. Beyond, the encoder's blocked.
pub(super) const SLICES_WAITING_MAX: usize = 128;
const ZEROS: [u8; MEDIA_BYTES_MAX] = [0; MEDIA_BYTES_MAX];

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
    /// The last column before stillness is sent again.
    pub tail: bool,
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
    /// Echoes, and padding of probes.
    pub control: u64,
}

impl SentBytes {
    /// Parity and repeats over data.
    #[must_use]
    pub fn overhead(&self) -> f64 {
        (self.parity + self.repeats) as f64 / self.data.max(1) as f64
    }
}

/// A sealed batch on its way to send.
struct Sealed {
    batch: Batch,
    frame: Option<SentFrame>,
}

/// What protect is at.
enum Work {
    /// A slice of which more is to be sealed; what is known of its frame until the first batch.
    Slice(Option<SentFrame>),
    /// Shards to be repeated.
    Repeat(Columns),
    /// Padding, at its own pace.
    Probe {
        datagram_bytes: usize,
        left: u16,
        pacer: Pacer,
        burst: u32,
    },
    /// Padding of a size that is tried.
    MtuProbe(usize),
}

/// The host's end.
pub struct VideoHost {
    to: Address,
    config: HostConfig,
    encoder: Encoder,
    answers: Answers,
    steering: Steering,
    polled: Timestamp,
    packetizer: Packetizer,
    pacer: Pacer,
    slices: VecDeque<ModelSlice>,
    unit: Vec<u8>,
    tasks: VecDeque<Task>,
    slice: Option<Work>,
    /// Slices of the frame in work are still to come, or no frame came at all.
    is_amid_frame: bool,
    /// A probe of this size waits for the frame in work to be over, bytes.
    mtu_probe: Option<u16>,
    task: Option<Work>,
    /// The latest departure given.
    departure: Timestamp,
    batches: VecDeque<Sealed>,
    /// What is leaving, and how much of it has.
    sending: Option<(Batch, usize)>,
    spare: Vec<Batch>,
    sent: SentBytes,
    /// By frame: when its last slice was encoded.
    encoded: Vec<Timestamp>,
    refused: u64,
    idrs: u64,
    recoveries: u64,
}

/// The newest pictures that answer reports, so that one report is answered once: the engine's
/// encode stage does the same.
#[derive(Debug, Default)]
pub(super) struct Answers {
    next: FrameId,
    last_idr: Option<FrameId>,
    last_recovery: Option<FrameId>,
    /// Pictures up to the last that was repeated at once.
    repeated: usize,
}

impl VideoHost {
    /// Streams to `to` from `now` on. `seals` are the keys of video, `opens` those of feedback.
    /// The encoder is told the bitrate to begin with.
    #[must_use]
    pub fn new(
        to: Address,
        config: HostConfig,
        mut encoder: Encoder,
        (seals, opens): (MediaKeys, MediaKeys),
        now: Timestamp,
    ) -> Self {
        let steering = Steering::new(now, Opener::new(opens), steering_config(&config));
        let orders = steering.orders();
        encoder.set_bitrate(orders.bitrate);
        let packetizer = PacketizerConfig {
            protection: orders.protection,
            ..PacketizerConfig::default()
        };
        Self {
            to,
            config,
            encoder,
            answers: Answers::default(),
            steering,
            polled: now,
            packetizer: Packetizer::new(Sealer::new(seals), packetizer),
            pacer: Pacer::new(orders.pace),
            slices: VecDeque::new(),
            unit: Vec::new(),
            tasks: VecDeque::new(),
            slice: None,
            is_amid_frame: true,
            mtu_probe: None,
            task: None,
            departure: Timestamp::ZERO,
            batches: VecDeque::new(),
            sending: None,
            spare: Vec::new(),
            sent: SentBytes::default(),
            encoded: Vec::new(),
            refused: 0,
            idrs: 0,
            recoveries: 0,
        }
    }

    /// The encoder.
    #[must_use]
    pub const fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The control loop.
    #[must_use]
    pub const fn steering(&self) -> &Steering {
        &self.steering
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

    /// Control's turn: orders, tasks and repairs from the steering.
    fn control(&mut self, now: Timestamp) {
        self.polled = now;
        if self.steering.poll(now) {
            self.encoder.set_bitrate(self.steering.orders().bitrate);
        }
        while let Some(task) = self.steering.poll_task() {
            let is_wanted = match task {
                Task::Repeat(_) => self.config.repeats,
                Task::Tail(_) => self.config.tail,
                _ => true,
            };
            // The client asks again for what finds no room.
            if is_wanted && self.tasks.len() < TASKS {
                self.tasks.push_back(task);
            }
        }
        while let Some(repair) = self.steering.poll_repair() {
            self.mend(now, repair);
        }
    }

    fn mend(&mut self, now: Timestamp, repair: Repair) {
        let newest_lost = match repair {
            Repair::Invalidate { newest_lost, .. } => newest_lost,
            Repair::Idr => self.steering.newest_lost(),
        };
        match self
            .answers
            .mend(now, &mut self.encoder, repair, newest_lost)
        {
            Some(Picture::Idr) => self.idrs += 1,
            Some(_) => self.recoveries += 1,
            None => {}
        }
    }

    fn steering_timeout(&self) -> Timestamp {
        let due = self.steering.poll_timeout().max(self.polled + TICK);
        let deadline = self.steering.poll_deadline();
        deadline.map_or(due, |deadline| {
            due.min(deadline.max(self.polled + DEADLINE_MIN))
        })
    }

    /// Protect's turn: seals what may be sealed by now.
    fn protect(&mut self, now: Timestamp) {
        while self.batches.len() < BATCHES {
            if let Some(work) = self.task.take() {
                self.task = self.seal(now, work);
            } else if let Some(task) = self.tasks.pop_front() {
                self.perform(now, task);
            } else if let Some(work) = self.slice.take() {
                if self.departure - LEAD > now {
                    self.slice = Some(work);
                    break;
                }
                self.slice = self.seal(now, work);
            } else if let Some(bytes) = self.mtu_probe.take_if(|_| !self.is_amid_frame) {
                self.task = Some(Work::MtuProbe(usize::from(bytes).min(MEDIA_BYTES_MAX)));
            } else if let Some(slice) = self.slices.pop_front() {
                self.begin(now, &slice);
            } else {
                break;
            }
        }
    }

    /// Video is on its way to send.
    fn is_busy(&self) -> bool {
        self.is_amid_frame || self.slice.is_some() || !self.slices.is_empty()
    }

    fn perform(&mut self, now: Timestamp, task: Task) {
        match task {
            Task::Repeat(columns) => self.task = Some(Work::Repeat(columns)),
            // What follows shows the client what it misses.
            Task::Tail(_) if self.is_busy() => {}
            Task::Tail(columns) => self.task = Some(Work::Repeat(columns)),
            Task::MtuProbe { datagram_bytes } => self.mtu_probe = Some(datagram_bytes),
            Task::Echo {
                client_sent,
                host_received,
            } => {
                let echo = Echo {
                    client_sent,
                    host_received,
                    host_sent: now,
                };
                let mut batch = self.spare.pop().unwrap_or_default();
                self.packetizer
                    .plain(Kind::Echo, &echo.to_wire(), &mut batch);
                self.pass_on(now, batch, Urgency::Audio, None);
            }
            Task::Probe {
                datagram_bytes,
                datagrams,
                pace,
                burst,
            } => {
                self.task = Some(Work::Probe {
                    datagram_bytes: usize::from(datagram_bytes).min(MEDIA_BYTES_MAX),
                    left: datagrams,
                    pacer: Pacer::new(pace),
                    burst,
                });
            }
        }
    }

    fn begin(&mut self, now: Timestamp, slice: &ModelSlice) {
        let orders = self.steering.orders();
        self.packetizer.set_protection(orders.protection);
        self.packetizer
            .set_datagram_bytes_max(orders.datagram_bytes_max);
        self.pacer.set_pace(now, orders.pace);
        self.packetizer
            .set_batch_datagrams_max(self.pacer.batch_datagrams().into());
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
        self.packetizer
            .begin(&meta, &self.unit)
            .expect("the model's slices keep to the limits");
        self.is_amid_frame = !meta.last;
        self.slice = Some(Work::Slice(Some(SentFrame {
            frame: meta.frame,
            columns: self.packetizer.columns(),
            whole_shards: self.packetizer.whole_shards(),
            is_recovery: meta.keyframe || meta.recovery,
        })));
    }

    /// Seals the next batch of `work`; what is left of it then.
    fn seal(&mut self, now: Timestamp, mut work: Work) -> Option<Work> {
        let mut batch = self.spare.pop().unwrap_or_default();
        let (sealed, urgency) = match &mut work {
            Work::Slice(_) => (self.packetizer.next_batch(&mut batch), Urgency::Video),
            Work::Repeat(columns) => {
                let sealed = self.packetizer.repeat(columns, &mut batch);
                (sealed, Urgency::Repeat)
            }
            Work::MtuProbe(0) | Work::Probe { left: 0, .. } => (false, Urgency::Video),
            Work::MtuProbe(datagram_bytes) => {
                let payload = datagram_bytes.saturating_sub(MEDIA_HEADER_BYTES + TAG_BYTES);
                self.packetizer
                    .plain(Kind::Padding, &ZEROS[..payload], &mut batch);
                batch.cargo = Cargo::MtuProbe;
                *datagram_bytes = 0;
                (true, Urgency::Video)
            }
            Work::Probe {
                datagram_bytes,
                left,
                pacer,
                burst,
            } => {
                *left -= 1;
                let payload = datagram_bytes.saturating_sub(MEDIA_HEADER_BYTES + TAG_BYTES);
                self.packetizer
                    .plain(Kind::Padding, &ZEROS[..payload], &mut batch);
                batch.departure = pacer.departure(now, *datagram_bytes as u32, Urgency::Video);
                batch.burst = *burst;
                self.pass_sealed(batch, None);
                return Some(work);
            }
        };
        if !sealed {
            self.spare.push(batch);
            return None;
        }
        let frame = match &mut work {
            Work::Slice(frame) => frame.take(),
            Work::Repeat(_) | Work::Probe { .. } | Work::MtuProbe(_) => None,
        };
        self.pass_on(now, batch, urgency, frame);
        Some(work)
    }

    fn pass_on(
        &mut self,
        now: Timestamp,
        mut batch: Batch,
        urgency: Urgency,
        frame: Option<SentFrame>,
    ) {
        let bytes = batch.bytes().len() as u32;
        batch.departure = self.pacer.departure(now, bytes, urgency);
        self.pass_sealed(batch, frame);
    }

    fn pass_sealed(&mut self, batch: Batch, frame: Option<SentFrame>) {
        self.departure = self.departure.max(batch.departure);
        self.batches.push_back(Sealed { batch, frame });
    }

    /// Send's turn: the next batch that is due.
    fn next_departure(&mut self, now: Timestamp) -> Option<Batch> {
        self.protect(now);
        let is_due = |it: &mut Sealed| it.batch.departure <= now;
        let Sealed { batch, frame } = self.batches.pop_front_if(is_due)?;
        self.steering.handle_sent(now, &Sent::from(&batch), frame);
        Some(batch)
    }
}

impl Endpoint for VideoHost {
    fn handle(&mut self, now: Timestamp, from: Address, datagram: &mut [u8]) {
        if self.steering.handle_datagram(now, datagram).is_ok() {
            self.to = from;
            self.control(now);
        } else {
            self.refused += 1;
        }
    }

    fn poll_transmit(
        &mut self,
        now: Timestamp,
        datagram: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<Transmit> {
        loop {
            let (batch, at) = match self.sending.take() {
                Some(sending) => sending,
                None => (self.next_departure(now)?, 0),
            };
            let rest = &batch.bytes()[at..];
            let bytes = rest.len().min(usize::from(batch.segment_bytes));
            if bytes == 0 {
                self.spare.push(batch);
                continue;
            }
            datagram[..bytes].copy_from_slice(&rest[..bytes]);
            let counter = match batch.cargo {
                Cargo::Data => &mut self.sent.data,
                Cargo::Parity => &mut self.sent.parity,
                Cargo::Repeat => &mut self.sent.repeats,
                Cargo::Probe | Cargo::MtuProbe | Cargo::Echo => &mut self.sent.control,
            };
            *counter += bytes as u64;
            self.sending = Some((batch, at + bytes));
            return Some(Transmit { to: self.to, bytes });
        }
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        let has_room = self.batches.len() < BATCHES;
        [
            Some(self.encoder.poll_timeout()),
            Some(self.steering_timeout()),
            self.batches.front().map(|it| it.batch.departure),
            (has_room && self.slice.is_some()).then(|| self.departure - LEAD),
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
            self.answers.note(&slice);
            if slice.last {
                self.encoded.push(slice.encoded);
            }
            self.slices.push_back(slice);
        }
        if now >= self.steering_timeout() {
            self.control(now);
        }
    }
}

impl Answers {
    /// Asks the encoder for a picture that repairs, unless one has answered already; which it will
    /// be. As in the engine a client that has waited for long is answered at once.
    pub(super) fn mend(
        &mut self,
        now: Timestamp,
        encoder: &mut Encoder,
        repair: Repair,
        newest_lost: FrameId,
    ) -> Option<Picture> {
        if newest_lost >= self.next || self.last_idr > Some(newest_lost) {
            return None;
        }
        if let Repair::Invalidate { first_lost, .. } = repair {
            if self.last_recovery > Some(newest_lost) {
                return None;
            }
            if encoder.invalidate_references(first_lost) {
                let pictures = encoder.captured().len();
                let captured = encoder.captured().last().copied().unwrap_or(now);
                let lost = self.next.0.wrapping_sub(first_lost.0);
                if self.repeated < pictures
                    && is_urgent(lost, now.since(captured), encoder.interval())
                {
                    encoder.repeat(now);
                    self.repeated = pictures + 1;
                }
                return Some(Picture::Recovery(first_lost));
            }
        }
        encoder.request_idr();
        Some(Picture::Idr)
    }

    pub(super) fn note(&mut self, slice: &ModelSlice) {
        let frame = slice.unit.frame;
        self.next = frame.next();
        match slice.unit.picture {
            Picture::Idr => self.last_idr = Some(frame),
            Picture::Recovery(_) => self.last_recovery = Some(frame),
            Picture::Predicted => {}
        }
    }
}

fn steering_config(config: &HostConfig) -> SteeringConfig {
    SteeringConfig {
        bitrate_min: if config.adaptive {
            BitsPerSecond(BITRATE_MIN)
        } else {
            config.ceiling
        },
        bitrate_max: config.ceiling,
        frame_interval: config.refresh.interval(),
        protection: match config.parity {
            Parity::Fixed(protection) => Some(protection),
            Parity::Ladder => None,
        },
        datagram_bytes_max: MEDIA_BYTES_MAX,
    }
}
