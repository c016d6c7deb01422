//! The pointer on its way from the session's capture to control: a thread (`pf-cursor`) waits for
//! the source and keeps the newest of what it tells, where control takes it. A compositor that
//! floods with motion costs control one wake-up for each look that it takes.
//!
//! The thread stands before the display is made, which may have to be made for it: a session that
//! gets none has the pointer in its pictures, and its client is told so.
//!
//! A capture that is opened anew brings a source of its own; where it has none, its pictures have
//! the pointer painted into them, and the client is told that.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use net::clock;
use net::cursor::{Cursor, Visibility};
use net::units::Mode;
use platform::capture::CaptureError;
use platform::cursor::CursorSource;
use platform::thread::{Role, RoleThread};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

/// The thread ends within one look at its source, which never waits.
const JOIN_TIMEOUT: Duration = Duration::from_millis(500);

/// What the thread shares with those who give it sources and take what they tell.
#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    /// The newest that nobody has taken.
    newest: Option<Cursor>,
    /// Counts the sources: what one before the newest tells is out of date.
    number: u64,
    /// The newest, until the thread takes it.
    source: Option<Box<dyn CursorSource>>,
    is_over: bool,
}

impl Shared {
    /// Keeps what the source of that number tells. True if nothing was waiting.
    fn put(&self, number: u64, cursor: Cursor) -> bool {
        let mut state = self.lock();
        state.number == number && state.newest.replace(cursor).is_none()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain data, whole after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Control's end. Clones are the same.
#[derive(Clone)]
pub struct CursorFeed(Arc<Shared>);

impl CursorFeed {
    /// The newest, if it was not taken yet.
    #[must_use]
    pub fn take(&self) -> Option<Cursor> {
        self.0.lock().newest.take()
    }
}

/// A session's cursor. Dropping it ends its thread.
pub struct CursorStage {
    shared: Arc<Shared>,
    on_news: Arc<dyn Fn() + Send + Sync>,
    wake: Arc<OwnedFd>,
    thread: Option<RoleThread<()>>,
}

impl CursorStage {
    /// Without a source yet. `on_news` is called once [`CursorFeed::take`] has something, from the
    /// stage's thread for the most part.
    ///
    /// # Errors
    /// The system's, if it gives no thread.
    pub fn spawn(on_news: Arc<dyn Fn() + Send + Sync>) -> std::io::Result<Self> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let shared = Arc::new(Shared::default());
        let watch = Watch {
            shared: Arc::clone(&shared),
            on_news: Arc::clone(&on_news),
            wake: Arc::clone(&wake),
        };
        let thread = platform::thread::spawn(Role::Control, "pf-cursor", move || watch.run())?;
        Ok(Self {
            shared,
            on_news,
            wake,
            thread: Some(thread),
        })
    }

    /// Where control takes it.
    #[must_use]
    pub fn feed(&self) -> CursorFeed {
        CursorFeed(Arc::clone(&self.shared))
    }

    /// This one, with its first source.
    #[must_use]
    pub fn with((stage, source): (Self, Box<dyn CursorSource>)) -> Self {
        stage.watch(source);
        stage
    }

    /// Goes on with this source; what the one before may still tell is dropped.
    pub fn watch(&self, source: Box<dyn CursorSource>) {
        let mut state = self.shared.lock();
        state.number += 1;
        state.newest = None;
        state.source = Some(source);
        drop(state);
        self.wake();
    }

    /// Goes on with the source of another capture, of an output of that mode; `None` if that paints
    /// the pointer into its pictures.
    pub fn replace(&self, source: Option<Box<dyn CursorSource>>, mode: Mode) {
        if let Some(source) = source {
            return self.watch(source);
        }
        let mut painted = Cursor::default();
        painted.pointer.visibility = Visibility::Painted;
        painted.pointer.output = (mode.width(), mode.height());
        painted.changed = clock::now();
        let mut state = self.shared.lock();
        state.number += 1;
        state.source = None;
        state.newest = Some(painted);
        drop(state);
        // It lets go of its source.
        self.wake();
        (self.on_news)();
    }

    fn wake(&self) {
        match rustix::io::write(&self.wake, &1u64.to_ne_bytes()) {
            // Full means that 2^64 - 2 wake-ups are waiting: it will wake.
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(error) => log::error!("the cursor's thread cannot be woken: {error}"),
        }
    }
}

impl Drop for CursorStage {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.wake();
        if let Some(thread) = self.thread.take()
            && let Err(error) = thread.join_within(JOIN_TIMEOUT)
        {
            log::error!("{error}");
        }
    }
}

/// The thread's own half.
struct Watch {
    shared: Arc<Shared>,
    on_news: Arc<dyn Fn() + Send + Sync>,
    wake: Arc<OwnedFd>,
}

impl Watch {
    fn run(self) {
        let (mut number, mut source) = (0, None);
        loop {
            {
                let mut state = self.shared.lock();
                if state.is_over {
                    return;
                }
                if state.number != number {
                    number = state.number;
                    // Nothing that takes long: a source lets go of memory and of a socket.
                    source = state.source.take();
                }
            }
            if let Err((name, error)) = self.look(number, &mut source) {
                // The capture has ended as well, or soon will: that decides about the session.
                log::warn!("the cursor of {name}: {error}");
                if source.take().is_none() {
                    return;
                }
            }
        }
    }

    /// Takes what there is and waits for more.
    fn look(
        &self,
        number: u64,
        source: &mut Option<Box<dyn CursorSource>>,
    ) -> Result<(), (&'static str, CaptureError)> {
        let wake = PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN);
        let waited = match source {
            Some(source) => {
                let cursor = source.poll().map_err(|error| (source.name(), error))?;
                if cursor.is_some_and(|cursor| self.shared.put(number, cursor)) {
                    (self.on_news)();
                }
                let news = PollFd::from_borrowed_fd(source.descriptor(), PollFlags::IN);
                poll(&mut [wake, news], None)
            }
            None => poll(&mut [wake], None),
        };
        // Taken before the next look at what was said.
        let mut count = [0; 8];
        match rustix::io::read(&self.wake, &mut count) {
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(error) => log::error!("the cursor's wake-up cannot be read: {error}"),
        }
        match waited {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => {
                let reason = format!("poll failed: {error}");
                let name = source.as_ref().map_or("none", |source| source.name());
                Err((name, CaptureError::Ended { reason }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;

    use crossbeam::channel::{Receiver, bounded};

    use super::*;

    /// Long enough for any machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Tells of one place each time that it is woken.
    struct Fake {
        x: i32,
        waker: Arc<OwnedFd>,
        _alive: Arc<()>,
    }

    impl CursorSource for Fake {
        fn name(&self) -> &'static str {
            "fake"
        }

        fn poll(&mut self) -> Result<Option<Cursor>, CaptureError> {
            let mut count = [0; 8];
            let is_woken = rustix::io::read(&self.waker, &mut count).is_ok();
            let mut cursor = Cursor::default();
            cursor.pointer.x = self.x;
            Ok(is_woken.then_some(cursor))
        }

        fn descriptor(&self) -> BorrowedFd<'_> {
            self.waker.as_fd()
        }
    }

    fn fake(x: i32) -> (Box<Fake>, Arc<OwnedFd>, Arc<()>) {
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let (waker, alive) = (Arc::new(waker.expect("an eventfd")), Arc::new(()));
        wake(&waker);
        let source = Fake {
            x,
            waker: Arc::clone(&waker),
            _alive: Arc::clone(&alive),
        };
        (Box::new(source), waker, alive)
    }

    fn wake(waker: &OwnedFd) {
        rustix::io::write(waker, &1u64.to_ne_bytes()).expect("has room");
    }

    fn stage() -> (CursorStage, CursorFeed, Receiver<()>) {
        let (told, news) = bounded(16);
        let on_news = Arc::new(move || told.try_send(()).expect("has room"));
        let stage = CursorStage::spawn(on_news).expect("a thread");
        let feed = stage.feed();
        (stage, feed, news)
    }

    fn next(feed: &CursorFeed, news: &Receiver<()>) -> Cursor {
        news.recv_timeout(PATIENCE).expect("news");
        feed.take().expect("what the news is about")
    }

    #[test]
    fn sources_take_turns_and_the_one_before_is_let_go() {
        let (stage, feed, news) = stage();
        assert!(feed.take().is_none(), "no source yet");
        let (first, first_waker, first_lives) = fake(1);
        stage.watch(first);
        assert_eq!(next(&feed, &news).pointer.x, 1);
        let (second, second_waker, second_lives) = fake(2);
        stage.watch(second);
        // Whatever it says now comes too late.
        wake(&first_waker);
        assert_eq!(next(&feed, &news).pointer.x, 2);
        assert_eq!(Arc::strong_count(&first_lives), 1);

        let mode = "320x240@60".parse().expect("a mode");
        stage.replace(None, mode);
        wake(&second_waker);
        let painted = next(&feed, &news).pointer;
        assert_eq!(painted.visibility, Visibility::Painted);
        assert_eq!(painted.output, (320, 240));

        let (third, _, third_lives) = fake(3);
        stage.replace(Some(third), mode);
        assert_eq!(next(&feed, &news).pointer.x, 3);
        assert_eq!(Arc::strong_count(&second_lives), 1);
        assert!(feed.take().is_none(), "nothing of the others");
        drop(stage);
        assert_eq!(Arc::strong_count(&third_lives), 1, "its thread has ended");
    }

    #[test]
    fn what_nobody_has_taken_is_told_of_once() {
        let (stage, feed, news) = stage();
        let (source, waker, _lives) = fake(1);
        stage.watch(source);
        news.recv_timeout(PATIENCE).expect("news");
        wake(&waker);
        // The thread has looked again when it takes another source.
        let (other, ..) = fake(2);
        stage.watch(other);
        news.recv_timeout(PATIENCE).expect("news of the other");
        assert_eq!(feed.take().map(|it| it.pointer.x), Some(2));
        assert!(news.is_empty());
    }
}
