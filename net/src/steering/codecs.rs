//! What an encoder or a decoder that cannot follow is answered with.
//!
//! A lower bitrate spares software codecs little (x264 at 1080p, moving: 10.8 ms a picture at
//! 20 Mbit/s, 7.3 ms at a constant quantiser of 33). So beside rate control, which lowers it a
//! little, fewer pictures are encoded: every second, third or fourth. Without that the newest picture
//! waits for the encoder, pictures are left out all the same, irregularly, and rate control goes on
//! to lower the bitrate: at 2160p and 120 Hz, with a decoder that took 10 ms, to 0.2 Mbit/s.
//!
//! | | when | then |
//! |---|---|---|
//! | up | the slower of both takes [`FULL_SHARE`] of the time that a picture has, for [`UP_AFTER`] | one picture of one more |
//! | down | it would take [`FREE_SHARE`] of the time at one less, for a patience | one picture of one less |
//!
//! The patience is [`DOWN_AFTER`], and twice as long after each time that going down was too much.

use std::num::NonZeroU8;
use std::time::Duration;

use crate::rate::Load;
use crate::units::Timestamp;

/// Pictures are left out while a picture takes this part of the time that it has: at 1 it would
/// already wait for the one before.
const FULL_SHARE: f64 = 0.95;
/// For so long: an IDR or a hard cut is over by then.
const UP_AFTER: Duration = Duration::from_millis(500);
/// Less is left out while it would take this part of what it then has.
const FREE_SHARE: f64 = 0.8;
/// For so long at first.
const DOWN_AFTER: Duration = Duration::from_secs(3);
/// And at most.
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// Going down was too much if it is undone within this.
const TRIAL: Duration = Duration::from_secs(10);
/// One picture of four at least, 15 a second at 60 Hz: below that it is no video.
const DIVISOR_MAX: u8 = 4;
/// What a new time weighs in the mean.
const WEIGHT: f64 = 0.125;

/// The machine; see the module's text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codecs {
    interval_s: f64,
    encoder: Mean,
    decoder: Mean,
    divisor: u8,
    full_since: Option<Timestamp>,
    free_since: Option<Timestamp>,
    went_down: Option<Timestamp>,
    patience: Duration,
}

/// Mean time of a picture, s; 0 before the first.
#[derive(Clone, Copy, Debug, Default)]
struct Mean(f64);

impl Codecs {
    /// For pictures that come in this interval.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval_s: interval.as_secs_f64(),
            encoder: Mean::default(),
            decoder: Mean::default(),
            divisor: 1,
            full_since: None,
            free_since: None,
            went_down: None,
            patience: DOWN_AFTER,
        }
    }

    /// Pictures took the encoder so long.
    pub(super) fn handle_encoder(&mut self, now: Timestamp, took: Duration) {
        self.encoder.add(took);
        self.decide(now);
    }

    /// The newest picture took the client's decoder so long; zero if that is not known.
    pub(super) fn handle_decoder(&mut self, now: Timestamp, took: Duration) {
        if !took.is_zero() {
            self.decoder.add(took);
            self.decide(now);
        }
    }

    /// Of so many pictures one is to be encoded.
    pub(super) fn divisor(&self) -> NonZeroU8 {
        NonZeroU8::new(self.divisor).unwrap_or(NonZeroU8::MIN)
    }

    /// For rate control: what a picture takes the encoder of each interval that it lasts.
    pub(super) fn encoder_load(&self) -> Load {
        Load {
            time: Duration::from_secs_f64(self.encoder.0) / u32::from(self.divisor),
            waiting: 0,
        }
    }

    /// The same for what the decoder says that it took, µs.
    pub(super) fn decoder_share_us(&self, took_us: u32) -> u32 {
        took_us / u32::from(self.divisor)
    }

    fn decide(&mut self, now: Timestamp) {
        let slower_s = self.encoder.0.max(self.decoder.0);
        let at = |divisor: u8| slower_s / (self.interval_s * f64::from(divisor));
        let is_full = at(self.divisor) > FULL_SHARE && self.divisor < DIVISOR_MAX;
        let is_free = self.divisor > 1 && at(self.divisor - 1) < FREE_SHARE;
        if lasts(&mut self.full_since, is_full, now, UP_AFTER) {
            self.divisor += 1;
            if self.went_down.is_some_and(|at| now.since(at) < TRIAL) {
                self.patience = (self.patience * 2).min(PATIENCE_MAX);
            }
        } else if lasts(&mut self.free_since, is_free, now, self.patience) {
            self.divisor -= 1;
            self.went_down = Some(now);
        }
    }
}

impl Mean {
    fn add(&mut self, took: Duration) {
        let took_s = took.as_secs_f64();
        self.0 = if self.0 == 0.0 {
            took_s
        } else {
            self.0 + WEIGHT * (took_s - self.0)
        };
    }
}

/// True once `is` has held for so long, and then not before it has again.
fn lasts(since: &mut Option<Timestamp>, is: bool, now: Timestamp, time: Duration) -> bool {
    if !is {
        *since = None;
        return false;
    }
    let is_over = now.since(*since.get_or_insert(now)) >= time;
    if is_over {
        *since = None;
    }
    is_over
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(16);
    const MS: Duration = Duration::from_millis(1);

    /// Pictures of that time for so many intervals; the divisors that were ordered.
    fn run(encoder: &mut Codecs, now: &mut Timestamp, took: Duration, s: u32) -> Vec<u8> {
        let mut seen = vec![encoder.divisor().get()];
        let end = *now + Duration::from_secs(s.into());
        while *now < end {
            *now = *now + INTERVAL * u32::from(encoder.divisor().get());
            encoder.handle_encoder(*now, took);
            if seen.last() != Some(&encoder.divisor().get()) {
                seen.push(encoder.divisor().get());
            }
        }
        seen
    }

    #[test]
    fn pictures_are_left_out_until_the_encoder_follows() {
        for (took_ms, want) in [(10, vec![1]), (20, vec![1, 2]), (45, vec![1, 2, 3])] {
            let mut encoder = Codecs::new(INTERVAL);
            let mut now = Timestamp::from_ns(1);
            let seen = run(&mut encoder, &mut now, MS * took_ms, 20);
            assert_eq!(seen, want, "{took_ms} ms");
            assert!(
                encoder.encoder_load().time <= INTERVAL,
                "rate control is content"
            );
        }
        let mut encoder = Codecs::new(INTERVAL);
        let seen = run(&mut encoder, &mut Timestamp::from_ns(1), MS * 500, 20);
        assert_eq!(seen, [1, 2, 3, 4]);
        assert!(encoder.encoder_load().time > INTERVAL, "nor is that enough");
    }

    #[test]
    fn a_cut_changes_nothing() {
        let mut encoder = Codecs::new(INTERVAL);
        let mut now = Timestamp::from_ns(1);
        for picture in 0..6000 {
            now = now + INTERVAL;
            let is_cut = picture % 60 == 0;
            encoder.handle_encoder(now, if is_cut { MS * 60 } else { MS * 9 });
            assert_eq!(encoder.divisor().get(), 1, "{picture}");
        }
    }

    #[test]
    fn what_is_too_much_is_tried_ever_more_seldom() {
        let mut encoder = Codecs::new(INTERVAL);
        let mut now = Timestamp::from_ns(1);
        // Of every second picture the encoder knows less and is faster, so it looks free.
        let mut ups = Vec::new();
        for _ in 0..20_000 {
            let divisor = encoder.divisor().get();
            now = now + INTERVAL * u32::from(divisor);
            encoder.handle_encoder(now, MS * if divisor == 1 { 17 } else { 11 });
            if encoder.divisor().get() > divisor {
                ups.push(now);
            }
        }
        let gaps: Vec<_> = ups.windows(2).map(|pair| pair[1].since(pair[0])).collect();
        assert!(
            gaps.len() > 5 && gaps.is_sorted_by(|a, b| *b + MS * 100 >= *a),
            "{gaps:?}"
        );
        let last = gaps.last().expect("there are some");
        assert!(*last >= PATIENCE_MAX, "{gaps:?}");
    }

    #[test]
    fn an_encoder_that_is_free_again_gets_all_pictures() {
        let mut encoder = Codecs::new(INTERVAL);
        let mut now = Timestamp::from_ns(1);
        assert_eq!(run(&mut encoder, &mut now, MS * 60, 10), [1, 2, 3, 4]);
        assert_eq!(run(&mut encoder, &mut now, MS * 6, 20), [4, 3, 2, 1]);
    }

    #[test]
    fn the_slower_of_both_decides() {
        let mut codecs = Codecs::new(INTERVAL);
        let mut now = Timestamp::from_ns(1);
        for _ in 0..200 {
            now = now + INTERVAL;
            codecs.handle_encoder(now, MS * 9);
            codecs.handle_decoder(now, MS * 24);
            // Nothing decoded yet is no time at all.
            codecs.handle_decoder(now, Duration::ZERO);
        }
        assert_eq!(codecs.divisor().get(), 2);
        assert_eq!(codecs.decoder_share_us(24_000), 12_000);
    }
}
