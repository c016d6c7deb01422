//! A virtual monitor on a real Mutter, headless, with a bus and a PipeWire of the tests' own.
//! `PUNKTFUNK_MUTTER` names the executable, `mutter` or `gnome-shell`, as scripts/lab/mutter and
//! scripts/lab/gnome-shell set it. Without it there is nothing to show: a Mutter is no part of what
//! a host or its tests need.

mod common;
#[path = "../../bench/src/listener.rs"]
#[allow(dead_code)]
mod listener;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::guest::{self, again};
use common::media_server::{MediaServer, Program, eventually};
use common::next_frame;
use common::painter::{Painter, colour, shown};
use common::pointing::{self, Stand};
use listener::{Heard, Listener};
use net::clock;
use net::input::{InputEvent, KeyEvent, Modifiers, PointerButton, Position, ScrollAxis, Text};
use platform::capture::pipewire::PipeWireBackend;
use platform::capture::{Capture, CaptureBackend, CaptureError, Pacing};
use platform::cursor::CursorSource;
use platform::display::mutter::Mutter;
use platform::display::{Cancel, DisplayBackend, DisplayRequest, OutputAddress, VirtualDisplay};
use platform::inject;

const SOCKET: &str = "wayland-mutter";

/// A GNOME session, or Mutter without the shell.
struct Desktop {
    compositor: Option<Program>,
    server: MediaServer,
    is_shell: bool,
}

impl Desktop {
    fn start() -> Option<Self> {
        let Ok(mutter) = std::env::var("PUNKTFUNK_MUTTER") else {
            eprintln!("PUNKTFUNK_MUTTER is not set: nothing to show");
            return None;
        };
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").expect("a runtime directory");
        for stale in ["bus", "pipewire-0", SOCKET] {
            let _ = std::fs::remove_file(PathBuf::from(&runtime).join(stale));
        }
        let server = MediaServer::start_in(runtime.into());
        let flags = [
            "--headless",
            "--wayland",
            "--no-x11",
            "--wayland-display",
            SOCKET,
        ];
        let desktop = Self {
            compositor: Some(server.spawn(&mutter, &flags)),
            server,
            is_shell: mutter.ends_with("gnome-shell"),
        };
        eventually("Mutter is ready", || desktop.backend().probe().is_ok());
        if desktop.is_shell {
            eventually("the shell is ready", || desktop.has_overview().is_some());
        }
        Some(desktop)
    }

    fn socket(&self) -> PathBuf {
        self.server.directory().join(SOCKET)
    }

    fn backend(&self) -> Mutter {
        Mutter {
            bus: Some(self.server.directory().join("bus")),
            wayland_socket: Some(self.socket()),
        }
    }

    fn create(&self, mode: &str) -> Box<dyn VirtualDisplay> {
        // Without an application the user of a shell finds its overview.
        let app: &[&str] = if self.is_shell {
            &["sleep", "1000"]
        } else {
            &[]
        };
        self.create_with(
            mode,
            app.iter().map(|word| (*word).to_owned()).collect(),
            false,
        )
    }

    /// A shell's first monitor brings its overview, which has the keyboard until it is left.
    fn await_windows(&self) {
        if self.is_shell {
            eventually("it starts", || self.has_overview() == Some(true));
            eventually("windows are shown", || self.has_overview() == Some(false));
        }
    }

    fn create_with(
        &self,
        mode: &str,
        app: Vec<String>,
        cursor_apart: bool,
    ) -> Box<dyn VirtualDisplay> {
        platform::process::become_subreaper().expect("allowed to everybody");
        let request = DisplayRequest {
            mode: mode.parse().expect("a valid mode"),
            app,
            environment: Vec::new(),
            cursor_apart,
            cancel: Cancel::default(),
        };
        let created = self.backend().create(&request);
        created.unwrap_or_else(|error| panic!("{error}"))
    }

    /// What DisplayConfig says of the monitors.
    fn monitors(&self) -> String {
        self.ask(&[
            "--dest=org.gnome.Mutter.DisplayConfig",
            "/org/gnome/Mutter/DisplayConfig",
            "org.gnome.Mutter.DisplayConfig.GetCurrentState",
        ])
    }

    /// Whether the shell shows its overview; `None` while there is no shell.
    fn has_overview(&self) -> Option<bool> {
        let said = self.ask_shell("Get", &[]);
        let value = said.split("boolean ").nth(1)?;
        Some(value.starts_with("true"))
    }

    fn ask_shell(&self, method: &str, value: &[&str]) -> String {
        let method = format!("org.freedesktop.DBus.Properties.{method}");
        let shell = [
            "--dest=org.gnome.Shell",
            "/org/gnome/Shell",
            &method,
            "string:org.gnome.Shell",
            "string:OverviewActive",
        ];
        self.ask(&[&shell, value].concat())
    }

    fn ask(&self, words: &[&str]) -> String {
        let bus = self.server.directory().join("bus");
        let asked = Command::new("dbus-send")
            .args(["--print-reply", "--session"])
            .args(words)
            .env(
                "DBUS_SESSION_BUS_ADDRESS",
                format!("unix:path={}", bus.display()),
            )
            .output()
            .expect("dbus-send is there");
        String::from_utf8_lossy(&asked.stdout).into_owned()
    }
}

fn open(display: &dyn VirtualDisplay) -> Box<dyn Capture> {
    let address = display.address().expect("it has one");
    PipeWireBackend
        .open(address)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Pictures arrive, each newer than the one before; tells their rate, the time from a drawn
/// picture to one in hand, and how unevenly they come.
fn watch(display: &dyn VirtualDisplay, capture: &mut dyn Capture, painter: &Painter, count: u32) {
    // Picture 0 is black, as an empty desktop may be.
    let mut number = 1;
    let mut seen = 0;
    let (mut latencies, mut pacing) = (Vec::new(), Pacing::NONE);
    let mut start = Instant::now();
    while seen < count {
        let frame = next_frame(capture);
        // The desktop's own background comes first.
        let Some(shown) = shown(&frame) else { continue };
        // The same one again, where something else was repainted.
        if seen > 0 && shown == colour(number - 1) {
            continue;
        }
        if let Some(at) = (number..painter.drawn()).find(|number| colour(*number) == shown) {
            if seen == 0 {
                start = Instant::now();
            }
            latencies.push(clock::now().since(painter.drawn_at(at)));
            let _ = pacing.note(frame.captured, display.mode().refresh().interval());
            (number, seen) = (at + 1, seen + 1);
        } else {
            assert_eq!(
                seen, 0,
                "after {number} one that nobody drew, or an older one: {shown:06x}"
            );
        }
    }
    let rate = f64::from(count - 1) / start.elapsed().as_secs_f64();
    latencies.sort();
    let (half, most) = (
        latencies[latencies.len() / 2],
        latencies[latencies.len() * 99 / 100],
    );
    let judder = pacing.judder();
    eprintln!(
        "{}: {rate:.1} pictures a second, drawn to in hand p50 {half:?}, p99 {most:?}, \
         judder {judder:?}",
        display.mode()
    );
}

#[test]
fn a_monitor_has_the_mode_that_was_asked_for_and_shows_what_is_drawn() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let begun = Instant::now();
    let mut display = desktop.create("1920x1200@60");
    let mut capture = open(&*display);
    next_frame(&mut *capture);
    eprintln!("create to the first frame: {:?}", begun.elapsed());
    let monitors = desktop.monitors();
    assert!(monitors.contains("1920x1200@60.000"), "{monitors}");
    desktop.await_windows();
    let painter = Painter::start(&desktop.socket(), u32::MAX);
    watch(&*display, &mut *capture, &painter, 60);
    drop(painter);

    let begun = Instant::now();
    display
        .set_mode("2560x1440@120".parse().expect("valid"))
        .expect("Mutter obeys");
    eprintln!("change of the mode: {:?}", begun.elapsed());
    let old = loop {
        match capture.next(Duration::from_secs(20)) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(old, CaptureError::Ended { .. }), "{old}");
    let mut capture = open(&*display);
    let monitors = desktop.monitors();
    assert!(monitors.contains("2560x1440@120.000"), "{monitors}");
    assert!(!monitors.contains("1920x1200"), "{monitors}");
    let painter = Painter::start(&desktop.socket(), u32::MAX);
    watch(&*display, &mut *capture, &painter, 60);
    display.check().expect("it stands");
    drop(painter);
    drop(capture);
    drop(display);
    eventually("the monitor is gone", || {
        !desktop.monitors().contains("2560x1440")
    });
}

#[test]
fn an_application_is_not_hidden_behind_the_overview() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    if !desktop.is_shell {
        eprintln!("a Mutter without a shell has no overview");
        return;
    }
    // The first monitor of a shell brings its overview.
    let first = desktop.create("1280x720@60");
    desktop.await_windows();
    // So does its user.
    eventually("the overview is back", || {
        desktop.ask_shell("Set", &["variant:boolean:true"]);
        desktop.has_overview() == Some(true)
    });
    let second = desktop.create("1280x720@60");
    eventually("windows are shown again", || {
        desktop.has_overview() == Some(false)
    });
    drop(second);
    drop(first);
}

#[test]
fn keys_text_and_pointer_arrive_in_a_client() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let display = desktop.create("1280x720@60");
    desktop.await_windows();
    let mut address = display.address().expect("it has one").clone();
    use_input(&desktop, &address, "ei");
    // As on a Mutter without emulated input.
    address.ei = None;
    use_input(&desktop, &address, "remote-desktop");
}

fn use_input(desktop: &Desktop, address: &OutputAddress, kind: &str) {
    let (mut input, answers) = inject::open(&inject::candidates(), Some(address));
    let names: Vec<_> = input.capabilities().map(|it| it.name).collect();
    assert!(names.contains(&kind), "{answers:?}");
    let listener = Listener::start(&desktop.socket()).expect("a compositor");
    eventually("the window has the keyboard", || {
        listener.heard().contains(&Heard::KeyboardEnter)
    });
    let mut send = |event: InputEvent| {
        input.inject(&event);
        input.flush();
    };
    let key = |virtual_key, pressed| {
        InputEvent::Key(KeyEvent {
            virtual_key,
            pressed,
            modifiers: Modifiers::default(),
            is_layout_dependent: false,
        })
    };
    // H, then e.
    for (virtual_key, pressed) in [(0xA0, true), (0x48, true), (0x48, false), (0xA0, false)] {
        send(key(virtual_key, pressed));
    }
    for pressed in [true, false] {
        send(key(0x45, pressed));
    }
    eventually("the keys arrive", || listener.typed() == "He");
    send(InputEvent::Text(
        Text::new("y, {You} ~50%!\n").expect("short"),
    ));
    eventually("the text arrives", || listener.typed().ends_with("\n"));
    assert_eq!(listener.typed(), "Hey, {You} ~50%!\n");

    let is_at = |x: f64, y: f64| {
        listener
            .pointer()
            .is_some_and(|at| (at.0 - x).abs() < 1.0 && (at.1 - y).abs() < 1.0)
    };
    // A pointer that was just made is told to a client after its first motion.
    eventually("the pointer is there", || {
        for (x, y) in [(0.5, 0.25), (0.25, 0.5)] {
            send(InputEvent::PointerPosition(Position { x, y }));
        }
        is_at(320.0, 360.0)
    });
    send(InputEvent::PointerMotion { dx: 30, dy: -20 });
    eventually("the pointer has moved", || is_at(350.0, 340.0));
    for pressed in [true, false] {
        send(InputEvent::PointerButton {
            button: PointerButton::Left,
            pressed,
        });
        let button = Heard::Button {
            code: 0x110,
            pressed,
        };
        eventually("the button arrives", || listener.heard().contains(&button));
    }
    send(InputEvent::Scroll {
        axis: ScrollAxis::Vertical,
        amount: -120,
    });
    eventually("the notch arrives", || {
        listener.heard().contains(&Heard::Notches { count: 1 })
    });
    // Who goes leaves nothing pressed.
    send(key(0x41, true));
    let code = 30;
    let told = |pressed| {
        listener.heard().iter().any(|heard| {
            matches!(heard, Heard::Key { code: told, pressed: how, .. } if (*told, *how) == (code, pressed))
        })
    };
    eventually("the key is down", || told(true));
    drop(input);
    eventually("the key is up", || told(false));
}

/// An application with a pointer of its own.
#[test]
fn is_a_guest_when_told_to() {
    if let Some(path) = std::env::var_os("GUEST") {
        guest::run(path.as_ref(), true);
    }
}

/// A guest on a monitor, with the pointer apart or painted, and what drives it: emulated input, or
/// calls over D-Bus as where there is none.
fn with_guest(
    cursor_apart: bool,
    kind: &str,
    test: impl FnOnce(&mut Stand, Option<Box<dyn CursorSource>>),
) {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let place = tempfile::tempdir().expect("a directory");
    let heard = place.path().join("heard");
    let app = again("is_a_guest_when_told_to", "GUEST", &heard);
    let display = desktop.create_with("1280x720@60", app, cursor_apart);
    let mut address = display.address().expect("it has one").clone();
    address.ei = address.ei.filter(|_| kind == "ei");
    let (input, _) = inject::open(&inject::candidates(), Some(&address));
    assert!(input.capabilities().any(|it| it.name == kind));
    let apart = PipeWireBackend.open_with_cursor(&address).expect("opens");
    assert_eq!(apart.is_some(), cursor_apart);
    let (capture, source) = match apart {
        Some((capture, source)) => (capture, Some(source)),
        None => (open(&*display), None),
    };
    let mut stand = Stand {
        input,
        capture,
        heard: &heard,
    };
    test(&mut stand, source);
}

#[test]
fn the_pointer_is_told_and_not_painted_where_it_is_wanted_apart() {
    with_guest(true, "ei", |stand, source| {
        pointing::is_told(stand, &mut *source.expect("just asserted"));
    });
}

#[test]
fn the_pointer_is_painted_where_nobody_wants_it_apart() {
    with_guest(false, "ei", |stand, _| pointing::is_painted(stand));
}

#[test]
fn fingers_arrive_in_a_client() {
    for kind in ["ei", "remote-desktop"] {
        with_guest(false, kind, |stand, _| pointing::fingers_arrive(stand));
    }
}

#[test]
fn a_compositor_that_hangs_is_found_out_and_holds_nobody_up() {
    let Some(desktop) = Desktop::start() else {
        return;
    };
    let mut display = desktop.create("1280x720@60");
    display.check().expect("it answers");
    let compositor = desktop.compositor.as_ref().expect("it runs");
    compositor.signal("STOP");
    eventually("it is found out", || display.check().is_err());
    let begun = Instant::now();
    drop(display);
    eprintln!("left in {:?}", begun.elapsed());
    compositor.signal("CONT");
    let monitors = || desktop.monitors();
    eventually("the monitor is gone", || !monitors().contains("1280x720"));
}

#[test]
fn the_end_of_the_compositor_is_the_end_of_the_display() {
    let Some(mut desktop) = Desktop::start() else {
        return;
    };
    let mut display = desktop.create("1280x720@60");
    let mut capture = open(&*display);
    next_frame(&mut *capture);
    desktop.compositor = None;
    let error = loop {
        match capture.next(Duration::from_secs(20)) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    eprintln!("{error}");
    eventually("it is told", || display.check().is_err());
}
