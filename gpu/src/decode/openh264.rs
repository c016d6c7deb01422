//! Software decoding of H.264 by openh264 (BSD), whole access units in, pictures out.
//!
//! # Lost pictures
//! openh264 without concealment stops at a gap in `frame_num` until the next IDR. This decoder
//! bridges such gaps with pictures that repeat the one before ([`skip_picture`]), which keeps the
//! reference list in step with the encoder's, so that the encoder's recovery picture and all
//! after it are exact. The pictures between the loss and the recovery come out damaged and
//! without an error: the caller knows from the frame numbers what it lost, and hides them.

use super::sys::Library;
use super::{DecodeError, Decoder, Picture};
use crate::bitstream::{
    NalKind, Pps, SKIP_PICTURE_BYTES_MAX, SliceHeader, Sps, nals, skip_picture,
};
use net::units::FrameId;

/// Name for logs, errors and statistics.
pub const NAME: &str = "openh264";

/// Most lost pictures that are bridged: the longest reference list there is (clause A.3.1).
/// After a longer loss nothing that the encoder could refer to is left, so it sends an IDR.
const GAP_MAX: u32 = 16;

/// The decoder; see the module's text.
pub struct OpenH264Decoder {
    library: Library,
    sps: Option<Sps>,
    pps: Option<Pps>,
    /// `frame_num` of the picture decoded last.
    frame_num: Option<u32>,
    /// The library has failed since the last IDR; what refers to its pictures is unusable.
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
            sps: None,
            pps: None,
            frame_num: None,
            broken: false,
        })
    }

    /// Reads parameter sets and the first slice header; what the picture is.
    fn survey(&mut self, access_unit: &[u8]) -> Survey {
        for nal in nals(access_unit) {
            match nal.kind {
                NalKind::Sps => self.sps = Sps::parse(&nal),
                NalKind::Pps => self.pps = Pps::parse(&nal),
                NalKind::Slice | NalKind::IdrSlice => {
                    let (Some(sps), Some(pps)) = (self.sps, self.pps) else {
                        return Survey::Unusable("it comes before any parameter sets");
                    };
                    let Some(header) = SliceHeader::parse(&nal, &sps, &pps) else {
                        return Survey::Unusable("its slice header is damaged");
                    };
                    let idr = nal.kind == NalKind::IdrSlice;
                    let reference = nal.ref_idc != 0;
                    return Survey::Picture {
                        frame_num: header.frame_num,
                        idr,
                        reference,
                    };
                }
                _ => {}
            }
        }
        Survey::Unusable("it holds no slice")
    }

    /// Feeds a repeated picture for each one missing before `frame_num`.
    fn bridge(&mut self, frame_num: u32) -> Result<(), &'static str> {
        let (Some(last), Some(sps), Some(pps)) = (self.frame_num, self.sps, self.pps) else {
            return Err("the stream did not begin with an IDR");
        };
        let mask = (1u32 << sps.frame_num_bits()) - 1;
        let gap = frame_num.wrapping_sub(last).wrapping_sub(1) & mask;
        if gap > GAP_MAX {
            return Err("too many pictures before it are missing");
        }
        for missing in 1..=gap {
            let mut unit = [0; SKIP_PICTURE_BYTES_MAX];
            let used = skip_picture(&sps, &pps, last.wrapping_add(missing) & mask, &mut unit)
                .ok_or("pictures before it are missing and cannot be bridged")?;
            self.library
                .decode(&unit[..used])
                .map_err(|_| "pictures before it are missing and the library stopped there")?;
        }
        Ok(())
    }
}

enum Survey {
    Picture {
        frame_num: u32,
        idr: bool,
        reference: bool,
    },
    Unusable(&'static str),
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
        let failed = |reason: &str| DecodeError::Picture {
            decoder: NAME,
            frame,
            reason: reason.to_owned(),
        };
        let (frame_num, idr, reference) = match self.survey(access_unit) {
            Survey::Picture {
                frame_num,
                idr,
                reference,
            } => (frame_num, idr, reference),
            Survey::Unusable(reason) => return Err(failed(reason)),
        };
        if idr {
            self.broken = false;
        } else if self.broken {
            return Err(failed(
                "an earlier picture failed; it takes an IDR to go on",
            ));
        } else if let Err(reason) = self.bridge(frame_num) {
            self.broken = true;
            return Err(failed(reason));
        }
        if reference {
            self.frame_num = Some(frame_num);
        }
        match self.library.decode(access_unit) {
            Ok(picture) => Ok(picture),
            Err(error) => {
                self.broken = true;
                Err(failed(&error.to_string()))
            }
        }
    }
}
