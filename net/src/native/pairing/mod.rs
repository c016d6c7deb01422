//! Pairing: a client and a host that share nothing but a PIN learn each other's certificates.
//!
//! ```text
//!  client                                     host
//!    | PairRequest  pA, name ───────────────▶  |   a window is open, nobody else is at it
//!    | ◀────────────────────── PairReply  pB   |
//!    | PairConfirm  cA ─────────────────────▶  |   wrong: Refuse, and the window closes
//!    | ◀──────────────── PairDone  cB, name    |   the client is kept; the window closes
//! ```
//!
//! On the control stream, before Hello; a client may go on with Hello. Any other end of what was
//! begun is a failure, and closes the window, too.
//!
//! The exchange is SPAKE2 (RFC 9382): whoever only listens learns nothing that a guess could be
//! held against, and whoever takes part can try one PIN. The client confirms first, so that a
//! stranger who asks a host gets nothing to try PINs on.
//!
//! | part of RFC 9382 | here |
//! |---|---|
//! | A, B | the [`Fingerprint`]s of the client's and the host's certificates, 32 bytes each |
//! | w | the PIN's digits in ASCII, HKDF-SHA-256 without salt, info [`PASSWORD_INFO`], 48 bytes, big-endian, reduced |
//! | AAD | [`ASSOCIATED_LABEL`], then 32 bytes of the TLS exporter (RFC 8446 section 7.5) with the label [`EXPORTER_LABEL`] and an empty context |
//!
//! So the confirmations hold only between the two that show these certificates, on this very
//! connection: a man in the middle has two connections and certificates of his own. The exporter
//! alone would not do: it covers the handshake up to the host's Finished, not the client's
//! certificate.
//!
//! | type | message | direction | offset | size | field |
//! |---:|---|---|---:|---:|---|
//! | 0x0030 | PairRequest | C→H | 0 | 65 | pA, uncompressed |
//! | | | | 65 | text | what the client shall be called |
//! | 0x0031 | PairReply | H→C | 0 | 65 | pB, uncompressed |
//! | 0x0032 | PairConfirm | C→H | 0 | 32 | cA |
//! | 0x0033 | PairDone | H→C | 0 | 32 | cB |
//! | | | | 32 | text | what the host calls itself |

mod client;
mod spake2;
#[cfg(test)]
mod tests;
mod window;

use std::fmt;
use std::str::FromStr;

use boring::error::ErrorStack;
use boring::hkdf::HkdfSuite;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::bytes::{Reader, Writer};
use crate::identity::Fingerprint;
use crate::limits::NAME_BYTES_MAX;

use super::messages::{Kind, MessageError};
use super::text;
use spake2::{Exchange, Refusal, Role, SHARE_BYTES, Scalar, TAG_BYTES, WIDE_BYTES};

pub use client::{PairingEvent, PairingSession};
pub use window::{
    Attempt, PairingCounts, PairingWindow, WINDOW, WindowEnd, WindowRefusal, WindowState,
};

/// Label of what is exported from TLS for [`Binding::channel`].
pub const EXPORTER_LABEL: &str = "EXPORTER-punktfunk-1-pairing";
/// Bytes of it.
pub const EXPORTER_BYTES: usize = 32;
/// What tells these confirmations from any others.
pub const ASSOCIATED_LABEL: &[u8] = b"punktfunk/1 pairing";
/// What tells this use of a PIN from any other.
pub const PASSWORD_INFO: &[u8] = b"punktfunk/1 pairing PIN";

/// Digits of a PIN that a host makes: a guess is right once in a million windows.
pub const PIN_DIGITS: usize = 6;
/// Digits that a PIN may have.
const PIN_DIGITS_MIN: usize = 4;
const PIN_DIGITS_MAX: usize = 12;
const _: () = assert!(PIN_DIGITS >= PIN_DIGITS_MIN && PIN_DIGITS <= PIN_DIGITS_MAX);

/// Random bytes for one exchange, used once.
pub type Entropy = Zeroizing<[u8; WIDE_BYTES]>;

/// A PIN. Erased on drop, never printed but by [`Pin::digits`].
#[derive(Clone, PartialEq, Eq)]
pub struct Pin(Zeroizing<String>);

/// A text is not a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a PIN is {PIN_DIGITS_MIN} to {PIN_DIGITS_MAX} digits, as the host shows them")]
pub struct PinError;

impl Pin {
    /// Of [`PIN_DIGITS`] digits, from random bytes: 2⁶⁴ is so far above a million that no PIN is
    /// likelier than another by more than 2⁻⁴⁴.
    #[must_use]
    pub fn from_random(random: [u8; 8]) -> Self {
        let number = u64::from_le_bytes(random) % 10_u64.pow(PIN_DIGITS as u32);
        Self(Zeroizing::new(format!("{number:0PIN_DIGITS$}")))
    }

    /// For the eyes of the operator.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.0
    }

    fn password(&self) -> Result<Scalar, ErrorStack> {
        let hkdf = HkdfSuite::new(boring::hash::MessageDigest::sha256());
        let extracted = hkdf.extract(&[], self.0.as_bytes())?;
        let mut wide = Zeroizing::new([0; WIDE_BYTES]);
        hkdf.expand(&extracted, PASSWORD_INFO, &mut *wide)?;
        Scalar::reduce(&*wide)
    }
}

impl FromStr for Pin {
    type Err = PinError;

    fn from_str(text: &str) -> Result<Self, PinError> {
        let text = text.trim();
        let long = (PIN_DIGITS_MIN..=PIN_DIGITS_MAX).contains(&text.len());
        if long && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(Zeroizing::new(text.to_owned())))
        } else {
            Err(PinError)
        }
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(..)")
    }
}

/// Who the two are, and on which connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// The client's certificate.
    pub client: Fingerprint,
    /// The host's.
    pub host: Fingerprint,
    /// What TLS exports under [`EXPORTER_LABEL`].
    pub channel: [u8; EXPORTER_BYTES],
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding")
            .field("client", &self.client)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl Binding {
    fn finish(&self, exchange: Exchange, peer: &Share) -> Result<spake2::Tags, PairingError> {
        let names = [&self.client.as_bytes()[..], &self.host.as_bytes()[..]];
        let associated = [ASSOCIATED_LABEL, &self.channel].concat();
        Ok(exchange.finish(&peer.0, names, &associated)?)
    }
}

/// A pairing does not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairingError {
    /// The peer's confirmation does not hold.
    #[error(
        "the PIN is wrong, or somebody is in between; the window is closed: open another one on \
         the host and use its PIN"
    )]
    Confirmation,
    /// The peer's share cannot be used.
    #[error("the peer's share is not a point of the curve")]
    Share,
    /// The library failed.
    #[error("the cryptographic library failed")]
    Library,
}

impl From<ErrorStack> for PairingError {
    fn from(error: ErrorStack) -> Self {
        log::error!("pairing: {error}");
        Self::Library
    }
}

impl From<Refusal> for PairingError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Share => Self::Share,
            Refusal::Library(error) => error.into(),
        }
    }
}

/// A side's public share.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Share(pub [u8; SHARE_BYTES]);

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share(..)")
    }
}

/// What a side proves with that it has the key.
#[derive(Clone, Copy)]
pub struct Tag(pub [u8; TAG_BYTES]);

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Tag {}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag(..)")
    }
}

/// A message of this module's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PairingMessage {
    /// The client begins.
    Request {
        /// pA.
        share: Share,
        /// What it shall be called, unless the operator has said.
        name: String,
    },
    /// The host takes part.
    Reply {
        /// pB.
        share: Share,
    },
    /// The client has the key.
    Confirm {
        /// cA.
        tag: Tag,
    },
    /// The host has it, too, and has kept the client.
    Done {
        /// cB.
        tag: Tag,
        /// What the host calls itself.
        host_name: String,
    },
}

impl PairingMessage {
    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Request { .. } => Kind::PairRequest,
            Self::Reply { .. } => Kind::PairReply,
            Self::Confirm { .. } => Kind::PairConfirm,
            Self::Done { .. } => Kind::PairDone,
        }
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        match self {
            Self::Request { share, name } => {
                writer.bytes(&share.0);
                text::write(writer, name, NAME_BYTES_MAX);
            }
            Self::Reply { share } => writer.bytes(&share.0),
            Self::Confirm { tag } => writer.bytes(&tag.0),
            Self::Done { tag, host_name } => {
                writer.bytes(&tag.0);
                text::write(writer, host_name, NAME_BYTES_MAX);
            }
        }
    }

    pub(super) fn parse(kind: Kind, reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        Ok(match kind {
            Kind::PairRequest => Self::Request {
                share: Share(reader.array()?),
                name: text::read(reader, NAME_BYTES_MAX)?,
            },
            Kind::PairReply => Self::Reply {
                share: Share(reader.array()?),
            },
            Kind::PairConfirm => Self::Confirm {
                tag: Tag(reader.array()?),
            },
            _ => Self::Done {
                tag: Tag(reader.array()?),
                host_name: text::read(reader, NAME_BYTES_MAX)?,
            },
        })
    }
}

/// The client's side, until the host has replied.
pub struct ClientPairing {
    binding: Binding,
    exchange: Exchange,
}

impl ClientPairing {
    /// Begins; the share is for the PairRequest.
    ///
    /// # Errors
    /// [`PairingError::Library`].
    pub fn begin(
        pin: &Pin,
        binding: Binding,
        entropy: &Entropy,
    ) -> Result<(Self, Share), PairingError> {
        let secret = Scalar::reduce(&**entropy)?;
        let exchange = Exchange::begin(Role::A, pin.password()?, secret)?;
        let share = Share(*exchange.share());
        Ok((Self { binding, exchange }, share))
    }

    /// The host's share has come: what the PairConfirm says, and what the PairDone must say.
    ///
    /// # Errors
    /// [`PairingError`].
    pub fn handle_reply(self, share: &Share) -> Result<(Tag, Expected), PairingError> {
        let tags = self.binding.finish(self.exchange, share)?;
        Ok((Tag(*tags.a), Expected(tags.b)))
    }
}

/// The host's side, from its reply on.
pub struct HostPairing {
    expected: Expected,
    own: Zeroizing<[u8; TAG_BYTES]>,
}

impl HostPairing {
    /// A client's share has come; ours is for the PairReply.
    ///
    /// # Errors
    /// [`PairingError`].
    pub fn begin(
        pin: &Pin,
        binding: &Binding,
        entropy: &Entropy,
        share: &Share,
    ) -> Result<(Self, Share), PairingError> {
        let secret = Scalar::reduce(&**entropy)?;
        let exchange = Exchange::begin(Role::B, pin.password()?, secret)?;
        let own = Share(*exchange.share());
        let tags = binding.finish(exchange, share)?;
        let this = Self {
            expected: Expected(tags.a),
            own: tags.b,
        };
        Ok((this, own))
    }

    /// The client's confirmation has come: what the PairDone says.
    ///
    /// # Errors
    /// [`PairingError::Confirmation`].
    pub fn handle_confirm(self, tag: &Tag) -> Result<Tag, PairingError> {
        self.expected.check(tag)?;
        Ok(Tag(*self.own))
    }
}

/// What the peer must say. Compared in constant time.
pub struct Expected(Zeroizing<[u8; TAG_BYTES]>);

impl Expected {
    /// Holds what it said against it.
    ///
    /// # Errors
    /// [`PairingError::Confirmation`].
    pub fn check(&self, tag: &Tag) -> Result<(), PairingError> {
        if self.0.ct_eq(&tag.0).into() {
            Ok(())
        } else {
            Err(PairingError::Confirmation)
        }
    }
}
