//! Decoders: an access unit in, whole or slice by slice, a picture out.

pub mod libavcodec;
pub mod openh264;
mod sequence;
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
    /// Bytes from row to row of each plane; its last row may end where the picture does.
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

/// What a decoder can do: data, asked once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Short name for logs, `doctor` and statistics: `libavcodec`, `openh264`.
    pub name: &'static str,
    /// Works on a slice while later ones are still on their way. Else it takes whole access units
    /// only.
    pub takes_slices: bool,
}

/// Which part of an access unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// It begins the access unit. A picture that was begun before and has not ended is given up by
    /// this: it is never shown, and to the decoder it was lost.
    pub begins: bool,
    /// It ends the access unit.
    pub ends: bool,
}

impl Part {
    /// The whole access unit.
    pub const WHOLE: Self = Self {
        begins: true,
        ends: true,
    };
}

/// A video decoder of one session.
pub trait Decoder: Send {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Decodes the next part of an access unit (Annex B): whole slices, in order, parameter sets
    /// with the slice after them. Anything but [`Part::WHOLE`] takes
    /// [`Capabilities::takes_slices`]. The picture comes with the part that ends it; `None` then
    /// means that the decoder shows nothing for it.
    ///
    /// # Errors
    /// See [`DecodeError`]. What follows of the same access unit fails, too.
    fn decode_part(
        &mut self,
        frame: FrameId,
        part: Part,
        bytes: &[u8],
    ) -> Result<Option<Picture<'_>>, DecodeError>;

    /// Decodes a whole access unit.
    ///
    /// # Errors
    /// See [`DecodeError`].
    fn decode(
        &mut self,
        frame: FrameId,
        access_unit: &[u8],
    ) -> Result<Option<Picture<'_>>, DecodeError> {
        self.decode_part(frame, Part::WHOLE, access_unit)
    }
}

/// A decoder that this build can have.
#[derive(Clone, Copy, Debug)]
pub struct DecoderKind {
    /// Its name, as `--decoder` takes it and [`Capabilities::name`] gives it.
    pub name: &'static str,
    /// Ready with a detail, or why this machine cannot have it, and what helps.
    pub probe: fn() -> Result<String, (String, String)>,
    /// Opens one for a session.
    pub open: fn() -> Result<Box<dyn Decoder>, DecodeError>,
}

/// All decoders of this build, the best first. Take the first whose probe answers ready.
#[must_use]
pub const fn candidates() -> &'static [DecoderKind] {
    &[
        DecoderKind {
            name: libavcodec::NAME,
            probe: libavcodec::probe,
            open: || Ok(Box::new(libavcodec::LibavcodecDecoder::open()?)),
        },
        DecoderKind {
            name: openh264::NAME,
            probe: openh264::probe,
            open: || Ok(Box::new(openh264::OpenH264Decoder::open()?)),
        },
    ]
}
