//! The thread that streams to stock clients, seen from outside: the broker between the HTTP side
//! and the sessions.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam::channel::{Sender, TrySendError, bounded};
use mio::{Poll, Waker};
use net::gamestream::nvhttp::{AppId, LaunchRequest, ResumeRequest};
use net::identity::Fingerprint;
use net::udp::{Socket, SocketConfig};
use platform::thread::{Role, RoleThread};

use super::sessions::{Client, Granted, Reply, SessionError, Sessions};
use super::streams::{self, StreamHost};
use super::{GameStreamError, Ports, hint, listen};
use crate::apps::App;
use crate::config::HostConfig;
use crate::host::Registry;
use crate::session::Backends;

/// Requests of the HTTP side that wait; it has no more connections than ask at once.
const ASKS: usize = super::http::CONNECTIONS_MAX;
/// The sessions' common limit ([`crate::session::JOIN_TIMEOUT`]) and the farewell take no longer.
const JOIN_TIMEOUT: Duration = Duration::from_millis(1900);

/// What the HTTP side wants.
pub(super) enum Ask {
    /// Start an application on a display of its own.
    Launch {
        /// Who.
        client: Client,
        /// What.
        app: Box<App>,
        /// How.
        request: Box<LaunchRequest>,
        /// The answer.
        reply: Reply<Granted>,
    },
    /// Go on.
    Resume {
        /// Who.
        client: Client,
        /// How.
        request: Box<ResumeRequest>,
        /// The answer.
        reply: Reply<Granted>,
    },
    /// End.
    Cancel {
        /// Whose.
        client: Fingerprint,
        /// The answer.
        reply: Reply<()>,
    },
    /// End everything.
    Stop,
}

/// Which client's session runs what, for whoever asks from another thread.
#[derive(Debug, Default)]
pub(super) struct Running(Mutex<BTreeMap<Fingerprint, AppId>>);

impl Running {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Fingerprint, AppId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, client: Fingerprint, app: AppId) {
        self.lock().insert(client, app);
    }

    pub(super) fn remove(&self, client: Fingerprint) {
        self.lock().remove(&client);
    }
}

/// Streaming to stock clients, running. Dropping it ends all of their sessions.
pub struct Streams {
    asks: Sender<Ask>,
    waker: Arc<Waker>,
    running: Arc<Running>,
    thread: Option<RoleThread<()>>,
}

impl Streams {
    /// Binds RTSP's listener and the three sockets, and starts the thread (`pf-gs-control`).
    ///
    /// # Errors
    /// [`GameStreamError::Bind`] and [`GameStreamError::Thread`].
    pub fn start(
        host: &HostConfig,
        bind: Option<IpAddr>,
        ports: Ports,
        backends: Backends,
        registry: Arc<Registry>,
    ) -> Result<Self, GameStreamError> {
        let listener = listen(bind, ports.rtsp())?;
        let media = SocketConfig {
            txtime: host.pace.wants_txtime(),
            ..SocketConfig::default()
        };
        let control = bind_udp(bind, ports.control(), SocketConfig::default())?;
        let video = bind_udp(bind, ports.video(), media)?;
        let audio = bind_udp(bind, ports.audio(), SocketConfig::default())?;
        let poll = Poll::new().map_err(GameStreamError::Thread)?;
        let waker = Waker::new(poll.registry(), streams::WAKE).map_err(GameStreamError::Thread)?;
        let waker = Arc::new(waker);
        let running = Arc::new(Running::default());
        let (asks_in, asks) = bounded(ASKS);
        let thread_host = StreamHost::new(
            streams::Parts {
                host: host.clone(),
                ports,
                backends,
                registry,
                running: Arc::clone(&running),
                waker: Arc::clone(&waker),
                asks,
                listener,
                control,
                video,
                audio,
            },
            &poll,
        )
        .map_err(GameStreamError::Thread)?;
        let thread = platform::thread::spawn(Role::Control, "pf-gs-control", move || {
            thread_host.run(poll);
        })
        .map_err(GameStreamError::Thread)?;
        Ok(Self {
            asks: asks_in,
            waker,
            running,
            thread: Some(thread),
        })
    }

    /// What the HTTP side calls.
    #[must_use]
    pub fn sessions(&self) -> Arc<dyn Sessions> {
        Arc::new(Broker {
            asks: self.asks.clone(),
            waker: Arc::clone(&self.waker),
            running: Arc::clone(&self.running),
        })
    }

    /// True if the thread has ended although nobody asked it to.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(RoleThread::is_finished)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        // A full queue is emptied within a turn of the thread.
        let _ = self
            .asks
            .send_timeout(Ask::Stop, Duration::from_millis(100));
        let _ = self.waker.wake();
        if let Err(error) = thread.join_within(JOIN_TIMEOUT) {
            log::error!("{error}");
        }
    }
}

/// The HTTP side's end.
struct Broker {
    asks: Sender<Ask>,
    waker: Arc<Waker>,
    running: Arc<Running>,
}

impl Broker {
    fn ask(&self, ask: Ask) {
        let refused = match self.asks.try_send(ask) {
            Ok(()) => {
                if let Err(error) = self.waker.wake() {
                    log::error!("GameStream's control thread cannot be woken: {error}");
                }
                return;
            }
            Err(TrySendError::Full(ask) | TrySendError::Disconnected(ask)) => ask,
        };
        let text = "the host is too busy, or stopping; try again";
        let error = SessionError::Unavailable(text.to_owned());
        match refused {
            Ask::Launch { reply, .. } | Ask::Resume { reply, .. } => reply.send(Err(error)),
            Ask::Cancel { reply, .. } => reply.send(Err(error)),
            Ask::Stop => {}
        }
    }
}

impl Sessions for Broker {
    fn launch(&self, client: Client, app: App, request: LaunchRequest, reply: Reply<Granted>) {
        let (app, request) = (Box::new(app), Box::new(request));
        self.ask(Ask::Launch {
            client,
            app,
            request,
            reply,
        });
    }

    fn resume(&self, client: Client, request: ResumeRequest, reply: Reply<Granted>) {
        let request = Box::new(request);
        self.ask(Ask::Resume {
            client,
            request,
            reply,
        });
    }

    fn cancel(&self, client: Fingerprint, reply: Reply<()>) {
        self.ask(Ask::Cancel { client, reply });
    }

    fn current(&self, client: Fingerprint) -> Option<AppId> {
        self.running.lock().get(&client).copied()
    }
}

/// Binds an address, or all: both families where there is IPv6.
fn bind_udp(
    bind: Option<IpAddr>,
    port: u16,
    config: SocketConfig,
) -> Result<Socket, GameStreamError> {
    let try_one = |ip: IpAddr| {
        let address = SocketAddr::new(ip, port);
        Socket::bind(address, config).map_err(|source| GameStreamError::BindUdp {
            address,
            hint: hint(&source),
            source,
        })
    };
    match bind {
        Some(ip) => try_one(ip),
        None => match try_one(Ipv6Addr::UNSPECIFIED.into()) {
            Err(GameStreamError::BindUdp { source, .. })
                if source.kind() != std::io::ErrorKind::AddrInUse =>
            {
                try_one(Ipv4Addr::UNSPECIFIED.into())
            }
            result => result,
        },
    }
}
