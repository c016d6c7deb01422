//! Rule 5: codecs that cannot follow.
//!
//! A codec that takes longer than a frame lasts falls behind for good, and fewer bits are less
//! work for it. Not where the pixels take the time: so less is only asked for as long as it
//! helps, and never less than half of what was there when it last did.
//!
//! One slow frame is no load, nor are frames that wait because a stall of the link gave them to
//! the decoder all at once.

use std::time::Duration;

use crate::units::Timestamp;

use super::decision::Load;

/// Frames that wait for a codec that follows, at most.
const WAITING_MOST: u8 = 2;
/// A codec is behind for this long before it gets less, and then each time again: frames that a
/// stall held back keep a decoder busy for about as long as the stall was.
const STANDS: Duration = Duration::from_millis(500);
/// What is left each time.
const SHED: f64 = 0.85;
/// Less that takes the time of a frame below this part of what it was does help.
const BETTER: f64 = 0.8;
/// Less that does not help ends at this part.
const LEAST: f64 = 0.5;

/// Both codecs.
#[derive(Debug, Default)]
pub struct Loads {
    /// As the client says.
    pub decoder: Load,
    /// As the encode stage says.
    pub encoder: Load,
    behind: Option<Behind>,
}

/// A codec that cannot follow.
#[derive(Clone, Copy, Debug)]
struct Behind {
    /// When less is tried next.
    shed_at: Timestamp,
    /// The longest time of a frame and the target when this began, or when less last helped.
    time: Duration,
    target: f64,
}

impl Loads {
    /// The target that is left, bits a second, if a codec gets less now. `interval` is the time
    /// between two frames. While the picture stands still, the newest frame says nothing about
    /// the next.
    pub fn shed(
        &mut self,
        now: Timestamp,
        interval: Duration,
        is_still: bool,
        target: f64,
    ) -> Option<f64> {
        let is_behind = |load: &Load| load.time > interval || load.waiting > WAITING_MOST;
        if is_still || ![self.decoder, self.encoder].iter().any(is_behind) {
            self.behind = None;
            return None;
        }
        let time = self.decoder.time.max(self.encoder.time);
        let behind = self.behind.get_or_insert(Behind {
            shed_at: now + STANDS,
            time,
            target,
        });
        if now < behind.shed_at {
            return None;
        }
        behind.shed_at = now + STANDS;
        if time < behind.time.mul_f64(BETTER) {
            (behind.time, behind.target) = (time, target);
        }
        let least = (LEAST * behind.target).min(target);
        Some((SHED * target).max(least))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(16);

    /// Target after some seconds of a codec that takes `time_ms` of the target in Mbit/s.
    fn after(seconds: u64, time_ms: impl Fn(f64) -> f64) -> f64 {
        let (mut loads, mut target) = (Loads::default(), 40.0);
        for tick in 0..seconds * 200 {
            loads.encoder.time = Duration::from_secs_f64(time_ms(target) / 1e3);
            let now = Timestamp::from_ns(tick * 5_000_000);
            target = loads.shed(now, INTERVAL, false, target).unwrap_or(target);
        }
        target
    }

    #[test]
    fn a_codec_that_follows_is_left_alone() {
        assert_eq!(after(10, |_| 15.9), 40.0);
    }

    #[test]
    fn less_is_asked_for_until_it_follows() {
        // 2 ms a Mbit/s: 8 Mbit/s fit into the interval.
        let left = after(20, |target| 2.0 * target);
        assert!((6.0..=8.0).contains(&left), "{left}");
    }

    #[test]
    fn less_that_does_not_help_ends_at_half() {
        assert_eq!(after(20, |_| 20.0), 20.0);
    }

    #[test]
    fn what_passes_is_no_load() {
        let mut loads = Loads::default();
        for tick in 0..2000 {
            // Frames wait for 0.4 s of each second, as behind a stall.
            loads.decoder.waiting = if tick % 200 < 80 { 30 } else { 0 };
            let now = Timestamp::from_ns(tick * 5_000_000);
            assert_eq!(loads.shed(now, INTERVAL, false, 40.0), None);
        }
    }

    #[test]
    fn a_still_picture_is_no_load() {
        let mut loads = Loads::default();
        loads.encoder.time = Duration::from_millis(100);
        for tick in 0..2000 {
            let now = Timestamp::from_ns(tick * 5_000_000);
            assert_eq!(loads.shed(now, INTERVAL, true, 40.0), None);
        }
    }
}
