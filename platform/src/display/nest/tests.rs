//! The server against a client that draws as wlroots does, and against clients that do not.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use gpu::frame::Frame;
use net::units::Mode;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use wayland_client::protocol::wl_buffer::{self, WlBuffer};
use wayland_client::protocol::wl_callback::{self, WlCallback};
use wayland_client::protocol::wl_compositor::WlCompositor;
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::protocol::wl_shm::{Format, WlShm};
use wayland_client::protocol::wl_shm_pool::WlShmPool;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_client::{Connection, Dispatch, EventQueue, Proxy, QueueHandle, delegate_noop};
use wayland_protocols::wp::presentation_time::client::wp_presentation::WpPresentation;
use wayland_protocols::wp::presentation_time::client::wp_presentation_feedback::{
    self, WpPresentationFeedback,
};
use wayland_protocols::xdg::shell::client::xdg_surface::XdgSurface;
use wayland_protocols::xdg::shell::client::xdg_toplevel::{self, XdgToplevel};
use wayland_protocols::xdg::shell::client::xdg_wm_base::XdgWmBase;

use super::*;
use crate::capture::nest::NestBackend;
use crate::capture::{Capture, CaptureBackend, Captured};
use crate::display::OutputAddress;

/// Long enough for any machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// As many as wlroots has.
const BUFFERS: usize = 4;

pub(super) fn mode(text: &str) -> Mode {
    text.parse().expect("a valid mode")
}

fn capture(nest: &Nest) -> Box<dyn Capture> {
    let address = OutputAddress {
        nested: Some(nest.output()),
        ..OutputAddress::default()
    };
    NestBackend.open(&address).expect("opens")
}

fn next_frame(capture: &mut dyn Capture) -> Frame {
    match capture.next(PATIENCE) {
        Ok(Captured::Frame(frame)) => frame,
        Ok(_) => panic!("no picture came"),
        Err(error) => panic!("{error}"),
    }
}

/// The number that the client has drawn.
fn number(frame: &Frame) -> u32 {
    let pixels = frame.surface.map().expect("mapped");
    u32::from_le_bytes(pixels.bytes[..4].try_into().expect("four bytes"))
}

#[derive(Default)]
pub(super) struct Told {
    pub(super) globals: HashMap<String, u32>,
    pub(super) size: Option<(i32, i32)>,
    /// Names of its pointer's events.
    pub(super) pointer: Vec<&'static str>,
    free: Vec<usize>,
    callbacks: u64,
    presented: Vec<(u64, u64)>,
    refresh_ns: u32,
}

/// A client as wlroots' Wayland backend is one.
pub(super) struct FakeSway {
    pub(super) queue: EventQueue<Told>,
    pub(super) told: Told,
    registry: WlRegistry,
    pub(super) shm: WlShm,
    pub(super) compositor: WlCompositor,
    shell: XdgWmBase,
    presentation: WpPresentation,
    pub(super) surface: WlSurface,
    memory: Vec<OwnedFd>,
    buffers: Vec<WlBuffer>,
    size: (i32, i32),
    drawn: u32,
}

impl FakeSway {
    fn connect(socket: OwnedFd) -> Self {
        let stream = UnixStream::from(socket);
        let connection = Connection::from_socket(stream).expect("a socket");
        let mut queue = connection.new_event_queue();
        let handle = queue.handle();
        let registry = connection.display().get_registry(&handle, ());
        let mut told = Told::default();
        queue.roundtrip(&mut told).expect("answers");
        let compositor: WlCompositor = bind(&registry, &told, &handle, 4);
        let surface = compositor.create_surface(&handle, ());
        Self {
            shm: bind(&registry, &told, &handle, 1),
            shell: bind(&registry, &told, &handle, 1),
            presentation: bind(&registry, &told, &handle, 1),
            registry,
            queue,
            told,
            compositor,
            surface,
            memory: Vec::new(),
            buffers: Vec::new(),
            size: (0, 0),
            drawn: 0,
        }
    }

    /// Binds another global.
    pub(super) fn bind<I: Proxy + 'static>(&self, version: u32) -> I
    where
        Told: Dispatch<I, ()>,
    {
        bind(&self.registry, &self.told, &self.queue.handle(), version)
    }

    /// Becomes a window, and has buffers of its size.
    pub(super) fn window(socket: OwnedFd) -> Self {
        let mut client = Self::connect(socket);
        let handle = client.queue.handle();
        let xdg = client.shell.get_xdg_surface(&client.surface, &handle, ());
        let _toplevel = xdg.get_toplevel(&handle, ());
        client.surface.commit();
        client.follow_size();
        client
    }

    pub(super) fn round_trip(&mut self) -> Result<(), String> {
        let result = self.queue.roundtrip(&mut self.told);
        result.map(drop).map_err(|error| error.to_string())
    }

    /// Makes buffers of the size that was configured last.
    pub(super) fn follow_size(&mut self) {
        self.round_trip().expect("answers");
        let size = self.told.size.expect("configured");
        if std::mem::replace(&mut self.size, size) == size {
            return;
        }
        self.buffers.drain(..).for_each(|buffer| buffer.destroy());
        self.memory.clear();
        let handle = self.queue.handle();
        for index in 0..BUFFERS {
            let bytes = size.0 * size.1 * 4;
            let memory = memory(bytes);
            let pool = self.shm.create_pool(memory.as_fd(), bytes, &handle, ());
            let (width, height) = size;
            let format = Format::Xrgb8888;
            let buffer = pool.create_buffer(0, width, height, width * 4, format, &handle, index);
            pool.destroy();
            self.memory.push(memory);
            self.buffers.push(buffer);
        }
        self.told.free = (0..BUFFERS).collect();
    }

    /// Commits the next number, in a buffer that is free.
    pub(super) fn draw(&mut self) {
        let free = self.told.free.pop();
        let index = free.expect("there is a free buffer whenever it may draw");
        rustix::io::pwrite(&self.memory[index], &self.drawn.to_le_bytes(), 0).expect("writes");
        self.drawn += 1;
        self.commit(index, i32::MAX);
    }

    fn commit(&mut self, index: usize, damage: i32) {
        let handle = self.queue.handle();
        self.presentation.feedback(&self.surface, &handle, ());
        self.surface.frame(&handle, ());
        self.surface.attach(Some(&self.buffers[index]), 0, 0);
        self.surface.damage_buffer(0, 0, damage, damage);
        self.surface.commit();
        self.queue.flush().expect("the server reads");
    }

    /// Waits until it may draw.
    pub(super) fn await_callback(&mut self) {
        let before = self.told.callbacks;
        while self.told.callbacks == before {
            self.queue.blocking_dispatch(&mut self.told).expect("lives");
        }
    }
}

pub(super) fn memory(bytes: i32) -> OwnedFd {
    let memory = memfd_create("picture", MemfdFlags::CLOEXEC).expect("a memfd");
    let bytes = u64::try_from(bytes).unwrap_or(0);
    ftruncate(&memory, bytes).expect("grows");
    memory
}

fn bind<I: Proxy + 'static>(
    registry: &WlRegistry,
    told: &Told,
    handle: &QueueHandle<Told>,
    version: u32,
) -> I
where
    Told: Dispatch<I, ()>,
{
    let name = told.globals[I::interface().name];
    registry.bind(name, version, handle, ())
}

impl Dispatch<WlRegistry, ()> for Told {
    fn event(
        told: &mut Self,
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
            told.globals.insert(interface, name);
        }
    }
}

impl Dispatch<WlCallback, ()> for Told {
    fn event(
        told: &mut Self,
        _: &WlCallback,
        _: wl_callback::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        told.callbacks += 1;
    }
}

impl Dispatch<WlBuffer, usize> for Told {
    fn event(
        told: &mut Self,
        _: &WlBuffer,
        _: wl_buffer::Event,
        index: &usize,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        assert!(!told.free.contains(index), "released twice");
        // A cursor's is of no further use.
        if *index != usize::MAX {
            told.free.push(*index);
        }
    }
}

impl Dispatch<WpPresentationFeedback, ()> for Told {
    fn event(
        told: &mut Self,
        _: &WpPresentationFeedback,
        event: wp_presentation_feedback::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wp_presentation_feedback::Event::Presented {
            tv_sec_lo,
            tv_nsec,
            refresh,
            seq_hi,
            seq_lo,
            ..
        } = event
        {
            let at = u64::from(tv_sec_lo) * 1_000_000_000 + u64::from(tv_nsec);
            let number = u64::from(seq_hi) << 32 | u64::from(seq_lo);
            told.presented.push((at, number));
            told.refresh_ns = refresh;
        }
    }
}

impl Dispatch<XdgToplevel, ()> for Told {
    fn event(
        told: &mut Self,
        _: &XdgToplevel,
        event: xdg_toplevel::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let xdg_toplevel::Event::Configure { width, height, .. } = event {
            told.size = Some((width, height));
        }
    }
}

delegate_noop!(Told: ignore WlCompositor);
delegate_noop!(Told: ignore WlShm);
delegate_noop!(Told: ignore WlShmPool);
delegate_noop!(Told: ignore WlSurface);
delegate_noop!(Told: ignore WpPresentation);
delegate_noop!(Told: ignore XdgSurface);
delegate_noop!(Told: ignore XdgWmBase);

#[test]
fn each_picture_is_let_by_a_tick_of_the_grid_and_none_is_lost_or_kept() {
    const PICTURES: u32 = 1500;
    let (nest, socket) = Nest::start(mode("640x480@240"), false).expect("starts");
    let mut client = FakeSway::window(socket);
    let mut capture = capture(&nest);
    let watching = std::thread::spawn(move || {
        let mut seen = Vec::new();
        while seen.last() != Some(&(PICTURES - 1)) {
            seen.push(number(&next_frame(&mut *capture)));
        }
        seen
    });
    for picture in 0..PICTURES {
        client.draw();
        client.await_callback();
        assert_eq!(client.told.callbacks, u64::from(picture) + 1, "one each");
    }
    let seen = watching.join().expect("sees the last one");
    assert!(
        seen.is_sorted_by(|one, next| one < next),
        "in order, each once"
    );

    let presented = &client.told.presented;
    assert_eq!(presented.len(), PICTURES as usize, "every one was");
    assert_eq!(client.told.refresh_ns, 4_166_666);
    let (start, first) = presented[0];
    for (at, number) in presented {
        let exact_ns = (number - first) * 1_000_000_000 / 240;
        assert!(
            (at - start).abs_diff(exact_ns) <= 1,
            "tick {number} drifted"
        );
    }
    assert!(
        presented.is_sorted_by(|one, next| one.1 < next.1),
        "a tick each"
    );
}

#[test]
fn what_is_read_is_not_written_and_what_is_not_read_is_given_back() {
    let (nest, socket) = Nest::start(mode("320x240@240"), false).expect("starts");
    let mut client = FakeSway::window(socket);
    let mut capture = capture(&nest);
    let mut held = Vec::new();
    // Three are kept: with one buffer left the client draws on, because what is shown is copied.
    for _ in 0..3 {
        client.draw();
        held.push(next_frame(&mut *capture));
        client.await_callback();
    }
    for _ in 0..20 {
        client.draw();
        assert_eq!(number(&next_frame(&mut *capture)), client.drawn - 1);
        client.await_callback();
    }
    let kept: Vec<u32> = held.iter().map(number).collect();
    assert_eq!(kept, [0, 1, 2]);
    drop(held);
    client.draw();
    client.await_callback();
    // All but the one that is shown.
    assert_eq!(client.told.free.len(), BUFFERS - 1);

    // The client is gone, and a frame of its still is whole.
    let frame = next_frame(&mut *capture);
    drop(client);
    assert!(capture.next(PATIENCE).is_err(), "the end is told");
    drop((capture, nest));
    assert_eq!(number(&frame), 23);
}

#[test]
fn a_commit_without_damage_is_no_picture_and_gives_a_buffer_back() {
    let (nest, socket) = Nest::start(mode("320x240@240"), false).expect("starts");
    let mut client = FakeSway::window(socket);
    client.draw();
    client.await_callback();
    let mut capture = capture(&nest);
    assert_eq!(number(&next_frame(&mut *capture)), 0);
    for _ in 0..20 {
        let index = client.told.free.pop().expect("a free buffer");
        client.commit(index, 0);
        client.await_callback();
        assert!(client.told.free.len() >= BUFFERS - 2);
    }
    client.draw();
    assert_eq!(number(&next_frame(&mut *capture)), 1, "nothing in between");
}

#[test]
fn another_size_is_configured_and_stands_when_it_is_drawn() {
    let (nest, socket) = Nest::start(mode("640x480@60"), false).expect("starts");
    let mut client = FakeSway::window(socket);
    client.draw();
    assert_eq!(nest.await_mode(mode("640x480@60"), PATIENCE), Ok(true));
    for wanted in ["800x600@60", "320x240@120", "320x240@240", "640x480@60"] {
        let wanted = mode(wanted);
        let same = nest.shown_size() == Some(size_of(wanted));
        nest.order(wanted);
        assert_eq!(nest.await_mode(wanted, Duration::ZERO), Ok(same));
        let (width, height) = (i32::from(wanted.width()), i32::from(wanted.height()));
        while client.told.size != Some((width, height)) {
            client.round_trip().expect("answers");
        }
        client.follow_size();
        client.draw();
        assert_eq!(nest.await_mode(wanted, PATIENCE), Ok(true));
        client.await_callback();
    }
}

/// What a client asks for that is refused.
type Nonsense = fn(&mut FakeSway);

fn buffer(client: &mut FakeSway, pool_bytes: i32, figures: [i32; 4], format: Format) {
    let handle = client.queue.handle();
    let memory = memory(1 << 20);
    let pool = client
        .shm
        .create_pool(memory.as_fd(), pool_bytes, &handle, ());
    let [offset, width, height, stride] = figures;
    pool.create_buffer(offset, width, height, stride, format, &handle, 0);
}

#[test]
fn nonsense_ends_the_connection_with_a_reason_and_nothing_else() {
    const XRGB: Format = Format::Xrgb8888;
    let cases: [(&str, Nonsense); 12] = [
        ("an empty pool", |it| buffer(it, 0, [0, 16, 16, 64], XRGB)),
        ("a negative pool", |it| {
            buffer(it, -1, [0, 16, 16, 64], XRGB)
        }),
        ("a vast pool", |it| {
            buffer(it, i32::MAX, [0, 16, 16, 64], XRGB)
        }),
        ("beyond the pool", |it| {
            buffer(it, 1024, [1, 16, 16, 64], XRGB)
        }),
        ("before the pool", |it| {
            buffer(it, 1024, [-1, 8, 8, 64], XRGB)
        }),
        ("a short stride", |it| {
            buffer(it, 4096, [0, 16, 16, 60], XRGB)
        }),
        ("a vast stride", |it| {
            buffer(it, 4096, [0, 16, 16, i32::MAX], XRGB)
        }),
        ("no pixels", |it| buffer(it, 4096, [0, 0, 0, 64], XRGB)),
        ("a format not offered", |it| {
            buffer(it, 4096, [0, 16, 16, 64], Format::Nv12);
        }),
        ("a pool larger than its file", |it| {
            buffer(it, 64 << 20, [0, 4096, 4096, 16384], XRGB);
        }),
        ("a pool that shrinks", |it| {
            let handle = it.queue.handle();
            let memory = memory(4096);
            let pool = it.shm.create_pool(memory.as_fd(), 4096, &handle, ());
            pool.resize(4095);
        }),
        ("objects without end", |it| {
            let handle = it.queue.handle();
            for _ in 0..1000 {
                it.compositor.create_surface(&handle, ());
            }
        }),
    ];
    for (what, ask) in cases {
        let (nest, socket) = Nest::start(mode("640x480@60"), false).expect("starts");
        let mut client = FakeSway::window(socket);
        ask(&mut client);
        assert!(client.round_trip().is_err(), "{what}");
        let reason = nest.await_mode(mode("640x480@60"), PATIENCE);
        let reason = reason.expect_err(what);
        assert!(
            reason.contains("broke the Wayland protocol"),
            "{what}: {reason}"
        );
    }
}

#[test]
fn a_file_that_was_cut_off_is_not_read() {
    let (nest, socket) = Nest::start(mode("640x480@240"), false).expect("starts");
    let mut client = FakeSway::window(socket);
    client.draw();
    client.await_callback();
    let mut capture = capture(&nest);
    assert_eq!(number(&next_frame(&mut *capture)), 0);
    for index in 0..BUFFERS {
        if client.told.free.contains(&index) {
            ftruncate(&client.memory[index], 0).expect("shrinks");
        }
    }
    let index = client.told.free.pop().expect("a free one");
    client.commit(index, i32::MAX);
    client.await_callback();
    assert!(client.told.free.contains(&index), "given back at once");
    let still = capture.next(Duration::ZERO).expect("lives");
    assert!(matches!(still, Captured::Still));
}

#[test]
fn bytes_that_are_no_wayland_end_the_connection() {
    for seed in 0..400_u64 {
        let (nest, socket) = Nest::start(mode("640x480@60"), true).expect("starts");
        let mut stream = UnixStream::from(socket);
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut bytes = Vec::new();
        // The registry and one of each global, so that there is something to hit.
        message(&mut bytes, 1, 1, &[2]);
        let globals = "wl_compositor wl_shm xdg_wm_base wp_presentation wl_seat";
        for (index, name) in (0..).zip(globals.split(' ')) {
            message(&mut bytes, 2, 0, &bind_words(index + 1, name, 3 + index));
        }
        for _ in 0..40 {
            let words: Vec<u32> = (0..random.below(8)).map(|_| random.word()).collect();
            message(&mut bytes, random.below(12), random.below(12), &words);
        }
        let whole = bytes.len();
        bytes.truncate(whole - usize::try_from(random.below(40)).expect("small"));
        // The server may have hung up before the end.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let reason = nest.await_mode(mode("640x480@60"), PATIENCE);
        let reason = reason.expect_err("seed");
        let expected = ["broke the Wayland protocol", "closed the connection"];
        assert!(
            expected.iter().any(|it| reason.contains(it)),
            "seed {seed}: {reason}"
        );
    }
}

/// Appends a Wayland message: object, length and opcode, arguments.
fn message(bytes: &mut Vec<u8>, object: u32, opcode: u32, words: &[u32]) {
    let length = u32::try_from(8 + words.len() * 4).expect("short");
    for word in [object, length << 16 | opcode].iter().chain(words) {
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
}

/// The arguments of `wl_registry.bind`.
fn bind_words(global: u32, interface: &str, id: u32) -> Vec<u32> {
    let mut text = interface.as_bytes().to_vec();
    text.push(0);
    let mut words = vec![global, u32::try_from(text.len()).expect("short")];
    text.resize(text.len().next_multiple_of(4), 0);
    let chunks = text.chunks_exact(4);
    words.extend(chunks.map(|word| u32::from_ne_bytes(word.try_into().expect("four bytes"))));
    words.extend([1, id]);
    words
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 33).expect("31 bits") % limit
    }

    /// Object ids and small numbers for the most part.
    fn word(&mut self) -> u32 {
        match self.below(4) {
            0 => self.below(1 << 31),
            1 => u32::MAX - self.below(16),
            _ => self.below(16),
        }
    }
}
