//! A Wayland client with a pointer of its own, as an application of a display: a full-screen window
//! of one colour. It writes down what pointer and fingers do, and a button changes it:
//!
//! | button | ground | pointer |
//! |---|---|---|
//! | before any | [`GROUNDS`]`[0]` | [`SHAPES`]`[0]` |
//! | left | [`GROUNDS`]`[1]` | [`SHAPES`]`[1]` |
//! | right | [`GROUNDS`]`[2]` | none |

use std::fs::File;
use std::io::{LineWriter, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::protocol::wl_compositor::WlCompositor;
use wayland_client::protocol::wl_pointer::{self, WlPointer};
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_seat::{self, Capability, WlSeat};
use wayland_client::protocol::wl_shm::{Format, WlShm};
use wayland_client::protocol::wl_shm_pool::WlShmPool;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_client::protocol::wl_touch::{self, WlTouch};
use wayland_client::{Connection, Dispatch, QueueHandle, WEnum, delegate_noop};
use wayland_protocols::xdg::shell::client::xdg_surface::{self, XdgSurface};
use wayland_protocols::xdg::shell::client::xdg_toplevel::{self, XdgToplevel};
use wayland_protocols::xdg::shell::client::xdg_wm_base::{self, XdgWmBase};

/// Red, green, blue of the window.
pub const GROUNDS: [u32; 3] = [0x10_20_30, 0x20_30_40, 0x30_40_50];

/// What the pointer looks like.
#[derive(Clone, Copy)]
pub struct Look {
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// The pixel that points.
    pub hotspot: (u16, u16),
    /// Makes its pixels others than those of the other.
    pub red: u8,
}

/// Both.
pub const SHAPES: [Look; 2] = [
    Look {
        width: 10,
        height: 14,
        hotspot: (4, 6),
        red: 200,
    },
    Look {
        width: 24,
        height: 24,
        hotspot: (0, 23),
        red: 90,
    },
];

impl Look {
    /// B, G, R, A of every pixel: each opaque one is of a colour of its own, one corner is clear.
    pub fn pixels(self) -> Vec<u8> {
        let pixel = |x: u16, y: u16| match (x + 1, y + 1) == (self.width, self.height) {
            true => [0; 4],
            false => [60 + x as u8 * 8, 60 + y as u8 * 8, self.red, 255],
        };
        let rows = (0..self.height).flat_map(|y| (0..self.width).map(move |x| (x, y)));
        rows.flat_map(|(x, y)| pixel(x, y)).collect()
    }
}

/// This very test executable, as an application that runs only the test `name`.
pub fn again(name: &str, variable: &str, value: &Path) -> Vec<String> {
    let this = std::env::current_exe().expect("known");
    let told = format!("{variable}={}", value.display());
    let words = [
        "env",
        &told,
        this.to_str().expect("text"),
        "--exact",
        name,
        "--nocapture",
    ];
    words.map(str::to_owned).to_vec()
}

struct Guest {
    registry: Option<(WlCompositor, WlShm, XdgWmBase)>,
    globals: Vec<(u32, String)>,
    size: Option<(i32, i32)>,
    wanted: (i32, i32),
    pointer: Option<WlPointer>,
    touch: Option<WlTouch>,
    surface: Option<WlSurface>,
    shape: Option<WlSurface>,
    look: usize,
    entered: u32,
    is_stale: bool,
    said: LineWriter<File>,
}

impl Guest {
    /// A line at once, so that nobody reads half of one.
    fn say(&mut self, line: &str) {
        writeln!(self.said, "{line}").expect("our file");
    }

    fn image(&self, handle: &QueueHandle<Self>, side: (i32, i32), bytes: &[u8]) -> WlBuffer {
        let (_, shm, _) = self.registry.as_ref().expect("bound");
        let memory = memfd_create("guest", MemfdFlags::CLOEXEC).expect("memory");
        ftruncate(&memory, bytes.len() as u64).expect("memory");
        rustix::io::pwrite(&memory, bytes, 0).expect("memory");
        let pool = shm.create_pool(memory.as_fd(), bytes.len() as i32, handle, ());
        let (width, height) = side;
        let stride = width * 4;
        let buffer = pool.create_buffer(0, width, height, stride, Format::Argb8888, handle, ());
        pool.destroy();
        buffer
    }

    fn paint(&mut self, handle: &QueueHandle<Self>) {
        let (Some(size), Some(surface)) = (self.size, self.surface.clone()) else {
            return;
        };
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        let pixel = (GROUNDS[self.look] | 0xFF00_0000).to_le_bytes();
        let bytes = pixel.repeat((size.0 * size.1) as usize);
        surface.attach(Some(&self.image(handle, size, &bytes)), 0, 0);
        surface.damage(0, 0, size.0, size.1);
        surface.commit();
        self.point(handle);
    }

    /// Gives the pointer its look, if it is over the window.
    fn point(&mut self, handle: &QueueHandle<Self>) {
        let Some(pointer) = self.pointer.clone().filter(|_| self.entered > 0) else {
            return;
        };
        let Some(look) = SHAPES.get(self.look) else {
            pointer.set_cursor(self.entered, None, 0, 0);
            return;
        };
        let (compositor, _, _) = self.registry.as_ref().expect("bound");
        let shape = compositor.create_surface(handle, ());
        let side = (look.width.into(), look.height.into());
        let (x, y) = (look.hotspot.0.into(), look.hotspot.1.into());
        // In this order, as toolkits do: Mutter shows nothing of a surface that was no pointer's when
        // it was committed.
        pointer.set_cursor(self.entered, Some(&shape), x, y);
        shape.attach(Some(&self.image(handle, side, &look.pixels())), 0, 0);
        shape.damage(0, 0, side.0, side.1);
        shape.commit();
        if let Some(older) = self.shape.replace(shape) {
            older.destroy();
        }
    }
}

/// Runs on the compositor of the environment until that is gone, and writes to `path`. Its window is
/// full screen by its own wish, or by whoever places windows.
pub fn run(path: &Path, asks_for_full_screen: bool) {
    let socket = std::env::var_os("WAYLAND_DISPLAY").expect("set for an application");
    let stream = UnixStream::connect(socket).expect("a compositor");
    let connection = Connection::from_socket(stream).expect("a compositor");
    let mut queue = connection.new_event_queue();
    let handle = queue.handle();
    let mut guest = Guest {
        registry: None,
        globals: Vec::new(),
        size: None,
        wanted: (640, 480),
        pointer: None,
        touch: None,
        surface: None,
        shape: None,
        look: 0,
        entered: 0,
        is_stale: false,
        said: LineWriter::new(File::create(path).expect("our file")),
    };
    let registry = connection.display().get_registry(&handle, ());
    queue.roundtrip(&mut guest).expect("it answers");
    let name = |wanted: &str| {
        let mut globals = guest.globals.iter();
        globals.find(|(_, it)| it == wanted).expect("offered").0
    };
    let compositor: WlCompositor = registry.bind(name("wl_compositor"), 4, &handle, ());
    let shm: WlShm = registry.bind(name("wl_shm"), 1, &handle, ());
    let shell: XdgWmBase = registry.bind(name("xdg_wm_base"), 1, &handle, ());
    let _seat: WlSeat = registry.bind(name("wl_seat"), 5, &handle, ());
    let surface = compositor.create_surface(&handle, ());
    let xdg = shell.get_xdg_surface(&surface, &handle, ());
    let toplevel = xdg.get_toplevel(&handle, ());
    toplevel.set_title("guest".into());
    if asks_for_full_screen {
        toplevel.set_fullscreen(None);
    }
    surface.commit();
    guest.surface = Some(surface);
    guest.registry = Some((compositor, shm, shell));
    while queue.blocking_dispatch(&mut guest).is_ok() {
        guest.paint(&handle);
    }
}

impl Dispatch<WlRegistry, ()> for Guest {
    fn event(
        guest: &mut Self,
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
            guest.globals.push((name, interface));
        }
    }
}

impl Dispatch<WlSeat, ()> for Guest {
    fn event(
        guest: &mut Self,
        seat: &WlSeat,
        event: wl_seat::Event,
        (): &(),
        _: &Connection,
        handle: &QueueHandle<Self>,
    ) {
        // A seat has what is plugged in: our injector's devices come later.
        if let wl_seat::Event::Capabilities {
            capabilities: WEnum::Value(has),
        } = event
        {
            if has.contains(Capability::Pointer) && guest.pointer.is_none() {
                guest.pointer = Some(seat.get_pointer(handle, ()));
            }
            if has.contains(Capability::Touch) && guest.touch.is_none() {
                guest.touch = Some(seat.get_touch(handle, ()));
                guest.say("touch is there");
            }
        }
    }
}

impl Dispatch<WlPointer, ()> for Guest {
    fn event(
        guest: &mut Self,
        _: &WlPointer,
        event: wl_pointer::Event,
        (): &(),
        _: &Connection,
        handle: &QueueHandle<Self>,
    ) {
        match event {
            wl_pointer::Event::Enter {
                serial,
                surface_x,
                surface_y,
                ..
            } => {
                guest.entered = serial;
                guest.point(handle);
                guest.say(&format!("pointer at {surface_x} {surface_y}"));
            }
            wl_pointer::Event::Motion {
                surface_x,
                surface_y,
                ..
            } => {
                guest.say(&format!("pointer at {surface_x} {surface_y}"));
                // A compositor tells an image once, and not again if that was lost.
                guest.point(handle);
            }
            wl_pointer::Event::Button {
                button,
                state: WEnum::Value(wl_pointer::ButtonState::Pressed),
                ..
            } => {
                guest.look = match button {
                    0x110 => 1,
                    _ => 2,
                };
                guest.is_stale = true;
                guest.say(&format!("button {button:x}"));
            }
            _ => {}
        }
    }
}

impl Dispatch<WlTouch, ()> for Guest {
    fn event(
        guest: &mut Self,
        _: &WlTouch,
        event: wl_touch::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            wl_touch::Event::Down { id, x, y, .. } => guest.say(&format!("down {id} {x} {y}")),
            wl_touch::Event::Motion { id, x, y, .. } => guest.say(&format!("motion {id} {x} {y}")),
            wl_touch::Event::Up { id, .. } => guest.say(&format!("up {id}")),
            wl_touch::Event::Frame => guest.say("frame"),
            wl_touch::Event::Cancel => guest.say("cancel"),
            _ => {}
        }
    }
}

impl Dispatch<XdgWmBase, ()> for Guest {
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

impl Dispatch<XdgToplevel, ()> for Guest {
    fn event(
        guest: &mut Self,
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
            guest.wanted = (width, height);
        }
    }
}

impl Dispatch<XdgSurface, ()> for Guest {
    fn event(
        guest: &mut Self,
        surface: &XdgSurface,
        event: xdg_surface::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let xdg_surface::Event::Configure { serial } = event {
            surface.ack_configure(serial);
            if guest.size.replace(guest.wanted) != Some(guest.wanted) {
                guest.is_stale = true;
                guest.say(&format!("size {} {}", guest.wanted.0, guest.wanted.1));
            }
        }
    }
}

delegate_noop!(Guest: ignore WlCompositor);
delegate_noop!(Guest: ignore WlSurface);
delegate_noop!(Guest: ignore WlShm);
delegate_noop!(Guest: ignore WlShmPool);
delegate_noop!(Guest: ignore WlBuffer);
