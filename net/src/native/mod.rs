//! `punktfunk/1` control: what host and client say to each other on the reliable stream.
//!
//! One bidirectional QUIC stream, opened by the client, carries messages of u16 type, u32 length
//! and body ([`framing`]); what they mean stands in [`messages`]; who may say what when, in
//! [`host`] and [`client`]. All of it is sans-IO: bytes and time go in, bytes and events come out.
//!
//! ```text
//!  client                                   host
//!    | PairRequest … ◀───────────────▶ …    |   only to pair: see [`pairing`]
//!    | Hello  ─────────────────────────────▶ |   what the client wants and can do
//!    | ◀───────────────────────── Welcome    |   the whole session, or Refuse with the reason
//!    | Start  ─────────────────────────────▶ |   keys are derived: media may flow
//!    | RepairRequest, Statistics ──────────▶ |
//!    | Reconfigure ────────────────────────▶ |   another mode; Reconfigured answers
//!    | Input ──────────────────────────────▶ |   what datagrams told already, for certain
//!    | ◀─ FrameTimes, PadOutput, Reconfigured |
//!    | Clipboard ◀───────────────▶ Clipboard |   texts that somebody has copied
//!    | ◀─ CursorShape, CursorState          |   what the pointer looks like, and where it is
//!    | End    ◀────────────────────────────▶ |   either side
//! ```

mod capabilities;
pub mod client;
pub mod clipboard;
mod codec;
pub mod cursor;
pub mod framing;
pub mod host;
pub mod input;
pub mod messages;
pub mod modes;
pub mod negotiate;
mod outbox;
pub mod pairing;
#[cfg(test)]
mod tests;
mod text;

pub use client::{ClientEvent, ClientSession, ClientState};
pub use framing::{Framer, FramingError, RawMessage};
pub use host::{HostEvent, HostSession, HostState};
pub use messages::{
    AeadSet, ClientStatistics, ClockDomain, Codec, CodecSet, End, EndReason, Features, FecCodes,
    Hello, Message, MessageError, ModeOutcome, Reconfigure, Reconfigured, Refuse, RefuseCode,
    RepairRequest, RepairWish, RequestedMode, Welcome,
};
pub use negotiate::{Agreed, Offer, negotiate};

use std::time::Duration;

/// Version of the protocol that this program speaks.
pub const PROTOCOL_VERSION: u16 = 1;
/// ALPN name of the protocol.
pub const ALPN: &[u8] = b"punktfunk/1";

/// Time limits of a session's handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepLimits {
    /// How long this side waits for the peer's next step.
    pub peer: Duration,
    /// How long this side may take for its own: the host's decision, the client's Start.
    pub own: Duration,
}

impl Default for StepLimits {
    /// The peer gets 5 s. The host's own decision takes a compositor's start, which on a loaded
    /// machine is 10 s at most. A client waits for the Welcome as long as both together.
    fn default() -> Self {
        Self {
            peer: Duration::from_secs(5),
            own: Duration::from_secs(12),
        }
    }
}

/// The peer broke the protocol. The session has ended; its End message waits for the stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A message was longer than any of its type.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// A message could not be read.
    #[error("the peer's {kind} message is not valid: {error}")]
    Message {
        /// Name of its type.
        kind: &'static str,
        /// What is wrong.
        error: MessageError,
    },
    /// A message that does not belong here.
    #[error("the peer sent {kind} while this side was {state}")]
    Unexpected {
        /// Name of its type.
        kind: &'static str,
        /// Name of the state.
        state: &'static str,
    },
}

/// Reads a message that the framer let through.
fn parse(raw: RawMessage<'_>) -> Result<Message, ProtocolError> {
    let kind = messages::Kind::from_wire(raw.kind).expect("the framer skips unknown types");
    Message::parse(kind, raw.body).map_err(|error| ProtocolError::Message {
        kind: kind.name(),
        error,
    })
}
