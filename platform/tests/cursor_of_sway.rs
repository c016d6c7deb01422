//! The pointer of a real headless sway, by every capture protocol that it offers: it is told apart from
//! the pictures, or it is painted into them, and never both.

mod common;

use std::time::{Duration, Instant};

use common::*;
use gpu::frame::Frame;
use net::cursor::{Cursor, Visibility};
use net::input::{InputEvent, Position};
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

/// What the source tells once it is as wanted.
fn told(source: &mut dyn CursorSource, is_so: impl Fn(&Cursor) -> bool) -> Cursor {
    let deadline = Instant::now() + PATIENCE;
    let mut last = None;
    loop {
        if let Some(cursor) = source.poll().expect("the compositor lives") {
            if is_so(&cursor) {
                return cursor;
            }
            last = Some(cursor);
        }
        assert!(Instant::now() < deadline, "never; at last {last:?}");
        let descriptor = source.descriptor();
        let mut fds = [PollFd::new(&descriptor, PollFlags::IN)];
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&second)).expect("a poll");
    }
}

fn is_at(cursor: &Cursor, x: i32, y: i32) -> bool {
    let pointer = cursor.pointer;
    (pointer.visibility, pointer.x, pointer.y) == (Visibility::Shown, x, y)
}

fn is_apart(injectors: &mut Injectors, capture: &mut dyn Capture, source: &mut dyn CursorSource) {
    put(injectors, 0.25, 0.25);
    told(source, |cursor| is_at(cursor, 160, 120));
    put(injectors, 0.5, 0.5);
    let cursor = told(source, |cursor| {
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
        Some((mut capture, mut source)) => {
            eprintln!("{}: told by {}", backend.name(), source.name());
            next_frame(&mut *capture);
            is_apart(&mut injectors, &mut *capture, &mut *source);
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
    let (mut capture, mut source) = apart.expect("it was made so");
    next_frame(&mut *capture);
    is_apart(&mut injectors, &mut *capture, &mut *source);
}
