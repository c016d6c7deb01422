//! The report as text for a terminal of 100 columns.

use super::compare::Comparison;
use super::{Machine, Report, Run};

/// What [`Run::ask_allocations`] counts.
const ASKING: &str = "  pf-capture asking for the next picture";

/// The whole report but its plots.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut lines = head(&report.run);
    lines.push(String::new());
    lines.push(format!(
        "{:<41}{:>7}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "stage (ms)", "count", "p50", "p90", "p99", "p99.9", "max"
    ));
    lines.push("─".repeat(93));
    for stage in &report.stages {
        let times = &stage.times;
        let figures = if times.count == 0 {
            format!("{:>9}", "–").repeat(5)
        } else {
            [
                times.p50_ms,
                times.p90_ms,
                times.p99_ms,
                times.p999_ms,
                times.max_ms,
            ]
            .map(|ms| format!("{ms:>9.3}"))
            .concat()
        };
        lines.push(format!("{:<41}{:>7}{figures}", stage.name, times.count));
    }
    lines.push(String::new());
    lines.extend(counted(report));
    if !report.run.threads.is_empty() {
        lines.push(String::new());
        lines.extend(threads(&report.run));
    }
    lines.join("\n") + "\n"
}

/// Two runs side by side.
#[must_use]
pub fn comparison_table(comparison: &Comparison) -> String {
    let [a, b] = &comparison.names;
    let mut lines = vec![
        format!("{a} over {b}"),
        format!(
            "{:<41}{:>9}{:>9}{:>8}{:>11}{:>9}{:>8}",
            "stage (ms)", "p50", "p50", "ratio", "p99", "p99", "ratio"
        ),
        "─".repeat(95),
    ];
    let ratio = |ratio: Option<f64>| ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"));
    for row in &comparison.rows {
        lines.push(format!(
            "{:<41}{:>9.3}{:>9.3}{:>8}{:>11.3}{:>9.3}{:>8}",
            row.name,
            row.p50_ms[0],
            row.p50_ms[1],
            ratio(row.p50_ratio),
            row.p99_ms[0],
            row.p99_ms[1],
            ratio(row.p99_ratio),
        ));
    }
    lines.join("\n") + "\n"
}

/// The machine, its load and the source's revision, in two lines.
#[must_use]
pub fn machine_lines(machine: &Machine) -> String {
    let governor = machine.governor.as_deref().unwrap_or("no governor");
    let load = machine
        .load_1min
        .map_or("unknown".into(), |load| format!("{load:.2}"));
    format!(
        "{}, {} cores, {}, {governor}, load {load}\nthreads: {}; revision {}",
        machine.cpu, machine.cores, machine.kernel, machine.priority, machine.revision
    )
}

/// So many threads, in words.
pub(super) fn threads_text(count: u8) -> String {
    if count == 1 {
        "1 thread".into()
    } else {
        format!("{count} threads")
    }
}

/// What parity was asked for, in words.
pub(super) fn parity_text(percent: Option<u8>) -> String {
    match percent {
        Some(percent) => format!("{percent} % parity"),
        None => "parity by loss".into(),
    }
}

fn head(run: &Run) -> Vec<String> {
    let (machine, set) = (&run.machine, &run.configuration);
    vec![
        format!("{} · {:.1} s", run.name, run.seconds),
        machine_lines(machine),
        format!(
            "{} {} at {:.0} fps, {:.1} Mbit/s, {} with {}, {} slices",
            set.mode,
            set.content,
            set.fps,
            set.bitrate_bps as f64 / 1e6,
            set.encoder,
            threads_text(set.encoder_threads),
            set.slices,
        ),
        format!(
            "{}, {}, {}, {}, {}",
            machine.compositor,
            set.capture,
            parity_text(set.fec_percent),
            set.aead,
            set.link
        ),
    ]
}

fn counted(report: &Report) -> Vec<String> {
    let (counters, sizes, verified) = (&report.run.counters, &report.sizes, &report.run.verified);
    let mut lines = vec![
        format!(
            "frames   drawn {} (delivered {}), captured {}, superseded {}, encoded {}, sent {}",
            counters.drawn,
            counters.delivered,
            counters.captured,
            counters.superseded,
            counters.encoded,
            counters.sent
        ),
        format!(
            "         received {}, lost {}, repaired {}, decoded {}, marker read {}",
            counters.received, counters.lost, counters.repaired, counters.decoded, counters.marked
        ),
        format!(
            "sizes    {:.2} Mbit/s, mean {:.1} kB, largest {:.1} kB, {:.2} × its share, fill {:.2}",
            sizes.bitrate_bps / 1e6,
            sizes.mean_bytes / 1e3,
            sizes.max_bytes as f64 / 1e3,
            sizes.max_over_share,
            sizes.fill,
        ),
    ];
    if let Some(ms) = report.run.judder_ms {
        lines.push(format!(
            "judder   {ms:.3} ms between captured pictures, from whole refreshes of the output"
        ));
    }
    if verified.pictures > 0 {
        lines.push(format!(
            "pictures {} compared with what was drawn, {} wrong, PSNR {:.1} dB mean, {:.1} dB least",
            verified.pictures, verified.mismatches, verified.psnr_db_mean, verified.psnr_db_min
        ));
    }
    if let Some(ms) = report.run.connect_to_picture_ms {
        lines.push(format!(
            "session  {ms:.0} ms from connecting to the first decoded picture"
        ));
    }
    if let Some(shown) = &report.run.shown {
        lines.push(format!("shown    {}", shown.text()));
    }
    if let Some(path) = &report.run.path {
        lines.push(String::new());
        lines.push("path".to_owned());
        let parts = path.lines();
        lines.extend(
            parts
                .iter()
                .map(|(name, text)| format!("  {name:<11}{text}")),
        );
    }
    lines
}

fn threads(run: &Run) -> Vec<String> {
    let mut lines = vec![
        format!(
            "{:<41}{:>8}{:>12}{:>14}{:>14}",
            "thread", "CPU %", "voluntary", "involuntary", "allocations"
        ),
        "─".repeat(89),
    ];
    lines.extend(run.threads.iter().map(|thread| {
        let allocations = thread
            .allocations
            .map_or("–".into(), |count| count.to_string());
        format!(
            "{:<41}{:>8.1}{:>12}{:>14}{:>14}",
            thread.name,
            thread.cpu_percent,
            thread.switches_voluntary,
            thread.switches_involuntary,
            allocations
        )
    }));
    if let Some(asking) = run.ask_allocations_text() {
        lines.push(format!("{:<41}{asking:>48}", ASKING));
    }
    if let (Some(encoder), Some(ratio)) = (run.encoder_cpu_percent, run.host_cpu_over_encoder()) {
        lines.push(format!(
            "{:<41}{encoder:>8.1}   the host's threads together: {ratio:.2} times that",
            "  of pf-encode: conversion and encoding",
        ));
    }
    lines
}
