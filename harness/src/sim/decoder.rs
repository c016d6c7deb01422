//! The decoder and the eye behind it: which pictures could be shown, when, and where the picture
//! froze.
//!
//! A picture is shown if it arrived whole and what it refers to was decoded right. A picture on
//! a damaged reference decodes, but is hidden: it would show garbage.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use net::units::{FrameId, Timestamp};

use super::unit::Unit;

/// Decoded pictures that may still be referred to: more than any encoder keeps.
const KEPT: usize = 64;

/// What became of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// On the screen from then on.
    Shown(Timestamp),
    /// Its reference is missing or damaged.
    Hidden,
    /// A newer one came before it.
    Stale,
}

/// A picture on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Which.
    pub frame: FrameId,
    /// From when on.
    pub at: Timestamp,
}

/// The decoder.
#[derive(Debug)]
pub struct Decoder {
    decode: Duration,
    busy_until: Timestamp,
    /// Ends of the decodes to come.
    waiting: VecDeque<Timestamp>,
    newest: Option<FrameId>,
    good: VecDeque<FrameId>,
    shown: Vec<Shown>,
    hidden: u64,
    stale: u64,
}

impl Decoder {
    /// One that takes `decode` for a picture.
    #[must_use]
    pub fn new(decode: Duration) -> Self {
        Self {
            decode,
            busy_until: Timestamp::ZERO,
            waiting: VecDeque::new(),
            newest: None,
            good: VecDeque::with_capacity(KEPT + 1),
            shown: Vec::new(),
            hidden: 0,
            stale: 0,
        }
    }

    /// A whole unit, in order.
    pub fn handle(&mut self, now: Timestamp, unit: &Unit) -> Fate {
        if self.newest.is_some_and(|newest| unit.frame <= newest) {
            self.stale += 1;
            return Fate::Stale;
        }
        self.newest = Some(unit.frame);
        while self.waiting.front().is_some_and(|end| *end <= now) {
            self.waiting.pop_front();
        }
        let done = now.max(self.busy_until) + self.decode;
        self.busy_until = done;
        self.waiting.push_back(done);
        let usable = unit
            .reference()
            .is_none_or(|reference| self.good.contains(&reference));
        if !usable {
            self.hidden += 1;
            return Fate::Hidden;
        }
        if unit.reference().is_none() {
            self.good.clear();
        }
        self.good.push_back(unit.frame);
        if self.good.len() > KEPT {
            self.good.pop_front();
        }
        self.shown.push(Shown {
            frame: unit.frame,
            at: done,
        });
        Fate::Shown(done)
    }

    /// Time that a picture takes, and pictures that wait, for the feedback.
    #[must_use]
    pub fn load(&self, now: Timestamp) -> (Duration, usize) {
        let waiting = self.waiting.iter().filter(|end| **end > now).count();
        (self.decode, waiting)
    }

    /// The newest picture that was decoded right.
    #[must_use]
    pub fn last_good(&self) -> Option<FrameId> {
        self.good.back().copied()
    }

    /// All that was shown, in order.
    #[must_use]
    pub fn shown(&self) -> &[Shown] {
        &self.shown
    }

    /// Pictures that came whole and could not be shown.
    #[must_use]
    pub const fn hidden(&self) -> u64 {
        self.hidden
    }

    /// Pictures that came after a newer one.
    #[must_use]
    pub const fn stale(&self) -> u64 {
        self.stale
    }

    /// Of the pictures captured within `span` (`captured`: when, by number), those that were not
    /// on the screen within `limit` of their capture.
    #[must_use]
    pub fn not_shown_within(
        &self,
        captured: &[Timestamp],
        span: Range<Duration>,
        limit: Duration,
    ) -> usize {
        let span = Timestamp::ZERO + span.start..Timestamp::ZERO + span.end;
        let mut shown = self.shown.iter().peekable();
        let mut missed = 0;
        for (number, captured) in captured.iter().enumerate() {
            let frame = FrameId(number as u32);
            while shown.next_if(|it| it.frame < frame).is_some() {}
            let in_time = shown
                .next_if(|it| it.frame == frame)
                .is_some_and(|it| it.at.since(*captured) <= limit);
            missed += usize::from(span.contains(captured) && !in_time);
        }
        missed
    }

    /// Times of more than `limit` in which the picture did not change, up to `end`, the time
    /// before the first picture left out.
    #[must_use]
    pub fn freezes(&self, limit: Duration, end: Timestamp) -> Vec<Range<Timestamp>> {
        let changes = self.shown.iter().map(|shown| shown.at);
        let next = changes.clone().skip(1).chain([end]);
        changes
            .zip(next)
            .filter(|(from, to)| to.since(*from) > limit)
            .map(|(from, to)| from..to)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::unit::Picture;

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_ns(ms * 1_000_000)
    }

    fn unit(frame: u32, picture: Picture) -> Unit {
        Unit {
            frame: FrameId(frame),
            picture,
            bytes: 100,
        }
    }

    #[test]
    fn pictures_on_damaged_references_are_hidden_until_recovery() {
        let mut decoder = Decoder::new(Duration::from_millis(2));
        let predicted = |frame| unit(frame, Picture::Predicted);
        assert_eq!(decoder.handle(ms(0), &predicted(0)), Fate::Hidden);
        let idr = unit(1, Picture::Idr);
        assert_eq!(decoder.handle(ms(10), &idr), Fate::Shown(ms(12)));
        assert_eq!(decoder.handle(ms(20), &predicted(2)), Fate::Shown(ms(22)));
        // 3 is lost.
        assert_eq!(decoder.handle(ms(40), &predicted(4)), Fate::Hidden);
        assert_eq!(decoder.handle(ms(41), &predicted(4)), Fate::Stale);
        let wrong = unit(5, Picture::Recovery(FrameId(3)));
        assert_eq!(decoder.handle(ms(50), &wrong), Fate::Hidden);
        let recovery = unit(6, Picture::Recovery(FrameId(2)));
        assert_eq!(decoder.handle(ms(60), &recovery), Fate::Shown(ms(62)));
        assert_eq!(decoder.last_good(), Some(FrameId(6)));
        assert_eq!((decoder.hidden(), decoder.stale()), (3, 1));

        let captured: Vec<Timestamp> = (0..7).map(|n| ms(n * 10)).collect();
        let all = Duration::ZERO..Duration::MAX;
        let limit = Duration::from_millis(2);
        assert_eq!(decoder.not_shown_within(&captured, all, limit), 4);
        let freezes = decoder.freezes(Duration::from_millis(30), ms(70));
        assert_eq!(freezes, [ms(22)..ms(62)]);
    }

    #[test]
    fn a_slow_decoder_says_so() {
        let mut decoder = Decoder::new(Duration::from_millis(20));
        decoder.handle(ms(0), &unit(0, Picture::Idr));
        let second = decoder.handle(ms(1), &unit(1, Picture::Predicted));
        assert_eq!(second, Fate::Shown(ms(40)));
        assert_eq!(decoder.load(ms(1)), (Duration::from_millis(20), 2));
        assert_eq!(decoder.load(ms(25)).1, 1);
    }
}
