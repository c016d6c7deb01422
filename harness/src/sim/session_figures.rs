//! The figures that are published: each a scenario, what is measured of it, and the bound that
//! it is held against.

mod moonlight;
mod paths;

use std::num::NonZeroU8;
use std::time::Duration;

use net::packetize::Protection;
use net::units::{BitsPerSecond, SliceCount, Timestamp};

use super::audio::AudioPlane;
use super::encoder::{Content, Synthetic};
use super::host::Parity;
use super::scenario::{STALL_BEGIN, Scenario};
use super::session::{Report, Sessions, Setup};
use super::session_fuzz;
use super::tap::jain;

const SECOND: Duration = Duration::from_secs(1);
/// What a picture may take from capture to screen, beyond the one-way delay of a long path.
const IN_TIME: Duration = Duration::from_millis(50);
/// The first pictures find a path that nothing is known of.
const WARM_UP: Duration = SECOND;
const FAR_LASTS: Duration = Duration::from_secs(300);
/// How long a rate must last to be there again.
const STAYS: Duration = Duration::from_millis(100);
/// Queue after a stall, p99 from its second second on; as after a rate step. 25.2 ms at most on 16
/// seeds.
const QUEUE_AFTER_STALL_MS: f64 = 30.0;
/// What is shown beside a row is shorter.
const BESIDE_LASTS: Duration = Duration::from_secs(30);

/// What a row of the figures came to.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name, for `--scenario`.
    pub name: &'static str,
    /// Seed of the run.
    pub seed: u64,
    /// What was measured.
    pub measured: String,
    /// What it must be.
    pub bound: String,
    /// It is.
    pub held: bool,
}

/// A row that can be run.
#[derive(Clone, Copy)]
pub struct Figure {
    /// Its name.
    pub name: &'static str,
    run: fn(u64) -> Outcome,
}

struct Outcome {
    measured: String,
    bound: String,
    held: bool,
}

/// All of them, in the order in which they are published.
pub const FIGURES: &[Figure] = &[
    Figure {
        name: "loss-1-rtt-4",
        run: |seed| near_loss(1, 0.0, seed),
    },
    Figure {
        name: "loss-2-rtt-4",
        run: |seed| near_loss(2, 0.0005, seed),
    },
    Figure {
        name: "loss-5-rtt-4",
        run: |seed| near_loss(5, 0.005, seed),
    },
    Figure {
        name: "loss-1-rtt-80",
        run: |seed| far_loss(1, seed),
    },
    Figure {
        name: "loss-2-rtt-80",
        run: |seed| far_loss(2, seed),
    },
    Figure {
        name: "loss-5-rtt-80",
        run: |seed| far_loss(5, seed),
    },
    Figure {
        name: "bursts-5-of-8-rtt-4",
        run: bursts,
    },
    Figure {
        name: "rate-step",
        run: rate_step,
    },
    Figure {
        name: "stall-100",
        run: |seed| stall(ms(100), 400.0, seed),
    },
    Figure {
        name: "stall-300",
        run: |seed| stall(ms(300), 500.0, seed),
    },
    Figure {
        name: "stall-600",
        run: |seed| stall(ms(600), 1000.0, seed),
    },
    Figure {
        name: "two-sessions",
        run: |seed| shared(&Scenario::two_sessions().seeded(seed)),
    },
    Figure {
        name: "two-small-sessions",
        run: |seed| shared(&Scenario::two_small_sessions(ms(seed % 17)).seeded(seed)),
    },
    Figure {
        name: "against-cubic",
        run: against_cubic,
    },
    Figure {
        name: "fast-nic",
        run: fast_nic,
    },
    Figure {
        name: "outage",
        run: outage,
    },
    Figure {
        name: "mtu-change",
        run: paths::shrinks,
    },
    Figure {
        name: "mtu-1280",
        run: paths::small,
    },
    Figure {
        name: "moonlight-loss-2",
        run: moonlight::loss_2,
    },
    Figure {
        name: "moonlight-loss-5",
        run: moonlight::loss_5,
    },
    Figure {
        name: "moonlight-bursts-5",
        run: moonlight::bursts_5,
    },
    Figure {
        name: "moonlight-slow-hop",
        run: moonlight::slow_hop,
    },
    Figure {
        name: "moonlight-narrow",
        run: moonlight::narrow,
    },
    Figure {
        name: "audio-native",
        run: |seed| audio(AudioPlane::Native, 0.001, seed),
    },
    Figure {
        name: "audio-gamestream",
        run: |seed| audio(AudioPlane::GameStream, 0.0015, seed),
    },
    Figure {
        name: "packets",
        run: |seed| packets(1_000_000, seed),
    },
];

impl Figure {
    /// Runs it.
    #[must_use]
    pub fn run(&self, seed: u64) -> Row {
        let Outcome {
            measured,
            bound,
            held,
        } = (self.run)(seed);
        Row {
            name: self.name,
            seed,
            measured,
            bound,
            held,
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        FIGURES.iter().find(|figure| figure.name == name)
    }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn in_ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

fn near_loss(percent: u64, missed_max: f64, seed: u64) -> Outcome {
    let overhead_max = 0.016 * percent as f64 + 0.05;
    let per_slice = Setup {
        parity: Parity::Fixed(Protection {
            percent: 1,
            shards_base: 0,
            shards_min: 1,
            slices_per_group: NonZeroU8::MIN,
        }),
        ..Setup::default()
    };
    let scenario = Scenario::random_loss(percent, ms(4)).seeded(seed);
    loss(
        &scenario,
        IN_TIME,
        (missed_max, overhead_max),
        ("parity per slice", per_slice),
    )
}

fn far_loss(percent: u64, seed: u64) -> Outcome {
    let (limit, overhead_max) = (IN_TIME + ms(40), 0.03 * percent as f64 + 0.12);
    let one_slice = Setup {
        content: Content::Synthetic(Synthetic {
            slices: SliceCount::ONE,
            ..Synthetic::GAME
        }),
        ..Setup::default()
    };
    // One loss hides six pictures: a minute has too few losses to count.
    let scenario = Scenario::random_loss(percent, ms(80))
        .seeded(seed)
        .lasting(FAR_LASTS);
    loss(
        &scenario,
        limit,
        (0.002, overhead_max),
        ("one slice a frame", one_slice),
    )
}

/// `bound`: most not shown, most overhead. `beside`: another setup that is shown beside it.
fn loss(
    scenario: &Scenario,
    limit: Duration,
    (missed_max, overhead_max): (f64, f64),
    (beside, setup): (&str, Setup),
) -> Outcome {
    let sessions = Sessions::run(scenario, &Setup::default());
    let report = sessions.report(0, WARM_UP..scenario.duration, limit);
    let brief = scenario.clone().lasting(BESIDE_LASTS);
    let other = Sessions::run(&brief, &setup).report(0, WARM_UP..BESIDE_LASTS, limit);
    let added = |report: &Report| in_ms(report.added_ns.permille(990));
    Outcome {
        measured: format!(
            "{:.3} % of {} not shown within {} ms, overhead {:.1} %, last byte +{:.1} ms p99; \
             {beside}: {:.3} %, {:.1} %, +{:.1} ms",
            report.share_missed() * 100.0,
            report.frames,
            limit.as_millis(),
            report.overhead * 100.0,
            added(&report),
            other.share_missed() * 100.0,
            other.overhead * 100.0,
            added(&other),
        ),
        bound: format!(
            "≤ {} %, overhead ≤ {:.1} %",
            missed_max * 100.0,
            overhead_max * 100.0
        ),
        held: report.share_missed() <= missed_max
            && report.overhead <= overhead_max
            && sessions.wrong_units() == 0,
    }
}

fn bursts(seed: u64) -> Outcome {
    let scenario = Scenario::bursts(5, 8, ms(4)).seeded(seed);
    let sessions = Sessions::run(&scenario, &Setup::default());
    let end = Timestamp::ZERO + scenario.duration - SECOND;
    let freezes = sessions.client(0).decoder().freezes(ms(100), end);
    let longest = freezes.iter().map(|it| it.end.since(it.start)).max();
    let report = sessions.report(0, WARM_UP..scenario.duration, IN_TIME);
    Outcome {
        measured: format!(
            "{} freezes over 100 ms in 10 minutes (longest {} ms), {:.3} % not within 50 ms, \
             overhead {:.1} %",
            freezes.len(),
            longest.unwrap_or_default().as_millis(),
            report.share_missed() * 100.0,
            report.overhead * 100.0,
        ),
        bound: "no freeze over 100 ms".to_owned(),
        held: freezes.is_empty() && sessions.wrong_units() == 0,
    }
}

fn rate_step(seed: u64) -> Outcome {
    let scenario = Scenario::rate_step().seeded(seed);
    let sessions = Sessions::run(&scenario, &Setup::default());
    let tap = &sessions.laid.network.link(sessions.laid.down).tap;
    let settled = [21 * SECOND..40 * SECOND, 41 * SECOND..60 * SECOND];
    let queues = settled.map(|span| in_ms(tap.queue_delay_ns(span, None).permille(990)));
    let late = [23 * SECOND..40 * SECOND, 43 * SECOND..60 * SECOND];
    let used = late.map(|span| tap.utilisation(span, &scenario.rate) * 100.0);
    Outcome {
        measured: format!(
            "queue p99 {:.1} / {:.1} ms, use {:.0} / {:.0} % (down, up)",
            queues[0], queues[1], used[0], used[1]
        ),
        bound: "≤ 30 ms, ≥ 85 %".to_owned(),
        held: queues.iter().all(|it| *it <= 30.0) && used.iter().all(|it| *it >= 85.0),
    }
}

/// `bound_ms`: most until 85 % of the rate before is allowed again, from the end of the stall on,
/// and stays so for [`STAYS`].
fn stall(lasts: Duration, bound_ms: f64, seed: u64) -> Outcome {
    let scenario = Scenario::stall(lasts).seeded(seed);
    let mut sessions = Sessions::begin(&scenario, &Setup::default());
    let end = STALL_BEGIN + lasts;
    let mut rates = Vec::new();
    let mut at = STALL_BEGIN - SECOND;
    while at < scenario.duration {
        sessions.run_until(at);
        let status = sessions.host(0).steering().status(Timestamp::ZERO + at);
        rates.push((at, status.wire_rate.0 as f64));
        at += ms(5);
    }
    sessions.run_until(scenario.duration);
    let before: Vec<f64> = rates
        .iter()
        .filter(|it| it.0 < STALL_BEGIN)
        .map(|it| it.1)
        .collect();
    let before = before.iter().sum::<f64>() / before.len() as f64;
    let after: Vec<_> = rates.iter().filter(|it| it.0 >= end).collect();
    let stays = (STAYS.as_millis() / 5) as usize;
    let back = after
        .windows(stays)
        .find(|span| span.iter().all(|it| it.1 >= 0.85 * before));
    let back_ms = back.map_or(f64::INFINITY, |span| (span[0].0 - end).as_secs_f64() * 1e3);
    let least = after.iter().map(|it| it.1).fold(f64::INFINITY, f64::min);
    let tap = &sessions.laid.network.link(sessions.laid.down).tap;
    let settled = end + SECOND..scenario.duration;
    let queue = in_ms(tap.queue_delay_ns(settled.clone(), None).permille(990));
    let used = tap.utilisation(settled, &scenario.rate) * 100.0;
    Outcome {
        measured: format!(
            "85 % of {:.0} Mbit/s after {back_ms:.0} ms, least {:.1} Mbit/s, after 1 s queue p99 \
             {queue:.1} ms, use {used:.0} %",
            before / 1e6,
            least / 1e6,
        ),
        bound: format!("≤ {bound_ms} ms, ≤ {QUEUE_AFTER_STALL_MS} ms, ≥ 85 %"),
        held: back_ms <= bound_ms && queue <= QUEUE_AFTER_STALL_MS && used >= 85.0,
    }
}

/// How two sessions share a link, once the second has been there for 10 s.
fn shared(scenario: &Scenario) -> Outcome {
    let sessions = Sessions::run(scenario, &Setup::default());
    let tap = &sessions.laid.network.link(sessions.laid.down).tap;
    let span = 20 * SECOND..60 * SECOND;
    let flow = |index: usize| Some(sessions.laid.pairs[index].0.host);
    let shares = [0, 1].map(|index| tap.bytes(span.clone(), flow(index)));
    let index = jain(&shares);
    let seconds = (span.end - span.start).as_secs_f64();
    let mbit = shares.map(|bytes| bytes as f64 * 8e-6 / seconds);
    let rate = scenario.rate.at(Timestamp::ZERO).0 as f64 * 1e-6;
    let queue = in_ms(tap.queue_delay_ns(span, None).permille(990));
    Outcome {
        measured: format!(
            "Jain {index:.3} ({:.1} and {:.1} Mbit/s of {rate}), queue p99 {queue:.1} ms",
            mbit[0], mbit[1]
        ),
        bound: "≥ 0.9".to_owned(),
        held: index >= 0.9,
    }
}

fn against_cubic(seed: u64) -> Outcome {
    let scenario = Scenario::against_cubic().seeded(seed);
    let sessions = Sessions::run(&scenario, &Setup::default());
    let tap = &sessions.laid.network.link(sessions.laid.down).tap;
    let span = 20 * SECOND..60 * SECOND;
    let own = tap.bytes(span.clone(), Some(sessions.laid.pairs[0].0.host));
    let rate = BitsPerSecond(40_000_000);
    let share = own as f64 * 8.0 / (rate.0 as f64 * 40.0);
    let queue = in_ms(tap.queue_delay_ns(span.clone(), None).permille(990));
    let report = sessions.report(0, span, ms(150));
    Outcome {
        measured: format!(
            "{:.0} % of the link, queue p99 {queue:.1} ms, {:.2} % not within 150 ms",
            share * 100.0,
            report.share_missed() * 100.0
        ),
        bound: "≥ 30 %, ≤ 60 ms (the queue holds 60)".to_owned(),
        held: share >= 0.3 && queue <= 60.5,
    }
}

fn fast_nic(seed: u64) -> Outcome {
    let scenario = Scenario::fast_nic().seeded(seed);
    let sessions = Sessions::run(&scenario, &Setup::default());
    let tap = &sessions.laid.network.link(sessions.laid.down).tap;
    let lost = tap.lost().len();
    let report = sessions.report(0, WARM_UP..scenario.duration, IN_TIME);
    Outcome {
        measured: format!(
            "{lost} datagrams lost, {:.3} % not within 50 ms",
            report.share_missed() * 100.0
        ),
        bound: "no loss".to_owned(),
        held: lost == 0,
    }
}

fn outage(seed: u64) -> Outcome {
    let scenario = Scenario::outage().seeded(seed);
    let sessions = Sessions::run(&scenario, &Setup::default());
    let over = Timestamp::ZERO + 21 * SECOND;
    let shown = sessions.client(0).decoder().shown();
    let back = shown.iter().find(|it| it.at > over);
    let back_ms = back.map_or(f64::INFINITY, |it| {
        in_ms(it.at.since(over).as_nanos() as u64)
    });
    let tap = &sessions.laid.network.link(sessions.laid.down).tap;
    let queue = in_ms(tap.queue_delay_ns(21 * SECOND..23 * SECOND, None).max());
    let used = tap.bytes(21 * SECOND..22 * SECOND, None) * 8;
    Outcome {
        measured: format!(
            "picture back after {back_ms:.0} ms, queue at most {queue:.1} ms, {:.1} Mbit in the \
             second after",
            used as f64 / 1e6
        ),
        bound: "≤ 150 ms, queue ≤ 30 ms".to_owned(),
        held: back_ms <= 150.0 && queue <= 30.0,
    }
}

fn audio(plane: AudioPlane, concealed_max: f64, seed: u64) -> Outcome {
    let scenario = Scenario::audio().seeded(seed);
    let setup = Setup {
        audio: plane,
        ..Setup::default()
    };
    let sessions = Sessions::run(&scenario, &setup);
    let (host, client) = sessions.audio(0);
    let heard = client.heard();
    Outcome {
        measured: format!(
            "{:.3} % of {} concealed, overhead {:.0} %, delay {} ms",
            heard.share_concealed() * 100.0,
            heard.played + heard.concealed,
            host.overhead() * 100.0,
            client.delay().as_millis()
        ),
        bound: format!("≤ {} %", concealed_max * 100.0),
        held: heard.share_concealed() <= concealed_max && heard.wrong == 0 && heard.played > 0,
    }
}

fn packets(count: u64, seed: u64) -> Outcome {
    let result = session_fuzz::run(count, seed);
    Outcome {
        measured: format!(
            "{} datagrams: {} frames, {} lost, {} MB of memory stated",
            result.datagrams,
            result.frames,
            result.lost,
            result.memory_bytes >> 20
        ),
        bound: "no panic, no wrong byte, order kept".to_owned(),
        held: result.wrong == 0 && result.out_of_order == 0,
    }
}
