//! Decoders: an access unit in, a picture out.

pub mod openh264;
mod sys;

use net::units::FrameId;

/// A decoded picture, valid until the next call of its decoder: 4:2:0, 8 bits, BT.709 limited.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// Width, pixels.
    pub width: usize,
    /// Height, pixels.
    pub height: usize,
    /// Luma, chroma blue, chroma red; the latter two at half size each way.
    pub planes: [&'a [u8]; 3],
    /// Bytes from row to row of each plane.
    pub strides: [usize; 3],
}

/// Why an access unit gave no picture.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The decoder could not be opened.
    #[error("{decoder} could not be opened: {reason}")]
    Open {
        /// Which decoder.
        decoder: &'static str,
        /// What the library said.
        reason: String,
    },
    /// The access unit is damaged or refers to pictures that the decoder does not have; ask the
    /// host for a picture that refers to what the client has.
    #[error("{decoder} cannot decode {frame}: {reason}")]
    Picture {
        /// Which decoder.
        decoder: &'static str,
        /// The frame.
        frame: FrameId,
        /// What the library said.
        reason: String,
    },
}

/// A video decoder of one session.
pub trait Decoder: Send {
    /// Short name for logs and statistics.
    fn name(&self) -> &'static str;

    /// Decodes one whole access unit (Annex B). `None` if the decoder shows nothing for it.
    ///
    /// # Errors
    /// See [`DecodeError`].
    fn decode(
        &mut self,
        frame: FrameId,
        access_unit: &[u8],
    ) -> Result<Option<Picture<'_>>, DecodeError>;
}
