//! What the tests against a real sway share. They need an ordinary user and sway,
//! and say so when that is not the case.

#![allow(dead_code)]

pub mod game;
pub mod guest;
pub mod kwin;
pub mod media_server;
pub mod painter;
pub mod pointing;
mod sys;

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gpu::frame::Frame;
use platform::capture::{Capture, CaptureBackend, Captured};
use platform::display::private_sway::PrivateSway;
use platform::display::{
    Cancel, DisplayBackend, DisplayError, DisplayRequest, OutputAddress, VirtualDisplay,
    WaylandOutput,
};

/// Long enough for any machine, an emulated one too; a test that waits this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A display of its own, with `app` on it.
pub fn private_display(mode: &str, app: &[&str]) -> Box<dyn VirtualDisplay> {
    created(PrivateSway.create(&request(mode, app)))
}

/// The same, for a client that draws the pointer itself.
pub fn private_display_apart(mode: &str) -> Box<dyn VirtualDisplay> {
    created(PrivateSway.create(&DisplayRequest {
        cursor_apart: true,
        ..request(mode, &[])
    }))
}

/// A desktop for a host to run in.
pub fn desktop(mode: &str) -> Box<dyn VirtualDisplay> {
    created(PrivateSway.create_desktop(&request(mode, &[])))
}

fn request(mode: &str, app: &[&str]) -> DisplayRequest {
    if let Err(refusal) = PrivateSway.probe() {
        panic!("these tests need a private sway: {refusal}");
    }
    // As a host does; else ended orphans stay behind where process 1 does not collect them.
    platform::process::become_subreaper().expect("allowed to everybody");
    DisplayRequest {
        mode: mode.parse().expect("a valid mode"),
        app: app.iter().map(|word| (*word).to_owned()).collect(),
        environment: Vec::new(),
        cursor_apart: false,
        cancel: Cancel::default(),
    }
}

fn created(display: Result<Box<dyn VirtualDisplay>, DisplayError>) -> Box<dyn VirtualDisplay> {
    display.unwrap_or_else(|error| panic!("{error}"))
}

/// Where it is.
pub fn address(display: &dyn VirtualDisplay) -> OutputAddress {
    display
        .address()
        .expect("a sway display has an address")
        .clone()
}

/// Where it is on its compositor's socket.
pub fn output(display: &dyn VirtualDisplay) -> WaylandOutput {
    let address = address(display);
    address.wayland.expect("a sway display is a Wayland output")
}

/// The private directory of a display.
pub fn directory(display: &dyn VirtualDisplay) -> PathBuf {
    let socket = output(display).wayland_socket;
    socket
        .parent()
        .expect("a socket lies in a directory")
        .to_path_buf()
}

/// Every kind of capture that this compositor offers; at least one.
pub fn captures(address: &OutputAddress) -> Vec<Box<dyn CaptureBackend>> {
    let mut fitting = platform::capture::candidates();
    fitting.retain(|backend| match backend.probe(address) {
        Ok(detail) => {
            eprintln!("{}: {detail}", backend.name());
            true
        }
        Err(refusal) => {
            eprintln!("{}: {refusal}", backend.name());
            false
        }
    });
    assert!(
        !fitting.is_empty(),
        "no kind of capture fits this compositor"
    );
    fitting
}

/// The next picture; a still screen or a wake-up fails the test.
pub fn next_frame(capture: &mut dyn Capture) -> Frame {
    match capture.next(PATIENCE) {
        Ok(Captured::Frame(frame)) => frame,
        Ok(Captured::Still) => panic!("no picture came"),
        Ok(Captured::Woken) => panic!("nobody woke the capture"),
        Err(error) => panic!("{error}"),
    }
}

/// A digest of the visible pixels.
pub fn digest(frame: &Frame) -> u64 {
    let size = frame.surface.size();
    let pixels = frame.surface.map().expect("shared memory can be read");
    let mut hasher = DefaultHasher::new();
    for row in pixels.bytes.chunks(pixels.stride).take(size.height.into()) {
        row[..usize::from(size.width) * 4].hash(&mut hasher);
    }
    hasher.finish()
}

/// Ids of the living processes that were started for the display in `directory`.
pub fn processes_of(directory: &Path) -> Vec<i32> {
    let mark = format!("PUNKTFUNK_DISPLAY={}", directory.display());
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let environ = fs::read(entry.path().join("environ")).ok()?;
            let marked = environ
                .split(|byte| *byte == 0)
                .any(|entry| entry == mark.as_bytes());
            marked.then_some(pid)
        })
        .collect()
}

/// Ids of the processes among `directory`'s whose program is `name`.
pub fn processes_named(directory: &Path, name: &str) -> Vec<i32> {
    let mut pids = processes_of(directory);
    pids.retain(|pid| {
        fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| {
            exe.file_name()
                .is_some_and(|exe| exe.as_bytes() == name.as_bytes())
        })
    });
    pids
}
