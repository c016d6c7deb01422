//! Pairs with a host: one connection, one PIN, one try. It runs on the caller's thread, within the
//! time limits of [`crate::native::StepLimits`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::clock;
use crate::identity::{Fingerprint, Identity};
use crate::limits::CONTROL_BODY_BYTES_MAX;
use crate::media;
use crate::native::pairing::{
    Binding, EXPORTER_BYTES, EXPORTER_LABEL, Entropy, PairingError, PairingEvent, PairingSession,
    Pin,
};
use crate::native::{EndReason, RefuseCode, StepLimits};
use crate::quic::{Link, PACKET_BYTES_MAX, QuicError};
use crate::udp::{Datagram, Receiver, Socket, SocketConfig, Wait};

/// Nothing is due for longer.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// With whom to pair.
#[derive(Clone, Debug)]
pub struct PairOptions {
    /// The host's address.
    pub host: SocketAddr,
    /// Who we are.
    pub identity: Identity,
    /// What the host shows.
    pub pin: Pin,
    /// What we shall be called there.
    pub name: String,
}

/// Host and client know each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paired {
    /// The host, to be pinned: it has shown that it knows the PIN and this certificate's key.
    pub fingerprint: Fingerprint,
    /// What it calls itself.
    pub host_name: String,
}

/// They do not.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// The system refused a socket.
    #[error("the connection cannot be set up: {0}")]
    System(#[from] std::io::Error),
    /// QUIC could not be set up.
    #[error("the connection cannot be set up: {0}")]
    Quic(#[from] QuicError),
    /// Nobody answers, or somebody who does not speak the protocol.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Which host.
        host: SocketAddr,
        /// What happened.
        reason: String,
    },
    /// It refused.
    #[error("the host refused: {text}")]
    Refused {
        /// For programs.
        code: RefuseCode,
        /// For people.
        text: String,
    },
    /// It does not know the PIN.
    #[error(transparent)]
    Failed(#[from] PairingError),
}

/// Pairs, with whoever answers and proves that it knows the PIN.
///
/// # Errors
/// See [`PairError`].
pub fn pair(options: PairOptions) -> Result<Paired, PairError> {
    let socket = Socket::bind(any_port(options.host), SocketConfig::default())?;
    let local = socket.local_addr()?;
    let link = Link::connect(&options.identity, local, options.host)?;
    let limits = StepLimits::default();
    let session = PairingSession::new(clock::now(), limits, options.pin, options.name);
    let pairing = Pairing {
        host: options.host,
        client: options.identity.fingerprint(),
        found: None,
        socket,
        link,
        session,
    };
    pairing.run()
}

/// Where to bind for speaking to `host`: loopback to loopback, else every address.
pub(super) fn any_port(host: SocketAddr) -> SocketAddr {
    let any: IpAddr = match host {
        SocketAddr::V4(host) if host.ip().is_loopback() => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(host) if host.ip().is_loopback() => Ipv6Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(any, 0)
}

struct Pairing {
    host: SocketAddr,
    client: Fingerprint,
    /// The host's certificate, once it was seen.
    found: Option<Fingerprint>,
    socket: Socket,
    link: Link,
    session: PairingSession,
}

impl Pairing {
    /// Wait, take datagrams, let time pass, answer, until there is an end.
    fn run(mut self) -> Result<Paired, PairError> {
        let mut receiver = Receiver::new();
        let mut scratch = vec![0; CONTROL_BODY_BYTES_MAX].into_boxed_slice();
        self.transmit();
        let event = loop {
            receiver.recv(&self.socket, Wait::UpTo(self.timeout()))?;
            for (datagram, from) in receiver.datagrams() {
                if datagram
                    .first()
                    .is_some_and(|&first| !media::is_media(first))
                {
                    self.link.receive(datagram, from);
                }
            }
            self.link.handle_timeout();
            if self.link.is_closed() {
                self.session.handle_closed();
            } else {
                self.control(&mut scratch)?;
            }
            self.transmit();
            if let Some(event) = self.session.poll_event() {
                break event;
            }
        };
        let reason = self.link.close_reason();
        self.link.close("the pairing is over");
        self.transmit();
        self.conclude(event, &reason)
    }

    fn timeout(&self) -> Duration {
        let now = clock::now();
        let own = self.session.poll_timeout().map(|at| at.since(now));
        let due = [own, self.link.timeout()].into_iter().flatten().min();
        due.map_or(WAIT_MAX, |due| due.min(WAIT_MAX))
    }

    fn control(&mut self, scratch: &mut [u8]) -> Result<(), PairError> {
        let now = clock::now();
        if self.link.is_established() && self.found.is_none() {
            self.begin()?;
        }
        loop {
            match self.link.read(scratch) {
                Ok(0) => break,
                Ok(bytes) => self.session.handle_stream(now, &scratch[..bytes]),
                Err(_) => {
                    self.session.handle_closed();
                    break;
                }
            }
        }
        self.session.handle_timeout(now);
        while let Some(bytes) = self.session.poll_transmit() {
            match self.link.write(bytes) {
                Ok(0) => break,
                Ok(taken) => self.session.consumed(taken),
                Err(_) => {
                    self.session.handle_closed();
                    break;
                }
            }
        }
        Ok(())
    }

    /// The connection stands: who is at its other end?
    fn begin(&mut self) -> Result<(), PairError> {
        let Some(host) = self.link.peer_fingerprint() else {
            return Err(PairError::Unreachable {
                host: self.host,
                reason: "it has shown no certificate".to_owned(),
            });
        };
        self.found = Some(host);
        let mut channel = [0; EXPORTER_BYTES];
        self.link.export(EXPORTER_LABEL, &[], &mut channel)?;
        let binding = Binding {
            client: self.client,
            host,
            channel,
        };
        let mut entropy: Entropy = Zeroizing::new([0; 48]);
        boring::rand::rand_bytes(&mut *entropy).map_err(QuicError::from)?;
        self.session
            .handle_connected(clock::now(), binding, &entropy);
        Ok(())
    }

    fn transmit(&mut self) {
        let mut packet = [0; PACKET_BYTES_MAX];
        while let Some((bytes, to)) = self.link.poll_transmit(&mut packet) {
            let bytes = &packet[..bytes];
            if let Err(error) = self.socket.send_many(&[Datagram { to, bytes }]) {
                // QUIC repeats what matters, and gives up by time.
                log::debug!("sending to {to}: {error}");
            }
        }
    }

    fn conclude(self, event: PairingEvent, closed: &str) -> Result<Paired, PairError> {
        let host = self.host;
        match event {
            PairingEvent::Paired { host_name } => Ok(Paired {
                fingerprint: self.found.expect("it began with it"),
                host_name,
            }),
            PairingEvent::Refused(refuse) => Err(PairError::Refused {
                code: refuse.code,
                text: refuse.text,
            }),
            PairingEvent::Failed(error) => Err(error.into()),
            PairingEvent::Ended(end) => {
                let reason = match end.reason {
                    EndReason::Disconnected => format!("{}: {closed}", end.text),
                    _ => end.text,
                };
                Err(PairError::Unreachable { host, reason })
            }
        }
    }
}
