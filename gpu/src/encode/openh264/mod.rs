//! H.264 by openh264 (BSD): the encoder of a build that must not be under the GPL.
//!
//! It hands out whole pictures, so a picture is one slice; it controls its own rate, skips no
//! picture, makes an IDR only when asked, and cannot refer past a lost picture.

mod sys;

use net::clock;
use net::units::{BitsPerSecond, FrameId, SliceCount, SliceIndex};

use super::{
    Capabilities, EncodeError, Encoded, Encoder, EncoderConfig, PictureKind, SliceInfo, SliceSink,
};
use crate::bitstream::{NalKind, Pps, SliceHeader, Sps, nals};
use crate::convert::{Converter, I420};
use crate::frame::{Frame, Size};

/// Name for logs, errors and statistics.
pub const NAME: &str = "openh264";

/// Ready with the library's version.
///
/// # Errors
/// Never: the library is built in.
pub fn probe() -> Result<String, String> {
    Ok("built in; whole pictures, no reference invalidation".to_owned())
}

/// The encoder; see the module's text.
pub struct OpenH264Encoder {
    config: EncoderConfig,
    library: sys::Library,
    converter: Converter<I420>,
    started: bool,
    sps: Option<Sps>,
    pps: Option<Pps>,
}

impl OpenH264Encoder {
    /// Opens one.
    ///
    /// # Errors
    /// [`EncodeError::Open`] if the library refuses, or the picture is beyond 3840×2160.
    pub fn open(config: &EncoderConfig) -> Result<Self, EncodeError> {
        let mode = config.mode;
        let library = sys::Library::open(config).map_err(|reason| EncodeError::Open {
            encoder: NAME,
            mode,
            slices: config.slices.get(),
            reason,
        })?;
        let size = Size {
            width: mode.width(),
            height: mode.height(),
        };
        Ok(Self {
            config: *config,
            library,
            converter: Converter::new(size),
            started: false,
            sps: None,
            pps: None,
        })
    }
}

impl Encoder for OpenH264Encoder {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: NAME,
            emits_slices_early: false,
            slices_max: 1,
            invalidates_references: false,
        }
    }

    fn encode(
        &mut self,
        frame: &Frame,
        id: FrameId,
        kind: PictureKind,
        sink: &mut dyn SliceSink,
    ) -> Result<Encoded, EncodeError> {
        self.converter
            .convert(frame)
            .map_err(|error| EncodeError::Surface {
                encoder: NAME,
                reason: error.to_string(),
            })?;
        let converted = clock::now();
        let failed = |reason: String| EncodeError::Picture {
            encoder: NAME,
            frame: id,
            reason,
        };
        let idr = kind == PictureKind::Idr || !self.started;
        let units = self
            .library
            .encode(self.converter.current(), idr)
            .map_err(failed)?;
        let mut bytes = 0;
        units.for_each(|unit| bytes += unit.len());
        if bytes == 0 {
            return Err(failed("the library skipped the picture".to_owned()));
        }
        let too_large = EncodeError::SliceTooLarge { frame: id, bytes };
        let buffer = sink.reserve(0, bytes).ok_or(too_large)?;
        let mut at = 0;
        units.for_each(|unit| {
            buffer[at..at + unit.len()].copy_from_slice(unit);
            at += unit.len();
        });
        let (keyframe, qp) = describe(&buffer[..bytes], &mut self.sps, &mut self.pps);
        self.started = true;
        let slice = SliceInfo {
            frame: id,
            index: SliceIndex(0),
            last: true,
            keyframe,
            recovery: false,
            finished: clock::now(),
        };
        sink.finish(bytes, slice);
        Ok(Encoded {
            converted,
            bytes,
            keyframe,
            qp,
        })
    }

    fn reconfigure(
        &mut self,
        bitrate: BitsPerSecond,
        _slices: SliceCount,
    ) -> Result<(), EncodeError> {
        self.library
            .set_bitrate(bitrate)
            .map_err(|reason| EncodeError::Open {
                encoder: NAME,
                mode: self.config.mode,
                slices: 1,
                reason,
            })?;
        self.config.bitrate = bitrate;
        Ok(())
    }

    fn invalidate_references(&mut self, _first_lost: FrameId) -> bool {
        false
    }
}

/// Whether an access unit is an IDR, and its first slice's quantiser (zero if unknown).
fn describe(unit: &[u8], sps: &mut Option<Sps>, pps: &mut Option<Pps>) -> (bool, f32) {
    for nal in nals(unit) {
        match nal.kind {
            NalKind::Sps => *sps = Sps::parse(&nal),
            NalKind::Pps => *pps = Pps::parse(&nal),
            NalKind::Slice | NalKind::IdrSlice => {
                let header = sps
                    .zip(*pps)
                    .and_then(|(s, p)| SliceHeader::parse(&nal, &s, &p));
                let qp = header.and_then(|header| header.qp).unwrap_or(0);
                return (nal.kind == NalKind::IdrSlice, qp as f32);
            }
            _ => {}
        }
    }
    (false, 0.0)
}
