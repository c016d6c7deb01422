//! This machine's own microphone, recorded by PipeWire for a session on another machine.
//!
//! ```text
//!  source ─▶ stream "punktfunk-record-PID-N" ─▶ ring ─▶ read
//! ```
//!
//! Samples are 32-bit floats at 48 kHz, one channel: the mean of the source's left and right, which
//! are the same where it has one channel. A source that was named is recorded or none is; without a
//! name it is the desktop's default source, whichever that is at the time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ::pipewire as pw;
use net::audio::SAMPLE_RATE;
use net::clock;
use pw::context::ContextRc;
use pw::core::{CoreRc, PW_ID_CORE};
use pw::main_loop::MainLoopRc;
use pw::properties::properties;
use pw::registry::{GlobalObject, RegistryRc};
use pw::spa;
use pw::spa::utils::Direction;
use pw::stream::{StreamBox, StreamState};
use pw::types::ObjectType;

use super::AudioError;
use super::daemon::{self, Daemon, End, LATENCY, Life};
use super::ring::Ring;
use crate::pipewire_link::{self, LinkError};
use crate::select::Refusal;

/// Channels that are asked for: what a converter makes of any source without adding up.
const CHANNELS: usize = 2;
/// Longest read, samples of a channel: 20 ms.
const READ_MAX: usize = SAMPLE_RATE as usize / 50;
/// A daemon that lives answers in milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// What helps without the library,
const INSTALL: &str = "install libpipewire-0.3-0";
/// without the daemon,
const START: &str = "start it in this user's session (systemctl --user start pipewire wireplumber)";
/// and without a source.
const CONNECT: &str = "connect one, or look for it with wpctl status";

/// Which source is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordFrom {
    /// The desktop's default.
    Default,
    /// The one with this `node.name`.
    Named(String),
}

/// Nothing can be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The library is missing.
    #[error("no microphone can be recorded: {0}; {fix}", fix = INSTALL)]
    Link(#[from] LinkError),
    /// The daemon does not answer.
    #[error(
        "no microphone can be recorded: PipeWire cannot be reached ({0}); {fix}",
        fix = START
    )]
    Unreachable(String),
    /// There is none.
    #[error("PipeWire knows no microphone here; {fix}", fix = CONNECT)]
    NoSource,
    /// There is none of that name.
    #[error("PipeWire has no source {wanted:?}; it has {there}")]
    Unknown {
        /// Which was asked for.
        wanted: String,
        /// The names of those that are there.
        there: String,
    },
    /// Its thread could not be started.
    #[error(transparent)]
    Thread(#[from] AudioError),
}

impl From<&RecordError> for Refusal {
    fn from(error: &RecordError) -> Self {
        match error {
            RecordError::Link(error) => Self::new(error.to_string(), INSTALL),
            RecordError::Unreachable(reason) => {
                Self::new(format!("PipeWire cannot be reached ({reason})"), START)
            }
            RecordError::NoSource => Self::new("PipeWire knows no microphone here", CONNECT),
            other => Self::new(other.to_string(), ""),
        }
    }
}

/// The `node.name` of each source that PipeWire has at this moment. Records nothing.
///
/// # Errors
/// [`RecordError::Link`], [`RecordError::Unreachable`].
pub fn sources() -> Result<Vec<String>, RecordError> {
    pipewire_link::load()?;
    let unreachable = |error: pw::Error| RecordError::Unreachable(error.to_string());
    let main_loop = MainLoopRc::new(None).map_err(unreachable)?;
    let context = ContextRc::new(&main_loop, None).map_err(unreachable)?;
    let core = context.connect_rc(None).map_err(|_| {
        // The library leaves its reason there, and says nothing else.
        RecordError::Unreachable(std::io::Error::last_os_error().to_string())
    })?;
    let end = End::new(&main_loop);
    let names = ask(&main_loop, &core, &end).map_err(unreachable)?;
    end.reason()
        .map_or(Ok(names), |reason| Err(RecordError::Unreachable(reason)))
}

/// Whether `from` can be recorded now. Records nothing.
///
/// # Errors
/// See [`RecordError`].
pub fn check(from: &RecordFrom) -> Result<(), RecordError> {
    let there = sources()?;
    match from {
        _ if there.is_empty() => Err(RecordError::NoSource),
        RecordFrom::Named(wanted) if !there.contains(wanted) => Err(RecordError::Unknown {
            wanted: wanted.clone(),
            there: there.join(", "),
        }),
        _ => Ok(()),
    }
}

/// A microphone that is being recorded. Dropping it ends that.
pub struct Recorder {
    shared: Arc<Shared>,
    /// Room for a read, all channels.
    samples: Box<[f32; CHANNELS * READ_MAX]>,
    /// Held for its thread.
    _daemon: Daemon,
}

impl Recorder {
    /// Begins to record. Should the daemon or the source go away it is tried again, and nothing is
    /// heard until then.
    ///
    /// # Errors
    /// [`RecordError::Link`], [`RecordError::Thread`].
    pub fn open(from: RecordFrom) -> Result<Self, RecordError> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        pipewire_link::load()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(Shared {
            name: format!("punktfunk-record-{}-{number}", std::process::id()),
            from,
            ring: Ring::new(CHANNELS),
            life: Arc::default(),
        });
        let (connector, life) = (Arc::clone(&shared), Arc::clone(&shared.life));
        let lost = "the host hears nothing until the microphone can be recorded";
        let daemon = Daemon::spawn("pf-pw-record", life, lost, move |main_loop| {
            connector.serve(main_loop)
        })?;
        Ok(Self {
            shared,
            samples: Box::new([0.0; CHANNELS * READ_MAX]),
            _daemon: daemon,
        })
    }

    /// Fills `out`, at most 20 ms, with what comes next. Waits at most `patience`; false if it has
    /// not come by then, and `out` is as it was. What nobody reads within 80 ms makes room for what
    /// is newer.
    ///
    /// # Panics
    /// If `out` is longer.
    pub fn read(&mut self, out: &mut [f32], patience: Duration) -> bool {
        let samples = &mut self.samples[..CHANNELS * out.len()];
        if self.shared.ring.read(samples, patience).is_none() {
            return false;
        }
        let (frames, _) = samples.as_chunks::<CHANNELS>();
        for (sample, frame) in out.iter_mut().zip(frames) {
            *sample = frame.iter().sum::<f32>() / CHANNELS as f32;
        }
        true
    }

    /// Samples that nobody read in time.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.shared.ring.dropped()
    }
}

/// What both threads see.
struct Shared {
    name: String,
    from: RecordFrom,
    ring: Ring,
    life: Arc<Life>,
}

impl Shared {
    fn serve(self: &Arc<Self>, main_loop: &MainLoopRc) -> Result<String, pw::Error> {
        let context = ContextRc::new(main_loop, None)?;
        let core = context.connect_rc(None)?;
        let end = End::new(main_loop);
        let _core_listener = end.listen(&core);
        let stream = self.make_stream(&core)?;
        let _stream_listener = self.listen(&stream, &end)?;
        let places = [
            spa::sys::SPA_AUDIO_CHANNEL_FL,
            spa::sys::SPA_AUDIO_CHANNEL_FR,
        ];
        daemon::connect_stream(&stream, Direction::Input, &places)?;
        if !self.life.is_stopping() {
            main_loop.run();
        }
        let _ = stream.disconnect();
        Ok(end.reason().unwrap_or_else(|| "it was ended".to_owned()))
    }

    fn make_stream<'c>(&self, core: &'c CoreRc) -> Result<StreamBox<'c>, pw::Error> {
        let mut properties = properties! {
            *pw::keys::MEDIA_TYPE => "Audio",
            *pw::keys::MEDIA_CATEGORY => "Capture",
            *pw::keys::MEDIA_ROLE => "Communication",
            *pw::keys::NODE_NAME => self.name.as_str(),
            *pw::keys::NODE_DESCRIPTION => "punktfunk client",
            *pw::keys::NODE_LATENCY => LATENCY,
        };
        if let RecordFrom::Named(name) = &self.from {
            properties.insert(*pw::keys::TARGET_OBJECT, name.as_str());
            // Should it go, no other is listened to in its place.
            properties.insert(*pw::keys::NODE_DONT_RECONNECT, "true");
        }
        StreamBox::new(core, &self.name, properties)
    }

    fn listen<'c>(
        self: &Arc<Self>,
        stream: &StreamBox<'c>,
        end: &End,
    ) -> Result<pw::stream::StreamListener<()>, pw::Error> {
        let (heard, shared, failed) = (Arc::clone(self), Arc::clone(self), end.clone());
        stream
            .add_local_listener()
            .state_changed(move |_, (), old, new| match new {
                StreamState::Streaming => {
                    shared.life.note_connected();
                    log::info!("the microphone is recorded as {}", shared.name);
                }
                StreamState::Error(message) => {
                    failed.because(format!("PipeWire records nothing ({message})"));
                }
                StreamState::Unconnected if old != StreamState::Unconnected => {
                    failed.because("PipeWire has ended the recording".to_owned());
                }
                _ => {}
            })
            .process(move |stream, ()| {
                let now = clock::now();
                while let Some(mut buffer) = stream.dequeue_buffer() {
                    if let Some(bytes) = daemon::captured(&mut buffer) {
                        heard.ring.push(bytes, now);
                    }
                }
            })
            .register()
    }
}

/// Runs the loop until the daemon has named everything that it has; the sources of that. `end` has
/// a reason if it has not.
fn ask(main_loop: &MainLoopRc, core: &CoreRc, end: &End) -> Result<Vec<String>, pw::Error> {
    let _core_listener = end.listen(core);
    let names = Rc::new(RefCell::new(Vec::new()));
    let registry: RegistryRc = core.get_registry_rc()?;
    let found = Rc::clone(&names);
    let _registry_listener = registry
        .add_listener_local()
        .global(move |global| found.borrow_mut().extend(source_name(global)))
        .register();
    // Requests are answered in their order, so everything is named before this one.
    let asked = Rc::new(Cell::new(None));
    let (awaited, done) = (Rc::clone(&asked), main_loop.clone());
    let _done_listener = core
        .add_listener_local()
        .done(move |id, number| {
            if id == PW_ID_CORE && awaited.get() == Some(number.seq()) {
                done.quit();
            }
        })
        .register();
    asked.set(Some(core.sync(0)?.seq()));
    let silent = end.clone();
    let timer = main_loop
        .loop_()
        .add_timer(move |_| silent.because("it does not answer".to_owned()));
    let armed = timer.update_timer(Some(ANSWER_TIMEOUT), None);
    armed.into_result()?;
    main_loop.run();
    Ok(names.take())
}

/// Its name, if it is a source of sound.
fn source_name(global: &GlobalObject<&spa::utils::dict::DictRef>) -> Option<String> {
    let properties = global.props.filter(|_| global.type_ == ObjectType::Node)?;
    let class = properties.get(*pw::keys::MEDIA_CLASS)?;
    let records = class.starts_with("Audio/Source") || class == "Audio/Duplex";
    let name = properties.get(*pw::keys::NODE_NAME)?;
    records.then(|| name.to_owned())
}
