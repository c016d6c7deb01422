//! A Wayland client that writes down what its seat tells it: a full-screen window of one colour,
//! on a thread of its own. Tests hold what arrives on a desktop against what a client did.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::protocol::wl_compositor::WlCompositor;
use wayland_client::protocol::wl_keyboard::{self, WlKeyboard};
use wayland_client::protocol::wl_output::{self, WlOutput};
use wayland_client::protocol::wl_pointer::{self, WlPointer};
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_seat::{self, Capability, WlSeat};
use wayland_client::protocol::wl_shm::{Format, WlShm};
use wayland_client::protocol::wl_shm_pool::WlShmPool;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_client::{Connection, Dispatch, EventQueue, Proxy, QueueHandle, WEnum, delegate_noop};
use wayland_protocols::xdg::shell::client::xdg_surface::{self, XdgSurface};
use wayland_protocols::xdg::shell::client::xdg_toplevel::{self, XdgToplevel};
use wayland_protocols::xdg::shell::client::xdg_wm_base::{self, XdgWmBase};

/// Events that are kept; a listener that heard more has nobody who reads them.
const HEARD_MAX: usize = 1 << 16;
/// XKB counts keys from 8.
const XKB_OFFSET: u32 = 8;
/// `XKB_KEY_Return`, and where keysyms of Unicode begin (`xkbcommon-keysyms.h`).
const RETURN: u32 = 0xFF0D;
const UNICODE_KEYSYMS: u32 = 1 << 24;
/// The real modifier that reaches the second level.
const SHIFT: u32 = 1;

/// What the seat said.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// The keyboard is ours.
    KeyboardEnter,
    /// The pointer is over the window.
    PointerEnter {
        /// Where, pixels.
        x: f64,
        /// Likewise.
        y: f64,
    },
    /// Keys mean something else now.
    Keymap,
    /// A key, by code of the kernel, and its keysym's name under the keymap and Shift of then.
    Key {
        /// Code.
        code: u32,
        /// Down or up.
        pressed: bool,
        /// What it says.
        symbol: String,
    },
    /// Modifiers, as XKB's bits.
    Modifiers {
        /// Held.
        depressed: u32,
        /// Locked.
        locked: u32,
    },
    /// The pointer is here, pixels of the window.
    Motion {
        /// From the left.
        x: f64,
        /// From the top.
        y: f64,
    },
    /// A button, by code of the kernel.
    Button {
        /// Code.
        code: u32,
        /// Down or up.
        pressed: bool,
    },
    /// A wheel or its like.
    Axis {
        /// Across instead of down.
        is_horizontal: bool,
        /// How far, in the unit of motion.
        value: f64,
    },
    /// Notches that the axis event was.
    Notches {
        /// How many; down and right are positive.
        count: i32,
    },
}

/// A running listener; it ends on drop, or when its compositor does.
pub struct Listener {
    stop: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<Heard>>>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Connects to the compositor at `socket` and covers its output.
    ///
    /// # Errors
    /// If nobody listens there.
    pub fn start(socket: &Path) -> std::io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        let stop = Arc::new(AtomicBool::new(false));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (stop_seen, writes) = (Arc::clone(&stop), Arc::clone(&heard));
        let thread = std::thread::Builder::new()
            .name("listener".to_owned())
            .spawn(move || {
                if listen(stream, &stop_seen, writes).is_none() {
                    log::debug!("the listener's compositor is gone");
                }
            })?;
        Ok(Self {
            stop,
            heard,
            thread: Some(thread),
        })
    }

    /// Everything so far.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        let heard = self.heard.lock();
        heard.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was typed so far, by the keysyms of the keys that were pressed; keys that are no
    /// character are left out, Return is a line's end.
    #[must_use]
    pub fn typed(&self) -> String {
        let heard = self.heard();
        let pressed = heard.iter().filter_map(|heard| match heard {
            Heard::Key {
                pressed: true,
                symbol,
                ..
            } => character(symbol),
            _ => None,
        });
        pressed.collect()
    }

    /// Where the pointer was last.
    #[must_use]
    pub fn pointer(&self) -> Option<(f64, f64)> {
        self.heard().iter().rev().find_map(|heard| match heard {
            Heard::Motion { x, y } | Heard::PointerEnter { x, y } => Some((*x, *y)),
            _ => None,
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the listener panicked");
        }
    }
}

/// The character of a keysym's name, for those that XKB serialises by name instead of by itself.
fn character(symbol: &str) -> Option<char> {
    const NAMED: &[(&str, char)] = &[
        ("space", ' '),
        ("exclam", '!'),
        ("quotedbl", '"'),
        ("numbersign", '#'),
        ("dollar", '$'),
        ("percent", '%'),
        ("ampersand", '&'),
        ("apostrophe", '\''),
        ("parenleft", '('),
        ("parenright", ')'),
        ("asterisk", '*'),
        ("plus", '+'),
        ("comma", ','),
        ("minus", '-'),
        ("period", '.'),
        ("slash", '/'),
        ("colon", ':'),
        ("semicolon", ';'),
        ("less", '<'),
        ("equal", '='),
        ("greater", '>'),
        ("question", '?'),
        ("at", '@'),
        ("bracketleft", '['),
        ("backslash", '\\'),
        ("bracketright", ']'),
        ("asciicircum", '^'),
        ("underscore", '_'),
        ("grave", '`'),
        ("braceleft", '{'),
        ("bar", '|'),
        ("braceright", '}'),
        ("asciitilde", '~'),
        ("Return", '\n'),
        ("Tab", '\t'),
        ("adiaeresis", 'ä'),
        ("odiaeresis", 'ö'),
        ("udiaeresis", 'ü'),
        ("ssharp", 'ß'),
        ("EuroSign", '€'),
        ("Cyrillic_ZHE", 'Ж'),
    ];
    let mut characters = symbol.chars();
    let first = characters.next()?;
    if characters.next().is_none() {
        return Some(first);
    }
    if let Some((_, character)) = NAMED.iter().find(|(name, _)| *name == symbol) {
        return Some(*character);
    }
    // libxkbcommon 1.9 and later write the number: Latin-1 is itself, Unicode lies above 2^24.
    if let Some(hex) = symbol.strip_prefix("0x") {
        return match u32::from_str_radix(hex, 16).ok()? {
            RETURN => Some('\n'),
            latin @ (0x20..=0x7E | 0xA0..=0xFF) => char::from_u32(latin),
            other => char::from_u32(other.checked_sub(UNICODE_KEYSYMS)?),
        };
    }
    let point = symbol
        .strip_prefix('U')
        .and_then(|hex| u32::from_str_radix(hex, 16).ok())?;
    char::from_u32(point)
}

/// Keysyms by code, both levels, out of a keymap's text.
fn symbols(keymap: &str) -> HashMap<u32, Vec<String>> {
    let mut codes: HashMap<&str, u32> = HashMap::new();
    let mut all = HashMap::new();
    for statement in keymap.split(';') {
        let statement = statement.trim();
        // `<AB01> = 52`
        if let Some((name, code)) = statement.rsplit_once('=')
            && let Some(name) = name.trim().rsplit_once('<').map(|it| it.1)
            && let (Some(name), Ok(code)) = (name.strip_suffix('>'), code.trim().parse())
        {
            codes.insert(name, code);
        }
        // `key <AB01> { … [ z, Z ] … }`: the last brackets that hold names.
        if let Some((_, rest)) = statement.split_once("key <")
            && let Some((name, rest)) = rest.split_once('>')
            && let Some(code) = codes.get(name)
        {
            let lists = rest
                .split('[')
                .skip(1)
                .filter_map(|list| list.split_once(']'));
            let names = lists
                .map(|(list, _)| list)
                .filter(|list| !list.contains("Group"));
            if let Some(list) = names.last() {
                let list = list.split(',').map(|symbol| symbol.trim().to_owned());
                all.insert(code - XKB_OFFSET, list.collect());
            }
        }
    }
    all
}

struct State {
    globals: HashMap<String, (u32, u32)>,
    configured: Option<(i32, i32)>,
    wanted: (i32, i32),
    keyboard: Option<WlKeyboard>,
    pointer: Option<WlPointer>,
    symbols: HashMap<u32, Vec<String>>,
    has_shift: bool,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl State {
    fn hear(&self, heard: Heard) {
        let mut all = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < HEARD_MAX {
            all.push(heard);
        }
    }

    fn bind<I: Proxy + 'static>(
        &self,
        registry: &WlRegistry,
        version_max: u32,
        handle: &QueueHandle<Self>,
    ) -> Option<I>
    where
        Self: Dispatch<I, ()>,
    {
        let (name, version) = *self.globals.get(I::interface().name)?;
        Some(registry.bind(name, version.min(version_max), handle, ()))
    }
}

/// `None` when the compositor is gone or lacks what every one has.
fn listen(stream: UnixStream, stop: &AtomicBool, heard: Arc<Mutex<Vec<Heard>>>) -> Option<()> {
    let connection = Connection::from_socket(stream).ok()?;
    let mut queue: EventQueue<State> = connection.new_event_queue();
    let handle = queue.handle();
    let mut state = State {
        globals: HashMap::new(),
        configured: None,
        wanted: (640, 480),
        keyboard: None,
        pointer: None,
        symbols: HashMap::new(),
        has_shift: false,
        heard,
    };
    let registry = connection.display().get_registry(&handle, ());
    queue.roundtrip(&mut state).ok()?;
    let compositor: WlCompositor = state.bind(&registry, 4, &handle)?;
    let shm: WlShm = state.bind(&registry, 1, &handle)?;
    let shell: XdgWmBase = state.bind(&registry, 1, &handle)?;
    // Version 5 tells notches beside axis values.
    let _seat: WlSeat = state.bind(&registry, 5, &handle)?;
    // Where the compositor leaves the size to its clients (gamescope).
    let _output: Option<WlOutput> = state.bind(&registry, 1, &handle);
    queue.roundtrip(&mut state).ok()?;
    let surface = compositor.create_surface(&handle, ());
    let xdg = shell.get_xdg_surface(&surface, &handle, ());
    let toplevel = xdg.get_toplevel(&handle, ());
    toplevel.set_title("listener".into());
    toplevel.set_fullscreen(None);
    surface.commit();
    let mut shown = None;
    while !stop.load(Ordering::Acquire) {
        if let Some(size) = state.configured
            && shown != Some(size)
        {
            surface.attach(Some(&buffer(&shm, &handle, size)?), 0, 0);
            surface.damage(0, 0, i32::MAX, i32::MAX);
            surface.commit();
            shown = Some(size);
        }
        connection.flush().ok()?;
        wait(&connection, &mut queue, &mut state)?;
    }
    Some(())
}

/// Dispatches what comes within 20 ms; `None` when the compositor is gone.
fn wait(connection: &Connection, queue: &mut EventQueue<State>, state: &mut State) -> Option<()> {
    if let Some(guard) = connection.prepare_read() {
        let fd = guard.connection_fd();
        let interest = rustix::event::PollFlags::IN;
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(fd, interest)];
        let timeout = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 20_000_000,
        };
        if rustix::event::poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0) {
            guard.read().ok()?;
        }
    }
    queue.dispatch_pending(state).ok().map(drop)
}

fn buffer(
    shm: &WlShm,
    handle: &QueueHandle<State>,
    (width, height): (i32, i32),
) -> Option<WlBuffer> {
    let bytes = width * 4 * height;
    let memory = memfd_create("listener", MemfdFlags::CLOEXEC).ok()?;
    ftruncate(&memory, u64::try_from(bytes).ok()?).ok()?;
    let pool = shm.create_pool(memory.as_fd(), bytes, handle, ());
    let buffer = pool.create_buffer(0, width, height, width * 4, Format::Xrgb8888, handle, ());
    pool.destroy();
    Some(buffer)
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
            name,
            interface,
            version,
        } = event
        {
            state.globals.insert(interface, (name, version));
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

impl Dispatch<WlSeat, ()> for State {
    fn event(
        state: &mut Self,
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
            if has.contains(Capability::Keyboard) && state.keyboard.is_none() {
                state.keyboard = Some(seat.get_keyboard(handle, ()));
            }
            if has.contains(Capability::Pointer) && state.pointer.is_none() {
                state.pointer = Some(seat.get_pointer(handle, ()));
            }
        }
    }
}

impl Dispatch<WlKeyboard, ()> for State {
    fn event(
        state: &mut Self,
        _: &WlKeyboard,
        event: wl_keyboard::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            wl_keyboard::Event::Keymap { fd, size, .. } => {
                let mut text = Vec::new();
                // The descriptor's place may be anywhere: the compositor shares it.
                let mut file = File::from(fd);
                let _ = std::io::Seek::rewind(&mut file);
                if file.take(size.into()).read_to_end(&mut text).is_ok() {
                    state.symbols = symbols(&String::from_utf8_lossy(&text));
                }
                state.hear(Heard::Keymap);
            }
            wl_keyboard::Event::Enter { .. } => state.hear(Heard::KeyboardEnter),
            wl_keyboard::Event::Key {
                key,
                state: pressed,
                ..
            } => {
                let levels = state.symbols.get(&key);
                let level = usize::from(state.has_shift);
                let symbol = levels
                    .and_then(|it| it.get(level).or_else(|| it.first()))
                    .cloned();
                state.hear(Heard::Key {
                    code: key,
                    pressed: pressed == WEnum::Value(wl_keyboard::KeyState::Pressed),
                    symbol: symbol.unwrap_or_default(),
                });
            }
            wl_keyboard::Event::Modifiers {
                mods_depressed,
                mods_locked,
                ..
            } => {
                state.has_shift = mods_depressed & SHIFT != 0;
                state.hear(Heard::Modifiers {
                    depressed: mods_depressed,
                    locked: mods_locked,
                });
            }
            _ => {}
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
        state.hear(match event {
            wl_pointer::Event::Enter {
                surface_x: x,
                surface_y: y,
                ..
            } => Heard::PointerEnter { x, y },
            wl_pointer::Event::Motion {
                surface_x: x,
                surface_y: y,
                ..
            } => Heard::Motion { x, y },
            wl_pointer::Event::Button {
                button: code,
                state: pressed,
                ..
            } => Heard::Button {
                code,
                pressed: pressed == WEnum::Value(wl_pointer::ButtonState::Pressed),
            },
            wl_pointer::Event::Axis { axis, value, .. } => Heard::Axis {
                is_horizontal: axis == WEnum::Value(wl_pointer::Axis::HorizontalScroll),
                value,
            },
            wl_pointer::Event::AxisDiscrete {
                discrete: count, ..
            } => Heard::Notches { count },
            _ => return,
        });
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
            state.configured = Some(state.wanted);
        }
    }
}

delegate_noop!(State: ignore WlCompositor);
delegate_noop!(State: ignore WlSurface);
delegate_noop!(State: ignore WlShm);
delegate_noop!(State: ignore WlShmPool);
delegate_noop!(State: ignore WlBuffer);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keysyms_are_read_out_of_both_forms_of_a_keymap() {
        let text = r#"xkb_keymap { xkb_keycodes "x" { minimum = 8; <K30> = 38; <A> = 203; };
            xkb_symbols "x" { key <K30> { type= "ALPHABETIC", symbols[Group1]= [ a, A ] };
            key <A> { [ U0416 ] }; }; };"#;
        let symbols = symbols(text);
        assert_eq!(symbols[&30], ["a", "A"]);
        assert_eq!(symbols[&195], ["U0416"]);
        assert_eq!(character("U0416"), Some('Ж'));
        assert_eq!(character("0x61"), Some('a'));
        assert_eq!(character("0x10020ac"), Some('€'));
        assert_eq!(character("0xffe1"), None);
        assert_eq!(character("Shift_L"), None);
    }
}
