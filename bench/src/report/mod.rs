//! The report of a latency run: what was measured on which machine, as typed data that is
//! written as JSON, as a table for the terminal, and as a page with plots.

mod compare;
mod html;
mod machine;
mod path;
mod plots;
mod record;
mod stages;
mod table;

use serde::{Deserialize, Serialize};

pub use compare::{Comparison, ComparisonRow, compare};
pub use html::html;
pub use machine::Machine;
pub(crate) use machine::cores;
pub use path::{PathCounts, PathReport, PathSample, Shown, Span, Stretch};
pub use record::{FrameRecord, FrameRow, SliceRecord, SliceRow};
pub use stages::{Distribution, Stage};
pub use table::{comparison_table, machine_lines, table};

use crate::verify::Verified;

/// Most frames whose stamps a report keeps for its plots; distributions cover all of them.
pub const FRAME_ROWS_MAX: usize = 20_000;

/// How the run was set up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Configuration {
    /// Mode, as `WIDTHxHEIGHT@HZ`.
    pub mode: String,
    /// Content of the test card, or what else was shown.
    pub content: String,
    /// Pictures a second that the source was asked for.
    pub fps: f64,
    /// Target of the encoder, bit/s.
    pub bitrate_bps: u64,
    /// Slices a frame.
    pub slices: u8,
    /// Name of the encoder.
    pub encoder: String,
    /// Threads of the encoder.
    pub encoder_threads: u8,
    /// Name of the capture backend.
    pub capture: String,
    /// Parity shards over data shards, percent; `None` if parity follows the loss.
    pub fec_percent: Option<u8>,
    /// Name of the AEAD.
    pub aead: String,
    /// What lay between host and client: `loopback`, `relay 100 Mbit/s`, …
    pub link: String,
}

/// What was counted, over the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Pictures that the source drew (numbers offered).
    pub drawn: u64,
    /// Of these, pictures that were decoded at the client and name their number there.
    #[serde(default)]
    pub delivered: u64,
    /// Pictures that were captured.
    pub captured: u64,
    /// Captured pictures that a newer one replaced before they were encoded.
    pub superseded: u64,
    /// Frames encoded.
    pub encoded: u64,
    /// Frames sent whole.
    pub sent: u64,
    /// Frames of which the client received anything.
    pub received: u64,
    /// Frames that never became complete at the client.
    pub lost: u64,
    /// Frames that parity or retransmission completed.
    pub repaired: u64,
    /// Frames decoded.
    pub decoded: u64,
    /// Decoded frames whose marker passed its checksum.
    pub marked: u64,
}

/// What a thread used during the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadUse {
    /// Name of the thread: `pf-encode`, `pf-receive`, …
    pub name: String,
    /// CPU time over wall time, percent of one core.
    pub cpu_percent: f64,
    /// Times it gave the core away.
    pub switches_voluntary: u64,
    /// Times the core was taken from it.
    pub switches_involuntary: u64,
    /// Allocations after the first second; `None` where nothing counts them. Those of
    /// [`Run::ask_allocations`] are not in it.
    pub allocations: Option<u64>,
}

/// Sizes of the encoded frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FrameSizes {
    /// Mean, bytes.
    pub mean_bytes: f64,
    /// Largest, bytes.
    pub max_bytes: u64,
    /// Largest, but for a first frame that is an IDR, over a frame's share of the bitrate.
    pub max_over_share: f64,
    /// Mean over a frame's share of the bitrate.
    pub fill: f64,
    /// Bits of all frames over the time in which they were captured, bit/s.
    pub bitrate_bps: f64,
}

/// Everything about a run but its frames.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Title: what this run is.
    pub name: String,
    /// Length of the run, seconds.
    pub seconds: f64,
    /// The machine.
    pub machine: Machine,
    /// The set-up.
    pub configuration: Configuration,
    /// What was counted.
    pub counters: Counters,
    /// What threads used.
    pub threads: Vec<ThreadUse>,
    /// CPU time of conversion and encoding alone over wall time, percent of one core; `None`
    /// where nothing counts it.
    #[serde(default)]
    pub encoder_cpu_percent: Option<f64>,
    /// Allocations of `pf-capture` after the first second in asking the compositor for the next
    /// picture, when the one at hand had been handed over; `None` where nothing counts them.
    #[serde(default)]
    pub ask_allocations: Option<u64>,
    /// Standard deviation of the intervals between captured pictures from whole refreshes of the
    /// output, ms; `None` where the host's side is not known.
    #[serde(default)]
    pub judder_ms: Option<f64>,
    /// Decoded pictures held against the drawn ones.
    pub verified: Verified,
    /// From the start of the connection to the first decoded picture, ms, where measured.
    pub connect_to_picture_ms: Option<f64>,
    /// The path and what was made of it, where the session was sampled.
    #[serde(default)]
    pub path: Option<PathReport>,
    /// Lateness and freezes, where both ends share a clock.
    #[serde(default)]
    pub shown: Option<Shown>,
}

/// A finished run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The run.
    pub run: Run,
    /// One distribution for each stage, in the order of a frame's way.
    pub stages: Vec<Stage>,
    /// Sizes of frames.
    pub sizes: FrameSizes,
    /// The stamps of the last [`FRAME_ROWS_MAX`] frames.
    pub frames: Vec<FrameRow>,
}

impl Run {
    /// Allocations in asking for pictures, in words: in all, and for each picture captured.
    #[must_use]
    pub fn ask_allocations_text(&self) -> Option<String> {
        let allocations = self.ask_allocations?;
        let a_picture = allocations as f64 / self.counters.captured.max(1) as f64;
        Some(format!("{allocations} ({a_picture:.2} a picture)"))
    }

    /// CPU time of the host's threads over that of conversion and encoding alone.
    #[must_use]
    pub fn host_cpu_over_encoder(&self) -> Option<f64> {
        let host = self.threads.iter().filter(|thread| thread.is_of_host());
        let host_percent: f64 = host.map(|thread| thread.cpu_percent).sum();
        let encoder_percent = self.encoder_cpu_percent.filter(|percent| *percent > 0.0)?;
        Some(host_percent / encoder_percent)
    }
}

impl ThreadUse {
    /// True for threads that a host has: the bench has a client's beside them.
    #[must_use]
    pub fn is_of_host(&self) -> bool {
        const NAMES: [&str; 9] = [
            "pf-capture",
            "pf-encode",
            "pf-slices",
            "pf-protect",
            "pf-send",
            "pf-control",
            "pf-session",
            "pf-nest",
            "spawn",
        ];
        let name = self.name.as_str();
        NAMES.contains(&name) || name.starts_with("log ")
    }
}

impl Report {
    /// Works out all distributions of a run; `records` in the order of their frames.
    #[must_use]
    pub fn from_records(run: Run, records: &[FrameRecord]) -> Self {
        let kept = &records[records.len().saturating_sub(FRAME_ROWS_MAX)..];
        Self {
            stages: stages::stages(records),
            sizes: sizes(&run.configuration, records),
            frames: kept.iter().map(FrameRow::from).collect(),
            run,
        }
    }

    /// The distribution of a stage by its identifier, see [`Stage::id`].
    #[must_use]
    pub fn stage(&self, id: &str) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.id == id)
    }

    /// As JSON, one document.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("a report holds nothing that JSON cannot say")
    }
}

fn sizes(configuration: &Configuration, records: &[FrameRecord]) -> FrameSizes {
    let sizes = || {
        records
            .iter()
            .map(|record| u64::from(record.bytes()))
            .filter(|size| *size > 0)
    };
    let count = sizes().count();
    if count == 0 {
        return FrameSizes::default();
    }
    let total_bytes: u64 = sizes().sum();
    let mean_bytes = total_bytes as f64 / count as f64;
    let max_bytes = sizes().max().unwrap_or(0);
    let first_is_idr = records.first().is_some_and(|record| record.keyframe);
    let max_later = sizes().skip(usize::from(first_is_idr)).max().unwrap_or(0);
    let share_bytes = configuration.bitrate_bps as f64 / 8.0 / configuration.fps;
    let over = |bytes: f64| {
        if share_bytes > 0.0 {
            bytes / share_bytes
        } else {
            0.0
        }
    };
    let span = match records {
        [first, .., last] => last.captured.since(first.captured).as_secs_f64(),
        _ => 0.0,
    };
    // The last frame's own interval lies outside the span.
    let whole_span = span * count as f64 / (count as f64 - 1.0).max(1.0);
    let bitrate_bps = if span > 0.0 {
        total_bytes as f64 * 8.0 / whole_span
    } else {
        0.0
    };
    FrameSizes {
        mean_bytes,
        max_bytes,
        max_over_share: over(max_later as f64),
        fill: over(mean_bytes),
        bitrate_bps,
    }
}

#[cfg(test)]
pub(crate) mod tests;
