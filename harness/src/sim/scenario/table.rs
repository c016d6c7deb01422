//! The scenarios that the figures are stated for, and the other troubles of a path.

use std::time::Duration;

use net::units::{BitsPerSecond, RefreshMilliHz, SliceCount};

use super::{Flow, FlowKind, Part, Scenario};
use crate::sim::link::{AggregationConfig, Discipline};
use crate::sim::moonlight::Wish;
use crate::sim::network::PORT;
use crate::sim::rng::Chance;
use crate::sim::schedule::Steps;

const SECOND: Duration = Duration::from_secs(1);
/// A network card: its queue holds what a host gives it at once, a few large frames.
const NIC_RATE: BitsPerSecond = mbit(1000);
const NIC_BYTES: usize = 4 << 20;
/// Where a scenario names no bottleneck: a path that never queues for long.
const WIDE_RATE: BitsPerSecond = mbit(200);
const WIDE_BYTES: usize = 1 << 20;
/// A step of rate comes when the session has long settled.
const STEP_DOWN: Duration = Duration::from_secs(20);
const STEP_UP: Duration = Duration::from_secs(40);
/// As does a stall.
pub(in crate::sim) const STALL_BEGIN: Duration = Duration::from_secs(20);

const fn mbit(mbit: u64) -> BitsPerSecond {
    BitsPerSecond(mbit * 1_000_000)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn queue(rate: Steps<BitsPerSecond>, bytes_max: usize) -> Part {
    Part::Queue {
        rate,
        bytes_max,
        discipline: Discipline::DropTail,
    }
}

/// Bytes that a queue of `time` at `rate` holds.
const fn bytes_of(time: Duration, rate: BitsPerSecond) -> usize {
    (rate.0 / 8 * time.as_millis() as u64 / 1000) as usize
}

fn refresh() -> RefreshMilliHz {
    RefreshMilliHz::new(60_000).expect("60 Hz is within the limits")
}

fn flow(kind: FlowKind, start: Duration) -> Flow {
    let nic = || vec![queue(Steps::constant(NIC_RATE), NIC_BYTES)];
    Flow {
        kind,
        start,
        down: nic(),
        up: nic(),
    }
}

/// 60 fps at 20 Mbit/s, as the figures on loss ask.
fn steady() -> Flow {
    session(mbit(20), false)
}

fn session(ceiling: BitsPerSecond, adaptive: bool) -> Flow {
    let kind = FlowKind::Session {
        refresh: refresh(),
        ceiling,
        adaptive,
    };
    flow(kind, Duration::ZERO)
}

/// A stock client as on a local network: 1392 bytes, four slices, at least two of parity.
fn moonlight(kbps: u64) -> Flow {
    let kind = FlowKind::Moonlight {
        refresh: refresh(),
        wish: Wish {
            bitrate: BitsPerSecond::from_kbps(kbps),
            packet_bytes: 1392,
            slices: SliceCount::new(4).expect("4"),
            parity_min: 2,
        },
    };
    flow(kind, Duration::ZERO)
}

impl Scenario {
    /// Random loss both ways: 60 fps, 20 Mbit/s.
    #[must_use]
    pub fn random_loss(percent: u64, round_trip: Duration) -> Self {
        let name = format!("loss-{percent}-rtt-{}", round_trip.as_millis());
        Self::lossy(name, Part::Loss(Chance::percent(percent)), round_trip)
    }

    /// Gilbert-Elliott loss of `percent` in bursts of `burst` datagrams both ways.
    #[must_use]
    pub fn bursts(percent: u64, burst: u64, round_trip: Duration) -> Self {
        let name = format!("bursts-{percent}-of-{burst}-rtt-{}", round_trip.as_millis());
        Self::lossy(name, Part::Bursts(percent * 10_000, burst), round_trip)
            .lasting(Duration::from_secs(600))
    }

    fn lossy(name: String, loss: Part, round_trip: Duration) -> Self {
        let way = || {
            vec![
                queue(Steps::constant(WIDE_RATE), WIDE_BYTES),
                loss.clone(),
                Part::Delay(round_trip / 2),
            ]
        };
        Self {
            name,
            seed: 1,
            duration: 60 * SECOND,
            rate: Steps::constant(WIDE_RATE),
            down: way(),
            up: way(),
            flows: vec![steady()],
        }
    }

    /// A bottleneck of `rate` whose queue holds `bytes_max`, between `flows`.
    fn narrow(
        name: &str,
        rate: Steps<BitsPerSecond>,
        bytes_max: usize,
        round_trip: Duration,
        flows: Vec<Flow>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            seed: 1,
            duration: 60 * SECOND,
            rate: rate.clone(),
            down: vec![queue(rate, bytes_max), Part::Delay(round_trip / 2)],
            up: vec![
                queue(Steps::constant(WIDE_RATE), WIDE_BYTES),
                Part::Delay(round_trip / 2),
            ],
            flows,
        }
    }

    /// 50 → 10 → 50 Mbit/s, at 20 s and 40 s, round trip 20 ms, 200 ms of queue at 50 Mbit/s.
    #[must_use]
    pub fn rate_step() -> Self {
        let rate = Steps::constant(mbit(50))
            .then(STEP_DOWN, mbit(10))
            .then(STEP_UP, mbit(50));
        let bytes = bytes_of(ms(200), mbit(50));
        Self::narrow(
            "rate-step",
            rate,
            bytes,
            ms(20),
            vec![session(mbit(60), true)],
        )
    }

    /// 50 Mbit/s that carry nothing either way for `stall` after 20 s and lose nothing by it: a
    /// radio that scans, a host that does not run. Round trip 20 ms, 200 ms of queue.
    #[must_use]
    pub fn stall(stall: Duration) -> Self {
        let stalling = |rate: BitsPerSecond| {
            let stopped = Steps::constant(rate).then(STALL_BEGIN, mbit(0));
            stopped.then(STALL_BEGIN + stall, rate)
        };
        let bytes = bytes_of(ms(200), mbit(50));
        let name = format!("stall-{}", stall.as_millis());
        let flows = vec![session(mbit(60), true)];
        let mut scenario = Self::narrow(&name, stalling(mbit(50)), bytes, ms(20), flows);
        scenario.up[0] = queue(stalling(WIDE_RATE), WIDE_BYTES);
        scenario.lasting(STALL_BEGIN + 10 * SECOND)
    }

    /// Two sessions on one bottleneck of 40 Mbit/s, the second 10 s after the first.
    #[must_use]
    pub fn two_sessions() -> Self {
        let first = session(mbit(50), true);
        let mut second = first.clone();
        second.start = 10 * SECOND;
        let rate = mbit(40);
        let bytes = bytes_of(ms(200), rate);
        let flows = vec![first, second];
        Self::narrow("two-sessions", Steps::constant(rate), bytes, ms(20), flows)
    }

    /// Two sessions on a token bucket of 12 Mbit/s as `tc` makes them: 4000 bytes pass at the speed
    /// of the card, 100 ms wait. The second begins a second after the first; round trip 1 ms.
    ///
    /// At 6 Mbit/s and 60 pictures a second a picture is nine datagrams, of which three pass
    /// unhindered, and each session's queue is gone before its next picture.
    #[must_use]
    pub fn two_small_sessions(phase: Duration) -> Self {
        let first = session(mbit(20), true);
        let mut second = first.clone();
        second.start = SECOND + phase;
        let rate = mbit(12);
        let flows = vec![first, second];
        let constant = Steps::constant(rate);
        let mut scenario = Self::narrow("two-small-sessions", constant, 0, ms(1), flows);
        scenario.down[0] = Part::TokenBucket {
            rate,
            burst_bytes: 4000,
            queue_bytes_max: bytes_of(ms(100), rate),
        };
        scenario
    }

    /// A session against a bulk transfer under `bulk` on 40 Mbit/s, which begins after 10 s; the
    /// queue holds 60 ms.
    fn against(name: &str, bulk: FlowKind) -> Self {
        let rate = mbit(40);
        let flows = vec![session(mbit(50), true), flow(bulk, 10 * SECOND)];
        let bytes = bytes_of(ms(60), rate);
        Self::narrow(name, Steps::constant(rate), bytes, ms(20), flows)
    }

    /// A session against a Cubic flow.
    #[must_use]
    pub fn against_cubic() -> Self {
        Self::against("against-cubic", FlowKind::Cubic)
    }

    /// A session against a BBR flow.
    #[must_use]
    pub fn against_bbr() -> Self {
        Self::against("against-bbr", FlowKind::Bbr)
    }

    /// A card of 10 Gbit/s into a hop of 100 Mbit/s with 64 KB of buffer, 50 Mbit/s of video.
    #[must_use]
    pub fn fast_nic() -> Self {
        let mut video = session(mbit(50), false);
        video.down = vec![queue(Steps::constant(mbit(10_000)), NIC_BYTES)];
        let rate = Steps::constant(mbit(100));
        Self::narrow("fast-nic", rate, 64 * 1024, ms(4), vec![video])
    }

    /// A stock client at 60 fps behind what `lossy` has: `percent` lost, in bursts of so many.
    #[must_use]
    pub fn moonlight_loss(percent: u64, burst: u64, kbps: u64, lasts: Duration) -> Self {
        let (name, loss) = match burst {
            0 | 1 => ("loss", Part::Loss(Chance::percent(percent))),
            burst => ("bursts", Part::Bursts(percent * 10_000, burst)),
        };
        let mut scenario = Self::lossy(format!("moonlight-{name}-{percent}"), loss, ms(4));
        // Video is what is lost: ENet repeats the rest.
        scenario
            .up
            .retain(|part| !matches!(part, Part::Loss(_) | Part::Bursts(..)));
        scenario.flows = vec![moonlight(kbps)];
        scenario.lasting(lasts)
    }

    /// [`Scenario::fast_nic`] with a stock client that asks for 50 Mbit/s: 1000 frames.
    #[must_use]
    pub fn moonlight_slow_hop() -> Self {
        let mut video = moonlight(50_000);
        video.down = vec![queue(Steps::constant(mbit(10_000)), NIC_BYTES)];
        let (name, rate) = ("moonlight-slow-hop", Steps::constant(mbit(100)));
        Self::narrow(name, rate, 64 * 1024, ms(4), vec![video]).lasting(ms(16_700))
    }

    /// A stock client that asks for 10 Mbit/s of a link of 3 with a queue of 128 KB.
    #[must_use]
    pub fn moonlight_narrow() -> Self {
        let (name, rate) = ("moonlight-narrow", Steps::constant(mbit(3)));
        let flows = vec![moonlight(10_000)];
        Self::narrow(name, rate, 128 * 1024, ms(4), flows).lasting(30 * SECOND)
    }

    /// Both ways are gone for a second after 20 s.
    #[must_use]
    pub fn outage() -> Self {
        let mut scenario = Self::lossy(
            "outage".to_owned(),
            Part::Outage(20 * SECOND..21 * SECOND),
            ms(20),
        );
        scenario.flows = vec![session(mbit(20), true)];
        scenario
    }

    /// Audio alone through 5 % of random loss, 10 minutes.
    #[must_use]
    pub fn audio() -> Self {
        let loss = Part::Loss(Chance::percent(5));
        let mut scenario = Self::lossy("audio".to_owned(), loss, ms(20));
        scenario.flows = vec![flow(FlowKind::Audio, Duration::ZERO)];
        scenario.lasting(600 * SECOND)
    }

    /// A client on Wi-Fi: aggregates of up to 32, 0.2 to 2 ms for the medium, a stall of 40 ms in
    /// one access of 200, jitter of 1 ms.
    #[must_use]
    pub fn wifi() -> Self {
        let radio = AggregationConfig {
            access_min: Duration::from_micros(200),
            access_max: ms(2),
            stall_chance: Chance::ratio(1, 200),
            stall: ms(40),
            burst_packets_max: 32,
            air_rate: mbit(300),
            queue_packets_max: 1000,
        };
        let mut scenario = Self::lossy("wifi".to_owned(), Part::Aggregation(radio), ms(10));
        for way in [&mut scenario.down, &mut scenario.up] {
            way.push(Part::Jitter(ms(1), true));
        }
        scenario.flows = vec![session(mbit(20), true)];
        scenario
    }

    /// One datagram in 50 is held back for 3 ms and one in 100 comes twice; nothing is lost.
    #[must_use]
    pub fn disorder() -> Self {
        let hold = Part::Reorder(Chance::percent(2), ms(3));
        let mut scenario = Self::lossy("disorder".to_owned(), hold, ms(10));
        for way in [&mut scenario.down, &mut scenario.up] {
            way.push(Part::Duplicate(Chance::percent(1), ms(1)));
        }
        scenario
    }

    /// After 20 s the path towards the client takes 1280 bytes only.
    #[must_use]
    pub fn mtu_change() -> Self {
        let mtu = Part::Mtu(Steps::constant(1500).then(20 * SECOND, 1280));
        let mut scenario = Self::lossy("mtu-change".to_owned(), mtu, ms(10));
        scenario.up.retain(|part| !matches!(part, Part::Mtu(_)));
        scenario
    }

    /// The path towards the client takes 1280 bytes only, from the start on.
    #[must_use]
    pub fn mtu_small() -> Self {
        let mtu = Part::Mtu(Steps::constant(1280));
        let mut scenario = Self::lossy("mtu-1280".to_owned(), mtu, ms(10));
        scenario.up.retain(|part| !matches!(part, Part::Mtu(_)));
        scenario
    }

    /// After 20 s the client's NAT gives it another port and forgets the old one.
    #[must_use]
    pub fn address_change() -> Self {
        let port = Steps::constant(PORT).then(20 * SECOND, 40_001);
        let unbind = Part::Unbind(port.clone());
        let mut scenario = Self::lossy("address-change".to_owned(), unbind, ms(10));
        scenario.up.retain(|part| !matches!(part, Part::Unbind(_)));
        scenario.flows[0].up.push(Part::Rebind(port));
        scenario
    }

    /// All: those that figures are stated for, and the other troubles of a path.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for round_trip in [ms(4), ms(80)] {
            all.extend([1, 2, 5].map(|percent| Self::random_loss(percent, round_trip)));
        }
        all.extend([
            Self::bursts(5, 8, ms(4)),
            Self::rate_step(),
            Self::stall(ms(100)),
            Self::stall(ms(300)),
            Self::stall(ms(600)),
            Self::two_sessions(),
            Self::against_cubic(),
            Self::against_bbr(),
            Self::fast_nic(),
            Self::outage(),
            Self::audio(),
            Self::wifi(),
            Self::disorder(),
            Self::mtu_change(),
            Self::mtu_small(),
            Self::address_change(),
        ]);
        all
    }
}
