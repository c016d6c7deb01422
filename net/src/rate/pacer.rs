//! When to send: spreads what the encoder gives at once over what the path takes.
//!
//! A virtual schedule (GCRA, ITU-T I.371): each batch takes `bytes / rate` of it, and a batch may
//! leave ahead of the schedule as long as no more than `burst_bytes` are ahead. What is urgent
//! leaves at once and takes its share of the schedule, so that video gives way to it.
//!
//! Departures of video never run backwards: slices leave first come, first sent.

use std::time::Duration;

use crate::limits::{DATAGRAM_BYTES_MAX, GSO_SEGMENTS_MAX};
use crate::units::{BitsPerSecond, Timestamp};

/// Back to back before a bottleneck is measured: three quarters of the 64 KB that the smallest
/// switch and modem buffers hold.
pub const UNMEASURED_BURST_BYTES: u32 = 48 * 1024;
/// Time that one GSO batch takes at the pacing rate: below it the kernel call costs more than
/// it smooths, above it a batch is a burst of its own.
const BATCH_TIME: Duration = Duration::from_micros(1000);

/// How fast and how bursty to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Datagrams a second, as UDP payload bits.
    pub rate: BitsPerSecond,
    /// Bytes that may leave back to back.
    pub burst_bytes: u32,
}

/// What a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// Audio, input, control: leaves at once.
    Audio,
    /// A repeat: leaves at once unless repeats alone fill the path; ahead of waiting video.
    Repeat,
    /// A frame's data and parity, and padding.
    Video,
}

/// The schedule. Nothing is allocated; nothing waits in it.
#[derive(Debug)]
pub struct Pacer {
    pace: Pace,
    /// When the path has taken everything so far, if it takes `pace.rate`.
    busy_until: Timestamp,
    /// The same for repeats alone.
    repeats_until: Timestamp,
    last_video: Timestamp,
}

impl Pacer {
    /// Starts idle.
    #[must_use]
    pub const fn new(pace: Pace) -> Self {
        Self {
            pace,
            busy_until: Timestamp::ZERO,
            repeats_until: Timestamp::ZERO,
            last_video: Timestamp::ZERO,
        }
    }

    /// Takes a new pace from `now` on. Departures already given stand; what is still scheduled
    /// takes as long as it does at the new rate.
    pub fn set_pace(&mut self, now: Timestamp, pace: Pace) {
        let left = self.busy_until.since(now).as_nanos();
        let stretched = left * u128::from(self.pace.rate.0) / u128::from(pace.rate.0.max(1));
        let stretched = u64::try_from(stretched).unwrap_or(u64::MAX);
        self.busy_until = now + Duration::from_nanos(stretched);
        self.pace = pace;
    }

    /// When a batch of `bytes` that is ready at `now` should leave.
    pub fn departure(&mut self, now: Timestamp, bytes: u32, urgency: Urgency) -> Timestamp {
        let takes = self.time_of(bytes);
        let ahead = self.time_of(self.pace.burst_bytes.saturating_sub(bytes));
        let start = self.busy_until.max(now);
        self.busy_until = start + takes;
        match urgency {
            Urgency::Audio => now,
            Urgency::Repeat => {
                let start = self.repeats_until.max(now);
                self.repeats_until = start + takes;
                (start - ahead).max(now)
            }
            Urgency::Video => {
                self.last_video = (start - ahead).max(now).max(self.last_video);
                self.last_video
            }
        }
    }

    /// How long what was given so far still takes.
    #[must_use]
    pub fn backlog(&self, now: Timestamp) -> Duration {
        self.busy_until.since(now)
    }

    /// Most datagrams that should share a batch: about a millisecond of the pace, so that no
    /// batch is a burst that a slow hop's buffer feels, at least one.
    #[must_use]
    pub fn batch_datagrams(&self) -> u16 {
        let bytes = u128::from(self.pace.rate.0) * BATCH_TIME.as_nanos() / 8_000_000_000;
        let bytes = bytes.min(u128::from(self.pace.burst_bytes));
        let datagrams = (bytes / DATAGRAM_BYTES_MAX as u128).clamp(1, GSO_SEGMENTS_MAX as u128);
        // At most GSO_SEGMENTS_MAX.
        datagrams as u16
    }

    fn time_of(&self, bytes: u32) -> Duration {
        Duration::from_nanos(
            u64::from(bytes).saturating_mul(8_000_000_000) / self.pace.rate.0.max(1),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64) -> Timestamp {
        Timestamp::from_ns(us * 1000)
    }

    fn pacer(mbit: u64, burst_bytes: u32) -> Pacer {
        Pacer::new(Pace {
            rate: BitsPerSecond(mbit * 1_000_000),
            burst_bytes,
        })
    }

    fn video(pacer: &mut Pacer, now: u64, bytes: u32) -> u64 {
        pacer.departure(us(now), bytes, Urgency::Video).as_ns() / 1000
    }

    #[test]
    fn the_burst_goes_at_once_and_the_rest_at_the_rate() {
        // 8 Mbit/s: a byte a microsecond.
        let mut pacer = pacer(8, 3000);
        let departures = [1000; 5].map(|bytes| video(&mut pacer, 10_000, bytes));
        assert_eq!(departures, [10_000, 10_000, 10_000, 11_000, 12_000]);
        assert_eq!(pacer.backlog(us(10_000)), Duration::from_micros(5000));
        // After a pause the burst is there again.
        assert_eq!(video(&mut pacer, 30_000, 2000), 30_000);
        assert_eq!(video(&mut pacer, 30_000, 1000), 30_000);
        assert_eq!(video(&mut pacer, 30_000, 1000), 31_000);
    }

    #[test]
    fn audio_and_repeats_pass_and_video_gives_way() {
        let mut pacer = pacer(8, 1000);
        assert_eq!(video(&mut pacer, 0, 1000), 0);
        assert_eq!(video(&mut pacer, 0, 1000), 1000);
        let at = |pacer: &mut Pacer, urgency| pacer.departure(us(100), 500, urgency);
        assert_eq!(at(&mut pacer, Urgency::Audio), us(100));
        assert_eq!(at(&mut pacer, Urgency::Repeat), us(100));
        assert_eq!(at(&mut pacer, Urgency::Repeat), us(100));
        assert_eq!(
            at(&mut pacer, Urgency::Repeat),
            us(600),
            "repeats are paced too"
        );
        assert_eq!(video(&mut pacer, 100, 1000), 4000, "2000 µs of others");
    }

    #[test]
    fn a_new_pace_stretches_what_is_scheduled_and_never_turns_back() {
        let mut pacer = pacer(8, 1000);
        for _ in 0..10 {
            video(&mut pacer, 0, 1000);
        }
        let pace = Pace {
            rate: BitsPerSecond(16_000_000),
            burst_bytes: 1000,
        };
        pacer.set_pace(us(2000), pace);
        assert_eq!(pacer.backlog(us(2000)), Duration::from_micros(4000));
        assert_eq!(
            video(&mut pacer, 2000, 1000),
            9000,
            "not before the one before"
        );
    }

    #[test]
    fn batches_grow_with_the_rate() {
        let sizes = [1, 10, 50, 100, 1000].map(|mbit| pacer(mbit, 48 * 1024).batch_datagrams());
        assert_eq!(sizes, [1, 1, 4, 8, 35]);
        let mut pacer = pacer(0, 0);
        assert!(
            video(&mut pacer, 0, u32::MAX) < u64::MAX,
            "no division by zero"
        );
    }
}
