//! A Wayland client with a pointer of its own, which it hides and holds as games do, as a thread of
//! the test.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use net::cursor::{CursorShape, ShapeLayout};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::protocol::wl_compositor::WlCompositor;
use wayland_client::protocol::wl_pointer::{self, ButtonState, WlPointer};
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_seat::{self, Capability, WlSeat};
use wayland_client::protocol::wl_shm::{Format, WlShm};
use wayland_client::protocol::wl_shm_pool::WlShmPool;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_client::{Connection, Dispatch, EventQueue, Proxy, QueueHandle, WEnum, delegate_noop};
use wayland_protocols::wp::pointer_constraints::zv1::client::zwp_locked_pointer_v1::{
    self, ZwpLockedPointerV1,
};
use wayland_protocols::wp::pointer_constraints::zv1::client::zwp_pointer_constraints_v1::{
    Lifetime, ZwpPointerConstraintsV1,
};
use wayland_protocols::wp::relative_pointer::zv1::client as relative_v1;
use wayland_protocols::xdg::shell::client::xdg_surface::{self, XdgSurface};
use wayland_protocols::xdg::shell::client::xdg_toplevel::{self, XdgToplevel};
use wayland_protocols::xdg::shell::client::xdg_wm_base::XdgWmBase;

use relative_v1::zwp_relative_pointer_manager_v1::ZwpRelativePointerManagerV1;
use relative_v1::zwp_relative_pointer_v1::{self, ZwpRelativePointerV1};

/// Side of the pointer's buffer, pixels; what is seen of it begins at 1, 1.
const SIDE: i32 = 16;
/// The pixel of the buffer that lies on the pointer's place.
const HOTSPOT: (i32, i32) = (4, 5);
/// B, G, R, A.
const COLOUR: [u8; 4] = [20, 40, 250, 255];

/// What its pointer looks like.
pub fn shape() -> CursorShape {
    let layout = ShapeLayout::new(12, 10, (3, 4)).expect("valid");
    CursorShape::new(layout, COLOUR.repeat(12 * 10).into()).expect("as many")
}

/// What it was told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Where the pointer is, pixels of the window.
    pub at: Option<(f64, f64)>,
    /// Where it was when a button was pressed last.
    pub pressed_at: Option<(f64, f64)>,
    /// It holds the pointer.
    pub is_held: bool,
    /// The sum of motion while it did.
    pub dragged: (f64, f64),
}

/// What to do with the pointer.
pub enum Do {
    /// Hide it.
    Hide,
    /// Hide and hold it.
    Hold,
    /// Show it, and leave it there if it was held.
    Show(f64, f64),
}

/// A running game; it ends on drop.
pub struct Game {
    orders: Sender<Do>,
    told: Arc<Mutex<Told>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Game {
    /// Connects to the compositor at `socket` and covers its output.
    pub fn start(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the compositor listens");
        let (orders, ordered) = channel();
        let (told, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (writes, stop_seen) = (Arc::clone(&told), Arc::clone(&stop));
        let thread = std::thread::spawn(move || play(stream, &ordered, writes, &stop_seen));
        Self {
            orders,
            told,
            stop,
            thread: Some(thread),
        }
    }

    pub fn told(&self) -> Told {
        lock(&self.told).clone()
    }

    pub fn order(&self, what: Do) {
        self.orders.send(what).expect("it runs");
    }
}

impl Drop for Game {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the game does not panic");
        }
    }
}

fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().expect("nobody panics with it")
}

struct State {
    globals: HashMap<String, u32>,
    wanted: (i32, i32),
    configured: Option<(i32, i32)>,
    pointer: Option<WlPointer>,
    /// Of the newest enter event.
    serial: u32,
    is_shown: bool,
    cursor: WlSurface,
    told: Arc<Mutex<Told>>,
}

impl State {
    fn set_cursor(&self) {
        if let Some(pointer) = &self.pointer {
            let cursor = self.is_shown.then_some(&self.cursor);
            pointer.set_cursor(self.serial, cursor, HOTSPOT.0, HOTSPOT.1);
        }
    }
}

fn play(stream: UnixStream, orders: &Receiver<Do>, told: Arc<Mutex<Told>>, stop: &AtomicBool) {
    let connection = Connection::from_socket(stream).expect("a Wayland socket");
    let mut queue: EventQueue<State> = connection.new_event_queue();
    let handle = queue.handle();
    let registry = connection.display().get_registry(&handle, ());
    // Until there is a compositor to make the real one.
    let inert = Proxy::inert(connection.backend().downgrade());
    let mut state = State {
        globals: HashMap::new(),
        wanted: (640, 480),
        configured: None,
        pointer: None,
        serial: 0,
        is_shown: true,
        cursor: inert,
        told,
    };
    queue.roundtrip(&mut state).expect("answers");
    let compositor: WlCompositor = bind(&registry, &state, &handle);
    let shm: WlShm = bind(&registry, &state, &handle);
    let shell: XdgWmBase = bind(&registry, &state, &handle);
    let _seat: WlSeat = bind(&registry, &state, &handle);
    let constraints: ZwpPointerConstraintsV1 = bind(&registry, &state, &handle);
    let relative: ZwpRelativePointerManagerV1 = bind(&registry, &state, &handle);
    state.cursor = compositor.create_surface(&handle, ());
    state
        .cursor
        .attach(Some(&cursor_buffer(&shm, &handle)), 0, 0);
    state.cursor.damage(0, 0, i32::MAX, i32::MAX);
    state.cursor.commit();
    let surface = compositor.create_surface(&handle, ());
    let xdg = shell.get_xdg_surface(&surface, &handle, ());
    let toplevel = xdg.get_toplevel(&handle, ());
    toplevel.set_fullscreen(None);
    surface.commit();
    let (mut shown, mut held, mut motion) = (None, None, None);
    while !stop.load(Ordering::Acquire) {
        if let Some(size) = state.configured
            && shown != Some(size)
        {
            surface.attach(Some(&window_buffer(&shm, &handle, size)), 0, 0);
            surface.damage(0, 0, i32::MAX, i32::MAX);
            surface.commit();
            shown = Some(size);
        }
        if let Some(pointer) = &state.pointer {
            motion.get_or_insert_with(|| relative.get_relative_pointer(pointer, &handle, ()));
        }
        for order in orders.try_iter() {
            state.is_shown = matches!(order, Do::Show(..));
            state.set_cursor();
            match (order, &state.pointer) {
                (Do::Hold, Some(pointer)) => {
                    let lifetime = Lifetime::Persistent;
                    let lock =
                        constraints.lock_pointer(&surface, pointer, None, lifetime, &handle, ());
                    held = Some(lock);
                }
                (Do::Show(x, y), _) => {
                    if let Some(lock) = held.take() {
                        lock.set_cursor_position_hint(x, y);
                        surface.commit();
                        lock.destroy();
                        lock_told(&state).is_held = false;
                    }
                }
                _ => {}
            }
        }
        if connection.flush().is_err() || !wait(&connection, &mut queue, &mut state) {
            return;
        }
    }
}

fn lock_told(state: &State) -> MutexGuard<'_, Told> {
    lock(&state.told)
}

/// Dispatches what comes within 5 ms; false when the compositor is gone.
fn wait(connection: &Connection, queue: &mut EventQueue<State>, state: &mut State) -> bool {
    if let Some(guard) = connection.prepare_read() {
        let fd = guard.connection_fd();
        let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: 5_000_000,
        };
        if poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0) && guard.read().is_err() {
            return false;
        }
    }
    queue.dispatch_pending(state).is_ok()
}

fn bind<I: Proxy + 'static>(registry: &WlRegistry, state: &State, handle: &QueueHandle<State>) -> I
where
    State: Dispatch<I, ()>,
{
    let name = state.globals.get(I::interface().name);
    registry.bind(*name.expect("sway has it"), 1, handle, ())
}

fn cursor_buffer(shm: &WlShm, handle: &QueueHandle<State>) -> WlBuffer {
    let mut pixels = vec![0; (SIDE * SIDE * 4) as usize];
    for y in 1..11 {
        let row = &mut pixels[(y * SIDE as usize + 1) * 4..][..12 * 4];
        row.copy_from_slice(&COLOUR.repeat(12));
    }
    buffer(shm, handle, (SIDE, SIDE), Format::Argb8888, &pixels)
}

/// Black.
fn window_buffer(shm: &WlShm, handle: &QueueHandle<State>, size: (i32, i32)) -> WlBuffer {
    let pixels = vec![0; (size.0 * size.1 * 4) as usize];
    buffer(shm, handle, size, Format::Xrgb8888, &pixels)
}

fn buffer(
    shm: &WlShm,
    handle: &QueueHandle<State>,
    (width, height): (i32, i32),
    format: Format,
    pixels: &[u8],
) -> WlBuffer {
    let memory = File::from(memfd_create("game", MemfdFlags::CLOEXEC).expect("memory"));
    memory.write_all_at(pixels, 0).expect("memory");
    let bytes = i32::try_from(pixels.len()).expect("a small one");
    let pool = shm.create_pool(memory.as_fd(), bytes, handle, ());
    let buffer = pool.create_buffer(0, width, height, width * 4, format, handle, ());
    pool.destroy();
    buffer
}

impl Dispatch<WlRegistry, ()> for State {
    fn event(
        state: &mut Self,
        _: &WlRegistry,
        event: wl_registry::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_registry::Event::Global {
            name, interface, ..
        } = event
        {
            state.globals.insert(interface, name);
        }
    }
}

impl Dispatch<WlSeat, ()> for State {
    fn event(
        state: &mut Self,
        seat: &WlSeat,
        event: wl_seat::Event,
        (): &(),
        _: &Connection,
        handle: &QueueHandle<Self>,
    ) {
        if let wl_seat::Event::Capabilities {
            capabilities: WEnum::Value(has),
        } = event
            && has.contains(Capability::Pointer)
            && state.pointer.is_none()
        {
            state.pointer = Some(seat.get_pointer(handle, ()));
        }
    }
}

impl Dispatch<WlPointer, ()> for State {
    fn event(
        state: &mut Self,
        _: &WlPointer,
        event: wl_pointer::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            wl_pointer::Event::Enter {
                serial,
                surface_x,
                surface_y,
                ..
            } => {
                state.serial = serial;
                state.set_cursor();
                lock_told(state).at = Some((surface_x, surface_y));
            }
            wl_pointer::Event::Motion {
                surface_x,
                surface_y,
                ..
            } => lock_told(state).at = Some((surface_x, surface_y)),
            wl_pointer::Event::Button {
                state: WEnum::Value(ButtonState::Pressed),
                ..
            } => {
                let mut told = lock_told(state);
                told.pressed_at = told.at;
            }
            _ => {}
        }
    }
}

impl Dispatch<ZwpLockedPointerV1, ()> for State {
    fn event(
        state: &mut Self,
        _: &ZwpLockedPointerV1,
        event: zwp_locked_pointer_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        let mut told = lock_told(state);
        told.is_held = matches!(event, zwp_locked_pointer_v1::Event::Locked);
        told.dragged = (0.0, 0.0);
    }
}

impl Dispatch<ZwpRelativePointerV1, ()> for State {
    fn event(
        state: &mut Self,
        _: &ZwpRelativePointerV1,
        event: zwp_relative_pointer_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let zwp_relative_pointer_v1::Event::RelativeMotion { dx, dy, .. } = event {
            let mut told = lock_told(state);
            if told.is_held {
                told.dragged = (told.dragged.0 + dx, told.dragged.1 + dy);
            }
        }
    }
}

impl Dispatch<XdgToplevel, ()> for State {
    fn event(
        state: &mut Self,
        _: &XdgToplevel,
        event: xdg_toplevel::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let xdg_toplevel::Event::Configure { width, height, .. } = event
            && width > 0
            && height > 0
        {
            state.wanted = (width, height);
        }
    }
}

impl Dispatch<XdgSurface, ()> for State {
    fn event(
        state: &mut Self,
        surface: &XdgSurface,
        event: xdg_surface::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let xdg_surface::Event::Configure { serial } = event {
            surface.ack_configure(serial);
            state.configured = Some(state.wanted);
        }
    }
}

delegate_noop!(State: ignore WlCompositor);
delegate_noop!(State: ignore WlSurface);
delegate_noop!(State: ignore WlShm);
delegate_noop!(State: ignore WlShmPool);
delegate_noop!(State: ignore WlBuffer);
delegate_noop!(State: ignore XdgWmBase);
delegate_noop!(State: ignore ZwpPointerConstraintsV1);
delegate_noop!(State: ignore ZwpRelativePointerManagerV1);
