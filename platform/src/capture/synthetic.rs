//! A source of pictures without a desktop: for tests, and for `--desktop synthetic`.
//!
//! It keeps the contract of [`Capture`] like the real ones: the first picture at once, then one
//! for every change, paced by absolute deadlines (start + n × interval, so errors never add up),
//! nothing while nothing changes, and a buffer is drawn on only while nobody holds it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gpu::frame::{Frame, MemorySurface, PixelFormat, Rect, Size, Surface};
use net::clock;
use net::cursor::{Cursor, Visibility, blend};
use net::units::{Mode, Timestamp};
use rustix::event::{PollFd, PollFlags, poll};

use super::link::{EventWaker, ended};
use super::pool::{NOTHING, clip};
use super::{BUSY_INTERVAL, Capture, CaptureError, Captured, Waker};
use crate::cursor::synthetic::SyntheticPointer;
use crate::process::timespec;

/// As many as a real capture has.
const BUFFERS: usize = 4;

/// What the source shows.
pub enum Pattern {
    /// A square that wanders over a coloured ground, a step every refresh.
    Moving,
    /// The ground alone: one picture, then stillness.
    Still,
    /// Pictures of the caller's, drawn at every refresh: the function is given the number of the
    /// refresh (from 0; numbers are left out when the consumer is slow) and a buffer with some
    /// older picture, draws all of it, and returns what differs from the picture before.
    Drawn(Draw),
    /// Exactly these steps, then stillness.
    Script(Vec<Step>),
}

/// See [`Pattern::Drawn`].
pub type Draw = Box<dyn FnMut(u64, &mut MemorySurface) -> Rect + Send>;

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Moving => "Moving",
            Self::Still => "Still",
            Self::Drawn(_) => "Drawn",
            Self::Script(_) => "Script",
        })
    }
}

/// A step of a script; `after` counts from the step before (or from opening).
pub enum Step {
    /// A picture.
    Frame {
        /// Time since the step before.
        after: Duration,
        /// Its pixels.
        surface: Arc<dyn Surface>,
        /// What differs from the picture before.
        damage: Rect,
    },
    /// The capture ends, as if the compositor had died.
    End {
        /// Time since the step before.
        after: Duration,
        /// The reason of the [`CaptureError::Ended`].
        reason: String,
    },
}

/// Opens a source of that size and rate. All buffers are allocated here.
///
/// # Errors
/// [`CaptureError::Ended`] if no eventfd can be had.
pub fn open(mode: Mode, pattern: Pattern) -> Result<Box<dyn Capture>, CaptureError> {
    let waker = EventWaker::new().map_err(|error| ended(format!("no eventfd: {error}")))?;
    let size = size_of(mode);
    let source = match pattern {
        Pattern::Script(steps) => Source::Script(steps.into_iter()),
        Pattern::Still => Source::Ticks(Ticks::new(size, Scene::Still)),
        Pattern::Moving => Source::Ticks(Ticks::new(size, Scene::Moving)),
        Pattern::Drawn(draw) => Source::Ticks(Ticks::new(size, Scene::Drawn(draw))),
    };
    Ok(Box::new(Synthetic::new(mode, waker, source)))
}

/// [`Pattern::Moving`] with this pointer painted into it.
///
/// # Errors
/// As [`open`].
pub fn open_with_pointer(
    mode: Mode,
    pointer: SyntheticPointer,
) -> Result<Box<dyn Capture>, CaptureError> {
    let waker = EventWaker::new().map_err(|error| ended(format!("no eventfd: {error}")))?;
    let mut ticks = Ticks::new(size_of(mode), Scene::Moving);
    ticks.pointer = Some(pointer);
    Ok(Box::new(Synthetic::new(mode, waker, Source::Ticks(ticks))))
}

const fn size_of(mode: Mode) -> Size {
    Size {
        width: mode.width(),
        height: mode.height(),
    }
}

struct Synthetic {
    waker: Arc<EventWaker>,
    source: Source,
    /// Refresh 0, or for a script its last step.
    start: Timestamp,
    interval: Duration,
    /// The step of a script that is waited for.
    pending: Option<Step>,
}

enum Source {
    Ticks(Ticks),
    Script(std::vec::IntoIter<Step>),
}

impl Capture for Synthetic {
    fn next(&mut self, timeout: Duration) -> Result<Captured, CaptureError> {
        let deadline = clock::now() + timeout;
        if self.waker.take() {
            return Ok(Captured::Woken);
        }
        loop {
            let (due, now) = (self.due(), clock::now());
            let mut until = due.map_or(deadline, |due| due.min(deadline));
            if due.is_some_and(|due| due <= now) {
                if let Some(frame) = self.produce(now)? {
                    return Ok(Captured::Frame(frame));
                }
                // Every buffer is in use: look again soon.
                until = deadline.min(now + BUSY_INTERVAL);
            }
            if now >= deadline {
                return Ok(Captured::Still);
            }
            if self.wait(until)? {
                return Ok(Captured::Woken);
            }
        }
    }

    fn waker(&self) -> Arc<dyn Waker> {
        Arc::clone(&self.waker) as Arc<dyn Waker>
    }
}

impl Synthetic {
    fn new(mode: Mode, waker: EventWaker, source: Source) -> Self {
        Self {
            waker: Arc::new(waker),
            source,
            start: clock::now(),
            interval: mode.refresh().interval(),
            pending: None,
        }
    }

    /// When the next picture is due; `None` if there is none to come.
    fn due(&mut self) -> Option<Timestamp> {
        match &mut self.source {
            Source::Ticks(ticks) => {
                let number = ticks.next_number()?;
                Some(self.start + interval_times(self.interval, number))
            }
            Source::Script(steps) => {
                if self.pending.is_none() {
                    self.pending = steps.next();
                }
                let (Step::Frame { after, .. } | Step::End { after, .. }) =
                    self.pending.as_ref()?;
                Some(self.start + *after)
            }
        }
    }

    /// The picture that is due, or `None` if no buffer is free for it.
    fn produce(&mut self, now: Timestamp) -> Result<Option<Frame>, CaptureError> {
        match &mut self.source {
            Source::Ticks(ticks) => {
                let elapsed_ns = now.since(self.start).as_nanos();
                let number = elapsed_ns / self.interval.as_nanos().max(1);
                Ok(ticks.draw(u64::try_from(number).unwrap_or(u64::MAX)))
            }
            Source::Script(_) => match self.pending.take() {
                Some(Step::Frame {
                    after,
                    surface,
                    damage,
                }) => {
                    self.start = self.start + after;
                    Ok(Some(Frame {
                        surface,
                        damage,
                        captured: clock::now(),
                    }))
                }
                Some(Step::End { reason, .. }) => Err(ended(reason)),
                None => Ok(None),
            },
        }
    }

    /// Waits until `until`; true if woken.
    fn wait(&self, until: Timestamp) -> Result<bool, CaptureError> {
        let left = until.since(clock::now());
        let mut fds = [PollFd::new(self.waker.fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(false),
            Ok(_) => Ok(self.waker.take()),
            Err(error) => Err(ended(format!("poll failed: {error}"))),
        }
    }
}

enum Scene {
    Still,
    Moving,
    Drawn(Draw),
}

/// A scene that is drawn anew at every refresh.
struct Ticks {
    size: Size,
    scene: Scene,
    buffers: Vec<Buffer>,
    /// The refresh drawn last, and where square and pointer were.
    last: Option<(u64, Rect)>,
    /// Painted into every picture, if there is one.
    pointer: Option<SyntheticPointer>,
}

struct Buffer {
    surface: Arc<MemorySurface>,
    /// Where this buffer has the square.
    square: Rect,
    /// Where it has the pointer.
    pointer: Rect,
}

impl Ticks {
    fn new(size: Size, scene: Scene) -> Self {
        let mut ground = MemorySurface::new(size, PixelFormat::Bgrx);
        ground.fill_with(ground_rgb);
        let buffer = || Buffer {
            surface: Arc::new(ground.clone()),
            square: NOTHING,
            pointer: NOTHING,
        };
        Self {
            size,
            scene,
            buffers: (0..BUFFERS).map(|_| buffer()).collect(),
            last: None,
            pointer: None,
        }
    }

    fn next_number(&self) -> Option<u64> {
        match (&self.scene, self.last) {
            (_, None) => Some(0),
            (Scene::Still, Some(_)) => None,
            (Scene::Moving | Scene::Drawn(_), Some((number, _))) => Some(number + 1),
        }
    }

    fn free(&mut self) -> Option<usize> {
        self.buffers
            .iter_mut()
            .position(|buffer| Arc::get_mut(&mut buffer.surface).is_some())
    }

    fn draw(&mut self, number: u64) -> Option<Frame> {
        let index = self.free()?;
        let Buffer {
            surface,
            square,
            pointer,
        } = &mut self.buffers[index];
        let picture = Arc::get_mut(surface).expect("found free, and nobody else clones it");
        let whole = Rect::whole(self.size);
        let (now_at, damage) = match &mut self.scene {
            Scene::Still => (whole, whole),
            Scene::Drawn(draw) => (whole, draw(number, picture)),
            Scene::Moving => {
                let now_at = square_at(self.size, number);
                paint(picture, *square, ground_rgb);
                paint(picture, *pointer, ground_rgb);
                paint(picture, now_at, |x, y| square_rgb(number, x, y));
                *square = now_at;
                let cursor = self.pointer.as_ref().map(SyntheticPointer::cursor);
                *pointer = cursor.map_or(NOTHING, |it| paint_cursor(picture, &it));
                let now_at = now_at.union(*pointer);
                (
                    now_at,
                    self.last.map_or(whole, |(_, before)| before.union(now_at)),
                )
            }
        };
        let damage = if self.last.is_none() { whole } else { damage };
        self.last = Some((number, now_at));
        let surface = Arc::clone(&self.buffers[index].surface);
        Some(Frame {
            surface,
            damage,
            captured: clock::now(),
        })
    }
}

fn interval_times(interval: Duration, number: u64) -> Duration {
    let ns = interval.as_nanos().saturating_mul(number.into());
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

fn ground_rgb(x: u16, y: u16) -> [u8; 3] {
    let fold = |value: u16| u8::try_from(value % 256).expect("below 256");
    [fold(x / 8), fold(y / 4), fold((x / 64 + y / 64) * 16)]
}

fn square_rgb(number: u64, x: u16, y: u16) -> [u8; 3] {
    let phase = u8::try_from(number % 256).expect("below 256");
    if (x / 8 + y / 8).is_multiple_of(2) {
        [255, 255, phase]
    } else {
        [phase, 0, 64]
    }
}

/// A quarter of the height wide and high, bouncing between the edges in both directions.
fn square_at(size: Size, number: u64) -> Rect {
    let side = (size.height / 4).min(size.width);
    let bounce = |span: u16, step: u64| -> u16 {
        let period = u64::from(span).max(1) * 2;
        let at = number.wrapping_mul(step) % period;
        u16::try_from(at.min(period - at)).expect("at most the span")
    };
    let (x, y) = (bounce(size.width - side, 7), bounce(size.height - side, 3));
    Rect {
        x,
        y,
        width: side,
        height: side,
    }
}

/// Paints it over what is there; where.
fn paint_cursor(picture: &mut MemorySurface, cursor: &Cursor) -> Rect {
    let Cursor { pointer, shape, .. } = cursor;
    let Some(shape) = shape
        .as_ref()
        .filter(|_| pointer.visibility == Visibility::Shown)
    else {
        return NOTHING;
    };
    let (size, stride) = (picture.size(), picture.stride());
    let bytes = picture.bytes_mut();
    let sides = (usize::from(size.width), usize::from(size.height));
    shape.each_pixel((pointer.x, pointer.y), sides, |x, y, [over @ .., alpha]| {
        let below = &mut bytes[y * stride + x * 4..][..3];
        for (below, over) in below.iter_mut().zip(over) {
            *below = blend(*below, over, alpha);
        }
    });
    let layout = shape.layout();
    let begin = |at: i32, hotspot: u16| i64::from(at) - i64::from(hotspot);
    let rect = [
        begin(pointer.x, layout.hotspot().0),
        begin(pointer.y, layout.hotspot().1),
        layout.width().into(),
        layout.height().into(),
    ];
    clip(rect, size)
}

fn paint(picture: &mut MemorySurface, area: Rect, rgb: impl Fn(u16, u16) -> [u8; 3]) {
    let stride = picture.stride();
    let rows = picture.bytes_mut().chunks_exact_mut(stride);
    for (y, row) in (0u16..)
        .zip(rows)
        .skip(area.y.into())
        .take(area.height.into())
    {
        let pixels = row.chunks_exact_mut(4);
        for (x, pixel) in (0u16..)
            .zip(pixels)
            .skip(area.x.into())
            .take(area.width.into())
        {
            let [r, g, b] = rgb(x, y);
            pixel.copy_from_slice(&[b, g, r, 255]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn mode() -> Mode {
        "320x240@200".parse().expect("a valid mode")
    }

    fn frame(capture: &mut dyn Capture) -> Frame {
        match capture.next(PATIENCE).expect("lives") {
            Captured::Frame(frame) => frame,
            _ => panic!("no picture"),
        }
    }

    #[test]
    fn a_moving_pattern_is_paced_by_its_refresh() {
        let mut capture = open(mode(), Pattern::Moving).expect("opens");
        let first = frame(&mut *capture);
        let mut last = first.captured;
        for count in 1..=20u32 {
            let next = frame(&mut *capture);
            assert_ne!(next.damage, Rect::whole(next.surface.size()));
            // Never ahead of the refresh; how far behind depends on the machine.
            let earliest = first.captured + mode().refresh().interval() * (count - 1);
            assert!(next.captured >= earliest, "frame {count}");
            assert!(next.captured > last);
            last = next.captured;
        }
    }

    #[test]
    fn damage_covers_every_pixel_that_changed() {
        let mut capture = open(mode(), Pattern::Moving).expect("opens");
        let mut before = frame(&mut *capture);
        for _ in 0..12 {
            let after = frame(&mut *capture);
            let (old, new) = (pixels(&before), pixels(&after));
            for (index, (old, new)) in old.chunks(4).zip(new.chunks(4)).enumerate() {
                let x = u16::try_from(index % 320).expect("a column");
                let y = u16::try_from(index / 320).expect("a row");
                let inside = after.damage.contains(Rect {
                    x,
                    y,
                    width: 1,
                    height: 1,
                });
                assert!(inside || old == new, "pixel {x},{y}");
            }
            before = after;
        }
    }

    fn pixels(frame: &Frame) -> &[u8] {
        frame.surface.map().expect("memory").bytes
    }

    #[test]
    fn a_still_pattern_gives_one_picture() {
        let mut capture = open(mode(), Pattern::Still).expect("opens");
        assert_eq!(
            frame(&mut *capture).damage,
            Rect {
                x: 0,
                y: 0,
                width: 320,
                height: 240
            }
        );
        for _ in 0..3 {
            let next = capture.next(Duration::from_millis(20)).expect("lives");
            assert!(matches!(next, Captured::Still));
        }
    }

    #[test]
    fn held_frames_are_never_drawn_on_and_dropping_one_lets_the_source_go_on() {
        let mut capture = open(mode(), Pattern::Moving).expect("opens");
        let mut held: Vec<Frame> = (0..BUFFERS).map(|_| frame(&mut *capture)).collect();
        let before: Vec<Vec<u8>> = held.iter().map(|held| pixels(held).to_vec()).collect();
        assert!(matches!(
            capture.next(Duration::from_millis(30)),
            Ok(Captured::Still)
        ));
        for (held, before) in held.iter().zip(&before) {
            assert_eq!(pixels(held), before.as_slice());
        }
        held.pop();
        drop(frame(&mut *capture));
    }

    #[test]
    fn a_script_is_played_and_ends_as_written() {
        let surface = |shade: u8| -> Arc<dyn Surface> {
            let mut surface = MemorySurface::new(
                Size {
                    width: 128,
                    height: 128,
                },
                PixelFormat::Bgrx,
            );
            surface.fill_with(|_, _| [shade; 3]);
            Arc::new(surface)
        };
        let damage = Rect {
            x: 0,
            y: 0,
            width: 128,
            height: 128,
        };
        let after = Duration::from_millis(1);
        let steps = vec![
            Step::Frame {
                after: Duration::ZERO,
                surface: surface(1),
                damage,
            },
            Step::Frame {
                after,
                surface: surface(2),
                damage,
            },
            Step::End {
                after,
                reason: "the script says so".into(),
            },
        ];
        let mut capture = open(mode(), Pattern::Script(steps)).expect("opens");
        assert_eq!(pixels(&frame(&mut *capture))[0], 1);
        assert_eq!(pixels(&frame(&mut *capture))[0], 2);
        let error = capture.next(PATIENCE).err().expect("the end").to_string();
        assert_eq!(error, "capture ended: the script says so");
    }

    #[test]
    fn the_waker_interrupts_a_still_source() {
        let mut capture = open(mode(), Pattern::Still).expect("opens");
        drop(frame(&mut *capture));
        capture.waker().wake();
        assert!(matches!(capture.next(PATIENCE), Ok(Captured::Woken)));
    }
}
