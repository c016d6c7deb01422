//! Arbitrary authentic shards and times: frames leave in order without a gap, within the limits.
//!
//! The input is a row of commands of 16 bytes, each a shard whose header is bent towards what
//! [`VideoHeader::parse`] lets through, and the time since the one before.

use std::time::Duration;

use net::limits;
use net::media::VideoHeader;
use net::reassemble::{Event, Granularity, Reassembler, ReassemblerConfig, ReassemblerStats};
use net::units::{FrameId, Timestamp};

const COMMAND_BYTES: usize = 16;
const UNIT_BYTES_MAX: usize = 1 << 17;

/// One session, with whole frames or, if the first bit says so, slice by slice; what became of it.
pub fn run(data: &[u8]) -> ReassemblerStats {
    let granularity = match data.first() {
        Some(first) if first & 1 != 0 => Granularity::Slices,
        _ => Granularity::Frames,
    };
    let config = ReassemblerConfig {
        access_unit_bytes_max: UNIT_BYTES_MAX,
        access_units: 3,
        granularity,
        ..ReassemblerConfig::default()
    };
    let mut reassembler = Reassembler::new(config);
    let mut now = Timestamp::from_ns(1);
    let mut next = FrameId(0);
    let mut held = None;
    let mut begun = None;
    for command in data.chunks_exact(COMMAND_BYTES) {
        now = now + Duration::from_micros(u64::from(command[0]) * u64::from(command[1]));
        let mut datagram = [0; limits::DATAGRAM_BYTES_MAX];
        let bytes = datagram_of(command, next, &mut datagram);
        let Ok(header) = VideoHeader::parse(&datagram[..bytes]) else {
            continue;
        };
        let end = bytes - limits::TAG_BYTES - usize::from(command[15] == 0xff);
        reassembler.handle(now, &header, &datagram[limits::MEDIA_HEADER_BYTES..end]);
        reassembler.gaps(|gap| assert!(!gap.columns.is_empty()));
        if command[2] & 3 != 0 {
            continue;
        }
        while let Some(event) = reassembler.poll(now) {
            match event {
                Event::Frame(unit) => {
                    assert_eq!(unit.frame, next, "in order");
                    assert_eq!(unit.begins, begun.is_none(), "parts in order");
                    assert!(unit.ends || granularity == Granularity::Slices);
                    let bytes = begun.unwrap_or(0) + unit.bytes().len();
                    assert!(bytes > 0 && bytes <= UNIT_BYTES_MAX);
                    begun = Some(bytes).filter(|_| !unit.ends);
                    assert!(unit.slice_times().iter().all(|&time| time <= unit.complete));
                    assert!(unit.received_first <= unit.complete);
                    if unit.ends {
                        next = unit.frame.next();
                    }
                    // Now and then the caller keeps one, so that buffers run out.
                    held = Some(unit).filter(|_| command[2] & 4 != 0);
                }
                Event::Lost(loss) => {
                    assert_eq!(loss.first, next, "in order");
                    assert!(loss.count() >= 1);
                    begun = None;
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

/// A datagram from a command, near the frames that are expected; its length.
fn datagram_of(
    command: &[u8],
    next: FrameId,
    datagram: &mut [u8; limits::DATAGRAM_BYTES_MAX],
) -> usize {
    datagram.fill(0x5a);
    let shard_bytes = 64 * (1 + u16::from(command[3] % 21));
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
    let is_parity = command[7] & 3 == 0;
    datagram[0] = if is_parity { 0x03 } else { 0x01 };
    datagram[1] = 0;
    datagram[2] = command[6] & if is_parity { 0x16 } else { 0x3e };
    datagram[4..8].copy_from_slice(&frame.to_le_bytes());
    datagram[20..24].copy_from_slice(&[command[14] % 2, 0, 0, 0]);
    let column = match command[8] {
        0xff => limits::COLUMNS_PER_FRAME_MAX as u16 - 1,
        near => u16::from(near % 12),
    };
    datagram[16..18].copy_from_slice(&column.to_le_bytes());
    let payload = if is_parity {
        let (k, m) = match command[10] {
            0xff => (2048, 1024),
            small => (1 + u16::from(small % 6), u16::from(command[11] % 4)),
        };
        datagram[3] = command[9] % 3;
        datagram[18..20].copy_from_slice(&u16::from(command[12] % 4).to_le_bytes());
        let body = &mut datagram[limits::MEDIA_HEADER_BYTES..];
        body[..2].copy_from_slice(&k.to_le_bytes());
        body[2..4].copy_from_slice(&m.to_le_bytes());
        // What parity gives back is a descriptor now and then: with one data shard it is one.
        body[4..8].copy_from_slice(&[command[13], command[13] & 1, 0, 0x18]);
        limits::PARITY_PREFIX_BYTES + usize::from(shard_bytes)
    } else {
        datagram[3] = command[9] % 33;
        datagram[18..20].copy_from_slice(&shard_bytes.to_le_bytes());
        let short = usize::from(command[13]) * usize::from(command[2] & 8 != 0);
        usize::from(shard_bytes).saturating_sub(short)
    };
    limits::MEDIA_HEADER_BYTES + payload + limits::TAG_BYTES
}
