//! The native protocol's planes: datagrams, packets and messages. Each test says how many of its
//! inputs got past the first checks; a failure names its seed.

#[path = "../../fuzz/bodies/audio_plane.rs"]
mod audio_plane;
#[path = "../../fuzz/bodies/clipboard.rs"]
mod clipboard;
#[path = "../../fuzz/bodies/clock_echo.rs"]
mod clock_echo;
#[path = "../../fuzz/bodies/control_stream.rs"]
mod control_stream;
#[path = "../../fuzz/bodies/cursor_plane.rs"]
mod cursor_plane;
#[path = "../../fuzz/bodies/feedback.rs"]
mod feedback;
#[path = "../../fuzz/bodies/input_plane.rs"]
mod input_plane;
#[path = "../../fuzz/bodies/media_header.rs"]
mod media_header;
#[path = "../../fuzz/bodies/microphone.rs"]
mod microphone;
#[path = "../../fuzz/bodies/reassembler.rs"]
mod reassembler;

use super::chance::{Chance, all};
use net::feedback::Feedback;
use net::media::VideoHeader;

#[test]
fn media_datagrams() {
    all("media", 1, |chance| {
        let mut data = vec![0; 24 + 64 + 16];
        if chance.below(2) == 0 {
            data.resize(24 + 8 + 64 + 16, 0);
            (data[0], data[3], data[24], data[26]) = (3, 1, 20, 4);
        } else {
            (data[0], data[18], data[19]) = (1, 64, 0);
        }
        chance.change(&mut data, 3);
        if chance.below(8) == 0 {
            data.truncate(chance.below(data.len()));
        }
        media_header::run(&data);
        u64::from(VideoHeader::parse(&data).is_ok())
    });
}

/// 64 shards a round, most of them much like the one before.
#[test]
fn shards() {
    all("shards", 64, |chance| {
        let mut command = chance.bytes(16, 256);
        let mut data = Vec::with_capacity(64 * 16);
        for _ in 0..64 {
            let most = [1, 2, 16][chance.below(3)];
            chance.change(&mut command, most);
            data.extend_from_slice(&command);
        }
        let stats = reassembler::run(&data);
        (stats.frames + stats.lost_frames).min(63)
    });
}

#[test]
fn feedback_reports() {
    all("feedback", 1, |chance| {
        let (receipts, wants) = (chance.below(4), chance.below(4));
        let mut data = vec![0; 52 + 8 * (receipts + wants)];
        chance.change(&mut data, 4);
        (data[50], data[51]) = (receipts as u8, wants as u8);
        for item in data[52..].chunks_exact_mut(8) {
            (item[4], item[6]) = (1, 1);
        }
        if receipts > 0 {
            data[25] = 1;
            data[58] = 0;
        }
        if chance.below(8) == 0 {
            chance.change(&mut data, 8);
        }
        feedback::run(&data);
        u64::from(Feedback::parse(&data).is_ok())
    });
}

/// An event that is valid, mostly: `net/src/native/input/codec.rs` has the table.
fn event(chance: &mut Chance) -> Vec<u8> {
    const BODIES: [(u8, usize); 9] = [
        (1, 2),
        (3, 4),
        (4, 4),
        (5, 2),
        (6, 3),
        (7, 18),
        (9, 8),
        (10, 17),
        (13, 3),
    ];
    let (kind, length) = BODIES[chance.below(BODIES.len())];
    let bound = [2, 2, 256][chance.below(3)];
    [vec![kind], chance.bytes(length, bound)].concat()
}

/// Twenty packets a round: rows of small shapes that mostly continue each other, and states.
#[test]
fn cursor_packets() {
    all("cursor", 20, |chance| {
        let mut data = Vec::new();
        let (mut number, mut place, mut row) = (1_u32, 0_u8, 0_u16);
        let (width, height) = (1 + chance.below(4) as u16, 1 + chance.below(4) as u16);
        for sequence in 0..20_u32 {
            let way = chance.below(3) as u8;
            let mut packet = Vec::new();
            if way == 1 {
                packet.extend(number.to_le_bytes());
                packet.extend([place, 0]);
                for field in [width, height, 0, 0, row, 1] {
                    packet.extend(field.to_le_bytes());
                }
                packet.extend(chance.bytes(usize::from(width) * 4, 256));
                row += 1;
                if row == height {
                    (number, place, row) = (number + 1, chance.below(17) as u8, 0);
                }
            } else {
                let visibility = chance.below(4) as u8;
                packet.extend([0xcd, visibility]);
                packet.extend((sequence + chance.below(3) as u32).to_le_bytes());
                packet.extend((chance.below(4) as u32).to_le_bytes());
                let bound = [2, 256][chance.below(2)];
                packet.extend(chance.bytes(16, bound));
            }
            if chance.below(6) == 0 {
                chance.change(&mut packet, 3);
            }
            if chance.below(12) == 0 {
                packet.truncate(chance.below(packet.len()));
            }
            data.push(way);
            data.extend((packet.len() as u16).to_le_bytes());
            data.extend(packet);
        }
        cursor_plane::run(&data)
    });
}

/// Sixteen packets a round: events, and some with a state or a snapshot.
#[test]
fn input_packets() {
    all("input", 16, |chance| {
        let (mut data, mut taken) = (Vec::new(), 0);
        let mut receiver = net::native::input::InputReceiver::default();
        for sequence in 0..16 {
            let flags = [0, 0, 0, 1, 2][chance.below(5)];
            let first = sequence - chance.below(4).min(sequence.into()) as u8;
            let count = chance.below(4);
            let head = [0xc8, flags, sequence, 0, 0, 0, first, 0, 0, 0];
            let mut packet = [&head[..], &[count as u8, 0]].concat();
            (0..count).for_each(|_| packet.extend(event(chance)));
            if chance.below(4) == 0 {
                chance.change(&mut packet, 3);
            }
            taken += u64::from(receiver.handle_packet(&packet).is_ok());
            while receiver.poll_event().is_some() {}
            data.extend((packet.len() as u16).to_le_bytes());
            data.extend(packet);
        }
        input_plane::run(&data);
        taken
    });
}

/// 100 datagrams a round: on time mostly, some lost, some late, some that jump.
#[test]
fn audio_datagrams() {
    all("audio", 100, |chance| {
        let mut data = Vec::new();
        for _ in 0..100 {
            let mut command = [50, 100, 0, 0, 0, 0, 2, 0];
            match chance.below(8) {
                0 => chance.change(&mut command, 8),
                1 => command.copy_from_slice(&chance.bytes(8, 256)),
                _ => {}
            }
            data.extend(command);
        }
        let stats = audio_plane::run(&data);
        stats.played.min(99)
    });
}

/// Twelve messages a round, on both ends, in any state.
#[test]
fn control_messages() {
    all("control", 12, |chance| {
        let mut data = chance.bytes(2, 256);
        let mut known = 0;
        for _ in 0..12 {
            let kind = match chance.below(5) {
                0 => chance.below(6),
                1 => 0x0f + chance.below(5),
                2 => 0x1f + chance.below(3),
                3 => [0x40, 0x48, 0x49][chance.below(3)],
                _ => chance.below(1 << 16),
            } as u16;
            known += u64::from(net::native::messages::Kind::from_wire(kind).is_some());
            let (length, bound) = (chance.below(90), [3, 256][chance.below(2)]);
            let body = chance.bytes(length, bound);
            data.extend(kind.to_le_bytes());
            data.extend((body.len() as u32).to_le_bytes());
            data.extend(body);
        }
        control_stream::run(&data);
        known
    });
}

/// Sixteen pieces of texts a round, most of which go on where the one before ended.
#[test]
fn clipboard_pieces() {
    all("clipboard", 16, |chance| {
        let mut data = vec![chance.below(2) as u8];
        let (mut serial, mut total, mut offset) = (0u32, 0u32, 0u32);
        for _ in 0..16 {
            if offset >= total || chance.below(8) == 0 {
                (serial, offset) = (serial + 1, 0);
                total = 1 + chance.below(20_000) as u32;
            }
            let count = (total - offset).min(8192);
            let mut head = Vec::with_capacity(18);
            for field in [serial, chance.below(4) as u32, total, offset] {
                head.extend(field.to_le_bytes());
            }
            head.extend((count as u16).to_le_bytes());
            if chance.below(16) == 0 {
                chance.change(&mut head, 2);
            }
            data.extend(head);
            // What the body fills the piece with: one in eight is no text.
            data.push([b'x', 0xff][usize::from(chance.below(8) == 0)]);
            offset += count;
        }
        clipboard::run(&data).min(15)
    });
}

/// 32 datagrams a round: on time mostly, some that jump, some that are none.
#[test]
fn microphone_datagrams() {
    all("microphone", 32, |chance| {
        let (mut data, mut number) = (Vec::new(), chance.bits() as u32);
        for _ in 0..32 {
            number = match chance.below(16) {
                0 => chance.bits() as u32,
                1 => number.wrapping_sub(chance.below(100) as u32),
                _ => number.wrapping_add(1),
            };
            let count = chance.below(40);
            let mut datagram = vec![0xcc, 0, 0, 0];
            datagram.extend(number.to_le_bytes());
            datagram.extend(chance.bytes(count, 256));
            if chance.below(8) == 0 {
                chance.change(&mut datagram, 3);
            }
            let ms = [5, 5, 5, 0, chance.below(256)][chance.below(5)];
            data.extend([ms as u8, datagram.len() as u8]);
            data.extend(datagram);
        }
        microphone::run(&data).min(31)
    });
}

/// Sixteen echoes a round, most of which nearly make samples.
#[test]
fn clock_echoes() {
    all("echoes", 16, |chance| {
        let (mut data, mut near) = (Vec::new(), 0);
        for step in 1..=16u64 {
            let is_near = chance.below(8) != 0;
            near += u64::from(is_near);
            let mut stamp = |far: u64| match is_near {
                true => step * 900_000_000 + far * 1_000_000 + chance.bits() % 500_000,
                false => chance.bits(),
            };
            // Arrived here, sent here, received and sent by the host.
            let stamps = [stamp(3), stamp(0), stamp(5_001), stamp(5_002)];
            data.extend(stamps.into_iter().flat_map(u64::to_le_bytes));
        }
        clock_echo::run(&data);
        near
    });
}
