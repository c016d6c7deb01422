//! A stock client's session: GameStream's packetizer, ladder, rate and pacer as the engine puts
//! them together, before the model of the client's receiver
//! ([`net::gamestream::client_model`]), whose reports come back.
//!
//! ```text
//!  encoder ─▶ packetizer ─▶ pacer ─▶ network ─▶ ClientModel
//!     ▲            ▲ orders, guidance              │
//!     └─ repairs ─ VideoSteer ◀── control stream ◀─┘
//! ```
//!
//! The control stream is ENet's in what counts here: messages in order, repeated until they are
//! acknowledged, but for 0x5502, which goes once, every 100 ms; and the host's pings, each of which is
//! acknowledged at once and waits in the same queues as video. A ping goes every
//! [`PING_INTERVAL`], and sooner, as ENet repeats it, where the one before is not acknowledged.
//!
//! | byte 0 | then | |
//! |---:|---|---|
//! | 0 | type (u16), payload | a message, once |
//! | 1 | number (u32), type (u16), payload | a message, until acknowledged |
//! | 2 | number (u32) | acknowledges all below |
//! | 3, 4 | time (u64) | a ping, and its acknowledgement |

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use engine::control::gamestream::media::{VideoSteer, VideoTerms};
use engine::pipeline::BATCHES;
use engine::stage::cutter::VideoGuidance;
use engine::stage::encode::EncodeCommand;
use engine::steering::{Departed, PipelineEnds};
use net::gamestream::client_model::{ClientEvent, ClientModel};
use net::gamestream::control::FromClient;
use net::gamestream::enet::{Echo, PING_INTERVAL};
use net::gamestream::reports::FecStatus;
use net::gamestream::video::{VideoConfig, VideoError, VideoFormat, VideoPacketizer};
use net::ladder::{Repair, SentFrame};
use net::packetize::{Batch, Cargo, SliceMeta};
use net::rate::{Pacer, Sent, Urgency};
use net::units::{BitsPerSecond, FrameId, RefreshMilliHz, SliceCount, Timestamp};

use super::encoder::{Encoder, ModelSlice};
use super::host::{Answers, LEAD, SLICES_WAITING_MAX, SentBytes};
use super::network::{Endpoint, Transmit};
use super::packet::{Address, DATAGRAM_BYTES_MAX};
use super::unit::Picture;

const ONCE: u8 = 0;
const SURE: u8 = 1;
const ACK: u8 = 2;
const PING: u8 = 3;
const ECHO: u8 = 4;
/// As the engine's until ENet has measured one.
const ROUND_TRIP_AT_FIRST: Duration = Duration::from_millis(20);
/// Messages 0x5502 wait until the client's next periodic ping, and no more than so many: the rest
/// is never told (`ControlStream.c` of moonlight-common-c, `frameFecStatusQueue`).
const STATUS_INTERVAL: Duration = Duration::from_millis(100);
/// See [`STATUS_INTERVAL`].
const STATUSES_MAX: usize = 8;
/// A message that is not acknowledged goes again.
const REPEAT_AFTER: Duration = Duration::from_millis(30);

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What video may take, parity included.
    pub bitrate: BitsPerSecond,
    /// Size of a packet, bytes.
    pub packet_bytes: u16,
    /// Slices of each picture.
    pub slices: SliceCount,
    /// Parity packets of a block at least.
    pub parity_min: u8,
}

/// The host's end.
pub struct MoonlightHost {
    to: Address,
    wish: Wish,
    encoder: Encoder,
    answers: Answers,
    steer: VideoSteer,
    ends: PipelineEnds,
    guidance: Arc<VideoGuidance>,
    packetizer: VideoPacketizer,
    pacer: Pacer,
    slices: VecDeque<ModelSlice>,
    /// The encoder found no room for what it had made.
    was_blocked: bool,
    unit: Vec<u8>,
    /// The slice in work: its frame, and what is known of that until the first batch.
    slice: Option<(FrameId, Option<SentFrame>)>,
    departure: Timestamp,
    batches: VecDeque<(Batch, Option<SentFrame>)>,
    sending: Option<(Batch, usize)>,
    spare: Vec<Batch>,
    outbox: VecDeque<Vec<u8>>,
    /// The next message of the control stream.
    next_message: u32,
    round_trip: Option<Duration>,
    pings_at: Timestamp,
    /// When those left that are later than any that was answered.
    pings: VecDeque<Timestamp>,
    sent: SentBytes,
    not_sent: u64,
    idrs: u64,
    recoveries: u64,
}

impl MoonlightHost {
    /// Streams to `to` from `now` on.
    ///
    /// # Panics
    /// If the wish is none that a session takes.
    #[must_use]
    pub fn new(
        to: Address,
        wish: Wish,
        refresh: RefreshMilliHz,
        encoder: Encoder,
        now: Timestamp,
    ) -> Self {
        let (steer, ends) = VideoSteer::new(
            now,
            VideoTerms {
                bitrate: wish.bitrate,
                packet_bytes: wish.packet_bytes,
                refresh,
                slices: wish.slices,
                blocks: None,
                parity_min: wish.parity_min,
                fec_percent: None,
            },
        );
        let packetizer = VideoPacketizer::new(&VideoConfig {
            packet_bytes: wish.packet_bytes,
            parity_min: wish.parity_min,
            protection: ends.orders.protection(),
            format: VideoFormat::H264,
            key: None,
            batch_datagrams_max: 16,
        });
        Self {
            to,
            wish,
            encoder,
            answers: Answers::default(),
            guidance: steer.guidance(),
            steer,
            pacer: Pacer::new(ends.orders.pace()),
            ends,
            packetizer: packetizer.expect("a size that is served"),
            slices: VecDeque::new(),
            was_blocked: false,
            unit: Vec::new(),
            slice: None,
            departure: Timestamp::ZERO,
            batches: VecDeque::new(),
            sending: None,
            spare: Vec::new(),
            outbox: VecDeque::new(),
            next_message: 0,
            round_trip: None,
            pings_at: now,
            pings: VecDeque::new(),
            sent: SentBytes::default(),
            not_sent: 0,
            idrs: 0,
            recoveries: 0,
        }
    }

    /// The encoder.
    #[must_use]
    pub const fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Bytes sent so far.
    #[must_use]
    pub const fn sent(&self) -> SentBytes {
        self.sent
    }

    /// Slices that the packetizer did not take, but for those that the client had given up.
    #[must_use]
    pub const fn not_sent(&self) -> u64 {
        self.not_sent
    }

    /// IDRs after the first, and recovery pictures, that reports caused.
    #[must_use]
    pub const fn repairs(&self) -> (u64, u64) {
        (self.idrs, self.recoveries)
    }

    fn begin(&mut self, now: Timestamp, slice: &ModelSlice) {
        let orders = &self.ends.orders;
        self.pacer.set_pace(now, orders.pace());
        self.packetizer.set_protection(orders.protection());
        let datagrams = self.pacer.batch_datagrams();
        self.packetizer.set_batch_datagrams_max(datagrams.into());
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
        if self.guidance.is_given_up(meta.frame) {
            self.packetizer.give_up_frame();
        }
        let plan = self
            .guidance
            .plan(self.wish.slices, now.since(slice.captured));
        match self.packetizer.begin(&meta, &plan, &self.unit) {
            Ok(()) => {
                let columns = self.packetizer.frame_packets();
                let frame = SentFrame {
                    frame: meta.frame,
                    columns,
                    whole_shards: columns,
                    is_recovery: meta.keyframe || meta.recovery,
                };
                self.slice = Some((meta.frame, Some(frame)));
            }
            Err(VideoError::GivenUp { .. }) => {}
            Err(_) => self.not_sent += 1,
        }
    }

    /// Protect's turn: packs what may be packed by now.
    fn protect(&mut self, now: Timestamp) {
        while self.batches.len() < BATCHES {
            let Some((frame, mut sent)) = self.slice.take() else {
                let Some(slice) = self.slices.pop_front() else {
                    return;
                };
                self.begin(now, &slice);
                continue;
            };
            if self.departure - LEAD > now {
                self.slice = Some((frame, sent));
                return;
            }
            if self.guidance.is_given_up(frame) {
                self.packetizer.give_up_frame();
            }
            let mut batch = self.spare.pop().unwrap_or_default();
            if !self.packetizer.next_batch(&mut batch) {
                self.spare.push(batch);
                continue;
            }
            let bytes = batch.bytes().len() as u32;
            batch.departure = self.pacer.departure(now, bytes, Urgency::Video);
            self.departure = self.departure.max(batch.departure);
            self.batches.push_back((batch, sent.take()));
            self.slice = Some((frame, sent));
        }
    }

    /// Send's turn: the next batch that is due.
    fn next_departure(&mut self, now: Timestamp) -> Option<Batch> {
        self.protect(now);
        let is_due = |it: &mut (Batch, Option<SentFrame>)| it.0.departure <= now;
        let (batch, frame) = self.batches.pop_front_if(is_due)?;
        // Full it is unknown to rate control, as in the engine.
        let _ = self.ends.departures.try_send(Departed {
            at: now,
            sent: Sent::from(&batch),
            frame,
            is_refused: false,
        });
        Some(batch)
    }

    fn take_message(&mut self, now: Timestamp, message: &[u8]) {
        let Some((kind, payload)) = message.split_first_chunk::<2>() else {
            return;
        };
        if let Ok(message) = FromClient::parse(u16::from_le_bytes(*kind), payload) {
            let round_trip = self.round_trip.unwrap_or(ROUND_TRIP_AT_FIRST);
            self.steer.handle_message(now, round_trip, &message);
        }
        self.mend(now);
    }

    /// A ping that was sent at `sent` is acknowledged.
    fn take_echo(&mut self, now: Timestamp, sent: Timestamp) {
        // One that came out of order says nothing new.
        if self.pings.front().is_none_or(|&oldest| sent < oldest) {
            return;
        }
        while self.pings.front().is_some_and(|&ping| ping <= sent) {
            self.pings.pop_front();
        }
        if self.pings.is_empty() {
            self.pings_at = now.max(sent + PING_INTERVAL);
        }
        let echo = Echo { sent, came: now };
        // ENet's, which is TCP's (RFC 6298 section 2).
        let known = self.round_trip.unwrap_or(echo.round_trip());
        self.round_trip = Some((known * 7 + echo.round_trip()) / 8);
        self.steer.handle_echo(echo);
    }

    fn mend(&mut self, now: Timestamp) {
        while let Some(command) = self.steer.poll_command() {
            let (repair, newest_lost) = match command {
                EncodeCommand::Invalidate {
                    first_lost,
                    newest_lost,
                } => {
                    let repair = Repair::Invalidate {
                        first_lost,
                        newest_lost,
                    };
                    (repair, newest_lost)
                }
                EncodeCommand::Keyframe { newest_lost } => (Repair::Idr, newest_lost),
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
    }
}

impl Endpoint for MoonlightHost {
    fn handle(&mut self, now: Timestamp, from: Address, datagram: &mut [u8]) {
        self.to = from;
        match *datagram {
            [ONCE, ref message @ ..] => self.take_message(now, message),
            [SURE, a, b, c, d, ref message @ ..] => {
                if u32::from_le_bytes([a, b, c, d]) == self.next_message {
                    self.next_message += 1;
                    self.take_message(now, message);
                }
                let next = self.next_message.to_le_bytes();
                self.outbox.push_back([&[ACK][..], &next].concat());
            }
            [ECHO, ref time @ ..] => {
                if let Ok(time) = time.try_into().map(u64::from_le_bytes) {
                    self.take_echo(now, Timestamp::from_ns(time));
                }
            }
            _ => {}
        }
    }

    fn poll_transmit(
        &mut self,
        now: Timestamp,
        datagram: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<Transmit> {
        if let Some(bytes) = self.outbox.pop_front() {
            datagram[..bytes.len()].copy_from_slice(&bytes);
            self.sent.control += bytes.len() as u64;
            return Some(Transmit {
                to: self.to,
                bytes: bytes.len(),
            });
        }
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
            match batch.cargo {
                Cargo::Parity => self.sent.parity += bytes as u64,
                _ => self.sent.data += bytes as u64,
            }
            self.sending = Some((batch, at + bytes));
            return Some(Transmit { to: self.to, bytes });
        }
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        let has_room = self.batches.len() < BATCHES;
        let is_blocked = self.slices.len() >= SLICES_WAITING_MAX;
        [
            (!is_blocked).then(|| self.encoder.poll_timeout()),
            Some(self.steer.poll_timeout()),
            Some(self.pings_at),
            self.batches.front().map(|(batch, _)| batch.departure),
            (has_room && self.slice.is_some()).then(|| self.departure - LEAD),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        self.encoder.set_bitrate(self.ends.orders.bitrate());
        let is_blocked = self.slices.len() >= SLICES_WAITING_MAX;
        if is_blocked || std::mem::replace(&mut self.was_blocked, is_blocked) {
            // Pictures that found it so are not made.
            self.encoder.hold(now);
        }
        self.encoder.handle_timeout(now);
        while self.slices.len() < SLICES_WAITING_MAX
            && let Some(slice) = self.encoder.poll_slice(now)
        {
            self.answers.note(&slice);
            self.slices.push_back(slice);
        }
        if now >= self.pings_at {
            let round_trip = self.round_trip.unwrap_or(ROUND_TRIP_AT_FIRST);
            self.pings_at = now + REPEAT_AFTER.max(2 * round_trip).min(PING_INTERVAL);
            self.pings.push_back(now);
            let time = now.as_ns().to_le_bytes();
            self.outbox.push_back([&[PING][..], &time].concat());
        }
        self.steer.set_waits_since(self.pings.front().copied());
        if now >= self.steer.poll_timeout() {
            let round_trip = self.round_trip.unwrap_or(ROUND_TRIP_AT_FIRST);
            self.steer.handle_timeout(now, round_trip);
            self.mend(now);
        }
    }
}

/// A frame that the decoder was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// By the host's numbers.
    pub frame: FrameId,
    /// When its last packet was there.
    pub at: Timestamp,
}

/// The client's end.
pub struct MoonlightClient {
    to: Address,
    model: ClientModel,
    delivered: Vec<Delivered>,
    idr_requests: u64,
    wrong: u64,
    outbox: VecDeque<Vec<u8>>,
    /// Messages 0x5502 that wait, and until when; the first begins the wait.
    statuses: VecDeque<Vec<u8>>,
    statuses_at: Option<Timestamp>,
    /// Messages that are not acknowledged, oldest first, and the number of the first.
    unheard: VecDeque<Vec<u8>>,
    first_unheard: u32,
    repeats_at: Option<Timestamp>,
}

impl MoonlightClient {
    /// Of a host at `to`.
    #[must_use]
    pub fn new(to: Address, wish: Wish) -> Self {
        Self {
            to,
            model: ClientModel::new(wish.packet_bytes, None, true),
            delivered: Vec::new(),
            idr_requests: 0,
            wrong: 0,
            outbox: VecDeque::new(),
            statuses: VecDeque::new(),
            statuses_at: None,
            unheard: VecDeque::new(),
            first_unheard: 0,
            repeats_at: None,
        }
    }

    /// What the decoder was given, in order.
    #[must_use]
    pub fn delivered(&self) -> &[Delivered] {
        &self.delivered
    }

    /// IDRs that it asked for.
    #[must_use]
    pub const fn idr_requests(&self) -> u64 {
        self.idr_requests
    }

    /// Packets at which a debug build of a real client would have stopped: must be none.
    #[must_use]
    pub const fn wrong(&self) -> u64 {
        self.wrong
    }

    fn take(&mut self, now: Timestamp, event: &ClientEvent) {
        match event {
            ClientEvent::Frame { frame, .. } => self.delivered.push(Delivered {
                frame: FrameId(frame - 1),
                at: now,
            }),
            ClientEvent::FecStatus(status) => {
                let message = [&[ONCE][..], &0x5502u16.to_le_bytes(), &fec_status(status)];
                if self.statuses.len() < STATUSES_MAX {
                    self.statuses.push_back(message.concat());
                }
                self.statuses_at.get_or_insert(next_ping(now));
            }
            ClientEvent::Invalidate { first, last } => {
                let payload = [*first, 0, *last].map(u32::to_le_bytes).concat();
                self.tell(now, 0x0301, &payload);
            }
            ClientEvent::RequestIdr => {
                self.idr_requests += 1;
                self.tell(now, 0x0302, &[0, 0]);
            }
        }
    }

    /// Until it is acknowledged.
    fn tell(&mut self, now: Timestamp, kind: u16, payload: &[u8]) {
        let number = self.first_unheard + self.unheard.len() as u32;
        let message = [
            &[SURE][..],
            &number.to_le_bytes(),
            &kind.to_le_bytes(),
            payload,
        ];
        let message = message.concat();
        self.outbox.push_back(message.clone());
        self.unheard.push_back(message);
        self.repeats_at.get_or_insert(now + REPEAT_AFTER);
    }
}

/// The client's periodic ping after `now`.
fn next_ping(now: Timestamp) -> Timestamp {
    let interval_ns = STATUS_INTERVAL.as_nanos() as u64;
    Timestamp::from_ns((now.as_ns() / interval_ns + 1) * interval_ns)
}

/// As it is sent, big-endian.
fn fec_status(status: &FecStatus) -> Vec<u8> {
    let words = [
        status.highest_received,
        status.next_contiguous,
        status.missing_before_highest,
        status.data_packets,
        status.parity_packets,
        status.data_received,
        status.parity_received,
    ];
    let mut bytes = status.frame.to_be_bytes().to_vec();
    bytes.extend(words.map(u16::to_be_bytes).concat());
    bytes.extend([status.percent, status.block, status.blocks]);
    bytes
}

impl Endpoint for MoonlightClient {
    fn handle(&mut self, now: Timestamp, _from: Address, datagram: &mut [u8]) {
        match *datagram {
            [ACK, a, b, c, d] => {
                let next = u32::from_le_bytes([a, b, c, d]);
                while self.first_unheard < next && self.unheard.pop_front().is_some() {
                    self.first_unheard += 1;
                }
                let waits = !self.unheard.is_empty();
                self.repeats_at = waits.then_some(now + REPEAT_AFTER);
            }
            [PING, ref time @ ..] => self.outbox.push_back([&[ECHO][..], time].concat()),
            _ => {
                self.wrong += u64::from(self.model.handle_datagram(datagram).is_err());
                for event in self.model.take_events() {
                    self.take(now, &event);
                }
            }
        }
    }

    fn poll_transmit(
        &mut self,
        _now: Timestamp,
        datagram: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<Transmit> {
        let message = self.outbox.pop_front()?;
        datagram[..message.len()].copy_from_slice(&message);
        Some(Transmit {
            to: self.to,
            bytes: message.len(),
        })
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        [self.repeats_at, self.statuses_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        if self.statuses_at.is_some_and(|at| at <= now) {
            self.outbox.extend(self.statuses.drain(..));
            self.statuses_at = None;
        }
        if self.repeats_at.is_some_and(|at| at <= now) {
            self.outbox.extend(self.unheard.iter().cloned());
            self.repeats_at = Some(now + REPEAT_AFTER);
        }
    }
}
