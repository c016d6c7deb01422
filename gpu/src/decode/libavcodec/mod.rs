//! Software decoding of H.264 by the system's libavcodec (FFmpeg, LGPL), found at run time: slices
//! in, each decoded when it comes.
//!
//! # Slices
//! With `AV_CODEC_FLAG2_CHUNKS` its H.264 decoder takes an access unit in pieces of whole NAL units.
//! It begins a picture at the slice whose first macroblock is 0, and finishes it when its last row
//! of macroblocks is decoded (`libavcodec/h264dec.c`, `h264_decode_frame`). So after the last slice
//! only that slice is left to do. While one is not finished it refuses the first slice of another that
//! is no IDR (`libavcodec/h264_slice.c`, `ff_h264_queue_decode_slice`), so a picture that is given up is
//! finished first (`sequence.rs`).
//!
//! # Errors
//! Concealment is off (`enable_er`): it would fill what has not come yet after every slice. Errors
//! are told (`err_detect`), and what is shown is the caller's choice alone (`output_corrupt`, else
//! pictures after a loss are withheld until the library believes in them).

mod ffi;
#[cfg(all(test, feature = "x264"))]
mod gap_tests;

use net::units::FrameId;

use super::sequence::Sequence;
use super::{Capabilities, DecodeError, Decoder, Part, Picture};

/// Name for logs, errors and statistics.
pub const NAME: &str = "libavcodec";

/// Larger pictures are refused, pixels: 8192 by 8192, more than any mode has.
const PIXELS_MAX: &std::ffi::CStr = c"67108864";

/// The decoder; see the module's text.
pub struct LibavcodecDecoder {
    library: ffi::Library,
    sequence: Sequence,
    /// All of the picture is decoded.
    finished: bool,
}

/// Ready if the system has a version that we know, opened on trial.
///
/// # Errors
/// Why not, and what helps.
pub fn probe() -> Result<String, (String, String)> {
    let fix = || {
        "install FFmpeg's libavcodec, version 59 to 62 (Debian 12: apt-get install libavcodec59)"
            .to_owned()
    };
    let version = ffi::version().map_err(|reason| (reason, fix()))?;
    match open_library() {
        Ok(_) => Ok(format!("{version}; decodes each slice as it comes")),
        Err(reason) => Err((format!("{version}: {reason}"), fix())),
    }
}

impl LibavcodecDecoder {
    /// Opens one.
    ///
    /// # Errors
    /// [`DecodeError::Open`] where the library is missing, of another version, or refuses.
    pub fn open() -> Result<Self, DecodeError> {
        let library = open_library().map_err(|reason| DecodeError::Open {
            decoder: NAME,
            reason,
        })?;
        Ok(Self {
            library,
            sequence: Sequence::default(),
            finished: false,
        })
    }

    fn push(&mut self, frame: FrameId, part: Part, bytes: &[u8]) -> Result<bool, String> {
        if part.begins {
            let was_finished = std::mem::take(&mut self.finished);
            let mut before = self.sequence.begin(frame, part, bytes)?;
            if before.restart {
                // A slice that failed leaves coefficients behind, which flushing does not clear:
                // the first macroblock of the next picture would have them.
                self.library = open_library()?;
            }
            if let Some(ending) = before.ending
                && !was_finished
            {
                self.library.decode(ending.bytes())?;
            }
            while let Some(unit) = before.missing.next_unit() {
                self.library.decode(unit)?;
            }
        } else {
            self.sequence.go_on(frame, part)?;
        }
        let finished = self.library.decode(bytes)?;
        if finished && self.finished {
            return Err("it holds more than a picture".to_owned());
        }
        self.finished |= finished;
        if part.ends && !self.finished {
            return Err("slices of it are missing".to_owned());
        }
        Ok(part.ends)
    }
}

fn open_library() -> Result<ffi::Library, String> {
    ffi::Library::open(
        c"h264",
        &[
            (c"threads", c"1"),
            (c"flags", c"+low_delay+output_corrupt"),
            (c"flags2", c"+chunks"),
            (c"enable_er", c"0"),
            (c"err_detect", c"+explode"),
            (c"max_pixels", PIXELS_MAX),
        ],
    )
}

impl Decoder for LibavcodecDecoder {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: NAME,
            takes_slices: true,
        }
    }

    fn decode_part(
        &mut self,
        frame: FrameId,
        part: Part,
        bytes: &[u8],
    ) -> Result<Option<Picture<'_>>, DecodeError> {
        match self.push(frame, part, bytes) {
            Ok(false) => Ok(None),
            // What was decoded stands, whether it can be shown or not.
            Ok(true) => {
                let picture = self.library.picture();
                picture.map(Some).map_err(|reason| DecodeError::Picture {
                    decoder: NAME,
                    frame,
                    reason,
                })
            }
            Err(reason) => Err(self.sequence.fail(NAME, frame, reason)),
        }
    }
}
