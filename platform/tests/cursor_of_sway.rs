//! The pointer of a real headless sway, by every capture protocol that it offers: it is told apart from
//! the pictures, or it is painted into them, and never both.

mod common;

use std::time::{Duration, Instant};

use common::game::{Do, Game, shape};
use common::*;
use gpu::frame::Frame;
use net::cursor::{Cursor, Visibility};
use net::input::{InputEvent, PointerButton, Position};
use platform::capture::{Capture, Captured};
use platform::cursor::CursorSource;
use platform::inject::{self, Injectors};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A pixel near the middle is not of the ground.
fn shows_pointer(frame: &Frame) -> bool {
    let pixels = frame.surface.map().expect("shared memory can be read");
    let mut rows = pixels.bytes.chunks(pixels.stride).skip(230).take(40);
    rows.any(|row| {
        let mut near = row[310 * 4..350 * 4].chunks_exact(4);
        near.any(|pixel| pixel[..3] != [0; 3])
    })
}

fn put(injectors: &mut Injectors, x: f32, y: f32) {
    injectors.inject(&InputEvent::PointerPosition(Position { x, y }));
    injectors.flush();
}

/// A source, and what it told last.
struct Watched {
    source: Box<dyn CursorSource>,
    last: Cursor,
}

impl Watched {
    fn new(source: Box<dyn CursorSource>) -> Self {
        let last = Cursor::default();
        Self { source, last }
    }

    /// What the source tells once it is as wanted.
    fn until(&mut self, what: &str, is_so: impl Fn(&Cursor) -> bool) -> Cursor {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(&self.last) {
            assert!(Instant::now() < deadline, "{what}: at last {:?}", self.last);
            let descriptor = self.source.descriptor();
            let mut fds = [PollFd::new(&descriptor, PollFlags::IN)];
            let second = Timespec {
                tv_sec: 1,
                tv_nsec: 0,
            };
            poll(&mut fds, Some(&second)).expect("a poll");
            if let Some(cursor) = self.source.poll().expect("the compositor lives") {
                self.last = cursor;
            }
        }
        self.last.clone()
    }
}

fn is_at(cursor: &Cursor, x: i32, y: i32) -> bool {
    let pointer = cursor.pointer;
    (pointer.visibility, pointer.x, pointer.y) == (Visibility::Shown, x, y)
}

fn is_apart(injectors: &mut Injectors, capture: &mut dyn Capture, source: Box<dyn CursorSource>) {
    let mut source = Watched::new(source);
    put(injectors, 0.25, 0.25);
    source.until("a quarter", |cursor| is_at(cursor, 160, 120));
    put(injectors, 0.5, 0.5);
    let cursor = source.until("the middle", |cursor| {
        is_at(cursor, 320, 240) && cursor.shape.is_some()
    });
    assert_eq!(cursor.pointer.output, (640, 480));
    let layout = cursor.shape.expect("just seen").layout();
    eprintln!("{layout:?}");
    // Whatever the pictures show of it comes with damage, as the next picture.
    for _ in 0..3 {
        put(injectors, 0.5, 0.51);
        put(injectors, 0.5, 0.5);
        match capture.next(Duration::from_millis(200)).expect("lives") {
            Captured::Frame(frame) => assert!(!shows_pointer(&frame), "it is painted as well"),
            Captured::Still | Captured::Woken => {}
        }
    }
}

fn is_painted(injectors: &mut Injectors, capture: &mut dyn Capture) {
    next_frame(capture);
    // Away and back, so that there is damage.
    put(injectors, 0.1, 0.5);
    put(injectors, 0.5, 0.5);
    let deadline = Instant::now() + PATIENCE;
    while !shows_pointer(&next_frame(capture)) {
        assert!(Instant::now() < deadline, "never");
    }
}

#[test]
fn the_pointer_is_told_or_painted() {
    let display = private_display("640x480@60", &[]);
    let address = address(&*display);
    for backend in captures(&address) {
        // The seat has no pointer yet.
        let apart = backend.open_with_cursor(&address);
        assert!(apart.expect("answered").is_none(), "{}", backend.name());
    }
    let (mut injectors, _) = inject::open(&inject::candidates(), Some(&address));
    // As a host would: by the best.
    let backend = captures(&address).swap_remove(0);
    match backend.open_with_cursor(&address).expect("answered") {
        Some((mut capture, source)) => {
            eprintln!("{}: told by {}", backend.name(), source.name());
            next_frame(&mut *capture);
            is_apart(&mut injectors, &mut *capture, source);
        }
        None => eprintln!("{}: not told", backend.name()),
    }
    let mut capture = backend.open(&address).expect("opens");
    is_painted(&mut injectors, &mut *capture);
}

#[test]
fn the_pointer_of_a_nested_sway_is_told() {
    let display = private_display_apart("640x480@60");
    let address = address(&*display);
    let backend = captures(&address).swap_remove(0);
    let (mut injectors, _) = inject::open(&inject::candidates(), Some(&address));
    let apart = backend.open_with_cursor(&address).expect("answered");
    let (mut capture, source) = apart.expect("it was made so");
    next_frame(&mut *capture);
    is_apart(&mut injectors, &mut *capture, source);
}

/// Waits until the application has been told what `is_so` says.
fn until(game: &Game, what: &str, is_so: impl Fn(&game::Told) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so(&game.told()) {
        assert!(Instant::now() < deadline, "{what}: {:?}", game.told());
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn drag(injectors: &mut Injectors, dx: i16, dy: i16) {
    injectors.inject(&InputEvent::PointerMotion { dx, dy });
    injectors.flush();
}

fn click(injectors: &mut Injectors) {
    for pressed in [true, false] {
        let button = PointerButton::Left;
        injectors.inject(&InputEvent::PointerButton { button, pressed });
    }
    injectors.flush();
}

/// Its place is reckoned, so what an application under it is told has to agree, whatever the
/// application does with it.
#[test]
fn an_application_in_a_nested_sway_is_clicked_where_the_pointer_is_told_to_be() {
    let display = private_display_apart("640x480@60");
    let address = address(&*display);
    let (mut injectors, _) = inject::open(&inject::candidates(), Some(&address));
    let backend = captures(&address).swap_remove(0);
    let apart = backend.open_with_cursor(&address).expect("answered");
    let (_capture, source) = apart.expect("it was made so");
    let mut source = Watched::new(source);
    let game = Game::start(&output(&*display).wayland_socket);
    until(&game, "it has the pointer", |told| told.at.is_some());
    let tell = |source: &mut Watched, x, y| {
        source.until("its place", |cursor| is_at(cursor, x, y));
        let at = (f64::from(x), f64::from(y));
        until(&game, "the pointer is there", |told| told.at == Some(at));
    };
    // From where it stands at first, without a position.
    drag(&mut injectors, 7, -3);
    tell(&mut source, 327, 237);
    let cursor = source.until("its shape", |cursor| {
        cursor.shape.as_deref() == Some(&shape())
    });
    assert!(is_at(&cursor, 327, 237), "{cursor:?}");
    put(&mut injectors, 0.5, 0.25);
    tell(&mut source, 320, 120);
    drag(&mut injectors, i16::MAX, i16::MIN);
    tell(&mut source, 639, 0);
    drag(&mut injectors, -3, 5);
    tell(&mut source, 636, 5);

    put(&mut injectors, 0.3125, 0.25);
    tell(&mut source, 200, 120);
    let is_hidden = |cursor: &Cursor| cursor.pointer.visibility == Visibility::Hidden;
    for (what, dragged, left_at) in [
        (Do::Hide, None, (0.0, 0.0)),
        (Do::Hold, Some((150.0, -60.0)), (500.0, 300.0)),
    ] {
        let holds = matches!(what, Do::Hold);
        game.order(what);
        source.until("it is hidden", is_hidden);
        until(&game, "it holds the pointer", |told| told.is_held == holds);
        for _ in 0..3 {
            drag(&mut injectors, 50, -20);
        }
        if let Some(dragged) = dragged {
            until(&game, "it hears of motion", |told| told.dragged == dragged);
        } else {
            // Sway has moved it, and nobody sees where.
            until(&game, "it moves", |told| told.at == Some((350.0, 60.0)));
        }
        game.order(Do::Show(left_at.0, left_at.1));
        source.until("it is back", |cursor| is_at(cursor, 200, 120));
        click(&mut injectors);
        until(&game, "it is clicked", |told| {
            told.pressed_at == Some((200.0, 120.0))
        });
        put(&mut injectors, 0.25, 0.25);
        tell(&mut source, 160, 120);
        click(&mut injectors);
        until(&game, "elsewhere, too", |told| {
            told.pressed_at == Some((160.0, 120.0))
        });
        put(&mut injectors, 0.3125, 0.25);
        tell(&mut source, 200, 120);
    }
}

#[test]
fn the_pointer_of_a_nested_sway_goes_on_in_another_mode() {
    let mut display = private_display_apart("640x480@60");
    let address = address(&*display);
    let (mut injectors, _) = inject::open(&inject::candidates(), Some(&address));
    let backend = captures(&address).swap_remove(0);
    let apart = backend.open_with_cursor(&address).expect("answered");
    let (_capture, source) = apart.expect("it was made so");
    let mut source = Watched::new(source);
    let game = Game::start(&output(&*display).wayland_socket);
    until(&game, "it has the pointer", |told| told.at.is_some());
    put(&mut injectors, 1.0, 0.5);
    source.until("an edge", |cursor| is_at(cursor, 639, 240));
    let mode = "320x200@60".parse().expect("a mode");
    display.set_mode(mode).expect("sway obeys");
    let cursor = source.until("the mode", |it| it.pointer.output == (320, 200));
    assert!(is_at(&cursor, 319, 199), "{cursor:?}");
    drag(&mut injectors, -19, -99);
    source.until("motion in it", |cursor| is_at(cursor, 300, 100));
    until(&game, "there, too", |told| told.at == Some((300.0, 100.0)));
}
