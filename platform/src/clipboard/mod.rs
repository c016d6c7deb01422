//! A desktop's clipboard: the text that somebody copies there, and a text of ours to paste there.
//!
//! Text only, at most [`CLIPBOARD_BYTES_MAX`] of UTF-8; a desktop's other selection (what is merely
//! marked) is left alone. What its owner calls a secret (`x-kde-passwordManagerHint`, which password
//! managers set) is never read. Applications are asked and served by pipes that never wait: one that
//! does not go on within seconds gets nothing and holds up nobody.

mod data_control;
mod pipes;
pub mod synthetic;

use std::sync::Arc;
use std::time::Duration;

use net::limits::CLIPBOARD_BYTES_MAX;

use crate::capture::{CaptureError, Waker};
use crate::display::{
    OutputAddress, WaylandOutput, gamescope, mutter, private_sway, wayland_socket_from_environment,
};
use crate::select::{Answer, Refusal};

pub use data_control::DataControl;

/// A clipboard fails; it shares nothing from then on.
#[derive(Debug, thiserror::Error)]
pub enum ClipboardError {
    /// The compositor refused, went away or lacks a protocol.
    #[error("the clipboard of the compositor cannot be used: {0}")]
    Compositor(#[from] CaptureError),
    /// The system gave no descriptor.
    #[error("the clipboard cannot be used: {0}")]
    System(std::io::Error),
}

/// What a wait came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Somebody has copied this; never empty, and never what [`Clipboard::set`] has put there.
    Text(String),
    /// Nobody has in the time given.
    Nothing,
    /// Somebody called [`Waker::wake`].
    Woken,
}

/// An open clipboard, driven by one thread that is always in [`Clipboard::next`]: what is pasted is
/// handed out there.
pub trait Clipboard: Send {
    /// Name of the backend.
    fn name(&self) -> &'static str;

    /// Puts a text there, to be pasted. It stays until somebody copies something, or this is
    /// dropped. Longer ones than [`CLIPBOARD_BYTES_MAX`] and empty ones are left out.
    ///
    /// # Errors
    /// See [`ClipboardError`].
    fn set(&mut self, text: &str) -> Result<(), ClipboardError>;

    /// Waits for the next text, at most `timeout`. The first may be what was there before.
    ///
    /// # Errors
    /// See [`ClipboardError`].
    fn next(&mut self, timeout: Duration) -> Result<Copied, ClipboardError>;

    /// Wakes [`Clipboard::next`] from another thread.
    fn waker(&self) -> Arc<dyn Waker>;
}

/// A kind of clipboard, tried in order for a display.
pub trait ClipboardBackend: Send + Sync {
    /// Name for logs and `doctor`.
    fn name(&self) -> &'static str;

    /// Does it fit that display (`None`: one without a compositor)? Ready with a detail, or why
    /// not.
    ///
    /// # Errors
    /// The reason, and the fix.
    fn probe(&self, output: Option<&OutputAddress>) -> Result<String, Refusal>;

    /// Opens it.
    ///
    /// # Errors
    /// See [`ClipboardError`].
    fn open(&self, output: Option<&OutputAddress>) -> Result<Box<dyn Clipboard>, ClipboardError>;
}

/// Whether sessions on a kind of display, by its name, will have a clipboard to share: asked before
/// there is any, of the compositor that runs, or of what is known of the one that would.
///
/// # Errors
/// The reason, and the fix.
pub fn probe_display(display: &str) -> Result<String, Refusal> {
    let another = "use a compositor with data-control (--desktop private-sway)";
    match display {
        private_sway::NAME => Ok("by each session's own sway".to_owned()),
        gamescope::NAME | mutter::NAME => {
            let reason = format!("{display} lends its clipboard to nobody");
            Err(Refusal::new(reason, another))
        }
        _ => {
            let socket = wayland_socket_from_environment();
            let output = socket.map(|wayland_socket| {
                OutputAddress::from(WaylandOutput {
                    wayland_socket,
                    output: String::new(),
                })
            });
            let probed = DataControl.probe(output.as_ref());
            probed.map(|_| format!("by the {display} that runs"))
        }
    }
}

/// All kinds, best first.
#[must_use]
pub fn candidates() -> Vec<Box<dyn ClipboardBackend>> {
    vec![Box::new(DataControl), Box::new(synthetic::Synthetic)]
}

/// Opens the first kind that fits; without one, what each said.
#[must_use]
pub fn open(output: Option<&OutputAddress>) -> (Option<Box<dyn Clipboard>>, Vec<Answer>) {
    let mut answers = Vec::new();
    for backend in candidates() {
        let opened = backend
            .probe(output)
            .and_then(|_| {
                let opened = backend.open(output);
                opened.map_err(|error| Refusal::new(error.to_string(), ""))
            })
            .map(Some);
        let (clipboard, result) = match opened {
            Ok(clipboard) => (clipboard, Ok(String::new())),
            Err(refusal) => (None, Err(refusal)),
        };
        answers.push(Answer {
            kind: "clipboard",
            name: backend.name(),
            result,
        });
        if clipboard.is_some() {
            return (clipboard, answers);
        }
    }
    (None, answers)
}

/// A text that is worth sharing.
fn is_shared(text: &str) -> bool {
    (1..=CLIPBOARD_BYTES_MAX).contains(&text.len())
}
