//! `kwin`: an output more on the KWin desktop that this process runs in, as a PipeWire stream.
//!
//! KWin lets only those programs record whose `.desktop` file says so
//! (`X-KDE-Wayland-Interfaces`); `scripts/kde-permission` installs one. It needs a GPU's render
//! node, or no output comes into being.
//!
//! The output lives as long as its Wayland connection, so a crash on either side leaves none. What
//! KWin keeps is the output's configuration, by its name; names are used again.

mod interfaces;
mod outputs;
mod stream;
mod windows;

use std::path::PathBuf;
use std::time::Duration;

use gpu::frame::Size;
use net::units::Mode;

use super::app::{self, App};
use super::cancel::Cancel;
use super::runtime_dir::RuntimeDir;
use super::{
    AppState, DisplayBackend, DisplayError, DisplayRequest, OutputAddress, VirtualDisplay,
    WaylandOutput,
};
use crate::capture::pipewire::{NodeName, NodeStream, VideoNode};
use crate::process::{self, Guard, TOKEN_VARIABLE};
use crate::select::Refusal;

use stream::{Offer, StreamError, VirtualOutput};
use windows::Placer;

const NAME: &str = "kwin";
/// For the removal of an output, which a wedged KWin must not hold up.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(300);

/// For the first picture of a size; a mode change repaints the whole output.
const PICTURE_TIMEOUT: Duration = Duration::from_secs(1);

/// What lets this program record, and what else it may be that it does not.
const PERMISSION: &str = "run scripts/kde-permission, which tells KWin by a .desktop file that \
    this program may make outputs; if it says so already, install KWin's PipeWire support";

/// Adds outputs to a running KWin.
#[derive(Clone, Debug, Default)]
pub struct Kwin {
    /// Its Wayland socket, absolute.
    pub wayland_socket: Option<PathBuf>,
}

impl Kwin {
    /// The session that `WAYLAND_DISPLAY` points to, if any.
    #[must_use]
    pub fn from_environment() -> Self {
        Self {
            wayland_socket: super::wayland_socket_from_environment(),
        }
    }

    fn socket(&self) -> Result<&PathBuf, Refusal> {
        let socket = self.wayland_socket.as_ref();
        socket.ok_or_else(|| {
            Refusal::new(
                "no KWin runs here (WAYLAND_DISPLAY is not set)",
                "start punktfunk inside the Plasma session to use it",
            )
        })
    }
}

impl DisplayBackend for Kwin {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<String, Refusal> {
        let socket = self.socket()?;
        let place = socket.display();
        let stale = "unset WAYLAND_DISPLAY if it is stale";
        match stream::offer(socket, &Cancel::default()) {
            Err(error) => Err(Refusal::new(error.to_string(), stale)),
            Ok(Offer::Stranger) => {
                let reason = format!("the compositor at {place} is not KWin");
                Err(Refusal::new(reason, ""))
            }
            Ok(Offer::Closed) => Err(Refusal::new(
                "KWin does not let this program make outputs (zkde_screencast is hidden from it)",
                PERMISSION,
            )),
            Ok(Offer::TooOld) => Err(Refusal::new(
                "this KWin has no virtual outputs",
                "install Plasma 5.23 or later",
            )),
            Ok(Offer::Open(version)) => Ok(format!("KWin at {place} (zkde_screencast {version})")),
        }
    }

    fn create(&self, request: &DisplayRequest) -> Result<Box<dyn VirtualDisplay>, DisplayError> {
        let socket = self.socket();
        let socket = socket.map_err(|refusal| start_error(refusal.to_string()))?;
        let directory = RuntimeDir::create().map_err(|error| start_error(error.to_string()))?;
        let mut output = VirtualOutput::create(socket, request)
            .map_err(|error| no_output(error, request.mode))?;
        // What KWin remembers of an output of that name comes first.
        let mode = output.set_mode(request.mode);
        let mode = mode.map_err(|reason| refused(format!("the mode {}", request.mode), reason))?;
        // What is left of a dead host is its processes; its output went with its connection.
        let guard = Guard::spawn(directory.token(), directory.path(), &[])
            .map_err(|error| start_error(format!("no guard process: {error}")))?;
        let wayland = WaylandOutput {
            wayland_socket: socket.clone(),
            output: output.name.clone(),
        };
        log::info!(
            "{NAME}: {mode} on output {}, node {}",
            output.name,
            output.node
        );
        let mut node = VideoNode {
            tells_cursor: request.cursor_apart,
            ..VideoNode::new(NodeName::Id(output.node))
        };
        let stream = NodeStream::open(&node)
            .map_err(|error| refused("the pictures of its output".to_owned(), error.to_string()))?;
        node.stream = Some(stream.clone());
        let mut address = OutputAddress::from(wayland);
        address.node = Some(node);
        // From here on dropping `display` removes the output.
        let mut display = KwinDisplay {
            app: None,
            placer: None,
            stream,
            address,
            mode,
            output,
            directory,
            _guard: guard,
        };
        display.await_picture(&request.cancel);
        display.output.stands();
        if !request.app.is_empty() {
            let token = display.directory.token().to_owned();
            display.place_windows(socket, &token, &request.cancel);
            let environment = [
                ("WAYLAND_DISPLAY", Some(socket.clone())),
                (TOKEN_VARIABLE, Some(token.into())),
            ];
            display.app = App::start(request, &environment)?;
        }
        Ok(Box::new(display))
    }
}

/// An output of ours on a KWin that is not.
struct KwinDisplay {
    app: Option<App>,
    placer: Option<Placer>,
    /// Kept open from the first to the last picture, through every change of the mode.
    stream: NodeStream,
    output: VirtualOutput,
    address: OutputAddress,
    mode: Mode,
    directory: RuntimeDir,
    _guard: Guard,
}

impl KwinDisplay {
    /// KWin tells a node's new size with the next picture: waits until captures that begin now
    /// have it from the start.
    fn await_picture(&self, cancel: &Cancel) {
        let size = Size {
            width: self.mode.width(),
            height: self.mode.height(),
        };
        let picture = self.stream.await_picture(size, PICTURE_TIMEOUT, cancel);
        if let Err(error) = picture {
            // Not fatal: a capture of the old size ends, and the next one has the new size.
            log::warn!("{NAME}: nothing was drawn on the output: {error}");
        }
    }

    /// Without it the application's windows come up where the pointer is.
    fn place_windows(&mut self, socket: &std::path::Path, token: &str, cancel: &Cancel) {
        let mark = format!("{TOKEN_VARIABLE}={token}");
        match Placer::start(socket, mark, &self.output.name, cancel) {
            Ok(placer) => self.placer = Some(placer),
            Err(error) => log::warn!(
                "{NAME}: the application's windows come up where the pointer is, not on the \
                 session's output: {error}; {PERMISSION}"
            ),
        }
    }
}

impl VirtualDisplay for KwinDisplay {
    fn address(&self) -> Option<&OutputAddress> {
        Some(&self.address)
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn set_mode(&mut self, mode: Mode) -> Result<(), DisplayError> {
        let changed = self.output.set_mode(mode);
        self.mode = changed.map_err(|reason| refused(format!("the mode {mode}"), reason))?;
        log::info!("{NAME}: {} on output {}", self.mode, self.output.name);
        self.await_picture(&Cancel::default());
        Ok(())
    }

    fn check(&mut self) -> Result<(), DisplayError> {
        process::reap_orphans();
        // Said to the log when it has ended.
        self.app();
        let there = self.output.check();
        let there = there.and_then(|()| self.stream.check().map_err(|error| error.to_string()));
        there.map_err(|reason| DisplayError::Gone {
            compositor: NAME,
            reason,
        })
    }

    fn app(&mut self) -> AppState {
        self.app.as_mut().map_or(AppState::None, App::state)
    }
}

impl Drop for KwinDisplay {
    fn drop(&mut self) {
        app::end(self.app.take(), self.placer.take(), self.directory.token());
        self.output.close(FAREWELL_TIMEOUT);
        self.directory.remove();
        process::reap_orphans();
    }
}

fn no_output(error: StreamError, mode: Mode) -> DisplayError {
    match error {
        StreamError::Capture(error) => start_error(error.to_string()),
        StreamError::Refused(reason) => refused(
            format!("an output of {mode}"),
            format!(
                "{reason}; KWin needs a GPU's render node (/dev/dri/renderD128 or another) that \
                 it may open, and PipeWire in its session"
            ),
        ),
    }
}

fn refused(request: String, reason: String) -> DisplayError {
    DisplayError::Refused {
        compositor: NAME,
        request,
        reason,
    }
}

fn start_error(reason: String) -> DisplayError {
    DisplayError::Start {
        compositor: NAME,
        reason,
    }
}
