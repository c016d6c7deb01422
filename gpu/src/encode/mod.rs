//! Encoders: a picture in, slices out, each handed on as soon as it is finished.

pub mod openh264;
pub mod rate;
#[cfg(feature = "x264")]
pub mod x264;

use net::units::{BitsPerSecond, FrameId, Mode, SliceCount, SliceIndex, Timestamp};

use crate::frame::Frame;

/// How an encoder is opened.
#[derive(Clone, Copy, Debug)]
pub struct EncoderConfig {
    /// Picture size and rate.
    pub mode: Mode,
    /// Target bitrate.
    pub bitrate: BitsPerSecond,
    /// Slices asked for in each picture; an encoder that cannot slice emits one.
    pub slices: SliceCount,
    /// Threads that the encoder may use inside one picture.
    pub threads: u8,
}

/// What a picture must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureKind {
    /// Whatever the encoder finds best: a P picture in an infinite GOP.
    Delta,
    /// An IDR with parameter sets, on which a decoder can start.
    Idr,
}

/// What an encoder can do: data, asked once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Short name for logs, `doctor` and statistics: `x264`, `openh264`.
    pub name: &'static str,
    /// Slices are emitted one by one while the picture is still being encoded.
    pub emits_slices_early: bool,
    /// Most slices in a picture.
    pub slices_max: u8,
    /// [`Encoder::invalidate_references`] works; else a loss takes an IDR.
    pub invalidates_references: bool,
}

/// A finished slice. It holds all NAL units, with Annex B start codes, from the end of the
/// previous slice to its own end: parameter sets and SEI travel with the slice after them.
#[derive(Clone, Copy, Debug)]
pub struct SliceInfo {
    /// The frame that it belongs to.
    pub frame: FrameId,
    /// Its place in picture order.
    pub index: SliceIndex,
    /// The last of its frame.
    pub last: bool,
    /// Belongs to an IDR picture.
    pub keyframe: bool,
    /// Belongs to the first picture after [`Encoder::invalidate_references`] that depends on
    /// nothing lost.
    pub recovery: bool,
    /// When the encoder had finished it.
    pub finished: Timestamp,
}

/// Where an encoder writes slices. Implemented by the pipeline over pooled buffers, and by tests.
///
/// `Send`, because an encoder with threads of its own may call it from one of those, one call at
/// a time, while the caller waits inside [`Encoder::encode`].
pub trait SliceSink: Send {
    /// The buffer for the next slice, at least `bytes` long, or `None` if no buffer of that size
    /// exists (the encoder then fails the picture with [`EncodeError::SliceTooLarge`]). May
    /// block while the stages behind are busy. Calling it again before `finish` returns the same
    /// or a larger buffer with the `filled` first bytes kept.
    fn reserve(&mut self, filled: usize, bytes: usize) -> Option<&mut [u8]>;

    /// The slice in the first `bytes` of the reserved buffer is finished.
    fn finish(&mut self, bytes: usize, slice: SliceInfo);

    /// Called once on each thread that the encoder has started for itself, when that thread has
    /// its first slice: it is number `index` of `count`. Here it can be given its name, priority
    /// and place, which it has of nobody else.
    fn thread_began(&mut self, index: u8, count: u8) {
        let _ = (index, count);
    }
}

/// What became of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoded {
    /// When the pixels were in the encoder's own format.
    pub converted: Timestamp,
    /// Size of the access unit, bytes.
    pub bytes: usize,
    /// It is an IDR.
    pub keyframe: bool,
    /// Mean quantiser (H.264: 0 to 51), for statistics and for refinement of still pictures.
    pub qp: f32,
}

/// Why a picture could not be encoded. After any error the encoder must be opened anew.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The library refused to open.
    #[error("{encoder} refuses {mode} with {slices} slices: {reason}")]
    Open {
        /// Which encoder.
        encoder: &'static str,
        /// The asked mode.
        mode: Mode,
        /// The asked slices.
        slices: u8,
        /// What the library said.
        reason: String,
    },
    /// The library failed on a picture.
    #[error("{encoder} failed on {frame}: {reason}")]
    Picture {
        /// Which encoder.
        encoder: &'static str,
        /// The picture.
        frame: FrameId,
        /// What the library said.
        reason: String,
    },
    /// The frame's surface is of another size than the encoder's, or not readable by it.
    #[error("{encoder} cannot read this surface: {reason}")]
    Surface {
        /// Which encoder.
        encoder: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// A slice outgrew every buffer of the pool.
    #[error("a slice of {frame} needs {bytes} bytes, more than the pool's buffers hold")]
    SliceTooLarge {
        /// The picture.
        frame: FrameId,
        /// What it would have needed.
        bytes: usize,
    },
}

/// A video encoder of one session, driven by the encode thread. Called once a frame.
pub trait Encoder: Send {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Encodes one picture, handing its slices to `sink` in picture order, the first ones
    /// before the last ones are encoded where [`Capabilities::emits_slices_early`].
    ///
    /// # Errors
    /// See [`EncodeError`].
    fn encode(
        &mut self,
        frame: &Frame,
        id: FrameId,
        kind: PictureKind,
        sink: &mut dyn SliceSink,
    ) -> Result<Encoded, EncodeError>;

    /// From the next picture on: this bitrate and so many slices, without an IDR.
    ///
    /// # Errors
    /// See [`EncodeError`].
    fn reconfigure(
        &mut self,
        bitrate: BitsPerSecond,
        slices: SliceCount,
    ) -> Result<(), EncodeError>;

    /// The client has lost every picture from `first_lost` on (and what depends on it): the next
    /// picture refers to older ones only and is marked as recovery. False where that is not
    /// possible (not able, or nothing older is left); the caller then asks for an IDR.
    ///
    /// Pictures that were encoded since and depend on nothing lost count as lost, too: a report
    /// that a recovery picture or an IDR has answered already must not come here.
    fn invalidate_references(&mut self, first_lost: FrameId) -> bool;
}

/// An encoder that this build can have.
#[derive(Clone, Copy, Debug)]
pub struct EncoderKind {
    /// Its name, as `--encoder` takes it and [`Capabilities::name`] gives it.
    pub name: &'static str,
    /// Ready with a detail, or why this machine cannot have it, with the fix.
    pub probe: fn() -> Result<String, String>,
    /// Opens one for a session.
    pub open: fn(&EncoderConfig) -> Result<Box<dyn Encoder>, EncodeError>,
}

/// All encoders of this build, the best first. Take the first whose probe answers ready.
#[must_use]
pub const fn candidates() -> &'static [EncoderKind] {
    const {
        &[
            #[cfg(feature = "x264")]
            EncoderKind {
                name: x264::NAME,
                probe: x264::probe,
                open: |config| Ok(Box::new(x264::X264Encoder::open(config)?)),
            },
            EncoderKind {
                name: openh264::NAME,
                probe: openh264::probe,
                open: |config| Ok(Box::new(openh264::OpenH264Encoder::open(config)?)),
            },
        ]
    }
}
