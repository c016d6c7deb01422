//! Receipts, feedback, estimate, decision and pace, with loss, without one allocation.

use std::time::Duration;

use net::feedback::{FEEDBACK_BYTES_MAX, Feedback, FeedbackSchedule, ReceiptLog};
use net::rate::{Config, Pacer, Rate, Sent, SentKind, Urgency};
use net::units::Timestamp;

use super::sys;

#[test]
fn a_session_of_rate_control_allocates_nothing() {
    let mut now = Timestamp::from_ns(1_000_000_000);
    let mut rate = Rate::new(now, Config::default());
    let mut pacer = Pacer::new(rate.poll(now).pace);
    let mut log = ReceiptLog::new();
    let mut schedule = FeedbackSchedule::default();
    let mut plaintext = [0; FEEDBACK_BYTES_MAX];
    let mut sequence = 0;
    let before = sys::allocations();
    for frame in 0..2000u32 {
        for _ in 0..20 {
            now = now + Duration::from_micros(500);
            pacer.departure(now, 1392, Urgency::Video);
            let sent = Sent {
                first_sequence: sequence,
                datagrams: 1,
                datagram_bytes: 1392,
                last_bytes: 1392,
                burst: frame,
                kind: SentKind::Video,
            };
            rate.handle_sent(now, &sent);
            if sequence % 37 != 0 {
                schedule.on_datagram(log.on_datagram(sequence, now));
            }
            sequence += 1;
            if schedule.poll(now) {
                let mut feedback = Feedback {
                    sent: now,
                    ..Feedback::default()
                };
                log.fill(&mut feedback);
                let bytes = feedback.write(&mut plaintext);
                let feedback = Feedback::parse(&plaintext[..bytes]).expect("as written");
                rate.handle_feedback(now, &feedback);
                pacer.set_pace(now, rate.poll(now).pace);
            }
        }
    }
    assert_eq!(sys::allocations() - before, 0);
    assert!(rate.total_lost() > 900);
}
