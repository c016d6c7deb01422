//! A QUIC client that says whatever a test wants on the control stream, and hears the answer.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use net::identity::Identity;
use net::limits::CONTROL_BODY_BYTES_MAX;
use net::native::messages::Kind;
use net::native::pairing::{Binding, EXPORTER_BYTES, EXPORTER_LABEL};
use net::native::{Framer, Message};
use net::quic::{Link, PACKET_BYTES_MAX};
use net::udp::{Datagram, Receiver, Socket, SocketConfig, Wait};

use crate::PATIENCE;

/// The client. Nothing happens but inside its methods.
pub struct Stranger {
    socket: Socket,
    receiver: Receiver,
    link: Link,
    identity: Identity,
    framer: Framer,
    /// Every message that the host has sent, oldest first.
    pub heard: Vec<Message>,
    /// Media datagrams that the host has sent.
    pub media: usize,
}

impl Stranger {
    /// Begins a handshake: the Initial is sent, no answer is waited for.
    ///
    /// # Panics
    /// If there is no socket or no identity to be had.
    #[must_use]
    pub fn knock(host: SocketAddr) -> Self {
        Self::knock_as(host, Identity::generate().expect("an identity"))
    }

    /// The same with this certificate.
    ///
    /// # Panics
    /// If there is no socket to be had.
    #[must_use]
    pub fn knock_as(host: SocketAddr, identity: Identity) -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let socket = Socket::bind(any, SocketConfig::default()).expect("a port on loopback");
        let local = socket.local_addr().expect("a bound socket has an address");
        let link = Link::connect(&identity, local, host).expect("a connection to begin");
        let framer = Framer::new(|kind| Kind::from_wire(kind).is_some());
        let receiver = Receiver::new();
        let mut stranger = Self {
            socket,
            receiver,
            link,
            identity,
            framer,
            heard: Vec::new(),
            media: 0,
        };
        stranger.transmit();
        stranger
    }

    /// A connection whose handshake is done.
    ///
    /// # Panics
    /// If the host does not complete it.
    #[must_use]
    pub fn connect(host: SocketAddr) -> Self {
        Self::connect_as(host, Identity::generate().expect("an identity"))
    }

    /// The same with this certificate.
    ///
    /// # Panics
    /// If the host does not complete it.
    #[must_use]
    pub fn connect_as(host: SocketAddr, identity: Identity) -> Self {
        let mut stranger = Self::knock_as(host, identity);
        stranger.until("the handshake is done", |it| it.link.is_established());
        stranger
    }

    /// Says these bytes on the control stream.
    ///
    /// # Panics
    /// If the connection does not take them.
    pub fn say(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.link.is_closed() {
            rest = &rest[self.link.write(rest).unwrap_or(rest.len())..];
            self.turn(Duration::from_millis(1));
        }
        self.transmit();
    }

    /// Says a message.
    pub fn say_message(&mut self, message: &Message) {
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        self.say(&bytes);
    }

    /// Lives on until `is_so`.
    ///
    /// # Panics
    /// If it is not so within [`PATIENCE`].
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "not within {PATIENCE:?}: {what}; heard {:?}",
                self.heard
            );
            self.turn(left);
        }
    }

    /// What a pairing on this connection is bound to.
    ///
    /// # Panics
    /// Before the handshake is done.
    pub fn binding(&mut self) -> Binding {
        let mut channel = [0; EXPORTER_BYTES];
        self.link
            .export(EXPORTER_LABEL, &[], &mut channel)
            .expect("the handshake is done");
        Binding {
            client: self.identity.fingerprint(),
            host: self.link.peer_fingerprint().expect("a certificate"),
            channel,
        }
    }

    /// The host's refusal or end; lives on until it comes.
    pub fn verdict(&mut self) -> String {
        self.until("the host refuses or ends", |it| {
            it.is_closed() || it.judgement().is_some()
        });
        self.judgement().unwrap_or_else(|| self.link.close_reason())
    }

    /// Closes the connection without a farewell on the control stream.
    pub fn slam(mut self) {
        self.link.close("");
        self.transmit();
    }

    /// The connection is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.link.is_closed()
    }

    fn judgement(&self) -> Option<String> {
        self.heard.iter().find_map(|message| match message {
            Message::Refuse(refuse) => Some(refuse.text.clone()),
            Message::End(end) => Some(end.text.clone()),
            _ => None,
        })
    }

    /// One turn: send, wait for at most `limit`, receive, read.
    fn turn(&mut self, limit: Duration) {
        self.transmit();
        let wait = self.link.timeout().map_or(limit, |quic| quic.min(limit));
        self.receiver
            .recv(&self.socket, Wait::UpTo(wait))
            .expect("the socket works");
        for (datagram, from) in self.receiver.datagrams() {
            if datagram
                .first()
                .is_some_and(|&first| net::media::is_media(first))
            {
                self.media += 1;
            } else {
                self.link.receive(datagram, from);
            }
        }
        self.link.handle_timeout();
        let mut bytes = vec![0; CONTROL_BODY_BYTES_MAX];
        while let Ok(count @ 1..) = self.link.read(&mut bytes) {
            let mut rest = &bytes[..count];
            while let Some(raw) = self
                .framer
                .feed(&mut rest)
                .expect("the host keeps the protocol")
            {
                let kind = Kind::from_wire(raw.kind).expect("the framer skips unknown types");
                let message =
                    Message::parse(kind, raw.body).expect("the host sends valid messages");
                self.heard.push(message);
            }
        }
        self.transmit();
    }

    fn transmit(&mut self) {
        let mut packet = [0; PACKET_BYTES_MAX];
        while let Some((bytes, to)) = self.link.poll_transmit(&mut packet) {
            // QUIC repeats what is lost.
            let _ = self.socket.send_many(&[Datagram {
                to,
                bytes: &packet[..bytes],
            }]);
        }
    }
}
