//! A host that completes handshakes and does nothing but write down what clients say.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Instant;

use net::identity::{Fingerprint, Identity};
use net::limits::CONTROL_BODY_BYTES_MAX;
use net::quic::{Endpoint, PACKET_BYTES_MAX};
use net::udp::{Datagram, Receiver, Socket, SocketConfig, Wait};

use crate::PATIENCE;

/// A host for one client.
pub struct StubHost {
    address: SocketAddr,
    fingerprint: Fingerprint,
    thread: JoinHandle<Heard>,
}

/// What the client did.
#[derive(Debug, Default)]
pub struct Heard {
    /// The handshake was completed.
    pub established: bool,
    /// Everything that came on the control stream.
    pub said: Vec<u8>,
    /// Why the connection ended.
    pub closed: Option<String>,
}

impl StubHost {
    /// Waits for a client, on a thread of its own.
    ///
    /// # Panics
    /// If there is no socket, identity or thread to be had.
    #[must_use]
    pub fn start() -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let socket = Socket::bind(any, SocketConfig::default()).expect("a port on loopback");
        let address = socket.local_addr().expect("a bound socket has an address");
        let identity = Identity::generate().expect("an identity");
        let fingerprint = identity.fingerprint();
        let endpoint = Endpoint::new(&identity, address).expect("an endpoint");
        let thread = std::thread::spawn(move || serve(endpoint, &socket));
        Self {
            address,
            fingerprint,
            thread,
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client may pin.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Waits until the client has closed its connection.
    ///
    /// # Panics
    /// If none came, or it did not close within [`PATIENCE`].
    #[must_use]
    pub fn heard(self) -> Heard {
        self.thread.join().expect("the stub host does not panic")
    }
}

fn serve(mut endpoint: Endpoint, socket: &Socket) -> Heard {
    let mut heard = Heard::default();
    let mut receiver = Receiver::new();
    let mut bytes = vec![0; CONTROL_BODY_BYTES_MAX];
    let deadline = Instant::now() + PATIENCE;
    while heard.closed.is_none() {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(
            !left.is_zero(),
            "no client came and went within {PATIENCE:?}"
        );
        let wait = endpoint.timeout().map_or(left, |quic| quic.min(left));
        receiver
            .recv(socket, Wait::UpTo(wait))
            .expect("the socket works");
        for (datagram, from) in receiver.datagrams() {
            endpoint.receive(datagram, from);
        }
        endpoint.handle_timeout();
        let ids: Vec<_> = endpoint.link_ids().collect();
        for link in ids {
            let Some(link) = endpoint.link(link) else {
                continue;
            };
            heard.established |= link.is_established();
            while let Ok(count @ 1..) = link.read(&mut bytes) {
                heard.said.extend_from_slice(&bytes[..count]);
            }
        }
        let mut packet = [0; PACKET_BYTES_MAX];
        while let Some((count, to)) = endpoint.poll_transmit(&mut packet) {
            // QUIC repeats what is lost.
            let _ = socket.send_many(&[Datagram {
                to,
                bytes: &packet[..count],
            }]);
        }
        if let Some((_, reason)) = endpoint.reap().pop() {
            heard.closed = Some(reason);
        }
    }
    heard
}
