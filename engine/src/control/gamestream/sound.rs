//! One stream's sound on its way to a stock client: RTP with its parity, straight from the sound's
//! thread. Control tells that thread where the client is, as its pings say.
//!
//! ```text
//!  pf-audio: Opus ─▶ AudioPacketizer ─▶ UDP          pf-gs-control: ping ─▶ PingGate ─▶ SoundPeer
//!                                        ▲──────────── newest wins ────────────────────────┘
//! ```
//!
//! Nothing is sent before the first ping. Sequence and time begin anew with each stream, as the
//! client's do, and the packets of one stream are of one length.

use std::net::SocketAddr;
use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use net::audio::{Quality, Speakers};
use net::gamestream::audio::{AudioPacketizer, AudioSendConfig, OPUS_BYTES_MAX};
use net::gamestream::audio_fec::PARITY_SHARDS;
use net::gamestream::sdp::StreamConfig;
use net::udp::{Datagram, Dscp, SendError, Socket};
use net::units::Timestamp;

use super::session::Stream;
use crate::metrics::{SessionMetrics, add};
use crate::session::StartAudio;
use crate::stage::audio::{AudioConfig, AudioOut, PacketLength};

/// What RTP, parity and padding add to an Opus packet, less what they add to video's; a datagram
/// of sound is so never larger than one of video, whose size the client has chosen for its path.
const HEADROOM_BYTES: usize = 32;

/// Control's end.
pub(super) struct SoundPeer {
    peers: Sender<SocketAddr>,
    stale: Receiver<SocketAddr>,
}

/// The sound thread's end.
struct Out {
    packetizer: AudioPacketizer,
    socket: Socket,
    peers: Receiver<SocketAddr>,
    peer: Option<SocketAddr>,
    metrics: Arc<SessionMetrics>,
    /// It was said that the socket fails.
    told: bool,
}

/// Both ends for a stream whose client has announced what it wants. `None` if there can be no
/// sound, which the log explains.
pub(super) fn start(
    stream: &mut Stream,
    socket: &Socket,
    metrics: &Arc<SessionMetrics>,
) -> Option<StartAudio> {
    let announced = stream.announced.as_ref()?;
    let key = (stream.key, stream.key_id);
    let (peer, start) = ends(&announced.config, key, socket, metrics)
        .inspect_err(|error| log::warn!("the stream has no sound: {error}"))
        .ok()??;
    if let Some(address) = announced.audio.peer() {
        peer.redirect(address);
    }
    stream.sound = Some(peer);
    Some(start)
}

/// `None` for channels that do not exist, which the SDP's parser lets nobody ask for.
fn ends(
    config: &StreamConfig,
    key: ([u8; 16], u32),
    socket: &Socket,
    metrics: &Arc<SessionMetrics>,
) -> std::io::Result<Option<(SoundPeer, StartAudio)>> {
    let Some(audio) = audio_config(config) else {
        return Ok(None);
    };
    let packetizer = AudioPacketizer::new(&AudioSendConfig {
        packet_ms: config.audio.packet_ms,
        key: config.encryption.audio.then_some(key),
    });
    let (peers, stale) = bounded(1);
    let out = Out {
        packetizer,
        socket: socket
            .try_clone()?
            .marked(config.audio_qos.then_some(Dscp::AUDIO)),
        peers: stale.clone(),
        peer: None,
        metrics: Arc::clone(metrics),
        told: false,
    };
    let start = StartAudio {
        config: audio,
        out: Box::new(out),
    };
    Ok(Some((SoundPeer { peers, stale }, start)))
}

/// What Opus makes of the sound, as the client has announced it.
fn audio_config(config: &StreamConfig) -> Option<AudioConfig> {
    let room = usize::from(config.packet_bytes).saturating_sub(HEADROOM_BYTES);
    Some(AudioConfig {
        speakers: Speakers::from_channels(config.audio.channels)?,
        quality: match config.audio.high_quality {
            true => Quality::High,
            false => Quality::Normal,
        },
        packet: match config.audio.packet_ms {
            10 => PacketLength::Ms10,
            20 => PacketLength::Ms20,
            _ => PacketLength::Ms5,
        },
        packet_bytes_max: room.min(OPUS_BYTES_MAX),
    })
}

impl SoundPeer {
    /// Sound goes to this address from the next packet on.
    pub(super) fn redirect(&self, peer: SocketAddr) {
        // Newest wins: an address that was not taken up yet is out of date.
        while let Err(TrySendError::Full(_)) = self.peers.try_send(peer) {
            let _ = self.stale.try_recv();
        }
    }
}

impl AudioOut for Out {
    fn packet(&mut self, _captured: Timestamp, opus: &[u8]) {
        if let Ok(peer) = self.peers.try_recv() {
            self.peer = Some(peer);
        }
        let Some(peer) = self.peer else { return };
        let datagrams = match self.packetizer.handle_opus(opus) {
            Ok(datagrams) => datagrams,
            Err(error) => return log::error!("{error}"),
        };
        let mut batch = [Datagram {
            to: peer,
            bytes: &[],
        }; 1 + PARITY_SHARDS];
        let mut count = 0;
        for (place, bytes) in batch.iter_mut().zip(datagrams.iter()) {
            place.bytes = bytes;
            count += 1;
        }
        let (sent, bytes, refused) = match self.socket.send_many(&batch[..count]) {
            Ok(sent) => (sent.datagrams, sent.bytes, None),
            Err(error) => (0, 0, Some(error)),
        };
        let counters = &self.metrics.counters;
        add(&counters.audio_datagrams, sent as u64);
        add(&counters.audio_sent_bytes, bytes as u64);
        // One that the kernel does not take now is worth nothing later.
        add(&counters.audio_send_failures, (count - sent) as u64);
        if let Some(SendError::Io(error)) = refused
            && !std::mem::replace(&mut self.told, true)
        {
            log::warn!("sound cannot be sent to {peer}: {error}");
        }
    }
}

#[cfg(test)]
mod tests;
