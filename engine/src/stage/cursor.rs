//! The pointer on its way from the session's capture to control: a thread (`pf-cursor`) waits for
//! the source and keeps the newest of what it tells, where control takes it. A compositor that
//! floods with motion costs control one wake-up for each look that it takes.
//!
//! A capture that is opened anew brings a source of its own; where it has none, its pictures have
//! the pointer painted into them, and the client is told so.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
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

/// The newest that nobody has taken.
#[derive(Default)]
struct Newest(Mutex<Option<Cursor>>);

impl Newest {
    /// True if nothing was waiting.
    fn put(&self, cursor: Cursor) -> bool {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.replace(cursor).is_none()
    }

    fn take(&self) -> Option<Cursor> {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        newest.take()
    }
}

/// Control's end. Clones are the same.
#[derive(Clone)]
pub struct CursorFeed(Arc<Newest>);

impl CursorFeed {
    /// The newest, if it was not taken yet.
    #[must_use]
    pub fn take(&self) -> Option<Cursor> {
        self.0.take()
    }
}

/// A session's cursor. Dropping it ends its thread.
pub struct CursorStage {
    newest: Arc<Newest>,
    on_news: Arc<dyn Fn() + Send + Sync>,
    running: Option<Running>,
}

/// A source with its thread.
struct Running {
    stop: Arc<AtomicBool>,
    wake: Arc<OwnedFd>,
    thread: Option<RoleThread<()>>,
}

impl CursorStage {
    /// Of this source. `on_news` is called from its thread once [`CursorFeed::take`] has something.
    ///
    /// # Errors
    /// The system's, if it gives no thread.
    pub fn spawn(
        source: Box<dyn CursorSource>,
        on_news: Arc<dyn Fn() + Send + Sync>,
    ) -> std::io::Result<Self> {
        let mut stage = Self {
            newest: Arc::default(),
            on_news,
            running: None,
        };
        stage.running = Some(stage.start(source)?);
        Ok(stage)
    }

    /// Where control takes it.
    #[must_use]
    pub fn feed(&self) -> CursorFeed {
        CursorFeed(Arc::clone(&self.newest))
    }

    /// Goes on with the source of another capture, of an output of that mode; `None` if that paints
    /// the pointer into its pictures.
    pub fn replace(&mut self, source: Option<Box<dyn CursorSource>>, mode: Mode) {
        // First the end of the one before: what it tells would be out of date.
        self.running = None;
        if let Some(source) = source {
            match self.start(source) {
                Ok(running) => {
                    self.running = Some(running);
                    return;
                }
                Err(error) => log::error!("the cursor has no thread: {error}"),
            }
        }
        let mut painted = Cursor::default();
        painted.pointer.visibility = Visibility::Painted;
        painted.pointer.output = (mode.width(), mode.height());
        painted.changed = clock::now();
        if self.newest.put(painted) {
            (self.on_news)();
        }
    }

    fn start(&self, source: Box<dyn CursorSource>) -> std::io::Result<Running> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let stop = Arc::new(AtomicBool::new(false));
        let mut watch = Watch {
            source,
            newest: Arc::clone(&self.newest),
            on_news: Arc::clone(&self.on_news),
            stop: Arc::clone(&stop),
            wake: Arc::clone(&wake),
        };
        let thread = platform::thread::spawn(Role::Control, "pf-cursor", move || {
            if let Err(error) = watch.run() {
                // The capture has ended as well, or soon will: that decides about the session.
                log::warn!("the cursor of {}: {error}", watch.source.name());
            }
        })?;
        Ok(Running {
            stop,
            wake,
            thread: Some(thread),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Err(error) = rustix::io::write(&self.wake, &1u64.to_ne_bytes()) {
            log::error!("the cursor's thread cannot be woken: {error}");
        }
        if let Some(thread) = self.thread.take()
            && let Err(error) = thread.join_within(JOIN_TIMEOUT)
        {
            log::error!("{error}");
        }
    }
}

/// The thread's own half.
struct Watch {
    source: Box<dyn CursorSource>,
    newest: Arc<Newest>,
    on_news: Arc<dyn Fn() + Send + Sync>,
    stop: Arc<AtomicBool>,
    wake: Arc<OwnedFd>,
}

impl Watch {
    fn run(&mut self) -> Result<(), CaptureError> {
        while !self.stop.load(Ordering::Acquire) {
            if let Some(cursor) = self.source.poll()?
                && self.newest.put(cursor)
            {
                (self.on_news)();
            }
            let descriptor = self.source.descriptor();
            let mut fds = [
                PollFd::new(&descriptor, PollFlags::IN),
                PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    let reason = format!("poll failed: {error}");
                    return Err(CaptureError::Ended { reason });
                }
            }
        }
        Ok(())
    }
}
