//! Protect: cuts slices into shards, adds parity, seals everything, batch by batch, so that the
//! first datagrams are on the wire while the last ones are still being sealed.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam::channel::{Receiver, Sender};
use net::clock;
use net::packetize::{Batch, Packetizer};

use super::{Sealed, Slice, StageFault, ToProtect, ToSend};
use crate::metrics::{SessionMetrics, add, store_allocations};
use crate::pipeline::Stop;

/// The protect thread's half of the pipeline.
pub struct ProtectStage {
    /// FEC and AEAD.
    pub packetizer: Packetizer,
    /// From encode.
    pub slices: Receiver<ToProtect>,
    /// Back to encode.
    pub slice_pool: Sender<Box<[u8]>>,
    /// Buffers that send has given back.
    pub batch_pool: Receiver<Batch>,
    /// A buffer of that pool that the slice before did not need.
    pub spare: Option<Batch>,
    /// To send.
    pub batches: Sender<ToSend>,
    /// Counters.
    pub metrics: Arc<SessionMetrics>,
}

/// The stage behind is gone.
struct Gone;

impl ProtectStage {
    /// Runs until encode or send is gone.
    pub fn run(mut self, _stop: &Stop) -> Result<(), StageFault> {
        while let Ok(message) = self.slices.recv() {
            let passed = match message {
                ToProtect::Slice(slice) => self.protect(slice),
                ToProtect::Done(done) => self.batches.send(ToSend::Done(done)).map_err(|_| Gone),
            };
            if passed.is_err() {
                break;
            }
            store_allocations(&self.metrics.counters.protect_allocations);
        }
        Ok(())
    }

    fn protect(&mut self, slice: Slice) -> Result<(), Gone> {
        let counters = &self.metrics.counters;
        let begun = self
            .packetizer
            .begin(&slice.meta, &slice.buffer[..slice.filled]);
        // The pool is as large as the number of buffers: never full, and if encode is gone the
        // next `recv` says so.
        let _ = self.slice_pool.try_send(slice.buffer);
        match begun {
            Ok(()) => {
                loop {
                    let mut batch = match self.spare.take() {
                        Some(batch) => batch,
                        None => self.batch_pool.recv().map_err(|_| Gone)?,
                    };
                    if !self.packetizer.next_batch(&mut batch) {
                        self.spare = Some(batch);
                        break;
                    }
                    let sealed = Sealed {
                        batch,
                        encoded: slice.encoded,
                        protected: clock::now(),
                        slice_bytes: slice.filled as u32,
                    };
                    self.batches.send(ToSend::Batch(sealed)).map_err(|_| Gone)?;
                }
                add(&counters.slices, 1);
                let dropped = self.packetizer.stats().dropped_datagrams;
                counters.dropped_on_purpose.store(dropped, Relaxed);
            }
            Err(error) => {
                // The client misses a slice and asks for repair; the stream goes on.
                add(&counters.protect_failures, 1);
                log::warn!("a slice of {} is lost: {error}", slice.meta.frame);
            }
        }
        Ok(())
    }
}
