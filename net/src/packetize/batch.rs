//! A batch: what the send stage hands to the kernel at once.

use crate::limits::{DATAGRAM_BYTES_MAX, GSO_SEGMENTS_MAX};
use crate::units::{FrameId, SliceIndex, Timestamp};

use super::SliceMeta;

/// Sealed datagrams of one size in GSO layout: each starts where the one before ends.
pub struct Batch {
    pub(super) bytes: Box<[u8]>,
    pub(super) len: usize,
    /// Size of each datagram, bytes.
    pub segment_bytes: u16,
    /// How many there are. Zero only if [`super::Packetizer::set_drop_every`] left all of them out: there
    /// is nothing to send then, the flags below still count.
    pub datagrams: u16,
    /// The frame that they belong to.
    pub frame: FrameId,
    /// The slice that they belong to.
    pub slice: SliceIndex,
    /// Nothing of the slice went before.
    pub first_of_slice: bool,
    /// Nothing of the slice follows.
    pub last_of_slice: bool,
    /// Nothing of the frame follows.
    pub last_of_frame: bool,
    /// When to send; [`Timestamp::ZERO`] for at once.
    pub departure: Timestamp,
}

impl Batch {
    /// An empty batch with room for the largest one. Made once, kept in a pool.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bytes: vec![0; GSO_SEGMENTS_MAX * DATAGRAM_BYTES_MAX].into_boxed_slice(),
            len: 0,
            segment_bytes: 0,
            datagrams: 0,
            frame: FrameId(0),
            slice: SliceIndex(0),
            first_of_slice: false,
            last_of_slice: false,
            last_of_frame: false,
            departure: Timestamp::ZERO,
        }
    }

    /// All datagrams, one after the other.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The datagrams one by one.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes().chunks(usize::from(self.segment_bytes).max(1))
    }

    pub(super) fn clear(&mut self, meta: &SliceMeta, segment_bytes: usize) {
        self.len = 0;
        self.segment_bytes = u16::try_from(segment_bytes).expect("at most DATAGRAM_BYTES_MAX");
        self.datagrams = 0;
        self.frame = meta.frame;
        self.slice = meta.index;
        self.first_of_slice = false;
        self.last_of_slice = false;
        self.last_of_frame = false;
        self.departure = Timestamp::ZERO;
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}
