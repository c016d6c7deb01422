//! The pointer of a display without a compositor: injected events move it, and it has a shape for
//! each button that is held, so that clients and tests see all that a desktop's pointer does.
//!
//! * It is hidden until it is first moved, and while fingers touch: as compositors do.
//! * An arrow; while a button is held, a ring in a colour of that button's.
//! * It never leaves the output.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use net::cursor::{Cursor, CursorShape, Pointer, ShapeLayout, Visibility};
use net::input::{ContactKind, InputEvent, PointerButton};
use net::units::Mode;

use super::CursorSource;
use super::news::{self, News, Tells};
use crate::capture::CaptureError;

/// Side of a pixel of the arrow's drawing: 24 pixels wide, as desktops have it.
const ARROW_SCALE: usize = 2;
/// Black (`X`), white (`.`) or clear.
const ARROW: [&str; 17] = [
    "X           ",
    "XX          ",
    "X.X         ",
    "X..X        ",
    "X...X       ",
    "X....X      ",
    "X.....X     ",
    "X......X    ",
    "X.......X   ",
    "X........X  ",
    "X.....XXXXX ",
    "X..X..X     ",
    "X.X X..X    ",
    "XX  X..X    ",
    "X    X..X   ",
    "     X..X   ",
    "      XX    ",
];
/// Width and height of a ring, pixels; odd, so that it has a middle.
const RING_PX: u16 = 25;

/// The pointer. Clones are the same.
#[derive(Clone, Debug)]
pub struct SyntheticPointer(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    pointer: Pointer,
    held: Option<PointerButton>,
    news: News,
}

impl SyntheticPointer {
    /// In the middle of an output of that mode, hidden.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        let pointer = Self(Arc::new(Mutex::new(State {
            pointer: Pointer::default(),
            held: None,
            news: News::new(),
        })));
        pointer.set_mode(mode);
        let mut state = pointer.state();
        let (width, height) = state.pointer.output;
        (state.pointer.x, state.pointer.y) = (i32::from(width) / 2, i32::from(height) / 2);
        drop(state);
        pointer
    }

    /// The output has another mode.
    pub fn set_mode(&self, mode: Mode) {
        let mut state = self.state();
        state.pointer.output = (mode.width(), mode.height());
        let (x, y) = (f64::from(state.pointer.x), f64::from(state.pointer.y));
        state.move_to(x, y);
        state.news.tell();
    }

    /// Somebody did this.
    pub fn handle(&self, event: &InputEvent) {
        let mut state = self.state();
        let (width, height) = state.pointer.output;
        let (x, y) = (f64::from(state.pointer.x), f64::from(state.pointer.y));
        match event {
            InputEvent::PointerMotion { dx, dy } => {
                state.move_to(x + f64::from(*dx), y + f64::from(*dy));
            }
            InputEvent::PointerPosition(to) => {
                let share = |share: f32, side: u16| f64::from(share) * f64::from(side);
                state.move_to(share(to.x, width), share(to.y, height));
            }
            InputEvent::PointerButton { button, pressed } => {
                state.held = Some(*button).filter(|_| *pressed);
            }
            InputEvent::Touch(touch) if touch.contact.kind == ContactKind::Down => {
                state.pointer.visibility = Visibility::Hidden;
                return state.news.tell();
            }
            _ => return,
        }
        state.pointer.visibility = Visibility::Shown;
        state.news.tell();
    }

    /// Number of its newest change.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.state().news.serial()
    }

    /// All of it now.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.state().cursor()
    }

    /// Tells of every change from now on. Of several sources the newest is told.
    ///
    /// # Errors
    /// [`CaptureError::Ended`] if no eventfd can be had.
    pub fn source(&self) -> Result<Box<dyn CursorSource>, CaptureError> {
        news::source(&self.0)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        news::lock(&self.0)
    }
}

impl State {
    fn move_to(&mut self, x: f64, y: f64) {
        let (width, height) = self.pointer.output;
        let place = |at: f64, side: u16| at.round().clamp(0.0, f64::from(side.max(1) - 1)) as i32;
        (self.pointer.x, self.pointer.y) = (place(x, width), place(y, height));
    }
}

impl Tells for State {
    const NAME: &'static str = "synthetic";

    fn news(&mut self) -> &mut News {
        &mut self.news
    }

    fn cursor(&self) -> Cursor {
        Cursor {
            pointer: self.pointer,
            shape: Some(shape_of(self.held)),
            changed: self.news.changed(),
        }
    }
}

/// What the pointer looks like while that button is held.
#[must_use]
pub fn shape_of(held: Option<PointerButton>) -> Arc<CursorShape> {
    /// The arrow, then a ring for each button.
    static SHAPES: OnceLock<[Arc<CursorShape>; 6]> = OnceLock::new();
    let shapes = SHAPES.get_or_init(|| {
        let colours = [
            [0, 0, 255],
            [0, 255, 0],
            [255, 0, 0],
            [0, 255, 255],
            [255, 255, 0],
        ];
        let [left, middle, right, back, forward] = colours.map(|bgr| Arc::new(ring(bgr)));
        [Arc::new(arrow()), left, middle, right, back, forward]
    });
    let place = match held {
        None => 0,
        Some(PointerButton::Left) => 1,
        Some(PointerButton::Middle) => 2,
        Some(PointerButton::Right) => 3,
        Some(PointerButton::Back) => 4,
        Some(PointerButton::Forward) => 5,
    };
    Arc::clone(&shapes[place])
}

fn arrow() -> CursorShape {
    let mut pixels = Vec::new();
    for line in ARROW {
        let row: Vec<u8> = line
            .bytes()
            .flat_map(|mark| std::iter::repeat_n(mark, ARROW_SCALE))
            .flat_map(|mark| match mark {
                b'X' => [0, 0, 0, 255],
                b'.' => [255; 4],
                _ => [0; 4],
            })
            .collect();
        (0..ARROW_SCALE).for_each(|_| pixels.extend_from_slice(&row));
    }
    let (width, height) = (ARROW[0].len() * ARROW_SCALE, ARROW.len() * ARROW_SCALE);
    shape(width as u16, height as u16, (0, 0), pixels)
}

/// Two pixels of a colour, half of it let through around them.
fn ring([b, g, r]: [u8; 3]) -> CursorShape {
    let middle = f64::from(RING_PX / 2);
    let mut pixels = Vec::new();
    for y in 0..RING_PX {
        for x in 0..RING_PX {
            let far = (f64::from(x) - middle).hypot(f64::from(y) - middle);
            pixels.extend(match (middle - 1.0 - far).abs() {
                off if far > middle || off > 4.0 => [0; 4],
                off if off <= 1.0 => [b, g, r, 255],
                _ => [b / 2, g / 2, r / 2, 128],
            });
        }
    }
    shape(RING_PX, RING_PX, (RING_PX / 2, RING_PX / 2), pixels)
}

fn shape(width: u16, height: u16, hotspot: (u16, u16), pixels: Vec<u8>) -> CursorShape {
    let layout = ShapeLayout::new(width, height, hotspot);
    let layout = layout.expect("drawn within the limits");
    CursorShape::new(layout, pixels.into_boxed_slice()).expect("drawn pixel by pixel")
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::input::{Contact, Position, TouchEvent};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn pointer() -> SyntheticPointer {
        SyntheticPointer::new("320x240@60".parse().expect("a mode"))
    }

    fn has_news(source: &dyn CursorSource) -> bool {
        let descriptor = source.descriptor();
        let mut fds = [PollFd::new(&descriptor, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).expect("a poll") > 0
    }

    #[test]
    fn it_is_moved_put_hidden_and_kept_within_the_output() {
        let pointer = pointer();
        let mut source = pointer.source().expect("an eventfd");
        assert!(has_news(&*source));
        let mut look = || source.poll().expect("it cannot fail").map(|it| it.pointer);
        assert_eq!(look().map(|it| it.visibility), Some(Visibility::Hidden));
        assert_eq!(look(), None);
        let (x, y) = (0.25, 1.0);
        let seen = |pointer: Option<Pointer>| pointer.map(|it| (it.visibility, it.x, it.y));
        pointer.handle(&InputEvent::PointerPosition(Position { x, y }));
        assert_eq!(seen(look()), Some((Visibility::Shown, 80, 239)));
        pointer.handle(&InputEvent::PointerMotion { dx: -100, dy: -9 });
        assert_eq!(seen(look()), Some((Visibility::Shown, 0, 230)));
        let contact = Contact {
            kind: ContactKind::Down,
            position: Position { x, y },
            pressure_or_distance: 0.0,
            major: 0.0,
            minor: 0.0,
            rotation: None,
        };
        pointer.handle(&InputEvent::Touch(TouchEvent { id: 1, contact }));
        assert_eq!(seen(look()), Some((Visibility::Hidden, 0, 230)));
        pointer.set_mode("160x128@60".parse().expect("a mode"));
        assert_eq!(seen(look()), Some((Visibility::Hidden, 0, 127)));
        assert!(!has_news(&*source));
    }

    #[test]
    fn a_button_that_is_held_changes_its_shape() {
        let pointer = pointer();
        let button = PointerButton::Right;
        let look = || pointer.cursor().shape.expect("always");
        for pressed in [true, false] {
            let before = look();
            pointer.handle(&InputEvent::PointerButton { button, pressed });
            assert_ne!(before, look());
        }
        assert!(Arc::ptr_eq(&look(), &shape_of(None)));
        assert_eq!(shape_of(None).layout().hotspot(), (0, 0));
    }
}
