//! Datagrams on their way, in pooled buffers, and what is known about each.

use net::units::Timestamp;

/// Bytes of IPv4 and UDP headers around every datagram: rates, queues and MTUs count the whole
/// packet, as the routers of a path do.
pub const OVERHEAD_BYTES: usize = 28;
/// Largest datagram: an Ethernet packet of 1500 bytes less its headers.
pub const DATAGRAM_BYTES_MAX: usize = 1500 - OVERHEAD_BYTES;
/// Most datagrams in flight over all links: 96 MB of buffers. A scenario that needs more has a
/// queue without a sensible limit.
pub const PACKETS_MAX: usize = 65_536;

/// Where a datagram comes from or goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// The host, as [`Network::add_host`](super::network::Network::add_host) numbered it.
    pub host: u16,
    /// Its port, as the other side sees it.
    pub port: u16,
}

/// A datagram within the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PacketId(u32);

impl PacketId {
    pub(super) const fn index(self) -> u32 {
        self.0
    }

    pub(super) const fn from_index(index: u32) -> Self {
        Self(index)
    }
}

/// What is known about a datagram in flight.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Sender, as the receiver will see it.
    pub from: Address,
    /// Receiver.
    pub to: Address,
    /// The host that sent it, which names its flow.
    pub flow: u16,
    /// Route, and how many of its links are behind it.
    pub(super) route: u16,
    pub(super) hop: u16,
    /// Bytes of UDP payload.
    datagram_bytes: u16,
    /// When it left its host.
    pub sent: Timestamp,
    /// Time spent waiting in the queues of the present link, ns.
    pub queued_ns: u64,
}

impl Packet {
    /// Bytes with IP and UDP headers.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.datagram_bytes as usize + OVERHEAD_BYTES
    }

    /// Bytes of UDP payload.
    #[must_use]
    pub const fn datagram_bytes(&self) -> usize {
        self.datagram_bytes as usize
    }
}

/// Why a link lost a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A queue had no room.
    QueueFull,
    /// CoDel dropped it from the head.
    Codel,
    /// Random loss.
    Random,
    /// The bad state of the Gilbert-Elliott model.
    Burst,
    /// The link was down.
    Outage,
    /// Larger than the path takes.
    Mtu,
    /// Sent to an address that a NAT no longer maps.
    Unmapped,
}

/// All datagrams in flight. Buffers are reused; the newest freed is the next taken.
#[derive(Debug, Default)]
pub struct Pool {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    packet: Packet,
    bytes: Box<[u8; DATAGRAM_BYTES_MAX]>,
}

impl Pool {
    /// Takes a buffer of unspecified content.
    ///
    /// # Panics
    /// If [`PACKETS_MAX`] are in flight: the scenario has a queue without a sensible limit.
    pub(super) fn take(&mut self, packet: Packet) -> PacketId {
        if let Some(index) = self.free.pop() {
            self.slots[index as usize].packet = packet;
            return PacketId(index);
        }
        assert!(
            self.slots.len() < PACKETS_MAX,
            "{PACKETS_MAX} datagrams in flight: give every queue of the scenario a limit"
        );
        self.slots.push(Slot {
            packet,
            bytes: Box::new([0; DATAGRAM_BYTES_MAX]),
        });
        PacketId(self.slots.len() as u32 - 1)
    }

    /// A second copy of a datagram.
    pub(super) fn copy(&mut self, id: PacketId) -> PacketId {
        let packet = *self.get(id);
        let copy = self.take(packet);
        let (low, high) = (id.0.min(copy.0), id.0.max(copy.0));
        let (head, tail) = self.slots.split_at_mut(high as usize);
        let (low, high) = (&mut head[low as usize], &mut tail[0]);
        let len = packet.datagram_bytes();
        if id.0 < copy.0 {
            high.bytes[..len].copy_from_slice(&low.bytes[..len]);
        } else {
            low.bytes[..len].copy_from_slice(&high.bytes[..len]);
        }
        copy
    }

    /// Gives a buffer back.
    pub(super) fn release(&mut self, id: PacketId) {
        self.free.push(id.0);
    }

    /// What is known about a datagram.
    #[must_use]
    pub fn get(&self, id: PacketId) -> &Packet {
        &self.slots[id.0 as usize].packet
    }

    /// The same, to change.
    pub fn get_mut(&mut self, id: PacketId) -> &mut Packet {
        &mut self.slots[id.0 as usize].packet
    }

    /// The payload.
    #[must_use]
    pub fn datagram(&self, id: PacketId) -> &[u8] {
        let slot = &self.slots[id.0 as usize];
        &slot.bytes[..slot.packet.datagram_bytes()]
    }

    /// Header and payload, to be opened in place.
    pub(super) fn open(&mut self, id: PacketId) -> (&Packet, &mut [u8]) {
        let slot = &mut self.slots[id.0 as usize];
        let len = slot.packet.datagram_bytes();
        (&slot.packet, &mut slot.bytes[..len])
    }

    /// The whole buffer, to be written before its length is known.
    pub(super) fn buffer(&mut self, id: PacketId) -> &mut [u8; DATAGRAM_BYTES_MAX] {
        &mut self.slots[id.0 as usize].bytes
    }

    /// Datagrams in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl Packet {
    /// A datagram about to leave `from`.
    pub(super) fn new(from: Address, sent: Timestamp) -> Self {
        Self {
            from,
            to: from,
            flow: from.host,
            route: 0,
            hop: 0,
            datagram_bytes: 0,
            sent,
            queued_ns: 0,
        }
    }

    /// Where it goes and how long it is.
    pub(super) fn address(&mut self, to: Address, route: u16, datagram_bytes: usize) {
        debug_assert!(datagram_bytes <= DATAGRAM_BYTES_MAX);
        self.to = to;
        self.route = route;
        self.datagram_bytes = datagram_bytes as u16;
    }
}
