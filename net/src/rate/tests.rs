//! The figures, each with the seeds it is reached with. A failure names the seed; the same seed
//! gives the same run.
//!
//! `FIGURES=1 cargo test -p net --lib rate::tests -- --nocapture` prints what was reached.

use std::time::Duration;

use super::testnet::{Losing, Net, Path, at_ms, ms};
use super::*;

const SEEDS: std::ops::Range<u64> = 1..6;

fn mbit(mbit: u64) -> BitsPerSecond {
    BitsPerSecond(mbit * 1_000_000)
}

/// Says what was reached, for `RATE.md`.
fn figure(text: std::fmt::Arguments<'_>) {
    if std::env::var_os("FIGURES").is_some() {
        println!("{text}");
    }
}

/// Bytes of a queue that takes `ms` at `mbit`.
fn queue_of(mbit: f64, ms: u64) -> u64 {
    (mbit * 125.0) as u64 * ms
}

fn one(seed: u64, path: Path) -> Net {
    let mut net = Net::new(seed, path);
    net.stream(0, Config::default());
    net
}

#[test]
fn a_start_finds_the_bottleneck_without_flooding_it() {
    for (rate, queue_bound) in [(5.0, 150), (10.0, 65), (20.0, 20), (50.0, 12), (100.0, 12)] {
        for rtt in [4, 20, 80] {
            let mut net = one(1, Path::new(rate, rtt, 400_000));
            net.run(5_000);
            let used = net.streams[0].mbit(2_000, 5_000) / rate;
            let queue = net.wait_percentile(0, 5_000, 100.0);
            figure(format_args!(
                "start {rate} Mbit/s rtt {rtt}: use after 2 s {used:.2}, longest queue {queue:.1?}"
            ));
            assert!(used >= 0.85, "{rate} Mbit/s, {rtt} ms: {used}");
            assert!(
                queue <= ms(queue_bound),
                "{rate} Mbit/s, {rtt} ms: {queue:?}"
            );
        }
    }
}

#[test]
fn a_high_floor_is_paced_gently_until_the_bottleneck_is_known() {
    let pace_mbit = |floor| {
        let config = Config {
            floor: mbit(floor),
            ..Config::default()
        };
        let mut rate = Rate::new(at_ms(0), config);
        rate.poll(at_ms(0)).pace.rate.0 / 1_000_000
    };
    // The start is 10: twice that, whatever the floor below it.
    assert_eq!(pace_mbit(1), 20);
    assert_eq!(pace_mbit(12), 20);
    // 50 Mbit/s of video with what is beside it, before a hop of 100.
    assert_eq!(pace_mbit(67), 83);
}

#[test]
fn a_step_down_drains_within_a_second_and_a_step_up_is_used_after_three() {
    for rtt in [4, 20, 80] {
        for seed in SEEDS {
            let mut path = Path::new(50.0, rtt, 1_000_000);
            path.rate = vec![(0, 50.0), (5_000, 10.0), (15_000, 50.0)];
            let mut net = one(seed, path);
            net.run(25_000);
            let queue = net.wait_percentile(6_000, 15_000, 99.0);
            let low = net.streams[0].mbit(8_000, 15_000) / 10.0;
            let high = net.streams[0].mbit(18_000, 25_000) / 50.0;
            figure(format_args!(
                "step rtt {rtt} seed {seed}: queue p99 {queue:.1?}, use {low:.2}, then {high:.2}"
            ));
            assert!(queue <= ms(30), "rtt {rtt}, seed {seed}: {queue:?}");
            assert!(
                low >= 0.85 && high >= 0.85,
                "rtt {rtt}, seed {seed}: {low} {high}"
            );
        }
    }
}

/// Frames three times as large, jitter, loss, all at once: no row of the figures, but nothing may
/// come apart.
#[test]
fn a_rough_path_is_held_too() {
    for losing in [Losing::Random(0.02), Losing::Gilbert(0.05, 8.0)] {
        for seed in 1..4 {
            let mut path = Path::new(50.0, 20, 1_000_000);
            path.rate = vec![(0, 50.0), (5_000, 10.0), (15_000, 50.0)];
            path.jitter = ms(3);
            path.losing = losing;
            let mut net = one(seed, path);
            net.streams[0].large_every = 120;
            net.run(25_000);
            let queue = net.wait_percentile(6_000, 15_000, 99.0);
            let low = net.streams[0].mbit(8_000, 15_000) / 10.0;
            let high = net.streams[0].mbit(18_000, 25_000) / 50.0;
            figure(format_args!(
                "rough seed {seed}: queue p99 {queue:.1?}, use {low:.2}, then {high:.2}"
            ));
            assert!(queue <= ms(50), "seed {seed}: {queue:?}");
            assert!(low >= 0.6 && high >= 0.7, "seed {seed}: {low} {high}");
        }
    }
}

#[test]
fn a_slower_link_is_noticed_within_a_frame_and_a_half() {
    for seed in SEEDS {
        let mut path = Path::new(50.0, 4, 1_000_000);
        path.rate = vec![(0, 50.0), (5_000, 10.0)];
        let mut net = one(seed, path);
        net.run(5_200);
        let mut history = net.streams[0].history.iter();
        let noticed = history.find(|(time, _, wire)| *time >= at_ms(5_000) && *wire < 15.0);
        let after = noticed
            .expect("a decision to send less")
            .0
            .since(at_ms(5_000));
        figure(format_args!("notice seed {seed}: {after:.1?}"));
        assert!(after <= ms(40), "seed {seed}: {after:?}");
    }
}

#[test]
fn two_sessions_share_fairly() {
    for (rate, rtt, second) in [
        (50.0, 4, 5_000),
        (50.0, 20, 5_008),
        (50.0, 80, 5_003),
        (20.0, 20, 0),
    ] {
        for seed in 1..4 {
            let mut net = one(seed, Path::new(rate, rtt, 400_000));
            net.stream(second, Config::default());
            net.run(60_000);
            let shares = [0, 1].map(|id: usize| net.streams[id].mbit(10_000, 60_000) / rate);
            let [a, b] = shares;
            let jain = (a + b).powi(2) / (2.0 * (a * a + b * b));
            let queue = net.wait_percentile(10_000, 60_000, 99.0);
            figure(format_args!(
                "two {rate} Mbit/s rtt {rtt} seed {seed}: {a:.2} + {b:.2}, Jain {jain:.3}, \
                 queue p99 {queue:.1?}"
            ));
            assert!(
                jain >= 0.9 && a + b >= 0.8,
                "rtt {rtt}, seed {seed}: {shares:?}"
            );
            assert!(queue <= ms(30), "rtt {rtt}, seed {seed}: {queue:?}");
            assert_eq!(net.drops, 0);
        }
    }
}

#[test]
fn a_bulk_flow_leaves_its_share_and_gets_one() {
    for (rate, rtt, queue_ms) in [
        (50.0, 20, 50),
        (50.0, 20, 15),
        (50.0, 4, 50),
        (100.0, 80, 50),
    ] {
        for (ours, theirs) in [(0, 5_000), (5_000, 0)] {
            let mut net = Net::new(1, Path::new(rate, rtt, queue_of(rate, queue_ms)));
            net.stream(ours, Config::default());
            net.cubic(theirs, 50_000);
            net.run(60_000);
            let share = net.streams[0].mbit(10_000, 50_000) / rate;
            let other = net.cubic_bytes as f64 * 8.0 / (50_000 - theirs) as f64 / 1e3 / rate;
            let after = net.streams[0].mbit(55_000, 60_000) / rate;
            let queue = net.wait_percentile(10_000, 50_000, 99.0);
            figure(format_args!(
                "cubic {rate} Mbit/s rtt {rtt} queue {queue_ms} ms, ours from {ours} ms: {share:.2}, \
                 theirs {other:.2}, queue p99 {queue:.1?}, alone again {after:.2}"
            ));
            assert!(share >= 0.3 && other >= 0.3, "{share} {other}");
            assert!(queue <= ms(60), "{queue:?}");
            assert!(after >= 0.85, "alone again: {after}");
        }
    }
}

#[test]
fn two_sessions_and_a_bulk_flow_all_live() {
    let mut net = one(1, Path::new(100.0, 20, queue_of(100.0, 40)));
    net.stream(2_000, Config::default());
    net.cubic(5_000, 60_000);
    net.run(60_000);
    let [a, b] = [0, 1].map(|id: usize| net.streams[id].mbit(10_000, 60_000) / 100.0);
    let other = net.cubic_bytes as f64 * 8.0 / 55_000.0 / 1e5;
    let queue = net.wait_percentile(10_000, 60_000, 99.0);
    figure(format_args!(
        "two and cubic: {a:.2}, {b:.2}, {other:.2}, queue p99 {queue:.1?}"
    ));
    assert!(a >= 0.15 && b >= 0.15 && other >= 0.15, "{a} {b} {other}");
    assert!(queue <= ms(60), "{queue:?}");
}

#[test]
fn random_loss_alone_starves_nobody() {
    for losing in [Losing::Random(0.05), Losing::Gilbert(0.05, 8.0)] {
        for rtt in [4, 80] {
            let mut path = Path::new(50.0, rtt, 400_000);
            path.losing = losing;
            let mut net = one(1, path);
            net.run(60_000);
            let used = net.streams[0].mbit(5_000, 60_000) / 50.0;
            let loss = net.streams[0].rate.signals(at_ms(60_000)).loss;
            figure(format_args!(
                "loss rtt {rtt}: use {used:.2}, share {:.3} in runs of {:.1}",
                loss.share(),
                loss.burst_mean()
            ));
            assert!(used >= 0.8, "{used}");
            assert!((0.03..0.08).contains(&loss.share()), "{loss:?}");
            let is_burst = matches!(losing, Losing::Gilbert(..));
            assert_eq!(loss.burst_mean() > 4.0, is_burst, "{loss:?}");
        }
    }
}

#[test]
fn a_policer_is_believed() {
    // A buffer of 8 datagrams: no queue ever shows, only loss.
    let mut net = one(1, Path::new(50.0, 20, 12_000));
    net.run(30_000);
    let lost = net.drops as f64 / (net.waits.len() as f64 + net.drops as f64);
    let used = net.streams[0].mbit(5_000, 30_000) / 50.0;
    figure(format_args!("policer: use {used:.2}, lost {lost:.3}"));
    assert!(used >= 0.6 && lost <= 0.3, "{used} {lost}");
}

#[test]
fn a_slow_hop_behind_a_fast_card_loses_nothing() {
    for seed in SEEDS {
        let mut net = Net::new(seed, Path::new(100.0, 4, 64_000));
        let ceiling = mbit(50);
        let stream = net.stream(
            0,
            Config {
                ceiling,
                ..Config::default()
            },
        );
        stream.large_every = 60;
        net.run(60_000);
        let used = net.streams[0].mbit(1_000, 60_000);
        let held = net.streams[0].held_back;
        figure(format_args!(
            "hop seed {seed}: {used:.1} Mbit/s, held back up to {held:.1?}"
        ));
        assert_eq!(net.drops, 0, "seed {seed}");
        assert!(used >= 45.0, "{used}");
    }
}

#[test]
fn an_outage_ends_without_a_flood() {
    for rtt in [4, 80] {
        for lasts in [200, 1_000, 3_000] {
            let mut path = Path::new(50.0, rtt, 400_000);
            path.outages = vec![(5_000, 5_000 + lasts)];
            let mut net = one(1, path);
            net.run(12_000);
            let (stream, end) = (&net.streams[0], 5_000 + lasts);
            let first = stream.frames.iter().find(|frame| frame.0 >= at_ms(end));
            let back = first.expect("a frame").0.since(at_ms(end));
            let queue = net.wait_percentile(end, 12_000, 100.0);
            let used = stream.mbit(end + 2_000, end + 3_000) / 50.0;
            figure(format_args!(
                "outage {lasts} ms rtt {rtt}: a frame after {back:.1?}, longest queue {queue:.1?}, \
                 use after 2 s {used:.2}"
            ));
            assert!(back <= ms(150) && queue <= ms(30), "{back:?} {queue:?}");
            assert!(used >= 0.85, "{used}");
            let is_long = lasts >= 1_000;
            assert_eq!(stream.was(State::Outage, 5_000, end), is_long || rtt == 4);
        }
    }
}

#[test]
fn stalls_of_a_radio_are_no_congestion() {
    for (every, lasts, least) in [
        (1_000, 60, 0.9),
        (200, 20, 0.9),
        (1_000, 150, 0.8),
        (20, 8, 0.9),
    ] {
        let mut path = Path::new(50.0, 4, 2_000_000);
        path.stall = Some((every, lasts));
        path.jitter = ms(2);
        let mut net = Net::new(1, path);
        let ceiling = mbit(30);
        net.stream(
            0,
            Config {
                ceiling,
                ..Config::default()
            },
        );
        net.run(30_000);
        let used = net.streams[0].mbit(5_000, 30_000) / 30.0;
        figure(format_args!(
            "stall {lasts} of {every} ms: {used:.2} of 30 Mbit/s"
        ));
        assert!(used >= least, "{lasts} of {every} ms: {used}");
    }
}

/// A pause of everything: what queued behind it drains, and the rate is back.
#[test]
fn a_long_stall_costs_no_rate() {
    for mbit in [10.0, 50.0] {
        for lasts in [100, 300] {
            let mut path = Path::new(mbit, 20, 2_000_000);
            path.stall = Some((10_000, lasts));
            let mut net = one(1, path);
            net.run(20_000);
            let over = 10_000 + lasts;
            let history = || net.streams[0].history.iter();
            let back = history()
                .filter(|it| it.0 >= at_ms(over) && it.0 < at_ms(19_000))
                .filter(|it| it.2 < 0.78 * mbit)
                .map(|it| it.0.since(at_ms(over)))
                .max()
                .unwrap_or_default();
            let queue = net.wait_percentile(over + 1_000, 20_000, 99.0);
            figure(format_args!(
                "stall of {lasts} ms at {mbit} Mbit/s: last below 78 % after {back:.1?}, then \
                 queue p99 {queue:.1?}"
            ));
            assert!(back <= ms(lasts + 250), "{back:?}");
            assert!(queue <= ms(30), "{queue:?}");
        }
    }
}

#[test]
fn a_longer_way_is_no_queue_for_ever() {
    let mut path = Path::new(50.0, 10, 400_000);
    path.reroute = Some((5_000, ms(35)));
    let mut net = one(1, path);
    net.run(45_000);
    let (during, after) = (
        net.streams[0].mbit(6_000, 35_000) / 50.0,
        net.streams[0].mbit(40_000, 45_000) / 50.0,
    );
    figure(format_args!(
        "30 ms longer way: {during:.2}, after half a minute {after:.2}"
    ));
    assert!(during >= 0.35 && after >= 0.85, "{during} {after}");
}

#[test]
fn a_host_that_nobody_answers_goes_quiet() {
    let mut path = Path::new(50.0, 4, 400_000);
    path.outages = vec![(0, 5_000)];
    let mut net = one(1, path);
    net.run(5_000);
    let stream = &net.streams[0];
    assert!(stream.was(State::Outage, 1_000, 1_100));
    assert!(
        stream.sent_bytes < 10_000_000 / 8 + 4 * 1_500_000 / 8,
        "{}",
        stream.sent_bytes
    );
    net.run(7_000);
    assert!(net.streams[0].mbit(6_000, 7_000) > 40.0);
}

#[test]
fn a_still_desktop_does_not_starve_the_estimate() {
    let mut path = Path::new(50.0, 20, 400_000);
    path.rate = vec![(0, 50.0), (40_000, 20.0)];
    let mut net = Net::new(1, path);
    let stream = net.stream(0, Config::default());
    stream.app = vec![
        (0, 1_000.0),
        (10_000, 0.0),
        (30_000, 1_000.0),
        (35_000, 0.0),
        (60_000, 1_000.0),
    ];
    net.run(70_000);
    let stream = &net.streams[0];
    let resumed = stream.mbit(30_000, 31_000) / 50.0;
    let probes = stream.probe_bytes as f64 * 8.0 / 45e6;
    let queue = net.wait_percentile(60_000, 61_000, 100.0);
    figure(format_args!(
        "still: {resumed:.2} in the first second after, probes {probes:.2} Mbit/s, \
         queue where the link had slowed down meanwhile {queue:.1?}"
    ));
    assert!(resumed >= 0.85, "{resumed}");
    assert!(
        probes <= 0.3 && stream.was(State::Probing, 10_000, 30_000),
        "{probes}"
    );
    assert!(queue <= ms(50), "{queue:?}");
}

#[test]
fn probes_do_not_flood_a_still_start() {
    let mut net = Net::new(1, Path::new(5.0, 20, 400_000));
    net.stream(0, Config::default()).app = vec![(0, 0.05)];
    net.run(20_000);
    let queue = net.wait_percentile(0, 20_000, 100.0);
    assert!(queue <= ms(30), "{queue:?}");
    assert!(net.streams[0].probe_bytes <= 20 * 40_000 / 2);
}

#[test]
fn bounds_are_kept_and_a_busy_decoder_gets_less() {
    let mut net = one(1, Path::new(50.0, 4, 400_000));
    net.run(3_000);
    net.streams[0].rate.set_bounds(mbit(2), mbit(20));
    net.run(5_000);
    let capped = net.streams[0].mbit(4_000, 5_000);
    assert!((18.0..21.5).contains(&capped), "{capped}");
    net.streams[0].decode_us = 20_000;
    net.run(8_000);
    let shed = net.streams[0].mbit(7_000, 8_000);
    assert!(shed < 12.0, "{shed}");
    net.streams[0].decode_us = 3_000;
    net.streams[0].rate.set_bounds(mbit(30), mbit(10));
    net.run(14_000);
    let crossed = net.streams[0].mbit(12_000, 14_000);
    assert!(
        (9.0..11.0).contains(&crossed),
        "the ceiling wins: {crossed}"
    );
}

#[test]
fn a_floor_is_kept_on_a_path_that_does_not_carry_it() {
    let mut net = Net::new(1, Path::new(3.0, 20, 100_000));
    let floor = mbit(5);
    net.stream(
        0,
        Config {
            floor,
            ..Config::default()
        },
    );
    net.run(5_000);
    let least = net.streams[0]
        .history
        .iter()
        .map(|step| step.2)
        .fold(f64::INFINITY, f64::min);
    assert!(least >= 4.999, "{least}");
}

#[test]
fn a_seed_replays() {
    let run = |seed| {
        let mut path = Path::new(50.0, 20, 200_000);
        path.losing = Losing::Gilbert(0.02, 4.0);
        path.jitter = ms(3);
        let mut net = one(seed, path);
        net.stream(1_000, Config::default());
        net.cubic(3_000, 6_000);
        net.run(8_000);
        let history = net
            .streams
            .iter()
            .flat_map(|s| s.history.iter().map(|h| h.2.to_bits()));
        (history.collect::<Vec<_>>(), net.waits)
    };
    assert!(run(7) == run(7));
    assert!(run(7) != run(8));
}

#[test]
fn lies_change_nothing_but_the_liars_stream() {
    let mut rate = Rate::new(at_ms(1), Config::default());
    let sent = Sent {
        first_sequence: 0,
        datagrams: 100,
        datagram_bytes: 1392,
        last_bytes: 1392,
        burst: 0,
        kind: SentKind::Video,
    };
    rate.handle_sent(at_ms(2), &sent);
    let times = [0, u64::MAX, 1, u64::MAX / 2, 5_000_000];
    for (i, &arrival) in times.iter().cycle().take(100).enumerate() {
        let mut feedback = Feedback {
            sent: Timestamp::from_ns(arrival),
            received: arrival,
            decode_us: u32::MAX,
            waiting_units: u8::MAX,
            ..Feedback::default()
        };
        feedback.receipts.push(crate::feedback::Receipt {
            first: i as u64,
            count: u16::MAX - 7,
            arrival: Timestamp::from_ns(arrival),
        });
        let now = at_ms(3 + i as u64);
        rate.handle_feedback(now, &feedback);
        let decision = rate.poll(now);
        assert!((1_000_000..=150_000_000).contains(&decision.wire_rate.0));
        assert!(decision.pace.rate.0 >= 1_000_000);
    }
    assert!(rate.unknown_receipts() > 0);
    // Time that stands still or turns back is no reason to panic either.
    rate.poll(at_ms(1));
    assert!(rate.poll_timeout() > Timestamp::ZERO);
    assert_eq!(Duration::ZERO, at_ms(1).since(at_ms(2)));
}

/// A picture that stands still beside somebody who fills the queue says nothing about our share.
#[test]
fn a_still_desktop_beside_a_bulk_flow_keeps_its_rate() {
    for seed in 1..4 {
        let mut net = Net::new(seed, Path::new(50.0, 20, queue_of(50.0, 50)));
        net.cubic(5_000, 40_000);
        let stream = net.stream(0, Config::default());
        stream.app = vec![(0, 1_000.0), (10_000, 1.0), (20_000, 1_000.0)];
        net.run(40_000);
        let stream = &net.streams[0];
        let at = |from: u64, to: u64| {
            let history = stream.history.iter();
            let span = at_ms(from)..at_ms(to);
            let least = history.filter(|it| span.contains(&it.0)).map(|it| it.2);
            least.fold(f64::INFINITY, f64::min)
        };
        let (still, resumed) = (at(11_000, 20_000), at(20_000, 21_000));
        let (first, later) = (stream.mbit(20_000, 21_000), stream.mbit(25_000, 40_000));
        figure(format_args!(
            "still beside cubic seed {seed}: least {still:.1} while still, {resumed:.1} after; \
             {first:.1} in the first second, {later:.1} later"
        ));
        assert!(still >= 15.0 && resumed >= 12.0, "{still} {resumed}");
        assert!(first >= 15.0 && later >= 15.0, "{first} {later}");
    }
}
