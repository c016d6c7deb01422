//! The pointer apart from the pictures: a client that draws it is told its shape and place and sees
//! none in the pictures; one that does not finds it painted there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::channel::Receiver;
use engine::session::Backends;
use gpu::decode::Picture;
use harness::PATIENCE;
use harness::facts::eventually;
use harness::fakes::FakeDisplayBackend;
use harness::loopback::{LoopbackClient, LoopbackHost, MODE, hello};
use harness::relay::{Relay, Way};
use net::client::{ClientCursor, ConnectError, Trust};
use net::cursor::{CursorShape, Visibility};
use net::input::{Contact, ContactKind, InputEvent, PointerButton, Position, TouchEvent};
use net::native::{Features, Hello, RefuseCode};
use net::units::Mode;
use platform::cursor::synthetic::shape_of;

/// The middle of a picture of [`MODE`], where the first motion puts the pointer.
const MIDDLE: (i32, i32) = (160, 120);

fn drawing() -> Hello {
    let mut hello = hello(MODE);
    hello.optional = hello.optional.union(Features::CURSOR);
    hello
}

fn position(x: f32, y: f32) -> InputEvent {
    InputEvent::PointerPosition(Position { x, y })
}

fn press(button: PointerButton, pressed: bool) -> InputEvent {
    InputEvent::PointerButton { button, pressed }
}

fn touch() -> InputEvent {
    InputEvent::Touch(TouchEvent {
        id: 1,
        contact: Contact {
            kind: ContactKind::Down,
            position: Position { x: 0.5, y: 0.5 },
            pressure_or_distance: 0.5,
            major: 0.0,
            minor: 0.0,
            rotation: None,
        },
    })
}

/// A client that sees the first picture, and what it is told of the pointer.
struct Seat {
    client: LoopbackClient,
    cursors: Receiver<ClientCursor>,
}

impl Seat {
    fn take(client: Result<LoopbackClient, ConnectError>) -> Self {
        let mut client = client.expect("a session");
        client.watch(1, |_, _| ());
        Self {
            cursors: client.cursors(),
            client,
        }
    }

    fn at(host: &LoopbackHost, hello: Hello) -> Self {
        Self::take(LoopbackClient::with(host.address(), Trust::FirstUse, hello))
    }

    fn send(&self, event: InputEvent) {
        assert!(self.client.input().send(event), "{event:?}");
    }

    /// Waits until the pointer is as `is_so` says.
    fn until(&self, what: &str, is_so: impl Fn(&ClientCursor) -> bool) -> ClientCursor {
        let mut last = None;
        loop {
            match self.cursors.recv_timeout(PATIENCE) {
                Ok(cursor) if is_so(&cursor) => return cursor,
                Ok(cursor) => last = Some(cursor),
                Err(error) => panic!("{what}: {error} after {last:?}"),
            }
        }
    }
}

fn is_at(cursor: &ClientCursor, (x, y): (i32, i32)) -> bool {
    let pointer = cursor.seen.pointer;
    (pointer.visibility, pointer.x, pointer.y) == (Visibility::Shown, x, y)
}

fn looks_like(cursor: &ClientCursor, shape: &CursorShape) -> bool {
    cursor.seen.shape.as_deref() == Some(shape)
}

/// The share of an arrow's white pixels that the picture has there: nothing else in it is white.
fn share_of_arrow(picture: &Picture<'_>, at: (i32, i32)) -> f64 {
    let (mut found, mut all) = (0, 0);
    let sides = (picture.width, picture.height);
    shape_of(None).each_pixel(at, sides, |x, y, [blue, .., alpha]| {
        if [blue, alpha] == [255; 2] {
            let plane = |index: usize, x: usize, y: usize| {
                i32::from(picture.planes[index][y * picture.strides[index] + x])
            };
            let chroma = [plane(1, x / 2, y / 2), plane(2, x / 2, y / 2)];
            let is_grey = chroma.iter().all(|it| (it - 128).abs() < 30);
            found += usize::from(is_grey && plane(0, x, y) > 200);
            all += 1;
        }
    });
    found as f64 / f64::from(all.max(1))
}

#[test]
fn a_client_that_draws_is_told_and_its_pictures_hold_no_pointer() {
    let host = LoopbackHost::synthetic(&[]);
    let mut seat = Seat::at(&host, drawing());
    let features = seat.client.welcome().features;
    assert!(features.contains(Features::CURSOR), "{features:?}");
    let first = seat.until("the start", |_| true);
    assert_eq!(first.seen.pointer.visibility, Visibility::Hidden);

    seat.send(position(0.5, 0.5));
    let cursor = seat.until("the middle", |cursor| is_at(cursor, MIDDLE));
    assert_eq!(cursor.seen.pointer.output, (320, 240));
    let arrow = shape_of(None);
    if !looks_like(&cursor, &arrow) {
        seat.until("an arrow", |cursor| looks_like(cursor, &arrow));
    }
    seat.client.watch(20, |_, picture| {
        let share = share_of_arrow(picture, MIDDLE);
        assert!(share < 0.2, "{share} of an arrow is in the picture");
    });

    seat.send(InputEvent::PointerMotion { dx: 30, dy: -20 });
    seat.until("a motion", |cursor| is_at(cursor, (190, 100)));
    seat.send(touch());
    seat.until("fingers", |cursor| {
        cursor.seen.pointer.visibility == Visibility::Hidden
    });
    seat.send(InputEvent::PointerMotion { dx: 1, dy: 0 });
    seat.until("the pointer", |cursor| is_at(cursor, (191, 100)));
    seat.client.end();
}

#[test]
fn a_client_that_does_not_finds_the_pointer_in_its_pictures() {
    let host = LoopbackHost::synthetic(&[]);
    let mut seat = Seat::at(&host, hello(MODE));
    let features = seat.client.welcome().features;
    assert!(!features.contains(Features::CURSOR), "{features:?}");
    seat.send(position(0.5, 0.5));
    let mut is_seen = false;
    eventually("an arrow is in the middle of the picture", || {
        seat.client.watch(1, |_, picture| {
            is_seen = share_of_arrow(picture, MIDDLE) > 0.7
        });
        is_seen
    });
    seat.send(position(0.25, 0.25));
    eventually("it has gone elsewhere, and is not left behind", || {
        let mut has_moved = false;
        seat.client.watch(1, |_, picture| {
            has_moved =
                share_of_arrow(picture, (80, 60)) > 0.7 && share_of_arrow(picture, MIDDLE) < 0.2;
        });
        has_moved
    });
    assert!(seat.cursors.is_empty());
    assert_eq!(seat.client.end().cursor_states, 0);
}

#[test]
fn a_shape_that_the_client_has_is_only_named() {
    let host = LoopbackHost::synthetic(&[]);
    let seat = Seat::at(&host, drawing());
    let buttons = [PointerButton::Left, PointerButton::Right];
    for _ in 0..3 {
        for button in buttons {
            for (pressed, held) in [(true, Some(button)), (false, None)] {
                seat.send(press(button, pressed));
                let shape = shape_of(held);
                seat.until("its shape", |cursor| looks_like(cursor, &shape));
            }
        }
    }
    assert_eq!(seat.client.end().cursor_shapes, 3, "an arrow and two rings");
}

#[test]
fn what_datagrams_lose_the_stream_repairs() {
    let host = LoopbackHost::synthetic(&[]);
    let relay = Relay::transparent(host.address());
    let client = LoopbackClient::with(relay.address(), Trust::FirstUse, drawing());
    let seat = Seat::take(client);
    seat.send(position(0.5, 0.5));
    let arrow = shape_of(None);
    seat.until("the middle", |cursor| {
        is_at(cursor, MIDDLE) && looks_like(cursor, &arrow)
    });

    // QUIC's datagrams are never sent again, its stream is.
    let lost = Arc::new(AtomicUsize::new(0));
    let losing = Arc::clone(&lost);
    relay.set_policy(Box::new(move |way, datagram, _| {
        let is_quic = datagram
            .first()
            .is_some_and(|first| !net::media::is_media(*first));
        let is_lost = way == Way::Down && is_quic;
        losing.fetch_add(usize::from(is_lost), Ordering::AcqRel);
        !is_lost
    }));
    let metrics = host.sessions()[0].metrics.clone();
    let injected = || metrics.counters.snapshot().input_events;
    let before = injected();
    seat.send(position(0.25, 0.25));
    eventually("the pointer has moved there", || injected() > before);
    // Acknowledgements, the datagram, the stream's copy and probes for it.
    eventually("the stream says it again and again", || {
        lost.load(Ordering::Acquire) >= 8
    });
    relay.set_policy(Box::new(|_, _, _| true));
    seat.until("it has come", |cursor| is_at(cursor, (80, 60)));
    let received = seat.client.end();
    assert!(received.cursor_repaired >= 1, "{received:?}");
}

/// A third of QUIC's packets to the client are lost, by a generator of this seed, while the pointer
/// runs in circles with changing shapes.
#[test]
fn on_a_path_that_loses_the_last_word_arrives() {
    const SEED: u64 = 5;
    let host = LoopbackHost::synthetic(&[]);
    let relay = Relay::transparent(host.address());
    let client = LoopbackClient::with(relay.address(), Trust::FirstUse, drawing());
    let seat = Seat::take(client);
    let mut state = SEED;
    relay.set_policy(Box::new(move |way, datagram, _| {
        let is_quic = datagram
            .first()
            .is_some_and(|first| !net::media::is_media(*first));
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        way == Way::Up || !is_quic || !(state >> 33).is_multiple_of(3)
    }));
    let buttons = [PointerButton::Middle, PointerButton::Back];
    for turn in 0..60 {
        let x = 0.1 + 0.01 * turn as f32;
        seat.send(position(x, 0.5));
        seat.send(press(buttons[turn % 2], turn % 4 < 2));
    }
    seat.send(press(PointerButton::Middle, false));
    seat.send(position(0.75, 0.75));
    let arrow = shape_of(None);
    seat.until("the last place", |cursor| {
        is_at(cursor, (240, 180)) && looks_like(cursor, &arrow)
    });
    seat.client.end();
}

#[test]
fn the_pointer_goes_on_in_another_mode() {
    let host = LoopbackHost::synthetic(&[]);
    let mut seat = Seat::at(&host, drawing());
    seat.send(position(0.5, 0.5));
    seat.until("the middle", |cursor| is_at(cursor, MIDDLE));
    let wanted: Mode = "160x128@30".parse().expect("a mode");
    let number = seat.client.mode_requests().request(wanted);
    seat.client.watch_until_answered(number, |_, _| ());
    let cursor = seat.until("another output", |cursor| {
        cursor.seen.pointer.output == (160, 128)
    });
    assert!(is_at(&cursor, (159, 120)), "{cursor:?}");
    seat.send(InputEvent::PointerMotion { dx: -79, dy: -60 });
    seat.until("a motion in it", |cursor| is_at(cursor, (80, 60)));
    seat.client.watch(5, |_, picture| {
        let share = share_of_arrow(picture, (80, 60));
        assert!(share < 0.2, "{share} of an arrow is in the picture");
    });
    seat.client.end();
}

#[test]
fn a_display_that_tells_nothing_of_its_pointer_grants_nothing() {
    let (display, _remote) = FakeDisplayBackend::new();
    let backends = Backends {
        display: Arc::new(display),
        encoder: &gpu::encode::candidates()[0],
        audio: None,
        microphone: None,
    };
    let host = LoopbackHost::start_on(&[("app", "none")], backends).expect("a host");
    let seat = Seat::at(&host, drawing());
    let features = seat.client.welcome().features;
    assert!(!features.contains(Features::CURSOR), "{features:?}");
    assert!(features.contains(Features::FRAME_TIMES), "{features:?}");
    seat.client.end();
    let mut demanding = hello(MODE);
    demanding.required = Features::CURSOR;
    let refused = LoopbackClient::with(host.address(), Trust::FirstUse, demanding);
    match refused.err() {
        Some(ConnectError::Refused { code, .. }) => assert_eq!(code, RefuseCode::Feature),
        other => panic!("{other:?}"),
    }
}
