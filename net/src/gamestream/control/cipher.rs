//! Seals and opens messages of the control stream.

use boring::symm::{Cipher, decrypt_aead, encrypt_aead};

use super::{HEAD_BYTES, MESSAGE_BYTES_MAX};
use crate::crypto::{Gcm, ReplayWindow};

const ENCRYPTED: u16 = 1;
/// Sequence, tag, and the header within.
const OVERHEAD: usize = HEAD_BYTES - 4;

/// How nonces are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonceKind {
    /// 12 bytes that name the direction: what every client of 2024 and later asks for.
    #[default]
    Directed,
    /// 16 bytes, of which one counts: clients that do not ask for the other.
    Legacy,
}

/// Why a message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Too short, too long, or its lengths disagree.
    #[error("a control message of {bytes} bytes whose lengths disagree")]
    Length {
        /// Its size.
        bytes: usize,
    },
    /// It is not encrypted.
    #[error("a control message that is not encrypted (type {kind:#06x})")]
    Plain {
        /// What it says it is.
        kind: u16,
    },
    /// It came before, or long ago.
    #[error("control message {sequence} again")]
    Repeated {
        /// Its sequence.
        sequence: u32,
    },
    /// It does not open.
    #[error("control message {sequence} does not open under the session's key")]
    Forged {
        /// Its sequence.
        sequence: u32,
    },
    /// All sequences are used.
    #[error("every sequence of the control stream is used; start a new session")]
    Exhausted,
}

/// A message without its envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Its type.
    pub kind: u16,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// Both directions of one session's control stream.
pub struct ControlCipher {
    key: [u8; 16],
    gcm: Gcm,
    nonces: NonceKind,
    sequence: u32,
    window: ReplayWindow,
}

impl ControlCipher {
    /// With the client's key from its launch.
    #[must_use]
    pub fn new(key: [u8; 16], nonces: NonceKind) -> Self {
        Self {
            key,
            gcm: Gcm::new(&key),
            nonces,
            sequence: 0,
            window: ReplayWindow::new(),
        }
    }

    /// Opens what ENet brought.
    ///
    /// # Errors
    /// [`ControlError`]; the session goes on.
    pub fn open(&mut self, message: &[u8]) -> Result<Opened, ControlError> {
        let bytes = message.len();
        let wrong = Err(ControlError::Length { bytes });
        let word = |at: usize| u16::from_le_bytes([message[at], message[at + 1]]);
        if bytes < 2 {
            return wrong;
        }
        if word(0) != ENCRYPTED {
            return Err(ControlError::Plain { kind: word(0) });
        }
        if !(HEAD_BYTES..=MESSAGE_BYTES_MAX).contains(&bytes) || usize::from(word(2)) != bytes - 4 {
            return wrong;
        }
        let sequence = u32::from_le_bytes([message[4], message[5], message[6], message[7]]);
        if self.window.check(sequence.into()).is_err() {
            return Err(ControlError::Repeated { sequence });
        }
        let mut tag = [0; 16];
        tag.copy_from_slice(&message[8..24]);
        let plain = self
            .open_sealed(sequence, &message[24..], &tag)
            .ok_or(ControlError::Forged { sequence })?;
        self.window.record(sequence.into());
        let length = usize::from(u16::from_le_bytes([plain[2], plain[3]]));
        if length != plain.len() - 4 {
            return wrong;
        }
        Ok(Opened {
            kind: u16::from_le_bytes([plain[0], plain[1]]),
            payload: plain[4..].to_vec(),
        })
    }

    /// Seals a message for ENet.
    ///
    /// # Errors
    /// [`ControlError::Length`] for a payload that no message has, [`ControlError::Exhausted`].
    pub fn seal(&mut self, kind: u16, payload: &[u8]) -> Result<Vec<u8>, ControlError> {
        let bytes = HEAD_BYTES + payload.len();
        if bytes > MESSAGE_BYTES_MAX {
            return Err(ControlError::Length { bytes });
        }
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1).ok_or(ControlError::Exhausted)?;
        let mut plain = Vec::with_capacity(4 + payload.len());
        plain.extend_from_slice(&kind.to_le_bytes());
        plain.extend_from_slice(&(payload.len() as u16).to_le_bytes());
        plain.extend_from_slice(payload);
        let mut out = vec![0; bytes];
        out[..2].copy_from_slice(&ENCRYPTED.to_le_bytes());
        out[2..4].copy_from_slice(&((OVERHEAD + payload.len()) as u16).to_le_bytes());
        out[4..8].copy_from_slice(&sequence.to_le_bytes());
        let mut tag = [0; 16];
        match self.nonces {
            NonceKind::Directed => {
                let nonce = directed(sequence, b'H');
                self.gcm.seal(&nonce, &plain, &mut out[24..], &mut tag);
            }
            NonceKind::Legacy => {
                let cipher = Cipher::aes_128_gcm();
                let nonce = legacy(sequence);
                let sealed = encrypt_aead(cipher, &self.key, Some(&nonce), &[], &plain, &mut tag)
                    .expect("AES-GCM takes any nonce and any text");
                out[24..].copy_from_slice(&sealed);
            }
        }
        out[8..24].copy_from_slice(&tag);
        Ok(out)
    }

    fn open_sealed(&self, sequence: u32, sealed: &[u8], tag: &[u8; 16]) -> Option<Vec<u8>> {
        match self.nonces {
            NonceKind::Directed => {
                let mut plain = sealed.to_vec();
                let nonce = directed(sequence, b'C');
                self.gcm.open(&nonce, &mut plain, tag).then_some(plain)
            }
            NonceKind::Legacy => {
                let (cipher, nonce) = (Cipher::aes_128_gcm(), legacy(sequence));
                decrypt_aead(cipher, &self.key, Some(&nonce), &[], sealed, tag).ok()
            }
        }
    }
}

const fn directed(sequence: u32, sender: u8) -> [u8; 12] {
    let [a, b, c, d] = sequence.to_le_bytes();
    [a, b, c, d, 0, 0, 0, 0, 0, 0, sender, b'C']
}

const fn legacy(sequence: u32) -> [u8; 16] {
    let mut nonce = [0; 16];
    nonce[0] = sequence as u8;
    nonce
}
