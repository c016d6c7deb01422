//! What an encoder that cannot follow is answered with.
//!
//! A lower bitrate spares a software encoder little (x264 at 1080p, moving: 10.8 ms a picture at
//! 20 Mbit/s, 7.3 ms at a constant quantiser of 33). So beside rate control, which lowers it a
//! little, fewer pictures are encoded: every second, third or fourth. Without that the newest picture
//! waits for the encoder, and pictures are left out all the same, irregularly.
//!
//! | | when | then |
//! |---|---|---|
//! | up | a picture takes [`FULL_SHARE`] of the time that it has, for [`UP_AFTER`] | one picture of one more |
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
pub(super) struct EncoderTime {
    interval_s: f64,
    /// Mean time of a picture, s; `None` before the first.
    mean_s: Option<f64>,
    divisor: u8,
    full_since: Option<Timestamp>,
    free_since: Option<Timestamp>,
    went_down: Option<Timestamp>,
    patience: Duration,
}

impl EncoderTime {
    /// For pictures that come in this interval.
    pub(super) const fn new(interval: Duration) -> Self {
        Self {
            interval_s: interval.as_secs_f64(),
            mean_s: None,
            divisor: 1,
            full_since: None,
            free_since: None,
            went_down: None,
            patience: DOWN_AFTER,
        }
    }

    /// A picture took so long.
    pub(super) fn handle(&mut self, now: Timestamp, took: Duration) {
        let took_s = took.as_secs_f64();
        let mean_s = self
            .mean_s
            .map_or(took_s, |mean| mean + WEIGHT * (took_s - mean));
        self.mean_s = Some(mean_s);
        let at = |divisor: u8| mean_s / (self.interval_s * f64::from(divisor));
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

    /// Of so many pictures one is to be encoded.
    pub(super) fn divisor(&self) -> NonZeroU8 {
        NonZeroU8::new(self.divisor).unwrap_or(NonZeroU8::MIN)
    }

    /// For rate control: what a picture takes of each interval that it lasts.
    pub(super) fn load(&self) -> Load {
        let mean_s = self.mean_s.unwrap_or_default();
        Load {
            time: Duration::from_secs_f64(mean_s / f64::from(self.divisor)),
            waiting: 0,
        }
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
    fn run(encoder: &mut EncoderTime, now: &mut Timestamp, took: Duration, s: u32) -> Vec<u8> {
        let mut seen = vec![encoder.divisor().get()];
        let end = *now + Duration::from_secs(s.into());
        while *now < end {
            *now = *now + INTERVAL * u32::from(encoder.divisor().get());
            encoder.handle(*now, took);
            if seen.last() != Some(&encoder.divisor().get()) {
                seen.push(encoder.divisor().get());
            }
        }
        seen
    }

    #[test]
    fn pictures_are_left_out_until_the_encoder_follows() {
        for (took_ms, want) in [(10, vec![1]), (20, vec![1, 2]), (45, vec![1, 2, 3])] {
            let mut encoder = EncoderTime::new(INTERVAL);
            let mut now = Timestamp::from_ns(1);
            let seen = run(&mut encoder, &mut now, MS * took_ms, 20);
            assert_eq!(seen, want, "{took_ms} ms");
            assert!(encoder.load().time <= INTERVAL, "rate control is content");
        }
        let mut encoder = EncoderTime::new(INTERVAL);
        let seen = run(&mut encoder, &mut Timestamp::from_ns(1), MS * 500, 20);
        assert_eq!(seen, [1, 2, 3, 4]);
        assert!(encoder.load().time > INTERVAL, "nor is that enough");
    }

    #[test]
    fn a_cut_changes_nothing() {
        let mut encoder = EncoderTime::new(INTERVAL);
        let mut now = Timestamp::from_ns(1);
        for picture in 0..6000 {
            now = now + INTERVAL;
            let is_cut = picture % 60 == 0;
            encoder.handle(now, if is_cut { MS * 60 } else { MS * 9 });
            assert_eq!(encoder.divisor().get(), 1, "{picture}");
        }
    }

    #[test]
    fn what_is_too_much_is_tried_ever_more_seldom() {
        let mut encoder = EncoderTime::new(INTERVAL);
        let mut now = Timestamp::from_ns(1);
        // Of every second picture the encoder knows less and is faster, so it looks free.
        let mut ups = Vec::new();
        for _ in 0..20_000 {
            let divisor = encoder.divisor().get();
            now = now + INTERVAL * u32::from(divisor);
            encoder.handle(now, MS * if divisor == 1 { 17 } else { 11 });
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
        let mut encoder = EncoderTime::new(INTERVAL);
        let mut now = Timestamp::from_ns(1);
        assert_eq!(run(&mut encoder, &mut now, MS * 60, 10), [1, 2, 3, 4]);
        assert_eq!(run(&mut encoder, &mut now, MS * 6, 20), [4, 3, 2, 1]);
    }
}
