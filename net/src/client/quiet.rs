//! Silence of a host that has been sending: perhaps the network between has given this client
//! another address, without its knowing. The host sends media to paths that QUIC has validated
//! only, so it takes a QUIC packet from the new one.
//!
//! | media has not come for | then |
//! |---|---|
//! | [`QUIET`] | a ping |
//! | twice, four times and so on, [`PINGS_MAX`] in all | another, unless anything was heard since |
//!
//! Most silence is a picture that stands still: the first ping is answered, and that is all.

use std::time::Duration;

use crate::units::Timestamp;

/// Longer than the time between two pictures of all but the slowest modes.
pub(super) const QUIET: Duration = Duration::from_millis(100);
/// By then QUIC's own packets and the statistics have gone, too.
pub(super) const PINGS_MAX: u32 = 5;

/// The machine; see the module's text.
#[derive(Debug, Default)]
pub(super) struct Quiet {
    /// `None` until media has come.
    media: Option<Timestamp>,
    pings: u32,
}

impl Quiet {
    /// Media has come.
    pub(super) fn heard_media(&mut self, now: Timestamp) {
        *self = Self {
            media: Some(now),
            pings: 0,
        };
    }

    /// The host has said something else.
    pub(super) fn heard(&mut self) {
        if self.pings > 0 {
            self.pings = PINGS_MAX;
        }
    }

    /// True if a ping is due, which then counts as sent.
    pub(super) fn poll(&mut self, now: Timestamp) -> bool {
        let is_due = self.poll_timeout().is_some_and(|due| due <= now);
        self.pings += u32::from(is_due);
        is_due
    }

    /// When the next one is due.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        let media = self.media.filter(|_| self.pings < PINGS_MAX)?;
        Some(media + QUIET * (1 << self.pings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ns(ms * 1_000_000)
    }

    /// Times of pings up to a second, ms.
    fn pings(quiet: &mut Quiet, from: u64) -> Vec<u64> {
        (from..from + 5000)
            .filter(|ms| quiet.poll(at(*ms)))
            .collect()
    }

    #[test]
    fn silence_is_asked_about_ever_more_slowly_and_not_for_ever() {
        let mut quiet = Quiet::default();
        assert_eq!(pings(&mut quiet, 0), [0; 0], "nothing has come yet");
        quiet.heard_media(at(10_000));
        assert_eq!(
            pings(&mut quiet, 10_000),
            [10_100, 10_200, 10_400, 10_800, 11_600]
        );
        quiet.heard_media(at(20_000));
        assert_eq!(quiet.poll_timeout(), Some(at(20_100)));
    }

    #[test]
    fn an_answer_is_enough() {
        let mut quiet = Quiet::default();
        quiet.heard_media(at(0));
        quiet.heard();
        assert!(quiet.poll(at(100)));
        quiet.heard();
        assert_eq!(pings(&mut quiet, 101), [0; 0]);
    }
}
