//! What every decoder must be told beside the pictures: which are missing before one, which was
//! given up half way, and that after a failure nothing helps but an IDR.
//!
//! # Lost pictures
//! Decoders differ in what they make of a gap in `frame_num`: openh264 without concealment stops
//! until the next IDR, libavcodec withholds pictures where the lost one had number 0. Gaps
//! are bridged with pictures that repeat the one before ([`GapTracker`]), which keeps the
//! reference list in step with the encoder's, so that the encoder's recovery picture and all
//! after it are exact. The pictures between the loss and the recovery come out damaged and
//! without an error: the caller knows from the frame numbers what it lost, and hides them.
//!
//! # Pictures given up half way
//! A slice that skips what is left makes a picture of them ([`GapTracker::give_up`]), which is
//! never shown and which nothing refers to: to the encoder it was lost.

use net::units::FrameId;

use super::{DecodeError, Part};
use crate::bitstream::{Ending, GapTracker, Missing};

/// What a decoder needs before an access unit, in this order. Nothing of it is to be shown.
#[derive(Debug)]
pub(super) struct Before {
    /// To begin anew: an IDR follows, and what was before it is in disorder.
    pub restart: bool,
    /// What ends the picture that was given up.
    pub ending: Option<Ending>,
    /// What stands in for missing pictures.
    pub missing: Missing,
}

/// Follows what one decoder is given.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    gaps: GapTracker,
    /// The frame that has begun and not ended.
    open: Option<FrameId>,
    /// A picture has failed since the last IDR; what refers to it is unusable.
    broken: bool,
}

impl Sequence {
    /// The part that begins `frame`, with its first slice; what the decoder needs before it.
    pub(super) fn begin(
        &mut self,
        frame: FrameId,
        part: Part,
        bytes: &[u8],
    ) -> Result<Before, String> {
        let given_up = self.open.take().is_some();
        let ending = given_up.then(|| self.gaps.give_up()).flatten();
        let followed = self.gaps.follow(bytes).map_err(|error| error.to_string())?;
        let restart = followed.idr && (self.broken || given_up);
        if followed.idr {
            self.broken = false;
        } else if self.broken {
            return Err("an earlier picture failed; it takes an IDR to go on".to_owned());
        }
        self.open = (!part.ends).then_some(frame);
        Ok(Before {
            restart,
            ending: ending.filter(|_| !restart),
            missing: followed.missing,
        })
    }

    /// A further part of `frame`.
    pub(super) fn go_on(&mut self, frame: FrameId, part: Part) -> Result<(), String> {
        if self.open != Some(frame) {
            return Err("its beginning is missing".to_owned());
        }
        if part.ends {
            self.open = None;
        }
        Ok(())
    }

    /// The decoder has failed at what it was given last, part of `frame`; the error to tell.
    pub(super) fn fail(
        &mut self,
        decoder: &'static str,
        frame: FrameId,
        reason: String,
    ) -> DecodeError {
        self.open = None;
        self.broken = true;
        DecodeError::Picture {
            decoder,
            frame,
            reason,
        }
    }
}
