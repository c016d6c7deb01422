//! Cuts a byte stream into messages.
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 2 | type |
//! | 2 | 4 | length n of the body |
//! | 6 | n | body |
//!
//! Never holds more than one body of [`CONTROL_BODY_BYTES_MAX`], and grows only with bytes that
//! came, not with lengths that were announced. Types that nobody here knows are skipped by their
//! length without being held at all.

use crate::limits::CONTROL_BODY_BYTES_MAX;

/// Bytes before a body.
pub const HEADER_BYTES: usize = 6;

/// A whole message, not yet read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMessage<'a> {
    /// Its type.
    pub kind: u16,
    /// Its body.
    pub body: &'a [u8],
}

/// A message of a known type is longer than any of its type may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a control message of {bytes} bytes (type {kind:#06x}) is over the limit of \
         {CONTROL_BODY_BYTES_MAX}"
)]
pub struct FramingError {
    /// Its type.
    pub kind: u16,
    /// Its announced length.
    pub bytes: u32,
}

/// The incremental reader.
#[derive(Debug)]
pub struct Framer {
    is_known: fn(u16) -> bool,
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    body: Vec<u8>,
    state: State,
    skipped: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Header,
    Body {
        kind: u16,
        length: usize,
    },
    Skip {
        left: u32,
    },
    /// The message was handed out; its body is dropped with the next call.
    Done,
}

impl Framer {
    /// Keeps messages whose type `is_known` accepts.
    #[must_use]
    pub fn new(is_known: fn(u16) -> bool) -> Self {
        Self {
            is_known,
            header: [0; HEADER_BYTES],
            header_bytes: 0,
            body: Vec::new(),
            state: State::Header,
            skipped: 0,
        }
    }

    /// Messages of unknown types so far.
    #[must_use]
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Bytes that it holds at the moment.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.body.capacity()
    }

    /// Takes bytes off the front of `input` until a message is whole, or none are left. Call it
    /// until it returns `None`.
    ///
    /// # Errors
    /// [`FramingError`]; the stream is of no use after that.
    pub fn feed(&mut self, input: &mut &[u8]) -> Result<Option<RawMessage<'_>>, FramingError> {
        loop {
            match self.state {
                State::Done => {
                    self.body.clear();
                    self.header_bytes = 0;
                    self.state = State::Header;
                }
                State::Header => {
                    let part = take(input, HEADER_BYTES - self.header_bytes);
                    self.header[self.header_bytes..][..part.len()].copy_from_slice(part);
                    self.header_bytes += part.len();
                    if self.header_bytes < HEADER_BYTES {
                        return Ok(None);
                    }
                    self.state = self.begin_body()?;
                }
                State::Skip { left } => {
                    let part = take(input, left as usize);
                    let left = left - part.len() as u32;
                    self.state = if left == 0 {
                        State::Done
                    } else {
                        State::Skip { left }
                    };
                    if left > 0 {
                        return Ok(None);
                    }
                }
                State::Body { kind, length } => {
                    let part = take(input, length - self.body.len());
                    self.body.extend_from_slice(part);
                    if self.body.len() < length {
                        return Ok(None);
                    }
                    self.state = State::Done;
                    return Ok(Some(RawMessage {
                        kind,
                        body: &self.body,
                    }));
                }
            }
        }
    }

    fn begin_body(&mut self) -> Result<State, FramingError> {
        let [k0, k1, l0, l1, l2, l3] = self.header;
        let kind = u16::from_le_bytes([k0, k1]);
        let bytes = u32::from_le_bytes([l0, l1, l2, l3]);
        if !(self.is_known)(kind) {
            self.skipped += 1;
            return Ok(State::Skip { left: bytes });
        }
        let length = bytes as usize;
        if length > CONTROL_BODY_BYTES_MAX {
            return Err(FramingError { kind, bytes });
        }
        Ok(State::Body { kind, length })
    }
}

fn take<'a>(input: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (part, rest) = input.split_at(most.min(input.len()));
    *input = rest;
    part
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(framer: &mut Framer, mut bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
        let mut messages = Vec::new();
        while let Some(raw) = framer.feed(&mut bytes).expect("valid") {
            messages.push((raw.kind, raw.body.to_vec()));
        }
        messages
    }

    #[test]
    fn unknown_types_are_skipped_by_length() {
        let mut stream = vec![0x99, 0x99, 0x00, 0x00, 0x02, 0x00];
        stream.extend_from_slice(&vec![7; 0x2_0000]);
        stream.extend_from_slice(&[0x01, 0x00, 0x01, 0x00, 0x00, 0x00, 0x42]);
        stream.extend_from_slice(&[0x98, 0x00, 0x00, 0x00, 0x00, 0x00]);
        stream.extend_from_slice(&[0x02, 0x00, 0x00, 0x00, 0x00, 0x00]);
        let mut framer = Framer::new(|kind| kind < 0x10);
        assert_eq!(all(&mut framer, &stream), [(1, vec![0x42]), (2, vec![])]);
        assert_eq!(framer.skipped(), 2);
        assert!(framer.held_bytes() < 64, "skipped bodies are not held");
    }

    #[test]
    fn a_known_message_over_the_limit_is_an_error() {
        let mut framer = Framer::new(|_| true);
        let mut bytes: &[u8] = &[0x01, 0x00, 0x01, 0x00, 0x01, 0x00];
        assert_eq!(
            framer.feed(&mut bytes),
            Err(FramingError {
                kind: 1,
                bytes: 0x1_0001
            })
        );
    }

    proptest! {
        #[test]
        fn chunking_changes_nothing(
            messages in prop::collection::vec(
                (0..4u16, prop::collection::vec(any::<u8>(), 0..100)), 0..20),
            cuts in prop::collection::vec(1..40usize, 1..50),
        ) {
            let mut stream = Vec::new();
            for (kind, body) in &messages {
                stream.extend_from_slice(&kind.to_le_bytes());
                stream.extend_from_slice(&(body.len() as u32).to_le_bytes());
                stream.extend_from_slice(body);
            }
            let mut framer = Framer::new(|kind| kind != 3);
            let mut found = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (part, after) = rest.split_at((*cut).min(rest.len()));
                found.extend(all(&mut framer, part));
                rest = after;
            }
            let kept: Vec<_> = messages.into_iter().filter(|(kind, _)| *kind != 3).collect();
            prop_assert_eq!(found, kept);
        }
    }
}
