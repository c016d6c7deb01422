//! Send: gives sealed batches to the kernel, in order and at their departure time, notes when the
//! wire had which slice, and tells control what left when.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};
use net::clock;
use net::limits::SLICES_PER_FRAME_MAX;
use net::packetize::{Batch, Cargo};
use net::rate::{Sent, SentKind};
use net::times::{FrameTimes, SliceTimes};
use net::udp::{SendError, Socket};
use net::units::Timestamp;

use super::{PictureDone, Sealed, SlicePart, StageFault, ToSend};
use crate::metrics::{SessionMetrics, add, store_allocations};
use crate::pipeline::Stop;
use crate::steering::Departed;

/// A batch that the kernel will not take for this long is worth less than the ones behind it.
const SEND_PATIENCE: Duration = Duration::from_millis(20);

/// The send thread's half of the pipeline.
pub struct SendStage {
    socket: Socket,
    peer: SocketAddr,
    peers: Receiver<SocketAddr>,
    batches: Receiver<ToSend>,
    pool: Sender<Batch>,
    reports: Sender<FrameTimes>,
    departures: Sender<Departed>,
    metrics: Arc<SessionMetrics>,
    slices: [SliceTimes; SLICES_PER_FRAME_MAX as usize],
    slice_count: u8,
    /// The kernel has taken every batch of the frame so far.
    sent_whole: bool,
}

impl SendStage {
    /// Sends what comes from `batches` to `peer`, or wherever `peers` says later.
    #[must_use]
    #[expect(
        clippy::too_many_arguments,
        reason = "each is an end of a way of the pipeline's"
    )]
    pub fn new(
        socket: Socket,
        peer: SocketAddr,
        peers: Receiver<SocketAddr>,
        batches: Receiver<ToSend>,
        pool: Sender<Batch>,
        reports: Sender<FrameTimes>,
        departures: Sender<Departed>,
        metrics: Arc<SessionMetrics>,
    ) -> Self {
        let slices = [SliceTimes::default(); SLICES_PER_FRAME_MAX as usize];
        Self {
            socket,
            peer,
            peers,
            batches,
            pool,
            reports,
            departures,
            metrics,
            slices,
            slice_count: 0,
            sent_whole: true,
        }
    }

    /// Runs until protect is gone, or the socket is.
    pub fn run(mut self, _stop: &Stop) -> Result<(), StageFault> {
        while let Ok(message) = self.batches.recv() {
            match message {
                ToSend::Batch(sealed) => self.send(sealed)?,
                ToSend::Done(done) => self.report(&done),
            }
            store_allocations(&self.metrics.counters.send_allocations);
        }
        Ok(())
    }

    fn send(&mut self, sealed: Sealed) -> Result<(), StageFault> {
        if let Ok(peer) = self.peers.try_recv() {
            self.peer = peer;
        }
        let Sealed {
            batch,
            part,
            protected,
        } = sealed;
        if !batch.departure.is_zero() {
            platform::thread::wait_until(batch.departure);
        }
        if batch.first_of_slice && batch.slice.0 == 0 {
            // A picture that the encoder failed on has no report; its slices end here.
            self.begin_frame();
        }
        let counters = &self.metrics.counters;
        let first_byte = clock::now();
        let sent = self.put(&batch)?;
        if sent {
            add(&counters.datagrams, u64::from(batch.datagrams));
            add(&counters.sent_bytes, batch.bytes().len() as u64);
            self.tell(&batch, first_byte);
        } else {
            self.sent_whole &= part.slice_bytes == 0;
            add(&counters.send_failures, 1);
        }
        if part.slice_bytes > 0 {
            self.stamp(&batch, part, protected, first_byte);
        }
        // As many buffers as the pool holds: never full; if protect is gone, `recv` says so.
        let _ = self.pool.try_send(batch);
        Ok(())
    }

    /// Notes when the slice left that the batch is part of.
    fn stamp(
        &mut self,
        batch: &Batch,
        part: SlicePart,
        protected: Timestamp,
        first_byte: Timestamp,
    ) {
        let index = usize::from(batch.slice.0).min(self.slices.len() - 1);
        let times = &mut self.slices[index];
        if batch.first_of_slice {
            *times = SliceTimes {
                encoded: part.encoded,
                protected,
                first_byte,
                bytes: part.slice_bytes,
                ..*times
            };
        }
        times.last_byte = clock::now();
        self.slice_count = self.slice_count.max(batch.slice.0 + 1);
    }

    /// Tells control what left when.
    fn tell(&self, batch: &Batch, at: Timestamp) {
        let kind = match batch.cargo {
            Cargo::Data | Cargo::Parity => SentKind::Video,
            Cargo::Repeat => SentKind::Repeat,
            Cargo::Control => SentKind::Probe,
        };
        let sent = Sent {
            first_sequence: batch.first_sequence,
            datagrams: batch.datagrams,
            datagram_bytes: batch.segment_bytes,
            burst: batch.burst,
            kind,
        };
        if self.departures.try_send(Departed { at, sent }).is_err() {
            add(&self.metrics.counters.departures_dropped, 1);
        }
    }

    /// True if the kernel took the batch.
    fn put(&self, batch: &Batch) -> Result<bool, StageFault> {
        let mut bytes = batch.bytes();
        let mut waits = 0;
        while !bytes.is_empty() {
            match self
                .socket
                .send_segments(self.peer, bytes, usize::from(batch.segment_bytes))
            {
                // Without GSO the kernel may take only the first datagrams.
                Ok(sent) => bytes = &bytes[sent.bytes..],
                Err(SendError::WouldBlock) => {
                    waits += 1;
                    if waits == 2
                        || !self
                            .socket
                            .wait_writable(SEND_PATIENCE)
                            .map_err(StageFault::Socket)?
                    {
                        return Ok(false);
                    }
                }
                Err(SendError::NoBuffers | SendError::TooLarge { .. }) => return Ok(false),
                Err(SendError::Unreachable(error)) => {
                    log::debug!("{} is not reachable just now: {error}", self.peer);
                    return Ok(false);
                }
                Err(SendError::Io(error)) => return Err(StageFault::Socket(error)),
            }
        }
        Ok(true)
    }

    fn report(&mut self, done: &PictureDone) {
        let slices = &self.slices[..usize::from(self.slice_count)];
        // A frame that did not go out whole has no last byte whose time could be told.
        if self.sent_whole
            && let (Some(first), Some(last)) = (slices.first(), slices.last())
        {
            self.metrics
                .capture_to_first_byte
                .record(first.first_byte.since(done.captured));
            self.metrics
                .capture_to_last_byte
                .record(last.last_byte.since(done.captured));
        }
        let times = FrameTimes {
            frame: done.frame,
            keyframe: done.keyframe,
            captured: done.captured,
            encode_begin: done.encode_begin,
            converted: done.converted,
            slices: self.slices,
            slice_count: self.slice_count,
            qp_tenths: (done.qp * 10.0) as u16,
        };
        if self.reports.try_send(times).is_err() {
            add(&self.metrics.counters.reports_dropped, 1);
        }
        self.begin_frame();
    }

    fn begin_frame(&mut self) {
        self.slices = [SliceTimes::default(); SLICES_PER_FRAME_MAX as usize];
        self.slice_count = 0;
        self.sent_whole = true;
    }
}
