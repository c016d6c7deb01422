//! The host's side of the input plane.

use std::collections::VecDeque;

use crate::bytes::Reader;
use crate::input::{InputEvent, KeyEvent, Modifiers, Position, ScrollAxis};

use super::{
    Held, INPUT_DATAGRAM, InputError, LOG_EVENTS_PER_PACKET_MAX, LOOSE_MAX, Snapshot, codec,
    is_after,
};

/// Events of one packet at most: a state that changes everything (256 keys and 5 buttons), a
/// snapshot (a motion of up to 2^31 in steps of 2^15 would be endless, so it is cut: 2 events, 2
/// wheels, a position), and the lists.
const EVENTS_MAX: usize = 256 + 5 + 5 + LOOSE_MAX + LOG_EVENTS_PER_PACKET_MAX;

/// What was received, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    /// Packets that came, by datagram or stream.
    pub packets: u64,
    /// Of these, refused.
    pub refused: u64,
    /// Packets whose log began after what is known: something before it was lost and will come.
    pub gaps: u64,
    /// Times that a state replaced a part of the log.
    pub states: u64,
}

/// Puts packets in order. After each `handle_packet` drain [`InputReceiver::poll_event`].
#[derive(Debug)]
pub struct InputReceiver {
    newest: u32,
    /// Number of the log's event that comes next.
    next: u32,
    totals: [i32; 4],
    placements: u8,
    held: Held,
    events: VecDeque<InputEvent>,
    stats: ReceiverStats,
}

impl Default for InputReceiver {
    fn default() -> Self {
        Self {
            newest: 0,
            next: 0,
            totals: [0; 4],
            placements: 0,
            held: Held::default(),
            events: VecDeque::with_capacity(EVENTS_MAX),
            stats: ReceiverStats::default(),
        }
    }
}

/// A packet, read.
struct Packet {
    sequence: u32,
    first: u32,
    state: Option<Held>,
    snapshot: Option<Snapshot>,
    loose: usize,
    log: usize,
    events: [Option<InputEvent>; LOOSE_MAX + LOG_EVENTS_PER_PACKET_MAX],
}

impl InputReceiver {
    /// A packet that came by datagram or on the stream. What was not taken of an earlier one is
    /// gone: the caller drains after each.
    ///
    /// # Errors
    /// [`InputError`]; nothing of the packet is applied then.
    pub fn handle_packet(&mut self, bytes: &[u8]) -> Result<(), InputError> {
        self.stats.packets += 1;
        self.events.clear();
        let packet = Packet::read(bytes).inspect_err(|_| self.stats.refused += 1)?;
        if let Some(held) = packet.state
            && is_after(packet.first, self.next)
        {
            self.stats.states += 1;
            self.reconcile(&held);
            self.next = packet.first;
        }
        if is_after(packet.sequence, self.newest) {
            self.newest = packet.sequence;
            if let Some(snapshot) = packet.snapshot {
                self.apply_snapshot(snapshot);
            }
            for event in packet.events[..packet.loose].iter().flatten() {
                self.events.push_back(*event);
            }
        }
        self.apply_log(&packet);
        Ok(())
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<InputEvent> {
        self.events.pop_front()
    }

    /// What is down by what was handed out.
    #[must_use]
    pub const fn held(&self) -> &Held {
        &self.held
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> ReceiverStats {
        self.stats
    }

    fn apply_log(&mut self, packet: &Packet) {
        if is_after(packet.first, self.next) {
            self.stats.gaps += 1;
            return;
        }
        let known = self.next.wrapping_sub(packet.first) as usize;
        let log = &packet.events[packet.loose..packet.loose + packet.log];
        for event in log.iter().skip(known).flatten() {
            self.held.note(event);
            self.events.push_back(*event);
            self.next = self.next.wrapping_add(1);
        }
    }

    fn apply_snapshot(&mut self, snapshot: Snapshot) {
        let Snapshot {
            totals,
            placements,
            position: (x, y),
        } = snapshot;
        let step = |now: i32, before: i32| {
            let step = now.wrapping_sub(before);
            step.clamp(i16::MIN.into(), i16::MAX.into()) as i16
        };
        let [dx, dy, vertical, horizontal] =
            std::array::from_fn(|i| step(totals[i], self.totals[i]));
        self.totals = totals;
        if placements != self.placements {
            self.placements = placements;
            let (x, y) = (codec::share_from_wire(x), codec::share_from_wire(y));
            self.events
                .push_back(InputEvent::PointerPosition(Position { x, y }));
        }
        if (dx, dy) != (0, 0) {
            self.events.push_back(InputEvent::PointerMotion { dx, dy });
        }
        for (axis, amount) in [
            (ScrollAxis::Vertical, vertical),
            (ScrollAxis::Horizontal, horizontal),
        ] {
            if amount != 0 {
                self.events.push_back(InputEvent::Scroll { axis, amount });
            }
        }
    }

    /// Lifts what is not down any more and presses what is.
    fn reconcile(&mut self, wanted: &Held) {
        for virtual_key in 0..=u8::MAX {
            let pressed = wanted.has_key(virtual_key);
            if pressed != self.held.has_key(virtual_key) {
                self.events.push_back(InputEvent::Key(KeyEvent {
                    virtual_key,
                    pressed,
                    modifiers: Modifiers::default(),
                    is_layout_dependent: false,
                }));
            }
        }
        for number in 0..5 {
            let pressed = wanted.buttons & 1 << number != 0;
            if pressed != (self.held.buttons & 1 << number != 0)
                && let Some(button) = codec::button_from_wire(number)
            {
                self.events
                    .push_back(InputEvent::PointerButton { button, pressed });
            }
        }
        self.held = *wanted;
    }
}

impl Packet {
    fn read(bytes: &[u8]) -> Result<Self, InputError> {
        let r = &mut Reader::new(bytes);
        let refused = |field, value: u8| InputError::Value {
            field,
            value: value.into(),
        };
        let kind = r.u8()?;
        if kind != INPUT_DATAGRAM {
            return Err(refused("kind of packet", kind));
        }
        let flags = r.u8()?;
        let (sequence, first) = (r.u32()?, r.u32()?);
        let (log, loose) = (r.u8()?, r.u8()?);
        if flags > 3 {
            return Err(refused("flags", flags));
        }
        if usize::from(log) > LOG_EVENTS_PER_PACKET_MAX {
            return Err(refused("number of events", log));
        }
        if usize::from(loose) > LOOSE_MAX {
            return Err(refused("number of loose events", loose));
        }
        let mut state = None;
        if flags & 2 != 0 {
            let (keys, buttons) = (r.array()?, r.u8()?);
            if buttons > 0x1F {
                return Err(refused("buttons", buttons));
            }
            state = Some(Held { keys, buttons });
        }
        let mut snapshot = None;
        if flags & 1 != 0 {
            let mut totals = [0; 4];
            for total in &mut totals {
                *total = i32::from_le_bytes(r.array()?);
            }
            let placements = r.u8()?;
            let position = (r.u16()?, r.u16()?);
            snapshot = Some(Snapshot {
                totals,
                placements,
                position,
            });
        }
        let (log, loose) = (usize::from(log), usize::from(loose));
        let mut events = [None; LOOSE_MAX + LOG_EVENTS_PER_PACKET_MAX];
        for event in &mut events[..loose + log] {
            *event = Some(codec::read(r)?);
        }
        if r.left() > 0 {
            return Err(InputError::Excess { bytes: r.left() });
        }
        Ok(Self {
            sequence,
            first,
            state,
            snapshot,
            loose,
            log,
            events,
        })
    }
}
