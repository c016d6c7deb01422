//! A batch: what the send stage hands to the kernel at once.

use crate::limits::{DATAGRAM_BYTES_MAX, GSO_SEGMENTS_MAX};
use crate::units::{FrameId, SliceIndex, Timestamp};

/// What a batch carries; the pacer has an order for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cargo {
    /// Data shards of a slice.
    #[default]
    Data,
    /// Parity shards of a group that ends with the slice.
    Parity,
    /// Data shards once more.
    Repeat,
    /// Padding.
    Probe,
    /// Padding of a size that is being tried.
    MtuProbe,
    /// An echo.
    Echo,
}

/// Sealed datagrams in GSO layout: each starts where the one before ends, all have one size but
/// the last, which may be shorter.
pub struct Batch {
    pub(super) bytes: Box<[u8]>,
    pub(super) len: usize,
    /// What they carry.
    pub cargo: Cargo,
    /// Size of each datagram but the last, bytes.
    pub segment_bytes: u16,
    /// How many there are. Zero only if [`super::Packetizer::set_drop_every`] left all of them
    /// out: there is nothing to send then, the flags below still count.
    pub datagrams: u16,
    /// Sequence of the first datagram sealed for this batch; the others count on.
    pub first_sequence: u64,
    /// What rate control counts them with: the frame's number, or that of a probe.
    pub burst: u32,
    /// The frame that they belong to.
    pub frame: FrameId,
    /// The slice that they belong to; of parity, the last one that it covers.
    pub slice: SliceIndex,
    /// Nothing of the slice went before.
    pub first_of_slice: bool,
    /// Nothing follows that was made of this slice; its group's parity counts.
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
            cargo: Cargo::Data,
            segment_bytes: 0,
            datagrams: 0,
            first_sequence: 0,
            burst: 0,
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

    /// Size of the last datagram, bytes; 0 if there is none.
    #[must_use]
    pub fn last_bytes(&self) -> u16 {
        let whole = usize::from(self.datagrams.saturating_sub(1)) * usize::from(self.segment_bytes);
        (self.len - whole) as u16
    }

    /// The datagrams one by one.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes().chunks(usize::from(self.segment_bytes).max(1))
    }

    pub(super) fn clear(&mut self, cargo: Cargo, frame: FrameId, slice: SliceIndex) {
        self.len = 0;
        self.cargo = cargo;
        self.segment_bytes = 0;
        self.datagrams = 0;
        self.first_sequence = 0;
        self.burst = frame.0;
        self.frame = frame;
        self.slice = slice;
        self.first_of_slice = false;
        self.last_of_slice = false;
        self.last_of_frame = false;
        self.departure = Timestamp::ZERO;
    }

    /// Room for the next datagram.
    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.len..]
    }

    /// The next datagram was written, so many bytes. The first one's size is that of all.
    pub(super) fn push(&mut self, bytes: usize) {
        if self.datagrams == 0 {
            self.segment_bytes = u16::try_from(bytes).expect("at most DATAGRAM_BYTES_MAX");
        }
        self.len += bytes;
        self.datagrams += 1;
    }
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}
