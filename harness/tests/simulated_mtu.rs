//! Sessions on paths that take less than was agreed, from the start on or from some time on, in
//! virtual time: how long the picture stands still, and with which size the session goes on.

use std::time::Duration;

use harness::sim::encoder::{Content, Synthetic};
use harness::sim::packet::Cause;
use harness::sim::rng::Chance;
use harness::sim::scenario::{Part, Scenario};
use harness::sim::schedule::Steps;
use harness::sim::session::{Sessions, Setup};
use net::steering::SteeringStatus;
use net::units::{SliceCount, Timestamp};

const SECOND: Duration = Duration::from_secs(1);
/// When the path of these tests changes.
const CHANGE: Duration = Duration::from_secs(4);
/// What a path of 1280 bytes takes over IPv4 is 1252, of which whole steps make this.
const SIZE_OF_1280: usize = 1200;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A session of 20 Mbit/s at 60 Hz towards a client behind `mtu`.
fn scenario(round_trip: Duration, mtu: Steps<usize>, loss: u64, seed: u64) -> Scenario {
    let mut scenario = Scenario::mtu_change().seeded(seed).lasting(3 * CHANGE);
    let delays = scenario.down.iter_mut().chain(scenario.up.iter_mut());
    for part in delays {
        match part {
            Part::Delay(by) => *by = round_trip / 2,
            Part::Mtu(now) => *now = mtu.clone(),
            _ => {}
        }
    }
    for way in [&mut scenario.down, &mut scenario.up] {
        way.push(Part::Loss(Chance::percent(loss)));
    }
    scenario
}

fn setup(slices: u8) -> Setup {
    Setup {
        content: Content::Synthetic(Synthetic {
            slices: SliceCount::new(slices).expect("at most 32"),
            ..Synthetic::GAME
        }),
        ..Setup::default()
    }
}

fn status(sessions: &Sessions) -> SteeringStatus {
    let steering = sessions.host(0).steering();
    steering.status(sessions.laid.network.now())
}

/// The longest time without a new picture.
fn longest_freeze(sessions: &Sessions) -> Duration {
    let end = sessions.laid.network.now();
    let freezes = sessions.client(0).decoder().freezes(ms(25), end);
    let freezes = freezes.iter().map(|it| it.end.since(it.start));
    freezes.max().unwrap_or_default()
}

fn lost_to_mtu(sessions: &Sessions) -> usize {
    let tap = &sessions.laid.network.link(sessions.laid.down).tap;
    tap.losses(Cause::Mtu, None)
}

/// The picture stands still for a round trip and 80 ms at most where pictures have eight slices,
/// whose ends are small datagrams; and for a round trip and 110 ms where they have one, as it takes
/// more pictures to see that small ones pass. A recovery mends it.
#[test]
fn a_path_that_shrinks_stops_the_picture_for_a_few_frames() {
    for round_trip in [4, 20, 80] {
        for (slices, most) in [(8, 80), (1, 110)] {
            for seed in 1..=3 {
                let mtu = Steps::constant(1500).then(CHANGE, 1280);
                let scenario = scenario(ms(round_trip), mtu, 0, seed);
                let sessions = Sessions::run(&scenario, &setup(slices));
                let (freeze, status) = (longest_freeze(&sessions), status(&sessions));
                let label = scenario.label();
                let text = format!("{label}, {slices} slices, {round_trip} ms: {freeze:?}");
                println!("{text}, {} lost", lost_to_mtu(&sessions));
                assert!(freeze <= ms(round_trip + most), "{text}");
                assert_eq!((status.path_bytes, status.black_holes), (SIZE_OF_1280, 1));
                assert!(!status.is_path_searched, "{text}");
                let (idrs, recoveries) = sessions.host(0).repairs();
                assert!(idrs + recoveries <= 2, "{text}: {idrs}, {recoveries}");
                // No more is lost than the frames until then, their repeats, and nine probes.
                assert!(lost_to_mtu(&sessions) < 400, "{text}");
                assert_eq!(sessions.wrong_units(), 0, "{text}");
            }
        }
    }
}

/// What was lost for its size is no reason for parity, nor for less bitrate.
#[test]
fn a_black_hole_is_no_loss_of_the_path() {
    for slices in [8, 1] {
        let mtu = Steps::constant(1500).then(CHANGE, 1280);
        let scenario = scenario(ms(20), mtu, 0, 1);
        let mut sessions = Sessions::begin(&scenario, &setup(slices));
        sessions.run_until(CHANGE);
        let before = status(&sessions).orders.protection;
        for step in 0..40 {
            sessions.run_until(CHANGE + ms(10 * step));
            let status = status(&sessions);
            let text = format!("{slices} slices, {} ms: {status}", 10 * step);
            assert!(step < 12 || status.loss_share < 0.001, "{text}");
            assert_eq!(
                status.orders.protection.shards_base, before.shards_base,
                "{text}"
            );
            // Frames are cut no smaller for it.
            assert!(status.orders.datagram_bytes_max >= SIZE_OF_1280, "{text}");
        }
    }
}

/// The same while one datagram in 50 is lost anyway; and without a change no size is given up.
#[test]
fn loss_hides_no_black_hole_and_makes_none() {
    for seed in 1..=3 {
        let shrinks = Steps::constant(1500).then(CHANGE, 1280);
        for (mtu, expected) in [
            (shrinks, (SIZE_OF_1280, 1)),
            (Steps::constant(1500), (1392, 0)),
        ] {
            let scenario = scenario(ms(20), mtu, 2, seed);
            let sessions = Sessions::run(&scenario, &setup(8));
            let (freeze, status) = (longest_freeze(&sessions), status(&sessions));
            let label = scenario.label();
            assert_eq!(
                (status.path_bytes, status.black_holes),
                expected,
                "{label}: {status}"
            );
            assert!(freeze <= ms(150), "{label}: {freeze:?}");
        }
    }
}

/// The first picture comes as soon as on any path, and no datagram of it is lost.
#[test]
fn a_small_path_delays_no_first_picture() {
    for round_trip in [4, 80] {
        let first = [1500, 1280].map(|mtu| {
            let scenario = scenario(ms(round_trip), Steps::constant(mtu), 0, 1);
            let sessions = Sessions::run(&scenario.lasting(SECOND), &setup(8));
            let shown = sessions.client(0).decoder().shown();
            let first = shown.first().expect("a picture in a second");
            (
                first.at.since(Timestamp::ZERO),
                status(&sessions).path_bytes,
            )
        });
        assert_eq!(first[0].0, first[1].0, "{round_trip} ms");
        assert_eq!([first[0].1, first[1].1], [1392, SIZE_OF_1280]);
    }
    // Nothing but probes of three sizes is lost, three times each.
    let scenario = Scenario::mtu_small().lasting(10 * SECOND);
    let sessions = Sessions::run(&scenario, &setup(8));
    assert_eq!(lost_to_mtu(&sessions), 9, "{}", scenario.label());
    let report = sessions.report(0, Duration::ZERO..scenario.duration, ms(50));
    assert_eq!(report.missed, 0, "{report:?}");
}

/// A route that comes back is used fully again after a minute.
#[test]
fn a_path_that_grows_again_is_used() {
    let mtu = Steps::constant(1500)
        .then(CHANGE, 1280)
        .then(2 * CHANGE, 1500);
    let scenario = scenario(ms(4), mtu, 0, 1).lasting(70 * SECOND);
    let sessions = Sessions::run(&scenario, &setup(8));
    let status = status(&sessions);
    assert_eq!((status.path_bytes, status.black_holes), (1392, 1));
}
