//! `gamescope`: a gamescope of the session's own, headless, with the session's application inside.
//! Made for games: one window at a time, scaled to the output.
//!
//! ```text
//! gamescope --backend headless -W 1280 -H 720 -r 60 --expose-wayland -- APP
//!     ├─ stderr: "stream available on node ID: 42"   the node in the user's PipeWire
//!     └─ $XDG_RUNTIME_DIR/gamescope-0-ei             emulated input
//! ```
//!
//! * It has a runtime directory of its own, so that its sockets are its own; PipeWire, sound and
//!   D-Bus are reached where they are.
//! * One consumer for its whole life: it can abort when consumers come and go (seen with 3.16.24).
//! * Its output keeps the mode that it was started with. Its node scales the picture down for its
//!   consumer (`requested_size`), and not up, and keeps its shape: smaller modes of the same shape
//!   and rate can be had while it lives, others are refused.
//! * Pictures come only when the focused window commits new ones: a window that stands still gives
//!   no picture in a new mode, which is refused then. It knows a client's buffers of shared memory
//!   by their `wl_buffer` and does not look at them again: such a client (all of Xwayland, where that
//!   has no GPU) is a frozen picture, unless it makes a new `wl_buffer` for each.
//! * The pointer is not in the pictures, and nothing tells of it.
//! * It ends with its application. One that falls (a signal, its own assertions) is started again
//!   with its application, for the same stream of pictures (`gamescope/life.rs`).
//!
//! Seen with 3.16.25 (`scripts/lab/gamescope`).

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gpu::frame::Size;
use net::units::Mode;

use super::cancel::Cancel;
use super::runtime_dir::RuntimeDir;
use super::{
    AppState, DisplayBackend, DisplayError, DisplayRequest, OutputAddress, VirtualDisplay,
};
use crate::capture::CaptureError;
use crate::capture::link::ended;
use crate::capture::pipewire::{Heir, Memory, NodeStream, Shape, VideoNode};
use crate::inject::ei::{EiAddress, EiServer};
use crate::process::{self, TOKEN_VARIABLE};
use crate::select::Refusal;

mod life;

use life::{End, Life};

pub(crate) const NAME: &str = "gamescope";
/// For `--help` and `--version`.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// For a picture in a new mode; 0.1 s as a rule.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often its words are looked at while it starts.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// What it says of its node (gamescope, `src/pipewire.cpp`).
const NODE_WORDS: &str = "stream available on node ID: ";
/// Its socket for emulated input, the first that it takes in a directory of its own.
const EI_SOCKET: &str = "gamescope-0-ei";
/// The first version that runs without a screen, has emulated input and says its version.
const VERSION_MIN: (u32, u32) = (3, 16);

/// Starts a gamescope for each session.
#[derive(Clone, Debug)]
pub struct Gamescope {
    /// Which.
    pub program: PathBuf,
}

impl Default for Gamescope {
    fn default() -> Self {
        Self {
            program: NAME.into(),
        }
    }
}

impl DisplayBackend for Gamescope {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<String, Refusal> {
        let newer = "install gamescope 3.16 or later";
        let version = self.version().map_err(|error| {
            let reason = format!("{} does not start: {error}", self.program.display());
            Refusal::new(reason, newer)
        })?;
        match version {
            // Built from a tree without its tags it says a number of git's.
            None if self.is_headless() => Ok("gamescope of an unknown version".to_owned()),
            None => Err(Refusal::new(
                "this gamescope does not say its version (Debian 12's 3.11 for one): it is too \
                 old to have a headless backend",
                newer,
            )),
            Some((major, minor, _)) if (major, minor) < VERSION_MIN => Err(Refusal::new(
                format!(
                    "gamescope {major}.{minor} is too old: it has no headless backend with input"
                ),
                newer,
            )),
            Some((major, minor, patch)) => Ok(format!("gamescope {major}.{minor}.{patch}")),
        }
    }

    fn create(&self, request: &DisplayRequest) -> Result<Box<dyn VirtualDisplay>, DisplayError> {
        if request.app.is_empty() {
            return Err(start_error(
                "it shows an application and nothing else: name one (--app)".to_owned(),
            ));
        }
        let mode = mode_of(request.mode);
        let begun = Instant::now();
        // From here on dropping `end` ends it and all that it started.
        let (life, node) = Life::begin(&self.program, request, mode)?;
        let end = End(Arc::clone(&life));
        let mut node = VideoNode::new(node);
        node.shape = Shape::Within(mode);
        node.heir = Some(Arc::clone(&life) as Arc<dyn Heir>);
        let stream = NodeStream::open(&node).map_err(|error| {
            let words = life.words();
            start_error(format!("its node shows no pictures: {error}{words}"))
        })?;
        node.stream = Some(stream.clone());
        let server = EiSocket {
            life: Arc::clone(&life),
            size: size_of(mode),
        };
        let address = OutputAddress {
            node: Some(node),
            ei: Some(EiAddress {
                server: Arc::new(server),
                mapping_id: None,
            }),
            ..OutputAddress::default()
        };
        log::info!(
            "{NAME}: {mode} after {:.0} ms",
            begun.elapsed().as_secs_f64() * 1e3
        );
        Ok(Box::new(GamescopeDisplay {
            stream,
            address,
            mode,
            output: mode,
            end,
        }))
    }
}

impl Gamescope {
    /// What it says of itself; `None` if it runs but says no version (3.11.49: "unrecognized option
    /// '--version'").
    fn version(&self) -> io::Result<Option<(u32, u32, u32)>> {
        Ok(version_of(&self.ask("--version")?))
    }

    fn is_headless(&self) -> bool {
        let help = self.ask("--help").unwrap_or_default();
        help.contains("--backend") && help.contains("headless")
    }

    /// What it answers.
    fn ask(&self, option: &str) -> io::Result<String> {
        // It answers on standard error, which `run_within` does not read.
        let mut command = Command::new("/bin/sh");
        command
            .args([
                "-c",
                r#"command -v "$0" >/dev/null || exit 127; exec "$0" "$1" 2>&1"#,
            ])
            .arg(&self.program)
            .arg(option);
        let (status, said) = process::run_within(command, ASK_TIMEOUT)?;
        if status.code() == Some(127) {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no such program"));
        }
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}

/// `gamescope version 3.16.14-2 (gcc 14.2.0)`, on whatever line.
fn version_of(said: &str) -> Option<(u32, u32, u32)> {
    let (_, rest) = said.split_once("version ")?;
    let word = rest.split_whitespace().next()?;
    let word = word.trim_start_matches('v');
    // Digits alone are no version: git's numbers begin with some.
    let mut numbers = word.split('.').map(|part| {
        let end = part.find(|character: char| !character.is_ascii_digit());
        part[..end.unwrap_or(part.len())].parse().ok()
    });
    let (major, minor) = (numbers.next()??, numbers.next()??);
    Some((major, minor, numbers.next().flatten().unwrap_or(0)))
}

/// The number of its node, out of its words.
fn node_of(words: &str) -> Option<u32> {
    let (_, rest) = words.rsplit_once(NODE_WORDS)?;
    let digits = rest
        .split(|character: char| !character.is_ascii_digit())
        .next()?;
    digits.parse().ok()
}

/// The mode that it makes of a wish: whole Hz only.
fn mode_of(wanted: Mode) -> Mode {
    let millihz = wanted.refresh().get().next_multiple_of(1000);
    let [width, height] = [wanted.width(), wanted.height()].map(u32::from);
    Mode::new(width, height, millihz).unwrap_or(wanted)
}

fn size_of(mode: Mode) -> Size {
    Size {
        width: mode.width(),
        height: mode.height(),
    }
}

/// Whether a picture of `output` can be scaled to exactly `wanted`. It scales by the side that
/// shrinks more, rounds the other up and makes both even (gamescope, `src/pipewire.cpp`).
fn scales_to(output: Mode, wanted: Mode) -> bool {
    let [from, to] = [output, wanted].map(|mode| [mode.width(), mode.height()].map(u32::from));
    let scaled = |at: usize, by: usize| (from[at] * to[by]).div_ceil(from[by]).next_multiple_of(2);
    let follows = if to[0] * from[1] <= to[1] * from[0] {
        scaled(1, 0) == to[1]
    } else {
        scaled(0, 1) == to[0]
    };
    from[0] >= to[0] && from[1] >= to[1] && follows && output.refresh() == wanted.refresh()
}

fn command(program: &Path, request: &DisplayRequest, directory: &RuntimeDir) -> Command {
    let mode = mode_of(request.mode);
    let mut command = Command::new(program);
    command.args(["--backend", "headless"]);
    command.arg("-W").arg(mode.width().to_string());
    command.arg("-H").arg(mode.height().to_string());
    let hz = mode.refresh().get() / 1000;
    command.arg("-r").arg(hz.to_string());
    // Else it has no Wayland socket for the application, only Xwayland's.
    command.arg("--expose-wayland");
    command.arg("--").args(&request.app);
    let variables = request.environment.iter();
    command.envs(variables.map(|(name, value)| (name, value)));
    for inherited in [
        "WAYLAND_DISPLAY",
        "WAYLAND_SOCKET",
        "DISPLAY",
        "LIBEI_SOCKET",
    ] {
        command.env_remove(inherited);
    }
    // What it and the application look for in the user's runtime directory stays there.
    if let Some(runtime) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        let defaults = [
            ("PIPEWIRE_RUNTIME_DIR", runtime.as_os_str().to_owned()),
            ("PULSE_RUNTIME_PATH", runtime.join("pulse").into_os_string()),
            ("DBUS_SESSION_BUS_ADDRESS", {
                let mut address = std::ffi::OsString::from("unix:path=");
                address.push(runtime.join("bus"));
                address
            }),
        ];
        let named = |name: &str| request.environment.iter().any(|(known, _)| known == name);
        for (name, value) in defaults {
            if std::env::var_os(name).is_none() && !named(name) {
                command.env(name, value);
            }
        }
    }
    command.env("XDG_RUNTIME_DIR", directory.path());
    command.env(TOKEN_VARIABLE, directory.token());
    command
}

/// Fields drop in this order: the consumer before its producer.
struct GamescopeDisplay {
    stream: NodeStream,
    address: OutputAddress,
    /// Of its pictures.
    mode: Mode,
    /// Of its output.
    output: Mode,
    end: End,
}

impl Drop for GamescopeDisplay {
    fn drop(&mut self) {
        // So that none follows on it.
        self.end.0.leave();
    }
}

impl VirtualDisplay for GamescopeDisplay {
    fn address(&self) -> Option<&OutputAddress> {
        Some(&self.address)
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn set_mode(&mut self, mode: Mode) -> Result<(), DisplayError> {
        if mode == self.mode {
            return Ok(());
        }
        let refused = |reason: String| DisplayError::Refused {
            compositor: NAME,
            request: format!("the mode {mode}"),
            reason,
        };
        if !scales_to(self.output, mode) {
            return Err(refused(format!(
                "it was started with {} and shows that, or smaller pictures of the same shape and \
                 rate",
                self.output
            )));
        }
        self.stream.offer(Shape::Within(mode), Memory::Any);
        let never = Cancel::default();
        let shown = self
            .stream
            .await_picture(size_of(mode), PICTURE_TIMEOUT, &never);
        if let Err(error) = shown {
            self.stream.offer(Shape::Within(self.mode), Memory::Any);
            return Err(refused(format!("{error}; its application may stand still")));
        }
        self.mode = mode;
        if let Some(node) = &mut self.address.node {
            node.shape = Shape::Within(mode);
        }
        Ok(())
    }

    fn check(&mut self) -> Result<(), DisplayError> {
        process::reap_orphans();
        let gone = |reason: String| DisplayError::Gone {
            compositor: NAME,
            reason,
        };
        let streams = self.stream.check();
        // While the stream stands another gamescope follows on one that fell.
        self.end.0.check(streams.is_ok()).map_err(gone)?;
        streams.map_err(|error| gone(error.to_string()))
    }

    fn app(&mut self) -> AppState {
        self.end.0.app(self.stream.check().is_ok())
    }
}

/// Its server of emulated input.
#[derive(Debug)]
struct EiSocket {
    life: Arc<Life>,
    /// Of its output, in whose pixels positions are, whatever the size of the pictures.
    size: Size,
}

impl EiServer for EiSocket {
    /// It is made a moment after the node.
    fn connect(&self) -> Result<UnixStream, CaptureError> {
        let deadline = Instant::now() + ASK_TIMEOUT;
        let directory = self.life.directory();
        let path = directory
            .ok_or_else(|| ended("there is no gamescope now"))?
            .join(EI_SOCKET);
        loop {
            match super::connect(&path, deadline, &Cancel::default()) {
                Ok(stream) => return Ok(stream),
                Err(error)
                    if error.kind() == io::ErrorKind::NotFound && Instant::now() < deadline =>
                {
                    std::thread::park_timeout(LOOK_INTERVAL);
                }
                Err(error) => return Err(ended(format!("{}: {error}", path.display()))),
            }
        }
    }

    fn size(&self) -> Option<Size> {
        Some(self.size)
    }

    fn comes_back(&self) -> bool {
        self.life.goes_on()
    }

    /// A distance it takes for so many notches.
    fn scrolls_by_notches(&self) -> bool {
        true
    }

    fn type_keysym(&self, _: u32) -> Option<Result<(), CaptureError>> {
        None
    }
}

fn start_error(reason: String) -> DisplayError {
    DisplayError::Start {
        compositor: NAME,
        reason,
    }
}

#[cfg(test)]
#[path = "gamescope_tests.rs"]
mod tests;
