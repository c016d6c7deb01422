//! The media datagram: what travels beside QUIC on the same UDP port.
//!
//! A media datagram is a header of 24 bytes, authenticated but readable, then a sealed payload and
//! its tag of 16 bytes. Its first byte lies in 0x00 to 0x3F; QUIC always sets bit 0x40 (RFC 9000
//! section 17). All integers are little-endian.
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 1 | type, see [`Kind`] |
//! | 1 | 1 | stream, 0 |
//! | 2 | 1 | flags: bit 0 key phase, bit 1 IDR, bit 2 recovery, bit 3 last shard of its slice, bit 4 last slice of the frame, bit 5 repeat |
//! | 3 | 1 | data: index of the slice; parity: FEC code, 1 GF(2⁸), 2 GF(2¹⁶) |
//! | 4 | 4 | frame |
//! | 8 | 8 | sequence |
//! | 16 | 2 | data: column; parity: first column of the group |
//! | 18 | 2 | data: bytes of a whole shard of this frame; parity: index of the shard in its group |
//! | 20 | 4 | capture time, µs of the host's clock modulo 2³² |
//!
//! Sequence (offset 8) and key phase (byte 2, bit 0) stand at the same place in every type:
//! [`crate::crypto`] works on them alone. Types other than video use no other flag, and leave the
//! rest of the header zero.
//!
//! # Video
//! The bytes of a frame are cut into data shards, its *columns*, counted through over all slices.
//! Every shard of a slice is whole but its last, which is as long as what is left. So the access
//! unit is the columns' payloads one after the other, and nothing on the wire is padding.
//!
//! A *parity group* covers columns `first` to `first + k − 1` of one frame; groups are disjoint,
//! and which columns they cover is the host's choice. A parity datagram's payload is
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 2 | k, data shards of the group |
//! | 2 | 2 | m, parity shards of the group |
//! | 4 | 4 | parity of the columns' descriptors |
//! | 8 | n | parity of the columns, each padded with zeros to the longest of them |
//!
//! where a column's descriptor, [`Descriptor`], is what its own header would have said: length
//! (u16), slice (u8), bits 3 and 4 of the flags (u8).

use crate::crypto::{OpenError, Opener};
use crate::fec::Code;
use crate::limits::{
    COLUMNS_PER_FRAME_MAX, DESCRIPTOR_BYTES, MEDIA_HEADER_BYTES, PARITY_PREFIX_BYTES,
    SHARD_BYTES_MAX, SHARD_BYTES_MIN, SLICES_PER_FRAME_MAX, TAG_BYTES,
};
use crate::units::{FrameId, SliceIndex, Timestamp};

/// Offset of the sequence in every media header.
pub const SEQUENCE_OFFSET: usize = 8;
/// Offset of the flags in every media header.
pub const FLAGS_OFFSET: usize = 2;
/// Bit of the key phase in the flags of every media header.
pub const FLAG_KEY_PHASE: u8 = 1 << 0;
const FLAG_KEYFRAME: u8 = 1 << 1;
const FLAG_RECOVERY: u8 = 1 << 2;
const FLAG_LAST_OF_SLICE: u8 = 1 << 3;
const FLAG_LAST_SLICE: u8 = 1 << 4;
const FLAG_REPEAT: u8 = 1 << 5;

/// Type of a media datagram, its first byte.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A data shard of a frame, host to client.
    Data = 0x01,
    /// What the client saw, client to host.
    Feedback = 0x02,
    /// A parity shard, host to client.
    Parity = 0x03,
    /// Bytes of zero whose arrival alone matters, host to client.
    Padding = 0x04,
    /// Answer to the clock stamp of a feedback, host to client.
    Echo = 0x05,
}

impl Kind {
    /// The type that a datagram's first byte names; `None` for one that this version does not
    /// know.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Data),
            0x02 => Some(Self::Feedback),
            0x03 => Some(Self::Parity),
            0x04 => Some(Self::Padding),
            0x05 => Some(Self::Echo),
            _ => None,
        }
    }

    /// The header of a datagram of this type, for those that have nothing but a type; sequence and
    /// key phase are written by the sealer.
    #[must_use]
    pub const fn header(self) -> [u8; MEDIA_HEADER_BYTES] {
        let mut header = [0; MEDIA_HEADER_BYTES];
        header[0] = self as u8;
        header
    }
}

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

/// What every video datagram of a frame says alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameHeader {
    /// Which frame.
    pub frame: FrameId,
    /// It is an IDR.
    pub keyframe: bool,
    /// It depends on nothing that the client reported lost.
    pub recovery: bool,
    /// When its pixels were complete.
    pub captured: CaptureMicros,
}

/// What parity must know of a data shard beside its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Length of the shard, bytes.
    pub bytes: u16,
    /// The slice that it belongs to.
    pub slice: SliceIndex,
    /// The slice ends with it.
    pub last_of_slice: bool,
    /// The frame ends with that slice.
    pub last_slice: bool,
}

impl Descriptor {
    /// The bytes over which parity runs.
    #[must_use]
    pub fn to_wire(self) -> [u8; DESCRIPTOR_BYTES] {
        let [low, high] = self.bytes.to_le_bytes();
        [low, high, self.slice.0, self.flags()]
    }

    /// Reads what was recovered; `None` if no shard of `shard_bytes` can be that.
    #[must_use]
    pub fn from_wire(wire: [u8; DESCRIPTOR_BYTES], shard_bytes: usize) -> Option<Self> {
        let [low, high, slice, flags] = wire;
        let descriptor = Self {
            bytes: u16::from_le_bytes([low, high]),
            slice: SliceIndex(slice),
            last_of_slice: flags & FLAG_LAST_OF_SLICE != 0,
            last_slice: flags & FLAG_LAST_SLICE != 0,
        };
        let bytes = usize::from(descriptor.bytes);
        let fits = bytes == shard_bytes || bytes < shard_bytes && descriptor.last_of_slice;
        let known = flags & !(FLAG_LAST_OF_SLICE | FLAG_LAST_SLICE) == 0;
        (fits && known && bytes > 0 && slice < SLICES_PER_FRAME_MAX).then_some(descriptor)
    }

    /// The frame ends with this shard.
    #[must_use]
    pub const fn ends_frame(self) -> bool {
        self.last_of_slice && self.last_slice
    }

    fn flags(self) -> u8 {
        bit(self.last_of_slice, FLAG_LAST_OF_SLICE) | bit(self.last_slice, FLAG_LAST_SLICE)
    }
}

/// Header of a data shard. A value from [`VideoHeader::parse`] satisfies every limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataHeader {
    /// What it says of its frame.
    pub frame: FrameHeader,
    /// What it says of itself; its length is the payload's.
    pub descriptor: Descriptor,
    /// It was sent before.
    pub repeat: bool,
    /// Index of the shard in the frame.
    pub column: u16,
    /// Size of a whole shard of the frame, bytes.
    pub shard_bytes: u16,
}

/// Header of a parity shard. A value from [`VideoHeader::parse`] satisfies every limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParityHeader {
    /// What it says of its frame.
    pub frame: FrameHeader,
    /// The frame ends with the group's last column.
    pub last_group: bool,
    /// How the parity was made.
    pub code: Code,
    /// First column of the group.
    pub first_column: u16,
    /// Index of the shard among the group's parity.
    pub index: u16,
}

/// The sealed part of a parity datagram. A value from [`ParityBody::parse`] satisfies every limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParityBody<'d> {
    /// k.
    pub data_shards: u16,
    /// m.
    pub parity_shards: u16,
    /// Parity of the descriptors.
    pub descriptor: [u8; DESCRIPTOR_BYTES],
    /// Parity of the data.
    pub shard: &'d [u8],
}

/// Header of a video datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoHeader {
    /// A data shard.
    Data(DataHeader),
    /// A parity shard.
    Parity(ParityHeader),
}

/// Why a datagram is not a media datagram that this version can use.
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
    /// A FEC code that this version does not know, or none for a parity shard.
    #[error("FEC code {code} is not known to this version")]
    Code {
        /// Its number.
        code: u8,
    },
    /// A group that the code does not have, or a shard that the group does not have.
    #[error("parity {index} of {data} data and {parity} parity shards does not fit {code:?}")]
    Shards {
        /// k.
        data: u16,
        /// m.
        parity: u16,
        /// Which of the m.
        index: u16,
        /// The code.
        code: Code,
    },
    /// The shard size is not a multiple of 64 within the limits, or the payload does not fit it.
    #[error("{payload_bytes} bytes of payload for shards of {shard_bytes} bytes")]
    ShardBytes {
        /// Shard size.
        shard_bytes: u16,
        /// What the datagram carries.
        payload_bytes: usize,
    },
    /// Column or slice number beyond the limits.
    #[error("column {column} of slice {slice} is beyond the limits of a frame")]
    Position {
        /// Column, or the last one of a group.
        column: usize,
        /// Slice index.
        slice: u8,
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

/// The parts of a media header that mean the same in every type.
struct RawHeader<'d> {
    bytes: &'d [u8; MEDIA_HEADER_BYTES],
    flags: u8,
    payload_bytes: usize,
}

impl<'d> RawHeader<'d> {
    /// Takes the header of a whole datagram; `flags` are those that its type may have.
    fn of(datagram: &'d [u8], flags_known: u8) -> Result<Self, MediaError> {
        let bytes = datagram.len();
        let Some(header) = datagram.first_chunk::<MEDIA_HEADER_BYTES>() else {
            return Err(MediaError::Short { bytes });
        };
        let Some(payload_bytes) = bytes.checked_sub(MEDIA_HEADER_BYTES + TAG_BYTES) else {
            return Err(MediaError::Short { bytes });
        };
        let (stream, flags) = (header[1], header[FLAGS_OFFSET]);
        if stream != 0 || flags & !(flags_known | FLAG_KEY_PHASE) != 0 {
            return Err(MediaError::Reserved { stream, flags });
        }
        Ok(Self {
            bytes: header,
            flags,
            payload_bytes,
        })
    }

    fn is(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn u16_at(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    fn u32_at(&self, at: usize) -> u32 {
        u32::from(self.u16_at(at)) | u32::from(self.u16_at(at + 2)) << 16
    }

    fn frame(&self) -> FrameHeader {
        FrameHeader {
            frame: FrameId(self.u32_at(4)),
            keyframe: self.is(FLAG_KEYFRAME),
            recovery: self.is(FLAG_RECOVERY),
            captured: CaptureMicros(self.u32_at(20)),
        }
    }
}

impl VideoHeader {
    /// Reads and checks the header of a whole datagram (header, sealed payload, tag), before
    /// authentication too: it is cheap, and what it refuses needs no decryption.
    ///
    /// # Errors
    /// See [`MediaError`]; nothing is allocated either way.
    pub fn parse(datagram: &[u8]) -> Result<Self, MediaError> {
        let kind = datagram.first().copied().unwrap_or_default();
        match Kind::from_wire(kind) {
            Some(Kind::Data) => DataHeader::parse(datagram).map(Self::Data),
            Some(Kind::Parity) => ParityHeader::parse(datagram).map(Self::Parity),
            _ => Err(MediaError::Type { kind }),
        }
    }

    /// What it says of its frame.
    #[must_use]
    pub const fn frame(&self) -> FrameHeader {
        match self {
            Self::Data(data) => data.frame,
            Self::Parity(parity) => parity.frame,
        }
    }
}

impl DataHeader {
    fn parse(datagram: &[u8]) -> Result<Self, MediaError> {
        let known =
            FLAG_KEYFRAME | FLAG_RECOVERY | FLAG_LAST_OF_SLICE | FLAG_LAST_SLICE | FLAG_REPEAT;
        let raw = RawHeader::of(datagram, known)?;
        let (column, shard_bytes, slice) = (raw.u16_at(16), raw.u16_at(18), raw.bytes[3]);
        let last_of_slice = raw.is(FLAG_LAST_OF_SLICE);
        let payload_bytes = raw.payload_bytes;
        let size = usize::from(shard_bytes);
        let whole = payload_bytes == size || payload_bytes < size && last_of_slice;
        if !is_shard_size(size) || !whole || payload_bytes == 0 {
            return Err(MediaError::ShardBytes {
                shard_bytes,
                payload_bytes,
            });
        }
        if usize::from(column) >= COLUMNS_PER_FRAME_MAX || slice >= SLICES_PER_FRAME_MAX {
            let column = usize::from(column);
            return Err(MediaError::Position { column, slice });
        }
        Ok(Self {
            frame: raw.frame(),
            descriptor: Descriptor {
                // At most `shard_bytes`.
                bytes: payload_bytes as u16,
                slice: SliceIndex(slice),
                last_of_slice,
                last_slice: raw.is(FLAG_LAST_SLICE),
            },
            repeat: raw.is(FLAG_REPEAT),
            column,
            shard_bytes,
        })
    }

    /// Writes the header; sequence and key phase are left to the sealer.
    pub fn write(&self, out: &mut [u8; MEDIA_HEADER_BYTES]) {
        *out = Kind::Data.header();
        out[FLAGS_OFFSET] =
            self.frame.flags() | self.descriptor.flags() | bit(self.repeat, FLAG_REPEAT);
        out[3] = self.descriptor.slice.0;
        self.frame.write(out);
        out[16..18].copy_from_slice(&self.column.to_le_bytes());
        out[18..20].copy_from_slice(&self.shard_bytes.to_le_bytes());
    }
}

impl ParityHeader {
    fn parse(datagram: &[u8]) -> Result<Self, MediaError> {
        let raw = RawHeader::of(datagram, FLAG_KEYFRAME | FLAG_RECOVERY | FLAG_LAST_SLICE)?;
        let code = match Code::from_wire(raw.bytes[3]) {
            Some(code) if code != Code::None => code,
            _ => return Err(MediaError::Code { code: raw.bytes[3] }),
        };
        let payload_bytes = raw.payload_bytes;
        let shard = payload_bytes.checked_sub(PARITY_PREFIX_BYTES);
        if shard.is_none_or(|bytes| bytes == 0 || bytes > SHARD_BYTES_MAX) {
            return Err(MediaError::ShardBytes {
                shard_bytes: 0,
                payload_bytes,
            });
        }
        Ok(Self {
            frame: raw.frame(),
            last_group: raw.is(FLAG_LAST_SLICE),
            code,
            first_column: raw.u16_at(16),
            index: raw.u16_at(18),
        })
    }

    /// Writes the header; sequence and key phase are left to the sealer.
    pub fn write(&self, out: &mut [u8; MEDIA_HEADER_BYTES]) {
        *out = Kind::Parity.header();
        out[FLAGS_OFFSET] = self.frame.flags() | bit(self.last_group, FLAG_LAST_SLICE);
        out[3] = self.code.to_wire();
        self.frame.write(out);
        out[16..18].copy_from_slice(&self.first_column.to_le_bytes());
        out[18..20].copy_from_slice(&self.index.to_le_bytes());
    }
}

impl<'d> ParityBody<'d> {
    /// Reads and checks the opened payload of the datagram with that header.
    ///
    /// # Errors
    /// [`MediaError::Shards`], [`MediaError::Position`] or, for a payload that is too short,
    /// [`MediaError::ShardBytes`].
    pub fn parse(header: &ParityHeader, payload: &'d [u8]) -> Result<Self, MediaError> {
        let Some((prefix, shard)) = payload
            .split_first_chunk::<PARITY_PREFIX_BYTES>()
            .filter(|(_, shard)| !shard.is_empty())
        else {
            return Err(MediaError::ShardBytes {
                shard_bytes: 0,
                payload_bytes: payload.len(),
            });
        };
        let [k0, k1, m0, m1, descriptor @ ..] = *prefix;
        let (data, parity) = (u16::from_le_bytes([k0, k1]), u16::from_le_bytes([m0, m1]));
        let (code, index) = (header.code, header.index);
        if !code.fits(usize::from(data), usize::from(parity)) || index >= parity {
            return Err(MediaError::Shards {
                data,
                parity,
                index,
                code,
            });
        }
        let end = usize::from(header.first_column) + usize::from(data);
        if end > COLUMNS_PER_FRAME_MAX {
            let column = end - 1;
            return Err(MediaError::Position { column, slice: 0 });
        }
        Ok(Self {
            data_shards: data,
            parity_shards: parity,
            descriptor,
            shard,
        })
    }

    /// What stands before the parity of the data.
    #[must_use]
    pub fn prefix(&self) -> [u8; PARITY_PREFIX_BYTES] {
        let ([k0, k1], [m0, m1]) = (
            self.data_shards.to_le_bytes(),
            self.parity_shards.to_le_bytes(),
        );
        let [d0, d1, d2, d3] = self.descriptor;
        [k0, k1, m0, m1, d0, d1, d2, d3]
    }
}

impl FrameHeader {
    fn flags(&self) -> u8 {
        bit(self.keyframe, FLAG_KEYFRAME) | bit(self.recovery, FLAG_RECOVERY)
    }

    fn write(&self, out: &mut [u8; MEDIA_HEADER_BYTES]) {
        out[4..8].copy_from_slice(&self.frame.0.to_le_bytes());
        out[20..24].copy_from_slice(&self.captured.0.to_le_bytes());
    }
}

/// The sequence of a datagram, as its header claims; only true once it was opened.
#[must_use]
pub fn sequence_of(header: &[u8; MEDIA_HEADER_BYTES]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&header[SEQUENCE_OFFSET..SEQUENCE_OFFSET + 8]);
    u64::from_le_bytes(bytes)
}

/// Checks and opens a video datagram in place: its header and its plaintext payload.
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

/// Opens a datagram of a type without header fields of its own (feedback, padding, echo): its
/// plaintext payload.
///
/// # Errors
/// [`VideoError`]; the datagram's bytes are then worthless.
pub fn open_plain<'d>(opener: &mut Opener, datagram: &'d mut [u8]) -> Result<&'d [u8], VideoError> {
    RawHeader::of(datagram, 0)?;
    let (_, payload) = opener.open(datagram)?;
    Ok(payload)
}

const fn is_shard_size(bytes: usize) -> bool {
    bytes >= SHARD_BYTES_MIN && bytes <= SHARD_BYTES_MAX && bytes.is_multiple_of(SHARD_BYTES_MIN)
}

const fn bit(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}

#[cfg(test)]
mod tests;
