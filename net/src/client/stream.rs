//! The client's half of a stream's control loop: datagrams in, access units, feedback and reports
//! of damage out.
//!
//! Sans-IO: every media datagram goes to [`MediaStream::handle_datagram`]; after each, and when
//! [`MediaStream::poll_timeout`] says so, the caller drains [`MediaStream::poll`], then sends what
//! [`MediaStream::poll_feedback`] gives. Nothing allocates after [`MediaStream::new`].

use crate::clock_sync::{ClockSync, Echo};
use crate::crypto::{Opener, Sealer};
use crate::feedback::{
    Damage, FEEDBACK_BYTES_MAX, Feedback, FeedbackSchedule, ReceiptLog, ScheduleConfig,
};
use crate::limits::{DATAGRAM_BYTES_MAX, MEDIA_HEADER_BYTES};
use crate::media::{self, Kind, MediaError, VideoError, VideoHeader};
use crate::native::RepairRequest;
use crate::reassemble::{
    AccessUnit, Event, Loss, Reassembler, ReassemblerConfig, ReassemblerStats,
};
use crate::units::{FrameId, Timestamp};

use super::delivery::{Arrival, Delivery, Verdict};

/// What the caller must act on.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would be an allocation for every frame"
)]
pub enum StreamEvent {
    /// The decoder's next access unit. The caller says [`MediaStream::delivered`] or
    /// [`MediaStream::overrun`] before it polls again.
    Unit(AccessUnit),
    /// An access unit came whole, but refers to what the decoder does not have.
    Hidden(FrameId),
    /// Frames that will not come.
    Lost(Loss),
    /// To be told the host reliably.
    Repair(RepairRequest),
}

/// What the decoder tells of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DecoderLoad {
    /// Time that it took for its newest frame, µs; 0 unknown.
    pub decode_us: u32,
    /// Access units waiting for it.
    pub waiting_units: u8,
}

/// The machine; see the module's text.
pub struct MediaStream {
    opener: Opener,
    sealer: Sealer,
    receipts: ReceiptLog,
    schedule: FeedbackSchedule,
    reassembler: Reassembler,
    delivery: Delivery,
    clock: ClockSync,
    feedback: Feedback,
}

impl MediaStream {
    /// For a host that is told to start at `now`. `opener` has its keys, `sealer` ours.
    #[must_use]
    pub fn new(now: Timestamp, opener: Opener, sealer: Sealer, config: ReassemblerConfig) -> Self {
        Self {
            opener,
            sealer,
            receipts: ReceiptLog::new(),
            schedule: FeedbackSchedule::new(ScheduleConfig::default()),
            reassembler: Reassembler::new(config),
            delivery: Delivery::new(now),
            clock: ClockSync::new(),
            feedback: Feedback::default(),
        }
    }

    /// A media datagram was taken from the socket at `now`. Those of one receive call should get
    /// the same `now`.
    ///
    /// # Errors
    /// [`VideoError`] for what is not authentic or of no use; nothing has changed then.
    pub fn handle_datagram(
        &mut self,
        now: Timestamp,
        datagram: &mut [u8],
    ) -> Result<(), VideoError> {
        let kind = datagram.first().copied().unwrap_or_default();
        let sequence = match Kind::from_wire(kind) {
            Some(Kind::Data | Kind::Parity) => {
                let header = VideoHeader::parse(datagram)?;
                let (raw, payload) = self.opener.open(datagram)?;
                self.reassembler.handle(now, &header, payload);
                media::sequence_of(raw)
            }
            Some(Kind::Padding) => {
                let (raw, _) = self.opener.open(datagram)?;
                media::sequence_of(raw)
            }
            Some(Kind::Echo) => {
                let (raw, payload) = self.opener.open(datagram)?;
                if let Ok(echo) = Echo::parse(payload) {
                    // What it refuses is a path or a host that lies; the filter goes without.
                    let _ = self.clock.handle(
                        echo.client_sent,
                        echo.host_received,
                        echo.host_sent,
                        now,
                    );
                }
                media::sequence_of(raw)
            }
            Some(Kind::Feedback) | None => return Err(MediaError::Type { kind }.into()),
        };
        let shows_loss = self.receipts.on_datagram(sequence, now);
        // An echo answers a feedback: another one for its sake would never end.
        if kind != Kind::Echo as u8 {
            self.schedule.on_datagram(shows_loss);
        }
        Ok(())
    }

    /// The next event that is due at `now`; call it until it returns `None`.
    pub fn poll(&mut self, now: Timestamp) -> Option<StreamEvent> {
        match self.reassembler.poll(now) {
            Some(Event::Frame(unit)) => {
                let arrival = arrival(&unit);
                return Some(match self.delivery.judge(arrival) {
                    Verdict::Deliver => StreamEvent::Unit(unit),
                    Verdict::Hide => StreamEvent::Hidden(arrival.frame),
                });
            }
            Some(Event::Lost(loss)) => {
                self.delivery.lost(loss.first, loss.last);
                self.schedule.on_urgent();
                return Some(StreamEvent::Lost(loss));
            }
            None => {}
        }
        let request = self.delivery.poll_request(now)?;
        self.feedback.damage = Some(Damage {
            first_lost: request.first_lost,
            newest_lost: request.newest_lost,
        });
        Some(StreamEvent::Repair(request))
    }

    /// The decoder was given that unit, an IDR or not.
    pub fn delivered(&mut self, frame: FrameId, keyframe: bool) {
        self.delivery.delivered(frame, keyframe);
        self.feedback.last_good = Some(frame);
        self.feedback.damage = None;
    }

    /// The decoder had no room for the unit.
    pub fn overrun(&mut self, frame: FrameId) {
        self.delivery.lost(frame, frame);
    }

    /// The decoder was given that frame and failed.
    pub fn undecodable(&mut self, frame: FrameId) {
        self.delivery.undecodable(frame);
    }

    /// How busy the decoder is.
    pub fn set_decoder_load(&mut self, load: DecoderLoad) {
        self.feedback.decode_us = load.decode_us;
        self.feedback.waiting_units = load.waiting_units;
    }

    /// Writes the feedback that is due at `now`, if one is: a whole datagram, whose length it
    /// returns.
    pub fn poll_feedback(
        &mut self,
        now: Timestamp,
        out: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<usize> {
        if !self.schedule.poll(now) {
            return None;
        }
        self.feedback.sent = now;
        self.receipts.fill(&mut self.feedback);
        let mut plaintext = [0; FEEDBACK_BYTES_MAX];
        let bytes = self.feedback.write(&mut plaintext);
        let mut header: [u8; MEDIA_HEADER_BYTES] = Kind::Feedback.header();
        // It fails only after 2⁶⁴ feedbacks.
        self.sealer.seal(&mut header, &plaintext[..bytes], out).ok()
    }

    /// When to poll next at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        [
            self.reassembler.poll_timeout(),
            self.delivery.request_due(),
            self.schedule.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What the host's clock says, against ours.
    #[must_use]
    pub const fn clock(&self) -> &ClockSync {
        &self.clock
    }

    /// Counts of the reassembler.
    #[must_use]
    pub const fn stats(&self) -> ReassemblerStats {
        self.reassembler.stats()
    }

    /// Everything before it was delivered or given up.
    #[must_use]
    pub const fn front(&self) -> FrameId {
        self.reassembler.front()
    }
}

fn arrival(unit: &AccessUnit) -> Arrival {
    Arrival {
        frame: unit.frame,
        keyframe: unit.keyframe,
        recovery: unit.recovery,
    }
}
