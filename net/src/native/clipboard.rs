//! Clipboard text, both ways, if [`super::Features::CLIPBOARD`] was agreed on.
//!
//! What somebody copies is pushed to the other side: text only, at most [`CLIPBOARD_BYTES_MAX`], in
//! pieces on the control stream. The message `Clipboard` has the same body in both directions:
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 4 | serial of the text, from 1, larger than those of the same sender before |
//! | 4 | 4 | newest serial of the peer's that this side has whole; 0 for none |
//! | 8 | 4 | bytes of the whole text, 1 to 1 048 576 |
//! | 12 | 4 | offset of this piece, a multiple of 8192 |
//! | 16 | 2 | n, bytes of the piece: 8192, of the last piece what is left |
//! | 18 | n | the piece |
//!
//! * **The newest wins.** A text that is copied while another is on its way takes its place: the
//!   pieces that are left of the other are never sent, and the receiver drops those that it has.
//! * **Slow on purpose.** A piece at most every 10 ms, and a text at most every 100 ms, so that
//!   control messages and pictures go on beside it. A piece is made when the stream has taken all
//!   that was said before it.
//! * **No echo.** A text that equals the newest that both sides know is not sent: whoever puts a
//!   peer's text on a desktop may report that desktop's clipboard as it likes.
//! * **One winner.** Where two texts cross, the host's counts: the host drops a client's text whose
//!   sender had not seen the host's newest, and a client drops its own when a host's is whole.
//! * **Bounded.** Of a peer's text no more is held than what came of it, and one text at a time.

use std::time::Duration;

use crate::bytes::{Reader, Writer};
use crate::limits::{CLIPBOARD_BYTES_MAX, CLIPBOARD_PIECE_BYTES};
use crate::units::Timestamp;

use super::ProtocolError;
use super::messages::{Kind, Message, MessageError};
use super::outbox::{Outbox, Priority};

/// Between two pieces: 0.8 MB a second, so that the longest text takes 1.3 s.
const PIECE_INTERVAL: Duration = Duration::from_millis(10);
/// Between the beginnings of two texts: nobody copies faster, a program may.
const TEXT_INTERVAL: Duration = Duration::from_millis(100);

/// A piece of a text, as it stands on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClipboardPiece {
    /// Of the text, from 1.
    pub serial: u32,
    /// Newest serial of the peer's that the sender has whole; 0 for none.
    pub seen: u32,
    /// Of the whole text.
    pub total_bytes: u32,
    /// Of this piece in the text.
    pub offset: u32,
    /// The piece.
    pub bytes: Vec<u8>,
}

impl ClipboardPiece {
    pub(super) fn write(&self, writer: &mut Writer<'_>) {
        let bytes = &self.bytes[..self.bytes.len().min(CLIPBOARD_PIECE_BYTES)];
        writer.u32(self.serial);
        writer.u32(self.seen);
        writer.u32(self.total_bytes);
        writer.u32(self.offset);
        writer.u16(bytes.len() as u16);
        writer.bytes(bytes);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, MessageError> {
        let serial = reader.u32()?;
        let seen = reader.u32()?;
        let total_bytes = reader.u32()?;
        let offset = reader.u32()?;
        let count = usize::from(reader.u16()?);
        if serial == 0 {
            return Err(value("serial of a clipboard text", serial));
        }
        if !(1..=CLIPBOARD_BYTES_MAX).contains(&(total_bytes as usize)) {
            return Err(value("size of a clipboard text", total_bytes));
        }
        if offset >= total_bytes || !(offset as usize).is_multiple_of(CLIPBOARD_PIECE_BYTES) {
            return Err(value("offset of a piece of clipboard text", offset));
        }
        let left = (total_bytes - offset) as usize;
        if count != left.min(CLIPBOARD_PIECE_BYTES) {
            return Err(value("size of a piece of clipboard text", count as u32));
        }
        Ok(Self {
            serial,
            seen,
            total_bytes,
            offset,
            bytes: reader.take(count)?.to_vec(),
        })
    }
}

/// A text is longer than [`CLIPBOARD_BYTES_MAX`]; it is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a text of {bytes} bytes is not sent to the other side's clipboard: \
     {CLIPBOARD_BYTES_MAX} is the most"
)]
pub struct TooLong {
    /// Its length.
    pub bytes: usize,
}

/// What became of texts, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClipboardStats {
    /// Texts sent whole.
    pub sent: u64,
    /// Own texts given up for a newer one, own or the peer's.
    pub abandoned: u64,
    /// Texts of the peer's that came whole and count.
    pub received: u64,
    /// Texts of the peer's that crossed one of ours that wins.
    pub crossed: u64,
}

/// One side's end of the plane. After [`Clipboard::set`], and when [`Clipboard::poll_timeout`]
/// says so, drain [`Clipboard::poll_piece`] as far as the stream takes it.
#[derive(Debug)]
pub struct Clipboard {
    /// Where two texts cross, the peer's counts.
    yields: bool,
    /// SHA-256 of the newest text of either side.
    known: Option<[u8; 32]>,
    outgoing: Option<Outgoing>,
    own_serial: u32,
    /// Not before these.
    next_piece: Timestamp,
    next_text: Timestamp,
    incoming: Option<Incoming>,
    /// Newest serial of the peer's that was begun, and that is whole.
    peer_serial: u32,
    seen: u32,
    stats: ClipboardStats,
}

#[derive(Debug)]
struct Outgoing {
    text: String,
    offset: usize,
}

#[derive(Debug)]
struct Incoming {
    total_bytes: usize,
    bytes: Vec<u8>,
}

impl Clipboard {
    /// The host's end.
    #[must_use]
    pub const fn host() -> Self {
        Self::new(false)
    }

    /// The client's end.
    #[must_use]
    pub const fn client() -> Self {
        Self::new(true)
    }

    const fn new(yields: bool) -> Self {
        Self {
            yields,
            known: None,
            outgoing: None,
            own_serial: 0,
            next_piece: Timestamp::ZERO,
            next_text: Timestamp::ZERO,
            incoming: None,
            peer_serial: 0,
            seen: 0,
            stats: ClipboardStats {
                sent: 0,
                abandoned: 0,
                received: 0,
                crossed: 0,
            },
        }
    }

    /// This side's clipboard has that text now. An empty one, and what both sides know already, is
    /// not sent.
    ///
    /// # Errors
    /// [`TooLong`]; what was on its way goes on.
    pub fn set(&mut self, text: String) -> Result<(), TooLong> {
        if text.len() > CLIPBOARD_BYTES_MAX {
            return Err(TooLong { bytes: text.len() });
        }
        let digest = boring::sha::sha256(text.as_bytes());
        if text.is_empty() || self.known == Some(digest) {
            return Ok(());
        }
        self.known = Some(digest);
        // It takes 13 years of a text every 100 ms.
        self.own_serial = self.own_serial.saturating_add(1);
        self.abandon();
        self.outgoing = Some(Outgoing { text, offset: 0 });
        Ok(())
    }

    /// A piece of the peer's; the text that is whole by it, if it counts.
    ///
    /// # Errors
    /// [`MessageError`] for a piece that does not go on where the last one ended, and for a text
    /// that is not UTF-8.
    pub fn handle(&mut self, piece: &ClipboardPiece) -> Result<Option<String>, MessageError> {
        if piece.offset == 0 {
            if piece.serial <= self.peer_serial {
                return Err(value("serial of a clipboard text", piece.serial));
            }
            self.peer_serial = piece.serial;
            self.incoming = Some(Incoming {
                total_bytes: piece.total_bytes as usize,
                bytes: Vec::new(),
            });
        }
        let incoming = self.incoming.as_mut().filter(|incoming| {
            piece.serial == self.peer_serial
                && piece.total_bytes as usize == incoming.total_bytes
                && piece.offset as usize == incoming.bytes.len()
        });
        let Some(incoming) = incoming else {
            return Err(value("offset of a piece of clipboard text", piece.offset));
        };
        incoming.bytes.extend_from_slice(&piece.bytes);
        if incoming.bytes.len() < incoming.total_bytes {
            return Ok(None);
        }
        let bytes = self.incoming.take().map(|it| it.bytes).unwrap_or_default();
        let text = String::from_utf8(bytes).map_err(|_| MessageError::NotUtf8)?;
        self.seen = piece.serial;
        if !self.yields && piece.seen < self.own_serial {
            self.stats.crossed += 1;
            return Ok(None);
        }
        self.abandon();
        self.known = Some(boring::sha::sha256(text.as_bytes()));
        self.stats.received += 1;
        Ok(Some(text))
    }

    /// The next piece to send, if one is due at `now`. Call it when the stream has taken all that
    /// was said before.
    pub fn poll_piece(&mut self, now: Timestamp) -> Option<ClipboardPiece> {
        if self.poll_timeout()? > now {
            return None;
        }
        let outgoing = self.outgoing.as_mut()?;
        let (total, begin) = (outgoing.text.len(), outgoing.offset);
        let end = total.min(begin + CLIPBOARD_PIECE_BYTES);
        let piece = ClipboardPiece {
            serial: self.own_serial,
            seen: self.seen,
            total_bytes: total as u32,
            offset: begin as u32,
            bytes: outgoing.text.as_bytes()[begin..end].to_vec(),
        };
        outgoing.offset = end;
        self.next_piece = now + PIECE_INTERVAL;
        if begin == 0 {
            self.next_text = now + TEXT_INTERVAL;
        }
        if end == total {
            self.outgoing = None;
            self.stats.sent += 1;
        }
        Some(piece)
    }

    /// When [`Clipboard::poll_piece`] has something, if it will; that may be past.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let outgoing = self.outgoing.as_ref()?;
        Some(match outgoing.offset {
            0 => self.next_text.max(self.next_piece),
            _ => self.next_piece,
        })
    }

    /// What became of texts so far.
    #[must_use]
    pub const fn stats(&self) -> ClipboardStats {
        self.stats
    }

    /// Bytes of a peer's text that is not whole yet.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.incoming.as_ref().map_or(0, |it| it.bytes.len())
    }

    fn abandon(&mut self) {
        if self.outgoing.take().is_some() {
            self.stats.abandoned += 1;
        }
    }
}

/// Takes a piece that came on the stream; the text, if it is whole now. For both ends of it.
///
/// # Errors
/// A breach of the protocol: a piece that is none, or where no clipboard is shared.
pub(super) fn take(
    shared: Option<&mut Clipboard>,
    piece: &ClipboardPiece,
) -> Result<Option<String>, ProtocolError> {
    let kind = Kind::Clipboard.name();
    let state = "sharing no clipboard";
    let clipboard = shared.ok_or(ProtocolError::Unexpected { kind, state })?;
    let text = clipboard.handle(piece);
    text.map_err(|error| ProtocolError::Message { kind, error })
}

/// Puts the next piece into the stream, if one is due and the stream has taken all before it.
pub(super) fn flush(shared: Option<&mut Clipboard>, outbox: &mut Outbox, now: Timestamp) {
    if outbox.waiting().is_none()
        && let Some(piece) = shared.and_then(|it| it.poll_piece(now))
    {
        // The outbox is empty, and has room for a piece then.
        outbox.push(&Message::Clipboard(piece), Priority::Droppable);
    }
}

/// When to [`flush`]. Not while the stream is behind: it goes on once it has taken what waits.
pub(super) fn timeout(shared: Option<&Clipboard>, outbox: &Outbox) -> Option<Timestamp> {
    let is_due = outbox.waiting().is_none();
    shared?.poll_timeout().filter(|_| is_due)
}

fn value(field: &'static str, value: u32) -> MessageError {
    MessageError::Value {
        field,
        value: value.into(),
    }
}

#[cfg(test)]
#[path = "clipboard_tests.rs"]
mod tests;
