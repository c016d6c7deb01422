//! The report as one page that needs nothing else: plots inline, no scripts, no fonts, no
//! requests. Light or dark as the reader prefers.

use super::compare::Comparison;
use super::table::{parity_text, threads_text};
use super::{Report, Run, plots};

/// Text made safe to stand between tags or in a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// The page, with the comparison if there is one.
#[must_use]
pub fn html(report: &Report, comparison: Option<&Comparison>) -> String {
    let run = &report.run;
    let mut sections = vec![
        section(
            "Where each frame spent its time",
            "Every bar is a frame, from the drawing of its picture at the bottom to its decoded \
             pixels at the top.",
            &plots::stage_bars(&report.frames),
        ),
        section(
            "How often, how late",
            "The share of frames that were at most so late. Steep is steady; the axis ends at \
             99.5 %.",
            &plots::cumulative(&report.frames),
        ),
        section(
            "A typical frame, slice by slice",
            "While one slice is still being encoded, the ones above it are already on their way.",
            &plots::slice_timeline(&report.frames),
        ),
        section(
            "Stages",
            "Milliseconds; percentiles are exact.",
            &stages(report),
        ),
    ];
    if let Some(comparison) = comparison {
        let [first, second] = &comparison.names;
        let lead = format!("First {first}, second {second}; a ratio below 1: the first is faster.");
        sections.push(section(
            "Side by side",
            &escape(&lead),
            &compared(comparison),
        ));
    }
    if let Some(path) = &run.path {
        let lead = "What rate control believed and ordered, each tenth of a second, from the \
                    start of the session on; the measured time begins at zero.";
        let body = plots::path_rates(path) + &plots::path_queue(path) + &pairs(&path.lines());
        sections.push(section("Path", lead, &body));
    }
    sections.push(section("Counted", "", &counted(report)));
    if !run.threads.is_empty() {
        sections.push(section("Threads", "", &threads(run)));
    }
    sections.push(section("Conditions", "", &conditions(run)));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main>\
         <header><p class=\"brand\">punkt<b>funk</b></p><h1>{title}</h1><p>{lead}</p></header>\
         {tiles}{sections}</main></body></html>\n",
        title = escape(if run.name.is_empty() {
            "latency report"
        } else {
            &run.name
        }),
        lead = escape(&lead(run)),
        tiles = tiles(report),
        sections = sections.concat(),
    )
}

fn lead(run: &Run) -> String {
    let set = &run.configuration;
    format!(
        "{} of {} at {:.1} Mbit/s, {} slices by {}, {:.0} s on {}",
        set.mode,
        set.content,
        set.bitrate_bps as f64 / 1e6,
        set.slices,
        set.encoder,
        run.seconds,
        run.machine.cpu,
    )
}

fn section(title: &str, lead: &str, body: &str) -> String {
    let lead = if lead.is_empty() {
        String::new()
    } else {
        format!("<p>{lead}</p>")
    };
    format!("<section><h2>{}</h2>{lead}{body}</section>", escape(title))
}

/// The few figures that matter most, large.
fn tiles(report: &Report) -> String {
    let stage = |id: &str, pick: fn(&super::Distribution) -> f64| {
        let times = report
            .stage(id)
            .map(|stage| stage.times)
            .filter(|times| times.count > 0);
        times.map_or("–".into(), |times| {
            format!("{:.2}<small>ms</small>", pick(&times))
        })
    };
    let verified = &report.run.verified;
    let psnr = if verified.pictures == 0 {
        "–".into()
    } else {
        format!("{:.1}<small>dB</small>", verified.psnr_db_mean)
    };
    let tiles = [
        (
            "glass to decoded, median",
            stage("drawn_to_decoded", |times| times.p50_ms),
        ),
        (
            "glass to decoded, 99th percentile",
            stage("drawn_to_decoded", |times| times.p99_ms),
        ),
        (
            "captured to first byte, median",
            stage("captured_to_first_byte", |times| times.p50_ms),
        ),
        (
            "all but conversion and encoding, median",
            stage("overhead", |times| times.p50_ms),
        ),
        ("frames lost", report.run.counters.lost.to_string()),
        ("decoded against drawn, mean PSNR", psnr),
    ];
    let tile = |(name, value): (&str, String)| {
        format!("<li><strong>{value}</strong><span>{name}</span></li>")
    };
    format!("<ul class=\"tiles\">{}</ul>", tiles.map(tile).concat())
}

/// A table; the cells are escaped, all columns but the first stand to the right.
fn grid(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |tag: &str, cells: &[String]| {
        let cells: String = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)))
            .collect();
        format!("<tr>{cells}</tr>")
    };
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let body: String = rows.map(|cells| line("td", &cells)).collect();
    format!(
        "<div class=\"scroll\"><table><thead>{}</thead><tbody>{body}</tbody></table></div>",
        line("th", &head)
    )
}

fn stages(report: &Report) -> String {
    let head = [
        "stage", "from", "to", "count", "p50", "p90", "p99", "p99.9", "max",
    ];
    grid(
        &head,
        report.stages.iter().map(|stage| {
            let times = &stage.times;
            let figures = [
                times.p50_ms,
                times.p90_ms,
                times.p99_ms,
                times.p999_ms,
                times.max_ms,
            ];
            let texts = [&stage.name, &stage.from, &stage.to].map(|text| text.trim().to_owned());
            let shown = |ms: f64| {
                if times.count == 0 {
                    "–".into()
                } else {
                    format!("{ms:.3}")
                }
            };
            let count = [times.count.to_string()];
            texts
                .into_iter()
                .chain(count)
                .chain(figures.map(shown))
                .collect()
        }),
    )
}

fn compared(comparison: &Comparison) -> String {
    let head = [
        "stage",
        "p50 first",
        "second",
        "ratio",
        "p99 first",
        "second",
        "ratio",
    ];
    let ratio = |ratio: Option<f64>| ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"));
    let ms = |ms: f64| format!("{ms:.3}");
    grid(
        &head,
        comparison.rows.iter().map(|row| {
            vec![
                row.name.trim().to_owned(),
                ms(row.p50_ms[0]),
                ms(row.p50_ms[1]),
                ratio(row.p50_ratio),
                ms(row.p99_ms[0]),
                ms(row.p99_ms[1]),
                ratio(row.p99_ratio),
            ]
        }),
    )
}

fn counted(report: &Report) -> String {
    let (counters, sizes, verified) = (&report.run.counters, &report.sizes, &report.run.verified);
    let mut facts = vec![
        ("pictures drawn", counters.drawn.to_string()),
        ("captured", counters.captured.to_string()),
        (
            "superseded before encoding",
            counters.superseded.to_string(),
        ),
        ("encoded", counters.encoded.to_string()),
        ("sent", counters.sent.to_string()),
        ("received", counters.received.to_string()),
        ("lost", counters.lost.to_string()),
        ("repaired", counters.repaired.to_string()),
        ("decoded", counters.decoded.to_string()),
        ("marker read", counters.marked.to_string()),
        (
            "judder",
            report
                .run
                .judder_ms
                .map_or("–".into(), |ms| format!("{ms:.3} ms")),
        ),
        ("bitrate", format!("{:.2} Mbit/s", sizes.bitrate_bps / 1e6)),
        (
            "mean frame",
            format!("{:.1} kB, fill {:.2}", sizes.mean_bytes / 1e3, sizes.fill),
        ),
        (
            "largest frame",
            format!(
                "{:.1} kB; after the first {:.2} × its share",
                sizes.max_bytes as f64 / 1e3,
                sizes.max_over_share
            ),
        ),
        (
            "compared with the drawing",
            format!(
                "{} pictures, {} wrong, PSNR {:.1} dB mean, {:.1} dB least",
                verified.pictures, verified.mismatches, verified.psnr_db_mean, verified.psnr_db_min
            ),
        ),
    ];
    if let Some(ms) = report.run.connect_to_picture_ms {
        facts.push(("connecting to first picture", format!("{ms:.0} ms")));
    }
    if let Some(shown) = &report.run.shown {
        facts.push(("shown", shown.text()));
    }
    pairs(&facts)
}

fn threads(run: &Run) -> String {
    let head = [
        "thread",
        "CPU %",
        "voluntary switches",
        "involuntary",
        "allocations",
    ];
    let asking = run.ask_allocations_text().map(|allocations| {
        let name = "pf-capture asking for the next picture".to_owned();
        let not_apart = || "–".to_owned();
        vec![name, not_apart(), not_apart(), not_apart(), allocations]
    });
    grid(
        &head,
        run.threads
            .iter()
            .map(|thread| {
                vec![
                    thread.name.clone(),
                    format!("{:.1}", thread.cpu_percent),
                    thread.switches_voluntary.to_string(),
                    thread.switches_involuntary.to_string(),
                    thread
                        .allocations
                        .map_or("–".into(), |count| count.to_string()),
                ]
            })
            .chain(asking),
    )
}

fn conditions(run: &Run) -> String {
    let (machine, set) = (&run.machine, &run.configuration);
    pairs(&[
        (
            "processor",
            format!("{}, {} cores", machine.cpu, machine.cores),
        ),
        ("kernel", machine.kernel.clone()),
        (
            "governor",
            machine.governor.clone().unwrap_or_else(|| "none".into()),
        ),
        ("threads", machine.priority.clone()),
        (
            "load of the last minute",
            machine
                .load_1min
                .map_or("unknown".into(), |l| format!("{l:.2}")),
        ),
        ("compositor", machine.compositor.clone()),
        ("capture", set.capture.clone()),
        (
            "encoder",
            format!("{}, {}", set.encoder, threads_text(set.encoder_threads)),
        ),
        ("frame rate asked", format!("{:.2} fps", set.fps)),
        ("FEC", parity_text(set.fec_percent)),
        ("AEAD", set.aead.clone()),
        ("link", set.link.clone()),
        ("revision", machine.revision.clone()),
    ])
}

fn pairs(facts: &[(&str, String)]) -> String {
    let items: String = facts
        .iter()
        .map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>", escape(name), escape(value)))
        .collect();
    format!("<dl>{items}</dl>")
}

const STYLE: &str = include_str!("style.css");
