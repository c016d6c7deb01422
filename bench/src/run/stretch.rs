//! What became of a relay's line between two steps of its rate: how much of it was used, and how
//! long datagrams waited for it. A session needs time to find a new rate, so the queue counts from
//! [`QUEUE_AFTER`] on and the use from [`USE_AFTER`] on.

use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;
use net::units::{BitsPerSecond, Timestamp};

use crate::report::Stretch;

/// The use of the line counts from so long after a step.
pub const USE_AFTER: Duration = Duration::from_secs(Stretch::USE_AFTER_S);
/// The queue counts from so long after a step.
pub const QUEUE_AFTER: Duration = Duration::from_secs(Stretch::QUEUE_AFTER_S);
/// The longest wait that is told from longer ones, µs: more than any queue holds at a sane rate.
const WAIT_US_MAX: u64 = 60_000_000;

/// Counts what one line puts out, stretch by stretch. All times count from the start of the
/// measured time.
#[derive(Clone, Debug)]
pub struct Meter {
    stretches: Vec<Counted>,
}

#[derive(Clone, Debug)]
struct Counted {
    rate: BitsPerSecond,
    span: Range<Duration>,
    bits: u64,
    waits_us: Histogram<u64>,
}

impl Meter {
    /// For a line whose rates begin at those times, ascending, over a measured time of `time`.
    pub fn new(rates: impl Iterator<Item = (Duration, BitsPerSecond)>, time: Duration) -> Self {
        let begun: Vec<_> = rates.filter(|(from, _)| *from < time).collect();
        let ends = begun.iter().skip(1).map(|(from, _)| *from).chain([time]);
        let stretches = begun.iter().zip(ends).map(|((from, rate), end)| Counted {
            rate: *rate,
            span: *from..end,
            bits: 0,
            waits_us: Histogram::new_with_bounds(1, WAIT_US_MAX, 3).expect("good bounds"),
        });
        Self {
            stretches: stretches.collect(),
        }
    }

    /// A datagram of so many bits came at `now` and has left at `departure`; the measured time
    /// began at `begun`.
    pub fn handle(&mut self, begun: Timestamp, now: Timestamp, departure: Timestamp, bits: u64) {
        // Of the warm-up.
        if now < begun {
            return;
        }
        let (came, left) = (now.since(begun), departure.since(begun));
        for stretch in &mut self.stretches {
            if stretch.span_used().contains(&left) {
                stretch.bits += bits;
            }
            if stretch.span_queued().contains(&came) {
                let wait_us = u64::try_from(departure.since(now).as_micros());
                stretch
                    .waits_us
                    .saturating_record(wait_us.unwrap_or(u64::MAX));
            }
        }
    }

    /// All stretches, in the order of time.
    #[must_use]
    pub fn stretches(&self) -> Vec<Stretch> {
        self.stretches.iter().map(Counted::report).collect()
    }
}

impl Counted {
    fn span_used(&self) -> Range<Duration> {
        self.span.start + USE_AFTER..self.span.end
    }

    fn span_queued(&self) -> Range<Duration> {
        self.span.start + QUEUE_AFTER..self.span.end
    }

    fn report(&self) -> Stretch {
        let used = self.span_used();
        let time_s = used.end.saturating_sub(used.start).as_secs_f64();
        let capacity_bits = self.rate.0 as f64 * time_s;
        Stretch {
            from_s: self.span.start.as_secs_f64(),
            to_s: self.span.end.as_secs_f64(),
            rate_bps: self.rate.0,
            used_share: (capacity_bits > 0.0).then(|| self.bits as f64 / capacity_bits),
            queue_p99_us: (!self.waits_us.is_empty())
                .then(|| self.waits_us.value_at_quantile(0.99)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const BEGUN: Timestamp = Timestamp::from_ns(7_000_000_000);

    fn meter(seconds: u64) -> Meter {
        let rates = [(0, 50), (5, 10), (15, 50)];
        let rates =
            rates.map(|(s, mbit)| (Duration::from_secs(s), BitsPerSecond(mbit * 1_000_000)));
        Meter::new(rates.into_iter(), Duration::from_secs(seconds))
    }

    /// A datagram of 10 000 bits each millisecond, 10 Mbit/s, that waits `wait(at_ms)`.
    fn stream(meter: &mut Meter, wait: impl Fn(u32) -> Duration) {
        for at_ms in 0..30_000 {
            let now = BEGUN + MS * at_ms;
            meter.handle(BEGUN, now, now + wait(at_ms), 10_000);
        }
    }

    #[test]
    fn each_rate_is_measured_by_itself() {
        let mut meter = meter(25);
        // Before the measured time.
        meter.handle(BEGUN, BEGUN - MS * 500, BEGUN + MS * 4000, 1 << 40);
        stream(&mut meter, |at_ms| match at_ms {
            5_000..6_000 => MS * 100,
            6_000..15_000 => MS * 20,
            _ => MS,
        });
        let told = meter.stretches();
        let spans: Vec<_> = told.iter().map(|it| (it.from_s, it.to_s)).collect();
        assert_eq!(spans, [(0.0, 5.0), (5.0, 15.0), (15.0, 25.0)]);
        let used = told.iter().map(|it| it.used_share.expect("long enough"));
        for (used, expected) in used.zip([0.2, 1.0, 0.2]) {
            assert!((used - expected).abs() < 0.005, "{used} of {expected}");
        }
        let waits = told
            .iter()
            .map(|it| it.queue_p99_us.expect("something came"));
        for (wait, expected) in waits.zip([1_000.0, 20_000.0, 1_000.0]) {
            assert!((wait as f64 / expected - 1.0).abs() < 0.002, "{wait} µs");
        }
    }

    #[test]
    fn the_first_second_after_a_step_is_in_no_queue() {
        let mut meter = meter(15);
        stream(&mut meter, |at_ms| MS * u32::from(at_ms >= 5_900) * 20 + MS);
        let told = meter.stretches();
        assert_eq!(told.len(), 2, "the third begins after the measured time");
        assert!(told[0].queue_p99_us < Some(1_010));
        assert!(told[1].queue_p99_us > Some(20_900));
    }

    #[test]
    fn a_stretch_that_is_too_short_says_nothing() {
        let mut meter = meter(6);
        stream(&mut meter, |_| MS);
        let told = meter.stretches();
        assert!(told[0].used_share.is_some() && told[0].queue_p99_us.is_some());
        assert_eq!((told[1].used_share, told[1].queue_p99_us), (None, None));
    }
}
