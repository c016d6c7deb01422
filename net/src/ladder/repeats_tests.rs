use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const RATE: BitsPerSecond = BitsPerSecond(20_000_000);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ns(1_000_000_000 + ms * 1_000_000)
}

fn want(frame: u32, first_column: u16, count: u16) -> Want {
    Want {
        frame: FrameId(frame),
        first_column,
        count,
    }
}

/// Frames 1 to 3 of 40 columns sent at 0, 16 and 32 ms; a round trip of 4 ms.
fn repeats() -> Repeats {
    let mut repeats = Repeats::new(RepeatsConfig::default());
    repeats.set_path(4 * MS, RATE);
    for frame in 1..=3 {
        repeats.handle_sent(at(16 * (frame - 1)), FrameId(frame as u32), 40);
    }
    repeats
}

fn drain(repeats: &mut Repeats, now: Timestamp) -> Vec<(u32, Range<u16>)> {
    let next = std::iter::from_fn(|| repeats.poll(now));
    next.map(|columns| (columns.frame.0, columns.range))
        .collect()
}

use std::ops::Range;

#[test]
fn what_is_wanted_goes_out_oldest_frame_first_within_the_frame() {
    let mut repeats = repeats();
    repeats.handle_wants(
        at(33),
        &[want(3, 38, u16::MAX - 38), want(2, 5, 2), want(2, 1, 1)],
    );
    let expected = vec![(2, 1..2), (2, 5..7), (3, 38..40)];
    assert_eq!(drain(&mut repeats, at(33)), expected);
    assert_eq!((repeats.stats().asked, repeats.stats().repeated), (5, 5));
}

#[test]
fn a_column_goes_out_once_in_a_round_trip() {
    let mut repeats = repeats();
    repeats.handle_wants(at(33), &[want(3, 1, 3)]);
    assert_eq!(drain(&mut repeats, at(33)), vec![(3, 1..4)]);
    repeats.handle_wants(at(34), &[want(3, 0, 5)]);
    assert_eq!(drain(&mut repeats, at(34)), vec![(3, 0..1), (3, 4..5)]);
    assert_eq!(repeats.stats().too_recent, 3);
    repeats.handle_wants(at(39), &[want(3, 1, 3)]);
    assert_eq!(drain(&mut repeats, at(39)), vec![(3, 1..4)]);
}

#[test]
fn nothing_goes_out_past_its_time() {
    let mut repeats = repeats();
    repeats.handle_wants(at(41), &[want(1, 0, 1), want(2, 0, 1)]);
    assert_eq!(drain(&mut repeats, at(41)), vec![(2, 0..1)]);
    assert_eq!(repeats.stats().too_late, 1);
    // What waited too long for the sender is dropped, too.
    repeats.handle_wants(at(50), &[want(2, 7, 1), want(3, 7, 1)]);
    assert_eq!(drain(&mut repeats, at(60)), vec![(3, 7..8)]);
    assert_eq!(repeats.stats().too_late, 2);
}

#[test]
fn frames_that_were_not_sent_are_refused() {
    let mut repeats = repeats();
    repeats.handle_wants(at(33), &[want(0, 0, 1), want(4, 0, 1), want(3 + 64, 0, 1)]);
    assert_eq!(drain(&mut repeats, at(33)), vec![]);
    assert_eq!(repeats.stats().unknown_frames, 3);
}

#[test]
fn repeats_keep_to_their_share_of_the_rate() {
    let mut repeats = Repeats::new(RepeatsConfig::default());
    repeats.set_path(MS, RATE);
    let mut columns = 0;
    for ms in 0..1000u64 {
        let frame = FrameId(1 + (ms / 16) as u32);
        repeats.handle_sent(at(ms), frame, 400);
        repeats.handle_wants(at(ms), &[want(frame.0, 0, 400)]);
        columns += drain(&mut repeats, at(ms))
            .iter()
            .map(|run| run.1.len())
            .sum::<usize>();
    }
    // A second's share, and the window that may be saved up.
    let bytes_max = 20_000_000.0 / 8.0 * 0.25 * 1.2;
    let bytes = (columns * DATAGRAM_BYTES_MAX) as f64;
    assert!(
        bytes <= bytes_max && bytes > 0.75 * bytes_max,
        "{bytes} {bytes_max}"
    );
    assert!(repeats.stats().over_budget > 0);
}

proptest! {
    /// Whatever is wanted: only columns that were sent come out, within the budget, each run once.
    #[test]
    fn arbitrary_wants_are_bounded(
        wants in proptest::collection::vec((0u32..80, any::<u16>(), any::<u16>()), 0..64),
        columns in 0usize..20_000,
        steps in proptest::collection::vec(0u64..50, 1..8),
    ) {
        let mut repeats = Repeats::new(RepeatsConfig::default());
        repeats.set_path(4 * MS, RATE);
        let mut now = 0;
        for (step, wants) in steps.iter().zip(wants.chunks(16).cycle()) {
            now += step;
            repeats.handle_sent(at(now), FrameId(now as u32 % 64), columns);
            let wants: Vec<Want> = wants.iter().map(|&(f, c, n)| want(f, c, n)).collect();
            repeats.handle_wants(at(now), &wants);
            prop_assert!(repeats.run_count <= RUNS_MAX);
            let mut sum = 0;
            for (_, range) in drain(&mut repeats, at(now)) {
                prop_assert!(range.start < range.end);
                prop_assert!(usize::from(range.end) <= columns);
                sum += range.len();
            }
            prop_assert!(sum * DATAGRAM_BYTES_MAX <= 125_000 + DATAGRAM_BYTES_MAX);
        }
    }
}
