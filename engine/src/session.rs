//! A session: one client's display, capture, encoder and pipeline.
//!
//! Each lives on a thread of its own (`pf-session`), because starting a compositor takes a tenth
//! of a second and control serves others meanwhile. It climbs one ladder and comes down the same
//! way, whatever ends it:
//!
//! ```text
//!  prep ─▶ sound ─▶ display ─▶ capture ─▶ encoder ─▶ (Ready … Start) ─▶ pipeline ─▶ (until End
//!                               ▲                                        │             or a fault)
//!                               └──── (Start) ◀──── display alone ◀──────┘ Suspend
//!                                                     ⟲ SetMode
//! ```
//!
//! While the pipeline runs [`SessionCommand::ChangeMode`] changes the mode below it (`remode.rs`).

mod clipboard;
mod microphone;
mod remode;
mod source;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded, never};
use gpu::encode::{EncodeError, Encoder, EncoderConfig, EncoderKind};
use net::audio::Speakers;
use net::times::FrameTimes;
use net::udp::Socket;
use net::units::{BitsPerSecond, FrameId, Mode, SliceCount};
use platform::audio::microphone::{Microphone, MicrophoneBackend};
use platform::audio::{AudioBackend, AudioRequest, AudioSource};
use platform::capture::{Capture, CaptureError};
use platform::cursor::CursorSource;
use platform::display::{
    AppState, Cancel, DisplayBackend, DisplayError, DisplayRequest, VirtualDisplay,
};
use platform::select;
use platform::thread::{Role, RoleThread};

use self::remode::Standing;
use crate::apps::Prep;
use crate::apps::prep::{PrepError, Prepared};
use crate::host::{Place, unchosen};
use crate::metrics::SessionMetrics;
use crate::pipeline::{self, Parts, Pipeline};
use crate::stage::StageFault;
use crate::stage::audio::{self, AudioConfig, AudioOut, AudioStage};
use crate::stage::clipboard::{ClipboardQueue, ClipboardThread};
use crate::stage::cursor::{CursorFeed, CursorStage};
use crate::stage::cutter::Cutter;
use crate::stage::encode::EncodeCommand;
use crate::stage::input::{InputQueue, InputThread};
use crate::stage::microphone::{MicrophoneQueue, MicrophoneThread};
use crate::steering::PipelineEnds;

/// How often a living display is asked whether it is.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Commands under way to a session; the sender coalesces, so this is never full for long.
const COMMANDS: usize = 16;
/// A session that does not end within this is left behind and reported, so that a host's end never
/// takes two seconds; what it had started ends with the process, by the nets of
/// [`platform::process`]. A display has half a second for its children and less for its farewell,
/// and a pipeline's threads end in milliseconds.
pub const JOIN_TIMEOUT: Duration = Duration::from_millis(1700);

/// An application that ends well so soon after its start has only started another: a launcher.
/// The session goes on without it.
const LAUNCHER_TIME: Duration = Duration::from_secs(5);

/// What a session is to be.
#[derive(Clone, Debug)]
pub struct SessionRequest {
    /// The agreed mode.
    pub mode: Mode,
    /// The agreed slices.
    pub slices: SliceCount,
    /// The agreed bitrate.
    pub bitrate: BitsPerSecond,
    /// What runs on the display; empty for nothing.
    pub app: Vec<String>,
    /// What else belongs to it.
    pub terms: AppTerms,
    /// Threads inside the encoder.
    pub encoder_threads: u8,
    /// The channels of its sink, which stays as it is; `None` for a client that wants no sound.
    pub audio: Option<Speakers>,
    /// Its client and its display share a clipboard.
    pub clipboard: bool,
    /// Its client speaks into a source of the session's own.
    pub microphone: bool,
    /// The client draws the pointer, if the capture can leave it out of the pictures.
    pub cursor: bool,
}

/// What reaches beyond pictures, sound and input, as far as it was asked for and is there.
#[derive(Clone, Default)]
pub struct Shared {
    /// The display's clipboard.
    pub clipboard: Option<ClipboardQueue>,
    /// The session's microphone.
    pub microphone: Option<MicrophoneQueue>,
}

/// What belongs to an application beside its command line. By default nothing.
#[derive(Clone, Debug, Default)]
pub struct AppTerms {
    /// Variables of its environment and of its prep commands', beside the session's own.
    pub environment: BTreeMap<String, String>,
    /// What is done before the display is made, and undone when it is gone.
    pub prep: Vec<Prep>,
    /// The only kind of display to make, by its name; `None` is the host's.
    pub desktop: Option<String>,
    /// The session is over when the application is.
    pub ends_session: bool,
}

/// The backends that this host's sessions are made with, chosen at start.
#[derive(Clone)]
pub struct Backends {
    /// Where displays come from.
    pub display: Arc<dyn DisplayBackend>,
    /// What encodes.
    pub encoder: &'static EncoderKind,
    /// Where sound comes from, if it does.
    pub audio: Option<Arc<dyn AudioBackend>>,
    /// Where clients' sound goes, if it goes anywhere.
    pub microphone: Option<Arc<dyn MicrophoneBackend>>,
}

/// What control tells a session.
pub enum SessionCommand {
    /// The client is ready, the keys are there: stream.
    Start(Box<StartMedia>),
    /// For the encode thread.
    Encode(EncodeCommand),
    /// The client's address has changed, and is known to be the client's.
    Redirect(SocketAddr),
    /// Nobody watches for now: the pipeline ends, display and application stay for another
    /// [`SessionCommand::Start`].
    Suspend,
    /// The display shall have another mode; only while nobody watches.
    /// [`SessionEvent::ModeSet`] answers.
    SetMode(Mode),
    /// The display shall have another mode while its client watches; one at a time.
    /// [`SessionEvent::ModeChanged`] answers.
    ChangeMode(Mode),
}

/// What a client says late of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeTerms {
    /// What to aim for at first.
    pub bitrate: BitsPerSecond,
    /// Slices of each picture; as many as the encoder can at most.
    pub slices: SliceCount,
}

/// What streaming takes beside the session itself.
pub struct StartMedia {
    /// FEC and AEAD with the session's keys.
    pub cutter: Cutter,
    /// What to encode, where it was not known when the session was asked for.
    pub encode: Option<EncodeTerms>,
    /// The host's socket.
    pub socket: Socket,
    /// The client's validated address.
    pub peer: SocketAddr,
    /// Orders and tasks from control, departures to it.
    pub control: PipelineEnds,
    /// What becomes of its sound, if any is wanted.
    pub audio: Option<StartAudio>,
}

/// A stream's sound.
pub struct StartAudio {
    /// What is made of it.
    pub config: AudioConfig,
    /// Where it goes.
    pub out: Box<dyn AudioOut>,
}

/// What a session tells control.
pub enum SessionEvent {
    /// Display, capture and encoder stand.
    Ready {
        /// The display's real mode.
        mode: Mode,
        /// What encodes.
        encoder: &'static str,
        /// Slices that it will really emit.
        slices: SliceCount,
        /// Most slices that it can.
        slices_max: SliceCount,
        /// A loss can be encoded past without an IDR.
        invalidates_references: bool,
        /// Where input goes; `None` if the display takes none.
        input: Option<InputQueue>,
        /// What it shares with its client.
        shared: Shared,
        /// What the client is to draw; `None` if its pictures show the pointer.
        cursor: Option<CursorFeed>,
    },
    /// The pipeline runs; finished frames' times come from here.
    Started {
        /// Oldest first.
        reports: Receiver<FrameTimes>,
        /// Name of the capture backend.
        capture: &'static str,
    },
    /// An application says something to a controller: [`InputQueue::poll_output`].
    PadOutput,
    /// Somebody has copied a text: [`ClipboardQueue::poll_copied`].
    Copied,
    /// The pointer is another: [`CursorFeed::take`].
    Cursor,
    /// The answer to [`SessionCommand::SetMode`]: the display's mode by now, or why it still has
    /// the one of before.
    ModeSet {
        /// What was asked for.
        wanted: Mode,
        /// What came of it.
        result: Result<Mode, SessionError>,
    },
    /// The answer to [`SessionCommand::ChangeMode`]: the display's mode by now and its first frame,
    /// which is on its way, or why the mode of before goes on.
    ModeChanged(Result<(Mode, FrameId), SessionError>),
    /// It ended by itself, and why.
    Failed(SessionError),
}

/// Why a session could not be or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// A command before the application.
    #[error(transparent)]
    Prep(#[from] PrepError),
    /// The kind of display that the application asks for.
    #[error("no display of the kind {wanted} can be made here: {reasons}")]
    NoDisplay {
        /// Its name.
        wanted: String,
        /// What it said.
        reasons: String,
    },
    /// The application has ended, and the session with it.
    #[error("the application has ended ({epitaph})")]
    AppEnded {
        /// Exit status and last words.
        epitaph: String,
        /// It ended well: its user has left it.
        success: bool,
    },
    /// It streams: nothing can be changed below it.
    #[error("the session is being watched")]
    Watched,
    /// Nobody does, so there is nothing to change below it.
    #[error("nobody watches the session yet")]
    NotWatched,
    /// Another change is in work, or went wrong in a way of its own.
    #[error("the display is changing its mode; ask again")]
    Changing,
    /// The display.
    #[error(transparent)]
    Display(#[from] DisplayError),
    /// The capture.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// No kind of capture works for the display.
    #[error("the display cannot be captured: {reasons}")]
    NoCapture {
        /// What each candidate said.
        reasons: String,
    },
    /// The encoder.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// A stage of the pipeline.
    #[error(transparent)]
    Stage(#[from] StageFault),
    /// A thread could not be started.
    #[error("a thread could not be started: {0}")]
    Thread(std::io::Error),
}

/// A session as control holds it. Dropping it ends the session and waits for the end.
pub struct Session {
    cancel: Cancel,
    commands: Option<Sender<SessionCommand>>,
    metrics: Arc<SessionMetrics>,
    thread: Option<RoleThread<()>>,
    /// Given back when it has ended: fields go after the join in its drop.
    place: Option<Place>,
}

impl Session {
    /// Starts a session's thread; `on_event` is called from it.
    ///
    /// # Errors
    /// The system's, if the thread cannot be started.
    pub fn spawn(
        request: SessionRequest,
        backends: Backends,
        on_event: Arc<dyn Fn(SessionEvent) + Send + Sync>,
    ) -> std::io::Result<Self> {
        let (commands_in, commands) = bounded(COMMANDS);
        let metrics = Arc::new(SessionMetrics::default());
        let counted = Arc::clone(&metrics);
        let cancel = Cancel::default();
        let over = cancel.clone();
        let thread = platform::thread::spawn(Role::Control, "pf-session", move || {
            let ended = Stage {
                request,
                cancel: over.clone(),
                backends,
                commands,
                metrics: counted,
                on_event: &on_event,
            }
            .run();
            // What fails because nobody waits for it any more is no failure.
            if let Err(error) = ended
                && !over.is_asked()
            {
                on_event(SessionEvent::Failed(error));
            }
        })?;
        Ok(Self {
            cancel,
            commands: Some(commands_in),
            metrics,
            thread: Some(thread),
            place: None,
        })
    }

    /// Keeps its place among the host's sessions until it has ended.
    pub fn hold(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// Tells the session. False if its queue is full or it has ended; the command is left out
    /// then, and whoever needs it says it again.
    #[must_use]
    pub fn command(&self, command: SessionCommand) -> bool {
        let commands = self.commands.as_ref();
        commands.is_some_and(|commands| commands.try_send(command).is_ok())
    }

    /// What its pipeline measures.
    #[must_use]
    pub const fn metrics(&self) -> &Arc<SessionMetrics> {
        &self.metrics
    }

    /// Asks it to end without waiting; dropping it waits.
    pub fn end(&mut self) {
        self.cancel.ask();
        self.commands = None;
        if let Some(place) = &mut self.place {
            place.give_back_threads();
        }
    }

    /// True once its thread has ended, so that dropping it will not wait.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(RoleThread::is_finished)
    }

    /// Ends it and waits for the end, until `deadline` at most: several that were asked to end
    /// before share their time.
    pub fn join_by(mut self, deadline: Instant) {
        self.join_within(deadline.saturating_duration_since(Instant::now()));
    }

    fn join_within(&mut self, limit: Duration) {
        self.end();
        if let Some(thread) = self.thread.take()
            && let Err(error) = thread.join_within(limit)
        {
            log::error!("{error}");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.join_within(JOIN_TIMEOUT);
    }
}

/// What a pipeline begins with.
struct Source {
    capture: Box<dyn Capture>,
    capture_name: &'static str,
    encoder: Box<dyn Encoder>,
    config: EncoderConfig,
    cursor: Option<Box<dyn CursorSource>>,
}

/// How a pipeline's time ended without a fault.
enum Served {
    Suspended,
    Ended,
}

/// The session thread's own half.
struct Stage<'a> {
    request: SessionRequest,
    cancel: Cancel,
    backends: Backends,
    commands: Receiver<SessionCommand>,
    metrics: Arc<SessionMetrics>,
    on_event: &'a Arc<dyn Fn(SessionEvent) + Send + Sync>,
}

impl Stage<'_> {
    /// Up the ladder; returning drops what stands, in reverse.
    fn run(self) -> Result<(), SessionError> {
        let terms = &self.request.terms;
        let _prepared = Prepared::run(&terms.prep, &terms.environment, &self.cancel)?;
        let mut sound = self.open_sound();
        let microphone = microphone::open(&self.request, &self.backends);
        let request = DisplayRequest {
            mode: self.request.mode,
            app: self.request.app.clone(),
            environment: self.environment(sound.as_deref(), microphone.as_deref()),
            cursor_apart: self.request.cursor,
            cancel: self.cancel.clone(),
        };
        let mut display = self.display_backend()?.create(&request)?;
        if self.cancel.is_asked() {
            return Ok(());
        }
        // As the clipboard, lives until the end of this function, and ends before the display does.
        // Opened before the capture, which can tell of the pointer only where the seat has one.
        let input = self.open_input(display.as_ref());
        let mut source = self.open_source(display.as_ref(), self.terms_at_first())?;
        // One that could not even begin is a launch that failed.
        self.check(display.as_mut())?;
        let capabilities = source.encoder.capabilities();
        let slices_max = SliceCount::new(capabilities.slices_max).unwrap_or(SliceCount::ONE);
        let clipboard = clipboard::open(&self.request, display.as_ref(), self.on_event);
        let microphone = microphone.and_then(microphone::start);
        let mut cursor = self.start_cursor(source.cursor.take());
        (self.on_event)(SessionEvent::Ready {
            mode: source.config.mode,
            encoder: capabilities.name,
            slices: source.config.slices.min(slices_max),
            slices_max,
            invalidates_references: capabilities.invalidates_references,
            input: input.as_ref().map(InputThread::queue),
            shared: Shared {
                clipboard: clipboard.as_ref().map(ClipboardThread::queue),
                microphone: microphone.as_ref().map(MicrophoneThread::queue),
            },
            cursor: cursor.as_ref().map(CursorStage::feed),
        });
        let mut source = Some(source);
        loop {
            let Some(mut start) = self.await_start(display.as_mut(), &mut source)? else {
                return Ok(());
            };
            let stage = match start.audio.take() {
                Some(audio) => sound
                    .take()
                    .and_then(|source| self.start_sound(source, audio)),
                None => None,
            };
            let mut source = self.source_for(&start, source.take(), display.as_ref())?;
            if let (Some(cursor), Some(again)) = (&mut cursor, source.cursor.take()) {
                cursor.replace(Some(again), source.config.mode);
            }
            let mut standing = Standing {
                cursor: cursor.take(),
                config: source.config,
                capture_name: source.capture_name,
                slice_bytes_max: pipeline::slice_bytes_max(&source.config),
                in_work: None,
            };
            let capture = source.capture_name;
            let (pipeline, faults) = self.start(start, source)?;
            (self.on_event)(SessionEvent::Started {
                reports: pipeline.reports().clone(),
                capture,
            });
            let served = self.serve(&pipeline, &faults, display.as_mut(), &mut standing);
            drop(pipeline);
            cursor = standing.cursor;
            // The sink goes after the display with its applications, which play into it.
            sound = stage.and_then(AudioStage::stop).or(sound);
            match served? {
                Served::Ended => return Ok(()),
                Served::Suspended => {}
            }
        }
    }

    /// The kind that the application asks for, if it is ready, else the host's.
    fn display_backend(&self) -> Result<Arc<dyn DisplayBackend>, SessionError> {
        let Some(wanted) = self.request.terms.desktop.as_deref() else {
            return Ok(Arc::clone(&self.backends.display));
        };
        let selection = select::choose_display(platform::display::candidates(), Some(wanted));
        let chosen = selection.chosen.map(Arc::from);
        chosen.ok_or_else(|| SessionError::NoDisplay {
            wanted: wanted.to_owned(),
            reasons: unchosen(Some(wanted), &selection.answers),
        })
    }

    /// The application's own variables, then the session's, which win.
    fn environment(
        &self,
        sound: Option<&dyn AudioSource>,
        microphone: Option<&dyn Microphone>,
    ) -> Vec<(String, String)> {
        let own = self.request.terms.environment.clone().into_iter();
        let sound = sound.map(|it| it.capabilities().environment.clone());
        let microphone = microphone.map(|it| it.environment());
        let sound = sound.into_iter().chain(microphone).flatten();
        own.chain(sound.map(|(name, value)| (name.to_owned(), value)))
            .collect()
    }

    /// Display and application.
    fn check(&self, display: &mut dyn VirtualDisplay) -> Result<(), SessionError> {
        display.check()?;
        if !self.request.terms.ends_session {
            return Ok(());
        }
        match display.app() {
            AppState::Ended {
                success,
                epitaph,
                after,
            } if !success || after >= LAUNCHER_TIME => {
                Err(SessionError::AppEnded { epitaph, success })
            }
            _ => Ok(()),
        }
    }

    /// Another mode, and a source that stands in it; else the one of before.
    fn change_mode(
        &self,
        display: &mut dyn VirtualDisplay,
        source: &mut Option<Source>,
        mode: Mode,
    ) -> Result<Mode, SessionError> {
        let before = display.mode();
        // Its capture is of the mode of before.
        *source = None;
        display.set_mode(mode)?;
        match self.open_source(display, self.terms_at_first()) {
            Ok(opened) => {
                let mode = opened.config.mode;
                *source = Some(opened);
                Ok(mode)
            }
            Err(error) => {
                display.set_mode(before)?;
                Err(error)
            }
        }
    }

    const fn terms_at_first(&self) -> EncodeTerms {
        EncodeTerms {
            bitrate: self.request.bitrate,
            slices: self.request.slices,
        }
    }

    /// What a pipeline begins with.
    fn open_source(
        &self,
        display: &dyn VirtualDisplay,
        terms: EncodeTerms,
    ) -> Result<Source, SessionError> {
        let opened = source::open(display, self.request.cursor)?;
        let config = EncoderConfig {
            mode: display.mode(),
            bitrate: terms.bitrate,
            slices: terms.slices,
            threads: self.request.encoder_threads,
        };
        let encoder = (self.backends.encoder.open)(&config)?;
        Ok(Source {
            capture: opened.capture,
            capture_name: opened.name,
            encoder,
            config,
            cursor: opened.cursor,
        })
    }

    /// The source that stands, if it is what the client wants by now, else another.
    fn source_for(
        &self,
        start: &StartMedia,
        standing: Option<Source>,
        display: &dyn VirtualDisplay,
    ) -> Result<Source, SessionError> {
        let terms = start.encode.unwrap_or(self.terms_at_first());
        let Some(mut source) = standing else {
            return self.open_source(display, terms);
        };
        let config = EncoderConfig {
            bitrate: terms.bitrate,
            slices: terms.slices,
            ..source.config
        };
        let standing = (source.config.bitrate, source.config.slices);
        if standing != (terms.bitrate, terms.slices) {
            source.encoder = (self.backends.encoder.open)(&config)?;
            source.config = config;
        }
        Ok(source)
    }

    /// A display that takes no input is shown all the same; the log says why it takes none.
    fn open_input(&self, display: &dyn VirtualDisplay) -> Option<InputThread> {
        let candidates = platform::inject::candidates_for(display.pointer());
        let (injectors, _) = platform::inject::open(&candidates, display.address());
        if injectors.is_empty() {
            return None;
        }
        let on_event = Arc::clone(self.on_event);
        let on_output = Box::new(move || on_event(SessionEvent::PadOutput));
        InputThread::spawn(injectors, Arc::clone(&self.metrics), on_output)
            .inspect_err(|error| log::warn!("input has no thread: {error}"))
            .ok()
    }

    /// Without its thread the pointer cannot be seen, but the session goes on.
    fn start_cursor(&self, source: Option<Box<dyn CursorSource>>) -> Option<CursorStage> {
        let on_event = Arc::clone(self.on_event);
        let on_news = Arc::new(move || on_event(SessionEvent::Cursor));
        CursorStage::spawn(source?, on_news)
            .inspect_err(|error| log::error!("the cursor has no thread: {error}"))
            .ok()
    }

    /// The session's own sink. Without one there is no sound, and the session goes on.
    fn open_sound(&self) -> Option<Box<dyn AudioSource>> {
        let request = AudioRequest {
            speakers: self.request.audio?,
        };
        let opened = self.backends.audio.as_ref()?.open(&request);
        opened
            .inspect_err(|error| log::warn!("the session has no sound: {error}"))
            .ok()
    }

    fn start_sound(&self, source: Box<dyn AudioSource>, start: StartAudio) -> Option<AudioStage> {
        audio::spawn(source, start.config, start.out, Arc::clone(&self.metrics))
            .inspect_err(|error| log::warn!("the session has no sound: {error}"))
            .ok()
    }

    /// `None` if the client goes away first.
    fn await_start(
        &self,
        display: &mut dyn VirtualDisplay,
        source: &mut Option<Source>,
    ) -> Result<Option<StartMedia>, SessionError> {
        loop {
            match self.commands.recv_timeout(CHECK_INTERVAL) {
                Ok(SessionCommand::Start(start)) => return Ok(Some(*start)),
                Ok(SessionCommand::SetMode(mode)) => {
                    (self.on_event)(SessionEvent::ModeSet {
                        wanted: mode,
                        result: self.change_mode(display, source, mode),
                    });
                }
                Ok(SessionCommand::ChangeMode(_)) => {
                    self.tell_mode(Err(SessionError::NotWatched));
                }
                Ok(
                    SessionCommand::Encode(_)
                    | SessionCommand::Redirect(_)
                    | SessionCommand::Suspend,
                ) => {}
                Err(RecvTimeoutError::Timeout) => self.check(display)?,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
            }
        }
    }

    fn start(
        &self,
        start: StartMedia,
        source: Source,
    ) -> Result<(Pipeline, Receiver<StageFault>), SessionError> {
        let open = self.backends.encoder.open;
        let config = source.config;
        // One fault a stage at most.
        let (faults_in, faults) = bounded(4);
        let pipeline = pipeline::spawn(Parts {
            capture: source.capture,
            encoder: source.encoder,
            reopen: Box::new(move || open(&config)),
            cutter: start.cutter,
            socket: start.socket,
            peer: start.peer,
            mode: config.mode,
            bitrate: config.bitrate,
            slices: config.slices,
            control: start.control,
            metrics: Arc::clone(&self.metrics),
            on_fault: Arc::new(move |fault| {
                // Full only if more stages failed than exist; gone only if nobody cares.
                let _ = faults_in.try_send(fault);
            }),
        })
        .map_err(SessionError::Thread)?;
        Ok((pipeline, faults))
    }

    fn serve(
        &self,
        pipeline: &Pipeline,
        faults: &Receiver<StageFault>,
        display: &mut dyn VirtualDisplay,
        standing: &mut Standing,
    ) -> Result<Served, SessionError> {
        let ticks = crossbeam::channel::tick(CHECK_INTERVAL);
        let mut changed = pipeline.changed().clone();
        loop {
            crossbeam::select! {
                recv(self.commands) -> command => match command {
                    Ok(SessionCommand::Encode(command)) => pipeline.command(command),
                    Ok(SessionCommand::Redirect(peer)) => pipeline.redirect(peer),
                    Ok(SessionCommand::Start(_)) => {}
                    Ok(SessionCommand::SetMode(mode)) => {
                        (self.on_event)(SessionEvent::ModeSet {
                            wanted: mode,
                            result: Err(SessionError::Watched),
                        });
                    }
                    Ok(SessionCommand::ChangeMode(mode)) => {
                        self.change_watched(pipeline, display, standing, mode)?;
                    }
                    Ok(SessionCommand::Suspend) => return Ok(Served::Suspended),
                    Err(_) => return Ok(Served::Ended),
                },
                recv(faults) -> fault => {
                    let Ok(fault) = fault else { return Ok(Served::Ended) };
                    // A compositor's death says more than the broken pipe that it leaves.
                    display.check()?;
                    return Err(fault.into());
                }
                recv(changed) -> made => match made {
                    Ok(made) => self.mode_made(standing, made),
                    // Encode has ended; why, a fault says.
                    Err(_) => changed = never(),
                },
                recv(ticks) -> _ => self.check(display)?,
            }
        }
    }
}
