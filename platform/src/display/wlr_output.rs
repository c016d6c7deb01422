//! `wlroots`: an output that the running compositor has, given the client's mode for the session
//! (`zwlr_output_manager_v1`) and its own again at the end. For compositors of the wlroots family
//! that let no client make outputs: labwc, wayfire, cage, river.
//!
//! Unasked only headless outputs are taken (`WLR_HEADLESS_OUTPUTS`), which nobody looks at, each by
//! one session; `--desktop wlroots:DP-1` takes that one, monitor or not. Where this process dies
//! without a farewell the guard puts the mode back by `wlr-randr`, if that is installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use net::units::Mode;

use super::cancel::Cancel;
use super::tenant::Tenant;
use super::wlr_heads::{HeadState, Heads, head_mode};
use super::{
    AppState, DisplayBackend, DisplayError, DisplayRequest, OutputAddress, VirtualDisplay,
    WaylandOutput,
};
use crate::select::Refusal;

const NAME: &str = "wlroots";
/// How wlroots calls outputs that nobody looks at.
const HEADLESS: &str = "HEADLESS-";

/// Takes outputs of a running compositor.
#[derive(Clone, Debug, Default)]
pub struct WlrOutput {
    /// Its Wayland socket, absolute.
    pub wayland_socket: Option<PathBuf>,
    /// The only output to take, by name; `None` for any headless one.
    pub output: Option<String>,
}

impl WlrOutput {
    /// Of the compositor that `WAYLAND_DISPLAY` points to, if any.
    #[must_use]
    pub fn from_environment(output: Option<String>) -> Self {
        Self {
            wayland_socket: super::wayland_socket_from_environment(),
            output,
        }
    }

    fn socket(&self) -> Result<&PathBuf, Refusal> {
        self.wayland_socket.as_ref().ok_or_else(|| {
            let inside = "start punktfunk inside the desktop session to use it";
            Refusal::new("WAYLAND_DISPLAY is not set", inside)
        })
    }

    fn heads(&self, cancel: &Cancel) -> Result<Heads, Refusal> {
        Heads::connect(self.socket()?, cancel).map_err(|error| {
            let family = "use a compositor of the wlroots family";
            Refusal::new(error.to_string(), family)
        })
    }
}

impl DisplayBackend for WlrOutput {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<String, Refusal> {
        let names = self.heads(&Cancel::default())?.names();
        let fitting = fitting(&names, self.output.as_deref());
        match fitting.first() {
            Some(name) => Ok(format!("its output {name}, {} in all", fitting.len())),
            None => Err(no_output(&names, self.output.as_deref())),
        }
    }

    fn create(&self, request: &DisplayRequest) -> Result<Box<dyn VirtualDisplay>, DisplayError> {
        let failed = |refusal: Refusal| DisplayError::Start {
            compositor: NAME,
            reason: refusal.to_string(),
        };
        let mut heads = self.heads(&request.cancel).map_err(failed)?;
        let socket = self.socket().map_err(failed)?;
        let names = heads.names();
        let taken = fitting(&names, self.output.as_deref())
            .into_iter()
            .find_map(|name| Taken::take(socket, name));
        let taken = taken.ok_or_else(|| failed(no_output(&names, self.output.as_deref())))?;
        let before = heads
            .state(&taken.output)
            .map_err(|error| failed(Refusal::new(error.to_string(), "")))?;
        let tenant = Tenant::new(NAME, &farewell(socket, &taken.output, &before))?;
        // From here on the output gets its own mode again, in its time.
        heads.shield();
        let mut display = TakenOutput {
            tenant,
            address: WaylandOutput {
                wayland_socket: socket.clone(),
                output: taken.output.clone(),
            }
            .into(),
            heads,
            before,
            taken,
            mode: request.mode,
        };
        display.configure(request.mode)?;
        log::info!("{NAME}: {} at {}", display.taken.output, display.mode);
        display.tenant.start(request, Some(socket))?;
        Ok(Box::new(display))
    }
}

/// Somebody's output, in a mode of ours.
struct TakenOutput {
    tenant: Tenant,
    heads: Heads,
    /// What it had, and gets again.
    before: HeadState,
    address: OutputAddress,
    mode: Mode,
    taken: Taken,
}

impl TakenOutput {
    fn configure(&mut self, mode: Mode) -> Result<(), DisplayError> {
        let wanted = HeadState {
            enabled: true,
            mode: Some(head_mode(mode)),
            scale: 1.0,
        };
        let done = self.heads.configure(&self.taken.output, &wanted);
        done.map_err(|reason| DisplayError::Refused {
            compositor: "the compositor",
            request: format!("the mode {mode} for {}", self.taken.output),
            reason,
        })?;
        self.mode = mode;
        Ok(())
    }
}

impl VirtualDisplay for TakenOutput {
    fn address(&self) -> Option<&OutputAddress> {
        Some(&self.address)
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn set_mode(&mut self, mode: Mode) -> Result<(), DisplayError> {
        // One that fails its test changes nothing.
        self.configure(mode)
    }

    fn check(&mut self) -> Result<(), DisplayError> {
        // Said to the log when it has ended.
        self.tenant.app();
        let gone = |reason: String| DisplayError::Gone {
            compositor: "the compositor",
            reason,
        };
        let state = self.heads.state(&self.taken.output);
        match state.map_err(|error| gone(error.to_string()))?.enabled {
            true => Ok(()),
            false => Err(gone(format!("{} was switched off", self.taken.output))),
        }
    }

    fn app(&mut self) -> AppState {
        self.tenant.app()
    }
}

impl Drop for TakenOutput {
    fn drop(&mut self) {
        self.tenant.end();
        if let Err(reason) = self.heads.configure(&self.taken.output, &self.before) {
            log::warn!("{NAME}: {} keeps its mode: {reason}", self.taken.output);
        }
    }
}

/// Outputs that sessions of this process have, with their compositor's socket.
static TAKEN: Mutex<Vec<(PathBuf, String)>> = Mutex::new(Vec::new());

/// One of them; given back when dropped.
#[derive(Debug)]
struct Taken {
    socket: PathBuf,
    output: String,
}

impl Taken {
    fn take(socket: &Path, output: &str) -> Option<Self> {
        let mut all = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let one = (socket.to_owned(), output.to_owned());
        if all.contains(&one) {
            return None;
        }
        all.push(one);
        Some(Self {
            socket: socket.to_owned(),
            output: output.to_owned(),
        })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut all = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(socket, output)| *socket != self.socket || *output != self.output);
    }
}

/// The outputs that may be taken.
fn fitting<'a>(names: &'a [String], wanted: Option<&str>) -> Vec<&'a str> {
    let fits = |name: &&str| match wanted {
        Some(wanted) => *name == wanted,
        None => name.starts_with(HEADLESS),
    };
    names.iter().map(String::as_str).filter(fits).collect()
}

fn no_output(names: &[String], wanted: Option<&str>) -> Refusal {
    let all = names.join(", ");
    match wanted {
        Some(name) if names.iter().any(|it| it == name) => Refusal::new(
            format!("another session has the output {name}"),
            "end that one",
        ),
        Some(name) => Refusal::new(
            format!("the compositor has no output {name}"),
            format!("name one of {all}"),
        ),
        None => Refusal::new(
            format!("no headless output of the compositor is free (it has {all})"),
            "name an output to take, --desktop wlroots:NAME, or start the compositor with \
             WLR_HEADLESS_OUTPUTS",
        ),
    }
}

/// What the guard does should this process die: the mode of before.
fn farewell(socket: &Path, output: &str, before: &HeadState) -> Vec<OsString> {
    let Some((width, height, refresh)) = before.mode.filter(|_| before.enabled) else {
        let script = r#"WAYLAND_DISPLAY=$0 timeout 2 wlr-randr --output "$1" --off"#;
        return vec![
            "sh".into(),
            "-c".into(),
            script.into(),
            socket.into(),
            output.into(),
        ];
    };
    let script = r#"for verb in --custom-mode --mode; do
        WAYLAND_DISPLAY=$0 timeout 2 wlr-randr --output "$1" "$verb" "$2" --scale "$3" && break
        done"#;
    let refresh = match refresh {
        0 => String::new(),
        rate => format!("@{}.{:03}Hz", rate / 1000, rate % 1000),
    };
    vec![
        "sh".into(),
        "-c".into(),
        script.into(),
        socket.into(),
        output.into(),
        format!("{width}x{height}{refresh}").into(),
        before.scale.to_string().into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monitor_is_never_taken_unasked() {
        let names = ["DP-1".to_owned(), "HEADLESS-1".to_owned()];
        assert_eq!(fitting(&names, None), ["HEADLESS-1"]);
        assert_eq!(fitting(&names, Some("DP-1")), ["DP-1"]);
        assert!(fitting(&names, Some("DP-2")).is_empty());
        assert!(no_output(&names, Some("DP-2")).reason.contains("DP-2"));
    }

    #[test]
    fn an_output_has_one_session() {
        let socket = Path::new("/nowhere/wayland-7");
        let first = Taken::take(socket, "HEADLESS-1").expect("free");
        assert!(Taken::take(socket, "HEADLESS-1").is_none());
        let other = Taken::take(socket, "HEADLESS-2").expect("free");
        drop(first);
        assert!(Taken::take(socket, "HEADLESS-1").is_some());
        drop(other);
    }
}
