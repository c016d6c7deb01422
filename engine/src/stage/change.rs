//! Another mode for a running pipeline: what its stages are given for it.
//!
//! Encode gets an encoder, capture a source; protect and send go on, so that keys, sequences, FEC
//! and the history for repeats do. Each change is announced before the display is touched: from
//! then on the end of the old source is no fault, as a display with another mode ends it. Encode has
//! its encoder before capture has its source, so that the first picture of the new one finds it.
//!
//! What is allocated for a mode is allocated by whoever opens the encoder, beside the stages; what
//! it replaces is given back to be freed there, or freed by the stage once it is displaced.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, TrySendError, bounded, never};
use gpu::encode::{Encoder, EncoderConfig};
use gpu::frame::Size;
use net::units::{FrameId, Mode};
use platform::capture::Capture;

use super::encode::Reopen;

/// An encoder of another mode, for encode.
pub struct EncoderChange {
    /// The encoder.
    pub encoder: Box<dyn Encoder>,
    /// How to get another one.
    pub reopen: Reopen,
    /// What it was opened with.
    pub config: EncoderConfig,
    /// Buffers for its slices, as many as are in use, all of one size; none if those in use will do.
    pub buffers: Vec<Box<[u8]>>,
}

/// Encode has taken an encoder.
pub struct EncoderChanged {
    /// The first frame of the new mode. It is an IDR.
    pub first: FrameId,
    /// What was used before, to be freed by whoever has time.
    pub retired: Box<dyn Encoder>,
}

/// A source of pictures, and the time between two refreshes of its output.
type Source = (Box<dyn Capture>, Duration);

/// The pipeline's ends of the ways to capture.
pub struct SourceChanges {
    announced: Arc<AtomicU64>,
    sources: Sender<(u64, Source)>,
    stale: Receiver<(u64, Source)>,
}

/// Capture's ends.
pub struct NextSource {
    announced: Arc<AtomicU64>,
    sources: Receiver<(u64, Source)>,
    /// The announcement that the source in use belongs to.
    at: u64,
}

/// Both ends of the way of sources to capture.
#[must_use]
pub fn sources() -> (SourceChanges, NextSource) {
    let announced = Arc::new(AtomicU64::new(0));
    let (sources_in, sources) = bounded(1);
    let changes = SourceChanges {
        announced: Arc::clone(&announced),
        sources: sources_in,
        stale: sources.clone(),
    };
    let next = NextSource {
        announced,
        sources,
        at: 0,
    };
    (changes, next)
}

impl SourceChanges {
    /// From now on the source in use may end, until it gets another.
    pub fn announce(&self) {
        self.announced.fetch_add(1, Ordering::AcqRel);
    }

    /// The source from now on. Newest wins: one that was not taken yet is out of date.
    pub fn replace(&self, source: Box<dyn Capture>, refresh: Duration) {
        let mut next = (self.announced.load(Ordering::Acquire), (source, refresh));
        while let Err(TrySendError::Full(newest)) = self.sources.try_send(next) {
            next = newest;
            drop(self.stale.try_recv());
        }
    }
}

impl NextSource {
    /// For a capture whose source never changes.
    #[must_use]
    pub fn never() -> Self {
        Self {
            announced: Arc::new(AtomicU64::new(0)),
            sources: never(),
            at: 0,
        }
    }

    /// A source that was given, if one was, with the time between two refreshes of its output.
    pub fn take(&mut self) -> Option<(Box<dyn Capture>, Duration)> {
        let (at, source) = self.sources.try_recv().ok()?;
        self.at = at;
        Some(source)
    }

    /// The source that was announced, if one was; waits for it. `None`, too, once nobody will give
    /// one any more.
    pub fn wait(&mut self, patience: Duration) -> Option<(Box<dyn Capture>, Duration)> {
        if self.at == self.announced.load(Ordering::Acquire) {
            return None;
        }
        let (at, source) = self.sources.recv_timeout(patience).ok()?;
        self.at = at;
        Some(source)
    }
}

/// The size of a mode's pictures.
#[must_use]
pub const fn size_of(mode: Mode) -> Size {
    Size {
        width: mode.width(),
        height: mode.height(),
    }
}
