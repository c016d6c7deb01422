//! The pointer of producers that tell of it beside their pictures (`SPA_META_Cursor`): KWin's
//! `metadata`, Mutter's `cursor-mode` 2. Every buffer says where the pointer is, those without a
//! picture as well; what it looks like comes when that has changed, once, so it is kept for as long
//! as the stream lives, whatever becomes of format and captures.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use gpu::frame::Size;
use net::clock;
use net::cursor::{Cursor, CursorShape, Pointer, Visibility};
use net::units::Timestamp;

use super::super::link::{EventWaker, ended};
use super::super::{CaptureError, Waker as _};
use super::meta::{Image, NodeCursor};
use super::stream::NodeStream;
use crate::cursor::CursorSource;

/// All that was told of the pointer.
#[derive(Default)]
pub(super) struct ToldCursor {
    /// `None` while it is hidden or elsewhere.
    position: Option<(i32, i32)>,
    shape: Option<Arc<CursorShape>>,
    /// Its newest image shows nothing.
    is_clear: bool,
    /// Width and height of the picture, pixels.
    output: (u16, u16),
    /// Counts changes.
    serial: u64,
    changed: Timestamp,
    /// Of the newest source.
    listener: Option<Arc<EventWaker>>,
}

impl ToldCursor {
    /// What came with a buffer.
    pub(super) fn take(&mut self, cursor: NodeCursor, output: Size) {
        let (position, image) = match cursor {
            NodeCursor::Hidden => (None, None),
            NodeCursor::At { position, image } => (Some(position), image),
        };
        let before = (self.position, self.is_clear, self.output);
        let is_same = |old: &Arc<CursorShape>, new: &CursorShape| **old == *new;
        let mut has_changed = false;
        match image {
            // Producers tell an image again that is the one of before.
            Some(Image::Shape(shape)) => {
                self.is_clear = false;
                if !self.shape.as_ref().is_some_and(|old| is_same(old, &shape)) {
                    self.shape = Some(Arc::new(shape));
                    has_changed = true;
                }
            }
            Some(Image::Clear) => self.is_clear = true,
            None => {}
        }
        (self.position, self.output) = (position, (output.width, output.height));
        if has_changed || before != (self.position, self.is_clear, self.output) {
            self.serial += 1;
            self.changed = clock::now();
            self.wake();
        }
    }

    /// Has whoever listens look.
    pub(super) fn wake(&self) {
        if let Some(listener) = &self.listener {
            listener.wake();
        }
    }

    pub(super) fn listen(&mut self, listener: Arc<EventWaker>) {
        self.listener = Some(listener);
    }

    /// If it is not the one of that number, its number and all of it.
    fn newer_than(&self, seen: Option<u64>) -> Option<(u64, Cursor)> {
        if seen == Some(self.serial) {
            return None;
        }
        let shown = self.position.filter(|_| !self.is_clear);
        let (x, y) = self.position.unwrap_or_default();
        let cursor = Cursor {
            pointer: Pointer {
                visibility: match shown {
                    Some(_) => Visibility::Shown,
                    None => Visibility::Hidden,
                },
                x,
                y,
                output: self.output,
            },
            shape: self.shape.clone(),
            changed: self.changed,
        };
        Some((self.serial, cursor))
    }
}

/// Tells of a stream's pointer.
pub(super) struct NodeCursorSource {
    stream: NodeStream,
    waker: Arc<EventWaker>,
    seen: Option<u64>,
}

impl NodeCursorSource {
    /// Of that stream. Of several sources the newest is told of changes.
    pub(super) fn new(stream: &NodeStream) -> Result<Self, CaptureError> {
        let waker = EventWaker::new().map_err(|error| ended(format!("no eventfd: {error}")))?;
        let waker = Arc::new(waker);
        waker.wake();
        stream.listen_to_cursor(Arc::clone(&waker));
        Ok(Self {
            stream: stream.clone(),
            waker,
            seen: None,
        })
    }
}

impl CursorSource for NodeCursorSource {
    fn name(&self) -> &'static str {
        "pipewire"
    }

    fn poll(&mut self) -> Result<Option<Cursor>, CaptureError> {
        // Before the look, so that what comes after it is news.
        self.waker.take();
        self.stream.check()?;
        let newer = self.stream.told_cursor(|told| told.newer_than(self.seen));
        Ok(newer.map(|(serial, cursor)| {
            self.seen = Some(serial);
            cursor
        }))
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.waker.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use net::cursor::ShapeLayout;

    use super::*;

    const OUTPUT: Size = Size {
        width: 100,
        height: 50,
    };

    fn at(x: i32, image: Option<Image>) -> NodeCursor {
        let position = (x, 7);
        NodeCursor::At { position, image }
    }

    fn image(grey: u8) -> Option<Image> {
        let layout = ShapeLayout::new(1, 1, (0, 0)).expect("valid");
        let shape = CursorShape::new(layout, Box::new([grey; 4])).expect("as many");
        Some(Image::Shape(shape))
    }

    /// Visibility, place and shade of what has changed.
    fn news(told: &ToldCursor, seen: &mut Option<u64>) -> Option<(Visibility, i32, Option<u8>)> {
        let (serial, cursor) = told.newer_than(*seen)?;
        *seen = Some(serial);
        let shade = cursor.shape.map(|shape| shape.pixels()[0]);
        Some((cursor.pointer.visibility, cursor.pointer.x, shade))
    }

    #[test]
    fn an_image_stays_until_there_is_another_and_news_are_told_once() {
        let (mut told, mut seen) = (ToldCursor::default(), None);
        assert_eq!(news(&told, &mut seen), Some((Visibility::Hidden, 0, None)));
        told.take(at(3, image(9)), OUTPUT);
        told.take(at(4, None), OUTPUT);
        assert_eq!(
            news(&told, &mut seen),
            Some((Visibility::Shown, 4, Some(9)))
        );
        told.take(at(4, image(9)), OUTPUT);
        assert_eq!(news(&told, &mut seen), None, "the same again");
        told.take(NodeCursor::Hidden, OUTPUT);
        assert_eq!(
            news(&told, &mut seen),
            Some((Visibility::Hidden, 0, Some(9)))
        );
        told.take(at(5, Some(Image::Clear)), OUTPUT);
        assert_eq!(
            news(&told, &mut seen),
            Some((Visibility::Hidden, 5, Some(9)))
        );
        told.take(at(6, image(8)), OUTPUT);
        assert_eq!(
            news(&told, &mut seen),
            Some((Visibility::Shown, 6, Some(8)))
        );
        let wider = Size {
            width: 200,
            ..OUTPUT
        };
        told.take(at(6, None), wider);
        let (_, cursor) = told.newer_than(seen).expect("another output");
        assert_eq!(cursor.pointer.output, (200, 50));
    }
}
