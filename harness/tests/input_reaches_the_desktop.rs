//! A real sway, a real host and client, and an application that writes down what it is told: what
//! a person does at the client is what the application hears.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bench::listener::{Heard, Listener};
use engine::metrics::{Histogram, SessionMetrics};
use engine::stage::input::InputThread;
use harness::PATIENCE;
use harness::facts::{alone, entries, eventually};
use harness::loopback::{LoopbackClient, LoopbackHost, encoders, hello};
use net::client::{ClientInput, Trust};
use net::clock;
use net::input::{InputEvent, KeyEvent, Modifiers, PointerButton, Position, ScrollAxis, Text};
use platform::display::private_sway::PrivateSway;
use platform::display::{Cancel, DisplayBackend, DisplayRequest};
use platform::inject::{self, Injectors};

const BTN_LEFT: u32 = 0x110;
const SHIFT: u8 = 0xA0;

/// The Wayland socket of the one display that this process has made.
fn the_socket() -> PathBuf {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, Into::into);
    let ours = format!("punktfunk-{}-", std::process::id());
    let mut found = entries(&base);
    found.retain(|path| {
        let name = path.file_name();
        name.is_some_and(|it| it.to_string_lossy().starts_with(&ours))
    });
    let [directory] = &found[..] else {
        panic!("one display: {found:?}")
    };
    let mut sockets = entries(directory);
    sockets.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("wayland-") && !name.ends_with(".lock")
    });
    let [socket] = &sockets[..] else {
        panic!("one socket: {sockets:?}")
    };
    socket.clone()
}

fn key(virtual_key: u8, pressed: bool) -> InputEvent {
    InputEvent::Key(KeyEvent {
        virtual_key,
        pressed,
        modifiers: Modifiers::default(),
        is_layout_dependent: false,
    })
}

fn stroke(virtual_key: u8) -> [InputEvent; 2] {
    [key(virtual_key, true), key(virtual_key, false)]
}

fn text(text: &str) -> InputEvent {
    InputEvent::Text(Text::new(text).expect("short"))
}

fn position(x: f32, y: f32) -> InputEvent {
    InputEvent::PointerPosition(Position { x, y })
}

/// Waits until the window has the keyboard and says where the pointer is.
fn ready(socket: &Path, mut nudge: impl FnMut(InputEvent)) -> Listener {
    let listener = Listener::start(socket).expect("a compositor");
    eventually("the window has the keyboard", || {
        listener.heard().contains(&Heard::KeyboardEnter)
    });
    nudge(position(0.25, 0.75));
    eventually("the window has the pointer", || {
        listener.pointer().is_some()
    });
    listener
}

/// A line in keys and text, with Shift held over the text.
fn line() -> Vec<InputEvent> {
    let mut line = vec![key(SHIFT, true)];
    line.extend(stroke(b'H'));
    line.push(key(SHIFT, false));
    line.extend(stroke(b'I'));
    line.extend(stroke(0xBC));
    line.push(key(SHIFT, true));
    line.push(text(" Grüße: 5 € (Ж)~"));
    line.extend(stroke(b'X'));
    line.push(key(SHIFT, false));
    line.extend(stroke(0x0D));
    line
}
const LINE: &str = "Hi, Grüße: 5 € (Ж)~X\n";

/// A host whose sessions get a sway each, with nothing on it.
fn host_of_a_private_sway() -> LoopbackHost {
    let settings = [
        ("desktop", "private-sway"),
        ("app", "none"),
        ("encoder", encoders()[0]),
    ];
    match LoopbackHost::start(&settings) {
        Ok(host) => host,
        Err(error) => panic!("this test needs a private sway: {error}"),
    }
}

#[test]
fn a_line_is_typed_and_the_pointer_moved_on_the_streamed_desktop() {
    let _alone = alone();
    let host = host_of_a_private_sway();
    let mut client = LoopbackClient::with(host.address(), Trust::FirstUse, hello("640x360@60"))
        .expect("a session");
    client.watch(1, |_, _| ());
    let input = client.input();
    let send = |event| assert!(input.send(event), "{event:?}");
    let listener = ready(&the_socket(), send);

    line().into_iter().for_each(send);
    eventually("the line is typed", || listener.typed().ends_with('\n'));
    assert_eq!(listener.typed(), LINE);

    send(position(0.5, 0.5));
    eventually("the pointer is in the middle", || {
        is_at(&listener, 320.0, 180.0)
    });
    send(InputEvent::PointerMotion { dx: 30, dy: -20 });
    eventually("the pointer has moved", || is_at(&listener, 350.0, 160.0));
    click_and_scroll(&input, &listener);

    let metrics = host.sessions()[0].metrics.clone();
    let injected = metrics.input_to_injected.snapshot();
    let quantile = |q| injected.quantile(q);
    eprintln!(
        "{} events, control to compositor: p50 {:?}, p99 {:?}",
        injected.count(),
        quantile(0.5),
        quantile(0.99)
    );
    assert!(injected.count() > 20);
    client.end();
}

/// Within half a pixel: positions travel in 1/65535 of the picture.
fn is_at(listener: &Listener, x: f64, y: f64) -> bool {
    let at = listener.pointer();
    at.is_some_and(|at| (at.0 - x).abs() < 0.51 && (at.1 - y).abs() < 0.51)
}

fn click_and_scroll(input: &ClientInput, listener: &Listener) {
    for pressed in [true, false] {
        let button = PointerButton::Left;
        assert!(input.send(InputEvent::PointerButton { button, pressed }));
    }
    let scroll = |amount| {
        let axis = ScrollAxis::Vertical;
        assert!(input.send(InputEvent::Scroll { axis, amount }));
    };
    scroll(-120);
    eventually("a notch is heard", || {
        listener.heard().contains(&Heard::Notches { count: 1 })
    });
    scroll(-30);
    let quarter = Heard::Axis {
        is_horizontal: false,
        value: 3.75,
    };
    eventually("a quarter of a notch is heard", || {
        listener.heard().contains(&quarter)
    });
    let heard = listener.heard();
    let press = Heard::Button {
        code: BTN_LEFT,
        pressed: true,
    };
    let release = Heard::Button {
        code: BTN_LEFT,
        pressed: false,
    };
    let place = |what| heard.iter().position(|it| it == what).expect("heard");
    assert!(place(&press) < place(&release));
}

#[test]
fn what_is_down_is_lifted_when_the_input_thread_ends() {
    let _alone = alone();
    let request = DisplayRequest {
        environment: Vec::new(),
        mode: "1280x720@60".parse().expect("a mode"),
        app: Vec::new(),
        cursor_apart: false,
        cancel: Cancel::default(),
    };
    let display = match PrivateSway.create(&request) {
        Ok(display) => display,
        Err(error) => panic!("this test needs a private sway: {error}"),
    };
    let address = display.address().expect("sway's").clone();
    let (mut injectors, answers): (Injectors, _) =
        inject::open(&inject::candidates(), Some(&address));
    assert!(
        answers
            .iter()
            .any(|answer| answer.name == "wlr" && answer.result.is_ok()),
        "{answers:?}"
    );
    let mut send = |event| {
        injectors.inject(&event);
        injectors.flush();
    };
    let listener = ready(
        &address.over_wayland().expect("sway's").wayland_socket,
        &mut send,
    );
    line().into_iter().for_each(&mut send);
    eventually("the line is typed", || listener.typed().ends_with('\n'));
    assert_eq!(listener.typed(), LINE);
    for (x, y, at) in [
        (0.0, 0.0, (0.0, 0.0)),
        (0.5, 0.5, (640.0, 360.0)),
        (0.75, 0.25, (960.0, 180.0)),
    ] {
        send(position(x, y));
        eventually("the pointer is where it was put", || {
            is_at(&listener, at.0, at.1)
        });
    }

    // As when a client vanishes: the desktop may live on.
    let metrics = Arc::new(SessionMetrics::default());
    let input = InputThread::spawn(injectors, metrics, Box::new(|| ())).expect("spawns");
    let queue = input.queue();
    queue.push(clock::now(), key(SHIFT, true));
    queue.push(clock::now(), key(b'Q', true));
    queue.push(
        clock::now(),
        InputEvent::PointerButton {
            button: PointerButton::Left,
            pressed: true,
        },
    );
    let q = |pressed| Heard::Key {
        code: 16,
        pressed,
        symbol: "Q".to_owned(),
    };
    let button = |pressed| Heard::Button {
        code: BTN_LEFT,
        pressed,
    };
    // What is still in the queue when the thread ends was never down.
    eventually("Q and the button are down", || {
        let heard = listener.heard();
        heard.contains(&q(true)) && heard.contains(&button(true))
    });
    let before = listener.heard().len();
    drop(input);
    let is_lifted = |what: &Heard| listener.heard()[before..].contains(what);
    eventually("the button is lifted", || is_lifted(&button(false)));
    eventually("Q is lifted", || is_lifted(&q(false)));
    let none = Heard::Modifiers {
        depressed: 0,
        locked: 0,
    };
    eventually("no modifier is left", || is_lifted(&none));
}

/// Prints what a key takes from the client's call to the compositor's socket, whatever it is: two
/// threads of the client and two of the host are woken for it.
#[test]
fn the_way_of_a_key_is_measured() {
    let _alone = alone();
    let host = host_of_a_private_sway();
    let client = LoopbackClient::with(host.address(), Trust::FirstUse, hello("640x360@60"));
    let mut client = client.expect("a session");
    client.watch(1, |_, _| ());
    let input = client.input();
    let metrics = host.sessions()[0].metrics.clone();
    let injected = || metrics.counters.snapshot().input_events;
    let took = Histogram::default();
    for round in 0..1000 {
        let begin = clock::now();
        assert!(input.send(key(b'A', round % 2 == 0)));
        let deadline = begin + PATIENCE;
        while injected() <= round {
            assert!(clock::now() < deadline, "event {round} was not injected");
            std::thread::yield_now();
        }
        took.record(clock::now().since(begin));
    }
    let (took, host_side) = (took.snapshot(), metrics.input_to_injected.snapshot());
    for (name, figures) in [
        ("client call to injected", took),
        ("control to injected", host_side),
    ] {
        let [p50, p99] = [0.5, 0.99].map(|quantile| figures.quantile(quantile));
        eprintln!("{name}: {} keys, p50 {p50:?}, p99 {p99:?}", figures.count());
    }
    client.end();
}
