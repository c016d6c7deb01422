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

use std::time::Duration;

use engine::client::Outputs;
use net::units::{BitsPerSecond, Mode};

use super::compare::{Compared, compare_whole};
use super::rows::Rows;
use super::{Bench, BenchError, Link, Measured, Scenario, Setup};
use crate::gate::{self, Verdict};
use crate::micro;
use crate::micro::udp::Reader;
use crate::picture::Content;
use crate::report::{self, Comparison, Report};

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
    let mut run = GateRun {
        setup: setup.clone(),
        time,
        rows: Rows::default(),
        reports: Vec::new(),
    };
    let mut step = |name: &str, measure: fn(&mut GateRun) -> Result<(), BenchError>| {
        progress(name);
        if let Err(error) = measure(&mut run) {
            run.rows.note(format!("{name}: not measured: {error}"));
        }
    };
    step("720p60", GateRun::loopback_720p60);
    step("1080p30", GateRun::loopback_1080p30);
    step("1080p30, sliced and whole", GateRun::first_byte);
    step(
        "1080p30 over 100 Mbit/s, sliced and whole",
        GateRun::last_byte,
    );
    step("hard cuts", GateRun::hard_cuts);
    step("connecting", GateRun::connecting);
    step("bare and sealed senders", GateRun::senders);
    step("GF(2^8)", GateRun::codes);
    step("5120x1440@240, pre-encoded", GateRun::wide);
    let loads = run.reports.iter().filter_map(|kept| {
        let load = kept.report.run.machine.load_1min?;
        Some(format!("{} {load:.1}", kept.name))
    });
    let loads: Vec<_> = loads.collect();
    run.rows.note(format!(
        "load of the machine (1 min) as each session ended: {}",
        loads.join(", ")
    ));
    Gated {
        verdicts: gate::gate(&run.rows.figures),
        notes: run.rows.notes,
        reports: run.reports,
    }
}

struct GateRun {
    setup: Setup,
    time: Duration,
    rows: Rows,
    reports: Vec<GateReport>,
}

impl GateRun {
    fn keep(&mut self, name: &'static str, report: Report, comparison: Option<Comparison>) {
        self.reports.push(GateReport {
            name,
            report,
            comparison,
        });
    }

    fn session(&self, scenario: &Scenario) -> Result<Measured, BenchError> {
        let bench = Bench::start(&self.setup, scenario)?;
        let measured = bench.measure(scenario, Link::Loopback, Outputs::default());
        bench.stop();
        measured
    }

    fn loopback_720p60(&mut self) -> Result<(), BenchError> {
        let measured = self.session(&scenario("720p60 game", hd(), 10, self.time))?;
        let report = measured.report();
        self.rows.losses("720p60", &measured);
        self.rows.overhead(&measured, &report);
        self.rows.cpu(&report);
        self.rows.allocations(&report);
        self.keep("720p60", report, None);
        Ok(())
    }

    fn loopback_1080p30(&mut self) -> Result<(), BenchError> {
        let measured = self.session(&scenario("1080p30 game", full_hd(), 20, self.time))?;
        self.rows.losses("1080p30", &measured);
        self.keep("1080p30", measured.report(), None);
        Ok(())
    }

    fn first_byte(&mut self) -> Result<(), BenchError> {
        let compared = self.sliced_and_whole(Link::Loopback)?;
        let (id, stage) = ("first_byte_sliced_over_whole", "captured_to_first_byte");
        self.rows.sliced_over_whole(id, stage, &compared);
        self.keep("first-byte", compared.sliced, Some(compared.comparison));
        Ok(())
    }

    fn last_byte(&mut self) -> Result<(), BenchError> {
        let compared = self.sliced_and_whole(Link::paced(LINK_RATE))?;
        let (id, stage) = ("last_byte_sliced_over_whole", "captured_to_complete");
        self.rows.sliced_over_whole(id, stage, &compared);
        self.keep("last-byte", compared.sliced, Some(compared.comparison));
        Ok(())
    }

    fn sliced_and_whole(&self, link: Link) -> Result<Compared, BenchError> {
        let scenario = scenario("1080p30 game", full_hd(), 20, self.time / 2);
        compare_whole(&self.setup, &scenario, link)
    }

    fn hard_cuts(&mut self) -> Result<(), BenchError> {
        let scenario = Scenario {
            cut_every_frames: 60,
            ..scenario("720p60 game, a cut every second", hd(), 10, self.time / 2)
        };
        let report = self.session(&scenario)?.report();
        self.rows.hard_cuts(&report);
        self.keep("hard-cuts", report, None);
        Ok(())
    }

    fn connecting(&mut self) -> Result<(), BenchError> {
        let scenario = scenario("connecting", hd(), 10, CONNECTION_TIME);
        let bench = Bench::start(&self.setup, &scenario)?;
        let times = (0..CONNECTIONS).map(|_| bench.first_picture(&scenario));
        let times: Result<Vec<_>, _> = times.collect();
        bench.stop();
        self.rows.connecting(&times?);
        Ok(())
    }

    fn senders(&mut self) -> Result<(), BenchError> {
        for reader in [Reader::None, Reader::Plain, Reader::Gro] {
            let row = micro::path::sealed_send(SEND_ROUNDS, SEND_TIME, reader)?;
            self.rows.senders(&row, report::cores());
        }
        Ok(())
    }

    fn codes(&mut self) -> Result<(), BenchError> {
        self.rows.codes(&micro::fec::compare(micro::fec::ROUNDS));
        Ok(())
    }

    fn wide(&mut self) -> Result<(), BenchError> {
        let time = self.time.min(WIDE_TIME_MAX);
        self.rows.wide(&micro::path::wide(WIDE_WARM_UP, time)?);
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
        slices: None,
        whole_frames: false,
        time,
    }
}

fn hd() -> Mode {
    Mode::new(1280, 720, 60_000).expect("within the limits")
}

fn full_hd() -> Mode {
    Mode::new(1920, 1080, 30_000).expect("within the limits")
}
