//! Sound on the receive thread: datagrams into the jitter buffer, packets out when they are due.

use std::sync::atomic::Ordering::Relaxed;

use crossbeam::channel::Sender;

use super::Counters;
use crate::audio::{
    AUDIO_DATAGRAM_BYTES_MAX, AudioDatagram, AudioReceiver, PACKET_BYTES_MAX, Playout,
};
use crate::clock_sync::Offset;
use crate::quic::Link;
use crate::units::Timestamp;

/// What to play for the next 5 ms.
pub struct HeardPacket {
    length: usize,
    bytes: [u8; PACKET_BYTES_MAX],
}

impl HeardPacket {
    fn new(packet: &[u8]) -> Self {
        let mut bytes = [0; PACKET_BYTES_MAX];
        bytes[..packet.len()].copy_from_slice(packet);
        Self {
            length: packet.len(),
            bytes,
        }
    }

    /// The Opus packet, or `None` where the decoder is to conceal 5 ms.
    #[must_use]
    pub fn opus(&self) -> Option<&[u8]> {
        (self.length > 0).then(|| &self.bytes[..self.length])
    }
}

/// The sound of one session.
pub(super) struct Hearing {
    receiver: AudioReceiver,
    report: Vec<u8>,
}

impl Hearing {
    pub(super) fn new() -> Self {
        Self {
            receiver: AudioReceiver::new(),
            report: Vec::with_capacity(AUDIO_DATAGRAM_BYTES_MAX),
        }
    }

    /// When [`Self::deliver`] has something.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.receiver.poll_timeout()
    }

    /// Takes a datagram of sound.
    pub(super) fn handle(&mut self, now: Timestamp, datagram: &[u8]) {
        match AudioDatagram::parse(datagram) {
            Ok(datagram) => self.receiver.handle(now, &datagram),
            Err(error) => log::trace!("{error}"),
        }
    }

    /// Gives out what is due and reports what has come. `offset` is the host's clock less ours.
    pub(super) fn deliver(
        &mut self,
        now: Timestamp,
        offset: Option<Offset>,
        link: &mut Link,
        heard: &Sender<HeardPacket>,
        counters: &Counters,
    ) {
        loop {
            let packet = match self.receiver.poll(now) {
                Playout::Wait(_) => break,
                Playout::Conceal(_) => HeardPacket::new(&[]),
                Playout::Play {
                    captured_us,
                    packet,
                } => {
                    if let Some(offset) = offset {
                        note_latency(counters, now, offset, captured_us);
                    }
                    HeardPacket::new(packet)
                }
            };
            if heard.try_send(packet).is_err() {
                counters.audio_overrun.fetch_add(1, Relaxed);
            }
        }
        let stats = self.receiver.stats();
        let concealed = stats.concealed + stats.stretched;
        counters.audio_played.store(stats.played, Relaxed);
        counters.audio_repaired.store(stats.repaired, Relaxed);
        counters.audio_concealed.store(concealed, Relaxed);
        counters.audio_skipped.store(stats.skipped, Relaxed);
        if let Some(report) = self.receiver.poll_report(now) {
            report.write(&mut self.report);
            // One that is lost is followed by the next.
            let _ = link.send_datagram(&self.report);
        }
    }
}

/// Follows the latency by a sixteenth.
fn note_latency(counters: &Counters, now: Timestamp, offset: Offset, captured_us: u32) {
    let host_us = now.as_ns().saturating_add_signed(offset.ns) / 1000;
    // A packet is younger than half of 2³² µs; what seems older is one from after now.
    let latency_us = (host_us as u32)
        .wrapping_sub(captured_us)
        .cast_signed()
        .max(0);
    let before = counters.audio_latency_us.load(Relaxed).cast_signed();
    let after = match before {
        0 => latency_us.into(),
        _ => before + (i64::from(latency_us) - before) / 16,
    };
    counters
        .audio_latency_us
        .store(after.unsigned_abs(), Relaxed);
}
