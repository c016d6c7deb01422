//! Send: gives sealed batches to the kernel, in order and at their departure time, notes when the
//! wire had which slice, and tells control what left when.
//!
//! Who waits for the departure is the operator's choice (`--pace`): this thread with a timer, or the
//! queue of the device, which is given the batch [`HAND_OVER_LEAD`] ahead. The times noted and told
//! are those of the departure in both cases.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender};
use net::clock;
use net::ladder::SentFrame;
use net::limits::SLICES_PER_FRAME_MAX;
use net::packetize::Batch;
use net::rate::Sent;
use net::times::{FrameTimes, SliceTimes};
use net::udp::txtime::TimedQueue;
use net::udp::{SendError, Socket};
use net::units::{FrameId, Timestamp};

use super::{PictureDone, Sealed, SlicePart, StageFault};
use crate::metrics::{SessionMetrics, add, store_allocations};
use crate::pipeline::Stop;
use crate::steering::Departed;

/// A frame after which nothing is sent for so long was the last one: it is reported by itself.
const REPORT_PATIENCE: Duration = Duration::from_millis(50);
/// A batch that the kernel will not take for this long is worth less than the ones behind it.
const SEND_PATIENCE: Duration = Duration::from_millis(20);
/// How far ahead of their departure batches are given to a queue that keeps departure times: as
/// far as protect seals them, so that this thread never waits. What is sealed for at once passes
/// those that wait there (before Linux 6.7 it waits for the first of them, which is no longer than
/// this), and what it overtakes is in time for [`net::rate`] not to call it lost.
pub const HAND_OVER_LEAD: Duration = Duration::from_millis(2);

/// The send thread's half of the pipeline.
pub struct SendStage {
    socket: Socket,
    peer: SocketAddr,
    /// The queue on the way to `peer`, if departure times are its to keep.
    queue: Option<TimedQueue>,
    peers: Receiver<SocketAddr>,
    batches: Receiver<Sealed>,
    pool: Sender<Batch>,
    done: Receiver<PictureDone>,
    reports: Sender<FrameTimes>,
    departures: Sender<Departed>,
    metrics: Arc<SessionMetrics>,
    /// What is being sent, until it is reported.
    frame: Option<FrameInHand>,
    /// Of a picture that none of is sent yet.
    early: Option<PictureDone>,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    /// The kernel took it.
    Sent,
    /// The kernel did not take it, or not all of it.
    Failed,
    /// The interface takes no datagram so large: an answer for the path's size.
    TooLarge,
}

/// What send saw of one frame.
struct FrameInHand {
    frame: FrameId,
    slices: [SliceTimes; SLICES_PER_FRAME_MAX as usize],
    slice_count: u8,
    /// The kernel has taken every batch so far.
    whole: bool,
}

impl FrameInHand {
    const fn new(frame: FrameId) -> Self {
        const NONE: SliceTimes = SliceTimes {
            encoded: Timestamp::ZERO,
            protected: Timestamp::ZERO,
            first_byte: Timestamp::ZERO,
            last_byte: Timestamp::ZERO,
            bytes: 0,
        };
        Self {
            frame,
            slices: [NONE; SLICES_PER_FRAME_MAX as usize],
            slice_count: 0,
            whole: true,
        }
    }
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
        batches: Receiver<Sealed>,
        pool: Sender<Batch>,
        done: Receiver<PictureDone>,
        reports: Sender<FrameTimes>,
        departures: Sender<Departed>,
        metrics: Arc<SessionMetrics>,
    ) -> Self {
        Self {
            queue: timed_queue(&socket, peer),
            socket,
            peer,
            peers,
            batches,
            pool,
            done,
            reports,
            departures,
            metrics,
            frame: None,
            early: None,
        }
    }

    /// Runs until protect is gone, or the socket is.
    pub fn run(mut self, _stop: &Stop) -> Result<(), StageFault> {
        loop {
            let sealed = match self.frame {
                Some(_) => self.batches.recv_timeout(REPORT_PATIENCE),
                None => self.batches.recv().map_err(RecvTimeoutError::from),
            };
            match sealed {
                Ok(sealed) => self.send(sealed)?,
                Err(RecvTimeoutError::Timeout) => self.report(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            store_allocations(&self.metrics.counters.send_allocations);
        }
        self.report();
        Ok(())
    }

    fn send(&mut self, sealed: Sealed) -> Result<(), StageFault> {
        if let Ok(peer) = self.peers.try_recv() {
            self.peer = peer;
            self.queue = timed_queue(&self.socket, peer);
        }
        let Sealed {
            batch,
            part,
            protected,
        } = sealed;
        if !batch.departure.is_zero() {
            let lead = self.queue.map_or(Duration::ZERO, |_| HAND_OVER_LEAD);
            platform::thread::wait_until(batch.departure - lead);
        }
        let is_video = part.slice_bytes > 0;
        if is_video && self.frame.as_ref().is_none_or(|it| it.frame != batch.frame) {
            self.report();
            self.frame = Some(FrameInHand::new(batch.frame));
        }
        let counters = &self.metrics.counters;
        // Handed over ahead of time, it leaves when it is due.
        let first_byte = clock::now().max(batch.departure);
        let put = self.put(&batch, first_byte)?;
        if put == Put::Sent {
            add(&counters.datagrams, u64::from(batch.datagrams));
            add(&counters.sent_bytes, batch.bytes().len() as u64);
        } else {
            add(&counters.send_failures, 1);
        }
        if put != Put::Failed {
            self.tell(&batch, part.frame, first_byte, put == Put::TooLarge);
        }
        if is_video {
            self.stamp(&batch, put == Put::Sent, part, protected, first_byte);
        }
        // As many buffers as the pool holds: never full; if protect is gone, `recv` says so.
        let _ = self.pool.try_send(batch);
        Ok(())
    }

    /// Notes when the slice left that the batch is part of.
    fn stamp(
        &mut self,
        batch: &Batch,
        sent: bool,
        part: SlicePart,
        protected: Timestamp,
        first_byte: Timestamp,
    ) {
        let Some(frame) = &mut self.frame else { return };
        frame.whole &= sent;
        let index = usize::from(batch.slice.0).min(frame.slices.len() - 1);
        let times = &mut frame.slices[index];
        if batch.first_of_slice {
            *times = SliceTimes {
                encoded: part.encoded,
                protected,
                first_byte,
                bytes: part.slice_bytes,
                ..*times
            };
        }
        times.last_byte = clock::now().max(first_byte);
        frame.slice_count = frame.slice_count.max(batch.slice.0 + 1);
    }

    /// Tells control what left when.
    fn tell(&self, batch: &Batch, frame: Option<SentFrame>, at: Timestamp, is_refused: bool) {
        let departed = Departed {
            at,
            sent: Sent::from(batch),
            frame,
            is_refused,
        };
        if self.departures.try_send(departed).is_err() {
            add(&self.metrics.counters.departures_dropped, 1);
        }
    }

    /// Gives the kernel the batch, to let it go at `departure` if its queue keeps times.
    fn put(&self, batch: &Batch, departure: Timestamp) -> Result<Put, StageFault> {
        let segment_bytes = usize::from(batch.segment_bytes);
        let mut bytes = batch.bytes();
        let mut waits = 0;
        while !bytes.is_empty() {
            let (socket, peer) = (&self.socket, self.peer);
            let sent = match self.queue {
                Some(queue) => {
                    socket.send_segments_at(peer, bytes, segment_bytes, queue, departure)
                }
                None => socket.send_segments(peer, bytes, segment_bytes),
            };
            match sent {
                // Without GSO the kernel may take only the first datagrams.
                Ok(sent) => bytes = &bytes[sent.bytes..],
                Err(SendError::WouldBlock) => {
                    waits += 1;
                    self.count_missed();
                    if waits == 2
                        || !self
                            .socket
                            .wait_writable(SEND_PATIENCE)
                            .map_err(StageFault::Socket)?
                    {
                        return Ok(Put::Failed);
                    }
                }
                Err(SendError::NoBuffers) => return Ok(Put::Failed),
                Err(SendError::TooLarge { .. }) => return Ok(Put::TooLarge),
                Err(SendError::Unreachable(error)) => {
                    log::debug!("{} is not reachable just now: {error}", self.peer);
                    return Ok(Put::Failed);
                }
                Err(SendError::Io(error)) => return Err(StageFault::Socket(error)),
            }
        }
        Ok(Put::Sent)
    }

    /// Counts the batches that a queue dropped instead of letting them go; none of them is worth
    /// ending for, since the client asks for them again. Reports not taken would keep the socket
    /// "ready" for everybody who waits for it.
    fn count_missed(&self) {
        if self.queue.is_some() {
            let errors = self.socket.take_txtime_errors();
            let missed = &self.metrics.counters.departures_missed;
            add(missed, errors.missed + errors.invalid);
        }
    }

    /// Reports the frame in hand, of which no more is sent, and those before it.
    fn report(&mut self) {
        self.count_missed();
        let Some(sent) = self.frame.take() else {
            return;
        };
        while let Some(done) = self.early.take().or_else(|| self.done.try_recv().ok()) {
            if done.frame > sent.frame {
                self.early = Some(done);
                return;
            }
            if done.frame < sent.frame {
                // Not a slice of it could be packetized.
                self.pass_on(&done, &FrameInHand::new(done.frame));
                continue;
            }
            return self.pass_on(&done, &sent);
        }
        // A picture that the encoder failed on is never done.
    }

    fn pass_on(&self, done: &PictureDone, sent: &FrameInHand) {
        let slices = &sent.slices[..usize::from(sent.slice_count)];
        // A frame that did not go out whole has no last byte whose time could be told.
        if sent.whole
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
            slices: sent.slices,
            slice_count: sent.slice_count,
            qp_tenths: (done.qp * 10.0) as u16,
        };
        if self.reports.try_send(times).is_err() {
            add(&self.metrics.counters.reports_dropped, 1);
        }
    }
}

/// The queue that keeps departure times on the way to `peer`, if the operator wants that and there
/// is one.
fn timed_queue(socket: &Socket, peer: SocketAddr) -> Option<TimedQueue> {
    if !socket.wants_txtime() {
        return None;
    }
    match socket.timed_queue(peer) {
        Ok(queue) => {
            log::info!("departure times to {peer} are kept by {}", queue.name());
            Some(queue)
        }
        Err(refusal) => {
            log::warn!("departure times to {peer} are kept by a timer: {refusal}");
            None
        }
    }
}
