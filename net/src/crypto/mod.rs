//! Sealing and opening of media datagrams.
//!
//! Both directions have keys of their own. Each comes from the TLS exporter of the session's QUIC
//! connection (RFC 8446 section 7.5), label [`EXPORTER_LABEL`], context [`exporter_context`]:
//! 32 bytes of secret, then 12 bytes of salt.
//!
//! - *Key phases.* Phase `n` seals sequences `n` × 2²² to (`n` + 1) × 2²² − 1; the header's phase
//!   bit is `n` & 1. `key_n = HKDF-Expand-SHA256(secret_n, "punktfunk/1 media key", key length)`,
//!   `secret_{n+1} = HKDF-Expand-SHA256(secret_n, "punktfunk/1 media next", 32)`. An old secret is
//!   erased, so a key that leaks later tells nothing of earlier phases.
//! - *Nonce.* The salt, its last 8 bytes XORed with the sequence as a big-endian integer (as TLS
//!   1.3 does, RFC 8446 section 5.3). The sequence within the header is little-endian.
//! - *Authenticated data.* The whole header of 24 bytes.
//! - *Replay.* A sequence is accepted once, within a window of
//!   [`REPLAY_WINDOW`](crate::limits::REPLAY_WINDOW) below the highest one accepted. It is looked
//!   up before decryption and recorded only after authentication.

mod ffi;
mod gcm;
mod keys;
mod opener;
mod replay;
mod sealer;
#[cfg(test)]
mod tests;

pub(crate) use gcm::Gcm;
pub use keys::{Aead, Direction, EXPORTER_BYTES, EXPORTER_LABEL, MediaKeys, exporter_context};
pub use opener::{OpenError, Opener};
pub(crate) use replay::ReplayWindow;
pub use sealer::{SealError, Sealer};

use crate::limits::DATAGRAMS_PER_PHASE;

/// Compares secrets (tags, tokens, fingerprints) in time that depends on their lengths only.
#[must_use]
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    use subtle::ConstantTimeEq;
    a.ct_eq(b).into()
}

/// The phase under whose key `sequence` is sealed.
const fn phase_of(sequence: u64) -> u64 {
    sequence / DATAGRAMS_PER_PHASE
}
