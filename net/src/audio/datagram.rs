//! What audio looks like inside QUIC DATAGRAM frames. Integers are little-endian.
//!
//! Host to client, a packet and copies of earlier ones:
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 1 | 0xC9 |
//! | 1 | 1 | stream, 0 |
//! | 2 | 1 | copies c, at most 3 |
//! | 3 | 1 | 0, ignored |
//! | 4 | 4 | number of the packet, one each 5 ms, mod 2³² |
//! | 8 | 4 | capture time, µs of the host's clock mod 2³² |
//! | 12 | 2 | length of the packet, 1 to 1024 |
//! | 14 + 3 i | 1 | copy i: how many packets earlier, 1 to 8, rising |
//! | 15 + 3 i | 2 | copy i: length, 1 to 1024 |
//! | 14 + 3 c | | the packet, then the copies, to the end of the datagram |
//!
//! Client to host, at most every 100 ms, idempotent:
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 1 | 0xCB |
//! | 1 | 1 | stream, 0 |
//! | 2 | 2 | delay from arrival to playing, ms |
//! | 4 | 4 | n, number of the newest datagram that arrived |
//! | 8 | 8 | bit i: datagram n − i arrived |

use super::{AUDIO_DATAGRAM_BYTES_MAX, COPIES_MAX, DISTANCE_MAX, PACKET_BYTES_MAX};
use crate::bytes::{Reader, Truncated, Writer};

/// First byte of an audio datagram.
pub const KIND_AUDIO: u8 = 0xC9;
/// First byte of a report.
pub const KIND_REPORT: u8 = 0xCB;
/// Bytes before the table of copies.
pub const HEADER_BYTES: usize = 14;
/// Bytes of the table for each copy.
pub const COPY_BYTES: usize = 3;
/// Bytes of a report.
pub const REPORT_BYTES: usize = 16;
/// Datagrams that a report tells of.
pub const REPORT_DATAGRAMS: usize = 64;

/// A copy of an earlier packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketCopy<'a> {
    /// How many packets before the datagram's own, 1 to [`DISTANCE_MAX`].
    pub distance: u8,
    /// The packet.
    pub packet: &'a [u8],
}

/// A datagram, read; within the limits of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioDatagram<'a> {
    /// Number of the packet, mod 2³².
    pub number: u32,
    /// Capture time, µs of the host's clock mod 2³².
    pub captured_us: u32,
    /// The packet.
    pub packet: &'a [u8],
    copies: [Option<PacketCopy<'a>>; COPIES_MAX],
}

/// A datagram that is none of audio's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AudioDatagramError {
    /// Another first byte.
    #[error("a datagram of kind {0:#04x} is not audio's: hand it to its own plane")]
    Kind(u8),
    /// A stream that was not agreed on.
    #[error("audio stream {0} does not exist: drop the datagram")]
    Stream(u8),
    /// Shorter than its own fields say.
    #[error("an audio datagram is too short: {0}")]
    Truncated(#[from] Truncated),
    /// Longer than its own fields say.
    #[error("an audio datagram has {0} bytes too many")]
    Trailing(usize),
    /// A length outside the limits.
    #[error("an audio packet of {0} bytes: 1 to {PACKET_BYTES_MAX} are possible")]
    PacketBytes(usize),
    /// A table of copies that makes no sense.
    #[error("the copies of an audio datagram are not in order, too many or too far back")]
    Copies,
}

impl<'a> AudioDatagram<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`AudioDatagramError`]; the datagram is to be dropped.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, AudioDatagramError> {
        let mut reader = Reader::new(bytes);
        kind_and_stream(&mut reader, KIND_AUDIO)?;
        let count = usize::from(reader.u8()?);
        let _reserved = reader.u8()?;
        let number = reader.u32()?;
        let captured_us = reader.u32()?;
        let own_bytes = packet_bytes(&mut reader)?;
        if count > COPIES_MAX {
            return Err(AudioDatagramError::Copies);
        }
        let mut table = [(0, 0); COPIES_MAX];
        let mut last = 0;
        for entry in &mut table[..count] {
            let distance = reader.u8()?;
            if distance <= last || distance > DISTANCE_MAX {
                return Err(AudioDatagramError::Copies);
            }
            last = distance;
            *entry = (distance, packet_bytes(&mut reader)?);
        }
        let packet = reader.take(own_bytes)?;
        let mut copies = [None; COPIES_MAX];
        for (copy, &(distance, bytes)) in copies.iter_mut().zip(&table[..count]) {
            let packet = reader.take(bytes)?;
            *copy = Some(PacketCopy { distance, packet });
        }
        let used = HEADER_BYTES
            + COPY_BYTES * count
            + own_bytes
            + table.iter().map(|&(_, bytes)| bytes).sum::<usize>();
        if used != bytes.len() {
            return Err(AudioDatagramError::Trailing(bytes.len() - used));
        }
        Ok(Self {
            number,
            captured_us,
            packet,
            copies,
        })
    }

    /// A packet that another plane brought, without copies and time.
    pub(super) const fn alone(number: u32, packet: &'a [u8]) -> Self {
        Self {
            number,
            captured_us: 0,
            packet,
            copies: [None; COPIES_MAX],
        }
    }

    /// The copies, nearest first.
    pub fn copies(&self) -> impl Iterator<Item = PacketCopy<'a>> {
        self.copies.into_iter().flatten()
    }
}

/// Writes a datagram; the caller has kept to the limits.
pub(super) fn write<'a>(
    out: &mut Vec<u8>,
    number: u32,
    captured_us: u32,
    packet: &[u8],
    copies: impl Iterator<Item = PacketCopy<'a>> + Clone,
) {
    out.clear();
    let mut writer = Writer::new(out);
    writer.u8(KIND_AUDIO);
    writer.u8(0);
    writer.u8(copies.clone().count() as u8);
    writer.u8(0);
    writer.u32(number);
    writer.u32(captured_us);
    writer.u16(packet.len() as u16);
    for copy in copies.clone() {
        writer.u8(copy.distance);
        writer.u16(copy.packet.len() as u16);
    }
    writer.bytes(packet);
    for copy in copies {
        writer.bytes(copy.packet);
    }
    debug_assert!(out.len() <= AUDIO_DATAGRAM_BYTES_MAX);
}

/// Which datagrams arrived at the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioReport {
    /// Delay from arrival to playing, ms.
    pub delay_ms: u16,
    /// Number of the newest datagram that arrived, mod 2³².
    pub newest: u32,
    /// Bit i: the datagram `newest` − i arrived.
    pub arrived: u64,
}

impl AudioReport {
    /// The datagram.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        let mut writer = Writer::new(out);
        writer.u8(KIND_REPORT);
        writer.u8(0);
        writer.u16(self.delay_ms);
        writer.u32(self.newest);
        writer.u64(self.arrived);
    }

    /// Reads a report.
    ///
    /// # Errors
    /// [`AudioDatagramError`]; the datagram is to be dropped.
    pub fn parse(bytes: &[u8]) -> Result<Self, AudioDatagramError> {
        let mut reader = Reader::new(bytes);
        kind_and_stream(&mut reader, KIND_REPORT)?;
        let report = Self {
            delay_ms: reader.u16()?,
            newest: reader.u32()?,
            arrived: reader.u64()?,
        };
        match bytes.len() - REPORT_BYTES {
            0 => Ok(report),
            extra => Err(AudioDatagramError::Trailing(extra)),
        }
    }
}

fn kind_and_stream(reader: &mut Reader<'_>, kind: u8) -> Result<(), AudioDatagramError> {
    match reader.u8()? {
        found if found == kind => {}
        found => return Err(AudioDatagramError::Kind(found)),
    }
    match reader.u8()? {
        0 => Ok(()),
        stream => Err(AudioDatagramError::Stream(stream)),
    }
}

fn packet_bytes(reader: &mut Reader<'_>) -> Result<usize, AudioDatagramError> {
    match usize::from(reader.u16()?) {
        bytes if (1..=PACKET_BYTES_MAX).contains(&bytes) => Ok(bytes),
        bytes => Err(AudioDatagramError::PacketBytes(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_of_a_datagram() {
        let copies = [(1, &b"bc"[..]), (3, &b"z"[..])];
        let copies = copies.map(|(distance, packet)| PacketCopy { distance, packet });
        let mut bytes = Vec::new();
        write(
            &mut bytes,
            0x0102_0304,
            0x1112_1314,
            b"opus",
            copies.into_iter(),
        );
        let golden = [
            0xc9, 0x00, 0x02, 0x00, // kind, stream, copies
            0x04, 0x03, 0x02, 0x01, // number
            0x14, 0x13, 0x12, 0x11, // captured_us
            0x04, 0x00, // length of the packet
            0x01, 0x02, 0x00, // one packet earlier, 2 bytes
            0x03, 0x01, 0x00, // three packets earlier, 1 byte
            b'o', b'p', b'u', b's', b'b', b'c', b'z',
        ];
        assert_eq!(bytes, golden);
        let read = AudioDatagram::parse(&golden).expect("valid");
        assert_eq!((read.number, read.captured_us), (0x0102_0304, 0x1112_1314));
        assert_eq!(read.packet, b"opus");
        assert!(read.copies().eq(copies));
        for length in 0..golden.len() {
            let error = AudioDatagram::parse(&golden[..length]).expect_err("cut off");
            assert!(matches!(error, AudioDatagramError::Truncated(_)), "{error}");
        }
        let longer = [&golden[..], &[0]].concat();
        assert_eq!(
            AudioDatagram::parse(&longer),
            Err(AudioDatagramError::Trailing(1))
        );
    }

    #[test]
    fn fields_outside_the_limits_are_refused() {
        let valid = [0xc9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 7, 8];
        AudioDatagram::parse(&valid).expect("valid");
        for (at, value, error) in [
            (0, 0xc8, AudioDatagramError::Kind(0xc8)),
            (1, 1, AudioDatagramError::Stream(1)),
            (2, 4, AudioDatagramError::Copies),
            (12, 0, AudioDatagramError::PacketBytes(0)),
            (13, 5, AudioDatagramError::PacketBytes(0x501)),
            (14, 0, AudioDatagramError::Copies),
            (14, 9, AudioDatagramError::Copies),
            (15, 0, AudioDatagramError::PacketBytes(0)),
        ] {
            let mut bytes = valid;
            bytes[at] = value;
            assert_eq!(AudioDatagram::parse(&bytes), Err(error));
        }
    }

    #[test]
    fn golden_bytes_of_a_report() {
        let report = AudioReport {
            delay_ms: 0x0102,
            newest: 0x1112_1314,
            arrived: 0x2122_2324_2526_2728,
        };
        let mut bytes = Vec::new();
        report.write(&mut bytes);
        let golden = [
            0xcb, 0x00, 0x02, 0x01, // kind, stream, delay_ms
            0x14, 0x13, 0x12, 0x11, // newest
            0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21, // arrived
        ];
        assert_eq!(bytes, golden);
        assert_eq!(AudioReport::parse(&golden), Ok(report));
        assert!(AudioReport::parse(&golden[..15]).is_err());
    }
}
