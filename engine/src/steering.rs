//! What control tells a running pipeline, and hears from it, without either waiting for the other.
//!
//! | way | carries | capacity, when full |
//! |---|---|---|
//! | [`StandingOrders`] | how much to encode, how to protect and pace it | newest wins |
//! | [`EncoderLoad`], encode → control | how long pictures take | the mean since control looked |
//! | tasks, control → protect | repeats, echoes, probes ([`Task`]) | [`TASKS`], dropped and counted: the client asks again |
//! | departures, send → control | what left when ([`Departed`]) | [`DEPARTURES`], dropped and counted: unknown to rate control |

use std::num::NonZeroU8;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use net::ladder::SentFrame;
use net::limits::DATAGRAM_BYTES_MAX;
use net::packetize::Protection;
use net::rate::{Pace, Sent};
use net::steering::{Orders, TASKS, Task};
use net::units::{BitsPerSecond, Timestamp};

/// Batches that have left and of which control has not heard: control looks at least every 20 ms
/// while a client answers, and a gigabit is 2000 full batches a second.
pub const DEPARTURES: usize = 1024;

/// Standing orders, each a word of its own: a frame that is made by an old one and a new one
/// together harms nobody.
pub struct StandingOrders {
    bitrate: AtomicU64,
    frame_divisor: AtomicU8,
    protection: AtomicU32,
    pace: AtomicU64,
    burst_bytes: AtomicU32,
    datagram_bytes_max: AtomicU32,
}

impl StandingOrders {
    /// The orders that hold until others are given.
    #[must_use]
    pub fn new(orders: &Orders) -> Self {
        let this = Self {
            bitrate: AtomicU64::new(0),
            frame_divisor: AtomicU8::new(1),
            protection: AtomicU32::new(0),
            pace: AtomicU64::new(0),
            burst_bytes: AtomicU32::new(0),
            datagram_bytes_max: AtomicU32::new(0),
        };
        this.set(orders);
        this
    }

    /// Gives other orders.
    pub fn set(&self, orders: &Orders) {
        let Protection {
            percent,
            shards_base,
            shards_min,
            slices_per_group,
        } = orders.protection;
        let packed = [percent, shards_base, shards_min, slices_per_group.get()];
        let protection = u32::from_le_bytes(packed);
        let datagram_bytes_max = orders.datagram_bytes_max.min(DATAGRAM_BYTES_MAX) as u32;
        self.bitrate.store(orders.bitrate.0, Relaxed);
        self.frame_divisor
            .store(orders.frame_divisor.get(), Relaxed);
        self.protection.store(protection, Relaxed);
        self.pace.store(orders.pace.rate.0, Relaxed);
        self.burst_bytes.store(orders.pace.burst_bytes, Relaxed);
        self.datagram_bytes_max.store(datagram_bytes_max, Relaxed);
    }

    /// What the encoder aims for, from the next picture on.
    #[must_use]
    pub fn bitrate(&self) -> BitsPerSecond {
        BitsPerSecond(self.bitrate.load(Relaxed))
    }

    /// Of so many pictures one is encoded, from the next one on.
    #[must_use]
    pub fn frame_divisor(&self) -> NonZeroU8 {
        NonZeroU8::new(self.frame_divisor.load(Relaxed)).unwrap_or(NonZeroU8::MIN)
    }

    /// How frames are protected, from the next parity group on.
    #[must_use]
    pub fn protection(&self) -> Protection {
        let packed = self.protection.load(Relaxed).to_le_bytes();
        let [percent, shards_base, shards_min, slices] = packed;
        Protection {
            percent,
            shards_base,
            shards_min,
            slices_per_group: NonZeroU8::new(slices).unwrap_or(Protection::WHOLE_FRAME),
        }
    }

    /// How fast datagrams leave, from the next batch on.
    #[must_use]
    pub fn pace(&self) -> Pace {
        Pace {
            rate: BitsPerSecond(self.pace.load(Relaxed)),
            burst_bytes: self.burst_bytes.load(Relaxed),
        }
    }

    /// The largest datagram, bytes, from the next frame on.
    #[must_use]
    pub fn datagram_bytes_max(&self) -> usize {
        self.datagram_bytes_max.load(Relaxed) as usize
    }
}

/// How long pictures took to encode since control looked last: their number in the upper 16 bits,
/// µs in the others, so that one word says both.
#[derive(Default)]
pub struct EncoderLoad(AtomicU64);

impl EncoderLoad {
    const COUNT_SHIFT: u32 = 48;
    /// Of one picture; 65 536 of them fit. Control looks every few milliseconds.
    const US_MAX: u64 = (1 << (Self::COUNT_SHIFT - 16)) - 1;

    /// A picture took so long.
    pub fn add(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let one = 1 << Self::COUNT_SHIFT | took_us.min(Self::US_MAX);
        self.0.fetch_add(one, Relaxed);
    }

    /// The mean of those that were added since the last call, if any were.
    pub fn take(&self) -> Option<Duration> {
        let word = self.0.swap(0, Relaxed);
        let (count, us) = (
            word >> Self::COUNT_SHIFT,
            word & ((1 << Self::COUNT_SHIFT) - 1),
        );
        us.checked_div(count).map(Duration::from_micros)
    }
}

/// A batch that the kernel has taken, or refused for its size.
#[derive(Clone, Copy, Debug)]
pub struct Departed {
    /// When.
    pub at: Timestamp,
    /// What.
    pub sent: Sent,
    /// The frame that it began a slice of, as far as it is packetized.
    pub frame: Option<SentFrame>,
    /// The kernel refused it: the interface takes no datagram so large.
    pub is_refused: bool,
}

/// The pipeline's ends.
pub struct PipelineEnds {
    /// Read by encode and protect.
    pub orders: Arc<StandingOrders>,
    /// Filled by encode.
    pub load: Arc<EncoderLoad>,
    /// Taken by protect.
    pub tasks: Receiver<Task>,
    /// Filled by send.
    pub departures: Sender<Departed>,
}

/// Control's ends.
pub struct ControlEnds {
    /// Written when the path changes.
    pub orders: Arc<StandingOrders>,
    /// From encode.
    pub load: Arc<EncoderLoad>,
    /// To protect.
    pub tasks: Sender<Task>,
    /// From send.
    pub departures: Receiver<Departed>,
}

/// Both ends of the ways between control and a pipeline that begins with `orders`.
#[must_use]
pub fn ways(orders: &Orders) -> (PipelineEnds, ControlEnds) {
    let orders = Arc::new(StandingOrders::new(orders));
    let load = Arc::new(EncoderLoad::default());
    let (tasks_in, tasks) = bounded(TASKS);
    let (departures_in, departures) = bounded(DEPARTURES);
    let pipeline = PipelineEnds {
        orders: Arc::clone(&orders),
        load: Arc::clone(&load),
        tasks,
        departures: departures_in,
    };
    let control = ControlEnds {
        orders,
        load,
        tasks: tasks_in,
        departures,
    };
    (pipeline, control)
}
