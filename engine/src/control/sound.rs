//! A session's sound on its way from its own thread to the client: packets come through a bounded
//! channel, leave as QUIC datagrams with the copies that the client's reports ask for.

use std::sync::Arc;

use crossbeam::channel::{Receiver, Sender, bounded};
use mio::Waker;
use net::audio::datagram::{KIND_AUDIO, KIND_REPORT};
use net::audio::{
    AUDIO_DATAGRAM_BYTES_MAX, AudioReport, AudioSender, PACKET_BYTES_MAX, Quality, Speakers,
};
use net::quic::Link;
use net::units::Timestamp;

use crate::metrics::{SessionMetrics, add};
use crate::session::StartAudio;
use crate::stage::audio::{AudioConfig, AudioOut, PacketLength};

const _: () = assert!(KIND_AUDIO != KIND_REPORT);

/// Packets that control has not taken: 80 ms. Full: the newest is left out and counted, and the
/// client conceals it; control that is so late has more to make up for.
const PACKETS: usize = 16;

/// One packet, by value: a pool would save a copy of a few hundred bytes and cost a channel.
struct Packet {
    captured: Timestamp,
    length: usize,
    bytes: [u8; PACKET_BYTES_MAX],
}

/// Control's end.
pub(super) struct Sound {
    packets: Receiver<Packet>,
    sender: AudioSender,
    datagram: Vec<u8>,
}

/// The sound thread's end.
struct Out {
    packets: Sender<Packet>,
    waker: Arc<Waker>,
    metrics: Arc<SessionMetrics>,
}

impl Sound {
    /// Both ends, for a client with these speakers.
    pub(super) fn new(
        speakers: Speakers,
        waker: Arc<Waker>,
        metrics: Arc<SessionMetrics>,
    ) -> (Self, StartAudio) {
        let (packets_in, packets) = bounded(PACKETS);
        let sound = Self {
            packets,
            sender: AudioSender::new(),
            datagram: Vec::with_capacity(AUDIO_DATAGRAM_BYTES_MAX),
        };
        let out = Out {
            packets: packets_in,
            waker,
            metrics,
        };
        let config = AudioConfig {
            speakers,
            quality: Quality::Normal,
            packet: PacketLength::Ms5,
            packet_bytes_max: PACKET_BYTES_MAX,
        };
        let start = StartAudio {
            config,
            out: Box::new(out),
        };
        (sound, start)
    }

    /// Gives what has come to QUIC.
    pub(super) fn pass_on(&mut self, link: &mut Link) {
        while let Ok(packet) = self.packets.try_recv() {
            let bytes = &packet.bytes[..packet.length];
            match self.sender.send(packet.captured, bytes, &mut self.datagram) {
                // One that QUIC cannot take is lost like any other.
                Ok(()) => drop(link.send_datagram(&self.datagram)),
                Err(error) => log::error!("{error}"),
            }
        }
    }

    /// A datagram of the client's with the kind [`KIND_REPORT`].
    pub(super) fn handle_report(&mut self, now: Timestamp, datagram: &[u8]) {
        match AudioReport::parse(datagram) {
            Ok(report) => {
                if let Err(error) = self.sender.handle_report(now, &report) {
                    log::trace!("{error}");
                }
            }
            Err(error) => log::trace!("{error}"),
        }
    }
}

impl AudioOut for Out {
    fn packet(&mut self, captured: Timestamp, opus: &[u8]) {
        let mut packet = Packet {
            captured,
            length: opus.len().min(PACKET_BYTES_MAX),
            bytes: [0; PACKET_BYTES_MAX],
        };
        packet.bytes[..packet.length].copy_from_slice(&opus[..packet.length]);
        if self.packets.try_send(packet).is_err() {
            add(&self.metrics.counters.audio_not_taken, 1);
        } else if let Err(error) = self.waker.wake() {
            log::error!("control cannot be woken: {error}");
        }
    }
}
