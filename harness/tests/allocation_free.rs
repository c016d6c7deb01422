//! Once a session streams, its four data-plane threads and that of its sound allocate nothing: a
//! real host, real encoders and sockets, and an allocator that counts. What a capture allocates in
//! asking for the next picture is counted apart, and nowhere else.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bench::alloc::CountingAllocator;
use crossbeam::channel::bounded;
use engine::metrics::{CounterSnapshot, SessionMetrics};
use engine::pipeline::Stop;
use engine::stage::StageFault;
use engine::stage::capture::CaptureStage;
use engine::stage::change::NextSource;
use gpu::frame::{Frame, MemorySurface, PixelFormat};
use harness::facts::eventually;
use harness::loopback::{LoopbackClient, LoopbackHost, encoders, hello};
use harness::rig::{SIZE, WHOLE};
use net::client::Trust;
use net::clock;
use net::native::{Features, Hello};
use platform::capture::{Capture, CaptureError, Captured, Waker};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Buffers have found their sizes by then.
const WARM_UP: u64 = 120;
const COUNTED: u64 = 200;

#[test]
fn streaming_allocates_nothing() {
    engine::metrics::set_allocation_probe(bench::alloc::thread_allocations);
    for encoder in encoders() {
        for fec in ["0", "20", "100"] {
            let (from, to) = stream(encoder, fec);
            let counted = to.since(&from);
            assert!(
                from.capture_allocations > 0,
                "{encoder}: the allocator counts"
            );
            let what = format!(
                "{encoder}, {fec} % parity, over {} pictures",
                counted.encoded
            );
            assert_eq!(counted.capture_allocations, 0, "capture: {what}");
            assert_eq!(counted.ask_allocations, 0, "asking: {what}");
            assert_eq!(counted.encode_allocations, 0, "encode: {what}");
            assert_eq!(counted.protect_allocations, 0, "protect: {what}");
            assert_eq!(counted.send_allocations, 0, "send: {what}");
            assert_eq!(counted.audio_allocations, 0, "sound: {what}");
            assert!(counted.audio_packets > 0, "no sound: {what}");
        }
    }
}

/// The counters of a session after its warm-up, and so many pictures later.
fn stream(encoder: &'static str, fec: &'static str) -> (CounterSnapshot, CounterSnapshot) {
    let settings = [("fec", fec), ("encoder", encoder), ("audio", "synthetic")];
    let host = LoopbackHost::synthetic(&settings);
    let hello = Hello {
        optional: Features::AUDIO,
        ..hello("320x240@240")
    };
    let mut client =
        LoopbackClient::with(host.address(), Trust::FirstUse, hello).expect("a session");
    eventually("the host lists the session", || !host.sessions().is_empty());
    let metrics = Arc::clone(&host.sessions()[0].metrics);
    let mut after = |pictures: u64| {
        // By the host's count: on a busy machine not every picture reaches the client.
        while metrics.counters.snapshot().encoded < pictures {
            client.watch(1, |_, _| {});
        }
        metrics.counters.snapshot()
    };
    let from = after(WARM_UP);
    let to = after(from.encoded + COUNTED);
    (from, to)
}

/// A capture that allocates as told: so often in asking, so often in taking a picture.
struct Allocating {
    in_asking: u64,
    in_taking: u64,
    surface: Arc<MemorySurface>,
    left: u64,
}

struct NoWaker;

impl Waker for NoWaker {
    fn wake(&self) {}
}

fn allocate(times: u64) {
    (0..times).for_each(|number| drop(black_box(Box::new(number))));
}

impl Capture for Allocating {
    fn ask(&mut self) -> Result<(), CaptureError> {
        allocate(self.in_asking);
        Ok(())
    }

    fn next(&mut self, _: Duration) -> Result<Captured, CaptureError> {
        if self.left == 0 {
            let reason = String::new();
            return Err(CaptureError::Ended { reason });
        }
        self.left -= 1;
        allocate(self.in_taking);
        Ok(Captured::Frame(Frame {
            surface: self.surface.clone(),
            damage: WHOLE,
            captured: clock::now(),
        }))
    }

    fn waker(&self) -> Arc<dyn Waker> {
        Arc::new(NoWaker)
    }
}

/// What the capture stage books for so many pictures, on a thread of its own.
fn booked(in_asking: u64, in_taking: u64, pictures: u64) -> CounterSnapshot {
    let (frames, displaced) = bounded(1);
    let metrics = Arc::new(SessionMetrics::default());
    let stage = CaptureStage {
        capture: Box::new(Allocating {
            in_asking,
            in_taking,
            surface: Arc::new(MemorySurface::new(SIZE, PixelFormat::Bgrx)),
            left: pictures,
        }),
        refresh: Duration::from_millis(16),
        frames,
        displaced,
        next: NextSource::never(),
        metrics: Arc::clone(&metrics),
    };
    let ended = std::thread::spawn(move || stage.run(&Stop::new(Arc::new(NoWaker)))).join();
    assert!(matches!(
        ended.expect("does not panic"),
        Err(StageFault::Capture(_))
    ));
    metrics.counters.snapshot()
}

#[test]
fn asking_for_the_next_picture_is_counted_apart_and_nothing_is_lost() {
    engine::metrics::set_allocation_probe(bench::alloc::thread_allocations);
    const PICTURES: u64 = 50;
    // What the thread itself allocates at its start.
    let none = booked(0, 0, PICTURES);
    assert_eq!((none.captured, none.ask_allocations), (PICTURES, 0));

    let asking = booked(1, 0, PICTURES);
    // It asks once more than it gets a picture.
    assert_eq!(asking.ask_allocations, PICTURES + 1);
    assert_eq!(asking.capture_allocations, none.capture_allocations);

    let taking = booked(0, 3, PICTURES);
    assert_eq!(taking.ask_allocations, 0);
    let more = taking.capture_allocations - none.capture_allocations;
    assert_eq!(more, 3 * PICTURES);
}
