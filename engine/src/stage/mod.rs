//! The stages of the host's pipeline, in the order in which a frame passes them, and what they
//! hand each other. Threads and channels are made in [`crate::pipeline`] and nowhere else.

pub mod capture;
pub mod change;
pub mod cursor;
pub mod cutter;
pub mod encode;
pub mod protect;
pub mod send;
pub mod input;
pub mod audio;
pub mod clipboard;
pub mod microphone;

use net::ladder::SentFrame;
use net::packetize::{Batch, SliceMeta};
use net::units::{FrameId, Timestamp};

/// A slice on its way from encode to protect, in a buffer of the slice pool.
#[derive(Default)]
pub struct Slice {
    /// What it is.
    pub meta: SliceMeta,
    /// The pool's buffer.
    pub buffer: Box<[u8]>,
    /// Bytes of it in use.
    pub filled: usize,
    /// When the encoder had finished it.
    pub encoded: Timestamp,
}

/// What is known of a picture once the encoder has returned, after its last slice. It goes from
/// encode to send past protect, and wakes nobody: it is for the report alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct PictureDone {
    /// Which one.
    pub frame: FrameId,
    /// It is an IDR.
    pub keyframe: bool,
    /// Pixels complete in the capture buffer. For a repeat of an earlier picture (refinement, a
    /// new client): when the repeat was decided on.
    pub captured: Timestamp,
    /// Taken by the encode thread.
    pub encode_begin: Timestamp,
    /// Colours converted.
    pub converted: Timestamp,
    /// Mean quantiser.
    pub qp: f32,
}

/// What a batch is a part of.
#[derive(Clone, Copy, Debug)]
pub struct SlicePart {
    /// When the encoder had finished the slice.
    pub encoded: Timestamp,
    /// Size of the slice, bytes; 0 for a batch that is part of none.
    pub slice_bytes: u32,
    /// The frame up to this slice, for control; once a slice.
    pub frame: Option<SentFrame>,
}

impl SlicePart {
    /// Repeats, echoes and probes.
    pub const NONE: Self = Self {
        encoded: Timestamp::ZERO,
        slice_bytes: 0,
        frame: None,
    };
}

/// A batch on its way from protect to send, in a buffer of the batch pool.
pub struct Sealed {
    /// The datagrams.
    pub batch: Batch,
    /// The slice that they were made of.
    pub part: SlicePart,
    /// When they were sealed.
    pub protected: Timestamp,
}

/// Why a stage ended although nobody asked it to. The session ends with it.
#[derive(Debug, thiserror::Error)]
pub enum StageFault {
    /// The source of pictures is gone.
    #[error(transparent)]
    Capture(#[from] platform::capture::CaptureError),
    /// The encoder fails again and again, each time newly opened.
    #[error(transparent)]
    Encode(#[from] gpu::encode::EncodeError),
    /// The socket is unusable.
    #[error("the socket can no longer be sent on: {0}")]
    Socket(std::io::Error),
    /// A defect of ours.
    #[error("the {0} thread panicked; this is a bug in punktfunk, please report it")]
    Panic(&'static str),
}
