//! Capture: waits for the compositor's next picture and offers it to encode, newest first. Only
//! then does it ask for the next one, so that no picture waits for the request for another.
//!
//! Where the display changes its mode the source is replaced ([`super::change`]); what the old one
//! says then is no fault.
//!
//! How evenly pictures come is measured here, for every kind of capture alike, before any of them
//! is displaced ([`crate::metrics::CounterSnapshot::judder`]).
//!
//! Allocations are booked in two counters that add up to all of the thread's: those in asking,
//! and those in anything else, from the wait for a picture to its hand-over.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError};
use gpu::frame::Frame;
use platform::capture::{Capture, Captured, Pacing};

use super::StageFault;
use super::change::NextSource;
use crate::metrics::{SessionMetrics, add, thread_allocations};
use crate::pipeline::Stop;

/// A still picture needs no attention; this only bounds how long a lost wake-up could matter.
const PATIENCE: Duration = Duration::from_secs(1);
/// A display that takes longer to change its mode has a compositor that is stuck: the session
/// gives up before.
const CHANGE_PATIENCE: Duration = Duration::from_secs(20);

/// The capture thread's half of the pipeline.
pub struct CaptureStage {
    /// Where pictures come from.
    pub capture: Box<dyn Capture>,
    /// Between two refreshes of the output.
    pub refresh: Duration,
    /// To encode; capacity 1.
    pub frames: Sender<Frame>,
    /// The same channel's other end, to take back the picture that a newer one displaces.
    pub displaced: Receiver<Frame>,
    /// What follows on `capture`.
    pub next: NextSource,
    /// Counters.
    pub metrics: Arc<SessionMetrics>,
}

impl CaptureStage {
    /// Runs until `stop` or a fault.
    pub fn run(mut self, stop: &Stop) -> Result<(), StageFault> {
        let (mut in_asking, mut pacing) = (0, Pacing::NONE);
        while !stop.is_asked() {
            if let Some((source, refresh)) = self.next.take() {
                (self.capture, self.refresh, pacing) = (source, refresh, Pacing::NONE);
            }
            if let Err(fault) = self.turn(&mut in_asking, &mut pacing) {
                match self.next.wait(CHANGE_PATIENCE) {
                    Some((source, refresh)) => {
                        (self.capture, self.refresh, pacing) = (source, refresh, Pacing::NONE);
                    }
                    None if stop.is_asked() => return Ok(()),
                    None => return Err(fault),
                }
            }
        }
        Ok(())
    }

    fn turn(&mut self, in_asking: &mut u64, pacing: &mut Pacing) -> Result<(), StageFault> {
        let counters = &self.metrics.counters;
        let before = thread_allocations();
        self.capture.ask()?;
        *in_asking += thread_allocations() - before;
        counters.ask_allocations.store(*in_asking, Relaxed);
        match self.capture.next(PATIENCE)? {
            Captured::Frame(frame) => {
                add(&counters.captured, 1);
                if let Some(off) = pacing.note(frame.captured, self.refresh) {
                    counters.add_interval(off);
                }
                self.offer(frame);
                let other = thread_allocations() - *in_asking;
                counters.capture_allocations.store(other, Relaxed);
            }
            Captured::Still | Captured::Woken => {}
        }
        Ok(())
    }

    /// Newest wins: a picture still waiting is taken back, and its damage with it. Never sees
    /// the channel closed, since `displaced` is an end of it: that encode is gone, `stop` tells.
    fn offer(&self, mut frame: Frame) {
        while let Err(TrySendError::Full(newest)) = self.frames.try_send(frame) {
            frame = newest;
            // Encode may have taken it in between, then there is room.
            if let Ok(older) = self.displaced.try_recv() {
                frame.damage = frame.damage.union(older.damage);
                add(&self.metrics.counters.superseded, 1);
            }
        }
    }
}
