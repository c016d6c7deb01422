//! How much of what the encoder is asked for it gives.
//!
//! An encoder that keeps each picture below a bound gives less than it is asked for on average:
//! ours 0.82 to 0.93 of it where the picture moves, as a step of its quantiser is worth a third of
//! a picture's size. What leaves would miss the target of rate control by as much. So it is asked
//! for more, by [`Fill::factor`]. What is compared is what left for a picture, all headers and
//! repeats included, and what its share of the order was reckoned to make of it: errors of that
//! reckoning, such as short datagrams at the ends of slices, are mended as well.
//!
//! It is about pictures, not about time: a source of fewer pictures than the mode has would
//! otherwise ask for larger ones. And a picture that takes little takes all that it needs, as one
//! that stands still: it says nothing about the next that moves.

use crate::rate::{Sent, SentKind};

/// What a new picture weighs: the mean is one of a second at 60 Hz, as sizes swing over four
/// pictures by a factor of two.
const WEIGHT: f64 = 1.0 / 64.0;
/// Of a smaller part of its share a picture says nothing.
const PICTURE_LEAST: f64 = 1.0 / 3.0;
/// What counts of a larger one: rate control may have cut the order while it was encoded.
const PICTURE_MOST: f64 = 1.5;
/// At this fill no more is asked for: it is the content that needs no more. Above it, the more
/// the closer it comes to what encoders leave over, by this slope.
const CONTENT_FILL: f64 = 0.6;
const SLOPE: f64 = 2.2;
/// The most that is asked for.
const FACTOR_MAX: f64 = 1.3;

/// The machine; see the module's text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fill {
    /// Mean of what left over what was reckoned.
    share: f64,
    picture: Option<Picture>,
}

/// A picture that is leaving.
#[derive(Clone, Copy, Debug)]
struct Picture {
    burst: u32,
    /// Bits that were reckoned for it.
    reckoned: f64,
    bits: f64,
}

impl Fill {
    /// Of an encoder that gives what it is asked for, until another is known.
    pub(super) const fn new() -> Self {
        Self {
            share: 1.0,
            picture: None,
        }
    }

    /// True if these datagrams are the first of a picture: [`Self::begin_picture`] comes before
    /// [`Self::handle_sent`].
    pub(super) fn is_new_picture(&self, sent: &Sent) -> bool {
        let is_other = |picture: Picture| picture.burst != sent.burst;
        sent.kind == SentKind::Video && self.picture.is_none_or(is_other)
    }

    /// A picture begins to leave, for which so many bits on the wire were reckoned.
    pub(super) fn begin_picture(&mut self, sent: &Sent, reckoned_bits: f64) {
        let picture = Picture {
            burst: sent.burst,
            reckoned: reckoned_bits.max(1.0),
            bits: 0.0,
        };
        if let Some(done) = self.picture.replace(picture) {
            self.take(done.bits / done.reckoned);
        }
    }

    /// Datagrams have left.
    pub(super) fn handle_sent(&mut self, sent: &Sent) {
        if matches!(sent.kind, SentKind::Video | SentKind::Repeat)
            && let Some(picture) = &mut self.picture
        {
            picture.bits += sent.bytes() as f64 * 8.0;
        }
    }

    /// What the encoder is to be asked for, over what it is to give; 1 to [`FACTOR_MAX`].
    pub(super) fn factor(&self) -> f64 {
        let missing = 1.0 / self.share;
        let wanted = 1.0 + SLOPE * (self.share - CONTENT_FILL);
        missing.min(wanted).clamp(1.0, FACTOR_MAX)
    }

    fn take(&mut self, share: f64) {
        if share >= PICTURE_LEAST {
            self.share += (share.min(PICTURE_MOST) - self.share) * WEIGHT;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PICTURE_BYTES: f64 = 20_000.0;

    /// As steering does.
    fn leaves(fill: &mut Fill, sent: &Sent) {
        if fill.is_new_picture(sent) {
            fill.begin_picture(sent, PICTURE_BYTES * 8.0);
        }
        fill.handle_sent(sent);
    }

    fn sent(kind: SentKind, burst: u32, bytes: f64) -> Sent {
        let datagrams = (bytes / 1000.0) as u16;
        Sent {
            first_sequence: 0,
            datagrams,
            datagram_bytes: 1000,
            last_bytes: 1000,
            burst,
            kind,
        }
    }

    /// Pictures of those shares, in turn, each of two batches.
    fn pictures(fill: &mut Fill, shares: &[f64], count: u32) {
        for picture in 0..count {
            let share = shares[picture as usize % shares.len()];
            for _ in 0..2 {
                let half = sent(SentKind::Video, picture, share * PICTURE_BYTES / 2.0);
                leaves(fill, &half);
            }
        }
    }

    #[test]
    fn what_the_encoder_leaves_over_is_asked_for_on_top() {
        for (shares, expected) in [
            (&[0.7, 0.7, 0.7, 1.3][..], 1.176),
            (&[0.8], 1.25),
            (&[1.0], 1.0),
            (&[1.2], 1.0),
        ] {
            let mut fill = Fill::new();
            pictures(&mut fill, shares, 600);
            let factor = fill.factor();
            assert!((factor - expected).abs() < 0.02, "{shares:?}: {factor}");
        }
    }

    #[test]
    fn repeats_count_and_padding_does_not() {
        let mut fill = Fill::new();
        for picture in 0..600 {
            let bytes = 0.8 * PICTURE_BYTES;
            leaves(&mut fill, &sent(SentKind::Video, picture, bytes));
            for (kind, burst) in [(SentKind::Probe, 1), (SentKind::Echo, 2)] {
                leaves(&mut fill, &sent(kind, burst, bytes));
            }
            let repeat = sent(SentKind::Repeat, picture / 2, 0.1 * PICTURE_BYTES);
            leaves(&mut fill, &repeat);
        }
        assert!(
            (fill.factor() - 1.0 / 0.9).abs() < 0.01,
            "{}",
            fill.factor()
        );
    }

    #[test]
    fn content_that_needs_no_more_is_not_asked_for_more() {
        let mut fill = Fill::new();
        pictures(&mut fill, &[0.05, 0.2, 0.3], 6000);
        assert!((fill.factor() - 1.0).abs() < 1e-9, "it says nothing");
        pictures(&mut fill, &[0.5], 6000);
        assert!((fill.factor() - 1.0).abs() < 1e-9);
        // Whatever comes, the factor is within its bounds.
        for share in [0.6, 0.65, 0.7, 0.75, 0.77, 0.8, 0.9, 3.0, 100.0] {
            pictures(&mut fill, &[share], 6000);
            assert!((1.0..=FACTOR_MAX).contains(&fill.factor()), "{share}");
        }
    }
}
