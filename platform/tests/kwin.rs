//! Outputs on a real KWin, headless, of each test's own (`scripts/lab/kwin`).

mod common;
#[allow(dead_code)]
#[path = "../../bench/src/listener.rs"]
mod listener;

use std::fs::File;
use std::time::{Duration, Instant};

use common::guest::{self, again};
use common::kwin::{Desktop, OPEN, Options, OutputSeen, is_emulated, request};
use common::painter::{Painter, colour, drawn_at};
use common::pointing::{self, Stand};
use common::*;
use gpu::frame::Frame;
use net::clock;
use net::input::{InputEvent, KeyEvent, Modifiers, PointerButton, Position, ScrollAxis, Text};
use net::units::{Mode, Timestamp};
use platform::capture::pipewire::{Memory, NodeStream, PipeWireBackend, Shape};
use platform::capture::{Capture, CaptureBackend, Captured, Pacing};
use platform::cursor::CursorSource;
use platform::display::{DisplayBackend, DisplayRequest, VirtualDisplay};
use platform::inject::kwin::Kwin;
use platform::inject::{self, InjectBackend, Injected};

/// How often a condition is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// The modes that the project promises.
const MODES: [&str; 3] = ["1280x720@60", "1920x1200@120", "2560x1440@60"];

/// How many pictures are held against what was drawn, for each mode and memory.
fn pictures() -> usize {
    if is_emulated() { 5 } else { 40 }
}

/// Of that size exactly, and of that rate as far as KWin's CVT clocks go.
fn assert_near(has: Mode, wanted: &str) {
    let wanted: Mode = wanted.parse().expect("valid");
    let size = |mode: Mode| (mode.width(), mode.height());
    assert_eq!(size(has), size(wanted));
    let off_millihz = has.refresh().get().abs_diff(wanted.refresh().get());
    assert!(
        off_millihz * 100 <= wanted.refresh().get(),
        "{has} for {wanted}"
    );
}

#[test]
fn outputs_of_every_mode_come_and_go() {
    let Some(desktop) = Desktop::start(OPEN) else {
        return;
    };
    let backend = desktop.backend();
    assert!(backend.probe().expect("ready").contains("zkde_screencast"));
    for mode in MODES {
        let asked = Instant::now();
        let wish = request(mode, &[]);
        let mut display = backend.create(&wish).expect("created");
        eprintln!("{mode}: {} after {:?}", display.mode(), asked.elapsed());
        let has = display.mode();
        assert_near(has, mode);
        let [width, height] = [has.width(), has.height()].map(i32::from);
        let millihz = i32::try_from(has.refresh().get()).expect("small");
        let name = output(&*display).output;
        let seen = OutputSeen {
            name: name.clone(),
            mode: (width, height, millihz),
        };
        assert!(desktop.outputs().contains(&seen), "{:?}", desktop.outputs());
        display.check().expect("lives");
        // As a session does at its end.
        wish.cancel.ask();
        display.check().expect("lives until it is dropped");
        drop(display);
        assert_eq!(desktop.extra_outputs(), Vec::<String>::new());
    }
    let wish = request(MODES[0], &[]);
    wish.cancel.ask();
    assert!(backend.create(&wish).is_err(), "nobody wants it");
    assert_eq!(desktop.extra_outputs(), Vec::<String>::new());
}

#[test]
fn two_sessions_have_an_output_each() {
    let Some(desktop) = Desktop::start(OPEN) else {
        return;
    };
    let backend = desktop.backend();
    let first = backend
        .create(&request("1280x720@60", &[]))
        .expect("created");
    let second = backend
        .create(&request("640x480@60", &[]))
        .expect("created");
    let names = [output(&*first).output, output(&*second).output];
    assert_eq!(desktop.extra_outputs(), names);
    drop(first);
    assert_eq!(desktop.extra_outputs(), names[1..]);
    let third = backend
        .create(&request("640x480@60", &[]))
        .expect("created");
    assert_eq!(output(&*third).output, names[0], "names are used again");
}

#[test]
fn the_mode_changes_while_it_lives() {
    let Some(desktop) = Desktop::start(OPEN) else {
        return;
    };
    let backend = desktop.backend();
    let mut display = backend
        .create(&request("1280x720@60", &[]))
        .expect("created");
    for mode in MODES.iter().rev().chain(&MODES) {
        let asked = Instant::now();
        display
            .set_mode(mode.parse().expect("valid"))
            .expect("it obeys");
        eprintln!("{mode}: {} after {:?}", display.mode(), asked.elapsed());
        assert_near(display.mode(), mode);
        display.check().expect("lives");
    }
}

#[test]
fn without_a_render_node_the_refusal_says_what_is_missing() {
    let without = Options {
        has_node: false,
        ..OPEN
    };
    let Some(desktop) = Desktop::start(without) else {
        return;
    };
    let refused = desktop.backend().create(&request("1280x720@60", &[]));
    let reason = refused.err().expect("it has no node").to_string();
    assert!(reason.contains("/dev/dri/renderD128"), "{reason}");
    assert_eq!(desktop.extra_outputs(), Vec::<String>::new());
}

#[test]
fn kwin_obeys_whom_a_desktop_file_permits() {
    let closed = Options {
        is_open: false,
        ..OPEN
    };
    let Some(desktop) = Desktop::start(closed) else {
        return;
    };
    let refusal = desktop.backend().probe().expect_err("nothing permits it");
    let refusal = refusal.to_string();
    assert!(refusal.contains("scripts/kde-permission"), "{refusal}");
    let this = std::env::current_exe().expect("known");
    let template = include_str!("../../scripts/kde/punktfunk.desktop");
    let text = template.replace("@EXECUTABLE@", this.to_str().expect("text"));
    let permitting = Options {
        permission: Some(&text),
        ..closed
    };
    let desktop = Desktop::start(permitting).expect("as before");
    let backend = desktop.backend();
    backend.probe().expect("permitted");
    let display = backend.create(&request("1280x720@60", &[]));
    drop(display.expect("created"));
}

#[test]
fn what_is_drawn_arrives_over_both_kinds_of_memory() {
    let Some(desktop) = Desktop::start(OPEN) else {
        return;
    };
    let backend = desktop.backend();
    for mode in MODES {
        let notes = tempfile::NamedTempFile::new().expect("a file");
        let app = again("paints_when_told_to", "PAINT", notes.path());
        let asked = Instant::now();
        let display = backend.create(&request(mode, &app)).expect("created");
        for memory in [Memory::Any, Memory::Shared] {
            let opened = Instant::now();
            let (_stream, mut capture) = open(&*display, memory);
            let mut watch = Watch::new(notes.as_file(), display.mode());
            watch.frame(&next_frame(&mut *capture));
            let since = (asked.elapsed(), opened.elapsed());
            eprintln!("{mode} {memory:?}: first frame {since:?} after create and open");
            let began = Instant::now();
            // Solid colours only once the painter's window is full screen.
            while watch.seen.len() < pictures() {
                watch.frame(&next_frame(&mut *capture));
                let is_full_screen = !watch.seen.is_empty();
                assert!(is_full_screen || began.elapsed() < PATIENCE, "not yet");
            }
            watch.tell(watch.pacing.judder());
        }
    }
}

#[test]
fn a_capture_ends_with_the_old_size_and_the_next_has_the_new_one() {
    let Some(desktop) = Desktop::start(OPEN) else {
        return;
    };
    let notes = tempfile::NamedTempFile::new().expect("a file");
    let app = again("paints_when_told_to", "PAINT", notes.path());
    let backend = desktop.backend();
    let mut display = backend
        .create(&request("1280x720@60", &app))
        .expect("created");
    for mode in [MODES[1], MODES[2], MODES[0]] {
        let (_stream, mut capture) = open(&*display, Memory::Any);
        next_frame(&mut *capture);
        let asked = Instant::now();
        display
            .set_mode(mode.parse().expect("valid"))
            .expect("it obeys");
        let reason = loop {
            match capture.next(PATIENCE) {
                Ok(Captured::Frame(_)) => {}
                Ok(_) => panic!("the new size went unnoticed"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(
            reason.contains(&format!("to {}", mode.split('@').next().expect("a size"))),
            "{reason}"
        );
        let (_stream, mut capture) = open(&*display, Memory::Any);
        let first = next_frame(&mut *capture);
        eprintln!("{mode}: first frame {:?} after the wish", asked.elapsed());
        assert_eq!(first.surface.size().width, display.mode().width());
        drop(first);
        let mut watch = Watch::new(notes.as_file(), display.mode());
        while watch.seen.len() < 5 {
            watch.frame(&next_frame(&mut *capture));
            assert!(asked.elapsed() < PATIENCE, "the painter does not fill it");
        }
    }
    drop(display);
    assert_eq!(desktop.extra_outputs(), Vec::<String>::new());
}

/// A capture of the display's node over that kind of memory.
fn open(display: &dyn VirtualDisplay, memory: Memory) -> (NodeStream, Box<dyn Capture>) {
    let address = address(display);
    let node = address.node.as_ref().expect("KWin shows a node");
    let stream = node.stream.clone().expect("the display keeps its stream");
    stream.offer(Shape::Given, memory);
    let deadline = Instant::now() + PATIENCE;
    while stream.is_dmabuf() != (memory == Memory::Any) {
        assert!(Instant::now() < deadline, "it keeps its memory");
        std::thread::park_timeout(LOOK_INTERVAL);
    }
    let capture = PipeWireBackend.open(&address).expect("the stream stands");
    (stream, capture)
}

/// Holds what arrives against what the painter drew.
struct Watch<'a> {
    notes: &'a File,
    mode: Mode,
    number: Option<u32>,
    /// When each picture of the painter's was drawn, and in hand.
    seen: Vec<(Timestamp, Timestamp)>,
    pacing: Pacing,
}

impl<'a> Watch<'a> {
    fn new(notes: &'a File, mode: Mode) -> Self {
        Self {
            notes,
            mode,
            number: None,
            seen: Vec::new(),
            pacing: Pacing::NONE,
        }
    }

    /// A picture that is not of one colour may only come before the window fills the output.
    fn frame(&mut self, frame: &Frame) {
        let size = frame.surface.size();
        assert_eq!(
            (size.width, size.height),
            (self.mode.width(), self.mode.height())
        );
        let pixels = frame.surface.map().expect("it can be read");
        let mut rows = pixels.bytes.chunks(pixels.stride).take(size.height.into());
        let mut rows = rows.by_ref().map(|row| &row[..usize::from(size.width) * 4]);
        let top = rows.next().expect("a row");
        let is_whole = top.chunks(4).all(|at| at == &top[..4]) && rows.all(|row| row == top);
        let first = u32::from_le_bytes(top[..4].try_into().expect("four")) & 0xFF_FFFF;
        let drawn = u32::try_from(self.notes.metadata().expect("a file").len() / 8).expect("few");
        // The same one again, where something else was repainted.
        let from = self.number.unwrap_or(0);
        let number = (from..drawn).find(|number| colour(*number) == first);
        if let (true, Some(number)) = (is_whole, number) {
            if self.number == Some(number) {
                return;
            }
            self.number = Some(number);
            let drawn = drawn_at(self.notes, number);
            self.seen.push((drawn, clock::now()));
            let _ = self
                .pacing
                .note(frame.captured, self.mode.refresh().interval());
        } else {
            assert!(
                self.seen.is_empty(),
                "{first:06x}, {number:?}, whole: {is_whole}, after {:?}; rows of {:x?}",
                self.number,
                ends(pixels.bytes, pixels.stride, size.height.into())
            );
        }
    }

    fn tell(&self, judder: Option<Duration>) {
        let mut waits: Vec<_> = self
            .seen
            .iter()
            .map(|(drawn, seen)| seen.since(*drawn))
            .collect();
        waits.sort_unstable();
        let whole = self.seen[self.seen.len() - 1].1.since(self.seen[0].1);
        let fps = (self.seen.len() - 1) as f64 / whole.as_secs_f64();
        let (half, most) = (waits[waits.len() / 2], waits[waits.len() * 99 / 100]);
        eprintln!("{fps:.1} fps, drawn to in hand p50 {half:?} p99 {most:?}, judder {judder:?}");
    }
}

/// For the report: where the rows' first and last colours change, from the top.
fn ends(bytes: &[u8], stride: usize, height: usize) -> Vec<(usize, u32, u32)> {
    let at = |byte: usize| u32::from_le_bytes(bytes[byte..byte + 4].try_into().expect("four"));
    let ends = (0..height).map(|y| (y, at(y * stride), at((y + 1) * stride - 4)));
    let mut all: Vec<_> = ends.collect();
    all.dedup_by_key(|(_, first, last)| (*first, *last));
    all.truncate(20);
    all
}

/// An application that paints and notes when.
#[test]
fn paints_when_told_to() {
    let Some(path) = std::env::var_os("PAINT") else {
        return;
    };
    let socket = std::env::var_os("WAYLAND_DISPLAY").expect("set for an application");
    let notes = File::options().write(true).open(path).expect("our file");
    Painter::start_noting(socket.as_ref(), u32::MAX, notes).join();
}

#[test]
fn input_arrives_at_the_application_on_the_output() {
    let Some(desktop) = Desktop::start(OPEN) else {
        return;
    };
    let place = tempfile::tempdir().expect("a directory");
    let heard = place.path().join("heard");
    let app = again("listens_when_told_to", "LISTEN", &heard);
    let backend = desktop.backend();
    let display = backend
        .create(&request("1920x1200@60", &app))
        .expect("created");
    let address = address(&*display);
    eprintln!(
        "{}",
        InjectBackend::probe(&Kwin, Some(&address)).expect("ready")
    );
    let mut injector = Kwin.open(Some(&address)).expect("opens");
    let mut act = |events: &[InputEvent], until: &dyn Fn(&str) -> bool| {
        let deadline = Instant::now() + PATIENCE;
        let mut next = 0;
        loop {
            if next < events.len() {
                assert_eq!(
                    injector.inject(&events[next]).expect("lives"),
                    Injected::Done
                );
                injector.flush().expect("lives");
                next += 1;
            }
            let text = std::fs::read_to_string(&heard).unwrap_or_default();
            if next == events.len() && until(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "heard: {text}");
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    };
    act(&[], &|text| text.contains("KeyboardEnter"));

    // Full screen there, but not at once: the pointer goes to and fro until it is.
    let position = |x, y| InputEvent::PointerPosition(Position { x, y });
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = act(&[position(0.25, 0.5), position(0.5, 0.5)], &|_| true);
        if text.contains("Motion { x: 960.0, y: 600.0 }") {
            break;
        }
        assert!(Instant::now() < deadline, "{text}");
    }
    let by = InputEvent::PointerMotion { dx: 10, dy: -20 };
    act(&[by], &|text| {
        text.contains("Motion { x: 970.0, y: 580.0 }")
    });

    let left = |pressed| InputEvent::PointerButton {
        button: PointerButton::Left,
        pressed,
    };
    act(&[left(true), left(false)], &|text| {
        text.contains("Button { code: 272, pressed: true }")
            && text.contains("Button { code: 272, pressed: false }")
    });
    let down = InputEvent::Scroll {
        axis: ScrollAxis::Vertical,
        amount: -120,
    };
    act(&[down], &|text| {
        text.contains("Axis { is_horizontal: false, value: 15.0 }")
    });

    let key = |virtual_key, pressed| {
        InputEvent::Key(KeyEvent {
            virtual_key,
            pressed,
            modifiers: Modifiers::default(),
            is_layout_dependent: false,
        })
    };
    act(&[key(0x41, true), key(0x41, false)], &|text| {
        text.contains("Key { code: 30, pressed: true")
            && text.contains("Key { code: 30, pressed: false")
    });
    let words = "Grüße, 漢字 €5!";
    let text = InputEvent::Text(Text::new(words).expect("short"));
    act(&[text], &|text| {
        text.contains(&format!("typed {:?}", format!("a{words}")))
    });

    // What is down when the injector goes comes up.
    act(&[key(0x42, true), left(true)], &|text| {
        text.contains("code: 48, pressed: true")
    });
    drop(injector);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = std::fs::read_to_string(&heard).expect("written");
        let ups = text.matches("Button { code: 272, pressed: false }").count();
        if text.contains("code: 48, pressed: false") && ups == 2 {
            break;
        }
        assert!(Instant::now() < deadline, "{text}");
        std::thread::yield_now();
    }
}

/// An application that writes down what its seat tells it.
#[test]
fn listens_when_told_to() {
    let Some(file) = std::env::var_os("LISTEN") else {
        return;
    };
    let socket = std::env::var_os("WAYLAND_DISPLAY").expect("set for an application");
    let listener = listener::Listener::start(socket.as_ref()).expect("a compositor");
    let mut told = 0;
    loop {
        let heard = listener.heard();
        if heard.len() > told {
            told = heard.len();
            let mut text = format!("typed {:?}\n", listener.typed());
            for it in heard {
                text += &format!("{it:?}\n");
            }
            let whole = std::path::Path::new(&file).with_extension("new");
            std::fs::write(&whole, text).expect("our file");
            std::fs::rename(&whole, &file).expect("our file");
        }
        std::thread::park_timeout(LOOK_INTERVAL);
    }
}

/// An application with a pointer of its own.
#[test]
fn is_a_guest_when_told_to() {
    if let Some(path) = std::env::var_os("GUEST") {
        guest::run(path.as_ref(), false);
    }
}

/// A guest on an output, with the pointer apart or painted, and what drives it.
fn with_guest(cursor_apart: bool, test: impl FnOnce(&mut Stand, Option<Box<dyn CursorSource>>)) {
    let Some(desktop) = Desktop::start(OPEN) else {
        return;
    };
    let place = tempfile::tempdir().expect("a directory");
    let heard = place.path().join("heard");
    let request = DisplayRequest {
        cursor_apart,
        ..request(
            "1280x720@60",
            &again("is_a_guest_when_told_to", "GUEST", &heard),
        )
    };
    let display = desktop.backend().create(&request).expect("created");
    let address = address(&*display);
    let (input, _) = inject::open(&inject::candidates(), Some(&address));
    let apart = PipeWireBackend.open_with_cursor(&address).expect("opens");
    assert_eq!(apart.is_some(), cursor_apart);
    let (capture, source) = match apart {
        Some((capture, source)) => (capture, Some(source)),
        None => (PipeWireBackend.open(&address).expect("opens"), None),
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
    with_guest(true, |stand, source| {
        pointing::is_told(stand, &mut *source.expect("just asserted"));
    });
}

#[test]
fn the_pointer_is_painted_where_nobody_wants_it_apart() {
    with_guest(false, |stand, _| pointing::is_painted(stand));
}

#[test]
fn fingers_arrive_at_the_application_on_the_output() {
    with_guest(false, |stand, _| pointing::fingers_arrive(stand));
}

#[test]
fn a_killed_kwin_is_gone_and_leaves_nothing() {
    let Some(mut desktop) = Desktop::start(OPEN) else {
        return;
    };
    let app = ["sleep".to_owned(), "1000".to_owned()];
    let backend = desktop.backend();
    let mut display = backend
        .create(&request("1280x720@60", &app))
        .expect("created");
    display.check().expect("lives");
    assert_eq!(marked_by(std::process::id()), 1);
    let (_stream, mut capture) = open(&*display, Memory::Any);
    desktop.kill();
    let killed = Instant::now();
    let reason = loop {
        match capture.next(PATIENCE) {
            Ok(Captured::Frame(_)) => {}
            Ok(_) => panic!("a dead KWin was taken for a still one"),
            Err(error) => break error.to_string(),
        }
    };
    eprintln!(
        "the capture ended {:?} after KWin: {reason}",
        killed.elapsed()
    );
    let reason = display.check().expect_err("it was killed").to_string();
    assert!(reason.contains("kwin ended"), "{reason}");
    drop(display);
    assert_eq!(marked_by(std::process::id()), 0);
    let refusal = backend.probe().expect_err("nobody listens").to_string();
    assert!(refusal.contains("cannot be reached"), "{refusal}");
}

#[test]
fn a_killed_host_leaves_nothing() {
    let Some(desktop) = Desktop::start(OPEN) else {
        return;
    };
    let words = again("holds_a_display_when_told_to", "HOLD", &desktop.socket);
    let (program, arguments) = words.split_first().expect("words");
    let mut host = std::process::Command::new(program);
    let mut host = host.args(arguments).spawn().expect("this program");
    let await_that = |what: &dyn Fn() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !what() {
            assert!(Instant::now() < deadline, "{:?}", desktop.extra_outputs());
            std::thread::park_timeout(LOOK_INTERVAL);
        }
    };
    await_that(&|| desktop.extra_outputs().len() == 1 && marked_by(host.id()) == 1);
    host.kill().expect("our child");
    let killed = Instant::now();
    await_that(&|| desktop.extra_outputs().is_empty());
    eprintln!("its output was gone {:?} later", killed.elapsed());
    await_that(&|| marked_by(host.id()) == 0);
    eprintln!("its application was gone {:?} later", killed.elapsed());
    host.wait().expect("our child");
}

/// A host, to be killed.
#[test]
fn holds_a_display_when_told_to() {
    let Some(socket) = std::env::var_os("HOLD") else {
        return;
    };
    let backend = platform::display::kwin::Kwin {
        wayland_socket: Some(socket.into()),
    };
    let app = ["sleep".to_owned(), "1000".to_owned()];
    let mut display = backend
        .create(&request("1280x720@60", &app))
        .expect("created");
    while display.check().is_ok() {
        std::thread::park_timeout(LOOK_INTERVAL);
    }
}

/// How many processes were started for displays of that host.
fn marked_by(host: u32) -> usize {
    let of_host = format!("/punktfunk-{host}-");
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let environs = entries.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    let marked = environs.filter(|environ| {
        let mut variables = environ.split(|byte| *byte == 0);
        variables.any(|variable| {
            let variable = String::from_utf8_lossy(variable);
            variable.starts_with("PUNKTFUNK_DISPLAY=") && variable.contains(&of_host)
        })
    });
    marked.count()
}
