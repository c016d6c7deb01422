//! The full-screen window and its event loop.
//!
//! States: waiting for the first configure, then drawing whenever all three hold: the compositor
//! asked for a picture (frame callback), the rate cap allows it, and a buffer is free.

use std::os::fd::AsFd;
use std::time::Duration;

use gpu::frame::Size;
use net::limits::{SIDE_PX_MAX, SIDE_PX_MIN};
use net::units::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use wayland_client::backend::WaylandError;
use wayland_client::globals::{BindError, GlobalListContents, registry_queue_init};
use wayland_client::protocol::{
    wl_buffer, wl_callback, wl_compositor, wl_output, wl_region, wl_registry, wl_shm, wl_shm_pool,
    wl_surface,
};
use wayland_client::{Connection, Dispatch, DispatchError, EventQueue, QueueHandle, delegate_noop};
use wayland_protocols::xdg::shell::client::{xdg_surface, xdg_toplevel, xdg_wm_base};

use super::buffers::{BufferId, Buffers};
use super::signals::EndSignals;
use super::{DrawnLog, TestcardError, TestcardOptions};
use crate::picture::{Content, Look, Painter, SCENES};

/// Size where the compositor leaves the choice to the client and tells of no output.
const SIZE_DEFAULT: Size = Size {
    width: 1280,
    height: 720,
};

/// Shows the window until it ends; see [`super::run`].
pub(super) fn show(options: &TestcardOptions, drawn: &mut DrawnLog) -> Result<(), TestcardError> {
    let interval = options.fps_max.map(interval).transpose()?;
    let signals = EndSignals::take().map_err(|source| TestcardError::System {
        action: "wait for signals",
        source,
    })?;
    let connection =
        Connection::connect_to_env().map_err(|error| TestcardError::Connect(error.to_string()))?;
    let (globals, mut queue) = registry_queue_init::<Window>(&connection)
        .map_err(|error| TestcardError::Connect(error.to_string()))?;
    let handle = queue.handle();
    let compositor: wl_compositor::WlCompositor = globals
        .bind(&handle, 4..=6, ())
        .map_err(unsupported("wl_compositor 4"))?;
    let shm = globals
        .bind(&handle, 1..=1, ())
        .map_err(unsupported("wl_shm"))?;
    let shell: xdg_wm_base::XdgWmBase = globals
        .bind(&handle, 1..=3, ())
        .map_err(unsupported("xdg_wm_base"))?;

    // For its mode, where the compositor leaves the size to the client (gamescope).
    let _output: Option<wl_output::WlOutput> = globals.bind(&handle, 1..=1, ()).ok();

    let surface = compositor.create_surface(&handle, ());
    let shell_surface = shell.get_xdg_surface(&surface, &handle, ());
    let toplevel = shell_surface.get_toplevel(&handle, ());
    toplevel.set_title("punktfunk test card".into());
    toplevel.set_app_id("punktfunk-testcard".into());
    toplevel.set_fullscreen(None);
    surface.commit();

    let mut window = Window {
        content: options.content,
        cut_every: options.cut_every_frames,
        interval,
        compositor,
        shm,
        surface,
        size: SIZE_DEFAULT,
        size_asked: SIZE_DEFAULT,
        size_free: SIZE_DEFAULT,
        scenes: Vec::new(),
        buffers: None,
        generation: 0,
        wanted: false,
        due: Timestamp::ZERO,
        next: 0,
        shown: None,
        closed: false,
    };
    window.run(&connection, &mut queue, &signals, drawn)
}

fn interval(fps: f64) -> Result<Duration, TestcardError> {
    if fps.is_finite() && fps > 0.0 {
        Duration::try_from_secs_f64(1.0 / fps).map_err(|_| TestcardError::FrameRate(fps))
    } else {
        Err(TestcardError::FrameRate(fps))
    }
}

fn unsupported(interface: &'static str) -> impl Fn(BindError) -> TestcardError {
    move |_| TestcardError::Unsupported(interface.into())
}

/// Everything the event handlers need to know.
pub struct Window {
    content: Content,
    cut_every: u32,
    interval: Option<Duration>,
    compositor: wl_compositor::WlCompositor,
    shm: wl_shm::WlShm,
    surface: wl_surface::WlSurface,
    /// Size of painters and buffers.
    size: Size,
    /// Size of the last configure.
    size_asked: Size,
    /// Size where the choice is ours.
    size_free: Size,
    /// Painters of all scenes of this run, in their order.
    scenes: Vec<Painter>,
    buffers: Option<Buffers>,
    /// How many sets of buffers there were.
    generation: u32,
    /// The compositor asked for a picture that is not drawn yet.
    wanted: bool,
    /// No picture before this, because of the rate cap.
    due: Timestamp,
    /// Number of the next picture.
    next: u32,
    /// The picture on the surface now, and its scene, at the current size.
    shown: Option<(u32, u32)>,
    closed: bool,
}

impl Window {
    fn run(
        &mut self,
        connection: &Connection,
        queue: &mut EventQueue<Self>,
        signals: &EndSignals,
        drawn: &mut DrawnLog,
    ) -> Result<(), TestcardError> {
        let handle = queue.handle();
        while !self.closed {
            match queue.dispatch_pending(self) {
                Ok(_) => {}
                Err(error) => return ending(error),
            }
            self.draw_if_due(&handle, drawn)?;
            if let Err(error) = connection.flush() {
                return ending(error.into());
            }
            if signalled_while_waiting(self.wait_limit(), queue, signals)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// How long to wait for an event at most: until the rate cap allows the wanted picture.
    fn wait_limit(&self) -> Option<Duration> {
        let now = net::clock::now();
        (self.wanted && self.due > now).then(|| self.due.since(now))
    }

    fn draw_if_due(
        &mut self,
        queue: &QueueHandle<Self>,
        drawn: &mut DrawnLog,
    ) -> Result<(), TestcardError> {
        let now = net::clock::now();
        if !self.wanted || self.due > now {
            return Ok(());
        }
        self.fit(queue).map_err(|source| TestcardError::System {
            action: "allocate buffers",
            source,
        })?;
        let Some(buffers) = &mut self.buffers else {
            return Ok(());
        };

        let look = Look::at(self.content, self.next, self.cut_every);
        let painter = &mut self.scenes[look.scene as usize];
        let cut = self.shown.is_some_and(|(_, scene)| scene != look.scene);
        if cut {
            buffers.forget();
        }
        let Some((buffer, at)) = buffers.draw(painter, self.next, queue) else {
            // A release event brings us back here.
            return Ok(());
        };
        self.surface.attach(Some(buffer), 0, 0);
        let previous = self.shown.filter(|_| !cut).map(|(number, _)| number);
        for area in painter.damage(self.next, previous) {
            let (x, y) = (area.x.into(), area.y.into());
            self.surface
                .damage_buffer(x, y, area.width.into(), area.height.into());
        }
        self.wanted = false;
        if self.content != Content::Still {
            self.surface.frame(queue, ());
        }
        self.surface.commit();
        drawn.push(self.next, at);
        self.shown = Some((self.next, look.scene));
        self.next = self.next.wrapping_add(1);
        self.due = self.due_after(now);
        Ok(())
    }

    /// When the cap allows the picture after one drawn now. The schedule keeps its rhythm as long
    /// as pictures come on time, and starts anew where they do not.
    fn due_after(&self, now: Timestamp) -> Timestamp {
        let Some(interval) = self.interval else {
            return Timestamp::ZERO;
        };
        let due = self.due + interval;
        if due.is_zero() || now.since(due) > Duration::ZERO {
            now + interval
        } else {
            due
        }
    }

    /// Makes painters and buffers of the size that the compositor asked for last.
    fn fit(&mut self, queue: &QueueHandle<Self>) -> std::io::Result<()> {
        if self.buffers.is_some() && self.size == self.size_asked {
            return Ok(());
        }
        self.size = self.size_asked;
        self.generation += 1;
        self.buffers = None;
        self.buffers = Some(Buffers::new(&self.shm, queue, self.size, self.generation)?);
        let scenes = if self.cut_every == 0 { 1 } else { SCENES };
        self.scenes = (0..scenes)
            .map(|scene| {
                Painter::new(
                    Look {
                        content: self.content,
                        scene,
                    },
                    self.size,
                )
            })
            .collect();
        let region = self.compositor.create_region(queue, ());
        region.add(0, 0, self.size.width.into(), self.size.height.into());
        self.surface.set_opaque_region(Some(&region));
        region.destroy();
        self.shown = None;
        Ok(())
    }
}

/// Waits for the compositor or a signal, at most `limit`, and reads what the compositor sent.
/// True if a signal asks for the end.
fn signalled_while_waiting(
    limit: Option<Duration>,
    queue: &mut EventQueue<Window>,
    signals: &EndSignals,
) -> Result<bool, TestcardError> {
    let Some(guard) = queue.prepare_read() else {
        // Events wait in the queue already.
        return Ok(false);
    };
    let limit = limit.and_then(|limit| rustix::event::Timespec::try_from(limit).ok());
    let nothing_to_read = {
        let fd = guard.connection_fd();
        let mut fds = [
            PollFd::new(&fd, PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(error) => {
                return Err(TestcardError::System {
                    action: "wait for events",
                    source: error.into(),
                });
            }
        }
        if fds[1].revents().contains(PollFlags::IN) {
            return Ok(true);
        }
        fds[0].revents().is_empty()
    };
    if nothing_to_read {
        // The time limit passed.
        return Ok(false);
    }
    match guard.read() {
        Ok(_) => Ok(false),
        Err(error) => ending(DispatchError::Backend(error)).map(|()| true),
    }
}

/// A lost connection is the normal end of a test card; a protocol error is not.
fn ending(error: DispatchError) -> Result<(), TestcardError> {
    match error {
        DispatchError::Backend(WaylandError::Io(_)) => Ok(()),
        other => Err(TestcardError::Protocol(other.to_string())),
    }
}

/// A configured side held against the limits; zero leaves the choice to us.
fn side(asked_px: i32, default_px: u16) -> u16 {
    match u16::try_from(asked_px) {
        Ok(0) | Err(_) => default_px,
        Ok(px) => px.clamp(SIDE_PX_MIN, SIDE_PX_MAX),
    }
}

impl Dispatch<wl_output::WlOutput, ()> for Window {
    fn event(
        window: &mut Self,
        _: &wl_output::WlOutput,
        event: wl_output::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_output::Event::Mode { width, height, .. } = event {
            window.size_free = Size {
                width: side(width, SIZE_DEFAULT.width),
                height: side(height, SIZE_DEFAULT.height),
            };
        }
    }
}

impl Dispatch<xdg_wm_base::XdgWmBase, ()> for Window {
    fn event(
        _: &mut Self,
        shell: &xdg_wm_base::XdgWmBase,
        event: xdg_wm_base::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let xdg_wm_base::Event::Ping { serial } = event {
            shell.pong(serial);
        }
    }
}

impl Dispatch<xdg_toplevel::XdgToplevel, ()> for Window {
    fn event(
        window: &mut Self,
        _: &xdg_toplevel::XdgToplevel,
        event: xdg_toplevel::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            xdg_toplevel::Event::Configure { width, height, .. } => {
                window.size_asked = Size {
                    width: side(width, window.size_free.width),
                    height: side(height, window.size_free.height),
                };
            }
            xdg_toplevel::Event::Close => window.closed = true,
            _ => {}
        }
    }
}

impl Dispatch<xdg_surface::XdgSurface, ()> for Window {
    fn event(
        window: &mut Self,
        surface: &xdg_surface::XdgSurface,
        event: xdg_surface::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let xdg_surface::Event::Configure { serial } = event {
            surface.ack_configure(serial);
            // The first configure starts the drawing, a new size wants a picture at once.
            window.wanted |= window.buffers.is_none() || window.size != window.size_asked;
        }
    }
}

impl Dispatch<wl_callback::WlCallback, ()> for Window {
    fn event(
        window: &mut Self,
        _: &wl_callback::WlCallback,
        _: wl_callback::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        window.wanted = true;
    }
}

impl Dispatch<wl_buffer::WlBuffer, BufferId> for Window {
    fn event(
        window: &mut Self,
        _: &wl_buffer::WlBuffer,
        event: wl_buffer::Event,
        id: &BufferId,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let (wl_buffer::Event::Release, Some(buffers)) = (event, &mut window.buffers) {
            buffers.released(*id);
        }
    }
}

impl Dispatch<wl_registry::WlRegistry, GlobalListContents> for Window {
    fn event(
        _: &mut Self,
        _: &wl_registry::WlRegistry,
        _: wl_registry::Event,
        _: &GlobalListContents,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
    }
}

delegate_noop!(Window: wl_compositor::WlCompositor);
delegate_noop!(Window: wl_region::WlRegion);
delegate_noop!(Window: wl_shm_pool::WlShmPool);
delegate_noop!(Window: ignore wl_shm::WlShm);
delegate_noop!(Window: ignore wl_surface::WlSurface);
