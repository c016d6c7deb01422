//! What a client says, as packets of Opus of 5 ms: what this machine's microphone hears, as it
//! comes, or a tone or a file at the pace of the clock.
//!
//! Nothing is recorded before the host has agreed to listen. A microphone's samples wait in a ring
//! of 80 ms, of which the oldest make room; packets that the connection does not take are left out.
//! Both are counted.

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
use net::units::Timestamp;
use opus::{Application, Bitrate, Channels, Encoder};
use platform::audio::recorder::{self, RecordError, RecordFrom, Recorder};
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
/// How long a microphone may be silent before the thread looks whether it is wanted.
const PATIENCE: Duration = Duration::from_millis(100);
/// The thread looks each packet, and each [`PATIENCE`], whether it is wanted.
const JOIN_TIMEOUT: Duration = Duration::from_millis(500);

/// What to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MicrophoneChoice {
    /// 997 Hz.
    Tone,
    /// A WAVE file of 16-bit samples at 48 kHz, of one or two channels; silence after its end.
    /// Written as a path that ends in `.wav` or has a `/`.
    File(PathBuf),
    /// What a microphone of this machine hears: `default`, or the name of a source of PipeWire's.
    Device(RecordFrom),
}

impl FromStr for MicrophoneChoice {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let is_file = text.contains('/') || text.to_ascii_lowercase().ends_with(".wav");
        Ok(match text {
            "tone" => Self::Tone,
            "default" => Self::Device(RecordFrom::Default),
            path if is_file => Self::File(path.into()),
            name => Self::Device(RecordFrom::Named(name.to_owned())),
        })
    }
}

/// There is nothing to be said.
#[derive(Debug, thiserror::Error)]
pub enum VoiceError {
    /// The microphone.
    #[error("{0}; or say a file (NAME.wav) or a tone (tone)")]
    Record(#[from] RecordError),
    /// The file: the system's answer.
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

/// What is to be said, read or checked.
pub struct Voice {
    channels: Channels,
    words: Words,
}

enum Words {
    Tone,
    /// Interleaved.
    Samples(Vec<f32>),
    /// Not yet recorded.
    Device(RecordFrom),
}

/// What was said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spoken {
    /// Packets of 5 ms that the connection has taken.
    pub packets: u64,
    /// Packets that it has not, because as many waited as may.
    pub refused: u64,
    /// Samples of the microphone that came and were not taken in time.
    pub dropped: u64,
}

impl Voice {
    /// Reads the file, if it is one; looks whether the microphone is there, without recording it.
    ///
    /// # Errors
    /// [`VoiceError`].
    pub fn open(choice: &MicrophoneChoice) -> Result<Self, VoiceError> {
        match choice {
            MicrophoneChoice::Tone => Ok(Self::mono(Words::Tone)),
            MicrophoneChoice::File(path) => Self::read(path),
            MicrophoneChoice::Device(from) => {
                recorder::check(from)?;
                Ok(Self::mono(Words::Device(from.clone())))
            }
        }
    }

    const fn mono(words: Words) -> Self {
        Self {
            channels: Channels::Mono,
            words,
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
            words: Words::Samples(samples.collect()),
        })
    }

    /// Where its samples come from; begins to record, if it is a microphone.
    fn begin(self) -> Result<Source, RecordError> {
        Ok(match self.words {
            Words::Tone => Source::clocked(None),
            Words::Samples(samples) => Source::clocked(Some(samples)),
            Words::Device(from) => Source::Device(Recorder::open(from)?),
        })
    }
}

/// Where samples come from.
enum Source {
    /// At the pace of the clock.
    Clocked {
        /// Interleaved; `None` for the tone.
        samples: Option<Vec<f32>>,
        /// The next one.
        next: usize,
        /// When.
        due: Timestamp,
    },
    /// As they come.
    Device(Recorder),
}

impl Source {
    fn clocked(samples: Option<Vec<f32>>) -> Self {
        Self::Clocked {
            samples,
            next: 0,
            due: clock::now(),
        }
    }

    /// Waits for the next packet, at most [`PATIENCE`]; false if there is none by then.
    fn next(&mut self, out: &mut [f32]) -> bool {
        match self {
            Self::Clocked { samples, next, due } => {
                platform::thread::wait_until(*due);
                match samples {
                    Some(samples) => say(samples.get(*next..).unwrap_or_default(), out),
                    None => sing(*next, out),
                }
                *next += out.len();
                *due = *due + PACKET_INTERVAL;
                true
            }
            Self::Device(recorder) => recorder.read(out, PATIENCE),
        }
    }

    fn dropped(&self) -> u64 {
        match self {
            Self::Clocked { .. } => 0,
            Self::Device(recorder) => recorder.dropped(),
        }
    }
}

/// The beginning of `rest`, and silence after its end.
fn say(rest: &[f32], out: &mut [f32]) {
    out.fill(0.0);
    let count = rest.len().min(out.len());
    out[..count].copy_from_slice(&rest[..count]);
}

/// The tone from sample `begin` on.
fn sing(begin: usize, out: &mut [f32]) {
    for (index, sample) in (begin..).zip(out) {
        // Whole seconds are left out, so that the phase stays exact.
        let seconds = (index % SAMPLE_RATE as usize) as f32 / SAMPLE_RATE as f32;
        *sample = AMPLITUDE * ((PITCH_HZ * seconds).fract() * TAU).sin();
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
    thread: Option<RoleThread<Spoken>>,
}

impl Speaker {
    pub(super) fn start(voice: Voice, microphone: ClientMicrophone) -> Result<Self, ClientError> {
        let mut encoder = Encoder::new(SAMPLE_RATE, voice.channels, Application::LowDelay)?;
        let count = voice.channels as usize;
        encoder.set_bitrate(Bitrate::Bits(CHANNEL_BITS * count as i32))?;
        let stop = Arc::new(AtomicBool::new(false));
        let speaking = Speaking {
            source: voice.begin()?,
            encoder,
            microphone,
            stop: Arc::clone(&stop),
        };
        let body = move || speaking.run(&mut vec![0.0; SAMPLES * count]);
        let thread = platform::thread::spawn(Role::Audio, "pf-speak", body);
        Ok(Self {
            stop,
            thread: Some(thread.map_err(ClientError::Thread)?),
        })
    }

    /// Ends it; what was said.
    pub(super) fn finish(mut self) -> Spoken {
        self.end().unwrap_or_default()
    }

    /// `None` if it has ended before, or does not.
    fn end(&mut self) -> Option<Spoken> {
        self.stop.store(true, Ordering::Release);
        let spoken = self.thread.take()?.join_within(JOIN_TIMEOUT);
        spoken.inspect_err(|error| log::error!("{error}")).ok()
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        self.end();
    }
}

/// The thread's own half.
struct Speaking {
    source: Source,
    encoder: Encoder,
    microphone: ClientMicrophone,
    stop: Arc<AtomicBool>,
}

impl Speaking {
    /// Until it is to end or the session is over. `samples` has room for a packet.
    fn run(mut self, samples: &mut [f32]) -> Spoken {
        let mut packet = [0; PACKET_BYTES_MAX];
        let mut spoken = Spoken::default();
        while !self.stop.load(Ordering::Acquire) {
            if !self.source.next(samples) {
                continue;
            }
            let sent = match self.encoder.encode_float(samples, &mut packet) {
                Ok(bytes) => self.microphone.send(&packet[..bytes]),
                Err(error) => {
                    log::error!("Opus refused the microphone: {error}");
                    break;
                }
            };
            match sent {
                Ok(()) => spoken.packets += 1,
                Err(MicrophoneRefused::Over) => break,
                Err(_) => spoken.refused += 1,
            }
        }
        spoken.dropped = self.source.dropped();
        spoken
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
    fn a_choice_is_a_word_a_file_or_a_source() {
        for (text, choice) in [
            ("tone", MicrophoneChoice::Tone),
            ("default", MicrophoneChoice::Device(RecordFrom::Default)),
            ("a.WAV", MicrophoneChoice::File("a.WAV".into())),
            ("./tone", MicrophoneChoice::File("./tone".into())),
            (
                "alsa_input.pci-0000_00_1f.3.analog-stereo",
                MicrophoneChoice::Device(RecordFrom::Named(
                    "alsa_input.pci-0000_00_1f.3.analog-stereo".to_owned(),
                )),
            ),
        ] {
            assert_eq!(text.parse(), Ok(choice), "{text}");
        }
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
