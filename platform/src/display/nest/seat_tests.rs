//! The seat against a client that hands its cursor over as wlroots does, and against one that does
//! not.

use std::os::fd::AsFd;

use net::cursor::{Cursor, Visibility};
use rustix::io::pwrite;
use wayland_client::protocol::wl_pointer::{self, WlPointer};
use wayland_client::protocol::wl_seat::{self, Capability, WlSeat};
use wayland_client::protocol::wl_shm::Format;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_client::{Connection, Dispatch, Proxy, QueueHandle, WEnum};

use super::tests::{FakeSway, PATIENCE, Told, memory, mode};
use super::*;
use crate::capture::nest::NestBackend;
use crate::capture::{Capture, CaptureBackend};
use crate::cursor::CursorSource;
use crate::display::OutputAddress;

/// A pixel that is seen.
const SEEN: [u8; 4] = [9, 8, 7, 255];

/// A client with a pointer, and what is told of its cursor.
struct Desk {
    client: FakeSway,
    cursor: WlSurface,
    pointer: WlPointer,
    source: Box<dyn CursorSource>,
    last: Cursor,
    _capture: Box<dyn Capture>,
    nest: Nest,
}

impl Desk {
    fn new() -> Self {
        let (nest, socket) = Nest::start(mode("320x240@240"), true).expect("starts");
        let address = OutputAddress {
            nested: Some(nest.output()),
            ..OutputAddress::default()
        };
        let apart = NestBackend.open_with_cursor(&address).expect("opens");
        let (capture, source) = apart.expect("it was made so");
        let mut client = FakeSway::window(socket);
        let handle = client.queue.handle();
        let seat: WlSeat = client.bind(5);
        client.round_trip().expect("answers");
        let pointer = seat.get_pointer(&handle, ());
        let cursor = client.compositor.create_surface(&handle, ());
        Self {
            client,
            cursor,
            pointer,
            source,
            last: Cursor::default(),
            _capture: capture,
            nest,
        }
    }

    /// As [`Desk::new`], when the pointer has entered.
    fn entered() -> Self {
        let mut desk = Self::new();
        desk.client.draw();
        desk.client.await_callback();
        desk.client.round_trip().expect("answers");
        assert_eq!(desk.client.told.pointer, ["enter", "frame"]);
        desk
    }

    /// Commits a cursor of one pixel at `x`, `y` of a buffer of 16 times 16, or none.
    fn commit(&mut self, pixel: Option<(u64, u64)>, format: Format) {
        let handle = self.client.queue.handle();
        let buffer = pixel.map(|(x, y)| {
            let memory = memory(1024);
            pwrite(&memory, &SEEN, (y * 16 + x) * 4).expect("writes");
            let pool = self
                .client
                .shm
                .create_pool(memory.as_fd(), 1024, &handle, ());
            pool.create_buffer(0, 16, 16, 64, format, &handle, usize::MAX)
        });
        self.cursor.attach(buffer.as_ref(), 0, 0);
        self.cursor.commit();
    }

    fn set_cursor(&mut self, serial: u32, hotspot: (i32, i32)) {
        let cursor = Some(&self.cursor);
        self.pointer
            .set_cursor(serial, cursor, hotspot.0, hotspot.1);
    }

    /// What is told by now; the flag, whether it is news.
    fn look(&mut self) -> (Cursor, bool) {
        // Twice: what was written before the first answer was dispatched, and then told.
        for _ in 0..2 {
            self.client.round_trip().expect("answers");
        }
        let news = self.source.poll().expect("it cannot fail");
        let is_news = news.is_some();
        self.last = news.unwrap_or_else(|| self.last.clone());
        (self.last.clone(), is_news)
    }

    /// Size and hotspot of what is shown.
    fn shown(&mut self) -> Option<((u16, u16), (u16, u16))> {
        let (cursor, _) = self.look();
        if cursor.pointer.visibility != Visibility::Shown {
            return None;
        }
        let layout = cursor.shape.expect("there is one").layout();
        Some(((layout.width(), layout.height()), layout.hotspot()))
    }
}

const ARGB: Format = Format::Argb8888;

#[test]
fn the_cursor_is_told_and_hidden_and_the_pointer_never_moves() {
    let mut desk = Desk::entered();
    assert_eq!(desk.shown(), None);
    desk.commit(Some((5, 6)), ARGB);
    desk.set_cursor(1, (4, 4));
    assert_eq!(desk.shown(), Some(((2, 3), (0, 0))));
    let (first, _) = desk.look();
    // The same again, as wlroots does at every chance.
    desk.commit(Some((5, 6)), ARGB);
    desk.set_cursor(1, (4, 4));
    let (_, is_news) = desk.look();
    assert!(!is_news);
    // Pixels and hotspot together, never the one without the other.
    desk.commit(Some((2, 2)), ARGB);
    desk.set_cursor(1, (2, 2));
    assert_eq!(desk.shown(), Some(((1, 1), (0, 0))));
    assert_eq!(desk.look().0.shape.expect("seen").pixels(), SEEN);
    // Committed without pixels, without a surface, and by its end.
    desk.commit(None, ARGB);
    assert_eq!(desk.shown(), None);
    desk.commit(Some((5, 6)), ARGB);
    desk.set_cursor(1, (4, 4));
    assert_eq!(desk.shown(), Some(((2, 3), (0, 0))));
    assert_eq!(desk.look().0.shape, first.shape);
    desk.pointer.set_cursor(1, None, 0, 0);
    assert_eq!(desk.shown(), None);
    desk.set_cursor(1, (4, 4));
    assert!(desk.shown().is_some(), "its surface still has its pixels");
    desk.cursor.destroy();
    assert_eq!(desk.shown(), None);
    for _ in 0..3 {
        desk.client.draw();
        desk.client.await_callback();
    }
    desk.client.round_trip().expect("answers");
    assert_eq!(desk.client.told.pointer, ["enter", "frame"], "and no more");
}

#[test]
fn a_cursor_without_an_alpha_channel_is_opaque() {
    let mut desk = Desk::entered();
    desk.commit(Some((5, 6)), Format::Xrgb8888);
    desk.set_cursor(1, (4, 4));
    assert_eq!(desk.shown(), Some(((16, 16), (4, 4))));
}

#[test]
fn the_output_of_the_place_is_the_one_that_is_drawn() {
    let mut desk = Desk::entered();
    let output = |desk: &mut Desk| desk.look().0.pointer.output;
    assert_eq!(output(&mut desk), (320, 240));
    desk.nest.order(mode("640x480@240"));
    while desk.client.told.size != Some((640, 480)) {
        desk.client.round_trip().expect("answers");
    }
    assert_eq!(output(&mut desk), (320, 240), "not before");
    desk.client.follow_size();
    desk.client.draw();
    desk.client.await_callback();
    assert_eq!(output(&mut desk), (640, 480));
}

#[test]
fn nonsense_about_the_cursor_changes_nothing_or_ends_the_connection() {
    let mut desk = Desk::entered();
    desk.commit(Some((5, 6)), ARGB);
    desk.set_cursor(7, (4, 4));
    assert_eq!(desk.shown(), None, "that serial was never given");
    desk.set_cursor(1, (i32::MIN, i32::MAX));
    assert_eq!(desk.shown(), Some(((6, 10), (0, 9))), "within the buffer");
    // The output's own window as its cursor: there are no pixels apart from it.
    let window = desk.client.surface.clone();
    desk.pointer.set_cursor(1, Some(&window), 0, 0);
    assert_eq!(desk.shown(), None);
    // A file that was cut off.
    let handle = desk.client.queue.handle();
    let short = memory(1024);
    let pool = desk
        .client
        .shm
        .create_pool(short.as_fd(), 1024, &handle, ());
    let buffer = pool.create_buffer(0, 16, 16, 64, ARGB, &handle, usize::MAX);
    desk.client.round_trip().expect("answers");
    rustix::fs::ftruncate(&short, 0).expect("shrinks");
    desk.cursor.attach(Some(&buffer), 0, 0);
    desk.cursor.commit();
    desk.set_cursor(1, (0, 0));
    assert_eq!(desk.shown(), None);

    let seat: WlSeat = desk.client.bind(5);
    seat.get_keyboard(&handle, ());
    assert!(desk.client.round_trip().is_err());
    // One that it has not: the wait ends with the connection only.
    let reason = desk.nest.await_mode(mode("640x480@240"), PATIENCE);
    let reason = reason.expect_err("ended");
    assert!(reason.contains("no keyboard"), "{reason}");
}

#[test]
fn pictures_with_the_pointer_have_no_seat_beside_them() {
    let (nest, socket) = Nest::start(mode("320x240@240"), false).expect("starts");
    let mut client = FakeSway::window(socket);
    client.round_trip().expect("answers");
    assert!(!client.told.globals.contains_key(WlSeat::interface().name));
    let with_pointer = OutputAddress {
        nested: Some(nest.output()),
        ..OutputAddress::default()
    };
    let apart = NestBackend.open_with_cursor(&with_pointer);
    assert!(apart.expect("answered").is_none());
    assert!(NestBackend.open(&with_pointer).is_ok());
    let desk = Desk::new();
    let without = OutputAddress {
        nested: Some(desk.nest.output()),
        ..OutputAddress::default()
    };
    // Nobody would draw it.
    assert!(NestBackend.open(&without).is_err());
}

impl Dispatch<WlSeat, ()> for Told {
    fn event(
        _: &mut Self,
        _: &WlSeat,
        event: wl_seat::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_seat::Event::Capabilities { capabilities } = event {
            assert_eq!(capabilities, WEnum::Value(Capability::Pointer));
        }
    }
}

impl Dispatch<WlPointer, ()> for Told {
    fn event(
        told: &mut Self,
        _: &WlPointer,
        event: wl_pointer::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        told.pointer.push(match event {
            wl_pointer::Event::Enter { serial: 1, .. } => "enter",
            wl_pointer::Event::Frame => "frame",
            _ => "another",
        });
    }
}

wayland_client::delegate_noop!(Told: ignore wayland_client::protocol::wl_keyboard::WlKeyboard);
