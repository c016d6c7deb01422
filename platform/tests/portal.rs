//! A monitor of a real sway through xdg-desktop-portal, its wlroots backend and PipeWire, and what
//! that costs over capturing the same output directly. `PUNKTFUNK_PORTALS` names the directory of
//! the portals' executables, as scripts/lab/wlroots sets it; without it these are passed over.

mod common;
#[path = "../../bench/src/listener.rs"]
#[allow(dead_code)]
mod listener;
#[path = "common/seen.rs"]
#[allow(dead_code)]
mod seen;

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::media_server::{MediaServer, Program, eventually};
use common::painter::Painter;
use common::*;
use platform::capture::ext_image_copy::ExtImageCopyBackend;
use platform::capture::pipewire::PipeWireBackend;
use platform::capture::screencopy::ScreencopyBackend;
use platform::capture::{CaptureBackend, CaptureError};
use platform::display::portal::Portal;
use platform::display::sway_ipc::SwayIpc;
use platform::display::{Cancel, DisplayBackend, DisplayRequest, VirtualDisplay};
use platform::process::thread_usage;
use seen::{Seen, use_input};

/// Rounds in which the kinds of capture take turns, and the time of each kind's turn.
const ROUNDS: u32 = 4;
const TURN: Duration = Duration::from_secs(3);

/// How often a sharing is asked for.
const TRIES: u32 = 5;

/// A sway with a portal beside it.
struct Desktop {
    // In the order of their end.
    portal: Option<Program>,
    backend: Option<Program>,
    server: MediaServer,
    sway: Box<dyn VirtualDisplay>,
    home: tempfile::TempDir,
}

impl Desktop {
    fn start(mode: &str) -> Option<Self> {
        let Some(programs) = std::env::var_os("PUNKTFUNK_PORTALS").map(PathBuf::from) else {
            let lab = std::env::var_os("PUNKTFUNK_LAB");
            assert!(lab.is_none(), "the lab has to set PUNKTFUNK_PORTALS");
            eprintln!("passed over: no portals here (scripts/lab/wlroots has them)");
            return None;
        };
        let sway = desktop(mode);
        let home = tempfile::tempdir().expect("a directory");
        let mut desktop = Self {
            portal: None,
            backend: None,
            server: MediaServer::start(),
            sway,
            home,
        };
        let output = output(&*desktop.sway).output;
        let config = format!("[screencast]\noutput_name={output}\nchooser_type=none\nmax_fps=60\n");
        std::fs::write(desktop.home.path().join("wlr"), config).expect("written");
        let portals = desktop.home.path().join("xdg-desktop-portal");
        std::fs::create_dir(&portals).expect("made");
        std::fs::write(portals.join("portals.conf"), "[preferred]\ndefault=wlr\n")
            .expect("written");
        desktop.start_backend(&programs);
        desktop.portal = Some(desktop.spawn(&programs.join("xdg-desktop-portal"), &[]));
        let bus = desktop.bus();
        eventually("the portal shares screens", || {
            has_owner(&bus, "org.freedesktop.portal.Desktop") && desktop.kind().probe().is_ok()
        });
        Some(desktop)
    }

    fn start_backend(&mut self, programs: &Path) {
        let config = self.home.path().join("wlr");
        let flags = ["-c", config.to_str().expect("plain")];
        let started = self.spawn(&programs.join("xdg-desktop-portal-wlr"), &flags);
        self.backend = Some(started);
        let bus = self.bus();
        eventually("the portal's backend is there", || {
            has_owner(&bus, "org.freedesktop.impl.portal.desktop.wlr")
        });
    }

    fn spawn(&self, program: &Path, flags: &[&str]) -> Program {
        let socket = output(&*self.sway).wayland_socket;
        let display = format!("WAYLAND_DISPLAY={}", socket.display());
        let config = format!("XDG_CONFIG_HOME={}", self.home.path().display());
        let program = program.to_str().expect("plain");
        let desktop = "XDG_CURRENT_DESKTOP=sway";
        let fixed = [display.as_str(), config.as_str(), desktop, program];
        let words: Vec<&str> = fixed.into_iter().chain(flags.iter().copied()).collect();
        self.server.spawn("env", &words)
    }

    fn bus(&self) -> PathBuf {
        self.server.directory().join("bus")
    }

    fn kind(&self) -> Portal {
        Portal {
            bus: Some(self.bus()),
            wayland_socket: Some(output(&*self.sway).wayland_socket),
            token_file: Some(self.home.path().join("portal-token")),
        }
    }

    fn share(&self) -> Box<dyn VirtualDisplay> {
        let request = DisplayRequest {
            mode: "640x480@60".parse().expect("a mode"),
            app: Vec::new(),
            environment: Vec::new(),
            cursor_apart: false,
            cancel: Cancel::default(),
        };
        // On a busy machine a session manager can need longer for a link than a stream waits.
        for _ in 0..TRIES {
            match self.kind().create(&request) {
                Ok(display) => return display,
                Err(error) => eprintln!("again: {error}"),
            }
        }
        panic!("not shared in {TRIES} tries");
    }
}

fn has_owner(bus: &Path, name: &str) -> bool {
    let asked = std::process::Command::new("dbus-send")
        .args(["--print-reply", "--dest=org.freedesktop.DBus", "/"])
        .arg("org.freedesktop.DBus.NameHasOwner")
        .arg(format!("string:{name}"))
        .env(
            "DBUS_SESSION_BUS_ADDRESS",
            format!("unix:path={}", bus.display()),
        )
        .output()
        .expect("dbus-send is there");
    String::from_utf8_lossy(&asked.stdout).contains("true")
}

/// CPU time so far of the threads of this process with that name, or of a whole process.
fn cpu(process: Option<u32>, thread: Option<&str>) -> Duration {
    let threads = thread_usage(process).expect("it runs");
    let named = threads
        .iter()
        .filter(|it| thread.is_none_or(|name| it.name == name));
    named.map(|thread| thread.cpu).sum()
}

#[test]
fn the_portals_monitor_is_shown_as_it_is_and_takes_input() {
    let Some(desktop) = Desktop::start("1280x720@60") else {
        return;
    };
    eprintln!("portal: {}", desktop.kind().probe().expect("ready"));
    let begun = Instant::now();
    let mut display = desktop.share();
    let size = (display.mode().width(), display.mode().height());
    assert_eq!(size, (1280, 720), "the monitor's, whatever was asked for");
    let address = address(&*display);
    let mut capture = PipeWireBackend.open(&address).expect("opens");
    let socket = output(&*desktop.sway).wayland_socket;
    let painter = Painter::start(&socket, u32::MAX);
    next_frame(&mut *capture);
    eprintln!("create to the first frame: {:?}", begun.elapsed());
    let token = desktop.home.path().join("portal-token");
    eprintln!("a restore token was given: {}", token.exists());
    let refresh = display.mode().refresh().interval();
    let seen = Seen::watch(&mut *capture, &painter, refresh, Duration::from_secs(2));
    assert!(seen.latencies.len() >= 10, "{}", seen.latencies.len());
    drop(painter);
    let other = display.set_mode("800x600@60".parse().expect("a mode"));
    assert!(
        other
            .expect_err("not ours")
            .to_string()
            .contains("1280x720")
    );
    display.check().expect("it stands");
    use_input(&socket, &address, "wlr", (1280.0, 720.0));

    // No kind but the node's own captures it, though its compositor gives pictures directly.
    let fitting = captures(&address);
    let names: Vec<_> = fitting.iter().map(|backend| backend.name()).collect();
    assert_eq!(names, ["pipewire"]);
    drop(capture);
    drop(display);
    // Another session after it, and two at once.
    let (one, two) = (desktop.share(), desktop.share());
    for display in [&one, &two] {
        let address = common::address(&**display);
        let mut capture = PipeWireBackend.open(&address).expect("opens");
        let painter = Painter::start(&socket, u32::MAX);
        next_frame(&mut *capture);
        drop(painter);
    }
}

/// Takes pictures until the capture ends; why, and how long that took.
fn end_of(capture: &mut dyn platform::capture::Capture) -> (CaptureError, Duration) {
    let begun = Instant::now();
    loop {
        match capture.next(PATIENCE) {
            Ok(_) => assert!(begun.elapsed() < PATIENCE, "it never ends"),
            Err(error) => return (error, begun.elapsed()),
        }
    }
}

#[test]
fn an_output_that_goes_ends_the_sharing_with_a_reason_and_the_next_works() {
    let Some(mut desktop) = Desktop::start("1280x720@60") else {
        return;
    };
    let mut display = desktop.share();
    let mut capture = PipeWireBackend.open(&address(&*display)).expect("opens");
    let wayland = output(&*desktop.sway);
    let painter = Painter::start(&wayland.wayland_socket, u32::MAX);
    next_frame(&mut *capture);

    // The backend goes: its node with it.
    desktop.backend = None;
    let (error, after) = end_of(&mut *capture);
    eprintln!("backend killed, capture ended after {after:?}: {error}");
    eventually("it is told", || display.check().is_err());
    let told = display.check().expect_err("gone");
    eprintln!("backend killed: {told}");
    drop((capture, display));

    let programs = std::env::var_os("PUNKTFUNK_PORTALS").expect("looked at before");
    desktop.start_backend(Path::new(&programs));
    let begun = Instant::now();
    let mut display = desktop.share();
    let mut capture = PipeWireBackend.open(&address(&*display)).expect("opens");
    next_frame(&mut *capture);
    eprintln!("shared again after {:?}", begun.elapsed());

    // Taken back on the desktop's side: the compositor removes what is shared.
    let socket = directory(&*desktop.sway).join("ipc.sock");
    let mut ipc = SwayIpc::connect(&socket, PATIENCE).expect("connects");
    ipc.run("create_output").expect("another one");
    let begun = Instant::now();
    ipc.run(&format!("output {} unplug", wayland.output))
        .expect("sway 1.8");
    eventually("it is told", || display.check().is_err());
    let told = display.check().expect_err("gone");
    eprintln!("output removed, told after {:?}: {told}", begun.elapsed());
    drop(painter);
}

#[test]
fn the_ways_to_an_output_and_what_each_costs() {
    let Some(desktop) = Desktop::start("1280x720@60") else {
        return;
    };
    let mut direct = address(&*desktop.sway);
    direct.nested = None;
    let wayland = output(&*desktop.sway);
    let painter = Painter::start(&wayland.wayland_socket, u32::MAX);
    let refresh = desktop.sway.mode().refresh().interval();
    let sways = processes_named(&directory(&*desktop.sway), "sway");
    let sway = u32::try_from(sways[0]).expect("a process id");
    let backend = desktop.backend.as_ref().expect("it runs").id();
    let ways: [&dyn CaptureBackend; 3] =
        [&ExtImageCopyBackend, &ScreencopyBackend, &PipeWireBackend];
    // Of each: what was seen, CPU time of our threads, of sway and of the portal's backend.
    let mut all = vec![(Seen::default(), [Duration::ZERO; 3]); ways.len()];
    for _ in 0..ROUNDS {
        for (way, (seen, used)) in ways.iter().zip(&mut all) {
            // Nothing else captures meanwhile: what the portal shares is captured by its backend.
            let shared = (way.name() == "pipewire").then(|| desktop.share());
            let address = match &shared {
                Some(display) => address(&**display),
                None => direct.clone(),
            };
            let mut capture = way.open(&address).expect("opens");
            next_frame(&mut *capture);
            let now = || {
                let ours = cpu(None, Some("pf-node")) + own_thread();
                [ours, cpu(Some(sway), None), cpu(Some(backend), None)]
            };
            let before = now();
            seen.add(Seen::watch(&mut *capture, &painter, refresh, TURN));
            for (sum, (after, before)) in used.iter_mut().zip(now().into_iter().zip(before)) {
                *sum += after.saturating_sub(before);
            }
        }
    }
    for (way, (seen, used)) in ways.iter().zip(&all) {
        let percent = used.map(|used| 100.0 * used.as_secs_f64() / seen.took.as_secs_f64());
        eprintln!(
            "way {:<16} {:5.1} pictures/s, drawn to in hand p50 {:.2} p99 {:.2} ms, judder {:.3} ms, \
             CPU ours {:.1} sway {:.1} portal {:.1} %",
            way.name(),
            seen.rate(),
            seen.quantile_ms(0.5),
            seen.quantile_ms(0.99),
            seen.judder_ms(),
            percent[0],
            percent[1],
            percent[2],
        );
        assert!(seen.latencies.len() >= 10, "{}", way.name());
    }
}

fn own_thread() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(used.tv_sec).expect("positive");
    Duration::new(
        seconds,
        u32::try_from(used.tv_nsec).expect("below a second"),
    )
}

#[test]
fn without_a_portal_the_reason_is_told() {
    let server = MediaServer::start_unmanaged();
    let bus = server.directory().join("bus");
    assert!(UnixStream::connect(&bus).is_ok());
    let kind = Portal {
        bus: Some(server.directory().join("nobody")),
        ..Portal::default()
    };
    let refusal = kind.probe().expect_err("no bus");
    assert!(refusal.reason.contains("cannot be reached"), "{refusal}");
    assert!(Portal::default().probe().is_err(), "no address");
}
