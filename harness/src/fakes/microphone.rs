//! Microphones that keep what they are given.

use std::sync::{Arc, Mutex, PoisonError};

use platform::audio::AudioError;
use platform::audio::microphone::{Microphone, MicrophoneBackend};
use platform::select::Refusal;

/// The backend.
pub struct FakeMicrophones(MicrophonesRemote);

/// What was heard, for the test: the microphones in the order in which they were opened. Clones are
/// the same.
#[derive(Clone, Default)]
pub struct MicrophonesRemote(Arc<Mutex<Vec<Vec<f32>>>>);

struct Kept {
    remote: MicrophonesRemote,
    number: usize,
}

impl FakeMicrophones {
    /// The backend, and its remote control.
    #[must_use]
    pub fn new() -> (Self, MicrophonesRemote) {
        let remote = MicrophonesRemote::default();
        (Self(remote.clone()), remote)
    }
}

impl MicrophonesRemote {
    /// Samples that each has been given so far.
    #[must_use]
    pub fn heard(&self) -> Vec<Vec<f32>> {
        self.with(|all| all.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Vec<Vec<f32>>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl MicrophoneBackend for FakeMicrophones {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn probe(&self) -> Result<String, Refusal> {
        Ok("keeps what it is given".to_owned())
    }

    fn open(&self) -> Result<Box<dyn Microphone>, AudioError> {
        let number = self.0.with(|all| {
            all.push(Vec::new());
            all.len() - 1
        });
        Ok(Box::new(Kept {
            remote: self.0.clone(),
            number,
        }))
    }
}

impl Microphone for Kept {
    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("PULSE_SOURCE", format!("fake-{}", self.number))]
    }

    fn write(&mut self, samples: &[f32]) {
        self.remote
            .with(|all| all[self.number].extend_from_slice(samples));
    }

    fn dropped(&self) -> u64 {
        0
    }
}
