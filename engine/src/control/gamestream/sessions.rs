//! What lies between GameStream's HTTP side and the sessions that stream: a broker, behind a
//! trait.
//!
//! The HTTP thread must never wait, so a broker answers through a [`Reply`], at once or later and
//! from any thread.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use net::gamestream::nvhttp::{AppId, LaunchRequest, ResumeRequest};
use net::identity::Fingerprint;
use net::units::SliceCount;

use crate::apps::App;

/// A paired client that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its certificate: what tells it from others.
    pub fingerprint: Fingerprint,
    /// What the operator calls it.
    pub name: String,
    /// Slices of each picture that the operator has set for it.
    pub slices: Option<SliceCount>,
    /// Where it is, and with which port it asked.
    pub address: SocketAddr,
    /// Which address of ours it reached.
    pub local: SocketAddr,
}

/// A session is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The client has to encrypt RTSP (`rtspenc://`), which it can from `corever` 1 on.
    pub encrypted_rtsp: bool,
}

/// Why not. The client's user sees the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// This client has a session already: `resume` or `cancel` it.
    #[error("this client's session is still running; resume it or end it first")]
    AlreadyRunning,
    /// There is nothing to go on with.
    #[error("there is no session of this client to go on with")]
    NothingToResume,
    /// All places are taken.
    #[error("all {0} sessions of this host are taken")]
    Busy(usize),
    /// It cannot be started, now or at all.
    #[error("{0}")]
    Unavailable(String),
    /// The broker gave no answer.
    #[error("the host gave up on this request; its log says why")]
    Unanswered,
}

impl SessionError {
    /// GameStream's status code for it.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::AlreadyRunning => 400,
            Self::NothingToResume | Self::Busy(_) | Self::Unavailable(_) => 503,
            Self::Unanswered => 500,
        }
    }
}

/// What takes an answer to where it is waited for.
type Answer<T> = dyn FnOnce(Result<T, SessionError>) + Send;

/// The way back to a client that waits. Dropped without a word it says so.
pub struct Reply<T> {
    answer: Option<Box<Answer<T>>>,
}

impl<T> Reply<T> {
    /// Through this function, called once.
    pub fn new(answer: impl FnOnce(Result<T, SessionError>) + Send + 'static) -> Self {
        Self {
            answer: Some(Box::new(answer)),
        }
    }

    /// Answers.
    pub fn send(mut self, result: Result<T, SessionError>) {
        if let Some(answer) = self.answer.take() {
            answer(result);
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            answer(Err(SessionError::Unanswered));
        }
    }
}

impl<T> std::fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply(..)")
    }
}

/// Starts, continues and ends sessions. Called by the HTTP thread, which these calls must not
/// hold up.
pub trait Sessions: Send + Sync {
    /// A client wants an application on a display of its own.
    fn launch(&self, client: Client, app: App, request: LaunchRequest, reply: Reply<Granted>);

    /// It wants to go on with it.
    fn resume(&self, client: Client, request: ResumeRequest, reply: Reply<Granted>);

    /// End the client's session and its application; nothing to end is no error. Also called when
    /// a client is unpaired.
    fn cancel(&self, client: Fingerprint, reply: Reply<()>);

    /// What this client's session runs, streaming or not.
    fn current(&self, client: Fingerprint) -> Option<AppId>;
}

/// A broker without displays and streams, for tests of everything before them: one session for
/// each client, as many clients as it is told.
#[derive(Debug)]
pub struct MemorySessions {
    sessions_max: usize,
    running: Mutex<BTreeMap<Fingerprint, (AppId, LaunchRequest)>>,
}

impl MemorySessions {
    /// Empty.
    #[must_use]
    pub const fn new(sessions_max: usize) -> Self {
        Self {
            sessions_max,
            running: Mutex::new(BTreeMap::new()),
        }
    }

    /// What a client launched.
    pub fn launched(&self, client: Fingerprint) -> Option<LaunchRequest> {
        let running = self.lock();
        running.get(&client).map(|(_, request)| request.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Fingerprint, (AppId, LaunchRequest)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions for MemorySessions {
    fn launch(&self, client: Client, app: App, request: LaunchRequest, reply: Reply<Granted>) {
        let mut running = self.lock();
        let result = if running.contains_key(&client.fingerprint) {
            Err(SessionError::AlreadyRunning)
        } else if running.len() >= self.sessions_max {
            Err(SessionError::Busy(self.sessions_max))
        } else {
            let encrypted_rtsp = request.stream.core_version >= 1;
            running.insert(client.fingerprint, (app.id, request));
            Ok(Granted { encrypted_rtsp })
        };
        reply.send(result);
    }

    fn resume(&self, client: Client, request: ResumeRequest, reply: Reply<Granted>) {
        let found = self.lock().contains_key(&client.fingerprint);
        let granted = Granted {
            encrypted_rtsp: request.stream.core_version >= 1,
        };
        reply.send(
            found
                .then_some(granted)
                .ok_or(SessionError::NothingToResume),
        );
    }

    fn cancel(&self, client: Fingerprint, reply: Reply<()>) {
        self.lock().remove(&client);
        reply.send(Ok(()));
    }

    fn current(&self, client: Fingerprint) -> Option<AppId> {
        self.lock().get(&client).map(|(app, _)| *app)
    }
}
