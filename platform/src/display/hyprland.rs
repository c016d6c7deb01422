//! `hyprland`: an output more on the Hyprland session that this process runs in, over its request
//! socket (`$XDG_RUNTIME_DIR/hypr/$HYPRLAND_INSTANCE_SIGNATURE/.socket.sock`; Hyprland wiki, "IPC"
//! and "Using hyprctl").
//!
//! ```text
//! output create headless NAME ─▶ keyword monitor NAME,WxH@HZ,auto,1 ─▶ (j/monitors) ─▶ output remove NAME
//! ```
//!
//! With a configuration in Lua (0.55 and later) `keyword` is refused; the same goes as
//! `eval hl.monitor({...})` then.
//!
//! A request is one connection: its text in, its answer out, and Hyprland closes it. It serves one
//! request at a time and everything else waits for it, so ours are short. New windows open on the
//! monitor with the focus, so that is the new one when the application starts.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use net::units::Mode;
use serde::Deserialize;

use super::cancel::{Cancel, check};
use super::tenant::Tenant;
use super::{
    AppState, DisplayBackend, DisplayError, DisplayRequest, OutputAddress, VirtualDisplay,
    WaylandOutput,
};
use crate::select::Refusal;

const NAME: &str = "hyprland";
/// For one request; Hyprland answers between two frames.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// For the probe, which somebody waits for at the host's start.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// For the farewell, which a wedged compositor must not hold up.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(300);
/// For an output to take a mode.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is asked for it.
const ASK_INTERVAL: Duration = Duration::from_millis(5);
/// Longest answer that is read; a monitor takes a kilobyte.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Adds outputs to a running Hyprland.
#[derive(Clone, Debug, Default)]
pub struct Hyprland {
    /// Its request socket.
    pub socket: Option<PathBuf>,
    /// Its Wayland socket, absolute.
    pub wayland_socket: Option<PathBuf>,
}

impl Hyprland {
    /// The session that `HYPRLAND_INSTANCE_SIGNATURE` names, if any.
    #[must_use]
    pub fn from_environment() -> Self {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let signature = path("HYPRLAND_INSTANCE_SIGNATURE");
        let socket = signature.zip(path("XDG_RUNTIME_DIR")).map(|(name, base)| {
            let directory = PathBuf::from(base).join("hypr").join(name);
            directory.join(".socket.sock")
        });
        Self {
            socket,
            wayland_socket: super::wayland_socket_from_environment(),
        }
    }

    fn sockets(&self) -> Result<(&PathBuf, &PathBuf), Refusal> {
        let inside = "start punktfunk inside the Hyprland session to use it";
        let none = "no Hyprland runs here (HYPRLAND_INSTANCE_SIGNATURE is not set)";
        let socket = self.socket.as_ref();
        let socket = socket.ok_or_else(|| Refusal::new(none, inside))?;
        let wayland = self.wayland_socket.as_ref();
        let wayland = wayland.ok_or_else(|| Refusal::new("WAYLAND_DISPLAY is not set", inside))?;
        Ok((socket, wayland))
    }
}

impl DisplayBackend for Hyprland {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<String, Refusal> {
        let (socket, _) = self.sockets()?;
        let stale = "unset HYPRLAND_INSTANCE_SIGNATURE if it is stale";
        let refuse = |error: io::Error| {
            Refusal::new(format!("Hyprland at {}: {error}", socket.display()), stale)
        };
        let asked = ask(socket, "j/version", PROBE_TIMEOUT, &Cancel::default());
        let version: Version = read(&asked.map_err(refuse)?).map_err(refuse)?;
        Ok(format!("Hyprland {}", version.tag))
    }

    fn create(&self, request: &DisplayRequest) -> Result<Box<dyn VirtualDisplay>, DisplayError> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let (socket, wayland_socket) = self
            .sockets()
            .map_err(|refusal| start_error(refusal.to_string()))?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let output = format!("punktfunk-{}-{number}", std::process::id());
        // The guard first: an output that nobody knows of would stay.
        let tenant = Tenant::new(NAME, &farewell(socket, &output))?;
        tell(
            socket,
            &format!("output create headless {output}"),
            &request.cancel,
        )?;
        // From here on dropping `display` removes the output.
        let mut display = ExtraOutput {
            tenant,
            socket: socket.clone(),
            address: WaylandOutput {
                wayland_socket: wayland_socket.clone(),
                output: output.clone(),
            }
            .into(),
            output,
            mode: request.mode,
        };
        display.change(request.mode, &request.cancel)?;
        if !request.app.is_empty() {
            let focus = [
                format!("dispatch focusmonitor {}", display.output),
                format!(
                    "dispatch hl.dsp.focus({{ monitor = \"{}\" }})",
                    display.output
                ),
            ];
            if let Err(error) = tell_either(socket, &focus, &request.cancel) {
                log::info!("{NAME}: the application may open on another monitor: {error}");
            }
        }
        display.tenant.start(request, Some(wayland_socket))?;
        Ok(Box::new(display))
    }
}

/// An output of ours on a Hyprland that is not.
struct ExtraOutput {
    tenant: Tenant,
    socket: PathBuf,
    output: String,
    address: OutputAddress,
    mode: Mode,
}

impl ExtraOutput {
    fn change(&mut self, mode: Mode, cancel: &Cancel) -> Result<(), DisplayError> {
        tell_either(&self.socket, &monitor_rules(&self.output, mode), cancel)?;
        let until = Instant::now() + CHANGE_TIMEOUT;
        loop {
            let asked = monitors(&self.socket, CALL_TIMEOUT, cancel);
            let all = asked.map_err(|error| refused(format!("the mode {mode}"), error))?;
            let monitor = all.iter().find(|it| it.name == self.output);
            if let Some(has) = monitor.and_then(|monitor| monitor.matching(mode)) {
                self.mode = has;
                log::info!("{NAME}: {has} on output {}", self.output);
                return Ok(());
            }
            if Instant::now() >= until {
                let has = monitor.map_or("no such output".to_owned(), |it| {
                    format!("{}x{}@{}", it.width, it.height, it.refresh_rate)
                });
                return Err(refused(format!("the mode {mode}"), has));
            }
            std::thread::park_timeout(ASK_INTERVAL);
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
        let before = self.mode;
        self.change(mode, &Cancel::default()).inspect_err(|_| {
            let rules = monitor_rules(&self.output, before);
            if let Err(error) = tell_either(&self.socket, &rules, &Cancel::default()) {
                log::warn!("{NAME}: {before} may not come back: {error}");
            }
        })
    }

    fn check(&mut self) -> Result<(), DisplayError> {
        let gone = |reason: String| DisplayError::Gone {
            compositor: NAME,
            reason,
        };
        // Said to the log when it has ended.
        self.tenant.app();
        let all = monitors(&self.socket, CALL_TIMEOUT, &Cancel::default());
        let all = all.map_err(|error| gone(error.to_string()))?;
        match all.iter().any(|monitor| monitor.name == self.output) {
            true => Ok(()),
            false => Err(gone(format!("output {} was removed", self.output))),
        }
    }

    fn app(&mut self) -> AppState {
        self.tenant.app()
    }
}

impl Drop for ExtraOutput {
    fn drop(&mut self) {
        self.tenant.end();
        let removal = format!("output remove {}", self.output);
        let removed = ask(&self.socket, &removal, FAREWELL_TIMEOUT, &Cancel::default());
        match removed {
            Ok(answer) if answer.trim() == "ok" => {}
            Ok(answer) => log::warn!("{NAME}: output {} stays: {answer}", self.output),
            Err(error) => log::debug!(
                "{NAME}: output {} with its compositor: {error}",
                self.output
            ),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Version {
    #[serde(default)]
    tag: String,
}

/// A monitor, as `j/monitors` tells it.
#[derive(Debug, Deserialize)]
struct Monitor {
    name: String,
    width: u32,
    height: u32,
    #[serde(rename = "refreshRate")]
    refresh_rate: f64,
}

impl Monitor {
    /// Its mode, if that is the wanted one; rates come as floats.
    fn matching(&self, wanted: Mode) -> Option<Mode> {
        let millihz = (self.refresh_rate * 1e3).round();
        let off = (millihz - f64::from(wanted.refresh().get())).abs();
        let is_it = (self.width, self.height) == (wanted.width().into(), wanted.height().into());
        (is_it && off <= 10.0).then_some(wanted)
    }
}

fn monitors(socket: &Path, limit: Duration, cancel: &Cancel) -> io::Result<Vec<Monitor>> {
    read(&ask(socket, "j/monitors", limit, cancel)?)
}

fn read<T: for<'a> Deserialize<'a>>(answer: &str) -> io::Result<T> {
    serde_json::from_str(answer)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

/// A rule for a monitor of that name, in both languages: its mode, wherever there is room, at a
/// scale of 1.
fn monitor_rules(output: &str, mode: Mode) -> [String; 2] {
    let rate = mode.refresh().get();
    let (width, height) = (mode.width(), mode.height());
    let mode = format!("{width}x{height}@{}.{:03}", rate / 1000, rate % 1000);
    [
        format!("keyword monitor {output},{mode},auto,1"),
        format!(
            "eval hl.monitor({{ output = \"{output}\", mode = \"{mode}\", position = \"auto\", \
             scale = 1 }})"
        ),
    ]
}

/// The first of two requests, or the second where that is refused: for the two languages of
/// Hyprland's configuration.
fn tell_either(socket: &Path, requests: &[String; 2], cancel: &Cancel) -> Result<(), DisplayError> {
    let [one, other] = requests;
    tell(socket, one, cancel).or_else(|error| {
        log::debug!("{NAME}: {error}");
        tell(socket, other, cancel)
    })
}

/// A request that answers `ok` where it is done.
fn tell(socket: &Path, request: &str, cancel: &Cancel) -> Result<(), DisplayError> {
    match ask(socket, request, CALL_TIMEOUT, cancel) {
        Ok(answer) if answer.trim() == "ok" => Ok(()),
        Ok(answer) => Err(refused(request.to_owned(), answer.trim())),
        Err(error) => Err(refused(request.to_owned(), error)),
    }
}

/// One request, and its whole answer.
fn ask(socket: &Path, request: &str, limit: Duration, cancel: &Cancel) -> io::Result<String> {
    let until = Instant::now() + limit;
    let mut stream = super::connect(socket, until, cancel)?;
    stream.set_write_timeout(Some(check(until, cancel)?))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    loop {
        stream.set_read_timeout(Some(check(until, cancel)?))?;
        let mut part = [0; 4096];
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&part[..count]),
            Err(error) if is_again(&error) => {}
            Err(error) => return Err(error),
        }
        if answer.len() as u64 > ANSWER_BYTES_MAX {
            let text = "an answer without end";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn is_again(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// What the guard does should this process die: the same as dropping the display.
fn farewell(socket: &Path, output: &str) -> Vec<OsString> {
    let signature = socket.parent().and_then(Path::file_name);
    let script = r#"timeout 2 hyprctl --instance "$0" output remove "$1""#;
    vec![
        "sh".into(),
        "-c".into(),
        script.into(),
        signature.unwrap_or_default().into(),
        output.into(),
    ]
}

fn start_error(reason: String) -> DisplayError {
    DisplayError::Start {
        compositor: NAME,
        reason,
    }
}

fn refused(request: String, reason: impl ToString) -> DisplayError {
    DisplayError::Refused {
        compositor: NAME,
        request,
        reason: reason.to_string(),
    }
}

#[cfg(test)]
#[path = "hyprland_tests.rs"]
mod tests;
