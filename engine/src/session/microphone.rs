//! The microphone of a session.

use std::sync::Arc;

use platform::audio::microphone::Microphone;

use super::{Backends, SessionRequest};
use crate::metrics::SessionMetrics;
use crate::stage::microphone::MicrophoneThread;

/// A source of the session's own, if its client is to speak. Without one the session goes
/// on; the log says why.
pub(super) fn open(request: &SessionRequest, backends: &Backends) -> Option<Box<dyn Microphone>> {
    let backend = backends.microphone.as_ref();
    let opened = backend.filter(|_| request.microphone)?.open();
    opened
        .inspect_err(|error| log::warn!("the session has no microphone: {error}"))
        .ok()
}

/// The thread that plays into it.
pub(super) fn start(
    microphone: Box<dyn Microphone>,
    metrics: &Arc<SessionMetrics>,
) -> Option<MicrophoneThread> {
    MicrophoneThread::spawn(microphone, Arc::clone(metrics))
        .inspect_err(|error| log::warn!("the session has no microphone: {error}"))
        .ok()
}
