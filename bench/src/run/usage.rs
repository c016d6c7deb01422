//! What the process's threads and the host's stages used over a span of time.

use std::time::Instant;

use engine::host::Host;
use engine::metrics::CounterSnapshot;
use platform::process::{ThreadUsage, thread_usage};

use super::BenchError;
use crate::report::ThreadUse;

/// What host, client and their threads have used so far.
pub(super) struct Usage {
    at: Instant,
    threads: Vec<ThreadUsage>,
    counters: CounterSnapshot,
}

/// The same over a span of time.
pub(super) struct UsageSpan {
    /// Threads that lived through all of it.
    pub(super) threads: Vec<ThreadUse>,
    /// The host's counters.
    pub(super) counters: CounterSnapshot,
    /// Allocations in asking for pictures, where they are counted.
    pub(super) ask_allocations: Option<u64>,
    /// CPU time of conversion and encoding over wall time, percent of one core.
    pub(super) encoder_cpu_percent: f64,
}

impl Usage {
    pub(super) fn take(host: &Host) -> Result<Self, BenchError> {
        let sessions = host.sessions();
        let counters = sessions
            .last()
            .map(|entry| entry.metrics.counters.snapshot());
        Ok(Self {
            at: Instant::now(),
            threads: thread_usage(None).map_err(BenchError::Usage)?,
            counters: counters.unwrap_or_default(),
        })
    }

    pub(super) fn since(&self, before: &Self) -> UsageSpan {
        let seconds = (self.at - before.at).as_secs_f64();
        let counters = self.counters.since(&before.counters);
        let threads = self.threads.iter().filter_map(|thread| {
            let same = |old: &&ThreadUsage| old.thread_id == thread.thread_id;
            let old = before.threads.iter().find(same)?;
            Some(ThreadUse {
                name: thread.name.clone(),
                cpu_percent: thread.cpu.saturating_sub(old.cpu).as_secs_f64() / seconds * 100.0,
                switches_voluntary: thread.switches_voluntary - old.switches_voluntary,
                switches_involuntary: thread.switches_involuntary - old.switches_involuntary,
                allocations: allocations(&thread.name, &counters),
            })
        });
        UsageSpan {
            threads: threads.collect(),
            ask_allocations: engine::metrics::counts_allocations()
                .then_some(counters.ask_allocations),
            encoder_cpu_percent: counters.encode_cpu_ns as f64 * 1e-9 / seconds * 100.0,
            counters,
        }
    }
}

/// Allocations of a stage's thread, where they are counted.
fn allocations(thread: &str, counters: &CounterSnapshot) -> Option<u64> {
    let counted = match thread {
        "pf-capture" => counters.capture_allocations,
        "pf-encode" => counters.encode_allocations,
        "pf-protect" => counters.protect_allocations,
        "pf-send" => counters.send_allocations,
        _ => return None,
    };
    engine::metrics::counts_allocations().then_some(counted)
}
