//! Cuts slices into shards, adds parity, and seals each shard as a datagram of its own.
//!
//! The protect stage calls [`Packetizer::begin`] with a slice, then [`Packetizer::next_batch`]
//! until it says that the slice is finished. Nothing here allocates after construction, and a
//! slice's data is read where the encoder wrote it: sealing is the only pass that copies it.
//!
//! - A slice is one FEC block, or several of equal size if it has more shards than a block may.
//! - All datagrams of a block have one size, so that each [`Batch`] is one GSO send; a batch
//!   never spans two blocks.
//! - Data shards go first. Parity is computed after they were sealed, so that they can leave
//!   meanwhile; in a small block, where that costs a microsecond, parity joins their batch.
//! - Builds with debug assertions drop as many shards of every block as it has parity, recover
//!   them and compare.

mod batch;
#[cfg(debug_assertions)]
mod check;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;

use crate::crypto::Sealer;
use crate::fec::{self, Code, Encoder};
use crate::limits::{
    ACCESS_UNIT_BYTES_MAX, BLOCKS_PER_FRAME_MAX, DATAGRAM_BYTES_MAX, GF16_DATA_SHARDS_MAX,
    GF16_PARITY_SHARDS_MAX, GSO_SEGMENTS_MAX, MEDIA_HEADER_BYTES, SHARD_BYTES_MAX, SHARD_BYTES_MIN,
    SLICES_PER_FRAME_MAX, TAG_BYTES,
};
use crate::media::{CaptureMicros, VideoHeader};
use crate::units::{FrameId, SliceIndex, Timestamp};

#[cfg(debug_assertions)]
use check::SelfCheck;

pub use batch::Batch;

/// What a slice's buffer must have beyond the slice at most, bytes: see
/// [`Packetizer::padded_len`].
pub const PADDING_BYTES_MAX: usize = SHARD_BYTES_MAX - 1;

/// Data shards up to which parity joins the batch of the data: encoding then takes a few
/// microseconds, less than a system call of its own.
const JOINED_DATA_SHARDS_MAX: usize = GSO_SEGMENTS_MAX;

/// What the packetizer must know of a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceMeta {
    /// The frame that it belongs to.
    pub frame: FrameId,
    /// Its place in picture order; slices of a frame come in this order.
    pub index: SliceIndex,
    /// The last of its frame.
    pub last: bool,
    /// The frame is an IDR.
    pub keyframe: bool,
    /// The frame depends on nothing that the client reported lost.
    pub recovery: bool,
    /// When the frame's pixels were complete.
    pub captured: Timestamp,
}

/// Why a slice cannot be packetized. The slice before is unaffected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketizeError {
    /// A slice without bytes.
    #[error("slice {slice} of {frame} is empty")]
    Empty {
        /// Which frame.
        frame: FrameId,
        /// Which slice.
        slice: u8,
    },
    /// Its index is beyond the limit.
    #[error("slice {slice} of {frame} is beyond the {SLICES_PER_FRAME_MAX} slices of a frame")]
    SliceIndex {
        /// Which frame.
        frame: FrameId,
        /// Which slice.
        slice: u8,
    },
    /// The buffer has no room for the padding.
    #[error("a slice of {filled} bytes needs a buffer of {needed}, not {room}")]
    Room {
        /// Bytes of the slice.
        filled: usize,
        /// What it takes with padding.
        needed: usize,
        /// The buffer's length.
        room: usize,
    },
    /// The frame outgrows what a client holds.
    #[error(
        "{frame} has {bytes} bytes in {blocks} blocks; a client holds {ACCESS_UNIT_BYTES_MAX} \
             bytes in {BLOCKS_PER_FRAME_MAX}: lower the bitrate"
    )]
    FrameTooLarge {
        /// Which frame.
        frame: FrameId,
        /// Its size up to this slice, bytes.
        bytes: usize,
        /// Its blocks up to this slice.
        blocks: usize,
    },
}

/// What has been packetized so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketizeStats {
    /// Sealed datagrams with data, including dropped ones.
    pub data_datagrams: u64,
    /// Sealed datagrams with parity, including dropped ones.
    pub parity_datagrams: u64,
    /// Bytes of slices.
    pub slice_bytes: u64,
    /// Sealed datagrams that [`Packetizer::set_drop_every`] left out.
    pub dropped_datagrams: u64,
}

/// How the packetizer is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketizerConfig {
    /// Parity in percent of the data shards; 0 sends none.
    pub fec_percent: u8,
    /// Largest datagram, bytes of UDP payload, as agreed in the Welcome. Clamped to
    /// `DATAGRAM_BYTES_MIN..=DATAGRAM_BYTES_MAX`.
    pub datagram_bytes_max: usize,
    /// Most datagrams in a batch, clamped to 1..=[`GSO_SEGMENTS_MAX`].
    pub batch_datagrams_max: usize,
}

impl Default for PacketizerConfig {
    fn default() -> Self {
        Self {
            fec_percent: 20,
            datagram_bytes_max: DATAGRAM_BYTES_MAX,
            batch_datagrams_max: GSO_SEGMENTS_MAX,
        }
    }
}

/// The host's protect stage for one session's video.
pub struct Packetizer {
    sealer: Sealer,
    encoder: Encoder,
    parity: Box<[u8]>,
    fec_percent: u8,
    shard_bytes_max: usize,
    batch_datagrams_max: usize,
    drop_every: Option<NonZeroU32>,
    since_drop: u32,
    meta: SliceMeta,
    /// Bytes of the slice in work.
    filled: usize,
    /// Where the block in work begins; `filled` once the slice is finished.
    offset: usize,
    block: Block,
    /// Blocks and bytes of the frame before the slice in work.
    frame_blocks: usize,
    frame_bytes: usize,
    stats: PacketizeStats,
    #[cfg(debug_assertions)]
    check: SelfCheck,
}

/// The block in work.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    index: u8,
    bytes: usize,
    layout: Layout,
    parity_shards: usize,
    code: Code,
    next_shard: usize,
}

/// How so many bytes become shards of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Layout {
    data_shards: usize,
    shard_bytes: usize,
}

impl Layout {
    /// The fewest shards that hold `bytes`, and the smallest multiple of 64 that these need.
    const fn of(bytes: usize, shard_bytes_max: usize) -> Self {
        let shards = bytes.div_ceil(shard_bytes_max);
        let even = bytes.div_ceil(shards).next_multiple_of(SHARD_BYTES_MIN);
        // Rounding up may have made the last shard superfluous.
        Self {
            data_shards: bytes.div_ceil(even),
            shard_bytes: even,
        }
    }

    const fn padded(self) -> usize {
        self.data_shards * self.shard_bytes
    }
}

impl Packetizer {
    /// Allocates everything that packetizing needs.
    #[must_use]
    pub fn new(sealer: Sealer, config: PacketizerConfig) -> Self {
        let datagram_bytes = config
            .datagram_bytes_max
            .clamp(crate::limits::DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX);
        let room = datagram_bytes - MEDIA_HEADER_BYTES - TAG_BYTES;
        Self {
            sealer,
            encoder: Encoder::new(),
            parity: vec![0; GF16_PARITY_SHARDS_MAX * SHARD_BYTES_MAX].into_boxed_slice(),
            fec_percent: config.fec_percent,
            shard_bytes_max: room / SHARD_BYTES_MIN * SHARD_BYTES_MIN,
            batch_datagrams_max: config.batch_datagrams_max.clamp(1, GSO_SEGMENTS_MAX),
            drop_every: None,
            since_drop: 0,
            meta: SliceMeta {
                frame: FrameId(0),
                index: SliceIndex(0),
                last: false,
                keyframe: false,
                recovery: false,
                captured: Timestamp::ZERO,
            },
            filled: 0,
            offset: 0,
            block: Block::default(),
            frame_blocks: 0,
            frame_bytes: 0,
            stats: PacketizeStats::default(),
            #[cfg(debug_assertions)]
            check: SelfCheck::new(),
        }
    }

    /// Counters since the start.
    #[must_use]
    pub const fn stats(&self) -> PacketizeStats {
        self.stats
    }

    /// Datagrams sealed so far, which is also the next sequence.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sealer.sequence()
    }

    /// From the next block on: parity in percent of the data shards; 0 sends none.
    pub const fn set_fec_percent(&mut self, percent: u8) {
        self.fec_percent = percent;
    }

    /// Leaves every Nth datagram out of its batch after sealing it, to test loss.
    pub const fn set_drop_every(&mut self, every: Option<NonZeroU32>) {
        self.drop_every = every;
        self.since_drop = 0;
    }

    /// The buffer that a slice of so many bytes needs: whole shards. At most `filled` +
    /// [`PADDING_BYTES_MAX`].
    #[must_use]
    pub const fn padded_len(&self, filled: usize) -> usize {
        if filled == 0 {
            return 0;
        }
        // Blocks before the last one are whole shards.
        let block_bytes = self.block_bytes(filled);
        let rest = match filled % block_bytes {
            0 => block_bytes,
            rest => rest,
        };
        filled - rest + Layout::of(rest, self.shard_bytes_max).padded()
    }

    /// Takes up a slice: the first `filled` bytes of `data`, which it pads with zeros up to
    /// [`Self::padded_len`]. An unfinished slice before it is abandoned.
    ///
    /// # Errors
    /// See [`PacketizeError`]; the packetizer then holds no slice.
    pub fn begin(
        &mut self,
        meta: &SliceMeta,
        data: &mut [u8],
        filled: usize,
    ) -> Result<(), PacketizeError> {
        let (frame, slice) = (meta.frame, meta.index.0);
        self.settle_previous(frame);
        if filled == 0 {
            return Err(PacketizeError::Empty { frame, slice });
        }
        if slice >= SLICES_PER_FRAME_MAX {
            return Err(PacketizeError::SliceIndex { frame, slice });
        }
        let (needed, room) = (self.padded_len(filled), data.len());
        if filled > room || needed > room {
            return Err(PacketizeError::Room {
                filled,
                needed,
                room,
            });
        }
        let blocks = self.frame_blocks + filled.div_ceil(self.block_bytes(filled));
        let bytes = self.frame_bytes + filled;
        if blocks > BLOCKS_PER_FRAME_MAX || bytes > ACCESS_UNIT_BYTES_MAX {
            return Err(PacketizeError::FrameTooLarge {
                frame,
                bytes,
                blocks,
            });
        }
        data[filled..needed].fill(0);
        self.meta = *meta;
        self.filled = filled;
        self.offset = 0;
        self.stats.slice_bytes += filled as u64;
        self.start_block();
        Ok(())
    }

    /// Seals the next datagrams of the slice into `batch`; false (and `batch` untouched) when
    /// the slice is finished. `data` is the buffer that [`Self::begin`] got.
    ///
    /// # Panics
    /// If `data` is shorter than what `begin` padded.
    pub fn next_batch(&mut self, data: &[u8], batch: &mut Batch) -> bool {
        if self.offset >= self.filled {
            return false;
        }
        let Block {
            layout,
            parity_shards,
            ..
        } = self.block;
        let block_data = &data[self.offset..self.offset + layout.padded()];
        batch.clear(
            &self.meta,
            MEDIA_HEADER_BYTES + layout.shard_bytes + TAG_BYTES,
        );
        batch.first_of_slice = self.offset == 0 && self.block.next_shard == 0;
        let total = layout.data_shards + parity_shards;
        let begin = self.block.next_shard;
        while self.block.next_shard < total
            && self.block.next_shard - begin < self.batch_datagrams_max
        {
            if self.block.next_shard == layout.data_shards {
                let joins = layout.data_shards <= JOINED_DATA_SHARDS_MAX;
                if begin < self.block.next_shard && !joins {
                    break;
                }
                self.protect(block_data);
            }
            self.seal_shard(block_data, batch);
        }
        if self.block.next_shard == total {
            self.finish_block(batch);
        }
        true
    }

    /// Counts the slice before as part of its frame, or starts a new frame.
    fn settle_previous(&mut self, frame: FrameId) {
        if self.filled != 0 && frame == self.meta.frame {
            self.frame_blocks += self.filled.div_ceil(self.block_bytes(self.filled));
            self.frame_bytes += self.filled;
        } else if frame != self.meta.frame {
            self.frame_blocks = 0;
            self.frame_bytes = 0;
        }
        self.meta.frame = frame;
        self.filled = 0;
        self.offset = 0;
    }

    /// Bytes of every block of such a slice but the last: whole shards, evenly spread.
    const fn block_bytes(&self, filled: usize) -> usize {
        let shards = filled.div_ceil(self.shard_bytes_max);
        let blocks = shards.div_ceil(GF16_DATA_SHARDS_MAX);
        shards.div_ceil(blocks) * self.shard_bytes_max
    }

    fn start_block(&mut self) {
        let block_bytes = self.block_bytes(self.filled);
        let bytes = block_bytes.min(self.filled - self.offset);
        let layout = Layout::of(bytes, self.shard_bytes_max);
        let parity_shards =
            fec::parity_for(layout.data_shards, self.fec_percent).min(GF16_PARITY_SHARDS_MAX);
        let index = self.frame_blocks + self.offset / block_bytes;
        self.block = Block {
            index: u8::try_from(index).expect("begin checked BLOCKS_PER_FRAME_MAX"),
            bytes,
            layout,
            parity_shards,
            code: fec::choose(layout.data_shards, parity_shards),
            next_shard: 0,
        };
    }

    fn finish_block(&mut self, batch: &mut Batch) {
        self.offset += self.block.bytes;
        if self.offset < self.filled {
            self.start_block();
            return;
        }
        batch.last_of_slice = true;
        batch.last_of_frame = self.meta.last;
    }

    fn protect(&mut self, block_data: &[u8]) {
        let Block {
            layout,
            parity_shards,
            code,
            ..
        } = self.block;
        let parity = &mut self.parity[..parity_shards * layout.shard_bytes];
        self.encoder
            .encode(code, layout.shard_bytes, block_data, parity)
            .expect("the layout keeps to the limits of the code that `choose` chose");
        #[cfg(debug_assertions)]
        self.check
            .drop_recover_compare(code, layout, block_data, parity);
    }

    fn seal_shard(&mut self, block_data: &[u8], batch: &mut Batch) {
        let Block {
            layout, next_shard, ..
        } = self.block;
        let size = layout.shard_bytes;
        let is_data = next_shard < layout.data_shards;
        let mut header = [0; MEDIA_HEADER_BYTES];
        self.header().write(&mut header);
        let plaintext = if is_data {
            &block_data[next_shard * size..][..size]
        } else {
            &self.parity[(next_shard - layout.data_shards) * size..][..size]
        };
        let sealed = self
            .sealer
            .seal(&mut header, plaintext, &mut batch.bytes[batch.len..])
            .expect("a batch has room for its segments, and 2⁶⁴ sequences outlast any session");
        self.block.next_shard += 1;
        if is_data {
            self.stats.data_datagrams += 1;
        } else {
            self.stats.parity_datagrams += 1;
        }
        if self.is_to_be_dropped() {
            self.stats.dropped_datagrams += 1;
            return;
        }
        batch.len += sealed;
        batch.datagrams += 1;
    }

    fn header(&self) -> VideoHeader {
        let Block {
            index,
            bytes,
            layout,
            parity_shards,
            next_shard,
            ..
        } = self.block;
        let u16_of = |count: usize| u16::try_from(count).expect("limits keep it in 16 bits");
        VideoHeader {
            key_phase: false,
            keyframe: self.meta.keyframe,
            recovery: self.meta.recovery,
            last_block: self.meta.last && self.offset + bytes == self.filled,
            code: self.block.code,
            frame: self.meta.frame,
            sequence: 0,
            block: index,
            first_slice: self.meta.index,
            shard: u16_of(next_shard),
            data_shards: u16_of(layout.data_shards),
            parity_shards: u16_of(parity_shards),
            shard_bytes: u16_of(layout.shard_bytes),
            padding_bytes: u16_of(layout.padded() - bytes),
            captured: CaptureMicros::from(self.meta.captured),
        }
    }

    fn is_to_be_dropped(&mut self) -> bool {
        let Some(every) = self.drop_every else {
            return false;
        };
        self.since_drop += 1;
        if self.since_drop < every.get() {
            return false;
        }
        self.since_drop = 0;
        true
    }
}
