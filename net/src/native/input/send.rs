//! The client's side of the input plane.

use std::collections::VecDeque;

use crate::input::{ContactKind, ControllerState, InputEvent, MotionSensor, ScrollAxis};
use crate::units::Timestamp;

use super::{
    HEADER_BYTES, Held, INPUT_DATAGRAM, LOG_EVENTS_PER_PACKET_MAX, LOG_MAX, LOOSE_MAX,
    PACKET_BYTES_MAX, REPEAT_FOR, REPEATS, SETTLE_AFTER, SNAPSHOT_BYTES, STATE_BYTES, Snapshot,
    codec,
};

/// What was sent, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderStats {
    /// Datagrams with something new.
    pub datagrams: u64,
    /// Datagrams that only repeat.
    pub repeats: u64,
    /// Packets for the stream.
    pub messages: u64,
    /// Events of the log that a state had to replace because the stream stood still.
    pub replaced: u64,
}

/// Makes packets of events. After each [`InputSender::push`] and each
/// [`InputSender::handle_timeout`] drain [`InputSender::poll_datagram`] and, while the stream has
/// room, [`InputSender::poll_message`].
#[derive(Debug)]
pub struct InputSender {
    sequence: u32,
    log: VecDeque<Logged>,
    /// Number of the log's first event.
    first: u32,
    /// Number of the first event that the stream has not.
    unstreamed: u32,
    /// Number of the first event that no datagram had.
    unsent: u32,
    /// The stream gets this before the log goes on.
    state_due: Option<Held>,
    held: Held,
    snapshot: Snapshot,
    sent_snapshot: Snapshot,
    loose: Vec<Loose>,
    /// The buttons that each controller had in its last state.
    pads: [Option<(u16, u32)>; crate::input::CONTROLLERS_MAX as usize],
    repeats: [Option<Timestamp>; REPEATS.len()],
    repeat_now: bool,
    /// When the snapshot changed last, if the stream has not told it.
    moved: Option<Timestamp>,
    settle_now: bool,
    stats: SenderStats,
    /// Packets that were made early so that what follows them could not overtake; the first
    /// `early_count` are to be sent.
    early: [Vec<u8>; EARLY_MAX],
    early_count: usize,
    /// Room for a packet's body while it is made.
    body: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Logged {
    event: InputEvent,
    at: Timestamp,
}

#[derive(Clone, Copy, Debug)]
struct Loose {
    event: InputEvent,
    at: Timestamp,
    sent: bool,
}

/// Packets made early at most: clicks between motions within one turn of the caller. With more
/// the motion is told before the click.
const EARLY_MAX: usize = 4;

impl Default for InputSender {
    fn default() -> Self {
        Self {
            sequence: 0,
            log: VecDeque::with_capacity(LOG_MAX),
            first: 0,
            unstreamed: 0,
            unsent: 0,
            state_due: None,
            held: Held::default(),
            snapshot: Snapshot::default(),
            sent_snapshot: Snapshot::default(),
            loose: Vec::with_capacity(LOOSE_MAX),
            pads: [None; _],
            repeats: [None; _],
            repeat_now: false,
            moved: None,
            settle_now: false,
            stats: SenderStats::default(),
            early: std::array::from_fn(|_| Vec::with_capacity(PACKET_BYTES_MAX)),
            early_count: 0,
            body: Vec::with_capacity(PACKET_BYTES_MAX),
        }
    }
}

impl InputSender {
    /// Something happened.
    pub fn push(&mut self, now: Timestamp, event: InputEvent) {
        if !self.is_passing(&event) {
            return self.append(now, event);
        }
        // A transition that waits must not be overtaken; see the module.
        if self.unsent != self.end() && self.early_count < EARLY_MAX {
            let mut packet = std::mem::take(&mut self.early[self.early_count]);
            self.make_datagram(now, &mut packet);
            self.early[self.early_count] = packet;
            self.early_count += 1;
        }
        if !self.absorb(now, &event) {
            self.append(now, event);
        }
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        for repeat in &mut self.repeats {
            if repeat.is_some_and(|at| at <= now) {
                *repeat = None;
                self.repeat_now = true;
            }
        }
        if self.moved.is_some_and(|at| at + SETTLE_AFTER <= now) {
            self.moved = None;
            self.settle_now = true;
        }
        // What has come to rest is said once more, for certain.
        while let Some(place) = self.loose.iter().position(|it| it.at + SETTLE_AFTER <= now) {
            let settled = self.loose.swap_remove(place);
            self.append(now, settled.event);
        }
        self.forget(now);
    }

    /// When [`InputSender::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let changes = self.loose.iter().map(|loose| loose.at).chain(self.moved);
        let settle = changes.min().map(|at| at + SETTLE_AFTER);
        self.repeats.iter().flatten().copied().chain(settle).min()
    }

    /// The next packet for a datagram, into `out`; false if there is none.
    pub fn poll_datagram(&mut self, now: Timestamp, out: &mut Vec<u8>) -> bool {
        if self.early_count > 0 {
            std::mem::swap(out, &mut self.early[0]);
            self.early[..self.early_count].rotate_left(1);
            self.early_count -= 1;
            return true;
        }
        self.make_datagram(now, out)
    }

    fn make_datagram(&mut self, now: Timestamp, out: &mut Vec<u8>) -> bool {
        let fresh = self.unsent != self.end()
            || self.snapshot != self.sent_snapshot
            || self.loose.iter().any(|loose| !loose.sent);
        if !fresh && !self.repeat_now {
            return false;
        }
        self.forget(now);
        // The newest that fit, and nothing in between is left out: a reader that has the first
        // part goes on with the second.
        let oldest = self
            .log
            .iter()
            .position(|logged| now.since(logged.at) < REPEAT_FOR);
        let repeated = oldest.map_or(self.end(), |place| self.first.wrapping_add(place as u32));
        let waiting = self.end().wrapping_sub(self.unsent) as usize;
        let tail = self.end().wrapping_sub(repeated) as usize;
        let (begin, count) = if waiting > LOG_EVENTS_PER_PACKET_MAX {
            (self.unsent, LOG_EVENTS_PER_PACKET_MAX)
        } else {
            let count = tail.max(waiting).min(LOG_EVENTS_PER_PACKET_MAX);
            (self.end().wrapping_sub(count as u32), count)
        };
        self.write(out, begin, count, None);
        if fresh {
            self.stats.datagrams += 1;
        } else {
            self.stats.repeats += 1;
        }
        if waiting > 0 {
            self.repeats = REPEATS.map(|after| Some(now + after));
        }
        self.unsent = begin.wrapping_add(count as u32);
        self.sent_snapshot = self.snapshot;
        self.loose.iter_mut().for_each(|loose| loose.sent = true);
        self.repeat_now = false;
        true
    }

    /// The next packet for the stream, into `out`; false if there is none. The caller has drained
    /// the datagrams before, so that nothing reaches the stream first, and takes it
    /// only if the stream has room for [`PACKET_BYTES_MAX`].
    pub fn poll_message(&mut self, now: Timestamp, out: &mut Vec<u8>) -> bool {
        let waiting = self.end().wrapping_sub(self.unstreamed) as usize;
        if waiting == 0 && !self.settle_now && self.state_due.is_none() {
            return false;
        }
        let state = self.state_due.take();
        let (begin, count) = match state {
            Some(_) => (self.unstreamed, 0),
            None => (self.unstreamed, waiting.min(LOG_EVENTS_PER_PACKET_MAX)),
        };
        self.write(out, begin, count, state);
        self.unstreamed = begin.wrapping_add(count as u32);
        self.settle_now = false;
        self.stats.messages += 1;
        self.forget(now);
        true
    }

    /// What is down.
    #[must_use]
    pub const fn held(&self) -> &Held {
        &self.held
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> SenderStats {
        self.stats
    }

    /// Number of the event that the log will take next.
    fn end(&self) -> u32 {
        self.first.wrapping_add(self.log.len() as u32)
    }

    /// True if the event is worth nothing once the next of its kind is there, or adds up.
    fn is_passing(&self, event: &InputEvent) -> bool {
        let passing = |kind| matches!(kind, ContactKind::Move | ContactKind::Hover);
        match event {
            InputEvent::PointerMotion { .. }
            | InputEvent::PointerPosition(_)
            | InputEvent::Scroll { .. }
            | InputEvent::ControllerMotion(_) => true,
            InputEvent::Touch(touch) => passing(touch.contact.kind),
            InputEvent::Pen(pen) => passing(pen.contact.kind),
            InputEvent::ControllerTouch(touch) => passing(touch.kind),
            InputEvent::ControllerState(state) => {
                let known = self
                    .pads
                    .get(usize::from(state.controller))
                    .copied()
                    .flatten();
                known == Some((state.present, state.buttons))
            }
            _ => false,
        }
    }

    /// Takes a passing event into the snapshot or among the loose; false if there is no room.
    fn absorb(&mut self, now: Timestamp, event: &InputEvent) -> bool {
        let totals = &mut self.snapshot.totals;
        match *event {
            InputEvent::PointerMotion { dx, dy } => {
                totals[0] = totals[0].wrapping_add(dx.into());
                totals[1] = totals[1].wrapping_add(dy.into());
            }
            InputEvent::Scroll { axis, amount } => {
                let total = &mut totals[2 + usize::from(axis == ScrollAxis::Horizontal)];
                *total = total.wrapping_add(amount.into());
            }
            InputEvent::PointerPosition(position) => {
                // A reader places first and moves then: motion before this is void.
                totals[..2].copy_from_slice(&self.sent_snapshot.totals[..2]);
                let step = u8::from(self.snapshot.placements == self.sent_snapshot.placements);
                self.snapshot.placements = self.snapshot.placements.wrapping_add(step);
                self.snapshot.position = (
                    codec::share_to_wire(position.x),
                    codec::share_to_wire(position.y),
                );
            }
            _ => return self.keep_loose(now, *event),
        }
        self.moved = Some(now);
        true
    }

    /// False if there is no room.
    fn keep_loose(&mut self, now: Timestamp, event: InputEvent) -> bool {
        let entry = Loose {
            event,
            at: now,
            sent: false,
        };
        if let Some(loose) = self.loose.iter_mut().find(|it| is_same(&it.event, &event)) {
            *loose = entry;
            return true;
        }
        if self.loose.len() == LOOSE_MAX {
            return false;
        }
        self.loose.push(entry);
        true
    }

    fn append(&mut self, now: Timestamp, event: InputEvent) {
        if self.log.len() == LOG_MAX {
            self.forget(now);
        }
        if self.log.len() == LOG_MAX {
            // The stream stands still. What is down will be told; what was in between is gone.
            self.stats.replaced += self.log.len() as u64;
            self.log.clear();
            // One number is never used, so that no datagram goes on before the state.
            self.first = self.first.wrapping_add(LOG_MAX as u32 + 1);
            (self.unstreamed, self.unsent) = (self.first, self.first);
            self.state_due = Some(self.held);
        }
        self.loose.retain(|loose| !is_same(&loose.event, &event));
        if let InputEvent::ControllerState(ControllerState {
            controller,
            present,
            buttons,
            ..
        }) = event
            && let Some(pad) = self.pads.get_mut(usize::from(controller))
        {
            *pad = Some((present, buttons));
        }
        self.log.push_back(Logged { event, at: now });
        self.held.note(&event);
    }

    /// Drops what the stream has and datagrams need not repeat.
    fn forget(&mut self, now: Timestamp) {
        while self.first != self.unstreamed
            && self.first != self.unsent
            && self
                .log
                .front()
                .is_some_and(|logged| now.since(logged.at) >= REPEAT_FOR)
        {
            self.log.pop_front();
            self.first = self.first.wrapping_add(1);
        }
    }

    fn write(&mut self, out: &mut Vec<u8>, begin: u32, count: usize, state: Option<Held>) {
        self.sequence = self.sequence.wrapping_add(1);
        let has_snapshot = self.snapshot != Snapshot::default();
        out.clear();
        out.push(INPUT_DATAGRAM);
        out.push(u8::from(has_snapshot) | u8::from(state.is_some()) << 1);
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&begin.to_le_bytes());
        out.push(count as u8);
        out.push(self.loose.len() as u8);
        debug_assert_eq!(out.len(), HEADER_BYTES);
        if let Some(held) = state {
            out.extend_from_slice(&held.keys);
            out.push(held.buttons);
            debug_assert_eq!(out.len(), HEADER_BYTES + STATE_BYTES);
        }
        if has_snapshot {
            let before = out.len();
            let Snapshot {
                totals,
                placements,
                position: (x, y),
            } = self.snapshot;
            totals
                .iter()
                .for_each(|total| out.extend_from_slice(&total.to_le_bytes()));
            out.push(placements);
            out.extend_from_slice(&x.to_le_bytes());
            out.extend_from_slice(&y.to_le_bytes());
            debug_assert_eq!(out.len(), before + SNAPSHOT_BYTES);
        }
        self.body.clear();
        self.loose
            .iter()
            .for_each(|loose| codec::write(&loose.event, &mut self.body));
        let place = begin.wrapping_sub(self.first) as usize;
        for logged in self.log.iter().skip(place).take(count) {
            codec::write(&logged.event, &mut self.body);
        }
        out.extend_from_slice(&self.body);
        debug_assert!(out.len() <= PACKET_BYTES_MAX, "the constants say so");
    }
}

/// True if the newer of two makes the older worthless.
fn is_same(a: &InputEvent, b: &InputEvent) -> bool {
    match (a, b) {
        (InputEvent::Touch(a), InputEvent::Touch(b)) => a.id == b.id,
        (InputEvent::Pen(_), InputEvent::Pen(_)) => true,
        (InputEvent::ControllerTouch(a), InputEvent::ControllerTouch(b)) => {
            (a.controller, a.touchpad, a.id) == (b.controller, b.touchpad, b.id)
        }
        (InputEvent::ControllerMotion(a), InputEvent::ControllerMotion(b)) => {
            let gyroscope = |sensor| sensor == MotionSensor::Gyroscope;
            a.controller == b.controller && gyroscope(a.sensor) == gyroscope(b.sensor)
        }
        (InputEvent::ControllerState(a), InputEvent::ControllerState(b)) => {
            a.controller == b.controller
        }
        _ => false,
    }
}
