//! Finished access units in pooled buffers.

use std::fmt;
use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::limits::SLICES_PER_FRAME_MAX;
use crate::media::CaptureMicros;
use crate::units::{FrameId, Timestamp};

/// One access unit, as the host's encoder made it, or with
/// [`Granularity::Slices`](super::Granularity) the next slices of one. Dropping it gives its buffer
/// back to the reassembler; it may be dropped on another thread.
///
/// The parts of an access unit come one after the other, those of no other one between them. A part
/// that begins one, while an earlier one has not ended, says that the earlier one was given up.
pub struct AccessUnit {
    pub(super) buffer: PooledBuffer,
    /// Which frame.
    pub frame: FrameId,
    /// It begins with the frame's first slice.
    pub begins: bool,
    /// It ends with the frame's last slice: a whole access unit both begins and ends.
    pub ends: bool,
    /// It is an IDR.
    pub keyframe: bool,
    /// It depends on nothing that was reported lost.
    pub recovery: bool,
    /// When its pixels were complete, on the host's clock.
    pub captured: CaptureMicros,
    /// When its first shard came.
    pub received_first: Timestamp,
    /// When each slice of the frame was complete, with those of earlier parts; the first
    /// [`Self::slice_count`] are in use. Slices that share a block share its time.
    pub slice_complete: [Timestamp; SLICES_PER_FRAME_MAX as usize],
    /// How many slices are known by the blocks that begin with them.
    pub slice_count: u8,
    /// When its last slice was complete, and all before it.
    pub complete: Timestamp,
    /// Data shards of the frame so far that were recovered from parity.
    pub repaired_shards: u32,
    /// Shards of the frame so far that came and were of use.
    pub received_shards: u32,
}

impl AccessUnit {
    /// The bytes: Annex B with start codes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer.bytes
    }

    /// The times of its slices, top to bottom.
    #[must_use]
    pub fn slice_times(&self) -> &[Timestamp] {
        &self.slice_complete[..usize::from(self.slice_count)]
    }
}

impl fmt::Debug for AccessUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessUnit")
            .field("frame", &self.frame)
            .field("begins", &self.begins)
            .field("ends", &self.ends)
            .field("bytes", &self.buffer.bytes.len())
            .field("keyframe", &self.keyframe)
            .field("recovery", &self.recovery)
            .field("repaired_shards", &self.repaired_shards)
            .finish_non_exhaustive()
    }
}

/// Buffers of one capacity, all allocated at the start.
pub(super) struct UnitPool {
    free: Arc<ArrayQueue<Vec<u8>>>,
}

impl UnitPool {
    pub(super) fn new(buffers: usize, capacity_bytes: usize) -> Self {
        let free = ArrayQueue::new(buffers.max(1));
        for _ in 0..buffers.max(1) {
            free.push(Vec::with_capacity(capacity_bytes))
                .expect("the queue has as many places");
        }
        Self {
            free: Arc::new(free),
        }
    }

    /// An empty buffer, if one is at home.
    pub(super) fn take(&self) -> Option<PooledBuffer> {
        let mut bytes = self.free.pop()?;
        bytes.clear();
        Some(PooledBuffer {
            bytes,
            home: Arc::clone(&self.free),
        })
    }
}

/// A buffer that goes home when it is dropped.
pub(super) struct PooledBuffer {
    pub(super) bytes: Vec<u8>,
    home: Arc<ArrayQueue<Vec<u8>>>,
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        // The queue has a place for every buffer that it handed out; were it full all the same,
        // the buffer would be freed, which is no harm.
        drop(self.home.push(bytes));
    }
}
