//! Arbitrary datagrams of a client's microphone at the host: nothing panics, and each 5 ms has at most
//! one packet.

use std::time::Duration;

use net::audio::{MicrophoneReceiver, PACKET_BYTES_MAX, Playout};
use net::units::Timestamp;

/// A row of datagrams, each with a byte of time (ms) and its length in front; how many were taken.
pub fn run(data: &[u8]) -> u64 {
    let mut receiver = MicrophoneReceiver::default();
    let mut now = Timestamp::from_ns(1_000_000_000);
    let begin = now;
    let (mut rest, mut taken, mut given) = (data, 0, 0u128);
    while let [ms, length, tail @ ..] = rest {
        let (datagram, tail) = tail.split_at(usize::from(*length).min(tail.len()));
        rest = tail;
        now = now + Duration::from_millis(u64::from(*ms));
        taken += u64::from(receiver.handle(now, datagram).is_ok());
        loop {
            match receiver.poll(now) {
                Playout::Wait(due) => {
                    assert!(due > now);
                    break;
                }
                Playout::Play { packet, .. } => {
                    assert!((1..=PACKET_BYTES_MAX).contains(&packet.len()));
                }
                Playout::Conceal(_) => {}
            }
            given += 1;
        }
    }
    // Each start may give one at once.
    let starts = u128::from(receiver.stats().starts);
    assert!(given <= now.since(begin).as_millis() / 5 + 2 * starts + 1);
    taken
}
