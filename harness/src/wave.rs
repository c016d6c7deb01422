//! Sound in files: a tone to be played, and what is in one that was heard.

use std::f64::consts::TAU;
use std::fs;
use std::path::Path;

/// Samples a second of every file here.
const RATE: usize = 48_000;
/// Samples that are looked at together: 100 ms.
const WINDOW: usize = RATE / 10;
const HEADER_BYTES: usize = 44;

/// One channel of a file.
pub struct Heard {
    samples: Vec<f64>,
}

impl Heard {
    /// Channel `channel` of `channels` of a file of 16-bit samples at 48 kHz.
    ///
    /// # Panics
    /// If it cannot be read or is another kind of file.
    #[must_use]
    pub fn read(path: &Path, channels: usize, channel: usize) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (header, data) = bytes.split_at(HEADER_BYTES);
        assert_eq!(&header[..4], b"RIFF", "{} was not finished", path.display());
        assert_eq!(usize::from(header[22]), channels);
        Self::of(data, channels, channel)
    }

    /// The same of a file that is still being written, as far as it is there.
    #[must_use]
    pub fn so_far(path: &Path, channels: usize, channel: usize) -> Self {
        let bytes = fs::read(path).unwrap_or_default();
        Self::of(
            bytes.get(HEADER_BYTES..).unwrap_or_default(),
            channels,
            channel,
        )
    }

    /// Samples of one channel, at 48 kHz.
    #[must_use]
    pub fn of_floats(samples: &[f32]) -> Self {
        Self {
            samples: samples.iter().map(|it| f64::from(*it)).collect(),
        }
    }

    fn of(data: &[u8], channels: usize, channel: usize) -> Self {
        let samples = data.chunks_exact(2 * channels).map(|frame| {
            let bytes = [frame[2 * channel], frame[2 * channel + 1]];
            f64::from(i16::from_le_bytes(bytes)) / 32_768.0
        });
        Self {
            samples: samples.collect(),
        }
    }

    /// Which of `pitches_hz` each tenth of a second is, or `None` where it is none of them: silence,
    /// another, a mixture, or the moment in which something was lost.
    #[must_use]
    pub fn pitches(&self, pitches_hz: &[f64]) -> Vec<Option<f64>> {
        let windows = self.samples.chunks_exact(WINDOW);
        let pitch_of = |window: &[f64]| {
            let is = |pitch_hz: &&f64| share_at(window, **pitch_hz) > 0.9;
            pitches_hz.iter().find(is).copied()
        };
        windows.map(pitch_of).collect()
    }

    /// True for each tenth of a second in which there was nothing to be heard.
    #[must_use]
    pub fn silences(&self) -> Vec<bool> {
        let windows = self.samples.chunks_exact(WINDOW);
        windows
            .map(|window| window.iter().all(|sample| sample.abs() < 1e-3))
            .collect()
    }
}

/// Share of the samples' power at `hz`, 0 to 1: Goertzel's algorithm.
fn share_at(samples: &[f64], hz: f64) -> f64 {
    let omega = TAU * hz / RATE as f64;
    let (mut one, mut two) = (0.0, 0.0);
    for sample in samples {
        (two, one) = (one, sample + 2.0 * omega.cos() * one - two);
    }
    let power = one * one + two * two - 2.0 * omega.cos() * one * two;
    let total: f64 = samples.iter().map(|sample| sample * sample).sum();
    if total < 1e-3 {
        return 0.0;
    }
    power / (total * samples.len() as f64 / 2.0)
}

/// Writes a stereo file with a tone, a quarter of full scale.
///
/// # Panics
/// If it cannot be written.
pub fn write_tone(path: &Path, pitch_hz: f64, seconds: usize) {
    let data_bytes = (seconds * RATE * 4) as u32;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + data_bytes as usize);
    bytes.extend_from_slice(b"RIFF");
    bytes.extend_from_slice(&(data_bytes + 36).to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x02\0");
    bytes.extend_from_slice(&(RATE as u32).to_le_bytes());
    bytes.extend_from_slice(&(RATE as u32 * 4).to_le_bytes());
    bytes.extend_from_slice(b"\x04\0\x10\0data");
    bytes.extend_from_slice(&data_bytes.to_le_bytes());
    for index in 0..seconds * RATE {
        let sample = (8192.0 * (TAU * pitch_hz * index as f64 / RATE as f64).sin()) as i16;
        bytes.extend_from_slice(&sample.to_le_bytes());
        bytes.extend_from_slice(&sample.to_le_bytes());
    }
    fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
