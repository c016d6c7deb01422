//! A client that goes as far into a session as it is told and leaves without a word: no farewell,
//! no close, its socket is just gone, as of a program that was killed or a machine that fell off
//! the network.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use net::identity::Identity;
use net::limits::CONTROL_BODY_BYTES_MAX;
use net::media::is_media;
use net::native::messages::Kind;
use net::native::{Framer, Hello, Message, RefuseCode};
use net::quic::{Link, PACKET_BYTES_MAX};
use net::udp::{Datagram, Receiver, Socket, SocketConfig, Wait};

/// For each step.
const PATIENCE: Duration = Duration::from_secs(30);
/// Media datagrams of a session that streams.
const MEDIA: usize = 8;

/// How far it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Depth {
    /// Its first packet is sent, no answer is read.
    Knock,
    /// The host's first answer is read, ours is not sent.
    Handshake,
    /// The host has agreed to a session, whose display stands.
    Welcome,
    /// Media comes.
    Stream,
}

/// How it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Without a word.
    Silent,
    /// QUIC is closed, and nothing is said on the control stream.
    Close,
}

/// It did not come so far.
#[derive(Debug, thiserror::Error)]
pub(super) enum MuteError {
    /// Every place is taken for now.
    #[error("the host is full")]
    Full,
    /// Something else.
    #[error("{0}")]
    Other(String),
}

impl MuteError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self::Other(error.to_string())
    }
}

/// Goes so far and leaves.
pub(super) fn visit(
    host: SocketAddr,
    hello: Hello,
    depth: Depth,
    leave: Leave,
) -> Result<(), MuteError> {
    let mut mute = Mute::knock(host)?;
    if depth == Depth::Handshake {
        mute.read_one()?;
    }
    if depth >= Depth::Welcome {
        mute.until("the handshake", |it| it.link.is_established())?;
        mute.say(&Message::Hello(hello));
        mute.until("a Welcome", |it| it.welcomed)?;
    }
    if depth == Depth::Stream {
        mute.say(&Message::Start);
        mute.until("media", |it| it.media >= MEDIA)?;
    }
    if leave == Leave::Close {
        mute.link.close("");
        mute.transmit();
    }
    Ok(())
}

struct Mute {
    socket: Socket,
    receiver: Receiver,
    link: Link,
    framer: Framer,
    outbox: Vec<u8>,
    welcomed: bool,
    refused: Option<(RefuseCode, String)>,
    media: usize,
}

impl Mute {
    fn knock(host: SocketAddr) -> Result<Self, MuteError> {
        let identity = Identity::generate().map_err(MuteError::of)?;
        let any = SocketAddr::new(host.ip(), 0);
        let socket = Socket::bind(any, SocketConfig::default()).map_err(MuteError::of)?;
        let local = socket.local_addr().map_err(MuteError::of)?;
        let link = Link::connect(&identity, local, host).map_err(MuteError::of)?;
        let mut mute = Self {
            socket,
            receiver: Receiver::new(),
            link,
            framer: Framer::new(|kind| Kind::from_wire(kind).is_some()),
            outbox: Vec::new(),
            welcomed: false,
            refused: None,
            media: 0,
        };
        mute.transmit();
        Ok(mute)
    }

    fn say(&mut self, message: &Message) {
        message.write(&mut self.outbox);
    }

    /// Waits for a datagram and answers nothing.
    fn read_one(&mut self) -> Result<(), MuteError> {
        let wait = Wait::UpTo(PATIENCE);
        self.receiver
            .recv(&self.socket, wait)
            .map_err(MuteError::of)?;
        Ok(())
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<(), MuteError> {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            if let Some((code, text)) = self.refused.take() {
                return Err(match code {
                    RefuseCode::Busy => MuteError::Full,
                    _ => MuteError::Other(text),
                });
            }
            if self.link.is_closed() {
                return Err(MuteError::Full);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(MuteError::Other(format!("not within {PATIENCE:?}: {what}")));
            }
            self.turn(left)?;
        }
        Ok(())
    }

    fn turn(&mut self, limit: Duration) -> Result<(), MuteError> {
        if self.link.is_established() && !self.outbox.is_empty() {
            let taken = self.link.write(&self.outbox).map_err(MuteError::of)?;
            self.outbox.drain(..taken);
        }
        self.transmit();
        let wait = self.link.timeout().map_or(limit, |quic| quic.min(limit));
        self.receiver
            .recv(&self.socket, Wait::UpTo(wait))
            .map_err(MuteError::of)?;
        for (datagram, from) in self.receiver.datagrams() {
            match datagram.first() {
                Some(&first) if is_media(first) => self.media += 1,
                _ => self.link.receive(datagram, from),
            }
        }
        self.link.handle_timeout();
        let mut bytes = vec![0; CONTROL_BODY_BYTES_MAX];
        while let Ok(count @ 1..) = self.link.read(&mut bytes) {
            let mut rest = &bytes[..count];
            while let Some(raw) = self.framer.feed(&mut rest).map_err(MuteError::of)? {
                let Some(kind) = Kind::from_wire(raw.kind) else {
                    continue;
                };
                match Message::parse(kind, raw.body).map_err(MuteError::of)? {
                    Message::Welcome(_) => self.welcomed = true,
                    Message::Refuse(refuse) => self.refused = Some((refuse.code, refuse.text)),
                    _ => {}
                }
            }
        }
        self.transmit();
        Ok(())
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
