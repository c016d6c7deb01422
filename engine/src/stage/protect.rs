//! Protect: cuts slices into shards, adds parity, seals everything, batch by batch, so that the
//! first datagrams are on the wire while the last ones are still being sealed.
//!
//! Each batch gets its departure from the pacer. Protect seals no further than `LEAD` ahead of
//! it, so that a repeat, which is taken between two batches, need not wait behind a paced frame.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, never};
use crossbeam::select;
use net::clock;
use net::clock_sync::Echo;
use net::ladder::SentFrame;
use net::limits::{DATAGRAM_BYTES_MAX, MEDIA_HEADER_BYTES, TAG_BYTES};
use net::media::Kind;
use net::packetize::{Batch, Cargo, Columns, Packetizer};
use net::rate::{Pace, Pacer, Urgency};
use net::steering::Task;
use net::units::Timestamp;

use super::{Sealed, Slice, SlicePart, StageFault};
use crate::metrics::{SessionMetrics, add, store_allocations};
use crate::pipeline::Stop;
use crate::steering::StandingOrders;

/// How far ahead of its departure a batch is sealed at most. A few wake-ups of a parked thread:
/// the send stage never runs dry for it.
const LEAD: Duration = Duration::from_millis(2);

/// What padding is made of.
const ZEROS: [u8; DATAGRAM_BYTES_MAX] = [0; DATAGRAM_BYTES_MAX];

/// The protect thread's half of the pipeline.
pub struct ProtectStage {
    /// FEC and AEAD.
    pub packetizer: Packetizer,
    /// When which batch leaves.
    pub pacer: Pacer,
    /// From encode.
    pub slices: Receiver<Slice>,
    /// Back to encode.
    pub slice_pool: Sender<Box<[u8]>>,
    /// Buffers that send has given back.
    pub batch_pool: Receiver<Batch>,
    /// A buffer of that pool that the work before did not need.
    pub spare: Option<Batch>,
    /// To send.
    pub batches: Sender<Sealed>,
    /// How to protect and to pace.
    pub orders: Arc<StandingOrders>,
    /// What else to seal.
    pub tasks: Receiver<Task>,
    /// The latest departure given.
    pub departure: Timestamp,
    /// Slices of the frame in work are still to come, or no frame came at all.
    pub is_amid_frame: bool,
    /// A probe of this size waits for the frame in work to be over, bytes.
    pub mtu_probe: Option<u16>,
    /// Counters.
    pub metrics: Arc<SessionMetrics>,
}

/// The stage behind is gone.
struct Gone;

impl ProtectStage {
    /// Runs until encode or send is gone.
    pub fn run(mut self, _stop: &Stop) -> Result<(), StageFault> {
        loop {
            let passed = select! {
                recv(self.slices) -> slice => match slice {
                    Ok(slice) => self.protect(slice),
                    Err(_) => Err(Gone),
                },
                recv(self.tasks) -> task => match task {
                    Ok(task) => self.perform(task),
                    Err(_) => {
                        self.forget_tasks();
                        Ok(())
                    }
                },
            };
            if passed.is_err() {
                return Ok(());
            }
            store_allocations(&self.metrics.counters.protect_allocations);
        }
    }

    fn protect(&mut self, slice: Slice) -> Result<(), Gone> {
        self.obey();
        self.is_amid_frame = true;
        let begun = self
            .packetizer
            .begin(&slice.meta, &slice.buffer[..slice.filled]);
        // The pool is as large as the number of buffers: never full, and if encode is gone the
        // next `recv` says so.
        let _ = self.slice_pool.try_send(slice.buffer);
        if let Err(error) = begun {
            // The client misses a slice and asks for repair; the stream goes on.
            add(&self.metrics.counters.protect_failures, 1);
            log::warn!("a slice of {} is lost: {error}", slice.meta.frame);
            self.is_amid_frame = !slice.meta.last;
            return Ok(());
        }
        let mut part = SlicePart {
            encoded: slice.encoded,
            slice_bytes: slice.filled as u32,
            frame: Some(SentFrame {
                frame: slice.meta.frame,
                columns: self.packetizer.columns(),
                whole_shards: self.packetizer.whole_shards(),
                is_recovery: slice.meta.keyframe || slice.meta.recovery,
            }),
        };
        loop {
            self.await_turn()?;
            let mut batch = self.take_batch()?;
            if !self.packetizer.next_batch(&mut batch) {
                self.spare = Some(batch);
                break;
            }
            self.pass_on(batch, Urgency::Video, part)?;
            part.frame = None;
        }
        let counters = &self.metrics.counters;
        add(&counters.slices, 1);
        let stats = self.packetizer.stats();
        counters
            .parity_datagrams
            .store(stats.parity_datagrams, Relaxed);
        counters
            .dropped_on_purpose
            .store(stats.dropped_datagrams, Relaxed);
        self.is_amid_frame = !slice.meta.last;
        self.probe_size()
    }

    /// Takes up what control has ordered since the slice before.
    fn obey(&mut self) {
        self.packetizer.set_protection(self.orders.protection());
        self.packetizer
            .set_datagram_bytes_max(self.orders.datagram_bytes_max());
        self.pacer.set_pace(clock::now(), self.orders.pace());
        self.packetizer
            .set_batch_datagrams_max(self.pacer.batch_datagrams().into());
    }

    /// Performs tasks until the batch before is close to its departure.
    fn await_turn(&mut self) -> Result<(), Gone> {
        loop {
            let early = (self.departure - LEAD).since(clock::now());
            if early.is_zero() {
                // Most often; waiting for no time at all would yield the processor first.
                let Ok(task) = self.tasks.try_recv() else {
                    return Ok(());
                };
                self.perform(task)?;
                continue;
            }
            match self.tasks.recv_timeout(early) {
                Ok(task) => self.perform(task)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.forget_tasks(),
            }
        }
    }

    /// Control is gone: the session is about to end, but not by this stage.
    fn forget_tasks(&mut self) {
        self.tasks = never();
    }

    fn perform(&mut self, task: Task) -> Result<(), Gone> {
        match task {
            Task::Repeat(columns) => self.repeat(columns),
            // What follows shows the client what it misses.
            Task::Tail(_) if self.is_amid_frame || !self.slices.is_empty() => Ok(()),
            Task::Tail(columns) => self.repeat(columns),
            Task::Echo {
                client_sent,
                host_received,
            } => self.echo(client_sent, host_received),
            Task::Probe {
                datagram_bytes,
                datagrams,
                pace,
                burst,
            } => self.probe(datagram_bytes, datagrams, pace, burst),
            Task::MtuProbe { datagram_bytes } => {
                self.mtu_probe = Some(datagram_bytes);
                if self.is_amid_frame || !self.slices.is_empty() {
                    return Ok(());
                }
                self.probe_size()
            }
        }
    }

    fn repeat(&mut self, mut columns: Columns) -> Result<(), Gone> {
        loop {
            let mut batch = self.take_batch()?;
            if !self.packetizer.repeat(&mut columns, &mut batch) {
                self.spare = Some(batch);
                break;
            }
            self.pass_on(batch, Urgency::Repeat, SlicePart::NONE)?;
        }
        let stats = self.packetizer.stats();
        let counters = &self.metrics.counters;
        counters.repeated.store(stats.repeated_datagrams, Relaxed);
        counters.not_repeated.store(stats.forgotten_shards, Relaxed);
        Ok(())
    }

    fn echo(&mut self, client_sent: Timestamp, host_received: Timestamp) -> Result<(), Gone> {
        let mut batch = self.take_batch()?;
        let echo = Echo {
            client_sent,
            host_received,
            host_sent: clock::now(),
        };
        self.packetizer
            .plain(Kind::Echo, &echo.to_wire(), &mut batch);
        self.pass_on(batch, Urgency::Audio, SlicePart::NONE)
    }

    /// Sends the probe of a size that waits, once the frame in work is over: it delays none.
    fn probe_size(&mut self) -> Result<(), Gone> {
        let Some(bytes) = self.mtu_probe.take_if(|_| !self.is_amid_frame) else {
            return Ok(());
        };
        let mut batch = self.take_batch()?;
        let bytes = usize::from(bytes).min(DATAGRAM_BYTES_MAX);
        let payload = bytes.saturating_sub(MEDIA_HEADER_BYTES + TAG_BYTES);
        self.packetizer
            .plain(Kind::Padding, &ZEROS[..payload], &mut batch);
        batch.cargo = Cargo::MtuProbe;
        self.pass_on(batch, Urgency::Video, SlicePart::NONE)
    }

    /// Padding of its own pace: it shows what the path would take.
    fn probe(&mut self, bytes: u16, datagrams: u16, pace: Pace, burst: u32) -> Result<(), Gone> {
        let bytes = usize::from(bytes).min(DATAGRAM_BYTES_MAX);
        let payload = bytes.saturating_sub(MEDIA_HEADER_BYTES + TAG_BYTES);
        let mut pacer = Pacer::new(pace);
        for _ in 0..datagrams {
            let mut batch = self.take_batch()?;
            self.packetizer
                .plain(Kind::Padding, &ZEROS[..payload], &mut batch);
            batch.departure = pacer.departure(clock::now(), bytes as u32, Urgency::Video);
            batch.burst = burst;
            self.send(batch, SlicePart::NONE)?;
        }
        Ok(())
    }

    fn take_batch(&mut self) -> Result<Batch, Gone> {
        match self.spare.take() {
            Some(batch) => Ok(batch),
            None => self.batch_pool.recv().map_err(|_| Gone),
        }
    }

    fn pass_on(&mut self, mut batch: Batch, urgency: Urgency, part: SlicePart) -> Result<(), Gone> {
        let bytes = batch.bytes().len() as u32;
        batch.departure = self.pacer.departure(clock::now(), bytes, urgency);
        self.send(batch, part)
    }

    fn send(&mut self, batch: Batch, part: SlicePart) -> Result<(), Gone> {
        self.departure = self.departure.max(batch.departure);
        let sealed = Sealed {
            batch,
            part,
            protected: clock::now(),
        };
        self.batches.send(sealed).map_err(|_| Gone)
    }
}
