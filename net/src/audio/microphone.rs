//! The client's sound on its way to the host: packets of Opus of 5 ms, one a QUIC DATAGRAM.
//!
//! | offset | size | field |
//! |---:|---:|---|
//! | 0 | 1 | 0xCC |
//! | 1 | 1 | stream, 0 |
//! | 2 | 2 | 0, ignored |
//! | 4 | 4 | number of the packet, one each 5 ms, mod 2³² |
//! | 8 | | the packet, 1 to 1024 bytes |
//!
//! No copies and no reports: a word that is lost is said again sooner than a repair would be worth
//! its delay, and Opus conceals what is missing. The host's jitter buffer is the client's
//! ([`AudioReceiver`]), with its bounds and its policies: the delay follows the measured jitter, at
//! most 120 ms, and what comes too late is dropped.

use super::datagram::{AudioDatagram, AudioDatagramError};
use super::receive::{AudioReceiver, AudioReceiverStats, Playout};
use super::send::AudioSendError;
use super::{AUDIO_DATAGRAM_BYTES_MAX, PACKET_BYTES_MAX};
use crate::bytes::{Reader, Writer};
use crate::units::Timestamp;

/// First byte of a datagram.
pub const KIND_MICROPHONE: u8 = 0xCC;
/// Bytes before the packet.
pub const MICROPHONE_HEADER_BYTES: usize = 8;
/// A datagram, bytes.
pub const MICROPHONE_DATAGRAM_BYTES_MAX: usize = MICROPHONE_HEADER_BYTES + PACKET_BYTES_MAX;
const _: () = assert!(MICROPHONE_DATAGRAM_BYTES_MAX <= AUDIO_DATAGRAM_BYTES_MAX);

/// The client's end: packets become datagrams.
#[derive(Debug, Default)]
pub struct MicrophoneSender {
    next: u32,
}

impl MicrophoneSender {
    /// The next packet becomes the datagram `out` (replaced). Call it for every 5 ms that pass;
    /// who is silent for longer than 100 ms may stop and begin again whenever it likes.
    ///
    /// # Errors
    /// [`AudioSendError::PacketBytes`] where the packet is empty or too long; it took no number.
    pub fn send(&mut self, packet: &[u8], out: &mut Vec<u8>) -> Result<(), AudioSendError> {
        if packet.is_empty() || packet.len() > PACKET_BYTES_MAX {
            return Err(AudioSendError::PacketBytes(packet.len()));
        }
        out.clear();
        let mut writer = Writer::new(out);
        writer.u8(KIND_MICROPHONE);
        writer.u8(0);
        writer.u16(0);
        writer.u32(self.next);
        writer.bytes(packet);
        self.next = self.next.wrapping_add(1);
        Ok(())
    }
}

/// The host's end: a packet, or the word to conceal one, each 5 ms. Call
/// [`MicrophoneReceiver::poll`] until it says how long to wait.
#[derive(Debug, Default)]
pub struct MicrophoneReceiver(AudioReceiver);

impl MicrophoneReceiver {
    /// Takes a datagram; any order and repeats are harmless.
    ///
    /// # Errors
    /// [`AudioDatagramError`]; the datagram is to be dropped, nothing has changed.
    pub fn handle(&mut self, now: Timestamp, datagram: &[u8]) -> Result<(), AudioDatagramError> {
        let (number, packet) = parse(datagram)?;
        self.0.handle(now, &AudioDatagram::alone(number, packet));
        Ok(())
    }

    /// What to do for the 5 ms that begin now, or until when to wait.
    pub fn poll(&mut self, now: Timestamp) -> Playout<'_> {
        self.0.poll(now)
    }

    /// When [`Self::poll`] has something; `None` while nothing comes.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.0.poll_timeout()
    }

    /// Counts since the start.
    #[must_use]
    pub const fn stats(&self) -> AudioReceiverStats {
        self.0.stats()
    }
}

/// Number and packet of a datagram.
fn parse(datagram: &[u8]) -> Result<(u32, &[u8]), AudioDatagramError> {
    let mut reader = Reader::new(datagram);
    match reader.u8()? {
        KIND_MICROPHONE => {}
        kind => return Err(AudioDatagramError::Kind(kind)),
    }
    match reader.u8()? {
        0 => {}
        stream => return Err(AudioDatagramError::Stream(stream)),
    }
    let _reserved = reader.u16()?;
    let number = reader.u32()?;
    let left = reader.left();
    if !(1..=PACKET_BYTES_MAX).contains(&left) {
        return Err(AudioDatagramError::PacketBytes(left));
    }
    Ok((number, reader.take(left)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ns(1_000_000_000 + ms * 1_000_000)
    }

    #[test]
    fn golden_bytes_of_a_datagram() {
        let mut sender = MicrophoneSender { next: 0x0102_0304 };
        let mut bytes = Vec::new();
        sender.send(b"opus", &mut bytes).expect("short");
        let golden = [0xcc, 0, 0, 0, 4, 3, 2, 1, b'o', b'p', b'u', b's'];
        assert_eq!(bytes, golden);
        assert_eq!(parse(&golden), Ok((0x0102_0304, &b"opus"[..])));
        for length in 0..8 {
            let error = parse(&golden[..length]).expect_err("cut off");
            assert!(matches!(error, AudioDatagramError::Truncated(_)), "{error}");
        }
        assert_eq!(parse(&golden[..8]), Err(AudioDatagramError::PacketBytes(0)));
        let longer = [&golden[..8], &[0; PACKET_BYTES_MAX + 1]].concat();
        let error = AudioDatagramError::PacketBytes(PACKET_BYTES_MAX + 1);
        assert_eq!(parse(&longer), Err(error));
        for (place, value, error) in [
            (0, 0xc9, AudioDatagramError::Kind(0xc9)),
            (1, 7, AudioDatagramError::Stream(7)),
        ] {
            let mut bad = golden;
            bad[place] = value;
            assert_eq!(parse(&bad), Err(error));
        }
        assert!(sender.send(&[], &mut bytes).is_err());
        assert!(sender.send(&[0; PACKET_BYTES_MAX + 1], &mut bytes).is_err());
    }

    /// Packets of a client whose clock is this one; what the host plays of them.
    fn played(lost: &[u32]) -> Vec<Option<u8>> {
        let (mut sender, mut receiver) =
            (MicrophoneSender::default(), MicrophoneReceiver::default());
        let mut datagram = Vec::new();
        let mut heard = Vec::new();
        for number in 0..40u32 {
            let now = at(u64::from(number) * 5);
            sender
                .send(&[number as u8], &mut datagram)
                .expect("one byte");
            if !lost.contains(&number) {
                receiver.handle(now, &datagram).expect("valid");
            }
            loop {
                match receiver.poll(now) {
                    Playout::Play { packet, .. } => heard.push(Some(packet[0])),
                    Playout::Conceal(_) => heard.push(None),
                    Playout::Wait(_) => break,
                }
            }
        }
        heard
    }

    #[test]
    fn packets_come_out_in_order_and_what_is_lost_is_concealed() {
        let whole: Vec<u8> = played(&[]).into_iter().flatten().collect();
        assert!(whole.len() >= 37, "{whole:?}");
        assert!(whole.iter().copied().eq(0..whole.len() as u8), "{whole:?}");
        let holed = played(&[20, 21]);
        let place = holed.iter().position(|it| *it == Some(19)).expect("heard");
        assert_eq!(holed[place..][..4], [Some(19), None, None, Some(22)]);
    }
}
