//! The client's half of a stream's control loop: datagrams in, access units, feedback and reports
//! of damage out.
//!
//! Sans-IO: every media datagram goes to [`MediaStream::handle_datagram`]; after each, and when
//! [`MediaStream::poll_timeout`] says so, the caller drains [`MediaStream::poll`], then sends what
//! [`MediaStream::poll_feedback`] gives. Nothing allocates after [`MediaStream::new`].
//!
//! # Slices
//! With [`Granularity::Slices`] the decoder is offered the first slices of a frame while the others
//! are on their way, under the same rules: a part is offered only if the whole frame would be. A
//! frame that was begun so and is then given up, because it is lost or because the decoder has failed
//! meanwhile, never ends: the next part begins another. While anything waits for the decoder no
//! part is offered, for it would wait, too; the slices then go together.

use std::time::Duration;

use crate::clock_sync::{ClockSync, Echo};
use crate::crypto::{Opener, Sealer};
use crate::feedback::{FEEDBACK_BYTES_MAX, Feedback, FeedbackSchedule, ReceiptLog, ScheduleConfig};
use crate::ladder::{Wants, WantsConfig, WantsStats};
use crate::limits::{DATAGRAM_BYTES_MAX, MEDIA_HEADER_BYTES};
use crate::media::{self, Kind, MediaError, VideoError, VideoHeader};
use crate::native::RepairRequest;
use crate::reassemble::{
    AccessUnit, Event, Granularity, Loss, Reassembler, ReassemblerConfig, ReassemblerStats,
};
use crate::units::{FrameId, Timestamp};

use super::delivery::{Arrival, Delivery, Verdict};

/// Between two feedbacks while something is wanted: each want is said three times, and a burst of
/// loss should not take all of them.
const SAYING_INTERVAL: Duration = Duration::from_micros(500);
/// Between two feedbacks while the picture is damaged: a path back that loses bursts is silent
/// for less time the more of them there are.
const DAMAGE_INTERVAL: Duration = Duration::from_millis(1);
/// For so long; then as usual. A path that has not brought an answer by then needs no crowd.
const DAMAGE_URGENT_MAX: Duration = Duration::from_millis(300);

/// A frame that got nothing for less than this is not given up for it, whatever the reassembler's
/// configuration says: twice the longest time between two slices of a recorded encoder. Where
/// something newer comes, the reorder grace ends it long before.
const SILENCE_MIN: Duration = Duration::from_millis(150);

/// What the caller must act on.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a box would be an allocation for every frame"
)]
pub enum StreamEvent {
    /// The decoder's next access unit, or part of one. The caller says [`MediaStream::delivered`] or
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
    /// Access units waiting for it; a part counts as one.
    pub waiting_units: u8,
}

/// The machine; see the module's text.
pub struct MediaStream {
    opener: Opener,
    sealer: Sealer,
    receipts: ReceiptLog,
    schedule: FeedbackSchedule,
    reassembler: Reassembler,
    wants: Wants,
    delivery: Delivery,
    clock: ClockSync,
    feedback: Feedback,
    /// In what pieces the decoder takes frames.
    granularity: Granularity,
    /// What waits for the decoder: what its load says, and what was delivered since.
    waiting: u8,
    /// The unit that was offered last, and whether its frame ends with it.
    offered: Option<(FrameId, bool)>,
    /// The frame that the decoder has begun and of which more comes.
    begun: Option<FrameId>,
    /// Since when feedback knows of damage that is not healed.
    damaged_since: Option<Timestamp>,
    /// What [`Wants::poll_timeout`] said at a time; `None` once something has changed since. It is
    /// asked twice for every datagram.
    wants_due: Option<(Timestamp, Option<Timestamp>)>,
}

impl MediaStream {
    /// For a host that is told to start at `now`. `opener` has its keys, `sealer` ours.
    #[must_use]
    pub fn new(now: Timestamp, opener: Opener, sealer: Sealer, config: ReassemblerConfig) -> Self {
        let config = ReassemblerConfig {
            silence_max: config.silence_max.max(SILENCE_MIN),
            ..config
        };
        Self {
            opener,
            sealer,
            receipts: ReceiptLog::new(),
            schedule: FeedbackSchedule::new(ScheduleConfig {
                urgent_interval: SAYING_INTERVAL,
                ..ScheduleConfig::default()
            }),
            reassembler: Reassembler::new(config),
            wants: Wants::new(WantsConfig::default()),
            delivery: Delivery::new(now),
            clock: ClockSync::new(),
            feedback: Feedback::default(),
            granularity: config.granularity,
            waiting: 0,
            offered: None,
            begun: None,
            damaged_since: None,
            wants_due: None,
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
        self.wants_due = None;
        let kind = datagram.first().copied().unwrap_or_default();
        let sequence = match Kind::from_wire(kind) {
            Some(Kind::Data | Kind::Parity) => {
                let header = VideoHeader::parse(datagram)?;
                let (raw, payload) = self.opener.open(datagram)?;
                self.wants.handle_shard(now, &header);
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
                    if let Some(round_trip) = self.clock.round_trip() {
                        self.wants.set_round_trip(round_trip.smoothed);
                        self.delivery.set_round_trip(round_trip.smoothed);
                    }
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
        self.wants_due = None;
        let grace = self.wants.reorder_grace(now, &self.reassembler);
        self.reassembler.set_reorder_grace(grace);
        self.reassembler.set_granularity(self.granularity());
        while let Some(event) = self.reassembler.poll(now) {
            match event {
                Event::Frame(unit) => {
                    if let Some(event) = self.judge(unit) {
                        return Some(event);
                    }
                }
                Event::Lost(loss) => {
                    self.begun = None;
                    self.delivery.lost(loss.first, loss.last);
                    self.note_damage();
                    return Some(StreamEvent::Lost(loss));
                }
            }
        }
        let request = self.delivery.poll_request(now)?;
        self.note_damage();
        // Whatever became of the feedbacks before: the damage is still there.
        self.schedule.on_urgent();
        Some(StreamEvent::Repair(request))
    }

    /// The decoder was given the unit that was offered last, of that frame, an IDR or not.
    pub fn delivered(&mut self, frame: FrameId, keyframe: bool) {
        self.waiting = self.waiting.saturating_add(1);
        if self.offered.take() == Some((frame, false)) {
            self.begun = Some(frame);
            return;
        }
        self.begun = None;
        self.delivery.delivered(frame, keyframe);
        self.feedback.last_good = Some(frame);
        self.note_damage();
    }

    /// The decoder had no room for the unit.
    pub fn overrun(&mut self, frame: FrameId) {
        self.begun = None;
        self.delivery.lost(frame, frame);
        self.note_damage();
    }

    /// The decoder was given that frame and failed.
    pub fn undecodable(&mut self, frame: FrameId) {
        self.begun = self.begun.filter(|&begun| begun != frame);
        self.delivery.undecodable(frame);
        self.note_damage();
    }

    /// How busy the decoder is.
    pub fn set_decoder_load(&mut self, load: DecoderLoad) {
        self.feedback.decode_us = load.decode_us;
        self.feedback.waiting_units = load.waiting_units;
        self.waiting = load.waiting_units;
    }

    /// Writes the feedback that is due at `now`, if one is: a whole datagram, whose length it
    /// returns.
    pub fn poll_feedback(
        &mut self,
        now: Timestamp,
        out: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<usize> {
        let wants_due = self.wants_due(now);
        let damage_due = self.damage_due(now);
        if [wants_due, damage_due]
            .iter()
            .flatten()
            .any(|due| *due <= now)
        {
            self.schedule.on_urgent();
        }
        if !self.schedule.poll(now) {
            return None;
        }
        if self.feedback.damage.is_some() {
            self.damaged_since.get_or_insert(now);
        }
        self.wants_due = None;
        self.feedback.wants = self.wants.poll_wants(now, &self.reassembler);
        self.feedback.sent = now;
        self.receipts.fill(&mut self.feedback);
        let mut plaintext = [0; FEEDBACK_BYTES_MAX];
        let bytes = self.feedback.write(&mut plaintext);
        let mut header: [u8; MEDIA_HEADER_BYTES] = Kind::Feedback.header();
        // It fails only after 2⁶⁴ feedbacks.
        self.sealer.seal(&mut header, &plaintext[..bytes], out).ok()
    }

    fn wants_due(&mut self, now: Timestamp) -> Option<Timestamp> {
        match self.wants_due {
            Some((at, due)) if at == now => due,
            _ => {
                let due = self.wants.poll_timeout(now, &self.reassembler);
                self.wants_due = Some((now, due));
                due
            }
        }
    }

    /// In what pieces the decoder should have frames now.
    fn granularity(&self) -> Granularity {
        match self.waiting {
            0 => self.granularity,
            _ => Granularity::Frames,
        }
    }

    /// What becomes of a unit; nothing of a part whose frame was judged before.
    fn judge(&mut self, unit: AccessUnit) -> Option<StreamEvent> {
        let arrival = arrival(&unit);
        let is_wanted = unit.begins || self.begun == Some(arrival.frame);
        // What was right when the frame began need not be any more.
        if is_wanted && self.delivery.judge(arrival) == Verdict::Deliver {
            self.offered = Some((arrival.frame, unit.ends));
            return Some(StreamEvent::Unit(unit));
        }
        self.begun = None;
        self.note_damage();
        unit.ends.then_some(StreamEvent::Hidden(arrival.frame))
    }

    /// When the damage is to be said again, which may be past.
    fn damage_due(&self, now: Timestamp) -> Option<Timestamp> {
        let is_urgent = self
            .damaged_since
            .is_some_and(|since| now.since(since) < DAMAGE_URGENT_MAX);
        is_urgent.then_some(self.feedback.sent + DAMAGE_INTERVAL)
    }

    /// The hole has changed, or may have: from now on feedback says so, the first at once.
    fn note_damage(&mut self) {
        let damage = self.delivery.damage();
        if damage == self.feedback.damage {
            return;
        }
        self.feedback.damage = damage;
        self.wants_due = None;
        self.wants.set_damaged(damage.is_some());
        if damage.is_none() {
            self.damaged_since = None;
        }
        self.schedule.on_urgent();
    }

    /// When to poll next at the latest.
    #[must_use]
    pub fn poll_timeout(&mut self, now: Timestamp) -> Option<Timestamp> {
        // A want that is due waits for the schedule, which is urgent then.
        let wants = self.wants_due(now);
        [
            wants.filter(|&due| due > now),
            self.damage_due(now).filter(|&due| due > now),
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

    /// What was asked for again.
    #[must_use]
    pub const fn wants(&self) -> WantsStats {
        self.wants.stats()
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

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
