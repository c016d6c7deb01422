//! Hosts, the routes between them, and the loop that runs them through virtual time.
//!
//! One rule (that of every sans-IO machine here): after each call into an endpoint its
//! [`Endpoint::poll_transmit`] is drained, then its [`Endpoint::poll_timeout`] is asked. Datagrams
//! that leave a host at one time enter the first link of their route in that order.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};
use std::ops::ControlFlow;
use std::time::Duration;

use net::units::Timestamp;

use super::link::{Link, Move, Outlet};
use super::packet::{Address, DATAGRAM_BYTES_MAX, Packet, PacketId, Pool};
use super::rng::splitmix64;

/// Port of every host until a NAT shows another.
pub const PORT: u16 = 9777;
/// Calls or datagrams of one host at one time before the run is given up: an endpoint that
/// never comes to rest.
const RESTLESS: u32 = 1_000_000;

/// What runs on a host.
pub trait Endpoint {
    /// A datagram has arrived; it may be changed in place (opened).
    fn handle(&mut self, now: Timestamp, from: Address, datagram: &mut [u8]);

    /// Writes the next datagram that leaves now. Asked until it says `None`.
    fn poll_transmit(
        &mut self,
        now: Timestamp,
        datagram: &mut [u8; DATAGRAM_BYTES_MAX],
    ) -> Option<Transmit>;

    /// When it wants [`Self::handle_timeout`], which may be at once; asked after every call.
    fn poll_timeout(&self) -> Option<Timestamp>;

    /// The time that it asked for has come.
    fn handle_timeout(&mut self, now: Timestamp);
}

/// A datagram that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where it goes.
    pub to: Address,
    /// How much of the buffer it is.
    pub bytes: usize,
}

/// A link of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkId(u16);

/// The whole network. `E` is what runs on its hosts, often an enum of a scenario's.
#[derive(Debug)]
pub struct Network<E> {
    now: Timestamp,
    events: BinaryHeap<Reverse<Event>>,
    /// Events made so far: the order among those of one time.
    made: u64,
    handled: u64,
    links: Vec<Link>,
    hosts: Vec<Host<E>>,
    routes: Vec<Route>,
    packets: Pool,
    /// Datagrams that enter an element now, in order.
    entering: VecDeque<Position>,
    moves: Vec<Move>,
    digest: Digest,
}

#[derive(Debug)]
struct Host<E> {
    endpoint: E,
    due: Option<Timestamp>,
    /// Route to each host, by its number.
    routes: Vec<Option<u16>>,
    /// When it was called last, and how often at that time.
    called: (Timestamp, u32),
}

#[derive(Debug)]
struct Route {
    links: Vec<LinkId>,
}

/// A datagram before an element of a link (past the last one: at its end).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    link: u16,
    element: u8,
    packet: u32,
}

/// Events are ordered by time, then by when they were made.
#[derive(Clone, Copy, Debug)]
struct Event {
    at: Timestamp,
    order: u64,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Arrive(Position),
    Element { link: u16, element: u8 },
    Host(u16),
}

/// A running hash of everything that happened.
#[derive(Clone, Copy, Debug)]
struct Digest(u64);

/// Kinds of entry in the digest.
const SENT: u64 = 1;
const DELIVERED: u64 = 2;
const LOST: u64 = 3;

impl<E: Endpoint> Default for Network<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: Endpoint> Network<E> {
    /// A network without hosts, at time zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            now: Timestamp::ZERO,
            events: BinaryHeap::new(),
            made: 0,
            handled: 0,
            links: Vec::new(),
            hosts: Vec::new(),
            routes: Vec::new(),
            packets: Pool::default(),
            entering: VecDeque::new(),
            moves: Vec::new(),
            digest: Digest(0),
        }
    }

    /// Adds a link.
    ///
    /// # Panics
    /// Past 65 535.
    pub fn add_link(&mut self, link: Link) -> LinkId {
        let id = u16::try_from(self.links.len()).expect("fewer links than that");
        self.links.push(link);
        LinkId(id)
    }

    /// Adds a host; hosts are numbered from 0. It is called for the first time when the network
    /// runs.
    ///
    /// # Panics
    /// Past 65 535.
    pub fn add_host(&mut self, endpoint: E) -> Address {
        let host = u16::try_from(self.hosts.len()).expect("fewer hosts than that");
        self.hosts.push(Host {
            endpoint,
            due: None,
            routes: Vec::new(),
            called: (Timestamp::ZERO, 0),
        });
        self.reschedule(host);
        Address { host, port: PORT }
    }

    /// Datagrams from one host to another pass `links` in order. Links may be shared by routes.
    ///
    /// # Panics
    /// If there is no such host, or past 65 535 routes.
    pub fn route(&mut self, from: Address, to: Address, links: &[LinkId]) {
        let route = u16::try_from(self.routes.len()).expect("fewer routes than that");
        self.routes.push(Route {
            links: links.to_vec(),
        });
        let routes = &mut self.hosts[usize::from(from.host)].routes;
        let to = usize::from(to.host);
        if routes.len() <= to {
            routes.resize(to + 1, None);
        }
        routes[to] = Some(route);
    }

    /// Present time.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Events handled so far.
    #[must_use]
    pub const fn handled(&self) -> u64 {
        self.handled
    }

    /// A link, for its record.
    #[must_use]
    pub fn link(&self, id: LinkId) -> &Link {
        &self.links[usize::from(id.0)]
    }

    /// A link, for elements beyond its far end that are of one test alone.
    pub fn link_mut(&mut self, id: LinkId) -> &mut Link {
        &mut self.links[usize::from(id.0)]
    }

    /// What runs on a host.
    #[must_use]
    pub fn endpoint(&self, host: Address) -> &E {
        &self.hosts[usize::from(host.host)].endpoint
    }

    /// Changes what runs on a host from outside, as a user would, and sends what that causes.
    pub fn with_endpoint<R>(&mut self, host: Address, act: impl FnOnce(&mut E) -> R) -> R {
        let result = act(&mut self.hosts[usize::from(host.host)].endpoint);
        self.settle(host.host);
        self.advance();
        result
    }

    /// Datagrams in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.packets.in_flight()
    }

    /// A hash of every datagram sent, delivered and lost so far: its time, size, hosts, and the
    /// first and last bytes (header and tag, which authenticates the rest). The same scenario and
    /// seed give the same on every machine.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest.0
    }

    /// Runs until `end`, which is then the present time.
    pub fn run_until(&mut self, end: Duration) {
        let end = Timestamp::ZERO + end;
        while let ControlFlow::Continue(()) = self.step(end) {}
        self.now = self.now.max(end);
    }

    /// Handles the next event that is due by `end`.
    fn step(&mut self, end: Timestamp) -> ControlFlow<()> {
        if self.events.peek().is_none_or(|Reverse(next)| next.at > end) {
            return ControlFlow::Break(());
        }
        let Some(Reverse(event)) = self.events.pop() else {
            return ControlFlow::Break(());
        };
        self.now = event.at;
        self.handled += 1;
        match event.what {
            What::Arrive(position) => self.entering.push_back(position),
            What::Element { link, element } => self.wake_element(link, element, event.at),
            What::Host(host) => self.wake_host(host, event.at),
        }
        self.advance();
        ControlFlow::Continue(())
    }

    fn schedule(&mut self, at: Timestamp, what: What) {
        debug_assert!(at >= self.now, "nothing happens in the past");
        self.events.push(Reverse(Event {
            at,
            order: self.made,
            what,
        }));
        self.made += 1;
    }

    /// Takes every datagram on until it waits, arrives or is lost.
    fn advance(&mut self) {
        while let Some(position) = self.entering.pop_front() {
            let Position { link, element, .. } = position;
            let packet = PacketId::from_index(position.packet);
            let here = &mut self.links[usize::from(link)];
            let Some(slot) = here.elements.get_mut(usize::from(element)) else {
                self.leave(link, packet);
                continue;
            };
            let mut out = Outlet::new(&mut self.packets, &mut self.moves);
            slot.element.offer(self.now, packet, &mut out);
            self.follow(link, element);
        }
    }

    /// Does what an element said, and notes when it wants to be woken.
    fn follow(&mut self, link: u16, element: u8) {
        for index in 0..self.moves.len() {
            match self.moves[index] {
                Move::Pass(packet) => self.entering.push_back(Position {
                    link,
                    element: element + 1,
                    packet: packet.index(),
                }),
                Move::PassAt(packet, at) => {
                    let position = Position {
                        link,
                        element: element + 1,
                        packet: packet.index(),
                    };
                    self.schedule(at.max(self.now), What::Arrive(position));
                }
                Move::Lose(packet, cause) => {
                    let about = *self.packets.get(packet);
                    let here = &mut self.links[usize::from(link)];
                    if here.tapped {
                        here.tap.lose(self.now, &about, element, cause);
                    }
                    self.digest.packet(LOST, self.now, &about, &[]);
                    self.packets.release(packet);
                }
            }
        }
        self.moves.clear();
        let slot = &mut self.links[usize::from(link)].elements[usize::from(element)];
        if let Some(wanted) = slot.element.poll_timeout() {
            let wanted = wanted.max(self.now);
            if slot.due.is_none_or(|due| wanted < due) {
                slot.due = Some(wanted);
                self.schedule(wanted, What::Element { link, element });
            }
        }
    }

    fn wake_element(&mut self, link: u16, element: u8, at: Timestamp) {
        let slot = &mut self.links[usize::from(link)].elements[usize::from(element)];
        if slot.due != Some(at) {
            return;
        }
        slot.due = None;
        if slot.element.poll_timeout().is_some_and(|due| due <= at) {
            let mut out = Outlet::new(&mut self.packets, &mut self.moves);
            slot.element.handle_timeout(at, &mut out);
        }
        self.follow(link, element);
    }

    /// A datagram is through a link: on to the next of its route, or to its host.
    fn leave(&mut self, link: u16, packet: PacketId) {
        let here = &mut self.links[usize::from(link)];
        if here.tapped {
            here.tap.pass(self.now, self.packets.get(packet));
        }
        let about = self.packets.get_mut(packet);
        about.hop += 1;
        about.queued_ns = 0;
        let (route, hop) = (usize::from(about.route), usize::from(about.hop));
        match self.routes[route].links.get(hop) {
            Some(next) => self.entering.push_back(Position {
                link: next.0,
                element: 0,
                packet: packet.index(),
            }),
            None => self.deliver(packet),
        }
    }

    fn deliver(&mut self, packet: PacketId) {
        let (about, datagram) = self.packets.open(packet);
        self.digest.packet(DELIVERED, self.now, about, datagram);
        let host = about.to.host;
        let endpoint = &mut self.hosts[usize::from(host)].endpoint;
        endpoint.handle(self.now, about.from, datagram);
        self.packets.release(packet);
        self.settle(host);
    }

    fn wake_host(&mut self, host: u16, at: Timestamp) {
        let here = &mut self.hosts[usize::from(host)];
        if here.due != Some(at) {
            return;
        }
        here.due = None;
        let due = here.endpoint.poll_timeout();
        if due.is_some_and(|due| due <= at) {
            here.endpoint.handle_timeout(at);
        }
        self.settle(host);
    }

    /// Takes what a host has to send, then asks when to call it again.
    fn settle(&mut self, host: u16) {
        self.count_call(host);
        loop {
            let from = Address { host, port: PORT };
            let packet = self.packets.take(Packet::new(from, self.now));
            let buffer = self.packets.buffer(packet);
            let here = &mut self.hosts[usize::from(host)];
            let Some(transmit) = here.endpoint.poll_transmit(self.now, buffer) else {
                self.packets.release(packet);
                break;
            };
            self.send(host, packet, transmit);
            self.count_call(host);
        }
        self.reschedule(host);
    }

    fn send(&mut self, host: u16, packet: PacketId, transmit: Transmit) {
        let to = usize::from(transmit.to.host);
        let route = self.hosts[usize::from(host)].routes.get(to).copied();
        let Some(route) = route.flatten() else {
            panic!("host {host} sends to host {to}: give the scenario a route for that");
        };
        let about = self.packets.get_mut(packet);
        about.address(transmit.to, route, transmit.bytes);
        let (about, datagram) = self.packets.open(packet);
        self.digest.packet(SENT, self.now, about, datagram);
        match self.routes[usize::from(route)].links.first() {
            Some(first) => self.entering.push_back(Position {
                link: first.0,
                element: 0,
                packet: packet.index(),
            }),
            None => panic!("the route from host {host} to host {to} needs a link"),
        }
    }

    fn reschedule(&mut self, host: u16) {
        let here = &mut self.hosts[usize::from(host)];
        if let Some(wanted) = here.endpoint.poll_timeout() {
            let wanted = wanted.max(self.now);
            if here.due.is_none_or(|due| wanted < due) {
                here.due = Some(wanted);
                self.schedule(wanted, What::Host(host));
            }
        }
    }

    fn count_call(&mut self, host: u16) {
        let called = &mut self.hosts[usize::from(host)].called;
        if called.0 != self.now {
            *called = (self.now, 0);
        }
        called.1 += 1;
        assert!(
            called.1 < RESTLESS,
            "host {host} never comes to rest at {} ns: its poll_timeout stays in the past or its \
             poll_transmit never ends",
            self.now.as_ns()
        );
    }
}

impl Event {
    /// In one number, which compares without a branch.
    fn key(&self) -> u128 {
        u128::from(self.at.as_ns()) << 64 | u128::from(self.order)
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl Digest {
    fn packet(&mut self, kind: u64, now: Timestamp, packet: &Packet, datagram: &[u8]) {
        self.word(now.as_ns());
        self.word(
            kind | (packet.datagram_bytes() as u64) << 8
                | u64::from(packet.flow) << 24
                | u64::from(packet.from.port) << 40,
        );
        const HEAD_BYTES: usize = 40;
        const TAIL_BYTES: usize = 16;
        if datagram.len() <= HEAD_BYTES + TAIL_BYTES {
            self.bytes(datagram);
        } else {
            self.bytes(&datagram[..HEAD_BYTES]);
            self.bytes(&datagram[datagram.len() - TAIL_BYTES..]);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        if !tail.is_empty() {
            let mut word = [0; 8];
            word[..tail.len()].copy_from_slice(tail);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn word(&mut self, word: u64) {
        let mut state = self.0.rotate_left(23) ^ word;
        self.0 = splitmix64(&mut state);
    }
}
