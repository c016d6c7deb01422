//! The native client's own pipeline: what [`net::client`] reassembles is decoded on a thread of
//! its own, recorded and measured. A decoder that takes slices gets them as they come; else, and
//! where it cannot follow, it gets whole access units. Both go the same way.

mod audio;
mod clipboard;
mod last;
mod microphone;
mod remode;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError};
use gpu::bitstream::GapTracker;
use gpu::decode::{Decoder, DecoderKind, Part, Picture};
use net::client::{
    Client, ClientCursor, ClientInput, ClientNotice, ConnectError, ConnectOptions, Feedback,
    ReceiveSnapshot,
};
use net::clock;
use net::identity::Fingerprint;
use net::native::{Features, Reconfigured, Welcome};
use net::reassemble::{AccessUnit, Granularity};
use net::times::FrameTimes;
use net::units::{FrameId, Mode, Timestamp};
use platform::select::{self, Refusal, Selection};
use platform::thread::{JoinError, Role, RoleThread};

use crate::host::unchosen;
use audio::{Listener, WaveFile};
use clipboard::Sharing;
use last::LastPicture;
use microphone::Speaker;
use remode::ModeLog;

pub use audio::Sound;
pub use clipboard::ClipboardChoice;
pub use microphone::{MicrophoneChoice, Spoken, Voice, VoiceError};
pub use remode::{ModeReport, ModeTrip};

/// Frames that a recording of measurements holds: ten minutes at 60 Hz. The first ones are kept.
const FRAMES_RECORDED_MAX: usize = 36_000;
/// How long the decode thread waits before it looks whether it is wanted.
const PATIENCE: Duration = Duration::from_millis(100);
/// Decoding what waits and writing the results takes no longer.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Which decoder, and how it gets frames.
#[derive(Clone, Copy, Debug)]
pub struct DecoderChoice {
    /// The decoder.
    pub kind: &'static DecoderKind,
    /// Never slice by slice, even if it takes them so: for comparison.
    pub whole_frames: bool,
}

/// Where results go.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// The H.264 stream as it was shown (Annex B), from the first IDR on. Where frames were lost,
    /// pictures that repeat the one before stand in for them, so that any player goes on.
    pub h264: Option<PathBuf>,
    /// The last decoded picture, with the pointer on it if the host left that to the client.
    pub png: Option<PathBuf>,
    /// What was heard, as a WAVE file; the Hello must ask for sound.
    pub wave: Option<PathBuf>,
}

/// What the client saw of one frame.
#[derive(Clone, Debug)]
pub struct ClientFrame {
    /// Which frame.
    pub frame: FrameId,
    /// It is an IDR.
    pub keyframe: bool,
    /// Size, bytes.
    pub bytes: usize,
    /// Its first datagram was taken from the kernel.
    pub received_first: Timestamp,
    /// When each slice was complete, top to bottom.
    pub slices_complete: Vec<Timestamp>,
    /// The access unit was complete.
    pub complete: Timestamp,
    /// Its first part was taken by the decode thread: before `complete` if it came in slices.
    pub decode_begin: Timestamp,
    /// The picture was there; zero if the decoder gave none.
    pub decoded: Timestamp,
    /// Width and height of the picture, pixels; zero if the decoder gave none.
    pub size: (usize, usize),
    /// Data shards that FEC restored.
    pub repaired_shards: u32,
}

/// Watches every decoded picture, on the decode thread.
pub trait PictureObserver: Send {
    /// A picture was decoded; `frame` says what is known of it.
    fn picture(&mut self, frame: &ClientFrame, picture: &Picture<'_>);
}

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// What the host agreed to.
    pub welcome: Welcome,
    /// Every frame that came, in order, up to a bound.
    pub frames: Vec<ClientFrame>,
    /// What the host measured of each, if it shares this machine's clock.
    pub host_times: Vec<FrameTimes>,
    /// Counts of the receiver.
    pub received: ReceiveSnapshot,
    /// What was heard, if anybody listened and the host had sound.
    pub sound: Option<Sound>,
    /// What was said, if the host listened.
    pub spoken: Option<Spoken>,
    /// Texts that came from the host's clipboard; `None` if none was shared.
    pub copied: Option<u64>,
    /// What was asked of the mode, and what came of it.
    pub modes: ModeReport,
    /// Frames that the decoder could not decode.
    pub decode_failures: u64,
    /// From the call of connect to the first decoded picture.
    pub first_picture: Option<Duration>,
    /// Why it ended, if the host ended it.
    pub ended: Option<String>,
}

/// A run failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No session came about.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// None of the decoders fits, or there is none of the name asked for.
    #[error("no decoder can be used here: {reasons}")]
    NoDecoder {
        /// What each said.
        reasons: String,
    },
    /// The decoder cannot be opened.
    #[error(transparent)]
    Decoder(#[from] gpu::decode::DecodeError),
    /// No decoder for sound, or no encoder.
    #[error("the sound's codec cannot be opened: {0}")]
    Opus(#[from] opus::Error),
    /// The microphone cannot be recorded any more.
    #[error(transparent)]
    Record(#[from] platform::audio::recorder::RecordError),
    /// A result could not be written. The session was ended in an orderly way.
    #[error("{path} cannot be written: {source}")]
    Output {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("the decode thread cannot be started: {0}")]
    Thread(std::io::Error),
    /// The decode thread gave no results.
    #[error("the results are lost: {0}; this is a bug in punktfunk, please report it")]
    Decode(#[from] JoinError),
}

impl DecoderChoice {
    /// Asks every decoder, and takes the first that is ready, or the one that is `wanted`.
    ///
    /// # Errors
    /// [`ClientError::NoDecoder`].
    pub fn make(wanted: Option<&str>) -> Result<Self, ClientError> {
        let selection = ask_decoders(wanted);
        let Some(kind) = selection.chosen else {
            return Err(ClientError::NoDecoder {
                reasons: unchosen(wanted, &selection.answers),
            });
        };
        Ok(Self {
            kind: *kind,
            whole_frames: false,
        })
    }
}

/// Asks every decoder of this build.
pub(crate) fn ask_decoders(wanted: Option<&str>) -> Selection<&'static DecoderKind> {
    let candidates = gpu::decode::candidates().iter().map(Box::new).collect();
    select::choose("decoder", candidates, wanted, |kind| {
        let answer = (kind.probe)();
        let refusal = answer.map_err(|(reason, fix)| Refusal::new(reason, fix));
        (kind.name, refusal)
    })
}

/// A connected client that decodes.
pub struct Viewer {
    client: Client,
    decode: RoleThread<Result<Decoded, ClientError>>,
    listener: Option<Listener>,
    sharing: Option<Sharing>,
    /// Held for its thread.
    speaker: Option<Speaker>,
    host_times: Vec<FrameTimes>,
    modes: ModeLog,
    started: Timestamp,
    ended: Option<String>,
}

impl Viewer {
    /// Opens outputs and decoder, then connects; blocks until the host has answered.
    ///
    /// # Errors
    /// See [`ClientError`]. Outputs are opened first, so that a bad path costs no session.
    pub fn connect(
        options: ConnectOptions,
        decoder: DecoderChoice,
        outputs: Outputs,
        observer: Option<Box<dyn PictureObserver>>,
    ) -> Result<Self, ClientError> {
        let record = outputs.h264.as_deref().map(Recording::create).transpose()?;
        let wave = outputs.wave.as_deref().map(WaveFile::create).transpose()?;
        let whole_frames = decoder.whole_frames;
        let decoder = (decoder.kind.open)()?;
        let granularity = if decoder.capabilities().takes_slices && !whole_frames {
            Granularity::Slices
        } else {
            Granularity::Frames
        };
        let started = clock::now();
        let client = Client::connect_with(options, granularity, || {
            platform::thread::adopt(Role::Receive);
        })?;
        let speakers = client.welcome().features.speakers();
        let listener = match (speakers, wave) {
            (Some(speakers), Some(wave)) => {
                Some(Listener::start(speakers, client.heard().clone(), wave)?)
            }
            (None, Some(wave)) => {
                log::warn!("the host has no sound to give");
                wave.leave_empty()?;
                None
            }
            (_, None) => None,
        };
        let units = client.units().clone();
        let feedback = client.feedback();
        let decoding = Decoding {
            decoder,
            record,
            png: outputs.png,
            cursors: client.cursors().clone(),
            observer,
            feedback,
            open: None,
            decoded: Decoded::default(),
        };
        let decode =
            platform::thread::spawn(Role::Decode, "pf-decode", move || decoding.run(&units))
                .map_err(ClientError::Thread)?;
        Ok(Self {
            client,
            decode,
            listener,
            sharing: None,
            speaker: None,
            host_times: Vec::new(),
            modes: ModeLog::default(),
            started,
            ended: None,
        })
    }

    /// What the host agreed to.
    #[must_use]
    pub fn welcome(&self) -> &Welcome {
        self.client.welcome()
    }

    /// Where input goes in.
    #[must_use]
    pub fn input(&self) -> ClientInput {
        self.client.input()
    }

    /// Shares a clipboard with the host, if the Hello asked for it and the host has agreed. Once.
    ///
    /// # Errors
    /// [`ClientError::Thread`].
    pub fn share_clipboard(&mut self, choice: ClipboardChoice) -> Result<(), ClientError> {
        self.sharing = Sharing::start(&self.client, choice)?;
        Ok(())
    }

    /// Speaks into the session's microphone, if the Hello asked for it and the host has agreed.
    /// Only then is this machine's recorded.
    ///
    /// # Errors
    /// [`ClientError::Thread`], [`ClientError::Opus`], [`ClientError::Record`].
    pub fn speak(&mut self, voice: Voice) -> Result<(), ClientError> {
        if self.welcome().features.contains(Features::MICROPHONE) {
            self.speaker = Some(Speaker::start(voice, self.client.microphone())?);
        }
        Ok(())
    }

    /// Asks the host for another mode. [`Outcome::modes`] tells what came of it.
    pub fn request_mode(&mut self, mode: Mode) {
        let now = clock::now();
        let number = self.client.modes().request(mode);
        self.modes.asked(number, mode, now);
    }

    /// The host's newest answer to a request for another mode that [`Viewer::run_for`] has seen.
    #[must_use]
    pub fn mode_answer(&self) -> Option<&Reconfigured> {
        self.modes.newest()
    }

    /// Counts of the receiver so far.
    #[must_use]
    pub fn received(&self) -> ReceiveSnapshot {
        self.client.received()
    }

    /// Who the host is.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.client.fingerprint()
    }

    /// Lets the session run for `time`. False if it has ended or `interrupted` says so: call
    /// [`Viewer::finish`].
    pub fn run_for(&mut self, time: Duration, interrupted: impl Fn() -> bool) -> bool {
        let until = clock::now() + time;
        while !interrupted() && self.ended.is_none() && !self.decode.is_finished() {
            let left = until.since(clock::now());
            if left.is_zero() {
                return true;
            }
            match self.client.notices().recv_timeout(left.min(PATIENCE)) {
                Ok(notice) => self.note(notice),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    self.ended
                        .get_or_insert_with(|| "the receiver ended".to_owned());
                }
            }
        }
        false
    }

    /// Why the session has ended, if it has and the host or the network did it.
    #[must_use]
    pub fn end_reason(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// Ends the session and gathers what it came to.
    ///
    /// # Errors
    /// What went wrong on the decode thread: [`ClientError::Output`], mostly.
    pub fn finish(mut self) -> Result<Outcome, ClientError> {
        let spoken = self.speaker.take().map(Speaker::finish);
        let received = self.client.received();
        let welcome = self.client.welcome().clone();
        self.client.end();
        while let Ok(notice) = self.client.notices().try_recv() {
            self.note(notice);
        }
        // Closes the channels of access units and of sound, which ends the threads behind them.
        drop(self.client);
        let copied = self.sharing.map(Sharing::finish);
        let sound = self.listener.map(Listener::finish).transpose()?;
        let decoded = self.decode.join_within(JOIN_TIMEOUT)??;
        Ok(Outcome {
            modes: self.modes.report(welcome.mode, &decoded.frames),
            welcome,
            first_picture: decoded.first_picture.map(|at| at.since(self.started)),
            frames: decoded.frames,
            sound,
            spoken,
            copied,
            decode_failures: decoded.failures,
            host_times: self.host_times,
            received,
            ended: self.ended,
        })
    }

    fn note(&mut self, notice: ClientNotice) {
        match notice {
            ClientNotice::FrameTimes(times) => {
                let room = FRAMES_RECORDED_MAX.saturating_sub(self.host_times.len());
                self.host_times.extend(times.into_iter().take(room));
            }
            // Controllers of this machine do not reach this client yet.
            ClientNotice::PadOutput(output) => log::debug!("{output:?}"),
            ClientNotice::Reconfigured(answer) => self.modes.answered(answer, clock::now()),
            ClientNotice::Ended { reason } => self.ended = Some(reason),
        }
    }
}

/// Results of the decode thread.
#[derive(Default)]
struct Decoded {
    frames: Vec<ClientFrame>,
    failures: u64,
    first_picture: Option<Timestamp>,
}

/// The decode thread.
struct Decoding {
    decoder: Box<dyn Decoder>,
    record: Option<Recording>,
    png: Option<PathBuf>,
    /// Nobody else takes from it, so that at the end it holds the newest.
    cursors: Receiver<ClientCursor>,
    observer: Option<Box<dyn PictureObserver>>,
    feedback: Feedback,
    /// The frame whose parts are coming.
    open: Option<OpenFrame>,
    decoded: Decoded,
}

/// A frame that is being decoded.
struct OpenFrame {
    frame: ClientFrame,
    /// What the decoder has spent on it.
    busy: Duration,
    failed: bool,
}

impl Decoding {
    fn run(mut self, units: &Receiver<AccessUnit>) -> Result<Decoded, ClientError> {
        let mut last = LastPicture::default();
        while let Ok(unit) = units.recv() {
            self.decode(&unit, &mut last);
            if let Some(record) = &mut self.record {
                record.write(&unit)?;
            }
        }
        if let Some(record) = self.record {
            record.finish()?;
        }
        if let Some(path) = &self.png {
            let cursor = self.cursors.try_recv().unwrap_or_default();
            last.write_png(path, &cursor)?;
        }
        Ok(self.decoded)
    }

    fn decode(&mut self, unit: &AccessUnit, last: &mut LastPicture) {
        let part = Part {
            begins: unit.begins,
            ends: unit.ends,
        };
        let begin = clock::now();
        if part.begins {
            // One that is still open was given up on the way; its picture was never there.
            self.open = Some(OpenFrame::new(unit, begin));
        }
        let Some(open) = self.open.as_mut().filter(|open| !open.failed) else {
            return self.close(part);
        };
        open.frame.note(unit);
        match self.decoder.decode_part(unit.frame, part, unit.bytes()) {
            Ok(picture) => {
                let now = clock::now();
                open.busy += now.since(begin);
                if let Some(picture) = picture {
                    open.frame.decoded = now;
                    open.frame.size = (picture.width, picture.height);
                    self.feedback.decoded(open.busy);
                    self.decoded.first_picture.get_or_insert(now);
                    if self.png.is_some() {
                        last.keep(&picture);
                    }
                    if let Some(observer) = &mut self.observer {
                        observer.picture(&open.frame, &picture);
                    }
                }
            }
            Err(error) => {
                log::warn!("{error}; asking for an IDR");
                open.failed = true;
                self.decoded.failures += 1;
                self.feedback.request_keyframe(unit.frame);
            }
        }
        self.close(part);
    }

    /// After a part that ends its frame: what was seen of it is kept.
    fn close(&mut self, part: Part) {
        let open = if part.ends { self.open.take() } else { None };
        if let Some(open) = open
            && self.decoded.frames.len() < FRAMES_RECORDED_MAX
        {
            self.decoded.frames.push(open.frame);
        }
    }
}

impl OpenFrame {
    fn new(unit: &AccessUnit, decode_begin: Timestamp) -> Self {
        Self {
            frame: ClientFrame {
                frame: unit.frame,
                keyframe: unit.keyframe,
                bytes: 0,
                received_first: unit.received_first,
                slices_complete: Vec::new(),
                complete: unit.complete,
                decode_begin,
                decoded: Timestamp::ZERO,
                size: (0, 0),
                repaired_shards: 0,
            },
            busy: Duration::ZERO,
            failed: false,
        }
    }
}

impl ClientFrame {
    /// A part of it has come.
    fn note(&mut self, unit: &AccessUnit) {
        self.bytes += unit.bytes().len();
        self.complete = unit.complete;
        self.repaired_shards = unit.repaired_shards;
        if unit.ends {
            self.slices_complete = unit.slice_times().to_vec();
        }
    }
}

/// A stream on its way to a file.
struct Recording {
    path: PathBuf,
    file: BufWriter<File>,
    gaps: GapTracker,
    /// A frame has begun and not ended.
    is_open: bool,
}

impl Recording {
    fn create(path: &Path) -> Result<Self, ClientError> {
        let file = File::create(path).map_err(|source| output(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(1 << 20, file),
            gaps: GapTracker::default(),
            is_open: false,
        })
    }

    fn write(&mut self, unit: &AccessUnit) -> Result<(), ClientError> {
        if unit.begins {
            self.begin(unit.bytes())?;
        }
        self.is_open = !unit.ends;
        put(&mut self.file, &self.path, unit.bytes())
    }

    /// Puts what a player needs before the access unit that begins so. What cannot be followed is
    /// kept as it is: the decoder has complained of it, and an IDR comes.
    fn begin(&mut self, slices: &[u8]) -> Result<(), ClientError> {
        if self.is_open
            && let Some(ending) = self.gaps.give_up()
        {
            put(&mut self.file, &self.path, ending.bytes())?;
        }
        if let Ok(mut followed) = self.gaps.follow(slices) {
            while let Some(unit) = followed.missing.next_unit() {
                put(&mut self.file, &self.path, unit)?;
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), ClientError> {
        self.file
            .flush()
            .map_err(|source| output(&self.path, source))
    }
}

fn put(file: &mut BufWriter<File>, path: &Path, bytes: &[u8]) -> Result<(), ClientError> {
    file.write_all(bytes).map_err(|source| output(path, source))
}

fn output(path: &Path, source: std::io::Error) -> ClientError {
    ClientError::Output {
        path: path.to_owned(),
        source,
    }
}
