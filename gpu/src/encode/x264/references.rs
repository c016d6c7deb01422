//! Which pictures x264 can still refer to, and what a report of loss means for the next one.
//!
//! x264 marks every picture from a given pts on as unusable, also those that were encoded after
//! the loss and do not depend on it. So a report that is already answered must not come here:
//! the caller drops it (see [`Encoder::invalidate_references`](super::Encoder)).

use net::units::FrameId;

use super::REFERENCES_MAX;
use crate::bitstream::frame_num::MAX_FRAME_NUM;
use crate::encode::PictureKind;

/// The next picture, as x264 shall encode it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub pts: i64,
    pub idr: bool,
    pub recovery: bool,
}

/// What to do about a report of loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Invalidation {
    /// Nothing is lost that the next picture would refer to.
    Nothing,
    /// Tell x264: everything from this pts on.
    From(i64),
    /// Nothing older is left, or decoders lose count: it takes an IDR.
    Impossible,
}

/// The encoder's reference list as x264 keeps it: the last pictures, newest last.
#[derive(Debug)]
pub(super) struct References {
    /// pts and whether it may be referred to. Only the last `len` are in use.
    pictures: [(i64, bool); REFERENCES_MAX as usize],
    len: usize,
    capacity: usize,
    /// `frame_num` of the newest.
    frame_num: u32,
    /// The frame and pts before the next one; `None` before the first.
    last: Option<(FrameId, i64)>,
    /// The next picture is the first after an invalidation.
    pending: bool,
}

impl References {
    /// For a DPB of that many pictures.
    pub(super) fn new(dpb: u8) -> Self {
        Self {
            pictures: [(0, false); REFERENCES_MAX as usize],
            len: 0,
            capacity: usize::from(dpb.min(REFERENCES_MAX)),
            frame_num: 0,
            last: None,
            pending: false,
        }
    }

    /// The next picture. Its pts counts frame numbers, so that a report can be translated.
    pub(super) fn next(&mut self, id: FrameId, kind: PictureKind) -> Next {
        let pts = match self.last {
            None => 0,
            // A number that did not move on would confuse x264; it counts as the next one.
            Some((last, pts)) => pts + i64::from(distance(last, id).max(1)),
        };
        self.last = Some((id, pts));
        Next {
            pts,
            idr: kind == PictureKind::Idr || self.len == 0,
            recovery: self.pending,
        }
    }

    /// The picture is encoded.
    pub(super) fn encoded(&mut self, pts: i64, keyframe: bool) {
        if keyframe {
            self.len = 0;
        }
        // All are references, so each counts (clause 7.4.3).
        self.frame_num = match keyframe {
            true => 0,
            false => (self.frame_num + 1) % MAX_FRAME_NUM,
        };
        self.pending = false;
        if self.len == self.capacity {
            self.pictures.copy_within(1..self.len, 0);
            self.len -= 1;
        }
        self.pictures[self.len] = (pts, true);
        self.len += 1;
    }

    /// The client has lost everything from `first_lost` on, or depends on it.
    pub(super) fn invalidate(&mut self, first_lost: FrameId) -> Invalidation {
        let Some((last, last_pts)) = self.last else {
            return Invalidation::Nothing;
        };
        let lost = last_pts + i64::from(distance(last, first_lost));
        if lost > last_pts {
            return Invalidation::Nothing;
        }
        let mut count = 0;
        for picture in &mut self.pictures[..self.len] {
            if picture.0 >= lost {
                picture.1 = false;
                count += 1;
            }
        }
        let is_any_left = self.pictures[..self.len].iter().any(|(_, valid)| *valid);
        // Numbers began anew among the lost ones: libavcodec would show nothing for as many pictures
        // as there are numbers.
        let wraps = self.frame_num < count;
        if !is_any_left || wraps {
            return Invalidation::Impossible;
        }
        self.pending = true;
        Invalidation::From(lost)
    }
}

/// How far `to` is after `from`, frame numbers wrapping around.
fn distance(from: FrameId, to: FrameId) -> i32 {
    to.0.wrapping_sub(from.0).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(frames: u32) -> References {
        let mut references = References::new(8);
        for id in 0..frames {
            let next = references.next(FrameId(id), PictureKind::Delta);
            references.encoded(next.pts, next.idr);
        }
        references
    }

    #[test]
    fn the_first_picture_is_an_idr_and_numbers_may_wrap() {
        let mut references = References::new(8);
        let next = references.next(FrameId(u32::MAX), PictureKind::Delta);
        assert!(next.idr);
        references.encoded(next.pts, true);
        let next = references.next(FrameId(0), PictureKind::Delta);
        assert_eq!(
            next,
            Next {
                pts: 1,
                idr: false,
                recovery: false
            }
        );
    }

    #[test]
    fn a_loss_makes_the_next_picture_the_recovery() {
        let mut references = after(10);
        assert_eq!(references.invalidate(FrameId(8)), Invalidation::From(8));
        assert!(references.next(FrameId(10), PictureKind::Delta).recovery);
        references.encoded(10, false);
        assert!(!references.next(FrameId(11), PictureKind::Delta).recovery);
    }

    #[test]
    fn a_recovery_that_is_lost_as_well_is_recovered_from() {
        let mut references = after(10);
        assert_eq!(references.invalidate(FrameId(7)), Invalidation::From(7));
        assert!(references.next(FrameId(10), PictureKind::Delta).recovery);
        references.encoded(10, false);
        references.next(FrameId(11), PictureKind::Delta);
        references.encoded(11, false);
        assert_eq!(references.invalidate(FrameId(7)), Invalidation::From(7));
        assert!(references.next(FrameId(12), PictureKind::Delta).recovery);
        // Of what it could refer to, 4 to 6 are left.
        assert_eq!(references.invalidate(FrameId(4)), Invalidation::Impossible);
    }

    #[test]
    fn nothing_before_an_idr_is_left() {
        let mut references = after(10);
        let next = references.next(FrameId(10), PictureKind::Idr);
        references.encoded(next.pts, true);
        assert_eq!(references.invalidate(FrameId(11)), Invalidation::Nothing);
        assert_eq!(references.invalidate(FrameId(10)), Invalidation::Impossible);
        assert_eq!(references.invalidate(FrameId(3)), Invalidation::Impossible);
    }

    #[test]
    fn a_loss_among_which_numbers_begin_anew_takes_an_idr() {
        for newest in MAX_FRAME_NUM - 2..MAX_FRAME_NUM + 10 {
            for lost in 1..=7 {
                let mut references = after(newest + 1);
                let first = newest + 1 - lost;
                let invalidation = references.invalidate(FrameId(first));
                let wraps = (first..=newest).contains(&MAX_FRAME_NUM);
                let wanted = match wraps {
                    true => Invalidation::Impossible,
                    false => Invalidation::From(first.into()),
                };
                assert_eq!(invalidation, wanted, "{first} to {newest}");
            }
        }
    }

    #[test]
    fn nothing_is_left_after_a_long_loss() {
        let mut references = after(20);
        assert_eq!(references.invalidate(FrameId(12)), Invalidation::Impossible);
        assert_eq!(references.invalidate(FrameId(20)), Invalidation::Nothing);
    }
}
