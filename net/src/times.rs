//! The stamps that ride along with a frame, so that latency is measured where it happens.

use crate::limits::SLICES_PER_FRAME_MAX;
use crate::units::{FrameId, Timestamp};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// CPU time that the encode thread spent in conversion, ns.
    pub slices: [SliceTimes; SLICES_PER_FRAME_MAX as usize],
    /// How many of `slices` are in use.
    pub slice_count: u8,
    /// Mean quantiser, tenths.
    pub qp_tenths: u16,
}
