//! What a client says: a tone or a file, as packets of Opus of 5 ms, at the pace of the clock.

use std::convert::Infallible;
use std::f32::consts::TAU;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use net::audio::{PACKET_BYTES_MAX, PACKET_INTERVAL, SAMPLE_RATE};
use net::client::{ClientMicrophone, MicrophoneRefused};
use net::clock;
use opus::{Application, Bitrate, Channels, Encoder};
use platform::thread::{Role, RoleThread};

use super::ClientError;

/// Samples of a packet, each channel: 5 ms.
const SAMPLES: usize = SAMPLE_RATE as usize / 200;
/// Pitch of the tone, Hz: no whole number of periods fits a packet.
const PITCH_HZ: f32 = 997.0;
/// 12 dB below full scale.
const AMPLITUDE: f32 = 0.25;
/// What Opus is given for each channel, bit/s: a voice has no more in it.
const CHANNEL_BITS: i32 = 64_000;
/// Longest file, bytes: ten minutes in stereo.
const FILE_BYTES_MAX: u64 = 600 * SAMPLE_RATE as u64 * 4;
/// The thread looks each packet whether it is wanted.
const JOIN_TIMEOUT: Duration = Duration::from_millis(500);

/// What to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MicrophoneChoice {
    /// 997 Hz.
    Tone,
    /// A WAVE file of 16-bit samples at 48 kHz, of one or two channels; silence after its end.
    File(PathBuf),
}

impl FromStr for MicrophoneChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "tone" => Self::Tone,
            path => Self::File(path.into()),
        })
    }
}

/// A file is not one that can be said.
#[derive(Debug, thiserror::Error)]
pub enum VoiceError {
    /// The system's answer.
    #[error("{path} cannot be read: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The answer.
        source: std::io::Error,
    },
    /// Another kind of file.
    #[error(
        "{path} is not a WAVE file of 16-bit samples at 48 kHz with one or two channels, of ten \
         minutes at most"
    )]
    Kind {
        /// Which file.
        path: PathBuf,
    },
}

/// What is to be said, read and checked.
pub struct Voice {
    channels: Channels,
    /// Interleaved; `None` for the tone.
    samples: Option<Vec<f32>>,
}

impl Voice {
    /// Reads the file, if it is one.
    ///
    /// # Errors
    /// [`VoiceError`].
    pub fn open(choice: &MicrophoneChoice) -> Result<Self, VoiceError> {
        match choice {
            MicrophoneChoice::Tone => Ok(Self {
                channels: Channels::Mono,
                samples: None,
            }),
            MicrophoneChoice::File(path) => Self::read(path),
        }
    }

    fn read(path: &Path) -> Result<Self, VoiceError> {
        let failed = |source| VoiceError::File {
            path: path.to_owned(),
            source,
        };
        let kind = || VoiceError::Kind {
            path: path.to_owned(),
        };
        if std::fs::metadata(path).map_err(failed)?.len() > FILE_BYTES_MAX {
            return Err(kind());
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        let (channels, data) = wave(&bytes).ok_or_else(kind)?;
        let (samples, _) = data.as_chunks::<2>();
        let samples = samples
            .iter()
            .map(|it| f32::from(i16::from_le_bytes(*it)) / 32_768.0);
        Ok(Self {
            channels,
            samples: Some(samples.collect()),
        })
    }

    /// Packet `number`, in `out`.
    fn fill(&self, number: usize, out: &mut [f32]) {
        let begin = number * out.len();
        let Some(samples) = &self.samples else {
            for (index, sample) in (begin..).zip(out) {
                // Whole seconds are left out, so that the phase stays exact.
                let seconds = (index % SAMPLE_RATE as usize) as f32 / SAMPLE_RATE as f32;
                *sample = AMPLITUDE * ((PITCH_HZ * seconds).fract() * TAU).sin();
            }
            return;
        };
        out.fill(0.0);
        let rest = samples.get(begin..).unwrap_or_default();
        let count = rest.len().min(out.len());
        out[..count].copy_from_slice(&rest[..count]);
    }
}

/// Channels and samples of a file (Multimedia Programming Interface and Data Specifications 1.0,
/// "Waveform Audio File Format").
fn wave(bytes: &[u8]) -> Option<(Channels, &[u8])> {
    let rest = bytes.strip_prefix(b"RIFF")?;
    let mut rest = rest.get(4..)?.strip_prefix(b"WAVE")?;
    let mut channels = None;
    loop {
        let (name, after) = rest.split_first_chunk::<4>()?;
        let (length, after) = after.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let body = &after[..length.min(after.len())];
        match name {
            b"fmt " => {
                let field =
                    |at: usize| Some(u16::from_le_bytes([*body.get(at)?, *body.get(at + 1)?]));
                let rate = u32::from_le_bytes(body.get(4..8)?.try_into().ok()?);
                if (field(0)?, field(14)?, rate) != (1, 16, SAMPLE_RATE) {
                    return None;
                }
                channels = match field(2)? {
                    1 => Some(Channels::Mono),
                    2 => Some(Channels::Stereo),
                    _ => None,
                };
            }
            b"data" => return Some((channels?, body)),
            _ => {}
        }
        // Chunks begin at even places.
        rest = after.get(length.checked_add(length % 2)?..)?;
    }
}

/// The thread that speaks (`pf-speak`). Dropping it ends it.
pub(super) struct Speaker {
    stop: Arc<AtomicBool>,
    thread: Option<RoleThread<()>>,
}

impl Speaker {
    pub(super) fn start(voice: Voice, microphone: ClientMicrophone) -> Result<Self, ClientError> {
        let mut encoder = Encoder::new(SAMPLE_RATE, voice.channels, Application::LowDelay)?;
        let count = voice.channels as usize;
        encoder.set_bitrate(Bitrate::Bits(CHANNEL_BITS * count as i32))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = platform::thread::spawn(Role::Audio, "pf-speak", move || {
            let mut samples = vec![0.0; SAMPLES * count];
            let mut packet = [0; PACKET_BYTES_MAX];
            let mut due = clock::now();
            for number in 0.. {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                voice.fill(number, &mut samples);
                let sent = match encoder.encode_float(&samples, &mut packet) {
                    Ok(bytes) => microphone.send(&packet[..bytes]),
                    Err(error) => return log::error!("Opus refused the microphone: {error}"),
                };
                if sent == Err(MicrophoneRefused::Over) {
                    return;
                }
                due = due + PACKET_INTERVAL;
                platform::thread::wait_until(due);
            }
        });
        Ok(Self {
            stop,
            thread: Some(thread.map_err(ClientError::Thread)?),
        })
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && let Err(error) = thread.join_within(JOIN_TIMEOUT)
        {
            log::error!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(channels: u16, rate: u32, bits: u16) -> Vec<u8> {
        let mut bytes = b"RIFF\0\0\0\0WAVEjunk\x03\0\0\0abc\0fmt \x10\0\0\0\x01\0".to_vec();
        bytes.extend(channels.to_le_bytes());
        bytes.extend(rate.to_le_bytes());
        bytes.extend([0; 6]);
        bytes.extend(bits.to_le_bytes());
        bytes.extend(b"data\x04\0\0\0\x01\0\x02\0");
        bytes
    }

    #[test]
    fn only_files_that_can_be_said_are_read() {
        let mono = file(1, 48_000, 16);
        let (channels, data) = wave(&mono).expect("one of the kind");
        assert_eq!((channels as usize, data), (1, &[1, 0, 2, 0][..]));
        assert!(wave(&file(2, 48_000, 16)).is_some());
        for other in [
            file(3, 48_000, 16),
            file(1, 44_100, 16),
            file(1, 48_000, 24),
        ] {
            assert!(wave(&other).is_none());
        }
        for cut in 0..mono.len() - 4 {
            assert!(wave(&mono[..cut]).is_none(), "cut at {cut}");
        }
    }
}
