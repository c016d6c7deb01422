//! `punktfunk bench`

use std::path::{Path, PathBuf};
use std::time::Duration;

use argh::FromArgs;
use bench::gate::{Verdict, failed, render};
use bench::picture::Content;
use bench::record::Trace;
use bench::report::{self, Comparison, Machine, Report};
use bench::run::{
    Bench as Measured, BenchError, Compared, Link, LinkError, Part, Scenario, Setup,
    compare_frames, compare_whole,
};
use engine::client::{ClientError, Outputs};
use engine::config::Settings;
use net::units::{BitsPerSecond, Mode};
use serde_json::json;

use crate::exit::{Failure, Kind};

/// Measure latency end to end: a host and a client in this process, over real sockets, with a
/// test card on a display of its own whose decoded pixels prove the path.
#[derive(FromArgs)]
#[argh(subcommand, name = "bench")]
pub struct Bench {
    /// configuration file (default: ~/.config/punktfunk/config.toml, if it is there)
    #[argh(option)]
    config: Option<PathBuf>,
    /// measured seconds, after one of warm-up (default: 10)
    #[argh(option)]
    seconds: Option<String>,
    /// display, WIDTHxHEIGHT@HZ (default: 1280x720@60)
    #[argh(option)]
    mode: Option<String>,
    /// content: desk, scroll, game or still (default: game)
    #[argh(option, default = "Content::Game")]
    content: Content,
    /// hard cut after so many pictures (default: never)
    #[argh(option, default = "0")]
    cut_every: u32,
    /// bitrate (default: 10M)
    #[argh(option)]
    bitrate: Option<String>,
    /// slices a picture, 1 to 32 (default: the host's choice)
    #[argh(option)]
    slices: Option<String>,
    /// parity in percent of the data (default: what the loss needs)
    #[argh(option)]
    fec: Option<String>,
    /// encoder: x264 or openh264 (default: the best that this build has)
    #[argh(option)]
    encoder: Option<String>,
    /// threads inside the encoder (default: half the cores, at least 2 of
    /// them)
    #[argh(option)]
    encoder_threads: Option<String>,
    /// decoder: libavcodec or openh264 (default: the best that this machine has)
    #[argh(option)]
    decoder: Option<String>,
    /// kind of display: sway, kwin, mutter, private-sway, gamescope or synthetic (default: the best
    /// that this machine has)
    #[argh(option)]
    desktop: Option<String>,
    /// what to compare with, interleaved: whole (one slice a picture) or frames (slices, but whole
    /// frames for the decoder)
    #[argh(option)]
    compare: Option<String>,
    /// put a relay between host and client: rate to the client and steps of it, and more, such as
    /// 50M,10M@5s,50M@15s,delay=2ms,loss=2%,burst=8,queue=64K,outage=1s@5s,seed=1 (default: none;
    /// loss-down=2%: to the client alone; times count from the first measured frame on)
    #[argh(option)]
    link: Option<String>,
    /// change the display's mode so many times while it streams, and measure from each request to
    /// the first picture of the new mode, instead of the latency of pictures
    #[argh(option)]
    remode: Option<u32>,
    /// measure everything that a budget is set for, and fail if one is not held
    #[argh(switch)]
    gate: bool,
    /// seconds of each of the gate's long sessions; less is for trying it out (default: 60)
    #[argh(option, default = "60.0")]
    gate_seconds: f64,
    /// measure the native protocol's figures (input, connecting, changes of the mode, many sessions,
    /// clients that come and go, a hostile peer), and fail if one is not held
    #[argh(switch)]
    protocol: bool,
    /// with --protocol: this part alone (input, connect, mode, many, churn or hostile); may be given
    /// several times
    #[argh(option)]
    only: Vec<Part>,
    /// directory for report.html, report.json and last.png; with --gate for all of its reports
    #[argh(option)]
    report: Option<PathBuf>,
    /// file for the report (with --gate: the verdicts) as JSON
    #[argh(option)]
    json: Option<PathBuf>,
    /// file for a trace of the run, JSON lines, that the simulator can replay
    #[argh(option)]
    record: Option<PathBuf>,
}

impl Bench {
    pub fn run(self) -> Result<(), Failure> {
        let setup = self.setup()?;
        if let Some(directory) = &self.report {
            std::fs::create_dir_all(directory).map_err(|error| output(directory, &error))?;
        }
        if self.record.is_some() && (self.gate || self.compare.is_some()) {
            let text = "--record keeps one run: leave out --gate and --compare";
            return Err(Failure::usage(text));
        }
        if self.gate {
            return self.gate(&setup);
        }
        if self.protocol {
            return self.protocol(&setup);
        }
        let scenario = self.scenario(&setup.settings)?;
        if let Some(changes) = self.remode {
            return self.change_modes(&setup, &scenario, changes);
        }
        let link = match &self.link {
            None => Link::Loopback,
            Some(text) => link(text)?,
        };
        match self.compare.as_deref() {
            None => self.measure(&setup, &scenario, link),
            Some("whole") => self.compare(compare_whole(&setup, &scenario, link)),
            Some("frames") => self.compare(compare_frames(&setup, &scenario, link)),
            Some(other) => Err(Failure::usage(format!(
                "--compare {other}: there are whole and frames"
            ))),
        }
    }

    fn setup(&self) -> Result<Setup, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(Kind::System, format!("own executable: {error}")))?;
        let flags = [
            ("bitrate", &self.bitrate),
            ("decoder", &self.decoder),
            ("desktop", &self.desktop),
            ("encoder", &self.encoder),
            ("encoder-threads", &self.encoder_threads),
            ("fec", &self.fec),
            ("mode", &self.mode),
            ("seconds", &self.seconds),
            ("slices", &self.slices),
        ];
        let flags = flags.map(|(key, value)| (key, value.clone()));
        let settings = Settings::gather(flags, self.config.as_deref())?;
        let revision = option_env!("PUNKTFUNK_REVISION").unwrap_or(env!("CARGO_PKG_VERSION"));
        Ok(Setup {
            program,
            settings,
            revision: revision.to_owned(),
        })
    }

    fn scenario(&self, settings: &Settings) -> Result<Scenario, Failure> {
        let mode = settings.value("mode")?;
        let mode = mode.unwrap_or(Mode::new(1280, 720, 60_000).expect("within the limits"));
        let time = settings.seconds()?.unwrap_or(Duration::from_secs(10));
        Ok(Scenario {
            name: format!("{mode} {}", self.content.name()),
            mode,
            content: self.content,
            fps_max: None,
            cut_every_frames: self.cut_every,
            bitrate: settings.bitrate()?.unwrap_or(BitsPerSecond(10_000_000)),
            slices: settings.slices()?,
            whole_frames: false,
            time: not_zero("--seconds", time)?,
        })
    }

    fn measure(&self, setup: &Setup, scenario: &Scenario, link: Link) -> Result<(), Failure> {
        let png = self
            .report
            .as_ref()
            .map(|directory| directory.join("last.png"));
        let bench = Measured::start(setup, scenario).map_err(failure)?;
        let measured = bench.measure(
            scenario,
            link,
            Outputs {
                png,
                ..Outputs::default()
            },
        );
        bench.stop();
        let measured = measured.map_err(failure)?;
        if let Some(path) = &self.record {
            write(path, &Trace::of(&measured.run, &measured.session).lines())?;
        }
        let report = measured.report();
        println!("{}", report::table(&report));
        self.write(&report, None)?;
        self.write_json(&report.json())
    }

    fn change_modes(
        &self,
        setup: &Setup,
        scenario: &Scenario,
        changes: u32,
    ) -> Result<(), Failure> {
        if self.link.is_some() || self.compare.is_some() || self.record.is_some() {
            let text = "--remode measures over loopback: leave out --link, --compare and --record";
            return Err(Failure::usage(text));
        }
        let bench = Measured::start(setup, scenario).map_err(failure)?;
        let figures = bench.change_modes(scenario, changes);
        bench.stop();
        let figures = figures.map_err(failure)?;
        println!("{}\n{figures}", scenario.name);
        self.write_json(&json!(figures).to_string())
    }

    /// Two ways in turn, so that both meet the same weather.
    fn compare(&self, compared: Result<Compared, BenchError>) -> Result<(), Failure> {
        let compared = compared.map_err(failure)?;
        println!("{}", report::comparison_table(&compared.comparison));
        self.write(&compared.sliced, Some(&compared.comparison))?;
        if let Some(directory) = &self.report {
            write(&directory.join("whole.json"), &compared.whole.json())?;
        }
        let all = json!({
            "sliced": compared.sliced,
            "whole": compared.whole,
            "comparison": compared.comparison,
        });
        self.write_json(&all.to_string())
    }

    fn gate(&self, setup: &Setup) -> Result<(), Failure> {
        let time = Duration::try_from_secs_f64(self.gate_seconds).unwrap_or_default();
        let time = not_zero("--gate-seconds", time)?;
        let machine = Machine::this("", &setup.revision);
        let gated = bench::run::measure_budgets(setup, time, &mut |what| {
            eprintln!("punktfunk: measuring {what}");
        });
        let machine = gated
            .reports
            .first()
            .map_or(machine, |first| first.report.run.machine.clone());
        println!("{}", report::machine_lines(&machine));
        println!("long sessions of {} s", self.gate_seconds);
        println!("{}", render(&gated.verdicts));
        gated.notes.iter().for_each(|note| println!("{note}"));
        let all = json!({
            "machine": machine,
            "seconds": self.gate_seconds,
            "verdicts": gated.verdicts,
            "notes": gated.notes,
        });
        self.write_json(&all.to_string())?;
        if let Some(directory) = &self.report {
            write(&directory.join("gate.json"), &all.to_string())?;
            for run in &gated.reports {
                let (json, html) = (format!("{}.json", run.name), format!("{}.html", run.name));
                let page = report::html(&run.report, run.comparison.as_ref());
                write(&directory.join(json), &run.report.json())?;
                write(&directory.join(html), &page)?;
            }
        }
        judge(&gated.verdicts)
    }

    fn protocol(&self, setup: &Setup) -> Result<(), Failure> {
        let parts = match self.only.is_empty() {
            true => &Part::ALL[..],
            false => &self.only[..],
        };
        let measured = bench::run::measure_protocol(setup, parts, &mut |what| {
            eprintln!("punktfunk: measuring {what}");
        });
        let machine = Machine::this("", &setup.revision);
        println!("{}", report::machine_lines(&machine));
        println!("{}", render(&measured.verdicts));
        measured.notes.iter().for_each(|note| println!("{note}"));
        let all = json!({
            "machine": machine,
            "verdicts": measured.verdicts,
            "notes": measured.notes,
        });
        self.write_json(&all.to_string())?;
        if !measured.failed.is_empty() {
            let text = format!(
                "not measured: {}; a note says why",
                measured.failed.join(", ")
            );
            return Err(Failure::new(Kind::Budget, text));
        }
        judge(&measured.verdicts)
    }

    fn write(&self, report: &Report, comparison: Option<&Comparison>) -> Result<(), Failure> {
        let Some(directory) = &self.report else {
            return Ok(());
        };
        write(&directory.join("report.json"), &report.json())?;
        write(
            &directory.join("report.html"),
            &report::html(report, comparison),
        )
    }

    fn write_json(&self, text: &str) -> Result<(), Failure> {
        self.json.as_ref().map_or(Ok(()), |path| write(path, text))
    }
}

fn judge(verdicts: &[Verdict]) -> Result<(), Failure> {
    if failed(verdicts) {
        let text = "a budget is not held; the table says which";
        return Err(Failure::new(Kind::Budget, text));
    }
    Ok(())
}

fn not_zero(flag: &str, time: Duration) -> Result<Duration, Failure> {
    if time.is_zero() {
        return Err(Failure::usage(format!("{flag}: give a number above 0")));
    }
    Ok(time)
}

fn link(text: &str) -> Result<Link, Failure> {
    let path = text.parse();
    path.map(Link::Relayed)
        .map_err(|error: LinkError| Failure::usage(format!("--link {text}: {error}")))
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
        BenchError::Client(ClientError::NoDecoder { .. } | ClientError::Decoder(_)) => Kind::Codec,
        BenchError::Pairing(_) => Kind::Trust,
        BenchError::Directory(_)
        | BenchError::Usage(_)
        | BenchError::Loopback(_)
        | BenchError::Micro(_) => Kind::System,
        BenchError::Client(_) | BenchError::Ended(_) => Kind::Refused,
    };
    Failure::new(kind, error)
}
