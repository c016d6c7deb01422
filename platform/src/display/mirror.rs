//! `mirror`: a monitor that the user has, by direct capture, where the compositor gives pictures of
//! its outputs to ordinary clients (the wlroots family). Nothing is made, nothing is changed, and
//! nothing is removed at the end: the picture has the monitor's mode, and another is refused.
//!
//! `--desktop mirror:DP-1` names the monitor; without a name it is the compositor's first. On other
//! desktops the portal does it ([`super::portal`]).

use std::path::{Path, PathBuf};

use net::units::Mode;

use super::cancel::Cancel;
use super::tenant::Tenant;
use super::{
    AppState, DisplayBackend, DisplayError, DisplayRequest, OutputAddress, VirtualDisplay,
    WaylandOutput,
};
use crate::capture::link::{Link, NamedOutput};
use crate::capture::{CaptureBackend, CaptureError, ext_image_copy, screencopy};
use crate::select::Refusal;

const NAME: &str = "mirror";
/// A monitor that tells no rate.
const REFRESH_MILLIHZ: u32 = 60_000;

/// Shows a monitor of the running compositor.
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    /// The compositor's Wayland socket, absolute.
    pub wayland_socket: Option<PathBuf>,
    /// The monitor's name; `None` for the first.
    pub output: Option<String>,
}

impl Mirror {
    /// Of the compositor that `WAYLAND_DISPLAY` points to, if any.
    #[must_use]
    pub fn from_environment(output: Option<String>) -> Self {
        Self {
            wayland_socket: super::wayland_socket_from_environment(),
            output,
        }
    }

    fn find(&self, cancel: &Cancel) -> Result<Found, Refusal> {
        let socket = self.wayland_socket.as_ref().ok_or_else(|| {
            let inside = "start punktfunk inside a desktop session to mirror it";
            Refusal::new("WAYLAND_DISPLAY is not set", inside)
        })?;
        let refuse = |error: CaptureError| Refusal::new(error.to_string(), "");
        let mut link = Link::connect_unless(socket, Look, cancel).map_err(refuse)?;
        let outputs = link.named_outputs().map_err(refuse)?;
        let output = choose(&outputs, self.output.as_deref())?;
        // From here on its end is noticed.
        link.find_output(&output.name).map_err(refuse)?;
        let mode = mode_of(output).ok_or_else(|| {
            Refusal::new(
                format!("{} has no mode that can be streamed", output.name),
                "",
            )
        })?;
        let wayland = WaylandOutput {
            wayland_socket: socket.clone(),
            output: output.name.clone(),
        };
        Ok(Found {
            link,
            wayland,
            mode,
        })
    }
}

/// What is known of a compositor here: nothing beside its outputs.
struct Look;

struct Found {
    link: Link<Look>,
    wayland: WaylandOutput,
    mode: Mode,
}

impl DisplayBackend for Mirror {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<String, Refusal> {
        let found = self.find(&Cancel::default())?;
        let address = OutputAddress::from(found.wayland);
        let ways: [&dyn CaptureBackend; 2] = [
            &ext_image_copy::ExtImageCopyBackend,
            &screencopy::ScreencopyBackend,
        ];
        if ways.iter().all(|way| way.probe(&address).is_err()) {
            let portal = "use --desktop portal, which asks the desktop's user";
            return Err(Refusal::new(
                "this compositor gives its pictures to no ordinary client",
                portal,
            ));
        }
        let output = &address.wayland.as_ref().expect("made of one").output;
        Ok(format!("{output} at {}", found.mode))
    }

    fn create(&self, request: &DisplayRequest) -> Result<Box<dyn VirtualDisplay>, DisplayError> {
        let found = self.find(&request.cancel);
        let mut found = found.map_err(|refusal| DisplayError::Start {
            compositor: NAME,
            reason: refusal.to_string(),
        })?;
        found.link.shield();
        let mut display = MirrorDisplay {
            tenant: Tenant::new(NAME, &[])?,
            output: found.wayland.output.clone(),
            address: found.wayland.into(),
            link: found.link,
            mode: found.mode,
        };
        log::info!("{NAME}: {} at {}", display.output, display.mode);
        let socket = self.wayland_socket.as_deref();
        display.tenant.start(request, socket)?;
        Ok(Box::new(display))
    }
}

/// A monitor of the user's, which stays as it is.
struct MirrorDisplay {
    tenant: Tenant,
    link: Link<Look>,
    output: String,
    address: OutputAddress,
    mode: Mode,
}

impl VirtualDisplay for MirrorDisplay {
    fn address(&self) -> Option<&OutputAddress> {
        Some(&self.address)
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn set_mode(&mut self, mode: Mode) -> Result<(), DisplayError> {
        keep_mode(NAME, self.mode, mode)
    }

    fn check(&mut self) -> Result<(), DisplayError> {
        // Said to the log when it has ended.
        self.tenant.app();
        let gone = |reason: String| DisplayError::Gone {
            compositor: "the compositor",
            reason,
        };
        let answered = self.link.round_trip();
        answered.map_err(|error| gone(error.to_string()))?;
        match self.link.output_lost() {
            true => Err(gone(format!("{} was removed", self.output))),
            false => Ok(()),
        }
    }

    fn app(&mut self) -> AppState {
        self.tenant.app()
    }
}

/// What a display whose monitor is somebody's says to a wish for another mode.
///
/// # Errors
/// [`DisplayError::Refused`], unless it has that mode.
pub(super) fn keep_mode(kind: &'static str, has: Mode, wanted: Mode) -> Result<(), DisplayError> {
    if wanted == has {
        return Ok(());
    }
    Err(DisplayError::Refused {
        compositor: kind,
        request: format!("the mode {wanted}"),
        reason: format!("a monitor that is mirrored stays as it is, at {has}"),
    })
}

/// The output of the compositor at `socket` that lies there, or the only one of that size.
///
/// # Errors
/// [`CaptureError`]; there is none, or more than one, or it cannot be asked.
pub(super) fn output_at(
    socket: &Path,
    position: Option<(i32, i32)>,
    size: Option<(i32, i32)>,
) -> Result<WaylandOutput, CaptureError> {
    let mut link = Link::connect_unless(socket, Look, &Cancel::default())?;
    let outputs = link.named_outputs()?;
    let fits = |output: &&NamedOutput| {
        let area = output.area;
        let is_there = position.is_none_or(|position| (area.x, area.y) == position);
        let in_pixels = output.mode.map(|(width, height, _)| (width, height));
        let is_so_large = size == Some((area.width, area.height)) || size == in_pixels;
        is_there && is_so_large
    };
    let mut fitting = outputs.iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(output), None) => Ok(WaylandOutput {
            wayland_socket: socket.to_owned(),
            output: output.name.clone(),
        }),
        _ => Err(CaptureError::NoOutput {
            output: "that can only be the one that is shown".to_owned(),
        }),
    }
}

fn choose<'a>(outputs: &'a [NamedOutput], named: Option<&str>) -> Result<&'a NamedOutput, Refusal> {
    let found = match named {
        Some(name) => outputs.iter().find(|output| output.name == name),
        None => outputs.first(),
    };
    found.ok_or_else(|| {
        let names: Vec<_> = outputs.iter().map(|output| output.name.as_str()).collect();
        Refusal::new(
            format!("the compositor has no output {}", named.unwrap_or("at all")),
            match names.is_empty() {
                true => String::new(),
                false => format!("name one of {}", names.join(", ")),
            },
        )
    })
}

/// The current mode, if a stream can have it.
fn mode_of(output: &NamedOutput) -> Option<Mode> {
    let (width, height, refresh) = output.mode?;
    let refresh = match u32::try_from(refresh).ok()? {
        0 => REFRESH_MILLIHZ,
        told => told,
    };
    let (width, height) = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    Mode::new(width, height, refresh).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(name: &str, mode: Option<(i32, i32, i32)>) -> NamedOutput {
        NamedOutput {
            name: name.into(),
            area: crate::capture::link::Area::default(),
            mode,
        }
    }

    #[test]
    fn the_named_output_or_the_first_is_taken_and_others_are_named() {
        let outputs = [output("DP-1", None), output("DP-2", None)];
        assert_eq!(choose(&outputs, None).expect("first").name, "DP-1");
        assert_eq!(choose(&outputs, Some("DP-2")).expect("named").name, "DP-2");
        let refusal = choose(&outputs, Some("HDMI-A-1")).expect_err("not there");
        assert!(refusal.fix.contains("DP-1, DP-2"), "{refusal}");
        assert!(choose(&[], None).is_err());
    }

    #[test]
    fn a_monitor_without_a_rate_has_60_hz() {
        let mode = mode_of(&output("a", Some((1280, 720, 0)))).expect("a mode");
        assert_eq!(mode.to_string(), "1280x720@60");
        assert!(mode_of(&output("a", Some((-1, 720, 60_000)))).is_none());
        assert!(mode_of(&output("a", None)).is_none());
    }
}
