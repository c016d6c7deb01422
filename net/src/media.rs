//! The media datagram: what travels beside QUIC on the same UDP port.
//!
//! A media datagram is a header of 32 bytes, authenticated but readable, then a sealed payload
//! and its tag of 16 bytes. Its first byte lies in 0x00 to 0x3F; QUIC always sets bit 0x40
//! (RFC 9000 section 17). All integers are little-endian.
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 1 | type: 0x01 video; 0x02 is kept for feedback |
//! | 1 | 1 | stream, 0 |
//! | 2 | 1 | flags: bit 0 key phase, bit 1 IDR, bit 2 recovery, bit 3 last block of the frame |
//! | 3 | 1 | FEC code: 0 none, 1 GF(2⁸), 2 GF(2¹⁶) |
//! | 4 | 4 | frame |
//! | 8 | 8 | sequence |
//! | 16 | 1 | index of the block in the frame |
//! | 17 | 1 | index of the first slice in the block |
//! | 18 | 2 | index of the shard in the block, data shards first, then parity |
//! | 20 | 2 | data shards k |
//! | 22 | 2 | parity shards m |
//! | 24 | 2 | bytes of a shard |
//! | 26 | 2 | padding bytes at the end of the block's data, less than a shard |
//! | 28 | 4 | capture time, µs of the host's clock modulo 2³² |
//!
//! Sequence (offset 8) and key phase (byte 2, bit 0) stand at the same place in every type of
//! media datagram: [`crate::crypto`] works on them alone.
//!
//! [`VideoHeader::parse`] checks every relation that the reassembler relies on, before
//! authentication too: it is cheap, and what it refuses needs no decryption.

use crate::crypto::{OpenError, Opener};
use crate::fec::Code;
use crate::limits::{
    BLOCKS_PER_FRAME_MAX, MEDIA_HEADER_BYTES, SHARD_BYTES_MAX, SHARD_BYTES_MIN,
    SLICES_PER_FRAME_MAX, TAG_BYTES,
};
use crate::units::{FrameId, SliceIndex, Timestamp};

/// Type of a video datagram.
pub const TYPE_VIDEO: u8 = 0x01;
/// Type kept for feedback (missing shards, receipts), client to host.
pub const TYPE_FEEDBACK: u8 = 0x02;
/// Offset of the sequence in every media header.
pub const SEQUENCE_OFFSET: usize = 8;
/// Offset of the flags in every media header.
pub const FLAGS_OFFSET: usize = 2;
/// Bit of the key phase in the flags of every media header.
pub const FLAG_KEY_PHASE: u8 = 1 << 0;
const FLAG_KEYFRAME: u8 = 1 << 1;
const FLAG_RECOVERY: u8 = 1 << 2;
const FLAG_LAST_BLOCK: u8 = 1 << 3;

/// True if a UDP payload with this first byte is a media datagram, false if it is QUIC.
#[must_use]
pub const fn is_media(first_byte: u8) -> bool {
    first_byte <= 0x3F
}

/// Capture time on the wire: µs of the host's clock modulo 2³² (it wraps after 71 minutes).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CaptureMicros(pub u32);

impl From<Timestamp> for CaptureMicros {
    fn from(time: Timestamp) -> Self {
        // Truncation is the modulo that the format states.
        Self((time.as_ns() / 1000) as u32)
    }
}

impl CaptureMicros {
    /// The full time, µs precise, if it lies within 35 minutes of `near` on the same clock.
    #[must_use]
    pub fn expand(self, near: Timestamp) -> Timestamp {
        let near_us = near.as_ns() / 1000;
        // The signed distance modulo 2³² picks the nearest candidate.
        let distance_us = self.0.wrapping_sub(near_us as u32) as i32;
        Timestamp::from_ns(
            near_us
                .saturating_add_signed(i64::from(distance_us))
                .saturating_mul(1000),
        )
    }
}

/// Header of a video datagram. A value from [`VideoHeader::parse`] satisfies every limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoHeader {
    /// Lowest bit of the key phase; written by the sealer.
    pub key_phase: bool,
    /// The frame is an IDR.
    pub keyframe: bool,
    /// The frame depends on nothing that the client reported lost.
    pub recovery: bool,
    /// No block of this frame follows.
    pub last_block: bool,
    /// How the parity was made.
    pub code: Code,
    /// Which frame.
    pub frame: FrameId,
    /// Number of the datagram, never reused; written by the sealer.
    pub sequence: u64,
    /// Index of the block in its frame.
    pub block: u8,
    /// The first slice that the block holds.
    pub first_slice: SliceIndex,
    /// Index of the shard in the block.
    pub shard: u16,
    /// k.
    pub data_shards: u16,
    /// m.
    pub parity_shards: u16,
    /// Size of every shard of the block.
    pub shard_bytes: u16,
    /// Bytes at the end of the block's data that belong to no slice.
    pub padding_bytes: u16,
    /// When the pixels were complete.
    pub captured: CaptureMicros,
}

/// Why a datagram is not a video datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// Too short for any media datagram.
    #[error("a datagram of {bytes} bytes is shorter than a media header and a tag")]
    Short {
        /// Its length.
        bytes: usize,
    },
    /// Of another type.
    #[error("media type {kind:#04x} is not video")]
    Type {
        /// Its first byte.
        kind: u8,
    },
    /// Of a stream or with a flag that this version does not know.
    #[error("stream {stream} with flags {flags:#04x} is not known to this version")]
    Reserved {
        /// Stream number.
        stream: u8,
        /// All flags.
        flags: u8,
    },
    /// A FEC code that this version does not know.
    #[error("FEC code {code} is not known to this version")]
    Code {
        /// Its number.
        code: u8,
    },
    /// More shards than the code allows, none at all, or parity without a code.
    #[error("{data} data and {parity} parity shards do not fit {code:?}")]
    Shards {
        /// k.
        data: u16,
        /// m.
        parity: u16,
        /// The code.
        code: Code,
    },
    /// The shard index lies outside the block.
    #[error("shard {shard} of a block of {total}")]
    ShardIndex {
        /// Its index.
        shard: u16,
        /// k + m.
        total: u16,
    },
    /// The shard size is not a multiple of 64 within the limits, or less than the padding.
    #[error("{shard_bytes} bytes a shard with {padding_bytes} bytes of padding")]
    ShardBytes {
        /// Shard size.
        shard_bytes: u16,
        /// Padding.
        padding_bytes: u16,
    },
    /// Block or slice number beyond the limits.
    #[error("block {block} with slice {slice} is beyond the limits of a frame")]
    Position {
        /// Block index.
        block: u8,
        /// Slice index.
        slice: u8,
    },
    /// The datagram's length is not header, shard and tag.
    #[error("{bytes} bytes where header, shard and tag make {expected}")]
    Length {
        /// Its length.
        bytes: usize,
        /// What the header implies.
        expected: usize,
    },
}

/// Why [`open_video`] gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VideoError {
    /// The header is not acceptable.
    #[error(transparent)]
    Header(#[from] MediaError),
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl VideoHeader {
    /// Reads and checks the header of a whole datagram (header, sealed payload, tag).
    ///
    /// # Errors
    /// See [`MediaError`]; nothing is allocated either way.
    pub fn parse(datagram: &[u8]) -> Result<Self, MediaError> {
        let Some(h) = datagram
            .first_chunk::<MEDIA_HEADER_BYTES>()
            .filter(|_| datagram.len() >= MEDIA_HEADER_BYTES + TAG_BYTES)
        else {
            return Err(MediaError::Short {
                bytes: datagram.len(),
            });
        };
        if h[0] != TYPE_VIDEO {
            return Err(MediaError::Type { kind: h[0] });
        }
        let flags = h[FLAGS_OFFSET];
        let known = FLAG_KEY_PHASE | FLAG_KEYFRAME | FLAG_RECOVERY | FLAG_LAST_BLOCK;
        if h[1] != 0 || flags & !known != 0 {
            return Err(MediaError::Reserved {
                stream: h[1],
                flags,
            });
        }
        let u16_at = |at: usize| u16::from_le_bytes([h[at], h[at + 1]]);
        let u32_at = |at: usize| u32::from_le_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
        let header = Self {
            key_phase: flags & FLAG_KEY_PHASE != 0,
            keyframe: flags & FLAG_KEYFRAME != 0,
            recovery: flags & FLAG_RECOVERY != 0,
            last_block: flags & FLAG_LAST_BLOCK != 0,
            code: Code::from_wire(h[3]).ok_or(MediaError::Code { code: h[3] })?,
            frame: FrameId(u32_at(4)),
            sequence: u64::from(u32_at(8)) | u64::from(u32_at(12)) << 32,
            block: h[16],
            first_slice: SliceIndex(h[17]),
            shard: u16_at(18),
            data_shards: u16_at(20),
            parity_shards: u16_at(22),
            shard_bytes: u16_at(24),
            padding_bytes: u16_at(26),
            captured: CaptureMicros(u32_at(28)),
        };
        header.check(datagram.len())?;
        Ok(header)
    }

    /// Writes the header; sequence and key phase are overwritten by the sealer.
    pub fn write(&self, out: &mut [u8; MEDIA_HEADER_BYTES]) {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        out[0] = TYPE_VIDEO;
        out[1] = 0;
        out[FLAGS_OFFSET] = flag(self.key_phase, FLAG_KEY_PHASE)
            | flag(self.keyframe, FLAG_KEYFRAME)
            | flag(self.recovery, FLAG_RECOVERY)
            | flag(self.last_block, FLAG_LAST_BLOCK);
        out[3] = self.code.to_wire();
        out[4..8].copy_from_slice(&self.frame.0.to_le_bytes());
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16] = self.block;
        out[17] = self.first_slice.0;
        out[18..20].copy_from_slice(&self.shard.to_le_bytes());
        out[20..22].copy_from_slice(&self.data_shards.to_le_bytes());
        out[22..24].copy_from_slice(&self.parity_shards.to_le_bytes());
        out[24..26].copy_from_slice(&self.shard_bytes.to_le_bytes());
        out[26..28].copy_from_slice(&self.padding_bytes.to_le_bytes());
        out[28..32].copy_from_slice(&self.captured.0.to_le_bytes());
    }

    /// Bytes of picture in the block: data shards less padding.
    #[must_use]
    pub fn block_bytes(&self) -> usize {
        let shards = usize::from(self.data_shards) * usize::from(self.shard_bytes);
        shards.saturating_sub(usize::from(self.padding_bytes))
    }

    /// k + m.
    #[must_use]
    pub const fn total_shards(&self) -> usize {
        self.data_shards as usize + self.parity_shards as usize
    }

    fn check(&self, datagram_bytes: usize) -> Result<(), MediaError> {
        let (k, m) = (
            usize::from(self.data_shards),
            usize::from(self.parity_shards),
        );
        // A block without parity names no code, so that there is one way to say it.
        if !self.code.fits(k, m) || (m == 0) != (self.code == Code::None) {
            let (data, parity) = (self.data_shards, self.parity_shards);
            return Err(MediaError::Shards {
                data,
                parity,
                code: self.code,
            });
        }
        let total = self.data_shards + self.parity_shards;
        if self.shard >= total {
            return Err(MediaError::ShardIndex {
                shard: self.shard,
                total,
            });
        }
        let (shard_bytes, padding_bytes) = (self.shard_bytes, self.padding_bytes);
        let size = usize::from(shard_bytes);
        if !(SHARD_BYTES_MIN..=SHARD_BYTES_MAX).contains(&size)
            || size % 64 != 0
            || padding_bytes >= shard_bytes
        {
            return Err(MediaError::ShardBytes {
                shard_bytes,
                padding_bytes,
            });
        }
        let slice = self.first_slice.0;
        if usize::from(self.block) >= BLOCKS_PER_FRAME_MAX || slice >= SLICES_PER_FRAME_MAX {
            return Err(MediaError::Position {
                block: self.block,
                slice,
            });
        }
        let expected = MEDIA_HEADER_BYTES + size + TAG_BYTES;
        if datagram_bytes != expected {
            return Err(MediaError::Length {
                bytes: datagram_bytes,
                expected,
            });
        }
        Ok(())
    }
}

/// Checks and opens a video datagram in place: its header and its plaintext shard.
///
/// # Errors
/// [`VideoError`]; the datagram's bytes are then worthless.
pub fn open_video<'d>(
    opener: &mut Opener,
    datagram: &'d mut [u8],
) -> Result<(VideoHeader, &'d [u8]), VideoError> {
    let header = VideoHeader::parse(datagram)?;
    let (_, payload) = opener.open(datagram)?;
    Ok((header, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> VideoHeader {
        VideoHeader {
            key_phase: true,
            keyframe: true,
            recovery: false,
            last_block: true,
            code: Code::Gf8,
            frame: FrameId(0x0403_0201),
            sequence: 0x0807_0605_0403_0201,
            block: 7,
            first_slice: SliceIndex(6),
            shard: 23,
            data_shards: 20,
            parity_shards: 4,
            shard_bytes: 1344,
            padding_bytes: 100,
            captured: CaptureMicros(0xddcc_bbaa),
        }
    }

    fn datagram(header: &VideoHeader) -> Vec<u8> {
        let mut bytes = vec![0; 32 + usize::from(header.shard_bytes) + 16];
        header.write(bytes.first_chunk_mut().expect("32 bytes"));
        bytes
    }

    #[test]
    fn golden_bytes() {
        let mut out = [0; 32];
        header().write(&mut out);
        let golden = [
            0x01, 0x00, 0x0b, 0x01, // type, stream, flags, code
            0x01, 0x02, 0x03, 0x04, // frame
            0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, // sequence
            0x07, 0x06, 0x17, 0x00, // block, first slice, shard
            0x14, 0x00, 0x04, 0x00, // k, m
            0x40, 0x05, 0x64, 0x00, // shard bytes, padding
            0xaa, 0xbb, 0xcc, 0xdd, // captured
        ];
        assert_eq!(out, golden);
        assert_eq!(VideoHeader::parse(&datagram(&header())), Ok(header()));
    }

    #[test]
    fn every_relation_is_checked() {
        let refused = |change: fn(&mut VideoHeader)| {
            let mut changed = header();
            change(&mut changed);
            VideoHeader::parse(&datagram(&changed)).expect_err("must be refused")
        };
        assert!(matches!(
            refused(|h| h.shard = 24),
            MediaError::ShardIndex { .. }
        ));
        assert!(matches!(
            refused(|h| h.data_shards = 0),
            MediaError::Shards { .. }
        ));
        assert!(matches!(
            refused(|h| h.parity_shards = 0),
            MediaError::Shards { .. }
        ));
        assert!(matches!(
            refused(|h| h.data_shards = 252),
            MediaError::Shards { .. }
        ));
        assert!(matches!(
            refused(|h| h.code = Code::None),
            MediaError::Shards { .. }
        ));
        assert!(matches!(
            refused(|h| {
                h.code = Code::Gf16;
                h.data_shards = 2049;
            }),
            MediaError::Shards { .. }
        ));
        assert!(matches!(
            refused(|h| {
                h.code = Code::Gf16;
                h.parity_shards = u16::MAX;
            }),
            MediaError::Shards { .. }
        ));
        assert!(matches!(
            refused(|h| h.shard_bytes = 1343),
            MediaError::ShardBytes { .. }
        ));
        assert!(matches!(
            refused(|h| h.shard_bytes = 0),
            MediaError::ShardBytes { .. }
        ));
        assert!(matches!(
            refused(|h| h.shard_bytes = 1408),
            MediaError::ShardBytes { .. }
        ));
        assert!(matches!(
            refused(|h| h.padding_bytes = 1344),
            MediaError::ShardBytes { .. }
        ));
        assert!(matches!(
            refused(|h| h.block = 64),
            MediaError::Position { .. }
        ));
        assert!(matches!(
            refused(|h| h.first_slice = SliceIndex(32)),
            MediaError::Position { .. }
        ));
    }

    #[test]
    fn length_type_stream_and_flags_are_checked() {
        let good = datagram(&header());
        assert!(matches!(
            VideoHeader::parse(&good[1..]),
            Err(MediaError::Type { kind: 0 })
        ));
        assert!(matches!(
            VideoHeader::parse(&good[..47]),
            Err(MediaError::Short { bytes: 47 })
        ));
        assert!(matches!(
            VideoHeader::parse(&good[..1391]),
            Err(MediaError::Length { .. })
        ));
        for (at, value) in [(1, 1), (2, 0x10), (2, 0x80)] {
            let mut changed = good.clone();
            changed[at] = value;
            assert!(matches!(
                VideoHeader::parse(&changed),
                Err(MediaError::Reserved { .. })
            ));
        }
        let mut changed = good;
        changed[3] = 3;
        assert!(matches!(
            VideoHeader::parse(&changed),
            Err(MediaError::Code { code: 3 })
        ));
    }

    #[test]
    fn media_and_quic_are_told_apart() {
        assert!(is_media(TYPE_VIDEO) && is_media(TYPE_FEEDBACK) && is_media(0x3f));
        assert!(!is_media(0x40) && !is_media(0xc3));
    }

    #[test]
    fn capture_time_expands_across_the_wrap() {
        let wrap_us = 1u64 << 32;
        for (captured_us, near_us) in [
            (5_000_000, 5_010_000),
            (wrap_us - 10, wrap_us + 90),
            (3 * wrap_us + 5, 3 * wrap_us - 100),
        ] {
            let captured = Timestamp::from_ns(captured_us * 1000);
            let near = Timestamp::from_ns(near_us * 1000);
            assert_eq!(CaptureMicros::from(captured).expand(near), captured);
        }
    }
}
