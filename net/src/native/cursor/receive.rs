//! The client's side of the cursor plane.

use std::sync::Arc;

use crate::cursor::{CursorShape, Pointer, Visibility};
use crate::limits::CURSOR_SHAPES_MAX;
use crate::media::CaptureMicros;

use super::{CursorState, MessageError, ShapeLayout, ShapePart, is_after, value};

/// What was received, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CursorReceiverStats {
    /// States that were news.
    pub states: u64,
    /// Of these, those that the stream brought first.
    pub repaired: u64,
    /// Datagrams that were no news: late, repeated or no packets.
    pub stale: u64,
    /// Shapes that came whole.
    pub shapes: u64,
}

/// What a client draws.
#[derive(Clone, Debug, Default)]
pub struct SeenCursor {
    /// Whether and where.
    pub pointer: Pointer,
    /// What it looks like. While the shape of the pointer is still on its way, the one before.
    pub shape: Option<Arc<CursorShape>>,
    /// Number of that shape; 0 for none.
    pub number: u32,
    /// When the host's pointer came to be so, on its clock.
    pub changed: CaptureMicros,
}

/// A shape that is kept.
#[derive(Debug)]
struct Kept {
    number: u32,
    shape: Arc<CursorShape>,
}

/// A shape that is coming.
#[derive(Debug)]
struct Coming {
    number: u32,
    place: u8,
    layout: ShapeLayout,
    pixels: Vec<u8>,
}

/// Keeps shapes and the newest state. Holds at most [`CURSOR_SHAPES_MAX`] shapes and one more that
/// is shown though its place has been given away.
#[derive(Debug, Default)]
pub struct CursorReceiver {
    places: [Option<Kept>; CURSOR_SHAPES_MAX],
    coming: Option<Coming>,
    /// Of its sequence; `None` before the first.
    state: Option<CursorState>,
    shown: Option<Kept>,
    stats: CursorReceiverStats,
}

impl CursorReceiver {
    /// A datagram. True if [`CursorReceiver::cursor`] has news.
    pub fn handle_datagram(&mut self, bytes: &[u8]) -> bool {
        let state = CursorState::parse(bytes).ok();
        let is_news = state.is_some_and(|state| self.take(state));
        self.stats.stale += u64::from(!is_news);
        is_news
    }

    /// A state of the stream. True if [`CursorReceiver::cursor`] has news.
    pub fn handle_state(&mut self, state: CursorState) -> bool {
        let is_news = self.take(state);
        self.stats.repaired += u64::from(is_news);
        is_news
    }

    /// Some rows of a shape. True if [`CursorReceiver::cursor`] has news.
    ///
    /// # Errors
    /// [`MessageError::Value`] if it does not continue what came before: the stream loses nothing,
    /// so the peer is broken.
    pub fn handle_part(&mut self, part: &ShapePart) -> Result<bool, MessageError> {
        if part.first_row == 0 {
            self.begin(part)?;
        }
        let Some(coming) = &mut self.coming else {
            return Err(value("first row of a cursor", part.first_row));
        };
        let is_next = (coming.number, coming.place) == (part.number, part.place)
            && coming.layout == part.layout
            && coming.pixels.len() == usize::from(part.first_row) * part.layout.row_bytes();
        if !is_next {
            return Err(value("first row of a cursor", part.first_row));
        }
        coming.pixels.extend_from_slice(&part.pixels);
        if coming.pixels.len() < coming.layout.bytes() {
            return Ok(false);
        }
        Ok(self.complete())
    }

    /// What to draw now: nothing before the host has said anything.
    #[must_use]
    pub fn cursor(&self) -> SeenCursor {
        let state = self.state.unwrap_or_default();
        let shown = self.shown.as_ref();
        let mut pointer = state.pointer;
        if shown.is_none() && pointer.visibility == Visibility::Shown {
            pointer.visibility = Visibility::Hidden;
        }
        SeenCursor {
            pointer,
            shape: shown.map(|kept| Arc::clone(&kept.shape)),
            number: shown.map_or(0, |kept| kept.number),
            changed: state.changed,
        }
    }

    /// Counters.
    #[must_use]
    pub const fn stats(&self) -> CursorReceiverStats {
        self.stats
    }

    fn begin(&mut self, part: &ShapePart) -> Result<(), MessageError> {
        let place = usize::from(part.place);
        self.places[place] = None;
        self.coming = None;
        let mut kept = self.places.iter().flatten();
        if kept.any(|kept| kept.number == part.number) {
            return Err(value("number of a cursor's shape", part.number));
        }
        self.coming = Some(Coming {
            number: part.number,
            place: part.place,
            layout: part.layout,
            pixels: Vec::with_capacity(part.layout.bytes()),
        });
        Ok(())
    }

    /// The shape that was coming is whole.
    fn complete(&mut self) -> bool {
        let Some(coming) = self.coming.take() else {
            return false;
        };
        let Coming {
            number,
            place,
            layout,
            pixels,
        } = coming;
        let shape = CursorShape::new(layout, pixels.into_boxed_slice());
        let shape = Arc::new(shape.expect("it was counted row by row"));
        self.stats.shapes += 1;
        self.places[usize::from(place)] = Some(Kept { number, shape });
        self.choose()
    }

    fn take(&mut self, state: CursorState) -> bool {
        let newest = self.state.map(|state| state.sequence);
        if newest.is_some_and(|newest| !is_after(state.sequence, newest)) {
            return false;
        }
        self.state = Some(state);
        self.stats.states += 1;
        self.choose();
        true
    }

    /// Shows the shape that the state names, if it is there. True if it is another than before.
    fn choose(&mut self) -> bool {
        let wanted = self.state.map_or(0, |state| state.shape);
        if self.shown.as_ref().is_some_and(|it| it.number == wanted) {
            return false;
        }
        let mut kept = self.places.iter().flatten();
        let Some(kept) = kept.find(|kept| kept.number == wanted) else {
            return false;
        };
        self.shown = Some(Kept {
            number: kept.number,
            shape: Arc::clone(&kept.shape),
        });
        true
    }
}
