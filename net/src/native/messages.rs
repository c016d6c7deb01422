//! The control messages, as types and as bytes. All integers are little-endian; a text is u16
//! length and UTF-8. Bytes behind the last field of a body are ignored, so that a later version
//! may append fields.
//!
//! | type | message | direction | body |
//! |---:|---|---|---|
//! | 0x0001 | Hello | C→H | below |
//! | 0x0002 | Welcome | H→C | below |
//! | 0x0003 | Refuse | H→C | u16 code; text |
//! | 0x0004 | Start | C→H | empty |
//! | 0x0010 | RepairRequest | C→H | u8 1 if last good is known; u32 last good, first lost, newest lost; u8 wish |
//! | 0x0011 | Statistics | C→H | 7 × u64 counters; u8 1 if a frame is known, u32 newest frame |
//! | 0x0012 | FrameTimes | H→C | u16 count; frames as in [`crate::times`] |
//! | 0x0013 | Reconfigure | C→H | as in [`super::modes`] |
//! | 0x0014 | Reconfigured | H→C | likewise |
//! | 0x0020 | Input | C→H | a packet of [`super::input`] |
//! | 0x0021 | PadOutput | H→C | a packet of controllers' output, as [`super::input`] has it |
//! | 0x0040 | Clipboard | both | a piece of text, as in [`super::clipboard`] |
//! | 0x001F | End | both | u16 reason; text |
//! | 0x0048 | CursorShape | H→C | rows of a shape, as in [`super::cursor`] |
//! | 0x0049 | CursorState | H→C | a state, likewise |
//! | 0x0030 to 0x0033 | PairRequest, PairReply, PairConfirm, PairDone | | as in [`super::pairing`] |
//!
//! | Hello, offset | size | field | | Welcome, offset | size | field |
//! |---:|---:|---|---|---:|---:|---|
//! | 0 | 2 | version | | 0 | 16 | session |
//! | 2 | 4 | width | | 16 | 4 | width |
//! | 6 | 4 | height | | 20 | 4 | height |
//! | 10 | 4 | refresh, mHz | | 24 | 4 | refresh, mHz |
//! | 14 | 4 | codecs | | 28 | 1 | codec |
//! | 18 | 4 | FEC codes | | 29 | 1 | AEAD |
//! | 22 | 4 | AEADs | | 30 | 1 | FEC percent |
//! | 26 | 8 | features required | | 31 | 8 | features |
//! | 34 | 8 | features optional | | 39 | 1 | slices |
//! | 42 | 1 | slices | | 40 | 8 | bit/s |
//! | 43 | 8 | bit/s | | 48 | 2 | datagram bytes |
//! | 51 | 1 | FEC percent | | 50 | 16 | clock domain |
//! | 52 | 2 | datagram bytes | | 66 | text | host |
//! | 54 | text | name | | | text | encoder |

use std::fmt;

use crate::bytes::Truncated;
use crate::crypto::Aead;
use crate::times::{FrameTimes, TimesError};
use crate::units::{BitsPerSecond, FrameId, Mode, ModeError, SliceCount};

pub use super::capabilities::{AeadSet, Codec, CodecSet, Features, FecCodes};
pub use super::clipboard::ClipboardPiece;
pub use super::modes::{ModeOutcome, Reconfigure, Reconfigured};

/// Why a body is not the message that its type says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// It ends too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A text is too long.
    #[error("a text of {bytes} bytes is over its limit of {bytes_max}")]
    TextTooLong {
        /// Its length.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    NotUtf8,
    /// The mode of a Welcome is impossible.
    #[error(transparent)]
    Mode(#[from] ModeError),
    /// A number is outside what the protocol allows.
    #[error("{field} {value} is outside what the protocol allows")]
    Value {
        /// Which field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// Frame times are not valid.
    #[error(transparent)]
    Times(#[from] TimesError),
}

/// Type of a message on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Kind {
    /// What the client wants and can do.
    Hello = 0x0001,
    /// The session as the host will run it.
    Welcome = 0x0002,
    /// No session, and why.
    Refuse = 0x0003,
    /// The client is ready for media.
    Start = 0x0004,
    /// The client cannot show some frames.
    RepairRequest = 0x0010,
    /// The client's counters.
    Statistics = 0x0011,
    /// The host's stamps.
    FrameTimes = 0x0012,
    /// The client wants another mode.
    Reconfigure = 0x0013,
    /// What came of it.
    Reconfigured = 0x0014,
    /// A packet of the input plane.
    Input = 0x0020,
    /// A packet of controllers' output.
    PadOutput = 0x0021,
    /// The session is over.
    End = 0x001F,
    /// A client begins to pair.
    PairRequest = 0x0030,
    /// The host takes part.
    PairReply = 0x0031,
    /// The client proves that it knows the PIN.
    PairConfirm = 0x0032,
    /// The host does, and the client is paired.
    PairDone = 0x0033,
    /// A piece of a clipboard's text.
    Clipboard = 0x0040,
    /// What the pointer looks like.
    CursorShape = 0x0048,
    /// Where it is.
    CursorState = 0x0049,
}

impl Kind {
    /// From its number on the wire; `None` for a type to skip.
    #[must_use]
    pub const fn from_wire(number: u16) -> Option<Self> {
        match number {
            0x0001 => Some(Self::Hello),
            0x0002 => Some(Self::Welcome),
            0x0003 => Some(Self::Refuse),
            0x0004 => Some(Self::Start),
            0x0010 => Some(Self::RepairRequest),
            0x0011 => Some(Self::Statistics),
            0x0012 => Some(Self::FrameTimes),
            0x0013 => Some(Self::Reconfigure),
            0x0014 => Some(Self::Reconfigured),
            0x0020 => Some(Self::Input),
            0x0021 => Some(Self::PadOutput),
            0x001F => Some(Self::End),
            0x0030 => Some(Self::PairRequest),
            0x0031 => Some(Self::PairReply),
            0x0032 => Some(Self::PairConfirm),
            0x0033 => Some(Self::PairDone),
            0x0040 => Some(Self::Clipboard),
            0x0048 => Some(Self::CursorShape),
            0x0049 => Some(Self::CursorState),
            _ => None,
        }
    }

    /// Its name for errors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hello => "Hello",
            Self::Welcome => "Welcome",
            Self::Refuse => "Refuse",
            Self::Start => "Start",
            Self::RepairRequest => "RepairRequest",
            Self::Statistics => "Statistics",
            Self::FrameTimes => "FrameTimes",
            Self::Reconfigure => "Reconfigure",
            Self::Reconfigured => "Reconfigured",
            Self::Input => "Input",
            Self::PadOutput => "PadOutput",
            Self::End => "End",
            Self::PairRequest => "PairRequest",
            Self::PairReply => "PairReply",
            Self::PairConfirm => "PairConfirm",
            Self::PairDone => "PairDone",
            Self::Clipboard => "Clipboard",
            Self::CursorShape => "CursorShape",
            Self::CursorState => "CursorState",
        }
    }
}

/// Any message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// See [`Hello`].
    Hello(Hello),
    /// See [`Welcome`].
    Welcome(Welcome),
    /// See [`Refuse`].
    Refuse(Refuse),
    /// The client is ready for media.
    Start,
    /// See [`RepairRequest`].
    RepairRequest(RepairRequest),
    /// See [`ClientStatistics`].
    Statistics(ClientStatistics),
    /// Stamps of at most [`FRAME_TIMES_PER_BATCH_MAX`](crate::limits::FRAME_TIMES_PER_BATCH_MAX) frames.
    FrameTimes(Vec<FrameTimes>),
    /// See [`Reconfigure`].
    Reconfigure(Reconfigure),
    /// See [`Reconfigured`].
    Reconfigured(Reconfigured),
    /// A packet of [`super::input`], which reads it: its whole body, at most
    /// [`super::input::PACKET_BYTES_MAX`].
    Input(Vec<u8>),
    /// A packet for [`super::input::OutputReceiver`].
    PadOutput([u8; super::input::OUTPUT_BYTES]),
    /// Rows of a cursor's shape.
    CursorShape(super::cursor::ShapePart),
    /// Where the cursor is.
    CursorState(super::cursor::CursorState),
    /// See [`End`].
    End(End),
    /// See [`ClipboardPiece`].
    Clipboard(ClipboardPiece),
    /// See [`super::pairing`].
    Pairing(super::pairing::PairingMessage),
}

/// The mode that a client asks for, as it stands on the wire: a host refuses an impossible one
/// with the reason, it is not a broken message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestedMode {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Refresh rate, mHz.
    pub millihz: u32,
}

impl From<Mode> for RequestedMode {
    fn from(mode: Mode) -> Self {
        Self {
            width: u32::from(mode.width()),
            height: u32::from(mode.height()),
            millihz: mode.refresh().get(),
        }
    }
}

impl RequestedMode {
    /// Checked.
    ///
    /// # Errors
    /// See [`ModeError`].
    pub fn check(self) -> Result<Mode, ModeError> {
        Mode::new(self.width, self.height, self.millihz)
    }
}

/// What the client wants and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Version of the protocol, [`super::PROTOCOL_VERSION`].
    pub version: u16,
    /// Size and rate of its display.
    pub mode: RequestedMode,
    /// What it decodes.
    pub codecs: CodecSet,
    /// What it recovers.
    pub fec_codes: FecCodes,
    /// What it opens; a client without AES instructions names ChaCha20-Poly1305 alone.
    pub aeads: AeadSet,
    /// A host that lacks one of these must refuse.
    pub required: Features,
    /// Used if the host has them.
    pub optional: Features,
    /// Slices in a frame; 0 for the host's choice.
    pub slices: u8,
    /// Bitrate; 0 for the host's choice.
    pub bitrate: BitsPerSecond,
    /// Parity in percent of the data; `None` (255 on the wire) for the host's choice.
    pub fec_percent: Option<u8>,
    /// Largest media datagram that reaches it, bytes of UDP payload.
    pub datagram_bytes_max: u16,
    /// What it calls itself, for the host's log.
    pub name: String,
}

/// The session as the host will run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Random; part of the context of the media keys.
    pub session: [u8; 16],
    /// What the host encodes.
    pub mode: Mode,
    /// How.
    pub codec: Codec,
    /// What media is sealed with.
    pub aead: Aead,
    /// Parity in percent of the data; `None` (255 on the wire) if it follows the loss.
    pub fec_percent: Option<u8>,
    /// Features in use.
    pub features: Features,
    /// Slices in a frame.
    pub slices: SliceCount,
    /// Bitrate at the start.
    pub bitrate: BitsPerSecond,
    /// Largest media datagram, bytes of UDP payload.
    pub datagram_bytes_max: u16,
    /// Which clock the host's stamps are of.
    pub clock: ClockDomain,
    /// What the host calls itself.
    pub host_name: String,
    /// Which encoder runs, for statistics.
    pub encoder_name: String,
}

/// Names a machine's `CLOCK_MONOTONIC` without naming the machine: two sides of a session whose
/// domains are equal can compare their [`crate::units::Timestamp`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClockDomain(pub [u8; 16]);

impl ClockDomain {
    /// The first half of SHA-256 over the kernel's boot id (`/proc/sys/kernel/random/boot_id`)
    /// and the session id, which keeps the value from identifying the machine between sessions.
    #[must_use]
    pub fn derive(boot_id: &str, session: &[u8; 16]) -> Self {
        let mut input = boot_id.trim().as_bytes().to_vec();
        input.extend_from_slice(session);
        let digest = boring::sha::sha256(&input);
        let mut domain = [0; 16];
        domain.copy_from_slice(&digest[..16]);
        Self(domain)
    }
}

/// No session, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refuse {
    /// For programs.
    pub code: RefuseCode,
    /// For people: one line that says what to do.
    pub text: String,
}

/// Why a host refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefuseCode {
    /// 1: another version of the protocol.
    Version,
    /// 2: an impossible mode.
    Mode,
    /// 3: no codec in common.
    Codec,
    /// 4: no AEAD in common.
    Aead,
    /// 5: a required feature is missing.
    Feature,
    /// 6: a value outside the limits.
    Value,
    /// 7: as many sessions as the host serves.
    Busy,
    /// 8: the client is not trusted.
    NotAllowed,
    /// 9: no display, capture or encoder works.
    NoBackend,
    /// 10: the host could not start in time, or failed.
    Internal,
    /// 11: the host serves paired clients only, and this is none.
    NotPaired,
    /// 12: the client may pair only while the operator has a window open, one at a time.
    PairingClosed,
    /// 13: the PIN was wrong, or the pairing was not finished.
    PairingFailed,
    /// 14: the client's pairing has expired.
    Expired,
    /// One that this version does not know.
    Unknown(u16),
}

impl RefuseCode {
    /// From its number on the wire.
    #[must_use]
    pub const fn from_wire(number: u16) -> Self {
        match number {
            1 => Self::Version,
            2 => Self::Mode,
            3 => Self::Codec,
            4 => Self::Aead,
            5 => Self::Feature,
            6 => Self::Value,
            7 => Self::Busy,
            8 => Self::NotAllowed,
            9 => Self::NoBackend,
            10 => Self::Internal,
            11 => Self::NotPaired,
            12 => Self::PairingClosed,
            13 => Self::PairingFailed,
            14 => Self::Expired,
            other => Self::Unknown(other),
        }
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u16 {
        match self {
            Self::Version => 1,
            Self::Mode => 2,
            Self::Codec => 3,
            Self::Aead => 4,
            Self::Feature => 5,
            Self::Value => 6,
            Self::Busy => 7,
            Self::NotAllowed => 8,
            Self::NoBackend => 9,
            Self::Internal => 10,
            Self::NotPaired => 11,
            Self::PairingClosed => 12,
            Self::PairingFailed => 13,
            Self::Expired => 14,
            Self::Unknown(number) => number,
        }
    }
}

impl fmt::Display for Refuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What a client needs so that it can go on decoding; on the wire 0, and anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairWish {
    /// A picture that refers to nothing from the first lost frame on: a recovery picture, or
    /// where the host has none, an IDR.
    Recovery,
    /// An IDR: nothing less will do, or has come.
    Idr,
}

/// The client cannot show some frames and what refers to them.
///
/// Everything from `first_lost` on is as good as lost: what came of it was hidden from the
/// decoder. What came before can be referred to. A recovery picture or IDR that is newer than
/// `newest_lost` answers the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RepairRequest {
    /// The newest frame that the decoder was given; `None` if none yet.
    pub last_good: Option<FrameId>,
    /// The oldest frame since that it was not given.
    pub first_lost: FrameId,
    /// The newest frame that is known not to come. Not before `first_lost`.
    pub newest_lost: FrameId,
    /// What it takes.
    pub wish: RepairWish,
}

/// The client's counters since the start of the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientStatistics {
    /// Whole frames received.
    pub frames_received: u64,
    /// Frames lost.
    pub frames_lost: u64,
    /// Data shards recovered from parity.
    pub shards_repaired: u64,
    /// Pictures decoded.
    pub frames_decoded: u64,
    /// Media datagrams received.
    pub datagrams: u64,
    /// Bytes of them, UDP payload.
    pub bytes: u64,
    /// Media datagrams that could not be opened.
    pub not_opened: u64,
    /// The newest frame that it has received or given up; `None` before the first. A host that has
    /// sent newer ones a while ago knows by it that the last of them was lost whole, which the
    /// client cannot.
    pub newest_frame: Option<FrameId>,
}

/// The session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// For programs.
    pub reason: EndReason,
    /// For people.
    pub text: String,
}

/// Why a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// 0: somebody asked for it.
    Done,
    /// 1: the peer broke the protocol.
    Protocol,
    /// 2: the peer did not take its next step in time.
    TimedOut,
    /// 3: the host stops.
    Shutdown,
    /// 4: display, capture or encoder failed.
    Backend,
    /// 5: the decoder or the client's output failed.
    Client,
    /// 6: the connection went away; never on the wire.
    Disconnected,
    /// 7: the client may not go on: it was unpaired, lost a right, or its pairing has expired.
    NotAllowed,
    /// One that this version does not know.
    Unknown(u16),
}

impl EndReason {
    /// From its number on the wire.
    #[must_use]
    pub const fn from_wire(number: u16) -> Self {
        match number {
            0 => Self::Done,
            1 => Self::Protocol,
            2 => Self::TimedOut,
            3 => Self::Shutdown,
            4 => Self::Backend,
            5 => Self::Client,
            6 => Self::Disconnected,
            7 => Self::NotAllowed,
            other => Self::Unknown(other),
        }
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn to_wire(self) -> u16 {
        match self {
            Self::Done => 0,
            Self::Protocol => 1,
            Self::TimedOut => 2,
            Self::Shutdown => 3,
            Self::Backend => 4,
            Self::Client => 5,
            Self::Disconnected => 6,
            Self::NotAllowed => 7,
            Self::Unknown(number) => number,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
