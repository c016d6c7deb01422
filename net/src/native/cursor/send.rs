//! The host's side of the cursor plane.

use std::sync::Arc;

use crate::cursor::{Cursor, CursorShape, Pointer, Visibility};
use crate::limits::{CURSOR_PART_BYTES_MAX, CURSOR_SHAPES_MAX};
use crate::media::CaptureMicros;
use crate::native::messages::Message;
use crate::units::Timestamp;

use super::{CursorState, DATAGRAM_INTERVAL, SETTLE_AFTER, STATE_BYTES, ShapePart};

/// For the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CursorMessage {
    /// Rows of a shape.
    Shape(ShapePart),
    /// The state, for certain.
    State(CursorState),
}

impl From<CursorMessage> for Message {
    fn from(message: CursorMessage) -> Self {
        match message {
            CursorMessage::Shape(part) => Self::CursorShape(part),
            CursorMessage::State(state) => Self::CursorState(state),
        }
    }
}

/// A shape that the client has, or will once what is being sent is there.
#[derive(Clone, Copy, Debug)]
struct Kept {
    digest: [u8; 32],
    number: u32,
    /// When it was named last, in uses.
    used: u64,
}

/// A shape on its way.
#[derive(Debug)]
struct Sending {
    shape: Arc<CursorShape>,
    number: u32,
    place: usize,
    next_row: u16,
}

/// When the stream is to say the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owed {
    /// It has.
    Nothing,
    /// Once nothing has changed until then.
    At(Timestamp),
    /// As soon as the shape is there.
    Now,
}

/// Says what a source tells. After each `handle` drain [`CursorSender::poll_datagram`] and, while
/// the stream has room, [`CursorSender::poll_message`]; both again at
/// [`CursorSender::poll_timeout`].
///
/// # Invariants
/// * The shape named last keeps its place: its use is the newest.
/// * At most one shape is on its way; one that is not wanted any more before it is whole is left,
///   and its place is free.
#[derive(Debug)]
pub struct CursorSender {
    places: [Option<Kept>; CURSOR_SHAPES_MAX],
    uses: u64,
    last_number: u32,
    /// What `state` names.
    shape: Option<Arc<CursorShape>>,
    sending: Option<Sending>,
    state: CursorState,
    /// The state has not gone by datagram yet.
    is_new: bool,
    last_datagram: Option<Timestamp>,
    owed: Owed,
}

impl Default for CursorSender {
    fn default() -> Self {
        Self {
            places: [None; CURSOR_SHAPES_MAX],
            uses: 0,
            last_number: 0,
            shape: None,
            sending: None,
            state: CursorState::default(),
            is_new: false,
            last_datagram: None,
            owed: Owed::Nothing,
        }
    }
}

impl CursorSender {
    /// The newest that the source tells.
    pub fn handle(&mut self, now: Timestamp, cursor: &Cursor) {
        if let Some(shape) = &cursor.shape
            && !self.shape.as_ref().is_some_and(|it| Arc::ptr_eq(it, shape))
        {
            self.name(shape);
        }
        let mut pointer = cursor.pointer;
        if self.shape.is_none() && pointer.visibility == Visibility::Shown {
            // Nobody knows what to draw.
            pointer.visibility = Visibility::Hidden;
        }
        let before = self.state;
        let is_same = (before.pointer, before.shape) == (pointer, self.named());
        if is_same && before.sequence > 0 {
            return;
        }
        self.state = CursorState {
            sequence: before.sequence.wrapping_add(1),
            shape: self.named(),
            pointer,
            changed: CaptureMicros::from(cursor.changed),
        };
        self.is_new = true;
        let moved_only = |before: Pointer| before.visibility == pointer.visibility;
        let is_motion = before.shape == self.state.shape && moved_only(before.pointer);
        self.owed = match self.owed {
            Owed::Now => Owed::Now,
            _ if is_motion && before.sequence > 0 => Owed::At(now + SETTLE_AFTER),
            _ => Owed::Now,
        };
    }

    /// The next datagram, if one is due.
    #[must_use]
    pub fn poll_datagram(&mut self, now: Timestamp) -> Option<[u8; STATE_BYTES]> {
        if !self.is_new || self.next_datagram() > now {
            return None;
        }
        self.is_new = false;
        self.last_datagram = Some(now);
        Some(self.state.packet())
    }

    /// The next message for the stream, if one is due. It counts as sent.
    #[must_use]
    pub fn poll_message(&mut self, now: Timestamp) -> Option<CursorMessage> {
        if let Some(part) = self.next_part() {
            return Some(CursorMessage::Shape(part));
        }
        let is_due = match self.owed {
            Owed::Nothing => false,
            Owed::At(at) => at <= now,
            Owed::Now => true,
        };
        is_due.then(|| {
            self.owed = Owed::Nothing;
            CursorMessage::State(self.state)
        })
    }

    /// When one of both is due; what waits for room on the stream is not.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let datagram = self.is_new.then(|| self.next_datagram());
        let message = match self.owed {
            Owed::At(at) => Some(at),
            Owed::Nothing | Owed::Now => None,
        };
        [datagram, message].into_iter().flatten().min()
    }

    fn next_datagram(&self) -> Timestamp {
        let last = self.last_datagram;
        last.map_or(Timestamp::ZERO, |last| last + DATAGRAM_INTERVAL)
    }

    /// Number of the shape in use; 0 for none.
    fn named(&self) -> u32 {
        let kept = self.places.iter().flatten();
        let newest = kept.max_by_key(|kept| kept.used);
        newest.map_or(0, |kept| kept.number)
    }

    /// The shape in use from now on: known to the client, or on its way.
    fn name(&mut self, shape: &Arc<CursorShape>) {
        self.shape = Some(Arc::clone(shape));
        self.uses += 1;
        let digest = digest(shape);
        let mut kept = self.places.iter_mut().flatten();
        if let Some(kept) = kept.find(|kept| kept.digest == digest) {
            kept.used = self.uses;
            let number = kept.number;
            self.leave_unless(number);
            return;
        }
        self.leave_unless(0);
        // One that is free, else the one whose last use is the longest ago.
        let oldest = (0..CURSOR_SHAPES_MAX)
            .min_by_key(|place| self.places[*place].map_or(0, |kept| kept.used));
        let place = oldest.expect("there are places");
        self.last_number = self.last_number.wrapping_add(1).max(1);
        let number = self.last_number;
        self.places[place] = Some(Kept {
            digest,
            number,
            used: self.uses,
        });
        self.sending = Some(Sending {
            shape: Arc::clone(shape),
            number,
            place,
            next_row: 0,
        });
    }

    /// What is on its way is not wanted any more, unless it is this one.
    fn leave_unless(&mut self, number: u32) {
        if let Some(left) = self.sending.take_if(|sending| sending.number != number) {
            self.places[left.place] = None;
        }
    }

    fn next_part(&mut self) -> Option<ShapePart> {
        let sending = self.sending.as_mut()?;
        let layout = sending.shape.layout();
        let begin = usize::from(sending.next_row) * layout.row_bytes();
        let whole_rows = CURSOR_PART_BYTES_MAX / layout.row_bytes() * layout.row_bytes();
        let end = layout.bytes().min(begin + whole_rows);
        let pixels = sending.shape.pixels()[begin..end].to_vec();
        let part = ShapePart {
            number: sending.number,
            place: sending.place as u8,
            layout,
            first_row: sending.next_row,
            pixels,
        };
        sending.next_row = (end / layout.row_bytes()) as u16;
        if end == layout.bytes() {
            self.sending = None;
        }
        Some(part)
    }
}

/// Of all that makes a shape.
fn digest(shape: &CursorShape) -> [u8; 32] {
    let layout = shape.layout();
    let (x, y) = layout.hotspot();
    let mut hash = boring::sha::Sha256::new();
    for field in [layout.width(), layout.height(), x, y] {
        hash.update(&field.to_le_bytes());
    }
    hash.update(shape.pixels());
    hash.finish()
}
