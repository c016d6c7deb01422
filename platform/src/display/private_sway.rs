//! `private-sway`: a sway of our own for one session, in a private directory, with the client's
//! exact mode and the application full screen on it. For machines without a desktop.
//!
//! It draws into a compositor of ours (`display::nest`), which gives it the exact rate and us its
//! pictures; on a GPU, and where that does not start, into a headless output, which is captured
//! over its own socket.
//!
//! Everything that it starts carries a token and hangs in the nets of [`crate::process`]; the
//! directory is locked by the host that made it, so that a later host can tell the leavings of
//! a dead one (`runtime_dir.rs`).

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use net::units::Mode;

use super::app::App;
use super::nest::{self, Nest};
use super::runtime_dir::RuntimeDir;
use super::sway_ipc::{IpcError, SwayIpc};
use super::wlroots::{await_mode, change_mode, custom_mode};
use super::{
    AppState, DisplayBackend, DisplayError, DisplayRequest, OutputAddress, VirtualDisplay,
    WaylandOutput,
};
use crate::process::{self, GRACE, Guard, Process, TOKEN_VARIABLE};
use crate::select::Refusal;
use crate::sys;

pub(crate) const NAME: &str = "private-sway";
/// wlroots names the outputs of its headless backend so, counting from 1.
const HEADLESS: &str = "HEADLESS-1";
/// For the question which version it is, which somebody waits for at the host's start.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// From exec to the verified mode. Measured: 0.1 s idle; a loaded machine gets its time.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// For a nested sway to draw in another size: a refresh, and what the drawing takes.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is looked whether a sway that is waited for has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// Longest path of a Unix socket, bytes, with its terminating zero (`sockaddr_un`).
const SOCKET_PATH_BYTES_MAX: usize = 108;

/// Starts a headless sway for every display.
#[derive(Clone, Debug, Default)]
pub struct PrivateSway;

impl PrivateSway {
    /// As [`DisplayBackend::create`], but headless whatever else it could be: a sway that takes
    /// further outputs of any rate, as a desktop that a host runs in (`super::running_sway`).
    ///
    /// # Errors
    /// See there.
    pub fn create_desktop(
        &self,
        request: &DisplayRequest,
    ) -> Result<Box<dyn VirtualDisplay>, DisplayError> {
        Ok(Box::new(PrivateDisplay::start(request, Way::Headless)?))
    }
}

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
        let how = match gpu_present() {
            true => "GPU renderer, headless output (a nested one hands over no GPU buffers yet)",
            false => "pixman renderer, nested in a compositor of ours for its exact rate",
        };
        Ok(format!(
            "{version}, {how}, sockets under {}",
            base.display()
        ))
    }

    fn create(&self, request: &DisplayRequest) -> Result<Box<dyn VirtualDisplay>, DisplayError> {
        let mut ways: &[Way] = &[Way::Nested, Way::Headless];
        if gpu_present() {
            ways = &[Way::HeadlessOnGpu, Way::Nested, Way::Headless];
        }
        loop {
            let (way, others) = ways.split_first().expect("the last one returns");
            match PrivateDisplay::start(request, *way) {
                Err(DisplayError::Start { reason, .. })
                    if !others.is_empty() && !request.cancel.is_asked() =>
                {
                    let (way, next) = (way.name(), others[0].name());
                    log::warn!("sway does not start {way} ({reason}); trying {next}");
                    ways = others;
                }
                other => return Ok(Box::new(other?)),
            }
        }
    }
}

/// What sway draws with, and into what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By CPU, into our own compositor.
    Nested,
    /// By CPU, into a headless output.
    Headless,
    /// By GPU, into a headless output.
    HeadlessOnGpu,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Nested => "nested",
            Self::Headless => "headless",
            Self::HeadlessOnGpu => "headless on the GPU",
        }
    }

    /// What wlroots calls the output.
    fn output(self) -> &'static str {
        match self {
            Self::Nested => nest::OUTPUT,
            Self::Headless | Self::HeadlessOnGpu => HEADLESS,
        }
    }
}

/// A running private sway. Fields drop in this order: application, compositor, what it draws into,
/// directory, and the guard last, so that it watches until nothing is left to watch.
struct PrivateDisplay {
    app: Option<App>,
    sway: Process,
    nest: Option<Nest>,
    ipc: SwayIpc,
    wayland: WaylandOutput,
    address: OutputAddress,
    mode: Mode,
    directory: RuntimeDir,
    _guard: Guard,
}

impl PrivateDisplay {
    fn start(request: &DisplayRequest, way: Way) -> Result<Self, DisplayError> {
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
        fs::write(&config, sway_config(request.mode, way))
            .map_err(|error| start_error(format!("cannot write its configuration: {error}")))?;

        let mut command = sway_command(&directory, &config, &ipc_socket, way);
        if way == Way::Nested && !request.cursor_apart {
            // Nobody else shows it.
            command.env("WLR_NO_HARDWARE_CURSORS", "1");
        }
        let mut nest = None;
        if way == Way::Nested {
            let (server, socket) = Nest::start(request.mode, request.cursor_apart)
                .map_err(|error| start_error(format!("no compositor of ours: {error}")))?;
            give_socket(&mut command, socket);
            nest = Some(server);
        }
        let mut sway =
            Process::spawn("sway", command).map_err(|error| start_error(error.to_string()))?;
        let ready = await_ready(&mut sway, &directory, &ipc_socket, request, nest.as_ref());
        let (ipc, wayland_socket, mode) = ready.map_err(|reason| {
            sway.kill();
            process::kill_marked(directory.token());
            start_error(reason)
        })?;
        let wayland = WaylandOutput {
            wayland_socket,
            output: way.output().to_owned(),
        };
        log::info!(
            "{NAME}: {mode} {} on {} after {:.0} ms",
            way.name(),
            wayland.wayland_socket.display(),
            begun.elapsed().as_secs_f64() * 1e3
        );
        let address = OutputAddress {
            nested: nest.as_ref().map(Nest::output),
            wayland: Some(wayland.clone()),
            ..OutputAddress::default()
        };
        let mut display = Self {
            app: None,
            sway,
            nest,
            ipc,
            address,
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
        self.mode = match &self.nest {
            Some(nest) => change_nested(nest, &mut self.ipc, self.mode, mode)?,
            None => change_mode(&mut self.ipc, HEADLESS, self.mode, mode)?,
        };
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

/// Everything that is drawn is the application: no bar, border, gap, or X server. And only who
/// injects moves the pointer, whose place is reckoned from that.
fn sway_config(mode: Mode, way: Way) -> String {
    let output = match way {
        // Its size is the one that our compositor gives it.
        Way::Nested => nested_output(mode),
        Way::Headless | Way::HeadlessOnGpu => {
            format!("output {HEADLESS} mode --custom {}", custom_mode(mode))
        }
    };
    format!(
        "xwayland disable\n\
         {output} position 0 0 scale 1 bg #000000 solid_color\n\
         default_border none\n\
         default_floating_border none\n\
         hide_edge_borders --i3 both\n\
         gaps inner 0\n\
         gaps outer 0\n\
         focus_on_window_activation focus\n\
         mouse_warping none\n\
         seat * hide_cursor 0\n\
         for_window [title=\".*\"] border none, fullscreen enable\n\
         for_window [app_id=\".*\"] border none, fullscreen enable\n"
    )
}

/// When a nested sway composes, in the words of sway-output(5).
fn nested_output(mode: Mode) -> String {
    match nest::render_ms(mode.refresh()) {
        0 => format!("output {} max_render_time off", nest::OUTPUT),
        ms => format!("output {} max_render_time {ms}", nest::OUTPUT),
    }
}

fn sway_command(directory: &RuntimeDir, config: &Path, ipc: &Path, way: Way) -> Command {
    let mut command = Command::new("sway");
    command.arg("-c").arg(config).current_dir(directory.path());
    for inherited in [
        "WAYLAND_DISPLAY",
        "WAYLAND_SOCKET",
        "DISPLAY",
        "I3SOCK",
        "WLR_BACKENDS",
        "WLR_NO_HARDWARE_CURSORS",
    ] {
        command.env_remove(inherited);
    }
    command.env("XDG_RUNTIME_DIR", directory.path());
    // sway listens where SWAYSOCK says if nothing is there yet (sway/ipc-server.c).
    command.env("SWAYSOCK", ipc);
    if way == Way::Nested {
        command.env("WLR_BACKENDS", "wayland");
        command.env("WLR_WL_OUTPUTS", "1");
        // An application's own buffers never come to us in place of sway's.
        command.args(["-D", "noscanout"]);
    } else {
        command.env("WLR_BACKENDS", "headless");
        command.env("WLR_HEADLESS_OUTPUTS", "1");
    }
    command.env("WLR_LIBINPUT_NO_DEVICES", "1");
    if way != Way::HeadlessOnGpu {
        command.env("WLR_RENDERER", "pixman");
    }
    command.env(TOKEN_VARIABLE, directory.token());
    command
}

/// The connection to our compositor, as wl_display_connect(3) takes it over.
fn give_socket(command: &mut Command, socket: OwnedFd) {
    command.env("WAYLAND_SOCKET", socket.as_raw_fd().to_string());
    sys::pass_descriptor(command, socket);
}

/// Waits for facts: the IPC socket answers, the Wayland socket is there, the output has the
/// wanted mode. An early exit is an error with sway's last words, and the end of the session one
/// at once.
fn await_ready(
    sway: &mut Process,
    directory: &RuntimeDir,
    ipc_socket: &Path,
    request: &DisplayRequest,
    nest: Option<&Nest>,
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
    let mode = match nest {
        Some(nest) => await_picture(nest, request, deadline),
        None => await_mode(&mut ipc, HEADLESS, request.mode, deadline),
    };
    let mode = mode.map_err(|error| {
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

/// Waits until a nested sway has drawn in the wanted size; its rate is ours to give.
fn await_picture(nest: &Nest, request: &DisplayRequest, deadline: Instant) -> Result<Mode, String> {
    while !nest.await_mode(request.mode, LOOK_INTERVAL)? {
        if request.cancel.is_asked() {
            return Err("the session is over".to_owned());
        }
        if Instant::now() >= deadline {
            return Err(not_drawn(nest, request.mode));
        }
    }
    Ok(request.mode)
}

fn not_drawn(nest: &Nest, mode: Mode) -> String {
    match nest.shown_size() {
        Some(size) => format!("it draws {}x{} instead of {mode}", size.width, size.height),
        None => "it drew no picture".to_owned(),
    }
}

/// Gives a nested sway another mode while it is in use; returns the mode that it has then.
fn change_nested(
    nest: &Nest,
    ipc: &mut SwayIpc,
    before: Mode,
    wanted: Mode,
) -> Result<Mode, DisplayError> {
    // With the size, in case an application has asked sway for another one: sway sets all that it
    // was ever asked for, each time it is asked for something.
    let (width, height) = (wanted.width(), wanted.height());
    let command = format!("{} mode --custom {width}x{height}", nested_output(wanted));
    let mut tell = || ipc.run(&command).map_err(|error| error.to_string());

    let strayed = nest.shown_size() != Some(nest::size_of(before));
    nest.order(wanted);
    let changed = if strayed { tell() } else { Ok(()) };
    let changed = changed.and_then(|()| match nest.await_mode(wanted, CHANGE_TIMEOUT) {
        Ok(true) => Ok(()),
        Ok(false) => Err(not_drawn(nest, wanted)),
        Err(reason) => Err(reason),
    });
    let same_time = nest::render_ms(before.refresh()) == nest::render_ms(wanted.refresh());
    let changed = changed.and_then(|()| match same_time || strayed {
        true => Ok(()),
        false => tell(),
    });
    changed.map_err(|reason| {
        nest.order(before);
        DisplayError::Refused {
            compositor: "sway",
            request: format!("the mode {wanted}"),
            reason,
        }
    })?;
    Ok(wanted)
}

/// Sway chooses the name itself (`wayland-1`); the directory holds no other.
fn wayland_socket(directory: &Path) -> Option<PathBuf> {
    fs::read_dir(directory).ok()?.flatten().find_map(|entry| {
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        let named = entry.file_name().to_string_lossy().starts_with("wayland-");
        (is_socket && named).then(|| entry.path())
    })
}
