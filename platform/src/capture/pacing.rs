//! How evenly pictures come, whatever captures them: judder is the standard deviation of the
//! intervals between captured pictures from whole refreshes of the output. A picture that nobody
//! drew is no judder, nor is a pause; a compositor whose refresh is not the one that it tells shows
//! the difference (wlroots' headless outputs tick in whole milliseconds: 0.67 ms at 60 Hz).

use std::time::Duration;

use net::units::Timestamp;

/// A longer pause is a still desktop, not a late picture.
const PAUSE: Duration = Duration::from_millis(250);

/// What was seen of an output's pictures. Constant in size; nothing allocates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pacing {
    /// Intervals that count.
    pub intervals: u64,
    last: Option<Timestamp>,
    sum_of_squares: f64,
}

impl Pacing {
    /// Nothing seen yet.
    pub const NONE: Self = Self {
        intervals: 0,
        last: None,
        sum_of_squares: 0.0,
    };

    /// A picture of that time, on an output of that refresh interval. Tells how far it was from
    /// its due time; `None` for the first one, after a pause, and where no refresh is known.
    pub fn note(&mut self, at: Timestamp, refresh: Duration) -> Option<Duration> {
        let interval = at.since(self.last.replace(at)?);
        if interval > PAUSE || refresh.is_zero() {
            return None;
        }
        let (interval, refresh) = (interval.as_secs_f64(), refresh.as_secs_f64());
        // Pictures that nobody drew are not late.
        let due = (interval / refresh).round().max(1.0) * refresh;
        let off = interval - due;
        self.sum_of_squares += off.powi(2);
        self.intervals += 1;
        Some(Duration::from_secs_f64(off.abs()))
    }

    /// Standard deviation of the intervals from whole refreshes; `None` before there are any.
    #[must_use]
    pub fn judder(&self) -> Option<Duration> {
        (self.intervals > 0)
            .then(|| Duration::from_secs_f64((self.sum_of_squares / self.intervals as f64).sqrt()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skipped_refreshes_are_no_judder_and_late_pictures_are() {
        let refresh = Duration::from_millis(10);
        let times = |times: &[u64]| {
            let mut pacing = Pacing::NONE;
            for ms in times {
                let _ = pacing.note(Timestamp::from_ns(ms * 1_000_000), refresh);
            }
            pacing
        };
        assert_eq!(times(&[5]).judder(), None);
        let even = times(&[0, 10, 20, 50, 60, 9000, 9010]);
        assert_eq!((even.intervals, even.judder()), (5, Some(Duration::ZERO)));
        let uneven = times(&[0, 12, 20]);
        let judder = uneven.judder().expect("two intervals").as_micros();
        assert!((1999..=2001).contains(&judder), "{judder} µs");
    }
}
