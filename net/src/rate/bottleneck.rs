//! The bottleneck's rate, from how a burst spreads on its way.
//!
//! A frame is a burst: datagrams that leave faster than the slowest hop passes them on arrive at
//! that hop's rate (packet dispersion; Dovrolis, Ramanathan, Moore, INFOCOM 2001). A burst that
//! arrives as fast as it left proves that the hop can do at least that, and no more.
//!
//! It is the rate of the hop, not what is free of it: two senders that share it both see it
//! whole. So it bounds how fast to pace and how far to climb, and never keeps a queue from being
//! believed.

use std::time::Duration;

use crate::units::Timestamp;

use super::sent::{Arrived, SentKind};

/// Fewest datagrams in a burst that says something.
const DATAGRAMS_MIN: u32 = 5;
/// Fewest distinct arrival times: an aggregate of a radio arrives at one.
const RUNS_MIN: u32 = 3;
/// Shortest burst that says something: a receive thread wakes up to 0.1 ms late.
const SPAN_MIN: Duration = Duration::from_millis(1);
/// A burst that arrives below this share of the rate at which it left was held up. What leaves
/// ahead of the pace and its gain make a frame of 60 Hz leave at 1.25 of the estimate on average:
/// 0.8 means held up, 1.0 means not.
const HELD_BELOW: f64 = 0.9;
/// A datagram that waits less than this found no queue: wake-ups are up to 0.1 ms late, and its
/// own time on a hop of 50 Mbit/s is 0.2 ms.
const IDLE_BELOW: Duration = Duration::from_micros(300);
/// Arrivals within this of the first are one: they were taken from the socket one by one, but a
/// card or a radio handed them over together.
const RUN: Duration = Duration::from_micros(100);
/// A burst that passes must be so much faster than a hop that held others up to say that the hop
/// is faster.
const PASSED_ABOVE: f64 = 1.15;
/// What a token bucket that nobody has used for a while lets pass at the speed of the card, as
/// cable modems and `tc` have one. A burst that found no queue and passes proves of the hop only
/// what it carries beyond that.
const BUCKET_BYTES: u64 = 4000;
/// Bursts in the median.
const MEDIAN_OF: usize = 5;
/// Bursts in the mean whose peak is kept: the peak of a median of five would be the peak of its
/// noise.
const MEAN_OF: u32 = 20;
/// An estimate without a new sample for this long is out of date.
const FRESH: Duration = Duration::from_secs(5);

/// What the newest burst said holds for this long.
const NEW: Duration = Duration::from_millis(500);
/// How long the highest estimate is remembered.
pub const PEAK_AGE: Duration = Duration::from_secs(20);
const PEAK_PARTS: usize = 10;
const PEAK_PART_NS: u64 = PEAK_AGE.as_nanos() as u64 / PEAK_PARTS as u64;

/// A burst while its receipts come in.
#[derive(Clone, Copy, Debug)]
struct Burst {
    id: u32,
    kind: SentKind,
    departure_first: Timestamp,
    departure_last: Timestamp,
    arrival_last: Timestamp,
    /// The last arrival of the first run, and the first of the newest.
    arrival_first_run: Timestamp,
    found_idle: bool,
    run_first: Timestamp,
    /// All bytes; of those that came first; of those that left last.
    bytes: u64,
    bytes_arrived_first: u64,
    bytes_left_last: u64,
    /// What may have passed on account of a bucket.
    bucket_bytes: u64,
    datagrams: u32,
    runs: u32,
}

/// A burst that was not held up.
#[derive(Clone, Copy, Debug)]
struct Passed {
    /// How fast it arrived.
    rate: f64,
    /// How fast the hop is at least, even if it has a bucket.
    proven: f64,
}

/// The estimate.
#[derive(Debug, Default)]
pub struct Bottleneck {
    burst: Option<Burst>,
    /// Rates of the last bursts that were held up, a ring.
    held: [f64; MEDIAN_OF],
    held_count: usize,
    /// The last burst that was not held up and arrived faster than the estimate.
    passed: Option<Passed>,
    rate: Option<f64>,
    is_held: bool,
    newest: Timestamp,
    /// Mean of the rates of bursts that were held up, and of how many, up to [`MEAN_OF`].
    mean: f64,
    mean_count: u32,
    /// The highest mean of each of the last parts: index and rate.
    peaks: [(u64, f64); PEAK_PARTS],
}

impl Bottleneck {
    /// A datagram arrived, as the host learnt at `now`.
    /// `queued` is how long it waited beyond the least delay of the path: one that did not wait
    /// found an idle hop: its burst passed. An encoder that hands slices on more slowly than the
    /// hop passes them is not held up by the hop.
    pub fn handle(&mut self, now: Timestamp, datagram: &Arrived, queued: Duration) {
        if !matches!(datagram.kind, SentKind::Video | SentKind::Probe) {
            return;
        }
        match &mut self.burst {
            Some(burst) if burst.id == datagram.burst && burst.kind == datagram.kind => {
                burst.found_idle |=
                    datagram.departure > burst.departure_last && queued < IDLE_BELOW;
                burst.extend(datagram);
            }
            burst => {
                let finished = burst.replace(Burst::new(datagram, queued));
                if let Some(finished) = finished {
                    self.finish(now, &finished);
                }
            }
        }
    }

    /// Bits a second, if known and not out of date.
    #[must_use]
    pub fn rate(&self, now: Timestamp) -> Option<f64> {
        self.rate.filter(|_| now.since(self.newest) <= FRESH)
    }

    /// The highest mean of the last 20 s. Where somebody shares the hop, his datagrams
    /// among ours make bursts look slower than the hop is; the peak is what they looked like
    /// without him.
    #[must_use]
    pub fn peak(&self, now: Timestamp) -> Option<f64> {
        let index = now.as_ns() / PEAK_PART_NS;
        let is_in = |part: &&(u64, f64)| index.saturating_sub(part.0) < PEAK_PARTS as u64;
        let peaks = self.peaks.iter().filter(is_in).map(|part| part.1);
        peaks.max_by(f64::total_cmp).filter(|&peak| peak > 0.0)
    }

    /// True if bursts are held up at [`Self::rate`], false if they pass and it is a lower bound.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.is_held
    }

    /// How fast the newest burst arrived, if it was held up and within the last [`NEW`].
    #[must_use]
    pub fn newest_burst(&self, now: Timestamp) -> Option<f64> {
        let newest = self.held[self.held_count.wrapping_sub(1) % MEDIAN_OF];
        let is_new = self.held_count > 0 && now.since(self.newest) <= NEW;
        is_new.then_some(newest)
    }

    /// When the last burst that said something was taken, host's clock.
    #[must_use]
    pub const fn newest(&self) -> Timestamp {
        self.newest
    }

    fn finish(&mut self, now: Timestamp, burst: &Burst) {
        let arrival_span = burst.arrival_last.since(burst.arrival_first_run);
        if burst.datagrams < DATAGRAMS_MIN || burst.runs < RUNS_MIN || arrival_span < SPAN_MIN {
            return;
        }
        let departure_span = burst.departure_last.since(burst.departure_first);
        let bits = |bytes: u64| bytes as f64 * 8.0;
        let rate = |bytes: u64| bits(bytes) / arrival_span.as_secs_f64();
        let spread = burst.bytes - burst.bytes_arrived_first;
        let arrived = rate(spread);
        let left_bits = bits(burst.bytes - burst.bytes_left_last);
        // Without a span the burst left as one, and any rate below infinity holds it up.
        let is_held =
            !burst.found_idle && arrived * departure_span.as_secs_f64() < HELD_BELOW * left_bits;
        self.newest = now;
        if is_held {
            self.take_held(arrived);
        } else {
            self.take_passed(Passed {
                rate: arrived,
                proven: rate(spread.saturating_sub(burst.bucket_bytes)),
            });
        }
        let index = now.as_ns() / PEAK_PART_NS;
        let part = &mut self.peaks[(index % PEAK_PARTS as u64) as usize];
        if part.0 != index {
            *part = (index, 0.0);
        }
        part.1 = part.1.max(self.mean);
    }

    fn take_held(&mut self, rate: f64) {
        self.passed = None;
        self.is_held = true;
        self.held[self.held_count % MEDIAN_OF] = rate;
        self.held_count += 1;
        self.mean_count = MEAN_OF.min(self.mean_count + 1);
        self.mean += (rate - self.mean) / f64::from(self.mean_count);
        let known = self.held_count.min(MEDIAN_OF);
        let mut sorted = self.held;
        let sorted = &mut sorted[..known];
        sorted.sort_by(f64::total_cmp);
        self.rate = Some(sorted[known / 2]);
    }

    /// Two bursts in a row that pass above the estimate raise it to the lesser of them.
    fn take_passed(&mut self, burst: Passed) {
        // What leaves ahead of the pace makes a burst up to 1.12 of a known hop: that is no news.
        let above = if self.is_held { PASSED_ABOVE } else { 1.0 };
        if self.rate.is_some_and(|known| burst.rate <= above * known) {
            self.passed = None;
            return;
        }
        let Some(before) = self.passed.replace(burst) else {
            return;
        };
        self.rate = Some(before.rate.min(burst.rate));
        self.mean = self.mean.max(before.proven.min(burst.proven));
        self.mean_count = self.mean_count.max(1);
        self.is_held = false;
        self.held_count = 0;
    }
}

impl Burst {
    fn new(datagram: &Arrived, queued: Duration) -> Self {
        let bytes = u64::from(datagram.bytes);
        let found_bucket = queued < IDLE_BELOW;
        Self {
            id: datagram.burst,
            kind: datagram.kind,
            departure_first: datagram.departure,
            departure_last: datagram.departure,
            arrival_last: datagram.arrival,
            arrival_first_run: datagram.arrival,
            found_idle: false,
            run_first: datagram.arrival,
            bytes,
            bytes_arrived_first: bytes,
            bytes_left_last: bytes,
            bucket_bytes: if found_bucket { BUCKET_BYTES } else { 0 },
            datagrams: 1,
            runs: 1,
        }
    }

    fn extend(&mut self, datagram: &Arrived) {
        // Overtaken: it left earlier than others that are here, and says nothing about the rate.
        if datagram.departure < self.departure_last || datagram.arrival < self.arrival_last {
            return;
        }
        let bytes = u64::from(datagram.bytes);
        self.datagrams += 1;
        self.bytes += bytes;
        if datagram.departure > self.departure_last {
            self.departure_last = datagram.departure;
            self.bytes_left_last = 0;
        }
        self.bytes_left_last += bytes;
        if datagram.arrival.since(self.run_first) > RUN {
            self.runs += 1;
            self.run_first = datagram.arrival;
        }
        self.arrival_last = datagram.arrival;
        if self.runs == 1 {
            self.bytes_arrived_first += bytes;
            self.arrival_first_run = datagram.arrival;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A burst of `datagrams` of 1250 B (10 000 bit) that leave and arrive at given Mbit/s.
    fn burst(bottleneck: &mut Bottleneck, id: u32, datagrams: u64, left: u64, arrived: u64) {
        for i in 0..datagrams {
            let start = u64::from(id) * 100_000_000;
            let at = |mbit: u64| Timestamp::from_ns(start + i * 10_000_000 / mbit);
            let datagram = Arrived {
                departure: at(left),
                arrival: at(arrived),
                bytes: 1250,
                burst: id,
                kind: SentKind::Video,
            };
            bottleneck.handle(at(arrived), &datagram, Duration::from_millis(1));
        }
    }

    fn rate_mbit(bottleneck: &Bottleneck) -> Option<f64> {
        bottleneck
            .rate(bottleneck.newest())
            .map(|rate| (rate / 1e5).round() / 10.0)
    }

    #[test]
    fn a_held_burst_shows_the_hop() {
        let mut bottleneck = Bottleneck::default();
        burst(&mut bottleneck, 1, 20, 1000, 50);
        burst(&mut bottleneck, 2, 20, 60, 50);
        burst(&mut bottleneck, 3, 3, 1000, 20);
        assert_eq!(rate_mbit(&bottleneck), Some(50.0));
        assert!(bottleneck.is_held());
        burst(&mut bottleneck, 4, 20, 60, 50);
        assert_eq!(
            rate_mbit(&bottleneck),
            Some(50.0),
            "3 datagrams are no burst"
        );
        assert_eq!(bottleneck.rate(bottleneck.newest() + 2 * FRESH), None);
    }

    #[test]
    fn two_bursts_that_pass_raise_it_and_a_median_lowers_it() {
        let mut bottleneck = Bottleneck::default();
        for id in 0..6 {
            burst(&mut bottleneck, id, 20, 1000, 10);
        }
        burst(&mut bottleneck, 6, 20, 20, 20);
        burst(&mut bottleneck, 7, 20, 18, 18);
        assert_eq!(rate_mbit(&bottleneck), Some(10.0), "one is an accident");
        burst(&mut bottleneck, 8, 20, 10, 10);
        assert_eq!(rate_mbit(&bottleneck), Some(18.0));
        assert!(!bottleneck.is_held());
        burst(&mut bottleneck, 9, 20, 30, 10);
        burst(&mut bottleneck, 10, 20, 30, 10);
        assert_eq!(rate_mbit(&bottleneck), Some(10.0));
    }
}
