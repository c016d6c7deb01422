//! The pointer's place: from the call of the injector that moves it to the client's knowing, by the
//! real host and the real client, on a display that tells of its pointer. A session streams
//! meanwhile.
//!
//! The ends are the moment that the injector is called with a position and the moment that the
//! client's receive thread hands out a cursor at that position; between lie the host's cursor
//! thread, its control thread, QUIC with its cipher, and loopback.

use std::time::Duration;

use net::clock;
use net::input::{InputEvent, Position};
use net::native::Features;
use net::units::Timestamp;
use platform::inject::synthetic;

use super::watcher::Watcher;
use super::{Bench, BenchError, ProtocolRun, SYNTHETIC, hd, quantile, scenario};

/// Moves, and those before them that are left out.
const MOVES: u32 = 1000;
const WARM_UP_MOVES: u32 = 50;
/// Between two of them, and a little more each time, so that they do not keep step with pictures.
const PAUSE: Duration = Duration::from_micros(4500);
const STAGGER: Duration = Duration::from_micros(170);
/// For one of them to arrive.
const PATIENCE: Duration = Duration::from_millis(500);

impl ProtocolRun {
    pub(super) fn cursor(&mut self) -> Result<(), BenchError> {
        let scenario = scenario("cursor", hd(30));
        let bench = Bench::start(&self.bare(SYNTHETIC), &scenario)?;
        let taken = synthetic::listen(2 * (MOVES + WARM_UP_MOVES) as usize);
        let mut options = bench.options(&scenario, bench.host.local_addr())?;
        options.hello.optional = options.hello.optional.union(Features::CURSOR);
        let watcher = Watcher::start(options)?;
        while watcher.frames() == 0 {
            std::thread::sleep(PAUSE);
        }
        let mut arrivals = Vec::new();
        for number in 0..MOVES + WARM_UP_MOVES {
            let (x, y) = place(number);
            let share = |at: i32, side: i32| at as f32 / side as f32;
            let (x_share, y_share) = (share(x, 1280), share(y, 720));
            let at = Position {
                x: x_share,
                y: y_share,
            };
            if watcher.input().send(InputEvent::PointerPosition(at)) {
                arrivals.push(await_place(&watcher, (x, y)));
            }
            std::thread::sleep(PAUSE + STAGGER * (number % 16));
        }
        let watched = watcher.finish();
        bench.stop();
        let received = watched?.received;
        let moved = taken.try_iter().filter_map(|(at, event)| match event {
            InputEvent::PointerPosition(_) => Some(at),
            _ => None,
        });
        let mut times: Vec<f64> = moved
            .zip(&arrivals)
            .skip(WARM_UP_MOVES as usize)
            .filter_map(|(moved, arrived)| Some(arrived.as_ref()?.since(moved).as_secs_f64() * 1e3))
            .collect();
        let lost = (MOVES as usize).saturating_sub(times.len());
        let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
        self.figure("cursor_p50_ms", p50);
        self.figure("cursor_p99_ms", p99);
        self.figure("cursor_lost", lost as f64);
        self.note(format!(
            "cursor: {} moves beside 720p30 ({} frames): p50 {p50:.3}, p99 {p99:.3}, max {:.3} ms; \
             {} repaired by the stream",
            times.len(),
            received.frames,
            quantile(&mut times, 1.0),
            received.cursor_repaired,
        ));
        Ok(())
    }
}

/// When the client heard that the pointer is there.
fn await_place(watcher: &Watcher, place: (i32, i32)) -> Option<Timestamp> {
    let until = clock::now() + PATIENCE;
    loop {
        let left = until.since(clock::now());
        let cursor = watcher.cursors().recv_timeout(left).ok()?;
        let pointer = cursor.seen.pointer;
        if (pointer.x, pointer.y) == place {
            return Some(cursor.received);
        }
    }
}

/// Each differs from those around it.
fn place(number: u32) -> (i32, i32) {
    let number = i32::try_from(number).expect("thousands");
    (100 + number * 7 % 1000, 100 + number * 3 % 500)
}
