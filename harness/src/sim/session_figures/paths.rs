//! Figures of paths that take smaller datagrams than was agreed.

use std::time::Duration;

use net::units::Timestamp;

use super::{IN_TIME, Outcome, SECOND, in_ms, ms};
use crate::sim::packet::Cause;
use crate::sim::scenario::Scenario;
use crate::sim::session::{Sessions, Setup};

/// Most that a picture stands still when the path shrinks: the round trip of 10 ms, and 60 ms.
const SHRINK_FREEZE_MAX: Duration = ms(70);

/// From 1500 to 1280 bytes after 20 s.
pub(super) fn shrinks(seed: u64) -> Outcome {
    let scenario = Scenario::mtu_change().seeded(seed);
    let sessions = Sessions::run(&scenario, &Setup::default());
    let end = Timestamp::ZERO + scenario.duration - SECOND;
    let freezes = sessions.client(0).decoder().freezes(ms(25), end);
    let longest = freezes.iter().map(|it| it.end.since(it.start)).max();
    let longest = longest.unwrap_or_default();
    let status = sessions.host(0).steering().status(end);
    let report = sessions.report(0, Duration::ZERO..scenario.duration, IN_TIME);
    let tap = &sessions.laid.network.link(sessions.laid.down).tap;
    Outcome {
        measured: format!(
            "longest freeze {:.0} ms, {} pictures not within 50 ms, {} datagrams lost, then {} \
             bytes",
            in_ms(longest.as_nanos() as u64),
            report.missed,
            tap.losses(Cause::Mtu, None),
            status.path_bytes,
        ),
        bound: format!("≤ {} ms, then 1200 bytes", SHRINK_FREEZE_MAX.as_millis()),
        held: longest <= SHRINK_FREEZE_MAX
            && (status.path_bytes, status.black_holes) == (1200, 1)
            && sessions.wrong_units() == 0,
    }
}

/// 1280 bytes from the start on.
pub(super) fn small(seed: u64) -> Outcome {
    let scenario = Scenario::mtu_small().seeded(seed);
    let sessions = Sessions::run(&scenario, &Setup::default());
    let usual = Scenario::random_loss(0, ms(10))
        .seeded(seed)
        .lasting(SECOND);
    let usual = Sessions::run(&usual, &Setup::default());
    let first = |sessions: &Sessions| {
        let shown = sessions.client(0).decoder().shown();
        shown.first().map(|it| it.at.since(Timestamp::ZERO))
    };
    let in_ms = |at: Option<Duration>| at.map_or(f64::INFINITY, |at| at.as_secs_f64() * 1e3);
    let (first, usual) = (in_ms(first(&sessions)), in_ms(first(&usual)));
    let report = sessions.report(0, Duration::ZERO..scenario.duration, IN_TIME);
    let tap = &sessions.laid.network.link(sessions.laid.down).tap;
    Outcome {
        measured: format!(
            "first picture after {first:.1} ms ({usual:.1} at 1500 bytes), {} not within 50 ms, \
             {} probes lost",
            report.missed,
            tap.losses(Cause::Mtu, None),
        ),
        bound: "the same, none".to_owned(),
        held: first <= usual && report.missed == 0 && sessions.wrong_units() == 0,
    }
}
