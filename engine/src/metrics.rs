//! What a session's threads count, and the figures an operator reads.
//!
//! Every counter has one writing thread and any number of readers; all accesses are relaxed,
//! since a figure that is a frame old is as good as any. Nothing here allocates or locks.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use net::steering::SteeringStatus;

/// Buckets to the octave: a figure read back is at most 1/16 too large.
const STEPS: usize = 16;
/// Octaves of nanoseconds: up to 2^36 ns, over a minute.
const OCTAVES: usize = 36;

/// A log-linear histogram of durations.
pub struct Histogram {
    buckets: [AtomicU64; STEPS * OCTAVES],
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; STEPS * OCTAVES],
        }
    }
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(ns)].fetch_add(1, Relaxed);
    }

    /// The counts now.
    #[must_use]
    pub fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            counts: self.buckets.iter().map(|b| b.load(Relaxed)).collect(),
        }
    }
}

/// Bucket of a duration: below [`STEPS`] ns each has its own, above each octave has [`STEPS`].
fn bucket(ns: u64) -> usize {
    let Some(octave) = ns.max(1).ilog2().checked_sub(STEPS.ilog2()) else {
        return ns as usize;
    };
    let step = (ns >> octave) as usize - STEPS;
    ((octave as usize + 1) * STEPS + step).min(STEPS * OCTAVES - 1)
}

/// Largest duration that falls into a bucket, ns.
fn bucket_end_ns(index: usize) -> u64 {
    if index < STEPS {
        return index as u64;
    }
    let octave = index / STEPS - 1;
    (((STEPS + index % STEPS + 1) as u64) << octave) - 1
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: Vec<u64>,
}

impl HistogramSnapshot {
    /// What was counted since `earlier`, a snapshot of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let counts = self
            .counts
            .iter()
            .zip(&earlier.counts)
            .map(|(a, b)| a.saturating_sub(*b));
        Self {
            counts: counts.collect(),
        }
    }

    /// How many durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The duration that a share `quantile` (0 to 1) of all do not exceed; `None` if none was
    /// counted. At most 1/16 too large, never too small.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((count as f64 * quantile).ceil() as u64).clamp(1, count);
        let mut seen = 0;
        let index = self.counts.iter().position(|&n| {
            seen += n;
            seen >= rank
        })?;
        Some(Duration::from_nanos(bucket_end_ns(index)))
    }
}

macro_rules! counters {
    ($(#[$meta:meta])* $name:ident, $snapshot:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$meta])*
        #[derive(Default)]
        pub struct $name {
            $($(#[$doc])* pub $field: AtomicU64,)*
        }

        #[doc = concat!("The counts of [`", stringify!($name), "`] at one moment.")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
        pub struct $snapshot {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl $name {
            /// The counts now.
            #[must_use]
            pub fn snapshot(&self) -> $snapshot {
                $snapshot { $($field: self.$field.load(Relaxed),)* }
            }
        }

        impl $snapshot {
            /// What was counted since `earlier`.
            #[must_use]
            pub const fn since(&self, earlier: &Self) -> Self {
                Self { $($field: self.$field.saturating_sub(earlier.$field),)* }
            }
        }
    };
}

counters! {
    /// What one session's pipeline counts.
    Counters, CounterSnapshot {
        /// Pictures that capture delivered.
        captured,
        /// Intervals between captured pictures that count for [`CounterSnapshot::judder`].
        capture_intervals,
        /// Their squared distances from whole refreshes of the output, µs²; at 8 ms and 240 Hz it
        /// is full after 30 years.
        capture_off_us2,
        /// Pictures displaced by a newer one before encode took them.
        superseded,
        /// Pictures encoded, refinements and repeats for a new client included.
        encoded,
        /// Of these, IDR pictures.
        keyframes,
        /// Encoder failures that cost a picture.
        encode_failures,
        /// Changes of the mode while it streamed.
        mode_changes,
        /// Pictures left out because they had another size than the encoder's, while the mode
        /// changed.
        misfits,
        /// Bytes out of the encoder.
        encoded_bytes,
        /// CPU time of the encode thread inside converter and encoder, ns; what it spends on
        /// handing slices on is not in it. Threads of the encoder's own are not counted.
        encode_cpu_ns,
        /// Time between the first and the last slice of a picture in which the encode thread did
        /// not encode but handed slices on, ns: what it waits for a later stage, or loses to one
        /// that shares its core.
        handing_on_ns,
        /// Slices sealed.
        slices,
        /// Slices refused by the packetizer.
        protect_failures,
        /// Datagrams handed to the kernel.
        datagrams,
        /// Bytes of these, UDP payload.
        sent_bytes,
        /// Of the datagrams sealed, those with parity.
        parity_datagrams,
        /// Datagrams sealed with data that was sent before.
        repeated,
        /// Shards that a client asked for again and that were not kept any more.
        not_repeated,
        /// Datagrams of the client that were no feedback.
        feedback_refused,
        /// Tasks for protect that found its queue full; the client asks again.
        tasks_dropped,
        /// Batches whose departure rate control did not hear of.
        departures_dropped,
        /// Batches that a queue of the kernel's dropped because their departure had passed
        /// (`--pace txtime` with etf). The error queue is the host socket's: with several sessions,
        /// whichever looks first counts them.
        departures_missed,
        /// Datagrams left out on purpose (`--video-drop`).
        dropped_on_purpose,
        /// Batches that the kernel would not take in time.
        send_failures,
        /// Input events that were injected.
        input_events,
        /// Input events that became one with the one before them in the queue.
        input_merged,
        /// Input events that a full queue replaced by the last word on the same thing.
        input_cut,
        /// Texts and contacts that found no room.
        input_dropped,
        /// Input events that nothing here could do.
        input_unsupported,
        /// Packets of input of a client that has no right to send any.
        input_refused,
        /// Frame reports that found the queue to the control thread full.
        reports_dropped,
        /// Heap allocations on the capture thread, but for those of `ask_allocations`.
        capture_allocations,
        /// Heap allocations on the capture thread while it asked for the next picture, the one at
        /// hand being on its way already. wayland-backend 0.3.17 makes one of 16 bytes for each
        /// object that a request creates (`send_request` in rs/client_impl/mod.rs).
        ask_allocations,
        /// Heap allocations on the encode thread.
        encode_allocations,
        /// Heap allocations on the protect thread.
        protect_allocations,
        /// Heap allocations on the send thread.
        send_allocations,
        /// Packets of sound, silence included.
        audio_packets,
        /// Of these, silence in the place of sound that had not come.
        audio_silent,
        /// Samples of one channel that came and were too late to be sent.
        audio_dropped,
        /// Packets of sound that control did not take in time.
        audio_not_taken,
        /// Datagrams of sound to a stock client, parity included.
        audio_datagrams,
        /// Bytes of these, UDP payload.
        audio_sent_bytes,
        /// Datagrams of sound to a stock client that the kernel would not take.
        audio_send_failures,
        /// Heap allocations on the sound's thread.
        audio_allocations,
        /// Packets that the client's microphone has been given, those that Opus made up for lost
        /// ones included.
        microphone_packets,
        /// Of these, those that Opus made up.
        microphone_concealed,
        /// Datagrams of the client's microphone that found the queue to its thread full.
        microphone_dropped,
        /// Samples that the client's microphone was given and no application took in time: all of
        /// them while none records.
        microphone_unheard,
    }
}

impl Counters {
    /// A captured picture came so far from its due time.
    pub fn add_interval(&self, off: Duration) {
        let us = u64::try_from(off.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
        add(&self.capture_intervals, 1);
        add(&self.capture_off_us2, us.saturating_mul(us));
    }
}

impl CounterSnapshot {
    /// Judder: the standard deviation of the intervals between captured pictures from whole
    /// refreshes of the output ([`platform::capture::Pacing`]); `None` before there are any.
    #[must_use]
    pub fn judder(&self) -> Option<Duration> {
        let mean_us2 = self.capture_off_us2 as f64 / self.capture_intervals as f64;
        (self.capture_intervals > 0).then(|| Duration::from_secs_f64(mean_us2.sqrt() * 1e-6))
    }
}

/// Everything that one session's pipeline measures.
#[derive(Default)]
pub struct SessionMetrics {
    /// Events.
    pub counters: Counters,
    /// Pixels complete in the capture buffer → first byte of the frame to the kernel.
    pub capture_to_first_byte: Histogram,
    /// Pixels complete in the capture buffer → last byte of the frame taken by the kernel.
    pub capture_to_last_byte: Histogram,
    /// First sample of a packet of sound played by the application → packet made. The packet's own
    /// length is in it.
    pub capture_to_audio_packet: Histogram,
    /// Taken by the encode thread → last slice out.
    pub encode: Histogram,
    /// Input event at control → injected.
    pub input_to_injected: Histogram,
    /// What the path is like and what was made of it; written by control once a feedback, read by
    /// whoever shows it.
    pub path: Mutex<Option<SteeringStatus>>,
}

impl SessionMetrics {
    /// What the path is like by now.
    pub fn set_path(&self, status: SteeringStatus) {
        // Poisoned by a reader that panicked: the figures are as good as before.
        *self.path.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }
}

/// Adds to a counter that only this thread writes.
pub fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Relaxed);
}

/// CPU time that the calling thread has used, ns.
#[must_use]
pub fn thread_cpu_ns() -> u64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds_ns = u64::try_from(used.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000);
    seconds_ns + u64::try_from(used.tv_nsec).unwrap_or(0)
}

/// Reads how many heap allocations the calling thread has made.
pub type AllocationProbe = fn() -> u64;

static ALLOCATION_PROBE: OnceLock<AllocationProbe> = OnceLock::new();

/// Tells the pipeline how to count allocations; an executable with a counting allocator calls
/// this once at start. Without it the counters stay zero, and nobody may report them.
pub fn set_allocation_probe(probe: AllocationProbe) {
    // A second call in one process (several tests) names the same allocator.
    let _ = ALLOCATION_PROBE.set(probe);
}

/// True if allocations are counted in this process.
#[must_use]
pub fn counts_allocations() -> bool {
    ALLOCATION_PROBE.get().is_some()
}

/// Stores this thread's allocations so far into its counter.
pub fn store_allocations(counter: &AtomicU64) {
    counter.store(thread_allocations(), Relaxed);
}

/// Heap allocations of the calling thread so far; zero where nothing counts them.
#[must_use]
pub fn thread_allocations() -> u64 {
    ALLOCATION_PROBE.get().map_or(0, |probe| probe())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_hold_what_falls_into_them() {
        let mut last = 0;
        for exponent in 0..40 {
            for extra in [0_u64, 1, 3] {
                let ns = (1_u64 << exponent) + extra * (1 << exponent) / 4;
                let index = bucket(ns);
                assert!(index >= last, "{ns} ns went down to bucket {index}");
                last = index;
                if index < STEPS * OCTAVES - 1 {
                    let end = bucket_end_ns(index);
                    assert!(
                        end >= ns && end - ns <= ns / 16,
                        "{ns} ns read back as {end}"
                    );
                }
            }
        }
    }

    #[test]
    fn judder_is_the_root_of_the_mean_square() {
        let counters = Counters::default();
        assert_eq!(counters.snapshot().judder(), None);
        for ms in [3, 0, 0, 4, 0] {
            counters.add_interval(Duration::from_millis(ms));
        }
        let judder = counters.snapshot().judder().expect("five intervals");
        assert_eq!(judder.as_micros(), 2236, "√(25 / 5) ms");
    }

    #[test]
    fn quantiles_of_known_durations() {
        let histogram = Histogram::default();
        (1..=1000).for_each(|us| histogram.record(Duration::from_micros(us)));
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.count(), 1000);
        let p50 = snapshot.quantile(0.5).expect("not empty").as_secs_f64();
        assert!((500e-6..540e-6).contains(&p50), "{p50}");
        let nothing = snapshot.since(&snapshot);
        assert_eq!(nothing.quantile(0.5), None);
    }
}
