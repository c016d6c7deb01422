//! Judder is measured by the capture stage, from the pictures' own times, whatever captures them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::bounded;
use engine::metrics::{CounterSnapshot, SessionMetrics};
use engine::pipeline::Stop;
use engine::stage::capture::CaptureStage;
use engine::stage::change;
use gpu::frame::{Frame, MemorySurface, PixelFormat};
use harness::rig::{SIZE, WHOLE};
use net::units::Timestamp;
use platform::capture::{Capture, CaptureError, Captured, Waker};

/// Pictures of set times, then the end.
struct Timed(VecDeque<u64>);

struct NoWaker;

impl Waker for NoWaker {
    fn wake(&self) {}
}

impl Capture for Timed {
    fn next(&mut self, _: Duration) -> Result<Captured, CaptureError> {
        let Some(ms) = self.0.pop_front() else {
            return Err(CaptureError::Ended {
                reason: "no more".into(),
            });
        };
        Ok(Captured::Frame(Frame {
            surface: Arc::new(MemorySurface::new(SIZE, PixelFormat::Bgrx)),
            damage: WHOLE,
            captured: Timestamp::from_ns(ms * 1_000_000),
        }))
    }

    fn waker(&self) -> Arc<dyn Waker> {
        Arc::new(NoWaker)
    }
}

fn timed(ms: &[u64]) -> Box<dyn Capture> {
    Box::new(Timed(ms.iter().copied().collect()))
}

/// What the stage counts of a source at 50 Hz, and of the one at 100 Hz that follows it.
fn counted(first: &[u64], second: Option<&[u64]>) -> CounterSnapshot {
    let (frames, displaced) = bounded(1);
    let metrics = Arc::new(SessionMetrics::default());
    let (sources, next) = change::sources();
    let stage = CaptureStage {
        capture: timed(first),
        refresh: Duration::from_millis(20),
        frames,
        displaced,
        next,
        metrics: Arc::clone(&metrics),
    };
    if let Some(second) = second {
        sources.announce();
        sources.replace(timed(second), Duration::from_millis(10));
    }
    let running = std::thread::spawn(move || stage.run(&Stop::new(Arc::new(NoWaker))));
    let ended = running.join().expect("does not panic");
    assert!(ended.is_err(), "the source has ended");
    metrics.counters.snapshot()
}

#[test]
fn late_pictures_are_judder_and_those_that_nobody_drew_are_not() {
    let even = counted(&[100, 120, 160, 180], None);
    assert_eq!(
        (even.capture_intervals, even.judder()),
        (3, Some(Duration::ZERO))
    );
    // Between them a second without a picture.
    let late = counted(&[100, 123, 140, 1140, 1160], None);
    assert_eq!(late.capture_intervals, 3);
    assert_eq!(late.capture_off_us2, 2 * 3000 * 3000);
    assert_eq!(counted(&[5], None).judder(), None);
}

#[test]
fn another_mode_is_measured_by_its_own_refresh() {
    // 10 ms would be half a refresh late by the first one's.
    let both = counted(&[100, 120], Some(&[200, 210, 220, 230]));
    assert_eq!(
        (both.capture_intervals, both.judder()),
        (3, Some(Duration::ZERO))
    );
}
