//! GameStream's control side: HTTP and HTTPS for stock Moonlight clients, pairing, the set of
//! paired clients, discovery. Streams come through [`sessions::Sessions`].
//!
//! Everything is relative to one base port, 47989 where clients look first.

mod answers;
pub mod broker;
mod connection;
mod control;
mod discovery;
mod http;
pub mod media;
pub mod paired;
mod rtsp;
mod session;
pub mod sessions;
mod sound;
mod streams;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::net::TcpListener;
use mio::{Poll, Waker};
use net::gamestream::nvhttp::{CodecModes, HostFacts};
use net::gamestream::pairing::{PairingEnd, PairingId, Pairings, Pin, PinError};
use net::identity::Fingerprint;
use net::units::SliceCount;
use platform::thread::{Role, RoleThread};

use crate::apps::Apps;
use crate::mgmt::{Management, ManagementError, Operators};
use crate::trust::native::NativeTrust;
use crate::trust::{Store, TrustError};

use discovery::Announcement;
use paired::{PairedClient, PairedClients};
use sessions::Sessions;

/// Where clients look for a host.
pub const DEFAULT_BASE_PORT: u16 = 47_989;
/// Commands that wait for the HTTP thread; an operator has one, scripts a few. More are refused.
const COMMANDS: usize = 16;
/// The HTTP thread waits for nobody.
const JOIN_TIMEOUT: Duration = Duration::from_millis(500);
/// It answers commands between two events; some of them wait for a disk, which may be busy.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// After the PIN a client needs four round trips and some RSA.
const PAIRING_TIMEOUT: Duration = Duration::from_secs(5);

/// All ports, from the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports(u16);

impl Ports {
    /// `None` if one of them would be below 1024, which only root may have, or above 65535.
    #[must_use]
    pub const fn new(base: u16) -> Option<Self> {
        if base >= 1024 + 5 && base <= u16::MAX - 21 {
            Some(Self(base))
        } else {
            None
        }
    }

    /// HTTP: the base itself.
    #[must_use]
    pub const fn http(self) -> u16 {
        self.0
    }

    /// HTTPS.
    #[must_use]
    pub const fn https(self) -> u16 {
        self.0 - 5
    }

    /// Our own management calls, on loopback; no client knows it.
    #[must_use]
    pub const fn management(self) -> u16 {
        self.0 + 1
    }

    /// Video, UDP.
    #[must_use]
    pub const fn video(self) -> u16 {
        self.0 + 9
    }

    /// Control, ENet over UDP.
    #[must_use]
    pub const fn control(self) -> u16 {
        self.0 + 10
    }

    /// Sound, UDP.
    #[must_use]
    pub const fn audio(self) -> u16 {
        self.0 + 11
    }

    /// RTSP, TCP.
    #[must_use]
    pub const fn rtsp(self) -> u16 {
        self.0 + 21
    }
}

/// Settings.
#[derive(Clone, Debug)]
pub struct GameStreamConfig {
    /// Address to listen on; `None` is every address.
    pub bind: Option<IpAddr>,
    /// Where everything is.
    pub ports: Ports,
    /// What clients see as this host's name.
    pub name: String,
    /// `apps.json`, which need not be there.
    pub apps: Option<PathBuf>,
}

/// GameStream could not be started. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum GameStreamError {
    /// An address cannot be bound.
    #[error("{address} (tcp, for GameStream) cannot be listened on: {source}{}", hint(.source))]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A UDP address cannot be bound.
    #[error("{address} (udp, for GameStream) cannot be listened on: {source}{hint}")]
    BindUdp {
        /// Which address.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// The state directory cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up for GameStream: {0}")]
    Tls(#[from] boring::error::ErrorStack),
    /// A thread cannot be started.
    #[error("GameStream's thread cannot be started: {0}")]
    Thread(std::io::Error),
    /// The management calls cannot be served.
    #[error(transparent)]
    Management(#[from] ManagementError),
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse => {
            "; another host (Sunshine, perhaps) may be running: stop it, or choose other ports \
             with --gamestream-port"
        }
        ErrorKind::AddrNotAvailable => "; it is not an address of this machine",
        _ => "",
    }
}

/// A pairing that waits for its PIN, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingView {
    /// Its number.
    pub id: PairingId,
    /// Where the client is.
    pub address: IpAddr,
    /// Its certificate.
    pub fingerprint: Fingerprint,
    /// For how long it has been waiting, seconds.
    pub waits_s: u64,
}

/// A paired client, as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientView {
    /// Its certificate.
    pub fingerprint: Fingerprint,
    /// What the operator calls it.
    pub name: String,
    /// When it was paired, seconds since 1970.
    pub paired_at_unix_s: u64,
    /// Slices of each picture for it; `None` leaves them to the client.
    pub slices: Option<SliceCount>,
}

impl From<&PairedClient> for ClientView {
    fn from(client: &PairedClient) -> Self {
        Self {
            fingerprint: client.certificate.fingerprint(),
            name: client.name.clone(),
            paired_at_unix_s: client.paired_at_unix_s,
            slices: client.slices,
        }
    }
}

/// A PIN was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinTaken {
    /// By which pairing.
    pub id: PairingId,
    /// How it ended; `None` if the client is still busy with it.
    pub end: Option<PairingEnd>,
}

/// An operator's wish was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The PIN cannot be used.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The state directory cannot be written.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The host is stopping, or too busy.
    #[error("the host does not answer; it may be stopping")]
    NoAnswer,
}

/// What the HTTP thread is told.
enum Command {
    Stop,
    Waiting(Sender<Vec<PairingView>>),
    Clients(Sender<Vec<ClientView>>),
    EnterPin {
        id: Option<PairingId>,
        pin: Pin,
        name: Option<String>,
        entered: Sender<Result<PairingId, PinError>>,
        end: Sender<PairingEnd>,
    },
    Unpair {
        client: Fingerprint,
        reply: Sender<Result<bool, TrustError>>,
    },
    SetSlices {
        client: Fingerprint,
        slices: Option<SliceCount>,
        reply: Sender<Result<bool, TrustError>>,
    },
}

/// The operator's side of a running host: what its management calls do.
#[derive(Clone)]
pub struct Operator {
    commands: Sender<Command>,
    waker: Arc<Waker>,
}

impl Operator {
    /// Pairings that wait for a PIN.
    ///
    /// # Errors
    /// [`OperatorError::NoAnswer`].
    pub fn waiting(&self) -> Result<Vec<PairingView>, OperatorError> {
        let (reply, answer) = bounded(1);
        self.ask(Command::Waiting(reply), &answer)
    }

    /// The paired clients.
    ///
    /// # Errors
    /// [`OperatorError::NoAnswer`].
    pub fn clients(&self) -> Result<Vec<ClientView>, OperatorError> {
        let (reply, answer) = bounded(1);
        self.ask(Command::Clients(reply), &answer)
    }

    /// Gives a PIN to the pairing `id`, or to the only one that waits, and waits for what becomes
    /// of it, some seconds at most. `name` is what the client shall be called.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn enter_pin(
        &self,
        id: Option<PairingId>,
        pin: Pin,
        name: Option<String>,
    ) -> Result<PinTaken, OperatorError> {
        let (entered, answer) = bounded(1);
        let (end, ended) = bounded(1);
        let command = Command::EnterPin {
            id,
            pin,
            name,
            entered,
            end,
        };
        let id = self.ask(command, &answer)??;
        let end = ended.recv_timeout(PAIRING_TIMEOUT).ok();
        Ok(PinTaken { id, end })
    }

    /// Forgets a client and ends its session. False if it was not paired.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn unpair(&self, client: Fingerprint) -> Result<bool, OperatorError> {
        let (reply, answer) = bounded(1);
        Ok(self.ask(Command::Unpair { client, reply }, &answer)??)
    }

    /// Sets the slices of each picture that this client gets from its next stream on; `None` leaves
    /// them to the client. False if it is not paired.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub fn set_slices(
        &self,
        client: Fingerprint,
        slices: Option<SliceCount>,
    ) -> Result<bool, OperatorError> {
        let (reply, answer) = bounded(1);
        let command = Command::SetSlices {
            client,
            slices,
            reply,
        };
        Ok(self.ask(command, &answer)??)
    }

    fn ask<T>(&self, command: Command, answer: &Receiver<T>) -> Result<T, OperatorError> {
        self.commands
            .try_send(command)
            .map_err(|_| OperatorError::NoAnswer)?;
        self.waker.wake().map_err(|_| OperatorError::NoAnswer)?;
        answer
            .recv_timeout(COMMAND_TIMEOUT)
            .map_err(|_| OperatorError::NoAnswer)
    }
}

/// GameStream, running. Dropping it ends it; sessions are the broker's.
pub struct GameStream {
    operator: Operator,
    management: Management,
    announcement: Option<Announcement>,
    thread: Option<RoleThread<()>>,
    ports: Ports,
}

impl GameStream {
    /// Starts everything: identity, listeners, thread, management calls, discovery.
    ///
    /// # Errors
    /// See [`GameStreamError`].
    pub fn start(
        config: GameStreamConfig,
        store: &Store,
        codecs: CodecModes,
        sessions: Arc<dyn Sessions>,
        native: Arc<NativeTrust>,
    ) -> Result<Self, GameStreamError> {
        let ports = config.ports;
        // The listeners before what is ours alone: a second host on these ports ends here.
        let http = listen(config.bind, ports.http())?;
        let https = listen(config.bind, ports.https())?;
        let identity = store.gamestream_identity()?;
        let tls = connection::tls_context(&identity)?;
        // As lasting as the identity that clients pin.
        let fingerprint = Fingerprint::of(identity.certificate())?;
        let unique_id = unique_id(fingerprint);
        let paired = PairedClients::open(store)?;

        let poll = Poll::new().map_err(GameStreamError::Thread)?;
        let waker = Waker::new(poll.registry(), http::WAKE).map_err(GameStreamError::Thread)?;
        let waker = Arc::new(waker);
        let (commands_in, commands) = bounded(COMMANDS);
        let operator = Operator {
            commands: commands_in,
            waker: Arc::clone(&waker),
        };
        let operators = Operators {
            native,
            gamestream: Some(operator.clone()),
        };
        let management = Management::start(ports.management(), store, operators)?;
        let server = http::Server::new(http::Parts {
            http,
            https,
            tls,
            pairings: Pairings::new(identity),
            paired,
            apps: Apps::open(config.apps),
            facts: HostFacts {
                name: config.name.clone(),
                unique_id: unique_id.clone(),
                http_port: ports.http(),
                https_port: ports.https(),
                codecs,
                mac: discovery::hardware_address(),
            },
            ports,
            sessions,
            commands,
            waker,
        });
        let thread = platform::thread::spawn(Role::Control, "pf-gs-http", move || server.run(poll))
            .map_err(GameStreamError::Thread)?;
        let announcement = Announcement::start(&config.name, &unique_id, config.bind, ports.http());
        Ok(Self {
            operator,
            management,
            announcement,
            thread: Some(thread),
            ports,
        })
    }

    /// Where everything is.
    #[must_use]
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// The operator's side.
    #[must_use]
    pub const fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Where an operator can enter a PIN with a browser. It holds the token: for the operator
    /// alone.
    #[must_use]
    pub fn page(&self) -> String {
        self.management.page()
    }

    /// Clients find it by themselves.
    #[must_use]
    pub const fn is_announced(&self) -> bool {
        self.announcement.is_some()
    }

    /// True if the thread has ended although nobody asked it to.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(RoleThread::is_finished)
    }
}

impl Drop for GameStream {
    fn drop(&mut self) {
        self.announcement = None;
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A full queue is emptied within a turn of the thread.
        let stop = Command::Stop;
        let _ = self.operator.commands.send_timeout(stop, JOIN_TIMEOUT);
        let _ = self.operator.waker.wake();
        if let Err(error) = thread.join_within(JOIN_TIMEOUT) {
            log::error!("{error}");
        }
    }
}

/// Listens on an address, or on all: over both families where there is IPv6.
fn listen(bind: Option<IpAddr>, port: u16) -> Result<TcpListener, GameStreamError> {
    let try_one = |ip: IpAddr| {
        let address = SocketAddr::new(ip, port);
        TcpListener::bind(address).map_err(|source| GameStreamError::Bind { address, source })
    };
    match bind {
        Some(ip) => try_one(ip),
        None => match try_one(Ipv6Addr::UNSPECIFIED.into()) {
            Err(GameStreamError::Bind { source, .. }) if source.kind() != ErrorKind::AddrInUse => {
                try_one(Ipv4Addr::UNSPECIFIED.into())
            }
            result => result,
        },
    }
}

/// A UUID's form; clients compare it as text.
fn unique_id(fingerprint: Fingerprint) -> String {
    let hex = fingerprint.to_string().to_uppercase();
    let part = |from: usize, to: usize| &hex[from..to];
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

/// For tests of what lies above.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// An operator whose host is not there.
    pub(crate) fn nobody() -> Operator {
        let poll = Poll::new().expect("a poll");
        let waker = Waker::new(poll.registry(), http::WAKE).expect("a waker");
        Operator {
            commands: bounded(COMMANDS).0,
            waker: Arc::new(waker),
        }
    }
}
