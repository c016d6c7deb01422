//! The client's end of a session: the real [`MediaStream`], before the decoder model.
//!
//! A session also asks for repair on its QUIC stream. That is cut away here: what the feedback
//! says of damage must do alone, which is the harder case.

use std::time::Duration;

use net::client::{DecoderLoad, MediaStream, StreamEvent};
use net::crypto::{MediaKeys, Opener, Sealer};
use net::ladder::WantsStats;
use net::reassemble::{AccessUnit, ReassemblerConfig, ReassemblerStats};
use net::units::{FrameId, Timestamp};

use super::decoder::{Decoder, Fate};
use super::network::{Endpoint, Transmit};
use super::packet::{Address, DATAGRAM_BYTES_MAX};
use super::unit::{Damage as UnitDamage, Unit};

/// How far the client's clock is ahead of the host's.
const CLOCK_AHEAD: Duration = Duration::from_secs(5);

/// How a client is opened.
#[derive(Clone, Copy, Debug)]
pub struct ClientConfig {
    /// Time that a picture takes to decode.
    pub decode: Duration,
}

/// A frame that came whole, and before which nothing was missing.
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
    stream: MediaStream,
    decoder: Decoder,
    /// When the stream wants to be called again, its clock.
    due: Option<Timestamp>,
    completed: Vec<Completed>,
    wrong: Vec<(FrameId, UnitDamage)>,
    undecodable: u64,
    requests: u64,
    refused: u64,
    feedback_bytes: u64,
}

impl VideoClient {
    /// Receives from `to`, of a host that is told to start at `now`. `opens` are the keys of
    /// video, `seals` those of feedback.
    #[must_use]
    pub fn new(
        to: Address,
        config: ClientConfig,
        (opens, seals): (MediaKeys, MediaKeys),
        now: Timestamp,
    ) -> Self {
        let (opener, sealer) = (Opener::new(opens), Sealer::new(seals));
        let local = now + CLOCK_AHEAD;
        let mut stream = MediaStream::new(local, opener, sealer, ReassemblerConfig::default());
        Self {
            to,
            due: stream.poll_timeout(local),
            stream,
            decoder: Decoder::new(config.decode),
            completed: Vec::new(),
            wrong: Vec::new(),
            undecodable: 0,
            requests: 0,
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
        self.stream.stats()
    }

    /// Bytes of feedback sent, and what was asked for in them.
    #[must_use]
    pub const fn feedback(&self) -> (u64, WantsStats) {
        (self.feedback_bytes, self.stream.wants())
    }

    /// Units that the stream gave to the decoder although what they refer to was missing: must be
    /// none.
    #[must_use]
    pub const fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Repairs that would have been asked for on the QUIC stream.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// By how much the clock machine errs about the host's clock at `now`, with the uncertainty
    /// that it states; `None` before the first echo.
    #[must_use]
    pub fn clock_error(&self, now: Timestamp) -> Option<(Duration, Duration)> {
        let offset = self.stream.clock().offset_at(now + CLOCK_AHEAD)?;
        let truth = -(CLOCK_AHEAD.as_nanos() as i64);
        let error = Duration::from_nanos(offset.ns.abs_diff(truth));
        Some((error, Duration::from_nanos(offset.uncertainty_ns)))
    }

    /// Hands over what is due.
    fn drain(&mut self, local: Timestamp) {
        while let Some(event) = self.stream.poll(local) {
            match event {
                StreamEvent::Unit(unit) => self.show(local, &unit),
                StreamEvent::Repair(_) => self.requests += 1,
                StreamEvent::Hidden(_) | StreamEvent::Lost(_) => {}
            }
        }
    }

    fn show(&mut self, local: Timestamp, unit: &AccessUnit) {
        self.stream.delivered(unit.frame, unit.keyframe);
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
        if self.decoder.handle(local - CLOCK_AHEAD, &read) == Fate::Hidden {
            self.undecodable += 1;
            self.stream.undecodable(unit.frame);
        }
    }
}

impl Endpoint for VideoClient {
    fn handle(&mut self, now: Timestamp, _from: Address, datagram: &mut [u8]) {
        let local = now + CLOCK_AHEAD;
        if self.stream.handle_datagram(local, datagram).is_err() {
            self.refused += 1;
        }
        self.drain(local);
    }

    fn poll_transmit(
        &mut self,
        now: Timestamp,
        datagram: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<Transmit> {
        let local = now + CLOCK_AHEAD;
        let (decode, waiting) = self.decoder.load(local - CLOCK_AHEAD);
        self.stream.set_decoder_load(DecoderLoad {
            decode_us: decode.as_micros() as u32,
            waiting_units: u8::try_from(waiting).unwrap_or(u8::MAX),
        });
        let room = datagram.first_chunk_mut();
        let room = room.expect("the network takes larger datagrams than media has");
        let Some(bytes) = self.stream.poll_feedback(local, room) else {
            self.due = self.stream.poll_timeout(local);
            return None;
        };
        self.feedback_bytes += bytes as u64;
        Some(Transmit { to: self.to, bytes })
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.due.map(|at| at - CLOCK_AHEAD)
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        self.drain(now + CLOCK_AHEAD);
    }
}
