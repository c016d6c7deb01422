//! What the server's thread shares with the display that owns it and with the capture.
//!
//! The hand-over to the capture has one place, the newest picture wins, and what was displaced is
//! counted; its damage goes to the picture that displaced it. The picture shown stays here, so that
//! a capture that opens later has one at once. The lock is held for a few assignments.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gpu::frame::{Frame, Rect, Size, Surface};
use net::clock;
use net::units::{Mode, Timestamp};

use super::size_of;
use crate::capture::link::EventWaker;
use crate::capture::{CaptureError, Waker};
use crate::cursor::reckoned::ReckonedPointer;

/// A picture as the compositor committed it.
pub(super) struct Picture {
    pub(super) surface: Arc<dyn Surface>,
    /// Against the picture committed before.
    pub(super) damage: Rect,
    pub(super) captured: Timestamp,
}

/// See the module.
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// The pointer, if the pictures lack it.
    pub(super) pointer: Option<ReckonedPointer>,
    changed: Condvar,
    /// Wakes the server.
    pub(super) orders: EventWaker,
    pub(super) stop: AtomicBool,
}

struct Inner {
    /// What the compositor is to show.
    mode: Mode,
    /// What it shows.
    shown: Option<Picture>,
    /// Nobody has taken `shown` yet.
    fresh: bool,
    watcher: Option<Watcher>,
    watchers: u64,
    superseded: u64,
    /// Why there will be no more pictures.
    closed: Option<String>,
}

struct Watcher {
    number: u64,
    news: Arc<EventWaker>,
}

impl Shared {
    /// `apart`: the pictures lack the pointer.
    pub(super) fn new(mode: Mode, apart: bool) -> io::Result<Self> {
        Ok(Self {
            pointer: apart.then(|| ReckonedPointer::new(size_of(mode))),
            inner: Mutex::new(Inner {
                mode,
                shown: None,
                fresh: false,
                watcher: None,
                watchers: 0,
                superseded: 0,
                closed: None,
            }),
            changed: Condvar::new(),
            orders: EventWaker::new()?,
            stop: AtomicBool::new(false),
        })
    }

    /// The mode that the compositor is to have.
    pub(super) fn mode(&self) -> Mode {
        self.lock().mode
    }

    pub(super) fn order(&self, mode: Mode) {
        self.lock().mode = mode;
        self.orders.wake();
    }

    pub(super) fn order_end(&self) {
        self.stop.store(true, Ordering::Release);
        self.orders.wake();
    }

    /// A new picture is shown.
    pub(super) fn show(&self, mut picture: Picture) {
        let mut inner = self.lock();
        if let Some(shown) = inner.shown.take()
            && inner.fresh
        {
            picture.damage = picture.damage.union(shown.damage);
            inner.superseded += u64::from(inner.watcher.is_some());
        }
        inner.shown = Some(picture);
        inner.fresh = true;
        if let Some(watcher) = &inner.watcher {
            watcher.news.wake();
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// Lets `change` have the surface that is shown, and shows what it gives back.
    pub(super) fn exchange(&self, change: impl FnOnce(Arc<dyn Surface>) -> Arc<dyn Surface>) {
        let mut inner = self.lock();
        if let Some(Picture {
            surface,
            damage,
            captured,
        }) = inner.shown.take()
        {
            let surface = change(surface);
            inner.shown = Some(Picture {
                surface,
                damage,
                captured,
            });
        }
    }

    /// No more pictures; the first reason stays.
    pub(super) fn close(&self, reason: &str) {
        let mut inner = self.lock();
        if inner.closed.is_none() {
            inner.closed = Some(reason.to_owned());
        }
        if let Some(watcher) = &inner.watcher {
            watcher.news.wake();
        }
        drop(inner);
        self.changed.notify_all();
    }

    /// Waits, at most `patience`, until a picture of `size` is shown: true then.
    ///
    /// # Errors
    /// Why there will be none.
    pub(super) fn await_size(&self, size: Size, patience: Duration) -> Result<bool, String> {
        let deadline = Instant::now() + patience;
        let mut inner = self.lock();
        loop {
            if let Some(reason) = &inner.closed {
                return Err(reason.clone());
            }
            let shown = inner.shown.as_ref().map(|shown| shown.surface.size());
            let left = deadline.saturating_duration_since(Instant::now());
            if shown == Some(size) || left.is_zero() {
                return Ok(shown == Some(size));
            }
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The size of the picture that is shown, if there is one.
    pub(super) fn shown_size(&self) -> Option<Size> {
        let inner = self.lock();
        inner.shown.as_ref().map(|shown| shown.surface.size())
    }

    /// Makes the caller the one that pictures go to; whoever was it before is told that it is no
    /// more. Returns its number.
    pub(crate) fn watch(&self, news: Arc<EventWaker>) -> u64 {
        let mut inner = self.lock();
        inner.watchers += 1;
        let number = inner.watchers;
        inner.superseded = 0;
        inner.fresh = inner.shown.is_some();
        if let Some(shown) = &mut inner.shown {
            shown.damage = Rect::whole(shown.surface.size());
            shown.captured = Timestamp::ZERO;
        }
        if inner.fresh || inner.closed.is_some() {
            news.wake();
        }
        if let Some(before) = inner.watcher.replace(Watcher { number, news }) {
            before.news.wake();
        }
        number
    }

    /// The watcher of that number leaves; how many pictures it did not take in time.
    pub(crate) fn unwatch(&self, number: u64) -> u64 {
        let mut inner = self.lock();
        let leaves = |watcher: &mut Watcher| watcher.number == number;
        inner
            .watcher
            .take_if(leaves)
            .map_or(0, |_| inner.superseded)
    }

    /// The newest picture, if the watcher of that number does not have it yet.
    ///
    /// # Errors
    /// [`CaptureError::Ended`]: there will be none any more, or for another watcher.
    pub(crate) fn take(&self, number: u64) -> Result<Option<Frame>, CaptureError> {
        let mut inner = self.lock();
        if inner.watcher.as_ref().map(|watcher| watcher.number) != Some(number) {
            let reason = "another capture has taken the display over".to_owned();
            return Err(CaptureError::Ended { reason });
        }
        if let Some(reason) = &inner.closed {
            let reason = reason.clone();
            return Err(CaptureError::Ended { reason });
        }
        if !std::mem::take(&mut inner.fresh) {
            return Ok(None);
        }
        Ok(inner.shown.as_ref().map(|shown| Frame {
            surface: Arc::clone(&shown.surface),
            damage: shown.damage,
            // What stood before the watcher came is new to it, whenever it was drawn.
            captured: match shown.captured.is_zero() {
                true => clock::now(),
                false => shown.captured,
            },
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Plain data, whole after every statement.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use gpu::frame::{MemorySurface, PixelFormat};

    use super::*;

    fn size(mode: &str) -> Size {
        let mode: Mode = mode.parse().expect("a valid mode");
        Size {
            width: mode.width(),
            height: mode.height(),
        }
    }

    fn shared() -> Shared {
        Shared::new("640x480@60".parse().expect("a valid mode"), false).expect("an eventfd")
    }

    fn picture(at: &str, x: u16) -> Picture {
        let surface = MemorySurface::new(size(at), PixelFormat::Bgrx);
        let (y, width, height) = (0, 1, 1);
        Picture {
            surface: Arc::new(surface),
            damage: Rect {
                x,
                y,
                width,
                height,
            },
            captured: Timestamp::from_ns(u64::from(x)),
        }
    }

    fn watch(shared: &Shared) -> u64 {
        shared.watch(Arc::new(EventWaker::new().expect("an eventfd")))
    }

    #[test]
    fn the_newest_picture_wins_and_has_the_damage_of_those_it_displaced() {
        let shared = shared();
        let watcher = watch(&shared);
        assert!(shared.take(watcher).expect("open").is_none());
        for x in 3..6 {
            shared.show(picture("640x480@60", x));
        }
        let frame = shared.take(watcher).expect("open").expect("a picture");
        assert_eq!(frame.captured.as_ns(), 5);
        assert_eq!((frame.damage.x, frame.damage.width), (3, 3));
        assert!(shared.take(watcher).expect("open").is_none(), "only once");
        assert_eq!(shared.unwatch(watcher), 2);
    }

    #[test]
    fn a_late_watcher_sees_the_picture_that_stands_and_the_one_before_is_told() {
        let shared = shared();
        shared.show(picture("640x480@60", 9));
        let first = watch(&shared);
        let frame = shared.take(first).expect("open").expect("a picture");
        assert_eq!(frame.damage, Rect::whole(size("640x480@60")));
        let second = watch(&shared);
        assert!(shared.take(second).expect("open").is_some());
        assert!(shared.take(first).is_err());
        assert_eq!(shared.unwatch(first), 0);
        shared.show(picture("640x480@60", 1));
        assert!(shared.take(second).expect("open").is_some());
    }

    #[test]
    fn a_closed_one_has_no_pictures_and_says_why() {
        let shared = shared();
        shared.show(picture("640x480@60", 9));
        let watcher = watch(&shared);
        shared.close("it is over");
        shared.close("later");
        let error = shared.take(watcher).err().expect("closed").to_string();
        assert!(error.ends_with("it is over"), "{error}");
        let error = shared.await_size(size("640x480@60"), Duration::from_secs(3600));
        assert_eq!(error.expect_err("closed"), "it is over");
    }

    #[test]
    fn a_size_is_waited_for() {
        let shared = Arc::new(shared());
        let wanted = size("800x600@60");
        assert_eq!(shared.await_size(wanted, Duration::ZERO), Ok(false));
        let showing = Arc::clone(&shared);
        let thread = std::thread::spawn(move || showing.show(picture("800x600@60", 0)));
        assert_eq!(
            shared.await_size(wanted, Duration::from_secs(3600)),
            Ok(true)
        );
        thread.join().expect("shows");
    }
}
