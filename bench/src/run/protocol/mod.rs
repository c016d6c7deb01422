//! `bench --protocol`: measures each row of `bench/protocol.toml`, the native protocol's figures,
//! by the name that it has there. Host and client are in this process, over real sockets on
//! loopback, so that their stamps are of one clock. What cannot be measured here has no figure, and
//! a note says why.
//!
//! | part | display | measured |
//! |---|---|---|
//! | input | synthetic | [`ClientInput::send`] to the injector's call, beside a 720p30 stream |
//! | cursor | synthetic | the injector's call to the pointer's place at the client |
//! | connect | a running sway | [`Viewer::connect`] to the first decoded picture, with pairing |
//! | mode | the best there is | [`Bench::change_modes`] |
//! | many | synthetic | receive-only clients, 1 to 16 sessions at once |
//! | churn | synthetic, private sway | descriptors, threads and memory of this process |
//! | hostile | synthetic | a session with and without a [`Flood`], in turn |
//!
//! [`ClientInput::send`]: net::client::ClientInput::send
//! [`Viewer::connect`]: engine::client::Viewer::connect

mod churn;
mod connect;
mod cursor;
mod hostile;
mod input;
mod many;
mod mute;
mod watcher;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use net::units::{BitsPerSecond, Mode};

use super::{Bench, BenchError, SYNTHETIC, Scenario, Setup};
use crate::gate::{self, Budget, Verdict};
use crate::picture::Content;

pub use churn::{Churn, ChurnCounts, Held};
pub use connect::CONNECTS;
pub use hostile::Flood;

/// Changes of the mode.
const MODE_CHANGES: u32 = 40;
/// Connects without and with desktops.
const CHURN: usize = 1000;
const CHURN_DESKTOPS: usize = 60;

/// A part of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Input datagrams.
    Input,
    /// The pointer's place.
    Cursor,
    /// Connects of a paired client.
    Connect,
    /// Changes of the mode.
    Mode,
    /// Several sessions at once.
    Many,
    /// Connects and disconnects.
    Churn,
    /// A hostile peer.
    Hostile,
}

impl Part {
    /// All of them, in the table's order.
    pub const ALL: [Self; 7] = [
        Self::Input,
        Self::Cursor,
        Self::Connect,
        Self::Mode,
        Self::Many,
        Self::Churn,
        Self::Hostile,
    ];

    /// As the command line calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Cursor => "cursor",
            Self::Connect => "connect",
            Self::Mode => "mode",
            Self::Many => "many",
            Self::Churn => "churn",
            Self::Hostile => "hostile",
        }
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|it| it.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("there is no part {text}: use some of {names}")
        })
    }
}

/// What the table came to.
#[derive(Clone, Debug, Default)]
pub struct ProtocolFigures {
    /// Every row, in the file's order.
    pub verdicts: Vec<Verdict>,
    /// What stands behind the figures, one line each, and why what is missing is missing.
    pub notes: Vec<String>,
    /// Parts that failed while they were measured.
    pub failed: Vec<&'static str>,
}

/// The protocol's budgets.
#[must_use]
pub fn protocol_budgets() -> Vec<Budget> {
    gate::parse(include_str!("../../../protocol.toml")).expect("a test reads the checked-in file")
}

/// Measures these parts, in the table's order; `progress` is told what is being measured.
pub fn measure_protocol(
    setup: &Setup,
    parts: &[Part],
    progress: &mut dyn FnMut(&str),
) -> ProtocolFigures {
    let mut run = ProtocolRun {
        setup: setup.clone(),
        figures: BTreeMap::new(),
        notes: Vec::new(),
    };
    let mut failed = Vec::new();
    for part in Part::ALL.into_iter().filter(|it| parts.contains(it)) {
        progress(part.name());
        let measured = match part {
            Part::Input => run.input(),
            Part::Cursor => run.cursor(),
            Part::Connect => run.connect(),
            Part::Mode => run.mode(),
            Part::Many => run.many(),
            Part::Churn => run.churn(),
            Part::Hostile => run.hostile(),
        };
        if let Err(error) = measured {
            failed.push(part.name());
            run.note(format!("{}: not measured: {error}", part.name()));
        }
    }
    ProtocolFigures {
        verdicts: gate::judge_all(protocol_budgets(), &run.figures),
        notes: run.notes,
        failed,
    }
}

/// The run so far.
struct ProtocolRun {
    setup: Setup,
    figures: BTreeMap<String, f64>,
    notes: Vec<String>,
}

impl ProtocolRun {
    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn figure(&mut self, id: &str, figure: f64) {
        self.figures.insert(id.to_owned(), figure);
    }

    /// The setup with another kind of display, `none` on it.
    fn bare(&self, display: &str) -> Setup {
        let mut setup = self.setup.clone();
        setup.settings.overrule("desktop", display);
        setup.settings.overrule("audio", "off");
        setup
    }

    fn mode(&mut self) -> Result<(), BenchError> {
        let scenario = scenario("720p60", hd(60));
        let bench = Bench::start(&self.setup, &scenario)?;
        let display = bench.host.display();
        let figures = bench.change_modes(&scenario, MODE_CHANGES);
        bench.stop();
        let figures = figures?;
        self.figure("mode_change_p50_ms", figures.p50_ms);
        self.figure("mode_change_wrong_sizes", figures.wrong_sizes as f64);
        self.note(format!(
            "mode, {display}, 720p60 and two others in turn: {figures}"
        ));
        Ok(())
    }
}

/// A share of sorted values, NaN of none.
fn quantile(times: &mut [f64], share: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    let rank = (times.len() as f64 * share).ceil() as usize;
    let at = rank.clamp(1, times.len().max(1)) - 1;
    times.get(at).copied().unwrap_or(f64::NAN)
}

fn scenario(name: &str, mode: Mode) -> Scenario {
    Scenario {
        name: name.to_owned(),
        mode,
        content: Content::Game,
        fps_max: None,
        cut_every_frames: 0,
        bitrate: BitsPerSecond(6_000_000),
        slices: None,
        whole_frames: false,
        time: Duration::from_millis(900),
    }
}

fn hd(hz: u32) -> Mode {
    Mode::new(1280, 720, hz * 1000).expect("within the limits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_file_is_valid_and_parts_have_names() {
        assert!(protocol_budgets().len() > 10);
        for part in Part::ALL {
            assert_eq!(part.name().parse(), Ok(part));
        }
        assert!("all".parse::<Part>().is_err());
    }

    #[test]
    fn quantiles_are_of_the_values_there_are() {
        assert!(quantile(&mut [], 0.5).is_nan());
        let mut times = [3.0, 1.0, 2.0];
        assert!((quantile(&mut times, 0.5) - 2.0).abs() < 1e-9);
        assert!((quantile(&mut times, 0.99) - 3.0).abs() < 1e-9);
    }
}
