//! The Wayland connection of a capture: globals, the wanted output, and a wait that ends with
//! events, a wake-up or a deadline, whatever the compositor does.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use net::clock;
use net::units::Timestamp;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use wayland_client::backend::WaylandError;
use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::protocol::wl_callback::{self, WlCallback};
use wayland_client::protocol::wl_output::{self, WlOutput};
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_shm::{self, WlShm};
use wayland_client::protocol::wl_shm_pool::WlShmPool;
use wayland_client::{
    Connection, Dispatch, DispatchError, EventQueue, Proxy, QueueHandle, delegate_noop,
};
use wayland_protocols::xdg::xdg_output::zv1::client::zxdg_output_manager_v1::ZxdgOutputManagerV1;
use wayland_protocols::xdg::xdg_output::zv1::client::zxdg_output_v1::{self, ZxdgOutputV1};

use super::{CaptureError, Waker};
use crate::display::{self, Cancel, WaylandOutput};
use crate::process::timespec;

/// How long a compositor may take to answer while a capture opens.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// What a wait came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Events were dispatched (or the wait ended for no reason).
    Events,
    /// Somebody called the waker.
    Woken,
    /// The deadline passed.
    TimedOut,
}

/// A waker over an eventfd.
#[derive(Debug)]
pub(crate) struct EventWaker(OwnedFd);

impl EventWaker {
    pub(crate) fn new() -> Result<Self, Errno> {
        Ok(Self(eventfd(
            0,
            EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
        )?))
    }

    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// True if it was woken since it was last asked.
    pub(crate) fn take(&self) -> bool {
        let mut count = [0u8; 8];
        rustix::io::read(&self.0, &mut count).is_ok()
    }
}

impl Waker for EventWaker {
    fn wake(&self) {
        match rustix::io::write(&self.0, &1u64.to_ne_bytes()) {
            // Full means that 2^64 - 2 wake-ups are waiting: it will wake.
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(error) => log::error!("a capture cannot be woken: {error}"),
        }
    }
}

/// A global that the compositor offers.
#[derive(Clone, Debug)]
struct Global {
    name: u32,
    interface: String,
    version: u32,
}

/// What the connection knows, and in `protocol` what the capture protocol in use knows.
pub(crate) struct State<P> {
    globals: Vec<Global>,
    outputs: Vec<(u32, WlOutput, Option<String>)>,
    answered: u32,
    /// The registry's name of the captured output; `None` once it is gone.
    target: Option<u32>,
    /// What the capture protocol has said.
    pub(crate) protocol: P,
}

/// A connection with its queue, state and waker.
pub(crate) struct Link<P: 'static> {
    connection: Connection,
    queue: EventQueue<State<P>>,
    registry: WlRegistry,
    /// Everything that events have told.
    pub(crate) state: State<P>,
    /// Interrupts [`Link::wait`].
    pub(crate) waker: Arc<EventWaker>,
}

impl<P: 'static> Link<P> {
    /// Connects and learns the globals.
    pub(crate) fn connect(address: &WaylandOutput, protocol: P) -> Result<Self, CaptureError> {
        let unreachable = |reason: String| CaptureError::Connect {
            socket: address.wayland_socket.display().to_string(),
            reason,
        };
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let stream = display::connect(&address.wayland_socket, deadline, &Cancel::default())
            .map_err(|error| unreachable(error.to_string()))?;
        let connection =
            Connection::from_socket(stream).map_err(|error| unreachable(error.to_string()))?;
        let waker = EventWaker::new().map_err(|error| unreachable(error.to_string()))?;
        let queue = connection.new_event_queue();
        let registry = connection.display().get_registry(&queue.handle(), ());
        let state = State {
            globals: Vec::new(),
            outputs: Vec::new(),
            answered: 0,
            target: None,
            protocol,
        };
        let mut link = Self {
            connection,
            queue,
            registry,
            state,
            waker: Arc::new(waker),
        };
        link.round_trip()?;
        Ok(link)
    }

    pub(crate) fn handle(&self) -> QueueHandle<State<P>> {
        self.queue.handle()
    }

    /// Binds the first global of `I`, at least `version`, at most the version that the
    /// generated code knows and `version_max`.
    pub(crate) fn bind<I>(&self, version: u32, version_max: u32) -> Result<I, CaptureError>
    where
        I: Proxy + 'static,
        State<P>: Dispatch<I, ()>,
    {
        let interface = I::interface();
        let global = self
            .state
            .globals
            .iter()
            .find(|global| global.interface == interface.name && global.version >= version)
            .ok_or(CaptureError::Unsupported {
                protocol: interface.name,
            })?;
        let version = global.version.min(version_max).min(interface.version);
        Ok(self.registry.bind(global.name, version, &self.handle(), ()))
    }

    /// Finds the output of that name, by `wl_output.name` (version 4) or `xdg_output.name`.
    pub(crate) fn find_output(&mut self, name: &str) -> Result<WlOutput, CaptureError> {
        let handle = self.handle();
        let named = |global: &&Global| global.interface == WlOutput::interface().name;
        let outputs: Vec<Global> = self.state.globals.iter().filter(named).cloned().collect();
        for global in outputs {
            let version = global.version.min(4);
            let output = self
                .registry
                .bind(global.name, version, &handle, global.name);
            self.state.outputs.push((global.name, output, None));
        }
        if let Ok(manager) = self.bind::<ZxdgOutputManagerV1>(2, 3) {
            for (global, output, _) in &self.state.outputs {
                manager.get_xdg_output(output, &handle, *global);
            }
        }
        self.round_trip()?;
        let found = self
            .state
            .outputs
            .iter()
            .find(|(_, _, known)| known.as_deref() == Some(name));
        let Some((global, output, _)) = found else {
            return Err(CaptureError::NoOutput {
                output: name.to_owned(),
            });
        };
        self.state.target = Some(*global);
        Ok(output.clone())
    }

    /// The connection's descriptor, to wait for events together with others.
    pub(crate) fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.connection.as_fd()
    }

    /// The captured output is gone.
    pub(crate) fn output_lost(&self) -> bool {
        self.state.target.is_none()
    }

    /// Waits until the compositor has answered everything asked so far, within
    /// [`ANSWER_TIMEOUT`].
    pub(crate) fn round_trip(&mut self) -> Result<(), CaptureError> {
        self.round_trip_within(ANSWER_TIMEOUT)
    }

    /// As [`Link::round_trip`], within `patience`.
    pub(crate) fn round_trip_within(&mut self, patience: Duration) -> Result<(), CaptureError> {
        let before = self.state.answered;
        self.connection.display().sync(&self.handle(), ());
        self.wait_within(patience, |state| state.answered != before)
    }

    /// Dispatches events until `done`, within [`ANSWER_TIMEOUT`], deaf to the waker.
    pub(crate) fn wait_for(
        &mut self,
        done: impl Fn(&State<P>) -> bool,
    ) -> Result<(), CaptureError> {
        self.wait_within(ANSWER_TIMEOUT, done)
    }

    fn wait_within(
        &mut self,
        patience: Duration,
        done: impl Fn(&State<P>) -> bool,
    ) -> Result<(), CaptureError> {
        let deadline = clock::now() + patience;
        while !done(&self.state) {
            if self.wait_on(deadline, false)? == Wait::TimedOut {
                return Err(ended(format!(
                    "the compositor did not answer in {patience:?}"
                )));
            }
        }
        Ok(())
    }

    /// Sends what was asked, then waits for events, the waker or the deadline; events that came
    /// are dispatched. Events are looked at once even if the deadline has passed.
    pub(crate) fn wait(&mut self, deadline: Timestamp) -> Result<Wait, CaptureError> {
        self.wait_on(deadline, true)
    }

    /// Sends what was asked. A full socket is not an error: the next wait goes on.
    fn flush(&self) -> Result<bool, CaptureError> {
        match self.connection.flush() {
            Ok(()) => Ok(true),
            Err(WaylandError::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Ok(false)
            }
            // The reason, if the compositor gave one, is still to be read.
            Err(WaylandError::Io(_)) => Ok(true),
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn wait_on(&mut self, deadline: Timestamp, wakeable: bool) -> Result<Wait, CaptureError> {
        let flushed = self.flush()?;
        let Some(guard) = self.queue.prepare_read() else {
            self.dispatch()?;
            return Ok(Wait::Events);
        };
        let interest = if flushed {
            PollFlags::IN
        } else {
            PollFlags::IN | PollFlags::OUT
        };
        let left = deadline.since(clock::now());
        let mut fds = [
            PollFd::from_borrowed_fd(guard.connection_fd(), interest),
            PollFd::new(self.waker.fd(), PollFlags::IN),
        ];
        let count = if wakeable { 2 } else { 1 };
        let polled = poll(&mut fds[..count], Some(&timespec(left)));
        let (ready, woken) = (fds[0].revents(), !fds[1].revents().is_empty());
        match polled {
            Ok(0) => return Ok(Wait::TimedOut),
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Wait::Events),
            Err(error) => return Err(ended(format!("poll failed: {error}"))),
        }
        if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            match guard.read() {
                Ok(_) => {}
                Err(WaylandError::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(self.failed(&error)),
            }
            self.dispatch()?;
            return Ok(Wait::Events);
        }
        drop(guard);
        if woken && self.waker.take() {
            Ok(Wait::Woken)
        } else {
            Ok(Wait::Events)
        }
    }

    fn dispatch(&mut self) -> Result<(), CaptureError> {
        match self.queue.dispatch_pending(&mut self.state) {
            Ok(_) => Ok(()),
            Err(DispatchError::Backend(error)) => Err(self.failed(&error)),
            Err(error) => Err(ended(error.to_string())),
        }
    }

    fn failed(&self, error: &WaylandError) -> CaptureError {
        match (self.connection.protocol_error(), error) {
            (Some(error), _) => ended(format!("the compositor complained: {error}")),
            (None, WaylandError::Io(error)) => {
                ended(format!("the compositor closed the connection ({error})"))
            }
            (None, error) => ended(error.to_string()),
        }
    }
}

/// A [`CaptureError::Ended`].
pub(crate) fn ended(reason: impl Into<String>) -> CaptureError {
    CaptureError::Ended {
        reason: reason.into(),
    }
}

impl<P: 'static> Dispatch<WlRegistry, ()> for State<P> {
    fn event(
        state: &mut Self,
        _: &WlRegistry,
        event: wl_registry::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            wl_registry::Event::Global {
                name,
                interface,
                version,
            } => {
                state.globals.push(Global {
                    name,
                    interface,
                    version,
                });
            }
            wl_registry::Event::GlobalRemove { name } => {
                state.globals.retain(|global| global.name != name);
                if state.target == Some(name) {
                    state.target = None;
                }
            }
            _ => {}
        }
    }
}

impl<P: 'static> Dispatch<WlCallback, ()> for State<P> {
    fn event(
        state: &mut Self,
        _: &WlCallback,
        _: wl_callback::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        state.answered = state.answered.wrapping_add(1);
    }
}

impl<P> State<P> {
    fn name_output(&mut self, global: u32, name: String) {
        if let Some(output) = self.outputs.iter_mut().find(|(known, ..)| *known == global) {
            output.2 = Some(name);
        }
    }
}

impl<P: 'static> Dispatch<WlOutput, u32> for State<P> {
    fn event(
        state: &mut Self,
        _: &WlOutput,
        event: wl_output::Event,
        global: &u32,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_output::Event::Name { name } = event {
            state.name_output(*global, name);
        }
    }
}

impl<P: 'static> Dispatch<ZxdgOutputV1, u32> for State<P> {
    fn event(
        state: &mut Self,
        _: &ZxdgOutputV1,
        event: zxdg_output_v1::Event,
        global: &u32,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let zxdg_output_v1::Event::Name { name } = event {
            state.name_output(*global, name);
        }
    }
}

impl<P: 'static> Dispatch<WlShm, ()> for State<P> {
    fn event(
        _: &mut Self,
        _: &WlShm,
        _: wl_shm::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        // The capture protocols name the formats that count.
    }
}

delegate_noop!(@<P: 'static> State<P>: ignore ZxdgOutputManagerV1);
delegate_noop!(@<P: 'static> State<P>: ignore WlShmPool);
delegate_noop!(@<P: 'static> State<P>: ignore WlBuffer);

/// The descriptor as rustix wants it.
impl AsFd for EventWaker {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
