//! The clipboard of a session's display.

use std::sync::Arc;

use platform::display::VirtualDisplay;

use super::{SessionEvent, SessionRequest};
use crate::stage::clipboard::ClipboardThread;

/// Opens it, if the session is to share it. A display whose compositor has none is shown all the
/// same; the log says why.
pub(super) fn open(
    request: &SessionRequest,
    display: &dyn VirtualDisplay,
    on_event: &Arc<dyn Fn(SessionEvent) + Send + Sync>,
) -> Option<ClipboardThread> {
    if !request.clipboard {
        return None;
    }
    let (clipboard, answers) = platform::clipboard::open(display.address());
    let Some(clipboard) = clipboard else {
        for answer in answers {
            if let Err(refusal) = answer.result {
                log::warn!("no clipboard is shared: {}: {refusal}", answer.name);
            }
        }
        return None;
    };
    log::info!("clipboard: using {}", clipboard.name());
    let on_event = Arc::clone(on_event);
    let on_copied = Box::new(move |_: &_| on_event(SessionEvent::Copied));
    ClipboardThread::spawn(clipboard, on_copied)
        .inspect_err(|error| log::warn!("no clipboard is shared, it has no thread: {error}"))
        .ok()
}
