//! Seeded virtual paths: the true error lies within the stated uncertainty, always.

use super::*;
use crate::seeded::Seeded;

const MS: f64 = 1e6;

fn ns(ns: u64) -> Timestamp {
    Timestamp::from_ns(ns)
}

#[test]
fn golden_bytes_of_an_echo() {
    let echo = Echo {
        client_sent: ns(0x0102_0304_0506_0708),
        host_received: ns(0x1112_1314_1516_1718),
        host_sent: ns(0x2122_2324_2526_2728),
    };
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&echo.to_wire());
    let golden = [
        0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, // client_sent
        0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, // host_received
        0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, // host_sent
    ];
    assert_eq!(bytes, golden);
    assert_eq!(Echo::parse(&golden), Ok(echo));
    assert!(matches!(
        Echo::parse(&golden[..23]),
        Err(EchoError::Truncated(_))
    ));
    assert_eq!(Echo::parse(&[0; 25]), Err(EchoError::Trailing(1)));
}

#[test]
fn stamps_of_the_media_header_are_expanded() {
    let near = ns(((7u64 << 32) + 5) * 1000);
    assert_eq!(expand_us(3, near), ns(((7u64 << 32) + 3) * 1000));
    assert_eq!(expand_us(u32::MAX, near), ns(((7u64 << 32) - 1) * 1000));
    assert_eq!(expand_us(9, ns(0)), ns(9000));
}

/// A path and two clocks.
struct Path {
    /// Host's and client's rate beside true time, ppm.
    host_ppm: f64,
    client_ppm: f64,
    one_way_ms: (f64, f64),
    jitter_ms: f64,
    loss: f64,
    /// Extra delay on the way (to the host, back) at a true time, ms.
    queue: fn(f64) -> (f64, f64),
}

#[derive(Debug, Default)]
struct Seen {
    error_max_ms: f64,
    error_late_max_ms: f64,
    uncertainty_max_ms: f64,
    drift_ppb: i64,
    contradictions: u64,
}

impl Path {
    fn host(&self, t: f64) -> f64 {
        9e12 + t * (1.0 + self.host_ppm / 1e6)
    }

    fn client(&self, t: f64) -> f64 {
        3e12 + t * (1.0 + self.client_ppm / 1e6)
    }

    /// `seconds` of a feedback every 20 ms; every error against the bound that is stated. The
    /// late ones are those after `late_s`.
    fn run(&self, seed: u64, seconds: u32, late_s: f64) -> Seen {
        let mut random = Seeded(seed);
        let mut sync = ClockSync::new();
        let mut echoes = Vec::new();
        let mut seen = Seen::default();
        for i in 0..seconds * 50 {
            let t = f64::from(i) * 20.0 * MS;
            if random.chance(self.loss) {
                continue;
            }
            let (out, back) = (self.queue)(t / 1e9);
            let there = t + (self.one_way_ms.0 + random.exponential(self.jitter_ms) + out) * MS;
            let leaves = there + random.exponential(0.5) * MS;
            let here =
                leaves + (self.one_way_ms.1 + random.exponential(self.jitter_ms) + back) * MS;
            echoes.push((t, there, leaves, here));
            if random.chance(0.02) {
                echoes.push((t, there, leaves, here + 3.0 * MS));
            }
        }
        echoes.sort_by(|a, b| a.3.total_cmp(&b.3));
        let mut last: Option<(f64, f64)> = None;
        for (t1, t2, t3, t4) in echoes {
            let local = self.client(t4);
            sync.handle(
                ns(self.client(t1) as u64),
                ns(self.host(t2) as u64),
                ns(self.host(t3) as u64),
                ns(local as u64),
            )
            .expect("a sample");
            for later_ms in [0.0, 7.0, 19.0] {
                let t = t4 + later_ms * MS;
                let now = self.client(t);
                let offset = sync.offset_at(ns(now as u64)).expect("known");
                let error = (offset.ns as f64 - (self.host(t) - now)).abs();
                let bound = offset.uncertainty_ns as f64;
                // Two clocks are rounded to 1 ns here.
                assert!(
                    error <= bound + 4.0,
                    "seed {seed}: {error} > {bound} at {t}"
                );
                seen.error_max_ms = seen.error_max_ms.max(error / MS);
                if t > late_s * 1e9 {
                    seen.error_late_max_ms = seen.error_late_max_ms.max(error / MS);
                    seen.uncertainty_max_ms = seen.uncertainty_max_ms.max(bound / MS);
                }
            }
            let offset = sync.offset_at(ns(local as u64)).expect("known").ns as f64;
            if let Some((before, old)) = last {
                let most = (local - before) * (SLEW_PPB_MAX + DRIFT_PPB_MAX) as f64 / 1e9;
                let moved = (offset - old).abs();
                assert!(moved <= most + 4.0, "seed {seed}: {moved} ns at once");
            }
            last = Some((local, offset));
            let host = sync.to_host(ns(local as u64)).expect("known");
            let back = sync.to_local(host).expect("known").as_ns();
            assert!(back.abs_diff(local as u64) <= 10, "seed {seed}");
        }
        seen.drift_ppb = sync.drift_ppb();
        seen.contradictions = sync.contradictions();
        seen
    }
}

const PLAIN: Path = Path {
    host_ppm: 40.0,
    client_ppm: -40.0,
    one_way_ms: (2.0, 2.0),
    jitter_ms: 1.0,
    loss: 0.05,
    queue: |_| (0.0, 0.0),
};

#[test]
fn jitter_and_drift() {
    for seed in 1..=8 {
        let seen = PLAIN.run(seed, 120, 20.0);
        assert!(seen.error_late_max_ms < 0.25, "seed {seed}: {seen:?}");
        assert!(seen.uncertainty_max_ms < 3.0, "seed {seed}: {seen:?}");
        assert!(
            (seen.drift_ppb - 80_000).abs() < 8_000,
            "seed {seed}: {seen:?}"
        );
        assert_eq!(seen.contradictions, 0, "seed {seed}");
    }
}

#[test]
fn a_queue_of_100_ms_in_one_direction_for_5_s() {
    let to_host: fn(f64) -> (f64, f64) = |s| {
        if (30.0..35.0).contains(&s) {
            (100.0, 0.0)
        } else {
            (0.0, 0.0)
        }
    };
    let back: fn(f64) -> (f64, f64) = |s| {
        if (30.0..35.0).contains(&s) {
            (0.0, 100.0)
        } else {
            (0.0, 0.0)
        }
    };
    for (seed, queue) in (1..=8).flat_map(|seed| [(seed, to_host), (seed, back)]) {
        let seen = Path { queue, ..PLAIN }.run(seed, 60, 20.0);
        assert!(seen.error_late_max_ms < 0.4, "seed {seed}: {seen:?}");
        assert!(seen.uncertainty_max_ms < 4.5, "seed {seed}: {seen:?}");
        assert_eq!(seen.contradictions, 0, "seed {seed}");
    }
}

/// The queue stands when the session starts: nothing better is known, and the bound says so.
#[test]
fn a_queue_from_the_start() {
    let queue = |s| if s < 5.0 { (0.0, 100.0) } else { (0.0, 0.0) };
    for seed in 1..=4 {
        let seen = Path { queue, ..PLAIN }.run(seed, 60, 25.0);
        assert!(seen.error_max_ms > 40.0, "seed {seed}: {seen:?}");
        assert!(seen.error_late_max_ms < 0.4, "seed {seed}: {seen:?}");
    }
}

/// Delays that differ for good cannot be told from an offset: the bound covers them.
#[test]
fn a_path_that_is_longer_one_way() {
    for seed in 1..=4 {
        let seen = Path {
            one_way_ms: (1.0, 11.0),
            ..PLAIN
        }
        .run(seed, 60, 20.0);
        assert!(
            (4.5..6.5).contains(&seen.error_late_max_ms),
            "seed {seed}: {seen:?}"
        );
    }
}

/// Any sign of drift up to the limit of two crystals.
#[test]
fn the_worst_crystals() {
    for (seed, ppm) in [(1, 100.0), (2, -100.0)] {
        let path = Path {
            host_ppm: ppm,
            client_ppm: -ppm,
            ..PLAIN
        };
        let seen = path.run(seed, 120, 30.0);
        assert!(seen.error_late_max_ms < 0.4, "seed {seed}: {seen:?}");
        assert_eq!(seen.contradictions, 0, "seed {seed}: {seen:?}");
    }
}

#[test]
fn a_repeat_changes_nothing_and_nonsense_is_refused() {
    let mut sync = ClockSync::new();
    let stamps = [1_000, 501_000, 502_000, 4_000_000].map(ns);
    let [t1, t2, t3, t4] = stamps;
    sync.handle(t1, t2, t3, t4).expect("a sample");
    let before = (sync.offset_at(t4), sync.round_trip());
    sync.handle(t1, t2, t3, t4).expect("a repeat");
    assert_eq!((sync.offset_at(t4), sync.round_trip()), before);

    assert_eq!(sync.handle(t4, t2, t3, t1), Err(SampleError::Order));
    assert_eq!(sync.handle(t1, t3, t2, t4), Err(SampleError::Order));
    assert_eq!(sync.handle(t1, t1, t4, t3), Err(SampleError::Order));
    let max = ns(u64::MAX);
    assert_eq!(
        sync.handle(t1, t2, max, t4),
        Err(SampleError::Stamp(u64::MAX))
    );
    assert!(matches!(
        sync.handle(t1, t2, t3, ns(3_000_000_000)),
        Err(SampleError::Late(_))
    ));
    assert_eq!((sync.offset_at(t4), sync.round_trip()), before);
}

/// The host slept for ten seconds: its monotonic clock stood still.
#[test]
fn a_suspended_host_is_noticed() {
    let mut sync = ClockSync::new();
    for i in 0..100u64 {
        let t = i * 20_000_000;
        let host = if i < 50 {
            t + 60_000_000_000
        } else {
            t + 50_000_000_000
        };
        sync.handle(
            ns(t),
            ns(host + 1_000_000),
            ns(host + 1_000_000),
            ns(t + 2_000_000),
        )
        .expect("a sample");
    }
    assert_eq!((sync.contradictions(), sync.steps()), (1, 1));
    let offset = sync.offset_at(ns(2_000_000_000)).expect("known");
    assert!(offset.ns.abs_diff(50_000_000_000) < 10_000, "{offset:?}");
}
