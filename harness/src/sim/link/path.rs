//! What changes along a path while a session runs: outages, MTU, addresses.

use std::ops::Range;
use std::time::Duration;

use net::units::Timestamp;

use super::{Element, Outlet};
use crate::sim::packet::{Cause, PacketId};
use crate::sim::schedule::Steps;

/// Loses everything while it is down.
#[derive(Debug)]
pub struct Outage {
    spans: Vec<Range<Timestamp>>,
}

impl Outage {
    /// Down within each of `spans`.
    #[must_use]
    pub fn new(spans: &[Range<Duration>]) -> Self {
        let at = |time: Duration| Timestamp::ZERO + time;
        Self {
            spans: spans.iter().map(|s| at(s.start)..at(s.end)).collect(),
        }
    }
}

impl Element for Outage {
    fn offer(&mut self, now: Timestamp, packet: PacketId, out: &mut Outlet<'_>) {
        if self.spans.iter().any(|span| span.contains(&now)) {
            out.lose(packet, Cause::Outage);
        } else {
            out.pass(packet);
        }
    }
}

/// Loses silently what is larger than it takes, as a path that filters ICMP does.
#[derive(Debug)]
pub struct Mtu {
    bytes: Steps<usize>,
}

impl Mtu {
    /// Takes packets of at most so many bytes, IP and UDP headers included.
    #[must_use]
    pub const fn new(bytes: Steps<usize>) -> Self {
        Self { bytes }
    }
}

impl Element for Mtu {
    fn offer(&mut self, now: Timestamp, packet: PacketId, out: &mut Outlet<'_>) {
        if out.packet(packet).bytes() > self.bytes.at(now) {
            out.lose(packet, Cause::Mtu);
        } else {
            out.pass(packet);
        }
    }
}

/// A NAT on the way out: the receiver sees the sender under a port that changes. Its other half,
/// on the way back, is [`Unbind`].
#[derive(Debug)]
pub struct Rebind {
    port: Steps<u16>,
}

impl Rebind {
    /// Shows the sender under `port`.
    #[must_use]
    pub const fn new(port: Steps<u16>) -> Self {
        Self { port }
    }
}

impl Element for Rebind {
    fn offer(&mut self, now: Timestamp, packet: PacketId, out: &mut Outlet<'_>) {
        out.packets.get_mut(packet).from.port = self.port.at(now);
        out.pass(packet);
    }
}

/// The same NAT on the way back: what is sent to another port than the present one is lost.
#[derive(Debug)]
pub struct Unbind {
    port: Steps<u16>,
}

impl Unbind {
    /// Takes only what is sent to `port`.
    #[must_use]
    pub const fn new(port: Steps<u16>) -> Self {
        Self { port }
    }
}

impl Element for Unbind {
    fn offer(&mut self, now: Timestamp, packet: PacketId, out: &mut Outlet<'_>) {
        if out.packet(packet).to.port == self.port.at(now) {
            out.pass(packet);
        } else {
            out.lose(packet, Cause::Unmapped);
        }
    }
}
