//! A microphone by PipeWire: a stream that the graph sees as a source.
//!
//! ```text
//!  write ─▶ fifo ─▶ stream "punktfunk-mic-PID-N" (Audio/Source) ─▶ applications that record
//! ```
//!
//! The source belongs to this process's connection: it goes when the connection does. Its name is
//! told to the session's applications alone, by `PULSE_SOURCE` (clients of PulseAudio, as
//! pipewire-pulse reads it); it is never the desktop's default while there is any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use ::pipewire as pw;
use pw::context::ContextRc;
use pw::core::CoreRc;
use pw::main_loop::MainLoopRc;
use pw::properties::properties;
use pw::spa;
use pw::spa::utils::Direction;
use pw::stream::{StreamBox, StreamState};

use super::fifo::Fifo;
use super::{Microphone, MicrophoneBackend};
use crate::audio::AudioError;
use crate::audio::daemon::{self, Daemon, End, LATENCY, Life};
use crate::pipewire_link;
use crate::select::Refusal;

/// Bytes of a sample of its one channel.
const SAMPLE_BYTES: usize = size_of::<f32>();

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct PipeWireMicrophone;

impl MicrophoneBackend for PipeWireMicrophone {
    fn name(&self) -> &'static str {
        "pipewire"
    }

    fn probe(&self) -> Result<String, Refusal> {
        pipewire_link::load()
            .map_err(|error| Refusal::new(error.to_string(), "install libpipewire-0.3-0"))?;
        Ok("a source for each session".to_owned())
    }

    fn open(&self) -> Result<Box<dyn Microphone>, AudioError> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        pipewire_link::load()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("punktfunk-mic-{}-{number}", std::process::id());
        let fifo = Arc::new(Fifo::new());
        let life = Arc::<Life>::default();
        let connector = Connector {
            name: name.clone(),
            fifo: Arc::clone(&fifo),
            life: Arc::clone(&life),
        };
        let lost = "applications hear no microphone until PipeWire can be reached";
        let daemon = Daemon::spawn("pf-pw-mic", life, lost, move |main_loop| {
            connector.serve(main_loop)
        })?;
        Ok(Box::new(Source {
            name,
            fifo,
            _daemon: daemon,
        }))
    }
}

struct Source {
    name: String,
    fifo: Arc<Fifo>,
    /// Held for its thread.
    _daemon: Daemon,
}

impl Microphone for Source {
    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("PULSE_SOURCE", self.name.clone())]
    }

    fn write(&mut self, samples: &[f32]) {
        self.fifo.push(samples);
    }

    fn dropped(&self) -> u64 {
        self.fifo.dropped()
    }
}

/// The thread's own half.
struct Connector {
    name: String,
    fifo: Arc<Fifo>,
    life: Arc<Life>,
}

impl Connector {
    fn serve(&self, main_loop: &MainLoopRc) -> Result<String, pw::Error> {
        let context = ContextRc::new(main_loop, None)?;
        let core = context.connect_rc(None)?;
        let end = End::new(main_loop);
        let _core_listener = end.listen(&core);
        let stream = self.make_stream(&core)?;
        let _stream_listener = self.listen(&stream, &end)?;
        let places = [spa::sys::SPA_AUDIO_CHANNEL_MONO];
        daemon::connect_stream(&stream, Direction::Output, &places)?;
        if !self.life.is_stopping() {
            main_loop.run();
        }
        let _ = stream.disconnect();
        Ok(end.reason().unwrap_or_else(|| "it was ended".to_owned()))
    }

    fn make_stream<'c>(&self, core: &'c CoreRc) -> Result<StreamBox<'c>, pw::Error> {
        StreamBox::new(
            core,
            &self.name,
            properties! {
                *pw::keys::MEDIA_TYPE => "Audio",
                *pw::keys::MEDIA_CLASS => "Audio/Source",
                *pw::keys::NODE_NAME => self.name.as_str(),
                *pw::keys::NODE_DESCRIPTION => "punktfunk microphone",
                *pw::keys::NODE_VIRTUAL => "true",
                *pw::keys::NODE_LATENCY => LATENCY,
                // Never the desktop's default while there is any other.
                "priority.session" => "0",
                "priority.driver" => "0",
            },
        )
    }

    fn listen<'c>(
        &self,
        stream: &StreamBox<'c>,
        end: &End,
    ) -> Result<pw::stream::StreamListener<()>, pw::Error> {
        let (life, name) = (Arc::clone(&self.life), self.name.clone());
        let (fifo, failed) = (Arc::clone(&self.fifo), end.clone());
        stream
            .add_local_listener()
            .state_changed(move |_, (), old, new| match new {
                // It streams only while somebody records.
                StreamState::Paused if old == StreamState::Connecting => {
                    life.note_connected();
                    log::info!("the microphone is {name}");
                }
                StreamState::Error(message) => {
                    failed.because(format!("PipeWire takes no microphone ({message})"));
                }
                StreamState::Unconnected if old != StreamState::Unconnected => {
                    failed.because("PipeWire has ended the microphone".to_owned());
                }
                _ => {}
            })
            .process(move |stream, ()| {
                if let Some(mut buffer) = stream.dequeue_buffer() {
                    give(&fifo, &mut buffer);
                }
            })
            .register()
    }
}

/// A quantum, as far as the buffer has room for it.
fn give(fifo: &Fifo, buffer: &mut pw::buffer::Buffer<'_>) {
    let wanted = match usize::try_from(buffer.requested()) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(samples) => samples.saturating_mul(SAMPLE_BYTES),
    };
    let Some(data) = buffer.datas_mut().first_mut() else {
        return;
    };
    let mut filled = 0;
    if let Some(bytes) = data.data() {
        filled = bytes.len().min(wanted) / SAMPLE_BYTES * SAMPLE_BYTES;
        fifo.fill(&mut bytes[..filled]);
    }
    let chunk = data.chunk_mut();
    *chunk.offset_mut() = 0;
    *chunk.stride_mut() = SAMPLE_BYTES as i32;
    *chunk.size_mut() = filled as u32;
}
