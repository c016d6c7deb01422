//! Whole sessions in virtual time: the real packetizer, seal, pacer, steering and client's stream
//! over the scenarios of the figures. A run that fails names its
//! scenario and seed.

use std::time::Duration;

use bench::record::Trace;
use harness::sim::audio::AudioPlane;
use harness::sim::encoder::Content;
use harness::sim::host::Parity;
use harness::sim::scenario::Scenario;
use harness::sim::session::{Report, Sessions, Setup};
use harness::sim::session_fuzz;
use harness::sim::session_sweep::{Sweep, svg};
use harness::sim::trace;
use net::limits::DATAGRAM_BYTES_MAX;
use net::packetize::Protection;

const SECOND: Duration = Duration::from_secs(1);
const IN_TIME: Duration = Duration::from_millis(50);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Runs it for `duration`, checks what holds of any run, and reports of the time after a second.
fn run(scenario: &Scenario, setup: &Setup, limit: Duration) -> (Sessions, Report) {
    let sessions = Sessions::run(scenario, setup);
    let label = scenario.label();
    assert_eq!(sessions.wrong_units(), 0, "{label}: a wrong byte was shown");
    let report = sessions.report(0, SECOND..scenario.duration, limit);
    assert!(report.frames > 60, "{label}: {report:?}");
    (sessions, report)
}

#[test]
fn a_clean_path_delivers_all() {
    let scenario = Scenario::random_loss(0, ms(4)).lasting(5 * SECOND);
    let (sessions, report) = run(&scenario, &Setup::default(), ms(25));
    assert_eq!(report.missed, 0, "{}", scenario.label());
    let client = sessions.client(0);
    assert_eq!(client.reassembler().lost_frames, 0);
    assert_eq!((client.refused(), sessions.host(0).refused()), (0, 0));
    assert_eq!(sessions.host(0).sent().repeats, 0, "nothing was lost");
    assert_eq!(sessions.host(0).repairs(), (0, 0));
    assert!(report.overhead < 0.05, "{report:?}");
    let (error, uncertainty) = client
        .clock_error(sessions.laid.network.now())
        .expect("echoes came");
    assert!(
        error <= uncertainty && error < ms(1),
        "{error:?} {uncertainty:?}"
    );
}

#[test]
fn random_loss_on_a_near_path_is_repaired_in_time() {
    for percent in [1, 2, 5] {
        let scenario = Scenario::random_loss(percent, ms(4)).lasting(10 * SECOND);
        let (sessions, report) = run(&scenario, &Setup::default(), IN_TIME);
        let label = scenario.label();
        assert!(report.share_missed() <= 0.005, "{label}: {report:?}");
        let overhead_max = 0.016 * percent as f64 + 0.05;
        assert!(report.overhead <= overhead_max, "{label}: {report:?}");
        assert!(sessions.host(0).sent().repeats > 0, "{label}");
        assert!(
            sessions.client(0).reassembler().repaired_shards > 0,
            "{label}"
        );
    }
}

#[test]
fn without_repeats_and_parity_loss_shows() {
    let scenario = Scenario::random_loss(2, ms(4)).lasting(5 * SECOND);
    let bare = Setup {
        parity: Parity::Fixed(Protection::at_frame_end(0)),
        repeats: false,
        ..Setup::default()
    };
    let (sessions, report) = run(&scenario, &bare, IN_TIME);
    assert!(report.share_missed() > 0.3, "{report:?}");
    let (idrs, recoveries) = sessions.host(0).repairs();
    assert!(
        idrs + recoveries > 5,
        "references are what is left of the ladder"
    );
    assert_eq!(sessions.host(0).sent().repeats, 0);
}

#[test]
fn random_loss_on_a_far_path_is_left_to_parity() {
    let scenario = Scenario::random_loss(2, ms(80)).lasting(10 * SECOND);
    let (sessions, report) = run(&scenario, &Setup::default(), IN_TIME + ms(40));
    let label = scenario.label();
    assert!(report.share_missed() <= 0.02, "{label}: {report:?}");
    assert!(
        report.parity > 0.08 && report.overhead < 0.18,
        "{label}: {report:?}"
    );
    // Frames of 20 Mbit/s are cut smaller for it, and only for it.
    let datagram_bytes = |sessions: &Sessions| {
        let orders = sessions.host(0).steering().orders();
        orders.datagram_bytes_max
    };
    assert!(datagram_bytes(&sessions) < 800, "{label}");
    for scenario in [
        Scenario::random_loss(0, ms(80)).lasting(3 * SECOND),
        Scenario::random_loss(2, ms(4)).lasting(3 * SECOND),
    ] {
        let (sessions, _) = run(&scenario, &Setup::default(), ms(90));
        let label = scenario.label();
        assert_eq!(datagram_bytes(&sessions), DATAGRAM_BYTES_MAX, "{label}");
    }
}

#[test]
fn an_outage_ends_with_a_picture() {
    let scenario = Scenario::outage().lasting(23 * SECOND);
    let sessions = Sessions::run(&scenario, &Setup::default());
    let over = net::units::Timestamp::ZERO + 21 * SECOND;
    let shown = sessions.client(0).decoder().shown();
    let before = shown
        .iter()
        .rfind(|it| it.at < over)
        .expect("20 s of pictures");
    let back = shown
        .iter()
        .find(|it| it.at >= over)
        .expect("a picture after it");
    assert!(
        over.since(before.at) > ms(900),
        "nothing can be shown in it"
    );
    let label = scenario.label();
    assert!(
        back.at.since(over) <= ms(150),
        "{label}: {:?}",
        back.at.since(over)
    );
    assert_eq!(sessions.wrong_units(), 0, "{label}");
}

#[test]
fn a_slow_hop_with_little_buffer_loses_nothing() {
    // What is lost is lost in the first frames, if any: what is sent before a bottleneck is known.
    for seed in 1..6 {
        let scenario = Scenario::fast_nic().seeded(seed).lasting(3 * SECOND);
        let (sessions, report) = run(&scenario, &Setup::default(), IN_TIME);
        let tap = &sessions.laid.network.link(sessions.laid.down).tap;
        assert_eq!(tap.lost(), [], "{}", scenario.label());
        assert_eq!(report.missed, 0, "{}", scenario.label());
    }
}

#[test]
fn the_other_troubles_of_a_path_end_no_session() {
    let troubles = [
        Scenario::wifi().lasting(8 * SECOND),
        Scenario::disorder().lasting(8 * SECOND),
        Scenario::address_change().lasting(24 * SECOND),
    ];
    for scenario in troubles {
        let (sessions, report) = run(&scenario, &Setup::default(), ms(150));
        let label = scenario.label();
        assert!(report.share_missed() < 0.1, "{label}: {report:?}");
        let last = sessions
            .client(0)
            .decoder()
            .shown()
            .last()
            .expect("pictures");
        let end = net::units::Timestamp::ZERO + scenario.duration;
        assert!(
            end.since(last.at) < ms(200),
            "{label}: it still runs at its end"
        );
    }
}

#[test]
fn a_seed_is_a_session() {
    let run = |seed| {
        let scenario = Scenario::bursts(5, 8, ms(4)).lasting(3 * SECOND);
        let sessions = Sessions::run(&scenario.seeded(seed), &Setup::default());
        (
            sessions.laid.network.digest(),
            sessions.host(0).sent(),
            sessions.client(0).decoder().shown().to_vec(),
        )
    };
    let first = run(7);
    assert_eq!(first, run(7));
    assert_ne!(first.0, run(8).0);
}

#[test]
fn recorded_runs_stream_through_loss() {
    for text in [trace::GAME_720P, trace::SCROLL_720P] {
        let trace = Trace::parse(text).expect("a trace of this version");
        let recording = trace::recording(&trace).expect("it has pictures");
        let setup = Setup {
            content: Content::Recorded(recording),
            ..Setup::default()
        };
        let scenario = Scenario::random_loss(2, ms(4)).lasting(6 * SECOND);
        // The recorded encoder itself took up to 70 ms for a picture.
        let (_, report) = run(&scenario, &setup, ms(100));
        assert_eq!(report.missed, 0, "{}: {report:?}", scenario.label());
    }
}

#[test]
fn audio_survives_loss_on_both_planes() {
    for (plane, concealed_max) in [(AudioPlane::Native, 0.003), (AudioPlane::GameStream, 0.004)] {
        let scenario = Scenario::audio().lasting(60 * SECOND);
        let setup = Setup {
            audio: plane,
            ..Setup::default()
        };
        let sessions = Sessions::run(&scenario, &setup);
        let heard = sessions.audio(0).1.heard();
        let label = scenario.label();
        assert!(heard.played > 11_900, "{label} {plane:?}: {heard:?}");
        assert!(
            heard.share_concealed() <= concealed_max,
            "{label} {plane:?}: {heard:?}"
        );
        assert_eq!(heard.wrong, 0, "{label} {plane:?}");
    }
}

#[test]
fn a_million_generated_packets_do_no_harm() {
    const SEED: u64 = 3;
    let result = session_fuzz::run(1_000_000, SEED);
    assert_eq!(
        (result.wrong, result.out_of_order),
        (0, 0),
        "seed {SEED}: {result:?}"
    );
    assert!(
        result.frames > 10_000 && result.lost > 1_000,
        "seed {SEED}: {result:?}"
    );
    assert!(
        result.wants > 1_000 && result.answered > 1_000,
        "seed {SEED}: {result:?}"
    );
    assert!(result.forged > 1_000, "seed {SEED}: {result:?}");
}

#[test]
fn the_sweep_draws_a_curve_for_each_shape() {
    let sweep = Sweep {
        losses: vec![5],
        bursts: vec![1],
        round_trips_ms: vec![80],
        parities: vec![0, 25],
        shapes: vec![1, 8],
        duration: 3 * SECOND,
        seed: 1,
    };
    let points = sweep.run();
    assert_eq!(points.len(), 3, "no parity has one shape");
    let of = |shape| {
        points
            .iter()
            .find(|it| it.parity == 25 && it.shape == shape)
    };
    let (slice, frame) = (of(1).expect("run"), of(8).expect("run"));
    // At one loss, parity over the whole frame repairs more with less.
    assert!(frame.residual < slice.residual, "{points:?}");
    assert!(frame.overhead < slice.overhead, "{points:?}");
    assert!(points[0].residual > frame.residual, "{points:?}");
    let svg = svg(&points);
    assert_eq!(svg.matches("<polyline").count(), 4);
    assert_eq!(svg.matches("<circle").count(), 6);
}
