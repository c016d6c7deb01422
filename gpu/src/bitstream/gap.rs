//! Which pictures are missing before an access unit, told by `frame_num`, and what stands in for
//! them.
//!
//! Reference pictures are numbered modulo `MaxFrameNum` from each IDR on (clause 7.4.3), so a
//! client needs no other numbering to know how many its decoder was not given.

use super::headers::{Pps, SliceHeader, Sps};
use super::skip::{SKIP_PICTURE_BYTES_MAX, skip_picture, skip_slice};
use super::{NalKind, nals};

/// Follows the pictures that a decoder is given, in order.
#[derive(Clone, Debug, Default)]
pub struct GapTracker {
    sps: Option<Sps>,
    pps: Option<Pps>,
    /// `frame_num` of the reference picture given last.
    frame_num: Option<u32>,
    /// The picture that was followed last is one that [`GapTracker::give_up`] can end.
    can_end: bool,
}

/// What is known of an access unit.
#[derive(Clone, Debug)]
pub struct Followed {
    /// It is an IDR: nothing can be missing before it.
    pub idr: bool,
    /// What the decoder needs first.
    pub missing: Missing,
}

/// Why the pictures before an access unit cannot be told or replaced. It takes an IDR to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GapError {
    /// The stream has not begun.
    #[error("it comes before any IDR with parameter sets")]
    NotBegun,
    /// The access unit is damaged.
    #[error("its slice header is damaged")]
    Header,
    /// The access unit is not one.
    #[error("it holds no slice")]
    NoSlice,
    /// More are missing than the decoder keeps, so nothing that the picture could refer to is left.
    #[error("{missing} pictures before it are missing, of {references} that it may refer to")]
    TooMany {
        /// How many, modulo `MaxFrameNum`.
        missing: u32,
        /// How many a decoder keeps.
        references: u32,
    },
    /// The stream is of a kind that [`skip_picture`] does not know.
    #[error("pictures before it are missing, and this kind of stream has none to stand in")]
    Unknown,
}

/// The pictures that stand in for missing ones, oldest first; see [`skip_picture`].
#[derive(Clone, Debug)]
pub struct Missing {
    sps: Sps,
    pps: Pps,
    next: u32,
    left: u32,
    unit: [u8; SKIP_PICTURE_BYTES_MAX],
}

/// The last slice of a picture that is given up; see [`GapTracker::give_up`].
#[derive(Clone, Debug)]
pub struct Ending {
    unit: [u8; SKIP_PICTURE_BYTES_MAX],
    used: usize,
}

impl GapTracker {
    /// As after a reference picture with that `frame_num`.
    #[cfg(test)]
    pub(super) const fn at(sps: Sps, pps: Pps, frame_num: u32) -> Self {
        Self {
            sps: Some(sps),
            pps: Some(pps),
            frame_num: Some(frame_num),
            can_end: true,
        }
    }

    /// The next access unit (Annex B) that the decoder shall be given, after what is missing.
    ///
    /// # Errors
    /// See [`GapError`].
    pub fn follow(&mut self, access_unit: &[u8]) -> Result<Followed, GapError> {
        for nal in nals(access_unit) {
            match nal.kind {
                NalKind::Sps => self.sps = Sps::parse(&nal),
                NalKind::Pps => self.pps = Pps::parse(&nal),
                NalKind::Slice | NalKind::IdrSlice => {
                    let (Some(sps), Some(pps)) = (self.sps, self.pps) else {
                        return Err(GapError::NotBegun);
                    };
                    let header = SliceHeader::parse(&nal, &sps, &pps).ok_or(GapError::Header)?;
                    let idr = nal.kind == NalKind::IdrSlice;
                    let missing = self.missing(&sps, &pps, &header, idr)?;
                    self.can_end = !idr && nal.ref_idc != 0;
                    if nal.ref_idc != 0 {
                        self.frame_num = Some(header.frame_num);
                    }
                    return Ok(Followed { idr, missing });
                }
                _ => {}
            }
        }
        Err(GapError::NoSlice)
    }

    /// The access unit that was followed last is given up; the decoder has only its first slices.
    /// The slice (Annex B) that ends the picture all the same: it skips all macroblocks but the
    /// first, those that were decoded once more, so it takes no knowledge of how far they went, and
    /// no decoder takes it for the beginning of another picture. The picture is then as good as one
    /// that stands in for a lost one. `None` where there is no such slice: it takes an IDR to go on,
    /// because a decoder lets go of everything when an IDR begins.
    pub fn give_up(&mut self) -> Option<Ending> {
        let (sps, pps) = (self.sps?, self.pps?);
        let frame_num = self.frame_num.filter(|_| self.can_end);
        let mut unit = [0; SKIP_PICTURE_BYTES_MAX];
        let used = frame_num.and_then(|number| skip_slice(&sps, &pps, number, 1, &mut unit));
        if used.is_none() {
            self.frame_num = None;
        }
        Some(Ending { unit, used: used? })
    }

    fn missing(
        &self,
        sps: &Sps,
        pps: &Pps,
        header: &SliceHeader,
        idr: bool,
    ) -> Result<Missing, GapError> {
        let mask = (1u32 << sps.frame_num_bits) - 1;
        let (next, left) = if idr {
            (0, 0)
        } else {
            let next = self.frame_num.ok_or(GapError::NotBegun)?.wrapping_add(1) & mask;
            (next, header.frame_num.wrapping_sub(next) & mask)
        };
        let references = sps.ref_frames;
        if left > 0 && left >= references {
            let missing = left;
            return Err(GapError::TooMany {
                missing,
                references,
            });
        }
        let mut unit = [0; SKIP_PICTURE_BYTES_MAX];
        if left > 0 && skip_picture(sps, pps, next, &mut unit).is_none() {
            return Err(GapError::Unknown);
        }
        Ok(Missing {
            sps: *sps,
            pps: *pps,
            next,
            left,
            unit,
        })
    }
}

impl Ending {
    /// The slice, with its start code.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.unit[..self.used]
    }
}

impl Missing {
    /// The next stand-in as an access unit (Annex B).
    pub fn next_unit(&mut self) -> Option<&[u8]> {
        self.left = self.left.checked_sub(1)?;
        let used = skip_picture(&self.sps, &self.pps, self.next, &mut self.unit)?;
        self.next = self.next.wrapping_add(1);
        self.unit.get(..used)
    }
}
