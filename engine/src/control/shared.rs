//! What reaches beyond pictures, sound and input, and is shared only where the host's operator says
//! so, the client has the right, and there is something to share: clipboard and microphone.

use net::native::{Features, HostSession, HostState, Refuse, RefuseCode};
use net::units::Timestamp;

use crate::config::HostConfig;
use crate::session::{Backends, Shared};
use crate::trust::rights::Rights;

/// What the host lets this client ask for, of `offered`.
pub(super) fn offered(
    offered: Features,
    config: &HostConfig,
    rights: &Rights,
    backends: &Backends,
) -> Features {
    let clipboard = config.clipboard && rights.clipboard;
    let microphone = config.microphone && rights.microphone && backends.microphone.is_some();
    [
        (clipboard, Features::CLIPBOARD),
        (microphone, Features::MICROPHONE),
    ]
    .into_iter()
    .filter(|(is_shared, _)| !is_shared)
    .fold(offered, |offered, (_, feature)| offered.without(feature))
}

/// The session stands, and shares `shared`: what becomes of `agreed`.
///
/// # Errors
/// The refusal, if the client goes nowhere without what is missing.
pub(super) fn settle(
    agreed: &mut Features,
    required: Features,
    shared: &Shared,
) -> Result<(), Refuse> {
    for (is_there, feature, text) in [
        (
            shared.clipboard.is_some(),
            Features::CLIPBOARD,
            "the host's display has no clipboard",
        ),
        (
            shared.microphone.is_some(),
            Features::MICROPHONE,
            "the host can make no microphone",
        ),
    ] {
        if is_there {
            continue;
        }
        if required.common(*agreed).contains(feature) {
            return Err(Refuse {
                code: RefuseCode::Feature,
                text: format!("{text}, which the client requires"),
            });
        }
        *agreed = agreed.without(feature);
    }
    Ok(())
}

/// Tells the client what was copied on the display.
pub(super) fn pass_on(now: Timestamp, machine: &mut HostSession, shared: &Shared) {
    if machine.state() == HostState::Streaming
        && let Some(clipboard) = &shared.clipboard
        && let Some(text) = clipboard.poll_copied()
        && let Err(error) = machine.set_clipboard(now, text)
    {
        log::info!("{error}");
    }
}

/// The client has copied a text.
pub(super) fn put(shared: &Shared, text: String) {
    if let Some(clipboard) = &shared.clipboard {
        clipboard.put(text);
    }
}

/// A datagram of the client's microphone. Before Start nothing is taken.
pub(super) fn hear(machine: &HostSession, shared: &Shared, datagram: &[u8]) {
    if machine.state() == HostState::Streaming
        && let Some(microphone) = &shared.microphone
    {
        microphone.push(datagram);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_left_out_or_refused() {
        let none = Shared::default();
        let settled = |mut agreed, required| settle(&mut agreed, required, &none).map(|()| agreed);
        let all = Features::AUDIO
            .union(Features::CLIPBOARD)
            .union(Features::MICROPHONE);
        assert_eq!(settled(all, Features::AUDIO), Ok(Features::AUDIO));
        for required in [Features::CLIPBOARD, Features::MICROPHONE] {
            let refused = settled(all, required).expect_err("it is missing");
            assert_eq!(refused.code, RefuseCode::Feature);
        }
    }
}
