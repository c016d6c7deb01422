//! Software decoding of H.264 by openh264 (BSD), whole access units in, pictures out.
//!
//! # Lost pictures
//! openh264 without concealment stops at a gap in `frame_num` until the next IDR. This decoder
//! bridges such gaps with pictures that repeat the one before ([`GapTracker`]), which keeps the
//! reference list in step with the encoder's, so that the encoder's recovery picture and all
//! after it are exact. The pictures between the loss and the recovery come out damaged and
//! without an error: the caller knows from the frame numbers what it lost, and hides them.

use super::sys::Library;
use super::{DecodeError, Decoder, Picture};
use crate::bitstream::GapTracker;
use net::units::FrameId;

/// Name for logs, errors and statistics.
pub const NAME: &str = "openh264";

/// The decoder; see the module's text.
pub struct OpenH264Decoder {
    library: Library,
    gaps: GapTracker,
    /// A picture has failed since the last IDR; what refers to it is unusable.
    broken: bool,
}

impl OpenH264Decoder {
    /// Opens one.
    ///
    /// # Errors
    /// [`DecodeError::Open`] if the library refuses.
    pub fn open() -> Result<Self, DecodeError> {
        let library = Library::open().map_err(|reason| DecodeError::Open {
            decoder: NAME,
            reason,
        })?;
        Ok(Self {
            library,
            gaps: GapTracker::default(),
            broken: false,
        })
    }

    /// Brings the library to where it can decode `access_unit`: feeds it what stands in for the
    /// pictures missing before, and shows none of that.
    fn prepare(&mut self, access_unit: &[u8]) -> Result<(), String> {
        let mut followed = self
            .gaps
            .follow(access_unit)
            .map_err(|error| error.to_string())?;
        if followed.idr {
            self.broken = false;
        } else if self.broken {
            return Err("an earlier picture failed; it takes an IDR to go on".to_owned());
        }
        while let Some(unit) = followed.missing.next_unit() {
            self.library.decode(unit).map_err(|error| {
                format!("pictures before it are missing and could not be replaced: {error}")
            })?;
        }
        Ok(())
    }
}

impl Decoder for OpenH264Decoder {
    fn name(&self) -> &'static str {
        NAME
    }

    fn decode(
        &mut self,
        frame: FrameId,
        access_unit: &[u8],
    ) -> Result<Option<Picture<'_>>, DecodeError> {
        let failed = |reason: String| DecodeError::Picture {
            decoder: NAME,
            frame,
            reason,
        };
        if let Err(reason) = self.prepare(access_unit) {
            self.broken = true;
            return Err(failed(reason));
        }
        match self.library.decode(access_unit) {
            Ok(picture) => Ok(picture),
            Err(error) => {
                self.broken = true;
                Err(failed(error.to_string()))
            }
        }
    }
}
