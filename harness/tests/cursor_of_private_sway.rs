//! The pointer of a real private sway: a client that draws it is told what it looks like and where
//! it is, and has none in its pictures; one that does not finds it painted there.

use std::path::PathBuf;

use bench::listener::{Heard, Listener};
use engine::metrics::Histogram;
use gpu::decode::Picture;
use harness::PATIENCE;
use harness::facts::{alone, entries, eventually};
use harness::loopback::{LoopbackClient, LoopbackHost, encoders, hello};
use net::client::{ClientCursor, Trust};
use net::clock;
use net::cursor::{CursorShape, Visibility};
use net::input::{InputEvent, PointerButton, Position};
use net::native::{Features, Hello};
use net::units::FrameId;

const MODE: &str = "640x360@60";
/// Beyond noise: the desktop is black, and the pointer has white in it.
const BRIGHT: u8 = 100;
/// How far from its place a pointer's pixels are, at most.
const REACH_PX: usize = 32;

fn host() -> LoopbackHost {
    let settings = [
        ("desktop", "private-sway"),
        ("app", "none"),
        ("encoder", encoders()[0]),
    ];
    match LoopbackHost::start(&settings) {
        Ok(host) => host,
        Err(error) => panic!("these tests need a private sway: {error}"),
    }
}

fn drawing() -> Hello {
    let mut hello = hello(MODE);
    hello.optional = hello.optional.union(Features::CURSOR);
    hello
}

fn client(host: &LoopbackHost, hello: Hello) -> LoopbackClient {
    LoopbackClient::with(host.address(), Trust::FirstUse, hello).expect("a session")
}

fn draws(client: &LoopbackClient) -> bool {
    client.welcome().features.contains(Features::CURSOR)
}

/// The Wayland socket of the one display that this process has made.
fn the_socket() -> PathBuf {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, Into::into);
    let ours = format!("punktfunk-{}-", std::process::id());
    let name = |path: &PathBuf| path.file_name().map(|it| it.to_string_lossy().into_owned());
    let directories = entries(&base).into_iter();
    let mut directories =
        directories.filter(|path| name(path).is_some_and(|it| it.starts_with(&ours)));
    let directory = directories.next().expect("a display");
    assert_eq!(directories.next(), None, "one display");
    let mut sockets = entries(&directory).into_iter();
    let is_socket = |it: String| it.starts_with("wayland-") && !it.ends_with(".lock");
    let socket = sockets.find(|path| name(path).is_some_and(is_socket));
    socket.expect("its socket")
}

fn send(client: &LoopbackClient, event: InputEvent) {
    assert!(client.input().send(event), "{event:?}");
}

fn put(client: &LoopbackClient, x: f32, y: f32) {
    send(client, InputEvent::PointerPosition(Position { x, y }));
}

/// Waits until the pointer is as `is_so` says.
fn until(
    client: &LoopbackClient,
    what: &str,
    is_so: impl Fn(&ClientCursor) -> bool,
) -> ClientCursor {
    let cursors = client.cursors();
    let mut last = None;
    loop {
        match cursors.recv_timeout(PATIENCE) {
            Ok(cursor) if is_so(&cursor) => return cursor,
            Ok(cursor) => last = Some(cursor),
            Err(error) => panic!("{what}: {error} after {last:?}"),
        }
    }
}

/// Within a pixel: positions travel in 1/65535 of the picture.
fn is_at(cursor: &ClientCursor, (x, y): (i32, i32)) -> bool {
    let pointer = cursor.seen.pointer;
    let is_near = (pointer.x - x).abs() <= 1 && (pointer.y - y).abs() <= 1;
    is_near && pointer.visibility == Visibility::Shown
}

/// The bright pixels of a picture: how many lie near `at`, and how many do not.
fn bright(picture: &Picture<'_>, at: (usize, usize)) -> (usize, usize) {
    let (mut near, mut far) = (0, 0);
    for y in 0..picture.height {
        let row = &picture.planes[0][y * picture.strides[0]..][..picture.width];
        for (x, _) in row.iter().enumerate().filter(|(_, luma)| **luma > BRIGHT) {
            let is_near = x.abs_diff(at.0) <= REACH_PX && y.abs_diff(at.1) <= REACH_PX;
            *(if is_near { &mut near } else { &mut far }) += 1;
        }
    }
    (near, far)
}

/// A client and the newest picture that it has seen.
struct Eye {
    client: LoopbackClient,
    newest: FrameId,
}

impl Eye {
    fn open(mut client: LoopbackClient) -> Self {
        let mut newest = None;
        client.watch(1, |unit, _| newest = Some(unit.frame));
        let newest = newest.expect("just seen");
        Self { client, newest }
    }

    /// What a picture that is encoded from now on shows; a still desktop makes none by itself.
    fn bright_now(&mut self, at: (usize, usize)) -> (usize, usize) {
        let asked_at = self.newest;
        self.client
            .connector()
            .feedback()
            .request_keyframe(asked_at);
        let mut seen = None;
        while seen.is_none() {
            self.client.watch(1, |unit, picture| {
                self.newest = unit.frame;
                if unit.keyframe && unit.frame > asked_at {
                    seen = Some(bright(picture, at));
                }
            });
        }
        seen.expect("just seen")
    }
}

#[test]
fn a_client_that_draws_is_told_and_sees_none_beside_one_that_does_not() {
    let _alone = alone();
    let host = host();
    let client = client(&host, drawing());
    assert!(draws(&client), "{:?}", client.welcome().features);
    let mut eye = Eye::open(client);
    let listener = Listener::start(&the_socket()).expect("a compositor");
    eventually("the window has the pointer", || {
        listener.pointer().is_some()
    });

    put(&eye.client, 0.5, 0.5);
    let cursor = until(&eye.client, "the middle", |cursor| {
        is_at(cursor, (320, 180)) && cursor.seen.shape.is_some()
    });
    assert_eq!(cursor.seen.pointer.output, (640, 360));
    let shape = cursor.seen.shape.expect("just seen");
    let (layout, solid) = (shape.layout(), solid(&shape));
    eprintln!("{layout:?}, {solid} solid pixels");
    assert!(solid > 20, "an arrow");
    for (dx, dy, at) in [
        (30, -20, (350, 160)),
        (-100, 5, (250, 165)),
        (i16::MAX, i16::MAX, (639, 359)),
        (-39, -59, (600, 300)),
    ] {
        send(&eye.client, InputEvent::PointerMotion { dx, dy });
        until(&eye.client, "a motion", |cursor| is_at(cursor, at));
        eventually("the application hears of it", || {
            let heard = listener.pointer().unwrap_or_default();
            (heard.0 - f64::from(at.0)).abs() <= 1.0 && (heard.1 - f64::from(at.1)).abs() <= 1.0
        });
        let place = (at.0 as usize, at.1 as usize);
        assert_eq!(eye.bright_now(place), (0, 0), "a pointer is in the picture");
    }

    // Beside it, on the same host, a client that draws none.
    let other = self::client(&host, hello(MODE));
    assert!(!draws(&other), "{:?}", other.welcome().features);
    let mut other = Eye::open(other);
    for (x, y, at) in [(0.5, 0.5, (320, 180)), (0.25, 0.25, (160, 90))] {
        put(&other.client, x, y);
        eventually("it is painted there and nowhere else", || {
            let (near, far) = other.bright_now(at);
            near > solid / 4 && far == 0
        });
    }
    assert!(other.client.cursors().is_empty());
    assert_eq!(other.client.end().cursor_states, 0);
    assert_eq!(eye.bright_now((600, 300)), (0, 0), "each has its own");
    eye.client.end();
}

/// Prints what a move takes from the client's call to the client's knowing, whatever it is.
#[test]
fn the_way_of_a_move_is_measured() {
    let _alone = alone();
    let host = host();
    let eye = Eye::open(client(&host, drawing()));
    let took = Histogram::default();
    put(&eye.client, 0.0, 0.5);
    until(&eye.client, "the left", |cursor| is_at(cursor, (0, 180)));
    for x in 1..=500 {
        let begin = clock::now();
        send(&eye.client, InputEvent::PointerMotion { dx: 1, dy: 0 });
        let cursor = until(&eye.client, "a step", |it| it.seen.pointer.x == x);
        took.record(cursor.received.since(begin));
    }
    let took = took.snapshot();
    let [p50, p99] = [0.5, 0.99].map(|quantile| took.quantile(quantile));
    eprintln!("client call to client: 500 moves, p50 {p50:?}, p99 {p99:?}");
    eye.client.end();
}

#[test]
fn the_pointer_goes_on_in_another_mode_of_a_private_sway() {
    let _alone = alone();
    let host = host();
    let eye = Eye::open(client(&host, drawing()));
    let listener = Listener::start(&the_socket()).expect("a compositor");
    eventually("the window has the pointer", || {
        listener.pointer().is_some()
    });
    put(&eye.client, 1.0, 1.0);
    until(&eye.client, "the corner", |cursor| {
        is_at(cursor, (639, 359))
    });
    let wanted = "320x240@60".parse().expect("a mode");
    // Pictures are not waited for: a still desktop makes none.
    eye.client.mode_requests().request(wanted);
    until(&eye.client, "another output", |cursor| {
        cursor.seen.pointer.output == (320, 240) && is_at(cursor, (319, 239))
    });
    // Without a position before.
    let (dx, dy) = (-19, -139);
    send(&eye.client, InputEvent::PointerMotion { dx, dy });
    until(&eye.client, "a motion", |cursor| is_at(cursor, (300, 100)));
    for pressed in [true, false] {
        let button = PointerButton::Left;
        send(&eye.client, InputEvent::PointerButton { button, pressed });
    }
    eventually("the application is clicked there", || {
        let is_click = |it: &Heard| matches!(it, Heard::Button { pressed: true, .. });
        let heard = listener.pointer().unwrap_or_default();
        let is_there = (heard.0 - 300.0).abs() <= 1.0 && (heard.1 - 100.0).abs() <= 1.0;
        is_there && listener.heard().iter().any(is_click)
    });
    eye.client.end();
}
fn solid(shape: &CursorShape) -> usize {
    shape
        .pixels()
        .chunks_exact(4)
        .filter(|it| it[3] == 255)
        .count()
}
