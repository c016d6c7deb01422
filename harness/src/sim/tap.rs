//! What a link did, packet by packet, and the statistics of it.

use std::ops::Range;
use std::time::Duration;

use net::units::{BitsPerSecond, Timestamp};

use super::packet::{Cause, Packet};
use super::schedule::Steps;

/// A packet that left a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// When.
    pub at: Timestamp,
    /// Time it waited in the link's queues, ns, saturating.
    pub queued_ns: u32,
    /// Bytes with IP and UDP headers.
    pub bytes: u16,
    /// The host that sent it.
    pub flow: u16,
}

/// A packet that a link lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// When.
    pub at: Timestamp,
    /// Bytes with IP and UDP headers.
    pub bytes: u16,
    /// The host that sent it.
    pub flow: u16,
    /// Position in the link of the element that lost it.
    pub element: u8,
    /// Why.
    pub cause: Cause,
}

/// The record of a link. 16 bytes a packet; a session of ten minutes takes 24 MB.
#[derive(Clone, Debug, Default)]
pub struct Tap {
    passed: Vec<Passed>,
    lost: Vec<Lost>,
}

/// A set of values, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    sorted: Vec<u64>,
}

impl Tap {
    /// Packets that left, in the order of time.
    #[must_use]
    pub fn passed(&self) -> &[Passed] {
        &self.passed
    }

    /// Packets that were lost, in the order of time.
    #[must_use]
    pub fn lost(&self) -> &[Lost] {
        &self.lost
    }

    /// Packets that left within `span`, of `flow` or of all.
    pub fn passed_in(
        &self,
        span: Range<Duration>,
        flow: Option<u16>,
    ) -> impl Iterator<Item = &Passed> {
        let start = Timestamp::ZERO + span.start;
        let end = Timestamp::ZERO + span.end;
        let first = self.passed.partition_point(|packet| packet.at < start);
        self.passed[first..]
            .iter()
            .take_while(move |packet| packet.at < end)
            .filter(move |packet| flow.is_none_or(|flow| flow == packet.flow))
    }

    /// Waiting times within `span`, ns, of `flow` or of all.
    #[must_use]
    pub fn queue_delay_ns(&self, span: Range<Duration>, flow: Option<u16>) -> Distribution {
        self.passed_in(span, flow)
            .map(|packet| u64::from(packet.queued_ns))
            .collect()
    }

    /// Bytes that left within `span`, of `flow` or of all.
    #[must_use]
    pub fn bytes(&self, span: Range<Duration>, flow: Option<u16>) -> u64 {
        self.passed_in(span, flow)
            .map(|packet| u64::from(packet.bytes))
            .sum()
    }

    /// Share of what `rate` could carry within `span` that was carried.
    #[must_use]
    pub fn utilisation(&self, span: Range<Duration>, rate: &Steps<BitsPerSecond>) -> f64 {
        let start = Timestamp::ZERO + span.start;
        let end = Timestamp::ZERO + span.end;
        let bits = self.bytes(span, None) * 8;
        bits as f64 / rate.capacity_bits(start, end).max(1) as f64
    }

    /// Bytes that left in each second from zero on, of `flow` or of all.
    #[must_use]
    pub fn bytes_per_second(&self, flow: Option<u16>) -> Vec<u64> {
        let mut seconds = Vec::new();
        for packet in self.passed_in(Duration::ZERO..Duration::MAX, flow) {
            let second = (packet.at.as_ns() / 1_000_000_000) as usize;
            if seconds.len() <= second {
                seconds.resize(second + 1, 0);
            }
            seconds[second] += u64::from(packet.bytes);
        }
        seconds
    }

    /// Packets lost for `cause`, of `flow` or of all.
    #[must_use]
    pub fn losses(&self, cause: Cause, flow: Option<u16>) -> usize {
        let is = |lost: &&Lost| lost.cause == cause && flow.is_none_or(|flow| flow == lost.flow);
        self.lost.iter().filter(is).count()
    }

    pub(super) fn pass(&mut self, now: Timestamp, packet: &Packet) {
        self.passed.push(Passed {
            at: now,
            queued_ns: u32::try_from(packet.queued_ns).unwrap_or(u32::MAX),
            bytes: packet.bytes() as u16,
            flow: packet.flow,
        });
    }

    pub(super) fn lose(&mut self, now: Timestamp, packet: &Packet, element: u8, cause: Cause) {
        self.lost.push(Lost {
            at: now,
            bytes: packet.bytes() as u16,
            flow: packet.flow,
            element,
            cause,
        });
    }
}

impl Distribution {
    /// How many values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// No value at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// The value that `permille` of all do not exceed; 0 of none.
    #[must_use]
    pub fn permille(&self, permille: u32) -> u64 {
        let count = self.sorted.len() as u64;
        let rank = (count * u64::from(permille)).div_ceil(1000).max(1);
        self.sorted.get(rank as usize - 1).copied().unwrap_or(0)
    }

    /// The largest; 0 of none.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.sorted.last().copied().unwrap_or(0)
    }

    /// The mean, rounded down; 0 of none.
    #[must_use]
    pub fn mean(&self) -> u64 {
        let sum: u128 = self.sorted.iter().map(|value| u128::from(*value)).sum();
        (sum / (self.sorted.len().max(1) as u128)) as u64
    }
}

impl FromIterator<u64> for Distribution {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Self {
        let mut sorted: Vec<u64> = values.into_iter().collect();
        sorted.sort_unstable();
        Self { sorted }
    }
}

/// Jain's fairness index of what several flows got (Jain, Chiu, Hawe 1984): 1 if all got the
/// same, 1/n if one got all.
#[must_use]
pub fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares
        .iter()
        .map(|share| *share as f64 * *share as f64)
        .sum();
    if squares == 0.0 {
        return 1.0;
    }
    sum * sum / (shares.len() as f64 * squares)
}
