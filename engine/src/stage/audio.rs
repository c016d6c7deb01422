//! Sound: what a session's applications play becomes Opus packets, one each 5, 10 or 20 ms.
//!
//! ```text
//!  source ─▶ packet's worth of samples ─▶ Opus ─▶ AudioOut (either protocol)
//! ```
//!
//! One thread (`pf-audio`) beside the pictures' pipeline; neither waits for the other. The
//! source's clock sets the pace. While nothing comes from it for [`PATIENCE`], the packets hold
//! silence and come by the clock, so that the client's play-out runs on. The bit rate is constant
//! because GameStream's parity wants packets of one length. Nothing is allocated once it runs.
//!
//! The source outlives the stage ([`AudioStage::stop`]): a client that comes back finds the sink
//! that its applications still play into, mixed where it has other speakers by now.

mod mix;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use net::audio::{CHANNELS_MAX, OpusLayout, Quality, SAMPLE_RATE, Speakers};
use net::clock;
use net::units::Timestamp;
use opus::{Application, Bitrate, MSEncoder};
use platform::audio::{AudioSource, Heard};
use platform::thread::{Role, RoleThread};

use crate::metrics::{SessionMetrics, add, store_allocations};
use mix::Mixer;

/// Sound that is not there after this is replaced by silence: two of a sound server's usual
/// quanta (1024 samples).
pub const PATIENCE: Duration = Duration::from_millis(40);
/// Silence that an operator should hear of.
const TELL_AFTER: Duration = Duration::from_secs(3);
/// The thread looks at least every [`PATIENCE`] whether it is wanted.
const JOIN_TIMEOUT: Duration = Duration::from_millis(500);
/// Largest packet that any protocol takes, bytes (GameStream's 1344).
const PACKET_BYTES_MAX: usize = 1344;
/// Samples of all channels in the longest packet.
const SAMPLES_MAX: usize = (SAMPLE_RATE / 50) as usize * CHANNELS_MAX;
/// Opus' effort, 0 to 10. At 5 a stereo packet costs half of what it does at 10, and at these
/// bitrates nobody hears the difference.
const COMPLEXITY: i32 = 5;

/// Length of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PacketLength {
    /// 5 ms.
    #[default]
    Ms5,
    /// 10 ms.
    Ms10,
    /// 20 ms.
    Ms20,
}

impl PacketLength {
    /// In milliseconds.
    #[must_use]
    pub const fn ms(self) -> u32 {
        match self {
            Self::Ms5 => 5,
            Self::Ms10 => 10,
            Self::Ms20 => 20,
        }
    }

    /// As a duration.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.ms() as u64)
    }

    /// Samples of each channel.
    #[must_use]
    pub const fn samples(self) -> usize {
        (SAMPLE_RATE / 1000 * self.ms()) as usize
    }
}

/// What is made of the sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioConfig {
    /// Channels of the packets; a source that has others is mixed.
    pub speakers: Speakers,
    /// How much is spent.
    pub quality: Quality,
    /// How long a packet is.
    pub packet: PacketLength,
    /// Largest packet, bytes: a layout that asks for more gets fewer bits.
    pub packet_bytes_max: usize,
}

/// Where packets go. Called on the sound's thread, which waits for nobody.
pub trait AudioOut: Send {
    /// The next packet; its first sample was played at `captured`.
    fn packet(&mut self, captured: Timestamp, opus: &[u8]);
}

/// The sound could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AudioStageError {
    /// Opus refused: the configuration is wrong.
    #[error("the sound's encoder cannot be opened: {0}")]
    Opus(#[from] opus::Error),
    /// No thread.
    #[error("the thread for sound cannot be started: {0}")]
    Thread(std::io::Error),
}

/// Opus with a stream's layout.
pub struct OpusEncoder {
    inner: MSEncoder,
    packet: Box<[u8; PACKET_BYTES_MAX]>,
    packet_bytes: usize,
}

impl OpusEncoder {
    /// Opens an encoder. Stereo is a multistream of one: the same bytes as Opus without it.
    ///
    /// # Errors
    /// Opus' answer.
    pub fn open(config: &AudioConfig) -> Result<Self, opus::Error> {
        let layout = OpusLayout::of(config.speakers, config.quality);
        let mut inner = MSEncoder::new(
            SAMPLE_RATE,
            layout.streams,
            layout.coupled,
            &layout.mapping[..config.speakers.channels()],
            Application::LowDelay,
        )?;
        let bytes_max = config.packet_bytes_max.min(PACKET_BYTES_MAX);
        let packet_bytes = layout.packet_bytes(config.packet.ms()).min(bytes_max);
        let bits = packet_bytes as u32 * 8 * 1000 / config.packet.ms();
        inner.set_bitrate(Bitrate::Bits(bits.cast_signed()))?;
        inner.set_vbr(false)?;
        inner.set_complexity(COMPLEXITY)?;
        Ok(Self {
            inner,
            packet: Box::new([0; PACKET_BYTES_MAX]),
            packet_bytes,
        })
    }

    /// Encodes one packet's worth of samples, interleaved.
    ///
    /// # Errors
    /// Opus' answer.
    pub fn encode(&mut self, samples: &[f32]) -> Result<&[u8], opus::Error> {
        let room = &mut self.packet[..self.packet_bytes];
        let bytes = self.inner.encode_float(samples, room)?;
        Ok(&self.packet[..bytes])
    }
}

/// Running sound. Dropping it stops the thread and gives the source up.
pub struct AudioStage {
    stop: Arc<AtomicBool>,
    thread: Option<RoleThread<Box<dyn AudioSource>>>,
}

impl AudioStage {
    /// Stops the thread and gives the source back; `None` if the thread does not end in time.
    #[must_use]
    pub fn stop(mut self) -> Option<Box<dyn AudioSource>> {
        self.end()
    }

    fn end(&mut self) -> Option<Box<dyn AudioSource>> {
        self.stop.store(true, Ordering::Release);
        let ended = self.thread.take()?.join_within(JOIN_TIMEOUT);
        ended.inspect_err(|error| log::error!("{error}")).ok()
    }
}

/// Starts the thread.
///
/// # Errors
/// See [`AudioStageError`].
pub fn spawn(
    source: Box<dyn AudioSource>,
    config: AudioConfig,
    out: Box<dyn AudioOut>,
    metrics: Arc<SessionMetrics>,
) -> Result<AudioStage, AudioStageError> {
    let stop = Arc::new(AtomicBool::new(false));
    let heard = source.capabilities().speakers;
    let stage = Stage {
        mixer: Mixer::new(heard, config.speakers),
        source,
        encoder: OpusEncoder::open(&config)?,
        packet: config.packet,
        out,
        metrics,
        stop: Arc::clone(&stop),
        silent_since: None,
        told: false,
        dropped_before: 0,
    };
    let count = config.packet.samples() * heard.channels();
    let mixed_count = config.packet.samples() * config.speakers.channels();
    let thread = platform::thread::spawn(Role::Audio, "pf-audio", move || {
        stage.run(count, mixed_count)
    });
    Ok(AudioStage {
        stop,
        thread: Some(thread.map_err(AudioStageError::Thread)?),
    })
}

impl Drop for AudioStage {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// The thread's own half.
struct Stage {
    source: Box<dyn AudioSource>,
    /// From the source's speakers to the client's, where they differ.
    mixer: Option<Mixer>,
    encoder: OpusEncoder,
    packet: PacketLength,
    out: Box<dyn AudioOut>,
    metrics: Arc<SessionMetrics>,
    stop: Arc<AtomicBool>,
    /// When the next packet of silence is due, while nothing comes.
    silent_since: Option<Timestamp>,
    /// The operator knows of the silence.
    told: bool,
    /// Samples that the source has dropped, as far as they are counted.
    dropped_before: u64,
}

impl Stage {
    /// `count` samples of the source's channels make a packet of `mixed_count`.
    fn run(mut self, count: usize, mixed_count: usize) -> Box<dyn AudioSource> {
        let mut samples = [0.0_f32; SAMPLES_MAX];
        let samples = &mut samples[..count];
        let mut mixed = [0.0_f32; SAMPLES_MAX];
        let mixed = &mut mixed[..mixed_count];
        // What was played before anybody listened.
        self.source.skip();
        self.dropped_before = self.source.counts().dropped;
        let mut due = clock::now() + PATIENCE;
        while !self.stop.load(Ordering::Acquire) {
            let patience = due.since(clock::now());
            let captured = match self.source.read(samples, patience) {
                Heard::Sound(captured) => {
                    if self.silent_since.take().is_some() {
                        // What gathered while silence was sent would be heard late for ever.
                        self.source.skip();
                        self.told = false;
                    }
                    due = clock::now() + PATIENCE;
                    captured
                }
                Heard::Nothing => {
                    samples.fill(0.0);
                    self.note_silence();
                    due = due + self.packet.duration();
                    clock::now() - self.packet.duration()
                }
            };
            match &self.mixer {
                Some(mixer) => {
                    mixer.mix(samples, mixed);
                    self.pass_on(captured, mixed);
                }
                None => self.pass_on(captured, samples),
            }
        }
        self.source
    }

    /// A silence that lasts is told, once.
    fn note_silence(&mut self) {
        let now = clock::now();
        add(&self.metrics.counters.audio_silent, 1);
        let since = *self.silent_since.get_or_insert(now);
        if !self.told && now.since(since) > TELL_AFTER {
            self.told = true;
            let backend = self.source.capabilities().backend;
            log::warn!("{backend} has given no sound for {TELL_AFTER:?}; the client hears silence");
        }
    }

    fn pass_on(&mut self, captured: Timestamp, samples: &[f32]) {
        match self.encoder.encode(samples) {
            Ok(packet) => self.out.packet(captured, packet),
            Err(error) => {
                // The same samples a little later are as good; the client conceals this packet.
                log::error!("Opus refused a packet: {error}");
                return;
            }
        }
        // From the end of what is in the packet it could not have been sooner than now.
        self.metrics
            .capture_to_audio_packet
            .record(clock::now().since(captured));
        let counters = &self.metrics.counters;
        add(&counters.audio_packets, 1);
        let dropped = self.source.counts().dropped;
        add(
            &counters.audio_dropped,
            dropped.saturating_sub(self.dropped_before),
        );
        self.dropped_before = dropped;
        store_allocations(&counters.audio_allocations);
    }
}

#[cfg(test)]
mod tests;
