//! An extra output on a sway that runs already: here one of our own stands in for the user's.

mod common;

use common::painter::Painter;
use common::*;
use platform::capture::Captured;
use platform::display::running_sway::RunningSway;
use platform::display::sway_ipc::SwayIpc;
use platform::display::{AppState, Cancel, DisplayBackend, DisplayRequest, VirtualDisplay};

/// The "user's" sway, and a backend that points to it.
fn desktop() -> (Box<dyn VirtualDisplay>, RunningSway, SwayIpc) {
    let desktop = common::desktop("800x600@60");
    let ipc_socket = directory(&*desktop).join("ipc.sock");
    let wayland_socket = output(&*desktop).wayland_socket;
    let ipc = SwayIpc::connect(&ipc_socket, PATIENCE).expect("connects");
    let backend = RunningSway {
        ipc_socket: Some(ipc_socket),
        wayland_socket: Some(wayland_socket),
    };
    (desktop, backend, ipc)
}

fn request(mode: &str, app: &[&str]) -> DisplayRequest {
    let app = app.iter().map(|word| (*word).to_owned()).collect();
    DisplayRequest {
        cancel: Cancel::default(),
        mode: mode.parse().expect("a valid mode"),
        app,
        environment: Vec::new(),
        cursor_apart: false,
    }
}

fn active_outputs(ipc: &mut SwayIpc) -> Vec<String> {
    let outputs = ipc.outputs().expect("answers").into_iter();
    outputs
        .filter(|output| output.active)
        .map(|output| output.name)
        .collect()
}

#[test]
fn an_output_of_the_exact_mode_comes_and_goes() {
    let (_desktop, backend, mut ipc) = desktop();
    assert!(backend.probe().expect("ready").contains("sway version"));
    for mode in ["1366x768@75", "640x480@60", "1280x720@60"] {
        let mut display = backend.create(&request(mode, &[])).expect("created");
        assert_eq!(display.mode().to_string(), mode);
        let name = output(&*display).output;
        assert_eq!(
            active_outputs(&mut ipc),
            ["HEADLESS-1".to_owned(), name.clone()]
        );
        display.check().expect("lives");
        drop(display);
        if can_unplug(&mut ipc) {
            assert_eq!(active_outputs(&mut ipc), ["HEADLESS-1"]);
        }
    }
    let left = active_outputs(&mut ipc).len();
    assert!(
        left <= 2,
        "what this sway cannot remove is used again: {left} outputs"
    );
}

#[test]
fn it_can_be_captured_and_its_removal_ends_the_capture() {
    let (_desktop, backend, mut ipc) = desktop();
    let mut display = backend
        .create(&request("640x480@60", &[]))
        .expect("created");
    let address = address(&*display);
    let mut open: Vec<_> = captures(&address)
        .iter()
        .map(|it| it.open(&address).expect("opens"))
        .collect();
    for capture in &mut open {
        assert_eq!(next_frame(&mut **capture).surface.size().width, 640);
    }
    if !can_unplug(&mut ipc) {
        return;
    }
    ipc.run(&format!("output {} unplug", output(&*display).output))
        .expect("removes it");
    for capture in &mut open {
        let reason = loop {
            match capture.next(PATIENCE) {
                Ok(Captured::Frame(_)) => {}
                Ok(_) => panic!("the removal went unnoticed"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(reason.contains("removed"), "{reason}");
    }
    let gone = display.check().expect_err("it was removed").to_string();
    assert!(gone.contains("was removed"), "{gone}");
}

#[test]
fn its_mode_changes_under_a_running_application() {
    let (_desktop, backend, _ipc) = desktop();
    let request = request("640x480@60", &["sleep", "1000"]);
    let mut display = backend.create(&request).expect("created");
    for mode in ["1280x720@60", "640x360@30"] {
        let wanted = mode.parse().expect("a mode");
        display.set_mode(wanted).expect("it obeys");
        assert_eq!(display.mode().to_string(), mode);
        let address = address(&*display);
        for backend in captures(&address) {
            let mut capture = backend.open(&address).expect("opens");
            let size = next_frame(&mut *capture).surface.size();
            assert_eq!((size.width, size.height), (wanted.width(), wanted.height()));
        }
        display.check().expect("lives");
        assert_eq!(display.app(), AppState::Running);
    }
}

/// Sway can since 1.8; before, nothing removes a headless output.
fn can_unplug(ipc: &mut SwayIpc) -> bool {
    let refusal = ipc
        .run("output NO-SUCH-OUTPUT unplug")
        .expect_err("no such output");
    let can = !refusal.to_string().contains("Invalid output subcommand");
    if !can {
        eprintln!(
            "sway {} cannot unplug outputs",
            ipc.version().expect("answers")
        );
    }
    can
}

#[test]
fn the_applications_window_goes_to_the_new_output_and_others_stay() {
    let (desktop, backend, mut ipc) = desktop();
    let _users_own = Painter::start(&output(&*desktop).wayland_socket, u32::MAX);
    let app = window_client();
    let display = backend
        .create(&request("640x480@60", &app))
        .expect("created");
    let output = output(&*display).output;
    let deadline = std::time::Instant::now() + PATIENCE;
    let on = |tree: &serde_json::Value, output: &str| windows_on(tree, output);
    loop {
        let tree = ipc.tree().expect("answers");
        if on(&tree, &output).len() == 1 && on(&tree, "HEADLESS-1") == ["painter"] {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{tree:#}");
        std::thread::yield_now();
    }
    let placed = directory(&*desktop);
    drop(display);
    let tree = ipc.tree().expect("answers");
    assert_eq!(on(&tree, "HEADLESS-1"), ["painter"], "{}", placed.display());
}

#[test]
fn without_a_session_it_says_what_is_missing() {
    let refusal = RunningSway::default()
        .probe()
        .expect_err("no session")
        .to_string();
    assert!(refusal.contains("SWAYSOCK is not set"), "{refusal}");
}

/// Some client with a window: this very test, run again as a painter.
fn window_client() -> Vec<&'static str> {
    let exe = std::env::current_exe().expect("known").into_os_string();
    let exe: &'static str = exe.into_string().expect("text").leak();
    vec![
        "env",
        "PAINT=1",
        exe,
        "--exact",
        "paints_when_told_to",
        "--nocapture",
    ]
}

#[test]
fn paints_when_told_to() {
    if std::env::var_os("PAINT").is_some() {
        let socket = std::env::var_os("WAYLAND_DISPLAY").expect("set for an application");
        let painter = Painter::start(socket.as_ref(), u32::MAX);
        painter.join();
    }
}

/// The names of the windows on `output`.
fn windows_on(tree: &serde_json::Value, output: &str) -> Vec<String> {
    let outputs = tree["nodes"].as_array().expect("outputs");
    let node = outputs.iter().find(|node| node["name"] == output);
    let mut names = Vec::new();
    if let Some(node) = node {
        collect_windows(node, &mut names);
    }
    names
}

fn collect_windows(node: &serde_json::Value, names: &mut Vec<String>) {
    if node["pid"].is_u64() {
        names.push(node["name"].as_str().unwrap_or_default().to_owned());
    }
    for key in ["nodes", "floating_nodes"] {
        for child in node[key].as_array().into_iter().flatten() {
            collect_windows(child, names);
        }
    }
}
