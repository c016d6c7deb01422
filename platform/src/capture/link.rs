//! The Wayland connection of a capture: globals, the wanted output, and a wait that ends with
//! events, a wake-up or a deadline, whatever the compositor does.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use net::clock;
use net::units::Timestamp;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use wayland_client::backend::protocol::{Argument, Interface, Message};
use wayland_client::backend::{ObjectData, ObjectId, WaylandError};
use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::protocol::wl_callback::{self, WlCallback};
use wayland_client::protocol::wl_output::{self, WlOutput};
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_shm::{self, WlShm};
use wayland_client::protocol::wl_shm_pool::WlShmPool;
use wayland_client::{
    Connection, Dispatch, DispatchError, EventQueue, Proxy, QueueHandle, WEnum, delegate_noop,
};
use wayland_protocols::xdg::xdg_output::zv1::client::zxdg_output_manager_v1::ZxdgOutputManagerV1;
use wayland_protocols::xdg::xdg_output::zv1::client::zxdg_output_v1::{self, ZxdgOutputV1};

use super::{CaptureError, Waker};
use crate::display::{self, Cancel, WaylandOutput};
use crate::process::timespec;

/// How long a compositor may take to answer while a capture opens.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a wait for an answer looks whether it is still wanted.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

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

/// Where an output is in the desktop, in its units of length (logical pixels).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) x: i32,
    pub(crate) y: i32,
    pub(crate) width: i32,
    pub(crate) height: i32,
}

/// An output, and what was told of it.
struct KnownOutput {
    global: u32,
    proxy: WlOutput,
    name: Option<String>,
    area: Area,
    /// Width, height and rate (mHz) of its current mode.
    mode: Option<(i32, i32, i32)>,
}

/// An output that has a name.
#[derive(Clone, Debug)]
pub(crate) struct NamedOutput {
    pub(crate) name: String,
    /// Where it is; of no size if that was never told.
    pub(crate) area: Area,
    /// Width, height and rate (mHz, 0 if unknown) of its current mode.
    pub(crate) mode: Option<(i32, i32, i32)>,
}

/// What the connection knows, and in `protocol` what the capture protocol in use knows.
pub(crate) struct State<P> {
    globals: Vec<Global>,
    outputs: Vec<KnownOutput>,
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
    cancel: Cancel,
}

impl<P: 'static> Link<P> {
    /// Connects and learns the globals.
    pub(crate) fn connect(address: &WaylandOutput, protocol: P) -> Result<Self, CaptureError> {
        Self::connect_unless(&address.wayland_socket, protocol, &Cancel::default())
    }

    /// As [`Link::connect`], to a socket; this and every later wait for an answer end with
    /// `cancel`.
    pub(crate) fn connect_unless(
        socket: &Path,
        protocol: P,
        cancel: &Cancel,
    ) -> Result<Self, CaptureError> {
        let unreachable = |reason: String| CaptureError::Connect {
            socket: socket.display().to_string(),
            reason,
        };
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let stream = display::connect(socket, deadline, cancel)
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
            cancel: cancel.clone(),
        };
        link.round_trip()?;
        Ok(link)
    }

    /// From now on waits end with their answers or their time, whoever cancels.
    pub(crate) fn shield(&mut self) {
        self.cancel = Cancel::default();
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
        self.learn_outputs()?;
        let found = self
            .state
            .outputs
            .iter()
            .find(|output| output.name.as_deref() == Some(name));
        let Some(output) = found else {
            return Err(CaptureError::NoOutput {
                output: name.to_owned(),
            });
        };
        self.state.target = Some(output.global);
        Ok(output.proxy.clone())
    }

    /// All outputs that have a name, in the order in which they were told.
    pub(crate) fn named_outputs(&mut self) -> Result<Vec<NamedOutput>, CaptureError> {
        self.learn_outputs()?;
        let outputs = self.state.outputs.iter();
        let named = outputs.filter_map(|output| {
            Some(NamedOutput {
                name: output.name.clone()?,
                area: output.area,
                mode: output.mode,
            })
        });
        Ok(named.collect())
    }

    /// Binds the outputs that are new, and waits for what is told of them.
    fn learn_outputs(&mut self) -> Result<(), CaptureError> {
        let handle = self.handle();
        let named = |global: &&Global| global.interface == WlOutput::interface().name;
        let mut outputs: Vec<Global> = self.state.globals.iter().filter(named).cloned().collect();
        let known = &self.state.outputs;
        outputs.retain(|global| known.iter().all(|output| output.global != global.name));
        let first_new = known.len();
        for global in outputs {
            let version = global.version.min(4);
            let output = self
                .registry
                .bind(global.name, version, &handle, global.name);
            self.state.outputs.push(KnownOutput {
                global: global.name,
                proxy: output,
                name: None,
                area: Area::default(),
                mode: None,
            });
        }
        if let Ok(manager) = self.bind::<ZxdgOutputManagerV1>(2, 3) {
            for output in &self.state.outputs[first_new..] {
                manager.get_xdg_output(&output.proxy, &handle, output.global);
            }
        }
        self.round_trip()
    }

    /// Where the output that was found is now; `None` if that was never told (no `xdg_output`).
    pub(crate) fn output_area(&self) -> Option<Area> {
        let outputs = self.state.outputs.iter();
        let mut target = outputs.filter(|output| Some(output.global) == self.state.target);
        target.next().map(|it| it.area).filter(|it| it.width > 0)
    }

    /// The names in the registry and versions of the globals of that interface.
    pub(crate) fn globals_of(&self, interface: &str) -> Vec<(u32, u32)> {
        let globals = self.state.globals.iter();
        let named = globals.filter(|global| global.interface == interface);
        named.map(|global| (global.name, global.version)).collect()
    }

    /// Binds a global of an interface for which there is no generated code.
    ///
    /// # Errors
    /// [`CaptureError::Ended`] where the connection has.
    pub(crate) fn bind_untyped(
        &self,
        (global, version): (u32, u32),
        interface: &'static Interface,
        data: Arc<dyn ObjectData>,
    ) -> Result<ObjectId, CaptureError> {
        let version = version.min(interface.version);
        let name = CString::new(interface.name).expect("interfaces' names have no zero byte");
        let arguments = [
            Argument::Uint(global),
            Argument::Str(Some(Box::new(name))),
            Argument::Uint(version),
            Argument::NewId(ObjectId::null()),
        ];
        let registry = self.registry.id();
        self.send_untyped(&registry, 0, &arguments, Some((interface, version, data)))
    }

    /// Sends a request of an interface for which there is no generated code. The object that it
    /// makes, if it makes one, has the interface, version and data of `child`.
    ///
    /// # Errors
    /// [`CaptureError::Ended`] where the connection or the object has.
    pub(crate) fn send_untyped(
        &self,
        object: &ObjectId,
        opcode: u16,
        arguments: &[Argument<ObjectId, RawFd>],
        child: Option<(&'static Interface, u32, Arc<dyn ObjectData>)>,
    ) -> Result<ObjectId, CaptureError> {
        let message = Message {
            sender_id: object.clone(),
            opcode,
            args: arguments.iter().cloned().collect(),
        };
        let (spec, data) = match child {
            Some((interface, version, data)) => (Some((interface, version)), Some(data)),
            None => (None, None),
        };
        let backend = self.connection.backend();
        let sent = backend.send_request(message, data, spec);
        sent.map_err(|_| ended("the compositor has removed an object that is in use"))
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
            if self.cancel.is_asked() {
                return Err(ended("the session is over"));
            }
            let now = clock::now();
            let look = deadline.min(now + LOOK_INTERVAL);
            if self.wait_on(look, false)? == Wait::TimedOut && now >= deadline {
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
                state.outputs.retain(|output| output.global != name);
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
    fn output(&mut self, global: u32) -> Option<&mut KnownOutput> {
        self.outputs.iter_mut().find(|known| known.global == global)
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
        let Some(output) = state.output(*global) else {
            return;
        };
        match event {
            wl_output::Event::Name { name } => output.name = Some(name),
            wl_output::Event::Mode {
                flags: WEnum::Value(flags),
                width,
                height,
                refresh,
            } if flags.contains(wl_output::Mode::Current) => {
                output.mode = Some((width, height, refresh));
            }
            _ => {}
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
        let Some(output) = state.output(*global) else {
            return;
        };
        match event {
            zxdg_output_v1::Event::Name { name } => output.name = Some(name),
            zxdg_output_v1::Event::LogicalPosition { x, y } => {
                (output.area.x, output.area.y) = (x, y);
            }
            zxdg_output_v1::Event::LogicalSize { width, height } => {
                (output.area.width, output.area.height) = (width, height);
            }
            _ => {}
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
