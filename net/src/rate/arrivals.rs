//! What arrivals say about the path: how long datagrams wait in its queue, how fast it delivers.
//!
//! The clocks of the two ends are not compared: only differences of one-way delays count, so the
//! unknown offset drops out. The base, the delay of an empty queue, is the least seen in half a
//! minute (RFC 6817 section 3.4 keeps such a history; half a minute of two quartzes 100 ppm apart
//! is 3 ms of drift, which the minimum hides when the clock runs one way and forgets when it runs
//! the other).
//!
//! Minima, not means: a burst of our own, a stall of a radio, a late wake-up all delay *some*
//! datagrams. Only a standing queue delays every one.

use std::time::Duration;

use crate::units::Timestamp;

/// Width of a slot of arrivals.
pub const SLOT: Duration = Duration::from_millis(5);
const SLOT_NS: u64 = SLOT.as_nanos() as u64;
const SLOTS: usize = 128;
/// A delay that grows by this between two datagrams that follow each other, and by more than
/// [`STALL_BYTES`] take at the rate of the last half second, is a stall of the link.
const STALL: Duration = Duration::from_millis(8);
const STALL_BYTES: f64 = 4.0 * 1392.0;
const STALL_RATE_WINDOW: Duration = Duration::from_millis(500);
/// Width of a part of the base's history.
const BASE_PART_NS: u64 = 3_000_000_000;
const BASE_PARTS: usize = 10;

#[derive(Clone, Copy, Debug)]
struct Slot {
    index: u64,
    /// Least one-way delay with the offset of the clocks in it.
    delay_min_ns: i64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct BasePart {
    index: u64,
    delay_min_ns: i64,
}

/// The last 640 ms of arrivals in slots of 5 ms, and the base.
#[derive(Debug)]
pub struct Arrivals {
    slots: [Slot; SLOTS],
    base: [BasePart; BASE_PARTS],
    newest: Timestamp,
    last_delay_ns: i64,
    /// Since when, client's clock, no slot was below the threshold that the caller set.
    busy_since: Option<Timestamp>,
    /// Bytes that came after `busy_since`.
    busy_bytes: u64,
    busy_from: Duration,
}

const EMPTY: Slot = Slot {
    index: u64::MAX,
    delay_min_ns: i64::MAX,
    bytes: 0,
};

impl Arrivals {
    /// Nothing has arrived. A queue that delays by at least `busy_from` keeps the link busy.
    #[must_use]
    pub const fn new(busy_from: Duration) -> Self {
        let part = BasePart {
            index: u64::MAX,
            delay_min_ns: i64::MAX,
        };
        Self {
            slots: [EMPTY; SLOTS],
            base: [part; BASE_PARTS],
            newest: Timestamp::ZERO,
            last_delay_ns: i64::MAX,
            busy_since: None,
            busy_bytes: 0,
            busy_from,
        }
    }

    /// A datagram of `bytes` left at `departure` (host's clock) and came at `arrival` (client's).
    /// Returns how long it waited beyond the least delay of the path.
    pub fn handle(&mut self, departure: Timestamp, arrival: Timestamp, bytes: u64) -> Duration {
        // The offset of the clocks is unknown: only the difference modulo 2⁶⁴ has a meaning.
        let delay_ns = arrival.as_ns().wrapping_sub(departure.as_ns()) as i64;
        let index = arrival.as_ns() / SLOT_NS;
        let slot = &mut self.slots[(index % SLOTS as u64) as usize];
        if slot.index != index {
            if slot.index != u64::MAX && slot.index > index {
                return self.above_base(delay_ns);
            }
            *slot = Slot { index, ..EMPTY };
        }
        slot.delay_min_ns = slot.delay_min_ns.min(delay_ns);
        slot.bytes += bytes;
        if self.is_stall(delay_ns) {
            // The queue let nothing through, which says nothing about its rate when it does.
            self.busy_since = None;
        }
        self.last_delay_ns = delay_ns;
        self.newest = self.newest.max(arrival);

        let index = arrival.as_ns() / BASE_PART_NS;
        let part = &mut self.base[(index % BASE_PARTS as u64) as usize];
        if part.index != index {
            *part = BasePart {
                index,
                delay_min_ns: i64::MAX,
            };
        }
        part.delay_min_ns = part.delay_min_ns.min(delay_ns);
        let queued = self.above_base(delay_ns);
        if queued < self.busy_from {
            self.busy_since = None;
        } else if self.busy_since.is_none() {
            self.busy_since = Some(arrival);
            self.busy_bytes = 0;
        } else if self.busy_since < Some(arrival) {
            self.busy_bytes += bytes;
        }
        queued
    }

    /// The least queue delay of the last `window` of arrivals; zero if there were none.
    #[must_use]
    pub fn queue_delay_min(&self, window: Duration) -> Duration {
        let least = self.recent(window).map(|slot| slot.delay_min_ns).min();
        least.map_or(Duration::ZERO, |delay_ns| self.above_base(delay_ns))
    }

    /// How long the queue has never been empty, on the client's clock up to the newest arrival.
    #[must_use]
    pub fn busy_for(&self) -> Duration {
        self.busy_since
            .map_or(Duration::ZERO, |since| self.newest.since(since))
    }

    /// Bits a second that came in the last `window` of arrivals.
    #[must_use]
    pub fn delivered(&self, window: Duration) -> f64 {
        self.rate(self.recent(window), window)
    }

    fn rate<'a>(&self, slots: impl Iterator<Item = &'a Slot>, window: Duration) -> f64 {
        let bytes: u64 = slots.map(|slot| slot.bytes).sum();
        let first_ns = (self.first_index(window)) * SLOT_NS;
        let span_ns = self.newest.as_ns().saturating_sub(first_ns).max(SLOT_NS);
        bytes as f64 * 8e9 / span_ns as f64
    }

    /// Bits a second that the queue let through since it was last empty, over the last `window`
    /// at most: the bottleneck's rate, or our part of it. Over less than `least` it says nothing.
    #[must_use]
    pub fn delivered_busy(&self, least: Duration, window: Duration) -> Option<f64> {
        let busy_for = self.busy_for();
        if busy_for < least {
            None
        } else if busy_for <= window {
            Some(self.busy_bytes as f64 * 8.0 / busy_for.as_secs_f64())
        } else {
            Some(self.delivered(window))
        }
    }

    fn is_stall(&self, delay_ns: i64) -> bool {
        let jump_ns = delay_ns.saturating_sub(self.last_delay_ns);
        if jump_ns <= STALL.as_nanos() as i64 {
            return false;
        }
        // What has come just now may be newer than the newest noted, and counts.
        let first = self.first_index(STALL_RATE_WINDOW);
        let is_recent = |slot: &&Slot| slot.index != u64::MAX && slot.index >= first;
        let slots = self.slots.iter().filter(is_recent);
        jump_ns as f64 * self.rate(slots, STALL_RATE_WINDOW) > STALL_BYTES * 8e9
    }

    fn first_index(&self, window: Duration) -> u64 {
        let newest_index = self.newest.as_ns() / SLOT_NS;
        let slots = (window.as_nanos() as u64 / SLOT_NS).clamp(1, SLOTS as u64);
        (newest_index + 1).saturating_sub(slots)
    }

    fn recent(&self, window: Duration) -> impl Iterator<Item = &Slot> {
        // Each is where its index says.
        let newest_index = self.newest.as_ns() / SLOT_NS;
        (self.first_index(window)..=newest_index).filter_map(|index| {
            let slot = &self.slots[(index % SLOTS as u64) as usize];
            (slot.index == index).then_some(slot)
        })
    }

    fn above_base(&self, delay_ns: i64) -> Duration {
        let now = self.newest.as_ns() / BASE_PART_NS;
        let is_kept = |part: &&BasePart| now.saturating_sub(part.index) < BASE_PARTS as u64;
        let parts = self.base.iter().filter(is_kept);
        let base_ns = parts
            .map(|part| part.delay_min_ns)
            .min()
            .unwrap_or(delay_ns);
        // Negative while a receipt of before the base's history is taken: no delay.
        let above_ns = delay_ns.saturating_sub(base_ns).max(0);
        Duration::from_nanos(above_ns.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client's clock, ahead of the host's by something that nobody knows.
    const OFFSET_NS: u64 = 77_000_000_000_000;

    fn ms(ms: u64) -> Timestamp {
        Timestamp::from_ns(ms * 1_000_000)
    }

    fn arrive(arrivals: &mut Arrivals, departure_ms: u64, delay_ms: u64) {
        let arrival = Timestamp::from_ns(ms(departure_ms + delay_ms).as_ns() + OFFSET_NS);
        arrivals.handle(ms(departure_ms), arrival, 1000);
    }

    #[test]
    fn only_a_standing_queue_counts() {
        let mut arrivals = Arrivals::new(Duration::from_millis(2));
        arrive(&mut arrivals, 1000, 10);
        for at in 0..10 {
            // A stall: all come at 1100, the last without delay.
            arrive(&mut arrivals, 1010 + at * 9, 90 - at * 9);
        }
        let window = Duration::from_millis(30);
        assert_eq!(arrivals.queue_delay_min(window), Duration::ZERO);
        for at in 0..10 {
            arrive(&mut arrivals, 1200 + at * 10, 50);
        }
        // The base is 9 ms, of the stall's last.
        assert_eq!(arrivals.queue_delay_min(window), Duration::from_millis(41));
        assert_eq!(arrivals.busy_for(), Duration::from_millis(90));
        let delivered = arrivals.delivered(Duration::from_millis(50));
        assert!((700e3..=1100e3).contains(&delivered), "{delivered}");
    }

    #[test]
    fn the_base_is_forgotten_after_half_a_minute() {
        let mut arrivals = Arrivals::new(Duration::from_millis(2));
        arrive(&mut arrivals, 1000, 10);
        for at in 0..400 {
            arrive(&mut arrivals, 2000 + at * 100, 15);
        }
        assert_eq!(arrivals.queue_delay_min(SLOT), Duration::ZERO);
    }

    #[test]
    fn times_of_a_liar_do_no_harm() {
        let mut arrivals = Arrivals::new(Duration::from_millis(2));
        for arrival in [0, u64::MAX, 1, u64::MAX - 1, 1 << 63] {
            arrivals.handle(ms(5), Timestamp::from_ns(arrival), 1000);
            arrivals.handle(Timestamp::from_ns(u64::MAX), Timestamp::from_ns(arrival), 1);
            assert!(arrivals.queue_delay_min(SLOT) < Duration::MAX);
            assert!(arrivals.delivered(SLOT).is_finite());
        }
    }
}
