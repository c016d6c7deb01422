//! A token bucket: a hop that lets bursts pass and holds a mean rate, as `tc tbf` and provider
//! policies do.

use std::collections::VecDeque;
use std::time::Duration;

use net::units::{BitsPerSecond, Timestamp};

use super::{Element, Outlet};
use crate::sim::packet::{Cause, PacketId};

/// Lets `burst_bytes` pass at once and `rate` in the mean; what has no token waits in at most
/// `queue_bytes_max`, drop-tail.
#[derive(Debug)]
pub struct TokenBucket {
    rate: BitsPerSecond,
    burst_bytes: usize,
    queue_bytes_max: usize,
    /// When the bucket would be full again if nothing more came (the theoretical arrival time
    /// of the generic cell rate algorithm, ITU-T I.371).
    full_at: Timestamp,
    last_departure: Timestamp,
    /// Departures to come, and their bytes.
    waiting: VecDeque<(Timestamp, usize)>,
    waiting_bytes: usize,
}

impl TokenBucket {
    /// A full bucket.
    ///
    /// # Panics
    /// If the rate is zero.
    #[must_use]
    pub fn new(rate: BitsPerSecond, burst_bytes: usize, queue_bytes_max: usize) -> Self {
        assert!(rate.0 > 0, "a bucket that never fills");
        Self {
            rate,
            burst_bytes,
            queue_bytes_max,
            full_at: Timestamp::ZERO,
            last_departure: Timestamp::ZERO,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// Time in which so many tokens come.
    fn time_of(&self, bytes: usize) -> Duration {
        Duration::from_nanos((bytes as u64 * 8_000_000_000).div_ceil(self.rate.0))
    }
}

impl Element for TokenBucket {
    fn offer(&mut self, now: Timestamp, packet: PacketId, out: &mut Outlet<'_>) {
        while let Some((at, bytes)) = self.waiting.front().copied()
            && at <= now
        {
            self.waiting.pop_front();
            self.waiting_bytes -= bytes;
        }
        let bytes = out.packet(packet).bytes();
        let cost = self.time_of(bytes);
        // Tokens suffice once what is owed, this packet's cost included, is within the burst. A
        // packet above the burst passes when the bucket is full: the rate is held all the same.
        let burst = self.time_of(self.burst_bytes).max(cost);
        let full_at = self.full_at.max(now);
        let departure = (full_at + cost - burst).max(now).max(self.last_departure);
        if departure > now {
            if self.waiting_bytes + bytes > self.queue_bytes_max {
                out.lose(packet, Cause::QueueFull);
                return;
            }
            self.waiting.push_back((departure, bytes));
            self.waiting_bytes += bytes;
            out.queued(packet, now, departure);
        }
        self.full_at = self.full_at.max(departure) + cost;
        self.last_departure = departure;
        // Not passed at once even if it could be: one that departs now may still be on its way.
        out.pass_at(packet, departure);
    }
}
