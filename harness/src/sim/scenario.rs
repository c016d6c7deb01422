//! Scenarios as data: a bottleneck each way, the flows that share it, how long, and the seed.
//!
//! ```text
//!  host 0 ─ own link ─┐                    ┌─ client 0
//!  host 1 ─ own link ─┼─ shared link down ─┼─ client 1
//!                     │                    │
//!  host 0 ◀───────────┼── shared link up ──┼─ own link ─ client 0
//! ```
//!
//! [`Scenario::lay`] builds the network; what runs on the hosts is the caller's, made from each
//! [`Flow`]. Flow `i` has host `2 i` and client `2 i + 1`.

mod table;

pub(super) use table::STALL_BEGIN;

use std::ops::Range;
use std::time::Duration;

use net::units::{BitsPerSecond, RefreshMilliHz};

use super::link::{
    Aggregation, AggregationConfig, Delay, Discipline, Duplicate, Element, GilbertElliott, Jitter,
    Link, Mtu, Outage, Queue, RandomLoss, Rebind, Reorder, TokenBucket, Unbind,
};
use super::moonlight::Wish;
use super::network::{Endpoint, LinkId, Network, PORT};
use super::packet::Address;
use super::rng::{Chance, Rng};
use super::schedule::Steps;

/// Streams of the seed below this belong to endpoints, eight each; above to link elements.
const ELEMENT_STREAMS: u64 = 1 << 32;
const STREAMS_PER_FLOW: u64 = 8;

/// A run, completely described.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, for tables and for `--scenario`.
    pub name: String,
    /// The seed of everything random in it.
    pub seed: u64,
    /// Virtual time that it lasts.
    pub duration: Duration,
    /// Rate of the bottleneck towards the clients, for its utilisation.
    pub rate: Steps<BitsPerSecond>,
    /// The shared link towards the clients.
    pub down: Vec<Part>,
    /// The shared link towards the hosts.
    pub up: Vec<Part>,
    /// What shares them.
    pub flows: Vec<Flow>,
}

/// A pair of endpoints.
#[derive(Clone, Debug)]
pub struct Flow {
    /// What they do.
    pub kind: FlowKind,
    /// From when on.
    pub start: Duration,
    /// The host's own link before the shared one: its network card.
    pub down: Vec<Part>,
    /// The client's own link before the shared one.
    pub up: Vec<Part>,
}

/// What a pair of endpoints does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowKind {
    /// Streams video.
    Session {
        /// Pictures a second.
        refresh: RefreshMilliHz,
        /// Most that the operator allows.
        ceiling: BitsPerSecond,
        /// Rate control may go below it; else the encoder stays there.
        adaptive: bool,
    },
    /// Streams video to a stock client.
    Moonlight {
        /// Pictures a second.
        refresh: RefreshMilliHz,
        /// What it asks for.
        wish: Wish,
    },
    /// Streams audio only, a packet every 5 ms.
    Audio,
    /// A bulk transfer under Cubic.
    Cubic,
    /// A bulk transfer under BBR.
    Bbr,
}

/// An element of a link, as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// [`Queue`].
    Queue {
        /// Rate.
        rate: Steps<BitsPerSecond>,
        /// Most bytes.
        bytes_max: usize,
        /// What it drops.
        discipline: Discipline,
    },
    /// [`TokenBucket`].
    TokenBucket {
        /// Rate.
        rate: BitsPerSecond,
        /// Bytes that pass at once.
        burst_bytes: usize,
        /// Bytes that wait.
        queue_bytes_max: usize,
    },
    /// [`Delay`].
    Delay(Duration),
    /// [`Jitter`] up to this; `true`: nothing overtakes.
    Jitter(Duration, bool),
    /// [`RandomLoss`].
    Loss(Chance),
    /// [`GilbertElliott::bursts`]: millionths lost, datagrams in a row.
    Bursts(u64, u64),
    /// [`Reorder`].
    Reorder(Chance, Duration),
    /// [`Duplicate`].
    Duplicate(Chance, Duration),
    /// [`Aggregation`].
    Aggregation(AggregationConfig),
    /// [`Mtu`].
    Mtu(Steps<usize>),
    /// [`Rebind`].
    Rebind(Steps<u16>),
    /// [`Unbind`].
    Unbind(Steps<u16>),
    /// [`Outage`].
    Outage(Range<Duration>),
}

/// Where a flow's endpoints are to be made.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Their flow.
    pub flow: &'a Flow,
    /// Address of the sending side.
    pub host: Address,
    /// Address of the receiving side.
    pub client: Address,
    /// End of the run.
    pub end: Duration,
    seed: u64,
    index: u64,
}

/// A scenario in a network, ready to run.
#[derive(Debug)]
pub struct Laid<E> {
    /// The network.
    pub network: Network<E>,
    /// The shared link towards the clients; tapped.
    pub down: LinkId,
    /// The shared link towards the hosts; tapped.
    pub up: LinkId,
    /// Host and client of each flow.
    pub pairs: Vec<(Address, Address)>,
}

impl Part {
    /// The element, drawing from `rng`.
    #[must_use]
    pub fn build(&self, rng: Rng) -> Box<dyn Element> {
        match self {
            Self::Queue {
                rate,
                bytes_max,
                discipline,
            } => Box::new(Queue::new(rate.clone(), *bytes_max, *discipline)),
            Self::TokenBucket {
                rate,
                burst_bytes,
                queue_bytes_max,
            } => Box::new(TokenBucket::new(*rate, *burst_bytes, *queue_bytes_max)),
            Self::Delay(by) => Box::new(Delay::new(*by)),
            Self::Jitter(up_to, true) => Box::new(Jitter::in_order(rng, *up_to)),
            Self::Jitter(up_to, false) => Box::new(Jitter::free(rng, *up_to)),
            Self::Loss(chance) => Box::new(RandomLoss::new(rng, *chance)),
            Self::Bursts(ppm, burst) => Box::new(GilbertElliott::bursts(rng, *ppm, *burst)),
            Self::Reorder(chance, by) => Box::new(Reorder::new(rng, *chance, *by)),
            Self::Duplicate(chance, after) => Box::new(Duplicate::new(rng, *chance, *after)),
            Self::Aggregation(config) => Box::new(Aggregation::new(rng, *config)),
            Self::Mtu(bytes) => Box::new(Mtu::new(bytes.clone())),
            Self::Rebind(port) => Box::new(Rebind::new(port.clone())),
            Self::Unbind(port) => Box::new(Unbind::new(port.clone())),
            Self::Outage(span) => Box::new(Outage::new(std::slice::from_ref(span))),
        }
    }
}

impl Place<'_> {
    /// Random stream `index`, 0 to 7, of this flow.
    ///
    /// # Panics
    /// Past the eighth.
    #[must_use]
    pub fn rng(&self, index: u64) -> Rng {
        assert!(index < STREAMS_PER_FLOW, "a flow has eight streams");
        Rng::stream(self.seed, self.index * STREAMS_PER_FLOW + index)
    }
}

impl Scenario {
    /// The same with another seed.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The same for another time.
    #[must_use]
    pub fn lasting(mut self, duration: Duration) -> Self {
        self.duration = duration;
        self
    }

    /// What to write where a run of it fails, so that it can be replayed.
    #[must_use]
    pub fn label(&self) -> String {
        format!("scenario {} with seed {}", self.name, self.seed)
    }

    /// Builds the network; `ends` makes the host's and the client's end of each flow.
    ///
    /// # Panics
    /// Past 16 383 flows.
    pub fn lay<E: Endpoint>(&self, mut ends: impl FnMut(&Place<'_>) -> (E, E)) -> Laid<E> {
        let mut network = Network::new();
        let mut streams = ELEMENT_STREAMS;
        let mut link = |mut link: Link, parts: &[Part]| {
            for part in parts {
                link.push(part.build(Rng::stream(self.seed, streams)));
                streams += 1;
            }
            network.add_link(link)
        };
        let down = link(Link::tapped(), &self.down);
        let up = link(Link::tapped(), &self.up);
        let own: Vec<(LinkId, LinkId)> = self
            .flows
            .iter()
            .map(|flow| (link(Link::new(), &flow.down), link(Link::new(), &flow.up)))
            .collect();
        let pairs = self.flows.iter().zip(own).enumerate();
        let pairs = pairs
            .map(|(index, (flow, (own_down, own_up)))| {
                let number = u16::try_from(2 * index).expect("fewer flows than that");
                let address = |host| Address { host, port: PORT };
                let place = Place {
                    flow,
                    host: address(number),
                    client: address(number + 1),
                    end: self.duration,
                    seed: self.seed,
                    index: index as u64,
                };
                let (host_end, client_end) = ends(&place);
                let host = network.add_host(host_end);
                let client = network.add_host(client_end);
                assert_eq!((host, client), (place.host, place.client));
                network.route(host, client, &[own_down, down]);
                network.route(client, host, &[own_up, up]);
                (host, client)
            })
            .collect();
        Laid {
            network,
            down,
            up,
            pairs,
        }
    }
}
