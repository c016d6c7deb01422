//! One frame in the making: its blocks, their shards in an arena of fixed size.

use crate::fec::{Code, Decoder, ShardSet};
use crate::limits::{BLOCKS_PER_FRAME_MAX, SLICES_PER_FRAME_MAX};
use crate::media::{CaptureMicros, VideoHeader};
use crate::units::{FrameId, SliceIndex, Timestamp};

use super::LossReason;
use super::unit::{AccessUnit, PooledBuffer};

const _: () = assert!(
    BLOCKS_PER_FRAME_MAX == 64,
    "sets of blocks are the bits of a u64"
);

/// Times of a frame of which something came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    /// Its first shard.
    pub(super) first: Timestamp,
    /// The latest shard that was of use.
    pub(super) latest: Timestamp,
    /// When it was complete.
    pub(super) complete: Option<Timestamp>,
}

/// What became of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Insert {
    /// Kept.
    Taken,
    /// Kept, and so many data shards of its block were recovered with it.
    Repaired(usize),
    /// Known, or not needed any more.
    Redundant,
    /// Contradicts what came before.
    Conflict,
    /// The frame is larger than what is held.
    NoRoom,
}

/// What all datagrams of a frame say alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FrameMeta {
    frame: FrameId,
    keyframe: bool,
    recovery: bool,
    captured: CaptureMicros,
}

impl FrameMeta {
    const fn of(header: &VideoHeader) -> Self {
        let VideoHeader {
            frame,
            keyframe,
            recovery,
            captured,
            ..
        } = *header;
        Self {
            frame,
            keyframe,
            recovery,
            captured,
        }
    }
}

/// What all datagrams of a block say alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct BlockShape {
    code: Code,
    data_shards: u16,
    parity_shards: u16,
    shard_bytes: u16,
    padding_bytes: u16,
    first_slice: SliceIndex,
    last: bool,
}

impl BlockShape {
    const fn of(header: &VideoHeader) -> Self {
        Self {
            code: header.code,
            data_shards: header.data_shards,
            parity_shards: header.parity_shards,
            shard_bytes: header.shard_bytes,
            padding_bytes: header.padding_bytes,
            first_slice: header.first_slice,
            last: header.last_block,
        }
    }
}

#[derive(Default)]
struct Block {
    shape: BlockShape,
    /// Where its shards begin in the arena.
    offset: usize,
    present: ShardSet,
    received: u16,
    complete: Timestamp,
}

/// Why a frame will never be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    TooLarge,
    Undecodable(u8),
}

/// One place of the window.
pub(super) struct Assembly {
    arena: Box<[u8]>,
    arena_used: usize,
    unit_bytes: usize,
    unit_bytes_max: usize,
    begun: Option<Begun>,
    meta: FrameMeta,
    blocks: Box<[Block]>,
    /// Bit b: something of block b came.
    blocks_known: u64,
    /// Bit b: all data of block b is there.
    blocks_complete: u64,
    last_block: Option<u8>,
    broken: Option<Broken>,
    received_shards: u32,
    repaired_shards: u32,
}

impl Assembly {
    pub(super) fn new(arena_bytes: usize, unit_bytes_max: usize) -> Self {
        Self {
            arena: vec![0; arena_bytes].into_boxed_slice(),
            arena_used: 0,
            unit_bytes: 0,
            unit_bytes_max,
            begun: None,
            meta: FrameMeta {
                frame: FrameId(0),
                keyframe: false,
                recovery: false,
                captured: CaptureMicros(0),
            },
            blocks: (0..BLOCKS_PER_FRAME_MAX)
                .map(|_| Block::default())
                .collect(),
            blocks_known: 0,
            blocks_complete: 0,
            last_block: None,
            broken: None,
            received_shards: 0,
            repaired_shards: 0,
        }
    }

    pub(super) const fn begun(&self) -> Option<Begun> {
        self.begun
    }

    pub(super) fn is_complete(&self) -> bool {
        self.begun.is_some_and(|begun| begun.complete.is_some())
    }

    /// True if waiting for it is pointless.
    pub(super) const fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Forgets everything, for the next frame.
    pub(super) const fn clear(&mut self) {
        self.arena_used = 0;
        self.unit_bytes = 0;
        self.begun = None;
        self.blocks_known = 0;
        self.blocks_complete = 0;
        self.last_block = None;
        self.broken = None;
        self.received_shards = 0;
        self.repaired_shards = 0;
    }

    /// Takes a shard of this frame.
    pub(super) fn insert(
        &mut self,
        now: Timestamp,
        header: &VideoHeader,
        payload: &[u8],
        decoder: &mut Decoder,
    ) -> Insert {
        if payload.len() != usize::from(header.shard_bytes) || self.contradicts(header) {
            return Insert::Conflict;
        }
        let begun = self.begun.get_or_insert(Begun {
            first: now,
            latest: now,
            complete: None,
        });
        if begun.complete.is_some() {
            return Insert::Redundant;
        }
        self.meta = FrameMeta::of(header);
        if self.broken.is_some() || !self.open_block(header) {
            return Insert::NoRoom;
        }
        let bit = 1u64 << header.block;
        let block = &mut self.blocks[usize::from(header.block)];
        if self.blocks_complete & bit != 0 || !block.present.insert(usize::from(header.shard)) {
            return Insert::Redundant;
        }
        begun_latest(&mut self.begun, now);
        let at = block.offset + usize::from(header.shard) * payload.len();
        self.arena[at..at + payload.len()].copy_from_slice(payload);
        block.received += 1;
        self.received_shards += 1;
        if block.received < block.shape.data_shards {
            return Insert::Taken;
        }
        self.finish_block(now, header.block, decoder)
    }

    /// Moves the frame, which is complete, into `buffer`.
    pub(super) fn assemble(&self, mut buffer: PooledBuffer) -> AccessUnit {
        let begun = self.begun.expect("a complete frame has begun");
        let complete = begun.complete.expect("the caller asked is_complete");
        let last = self.last_block.expect("without it a frame is not complete");
        let mut slice_complete = [Timestamp::ZERO; SLICES_PER_FRAME_MAX as usize];
        let mut slice_count = 0;
        for block in &self.blocks[..=usize::from(last)] {
            let shape = &block.shape;
            let shard_bytes = usize::from(shape.shard_bytes);
            let bytes =
                usize::from(shape.data_shards) * shard_bytes - usize::from(shape.padding_bytes);
            buffer
                .bytes
                .extend_from_slice(&self.arena[block.offset..block.offset + bytes]);
            let slice = usize::from(shape.first_slice.0);
            // Slices between the first ones of two blocks are in the former block.
            for passed in slice_count..slice {
                let before = passed
                    .checked_sub(1)
                    .map_or(Timestamp::ZERO, |i| slice_complete[i]);
                slice_complete[passed] = before;
            }
            slice_complete[slice] = slice_complete[slice].max(block.complete);
            slice_count = slice_count.max(slice + 1);
        }
        AccessUnit {
            buffer,
            frame: self.meta.frame,
            keyframe: self.meta.keyframe,
            recovery: self.meta.recovery,
            captured: self.meta.captured,
            received_first: begun.first,
            slice_complete,
            slice_count: u8::try_from(slice_count).expect("at most SLICES_PER_FRAME_MAX"),
            complete,
            repaired_shards: self.repaired_shards,
            received_shards: self.received_shards,
        }
    }

    /// Why it is not complete.
    pub(super) fn loss_reason(&self) -> LossReason {
        match self.broken {
            Some(Broken::TooLarge) => return LossReason::TooLarge,
            Some(Broken::Undecodable(block)) => return LossReason::Undecodable { block },
            None if self.begun.is_none() => return LossReason::Missing,
            None => {}
        }
        let block = self.blocks_complete.trailing_ones() as u8;
        let known = block < 64 && self.blocks_known >> block & 1 == 1;
        let (received, needed) = if known {
            let block = &self.blocks[usize::from(block)];
            (block.received, block.shape.data_shards)
        } else {
            (0, 0)
        };
        LossReason::Incomplete {
            block,
            received,
            needed,
        }
    }

    /// True if the header does not fit what came before of this frame.
    fn contradicts(&self, header: &VideoHeader) -> bool {
        if self.begun.is_none() {
            return false;
        }
        let block = usize::from(header.block);
        if FrameMeta::of(header) != self.meta {
            return true;
        }
        if self.blocks_known >> block & 1 == 1 {
            return self.blocks[block].shape != BlockShape::of(header);
        }
        match self.last_block {
            // A new block is neither the last one nor behind it.
            Some(last) => header.last_block || header.block > last,
            None => header.last_block && self.blocks_known >> block != 0,
        }
    }

    /// Gives the block a place in the arena if it has none yet; false if there is no room.
    fn open_block(&mut self, header: &VideoHeader) -> bool {
        let bit = 1u64 << header.block;
        if self.blocks_known & bit != 0 {
            return true;
        }
        let arena_bytes = header.total_shards() * usize::from(header.shard_bytes);
        if self.arena_used + arena_bytes > self.arena.len()
            || self.unit_bytes + header.block_bytes() > self.unit_bytes_max
        {
            self.broken = Some(Broken::TooLarge);
            return false;
        }
        let block = &mut self.blocks[usize::from(header.block)];
        block.shape = BlockShape::of(header);
        block.offset = self.arena_used;
        block.present.clear();
        block.received = 0;
        self.arena_used += arena_bytes;
        self.unit_bytes += header.block_bytes();
        self.blocks_known |= bit;
        if header.last_block {
            self.last_block = Some(header.block);
        }
        true
    }

    /// The block has as many shards as it has data shards: recovers those that are missing.
    fn finish_block(&mut self, now: Timestamp, index: u8, decoder: &mut Decoder) -> Insert {
        let block = &mut self.blocks[usize::from(index)];
        let BlockShape {
            code,
            data_shards,
            parity_shards,
            shard_bytes,
            ..
        } = block.shape;
        let (k, m) = (usize::from(data_shards), usize::from(parity_shards));
        let size = usize::from(shard_bytes);
        let shards = &mut self.arena[block.offset..block.offset + (k + m) * size];
        // With no data shard missing this returns at once.
        let Ok(repaired) = decoder.recover(code, size, k, m, shards, &block.present) else {
            self.broken = Some(Broken::Undecodable(index));
            return Insert::NoRoom;
        };
        block.complete = now;
        self.blocks_complete |= 1 << index;
        self.repaired_shards += repaired as u32;
        if let Some(last) = self.last_block
            && u32::from(last) + 1 == self.blocks_complete.trailing_ones()
            && let Some(begun) = &mut self.begun
        {
            begun.complete = Some(now);
        }
        if repaired == 0 {
            Insert::Taken
        } else {
            Insert::Repaired(repaired)
        }
    }
}

fn begun_latest(begun: &mut Option<Begun>, now: Timestamp) {
    if let Some(begun) = begun {
        begun.latest = now;
    }
}
