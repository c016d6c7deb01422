//! Measures everything that a budget is set for: each row of `bench/budgets.toml`, by the name
//! that it has there. What cannot be measured here has no figure, and a note says why.
//!
//! | rows | measured by |
//! |---|---|
//! | frames lost, delivered over drawn, overhead, CPU, allocations | two long sessions on loopback |
//! | first byte, last byte | sliced and whole sessions in turn, the latter through a [`Relay`] |
//! | largest frame, fill | a session with a hard cut every second |
//! | connect | short sessions |
//! | the others | [`micro`], without a display |
//!
//! [`Relay`]: super::relay::Relay

use std::collections::BTreeMap;
use std::time::Duration;

use engine::client::Outputs;
use net::units::{BitsPerSecond, Mode, SliceCount};

use super::compare::compare_whole;
use super::{Bench, BenchError, Link, Measured, Scenario, Setup};
use crate::gate::{self, Verdict};
use crate::micro;
use crate::picture::Content;
use crate::report::{Comparison, Report};

/// The rate of the paced link.
const LINK_RATE: BitsPerSecond = BitsPerSecond(100_000_000);
/// Connections of which the median is taken.
const CONNECTIONS: usize = 11;
/// Time of each of them: several times the budget.
const CONNECTION_TIME: Duration = Duration::from_millis(900);
/// Rounds of the senders' comparison, and the time of each sender in each of them.
const SEND_ROUNDS: u32 = 9;
const SEND_TIME: Duration = Duration::from_millis(250);
/// Longest time of the pre-encoded display.
const WIDE_TIME_MAX: Duration = Duration::from_secs(20);
const WIDE_WARM_UP: Duration = Duration::from_secs(1);

/// A full report of one of the gate's runs.
#[derive(Clone, Debug)]
pub struct GateReport {
    /// Name for its files, without extension.
    pub name: &'static str,
    /// The run.
    pub report: Report,
    /// Where it was compared with whole pictures.
    pub comparison: Option<Comparison>,
}

/// What the gate came to.
#[derive(Clone, Debug, Default)]
pub struct Gated {
    /// Every row, in the budgets' order.
    pub verdicts: Vec<Verdict>,
    /// What stands behind the figures, one line each, and why what is missing is missing.
    pub notes: Vec<String>,
    /// The runs.
    pub reports: Vec<GateReport>,
}

/// Measures all rows; the two long sessions take `time` each, the rest less. `progress` is told
/// what is being measured.
pub fn measure_budgets(setup: &Setup, time: Duration, progress: &mut dyn FnMut(&str)) -> Gated {
    let mut rows = Rows {
        setup: setup.clone(),
        time,
        figures: BTreeMap::new(),
        gated: Gated::default(),
    };
    let mut step = |name: &str, measure: fn(&mut Rows) -> Result<(), BenchError>| {
        progress(name);
        if let Err(error) = measure(&mut rows) {
            rows.note(format!("{name}: not measured: {error}"));
        }
    };
    step("720p60", Rows::loopback_720p60);
    step("1080p30", Rows::loopback_1080p30);
    step("1080p30, sliced and whole", Rows::first_byte);
    step("1080p30 over 100 Mbit/s, sliced and whole", Rows::last_byte);
    step("hard cuts", Rows::hard_cuts);
    step("connecting", Rows::connecting);
    step("bare and sealed senders", Rows::senders);
    step("GF(2^8)", Rows::codes);
    step("5120x1440@240, pre-encoded", Rows::wide);
    let Rows { figures, gated, .. } = rows;
    Gated {
        verdicts: gate::gate(&figures),
        ..gated
    }
}

struct Rows {
    setup: Setup,
    time: Duration,
    figures: BTreeMap<String, f64>,
    gated: Gated,
}

impl Rows {
    fn figure(&mut self, id: &str, figure: f64) {
        self.figures.insert(id.to_owned(), figure);
    }

    fn note(&mut self, note: String) {
        self.gated.notes.push(note);
    }

    fn keep(&mut self, name: &'static str, report: Report, comparison: Option<Comparison>) {
        self.gated.reports.push(GateReport {
            name,
            report,
            comparison,
        });
    }

    fn run(&self, scenario: &Scenario) -> Result<Measured, BenchError> {
        let bench = Bench::start(&self.setup, scenario)?;
        let measured = bench.measure(scenario, Link::Loopback, Outputs::default());
        bench.stop();
        measured
    }

    fn loopback_720p60(&mut self) -> Result<(), BenchError> {
        let measured = self.run(&scenario("720p60 game", hd(), 10, self.time))?;
        let report = measured.report();
        self.losses("720p60", &measured);
        self.overhead(&measured, &report);
        if let Some(ratio) = report.run.host_cpu_over_encoder() {
            self.figure("host_cpu_over_encoder", ratio);
            let of_host = report
                .run
                .threads
                .iter()
                .filter(|thread| thread.is_of_host());
            let parts: Vec<_> = of_host
                .map(|thread| format!("{} {:.2}", thread.name, thread.cpu_percent))
                .collect();
            self.note(format!(
                "CPU of the host, percent of a core: {}; of it conversion and encoding {:.2}",
                parts.join(", "),
                report.run.encoder_cpu_percent.unwrap_or_default(),
            ));
        }
        self.allocations(&report);
        self.keep("720p60", report, None);
        Ok(())
    }

    fn loopback_1080p30(&mut self) -> Result<(), BenchError> {
        let measured = self.run(&scenario("1080p30 game", full_hd(), 20, self.time))?;
        self.losses("1080p30", &measured);
        self.keep("1080p30", measured.report(), None);
        Ok(())
    }

    fn losses(&mut self, mode: &str, measured: &Measured) {
        let (counters, received) = (&measured.run.counters, &measured.received);
        self.figure(&format!("frames_lost_{mode}"), counters.lost as f64);
        if counters.drawn > 0 {
            let share = counters.delivered as f64 / counters.drawn as f64;
            self.figure(&format!("delivered_over_drawn_{mode}"), share);
        }
        self.note(format!(
            "{mode}: drawn {}, captured {}, superseded {}, delivered {}; in the whole session {} \
             frames hidden after a loss, {} dropped before a late decoder",
            counters.drawn,
            counters.captured,
            counters.superseded,
            counters.delivered,
            received.frames_hidden,
            received.frames_overrun,
        ));
    }

    fn overhead(&mut self, measured: &Measured, report: &Report) {
        let Some(stage) = report
            .stage("overhead")
            .filter(|stage| stage.times.count > 0)
        else {
            return;
        };
        self.figure("overhead_p50_ms", stage.times.p50_ms);
        self.figure("overhead_p99_ms", stage.times.p99_ms);
        let frames = measured.host.encoded.max(1) as f64;
        self.note(format!(
            "overhead is captured to last byte, less encoder in to last slice out; handing slices \
             on within that took {:.3} ms a frame in the mean",
            measured.host.handing_on_ns as f64 * 1e-6 / frames,
        ));
    }

    fn allocations(&mut self, report: &Report) {
        let counted: Vec<_> = report
            .run
            .threads
            .iter()
            .filter_map(|thread| Some((thread.name.as_str(), thread.allocations?)))
            .collect();
        // All four stages or nothing: a thread that is missing may be the one that allocates.
        if counted.len() == 4 {
            let sum: u64 = counted.iter().map(|(_, count)| count).sum();
            self.figure("frame_path_allocations", sum as f64);
            let parts: Vec<_> = counted
                .iter()
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            self.note(format!(
                "allocations after the first second: {}",
                parts.join(", ")
            ));
        }
    }

    fn first_byte(&mut self) -> Result<(), BenchError> {
        let id = "first_byte_sliced_over_whole";
        let stage = "captured_to_first_byte";
        self.sliced_over_whole(id, stage, "first-byte", Link::Loopback)
    }

    fn last_byte(&mut self) -> Result<(), BenchError> {
        let id = "last_byte_sliced_over_whole";
        let stage = "captured_to_complete";
        self.sliced_over_whole(id, stage, "last-byte", Link::Paced(LINK_RATE))
    }

    fn sliced_over_whole(
        &mut self,
        id: &str,
        stage: &str,
        name: &'static str,
        link: Link,
    ) -> Result<(), BenchError> {
        let scenario = scenario("1080p30 game", full_hd(), 20, self.time / 2);
        let compared = compare_whole(&self.setup, &scenario, link)?;
        if let Some(row) = compared.comparison.stage(stage) {
            if let Some(ratio) = row.p50_ratio {
                self.figure(id, ratio);
            }
            let [sliced, whole] =
                [&compared.sliced, &compared.whole].map(|report| report.run.counters);
            self.note(format!(
                "{}, {link}: sliced p50 {:.2} ms, p99 {:.2} ms; whole p50 {:.2} ms, p99 {:.2} ms; \
                 {} and {} frames, {} and {} lost",
                row.name,
                row.p50_ms[0],
                row.p99_ms[0],
                row.p50_ms[1],
                row.p99_ms[1],
                sliced.encoded,
                whole.encoded,
                sliced.lost,
                whole.lost,
            ));
        }
        self.keep(name, compared.sliced, Some(compared.comparison));
        Ok(())
    }

    fn hard_cuts(&mut self) -> Result<(), BenchError> {
        let scenario = Scenario {
            cut_every_frames: 60,
            ..scenario("720p60 game, a cut every second", hd(), 10, self.time / 2)
        };
        let report = self.run(&scenario)?.report();
        if report.run.counters.encoded > 0 {
            self.figure("frame_max_over_share", report.sizes.max_over_share);
            self.figure("frame_fill_mean", report.sizes.fill);
        }
        self.note(format!(
            "hard cuts: {:.2} Mbit/s, mean {:.1} kB, largest {:.1} kB",
            report.sizes.bitrate_bps / 1e6,
            report.sizes.mean_bytes / 1e3,
            report.sizes.max_bytes as f64 / 1e3,
        ));
        self.keep("hard-cuts", report, None);
        Ok(())
    }

    fn connecting(&mut self) -> Result<(), BenchError> {
        let scenario = scenario("connecting", hd(), 10, CONNECTION_TIME);
        let bench = Bench::start(&self.setup, &scenario)?;
        let times = (0..CONNECTIONS).map(|_| bench.first_picture(&scenario));
        let times: Result<Vec<_>, _> = times.collect();
        bench.stop();
        let mut ms: Vec<f64> = times?
            .into_iter()
            // No picture in that time is later than any.
            .map(|time| time.map_or(f64::INFINITY, |time| time.as_secs_f64() * 1e3))
            .collect();
        ms.sort_by(f64::total_cmp);
        self.figure("connect_to_picture_p50_ms", ms[ms.len() / 2]);
        let each: Vec<_> = ms.iter().map(|ms| format!("{ms:.0}")).collect();
        self.note(format!(
            "connect to first decoded picture, ms: {}",
            each.join(" ")
        ));
        Ok(())
    }

    fn senders(&mut self) -> Result<(), BenchError> {
        for reader_gro in [false, true] {
            let row = micro::path::sealed_send(SEND_ROUNDS, SEND_TIME, reader_gro)?;
            if !reader_gro {
                self.figure("sealed_send_over_bare_gso", row.stages_ratio);
            }
            self.note(format!(
                "senders, reader {} GRO: bare {:.0} k/s, protect and send stages {:.0} k/s ({:.2}), \
                 both on one thread {:.0} k/s ({:.2})",
                if reader_gro { "with" } else { "without" },
                row.bare_per_s / 1e3,
                row.stages_per_s / 1e3,
                row.stages_ratio,
                row.one_thread_per_s / 1e3,
                row.one_thread_ratio,
            ));
        }
        Ok(())
    }

    fn codes(&mut self) -> Result<(), BenchError> {
        let rows = micro::fec::compare(micro::fec::ROUNDS);
        for (data, parity) in micro::fec::SHAPES {
            let of_shape = rows.iter().filter(|row| row.data_shards == data);
            let mut parts = Vec::new();
            for (place, row) in of_shape.enumerate() {
                if place == 0 {
                    // Fastest first.
                    self.figure(&format!("gf8_over_erasure_{data}_{parity}"), row.ratio);
                }
                parts.push(format!(
                    "{} {:.2} us ({:.2})",
                    row.kernel, row.encode_us, row.ratio
                ));
            }
            let erasure = rows.iter().find(|row| row.data_shards == data);
            let erasure_us = erasure.map_or(0.0, |row| row.erasure_us);
            self.note(format!(
                "GF(2^8) {data}/{parity}: {}; reed-solomon-erasure {erasure_us:.2} us",
                parts.join(", "),
            ));
        }
        Ok(())
    }

    fn wide(&mut self) -> Result<(), BenchError> {
        let row = micro::path::wide(WIDE_WARM_UP, self.time.min(WIDE_TIME_MAX))?;
        self.figure("wide_frames_lost", row.lost as f64);
        self.figure("wide_sender_cores", row.protect_cores + row.send_cores);
        self.note(format!(
            "5120x1440@240: {} frames of {:.2} Gbit/s, {} lost, {} shards repaired; cores: protect \
             {:.3}, send {:.3}, receive and reassemble {:.3}",
            row.frames,
            row.gbit_per_s,
            row.lost,
            row.repaired_shards,
            row.protect_cores,
            row.send_cores,
            row.receive_cores,
        ));
        Ok(())
    }
}

fn scenario(name: &str, mode: Mode, megabits: u64, time: Duration) -> Scenario {
    Scenario {
        name: name.to_owned(),
        mode,
        content: Content::Game,
        fps_max: None,
        cut_every_frames: 0,
        bitrate: BitsPerSecond::from_kbps(megabits * 1000),
        slices: SliceCount::new(8).expect("within the limits"),
        time,
    }
}

fn hd() -> Mode {
    Mode::new(1280, 720, 60_000).expect("within the limits")
}

fn full_hd() -> Mode {
    Mode::new(1920, 1080, 30_000).expect("within the limits")
}
