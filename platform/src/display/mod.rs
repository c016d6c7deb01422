//! Virtual displays: an output of the client's exact mode on some compositor, for as long as its
//! handle lives.

mod app;
mod cancel;
pub mod gamescope;
pub mod hyprland;
pub mod kwin;
pub mod mirror;
pub mod mutter;
mod nest;
mod overview;
pub mod portal;
pub mod private_sway;
pub mod running_sway;
mod runtime_dir;
pub mod sway_ipc;
pub mod synthetic;
mod tenant;
mod wlr_heads;
pub mod wlr_output;
mod wlroots;

use std::path::PathBuf;
use std::time::Duration;

use net::units::Mode;

pub use cancel::Cancel;
pub(crate) use cancel::connect;
pub use nest::NestedOutput;

use crate::capture::CaptureError;
use crate::capture::pipewire::VideoNode;
use crate::cursor::synthetic::SyntheticPointer;
use crate::inject::ei::EiAddress;
use crate::inject::remote::RemoteAddress;
use crate::select::Refusal;

/// The ways that lead to an output: for its pictures, and for input to it. Each backend takes the
/// one that it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputAddress {
    /// From its compositor's own hand, which runs inside a small compositor of ours.
    pub nested: Option<NestedOutput>,
    /// Over its compositor's Wayland socket.
    pub wayland: Option<WaylandOutput>,
    /// By a video node of PipeWire.
    pub node: Option<VideoNode>,
    /// Over its compositor's Wayland socket, but not for its pictures: those come by another way,
    /// which the user has chosen.
    pub input: Option<WaylandOutput>,
    /// For input, by the compositor's server of emulated input.
    pub ei: Option<EiAddress>,
    /// For input, by the desktop's remote-desktop session.
    pub remote: Option<RemoteAddress>,
}

impl OutputAddress {
    /// The way over Wayland.
    ///
    /// # Errors
    /// [`CaptureError::NoWay`] if there is none.
    pub fn over_wayland(&self) -> Result<&WaylandOutput, CaptureError> {
        let way = "Wayland output";
        self.wayland.as_ref().ok_or(CaptureError::NoWay { way })
    }

    /// The way over Wayland, for all but pictures.
    ///
    /// # Errors
    /// [`CaptureError::NoWay`] if there is none.
    pub fn beside_over_wayland(&self) -> Result<&WaylandOutput, CaptureError> {
        self.input.as_ref().map_or_else(|| self.over_wayland(), Ok)
    }

    /// The same of a display that may have no compositor at all.
    ///
    /// # Errors
    /// As [`OutputAddress::over_wayland`].
    pub fn wayland_of(output: Option<&Self>) -> Result<&WaylandOutput, CaptureError> {
        let way = "compositor";
        output
            .ok_or(CaptureError::NoWay { way })?
            .beside_over_wayland()
    }

    /// The way over PipeWire.
    ///
    /// # Errors
    /// [`CaptureError::NoWay`] if there is none.
    pub fn over_pipewire(&self) -> Result<&VideoNode, CaptureError> {
        let way = "video node";
        self.node.as_ref().ok_or(CaptureError::NoWay { way })
    }
}

impl From<WaylandOutput> for OutputAddress {
    fn from(output: WaylandOutput) -> Self {
        Self {
            wayland: Some(output),
            ..Self::default()
        }
    }
}

impl From<VideoNode> for OutputAddress {
    fn from(node: VideoNode) -> Self {
        Self {
            node: Some(node),
            ..Self::default()
        }
    }
}

/// An output of a Wayland compositor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaylandOutput {
    /// The compositor's Wayland socket, absolute path.
    pub wayland_socket: PathBuf,
    /// The output's name, as `wl_output.name` or `xdg_output.name` gives it.
    pub output: String,
}

/// Something in a display went wrong.
#[derive(Debug, thiserror::Error)]
pub enum DisplayError {
    /// The compositor could not be started.
    #[error("{compositor} could not be started: {reason}")]
    Start {
        /// Which compositor.
        compositor: &'static str,
        /// Its last words, or the system's.
        reason: String,
    },
    /// The compositor refused a request.
    #[error("{compositor} refused {request}: {reason}")]
    Refused {
        /// Which compositor.
        compositor: &'static str,
        /// What was asked.
        request: String,
        /// Its answer.
        reason: String,
    },
    /// The compositor went away.
    #[error("{compositor} ended while the session was using it: {reason}")]
    Gone {
        /// Which compositor.
        compositor: &'static str,
        /// Exit status or last words.
        reason: String,
    },
    /// The application could not be started.
    #[error("the application {command:?} could not be started: {reason}")]
    App {
        /// Its command line.
        command: String,
        /// The system's answer.
        reason: String,
    },
}

/// What a session wants of a display.
#[derive(Clone, Debug)]
pub struct DisplayRequest {
    /// Exact size and refresh.
    pub mode: Mode,
    /// Command and arguments to run on it; empty: nothing is started.
    pub app: Vec<String>,
    /// What its environment says beside (where to play sound, for one). What the display itself
    /// must say there wins.
    pub environment: Vec<(String, String)>,
    /// Its pictures shall lack the pointer, which is told of instead
    /// ([`crate::capture::CaptureBackend::open_with_cursor`]), if that is decided where the display
    /// is made; elsewhere the capture decides.
    pub cursor_apart: bool,
    /// Asked when nobody wants the display any more, though it may not stand yet: from then on
    /// nothing is waited for but its end.
    pub cancel: Cancel,
}

/// A kind of display, chosen once at start.
pub trait DisplayBackend: Send + Sync {
    /// Name for logs, `doctor` and `--desktop`.
    fn name(&self) -> &'static str;

    /// Can it work here? Ready with a detail, or why not. Starts nothing that stays.
    ///
    /// # Errors
    /// The reason, and the fix.
    fn probe(&self) -> Result<String, Refusal>;

    /// Makes an output and starts the application on it.
    ///
    /// # Errors
    /// See [`DisplayError`]; nothing is left behind then. Any of them once
    /// [`DisplayRequest::cancel`] is asked, whatever the compositor does.
    fn create(&self, request: &DisplayRequest) -> Result<Box<dyn VirtualDisplay>, DisplayError>;
}

/// A living output. Dropping it removes the output and everything that was started for it,
/// within a second.
pub trait VirtualDisplay: Send {
    /// Where to capture it, or `None` for a display that is its own source (synthetic).
    fn address(&self) -> Option<&OutputAddress>;

    /// Its pointer, if it is its own source: whoever injects and captures uses it. `None` where a
    /// compositor has it.
    fn pointer(&self) -> Option<&SyntheticPointer> {
        None
    }

    /// The mode that it really has.
    fn mode(&self) -> Mode;

    /// Gives it another mode; the application goes on and is told by its compositor. On return
    /// the output has the mode.
    ///
    /// # Errors
    /// [`DisplayError::Refused`]; it has the mode of before then, as far as the compositor obeys.
    fn set_mode(&mut self, mode: Mode) -> Result<(), DisplayError>;

    /// Is it still there? Cheap; asked once a second and after a capture error.
    ///
    /// # Errors
    /// [`DisplayError::Gone`], with the compositor's last words.
    fn check(&mut self) -> Result<(), DisplayError>;

    /// What became of the application, which the display outlives.
    fn app(&mut self) -> AppState;
}

/// What became of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppState {
    /// None was asked for, or the display runs none.
    None,
    /// It runs.
    Running,
    /// It has ended.
    Ended {
        /// With exit status 0.
        success: bool,
        /// Exit status and last words.
        epitaph: String,
        /// How long after its start that was seen.
        after: Duration,
    },
}

/// Kinds of display that are used only where they are asked for by name: they show what the user
/// has on the screen, or nothing real.
pub const UNASKED: [&str; 3] = ["mirror", "portal", "synthetic"];

/// All kinds of display, best first: the desktop that this process runs in, if it is one, else
/// one of our own. Those of [`UNASKED`] come last.
#[must_use]
pub fn candidates() -> Vec<Box<dyn DisplayBackend>> {
    candidates_for(None)
}

/// The same where a kind is wanted by name, with the output to use after a colon if it is to be
/// one that exists: `mirror:DP-1`.
#[must_use]
pub fn candidates_for(wanted: Option<&str>) -> Vec<Box<dyn DisplayBackend>> {
    let output = wanted.and_then(|wanted| wanted.split_once(':'));
    let output_for = |kind: &str| {
        let output = output.filter(|(named, _)| *named == kind);
        output.map(|(_, output)| output.to_owned())
    };
    vec![
        Box::new(running_sway::RunningSway::from_environment()),
        Box::new(kwin::Kwin::from_environment()),
        Box::new(mutter::Mutter::from_environment()),
        Box::new(hyprland::Hyprland::from_environment()),
        Box::new(wlr_output::WlrOutput::from_environment(output_for(
            "wlroots",
        ))),
        Box::new(private_sway::PrivateSway),
        Box::new(gamescope::Gamescope::default()),
        Box::new(mirror::Mirror::from_environment(output_for("mirror"))),
        Box::new(portal::Portal::from_environment()),
        Box::new(synthetic::Synthetic),
    ]
}

/// The Wayland socket that the environment names, absolute: as libwayland does it, a relative name
/// lies in the runtime directory.
pub(crate) fn wayland_socket_from_environment() -> Option<PathBuf> {
    let path = |name: &str| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let name = path("WAYLAND_DISPLAY")?;
    if name.is_absolute() {
        Some(name)
    } else {
        Some(path("XDG_RUNTIME_DIR")?.join(name))
    }
}
