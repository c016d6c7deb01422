//! CPU time and context switches of threads, read from `/proc`, for `bench` and statistics.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// What one thread has used so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadUsage {
    /// Kernel thread id.
    pub thread_id: u32,
    /// Thread name, at most 15 bytes.
    pub name: String,
    /// CPU time, exact where the kernel keeps `schedstat`, else in ticks of 10 ms.
    pub cpu: Duration,
    /// CPU time in user mode, ticks of 10 ms.
    pub cpu_user: Duration,
    /// CPU time in the kernel, ticks of 10 ms.
    pub cpu_system: Duration,
    /// Times it gave the CPU up by itself (it waited).
    pub switches_voluntary: u64,
    /// Times it was made to.
    pub switches_involuntary: u64,
}

/// Usage of every thread of process `pid` (`None`: of this one), in order of thread id. Threads
/// that end meanwhile are left out.
///
/// # Errors
/// `/proc` cannot be read, or there is no such process.
pub fn thread_usage(pid: Option<u32>) -> io::Result<Vec<ThreadUsage>> {
    let tasks = match pid {
        Some(pid) => format!("/proc/{pid}/task"),
        None => "/proc/self/task".to_owned(),
    };
    let mut usage: Vec<ThreadUsage> = fs::read_dir(tasks)?
        .filter_map(|entry| usage_of(&entry.ok()?.path()))
        .collect();
    usage.sort_by_key(|thread| thread.thread_id);
    Ok(usage)
}

fn usage_of(task: &Path) -> Option<ThreadUsage> {
    let stat = fs::read_to_string(task.join("stat")).ok()?;
    let status = fs::read_to_string(task.join("status")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let (id, name) = head.split_once(" (")?;
    // proc(5): utime and stime are fields 14 and 15; the tail starts at field 3.
    let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
    let tick_hz = rustix::param::clock_ticks_per_second().max(1);
    let ticks = |index: usize| -> Option<Duration> {
        let count: u64 = fields.get(index)?.parse().ok()?;
        Some(Duration::from_nanos(
            count.saturating_mul(1_000_000_000 / tick_hz),
        ))
    };
    let line = |key: &str| -> Option<u64> {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
    };
    let (cpu_user, cpu_system) = (ticks(11)?, ticks(12)?);
    let exact = fs::read_to_string(task.join("schedstat")).ok();
    let exact = exact.and_then(|text| text.split_ascii_whitespace().next()?.parse().ok());
    Some(ThreadUsage {
        thread_id: id.parse().ok()?,
        name: name.to_owned(),
        cpu: exact.map_or(cpu_user + cpu_system, Duration::from_nanos),
        cpu_user,
        cpu_system,
        switches_voluntary: line("voluntary_ctxt_switches:")?,
        switches_involuntary: line("nonvoluntary_ctxt_switches:")?,
    })
}
