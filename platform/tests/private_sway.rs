//! A sway of our own: exact modes, the application on it, and nothing left behind.

mod common;

use std::sync::{PoisonError, RwLock};

use common::painter::{Painter, colour};
use common::*;
use gpu::frame::{Frame, Size};
use platform::display::private_sway::PrivateSway;
use platform::display::sway_ipc::SwayIpc;
use platform::display::{Cancel, DisplayBackend, DisplayError, DisplayRequest, OutputAddress};

/// Held for reading by tests that make displays, for writing by the one that counts what is left:
/// a neighbour's directory has no process yet for a moment, and none any more for another.
static DISPLAYS: RwLock<()> = RwLock::new(());

#[test]
fn the_output_has_exactly_the_mode_asked_for() {
    let _displays = DISPLAYS.read().unwrap_or_else(PoisonError::into_inner);
    for wanted in [
        "1280x720@60",
        "1366x768@75",
        "1920x1080@59.94",
        "5120x1440@240",
    ] {
        let display = private_display(wanted, &[]);
        assert_eq!(display.mode().to_string(), wanted);
        let mut ipc =
            SwayIpc::connect(&directory(&*display).join("ipc.sock"), PATIENCE).expect("connects");
        let outputs = ipc.outputs().expect("answers");
        assert_eq!(outputs.len(), 1, "one output");
        assert_eq!(outputs[0].name, output(&*display).output);
        let mode = outputs[0].current_mode.expect("active");
        assert_eq!(mode.width, u32::from(display.mode().width()));
        assert_eq!(mode.height, u32::from(display.mode().height()));
    }
}

#[test]
fn another_mode_is_drawn_when_it_was_set() {
    let _displays = DISPLAYS.read().unwrap_or_else(PoisonError::into_inner);
    let mut display = private_display("640x480@60", &[]);
    let _painter = Painter::start(&output(&*display).wayland_socket, u32::MAX);
    let address = address(&*display);
    let on_gpu = std::path::Path::new("/dev/dri").exists();
    assert!(address.nested.is_some() || on_gpu, "nested where it can be");
    let mut ipc =
        SwayIpc::connect(&directory(&*display).join("ipc.sock"), PATIENCE).expect("connects");
    for wanted in ["800x600@60", "800x600@144", "1280x720@30", "640x480@60"] {
        let mode: net::units::Mode = wanted.parse().expect("a valid mode");
        display.set_mode(mode).expect("sway follows");
        assert_eq!(display.mode().to_string(), wanted);
        let (width, height) = (mode.width(), mode.height());
        assert_eq!(shown(&address), Size { width, height }, "{wanted}");
        // An application of the session may ask sway for what it likes: the next mode comes.
        let output = output(&*display).output;
        ipc.run(&format!("output {output} mode --custom 720x400"))
            .expect("changes");
        while shown(&address).width != 720 {}
    }
}

/// The size of the picture that is shown.
fn shown(address: &OutputAddress) -> Size {
    let capture = captures(address).remove(0).open(address);
    next_frame(&mut *capture.expect("opens")).surface.size()
}

#[test]
fn pictures_come_in_the_order_of_their_drawing_and_none_comes_twice() {
    let _displays = DISPLAYS.read().unwrap_or_else(PoisonError::into_inner);
    let display = private_display("640x480@60", &[]);
    let painter = Painter::start(&output(&*display).wayland_socket, u32::MAX);
    let address = address(&*display);
    let mut capture = captures(&address).remove(0).open(&address).expect("opens");
    let mut seen = Vec::new();
    while seen.len() < 200 {
        let frame = next_frame(&mut *capture);
        let corner = corner(&frame);
        let number = (0..=painter.drawn()).rfind(|number| colour(*number) == corner);
        // What is shown before the painter's first picture has no number.
        seen.extend(number.filter(|number| *number > 0));
    }
    assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
}

/// The colour in the top left corner.
fn corner(frame: &Frame) -> u32 {
    let pixels = frame.surface.map().expect("shared memory can be read");
    let bytes = [pixels.bytes[0], pixels.bytes[1], pixels.bytes[2], 0];
    u32::from_le_bytes(bytes)
}

#[test]
fn dropping_it_leaves_no_process_socket_or_directory() {
    let _displays = DISPLAYS.read().unwrap_or_else(PoisonError::into_inner);
    // A grandchild that left the process group and ignores every polite signal.
    let script = "trap '' TERM HUP; setsid sh -c 'trap \"\" TERM HUP; touch \"$0/up\"; \
                  while :; do sleep 60; done' \"$(dirname \"$SWAYSOCK\")\" & wait";
    let display = private_display("640x480@60", &["sh", "-c", script]);
    let directory = directory(&*display);
    let up = directory.join("up");
    while !up.exists() {
        std::thread::yield_now();
    }
    assert!(
        processes_of(&directory).len() >= 3,
        "sway, the application, its grandchild"
    );
    drop(display);
    assert_eq!(processes_of(&directory), Vec::<i32>::new());
    assert!(!directory.exists());
}

#[test]
fn an_application_that_ends_does_not_end_the_display() {
    let _displays = DISPLAYS.read().unwrap_or_else(PoisonError::into_inner);
    let mut display = private_display("640x480@60", &["sh", "-c", "echo goodbye >&2; exit 3"]);
    for _ in 0..3 {
        display.check().expect("the display lives on");
    }
}

#[test]
fn an_application_that_does_not_exist_is_an_error_and_leaves_nothing() {
    let _displays = DISPLAYS.write().unwrap_or_else(PoisonError::into_inner);
    let mode = "640x480@60".parse().expect("a valid mode");
    let request = DisplayRequest {
        mode,
        app: vec!["/nonexistent/game".into()],
        environment: Vec::new(),
        cursor_apart: false,
        cancel: Cancel::default(),
    };
    let before = directories();
    match PrivateSway.create(&request).err() {
        Some(DisplayError::App { command, .. }) => assert_eq!(command, "/nonexistent/game"),
        other => panic!("{other:?}"),
    }
    assert_eq!(directories().difference(&before).count(), 0);
}

#[test]
fn two_displays_live_side_by_side() {
    let _displays = DISPLAYS.read().unwrap_or_else(PoisonError::into_inner);
    let first = private_display("640x480@60", &[]);
    let mut second = private_display("800x600@60", &[]);
    assert_ne!(
        output(&*first).wayland_socket,
        output(&*second).wayland_socket
    );
    drop(first);
    second
        .check()
        .expect("its neighbour's end is none of its business");
}

/// Private directories whose sway never came up or is gone.
fn directories() -> std::collections::BTreeSet<std::path::PathBuf> {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, Into::into);
    let entries = std::fs::read_dir(base)
        .expect("the base directory")
        .flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("punktfunk-"))
        })
        .filter(|path| processes_of(path).is_empty())
        .collect()
}
