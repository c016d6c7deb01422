//! The client's end of a session: the real opener, reassembler, receipts, feedback and clock,
//! before the decoder model.

use std::time::Duration;

use net::clock_sync::{ClockSync, Echo};
use net::crypto::{MediaKeys, Opener, Sealer};
use net::feedback::{
    Damage, FEEDBACK_BYTES_MAX, Feedback, FeedbackSchedule, ReceiptLog, ScheduleConfig,
};
use net::ladder::{Wants, WantsConfig, WantsStats};
use net::limits::MEDIA_HEADER_BYTES;
use net::media::{Kind, open_plain, open_video, sequence_of};
use net::reassemble::{AccessUnit, Event, Reassembler, ReassemblerConfig, ReassemblerStats};
use net::units::{FrameId, Timestamp};

use super::decoder::{Decoder, Fate};
use super::network::{Endpoint, Transmit};
use super::packet::{Address, DATAGRAM_BYTES_MAX};
use super::unit::{Damage as UnitDamage, Unit};

/// How far the client's clock is ahead of the host's.
const CLOCK_AHEAD: Duration = Duration::from_secs(5);
/// A frame is given up by the policy's grace; these only end what nothing newer ends.
const SILENCE_MAX: Duration = Duration::from_millis(300);

/// For so long an unanswered report of damage is said each millisecond; then as usual.
const HOLE_URGENT_MAX: Duration = Duration::from_millis(300);

/// How a client is opened.
#[derive(Clone, Copy, Debug)]
pub struct ClientConfig {
    /// Time that a picture takes to decode.
    pub decode: Duration,
    /// It asks for repeats.
    pub repeats: bool,
}

/// A frame that came whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// Which.
    pub frame: FrameId,
    /// When its last shard came or was recovered.
    pub at: Timestamp,
    /// Shards recovered from parity.
    pub repaired_shards: u32,
}

/// The client's end.
pub struct VideoClient {
    to: Address,
    config: ClientConfig,
    opener: Opener,
    sealer: Sealer,
    reassembler: Reassembler,
    receipts: ReceiptLog,
    schedule: FeedbackSchedule,
    clock: ClockSync,
    decoder: Decoder,
    /// Frames that cannot be shown, from the first that is missing.
    hole: Option<Damage>,
    hole_opened: Timestamp,
    ladder: Wants,
    /// When the ladder has something to ask for.
    next_ask: Option<Timestamp>,
    completed: Vec<Completed>,
    wrong: Vec<(FrameId, UnitDamage)>,
    refused: u64,
    feedback_bytes: u64,
}

impl VideoClient {
    /// Receives from `to`. `opens` are the keys of video, `seals` those of feedback.
    #[must_use]
    pub fn new(to: Address, config: ClientConfig, (opens, seals): (MediaKeys, MediaKeys)) -> Self {
        let reassembler = ReassemblerConfig {
            silence_max: SILENCE_MAX,
            ..ReassemblerConfig::default()
        };
        Self {
            to,
            config,
            opener: Opener::new(opens),
            sealer: Sealer::new(seals),
            reassembler: Reassembler::new(reassembler),
            receipts: ReceiptLog::new(),
            schedule: FeedbackSchedule::new(ScheduleConfig::default()),
            clock: ClockSync::new(),
            decoder: Decoder::new(config.decode),
            hole: None,
            hole_opened: Timestamp::ZERO,
            ladder: Wants::new(WantsConfig::default()),
            next_ask: None,
            completed: Vec::new(),
            wrong: Vec::new(),
            refused: 0,
            feedback_bytes: 0,
        }
    }

    /// The decoder, for what was shown.
    #[must_use]
    pub const fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Frames that came whole, in order.
    #[must_use]
    pub fn completed(&self) -> &[Completed] {
        &self.completed
    }

    /// Units that were not what the host's encoder made: must be none.
    #[must_use]
    pub fn wrong(&self) -> &[(FrameId, UnitDamage)] {
        &self.wrong
    }

    /// Datagrams that were not authentic, or came twice.
    #[must_use]
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Counters of the reassembler.
    #[must_use]
    pub const fn reassembler(&self) -> ReassemblerStats {
        self.reassembler.stats()
    }

    /// Bytes of feedback sent, and what was asked for in them.
    #[must_use]
    pub const fn feedback(&self) -> (u64, WantsStats) {
        (self.feedback_bytes, self.ladder.stats())
    }

    /// By how much the clock machine errs about the host's clock at `now`, with the uncertainty
    /// that it states; `None` before the first echo.
    #[must_use]
    pub fn clock_error(&self, now: Timestamp) -> Option<(Duration, Duration)> {
        let offset = self.clock.offset_at(now + CLOCK_AHEAD)?;
        let truth = -(CLOCK_AHEAD.as_nanos() as i64);
        let error = Duration::from_nanos(offset.ns.abs_diff(truth));
        Some((error, Duration::from_nanos(offset.uncertainty_ns)))
    }

    /// Hands over what is due.
    fn drain(&mut self, local: Timestamp) {
        loop {
            let grace = self.ladder.reorder_grace(local, &self.reassembler);
            self.reassembler.set_reorder_grace(grace);
            match self.reassembler.poll(local) {
                Some(Event::Frame(unit)) => self.show(local - CLOCK_AHEAD, &unit),
                Some(Event::Lost(loss)) => {
                    self.widen(local, loss.first, loss.last);
                    self.schedule.on_urgent();
                }
                None => break,
            }
        }
        self.next_ask = None;
        if self.config.repeats {
            self.next_ask = self.ladder.poll_timeout(local, &self.reassembler);
        }
    }

    fn show(&mut self, now: Timestamp, unit: &AccessUnit) {
        self.completed.push(Completed {
            frame: unit.frame,
            at: unit.complete - CLOCK_AHEAD,
            repaired_shards: unit.repaired_shards,
        });
        let read = match Unit::read(unit.bytes()) {
            Ok(read) if read.frame == unit.frame => read,
            Ok(_) => return self.wrong.push((unit.frame, UnitDamage::Head)),
            Err(damage) => return self.wrong.push((unit.frame, damage)),
        };
        match self.decoder.handle(now, &read) {
            Fate::Shown(_) => self.hole = None,
            Fate::Hidden => {
                self.widen(now + CLOCK_AHEAD, unit.frame, unit.frame);
                self.schedule.on_urgent();
            }
            Fate::Stale => {}
        }
    }

    fn widen(&mut self, local: Timestamp, first: FrameId, newest: FrameId) {
        if self.hole.is_none() {
            self.hole_opened = local;
        }
        let hole = self.hole.get_or_insert(Damage {
            first_lost: first,
            newest_lost: newest,
        });
        hole.newest_lost = hole.newest_lost.max(newest);
    }

    fn write_feedback(&mut self, local: Timestamp) -> Feedback {
        let (decode, waiting) = self.decoder.load(local - CLOCK_AHEAD);
        let mut feedback = Feedback {
            sent: local,
            last_good: self.decoder.last_good(),
            damage: self.hole,
            decode_us: decode.as_micros() as u32,
            waiting_units: u8::try_from(waiting).unwrap_or(u8::MAX),
            ..Feedback::default()
        };
        self.receipts.fill(&mut feedback);
        if self.config.repeats {
            feedback.wants = self.ladder.poll_wants(local, &self.reassembler);
            self.next_ask = self.ladder.poll_timeout(local, &self.reassembler);
        }
        feedback
    }

    fn take_video(&mut self, local: Timestamp, datagram: &mut [u8]) -> bool {
        let Ok((header, payload)) = open_video(&mut self.opener, datagram) else {
            return false;
        };
        self.ladder.handle_shard(local, &header);
        self.reassembler.handle(local, &header, payload);
        true
    }

    fn take_plain(&mut self, local: Timestamp, kind: Kind, datagram: &mut [u8]) -> bool {
        let Ok(payload) = open_plain(&mut self.opener, datagram) else {
            return false;
        };
        if kind == Kind::Echo
            && let Ok(echo) = Echo::parse(payload)
        {
            // An echo that tells nothing new is harmless.
            let _ = self
                .clock
                .handle(echo.client_sent, echo.host_received, echo.host_sent, local);
            if let Some(trip) = self.clock.round_trip() {
                self.ladder.set_round_trip(trip.smoothed);
            }
        }
        true
    }
}

impl Endpoint for VideoClient {
    fn handle(&mut self, now: Timestamp, _from: Address, datagram: &mut [u8]) {
        let local = now + CLOCK_AHEAD;
        let sequence = datagram
            .first_chunk::<MEDIA_HEADER_BYTES>()
            .map_or(0, sequence_of);
        let taken = match datagram.first().copied().and_then(Kind::from_wire) {
            Some(Kind::Data | Kind::Parity) => self.take_video(local, datagram),
            Some(kind) => self.take_plain(local, kind, datagram),
            None => false,
        };
        if !taken {
            self.refused += 1;
            return;
        }
        let is_urgent = self.receipts.on_datagram(sequence, local);
        self.schedule.on_datagram(is_urgent);
        self.drain(local);
    }

    fn poll_transmit(
        &mut self,
        now: Timestamp,
        datagram: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<Transmit> {
        let local = now + CLOCK_AHEAD;
        if !self.schedule.poll(local) {
            return None;
        }
        let feedback = self.write_feedback(local);
        // A burst of loss that takes feedbacks ends sooner the more of them there are.
        if self.hole.is_some() && local.since(self.hole_opened) < HOLE_URGENT_MAX {
            self.schedule.on_urgent();
        }
        let mut plaintext = [0; FEEDBACK_BYTES_MAX];
        let len = feedback.write(&mut plaintext);
        let mut header = Kind::Feedback.header();
        let bytes = self
            .sealer
            .seal(&mut header, &plaintext[..len], datagram)
            .expect("a feedback fits a datagram");
        self.feedback_bytes += bytes as u64;
        Some(Transmit { to: self.to, bytes })
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        let local = [
            self.reassembler.poll_timeout(),
            self.schedule.poll_timeout(),
            self.next_ask,
        ];
        local.into_iter().flatten().min().map(|at| at - CLOCK_AHEAD)
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        let local = now + CLOCK_AHEAD;
        self.drain(local);
        if self.next_ask.take_if(|at| *at <= local).is_some() {
            self.schedule.on_urgent();
        }
    }
}
