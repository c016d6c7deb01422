//! How a call ended: a number for programs and a text for people.

use net::client::{ConnectError, PairError};
use net::identity::IdentityError;
use net::native::RefuseCode;
use net::native::pairing::PairingError;

/// How a call ended. A number keeps its meaning for ever; later versions may add some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum PunktfunkStatus {
    /// It was done.
    Ok = 0,
    /// Nothing came within the time given.
    TimedOut = 1,
    /// The session is over; punktfunk_last_error says why.
    Ended = 2,
    /// An argument is not valid.
    InvalidArgument = 3,
    /// A structure's struct_size is not one that this library knows, or what a newer program
    /// set in it is more than this library understands.
    StructSize = 4,
    /// A bug in punktfunk; the session must be closed. Please report it.
    Panic = 5,
    /// The certificate or key is damaged, or they do not belong together.
    Identity = 6,
    /// The system refused a socket or a thread.
    System = 7,
    /// Nobody answers at that address, or somebody who does not speak the protocol.
    Unreachable = 8,
    /// It is not the host that was pinned: somebody may be in between.
    Impostor = 9,
    /// Nobody vouches for the host; its fingerprint is in the connect result.
    UnknownHost = 10,
    /// The host refused; the connect result has its code.
    Refused = 11,
    /// Too much waits already. Nothing was taken unless the call says how much was.
    QueueFull = 12,
    /// Another thread is in the same function for this session.
    Busy = 13,
    /// The buffer is too small; its length says how much is needed.
    BufferTooSmall = 14,
    /// The session has no sound.
    NoAudio = 15,
    /// The host has no pairing window open, or another client is at it.
    PairingClosed = 16,
    /// The PIN was wrong, or somebody is in between. The window is closed.
    PairingFailed = 17,
    /// The session shares no clipboard: it was not asked for, or the host does not.
    NoClipboard = 18,
    /// The session has no microphone: it was not asked for, or the host makes none.
    NoMicrophone = 19,
    /// The pictures show the pointer: the client did not ask to draw it, or the host cannot tell.
    NoCursor = 20,
}

/// A call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// For programs.
    pub status: PunktfunkStatus,
    /// For people.
    pub text: String,
}

impl Failure {
    /// Both.
    #[must_use]
    pub fn new(status: PunktfunkStatus, text: impl ToString) -> Self {
        Self {
            status,
            text: text.to_string(),
        }
    }

    /// An argument is not valid.
    #[must_use]
    pub fn argument(text: impl ToString) -> Self {
        Self::new(PunktfunkStatus::InvalidArgument, text)
    }
}

impl From<&ConnectError> for Failure {
    fn from(error: &ConnectError) -> Self {
        let status = match error {
            ConnectError::System(_) | ConnectError::Quic(_) => PunktfunkStatus::System,
            ConnectError::Unreachable { .. } => PunktfunkStatus::Unreachable,
            ConnectError::Impostor { .. } => PunktfunkStatus::Impostor,
            ConnectError::Unknown { .. } => PunktfunkStatus::UnknownHost,
            ConnectError::Refused { .. } => PunktfunkStatus::Refused,
        };
        Self::new(status, error)
    }
}

impl From<&PairError> for Failure {
    fn from(error: &PairError) -> Self {
        let status = match error {
            PairError::System(_) | PairError::Quic(_) => PunktfunkStatus::System,
            PairError::Unreachable { .. } => PunktfunkStatus::Unreachable,
            PairError::Refused { code, .. } => match code {
                RefuseCode::PairingClosed => PunktfunkStatus::PairingClosed,
                RefuseCode::PairingFailed => PunktfunkStatus::PairingFailed,
                _ => PunktfunkStatus::Refused,
            },
            PairError::Failed(PairingError::Library) => PunktfunkStatus::System,
            PairError::Failed(_) => PunktfunkStatus::PairingFailed,
        };
        Self::new(status, error)
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        Self::new(PunktfunkStatus::Identity, error)
    }
}
