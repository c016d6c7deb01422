//! Software decoding of H.264 by openh264 (BSD), whole access units in, pictures out. Lost pictures
//! are bridged as in `sequence.rs`.

use super::sequence::Sequence;
use super::sys::Library;
use super::{Capabilities, DecodeError, Decoder, Part, Picture};
use net::units::FrameId;

/// Name for logs, errors and statistics.
pub const NAME: &str = "openh264";

/// The decoder; see the module's text.
pub struct OpenH264Decoder {
    library: Library,
    sequence: Sequence,
}

/// Always ready.
///
/// # Errors
/// Never: the library is built in.
pub fn probe() -> Result<String, (String, String)> {
    Ok("built in; whole pictures".to_owned())
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
            sequence: Sequence::default(),
        })
    }

    /// Brings the library to where it can decode `access_unit`.
    fn prepare(&mut self, frame: FrameId, part: Part, access_unit: &[u8]) -> Result<(), String> {
        if part != Part::WHOLE {
            return Err("it takes whole access units only".to_owned());
        }
        // It never has anything half way, and begins anew with each IDR by itself.
        let mut before = self.sequence.begin(frame, part, access_unit)?;
        while let Some(unit) = before.missing.next_unit() {
            self.library.decode(unit).map_err(|error| {
                format!("pictures before it are missing and could not be replaced: {error}")
            })?;
        }
        Ok(())
    }
}

impl Decoder for OpenH264Decoder {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: NAME,
            takes_slices: false,
        }
    }

    fn decode_part(
        &mut self,
        frame: FrameId,
        part: Part,
        access_unit: &[u8],
    ) -> Result<Option<Picture<'_>>, DecodeError> {
        if let Err(reason) = self.prepare(frame, part, access_unit) {
            return Err(self.sequence.fail(NAME, frame, reason));
        }
        let decoded = self.library.decode(access_unit);
        decoded.map_err(|error| self.sequence.fail(NAME, frame, error.to_string()))
    }
}
