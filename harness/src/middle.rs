//! A man in the middle: to the client he is a host, to the host a client, with certificates of his
//! own, and all that is said on the control stream he hands on as it is.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use net::identity::Identity;
use net::limits::CONTROL_BODY_BYTES_MAX;
use net::quic::{Endpoint, Link, PACKET_BYTES_MAX};
use net::udp::{Datagram, Receiver, Socket, SocketConfig, Wait};

use crate::PATIENCE;

/// How long one of his ears waits before the other gets its turn.
const TURN: Duration = Duration::from_millis(1);

/// He, between one client and a host.
pub struct Middle {
    address: SocketAddr,
    thread: JoinHandle<Overheard>,
}

/// What he learned.
#[derive(Debug, Default)]
pub struct Overheard {
    /// All that the client said.
    pub client: Vec<u8>,
    /// All that the host said.
    pub host: Vec<u8>,
}

impl Middle {
    /// Waits for a client, on a thread of his own.
    ///
    /// # Panics
    /// If there is no socket, identity or thread to be had.
    #[must_use]
    pub fn start(host: SocketAddr) -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let bind = || Socket::bind(any, SocketConfig::default()).expect("a port on loopback");
        let (to_client, to_host) = (bind(), bind());
        let address = to_client.local_addr().expect("bound");
        let local = to_host.local_addr().expect("bound");
        let identity = || Identity::generate().expect("an identity");
        let endpoint = Endpoint::new(&identity(), address).expect("an endpoint");
        let link = Link::connect(&identity(), local, host).expect("a connection to begin");
        let thread = std::thread::spawn(move || {
            Relay {
                endpoint,
                to_client,
                link,
                to_host,
                overheard: Overheard::default(),
                passed: (0, 0),
            }
            .run()
        });
        Self { address, thread }
    }

    /// Where he says that the host is.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the client has gone.
    ///
    /// # Panics
    /// If none came, or it did not go within [`PATIENCE`].
    #[must_use]
    pub fn overheard(self) -> Overheard {
        self.thread.join().expect("he does not panic")
    }
}

struct Relay {
    endpoint: Endpoint,
    to_client: Socket,
    link: Link,
    to_host: Socket,
    overheard: Overheard,
    /// Bytes handed on: of the client's words, of the host's.
    passed: (usize, usize),
}

impl Relay {
    fn run(mut self) -> Overheard {
        let (mut from_client, mut from_host) = (Receiver::new(), Receiver::new());
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no client came and went");
            let works = "the socket works";
            from_client
                .recv(&self.to_client, Wait::UpTo(TURN))
                .expect(works);
            for (datagram, from) in from_client.datagrams() {
                self.endpoint.receive(datagram, from);
            }
            from_host
                .recv(&self.to_host, Wait::UpTo(TURN))
                .expect(works);
            for (datagram, from) in from_host.datagrams() {
                self.link.receive(datagram, from);
            }
            self.endpoint.handle_timeout();
            self.link.handle_timeout();
            self.hand_on();
            self.transmit();
            if !self.endpoint.reap().is_empty() {
                self.link.close("");
                self.transmit();
                return self.overheard;
            }
        }
    }

    fn hand_on(&mut self) {
        let Some(id) = self.endpoint.link_ids().next() else {
            return;
        };
        let Some(client) = self.endpoint.link(id) else {
            return;
        };
        let mut bytes = vec![0; CONTROL_BODY_BYTES_MAX];
        while let Ok(count @ 1..) = client.read(&mut bytes) {
            self.overheard.client.extend_from_slice(&bytes[..count]);
        }
        while let Ok(count @ 1..) = self.link.read(&mut bytes) {
            self.overheard.host.extend_from_slice(&bytes[..count]);
        }
        let (to_host, to_client) = &mut self.passed;
        if self.link.is_established() && *to_host < self.overheard.client.len() {
            *to_host += self
                .link
                .write(&self.overheard.client[*to_host..])
                .unwrap_or(0);
        }
        if *to_client < self.overheard.host.len() {
            *to_client += client
                .write(&self.overheard.host[*to_client..])
                .unwrap_or(0);
        }
    }

    fn transmit(&mut self) {
        let mut packet = [0; PACKET_BYTES_MAX];
        while let Some((count, to)) = self.endpoint.poll_transmit(&mut packet) {
            let bytes = &packet[..count];
            // QUIC repeats what is lost.
            let _ = self.to_client.send_many(&[Datagram { to, bytes }]);
        }
        while let Some((count, to)) = self.link.poll_transmit(&mut packet) {
            let bytes = &packet[..count];
            let _ = self.to_host.send_many(&[Datagram { to, bytes }]);
        }
    }
}
