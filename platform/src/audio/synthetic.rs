//! A source that needs no sound server: a sine for each channel, as steady as the clock.

use std::time::Duration;

use net::audio::SAMPLE_RATE;
use net::clock;
use net::units::Timestamp;

use super::Heard;
use super::{AudioBackend, AudioCapabilities, AudioCounts, AudioError, AudioRequest, AudioSource};
use crate::select::Refusal;
use crate::thread;

/// The backend's name.
pub const NAME: &str = "synthetic";
/// Pitch of the first channel, Hz: no whole number of periods fits a packet of 5 or 10 ms, so a
/// packet that is lost or repeated is heard.
pub const PITCH_HZ: f64 = 997.0;
/// Each channel's pitch lies so far above the one before, Hz.
pub const PITCH_STEP_HZ: f64 = 400.0;
/// Largest sample: 12 dB below full scale.
pub const AMPLITUDE: f32 = 0.25;
/// Farther behind than this the reader has slept, and what it missed is dropped.
const BEHIND_MAX: Duration = Duration::from_millis(100);

/// Pitch of a channel, Hz.
#[must_use]
pub fn pitch_hz(channel: usize) -> f64 {
    PITCH_HZ + PITCH_STEP_HZ * channel as f64
}

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tone;

impl AudioBackend for Tone {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<String, Refusal> {
        Ok(format!("a tone of {PITCH_HZ} Hz"))
    }

    fn open(&self, request: &AudioRequest) -> Result<Box<dyn AudioSource>, AudioError> {
        Ok(Box::new(Source {
            capabilities: AudioCapabilities {
                backend: self.name(),
                speakers: request.speakers,
                environment: Vec::new(),
            },
            begun: clock::now(),
            read: 0,
            counts: AudioCounts {
                connected: 1,
                ..AudioCounts::default()
            },
        }))
    }
}

struct Source {
    capabilities: AudioCapabilities,
    begun: Timestamp,
    /// Samples of each channel since `begun`.
    read: u64,
    counts: AudioCounts,
}

impl Source {
    /// When sample `index` is played.
    fn time_of(&self, index: u64) -> Timestamp {
        self.begun + Duration::from_nanos(index * 1_000_000_000 / u64::from(SAMPLE_RATE))
    }

    fn played_by(&self, now: Timestamp) -> u64 {
        let ns = now.since(self.begun).as_nanos() as u64;
        ns / 1000 * u64::from(SAMPLE_RATE) / 1_000_000
    }

    fn drop_until(&mut self, index: u64) {
        self.counts.dropped += index.saturating_sub(self.read);
        self.read = self.read.max(index);
    }
}

impl AudioSource for Source {
    fn capabilities(&self) -> &AudioCapabilities {
        &self.capabilities
    }

    fn read(&mut self, out: &mut [f32], patience: Duration) -> Heard {
        let channels = self.capabilities.speakers.channels();
        let samples = (out.len() / channels) as u64;
        let now = clock::now();
        if now.since(self.time_of(self.read)) > BEHIND_MAX {
            let late = self.played_by(now - BEHIND_MAX);
            self.drop_until(late);
        }
        let complete = self.time_of(self.read + samples);
        if complete > now + patience {
            thread::wait_until(now + patience);
            return Heard::Nothing;
        }
        thread::wait_until(complete);
        for (index, frame) in (self.read..).zip(out.chunks_exact_mut(channels)) {
            let seconds = index as f64 / f64::from(SAMPLE_RATE);
            for (channel, sample) in frame.iter_mut().enumerate() {
                let phase = (pitch_hz(channel) * seconds).fract() * std::f64::consts::TAU;
                *sample = AMPLITUDE * phase.sin() as f32;
            }
        }
        let captured = self.time_of(self.read);
        self.read += samples;
        Heard::Sound(captured)
    }

    fn skip(&mut self) {
        let now = self.played_by(clock::now());
        self.drop_until(now);
    }

    fn counts(&self) -> AudioCounts {
        self.counts
    }
}
