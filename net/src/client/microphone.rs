//! The client's sound, from whoever records it to the receive thread.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, TrySendError};
use mio::Waker;

use crate::audio::microphone::MicrophoneSender;
use crate::audio::{AUDIO_DATAGRAM_BYTES_MAX, PACKET_BYTES_MAX};
use crate::quic::Link;

/// A packet, by value: it is small, and a pool would cost a second channel.
pub(super) struct SpokenPacket {
    length: usize,
    bytes: [u8; PACKET_BYTES_MAX],
}

/// Sends what a microphone hears. Clones are the same microphone.
#[derive(Clone)]
pub struct ClientMicrophone {
    /// `None` if no microphone was agreed on.
    packets: Option<Sender<SpokenPacket>>,
    waker: Arc<Waker>,
}

/// A packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MicrophoneRefused {
    /// The session has no microphone.
    #[error(
        "the host takes no microphone: ask for it, and have the operator allow it on the host \
         (`punktfunk host --microphone`, and the right `microphone`)"
    )]
    NotTaken,
    /// Empty or too long.
    #[error("a packet of {0} bytes: 1 to {PACKET_BYTES_MAX} are possible")]
    PacketBytes(usize),
    /// Too much waits.
    #[error("too much sound waits already: send a packet each 5 ms")]
    Full,
    /// The session is over.
    #[error("the session is over")]
    Over,
}

impl ClientMicrophone {
    pub(super) fn new(packets: Option<&Sender<SpokenPacket>>, waker: &Arc<Waker>) -> Self {
        Self {
            packets: packets.cloned(),
            waker: Arc::clone(waker),
        }
    }

    /// Sends the next 5 ms: an Opus packet of 240 samples at 48 kHz, of one or two channels. Never
    /// waits.
    ///
    /// # Errors
    /// [`MicrophoneRefused`]; the packet was not taken.
    pub fn send(&self, opus: &[u8]) -> Result<(), MicrophoneRefused> {
        let Some(packets) = &self.packets else {
            return Err(MicrophoneRefused::NotTaken);
        };
        if opus.is_empty() || opus.len() > PACKET_BYTES_MAX {
            return Err(MicrophoneRefused::PacketBytes(opus.len()));
        }
        let mut bytes = [0; PACKET_BYTES_MAX];
        bytes[..opus.len()].copy_from_slice(opus);
        let length = opus.len();
        packets
            .try_send(SpokenPacket { length, bytes })
            .map_err(|error| match error {
                TrySendError::Full(_) => MicrophoneRefused::Full,
                TrySendError::Disconnected(_) => MicrophoneRefused::Over,
            })?;
        if let Err(error) = self.waker.wake() {
            log::error!("the receive thread cannot be woken: {error}");
        }
        Ok(())
    }
}

/// The receive thread's end.
pub(super) struct Speaking {
    sender: MicrophoneSender,
    datagram: Vec<u8>,
}

impl Speaking {
    pub(super) fn new() -> Self {
        Self {
            sender: MicrophoneSender::default(),
            datagram: Vec::with_capacity(AUDIO_DATAGRAM_BYTES_MAX),
        }
    }

    /// Gives what waits to QUIC.
    pub(super) fn pass_on(&mut self, packets: &Receiver<SpokenPacket>, link: &mut Link) {
        while let Ok(packet) = packets.try_recv() {
            let bytes = &packet.bytes[..packet.length];
            match self.sender.send(bytes, &mut self.datagram) {
                // One that QUIC cannot take is lost like any other.
                Ok(()) => drop(link.send_datagram(&self.datagram)),
                Err(error) => log::error!("{error}"),
            }
        }
    }
}
