//! Sound by PipeWire: a null sink for each session, whose monitor is captured.
//!
//! ```text
//!  applications ─▶ sink "punktfunk-PID-N" ─ monitor ─▶ stream ─▶ ring ─▶ read
//! ```
//!
//! The sink belongs to this process's connection: it goes when the connection does, whichever way
//! the host ends. It has a name that only the session's applications are told, by `PULSE_SINK`
//! (clients of PulseAudio, as pipewire-pulse reads it) and `PIPEWIRE_NODE` (PipeWire's own), so
//! that two sessions, or a session and the desktop around it, do not hear each other.
//!
//! Where the machine's own speakers are to play it too, PipeWire's loopback module takes the sink's
//! monitor to the default sink. All our sinks are of one link group with the end that plays, so
//! that on a machine without speakers it finds no session's sink in their place: neither its own,
//! which would howl, nor another's.
//!
//! One thread (`pf-pipewire`) runs PipeWire's loop. While the daemon is away the thread tries
//! again (`daemon.rs`), and [`AudioSource::read`] finds nothing.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ::pipewire as pw;
use net::audio::{SAMPLE_RATE, Speakers};
use net::clock;
use pw::context::ContextRc;
use pw::core::CoreRc;
use pw::main_loop::MainLoopRc;
use pw::node::Node;
use pw::properties::properties;
use pw::proxy::ProxyT;
use pw::spa;
use pw::spa::utils::Direction;
use pw::stream::{StreamBox, StreamState};

use super::daemon::{self, Daemon, End, LATENCY, Life};
use super::ring::Ring;
use super::{
    AudioBackend, AudioCapabilities, AudioCounts, AudioError, AudioRequest, AudioSource, Heard,
};
use crate::pipewire_link;
use crate::select::Refusal;

/// What takes one sink's sound to another.
const LOOPBACK: &CStr = c"libpipewire-module-loopback";
/// Session managers link no two nodes of a group with each other.
const LINK_GROUP: &str = "punktfunk-sessions";

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct PipeWire;

impl AudioBackend for PipeWire {
    fn name(&self) -> &'static str {
        "pipewire"
    }

    fn probe(&self) -> Result<String, Refusal> {
        pipewire_link::load()
            .map_err(|error| Refusal::new(error.to_string(), "install libpipewire-0.3-0"))?;
        Ok("a sink for each session".to_owned())
    }

    fn open(&self, request: &AudioRequest) -> Result<Box<dyn AudioSource>, AudioError> {
        pipewire_link::load()?;
        Ok(Box::new(Source::open(request)?))
    }
}

struct Source {
    capabilities: AudioCapabilities,
    shared: Arc<Shared>,
    /// Held for its thread.
    _daemon: Daemon,
}

/// What both threads see.
struct Shared {
    name: String,
    speakers: Speakers,
    heard_here: bool,
    ring: Ring,
    life: Arc<Life>,
}

impl Source {
    fn open(request: &AudioRequest) -> Result<Self, AudioError> {
        let speakers = request.speakers;
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("punktfunk-{}-{number}", std::process::id());
        let shared = Arc::new(Shared {
            ring: Ring::new(speakers.channels()),
            name: name.clone(),
            speakers,
            heard_here: request.heard_here,
            life: Arc::default(),
        });
        let connector = Connector {
            shared: Arc::clone(&shared),
        };
        let life = Arc::clone(&shared.life);
        let lost = "clients hear silence until PipeWire can be reached";
        let daemon = Daemon::spawn("pf-pipewire", life, lost, move |main_loop| {
            connector.serve(main_loop)
        })?;
        Ok(Self {
            capabilities: AudioCapabilities {
                backend: "pipewire",
                speakers,
                environment: vec![("PULSE_SINK", name.clone()), ("PIPEWIRE_NODE", name)],
            },
            shared,
            _daemon: daemon,
        })
    }
}

impl AudioSource for Source {
    fn capabilities(&self) -> &AudioCapabilities {
        &self.capabilities
    }

    fn read(&mut self, out: &mut [f32], patience: Duration) -> Heard {
        match self.shared.ring.read(out, patience) {
            Some(captured) => Heard::Sound(captured),
            None => Heard::Nothing,
        }
    }

    fn skip(&mut self) {
        self.shared.ring.clear();
    }

    fn counts(&self) -> AudioCounts {
        AudioCounts {
            dropped: self.shared.ring.dropped(),
            connected: self.shared.life.connected(),
        }
    }
}

/// The thread's own half.
struct Connector {
    shared: Arc<Shared>,
}

impl Connector {
    fn serve(&self, main_loop: &MainLoopRc) -> Result<String, pw::Error> {
        let context = ContextRc::new(main_loop, None)?;
        let core = context.connect_rc(None)?;
        let end = End::new(main_loop);
        let _core_listener = end.listen(&core);
        let (sink, _sink_listener) = self.make_sink(&core, &end)?;
        let stream = self.make_stream(&core)?;
        let _stream_listener = self.listen(&stream, &end)?;
        self.connect_stream(&stream)?;
        if self.shared.heard_here {
            self.play_here(&context);
        }
        if !self.shared.life.is_stopping() {
            main_loop.run();
        }
        // The monitor's reader goes before what it reads.
        let _ = stream.disconnect();
        drop(stream);
        if end.reason().is_none() {
            // Taking leave: the daemon would remove it with the connection anyway.
            let _ = core.destroy_object(sink);
        }
        Ok(end.reason().unwrap_or_else(|| "it was ended".to_owned()))
    }

    fn make_sink(
        &self,
        core: &CoreRc,
        end: &End,
    ) -> Result<(Node, pw::proxy::ProxyListener), pw::Error> {
        let speakers = self.shared.speakers;
        let sink: Node = core.create_object(
            "adapter",
            &properties! {
                "factory.name" => "support.null-audio-sink",
                "node.name" => self.shared.name.as_str(),
                "node.description" => "punktfunk session",
                "media.class" => "Audio/Sink",
                "audio.position" => format!("[ {} ]", speakers.positions().join(" ")),
                "audio.channels" => speakers.channels().to_string(),
                "audio.rate" => SAMPLE_RATE.to_string(),
                // The session's volume is heard.
                "monitor.channel-volumes" => "true",
                // Never the desktop's default while there is any other.
                "priority.session" => "0",
                "priority.driver" => "0",
                "node.link-group" => LINK_GROUP,
                "node.pause-on-idle" => "false",
                "session.suspend-timeout-seconds" => "0",
                "object.linger" => "false",
            },
        )?;
        let (removed, failed) = (end.clone(), end.clone());
        let listener = sink
            .upcast_ref()
            .add_listener_local()
            .removed(move || removed.because("the session's sink was removed".to_owned()))
            .error(move |_, code, message| {
                failed.because(format!("PipeWire made no sink ({message}, {code})"));
            })
            .register();
        Ok((sink, listener))
    }

    fn make_stream<'c>(&self, core: &'c CoreRc) -> Result<StreamBox<'c>, pw::Error> {
        let name = format!("{}-monitor", self.shared.name);
        StreamBox::new(
            core,
            &name,
            properties! {
                *pw::keys::MEDIA_TYPE => "Audio",
                *pw::keys::MEDIA_CATEGORY => "Capture",
                *pw::keys::NODE_NAME => name.as_str(),
                *pw::keys::NODE_LATENCY => LATENCY,
                *pw::keys::TARGET_OBJECT => self.shared.name.as_str(),
                *pw::keys::STREAM_CAPTURE_SINK => "true",
                // Should the sink go, nobody else's sound comes in its place.
                *pw::keys::NODE_DONT_RECONNECT => "true",
                *pw::keys::STREAM_DONT_REMIX => "true",
            },
        )
    }

    fn listen<'c>(
        &self,
        stream: &StreamBox<'c>,
        end: &End,
    ) -> Result<pw::stream::StreamListener<()>, pw::Error> {
        let shared = Arc::clone(&self.shared);
        let (connected, failed) = (Arc::clone(&self.shared), end.clone());
        stream
            .add_local_listener()
            .state_changed(move |_, (), old, new| match new {
                StreamState::Streaming => {
                    connected.life.note_connected();
                    log::info!("sound comes from {}", connected.name);
                }
                StreamState::Error(message) => {
                    failed.because(format!("PipeWire gives no sound ({message})"));
                }
                StreamState::Unconnected if old != StreamState::Unconnected => {
                    failed.because("PipeWire has ended the stream".to_owned());
                }
                _ => {}
            })
            .process(move |stream, ()| {
                let now = clock::now();
                while let Some(mut buffer) = stream.dequeue_buffer() {
                    if let Some(bytes) = daemon::captured(&mut buffer) {
                        shared.ring.push(bytes, now);
                    }
                }
            })
            .register()
    }

    /// Without the module the session goes on, unheard here.
    fn play_here(&self, context: &ContextRc) {
        let name = &self.shared.name;
        let arguments = format!(
            "{{ node.description = \"punktfunk session\"
                capture.props = {{ node.name = \"{name}-heard\" node.link-group = \"{name}\"
                    target.object = \"{name}\" stream.capture.sink = true
                    node.dont-reconnect = true node.passive = true }}
                playback.props = {{ node.name = \"{name}-speakers\"
                    node.link-group = \"{LINK_GROUP}\" }} }}"
        );
        if pipewire_link::load_module(context, LOOPBACK, &arguments) {
            log::info!("this machine's speakers play {name}, too");
        } else {
            let name = LOOPBACK.to_string_lossy();
            log::warn!("this machine's speakers stay silent: PipeWire has no {name}");
        }
    }

    fn connect_stream(&self, stream: &StreamBox<'_>) -> Result<(), pw::Error> {
        let names = self.shared.speakers.positions().iter();
        let places: Vec<u32> = names.map(|name| position_number(name)).collect();
        daemon::connect_stream(stream, Direction::Input, &places)
    }
}

/// `enum spa_audio_channel` of spa/param/audio/raw.h.
fn position_number(name: &str) -> u32 {
    match name {
        "FL" => spa::sys::SPA_AUDIO_CHANNEL_FL,
        "FR" => spa::sys::SPA_AUDIO_CHANNEL_FR,
        "FC" => spa::sys::SPA_AUDIO_CHANNEL_FC,
        "LFE" => spa::sys::SPA_AUDIO_CHANNEL_LFE,
        "RL" => spa::sys::SPA_AUDIO_CHANNEL_RL,
        "RR" => spa::sys::SPA_AUDIO_CHANNEL_RR,
        "SL" => spa::sys::SPA_AUDIO_CHANNEL_SL,
        "SR" => spa::sys::SPA_AUDIO_CHANNEL_SR,
        _ => spa::sys::SPA_AUDIO_CHANNEL_UNKNOWN,
    }
}
