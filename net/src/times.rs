//! The stamps that ride along with a frame, so that latency is measured where it happens, and
//! how they cross the wire to a client that asked for them.
//!
//! One frame on the wire, little-endian; 24 bytes and 20 for each slice:
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 4 | frame |
//! | 4 | 1 | flags: bit 0 IDR |
//! | 5 | 1 | slices n, at most 32 |
//! | 6 | 2 | mean quantiser, tenths |
//! | 8 | 8 | captured, ns of the host's clock |
//! | 16 | 4 | encode begin, ns after captured |
//! | 20 | 4 | converted, ns after captured |
//! | 24 + 20 i | 4 | slice i: encoded, ns after captured |
//! | +4 | 4 | protected, ns after captured |
//! | +8 | 4 | first byte to the kernel, ns after captured |
//! | +12 | 4 | last byte to the kernel, ns after captured |
//! | +16 | 4 | bytes before FEC |
//!
//! A time of 0xFFFFFFFF stands for "not yet"; later ones than 4.29 s saturate just below it.

use crate::bytes::{Reader, Truncated, Writer};
use crate::limits::{FRAME_TIMES_BYTES_MAX, SLICES_PER_FRAME_MAX};
use crate::units::{FrameId, Timestamp};

const FLAG_KEYFRAME: u8 = 1 << 0;
const NOT_YET: u32 = u32::MAX;
const HEAD_BYTES: usize = 24;
const SLICE_BYTES: usize = 20;
const _: () =
    assert!(HEAD_BYTES + SLICE_BYTES * SLICES_PER_FRAME_MAX as usize == FRAME_TIMES_BYTES_MAX);

/// What the host's stages saw of one slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SliceTimes {
    /// The encoder had finished it.
    pub encoded: Timestamp,
    /// FEC and AEAD were done.
    pub protected: Timestamp,
    /// Just before its first datagram was given to the kernel.
    pub first_byte: Timestamp,
    /// The kernel had taken its last datagram.
    pub last_byte: Timestamp,
    /// Size, bytes, before FEC.
    pub bytes: u32,
}

/// What the host's stages saw of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameTimes {
    /// Which frame.
    pub frame: FrameId,
    /// It is an IDR.
    pub keyframe: bool,
    /// Pixels complete in the capture buffer.
    pub captured: Timestamp,
    /// Taken by the encode thread.
    pub encode_begin: Timestamp,
    /// Colours converted.
    pub converted: Timestamp,
    /// Its slices, top to bottom.
    pub slices: [SliceTimes; SLICES_PER_FRAME_MAX as usize],
    /// How many of `slices` are in use.
    pub slice_count: u8,
    /// Mean quantiser, tenths.
    pub qp_tenths: u16,
}

/// Why bytes are not frame times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimesError {
    /// They end too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// More slices than a frame has.
    #[error("{count} slices, where a frame has at most {SLICES_PER_FRAME_MAX}")]
    Slices {
        /// The claimed number.
        count: u8,
    },
}

impl FrameTimes {
    /// The slices in use, top to bottom.
    #[must_use]
    pub fn slices(&self) -> &[SliceTimes] {
        &self.slices[..usize::from(self.slice_count).min(self.slices.len())]
    }

    /// Bytes on the wire.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        HEAD_BYTES + SLICE_BYTES * self.slices().len()
    }

    /// Appends the frame.
    pub fn write(&self, out: &mut Writer<'_>) {
        let slices = self.slices();
        out.u32(self.frame.0);
        out.u8(if self.keyframe { FLAG_KEYFRAME } else { 0 });
        out.u8(slices.len() as u8);
        out.u16(self.qp_tenths);
        out.u64(self.captured.as_ns());
        out.u32(self.offset_of(self.encode_begin));
        out.u32(self.offset_of(self.converted));
        for slice in slices {
            out.u32(self.offset_of(slice.encoded));
            out.u32(self.offset_of(slice.protected));
            out.u32(self.offset_of(slice.first_byte));
            out.u32(self.offset_of(slice.last_byte));
            out.u32(slice.bytes);
        }
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// See [`TimesError`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, TimesError> {
        let mut times = Self {
            frame: FrameId(reader.u32()?),
            ..Self::default()
        };
        times.keyframe = reader.u8()? & FLAG_KEYFRAME != 0;
        times.slice_count = reader.u8()?;
        if times.slice_count > SLICES_PER_FRAME_MAX {
            return Err(TimesError::Slices {
                count: times.slice_count,
            });
        }
        times.qp_tenths = reader.u16()?;
        times.captured = Timestamp::from_ns(reader.u64()?);
        let captured_ns = times.captured.as_ns();
        let time = |reader: &mut Reader<'_>| -> Result<Timestamp, Truncated> {
            Ok(match reader.u32()? {
                NOT_YET => Timestamp::ZERO,
                after_ns => Timestamp::from_ns(captured_ns.saturating_add(u64::from(after_ns))),
            })
        };
        times.encode_begin = time(reader)?;
        times.converted = time(reader)?;
        for slice in &mut times.slices[..usize::from(times.slice_count)] {
            slice.encoded = time(reader)?;
            slice.protected = time(reader)?;
            slice.first_byte = time(reader)?;
            slice.last_byte = time(reader)?;
            slice.bytes = reader.u32()?;
        }
        Ok(times)
    }

    fn offset_of(&self, time: Timestamp) -> u32 {
        if time.is_zero() {
            return NOT_YET;
        }
        let after_ns = time.as_ns().saturating_sub(self.captured.as_ns());
        u32::try_from(after_ns)
            .unwrap_or(NOT_YET - 1)
            .min(NOT_YET - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ns: u64) -> Timestamp {
        Timestamp::from_ns(ns)
    }

    fn example() -> FrameTimes {
        let mut times = FrameTimes {
            frame: FrameId(7),
            keyframe: true,
            captured: at(0x0102_0304_0506_0708),
            encode_begin: at(0x0102_0304_0506_0708 + 1000),
            slice_count: 1,
            qp_tenths: 335,
            ..FrameTimes::default()
        };
        times.slices[0] = SliceTimes {
            encoded: times.captured,
            protected: at(times.captured.as_ns() + 2),
            first_byte: at(times.captured.as_ns() + u64::from(u32::MAX) * 2),
            last_byte: Timestamp::ZERO,
            bytes: 0xaabb,
        };
        times
    }

    #[test]
    fn golden_bytes() {
        let mut out = Vec::new();
        example().write(&mut Writer::new(&mut out));
        let golden = [
            0x07, 0, 0, 0, 0x01, 0x01, 0x4f, 0x01, // frame, flags, slices, quantiser
            0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01, // captured
            0xe8, 0x03, 0, 0, 0xff, 0xff, 0xff, 0xff, // begin, converted (not yet)
            0, 0, 0, 0, 2, 0, 0, 0, // encoded, protected
            0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xff, // first (saturated), last (not yet)
            0xbb, 0xaa, 0, 0, // bytes
        ];
        assert_eq!(out, golden);
        assert_eq!(out.len(), example().wire_bytes());
        let read = FrameTimes::read(&mut Reader::new(&out)).expect("just written");
        assert_eq!(
            (read.frame, read.qp_tenths, read.slice_count),
            (FrameId(7), 335, 1)
        );
        assert_eq!(read.converted, Timestamp::ZERO);
        assert_eq!(read.slices[0].protected, at(example().captured.as_ns() + 2));
    }

    #[test]
    fn every_cut_is_an_error() {
        let mut out = Vec::new();
        example().write(&mut Writer::new(&mut out));
        for end in 0..out.len() {
            assert!(FrameTimes::read(&mut Reader::new(&out[..end])).is_err());
        }
        out[5] = 33;
        assert_eq!(
            FrameTimes::read(&mut Reader::new(&out)),
            Err(TimesError::Slices { count: 33 })
        );
    }
}
