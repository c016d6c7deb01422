//! The last frame before a still picture loses its end: nothing follows that would show it. The
//! host sends the last column again, and the picture is whole within 3 round trips and 20 ms.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use harness::sim::encoder::{Content, Synthetic};
use harness::sim::link::{Delay, Element, Outlet};
use harness::sim::packet::{Cause, PacketId};
use harness::sim::scenario::{Flow, FlowKind, Part, Scenario};
use harness::sim::schedule::Steps;
use harness::sim::session::{Sessions, Setup};
use net::media::VideoHeader;
use net::units::{BitsPerSecond, FrameId, RefreshMilliHz, SliceCount, Timestamp};

const SEED: u64 = 5;
const SECOND: Duration = Duration::from_secs(1);
const MOVES: Duration = Duration::from_millis(490);
/// Half a second at 60 Hz.
const LAST: FrameId = FrameId(29);
/// What a timer of 3 round trips may add.
const PATIENCE: Duration = Duration::from_millis(20);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Loses the end of [`LAST`] from a column on, with all of its parity, and repeats if they are to
/// be lost, too.
#[derive(Debug)]
struct LoseEnd {
    from_column: u16,
    repeats_lost: u32,
    seen: Rc<RefCell<Seen>>,
}

/// What left of [`LAST`].
#[derive(Debug, Default)]
struct Seen {
    columns: u16,
    /// The last datagram of it that was no repeat.
    left: Timestamp,
    repeats: u32,
}

impl Element for LoseEnd {
    fn offer(&mut self, now: Timestamp, packet: PacketId, out: &mut Outlet<'_>) {
        let header = VideoHeader::parse(out.packets.datagram(packet)).ok();
        let Some(header) = header.filter(|header| header.frame().frame == LAST) else {
            return out.pass(packet);
        };
        let mut seen = self.seen.borrow_mut();
        let is_lost = match &header {
            VideoHeader::Data(data) if data.repeat => {
                seen.repeats += 1;
                seen.repeats <= self.repeats_lost
            }
            VideoHeader::Data(data) => {
                seen.columns = seen.columns.max(data.column + 1);
                seen.left = now;
                data.column >= self.from_column
            }
            VideoHeader::Parity(_) => {
                seen.left = now;
                self.from_column < u16::MAX
            }
        };
        if is_lost {
            out.lose(packet, Cause::Random);
        } else {
            out.pass(packet);
        }
    }
}

/// A session that moves for half a second and stands still from then on.
#[derive(Clone, Copy, Debug)]
struct Case {
    round_trip: Duration,
    slices: SliceCount,
    bitrate: BitsPerSecond,
    tail: bool,
}

/// What came of it.
#[derive(Debug)]
struct Outcome {
    columns: u16,
    /// From the last datagram of the last frame to when it was whole at the client.
    whole_after: Option<Duration>,
    tail_probes: u64,
    repeats: u32,
}

impl Case {
    /// A path without a bottleneck; the way down is empty yet.
    fn scenario(&self) -> Scenario {
        let kind = FlowKind::Session {
            refresh: RefreshMilliHz::new(60_000).expect("60 Hz"),
            ceiling: self.bitrate,
            adaptive: false,
        };
        Scenario {
            name: "lost-end".to_owned(),
            seed: SEED,
            duration: 3 * SECOND,
            rate: Steps::constant(BitsPerSecond(u64::MAX)),
            down: Vec::new(),
            up: vec![Part::Delay(self.round_trip / 2)],
            flows: vec![Flow {
                kind,
                start: Duration::ZERO,
                down: Vec::new(),
                up: Vec::new(),
            }],
        }
    }

    fn setup(&self) -> Setup {
        Setup {
            content: Content::Synthetic(Synthetic {
                slices: self.slices,
                pauses: Some((MOVES, 100 * SECOND)),
                ..Synthetic::GAME
            }),
            tail: self.tail,
            ..Setup::default()
        }
    }

    fn run(&self, from_column: u16, repeats_lost: u32) -> Outcome {
        let scenario = self.scenario();
        let mut sessions = Sessions::begin(&scenario, &self.setup());
        let seen = Rc::new(RefCell::new(Seen::default()));
        let down = sessions.laid.network.link_mut(sessions.laid.down);
        down.push(Box::new(LoseEnd {
            from_column,
            repeats_lost,
            seen: Rc::clone(&seen),
        }));
        down.push(Box::new(Delay::new(self.round_trip / 2)));
        sessions.run_until(scenario.duration);
        assert_eq!(sessions.wrong_units(), 0, "{self:?}");
        let seen = seen.borrow();
        let completed = sessions.client(0).completed();
        let whole = completed.iter().find(|it| it.frame == LAST);
        let now = sessions.laid.network.now();
        Outcome {
            columns: seen.columns,
            whole_after: whole.map(|it| it.at.since(seen.left)),
            tail_probes: sessions.host(0).steering().status(now).tail_probes,
            repeats: seen.repeats,
        }
    }
}

fn cases() -> impl Iterator<Item = Case> {
    let of = |round_trip_ms: u64, slices: u8, kbit: u64| Case {
        round_trip: ms(round_trip_ms),
        slices: SliceCount::new(slices).expect("at most 32"),
        bitrate: BitsPerSecond(kbit * 1000),
        tail: true,
    };
    // A game, and a terminal in which somebody types: 5 kB and 0.5 kB a picture.
    [1, 4, 10, 20, 80].into_iter().flat_map(move |round_trip| {
        [(8, 20_000), (1, 20_000), (1, 2_500), (1, 300)]
            .map(|(slices, kbit)| of(round_trip, slices, kbit))
    })
}

#[test]
fn the_picture_is_whole_soon_whatever_the_last_frame_lost() {
    for case in cases() {
        let clean = case.run(u16::MAX, 0);
        assert_eq!(clean.repeats, 0, "{case:?}: {clean:?}");
        let columns = clean.columns;
        for lost in [1, 2, 5, columns] {
            let lost = lost.min(columns);
            let outcome = case.run(columns - lost, 0);
            let text = format!("{case:?}, {lost} of {columns} columns lost: {outcome:?}");
            let bound = 3 * case.round_trip + PATIENCE;
            assert!(
                outcome.whole_after.is_some_and(|after| after <= bound),
                "{text}"
            );
            assert!(outcome.tail_probes <= 1, "{text}");
            assert!(outcome.repeats <= u32::from(lost + lost / 8) + 1, "{text}");
        }
    }
}

#[test]
fn a_second_probe_follows_where_the_first_is_lost() {
    for case in cases() {
        let columns = case.run(u16::MAX, 0).columns;
        let outcome = case.run(0, 1);
        let text = format!("{case:?}, all of {columns} columns and a probe lost: {outcome:?}");
        // The second leaves twice 1.5 round trips and 8 ms after the first.
        let bound = 6 * case.round_trip + ms(16) + PATIENCE;
        assert_eq!(outcome.tail_probes, 2, "{text}");
        assert!(
            outcome.whole_after.is_some_and(|after| after <= bound),
            "{text}"
        );
    }
}

/// What the tests above would not show otherwise: without it nothing else brings the picture.
#[test]
fn without_it_a_lost_frame_stays_lost() {
    for case in cases() {
        let case = Case {
            tail: false,
            ..case
        };
        let outcome = case.run(0, 0);
        assert_eq!(outcome.whole_after, None, "{case:?}: {outcome:?}");
    }
}

/// A desktop that moves a tenth of a second and stands still for four, for a minute.
#[test]
fn it_costs_nothing_without_loss_and_little_with_it() {
    for round_trip in [4, 20, 80] {
        for (loss, most) in [(0, 0), (5, 40)] {
            let scenario = Scenario::random_loss(loss, ms(round_trip)).lasting(60 * SECOND);
            let setup = Setup {
                content: Content::Synthetic(Synthetic {
                    pauses: Some((ms(100), ms(400))),
                    ..Synthetic::GAME
                }),
                ..Setup::default()
            };
            let sessions = Sessions::run(&scenario, &setup);
            let status = sessions
                .host(0)
                .steering()
                .status(sessions.laid.network.now());
            let frames = sessions.host(0).encoder().captured().len();
            let label = scenario.label();
            assert!(frames > 700, "{label}: {frames}");
            assert!(
                status.tail_probes <= most,
                "{label}: {} probes for {frames} frames",
                status.tail_probes
            );
            assert_eq!(sessions.wrong_units(), 0, "{label}");
        }
    }
}
