//! What cuts slices into batches: each protocol has a packetizer of its own, the stage around it
//! is one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use net::clock;
use net::gamestream::video::{FramePlan, LatencyEstimate, VideoError, VideoPacketizer};
use net::packetize::{Batch, PacketizeError, Packetizer, Protection, SliceMeta};
use net::units::{FrameId, SliceCount};

/// A slice is not sent; the stream goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// The native protocol's answer.
    #[error(transparent)]
    Native(#[from] PacketizeError),
    /// GameStream's answer.
    #[error(transparent)]
    GameStream(#[from] VideoError),
}

/// The frame in work, as far as it is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Its data datagrams.
    pub columns: usize,
    /// The same if no slice ended in a short one.
    pub whole_shards: usize,
}

/// What counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CutStats {
    /// Datagrams of parity.
    pub parity_datagrams: u64,
    /// Datagrams left out on purpose.
    pub dropped_datagrams: u64,
}

/// One session's packetizer.
pub enum Cutter {
    /// `punktfunk/1`; takes tasks too.
    Native(Box<Packetizer>),
    /// A stock client's; there are no tasks for it.
    GameStream(Box<VideoCutter>),
}

impl From<Packetizer> for Cutter {
    fn from(packetizer: Packetizer) -> Self {
        Self::Native(Box::new(packetizer))
    }
}

impl From<VideoCutter> for Cutter {
    fn from(cutter: VideoCutter) -> Self {
        Self::GameStream(Box::new(cutter))
    }
}

impl Cutter {
    /// Takes up a slice, whose bytes it copies.
    ///
    /// # Errors
    /// See [`CutError`].
    pub fn begin(&mut self, meta: &SliceMeta, data: &[u8]) -> Result<(), CutError> {
        match self {
            Self::Native(packetizer) => Ok(packetizer.begin(meta, data)?),
            Self::GameStream(cutter) => Ok(cutter.begin(meta, data)?),
        }
    }

    /// Writes the next datagrams into `batch`; false (and `batch` untouched) when everything is
    /// sent that can be before the next slice.
    pub fn next_batch(&mut self, batch: &mut Batch) -> bool {
        match self {
            Self::Native(packetizer) => packetizer.next_batch(batch),
            Self::GameStream(cutter) => cutter.next_batch(batch),
        }
    }

    /// What control has ordered. A stock client's datagrams have the size that it asked for.
    pub fn obey(&mut self, protection: Protection, datagram_bytes_max: usize, batch_max: usize) {
        match self {
            Self::Native(packetizer) => {
                packetizer.set_protection(protection);
                packetizer.set_datagram_bytes_max(datagram_bytes_max);
                packetizer.set_batch_datagrams_max(batch_max);
            }
            Self::GameStream(cutter) => {
                cutter.packetizer.set_protection(protection);
                cutter.packetizer.set_batch_datagrams_max(batch_max);
            }
        }
    }

    /// The frame in work.
    #[must_use]
    pub fn progress(&self) -> Progress {
        match self {
            Self::Native(packetizer) => Progress {
                columns: packetizer.columns(),
                whole_shards: packetizer.whole_shards(),
            },
            Self::GameStream(cutter) => {
                let columns = cutter.packetizer.frame_packets();
                Progress {
                    columns,
                    whole_shards: columns,
                }
            }
        }
    }

    /// The packetizer that takes tasks. A stock client asks for none.
    pub fn native(&mut self) -> Option<&mut Packetizer> {
        match self {
            Self::Native(packetizer) => Some(packetizer),
            Self::GameStream(_) => None,
        }
    }

    /// Counters since the start.
    #[must_use]
    pub fn stats(&self) -> CutStats {
        match self {
            Self::Native(packetizer) => {
                let stats = packetizer.stats();
                CutStats {
                    parity_datagrams: stats.parity_datagrams,
                    dropped_datagrams: stats.dropped_datagrams,
                }
            }
            Self::GameStream(cutter) => CutStats {
                parity_datagrams: cutter.packetizer.stats().parity_datagrams,
                dropped_datagrams: 0,
            },
        }
    }
}

/// What control tells a stock client's packetizer between frames. Newest wins.
#[derive(Debug, Default)]
pub struct VideoGuidance {
    blocks: AtomicU8,
    /// See [`FramePlan::fill_16`].
    fill_16: AtomicU16,
    /// Frames up to this one less one are given up; 0 for none.
    given_up: AtomicU32,
    /// What frames took lately, ns; 0 if unknown.
    latency_ns: AtomicU64,
}

impl VideoGuidance {
    /// FEC blocks of the next frame.
    pub fn set_blocks(&self, blocks: u8) {
        self.blocks.store(blocks, Relaxed);
    }

    /// What a frame may take on average, packets in sixteenths; 0 if no parity is to fill it.
    pub fn set_fill(&self, fill_16: u16) {
        self.fill_16.store(fill_16, Relaxed);
    }

    /// The client has lost a part of this frame: the rest of it is of no use.
    pub fn give_up(&self, frame: FrameId) {
        self.given_up.store(frame.0.wrapping_add(1), Relaxed);
    }

    /// What frames take lately, their last packet included.
    pub fn set_latency(&self, latency: Duration) {
        let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latency_ns.store(ns, Relaxed);
    }

    /// What the packetizer is told of a frame that has so many slices and has taken `so_far`.
    #[must_use]
    pub fn plan(&self, slices: SliceCount, so_far: Duration) -> FramePlan {
        let mut estimate = LatencyEstimate::new();
        let known = self.latency_ns.load(Relaxed);
        if known > 0 {
            estimate.handle_frame(Duration::from_nanos(known));
        }
        FramePlan {
            slices: slices.get(),
            blocks: self.blocks.load(Relaxed),
            host_latency: estimate.estimate(so_far),
            fill_16: self.fill_16.load(Relaxed),
        }
    }

    /// The client said that a part of this frame is lost, and of no newer one.
    #[must_use]
    pub fn is_given_up(&self, frame: FrameId) -> bool {
        self.given_up.load(Relaxed) == frame.0.wrapping_add(1)
    }
}

/// A stock client's packetizer with what control tells it.
pub struct VideoCutter {
    packetizer: VideoPacketizer,
    guidance: Arc<VideoGuidance>,
    slices: SliceCount,
    meta: SliceMeta,
    begins_slice: bool,
}

impl VideoCutter {
    /// For an encoder that makes so many slices.
    #[must_use]
    pub fn new(
        packetizer: VideoPacketizer,
        guidance: Arc<VideoGuidance>,
        slices: SliceCount,
    ) -> Self {
        Self {
            packetizer,
            guidance,
            slices,
            meta: SliceMeta::default(),
            begins_slice: false,
        }
    }

    fn begin(&mut self, meta: &SliceMeta, data: &[u8]) -> Result<(), VideoError> {
        self.meta = *meta;
        self.begins_slice = true;
        if self.is_given_up() {
            self.packetizer.give_up_frame();
        }
        let so_far = clock::now().since(meta.captured);
        let plan = self.guidance.plan(self.slices, so_far);
        self.packetizer.begin(meta, &plan, data)
    }

    fn next_batch(&mut self, batch: &mut Batch) -> bool {
        if self.is_given_up() {
            self.packetizer.give_up_frame();
        }
        if !self.packetizer.next_batch(batch) {
            return false;
        }
        // A whole picture may go in several blocks; it begins once.
        batch.first_of_slice = std::mem::take(&mut self.begins_slice);
        true
    }

    /// The client said that a part of the frame in work is lost.
    fn is_given_up(&self) -> bool {
        self.guidance.is_given_up(self.meta.frame)
    }
}
