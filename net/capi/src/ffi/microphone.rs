//! The microphone: what the client records is heard by applications on the host, if the connect
//! options asked for it and the host has agreed. As with the host's sound the library moves packets
//! and links no codec.

use super::bytes;
use super::session::{PunktfunkSession, call};
use crate::status::PunktfunkStatus;

/// Sends the next 5 ms of the microphone: an Opus packet of 240 samples at 48 kHz, of one or two
/// channels, at most PUNKTFUNK_MICROPHONE_PACKET_BYTES_MAX bytes. Never waits: where 16 packets wait
/// already it is not taken, PUNKTFUNK_STATUS_QUEUE_FULL. Send one each 5 ms; whoever is silent for
/// longer than 100 ms may stop and begin again. PUNKTFUNK_STATUS_NO_MICROPHONE if the host makes
/// none.
///
/// # Safety
/// `session` was not closed; `opus` has `length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_send_microphone(
    session: *const PunktfunkSession,
    opus: *const u8,
    length: usize,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe {
        call(session, |session| {
            session.send_microphone(bytes(opus, length, "opus")?)
        })
    }
}
