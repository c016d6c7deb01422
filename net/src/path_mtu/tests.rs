//! Video over virtual paths of any size and loss.

use proptest::prelude::*;

use super::*;
use crate::seeded::{Bursts, Seeded};

const ROUND_TRIP_MS: u64 = 4;

fn ms(ms: u64) -> Timestamp {
    Timestamp::from_ns(ms * 1_000_000)
}

/// A path.
struct Path {
    loss: f64,
    /// Mean burst, datagrams; 1 is random loss.
    burst: f64,
    /// UDP payload that passes at a time, ms.
    mtu: fn(u64) -> usize,
    /// Datagrams of a frame: of full size, and smaller ones.
    frame: (usize, usize),
}

#[derive(Debug)]
struct Outcome {
    bytes: usize,
    /// First time that the present size was reached, ms.
    reached_ms: u64,
    /// Full-size datagrams sent that were larger than the path, probes aside.
    black: u64,
    /// Smallest size after the first second.
    smallest: usize,
    stats: PathMtuStats,
}

impl Path {
    fn run(&self, seed: u64, seconds: u64) -> Outcome {
        let mut random = Seeded(seed);
        let mut loss = Bursts::new(self.loss, self.burst);
        let mut machine = PathMtu::new(ms(0), DATAGRAM_BYTES_MAX);
        let mut wire: Vec<(u64, usize, bool)> = Vec::new();
        let mut outcome = Outcome {
            bytes: 0,
            reached_ms: 0,
            black: 0,
            smallest: usize::MAX,
            stats: PathMtuStats::default(),
        };
        let mut probes_of_second = 0;
        for t in 0..seconds * 1000 {
            let now = ms(t);
            let mut sizes = Vec::new();
            if t % 16 == 0 {
                let full = machine.datagram_bytes_max();
                let (large, small) = self.frame;
                for i in 0..large + small {
                    let tail = (i + 1) * small / (large + small) > i * small / (large + small);
                    let cut = 64 + random.bits() as usize % (full - 128);
                    sizes.push(if tail { cut } else { full });
                    outcome.black += u64::from(!tail && full > (self.mtu)(t));
                }
            }
            if let Some(bytes) = machine.poll_probe(now) {
                machine.handle_probe_sent(now, bytes);
                sizes.push(bytes);
                probes_of_second += 1;
            }
            if t % 1000 == 0 {
                assert!(
                    probes_of_second <= 30,
                    "seed {seed}: {probes_of_second} probes"
                );
                probes_of_second = 0;
            }
            for bytes in sizes {
                let lost = if self.burst > 1.0 {
                    loss.lost(&mut random)
                } else {
                    random.chance(self.loss)
                };
                wire.push((t, bytes, lost || bytes > (self.mtu)(t)));
            }
            wire.retain(|&(sent, bytes, lost)| {
                let known = sent + ROUND_TRIP_MS <= t;
                match lost {
                    _ if !known => {}
                    true => machine.handle_loss(now, ms(sent), bytes),
                    false => machine.handle_receipt(now, ms(sent), bytes),
                }
                !known
            });
            if machine.datagram_bytes_max() != outcome.bytes {
                outcome.bytes = machine.datagram_bytes_max();
                outcome.reached_ms = t;
            }
            if t > 1000 {
                outcome.smallest = outcome.smallest.min(outcome.bytes);
            }
        }
        outcome.stats = machine.stats();
        outcome
    }
}

const PLAIN: Path = Path {
    loss: 0.0,
    burst: 1.0,
    mtu: |_| 1500,
    frame: (30, 8),
};

#[test]
fn most_paths_carry_the_ceiling_and_one_probe_shows_it() {
    let outcome = PLAIN.run(1, 10);
    assert_eq!((outcome.bytes, outcome.stats.probes), (1392, 1));
    assert_eq!(outcome.reached_ms, ROUND_TRIP_MS);
}

#[test]
fn smaller_paths_are_measured() {
    for (mtu, expected) in [
        ((|_| 1391) as fn(u64) -> usize, 1328),
        (|_| 1300, 1264),
        (|_| 1200, 1200),
        (|_| 1000, 944),
        (|_| 560, 560),
    ] {
        let outcome = Path { mtu, ..PLAIN }.run(1, 10);
        assert_eq!(outcome.bytes, expected, "{outcome:?}");
        assert!(outcome.reached_ms < 2000, "{outcome:?}");
    }
}

/// The path shrinks: half a frame later the size has fallen to the base, from which a second
/// fall leads to what passes; and soon the size is all of that.
#[test]
fn a_black_hole_is_left_at_once() {
    for (mtu, expected, after_ms, falls) in [
        (
            (|t| if t < 5000 { 1500 } else { 1300 }) as fn(u64) -> usize,
            1264,
            1000,
            1,
        ),
        (|t| if t < 5000 { 1500 } else { 1252 }, 1200, 50, 1),
        (|t| if t < 5000 { 1500 } else { 1000 }, 944, 2000, 2),
    ] {
        for seed in 1..=8 {
            let outcome = Path { mtu, ..PLAIN }.run(seed, 20);
            assert_eq!(outcome.bytes, expected, "seed {seed}: {outcome:?}");
            assert_eq!(outcome.stats.black_holes, falls, "seed {seed}: {outcome:?}");
            assert!(outcome.black <= 120, "seed {seed}: {outcome:?}");
            assert!(
                outcome.reached_ms < 5000 + after_ms,
                "seed {seed}: {outcome:?}"
            );
        }
    }
}

/// Nothing small is sent: small probes take their part.
#[test]
fn a_black_hole_is_seen_without_small_datagrams() {
    let mtu = |t| if t < 5000 { 1500 } else { 1300 };
    let path = Path {
        mtu,
        frame: (30, 0),
        ..PLAIN
    };
    let outcome = path.run(1, 20);
    assert_eq!(outcome.bytes, 1264, "{outcome:?}");
    assert!(outcome.black <= 150, "{outcome:?}");
}

#[test]
fn the_search_is_repeated_when_a_path_grows() {
    let mtu = |t| if t < 5000 { 1300 } else { 1500 };
    let outcome = Path { mtu, ..PLAIN }.run(1, 620);
    assert_eq!(outcome.bytes, 1392, "{outcome:?}");
    assert!(
        (600_000..602_000).contains(&outcome.reached_ms),
        "{outcome:?}"
    );
}

/// A route that fails for a while is used fully again after a minute.
#[test]
fn the_first_search_after_a_black_hole_is_repeated_soon() {
    let mtu = |t| {
        if (5000..20_000).contains(&t) {
            1300
        } else {
            1500
        }
    };
    let outcome = Path { mtu, ..PLAIN }.run(1, 80);
    assert_eq!(outcome.bytes, 1392, "{outcome:?}");
    assert!(
        (65_000..67_000).contains(&outcome.reached_ms),
        "{outcome:?}"
    );
}

#[test]
fn loss_does_not_shrink_the_size() {
    for seed in 1..=40 {
        for (loss, burst) in [(0.05, 1.0), (0.05, 8.0), (0.2, 1.0)] {
            let outcome = Path {
                loss,
                burst,
                ..PLAIN
            }
            .run(seed, 30);
            let text = format!("seed {seed}, {loss} in {burst}: {outcome:?}");
            assert_eq!((outcome.bytes, outcome.smallest), (1392, 1392), "{text}");
            assert_eq!(
                (outcome.stats.black_holes, outcome.stats.refused),
                (0, 0),
                "{text}"
            );
        }
    }
}

#[test]
fn smaller_paths_are_measured_through_loss() {
    for seed in 1..=20 {
        for burst in [1.0, 8.0] {
            let path = Path {
                loss: 0.05,
                burst,
                mtu: |_| 1300,
                ..PLAIN
            };
            let outcome = path.run(seed, 20);
            assert_eq!(outcome.bytes, 1264, "seed {seed}: {outcome:?}");
        }
    }
}

/// A second of nothing at all says nothing of sizes.
#[test]
fn an_outage_is_no_black_hole() {
    let mtu = |t| if (5000..6000).contains(&t) { 0 } else { 1500 };
    let outcome = Path { mtu, ..PLAIN }.run(1, 10);
    assert_eq!(
        (outcome.bytes, outcome.stats.black_holes),
        (1392, 0),
        "{outcome:?}"
    );
}

/// A still desktop sends nothing large; the path shrinks meanwhile and a probe finds out.
#[test]
fn a_quiet_path_is_asked_now_and_then() {
    let mtu = |t| if t < 5000 { 1500 } else { 1300 };
    let outcome = Path {
        mtu,
        frame: (0, 1),
        ..PLAIN
    }
    .run(1, 60);
    assert_eq!(outcome.bytes, 1264, "{outcome:?}");
    assert!(outcome.reached_ms < 25_000, "{outcome:?}");
}

/// A still desktop sends a datagram now and then: after three that were lost, probes find out what
/// those would not for long.
#[test]
fn a_black_hole_is_seen_by_few_datagrams() {
    let mut machine = PathMtu::new(ms(0), DATAGRAM_BYTES_MAX);
    assert_eq!(machine.poll_probe(ms(1)), Some(1392));
    machine.handle_receipt(ms(5), ms(1), 1392);
    for lost in 1..=SUSPICION {
        assert_eq!(machine.poll_probe(ms(u64::from(lost) * 1000)), None);
        machine.handle_loss(ms(u64::from(lost) * 1000), ms(u64::from(lost) * 1000), 1384);
    }
    let mut fallen = None;
    for t in 3000..4000 {
        let Some(bytes) = machine.poll_probe(ms(t)) else {
            continue;
        };
        machine.handle_probe_sent(ms(t), bytes);
        if bytes > 1200 {
            machine.handle_loss(ms(t), ms(t), bytes);
        } else {
            machine.handle_receipt(ms(t), ms(t), bytes);
        }
        if machine.datagram_bytes_max() == 1200 {
            fallen = Some(t);
            break;
        }
    }
    assert!(fallen.is_some_and(|t| t < 3400), "{fallen:?}");
    assert_eq!(machine.stats().black_holes, 1);
}

/// What the first hop refuses is known at once, above the present size and below.
#[test]
fn a_refusal_is_an_answer() {
    let mut machine = PathMtu::new(ms(0), DATAGRAM_BYTES_MAX);
    let mut refused = 0;
    while let Some(bytes) = machine.poll_probe(ms(1)) {
        if bytes > 1252 {
            machine.handle_refusal(ms(1), bytes);
            refused += 1;
        }
    }
    assert_eq!((machine.datagram_bytes_max(), refused), (1200, 3));
    assert!(!machine.is_searching());
    let mut machine = PathMtu::new(ms(0), DATAGRAM_BYTES_MAX);
    machine.poll_probe(ms(1));
    machine.handle_receipt(ms(2), ms(1), 1392);
    assert_eq!(machine.datagram_bytes_max(), 1392);
    // The interface has another MTU now; a frame of the size before is refused batch by batch.
    for bytes in [1384, 1384, 1300] {
        machine.handle_refusal(ms(5), bytes);
    }
    assert_eq!(machine.datagram_bytes_max(), 1200);
    assert_eq!(machine.poll_probe(ms(5)), Some(1264));
    machine.handle_refusal(ms(5), 1100);
    assert_eq!(machine.datagram_bytes_max(), FLOOR_BYTES);
}

/// A probe that never left says nothing, however long nothing is heard of it.
#[test]
fn a_probe_that_was_not_sent_is_not_lost() {
    let mut machine = PathMtu::new(ms(0), DATAGRAM_BYTES_MAX);
    for second in 1..=10 {
        assert_eq!(machine.poll_probe(ms(second * 1100)), Some(1392));
        machine.handle_receipt(ms(second * 1100), ms(second * 1100), 700);
    }
    assert_eq!(machine.stats().probes_lost, 0);
}

#[test]
fn the_ceiling_is_kept() {
    for (ceiling, start) in [(0, 560), (1000, 944), (1200, 1200), (9000, 1200)] {
        let mut machine = PathMtu::new(ms(0), ceiling);
        assert_eq!(machine.datagram_bytes_max(), start);
        assert_eq!(machine.shard_bytes_max() + OVERHEAD_BYTES, start);
        let probe = machine.poll_probe(ms(0));
        assert_eq!(probe, (ceiling == 9000).then_some(1392));
    }
}

proptest! {
    /// Any reports: sizes stay within the limits, are made of whole steps, and probes are bounded.
    #[test]
    fn arbitrary_reports(
        ceiling in 0..2000usize,
        reports in prop::collection::vec(
            (
                prop_oneof![0..20u64, 0..300u64],
                0..400u64,
                prop_oneof![0..1500usize, Just(1200), Just(1392), any::<usize>()],
                any::<bool>(),
            ),
            0..300,
        ),
    ) {
        let mut machine = PathMtu::new(ms(0), ceiling);
        let mut t = 1000;
        // Times of the last two probes, and how many sizes were given up by then. Small probes and
        // those of a size have a timer each, and of three two are of one kind; only a size that is
        // given up lets the next be tried at once.
        let mut probes = [(0, 0); 2];
        for (step, age, bytes, lost) in reports {
            t += step;
            if let Some(bytes) = machine.poll_probe(ms(t)) {
                prop_assert!((FLOOR_BYTES..=DATAGRAM_BYTES_MAX).contains(&bytes));
                let given_up = machine.stats().refused + machine.stats().black_holes;
                let [before_last, last] = probes;
                prop_assert!(t - before_last.0 >= 10 || given_up > before_last.1);
                probes = [last, (t, given_up)];
                if age % 2 == 0 {
                    machine.handle_receipt(ms(t), ms(t), bytes);
                }
            }
            let bytes = bytes.min(usize::MAX - 64);
            match lost {
                true => machine.handle_loss(ms(t), ms(t - age), bytes),
                false => machine.handle_receipt(ms(t), ms(t - age), bytes),
            }
            let size = machine.datagram_bytes_max();
            prop_assert!((FLOOR_BYTES..=DATAGRAM_BYTES_MAX).contains(&size));
            prop_assert!((size - OVERHEAD_BYTES).is_multiple_of(STEP));
        }
    }
}
