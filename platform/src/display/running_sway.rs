//! `sway`: an output more on the sway session that this process runs in. The user's own
//! workspaces stay as they are; the application's windows are moved to the new output as they
//! appear, without taking the focus.

use std::ffi::OsString;
use std::fs;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use net::units::Mode;
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::Value;

use super::app::{self, App};
use super::cancel::Cancel;
use super::runtime_dir::RuntimeDir;
use super::sway_ipc::{IpcError, SwayIpc, WindowEvents};
use super::wlroots::{await_output, change_mode};
use super::{
    AppState, DisplayBackend, DisplayError, DisplayRequest, OutputAddress, VirtualDisplay,
    WaylandOutput,
};
use crate::process::{self, Guard, TOKEN_VARIABLE};
use crate::select::Refusal;

const NAME: &str = "sway";
/// For one exchange with sway: it answers in microseconds unless it is in trouble.
const IPC_TIMEOUT: Duration = Duration::from_secs(2);
/// For the probe, which somebody waits for at the host's start.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// For all exchanges at the end of a session, which a wedged sway must not hold up.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(300);

/// Adds outputs to a running sway.
#[derive(Clone, Debug, Default)]
pub struct RunningSway {
    /// Its IPC socket (`SWAYSOCK`).
    pub ipc_socket: Option<PathBuf>,
    /// Its Wayland socket, absolute.
    pub wayland_socket: Option<PathBuf>,
}

impl RunningSway {
    /// The session that `SWAYSOCK` and `WAYLAND_DISPLAY` point to, if any.
    #[must_use]
    pub fn from_environment() -> Self {
        let path = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self {
            ipc_socket: path("SWAYSOCK"),
            wayland_socket: super::wayland_socket_from_environment(),
        }
    }

    fn sockets(&self) -> Result<(&PathBuf, &PathBuf), Refusal> {
        let inside = "start punktfunk inside the sway session to use it";
        let ipc = self.ipc_socket.as_ref();
        let ipc =
            ipc.ok_or_else(|| Refusal::new("no sway runs here (SWAYSOCK is not set)", inside));
        let wayland = self.wayland_socket.as_ref();
        let wayland = wayland.ok_or_else(|| Refusal::new("WAYLAND_DISPLAY is not set", inside));
        Ok((ipc?, wayland?))
    }
}

impl DisplayBackend for RunningSway {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<String, Refusal> {
        let (ipc_socket, wayland_socket) = self.sockets()?;
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let version = SwayIpc::connect(ipc_socket, PROBE_TIMEOUT)
            .and_then(|mut ipc| ipc.version())
            .map_err(|error| Refusal::new(error.to_string(), "unset SWAYSOCK if it is stale"))?;
        super::connect(wayland_socket, deadline, &Cancel::default()).map_err(|error| {
            Refusal::new(
                format!("{} cannot be reached: {error}", wayland_socket.display()),
                "unset WAYLAND_DISPLAY if it is stale",
            )
        })?;
        Ok(format!(
            "sway version {version} at {}",
            wayland_socket.display()
        ))
    }

    fn create(&self, request: &DisplayRequest) -> Result<Box<dyn VirtualDisplay>, DisplayError> {
        let (ipc_socket, wayland_socket) = self
            .sockets()
            .map_err(|refusal| start_error(refusal.to_string()))?;
        let mut ipc = SwayIpc::connect_unless(ipc_socket, IPC_TIMEOUT, &request.cancel)
            .map_err(|error| start_error(error.to_string()))?;
        let directory = RuntimeDir::create().map_err(|error| start_error(error.to_string()))?;
        let output = add_output(&mut ipc, ipc_socket)?;
        let farewell = farewell(ipc_socket, &output);
        let guard = Guard::spawn(directory.token(), directory.path(), &farewell)
            .inspect_err(|_| remove_output(&mut ipc, ipc_socket, &output))
            .map_err(|error| start_error(format!("no guard process: {error}")))?;
        let wayland = WaylandOutput {
            wayland_socket: wayland_socket.clone(),
            output: output.clone(),
        };
        let mode = request.mode;
        // From here on dropping `display` removes the output.
        let mut display = ExtraOutput {
            app: None,
            placer: None,
            ipc,
            ipc_socket: ipc_socket.clone(),
            address: wayland.clone().into(),
            wayland,
            mode,
            directory,
            _guard: guard,
        };
        display.set_mode(request.mode)?;
        if !request.app.is_empty() {
            let token = display.directory.token();
            let placer = Placer::start(ipc_socket, token, &output, &request.cancel);
            display.placer = Some(placer.map_err(|error| start_error(error.to_string()))?);
            let environment = [
                ("WAYLAND_DISPLAY", Some(wayland_socket.clone())),
                ("SWAYSOCK", Some(ipc_socket.clone())),
                (TOKEN_VARIABLE, Some(display.directory.token().into())),
            ];
            display.app = App::start(request, &environment)?;
        }
        Ok(Box::new(display))
    }
}

/// An output of ours on a sway that is not.
struct ExtraOutput {
    app: Option<App>,
    placer: Option<Placer>,
    ipc: SwayIpc,
    ipc_socket: PathBuf,
    wayland: WaylandOutput,
    address: OutputAddress,
    mode: Mode,
    directory: RuntimeDir,
    _guard: Guard,
}

impl ExtraOutput {
    fn gone(reason: impl Into<String>) -> DisplayError {
        DisplayError::Gone {
            compositor: NAME,
            reason: reason.into(),
        }
    }
}

impl VirtualDisplay for ExtraOutput {
    fn address(&self) -> Option<&OutputAddress> {
        Some(&self.address)
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn set_mode(&mut self, mode: Mode) -> Result<(), DisplayError> {
        let output = &self.wayland.output;
        self.mode = change_mode(&mut self.ipc, output, self.mode, mode)?;
        log::info!("{NAME}: {} on output {output}", self.mode);
        Ok(())
    }

    fn check(&mut self) -> Result<(), DisplayError> {
        process::reap_orphans();
        // Said to the log when it has ended.
        self.app();
        let outputs = self
            .ipc
            .outputs()
            .map_err(|error| Self::gone(error.to_string()))?;
        match outputs
            .iter()
            .any(|output| output.name == self.wayland.output && output.active)
        {
            true => Ok(()),
            false => Err(Self::gone(format!(
                "output {} was removed",
                self.wayland.output
            ))),
        }
    }

    fn app(&mut self) -> AppState {
        self.app.as_mut().map_or(AppState::None, App::state)
    }
}

impl Drop for ExtraOutput {
    fn drop(&mut self) {
        app::end(self.app.take(), self.placer.take(), self.directory.token());
        self.ipc.finish_by(Instant::now() + FAREWELL_TIMEOUT);
        remove_output(&mut self.ipc, &self.ipc_socket, &self.wayland.output);
        self.directory.remove();
        process::reap_orphans();
    }
}

/// Moves the windows of marked processes to an output, for as long as it lives.
struct Placer {
    stop: UnixStream,
    cancel: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Placer {
    fn start(
        ipc_socket: &Path,
        token: &str,
        output: &str,
        unless: &Cancel,
    ) -> Result<Self, IpcError> {
        let events = SwayIpc::connect_unless(ipc_socket, IPC_TIMEOUT, unless)?;
        let events = events.subscribe_to_windows()?;
        let cancel = Cancel::default();
        let commands = SwayIpc::connect_unless(ipc_socket, IPC_TIMEOUT, &cancel)?;
        let stop = events.stream().try_clone()?;
        let mark = format!("{TOKEN_VARIABLE}={token}");
        let output = output.to_owned();
        let thread = std::thread::Builder::new()
            .name("sway windows".to_owned())
            .spawn(move || place_windows(events, commands, &mark, &output))?;
        Ok(Self {
            stop,
            cancel,
            thread: Some(thread),
        })
    }
}

impl Drop for Placer {
    fn drop(&mut self) {
        self.cancel.ask();
        // Fails only if sway has closed it, which ends the thread as well.
        let _ = self.stop.shutdown(Shutdown::Both);
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            log::error!("the window placer panicked");
        }
    }
}

fn place_windows(mut events: WindowEvents, mut commands: SwayIpc, mark: &str, output: &str) {
    loop {
        let mut fds = [PollFd::new(events.stream(), PollFlags::IN)];
        if let Err(error) = poll(&mut fds, None)
            && error != rustix::io::Errno::INTR
        {
            log::error!("{NAME}: poll failed: {error}");
            return;
        }
        let event = match events.read() {
            Ok(event) => event,
            // The display was dropped, or sway has ended; `check` tells which.
            Err(IpcError::Io(_)) => return,
            Err(error) => {
                log::warn!("{NAME}: {error}");
                continue;
            }
        };
        let Some(container) = new_window_of(&event, mark) else {
            continue;
        };
        let command =
            format!("[con_id={container}] move container to output {output}, fullscreen enable");
        match commands.run(&command) {
            Ok(()) => log::debug!("{NAME}: window {container} moved to {output}"),
            Err(error) => log::warn!("{NAME}: a window stays where it is: {error}"),
        }
    }
}

/// The container of a new window, if its process carries `mark`.
fn new_window_of(event: &Value, mark: &str) -> Option<u64> {
    if event.get("change")?.as_str()? != "new" {
        return None;
    }
    let container = event.get("container")?;
    let pid = container.get("pid")?.as_u64()?;
    let environ = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let ours = environ
        .split(|byte| *byte == 0)
        .any(|entry| entry == mark.as_bytes());
    if ours {
        container.get("id")?.as_u64()
    } else {
        None
    }
}

fn start_error(reason: String) -> DisplayError {
    DisplayError::Start {
        compositor: NAME,
        reason,
    }
}

/// Outputs (with their sway's IPC socket) that sway could not remove: sway 1.7 has no `unplug`,
/// and its headless outputs cannot be disabled. They are used again, so that they never grow
/// beyond the number of displays at one time.
static LEFT_BEHIND: Mutex<Vec<(PathBuf, String)>> = Mutex::new(Vec::new());

/// Adds an output, or takes one left behind, and returns its name.
fn add_output(ipc: &mut SwayIpc, ipc_socket: &Path) -> Result<String, DisplayError> {
    let refused = |reason: String| DisplayError::Refused {
        compositor: NAME,
        request: "another output".to_owned(),
        reason,
    };
    let before = ipc.outputs().map_err(|error| refused(error.to_string()))?;
    let exists = |name: &str| before.iter().any(|output| output.name == name);
    {
        let mut left = LEFT_BEHIND.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|(socket, name)| socket != ipc_socket || exists(name));
        if let Some(at) = left.iter().position(|(socket, _)| socket == ipc_socket) {
            return Ok(left.swap_remove(at).1);
        }
    }
    // Not given up half-way, or an output would stay whose name nobody knows.
    ipc.shielded(|ipc| {
        ipc.run("create_output")
            .map_err(|error| refused(error.to_string()))?;
        await_output(ipc, &before, Instant::now() + IPC_TIMEOUT).map_err(refused)
    })
}

/// Unplugs an output (sway 1.8), or disables it, or says that it stays.
fn remove_output(ipc: &mut SwayIpc, ipc_socket: &Path, output: &str) {
    let Err(unplug) = ipc.run(&format!("output {output} unplug")) else {
        return;
    };
    if matches!(unplug, IpcError::Io(_)) {
        log::debug!("{NAME}: output {output} ended with its sway");
        return;
    }
    let disabled = ipc
        .run(&format!("output {output} disable"))
        .and_then(|()| ipc.outputs());
    match disabled {
        Ok(outputs) if !outputs.iter().any(|it| it.name == output && it.active) => {
            log::warn!("{NAME}: output {output} is disabled but stays: {unplug}");
        }
        Ok(_) => log::warn!("{NAME}: output {output} stays until sway 1.8 or its end: {unplug}"),
        Err(error) => log::warn!("{NAME}: output {output} could not be removed: {error}"),
    }
    let mut left = LEFT_BEHIND.lock().unwrap_or_else(PoisonError::into_inner);
    left.push((ipc_socket.to_owned(), output.to_owned()));
}

/// What the guard does should this process die: the same as [`remove_output`]. Not for ever: a
/// swaymsg that waits for a wedged sway would stay.
fn farewell(ipc_socket: &Path, output: &str) -> Vec<OsString> {
    let script = r#"for verb in unplug disable; do
        timeout 2 swaymsg -s "$0" "output $1 $verb" && break; done"#;
    vec![
        "sh".into(),
        "-c".into(),
        script.into(),
        ipc_socket.into(),
        output.into(),
    ]
}
