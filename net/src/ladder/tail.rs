//! The end of the last frame before the picture stands still.
//!
//! A loss shows by what comes after it. After the last frame nothing comes: a client that lost its
//! end waits for it, and one that lost all of it does not know of it. So a host that sends nothing
//! and hears nothing of the last datagram of video sends the frame's last column once more, and
//! once again (the tail loss probe of RFC 8985 section 7). One column that arrives tells the client
//! where the frame ends, and it asks for what else it misses ([`super::wants`]).
//!
//! | | after the last datagram of video left |
//! |---|---|
//! | first probe | 1.5 round trips + [`ANSWER`] |
//! | second probe | twice that after the first |
//! | later ones | when something that left after the last probe arrived, [`REVIVALS_MAX`] times |
//! | then | the client's statistics |
//!
//! A frame that nothing follows is then whole 3 round trips and 14 ms after it was sent, on both
//! ends' timers; of use to a client as long as [`super::STILL_WAIT`].

use std::time::Duration;

use crate::packetize::Columns;
use crate::units::{FrameId, Timestamp};

use super::SentFrame;

/// Probes for a frame.
pub const PROBES_MAX: u8 = 2;
/// Probes for a frame after those, each when the path is known to live again: what asks in an outage
/// ([`crate::rate`]), and echoes, show that.
pub const REVIVALS_MAX: u8 = 4;
/// What an answer may take beside the round trip: the client's feedback is due every 5 ms, and a
/// thread may wake 3 ms late at either end.
pub const ANSWER: Duration = Duration::from_millis(8);
/// The round trip before one is known: RFC 8985 section 7.2 would wait a second.
const ROUND_TRIP_UNKNOWN: Duration = Duration::from_millis(100);

/// The newest datagram of video.
#[derive(Clone, Copy, Debug)]
struct Last {
    frame: FrameId,
    columns: u16,
    sequence: u64,
    /// The newest repeat of the frame, if there was one.
    repeat: Option<u64>,
    /// When it left, then when its last probe was asked for.
    at: Timestamp,
    probes: u8,
    revivals: u8,
    is_revived: bool,
    is_answered: bool,
}

/// Watches the last datagram of video.
#[derive(Debug, Default)]
pub struct Tail {
    last: Option<Last>,
    probes: u64,
}

impl Tail {
    /// Nothing was sent.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            last: None,
            probes: 0,
        }
    }

    /// Probes since the start.
    #[must_use]
    pub const fn probes(&self) -> u64 {
        self.probes
    }

    /// Datagrams of video left at `now`, the last of them `sequence`; `frame` as far as they begin
    /// a slice.
    pub fn handle_sent(&mut self, now: Timestamp, sequence: u64, frame: Option<SentFrame>) {
        match (&mut self.last, frame) {
            (last, Some(sent)) => {
                let before = last.filter(|last| last.frame == sent.frame);
                *last = Some(Last {
                    frame: sent.frame,
                    columns: u16::try_from(sent.columns).unwrap_or(u16::MAX),
                    sequence,
                    repeat: None,
                    at: now,
                    probes: before.map_or(0, |last| last.probes),
                    revivals: before.map_or(0, |last| last.revivals),
                    is_revived: false,
                    is_answered: false,
                });
            }
            (Some(last), None) => {
                (last.sequence, last.at, last.is_answered) = (sequence, now, false);
            }
            // Of which frame is not known.
            (None, None) => {}
        }
    }

    /// Columns of `frame` were repeated, the last datagram of them `sequence`. One that arrives is
    /// as good as the frame's own end: the client knows of the frame and asks.
    pub fn handle_repeated(&mut self, frame: FrameId, sequence: u64) {
        if let Some(last) = self.last.as_mut().filter(|last| last.frame == frame) {
            last.repeat = Some(sequence);
        }
    }

    /// A feedback came: `is_received` says whether the client has named a sequence.
    pub fn handle_feedback(&mut self, is_received: impl Fn(u64) -> bool) {
        if let Some(last) = &mut self.last
            && !last.is_answered
        {
            last.is_answered = is_received(last.sequence) || last.repeat.is_some_and(is_received);
        }
    }

    /// Something that left at `departure` has arrived: the path lives.
    pub fn handle_alive(&mut self, departure: Timestamp) {
        if let Some(last) = &mut self.last
            && last.probes >= PROBES_MAX
            && last.revivals < REVIVALS_MAX
            && departure > last.at
            && !last.is_answered
            && !last.is_revived
        {
            last.revivals += 1;
            last.is_revived = true;
        }
    }

    /// When [`Self::poll`] is due; `None` while nothing is awaited.
    #[must_use]
    pub fn poll_timeout(&self, round_trip: Duration) -> Option<Timestamp> {
        let last = self.last?;
        if last.is_answered || last.columns == 0 {
            return None;
        }
        if last.is_revived {
            return Some(last.at);
        }
        let round_trip = if round_trip.is_zero() {
            ROUND_TRIP_UNKNOWN
        } else {
            round_trip
        };
        let wait = round_trip + round_trip / 2 + ANSWER;
        (last.probes < PROBES_MAX).then(|| last.at + wait * (1 << last.probes))
    }

    /// The column to send again now.
    pub fn poll(&mut self, now: Timestamp, round_trip: Duration) -> Option<Columns> {
        if self.poll_timeout(round_trip)? > now {
            return None;
        }
        let last = self.last.as_mut()?;
        last.probes = (last.probes + 1).min(PROBES_MAX);
        last.is_revived = false;
        last.at = now;
        self.probes += 1;
        Some(Columns {
            frame: last.frame,
            range: last.columns - 1..last.columns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(20);
    /// 1.5 round trips and 8 ms.
    const WAIT_MS: u64 = 38;

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_ns(ms * 1_000_000)
    }

    fn frame(number: u32, columns: usize) -> Option<SentFrame> {
        Some(SentFrame {
            frame: FrameId(number),
            columns,
            whole_shards: columns,
            is_recovery: false,
        })
    }

    fn column(number: u32, column: u16) -> Option<Columns> {
        Some(Columns {
            frame: FrameId(number),
            range: column..column + 1,
        })
    }

    #[test]
    fn the_last_column_is_sent_twice_more_and_later_each_time() {
        let mut tail = Tail::new();
        assert_eq!(tail.poll(ms(1000), ROUND_TRIP), None);
        tail.handle_sent(ms(0), 5, frame(1, 3));
        tail.handle_sent(ms(1), 9, frame(1, 7));
        tail.handle_sent(ms(2), 12, None);
        tail.handle_feedback(|sequence| sequence < 12);
        assert_eq!(tail.poll(ms(2 + WAIT_MS - 1), ROUND_TRIP), None);
        assert_eq!(tail.poll(ms(2 + WAIT_MS), ROUND_TRIP), column(1, 6));
        assert_eq!(
            tail.poll_timeout(ROUND_TRIP),
            Some(ms(2 + WAIT_MS + 2 * WAIT_MS))
        );
        assert_eq!(tail.poll(ms(2 + 3 * WAIT_MS - 1), ROUND_TRIP), None);
        assert_eq!(tail.poll(ms(2 + 3 * WAIT_MS), ROUND_TRIP), column(1, 6));
        assert_eq!(tail.poll_timeout(ROUND_TRIP), None);
        assert_eq!(tail.poll(ms(100_000), ROUND_TRIP), None);
        assert_eq!(tail.probes(), 2);
    }

    #[test]
    fn nothing_is_sent_once_an_answer_came_or_something_newer_left() {
        let mut tail = Tail::new();
        tail.handle_sent(ms(0), 5, frame(1, 3));
        tail.handle_feedback(|sequence| sequence == 5);
        assert_eq!(tail.poll_timeout(ROUND_TRIP), None);
        tail.handle_sent(ms(10), 6, frame(2, 4));
        assert_eq!(tail.poll(ms(10 + WAIT_MS - 1), ROUND_TRIP), None);
        tail.handle_sent(ms(40), 7, frame(3, 5));
        assert_eq!(tail.poll(ms(40 + WAIT_MS - 1), ROUND_TRIP), None);
        assert_eq!(tail.poll(ms(40 + WAIT_MS), ROUND_TRIP), column(3, 4));
    }

    #[test]
    fn a_repeat_that_arrives_is_an_answer() {
        let mut tail = Tail::new();
        tail.handle_sent(ms(0), 5, frame(1, 3));
        assert_eq!(tail.poll(ms(WAIT_MS), ROUND_TRIP), column(1, 2));
        tail.handle_repeated(FrameId(0), 6);
        tail.handle_repeated(FrameId(1), 7);
        tail.handle_feedback(|sequence| sequence == 6);
        assert!(tail.poll_timeout(ROUND_TRIP).is_some());
        tail.handle_feedback(|sequence| sequence == 7);
        assert_eq!(tail.poll_timeout(ROUND_TRIP), None);
    }

    #[test]
    fn a_path_that_lives_again_is_tried_again() {
        let mut tail = Tail::new();
        tail.handle_sent(ms(0), 5, frame(1, 3));
        tail.handle_alive(ms(1));
        assert_eq!(tail.poll(ms(WAIT_MS), ROUND_TRIP), column(1, 2));
        assert_eq!(tail.poll(ms(3 * WAIT_MS), ROUND_TRIP), column(1, 2));
        tail.handle_alive(ms(3 * WAIT_MS));
        assert_eq!(tail.poll(ms(900), ROUND_TRIP), None);
        for i in 0..u64::from(REVIVALS_MAX) {
            tail.handle_alive(ms(1000 + i));
            assert_eq!(tail.poll(ms(1000 + i), ROUND_TRIP), column(1, 2));
            assert_eq!(tail.poll(ms(1000 + i), ROUND_TRIP), None);
        }
        tail.handle_alive(ms(2000));
        assert_eq!(tail.poll_timeout(ROUND_TRIP), None);
    }

    #[test]
    fn an_unknown_round_trip_is_a_long_one() {
        let mut tail = Tail::new();
        tail.handle_sent(ms(0), 5, frame(0, 3));
        assert_eq!(tail.poll_timeout(Duration::ZERO), Some(ms(158)));
    }
}
