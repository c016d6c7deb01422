//! Figures of paths that take smaller datagrams than was agreed, and of frames that nothing
//! follows.

use std::time::Duration;

use net::units::Timestamp;

use super::{IN_TIME, Outcome, SECOND, in_ms, ms};
use crate::sim::encoder::{Content, Synthetic};
use crate::sim::packet::Cause;
use crate::sim::scenario::Scenario;
use crate::sim::session::{Sessions, Setup};

/// Most that a picture stands still when the path shrinks: the round trip of 10 ms, and 60 ms.
const SHRINK_FREEZE_MAX: Duration = ms(70);
/// A desktop that moves for the first and stands still for the second.
const PAUSES: (Duration, Duration) = (ms(100), ms(400));
const STILL_LASTS: Duration = Duration::from_secs(600);

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

/// 5 % of random loss both ways; of each half second of stillness the frame before it.
pub(super) fn before_stillness(round_trip_ms: u64, seed: u64) -> Outcome {
    let round_trip = ms(round_trip_ms);
    let scenario = Scenario::random_loss(5, round_trip)
        .seeded(seed)
        .lasting(STILL_LASTS);
    let content = |tail| Setup {
        content: Content::Synthetic(Synthetic {
            pauses: Some(PAUSES),
            ..Synthetic::GAME
        }),
        tail,
        ..Setup::default()
    };
    let limit = round_trip / 2 + 3 * round_trip + ms(20);
    let late = |sessions: &Sessions| {
        let host = sessions.host(0);
        let captured = host.encoder().captured();
        let whole = sessions.client(0).completed();
        let last = captured.windows(2).enumerate();
        let last = last.filter(|(_, pair)| pair[1].since(pair[0]) > PAUSES.1 / 2);
        let (mut count, mut late, mut longest) = (0, 0, Duration::ZERO);
        for (number, _) in last {
            let at = whole.iter().find(|it| it.frame.0 as usize == number);
            let after = at.map(|it| it.at.since(host.encoded()[number]));
            count += 1;
            late += usize::from(after.is_none_or(|after| after > limit));
            longest = longest.max(after.unwrap_or(PAUSES.1));
        }
        (count, late, in_ms(longest.as_nanos() as u64))
    };
    let sessions = Sessions::run(&scenario, &content(true));
    let (count, missed, longest) = late(&sessions);
    let (_, without, longest_without) = late(&Sessions::run(&scenario, &content(false)));
    let host = sessions.host(0);
    let probes = host
        .steering()
        .status(sessions.laid.network.now())
        .tail_probes;
    Outcome {
        measured: format!(
            "{missed} of {count} last frames not whole in time, longest {longest:.0} ms, \
             {probes} tail probes; without them: {without}, {longest_without:.0} ms"
        ),
        bound: format!(
            "≤ 0.3 % later than {} ms after the encoder",
            limit.as_millis()
        ),
        held: missed as f64 <= count as f64 * 0.003 && sessions.wrong_units() == 0,
    }
}
