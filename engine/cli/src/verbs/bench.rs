//! `punktfunk bench`

use std::path::{Path, PathBuf};
use std::time::Duration;

use argh::FromArgs;
use bench::picture::Content;
use bench::report::{self, Report};
use bench::run::{Bench as Measured, BenchError, Scenario, Setup};
use engine::client::{ClientError, Outputs};
use net::units::{BitsPerSecond, Mode, SliceCount};

use crate::exit::{Failure, Kind};

/// Measure latency end to end: a host and a client in this process, over real sockets, with a
/// test card on a display of its own whose decoded pixels prove the path.
#[derive(FromArgs)]
#[argh(subcommand, name = "bench")]
pub struct Bench {
    /// measured seconds, after one of warm-up (default: 10)
    #[argh(option, default = "10.0")]
    seconds: f64,
    /// display, WIDTHxHEIGHT@HZ (default: 1280x720@60)
    #[argh(option, default = "default_mode()")]
    mode: Mode,
    /// content: desk, scroll, game or still (default: game)
    #[argh(option, default = "Content::Game")]
    content: Content,
    /// hard cut after so many pictures (default: never)
    #[argh(option, default = "0")]
    cut_every: u32,
    /// bitrate (default: 10M)
    #[argh(option, default = "\"10M\".to_owned()")]
    bitrate: String,
    /// slices a picture (default: 8)
    #[argh(option, default = "8")]
    slices: u8,
    /// encoder: x264 or openh264 (default: the best that this build has)
    #[argh(option)]
    encoder: Option<String>,
    /// kind of display: sway, private-sway or synthetic (default: the best that this machine has)
    #[argh(option)]
    desktop: Option<String>,
    /// what to compare with, interleaved: whole (one slice a picture)
    #[argh(option)]
    compare: Option<String>,
    /// measure everything that a budget is set for, and fail if one is not held
    #[argh(switch)]
    gate: bool,
    /// directory for report.html, report.json and last.png
    #[argh(option)]
    report: Option<PathBuf>,
    /// file for the report as JSON
    #[argh(option)]
    json: Option<PathBuf>,
}

fn default_mode() -> Mode {
    Mode::new(1280, 720, 60_000).expect("720p60 is within the limits")
}

impl Bench {
    pub fn run(self) -> Result<(), Failure> {
        let setup = self.setup()?;
        if self.gate {
            return gate(&setup);
        }
        let scenario = self.scenario()?;
        if let Some(directory) = &self.report {
            std::fs::create_dir_all(directory).map_err(|error| output(directory, &error))?;
        }
        match self.compare.as_deref() {
            None => self.measure(&setup, &scenario),
            Some("whole") => compare_whole(&setup, &scenario),
            Some(other) => Err(Failure::usage(format!(
                "--compare {other}: there is only whole"
            ))),
        }
    }

    fn setup(&self) -> Result<Setup, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(Kind::System, format!("own executable: {error}")))?;
        let mut host_settings = Vec::new();
        host_settings.extend(self.encoder.clone().map(|name| ("encoder", name)));
        host_settings.extend(self.desktop.clone().map(|name| ("desktop", name)));
        let revision = option_env!("PUNKTFUNK_REVISION").unwrap_or(env!("CARGO_PKG_VERSION"));
        Ok(Setup {
            program,
            host_settings,
            revision: revision.to_owned(),
        })
    }

    fn scenario(&self) -> Result<Scenario, Failure> {
        let slices = SliceCount::new(self.slices)
            .ok_or_else(|| Failure::usage("--slices: use a number from 1 to 32"))?;
        let time = Duration::try_from_secs_f64(self.seconds)
            .map_err(|_| Failure::usage("--seconds: give a positive number"))?;
        Ok(Scenario {
            name: format!("{} {}", self.mode, self.content.name()),
            mode: self.mode,
            content: self.content,
            fps_max: None,
            cut_every_frames: self.cut_every,
            bitrate: bitrate(&self.bitrate)?,
            slices,
            time,
        })
    }

    fn measure(&self, setup: &Setup, scenario: &Scenario) -> Result<(), Failure> {
        let png = self
            .report
            .as_ref()
            .map(|directory| directory.join("last.png"));
        let bench = Measured::start(setup, scenario).map_err(failure)?;
        let outputs = Outputs { h264: None, png };
        let report = bench.measure(scenario, bench.address(), "loopback", outputs);
        bench.stop();
        let report = report.map_err(failure)?.report();
        println!("{}", report::table(&report));
        self.write(&report)
    }

    fn write(&self, report: &Report) -> Result<(), Failure> {
        if let Some(directory) = &self.report {
            write(&directory.join("report.json"), &report.json())?;
            write(&directory.join("report.html"), &report::html(report, None))?;
        }
        if let Some(path) = &self.json {
            write(path, &report.json())?;
        }
        Ok(())
    }
}

/// Sliced and whole in turn, four times each, so that both meet the same weather.
fn compare_whole(setup: &Setup, scenario: &Scenario) -> Result<(), Failure> {
    let comparison = bench::run::compare_whole(setup, scenario).map_err(failure)?;
    println!("{}", report::comparison_table(&comparison));
    Ok(())
}

fn gate(setup: &Setup) -> Result<(), Failure> {
    let _ = setup;
    let measured = std::collections::BTreeMap::new();
    let verdicts = bench::gate::gate(&measured);
    println!("{}", bench::gate::render(&verdicts));
    if bench::gate::failed(&verdicts) {
        return Err(Failure::new(
            Kind::Budget,
            "a budget is not held; the table says which",
        ));
    }
    Ok(())
}

fn bitrate(text: &str) -> Result<BitsPerSecond, Failure> {
    let settings = engine::config::Settings::of(&[("bitrate", text)]);
    Ok(settings.bitrate()?.expect("a value was given"))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| output(path, &error))
}

fn output(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Kind::Output,
        format!("{} cannot be written: {error}", path.display()),
    )
}

fn failure(error: BenchError) -> Failure {
    let kind = match error {
        BenchError::Host(error) => return error.into(),
        BenchError::Config(error) => return error.into(),
        BenchError::Trust(error) => return error.into(),
        BenchError::Client(ClientError::Output { .. }) => Kind::Output,
        BenchError::Directory(_) | BenchError::Usage(_) => Kind::System,
        BenchError::Client(_) | BenchError::Ended(_) => Kind::Refused,
    };
    Failure::new(kind, error)
}
