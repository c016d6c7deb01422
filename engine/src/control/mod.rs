//! Control: who may have a session, and what becomes of it. One thread, one mio reactor, one
//! socket that it shares with the sessions' send threads.

mod admission;
mod cursor;
pub mod gamestream;
mod input;
mod media;
mod native;
mod remode;
mod shared;
mod sound;
mod steer;
mod terms;

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Sender, bounded};
use mio::{Poll, Token, Waker};
use net::identity::Identity;
use net::udp::Socket;
use platform::thread::{Role, RoleThread};

use crate::config::HostConfig;
use crate::host::{HostError, Registry};
use crate::session::Backends;
use crate::trust::native::NativeTrust;

/// The sessions' common limit ([`crate::session::JOIN_TIMEOUT`]) and the farewell take no longer.
const JOIN_TIMEOUT: Duration = Duration::from_millis(1900);
const _: () = assert!(JOIN_TIMEOUT.as_millis() > crate::session::JOIN_TIMEOUT.as_millis());

const SOCKET: Token = Token(0);
const WAKE: Token = Token(1);

/// What the owner tells the control thread.
enum HostCommand {
    Stop,
}

/// The control thread, seen from outside. Dropping it stops the host.
pub struct Control {
    commands: Sender<HostCommand>,
    waker: Arc<Waker>,
    thread: Option<RoleThread<()>>,
}

impl Control {
    /// Starts it.
    ///
    /// # Errors
    /// [`HostError::Control`] and [`HostError::Thread`].
    pub fn start(
        config: HostConfig,
        identity: Identity,
        trust: Arc<NativeTrust>,
        socket: Socket,
        backends: Backends,
        registry: Arc<Registry>,
    ) -> Result<Self, HostError> {
        let poll = Poll::new().map_err(HostError::Thread)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE).map_err(HostError::Thread)?);
        // Stop is the only command, and it is given once.
        let (commands_in, commands) = bounded(1);
        let host = native::NativeHost::new(native::Parts {
            config,
            identity,
            trust,
            socket,
            backends,
            registry,
            waker: Arc::clone(&waker),
            commands,
        })?;
        let thread = platform::thread::spawn(Role::Control, "pf-control", move || host.run(poll))
            .map_err(HostError::Thread)?;
        Ok(Self {
            commands: commands_in,
            waker,
            thread: Some(thread),
        })
    }

    /// True if the thread has ended although nobody asked it to: a bug or a broken system, which
    /// the log tells.
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(RoleThread::is_finished)
    }

    /// Ends all sessions and the thread.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        // The thread may have ended already; then there is nobody to tell.
        let _ = self.commands.try_send(HostCommand::Stop);
        let _ = self.waker.wake();
        if let Err(error) = thread.join_within(JOIN_TIMEOUT) {
            log::error!("{error}");
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.end();
    }
}
