//! What the decoder gets, and what the host is asked for while something is missing.
//!
//! Frames come in order, each whole or lost. A lost frame opens a *hole*: what follows refers to
//! it and is hidden, until a picture comes that refers to nothing in the hole.
//!
//! | comes | without a hole | in a hole | in a hole that needs an IDR |
//! |---|---|---|---|
//! | IDR | deliver | deliver, the hole ends | deliver, the hole ends |
//! | recovery picture | deliver | deliver, the hole ends | hide |
//! | any other picture | deliver | hide | hide |
//!
//! Why any recovery picture in a hole is safe: the host makes one in answer to a report only, and
//! then refers to nothing from the first lost frame of that report on. A hole's first frame never
//! lies before that of an earlier one (a decoder that fails late could make it so, and its hole
//! takes an IDR), so what the picture refers to lies before this hole, and is no frame of an
//! earlier one either, because the host counts all of those as lost. The decoder has it. Frames of
//! the hole that came were hidden; to the host they are lost with the others, so nothing refers
//! to them later.
//!
//! # Requests
//! A hole is reported when it opens and whenever it grows. A report that brings nothing within
//! [`REQUEST_INTERVAL`] and a round trip is repeated, and after the second failure the wish is an
//! IDR.
//!
//! Sans-IO: time comes in, and where the frames go is the caller's business.

use std::time::Duration;

use crate::feedback::Damage;
use crate::native::{RepairRequest, RepairWish};
use crate::units::{FrameId, Timestamp};

/// Beside the round trip: a picture that has not come after this long is asked for again. Longer
/// than a LAN's jitter, an encode and a large frame's way together.
pub(super) const REQUEST_INTERVAL: Duration = Duration::from_millis(100);
/// A round trip counts as this long at most: a path that has stalled is asked all the same.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(500);
/// A first picture that has not come after this long is asked for: on a still screen the host has
/// no reason of its own to send another, and what is lost whole leaves no trace here.
pub(super) const FIRST_PICTURE_PATIENCE: Duration = Duration::from_millis(500);
/// Reports of a hole that may stay without effect before the wish is an IDR.
const FAILURES_MAX: u32 = 2;

/// A whole frame, as far as its delivery depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub frame: FrameId,
    /// It is an IDR.
    pub keyframe: bool,
    /// It refers to nothing that was reported lost.
    pub recovery: bool,
}

/// What to do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Give it to the decoder, then call [`Delivery::delivered`], or [`Delivery::lost`] if the
    /// decoder has no room.
    Deliver,
    /// Drop it: it refers to what the decoder does not have.
    Hide,
}

/// The machine; see the module's text.
#[derive(Debug)]
pub(super) struct Delivery {
    last_good: Option<FrameId>,
    /// The newest IDR that the decoder was given.
    last_idr: Option<FrameId>,
    /// When the first picture is asked for, if none has come.
    first_due: Timestamp,
    round_trip: Duration,
    hole: Option<Hole>,
}

/// Frames that the decoder does not get.
#[derive(Clone, Copy, Debug)]
struct Hole {
    /// The oldest of them.
    first: FrameId,
    /// The newest that is known not to come. A recovery picture or an IDR that is itself lost
    /// becomes the newest, so the host knows that it must send another.
    newest: FrameId,
    /// No recovery picture ends it.
    needs_idr: bool,
    /// It has grown since it was reported last.
    unreported: bool,
    /// When the report counts as failed; `None` before the first.
    patience: Option<Timestamp>,
    /// Reports that had no effect in time.
    failures: u32,
}

impl Delivery {
    /// For a host that is told to start at `now`.
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            last_good: None,
            last_idr: None,
            first_due: now + FIRST_PICTURE_PATIENCE,
            round_trip: Duration::ZERO,
            hole: None,
        }
    }

    /// The smoothed round trip, whenever it is known better.
    pub(super) fn set_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = round_trip.min(ROUND_TRIP_MAX);
    }

    /// What the host is to know of the hole, if there is one.
    pub(super) fn damage(&self) -> Option<Damage> {
        self.hole.as_ref().map(|hole| Damage {
            first_lost: hole.first,
            newest_lost: hole.newest,
        })
    }

    /// A whole frame has come.
    pub(super) fn judge(&mut self, arrival: Arrival) -> Verdict {
        let Arrival {
            frame,
            keyframe,
            recovery,
        } = arrival;
        let shown = match &self.hole {
            _ if keyframe => true,
            None => self.last_good.is_some(),
            Some(hole) => recovery && !hole.needs_idr && frame > hole.newest,
        };
        if shown {
            return Verdict::Deliver;
        }
        if self.hole.is_none() {
            // Nothing was shown yet and this is no beginning: the first IDR is lost.
            self.lost(frame, frame);
        }
        Verdict::Hide
    }

    /// The decoder was given that frame.
    pub(super) fn delivered(&mut self, frame: FrameId, keyframe: bool) {
        self.last_good = Some(frame);
        self.hole = None;
        if keyframe {
            self.last_idr = Some(frame);
        }
    }

    /// The decoder does not get these frames.
    pub(super) fn lost(&mut self, first: FrameId, newest: FrameId) {
        let needs_idr = self.last_good.is_none();
        self.widen(first, newest, needs_idr);
        if let Some(hole) = &mut self.hole {
            hole.unreported = true;
        }
    }

    /// The decoder was given that frame and failed, and will fail at all others up to an IDR.
    pub(super) fn undecodable(&mut self, frame: FrameId) {
        // It speaks late, of a frame that waited for it while an IDR after it came. The host
        // would take that IDR for the answer and send no other, so waiting would never end.
        if self.last_idr.is_none_or(|idr| frame >= idr) {
            self.widen(frame, frame, true);
        }
    }

    /// When [`Delivery::poll_request`] is due.
    pub(super) fn request_due(&self) -> Option<Timestamp> {
        match (&self.hole, self.last_good) {
            (Some(hole), _) if hole.unreported => Some(Timestamp::ZERO),
            (Some(hole), _) => hole.patience,
            (None, None) => Some(self.first_due),
            (None, Some(_)) => None,
        }
    }

    /// What to ask the host for, once it is due.
    pub(super) fn poll_request(&mut self, now: Timestamp) -> Option<RepairRequest> {
        if self.request_due()? > now {
            return None;
        }
        if self.hole.is_none() {
            self.widen(FrameId(0), FrameId(0), true);
        }
        let hole = self.hole.as_mut()?;
        let failed = hole.patience.is_some_and(|at| at <= now);
        hole.failures += u32::from(failed);
        // Growing does not put off the end of patience.
        if failed || hole.patience.is_none() {
            hole.patience = Some(now + REQUEST_INTERVAL + self.round_trip);
        }
        hole.unreported = false;
        Some(RepairRequest {
            last_good: self.last_good,
            first_lost: hole.first,
            newest_lost: hole.newest,
            wish: if hole.needs_idr || hole.failures >= FAILURES_MAX {
                RepairWish::Idr
            } else {
                RepairWish::Recovery
            },
        })
    }

    fn widen(&mut self, first: FrameId, newest: FrameId, needs_idr: bool) {
        let hole = self.hole.get_or_insert(Hole {
            first,
            newest,
            needs_idr,
            unreported: true,
            patience: None,
            failures: 0,
        });
        hole.first = hole.first.min(first);
        hole.newest = hole.newest.max(newest);
        hole.unreported |= needs_idr && !hole.needs_idr;
        hole.needs_idr |= needs_idr;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_ns(1_000_000_000);

    const fn plain(frame: u32) -> Arrival {
        Arrival {
            frame: FrameId(frame),
            keyframe: false,
            recovery: false,
        }
    }

    const fn idr(frame: u32) -> Arrival {
        Arrival {
            keyframe: true,
            ..plain(frame)
        }
    }

    const fn recovery(frame: u32) -> Arrival {
        Arrival {
            recovery: true,
            ..plain(frame)
        }
    }

    /// Takes an arrival as a caller whose decoder has room.
    fn take(delivery: &mut Delivery, arrival: Arrival) -> Verdict {
        let verdict = delivery.judge(arrival);
        if verdict == Verdict::Deliver {
            delivery.delivered(arrival.frame, arrival.keyframe);
        }
        verdict
    }

    fn lose(delivery: &mut Delivery, frame: u32) {
        delivery.lost(FrameId(frame), FrameId(frame));
    }

    /// First and newest lost frame and the wish of what is asked for now.
    fn asked(delivery: &mut Delivery, now: Timestamp) -> Option<(u32, u32, RepairWish)> {
        delivery
            .poll_request(now)
            .map(|request| (request.first_lost.0, request.newest_lost.0, request.wish))
    }

    /// A session whose decoder has frames 0 to 9.
    fn running() -> Delivery {
        let mut delivery = Delivery::new(START);
        assert_eq!(take(&mut delivery, idr(0)), Verdict::Deliver);
        for frame in 1..10 {
            assert_eq!(take(&mut delivery, plain(frame)), Verdict::Deliver);
        }
        assert_eq!(delivery.request_due(), None);
        delivery
    }

    #[test]
    fn a_first_picture_that_never_comes_is_asked_for_again_and_again() {
        let mut delivery = Delivery::new(START);
        assert_eq!(asked(&mut delivery, START), None);
        let due = delivery.request_due().expect("nothing has come");
        assert_eq!(due, START + FIRST_PICTURE_PATIENCE);
        let first = Some((0, 0, RepairWish::Idr));
        assert_eq!(asked(&mut delivery, due), first);
        assert_eq!(asked(&mut delivery, due), None);
        let again = delivery.request_due().expect("still nothing");
        assert_eq!(again, due + REQUEST_INTERVAL);
        assert_eq!(asked(&mut delivery, again), first);
    }

    #[test]
    fn a_session_that_begins_without_its_idr_shows_nothing_before_one() {
        let mut delivery = Delivery::new(START);
        assert_eq!(take(&mut delivery, plain(1)), Verdict::Hide);
        assert_eq!(asked(&mut delivery, START), Some((1, 1, RepairWish::Idr)));
        assert_eq!(take(&mut delivery, recovery(2)), Verdict::Hide);
        assert_eq!(take(&mut delivery, idr(3)), Verdict::Deliver);
        assert_eq!(take(&mut delivery, plain(4)), Verdict::Deliver);
        assert_eq!(delivery.request_due(), None);
    }

    #[test]
    fn a_loss_hides_what_follows_until_the_recovery() {
        let mut delivery = running();
        lose(&mut delivery, 10);
        assert_eq!(delivery.request_due(), Some(Timestamp::ZERO));
        let request = delivery.poll_request(START).expect("a hole is reported");
        assert_eq!(
            request,
            RepairRequest {
                last_good: Some(FrameId(9)),
                first_lost: FrameId(10),
                newest_lost: FrameId(10),
                wish: RepairWish::Recovery,
            }
        );
        for frame in 11..14 {
            assert_eq!(take(&mut delivery, plain(frame)), Verdict::Hide);
        }
        assert_eq!(asked(&mut delivery, START), None, "it was reported");
        assert_eq!(take(&mut delivery, recovery(14)), Verdict::Deliver);
        assert_eq!(take(&mut delivery, plain(15)), Verdict::Deliver);
        assert_eq!(delivery.request_due(), None);
    }

    #[test]
    fn a_hole_that_grows_is_reported_at_once() {
        let mut delivery = running();
        lose(&mut delivery, 10);
        assert!(asked(&mut delivery, START).is_some());
        assert_eq!(take(&mut delivery, plain(11)), Verdict::Hide);
        // This might have been the recovery.
        delivery.lost(FrameId(12), FrameId(13));
        let wish = RepairWish::Recovery;
        assert_eq!(asked(&mut delivery, START), Some((10, 13, wish)));
        assert_eq!(take(&mut delivery, plain(14)), Verdict::Hide);
        assert_eq!(take(&mut delivery, recovery(15)), Verdict::Deliver);
        lose(&mut delivery, 16);
        assert_eq!(asked(&mut delivery, START), Some((16, 16, wish)));
    }

    #[test]
    fn reports_without_effect_end_in_the_wish_for_an_idr() {
        let mut delivery = running();
        lose(&mut delivery, 10);
        let at = |times: u32| START + REQUEST_INTERVAL * times;
        let (soft, hard) = (RepairWish::Recovery, RepairWish::Idr);
        assert_eq!(asked(&mut delivery, at(0)), Some((10, 10, soft)));
        // What is lost meanwhile is reported, and puts nothing off.
        lose(&mut delivery, 11);
        let later = START + REQUEST_INTERVAL / 2;
        assert_eq!(asked(&mut delivery, later), Some((10, 11, soft)));
        assert_eq!(delivery.request_due(), Some(at(1)));
        assert_eq!(asked(&mut delivery, at(1)), Some((10, 11, soft)));
        assert_eq!(asked(&mut delivery, at(2)), Some((10, 11, hard)));
        assert_eq!(asked(&mut delivery, at(3)), Some((10, 11, hard)));
        // A recovery that comes late is as good as an IDR all the same.
        assert_eq!(take(&mut delivery, recovery(12)), Verdict::Deliver);
        lose(&mut delivery, 13);
        assert_eq!(asked(&mut delivery, at(4)), Some((13, 13, soft)));
    }

    #[test]
    fn patience_grows_with_the_round_trip_up_to_a_bound() {
        let patience_at = |round_trip_ms| {
            let mut delivery = running();
            delivery.set_round_trip(Duration::from_millis(round_trip_ms));
            lose(&mut delivery, 10);
            assert!(asked(&mut delivery, START).is_some());
            delivery
                .request_due()
                .expect("the hole is open")
                .since(START)
        };
        assert_eq!(patience_at(0), REQUEST_INTERVAL);
        assert_eq!(
            patience_at(80),
            REQUEST_INTERVAL + Duration::from_millis(80)
        );
        assert_eq!(patience_at(60_000), REQUEST_INTERVAL + ROUND_TRIP_MAX);
    }

    #[test]
    fn a_healing_picture_that_finds_no_room_leaves_the_hole_open() {
        let mut delivery = running();
        lose(&mut delivery, 10);
        assert!(asked(&mut delivery, START).is_some());
        assert_eq!(delivery.judge(recovery(11)), Verdict::Deliver);
        lose(&mut delivery, 11);
        let request = delivery.poll_request(START).expect("the hole has grown");
        assert_eq!(
            (request.first_lost, request.newest_lost),
            (FrameId(10), FrameId(11))
        );
        assert_eq!(request.last_good, Some(FrameId(9)));
        assert_eq!(take(&mut delivery, plain(12)), Verdict::Hide);
    }

    #[test]
    fn a_decoder_that_fails_needs_an_idr() {
        let mut delivery = running();
        delivery.undecodable(FrameId(7));
        assert_eq!(asked(&mut delivery, START), Some((7, 7, RepairWish::Idr)));
        // It fails at all that it holds; one report is enough.
        delivery.undecodable(FrameId(8));
        delivery.undecodable(FrameId(9));
        assert_eq!(asked(&mut delivery, START), None);
        assert_eq!(take(&mut delivery, recovery(10)), Verdict::Hide);
        assert_eq!(take(&mut delivery, idr(11)), Verdict::Deliver);
        assert_eq!(delivery.request_due(), None);
    }

    #[test]
    fn a_complaint_that_an_idr_has_answered_already_stops_nothing() {
        let mut delivery = running();
        assert_eq!(take(&mut delivery, idr(10)), Verdict::Deliver);
        assert_eq!(take(&mut delivery, plain(11)), Verdict::Deliver);
        delivery.undecodable(FrameId(9));
        assert_eq!(delivery.request_due(), None);
        // The IDR itself, or what follows it, is another matter.
        delivery.undecodable(FrameId(10));
        assert_eq!(asked(&mut delivery, START), Some((10, 10, RepairWish::Idr)));
    }
}

#[cfg(test)]
#[path = "delivery_model.rs"]
mod model;
