//! A Wayland client that draws a new picture on every frame callback, as a thread of the test.
//! (weston-simple-shm 10 aborts on sway 1.7, which holds buffers longer than it expects.)
//!
//! Every picture is of one colour, [`colour`] of its number, so a reader knows which one it sees.
//! Each is in a `wl_buffer` of its own: gamescope does not look at one again.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use gpu::frame::{Frame, Size};
use net::units::Timestamp;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use wayland_client::protocol::wl_buffer::{self, WlBuffer};
use wayland_client::protocol::wl_callback::{self, WlCallback};
use wayland_client::protocol::wl_compositor::WlCompositor;
use wayland_client::protocol::wl_output::{self, WlOutput};
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_shm::{Format, WlShm};
use wayland_client::protocol::wl_shm_pool::WlShmPool;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_client::{Connection, Dispatch, EventQueue, Proxy, QueueHandle, delegate_noop};
use wayland_protocols::xdg::shell::client::xdg_surface::{self, XdgSurface};
use wayland_protocols::xdg::shell::client::xdg_toplevel::{self, XdgToplevel};
use wayland_protocols::xdg::shell::client::xdg_wm_base::{self, XdgWmBase};

const BUFFERS: usize = 4;

/// The pixel of picture `number`: injective for the first 2^24.
pub fn colour(number: u32) -> u32 {
    number.wrapping_mul(0x9E_3779) & 0x00FF_FFFF
}

/// The colour in the middle and in the corners; `None` while they differ.
pub fn shown(frame: &Frame) -> Option<u32> {
    let pixels = frame.surface.map().expect("shared memory can be read");
    let Size { width, height } = frame.surface.size();
    let (width, height) = (usize::from(width), usize::from(height));
    let at = |x: usize, y: usize| {
        let begin = y * pixels.stride + x * 4;
        let pixel = pixels.bytes[begin..begin + 4].try_into().expect("four");
        u32::from_le_bytes(pixel) & 0x00FF_FFFF
    };
    let first = at(0, 0);
    let others = [
        (width - 1, 0),
        (0, height - 1),
        (width - 1, height - 1),
        (width / 3, height / 3),
    ];
    let is_one = others.iter().all(|(x, y)| at(*x, *y) == first);
    is_one.then_some(first)
}

/// When picture `number` was given away, of a painter that notes that; zero if it was not yet.
pub fn drawn_at(notes: &File, number: u32) -> Timestamp {
    let mut at = [0; 8];
    // Beyond the end: not drawn yet.
    let _ = notes.read_exact_at(&mut at, u64::from(number) * 8);
    Timestamp::from_ns(u64::from_ne_bytes(at))
}

/// A running painter; it ends on drop, or when its compositor does.
pub struct Painter {
    stop: Arc<AtomicBool>,
    drawn: Arc<AtomicU32>,
    notes: File,
    thread: Option<JoinHandle<()>>,
}

impl Painter {
    /// Connects to the compositor at `socket` and draws until dropped, at most `pictures`.
    pub fn start(socket: &Path, pictures: u32) -> Self {
        let notes = memfd_create("notes", MemfdFlags::CLOEXEC).expect("a memfd");
        Self::start_noting(socket, pictures, notes.into())
    }

    /// As [`Painter::start`]; notes in that file when each picture was given away, for
    /// [`drawn_at`].
    pub fn start_noting(socket: &Path, pictures: u32, notes: File) -> Self {
        let (stop, drawn) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU32::new(0)),
        );
        let (stop_seen, count) = (Arc::clone(&stop), Arc::clone(&drawn));
        let written = notes.try_clone().expect("a descriptor more");
        let stream = UnixStream::connect(socket).expect("the compositor listens");
        let thread = std::thread::spawn(move || {
            paint(stream, pictures, &written, &stop_seen, &count);
        });
        Self {
            stop,
            drawn,
            notes,
            thread: Some(thread),
        }
    }

    /// Waits until the compositor is gone.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the painter does not panic");
        }
    }

    /// How many pictures have been given to the compositor.
    pub fn drawn(&self) -> u32 {
        self.drawn.load(Ordering::Acquire)
    }

    /// When picture `number` was given away.
    pub fn drawn_at(&self, number: u32) -> Timestamp {
        drawn_at(&self.notes, number)
    }
}

impl Drop for Painter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the painter does not panic");
        }
    }
}

#[derive(Default)]
struct State {
    globals: HashMap<String, u32>,
    configured: Option<(i32, i32)>,
    wanted: (i32, i32),
    due: bool,
    /// Buffers were made so often before, for other sizes.
    generation: usize,
    free: Vec<usize>,
}

fn paint(stream: UnixStream, pictures: u32, notes: &File, stop: &AtomicBool, drawn: &AtomicU32) {
    let connection = Connection::from_socket(stream).expect("a Wayland socket");
    let mut queue: EventQueue<State> = connection.new_event_queue();
    let handle = queue.handle();
    let mut state = State {
        wanted: (640, 480),
        due: true,
        ..State::default()
    };
    let registry = connection.display().get_registry(&handle, ());
    queue.roundtrip(&mut state).expect("answers");
    let compositor: WlCompositor = bind(&registry, &state, &handle);
    let shm: WlShm = bind(&registry, &state, &handle);
    let shell: XdgWmBase = bind(&registry, &state, &handle);
    // Where the compositor leaves the size to its clients (gamescope).
    if state.globals.contains_key(WlOutput::interface().name) {
        let _output: WlOutput = bind(&registry, &state, &handle);
        queue.roundtrip(&mut state).expect("answers");
    }
    let surface = compositor.create_surface(&handle, ());
    let xdg = shell.get_xdg_surface(&surface, &handle, ());
    let toplevel = xdg.get_toplevel(&handle, ());
    toplevel.set_title("painter".into());
    toplevel.set_fullscreen(None);
    surface.commit();

    let mut buffers = Buffers::default();
    while !stop.load(Ordering::Acquire) {
        let number = drawn.load(Ordering::Relaxed);
        if let Some(size) = state.configured
            && state.due
            && number < pictures
        {
            if buffers.size != size {
                state.generation += 1;
                buffers = Buffers::new(&shm, &handle, size, state.generation);
                state.free = (0..BUFFERS).collect();
            }
            if let Some(index) = state.free.pop() {
                state.due = false;
                surface.attach(Some(&buffers.fill(&handle, index, number)), 0, 0);
                surface.damage(0, 0, i32::MAX, i32::MAX);
                // Before the compositor has it, and whoever looks through the compositor.
                let now = net::clock::now().as_ns().to_ne_bytes();
                notes
                    .write_all_at(&now, u64::from(number) * 8)
                    .expect("a file");
                surface.frame(&handle, ());
                surface.commit();
                drawn.store(number + 1, Ordering::Release);
            }
        }
        if connection.flush().is_err() || !wait(&connection, &mut queue, &mut state) {
            return;
        }
    }
    toplevel.destroy();
    xdg.destroy();
    surface.destroy();
    let _ = connection.flush();
}

/// Dispatches what comes within 20 ms; false when the compositor is gone.
fn wait(connection: &Connection, queue: &mut EventQueue<State>, state: &mut State) -> bool {
    if let Some(guard) = connection.prepare_read() {
        let fd = guard.connection_fd();
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(
            fd,
            rustix::event::PollFlags::IN,
        )];
        let timeout = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        if rustix::event::poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0)
            && guard.read().is_err()
        {
            return false;
        }
    }
    queue.dispatch_pending(state).is_ok()
}

#[derive(Default)]
struct Buffers {
    size: (i32, i32),
    generation: usize,
    all: Vec<(File, WlShmPool)>,
    row: Vec<u8>,
}

impl Buffers {
    fn new(shm: &WlShm, handle: &QueueHandle<State>, size: (i32, i32), generation: usize) -> Self {
        let (width, height) = size;
        let bytes = width * 4 * height;
        let all = (0..BUFFERS)
            .map(|_| {
                let memory = memfd_create("painter", MemfdFlags::CLOEXEC).expect("memory");
                ftruncate(&memory, u64::try_from(bytes).expect("positive")).expect("memory");
                let pool = shm.create_pool(memory.as_fd(), bytes, handle, ());
                (File::from(memory), pool)
            })
            .collect();
        Self {
            size,
            generation,
            all,
            row: vec![0; usize::try_from(width * 4).expect("positive")],
        }
    }

    fn fill(&mut self, handle: &QueueHandle<State>, index: usize, number: u32) -> WlBuffer {
        let (file, pool) = &self.all[index];
        for pixel in self.row.chunks_exact_mut(4) {
            pixel.copy_from_slice(&colour(number).to_le_bytes());
        }
        for y in 0..u64::try_from(self.size.1).expect("positive") {
            file.write_all_at(&self.row, y * self.row.len() as u64)
                .expect("memory");
        }
        let ((width, height), format) = (self.size, Format::Xrgb8888);
        let place = (self.generation, index);
        pool.create_buffer(0, width, height, width * 4, format, handle, place)
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        self.all.iter().for_each(|(_, pool)| pool.destroy());
    }
}

fn bind<I: Proxy + 'static>(registry: &WlRegistry, state: &State, handle: &QueueHandle<State>) -> I
where
    State: Dispatch<I, ()>,
{
    let name = *state
        .globals
        .get(I::interface().name)
        .expect("every compositor has it");
    registry.bind(name, 1, handle, ())
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

impl Dispatch<WlOutput, ()> for State {
    fn event(
        state: &mut Self,
        _: &WlOutput,
        event: wl_output::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_output::Event::Mode { width, height, .. } = event {
            state.wanted = (width, height);
        }
    }
}

impl Dispatch<XdgWmBase, ()> for State {
    fn event(
        _: &mut Self,
        shell: &XdgWmBase,
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
            if state.configured != Some(state.wanted) {
                state.configured = Some(state.wanted);
                state.due = true;
            }
        }
    }
}

impl Dispatch<WlCallback, ()> for State {
    fn event(
        state: &mut Self,
        _: &WlCallback,
        _: wl_callback::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        state.due = true;
    }
}

impl Dispatch<WlBuffer, (usize, usize)> for State {
    fn event(
        state: &mut Self,
        buffer: &WlBuffer,
        event: wl_buffer::Event,
        (generation, index): &(usize, usize),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if !matches!(event, wl_buffer::Event::Release) {
            return;
        }
        buffer.destroy();
        // One of another size may be released long after it was replaced.
        if *generation == state.generation && !state.free.contains(index) {
            state.free.push(*index);
        }
    }
}

delegate_noop!(State: ignore WlCompositor);
delegate_noop!(State: ignore WlSurface);
delegate_noop!(State: ignore WlShm);
delegate_noop!(State: ignore WlShmPool);
