//! The client connector that embedders use: connect, take access units, ask for keyframes, end.
//!
//! One thread (`pf-receive`) does everything that has to do with the socket: QUIC, media,
//! reassembly, feedback. [`Client::connect`] starts it and waits for the host's answer; access
//! units and notices then come through bounded channels.

mod audio;
mod clipboard;
mod cursor;
mod delivery;
mod pair;
mod microphone;
mod modes;
mod quiet;
mod receive;
mod resolve;
mod stream;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use mio::Waker;

use crate::identity::{Fingerprint, Identity};
use crate::input::{InputEvent, PadOutput};
use crate::limits::FRAMES_IN_FLIGHT_MAX;
use crate::native::{Features, Hello, Reconfigured, RefuseCode, Welcome};
use crate::quic::QuicError;
use crate::reassemble::{AccessUnit, Granularity};
use crate::times::FrameTimes;
use crate::udp::{Socket, SocketConfig};
use crate::units::FrameId;

use clipboard::{Newest, Slot};
use cursor::CursorOut;
use microphone::SpokenPacket;
use modes::Requests;
use receive::Receiving;

pub use audio::HeardPacket;
pub use clipboard::{ClientClipboard, ClipboardRefused};
pub use cursor::ClientCursor;
pub use microphone::{ClientMicrophone, MicrophoneRefused};
pub use modes::ClientModes;
pub use pair::{PairError, PairOptions, Paired, pair};
pub use resolve::resolve;
pub use stream::{DecoderLoad, MediaStream, StreamEvent};

/// Access units on their way to the decoder. Full: what comes is dropped as if lost, and
/// reported so, because a decoder that is so far behind will not catch up frame by frame. The rest
/// of a frame that was begun always finds room: a part is only sent where nothing waits.
/// One less than the reassembler's buffers: the decoder works on another.
const UNITS: usize = FRAMES_IN_FLIGHT_MAX - 1;
/// Notices that the caller has not taken yet. Full: frame times are dropped and counted.
const NOTICES: usize = 64;
/// Packets of sound that nobody took: 160 ms. Full: the newest is dropped and counted.
const AUDIO_PACKETS: usize = 32;
/// Packets of the microphone that the receive thread has not taken: 80 ms. Full: the newest is not
/// taken, and the caller is told.
const SPOKEN_PACKETS: usize = 16;
/// Commands to the receive thread. Full: a keyframe request of the same effect waits already.
const COMMANDS: usize = 8;

/// Input events on their way to the receive thread. Full: [`ClientInput::send`] says so; it takes
/// a thread that does not run for a quarter of a second under 1000 events a second.
const INPUTS: usize = 256;

/// How the host's certificate is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Only this one.
    Pinned(Fingerprint),
    /// Whatever it shows; the caller pins [`Client::fingerprint`] for the next time.
    FirstUse,
    /// Nobody has decided yet: [`ConnectError::Unknown`] tells the fingerprint to show and ask
    /// about.
    Ask,
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// The host's address.
    pub host: SocketAddr,
    /// Who we are.
    pub identity: Identity,
    /// Who the host must be.
    pub trust: Trust,
    /// What we want.
    pub hello: Hello,
}

/// No session came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The system refused a socket or a thread.
    #[error("the connection cannot be set up: {0}")]
    System(#[from] std::io::Error),
    /// QUIC could not be set up.
    #[error("the connection cannot be set up: {0}")]
    Quic(#[from] QuicError),
    /// Nobody answers, or somebody who does not speak the protocol.
    #[error("{host} cannot be reached: {reason}")]
    Unreachable {
        /// Which host.
        host: SocketAddr,
        /// What happened.
        reason: String,
    },
    /// It is not the host that was pinned.
    #[error(
        "{host} is not the host that was pinned: its fingerprint is {found}, expected was \
         {expected}; if the host was installed anew, pin it with --pin-host {found}, else \
         somebody is in between"
    )]
    Impostor {
        /// Which host.
        host: SocketAddr,
        /// What it showed.
        found: Fingerprint,
        /// What was pinned.
        expected: Fingerprint,
    },
    /// Nobody vouches for it.
    #[error(
        "{host} is not known yet: its fingerprint is {found}; compare it with what the host \
         prints, then add --pin-host {found}"
    )]
    Unknown {
        /// Which host.
        host: SocketAddr,
        /// What it showed.
        found: Fingerprint,
    },
    /// It refused.
    #[error("the host refused: {text}")]
    Refused {
        /// For programs.
        code: RefuseCode,
        /// For people.
        text: String,
    },
}

/// What the caller must know of a running session.
#[derive(Debug)]
pub enum ClientNotice {
    /// Stamps of the host's stages, of a host that shares this machine's clock or not: see
    /// [`Welcome::clock`].
    FrameTimes(Vec<FrameTimes>),
    /// What an application on the host says to a controller.
    PadOutput(PadOutput),
    /// What came of a request of [`ClientModes`], and of all before it. It may come before or after
    /// the first frame that it names.
    Reconfigured(Reconfigured),
    /// The session is over, and not because the caller ended it.
    Ended {
        /// For people.
        reason: String,
    },
}

/// What the receiver has counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveSnapshot {
    /// Media datagrams that came.
    pub datagrams: u64,
    /// Bytes of them, UDP payload.
    pub bytes: u64,
    /// Media datagrams that could not be opened: damaged, forged or repeated.
    pub not_opened: u64,
    /// Whole frames reassembled.
    pub frames: u64,
    /// Frames lost.
    pub frames_lost: u64,
    /// Whole frames withheld because they refer to lost ones.
    pub frames_hidden: u64,
    /// Whole frames dropped because the decoder was too far behind.
    pub frames_overrun: u64,
    /// Data shards that parity restored.
    pub shards_repaired: u64,
    /// Times that a frame's missing shards were asked for again.
    pub rounds_asked: u64,
    /// Reports of frames that cannot be shown.
    pub repair_requests: u64,
    /// Those of them that asked for an IDR, because nothing less will do or has come.
    pub keyframe_requests: u64,
    /// Frames whose host stamps nobody took in time.
    pub frame_times_dropped: u64,
    /// Reports sent to the host.
    pub feedbacks: u64,
    /// Smoothed round trip, µs; 0 before the first.
    pub round_trip_us: u64,
    /// How far the host's time may be off from what is believed, µs; 0 before the first.
    pub clock_uncertainty_us: u64,
    /// Packets of sound to play.
    pub audio_played: u64,
    /// Of these, those that a copy brought.
    pub audio_repaired: u64,
    /// Packets concealed: they were missing, or the play-out had to wait for them.
    pub audio_concealed: u64,
    /// Packets left out because the play-out had fallen behind.
    pub audio_skipped: u64,
    /// Packets that nobody took in time.
    pub audio_overrun: u64,
    /// From the first sample of a packet being played by the application to the packet being given
    /// out, smoothed, µs; 0 while the clocks are not compared.
    pub audio_latency_us: u64,
    /// Changes of the host's pointer that were news.
    pub cursor_states: u64,
    /// Of these, those that the stream brought, because their datagram was lost or late.
    pub cursor_repaired: u64,
    /// Datagrams with a pointer that was known or older.
    pub cursor_stale: u64,
    /// Shapes of the pointer that came.
    pub cursor_shapes: u64,
}

/// The receive thread's counters; one writer, relaxed.
#[derive(Default)]
struct Counters {
    datagrams: AtomicU64,
    bytes: AtomicU64,
    not_opened: AtomicU64,
    frames: AtomicU64,
    frames_lost: AtomicU64,
    frames_hidden: AtomicU64,
    frames_overrun: AtomicU64,
    shards_repaired: AtomicU64,
    rounds_asked: AtomicU64,
    repair_requests: AtomicU64,
    keyframe_requests: AtomicU64,
    frame_times_dropped: AtomicU64,
    feedbacks: AtomicU64,
    round_trip_us: AtomicU64,
    clock_uncertainty_us: AtomicU64,
    audio_played: AtomicU64,
    audio_repaired: AtomicU64,
    audio_concealed: AtomicU64,
    audio_skipped: AtomicU64,
    audio_overrun: AtomicU64,
    audio_latency_us: AtomicU64,
    cursor_states: AtomicU64,
    cursor_repaired: AtomicU64,
    cursor_stale: AtomicU64,
    cursor_shapes: AtomicU64,
    /// Written by the decoder's side.
    decoded: AtomicU64,
    /// Time that the decoder took for its newest frame, µs.
    decode_us: AtomicU32,
}

impl Counters {
    fn snapshot(&self) -> ReceiveSnapshot {
        ReceiveSnapshot {
            datagrams: self.datagrams.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            not_opened: self.not_opened.load(Relaxed),
            frames: self.frames.load(Relaxed),
            frames_lost: self.frames_lost.load(Relaxed),
            frames_hidden: self.frames_hidden.load(Relaxed),
            frames_overrun: self.frames_overrun.load(Relaxed),
            shards_repaired: self.shards_repaired.load(Relaxed),
            rounds_asked: self.rounds_asked.load(Relaxed),
            repair_requests: self.repair_requests.load(Relaxed),
            keyframe_requests: self.keyframe_requests.load(Relaxed),
            frame_times_dropped: self.frame_times_dropped.load(Relaxed),
            feedbacks: self.feedbacks.load(Relaxed),
            round_trip_us: self.round_trip_us.load(Relaxed),
            clock_uncertainty_us: self.clock_uncertainty_us.load(Relaxed),
            audio_played: self.audio_played.load(Relaxed),
            audio_repaired: self.audio_repaired.load(Relaxed),
            audio_concealed: self.audio_concealed.load(Relaxed),
            audio_skipped: self.audio_skipped.load(Relaxed),
            audio_overrun: self.audio_overrun.load(Relaxed),
            audio_latency_us: self.audio_latency_us.load(Relaxed),
            cursor_states: self.cursor_states.load(Relaxed),
            cursor_repaired: self.cursor_repaired.load(Relaxed),
            cursor_stale: self.cursor_stale.load(Relaxed),
            cursor_shapes: self.cursor_shapes.load(Relaxed),
        }
    }
}

/// To the receive thread.
enum Command {
    /// The decoder can do nothing with this frame.
    RequestKeyframe(FrameId),
    /// Go on from this socket.
    Rebind(Socket),
    /// End the session and the thread.
    End,
    /// Nobody waits for the host's answer any more: end at once, without waiting for its farewell.
    Abandon,
}

/// A running session. Dropping it ends the session and waits for the thread.
pub struct Client {
    welcome: Welcome,
    fingerprint: Fingerprint,
    units: Option<Receiver<AccessUnit>>,
    heard: Option<Receiver<HeardPacket>>,
    cursors: Receiver<ClientCursor>,
    notices: Receiver<ClientNotice>,
    commands: Sender<Command>,
    inputs: Sender<InputEvent>,
    modes: Arc<Requests>,
    clipboard: Arc<Slot>,
    copied: Option<Receiver<String>>,
    spoken: Sender<SpokenPacket>,
    waker: Arc<Waker>,
    counters: Arc<Counters>,
    ended: Arc<OnceLock<String>>,
    thread: Option<JoinHandle<()>>,
}

/// The far ends of a client's channels, held by its thread.
struct Ends {
    /// First, because fields are dropped in this order: once a caller sees that the session is over,
    /// nothing is taken from it any more.
    inputs: Receiver<InputEvent>,
    commands: Receiver<Command>,
    answer: Sender<Result<(Welcome, Fingerprint), ConnectError>>,
    units: Sender<AccessUnit>,
    heard: Sender<HeardPacket>,
    cursors: CursorOut,
    notices: Sender<ClientNotice>,
    modes: Arc<Requests>,
    clipboard: Arc<Slot>,
    copied: Newest,
    spoken: Receiver<SpokenPacket>,
    counters: Arc<Counters>,
    /// Set where [`ClientNotice::Ended`] is sent, which a full channel would lose.
    ended: Arc<OnceLock<String>>,
}

impl Client {
    /// Connects and waits for the host's Welcome: at most the handshake's time limits (15 s).
    ///
    /// # Errors
    /// See [`ConnectError`]; no thread is left then.
    pub fn connect(options: ConnectOptions) -> Result<Self, ConnectError> {
        Self::connect_with(options, Granularity::Frames, || ())
    }

    /// Like [`Client::connect`]. `granularity` is what the decoder takes; `on_thread_start` is called
    /// once on the receive thread, to give it its priority and place: this crate knows nothing of
    /// schedulers.
    ///
    /// # Errors
    /// See [`ConnectError`]; no thread is left then.
    pub fn connect_with(
        options: ConnectOptions,
        granularity: Granularity,
        on_thread_start: fn(),
    ) -> Result<Self, ConnectError> {
        Self::connect_within(options, granularity, None, on_thread_start)
    }

    /// Like [`Client::connect_with`], but gives up after `limit`, if there is one.
    ///
    /// # Errors
    /// See [`ConnectError`], [`ConnectError::Unreachable`] for the limit; no thread is left then.
    pub fn connect_within(
        options: ConnectOptions,
        granularity: Granularity,
        limit: Option<Duration>,
        on_thread_start: fn(),
    ) -> Result<Self, ConnectError> {
        let host = options.host;
        let (answer_in, answer) = bounded(1);
        let (units_in, units) = bounded(UNITS);
        let (heard_in, heard) = bounded(AUDIO_PACKETS);
        let (cursors_in, cursors) = CursorOut::new();
        let (notices_in, notices) = bounded(NOTICES);
        let (commands_in, commands) = bounded(COMMANDS);
        let (inputs_in, inputs) = bounded(INPUTS);
        let counters = Arc::new(Counters::default());
        let ended = Arc::new(OnceLock::new());
        let modes = Arc::new(Requests::default());
        let clipboard = Arc::new(Slot::default());
        let (copied_in, copied) = Newest::channel();
        let (spoken_in, spoken) = bounded(SPOKEN_PACKETS);
        let ends = Ends {
            answer: answer_in,
            units: units_in,
            heard: heard_in,
            cursors: cursors_in,
            notices: notices_in,
            commands,
            inputs,
            modes: Arc::clone(&modes),
            clipboard: Arc::clone(&clipboard),
            copied: copied_in,
            spoken,
            counters: Arc::clone(&counters),
            ended: Arc::clone(&ended),
        };
        let receiving = Receiving::new(options, granularity, ends)?;
        let waker = receiving.waker();
        let thread = std::thread::Builder::new()
            .name("pf-receive".to_owned())
            .spawn(move || {
                on_thread_start();
                receiving.run();
            })?;
        let answered = match limit {
            None => answer.recv().map_err(RecvTimeoutError::from),
            Some(limit) => answer.recv_timeout(limit),
        };
        let answered = answered.unwrap_or_else(|error| {
            Err(match (error, limit) {
                (RecvTimeoutError::Timeout, Some(limit)) => {
                    tell(&commands_in, &waker, Command::Abandon);
                    let reason = format!("no session within {limit:?}");
                    ConnectError::Unreachable { host, reason }
                }
                _ => ConnectError::System(std::io::Error::other("the receive thread ended early")),
            })
        });
        match answered {
            Ok((welcome, fingerprint)) => Ok(Self {
                welcome,
                fingerprint,
                units: Some(units),
                heard: Some(heard),
                cursors,
                notices,
                commands: commands_in,
                inputs: inputs_in,
                modes,
                clipboard,
                copied: Some(copied),
                spoken: spoken_in,
                waker,
                counters,
                ended,
                thread: Some(thread),
            }),
            Err(error) => {
                // It ends by itself after a bad answer; a panic there is reported by its hook.
                let _ = thread.join();
                Err(error)
            }
        }
    }

    /// What the host agreed to.
    #[must_use]
    pub const fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Who the host is; already held against [`Trust`].
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Access units that can be decoded, or parts of them, in order. Closed when the session is over. Whoever
    /// reads from a clone of it ends when the client is dropped.
    ///
    /// # Panics
    /// Never: the channel is there until the client is dropped.
    #[must_use]
    pub fn units(&self) -> &Receiver<AccessUnit> {
        self.units.as_ref().expect("there until drop")
    }

    /// Sound, 5 ms at a time and when it is due, if the host agreed to it
    /// ([`crate::native::Features::speakers`] of the Welcome). Closed when the session is over, and
    /// whoever reads from a clone of it ends when the client is dropped.
    ///
    /// # Panics
    /// Never: the channel is there until the client is dropped.
    #[must_use]
    pub fn heard(&self) -> &Receiver<HeardPacket> {
        self.heard.as_ref().expect("there until drop")
    }

    /// The host's pointer whenever it has changed, if the host agreed to leave it out of the
    /// pictures ([`crate::native::Features::CURSOR`] of the Welcome). It holds the newest alone, for
    /// one reader. Closed when the session is over.
    #[must_use]
    pub const fn cursors(&self) -> &Receiver<ClientCursor> {
        &self.cursors
    }

    /// What else happens.
    #[must_use]
    pub const fn notices(&self) -> &Receiver<ClientNotice> {
        &self.notices
    }

    /// Counts so far.
    #[must_use]
    pub fn received(&self) -> ReceiveSnapshot {
        self.counters.snapshot()
    }

    /// A handle for the decoder's thread.
    #[must_use]
    pub fn feedback(&self) -> Feedback {
        Feedback {
            commands: self.commands.clone(),
            waker: Arc::clone(&self.waker),
            counters: Arc::clone(&self.counters),
        }
    }

    /// A handle for whoever reads keyboard, pointer and controllers.
    #[must_use]
    pub fn input(&self) -> ClientInput {
        ClientInput {
            inputs: self.inputs.clone(),
            waker: Arc::clone(&self.waker),
        }
    }

    /// Why the session is over, if the host or the network ended it: what
    /// [`ClientNotice::Ended`] says, for those who do not take notices.
    #[must_use]
    pub fn end_reason(&self) -> Option<&str> {
        self.ended.get().map(String::as_str)
    }

    /// Asks for the session's end and does not wait for it: the channels close soon after.
    pub fn request_end(&self) {
        tell(&self.commands, &self.waker, Command::End);
    }

    /// A handle to ask for other modes.
    #[must_use]
    pub fn modes(&self) -> ClientModes {
        ClientModes::new(Arc::clone(&self.modes), Arc::clone(&self.waker))
    }

    /// A handle to tell the host what was copied here.
    #[must_use]
    pub fn clipboard(&self) -> ClientClipboard {
        let features = self.welcome.features;
        let slot = features.contains(Features::CLIPBOARD);
        ClientClipboard::new(slot.then_some(&self.clipboard), &self.waker)
    }

    /// A handle for whoever records sound.
    #[must_use]
    pub fn microphone(&self) -> ClientMicrophone {
        let is_taken = self.welcome.features.contains(Features::MICROPHONE);
        ClientMicrophone::new(is_taken.then_some(&self.spoken), &self.waker)
    }

    /// Texts that somebody has copied on the host, if a clipboard was agreed on; of those that
    /// nobody takes the newest waits. Closed when the session is over, and whoever reads from a
    /// clone of it ends when the client is dropped.
    ///
    /// # Panics
    /// Never: the channel is there until the client is dropped.
    #[must_use]
    pub fn copied(&self) -> &Receiver<String> {
        self.copied.as_ref().expect("there until drop")
    }

    /// Goes on from another address of this machine's, on a port that the system chooses: the
    /// network has changed. The host validates the new path before it sends media there; what is on
    /// its way to the old one is lost.
    ///
    /// # Errors
    /// The system's, if it gives no socket there; the session then goes on as it was.
    pub fn rebind(&self, local: IpAddr) -> std::io::Result<()> {
        let socket = Socket::bind(SocketAddr::new(local, 0), SocketConfig::default())?;
        // Only the thread reads commands, and it empties the queue whenever it is woken. Gone: so
        // is the session.
        if self.commands.send(Command::Rebind(socket)).is_ok() {
            self.waker.wake()?;
        }
        Ok(())
    }

    /// Ends the session in an orderly way and waits for the thread; what is left in the channels
    /// can still be taken. Harmless if it is over.
    pub fn end(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        tell(&self.commands, &self.waker, Command::End);
        if thread.join().is_err() {
            log::error!("the receive thread panicked; this is a bug in punktfunk");
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.units = None;
        self.heard = None;
        self.copied = None;
        self.end();
    }
}

/// Only the thread reads commands, and it empties the queue whenever it is woken.
fn tell(commands: &Sender<Command>, waker: &Waker, command: Command) {
    if commands.send(command).is_ok() && waker.wake().is_err() {
        log::error!("the receive thread cannot be woken");
    }
}

/// What a person does, from any thread.
#[derive(Clone)]
pub struct ClientInput {
    inputs: Sender<InputEvent>,
    waker: Arc<Waker>,
}

impl ClientInput {
    /// Sends it to the host's desktop; never waits. False if it was not taken, because the session
    /// is over or too much waits already.
    #[must_use]
    pub fn send(&self, event: InputEvent) -> bool {
        self.try_send(event).is_ok()
    }

    /// Like [`ClientInput::send`], for those who must know why not.
    ///
    /// # Errors
    /// [`InputRefused`]; the event was not taken.
    pub fn try_send(&self, event: InputEvent) -> Result<(), InputRefused> {
        self.inputs.try_send(event).map_err(|error| match error {
            TrySendError::Full(_) => InputRefused::Full,
            TrySendError::Disconnected(_) => InputRefused::Over,
        })?;
        // The thread wakes by itself within a second should this fail, which it does not.
        if let Err(error) = self.waker.wake() {
            log::error!("the receive thread cannot be woken: {error}");
        }
        Ok(())
    }
}

/// An event was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InputRefused {
    /// Too much waits.
    #[error("too much input waits already: send less of it")]
    Full,
    /// The session is over.
    #[error("the session is over")]
    Over,
}

/// What a decoder reports, from its own thread.
#[derive(Clone)]
pub struct Feedback {
    commands: Sender<Command>,
    waker: Arc<Waker>,
    counters: Arc<Counters>,
}

impl Feedback {
    /// The decoder can do nothing with `frame`: nothing more is delivered until an IDR comes.
    pub fn request_keyframe(&self, frame: FrameId) {
        // Full: a request waits already. Gone: so is the session.
        if self
            .commands
            .try_send(Command::RequestKeyframe(frame))
            .is_ok()
        {
            let _ = self.waker.wake();
        }
    }

    /// A picture was decoded, in that time.
    pub fn decoded(&self, took: Duration) {
        self.counters.decoded.fetch_add(1, Relaxed);
        let took_us = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        self.counters.decode_us.store(took_us, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::{AeadSet, CodecSet, FecCodes, PROTOCOL_VERSION};
    use crate::units::BitsPerSecond;

    #[test]
    fn a_host_that_says_nothing_costs_no_more_than_the_limit() {
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port on loopback");
        let hello = Hello {
            version: PROTOCOL_VERSION,
            mode: "320x240@30"
                .parse::<crate::units::Mode>()
                .expect("a mode")
                .into(),
            codecs: CodecSet::H264,
            fec_codes: FecCodes::ALL,
            aeads: AeadSet::ALL,
            required: Features::NONE,
            optional: Features::NONE,
            slices: 0,
            bitrate: BitsPerSecond(0),
            fec_percent: None,
            datagram_bytes_max: crate::limits::DATAGRAM_BYTES_MAX as u16,
            name: "test".to_owned(),
        };
        let options = ConnectOptions {
            host: silent.local_addr().expect("a bound socket"),
            identity: Identity::generate().expect("an identity"),
            trust: Trust::FirstUse,
            hello,
        };
        let limit = Some(Duration::from_millis(20));
        let client = Client::connect_within(options, Granularity::Frames, limit, || ());
        match client.err() {
            Some(ConnectError::Unreachable { reason, .. }) => assert!(reason.contains("20ms")),
            other => panic!("{other:?}"),
        }
    }
}
