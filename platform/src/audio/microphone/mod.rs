//! A session's microphone: a source on the host that gives what the client sends, to the session's
//! own applications.
//!
//! Samples are 32-bit floats at 48 kHz, one channel. Whoever writes never waits: applications take
//! what there is, and hear silence where there is nothing.

mod fifo;
mod pipewire;

use crate::select::Refusal;

use super::AudioError;

pub use pipewire::PipeWireMicrophone;

/// One session's microphone. Dropping it removes the source.
pub trait Microphone: Send {
    /// What an application's environment must say so that it listens to this source.
    fn environment(&self) -> Vec<(&'static str, String)>;

    /// What comes next; never waits.
    fn write(&mut self, samples: &[f32]);

    /// Samples that no application took in time, so that newer ones took their place.
    fn dropped(&self) -> u64;
}

/// A kind of microphone.
pub trait MicrophoneBackend: Send + Sync {
    /// Name for logs and `doctor`.
    fn name(&self) -> &'static str;

    /// Can it work here? Ready with a detail, or why not.
    ///
    /// # Errors
    /// The reason, and the fix.
    fn probe(&self) -> Result<String, Refusal>;

    /// Makes a source. Where the sound server cannot be reached it is made later, by itself.
    ///
    /// # Errors
    /// See [`AudioError`].
    fn open(&self) -> Result<Box<dyn Microphone>, AudioError>;
}

/// All kinds, best first.
#[must_use]
pub fn candidates() -> Vec<Box<dyn MicrophoneBackend>> {
    vec![Box::new(PipeWireMicrophone)]
}
