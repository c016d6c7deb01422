//! The stream: what both threads see of it. Its own thread's half is [`super::consumer`].

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gpu::frame::{Frame, Rect, Size, Surface};
use net::units::{Mode, Timestamp};

use super::super::link::{EventWaker, ended};
use super::super::pool::NOTHING;
use super::super::{CaptureError, Captured, Waker};
use super::address::{Memory, Shape, VideoNode};
use super::consumer;
use super::cursor::ToldCursor;
use super::format::Format;
use super::picture::Returns;
use crate::display::Cancel;
use crate::pipewire_link;
use crate::thread::{Role, RoleThread};

/// From the start, or from a change, to pictures that stream. A stream that takes longer is torn
/// down: it would otherwise hold the producer, and the session, for nothing.
pub const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(2);
/// The stream's thread tells in time by itself; this is for one that is stuck in the library.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// The loop ends at its next turn; taking leave of the daemon is one write.
const JOIN_TIMEOUT: Duration = Duration::from_millis(500);
/// How often a wait looks whether it is still wanted.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// An open stream of a video node. Clones are the same; the last one ends it.
#[derive(Clone)]
pub struct NodeStream(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    /// Locked by its end alone.
    thread: Mutex<Option<RoleThread<()>>>,
}

/// What both threads see.
pub(super) struct Shared {
    /// Buffers on their way back; its waker is the stream's thread's.
    pub(super) returns: Arc<Returns>,
    state: Mutex<State>,
    changed: Condvar,
}

/// See [`Shared`].
pub(super) struct State {
    pub(super) stop: bool,
    /// What the stream is to offer from now on.
    pub(super) offer: Option<(Shape, Memory)>,
    /// What was agreed on.
    pub(super) format: Option<Format>,
    pub(super) is_streaming: bool,
    pub(super) cursor: ToldCursor,
    newest: Option<Newest>,
    /// Pictures so far.
    count: u64,
    /// Of all pictures since the last that was taken.
    damage: Rect,
    ended: Option<String>,
    /// The reader that pictures are for.
    reader: u64,
    /// The newest picture stays for the next reader; else it goes with its frame.
    keeps: bool,
}

struct Newest {
    picture: Arc<dyn Surface>,
    captured: Timestamp,
}

/// A place to read from. Only the newest of a stream's readers gets pictures.
pub(super) struct Reader {
    number: u64,
    size: Size,
    /// Pictures that it has seen; `None` before its first.
    seen: Option<u64>,
    woken: Arc<AtomicBool>,
}

struct ReaderWaker {
    shared: Arc<Shared>,
    woken: Arc<AtomicBool>,
}

impl Waker for ReaderWaker {
    fn wake(&self) {
        self.woken.store(true, Ordering::Release);
        // Under the lock, so that it does not fall between a reader's look and its wait.
        drop(self.shared.lock());
        self.shared.changed.notify_all();
    }
}

impl NodeStream {
    /// Opens a stream that its owner keeps, whoever captures it: the newest picture always stays,
    /// and each capture begins with it. Returns once it streams.
    ///
    /// # Errors
    /// [`CaptureError::Connect`] without the library, [`CaptureError::Ended`] where the node does
    /// not stream within [`NEGOTIATION_TIMEOUT`], and why.
    pub fn open(node: &VideoNode) -> Result<Self, CaptureError> {
        Self::open_with(node, true)
    }

    /// Opens a stream for one capture.
    pub(super) fn open_for_one(node: &VideoNode) -> Result<Self, CaptureError> {
        Self::open_with(node, false)
    }

    fn open_with(node: &VideoNode, keeps: bool) -> Result<Self, CaptureError> {
        pipewire_link::load().map_err(|error| CaptureError::Connect {
            socket: "PipeWire".to_owned(),
            reason: error.to_string(),
        })?;
        let waker = EventWaker::new().map_err(|error| ended(format!("no eventfd: {error}")))?;
        let shared = Arc::new(Shared {
            returns: Arc::new(Returns::new(waker)),
            state: Mutex::new(State::new(keeps)),
            changed: Condvar::new(),
        });
        let (theirs, node) = (Arc::clone(&shared), node.clone());
        let thread = crate::thread::spawn(Role::Capture, "pf-node", move || {
            consumer::run(&theirs, &node);
        });
        let thread = thread.map_err(|error| ended(format!("no thread for PipeWire: {error}")))?;
        let stream = Self(Arc::new(Inner {
            shared,
            thread: Mutex::new(Some(thread)),
        }));
        let streams = |state: &State| state.is_streaming && state.format.is_some();
        stream.wait(OPEN_TIMEOUT, &Cancel::default(), streams)?;
        Ok(stream)
    }

    /// Size of the picture.
    #[must_use]
    pub fn size(&self) -> Option<Size> {
        self.0.shared.lock().format.map(|format| format.size)
    }

    /// Highest rate that the producer told, mHz; 0 if it told none.
    #[must_use]
    pub fn refresh_millihz(&self) -> u32 {
        let format = self.0.shared.lock().format;
        format.map_or(0, |format| format.refresh_millihz)
    }

    /// Pixels come in dmabufs.
    #[must_use]
    pub fn is_dmabuf(&self) -> bool {
        let format = self.0.shared.lock().format;
        format.is_some_and(|format| format.modifier.is_some())
    }

    /// What the producer has told of the pointer.
    pub(super) fn told_cursor<T>(&self, look: impl FnOnce(&ToldCursor) -> T) -> T {
        look(&self.0.shared.lock().cursor)
    }

    /// Has that woken by all that changes the pointer from now on, and by the stream's end.
    pub(super) fn listen_to_cursor(&self, listener: Arc<EventWaker>) {
        self.0.shared.lock().cursor.listen(listener);
    }

    /// Still there? Cheap.
    ///
    /// # Errors
    /// [`CaptureError::Ended`], with the reason.
    pub fn check(&self) -> Result<(), CaptureError> {
        match &self.0.shared.lock().ended {
            Some(reason) => Err(ended(reason.clone())),
            None => Ok(()),
        }
    }

    /// Offers something else; see [`NodeStream::await_picture`] for what becomes of it.
    pub fn offer(&self, shape: Shape, memory: Memory) {
        self.0.shared.lock().offer = Some((shape, memory));
        self.0.shared.returns.waker.wake();
    }

    /// Waits for a picture of that size; only on a stream that was opened by [`NodeStream::open`].
    ///
    /// # Errors
    /// [`CaptureError::Ended`] if none came in time, if nobody wants it any more, or with the
    /// stream's own reason.
    pub fn await_picture(
        &self,
        size: Size,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<(), CaptureError> {
        self.wait(limit, cancel, |state| {
            let newest = state.newest.as_ref();
            newest.is_some_and(|newest| newest.picture.size() == size)
        })
    }

    /// As [`NodeStream::await_picture`], and of that rate, after an offer of it.
    ///
    /// # Errors
    /// As there.
    pub fn await_mode(
        &self,
        mode: Mode,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<(), CaptureError> {
        let size = Size {
            width: mode.width(),
            height: mode.height(),
        };
        self.wait(limit, cancel, |state| {
            let rate = state.format.map_or(0, |format| format.refresh_millihz);
            let has_rate = rate == 0 || rate == mode.refresh().get();
            let newest = state.newest.as_ref();
            has_rate && newest.is_some_and(|newest| newest.picture.size() == size)
        })
    }

    fn wait(
        &self,
        limit: Duration,
        cancel: &Cancel,
        done: impl Fn(&State) -> bool,
    ) -> Result<(), CaptureError> {
        let until = Instant::now() + limit;
        let mut state = self.0.shared.lock();
        loop {
            if let Some(reason) = &state.ended {
                return Err(ended(reason.clone()));
            }
            if done(&state) {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if cancel.is_asked() {
                return Err(ended("the session is over"));
            }
            if left.is_zero() {
                return Err(ended(format!("no such picture came within {limit:?}")));
            }
            let (next, _) = self.0.shared.sleep(state, left.min(LOOK_INTERVAL));
            state = next;
        }
    }

    /// A new reader, which from now on gets the pictures.
    pub(super) fn reader(&self) -> Result<Reader, CaptureError> {
        let mut state = self.0.shared.lock();
        let size = state.format.map(|format| format.size);
        let size = size.ok_or_else(|| ended("the stream is between two formats"))?;
        state.reader += 1;
        let number = state.reader;
        drop(state);
        // An older one learns that it is no more.
        self.0.shared.changed.notify_all();
        Ok(Reader {
            number,
            size,
            seen: None,
            woken: Arc::default(),
        })
    }

    pub(super) fn waker(&self, reader: &Reader) -> Arc<dyn Waker> {
        Arc::new(ReaderWaker {
            shared: Arc::clone(&self.0.shared),
            woken: Arc::clone(&reader.woken),
        })
    }

    /// See [`super::Capture::next`].
    pub(super) fn next(
        &self,
        reader: &mut Reader,
        timeout: Duration,
    ) -> Result<Captured, CaptureError> {
        let until = Instant::now() + timeout;
        let mut state = self.0.shared.lock();
        loop {
            // Asked first, so that a flood of pictures cannot starve it.
            if reader.woken.swap(false, Ordering::AcqRel) {
                return Ok(Captured::Woken);
            }
            state.check_for(reader)?;
            if let Some(frame) = state.take(reader) {
                return Ok(Captured::Frame(frame));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Captured::Still);
            }
            (state, _) = self.0.shared.sleep(state, left);
        }
    }
}

impl fmt::Debug for NodeStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NodeStream").field(&self.size()).finish()
    }
}

impl PartialEq for NodeStream {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for NodeStream {}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.returns.waker.wake();
        let thread = self.thread.get_mut();
        if let Some(thread) = thread.unwrap_or_else(PoisonError::into_inner).take()
            && let Err(error) = thread.join_within(JOIN_TIMEOUT)
        {
            log::warn!("capture pipewire: {error}");
        }
    }
}

impl State {
    fn new(keeps: bool) -> Self {
        Self {
            stop: false,
            offer: None,
            format: None,
            is_streaming: false,
            cursor: ToldCursor::default(),
            newest: None,
            count: 0,
            damage: NOTHING,
            ended: None,
            reader: 0,
            keeps,
        }
    }

    /// Pictures are still for this reader, and of the size that it began with.
    fn check_for(&self, reader: &Reader) -> Result<(), CaptureError> {
        if let Some(reason) = &self.ended {
            return Err(ended(reason.clone()));
        }
        if self.reader != reader.number {
            return Err(ended("another capture reads this node now"));
        }
        match self.format {
            Some(format) if format.size != reader.size => {
                let (new, old) = (format.size, reader.size);
                Err(ended(format!(
                    "the output changed from {}x{} to {}x{}",
                    old.width, old.height, new.width, new.height
                )))
            }
            _ => Ok(()),
        }
    }

    fn take(&mut self, reader: &mut Reader) -> Option<Frame> {
        if reader.seen == Some(self.count) {
            return None;
        }
        let newest = self.newest.as_ref()?;
        let captured = newest.captured;
        let surface = if self.keeps {
            Arc::clone(&newest.picture)
        } else {
            self.newest.take()?.picture
        };
        let damage = std::mem::replace(&mut self.damage, NOTHING);
        let damage = match reader.seen.replace(self.count) {
            Some(_) => damage,
            None => Rect::whole(reader.size),
        };
        Some(Frame {
            surface,
            damage,
            captured,
        })
    }
}

impl Shared {
    /// A panic while it was held left a picture more or less, and nothing that could be wrong.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sleep<'a>(
        &self,
        state: MutexGuard<'a, State>,
        time: Duration,
    ) -> (MutexGuard<'a, State>, bool) {
        let (state, timeout) = self
            .changed
            .wait_timeout(state, time)
            .unwrap_or_else(PoisonError::into_inner);
        (state, timeout.timed_out())
    }

    /// A new picture.
    pub(super) fn publish(&self, picture: Arc<dyn Surface>, damage: Rect, captured: Timestamp) {
        let mut state = self.lock();
        // Both clocks are one, but a producer's times need not be in order.
        let before = state.newest.as_ref().map(|newest| newest.captured);
        let captured = before.map_or(captured, |before| captured.max(before));
        let older = state.newest.replace(Newest { picture, captured });
        state.damage = state.damage.union(damage);
        state.count += 1;
        drop(state);
        drop(older);
        self.changed.notify_all();
    }

    /// Damage whose pixels did not come.
    pub(super) fn damaged(&self, damage: Rect) {
        let mut state = self.lock();
        state.damage = state.damage.union(damage);
    }

    /// What was agreed on has changed: what was drawn before is of no more use.
    pub(super) fn set_format(&self, format: Option<Format>) {
        let mut state = self.lock();
        state.format = format;
        let older = state.newest.take();
        drop(state);
        drop(older);
        self.changed.notify_all();
    }

    pub(super) fn set_streaming(&self, is_streaming: bool) {
        self.lock().is_streaming = is_streaming;
        self.changed.notify_all();
    }

    /// Nothing comes any more.
    pub(super) fn end(&self, reason: String) {
        let mut state = self.lock();
        state.ended = Some(reason);
        state.cursor.wake();
        let older = state.newest.take();
        drop(state);
        drop(older);
        self.changed.notify_all();
    }
}
