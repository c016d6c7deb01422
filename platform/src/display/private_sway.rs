//! `private-sway`: a headless sway of our own for one session, in a private directory, with the
//! client's exact mode and the application full screen on it. For machines without a desktop.
//!
//! Everything that it starts carries a token and hangs in the nets of [`crate::process`]; the
//! directory is locked by the host that made it, so that a later host can tell the leavings of
//! a dead one (`runtime_dir.rs`).

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use net::units::Mode;

use super::app::App;
use super::runtime_dir::RuntimeDir;
use super::sway_ipc::{IpcError, SwayIpc};
use super::wlroots::{await_mode, change_mode, custom_mode};
use super::{
    AppState, DisplayBackend, DisplayError, DisplayRequest, OutputAddress, VirtualDisplay,
    WaylandOutput,
};
use crate::process::{self, GRACE, Guard, Process, TOKEN_VARIABLE};
use crate::select::Refusal;

const NAME: &str = "private-sway";
/// wlroots names the outputs of its headless backend so, counting from 1.
const OUTPUT: &str = "HEADLESS-1";
/// For the question which version it is, which somebody waits for at the host's start.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// From exec to the verified mode. Measured: 0.1 s idle; a loaded machine gets its time.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest path of a Unix socket, bytes, with its terminating zero (`sockaddr_un`).
const SOCKET_PATH_BYTES_MAX: usize = 108;

/// Starts a headless sway for every display.
#[derive(Clone, Debug, Default)]
pub struct PrivateSway;

impl DisplayBackend for PrivateSway {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<String, Refusal> {
        if rustix::process::geteuid().is_root() {
            return Err(Refusal::new(
                "sway refuses to run as root",
                "start punktfunk as an ordinary user",
            ));
        }
        let install = "install sway (apt-get install sway)";
        let mut command = Command::new("sway");
        command.arg("--version");
        let (status, said) = process::run_within(command, PROBE_TIMEOUT)
            .map_err(|error| Refusal::new(format!("sway cannot be run: {error}"), install))?;
        let version = String::from_utf8_lossy(&said).trim().to_owned();
        if !status.success() || version.is_empty() {
            return Err(Refusal::new(
                format!("sway --version failed: {status}"),
                install,
            ));
        }
        let base = RuntimeDir::base().map_err(|error| {
            Refusal::new(
                format!("there is no directory for its sockets: {error}"),
                "set XDG_RUNTIME_DIR to a directory of your own",
            )
        })?;
        let renderer = if gpu_present() { "GPU" } else { "pixman" };
        Ok(format!(
            "{version}, {renderer} renderer, sockets under {}",
            base.display()
        ))
    }

    fn create(&self, request: &DisplayRequest) -> Result<Box<dyn VirtualDisplay>, DisplayError> {
        let on_gpu = gpu_present();
        match PrivateDisplay::start(request, on_gpu) {
            Err(DisplayError::Start { reason, .. }) if on_gpu && !request.cancel.is_asked() => {
                log::warn!("sway does not start on the GPU ({reason}); using its pixman renderer");
                Ok(Box::new(PrivateDisplay::start(request, false)?))
            }
            other => Ok(Box::new(other?)),
        }
    }
}

/// A running private sway. Fields drop in this order: application, compositor, directory, and
/// the guard last, so that it watches until nothing is left to watch.
struct PrivateDisplay {
    app: Option<App>,
    sway: Process,
    ipc: SwayIpc,
    wayland: WaylandOutput,
    address: OutputAddress,
    mode: Mode,
    directory: RuntimeDir,
    _guard: Guard,
}

impl PrivateDisplay {
    fn start(request: &DisplayRequest, on_gpu: bool) -> Result<Self, DisplayError> {
        let begun = Instant::now();
        let directory = RuntimeDir::create().map_err(|error| start_error(error.to_string()))?;
        let guard = Guard::spawn(directory.token(), directory.path(), &[])
            .map_err(|error| start_error(format!("no guard process: {error}")))?;
        let ipc_socket = directory.path().join("ipc.sock");
        if ipc_socket.as_os_str().len() >= SOCKET_PATH_BYTES_MAX {
            return Err(start_error(format!(
                "{} is too long for a socket; set XDG_RUNTIME_DIR to a shorter directory",
                ipc_socket.display()
            )));
        }
        let config = directory.path().join("config");
        fs::write(&config, sway_config(request.mode))
            .map_err(|error| start_error(format!("cannot write its configuration: {error}")))?;

        let command = sway_command(&directory, &config, &ipc_socket, on_gpu);
        let mut sway =
            Process::spawn("sway", command).map_err(|error| start_error(error.to_string()))?;
        let (ipc, wayland_socket, mode) = await_ready(&mut sway, &directory, &ipc_socket, request)
            .map_err(|reason| {
                sway.kill();
                process::kill_marked(directory.token());
                start_error(reason)
            })?;
        let wayland = WaylandOutput {
            wayland_socket,
            output: OUTPUT.to_owned(),
        };
        log::info!(
            "{NAME}: {mode} on {} after {:.0} ms",
            wayland.wayland_socket.display(),
            begun.elapsed().as_secs_f64() * 1e3
        );
        let mut display = Self {
            app: None,
            sway,
            ipc,
            address: wayland.clone().into(),
            wayland,
            mode,
            directory,
            _guard: guard,
        };
        // From here on dropping `display` cleans up.
        display.app = App::start(request, &display.app_environment())?;
        Ok(display)
    }

    fn app_environment(&self) -> Vec<(&'static str, Option<PathBuf>)> {
        // Applications keep the user's runtime directory (sound, D-Bus) where there is one; the
        // absolute path in WAYLAND_DISPLAY does not need it.
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let runtime = runtime.filter(|path| path.is_dir());
        vec![
            (
                "XDG_RUNTIME_DIR",
                Some(runtime.unwrap_or_else(|| self.directory.path().into())),
            ),
            ("WAYLAND_DISPLAY", Some(self.wayland.wayland_socket.clone())),
            ("SWAYSOCK", Some(self.directory.path().join("ipc.sock"))),
            ("XDG_SESSION_TYPE", Some("wayland".into())),
            ("XDG_CURRENT_DESKTOP", Some("sway".into())),
            ("DISPLAY", None),
            (TOKEN_VARIABLE, Some(self.directory.token().into())),
        ]
    }
}

impl VirtualDisplay for PrivateDisplay {
    fn address(&self) -> Option<&OutputAddress> {
        Some(&self.address)
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn set_mode(&mut self, mode: Mode) -> Result<(), DisplayError> {
        self.mode = change_mode(&mut self.ipc, OUTPUT, self.mode, mode)?;
        Ok(())
    }

    fn check(&mut self) -> Result<(), DisplayError> {
        process::reap_orphans();
        // Said to the log when it has ended.
        self.app();
        // Whoever asks because a capture has ended gets the truth, and sway's exit status.
        if self.ipc.is_closed() || self.sway.is_ending() {
            self.sway.wait(GRACE);
        }
        match self.sway.exited() {
            None => Ok(()),
            Some(_) => Err(DisplayError::Gone {
                compositor: "sway",
                reason: self.sway.epitaph(),
            }),
        }
    }

    fn app(&mut self) -> AppState {
        self.app.as_mut().map_or(AppState::None, App::state)
    }
}

impl Drop for PrivateDisplay {
    fn drop(&mut self) {
        // The application first, so that it can save; the compositor half-way, because clients
        // that ignore the signal often end with their display; then everything at once.
        let begun = Instant::now();
        if let Some(app) = &mut self.app {
            app.terminate();
            app.wait(GRACE / 2);
        }
        self.sway.stop(GRACE / 2);
        if let Some(mut app) = self.app.take() {
            app.wait(GRACE.saturating_sub(begun.elapsed()));
            app.kill();
        }
        let strays = process::kill_marked(self.directory.token());
        if strays > 0 {
            log::info!("{NAME}: killed {strays} processes that the application left behind");
        }
        self.directory.remove();
        process::reap_orphans();
    }
}

fn start_error(reason: String) -> DisplayError {
    DisplayError::Start {
        compositor: "sway",
        reason,
    }
}

/// A render node that this user may open.
fn gpu_present() -> bool {
    let nodes = fs::read_dir("/dev/dri").into_iter().flatten().flatten();
    nodes
        .filter(|node| node.file_name().to_string_lossy().starts_with("renderD"))
        .any(|node| {
            fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open(node.path())
                .is_ok()
        })
}

/// Everything that is drawn is the application: no bar, border, gap, or X server.
fn sway_config(mode: Mode) -> String {
    let custom = custom_mode(mode);
    format!(
        "xwayland disable\n\
         output {OUTPUT} mode --custom {custom} position 0 0 scale 1 bg #000000 solid_color\n\
         default_border none\n\
         default_floating_border none\n\
         hide_edge_borders --i3 both\n\
         gaps inner 0\n\
         gaps outer 0\n\
         focus_on_window_activation focus\n\
         seat * hide_cursor 0\n\
         for_window [title=\".*\"] border none, fullscreen enable\n\
         for_window [app_id=\".*\"] border none, fullscreen enable\n"
    )
}

fn sway_command(directory: &RuntimeDir, config: &Path, ipc: &Path, on_gpu: bool) -> Command {
    let mut command = Command::new("sway");
    command.arg("-c").arg(config).current_dir(directory.path());
    for inherited in [
        "WAYLAND_DISPLAY",
        "WAYLAND_SOCKET",
        "DISPLAY",
        "I3SOCK",
        "WLR_BACKENDS",
    ] {
        command.env_remove(inherited);
    }
    command.env("XDG_RUNTIME_DIR", directory.path());
    // sway listens where SWAYSOCK says if nothing is there yet (sway/ipc-server.c).
    command.env("SWAYSOCK", ipc);
    command.env("WLR_BACKENDS", "headless");
    command.env("WLR_HEADLESS_OUTPUTS", "1");
    command.env("WLR_LIBINPUT_NO_DEVICES", "1");
    if !on_gpu {
        command.env("WLR_RENDERER", "pixman");
    }
    command.env(TOKEN_VARIABLE, directory.token());
    command
}

/// Waits for facts: the IPC socket answers, the Wayland socket is there, the output has the
/// wanted mode. An early exit is an error with sway's last words, and the end of the session one
/// at once.
fn await_ready(
    sway: &mut Process,
    directory: &RuntimeDir,
    ipc_socket: &Path,
    request: &DisplayRequest,
) -> Result<(SwayIpc, PathBuf, Mode), String> {
    let deadline = Instant::now() + START_TIMEOUT;
    let mut ipc = loop {
        match SwayIpc::connect_unless(ipc_socket, START_TIMEOUT, &request.cancel) {
            Ok(ipc) => break ipc,
            Err(_) if request.cancel.is_asked() => return Err("the session is over".to_owned()),
            // Not there yet, or bound but not listening yet.
            Err(IpcError::Io(error)) if Instant::now() >= deadline => {
                return Err(format!("not ready after {START_TIMEOUT:?}: {error}"));
            }
            Err(_) => {}
        }
        // Ends early when sway does, else it is the interval of asking.
        if sway.wait(Duration::from_millis(1)) {
            return Err(sway.epitaph());
        }
    };
    let mode = await_mode(&mut ipc, OUTPUT, request.mode, deadline).map_err(|error| {
        if sway.wait(Duration::from_millis(20)) {
            sway.epitaph()
        } else {
            error
        }
    })?;
    let socket = wayland_socket(directory.path()).ok_or_else(|| {
        format!(
            "it made no Wayland socket in {}",
            directory.path().display()
        )
    })?;
    Ok((ipc, socket, mode))
}

/// Sway chooses the name itself (`wayland-1`); the directory holds no other.
fn wayland_socket(directory: &Path) -> Option<PathBuf> {
    fs::read_dir(directory).ok()?.flatten().find_map(|entry| {
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        let named = entry.file_name().to_string_lossy().starts_with("wayland-");
        (is_socket && named).then(|| entry.path())
    })
}
