//! A peer's clipboard: between its control machine and its session's display.

use net::native::{Features, HostSession, HostState, Refuse, RefuseCode};
use net::units::Timestamp;

use crate::config::HostConfig;
use crate::stage::clipboard::ClipboardQueue;
use crate::trust::rights::Rights;

/// What the host lets this client ask for, of `offered`.
pub(super) fn offered(offered: Features, config: &HostConfig, rights: &Rights) -> Features {
    if config.clipboard && rights.clipboard {
        offered
    } else {
        offered.without(Features::CLIPBOARD)
    }
}

/// The display stands: what becomes of `agreed` if it has no clipboard.
///
/// # Errors
/// The refusal, if the client goes nowhere without.
pub(super) fn settle(
    agreed: Features,
    required: Features,
    queue: Option<&ClipboardQueue>,
) -> Result<Features, Refuse> {
    if queue.is_some() || !agreed.contains(Features::CLIPBOARD) {
        return Ok(agreed);
    }
    if required.contains(Features::CLIPBOARD) {
        return Err(Refuse {
            code: RefuseCode::Feature,
            text: "the client requires a clipboard, and the host's display has none".to_owned(),
        });
    }
    Ok(agreed.without(Features::CLIPBOARD))
}

/// Tells the client what was copied on the display.
pub(super) fn pass_on(now: Timestamp, machine: &mut HostSession, queue: Option<&ClipboardQueue>) {
    if machine.state() == HostState::Streaming
        && let Some(text) = queue.and_then(ClipboardQueue::poll_copied)
        && let Err(error) = machine.set_clipboard(now, text)
    {
        log::info!("{error}");
    }
}
