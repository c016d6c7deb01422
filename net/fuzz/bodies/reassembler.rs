//! Arbitrary authentic shards and times: frames leave in order without a gap, within the limits.
//!
//! The input is a row of commands of 16 bytes, each a shard whose header is bent towards what
//! [`VideoHeader::parse`] lets through, and the time since the one before.

use std::time::Duration;

use net::limits;
use net::media::VideoHeader;
use net::reassemble::{Event, Reassembler, ReassemblerConfig, ReassemblerStats};
use net::units::{FrameId, Timestamp};

const COMMAND_BYTES: usize = 16;
const UNIT_BYTES_MAX: usize = 1 << 17;

/// One session; what became of it.
pub fn run(data: &[u8]) -> ReassemblerStats {
    let config = ReassemblerConfig {
        access_unit_bytes_max: UNIT_BYTES_MAX,
        access_units: 3,
        ..ReassemblerConfig::default()
    };
    let mut reassembler = Reassembler::new(config);
    let payload = [0x5a; limits::SHARD_BYTES_MAX];
    let mut now = Timestamp::from_ns(1);
    let mut next = FrameId(0);
    let mut held = None;
    for command in data.chunks_exact(COMMAND_BYTES) {
        now = now + Duration::from_micros(u64::from(command[0]) * u64::from(command[1]));
        let Some(header) = header(command, next) else {
            continue;
        };
        let wrong_size = command[15] == 0xff;
        let bytes = usize::from(header.shard_bytes) - usize::from(wrong_size);
        reassembler.handle(now, &header, &payload[..bytes]);
        if command[2] & 3 != 0 {
            continue;
        }
        while let Some(event) = reassembler.poll(now) {
            match event {
                Event::Frame(unit) => {
                    assert_eq!(unit.frame, next, "in order");
                    assert!(!unit.bytes().is_empty() && unit.bytes().len() <= UNIT_BYTES_MAX);
                    assert!(unit.slice_times().iter().all(|&time| time <= unit.complete));
                    assert!(unit.received_first <= unit.complete);
                    next = unit.frame.next();
                    // Now and then the caller keeps one, so that buffers run out.
                    held = Some(unit).filter(|_| command[2] & 4 != 0);
                }
                Event::Lost(loss) => {
                    assert_eq!(loss.first, next, "in order");
                    assert!(loss.count() >= 1);
                    next = loss.last.next();
                }
            }
        }
        assert_eq!(reassembler.front(), next);
    }
    drop(held);
    let stats = reassembler.stats();
    let gone = stats.frames + stats.lost_frames;
    assert!(
        gone >= u64::from(reassembler.front().0),
        "every frame is accounted for"
    );
    stats
}

/// A header from a command, near the frames that are expected.
fn header(command: &[u8], next: FrameId) -> Option<VideoHeader> {
    let mut datagram = [0; limits::DATAGRAM_BYTES_MAX];
    let shard_units = 1 + u16::from(command[3] % 21);
    let shard_bytes = 64 * shard_units;
    let far = if command[4] == 0xff {
        u32::from(command[5]) << 16
    } else {
        0
    };
    let frame = next
        .0
        .wrapping_add(u32::from(command[4] % 12))
        .wrapping_sub(2)
        .wrapping_add(far);
    datagram[0] = 0x01;
    datagram[2] = command[6] & 0x0e;
    datagram[3] = command[7] % 3;
    datagram[4..8].copy_from_slice(&frame.to_le_bytes());
    datagram[16] = command[8] % 66;
    datagram[17] = command[9] % 33;
    let (k, m) = match command[10] {
        0xff => (2048, 1024),
        small => (1 + u16::from(small % 6), u16::from(command[11] % 4)),
    };
    datagram[18..20].copy_from_slice(&u16::from(command[12] % 10).to_le_bytes());
    datagram[20..22].copy_from_slice(&k.to_le_bytes());
    datagram[22..24].copy_from_slice(&m.to_le_bytes());
    datagram[24..26].copy_from_slice(&shard_bytes.to_le_bytes());
    datagram[26..28].copy_from_slice(&u16::from(command[13]).to_le_bytes());
    datagram[28] = command[14] % 2;
    let bytes = limits::MEDIA_HEADER_BYTES + usize::from(shard_bytes) + limits::TAG_BYTES;
    VideoHeader::parse(&datagram[..bytes]).ok()
}
