//! Arbitrary audio datagrams: what parses is within the limits, and the receiver keeps its pace.
//!
//! The input is taken once as a datagram and as a report, and once as a row of commands of 8
//! bytes, each a datagram near those that are expected and the time since the one before.

use std::time::Duration;

use net::audio::datagram::{COPY_BYTES, HEADER_BYTES};
use net::audio::receive::DELAY_MAX;
use net::audio::{
    AudioDatagram, AudioReceiver, AudioReceiverStats, AudioReport, COPIES_MAX, DISTANCE_MAX,
    PACKET_BYTES_MAX, PACKET_INTERVAL, Playout,
};
use net::units::Timestamp;

const COMMAND_BYTES: usize = 8;

/// One datagram, then one stream; what became of it.
pub fn run(data: &[u8]) -> AudioReceiverStats {
    one(data);
    let begin = Timestamp::from_ns(1);
    let mut now = begin;
    let mut receiver = AudioReceiver::new();
    let mut next = 0u32;
    let mut given = 0u32;
    for command in data.chunks_exact(COMMAND_BYTES) {
        now = now + Duration::from_micros(u64::from(command[0]) * u64::from(command[1]));
        let bytes = datagram(command, &mut next);
        if let Ok(datagram) = AudioDatagram::parse(&bytes) {
            receiver.handle(now, &datagram);
        }
        assert!(receiver.delay() <= DELAY_MAX);
        loop {
            match receiver.poll(now) {
                Playout::Play { packet, .. } => {
                    assert!((1..=PACKET_BYTES_MAX).contains(&packet.len()));
                }
                Playout::Conceal(_) => {}
                Playout::Wait(until) => {
                    assert!(until > now);
                    break;
                }
            }
            given += 1;
        }
        let _report = receiver.poll_report(now);
    }
    let stats = receiver.stats();
    let ticks = now.since(begin).as_nanos() / PACKET_INTERVAL.as_nanos();
    assert!(u128::from(given) <= ticks + 1 + u128::from(stats.starts));
    assert_eq!(
        u64::from(given),
        stats.played + stats.concealed + stats.stretched
    );
    stats
}

fn one(data: &[u8]) {
    if let Ok(datagram) = AudioDatagram::parse(data) {
        let mut bytes = HEADER_BYTES + datagram.packet.len();
        let mut last = 0;
        for copy in datagram.copies() {
            assert!(copy.distance > last && copy.distance <= DISTANCE_MAX);
            assert!((1..=PACKET_BYTES_MAX).contains(&copy.packet.len()));
            bytes += COPY_BYTES + copy.packet.len();
            last = copy.distance;
        }
        assert!(datagram.copies().count() <= COPIES_MAX);
        assert_eq!(bytes, data.len());
        AudioReceiver::new().handle(Timestamp::from_ns(1), &datagram);
    }
    if let Ok(report) = AudioReport::parse(data) {
        let mut written = Vec::new();
        report.write(&mut written);
        assert_eq!(written[..2], data[..2]);
        assert_eq!(written, data);
    }
}

/// A datagram of a command; `next` is the number that is expected.
fn datagram(command: &[u8], next: &mut u32) -> Vec<u8> {
    let number = match command[2] {
        0xff => u32::from_le_bytes([command[3], command[4], command[5], command[6]]),
        near if near & 0x80 != 0 => next.wrapping_add(u32::from(near % 100)).wrapping_sub(70),
        _ => *next,
    };
    *next = number.wrapping_add(1);
    let copies = command[6] % 4;
    let mut bytes = vec![0xc9, 0, copies, 0];
    bytes.extend(number.to_le_bytes());
    bytes.extend(number.wrapping_mul(5000).to_le_bytes());
    let length = 1 + u16::from(command[7] % 3) * 500;
    bytes.extend(length.to_le_bytes());
    for i in 1..=copies {
        bytes.push(i * (1 + command[6] / 4 % 3));
        bytes.extend(1u16.to_le_bytes());
    }
    bytes.resize(
        bytes.len() + usize::from(length) + usize::from(copies),
        0x5a,
    );
    bytes
}
