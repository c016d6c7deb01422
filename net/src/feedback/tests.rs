//! Feedback on the wire, and the client's log and schedule.

use proptest::prelude::*;

use super::*;

fn us(us: u64) -> Timestamp {
    Timestamp::from_ns(us * 1000)
}

fn example() -> Feedback {
    let mut feedback = Feedback {
        sent: Timestamp::from_ns(0x0807_0605_0403_0201),
        received: 0x1122,
        last_good: Some(FrameId(7)),
        damage: Some(Damage {
            first_lost: FrameId(8),
            newest_lost: FrameId(9),
        }),
        decode_us: 3000,
        waiting_units: 2,
        ..Feedback::default()
    };
    feedback.receipts.push(Receipt {
        first: 0x100,
        count: 3,
        arrival: us(50_000),
    });
    feedback.receipts.push(Receipt {
        first: 0x110,
        count: 1,
        arrival: us(50_258),
    });
    feedback.wants.push(Want {
        frame: FrameId(9),
        first_column: 4,
        count: 2,
    });
    feedback
}

fn written(feedback: &Feedback) -> Vec<u8> {
    let mut out = [0xEE; FEEDBACK_BYTES_MAX];
    let bytes = feedback.write(&mut out);
    out[..bytes].to_vec()
}

#[test]
fn golden_bytes() {
    let golden = [
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, // sent
        0x22, 0x11, 0, 0, 0, 0, 0, 0, // received
        0x00, 0x01, 0, 0, 0, 0, 0, 0, // base
        0x52, 0xc4, 0, 0, 0, 0, 0, 0, // newest arrival, 50 258 µs
        7, 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, // last good, first and newest lost
        0xb8, 0x0b, 0, 0, 2, 0x03, 2, 1, // decode, waiting, flags, receipts, wants
        0, 0, 0, 0, 3, 0, 0x02, 0x01, // run at the base, 258 µs before the newest
        0x10, 0, 0, 0, 1, 0, 0, 0, // the newest
        9, 0, 0, 0, 4, 0, 2, 0, // want
    ];
    assert_eq!(written(&example()), golden);
    assert_eq!(example().wire_bytes(), golden.len());
    assert_eq!(Feedback::parse(&golden), Ok(example()));
}

#[test]
fn every_cut_and_every_excess_is_an_error() {
    let mut bytes = written(&example());
    for end in 0..bytes.len() {
        assert!(Feedback::parse(&bytes[..end]).is_err(), "{end} bytes");
    }
    bytes.push(0);
    assert_eq!(
        Feedback::parse(&bytes),
        Err(FeedbackError::Trailing { bytes: 1 })
    );
}

#[test]
fn every_relation_is_checked() {
    let refused = |at: usize, value: u8| {
        let mut bytes = written(&example());
        bytes[at] = value;
        Feedback::parse(&bytes).expect_err("must be refused")
    };
    assert_eq!(refused(49, 4), FeedbackError::Flags { flags: 4 });
    assert_eq!(refused(49, 2), FeedbackError::Unused { offset: 32 });
    assert_eq!(refused(49, 1), FeedbackError::Unused { offset: 36 });
    assert!(matches!(refused(40, 7), FeedbackError::Damage { .. }));
    assert!(matches!(refused(50, 81), FeedbackError::Count { .. }));
    assert!(matches!(refused(51, 17), FeedbackError::Count { .. }));
    assert_eq!(refused(56, 0), FeedbackError::Receipt { index: 0 });
    assert_eq!(refused(52, 1), FeedbackError::Receipt { index: 0 });
    assert_eq!(refused(66, 1), FeedbackError::Receipt { index: 0 });
    assert_eq!(refused(74, 0), FeedbackError::Want { index: 0 });
    // A newest arrival of 0x52 µs lies before the run that is 258 µs older.
    assert_eq!(refused(25, 0), FeedbackError::Receipt { index: 0 });
}

#[test]
fn runs_are_what_one_receive_call_brought() {
    let mut log = ReceiptLog::new();
    let steps = [(1, 10), (2, 10), (3, 20), (6, 20), (5, 20), (7, 20)];
    let gaps = steps.map(|(sequence, at)| log.on_datagram(sequence, us(at)));
    assert_eq!(gaps, [false, false, false, true, false, false]);
    let mut feedback = Feedback::default();
    log.fill(&mut feedback);
    let runs: Vec<_> = feedback
        .receipts
        .as_slice()
        .iter()
        .map(|run| (run.first, run.count, run.arrival.as_ns() / 1000))
        .collect();
    assert_eq!(
        runs,
        [(1, 2, 10), (3, 1, 20), (6, 1, 20), (5, 1, 20), (7, 1, 20)]
    );
    assert_eq!(feedback.received, 6);
}

#[test]
fn a_log_forgets_what_is_old_and_counts_what_it_had_no_room_for() {
    let mut log = ReceiptLog::new();
    log.on_datagram(0, us(0));
    log.on_datagram(1, us(64_001));
    let mut feedback = Feedback::default();
    log.fill(&mut feedback);
    assert_eq!(feedback.receipts.as_slice().len(), 1);
    for sequence in 0..RECEIPTS_MAX as u64 + 5 {
        log.on_datagram(2 + 2 * sequence, us(70_000 + sequence));
    }
    log.fill(&mut feedback);
    assert_eq!(feedback.receipts.as_slice().len(), RECEIPTS_MAX);
    // The first two runs: one was older than the window, one was not.
    assert_eq!(log.dropped_runs(), 5 + 1);
    assert_eq!(feedback.received, log.received());
}

#[test]
fn the_schedule_keeps_its_intervals() {
    let mut schedule = FeedbackSchedule::default();
    assert_eq!(schedule.poll_timeout(), None);
    schedule.on_datagram(false);
    assert!(schedule.poll(us(100_000)), "the first goes at once");
    schedule.on_datagram(false);
    assert!(!schedule.poll(us(104_999)));
    assert_eq!(schedule.poll_timeout(), Some(us(105_000)));
    schedule.on_datagram(true);
    assert!(schedule.poll(us(101_000)), "a loss is told at once");
    let mut sent = Vec::new();
    let mut now = us(101_000);
    while let Some(due) = schedule.poll_timeout() {
        assert!(due > now);
        now = due;
        assert!(schedule.poll(now));
        sent.push(now.as_ns() / 1_000_000);
    }
    assert_eq!(sent, [121, 141, 161], "repeats, then silence");
}

fn feedbacks() -> impl Strategy<Value = Feedback> {
    let receipt = (0..1u64 << 32, 1..u16::MAX, 0..RECEIPT_WINDOW_US);
    let want = (any::<u32>(), 0..u16::MAX / 2, 1..u16::MAX / 2);
    let head = (any::<u64>(), any::<u64>(), any::<u32>(), any::<u8>());
    (
        head,
        prop::collection::vec(receipt, 0..=RECEIPTS_MAX),
        prop::collection::vec(want, 0..=WANTS_MAX),
        prop::option::of(any::<u32>()),
        prop::option::of(any::<(u32, u32)>()),
        0..u64::MAX / 2000,
    )
        .prop_map(|(head, receipts, wants, last_good, damage, start_us)| {
            let mut feedback = Feedback {
                sent: Timestamp::from_ns(head.0),
                received: head.1,
                decode_us: head.2,
                waiting_units: head.3,
                last_good: last_good.map(FrameId),
                damage: damage.map(|(a, b)| Damage {
                    first_lost: FrameId(a.min(b)),
                    newest_lost: FrameId(a.max(b)),
                }),
                ..Feedback::default()
            };
            for (first, count, at_us) in receipts {
                feedback.receipts.push(Receipt {
                    first: first + (u64::MAX >> 1),
                    count,
                    arrival: us(start_us + at_us),
                });
            }
            for (frame, first_column, count) in wants {
                let frame = FrameId(frame);
                feedback.wants.push(Want {
                    frame,
                    first_column,
                    count,
                });
            }
            feedback
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(feedback in feedbacks()) {
        prop_assert_eq!(Feedback::parse(&written(&feedback)), Ok(feedback));
    }
}
