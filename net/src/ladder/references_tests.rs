use super::*;

const ROUND_TRIP: Duration = Duration::from_millis(20);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ns(1_000_000_000 + ms * 1_000_000)
}

fn report(ms: u64, lost: Option<(u32, u32)>) -> Feedback {
    Feedback {
        sent: at(ms),
        damage: lost.map(|(first, newest)| Damage {
            first_lost: FrameId(first),
            newest_lost: FrameId(newest),
        }),
        ..Feedback::default()
    }
}

/// One that has sent frames up to 20.
fn references() -> References {
    let mut references = References::new(ReferencesConfig::default());
    for frame in 0..=20 {
        references.handle_sent(at(0), FrameId(frame), frame == 0);
    }
    references
}

/// Takes a report that arrives at once, and gives what the encoder is asked.
fn handle(references: &mut References, ms: u64, lost: Option<(u32, u32)>) -> Option<Repair> {
    references.handle_feedback(at(ms), &report(ms, lost), ROUND_TRIP);
    references.poll()
}

fn invalidate(first: u32, newest: u32) -> Option<Repair> {
    Some(Repair::Invalidate {
        first_lost: FrameId(first),
        newest_lost: FrameId(newest),
    })
}

#[test]
fn the_same_damage_is_repaired_once_until_the_repair_had_time() {
    let mut references = references();
    assert_eq!(
        handle(&mut references, 10, Some((18, 18))),
        invalidate(18, 18)
    );
    for ms in 11..20 {
        assert_eq!(handle(&mut references, ms, Some((18, 19))), None);
    }
    references.handle_sent(at(20), FrameId(21), true);
    // A round trip and a quarter, and the time of a report: 55 ms.
    for ms in 21..=75 {
        assert_eq!(handle(&mut references, ms, Some((18, 20))), None);
    }
    assert_eq!(
        handle(&mut references, 76, Some((18, 20))),
        invalidate(18, 20)
    );
    references.handle_sent(at(80), FrameId(22), true);
    assert_eq!(handle(&mut references, 110, None), None);
    assert_eq!(references.repairing(), None);
    let stats = references.stats();
    assert_eq!((stats.damages, stats.invalidations, stats.idrs), (1, 2, 0));
}

#[test]
fn a_lost_repair_is_repeated_at_once_and_the_third_is_an_idr() {
    let mut references = references();
    assert_eq!(
        handle(&mut references, 10, Some((18, 18))),
        invalidate(18, 18)
    );
    references.handle_sent(at(12), FrameId(21), true);
    assert_eq!(
        handle(&mut references, 30, Some((18, 21))),
        invalidate(18, 21)
    );
    references.handle_sent(at(32), FrameId(22), true);
    assert_eq!(
        handle(&mut references, 50, Some((18, 22))),
        Some(Repair::Idr)
    );
    references.handle_sent(at(52), FrameId(23), true);
    // Another one not before the last had its time.
    assert_eq!(handle(&mut references, 70, Some((18, 23))), None);
    assert_eq!(
        handle(&mut references, 150, Some((18, 23))),
        Some(Repair::Idr)
    );
    assert_eq!(handle(&mut references, 170, None), None);
    // The next damage begins with an invalidation again.
    assert_eq!(
        handle(&mut references, 180, Some((23, 23))),
        invalidate(23, 23)
    );
}

#[test]
fn an_encoder_that_stands_still_is_asked_again() {
    let mut references = references();
    assert_eq!(
        handle(&mut references, 10, Some((20, 20))),
        invalidate(20, 20)
    );
    assert_eq!(handle(&mut references, 60, Some((20, 20))), None);
    assert_eq!(
        handle(&mut references, 61, Some((20, 20))),
        invalidate(20, 20)
    );
}

#[test]
fn a_damage_after_a_repair_is_a_new_one() {
    let mut references = references();
    assert_eq!(
        handle(&mut references, 10, Some((18, 18))),
        invalidate(18, 18)
    );
    references.handle_sent(at(12), FrameId(21), true);
    references.handle_sent(at(28), FrameId(22), false);
    // The report that all is well again was lost.
    assert_eq!(
        handle(&mut references, 50, Some((22, 22))),
        invalidate(22, 22)
    );
    assert_eq!(references.stats().damages, 2);
}

#[test]
fn old_and_impossible_reports_do_nothing() {
    let mut references = references();
    assert_eq!(handle(&mut references, 10, Some((21, 21))), None);
    assert_eq!(references.stats().impossible, 1);
    assert_eq!(handle(&mut references, 12, None), None);
    references.handle_feedback(at(13), &report(11, Some((18, 18))), ROUND_TRIP);
    assert_eq!(references.poll(), None);
}

#[test]
fn a_client_that_always_complains_gets_few_idrs() {
    let mut references = references();
    for ms in 0..1000u32 {
        references.handle_sent(at(u64::from(ms)), FrameId(21 + ms), ms % 16 == 0);
        handle(&mut references, u64::from(ms), Some((0, 21 + ms)));
    }
    assert!(references.stats().idrs <= 11, "{:?}", references.stats());
}
