//! What the session's control loop believed of the path and did about it, sampled, and what came
//! of it for the one who watches.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The path at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PathSample {
    /// Since the start of the measured time, ms; negative in the warm-up.
    pub at_ms: i64,
    /// What rate control does, as it calls it.
    pub state: String,
    /// Highest rung of the loss ladder in use.
    pub rung: String,
    /// What may be on the wire, bit/s of UDP payload.
    pub wire_bps: u64,
    /// What the encoder aims for, bit/s.
    pub encoder_bps: u64,
    /// How fast datagrams leave, bit/s, and what may leave back to back, bytes.
    pub pace_bps: u64,
    /// See `pace_bps`.
    pub pace_burst_bytes: u32,
    /// What the bottleneck is believed to pass, bit/s; `None`: not known.
    pub bottleneck_bps: Option<u64>,
    /// The queue in front of it as rate control sees it, µs.
    pub queue_us: u64,
    /// The longest wait in the relay since the last sample, µs; `None` without a relay.
    pub relay_queue_us: Option<u64>,
    /// Smoothed round trip, µs.
    pub round_trip_us: u64,
    /// Share of datagrams lost, 0 to 1.
    pub loss_share: f64,
    /// Mean run of lost datagrams.
    pub loss_run: f64,
    /// Data shards of a frame lately, and the parity that it gets.
    pub data_shards: usize,
    /// See `data_shards`.
    pub parity_shards: usize,
    /// Bytes handed to the kernel since the session began, UDP payload.
    pub sent_bytes: u64,
}

/// Least, mean and largest of a quantity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Least.
    pub min: f64,
    /// Mean.
    pub mean: f64,
    /// Largest.
    pub max: f64,
}

/// What was measured in the relay while its rate to the client was one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Since the start of the measured time, s.
    pub from_s: f64,
    /// See `from_s`.
    pub to_s: f64,
    /// The rate, bit/s with the headers of IPv4 and Ethernet.
    pub rate_bps: u64,
    /// Share of the rate that was used from [`Stretch::USE_AFTER_S`] after `from_s` on, headers
    /// included; `None` if it was over by then.
    pub used_share: Option<f64>,
    /// 99th percentile of how long a datagram waited for the line, its own time on it included,
    /// of those that came from [`Stretch::QUEUE_AFTER_S`] after `from_s` on, µs; `None` without
    /// any.
    pub queue_p99_us: Option<u64>,
}

impl Stretch {
    /// See [`Stretch::used_share`], s.
    pub const USE_AFTER_S: u64 = 3;
    /// See [`Stretch::queue_p99_us`], s.
    pub const QUEUE_AFTER_S: u64 = 1;

    /// In words.
    #[must_use]
    pub fn text(&self) -> String {
        let used = self.used_share.map_or("not known".to_owned(), |share| {
            format!(
                "{:.1} % used from {} s on",
                share * 100.0,
                Self::USE_AFTER_S
            )
        });
        let queue = self.queue_p99_us.map_or("not known".to_owned(), |us| {
            let ms = us as f64 / 1e3;
            format!("queue p99 {ms:.1} ms from {} s on", Self::QUEUE_AFTER_S)
        });
        format!(
            "{:.1} to {:.1} s at {:.1} Mbit/s: {used}, {queue}",
            self.from_s,
            self.to_s,
            self.rate_bps as f64 * 1e-6
        )
    }
}

/// What was counted beside the samples, over the measured time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PathCounts {
    /// Datagrams handed to the kernel.
    pub datagrams: u64,
    /// Of these, with parity.
    pub parity: u64,
    /// Of these, with data that was sent before.
    pub repeated: u64,
    /// Shards asked for again that were not kept any more.
    pub not_repeated: u64,
    /// Feedbacks that the host took.
    pub feedbacks: u64,
    /// Datagrams of the client that were no feedback.
    pub feedback_refused: u64,
    /// Tasks for the stages that were dropped.
    pub tasks_dropped: u64,
    /// Batches whose departure rate control did not hear of.
    pub departures_dropped: u64,
    /// CPU time of the host's control thread, which takes feedback, percent of one core.
    pub control_cpu_percent: f64,
    /// Rounds of missing shards that the client asked for, in the whole session.
    pub rounds_asked: u64,
    /// The client's round trip as the session ended, µs.
    pub client_round_trip_us: u64,
    /// How far the client's idea of the host's clock may be off then, µs.
    pub clock_uncertainty_us: u64,
    /// Datagrams lost on purpose by the relay, both directions, in the whole session.
    pub relay_lost: u64,
    /// Datagrams that found the relay's queue full.
    pub relay_full: u64,
}

/// The path over a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PathReport {
    /// Share of the samples in each state, 0 to 1.
    pub states: BTreeMap<String, f64>,
    /// See [`PathSample::wire_bps`].
    pub wire_bps: Span,
    /// What was really sent between samples, bit/s of UDP payload.
    pub sent_bps: Span,
    /// See [`PathSample::encoder_bps`].
    pub encoder_bps: Span,
    /// See [`PathSample::pace_bps`].
    pub pace_bps: Span,
    /// See [`PathSample::bottleneck_bps`]; `None` if it was never known.
    pub bottleneck_bps: Option<Span>,
    /// See [`PathSample::round_trip_us`].
    pub round_trip_us: Span,
    /// 50th and 99th percentile and largest of [`PathSample::queue_us`].
    pub queue_us: [u64; 3],
    /// The same of [`PathSample::relay_queue_us`].
    pub relay_queue_us: Option<[u64; 3]>,
    /// See [`PathSample::loss_share`].
    pub loss_share: Span,
    /// See [`PathSample::loss_run`].
    pub loss_run: Span,
    /// The relay's line, rate by rate; none without a relay that has a rate.
    #[serde(default)]
    pub stretches: Vec<Stretch>,
    /// Counts.
    pub counts: PathCounts,
    /// All samples, the warm-up's too, which is in no figure above.
    pub samples: Vec<PathSample>,
}

/// What the one who watches has of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shown {
    /// Frames that were not decoded within [`Shown::LATE_MS`] of their capture and the link's
    /// delay.
    pub late: u64,
    /// Of so many.
    pub frames: u64,
    /// Times between two decoded pictures above [`Shown::FREEZE_MS`].
    pub freezes: u64,
    /// The longest time between two decoded pictures, ms.
    pub gap_ms_max: f64,
    /// From the end of each outage to the next decoded picture, ms; negative: none came.
    pub after_outage_ms: Vec<f64>,
}

impl Shown {
    /// What makes a frame late, ms beyond the link's delay.
    pub const LATE_MS: u64 = 50;
    /// What makes a gap a freeze, ms.
    pub const FREEZE_MS: u64 = 100;

    /// In words.
    #[must_use]
    pub fn text(&self) -> String {
        let share = self.late as f64 / self.frames.max(1) as f64 * 100.0;
        let mut text = format!(
            "{} of {} ({share:.2} %) late by {} ms, {} freezes over {} ms, longest gap {:.0} ms",
            self.late,
            self.frames,
            Self::LATE_MS,
            self.freezes,
            Self::FREEZE_MS,
            self.gap_ms_max,
        );
        for ms in &self.after_outage_ms {
            if *ms < 0.0 {
                text += "\n         no picture after an outage";
            } else {
                text += &format!("\n         a picture {ms:.0} ms after an outage");
            }
        }
        text
    }
}

impl PathReport {
    /// Works out the samples; `None` if there are none of the measured time.
    #[must_use]
    pub fn of(
        samples: Vec<PathSample>,
        counts: PathCounts,
        stretches: Vec<Stretch>,
    ) -> Option<Self> {
        let measured: Vec<&PathSample> = samples.iter().filter(|s| s.at_ms >= 0).collect();
        if measured.is_empty() {
            return None;
        }
        let span = |of: fn(&PathSample) -> f64| Span::of(measured.iter().map(|s| of(s)));
        let mut states = BTreeMap::new();
        for sample in &measured {
            *states.entry(sample.state.clone()).or_insert(0.0) += 1.0 / measured.len() as f64;
        }
        let sent = measured
            .windows(2)
            .filter_map(|pair| sent_bps(pair[0], pair[1]));
        let bottleneck = || measured.iter().filter_map(|sample| sample.bottleneck_bps);
        let relay = measured.iter().filter_map(|sample| sample.relay_queue_us);
        let relay: Vec<u64> = relay.collect();
        Some(Self {
            wire_bps: span(|sample| sample.wire_bps as f64),
            sent_bps: Span::of(sent),
            encoder_bps: span(|sample| sample.encoder_bps as f64),
            pace_bps: span(|sample| sample.pace_bps as f64),
            bottleneck_bps: bottleneck()
                .next()
                .map(|_| Span::of(bottleneck().map(|rate| rate as f64))),
            round_trip_us: span(|sample| sample.round_trip_us as f64),
            queue_us: percentiles(measured.iter().map(|sample| sample.queue_us).collect()),
            relay_queue_us: (!relay.is_empty()).then(|| percentiles(relay)),
            loss_share: span(|sample| sample.loss_share),
            loss_run: span(|sample| sample.loss_run),
            states,
            stretches,
            counts,
            samples,
        })
    }

    /// The block of the table, a name and a text each.
    #[must_use]
    pub fn lines(&self) -> Vec<(&'static str, String)> {
        let counts = &self.counts;
        let mbit = |span: &Span| {
            let (min, mean, max) = (span.min * 1e-6, span.mean * 1e-6, span.max * 1e-6);
            format!("{mean:.1} Mbit/s ({min:.1} to {max:.1})")
        };
        let ms = |us: [u64; 3]| {
            let [p50, p99, max] = us.map(|us| us as f64 / 1e3);
            format!("p50 {p50:.1}, p99 {p99:.1}, max {max:.1} ms")
        };
        let states = self.states.iter();
        let states = states.map(|(state, share)| format!("{state} {:.0} %", share * 100.0));
        let data = counts
            .datagrams
            .saturating_sub(counts.parity + counts.repeated);
        let share = |of: u64| of as f64 / data.max(1) as f64 * 100.0;
        let mut lines = vec![
            ("state", states.collect::<Vec<_>>().join(", ")),
            ("wire rate", mbit(&self.wire_bps)),
            ("sent", mbit(&self.sent_bps)),
            ("encoder", mbit(&self.encoder_bps)),
            ("pace", mbit(&self.pace_bps)),
            (
                "bottleneck",
                self.bottleneck_bps
                    .as_ref()
                    .map_or("not known".to_owned(), mbit),
            ),
            (
                "parity",
                format!(
                    "{} to {data} others ({:.1} %), repeats {} ({:.1} %), {} not kept",
                    counts.parity,
                    share(counts.parity),
                    counts.repeated,
                    share(counts.repeated),
                    counts.not_repeated,
                ),
            ),
            (
                "loss",
                format!(
                    "{:.2} % mean ({:.2} to {:.2}), runs of {:.1}",
                    self.loss_share.mean * 100.0,
                    self.loss_share.min * 100.0,
                    self.loss_share.max * 100.0,
                    self.loss_run.mean
                ),
            ),
            (
                "round trip",
                format!(
                    "{:.2} ms ({:.2} to {:.2}), client's clock within {:.2} ms",
                    self.round_trip_us.mean / 1e3,
                    self.round_trip_us.min / 1e3,
                    self.round_trip_us.max / 1e3,
                    counts.clock_uncertainty_us as f64 / 1e3
                ),
            ),
            ("queue", ms(self.queue_us)),
        ];
        if let Some(us) = self.relay_queue_us {
            let text = format!(
                "{}; lost {}, {} for a full queue",
                ms(us),
                counts.relay_lost,
                counts.relay_full
            );
            lines.push(("of relay", text));
        }
        let stretches = self.stretches.iter();
        lines.extend(stretches.map(|stretch| ("line", stretch.text())));
        lines.push((
            "feedback",
            format!(
                "{}, refused {}, pf-control {:.1} % CPU; {} rounds; lost {} tasks, {} reports",
                counts.feedbacks,
                counts.feedback_refused,
                counts.control_cpu_percent,
                counts.rounds_asked,
                counts.tasks_dropped,
                counts.departures_dropped,
            ),
        ));
        lines
    }
}

/// What was sent between two samples, bit/s.
pub(super) fn sent_bps(before: &PathSample, after: &PathSample) -> Option<f64> {
    let ms = after.at_ms - before.at_ms;
    let bytes = after.sent_bytes.saturating_sub(before.sent_bytes);
    (ms > 0).then(|| bytes as f64 * 8e3 / ms as f64)
}

impl Span {
    /// Zero throughout if there are no values.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (mut span, mut count) = (Self::default(), 0.0);
        for value in values {
            if count == 0.0 {
                (span.min, span.max) = (value, value);
            }
            count += 1.0;
            span.min = span.min.min(value);
            span.max = span.max.max(value);
            span.mean += value;
        }
        span.mean /= f64::max(count, 1.0);
        span
    }
}

/// 50th and 99th percentile and largest, by rank.
fn percentiles(mut values: Vec<u64>) -> [u64; 3] {
    values.sort_unstable();
    let at = |share: f64| {
        let rank = (values.len() as f64 * share).ceil() as usize;
        values.get(rank.max(1) - 1).copied().unwrap_or(0)
    };
    [at(0.5), at(0.99), at(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warm_up_is_in_no_figure() {
        let sample = |at_ms: i64, state: &str, queue_us| PathSample {
            at_ms,
            state: state.to_owned(),
            wire_bps: 1_000_000 * (at_ms + 1000) as u64,
            queue_us,
            sent_bytes: (at_ms + 1000) as u64 * 1000,
            ..PathSample::default()
        };
        let samples = vec![
            sample(-500, "starting", 90_000),
            sample(0, "steady", 1000),
            sample(100, "steady", 3000),
            sample(200, "draining", 2000),
        ];
        let report =
            PathReport::of(samples, PathCounts::default(), Vec::new()).expect("has samples");
        assert_eq!(report.queue_us, [2000, 3000, 3000]);
        assert_eq!((report.wire_bps.min, report.wire_bps.max), (1e9, 1.2e9));
        assert!((report.sent_bps.mean / 8e6 - 1.0).abs() < 1e-9);
        assert!((report.states["steady"] - 2.0 / 3.0).abs() < 1e-9);
        assert_eq!(report.states.get("starting"), None);
        assert_eq!(report.relay_queue_us, None);
        assert_eq!(report.samples.len(), 4);
        let warm_up = vec![sample(-500, "starting", 0)];
        assert_eq!(
            PathReport::of(warm_up, PathCounts::default(), Vec::new()),
            None
        );
    }

    #[test]
    fn each_rate_of_the_line_has_its_row() {
        let whole = Stretch {
            from_s: 5.0,
            to_s: 15.0,
            rate_bps: 10_000_000,
            used_share: Some(0.876),
            queue_p99_us: Some(16_240),
        };
        let brief = Stretch {
            from_s: 15.0,
            to_s: 15.5,
            rate_bps: 50_000_000,
            ..Stretch::default()
        };
        let samples = vec![PathSample::default()];
        let report = PathReport::of(samples, PathCounts::default(), vec![whole, brief]);
        let lines = report.expect("has samples").lines();
        let of_line = lines.iter().filter(|(name, _)| *name == "line");
        let texts: Vec<_> = of_line.map(|(_, text)| text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "5.0 to 15.0 s at 10.0 Mbit/s: 87.6 % used from 3 s on, queue p99 16.2 ms from 1 s on",
                "15.0 to 15.5 s at 50.0 Mbit/s: not known, not known",
            ]
        );
    }
}
