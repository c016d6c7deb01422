//! The Wayland server that wlroots draws into: one client, our own sway, over one socket.
//!
//! It offers what wlroots' Wayland backend asks for (0.15 to 0.19, backend/wayland/backend.c):
//! `wl_compositor`, `wl_shm`, `xdg_wm_base` and `wp_presentation`; no `wl_output`, which nobody binds,
//! and a `wl_seat` only to learn of the cursor ([`super::seat`]), because input goes to sway over
//! sway's own socket. The output `WL-1` is the first toplevel: its size is what we configure, each
//! of its commits is a picture, and the callback that lets sway draw the next one is ours to time
//! ([`super::clock`]).
//!
//! The client is our child, but nothing that it says is believed: what it can make is counted
//! ([`OBJECTS_MAX`]), what makes no sense ends its connection with a protocol error, and a file
//! that is shorter than promised is not read ([`super::buffers`]).

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use gpu::frame::{Rect, Size, Surface as _};
use net::clock;
use net::units::{Mode, Timestamp};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use wayland_protocols::wp::presentation_time::server::wp_presentation::WpPresentation;
use wayland_protocols::wp::presentation_time::server::wp_presentation_feedback::{
    Kind, WpPresentationFeedback,
};
use wayland_protocols::xdg::shell::server::xdg_surface::XdgSurface;
use wayland_protocols::xdg::shell::server::xdg_toplevel::{State as ToplevelState, XdgToplevel};
use wayland_protocols::xdg::shell::server::xdg_wm_base::XdgWmBase;
use wayland_server::backend::protocol::ProtocolError;
use wayland_server::backend::{ClientData, ClientId, DisconnectReason};
use wayland_server::protocol::wl_buffer::WlBuffer;
use wayland_server::protocol::wl_callback::WlCallback;
use wayland_server::protocol::wl_compositor::WlCompositor;
use wayland_server::protocol::wl_seat::WlSeat;
use wayland_server::protocol::wl_shm::WlShm;
use wayland_server::protocol::wl_surface::WlSurface;
use wayland_server::{Client, Display, DisplayHandle};

use super::buffers::Buffers;
use super::clock::{Grid, Tick};
use super::seat::{SEAT_VERSION, Seat};
use super::shared::{Picture, Shared};
use super::{render_ms, size_of};
use crate::capture::pool::{NOTHING, clip};
use crate::capture::{BUSY_INTERVAL, Waker as _};
use crate::process::timespec;

/// Objects that the client can have at a time. wlroots has about 20: its globals, one window, four
/// buffers of the size of now and of the size before, and a callback and a feedback a picture.
const OBJECTS_MAX: usize = 256;
/// `wl_display.error.no_memory`.
const NO_MEMORY: u32 = 2;

/// See the module.
pub(super) struct Server {
    display: Display<State>,
    state: State,
    gone: Arc<AtomicBool>,
}

impl Server {
    /// A server for the client at the other end of `stream`.
    pub(super) fn new(shared: Arc<Shared>, stream: UnixStream) -> io::Result<Self> {
        let display: Display<State> = Display::new().map_err(io::Error::other)?;
        let mut handle = display.handle();
        handle.create_global::<State, WlCompositor, ()>(4, ());
        handle.create_global::<State, WlShm, ()>(1, ());
        handle.create_global::<State, XdgWmBase, ()>(1, ());
        handle.create_global::<State, WpPresentation, ()>(1, ());
        if shared.pointer.is_some() {
            handle.create_global::<State, WlSeat, ()>(SEAT_VERSION, ());
        }
        let gone = Arc::new(AtomicBool::new(false));
        let ending = Ending {
            shared: Arc::clone(&shared),
            gone: Arc::clone(&gone),
        };
        handle.insert_client(stream, Arc::new(ending))?;
        let state = State::new(shared);
        Ok(Self {
            display,
            state,
            gone,
        })
    }

    /// Serves until the client is gone or the display's owner says so.
    pub(super) fn run(mut self) {
        if let Err(error) = self.serve() {
            log::error!("the nested compositor cannot be served: {error}");
        }
        self.state.shared.close("the display was taken down");
    }

    fn serve(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.state.shared);
        while !shared.stop.load(Ordering::Acquire) {
            self.state.obey();
            self.display.dispatch_clients(&mut self.state)?;
            if let Some(seat) = &mut self.state.seat {
                seat.tell();
            }
            let wake_at = self.state.tick(clock::now());
            self.display.flush_clients()?;
            if self.gone.load(Ordering::Acquire) {
                break;
            }
            self.wait(&shared, wake_at)?;
        }
        Ok(())
    }

    fn wait(&mut self, shared: &Shared, until: Option<Timestamp>) -> io::Result<()> {
        let left = until.map(|until| timespec(until.since(clock::now())));
        let mut fds = [
            PollFd::from_borrowed_fd(self.display.backend().poll_fd(), PollFlags::IN),
            PollFd::new(shared.orders.fd(), PollFlags::IN),
        ];
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        shared.orders.take();
        Ok(())
    }
}

/// What becomes of everything when the client goes.
struct Ending {
    shared: Arc<Shared>,
    gone: Arc<AtomicBool>,
}

impl ClientData for Ending {
    fn disconnected(&self, _: ClientId, reason: DisconnectReason) {
        self.shared.close(&match reason {
            DisconnectReason::ConnectionClosed => "the compositor closed the connection".to_owned(),
            DisconnectReason::ProtocolError(error) => {
                format!("the compositor broke the Wayland protocol: {error}")
            }
        });
        self.gone.store(true, Ordering::Release);
        self.shared.orders.wake();
    }
}

/// The user data of every object of the client: counts it.
#[derive(Debug)]
pub(super) struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What has been asked of a surface since its last commit.
struct Pending {
    /// The buffer attached last, if any was, and whether that was asked.
    buffer: Option<WlBuffer>,
    is_attached: bool,
    damage: Rect,
    callbacks: Vec<WlCallback>,
    feedbacks: Vec<WpPresentationFeedback>,
}

struct Window {
    surface: WlSurface,
    pending: Pending,
    toplevel: Option<(XdgSurface, XdgToplevel)>,
    configured: bool,
}

/// Everything that the protocol is about.
pub(super) struct State {
    shared: Arc<Shared>,
    objects: Arc<AtomicUsize>,
    mode: Mode,
    grid: Grid,
    windows: Vec<Window>,
    /// The surface whose commits are the output's pictures.
    output: Option<WlSurface>,
    pub(super) buffers: Buffers,
    /// If the pictures lack the pointer.
    pub(super) seat: Option<Seat>,
    size: Option<Size>,
    /// Who waits for the next tick that matters, and which one that is.
    callbacks: Vec<WlCallback>,
    feedbacks: Vec<WpPresentationFeedback>,
    tick: Option<Tick>,
    /// The number of the tick given last.
    last: Option<u64>,
    /// Told once that a picture could not be read.
    unreadable: bool,
}

impl State {
    fn new(shared: Arc<Shared>) -> Self {
        let mode = shared.mode();
        Self {
            seat: shared.pointer.clone().map(Seat::new),
            shared,
            objects: Arc::default(),
            mode,
            grid: Grid::new(clock::now(), mode.refresh()),
            windows: Vec::new(),
            output: None,
            buffers: Buffers::default(),
            size: None,
            callbacks: Vec::new(),
            feedbacks: Vec::new(),
            tick: None,
            last: None,
            unreadable: false,
        }
    }

    /// One more object; a client that has too many is sent away.
    pub(super) fn counted(&self, client: &Client, handle: &DisplayHandle) -> Counted {
        let before = self.objects.fetch_add(1, Ordering::Relaxed);
        if before >= OBJECTS_MAX {
            let error = ProtocolError {
                code: NO_MEMORY,
                object_id: 1,
                object_interface: "wl_display".to_owned(),
                message: format!("more than {OBJECTS_MAX} objects"),
            };
            client.kill(handle, error);
        }
        Counted(Arc::clone(&self.objects))
    }

    /// Takes over what the display's owner has ordered.
    fn obey(&mut self) {
        let mode = self.shared.mode();
        if mode == self.mode {
            return;
        }
        let before = std::mem::replace(&mut self.mode, mode);
        if before.refresh() != mode.refresh() {
            let now = clock::now();
            self.grid = Grid::new(now, mode.refresh());
            self.last = None;
            if self.tick.is_some() {
                self.tick = Some(self.grid.after(None, now, self.lead()));
            }
        }
        if size_of(before) != size_of(mode) {
            let windows = self.windows.iter().filter(|window| window.configured);
            windows.for_each(|window| configure(window, mode));
        }
    }

    /// How long after a tick the compositor draws.
    fn lead(&self) -> Duration {
        match render_ms(self.mode.refresh()) {
            0 => Duration::ZERO,
            ms => (self.grid.interval()).saturating_sub(Duration::from_millis(ms.into())),
        }
    }

    /// At the tick that is waited for: lets the compositor draw. Returns when to look again.
    fn tick(&mut self, now: Timestamp) -> Option<Timestamp> {
        let tick = self.tick?;
        if now < tick.at {
            return Some(tick.at);
        }
        self.buffers.release();
        if self.buffers.exhausted() {
            let buffers = &mut self.buffers;
            self.shared.exchange(|shown| buffers.release_shown(shown));
            if self.buffers.exhausted() {
                return Some(now + BUSY_INTERVAL);
            }
        }
        self.tick = None;
        self.last = Some(tick.number);
        let at = tick.at.as_ns();
        let (seconds, nanoseconds) = (at / 1_000_000_000, at % 1_000_000_000);
        let refresh_ns = self.grid.interval().subsec_nanos();
        for feedback in self.feedbacks.drain(..) {
            let (seconds, sequence) = (halves(seconds), halves(tick.number));
            let nanoseconds = low(nanoseconds);
            feedback.presented(
                seconds.0,
                seconds.1,
                nanoseconds,
                refresh_ns,
                sequence.0,
                sequence.1,
                Kind::Vsync,
            );
        }
        // After the feedback: sway reckons with the tick when it is told to draw.
        for callback in self.callbacks.drain(..) {
            callback.done(low(at / 1_000_000));
        }
        if let (Some(seat), Some(output)) = (&mut self.seat, &self.output) {
            seat.enter(output);
        }
        None
    }

    pub(super) fn add_surface(&mut self, surface: WlSurface) {
        let pending = Pending {
            buffer: None,
            is_attached: false,
            damage: NOTHING,
            callbacks: Vec::new(),
            feedbacks: Vec::new(),
        };
        self.windows.push(Window {
            surface,
            pending,
            toplevel: None,
            configured: false,
        });
    }

    pub(super) fn remove_surface(&mut self, surface: &WlSurface) {
        self.windows.retain(|window| window.surface != *surface);
        let was_output = self.output.take_if(|output| output == surface).is_some();
        if let Some(seat) = &mut self.seat {
            seat.remove_surface(surface, was_output);
        }
    }

    /// The surface is a window from now on; the first is the output.
    pub(super) fn add_toplevel(
        &mut self,
        surface: &WlSurface,
        toplevel: (XdgSurface, XdgToplevel),
    ) {
        if let Some(window) = self.window(surface) {
            window.toplevel = Some(toplevel);
            self.output.get_or_insert_with(|| surface.clone());
        }
    }

    /// It is none any more.
    pub(super) fn remove_toplevel(&mut self, surface: &WlSurface) {
        if let Some(window) = self.window(surface) {
            window.toplevel = None;
            window.configured = false;
        }
        self.output.take_if(|output| output == surface);
    }

    pub(super) fn attach(&mut self, surface: &WlSurface, buffer: Option<WlBuffer>) {
        if let Some(window) = self.window(surface) {
            window.pending.buffer = buffer;
            window.pending.is_attached = true;
        }
    }

    pub(super) fn damage(&mut self, surface: &WlSurface, rect: [i32; 4]) {
        let everything = Size {
            width: u16::MAX,
            height: u16::MAX,
        };
        if let Some(Window { pending, .. }) = self.window(surface) {
            let rect = clip(rect.map(i64::from), everything);
            pending.damage = pending.damage.union(rect);
        }
    }

    pub(super) fn add_callback(&mut self, surface: &WlSurface, callback: WlCallback) {
        if let Some(window) = self.window(surface) {
            window.pending.callbacks.push(callback);
        }
    }

    pub(super) fn add_feedback(&mut self, surface: &WlSurface, feedback: WpPresentationFeedback) {
        if let Some(window) = self.window(surface) {
            window.pending.feedbacks.push(feedback);
        }
    }

    pub(super) fn commit(&mut self, surface: &WlSurface) {
        let (now, mode) = (clock::now(), self.mode);
        let is_output = self.output.as_ref() == Some(surface);
        let mut windows = self.windows.iter_mut();
        let Some(window) = windows.find(|window| window.surface == *surface) else {
            return;
        };
        if window.toplevel.is_some() && !window.configured {
            window.configured = true;
            configure(window, mode);
        }
        let damage = std::mem::replace(&mut window.pending.damage, NOTHING);
        let buffer = window.pending.buffer.take();
        let is_attached = std::mem::take(&mut window.pending.is_attached);
        if is_output {
            // A newer picture is presented in their place.
            let displaced = self.feedbacks.drain(..);
            displaced.for_each(|feedback| feedback.discarded());
        }
        self.callbacks.append(&mut window.pending.callbacks);
        self.feedbacks.append(&mut window.pending.feedbacks);
        match buffer {
            Some(buffer) if is_output => self.show(&buffer, damage, now),
            _ if is_output || !is_attached => {}
            // A cursor's, or a second output's.
            buffer => self.look_at(surface, buffer),
        }
        self.buffers.release();
        let is_waited_for = !self.callbacks.is_empty() || !self.feedbacks.is_empty();
        if is_waited_for && self.tick.is_none() {
            self.tick = Some(self.grid.after(self.last, now, self.lead()));
        }
    }

    /// What lies apart from the output's pictures may be the cursor.
    fn look_at(&mut self, surface: &WlSurface, buffer: Option<WlBuffer>) {
        if let Some(seat) = &mut self.seat {
            let image = buffer.as_ref().and_then(|it| self.buffers.image(it));
            seat.commit(surface, image);
        }
        if let Some(buffer) = buffer {
            buffer.release();
        }
    }

    fn show(&mut self, buffer: &WlBuffer, damage: Rect, captured: Timestamp) {
        let Some(surface) = self.buffers.lend(buffer) else {
            buffer.release();
            if !std::mem::replace(&mut self.unreadable, true) {
                log::warn!("a picture of the nested compositor cannot be read: its file is short");
            }
            return;
        };
        let size = surface.size();
        if let Some(seat) = &self.seat {
            seat.set_output(size);
        }
        let damage = match self.size.replace(size) == Some(size) {
            true => damage.clipped(size),
            false => Rect::whole(size),
        };
        if damage.is_empty() {
            // Sway draws for applications that only want to be told the time. The picture is the
            // same, but the buffer of the one before is sway's again.
            self.shared.exchange(|_| surface);
            return;
        }
        self.shared.show(Picture {
            surface,
            damage,
            captured,
        });
    }

    fn window(&mut self, surface: &WlSurface) -> Option<&mut Window> {
        self.windows.iter_mut().find(|it| it.surface == *surface)
    }
}

/// Tells a window the size of the mode.
fn configure(window: &Window, mode: Mode) {
    let Some((surface, toplevel)) = &window.toplevel else {
        return;
    };
    let states = [ToplevelState::Activated, ToplevelState::Fullscreen];
    let states = states.map(|state| (state as u32).to_ne_bytes());
    toplevel.configure(mode.width().into(), mode.height().into(), states.concat());
    // Nothing depends on which configuration is acknowledged: a buffer has a size of its own.
    surface.configure(0);
}

/// The upper and the lower half, as Wayland splits 64-bit numbers.
fn halves(value: u64) -> (u32, u32) {
    (low(value >> 32), low(value))
}

/// The lower 32 bits.
fn low(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).expect("masked to 32 bits")
}
