//! ENet, which carries the control stream: rusty_enet between bytes and events, without socket
//! or clock.
//!
//! After each `handle_*` and each call that sends, the caller drains [`EnetHost::poll_event`] and
//! writes what [`EnetHost::poll_transmit`] gives; it calls [`EnetHost::handle_timeout`] at
//! [`EnetHost::poll_timeout`].
//!
//! rusty_enet is ENet's C code in Rust, with its raw pointers. Nothing reaches it that a client
//! has no reason to send: [`screen`] looks at every datagram first. A peer exists only if it knows
//! the connect data of a session ([`EnetHost::expect`]).

mod echoes;
pub mod screen;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use rusty_enet::{
    Event, Host, HostSettings, MTU_MAX, Packet, PacketKind, PacketReceived, PeerID, PeerState,
    Socket, error::HostNewError,
};

use crate::limits::SESSIONS_MAX;
use crate::units::Timestamp;

use super::control::MESSAGE_BYTES_MAX;
use echoes::{Echoes, SentTimes};
use screen::Refused;

pub use echoes::{Echo, PING_INTERVAL};

/// Channels that clients use: generic, urgent, keyboard, pointer, pen, touch, text, and one for
/// each controller's state and motion.
pub const CHANNELS: usize = 0x30;
/// Peers at once: each session's, and one that comes back before the first is given up.
pub const PEERS_MAX: usize = 2 * SESSIONS_MAX;
/// Bytes of a peer that wait for one that is missing: two seconds of busy input.
const WAITING_BYTES_MAX: usize = 64 * 1024;
/// Datagrams that wait for the caller; beyond, the newest is dropped and ENet repeats it.
const OUTGOING_MAX: usize = 256;
/// How often a host with peers looks at its timers. ENet counts in milliseconds and repeats after
/// a round trip; clients send something every 100 ms.
const TICK: Duration = Duration::from_millis(10);
/// After so long without an answer a client is gone: as long as clients wait for a host.
const SILENCE_MS: u32 = 10_000;

/// One connected client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(usize);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnetEvent {
    /// A client connected.
    Connected {
        /// Which.
        peer: Peer,
        /// What it connected with, expected.
        connect_data: u32,
        /// From where.
        from: SocketAddr,
    },
    /// A message.
    Received {
        /// Of whom.
        peer: Peer,
        /// On which channel.
        channel: u8,
        /// The message.
        bytes: Vec<u8>,
    },
    /// It said so, or was silent for ten seconds.
    Disconnected {
        /// Who.
        peer: Peer,
    },
}

/// A datagram to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// To whom.
    pub to: SocketAddr,
    /// UDP payload.
    pub bytes: Vec<u8>,
}

/// How a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// In order, repeated until it is there.
    Reliable,
    /// Once, in any order.
    Unsequenced,
}

/// Why a message is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnetError {
    /// The client is gone.
    #[error("the client of the control stream is not connected")]
    NotConnected,
    /// The message is larger than any.
    #[error("a control message of {bytes} bytes; {MESSAGE_BYTES_MAX} is the most")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// ENet does not take it.
    #[error("the control stream's queue is full")]
    Full,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EnetStats {
    /// Datagrams that the screen kept out.
    pub refused: u64,
    /// Datagrams dropped because nobody took them.
    pub overflowed: u64,
}

/// The host's end of all control streams.
pub struct EnetHost {
    host: Host<Pipe>,
    clock_ns: Arc<AtomicU64>,
    expected: Vec<u32>,
    events: VecDeque<EnetEvent>,
    echoes: [Echoes; PEERS_MAX],
    is_busy: bool,
    serviced: Timestamp,
    stats: EnetStats,
}

impl EnetHost {
    /// No session is expected yet. `seed` is random: it makes ENet's own numbers.
    #[must_use]
    pub fn new(now: Timestamp, seed: u32) -> Self {
        let clock_ns = Arc::new(AtomicU64::new(now.as_ns()));
        let clock = Arc::clone(&clock_ns);
        let settings = HostSettings {
            peer_limit: PEERS_MAX,
            channel_limit: CHANNELS,
            time: Box::new(move || Duration::from_nanos(clock.load(Relaxed))),
            seed: Some(seed),
            ..HostSettings::default()
        };
        let mut host = match Host::new(Pipe::default(), settings) {
            Ok(host) => host,
            Err(HostNewError::FailedToInitializeSocket(never)) => match never {},
            Err(HostNewError::BadParameter(_)) => unreachable!("the settings are constants"),
        };
        let limits = "the limits are within ENet's own";
        host.set_maximum_packet_size(MESSAGE_BYTES_MAX)
            .expect(limits);
        host.set_maximum_waiting_data(WAITING_BYTES_MAX)
            .expect(limits);
        Self {
            host,
            clock_ns,
            expected: Vec::with_capacity(PEERS_MAX),
            events: VecDeque::with_capacity(64),
            echoes: std::array::from_fn(|_| Echoes::default()),
            is_busy: false,
            serviced: now,
            stats: EnetStats::default(),
        }
    }

    /// Counters since the start.
    #[must_use]
    pub const fn stats(&self) -> EnetStats {
        self.stats
    }

    /// A client may connect with this from now on.
    pub fn expect(&mut self, connect_data: u32) {
        if !self.expected.contains(&connect_data) {
            self.expected.push(connect_data);
        }
    }

    /// No client may any more; who is connected stays so.
    pub fn forget(&mut self, connect_data: u32) {
        self.expected.retain(|&data| data != connect_data);
    }

    /// The smoothed round trip to a client; none if it is not connected.
    #[must_use]
    pub fn round_trip(&self, peer: Peer) -> Option<Duration> {
        let peer = self.host.get_peer(PeerID(peer.0))?;
        peer.connected().then(|| peer.round_trip_time())
    }

    /// A datagram came.
    ///
    /// # Errors
    /// [`Refused`]: it is not for ENet, or not what a client sends. Nothing changed.
    pub fn handle_datagram(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), Refused> {
        let passed = match screen::screen(datagram, &self.expected) {
            Ok(passed) => passed,
            Err(refused) => {
                self.stats.refused += 1;
                return Err(refused);
            }
        };
        if let (Some(peer), Some(time_ms)) = (passed.peer, passed.acknowledged_ms) {
            let known = self.host.get_peer(PeerID(peer));
            // ENet looks at the address itself; this is for the echoes.
            if known.and_then(|it| it.address()) == Some(from) {
                let sent = &self.host.socket().sent;
                self.echoes[peer].acknowledge(now, sent, time_ms);
            }
        }
        self.host.socket_mut().incoming = Some((from, datagram.to_vec()));
        self.service(now);
        Ok(())
    }

    /// The next round trip that was measured with a client, until there is none.
    pub fn poll_echo(&mut self, peer: Peer) -> Option<Echo> {
        self.echoes.get_mut(peer.0)?.poll()
    }

    /// The oldest ping of a client that is later than all it has acknowledged.
    #[must_use]
    pub fn waits_since(&self, peer: Peer) -> Option<Timestamp> {
        self.echoes.get(peer.0)?.waits_since()
    }

    /// Time passed.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.service(now);
    }

    /// When to call [`Self::handle_timeout`]; none while nobody is connected.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.is_busy.then(|| self.serviced + TICK)
    }

    /// What happened, until there is no more.
    pub fn poll_event(&mut self) -> Option<EnetEvent> {
        self.events.pop_front()
    }

    /// What to send, until there is no more.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let pipe = self.host.socket_mut();
        self.stats.overflowed = pipe.overflowed;
        pipe.outgoing.pop_front()
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`EnetError`].
    pub fn send(
        &mut self,
        now: Timestamp,
        peer: Peer,
        channel: u8,
        bytes: &[u8],
        delivery: Delivery,
    ) -> Result<(), EnetError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(EnetError::TooLarge { bytes: bytes.len() });
        }
        let kind = match delivery {
            Delivery::Reliable => PacketKind::Reliable,
            Delivery::Unsequenced => PacketKind::Unreliable { sequenced: false },
        };
        let Some(peer) = self.host.get_peer_mut(PeerID(peer.0)) else {
            return Err(EnetError::NotConnected);
        };
        if !peer.connected() {
            return Err(EnetError::NotConnected);
        }
        // A client that opened fewer channels gets everything on the first.
        let channel = match usize::from(channel) < peer.channel_count() {
            true => channel,
            false => 0,
        };
        peer.send(channel, &Packet::new(bytes, kind))
            .map_err(|_| EnetError::Full)?;
        self.service(now);
        Ok(())
    }

    /// Ends a connection after what was sent has arrived.
    pub fn disconnect(&mut self, now: Timestamp, peer: Peer) {
        if let Some(peer) = self.host.get_peer_mut(PeerID(peer.0)) {
            peer.disconnect_later(0);
        }
        self.service(now);
    }

    /// Ends a connection at once; no event tells of it.
    pub fn drop_peer(&mut self, now: Timestamp, peer: Peer) {
        if let Some(peer) = self.host.get_peer_mut(PeerID(peer.0)) {
            peer.disconnect_now(0);
        }
        self.service(now);
    }

    fn service(&mut self, now: Timestamp) {
        // ENet's clock must not go back.
        self.clock_ns.fetch_max(now.as_ns(), Relaxed);
        self.serviced = self.serviced.max(now);
        let now = self.serviced;
        self.host.socket_mut().now = now;
        for (peer, echoes) in self.echoes.iter_mut().enumerate() {
            let peer = self.host.get_peer_mut(PeerID(peer));
            if let Some(peer) = peer.filter(|it| it.connected())
                && echoes.ping(now)
            {
                peer.ping();
            }
        }
        loop {
            let event = match self.host.service() {
                Ok(Some(event)) => event,
                Ok(None) => break,
                Err(never) => match never {},
            };
            let event = match event {
                Event::Connect { peer, data } => {
                    peer.set_timeout(0, SILENCE_MS / 2, SILENCE_MS);
                    self.echoes[peer.id().0] = Echoes::default();
                    peer.address().map(|from| EnetEvent::Connected {
                        peer: Peer(peer.id().0),
                        connect_data: data,
                        from,
                    })
                }
                Event::Disconnect { peer, .. } => Some(EnetEvent::Disconnected {
                    peer: Peer(peer.id().0),
                }),
                Event::Receive {
                    peer,
                    channel_id,
                    packet,
                } => Some(EnetEvent::Received {
                    peer: Peer(peer.id().0),
                    channel: channel_id,
                    bytes: packet.data().to_vec(),
                }),
            };
            self.events.extend(event);
        }
        self.is_busy = self
            .host
            .peers()
            .any(|peer| peer.state() != PeerState::Disconnected);
    }
}

/// ENet's socket: one datagram in, a queue out.
#[derive(Default)]
struct Pipe {
    incoming: Option<(SocketAddr, Vec<u8>)>,
    outgoing: VecDeque<Transmit>,
    overflowed: u64,
    /// When ENet looks around.
    now: Timestamp,
    sent: SentTimes,
}

/// There is nothing that can fail.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("never")]
enum Never {}

impl Socket for Pipe {
    type Address = SocketAddr;
    type Error = Never;

    fn send(&mut self, to: SocketAddr, buffer: &[u8]) -> Result<usize, Never> {
        self.sent.note(self.now, buffer);
        if self.outgoing.len() >= OUTGOING_MAX {
            self.overflowed += 1;
        } else {
            self.outgoing.push_back(Transmit {
                to,
                bytes: buffer.to_vec(),
            });
        }
        Ok(buffer.len())
    }

    fn receive(
        &mut self,
        buffer: &mut [u8; MTU_MAX],
    ) -> Result<Option<(SocketAddr, PacketReceived)>, Never> {
        let Some((from, bytes)) = self.incoming.take() else {
            return Ok(None);
        };
        // The screen keeps larger ones out.
        let length = bytes.len().min(MTU_MAX);
        buffer[..length].copy_from_slice(&bytes[..length]);
        Ok(Some((from, PacketReceived::Complete(length))))
    }
}
