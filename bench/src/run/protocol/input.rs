//! Input: from the client's call to the injector's, by the real client and the real host, on a
//! display whose injector says when it was called. A session streams meanwhile.
//!
//! The ends are the moment before [`ClientInput::try_send`] is called and the moment that the
//! injector is called with that event; between lie the client's receive thread, QUIC with its
//! cipher, loopback, the host's control thread and its input thread.
//!
//! [`ClientInput::try_send`]: net::client::ClientInput::try_send

use std::time::Duration;

use net::clock;
use net::input::{InputEvent, KeyEvent, Modifiers};
use net::units::Timestamp;
use platform::inject::synthetic;

use super::watcher::Watcher;
use super::{Bench, BenchError, ProtocolRun, SYNTHETIC, hd, quantile, scenario};

/// Calls, and those before them that are left out.
const CALLS: u32 = 2000;
const WARM_UP_CALLS: u32 = 100;
/// Between two calls, and a little more each time, so that they do not keep step with pictures.
const PAUSE: Duration = Duration::from_micros(2500);
const STAGGER: Duration = Duration::from_micros(170);
/// For the last of them.
const PATIENCE: Duration = Duration::from_secs(2);
/// Keys A to P, pressed and lifted in turn.
const FIRST_KEY: u8 = 0x41;
const KEYS: u32 = 16;

impl ProtocolRun {
    pub(super) fn input(&mut self) -> Result<(), BenchError> {
        let scenario = scenario("input", hd(30));
        let bench = Bench::start(&self.bare(SYNTHETIC), &scenario)?;
        let taken = synthetic::listen(2 * (CALLS + WARM_UP_CALLS) as usize);
        let watcher = Watcher::start(bench.options(&scenario, bench.host.local_addr())?)?;
        while watcher.frames() == 0 {
            std::thread::sleep(PAUSE);
        }
        let mut calls: Vec<(Timestamp, InputEvent)> = Vec::new();
        for call in 0..CALLS + WARM_UP_CALLS {
            let event = key(call);
            let now = clock::now();
            if watcher.input().send(event) {
                calls.push((now, event));
            }
            std::thread::sleep(PAUSE + STAGGER * (call % 16));
        }
        let mut arrivals = Vec::new();
        while arrivals.len() < calls.len()
            && let Ok(arrival) = taken.recv_timeout(PATIENCE)
        {
            arrivals.push(arrival);
        }
        let watched = watcher.finish();
        bench.stop();
        let watched = watched?;
        let in_order = calls.iter().zip(&arrivals);
        let mut times: Vec<f64> = in_order
            .filter(|((_, sent), (_, arrived))| sent == arrived)
            .skip(WARM_UP_CALLS as usize)
            .map(|((at, _), (arrived, _))| arrived.since(*at).as_secs_f64() * 1e3)
            .collect();
        let lost = (CALLS as usize).saturating_sub(times.len());
        let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
        self.figure("input_p50_ms", p50);
        self.figure("input_p99_ms", p99);
        self.figure("input_lost", lost as f64);
        self.note(format!(
            "input: {} keys over {:.0} s beside 720p30 ({} frames): p50 {p50:.3}, p99 {p99:.3}, \
             max {:.3} ms",
            times.len(),
            (PAUSE + STAGGER * 8).as_secs_f64() * f64::from(CALLS),
            watched.received.frames,
            quantile(&mut times, 1.0),
        ));
        Ok(())
    }
}

/// Each differs from those around it, and none is merged with another.
fn key(call: u32) -> InputEvent {
    let key = u8::try_from(call / 2 % KEYS).expect("below the keys");
    InputEvent::Key(KeyEvent {
        virtual_key: FIRST_KEY + key,
        pressed: call.is_multiple_of(2),
        modifiers: Modifiers::default(),
        is_layout_dependent: false,
    })
}
