//! The data shards of the last frames, in the clear: parity is made of them, and repeats.

use crate::limits::{DESCRIPTOR_BYTES, SHARD_BYTES_MAX};
use crate::media::{Descriptor, FrameHeader};
use crate::units::FrameId;

/// Frames that may be told apart; half a second at 120 Hz.
const FRAMES: usize = 64;
const _: () = assert!(FRAMES.is_power_of_two(), "frame numbers wrap at 2³²");

/// A ring of cells, each with room for the largest shard. A frame's columns lie in cells one after
/// the other; what is written in a cell a second time belongs to a newer frame.
pub(super) struct History {
    cells: Box<[[u8; SHARD_BYTES_MAX]]>,
    descriptors: Box<[[u8; DESCRIPTOR_BYTES]]>,
    /// Cells ever taken; the next one is this modulo their number.
    taken: u64,
    frames: [Kept; FRAMES],
}

/// A frame whose columns are in the ring, if they have not been written over.
#[derive(Clone, Copy, Default)]
pub(super) struct Kept {
    pub(super) header: FrameHeader,
    /// Size of a whole shard of it, bytes.
    pub(super) shard_bytes: u16,
    /// How many it has so far.
    pub(super) columns: usize,
    /// The first of its cells, counted as `taken` is.
    first_cell: u64,
}

impl History {
    /// Room for shards of so many bytes together, at least one.
    pub(super) fn new(bytes: usize) -> Self {
        let cells = (bytes / SHARD_BYTES_MAX).max(1);
        Self {
            cells: vec![[0; SHARD_BYTES_MAX]; cells].into_boxed_slice(),
            descriptors: vec![[0; DESCRIPTOR_BYTES]; cells].into_boxed_slice(),
            taken: 0,
            frames: [Kept::default(); FRAMES],
        }
    }

    /// Columns that a frame can have.
    pub(super) fn capacity(&self) -> usize {
        self.cells.len()
    }

    /// Begins a frame; it becomes the one that [`History::push`] appends to.
    pub(super) fn begin(&mut self, header: FrameHeader, shard_bytes: u16) {
        self.frames[slot(header.frame)] = Kept {
            header,
            shard_bytes,
            columns: 0,
            first_cell: self.taken,
        };
    }

    /// Appends a column to `frame`, which was begun last: `data` and zeros up to a whole shard.
    pub(super) fn push(&mut self, frame: FrameId, data: &[u8], descriptor: Descriptor) {
        let kept = &mut self.frames[slot(frame)];
        let index = (self.taken % self.cells.len() as u64) as usize;
        let cell = &mut self.cells[index];
        cell[..data.len()].copy_from_slice(data);
        cell[data.len()..usize::from(kept.shard_bytes)].fill(0);
        self.descriptors[index] = descriptor.to_wire();
        self.taken += 1;
        kept.columns += 1;
    }

    /// A frame that is kept whole.
    pub(super) fn get(&self, frame: FrameId) -> Option<Kept> {
        let kept = self.frames[slot(frame)];
        let whole = self.taken - kept.first_cell <= self.cells.len() as u64;
        (kept.header.frame == frame && kept.columns > 0 && whole).then_some(kept)
    }

    /// A column of a kept frame, padded with zeros to a whole shard.
    pub(super) fn shard(&self, kept: &Kept, column: usize) -> &[u8] {
        &self.cells[self.index(kept, column)][..usize::from(kept.shard_bytes)]
    }

    /// The descriptor of a column of a kept frame, as parity covers it.
    pub(super) fn descriptor_bytes(&self, kept: &Kept, column: usize) -> &[u8] {
        &self.descriptors[self.index(kept, column)]
    }

    /// The descriptor of a column of a kept frame.
    pub(super) fn descriptor(&self, kept: &Kept, column: usize) -> Descriptor {
        let wire = self.descriptors[self.index(kept, column)];
        Descriptor::from_wire(wire, usize::from(kept.shard_bytes))
            .expect("only descriptors of shards were written")
    }

    fn index(&self, kept: &Kept, column: usize) -> usize {
        ((kept.first_cell + column as u64) % self.cells.len() as u64) as usize
    }
}

const fn slot(frame: FrameId) -> usize {
    frame.0 as usize % FRAMES
}
