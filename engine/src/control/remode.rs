//! A native client's requests for other modes: between its control machine, which decides what is
//! worked on ([`net::native::modes`]), and its session.

use net::native::HostSession;
use net::units::{FrameId, Mode, Timestamp};

use super::steer::Steer;
use crate::host::Registry;
use crate::session::{Session, SessionCommand, SessionError};

/// The machine wants the session to change its mode.
pub(super) fn begin(
    now: Timestamp,
    machine: &mut HostSession,
    session: Option<&Session>,
    mode: Mode,
) {
    let taken = session.is_some_and(|session| session.command(SessionCommand::ChangeMode(mode)));
    if !taken {
        let text = "the session is busy; ask again".to_owned();
        machine.mode_changed(now, Err(text));
    }
}

/// The session has changed its mode, or says why not.
pub(super) fn settle(
    now: Timestamp,
    machine: &mut HostSession,
    steer: Option<&mut Steer>,
    (registry, number): (&Registry, u64),
    result: Result<(Mode, FrameId), SessionError>,
) {
    if let Ok((mode, first)) = &result {
        log::info!("session {number}: {mode} from {first} on");
        registry.set_mode(number, *mode);
        if let Some(steer) = steer {
            steer.change_mode(mode.refresh().interval());
        }
    }
    machine.mode_changed(now, result.map_err(|error| error.to_string()));
}
