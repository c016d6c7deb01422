//! What the two sway backends share: custom modes and their verification.

use std::time::{Duration, Instant};

use net::units::Mode;

use super::DisplayError;
use super::sway_ipc::{IpcMode, IpcOutput, SwayIpc};

/// How often sway is asked again while an output takes its mode.
const ASK_INTERVAL: Duration = Duration::from_millis(2);
/// For an output to take a mode: sway does it with the next commit, milliseconds away.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(2);

/// The mode in the words of sway-output(5): `1920x1080@60.000Hz`.
pub(crate) fn custom_mode(mode: Mode) -> String {
    let millihz = mode.refresh().get();
    format!(
        "{}x{}@{}.{:03}Hz",
        mode.width(),
        mode.height(),
        millihz / 1000,
        millihz % 1000
    )
}

/// Gives an output another mode while it is in use; returns the mode that it has then.
///
/// # Errors
/// [`DisplayError::Refused`]; the mode of `before` was asked for again.
pub(crate) fn change_mode(
    ipc: &mut SwayIpc,
    output: &str,
    before: Mode,
    wanted: Mode,
) -> Result<Mode, DisplayError> {
    let command = |mode: Mode| {
        let mode = custom_mode(mode);
        format!("output {output} enable mode --custom {mode} scale 1")
    };
    let changed = ipc
        .run(&command(wanted))
        .map_err(|error| error.to_string())
        .and_then(|()| await_mode(ipc, output, wanted, Instant::now() + CHANGE_TIMEOUT));
    changed.map_err(|reason| {
        if before != wanted
            && let Err(error) = ipc.run(&command(before))
        {
            log::warn!("output {output} may not have {before} any more: {error}");
        }
        DisplayError::Refused {
            compositor: "sway",
            request: format!("the mode {wanted}"),
            reason,
        }
    })
}

/// Asks until `output` has exactly the size and rate wanted; returns the mode it has. Sway reads
/// the rate into a float, so it may be 1 mHz off.
///
/// # Errors
/// What is the case instead, at the deadline.
pub(crate) fn await_mode(
    ipc: &mut SwayIpc,
    output: &str,
    wanted: Mode,
    deadline: Instant,
) -> Result<Mode, String> {
    loop {
        let outputs = ipc.outputs().map_err(|error| error.to_string())?;
        let found = outputs.iter().find(|candidate| candidate.name == output);
        let current = found
            .filter(|output| output.active)
            .and_then(|output| output.current_mode);
        if let Some(mode) = current.and_then(|current| matches(current, wanted)) {
            return Ok(mode);
        }
        if Instant::now() >= deadline {
            return Err(match current {
                Some(IpcMode {
                    width,
                    height,
                    refresh,
                }) => format!(
                    "output {output} has {width}x{height} at {refresh} mHz instead of {wanted}"
                ),
                None => format!("output {output} did not become active"),
            });
        }
        std::thread::park_timeout(ASK_INTERVAL);
    }
}

/// Asks until there is an output that was not there `before`; returns its name.
///
/// # Errors
/// What is the case instead, at the deadline.
pub(crate) fn await_output(
    ipc: &mut SwayIpc,
    before: &[IpcOutput],
    deadline: Instant,
) -> Result<String, String> {
    loop {
        let outputs = ipc.outputs().map_err(|error| error.to_string())?;
        let known = |name: &str| before.iter().any(|output| output.name == name);
        if let Some(output) = outputs.into_iter().find(|output| !known(&output.name)) {
            return Ok(output.name);
        }
        if Instant::now() >= deadline {
            return Err("no new output appeared".to_owned());
        }
        std::thread::park_timeout(ASK_INTERVAL);
    }
}

fn matches(current: IpcMode, wanted: Mode) -> Option<Mode> {
    let mode = Mode::new(current.width, current.height, current.refresh).ok()?;
    let same_size = mode.width() == wanted.width() && mode.height() == wanted.height();
    let off_millihz = mode.refresh().get().abs_diff(wanted.refresh().get());
    (same_size && off_millihz <= 1).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_in_sways_words() {
        let mode: Mode = "1366x768@59.94".parse().expect("valid");
        assert_eq!(custom_mode(mode), "1366x768@59.940Hz");
    }

    #[test]
    fn only_the_wanted_mode_matches() {
        let wanted: Mode = "1280x720@60".parse().expect("valid");
        let at = |width, refresh| {
            matches(
                IpcMode {
                    width,
                    height: 720,
                    refresh,
                },
                wanted,
            )
        };
        assert_eq!(at(1280, 60_000), Some(wanted));
        assert!(at(1280, 59_999).is_some());
        assert_eq!(at(1280, 50_000), None);
        assert_eq!(at(1920, 60_000), None);
    }
}
