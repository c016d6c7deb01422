//! A capture that does what a test says, when it says it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use crossbeam::select;
use gpu::frame::{Frame, MemorySurface, PixelFormat, Rect, Size};
use net::clock;
use platform::capture::{Capture, CaptureError, Captured, Waker};

/// Events that a test may be ahead of the capture thread.
const EVENTS: usize = 1024;

enum Event {
    Picture(Rect),
    Fail(String),
}

/// The capture. Its pictures are numbered: every pixel of the one with number n has the bytes
/// `n mod 256`, so that an encoder can tell which it was given.
pub struct FakeCapture {
    events: Receiver<Event>,
    wakes: Receiver<()>,
    waker: Arc<FakeWaker>,
    state: Arc<State>,
    size: Size,
}

/// What the test holds.
pub struct CaptureRemote {
    events: Sender<Event>,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Every surface ever handed out, oldest first, and nobody else's from then on.
    surfaces: std::sync::Mutex<Vec<Arc<MemorySurface>>>,
    delivered: AtomicUsize,
}

struct FakeWaker(Sender<()>);

impl Waker for FakeWaker {
    fn wake(&self) {
        // Full: a wake-up waits already.
        if let Err(TrySendError::Disconnected(())) = self.0.try_send(()) {}
    }
}

impl FakeCapture {
    /// A capture of pictures of that size, and its remote control.
    #[must_use]
    pub fn new(size: Size) -> (Self, CaptureRemote) {
        let (events_in, events) = bounded(EVENTS);
        let (wakes_in, wakes) = bounded(1);
        let state = Arc::new(State::default());
        let remote = CaptureRemote {
            events: events_in,
            state: Arc::clone(&state),
        };
        (
            Self {
                events,
                wakes,
                waker: Arc::new(FakeWaker(wakes_in)),
                state,
                size,
            },
            remote,
        )
    }

    fn picture(&self, damage: Rect) -> Frame {
        let mut surfaces = self
            .state
            .surfaces
            .lock()
            .expect("no test panics while it holds it");
        let number = self.state.delivered.fetch_add(1, Ordering::AcqRel);
        let value = u8::try_from(number % 256).expect("below 256");
        let mut surface = MemorySurface::new(self.size, PixelFormat::Bgrx);
        surface.bytes_mut().fill(value);
        let surface = Arc::new(surface);
        surfaces.push(Arc::clone(&surface));
        Frame {
            surface,
            damage,
            captured: clock::now(),
        }
    }
}

impl Capture for FakeCapture {
    fn next(&mut self, timeout: Duration) -> Result<Captured, CaptureError> {
        select! {
            recv(self.wakes) -> _ => Ok(Captured::Woken),
            recv(self.events) -> event => match event {
                Ok(Event::Picture(damage)) => Ok(Captured::Frame(self.picture(damage))),
                Ok(Event::Fail(reason)) => Err(CaptureError::Ended { reason }),
                // The test has let go of it: nothing changes any more.
                Err(_) => Ok(match self.wakes.recv_timeout(timeout) {
                    Ok(()) => Captured::Woken,
                    Err(_) => Captured::Still,
                }),
            },
            default(timeout) => Ok(Captured::Still),
        }
    }

    fn waker(&self) -> Arc<dyn Waker> {
        Arc::clone(&self.waker) as Arc<dyn Waker>
    }
}

impl CaptureRemote {
    /// A new picture, in which `damage` differs from the one before. Not taken back if the
    /// capture is gone already.
    pub fn picture(&self, damage: Rect) {
        let _ = self.events.send(Event::Picture(damage));
    }

    /// The capture ends, as if the compositor had died.
    pub fn fail(&self, reason: &str) {
        let _ = self.events.send(Event::Fail(reason.to_owned()));
    }

    /// Pictures handed out so far.
    #[must_use]
    pub fn delivered(&self) -> usize {
        self.state.delivered.load(Ordering::Acquire)
    }

    /// How many surfaces somebody else still holds.
    #[must_use]
    pub fn surfaces_held(&self) -> usize {
        let surfaces = self
            .state
            .surfaces
            .lock()
            .expect("no test panics while it holds it");
        surfaces
            .iter()
            .filter(|surface| Arc::strong_count(surface) > 1)
            .count()
    }
}

/// The number of the picture in a frame of [`FakeCapture`], modulo 256.
#[must_use]
pub(super) fn number_of(frame: &Frame) -> u8 {
    frame
        .surface
        .map()
        .and_then(|pixels| pixels.bytes.first().copied())
        .unwrap_or_default()
}
