//! What the client hears: packets of the jitter buffer are decoded on a thread of their own and
//! written to a WAVE file.
//!
//! The file (RIFF, "fmt " and "data" chunks, 16-bit PCM, 48 kHz) begins with the first packet and
//! has a sample for every moment from then on: what was missing is as the decoder concealed it.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam::channel::Receiver;
use net::audio::{CHANNELS_MAX, OpusLayout, Quality, SAMPLE_RATE, Speakers};
use net::client::HeardPacket;
use opus::MSDecoder;
use platform::thread::{Role, RoleThread};

use super::{ClientError, output};

/// Samples of a packet, each channel: 5 ms.
const SAMPLES: usize = SAMPLE_RATE as usize / 200;
const HEADER_BYTES: usize = 44;
/// Decoding what waits and writing the rest takes no longer.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sound {
    /// Packets decoded.
    pub packets: u64,
    /// Packets concealed by the decoder.
    pub concealed: u64,
    /// Packets that the decoder refused; they were concealed too.
    pub refused: u64,
}

/// The thread that hears.
pub(super) struct Listener(RoleThread<Result<Sound, ClientError>>);

/// A file to hear into, opened before there is a session.
pub(super) struct WaveFile {
    path: PathBuf,
    file: BufWriter<File>,
    data_bytes: u32,
}

impl Listener {
    /// Listens until `packets` is closed.
    pub(super) fn start(
        speakers: Speakers,
        packets: Receiver<HeardPacket>,
        wave: WaveFile,
    ) -> Result<Self, ClientError> {
        let layout = OpusLayout::of(speakers, Quality::Normal);
        let mapping = &layout.mapping[..speakers.channels()];
        let decoder = MSDecoder::new(SAMPLE_RATE, layout.streams, layout.coupled, mapping)?;
        let mut listening = Listening {
            decoder,
            channels: speakers.channels(),
            wave,
            sound: Sound::default(),
        };
        let thread = platform::thread::spawn(Role::Audio, "pf-listen", move || {
            while let Ok(packet) = packets.recv() {
                listening.hear(packet.opus())?;
            }
            let channels = listening.channels as u16;
            listening.wave.finish(channels)?;
            Ok(listening.sound)
        });
        thread.map(Self).map_err(ClientError::Thread)
    }

    /// Waits for the end of the file.
    pub(super) fn finish(self) -> Result<Sound, ClientError> {
        self.0.join_within(JOIN_TIMEOUT)?
    }
}

struct Listening {
    decoder: MSDecoder,
    channels: usize,
    wave: WaveFile,
    sound: Sound,
}

impl Listening {
    fn hear(&mut self, packet: Option<&[u8]>) -> Result<(), ClientError> {
        let mut samples = [0.0; SAMPLES * CHANNELS_MAX];
        let samples = &mut samples[..SAMPLES * self.channels];
        let decoded = self
            .decoder
            .decode_float(packet.unwrap_or(&[]), samples, false);
        match (decoded, packet) {
            (Ok(_), Some(_)) => self.sound.packets += 1,
            (Ok(_), None) => self.sound.concealed += 1,
            (Err(error), _) => {
                log::debug!("{error}");
                self.sound.refused += 1;
                // Even that can fail, and then the buffer is silence still.
                let _ = self.decoder.decode_float(&[], samples, false);
            }
        }
        self.wave.write(samples)
    }
}

impl WaveFile {
    pub(super) fn create(path: &Path) -> Result<Self, ClientError> {
        let failed = |source| output(path, source);
        let mut file = BufWriter::new(File::create(path).map_err(failed)?);
        file.write_all(&[0; HEADER_BYTES]).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            data_bytes: 0,
        })
    }

    /// A file without a sample, that is a file of its kind all the same.
    pub(super) fn leave_empty(mut self) -> Result<(), ClientError> {
        self.finish(Speakers::Stereo.channels() as u16)
    }

    fn write(&mut self, samples: &[f32]) -> Result<(), ClientError> {
        // A file of this kind holds 4 GiB; the rest is not kept.
        let bytes = size_of_val(samples) as u32 / 2;
        let Some(data_bytes) = self.data_bytes.checked_add(bytes + HEADER_BYTES as u32) else {
            return Ok(());
        };
        self.data_bytes = data_bytes - HEADER_BYTES as u32;
        for sample in samples {
            let whole = (sample * 32_767.0) as i16;
            let written = self.file.write_all(&whole.to_le_bytes());
            written.map_err(|source| output(&self.path, source))?;
        }
        Ok(())
    }

    fn finish(&mut self, channels: u16) -> Result<(), ClientError> {
        let header = header(channels, self.data_bytes);
        let written = self
            .file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&header))
            .and_then(|()| self.file.flush());
        written.map_err(|source| output(&self.path, source))
    }
}

/// The 44 bytes before the samples (Multimedia Programming Interface and Data Specifications 1.0,
/// "Waveform Audio File Format").
fn header(channels: u16, data_bytes: u32) -> [u8; HEADER_BYTES] {
    const BITS: u16 = 16;
    let frame_bytes = channels * BITS / 8;
    let mut header = [0; HEADER_BYTES];
    let fields: [&[u8]; 13] = [
        b"RIFF",
        &(data_bytes + HEADER_BYTES as u32 - 8).to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16_u32.to_le_bytes(),
        // PCM.
        &1_u16.to_le_bytes(),
        &channels.to_le_bytes(),
        &SAMPLE_RATE.to_le_bytes(),
        &(SAMPLE_RATE * u32::from(frame_bytes)).to_le_bytes(),
        &frame_bytes.to_le_bytes(),
        &BITS.to_le_bytes(),
        b"data",
        &data_bytes.to_le_bytes(),
    ];
    let mut at = 0;
    for field in fields {
        header[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_header() {
        assert_eq!(
            header(2, 0x0102_0304),
            *b"RIFF\x28\x03\x02\x01WAVEfmt \x10\0\0\0\x01\0\x02\0\x80\xbb\0\0\0\xee\x02\0\x04\0\
               \x10\0data\x04\x03\x02\x01"
        );
    }
}
