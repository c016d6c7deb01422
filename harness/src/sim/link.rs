//! One direction of one hop: a chain of elements that a datagram passes in order.
//!
//! An element takes a datagram ([`Element::offer`]) and says through the [`Outlet`] what became of
//! it, now or when its time has come ([`Element::poll_timeout`], [`Element::handle_timeout`]).
//! What it passes on within one call stays in order.

mod air;
mod loss;
mod order;
mod path;
mod queue;
mod shaper;

use std::fmt;

use net::units::Timestamp;

use super::packet::{Cause, Packet, PacketId, Pool};
use super::tap::Tap;

pub use air::{Aggregation, AggregationConfig};
pub use loss::{GilbertElliott, RandomLoss};
pub use order::{Delay, Duplicate, Jitter, Reorder};
pub use path::{Mtu, Outage, Rebind, Unbind};
pub use queue::{Codel, Discipline, Queue};
pub use shaper::TokenBucket;

/// Most elements in a link: their positions are stored in a byte.
pub const ELEMENTS_MAX: usize = 64;

/// A part of a link.
pub trait Element: fmt::Debug {
    /// A datagram arrives.
    fn offer(&mut self, now: Timestamp, packet: PacketId, out: &mut Outlet<'_>);

    /// When it wants [`Self::handle_timeout`]; asked after every call.
    fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }

    /// The time that it asked for has come.
    fn handle_timeout(&mut self, _now: Timestamp, _out: &mut Outlet<'_>) {}
}

/// Where an element says what becomes of datagrams.
#[derive(Debug)]
pub struct Outlet<'a> {
    /// The datagrams.
    pub packets: &'a mut Pool,
    moves: &'a mut Vec<Move>,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) enum Move {
    Pass(PacketId),
    PassAt(PacketId, Timestamp),
    Lose(PacketId, Cause),
}

/// A chain of elements and the record of what left it and what it lost.
#[derive(Debug, Default)]
pub struct Link {
    pub(super) elements: Vec<Slot>,
    /// The record; empty where the link was made without.
    pub tap: Tap,
    pub(super) tapped: bool,
}

/// An element and when it is to be woken.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) element: Box<dyn Element>,
    pub(super) due: Option<Timestamp>,
}

impl Link {
    /// A link that keeps no record.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A link that records every datagram.
    #[must_use]
    pub fn tapped() -> Self {
        Self {
            tapped: true,
            ..Self::default()
        }
    }

    /// Adds an element at the far end.
    ///
    /// # Panics
    /// Past [`ELEMENTS_MAX`].
    #[must_use]
    pub fn with(mut self, element: impl Element + 'static) -> Self {
        self.push(Box::new(element));
        self
    }

    /// Adds an element at the far end.
    ///
    /// # Panics
    /// Past [`ELEMENTS_MAX`].
    pub fn push(&mut self, element: Box<dyn Element>) {
        assert!(self.elements.len() < ELEMENTS_MAX, "a link this long");
        self.elements.push(Slot { element, due: None });
    }
}

impl<'a> Outlet<'a> {
    pub(super) fn new(packets: &'a mut Pool, moves: &'a mut Vec<Move>) -> Self {
        Self { packets, moves }
    }

    /// What is known about a datagram.
    #[must_use]
    pub fn packet(&self, packet: PacketId) -> &Packet {
        self.packets.get(packet)
    }

    /// It goes on at once.
    pub fn pass(&mut self, packet: PacketId) {
        self.moves.push(Move::Pass(packet));
    }

    /// It goes on at `at`, whatever else happens.
    pub fn pass_at(&mut self, packet: PacketId, at: Timestamp) {
        self.moves.push(Move::PassAt(packet, at));
    }

    /// It is lost.
    pub fn lose(&mut self, packet: PacketId, cause: Cause) {
        self.moves.push(Move::Lose(packet, cause));
    }

    /// A second copy of it.
    pub fn copy(&mut self, packet: PacketId) -> PacketId {
        self.packets.copy(packet)
    }

    /// It waited in a queue.
    pub fn queued(&mut self, packet: PacketId, from: Timestamp, to: Timestamp) {
        self.packets.get_mut(packet).queued_ns += to.as_ns().saturating_sub(from.as_ns());
    }
}
