//! The pointer of a compositor that says what it looks like and not where it is: where is reckoned
//! from what is injected.
//!
//! That is what the compositor does, too: a wlroots compositor adds motion up as it comes (a virtual
//! pointer's is not accelerated), keeps the pointer on its output, and paints at whole pixels. It
//! is exact while the injector alone moves the pointer. An application can hold it, though
//! (pointer-constraints), and says so to nobody but the compositor; and one that ends that may put
//! the pointer somewhere. So:
//!
//! * A pointer that is held is hidden as a rule. While it is hidden, motion goes to the application
//!   and the reckoned place stays as it is.
//! * Whenever the compositor's place may be another one, the pointer is *astray*: before the first
//!   motion, in another mode, after a move that it was hidden at. Before the injector does anything
//!   else with a pointer that is seen and astray, it puts it where it is said to be
//!   ([`ReckonedPointer::amend`]): so people click where they see it.
//!
//! An application that holds a pointer that it shows, or moves it by a protocol of its own, is not
//! noticed until the next position, the next edge, or the next time the pointer is shown again.

use std::sync::{Arc, Mutex};

use gpu::frame::Size;
use net::cursor::{Cursor, CursorShape, Pointer, Visibility};

use super::CursorSource;
use super::news::{self, News, Tells};
use crate::capture::CaptureError;

/// The pointer. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct ReckonedPointer(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Width and height of the output, pixels.
    output: (u16, u16),
    /// From the left and from the top, pixels.
    place: (f64, f64),
    is_shown: bool,
    shape: Option<Arc<CursorShape>>,
    is_astray: bool,
    news: News,
}

impl ReckonedPointer {
    /// In the middle of an output of that size, hidden and astray.
    pub(crate) fn new(output: Size) -> Self {
        let (width, height) = (output.width, output.height);
        Self(Arc::new(Mutex::new(State {
            output: (width, height),
            place: (f64::from(width / 2), f64::from(height / 2)),
            is_shown: false,
            shape: None,
            is_astray: true,
            news: News::new(),
        })))
    }

    /// The output has another size.
    pub(crate) fn set_output(&self, output: Size) {
        let mut state = news::lock(&self.0);
        let output = (output.width, output.height);
        if std::mem::replace(&mut state.output, output) == output {
            return;
        }
        state.is_astray = true;
        let place = state.place;
        state.go(place);
    }

    /// It looks like this from now on; `None` hides it.
    pub(crate) fn set_shape(&self, shape: Option<CursorShape>) {
        let mut state = news::lock(&self.0);
        let is_shown = shape.is_some();
        // One that is the same keeps its name.
        let other = shape.filter(|shape| state.shape.as_deref() != Some(shape));
        if state.is_shown == is_shown && other.is_none() {
            return;
        }
        state.is_shown = is_shown;
        if let Some(shape) = other {
            state.shape = Some(Arc::new(shape));
        }
        state.news.tell();
    }

    /// It was put there, in shares of the output.
    pub(crate) fn put(&self, (x, y): (f64, f64)) {
        let mut state = news::lock(&self.0);
        let (width, height) = state.output;
        state.is_astray = !state.is_shown;
        state.go((x * f64::from(width), y * f64::from(height)));
    }

    /// It was moved by so many pixels.
    pub(crate) fn moved(&self, dx: i16, dy: i16) {
        let mut state = news::lock(&self.0);
        if !state.is_shown {
            state.is_astray = true;
            return;
        }
        let (x, y) = state.place;
        state.go((x + f64::from(dx), y + f64::from(dy)));
    }

    /// Where it has to be put before anything else is done with it, in shares of the output.
    pub(crate) fn amend(&self) -> Option<(f64, f64)> {
        let state = news::lock(&self.0);
        (state.is_astray && state.is_shown).then(|| state.shares())
    }

    /// Where it is, in shares of the output.
    pub(crate) fn shares(&self) -> (f64, f64) {
        news::lock(&self.0).shares()
    }

    /// Tells of every change from now on. Of several sources the newest is told.
    ///
    /// # Errors
    /// [`CaptureError::Ended`] if no eventfd can be had.
    pub(crate) fn source(&self) -> Result<Box<dyn CursorSource>, CaptureError> {
        news::source(&self.0)
    }
}

impl State {
    /// As `wlr_box_closest_point` of wlroots has it: what is beyond the output goes to its first or
    /// last pixel.
    fn go(&mut self, (x, y): (f64, f64)) {
        let closest = |at: f64, side: u16| match f64::from(side.max(1)) {
            side if at >= side => side - 1.0,
            _ => at.max(0.0),
        };
        self.place = (closest(x, self.output.0), closest(y, self.output.1));
        self.news.tell();
    }

    fn shares(&self) -> (f64, f64) {
        let share = |at: f64, side: u16| at / f64::from(side.max(1));
        (
            share(self.place.0, self.output.0),
            share(self.place.1, self.output.1),
        )
    }
}

impl Tells for State {
    const NAME: &'static str = "reckoned";

    fn news(&mut self) -> &mut News {
        &mut self.news
    }

    fn cursor(&self) -> Cursor {
        let visibility = match self.is_shown {
            true => Visibility::Shown,
            false => Visibility::Hidden,
        };
        Cursor {
            pointer: Pointer {
                visibility,
                // The pixel that it lies in: compositors cut the rest off.
                x: self.place.0 as i32,
                y: self.place.1 as i32,
                output: self.output,
            },
            shape: self.shape.clone(),
            changed: self.news.changed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use net::cursor::ShapeLayout;

    use super::*;

    const OUTPUT: Size = Size {
        width: 320,
        height: 240,
    };

    fn shape(grey: u8) -> CursorShape {
        let layout = ShapeLayout::new(1, 1, (0, 0)).expect("a pixel");
        CursorShape::new(layout, Box::new([grey, grey, grey, 255])).expect("a pixel")
    }

    fn shown() -> ReckonedPointer {
        let pointer = ReckonedPointer::new(OUTPUT);
        pointer.set_shape(Some(shape(1)));
        pointer
    }

    fn seen(pointer: &ReckonedPointer) -> (Visibility, i32, i32) {
        let pointer = news::lock(&pointer.0).cursor().pointer;
        (pointer.visibility, pointer.x, pointer.y)
    }

    #[test]
    fn motion_adds_up_and_ends_at_the_edges() {
        let pointer = shown();
        pointer.put((0.25, 0.5));
        assert_eq!(seen(&pointer), (Visibility::Shown, 80, 120));
        pointer.moved(7, -20);
        pointer.moved(-8, 1);
        assert_eq!(seen(&pointer), (Visibility::Shown, 79, 101));
        pointer.moved(i16::MAX, i16::MIN);
        assert_eq!(seen(&pointer), (Visibility::Shown, 319, 0));
        pointer.moved(-1, 1);
        assert_eq!(seen(&pointer), (Visibility::Shown, 318, 1));
        pointer.put((1.0, 1.0));
        assert_eq!(seen(&pointer), (Visibility::Shown, 319, 239));
    }

    #[test]
    fn what_may_have_moved_it_unseen_is_amended_once_it_is_seen() {
        let pointer = ReckonedPointer::new(OUTPUT);
        pointer.moved(9, 9);
        assert_eq!(pointer.amend(), None, "nobody sees it");
        pointer.set_shape(Some(shape(1)));
        assert_eq!(pointer.amend(), Some((0.5, 0.5)));
        pointer.put((0.5, 0.5));
        pointer.moved(40, 0);
        assert_eq!(pointer.amend(), None);

        // An application takes it and gives it back.
        pointer.set_shape(None);
        assert_eq!(seen(&pointer), (Visibility::Hidden, 200, 120));
        pointer.moved(-150, 70);
        pointer.set_shape(Some(shape(2)));
        assert_eq!(seen(&pointer), (Visibility::Shown, 200, 120));
        assert_eq!(pointer.amend(), Some((200.0 / 320.0, 0.5)));

        // Put while hidden: it may be held, so it is put there again.
        pointer.set_shape(None);
        pointer.put((0.25, 0.25));
        pointer.set_shape(Some(shape(2)));
        assert_eq!(pointer.amend(), Some((0.25, 0.25)));
        pointer.put((0.25, 0.25));
        assert_eq!(pointer.amend(), None);

        let (width, height) = (64, 48);
        pointer.set_output(Size { width, height });
        assert_eq!(seen(&pointer), (Visibility::Shown, 63, 47));
        assert!(pointer.amend().is_some(), "in another mode");
    }

    #[test]
    fn what_does_not_change_is_not_told_and_keeps_its_name() {
        let pointer = shown();
        let mut source = pointer.source().expect("an eventfd");
        let mut look = || source.poll().expect("it cannot fail");
        let first = look().and_then(|it| it.shape).expect("a shape");
        pointer.set_shape(Some(shape(1)));
        pointer.set_output(OUTPUT);
        assert!(look().is_none());
        pointer.set_shape(None);
        let hidden = look().expect("it is another");
        assert_eq!(hidden.pointer.visibility, Visibility::Hidden);
        pointer.set_shape(Some(shape(1)));
        let again = look().and_then(|it| it.shape).expect("a shape");
        assert!(Arc::ptr_eq(&first, &again));
        pointer.set_shape(Some(shape(2)));
        let other = look().and_then(|it| it.shape).expect("a shape");
        assert_ne!(first, other);
    }
}
