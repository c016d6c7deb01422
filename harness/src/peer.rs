//! The far end of a pipeline under test: a socket that records every datagram, opens it and
//! puts the frames together.

use std::net::SocketAddr;
use std::time::Instant;

use net::clock;
use net::crypto::{Aead, EXPORTER_BYTES, MediaKeys, Opener, Sealer};
use net::media::{self, VideoHeader};
use net::packetize::{Packetizer, PacketizerConfig};
use net::reassemble::{AccessUnit, Event, Reassembler, ReassemblerConfig, ReassemblerStats};
use net::udp::{Receiver, Socket, SocketConfig, Wait};

use crate::PATIENCE;

/// A receiver of media that keeps what it got.
pub struct RecordingPeer {
    socket: Socket,
    receiver: Receiver,
    opener: Opener,
    reassembler: Reassembler,
    /// Header of every datagram that could be opened, in order of arrival.
    pub headers: Vec<VideoHeader>,
    /// Datagrams that could not.
    pub not_opened: usize,
}

impl RecordingPeer {
    /// A peer on loopback that opens what [`packetizer`] seals.
    ///
    /// # Panics
    /// If loopback has no port left.
    #[must_use]
    pub fn new() -> Self {
        let any = "127.0.0.1:0".parse().expect("an address");
        Self {
            socket: Socket::bind(any, SocketConfig::default()).expect("a port on loopback"),
            receiver: Receiver::new(),
            opener: Opener::new(keys()),
            reassembler: Reassembler::new(ReassemblerConfig::default()),
            headers: Vec::new(),
            not_opened: 0,
        }
    }

    /// Where to send to.
    ///
    /// # Panics
    /// Never: the socket is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.socket
            .local_addr()
            .expect("a bound socket has an address")
    }

    /// The next whole frame, skipping lost ones.
    ///
    /// # Panics
    /// If none comes within [`PATIENCE`].
    pub fn next_unit(&mut self) -> AccessUnit {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(event) = self.reassembler.poll(clock::now()) {
                if let Event::Frame(unit) = event {
                    return unit;
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no whole frame came within {PATIENCE:?}");
            self.receive(left);
        }
    }

    /// Counts of the reassembler.
    #[must_use]
    pub fn stats(&self) -> ReassemblerStats {
        self.reassembler.stats()
    }

    fn receive(&mut self, limit: std::time::Duration) {
        let own = self
            .reassembler
            .poll_timeout()
            .map(|at| at.since(clock::now()));
        let wait = Wait::UpTo(own.map_or(limit, |own| own.min(limit)));
        self.receiver
            .recv(&self.socket, wait)
            .expect("the socket works");
        let now = clock::now();
        for (datagram, _from) in self.receiver.datagrams() {
            match media::open_video(&mut self.opener, datagram) {
                Ok((header, shard)) => {
                    self.reassembler.handle(now, &header, shard);
                    self.headers.push(header);
                }
                Err(_) => self.not_opened += 1,
            }
        }
    }
}

impl Default for RecordingPeer {
    fn default() -> Self {
        Self::new()
    }
}

/// A packetizer with keys that [`RecordingPeer`] knows.
#[must_use]
pub fn packetizer(config: PacketizerConfig) -> Packetizer {
    Packetizer::new(Sealer::new(keys()), config)
}

/// Secret to nobody.
fn keys() -> MediaKeys {
    MediaKeys::from_exporter(Aead::Aes128Gcm, &mut [7; EXPORTER_BYTES])
}
