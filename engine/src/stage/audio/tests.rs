use std::sync::mpsc::{Sender, channel};

use opus::MSDecoder;
use platform::audio::synthetic::{AMPLITUDE, Tone, pitch_hz};
use platform::audio::{AudioBackend, AudioCapabilities, AudioCounts, AudioRequest};

use super::*;

/// Share of a signal's power that lies at `hz`, 0 to 1: Goertzel's algorithm.
fn share_at(samples: &[f32], hz: f64) -> f64 {
    let omega = std::f64::consts::TAU * hz / f64::from(SAMPLE_RATE);
    let (mut one, mut two) = (0.0, 0.0);
    for &sample in samples {
        let next = f64::from(sample) + 2.0 * omega.cos() * one - two;
        (two, one) = (one, next);
    }
    let power = one * one + two * two - 2.0 * omega.cos() * one * two;
    let total: f64 = samples.iter().map(|&s| f64::from(s).powi(2)).sum();
    power / (total * samples.len() as f64 / 2.0)
}

fn config(speakers: Speakers, quality: Quality, packet: PacketLength) -> AudioConfig {
    AudioConfig {
        speakers,
        quality,
        packet,
        packet_bytes_max: PACKET_BYTES_MAX,
    }
}

/// Encodes a tone a channel, decodes it as a client would, and gives each channel.
fn through_opus(config: AudioConfig, packets: usize) -> Vec<Vec<f32>> {
    let channels = config.speakers.channels();
    let layout = OpusLayout::of(config.speakers, config.quality);
    let mapping = &layout.mapping[..channels];
    let mut encoder = OpusEncoder::open(&config).expect("a valid layout");
    let mut decoder = MSDecoder::new(SAMPLE_RATE, layout.streams, layout.coupled, mapping)
        .expect("a valid layout");
    let mut heard = vec![Vec::new(); channels];
    let mut samples = vec![0.0; config.packet.samples() * channels];
    let mut bytes = None;
    for packet in 0..packets {
        for (index, frame) in samples.chunks_exact_mut(channels).enumerate() {
            let seconds = (packet * config.packet.samples() + index) as f64 / 48_000.0;
            for (channel, sample) in frame.iter_mut().enumerate() {
                let phase = std::f64::consts::TAU * pitch_hz(channel) * seconds;
                *sample = AMPLITUDE * phase.sin() as f32;
            }
        }
        let opus = encoder.encode(&samples).expect("encodes");
        assert_eq!(*bytes.get_or_insert(opus.len()), opus.len(), "one length");
        let decoded = decoder.decode_float(opus, &mut samples, false);
        assert_eq!(decoded.expect("decodes"), config.packet.samples());
        for frame in samples.chunks_exact(channels) {
            for (channel, &sample) in heard.iter_mut().zip(frame) {
                channel.push(sample);
            }
        }
    }
    heard
}

#[test]
fn every_channel_arrives_at_its_pitch_and_place() {
    for speakers in Speakers::ALL {
        for quality in [Quality::Normal, Quality::High] {
            for packet in [PacketLength::Ms5, PacketLength::Ms10, PacketLength::Ms20] {
                let heard = through_opus(config(speakers, quality, packet), 100);
                for (channel, samples) in heard.iter().enumerate() {
                    // After the first tenth of a second, in which the codec settles.
                    let share = share_at(&samples[4800..], pitch_hz(channel));
                    let case = (speakers, quality, packet, channel);
                    assert!(share > 0.9, "{case:?}: {share} of its power at its pitch");
                }
            }
        }
    }
}

#[test]
fn a_packet_never_exceeds_what_the_protocol_takes() {
    let mut config = config(Speakers::Surround71, Quality::High, PacketLength::Ms10);
    config.packet_bytes_max = 500;
    let mut encoder = OpusEncoder::open(&config).expect("opens");
    let samples = vec![0.1; config.packet.samples() * 8];
    for _ in 0..10 {
        assert!(encoder.encode(&samples).expect("encodes").len() <= 500);
    }
}

struct Out(Sender<(Timestamp, Vec<u8>)>);

impl AudioOut for Out {
    fn packet(&mut self, captured: Timestamp, opus: &[u8]) {
        // The test has seen enough.
        let _ = self.0.send((captured, opus.to_vec()));
    }
}

/// Gives nothing, ever.
struct Mute(AudioCapabilities);

impl AudioSource for Mute {
    fn capabilities(&self) -> &AudioCapabilities {
        &self.0
    }

    fn read(&mut self, _out: &mut [f32], patience: Duration) -> Heard {
        platform::thread::wait_until(clock::now() + patience);
        Heard::Nothing
    }

    fn skip(&mut self) {}

    fn counts(&self) -> AudioCounts {
        AudioCounts::default()
    }
}

fn decoded(packets: &[(Timestamp, Vec<u8>)]) -> Vec<f32> {
    let mut decoder = MSDecoder::new(SAMPLE_RATE, 1, 1, &[0, 1]).expect("stereo");
    let mut left = Vec::new();
    let mut samples = [0.0; 480];
    for (_, opus) in packets {
        let count = decoder.decode_float(opus, &mut samples, false);
        assert_eq!(count.expect("decodes"), 240);
        left.extend(samples.iter().step_by(2));
    }
    left
}

#[test]
fn the_stage_gives_the_sources_sound_and_its_times() {
    let request = AudioRequest {
        speakers: Speakers::Stereo,
        heard_here: false,
    };
    let source = Tone.open(&request).expect("needs nothing");
    let metrics = Arc::new(SessionMetrics::default());
    let (out, packets) = channel();
    let config = config(Speakers::Stereo, Quality::Normal, PacketLength::Ms5);
    let stage = spawn(source, config, Box::new(Out(out)), Arc::clone(&metrics)).expect("starts");
    let packets: Vec<_> = packets.iter().take(100).collect();
    drop(stage);
    assert_eq!(packets.len(), 100);
    for pair in packets.windows(2) {
        let step = pair[1].0.since(pair[0].0).as_micros();
        assert!((4990..=5010).contains(&step) || step > 40_000, "{step} µs");
    }
    let left = decoded(&packets);
    let share = share_at(&left[4800..], pitch_hz(0));
    assert!(share > 0.9, "{share} of the power at its pitch");
    assert!(metrics.capture_to_audio_packet.snapshot().count() >= 100);
}

#[test]
fn without_sound_there_is_silence_at_the_same_pace() {
    let mute = Mute(AudioCapabilities {
        backend: "mute",
        speakers: Speakers::Stereo,
        environment: Vec::new(),
    });
    let metrics = Arc::new(SessionMetrics::default());
    let (out, packets) = channel();
    let config = config(Speakers::Stereo, Quality::Normal, PacketLength::Ms5);
    let stage = spawn(Box::new(mute), config, Box::new(Out(out)), metrics).expect("starts");
    let packets: Vec<_> = packets.iter().take(20).collect();
    drop(stage);
    assert!(decoded(&packets).iter().all(|sample| sample.abs() < 1e-3));
}

/// A session that was suspended goes on with the source that it had, for other speakers too.
#[test]
fn a_stopped_stage_gives_its_source_to_the_next() {
    let request = AudioRequest {
        speakers: Speakers::Surround51,
        heard_here: false,
    };
    let mut source = Tone.open(&request).expect("needs nothing");
    let metrics = Arc::new(SessionMetrics::default());
    for speakers in [Speakers::Surround51, Speakers::Stereo] {
        let (out, packets) = channel();
        let config = config(speakers, Quality::Normal, PacketLength::Ms5);
        let stage = spawn(source, config, Box::new(Out(out)), Arc::clone(&metrics));
        let stage = stage.expect("starts");
        let packets: Vec<_> = packets.iter().take(100).collect();
        source = stage.stop().expect("it ends in time");
        assert_eq!(source.capabilities().speakers, Speakers::Surround51);
        if speakers == Speakers::Stereo {
            // The left one, the centre and the left one at the rear.
            let left = decoded(&packets);
            let shares = [0, 2, 4].map(|channel| share_at(&left[4800..], pitch_hz(channel)));
            assert!(shares.iter().sum::<f64>() > 0.9, "{shares:?}");
            assert!(shares.iter().all(|share| *share > 0.15), "{shares:?}");
        }
    }
    assert!(metrics.counters.snapshot().audio_packets >= 200);
}
