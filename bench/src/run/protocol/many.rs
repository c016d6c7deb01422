//! Several sessions at once: each with a display, an encoder and threads of its own, and a client
//! that only receives, so that what is measured is the host. After the four that the row is about,
//! more are tried until one of them gets less than its due: there this machine stops.

use std::time::{Duration, Instant};

use net::clock;
use net::limits::SESSIONS_MAX;

use super::watcher::{Watcher, latencies};
use super::{Bench, BenchError, ProtocolRun, SYNTHETIC, hd, quantile, scenario};

/// Sessions of the row.
const ROW: usize = 4;
/// How many at once, in turn.
const COUNTS: [usize; 8] = [1, 2, 3, ROW, 6, 8, 12, SESSIONS_MAX];
/// Measured, after all have their first picture and the warm-up.
const TIME: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(1);
const FIRST_FRAME: Duration = Duration::from_secs(20);
const HZ: u32 = 30;
/// Of the frames due.
const LEAST: f64 = 0.99;

/// What so many sessions got.
struct Level {
    count: usize,
    /// Frames over those due, of the one that got least.
    least: f64,
    lost: u64,
    p50_ms: f64,
    /// The worst of them.
    p99_ms: f64,
}

impl ProtocolRun {
    pub(super) fn many(&mut self) -> Result<(), BenchError> {
        let mut levels: Vec<Level> = Vec::new();
        for count in COUNTS {
            let is_beyond = levels.last().is_some_and(|it| it.least < LEAST);
            if count > ROW && is_beyond {
                break;
            }
            let level = self.level(count)?;
            self.note(format!(
                "{count} sessions of 720p{HZ}: least {:.4} of the frames due, {} lost, captured to \
                 complete p50 {:.2}, worst p99 {:.2} ms",
                level.least, level.lost, level.p50_ms, level.p99_ms
            ));
            levels.push(level);
        }
        let held = levels.iter().take_while(|it| it.least >= LEAST).last();
        let cores = crate::report::cores();
        self.note(match held {
            Some(level) => format!(
                "{} sessions at once had {LEAST} of their frames on {cores} cores{}",
                level.count,
                if level.count == COUNTS[COUNTS.len() - 1] {
                    "; more were not tried"
                } else {
                    ""
                },
            ),
            None => format!("not even one session had {LEAST} of its frames on {cores} cores"),
        });
        let find = |count| levels.iter().find(|it| it.count == count);
        if let (Some(one), Some(four)) = (find(1), find(ROW)) {
            self.figure("four_sessions_least", four.least);
            self.figure("four_sessions_p99_over_one", four.p99_ms / one.p99_ms);
        }
        Ok(())
    }

    fn level(&self, count: usize) -> Result<Level, BenchError> {
        let scenario = scenario("many", hd(HZ));
        let setup = self.bare(SYNTHETIC);
        let bench = Bench::start(&setup, &scenario)?;
        let mut watchers = Vec::new();
        for _ in 0..count {
            watchers.push(Watcher::start(
                bench.options(&scenario, bench.host.local_addr())?,
            )?);
        }
        let deadline = Instant::now() + FIRST_FRAME;
        while watchers.iter().any(|it| it.frames() == 0) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(WARM_UP);
        let from = clock::now();
        std::thread::sleep(TIME);
        let to = clock::now();
        let watched: Result<Vec<_>, _> = watchers.into_iter().map(Watcher::finish).collect();
        bench.stop();
        let watched = watched?;
        if let Some(reason) = watched.iter().find_map(|it| it.ended.as_ref()) {
            return Err(BenchError::Ended(reason.clone()));
        }
        let due = to.since(from).as_secs_f64() * f64::from(HZ);
        let mut times: Vec<Vec<f64>> = watched
            .iter()
            .map(|it| latencies(&it.frames, from, to))
            .collect();
        let least = times.iter().map(Vec::len).min().unwrap_or(0) as f64 / due;
        let p99 = times.iter_mut().map(|it| quantile(it, 0.99));
        Ok(Level {
            count,
            least,
            lost: watched.iter().map(|it| it.received.frames_lost).sum(),
            p99_ms: p99.fold(0.0, f64::max),
            p50_ms: quantile(&mut times.concat(), 0.5),
        })
    }
}
