//! Sound of a session: what its applications play, and nobody else's.
//!
//! A backend gives each session a sink of its own and lets the session hear what is played into
//! it. Samples are 32-bit floats at 48 kHz, interleaved in the order of
//! [`Speakers::positions`]. Times are of [`net::clock`].
//!
//! Sound never holds up anything else: where there is none, or none yet, [`AudioSource::read`]
//! says so in time and the session sends silence.

mod daemon;
pub mod microphone;
mod pipewire;
pub mod recorder;
mod ring;
pub mod synthetic;

use std::time::Duration;

use net::audio::Speakers;
use net::units::Timestamp;

use crate::select::Refusal;

pub use pipewire::PipeWire;

/// What a session wants to hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioRequest {
    /// Its channels.
    pub speakers: Speakers,
    /// The machine's own speakers play it, too.
    pub heard_here: bool,
}

/// A source could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// Its thread could not be started.
    #[error("the thread for sound cannot be started: {0}")]
    Thread(std::io::Error),
    /// The library is missing.
    #[error(transparent)]
    Link(#[from] crate::pipewire_link::LinkError),
}

/// What a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioCapabilities {
    /// The backend's name.
    pub backend: &'static str,
    /// Its channels.
    pub speakers: Speakers,
    /// What an application's environment must say so that it plays into this source.
    pub environment: Vec<(&'static str, String)>,
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The buffer is full of sound, whose first sample was played at this time.
    Sound(Timestamp),
    /// Nothing has come in time; the buffer is as it was.
    Nothing,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AudioCounts {
    /// Samples of one channel that nobody took in time, so that newer ones took their place.
    pub dropped: u64,
    /// Times that the sound server was reached.
    pub connected: u64,
}

/// One session's sound. Dropping it removes the sink and everything else that was made for it.
pub trait AudioSource: Send {
    /// What it is.
    fn capabilities(&self) -> &AudioCapabilities;

    /// Fills `out`, a whole number of samples of each channel and at most 20 ms, with the sound
    /// that comes next. Waits at most `patience`.
    fn read(&mut self, out: &mut [f32], patience: Duration) -> Heard;

    /// Drops what has come and was not read: it is late.
    fn skip(&mut self);

    /// Counts since the start.
    fn counts(&self) -> AudioCounts;
}

/// A kind of source.
pub trait AudioBackend: Send + Sync {
    /// Name for logs, `doctor` and `--audio`.
    fn name(&self) -> &'static str;

    /// Can it work here? Ready with a detail, or why not.
    ///
    /// # Errors
    /// The reason, and the fix.
    fn probe(&self) -> Result<String, Refusal>;

    /// Opens a source. Where the sound server cannot be reached, the source tries again by
    /// itself, and nothing is heard until then.
    ///
    /// # Errors
    /// See [`AudioError`].
    fn open(&self, request: &AudioRequest) -> Result<Box<dyn AudioSource>, AudioError>;
}

/// All kinds, best first. The synthetic one comes last, and only by its name.
#[must_use]
pub fn candidates() -> Vec<Box<dyn AudioBackend>> {
    vec![Box::new(PipeWire), Box::new(synthetic::Tone)]
}
