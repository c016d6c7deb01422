//! Desktops of the wlroots family that make no output for us: an output that is there, taken for a
//! session (labwc, by `PUNKTFUNK_LABWC`, as scripts/lab/wlroots sets it; passed over without), or
//! mirrored (sway); and a real Hyprland where one starts (`PUNKTFUNK_HYPRLAND`).

mod common;
#[path = "../../bench/src/listener.rs"]
#[allow(dead_code)]
mod listener;
#[path = "common/seen.rs"]
#[allow(dead_code)]
mod seen;

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::media_server::eventually;
use common::painter::Painter;
use common::*;
use platform::display::mirror::Mirror;
use platform::display::wlr_output::WlrOutput;
use platform::display::{Cancel, DisplayBackend, DisplayError, DisplayRequest, VirtualDisplay};
use seen::{Seen, use_input};

/// A running labwc; killed when dropped.
struct Labwc {
    child: Child,
    directory: tempfile::TempDir,
}

impl Labwc {
    fn start(outputs: u32) -> Option<Self> {
        let Ok(program) = std::env::var("PUNKTFUNK_LABWC") else {
            let lab = std::env::var_os("PUNKTFUNK_LAB");
            assert!(lab.is_none(), "the lab has to set PUNKTFUNK_LABWC");
            eprintln!("passed over: no labwc here (scripts/lab/wlroots has one)");
            return None;
        };
        platform::process::become_subreaper().expect("allowed to everybody");
        let directory = tempfile::tempdir().expect("a directory");
        let child = Command::new(program)
            .env("XDG_RUNTIME_DIR", directory.path())
            .env("HOME", directory.path())
            .env("WLR_BACKENDS", "headless")
            .env("WLR_HEADLESS_OUTPUTS", outputs.to_string())
            .env("WLR_LIBINPUT_NO_DEVICES", "1")
            .env("WLR_RENDERER", "pixman")
            .env_remove("WAYLAND_DISPLAY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("labwc starts");
        let labwc = Self { child, directory };
        eventually("labwc listens", || {
            UnixStream::connect(labwc.socket()).is_ok()
        });
        eventually("its outputs are there", || labwc.kind(None).probe().is_ok());
        Some(labwc)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("wayland-0")
    }

    fn kind(&self, output: Option<&str>) -> WlrOutput {
        WlrOutput {
            wayland_socket: Some(self.socket()),
            output: output.map(str::to_owned),
        }
    }

    /// The mode of an output by now.
    fn mode_of(&self, output: &str) -> String {
        let mirror = Mirror {
            wayland_socket: Some(self.socket()),
            output: Some(output.to_owned()),
        };
        mirror.probe().expect("it can be mirrored")
    }
}

impl Drop for Labwc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wish(mode: &str) -> DisplayRequest {
    DisplayRequest {
        mode: mode.parse().expect("a mode"),
        app: Vec::new(),
        environment: Vec::new(),
        cursor_apart: false,
        cancel: Cancel::default(),
    }
}

fn made(display: Result<Box<dyn VirtualDisplay>, DisplayError>) -> Box<dyn VirtualDisplay> {
    display.unwrap_or_else(|error| panic!("{error}"))
}

/// Every kind of capture that the display has sees what is drawn at `socket`, in its size.
fn see(display: &dyn VirtualDisplay, socket: &std::path::Path) {
    let (address, mode) = (address(display), display.mode());
    let painter = Painter::start(socket, u32::MAX);
    for backend in captures(&address) {
        let mut capture = backend.open(&address).expect("opens");
        let frame = next_frame(&mut *capture);
        let size = frame.surface.size();
        assert_eq!((size.width, size.height), (mode.width(), mode.height()));
        drop(frame);
        let refresh = mode.refresh().interval();
        let seen = Seen::watch(&mut *capture, &painter, refresh, Duration::from_secs(1));
        eprintln!(
            "{mode} by {}: {:.1} pictures/s, drawn to in hand p50 {:.2} ms, judder {:.3} ms",
            backend.name(),
            seen.rate(),
            seen.quantile_ms(0.5),
            seen.judder_ms()
        );
        assert!(seen.latencies.len() >= 5, "{}", backend.name());
    }
}

#[test]
fn a_headless_output_is_taken_in_the_clients_mode_and_given_back() {
    let Some(labwc) = Labwc::start(1) else {
        return;
    };
    let before = labwc.mode_of("HEADLESS-1");
    let begun = Instant::now();
    let mut display = made(labwc.kind(None).create(&wish("1920x1200@120")));
    let address = address(&*display);
    let first = captures(&address)[0].open(&address);
    next_frame(&mut *first.expect("opens"));
    eprintln!("create to the first frame: {:?}", begun.elapsed());
    assert_eq!(labwc.mode_of("HEADLESS-1"), "HEADLESS-1 at 1920x1200@120");
    see(&*display, &labwc.socket());
    display
        .set_mode("1280x720@60".parse().expect("a mode"))
        .expect("labwc obeys");
    assert_eq!(labwc.mode_of("HEADLESS-1"), "HEADLESS-1 at 1280x720@60");
    see(&*display, &labwc.socket());
    display.check().expect("it stands");
    use_input(&labwc.socket(), &address, "wlr", (1280.0, 720.0));
    drop(display);
    assert_eq!(labwc.mode_of("HEADLESS-1"), before, "as it was");
}

#[test]
fn each_session_has_an_output_of_its_own_and_one_more_is_refused() {
    let Some(labwc) = Labwc::start(2) else {
        return;
    };
    let one = made(labwc.kind(None).create(&wish("1280x720@60")));
    let two = made(labwc.kind(None).create(&wish("1920x1080@60")));
    let named = |display: &dyn VirtualDisplay| output(display).output;
    assert_ne!(named(&*one), named(&*two));
    let error = labwc.kind(None).create(&wish("640x480@60")).err();
    let error = error.expect("no third").to_string();
    assert!(error.contains("HEADLESS-1, HEADLESS-2"), "{error}");
    let missing = labwc.kind(Some("DP-9")).probe().expect_err("not there");
    assert!(missing.reason.contains("DP-9"), "{missing}");
    drop(one);
    let again = made(labwc.kind(None).create(&wish("640x480@60")));
    assert_ne!(named(&*again), named(&*two));
}

#[test]
fn a_compositor_that_dies_is_told() {
    let Some(mut labwc) = Labwc::start(1) else {
        return;
    };
    let mut display = made(labwc.kind(None).create(&wish("1280x720@60")));
    labwc.child.kill().expect("ours");
    let begun = Instant::now();
    eventually("it is told", || display.check().is_err());
    eprintln!(
        "{} after {:?}",
        display.check().expect_err("gone"),
        begun.elapsed()
    );
}

#[test]
fn a_mirror_shows_a_monitor_and_leaves_it_as_it_is() {
    let sway = desktop("1280x720@60");
    let wayland = output(&*sway);
    let kind = |name: Option<&str>| Mirror {
        wayland_socket: Some(wayland.wayland_socket.clone()),
        output: name.map(str::to_owned),
    };
    let other = kind(Some("DP-9")).probe().expect_err("not there");
    assert!(other.fix.contains(&wayland.output), "{other}");
    let mut mirror = made(kind(Some(&wayland.output)).create(&wish("640x480@30")));
    assert_eq!(mirror.mode().to_string(), "1280x720@60", "the monitor's");
    see(&*mirror, &wayland.wayland_socket);
    let error = mirror.set_mode("640x480@30".parse().expect("a mode"));
    assert!(
        error
            .expect_err("not ours")
            .to_string()
            .contains("1280x720")
    );
    use_input(
        &wayland.wayland_socket,
        &address(&*mirror),
        "wlr",
        (1280.0, 720.0),
    );
    mirror.check().expect("it stands");
    drop(mirror);
    // Its owner has it still, and nothing has changed.
    let again = kind(None).probe().expect("it is there");
    assert_eq!(again, format!("{} at 1280x720@60", wayland.output));
}
