//! The latency bench: a real host and the real client in this process, over real sockets, with
//! the test card on the streamed display. What it measures is what a user gets.

mod observe;
mod records;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::client::{ClientError, Outcome, Outputs, Viewer};
use engine::config::{App, ConfigError, HostConfig, Settings};
use engine::host::{Host, HostError};
use engine::metrics::CounterSnapshot;
use engine::trust::{Side, Store, TrustError};
use net::client::{ConnectOptions, Trust};
use net::native::{AeadSet, CodecSet, Features, FecCodes, Hello, PROTOCOL_VERSION, RequestedMode};
use net::units::{BitsPerSecond, Mode, SliceCount};
use platform::process::{ThreadUsage, thread_usage};

use crate::picture::Content;
use crate::report::{
    self, Comparison, Configuration, Counters, FrameRecord, Machine, Report, Run, ThreadUse,
};
use crate::verify::Verified;

use observe::Observer;
pub use records::from_outcome;

/// The first second is left out of all figures: buffers warm up and the encoder finds its level.
const WARM_UP: Duration = Duration::from_secs(1);

/// One measurement.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Title of its report.
    pub name: String,
    /// Mode of the display.
    pub mode: Mode,
    /// What the test card shows.
    pub content: Content,
    /// Pictures a second that the test card draws at most; `None`: as the compositor asks.
    pub fps_max: Option<f64>,
    /// A hard cut after so many pictures; 0: never.
    pub cut_every_frames: u32,
    /// Bitrate asked for.
    pub bitrate: BitsPerSecond,
    /// Slices asked for.
    pub slices: SliceCount,
    /// Measured time, after the warm-up.
    pub time: Duration,
}

/// How the bench itself is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The executable that has the verb `testcard`.
    pub program: PathBuf,
    /// Settings for the host, as flags.
    pub host_settings: Vec<(&'static str, String)>,
    /// For the report: what the measured program was built from.
    pub revision: String,
}

/// A measurement could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A directory for identity and logs.
    #[error("no temporary directory: {0}")]
    Directory(std::io::Error),
    /// The host's configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The client's identity.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The client.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The session ended during the measurement.
    #[error("the session ended during the measurement: {0}")]
    Ended(String),
    /// This system does not tell what threads use.
    #[error("the threads' use of the processor cannot be read: {0}")]
    Usage(std::io::Error),
}

/// What was measured, before it is worked out.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Everything but the frames.
    pub run: Run,
    /// Frames within the measured time.
    pub records: Vec<FrameRecord>,
}

impl Measured {
    /// All distributions.
    #[must_use]
    pub fn report(&self) -> Report {
        Report::from_records(self.run.clone(), &self.records)
    }

    /// Adds another measurement of the same scenario.
    fn append(&mut self, other: Self) {
        let (counters, more) = (&mut self.run.counters, other.run.counters);
        counters.drawn += more.drawn;
        counters.captured += more.captured;
        counters.superseded += more.superseded;
        counters.encoded += more.encoded;
        counters.sent += more.sent;
        counters.received += more.received;
        counters.lost += more.lost;
        counters.repaired += more.repaired;
        counters.decoded += more.decoded;
        counters.marked += more.marked;
        self.run.seconds += other.run.seconds;
        self.records.extend(other.records);
    }
}

/// Rounds of a comparison: sliced and whole in turn, so that both meet the same weather.
const ROUNDS: u32 = 4;

/// Measures `scenario` and the same with one slice a picture, in turn, for its time each.
///
/// # Errors
/// See [`BenchError`].
pub fn compare_whole(setup: &Setup, scenario: &Scenario) -> Result<Comparison, BenchError> {
    let sliced = Scenario { time: scenario.time / ROUNDS, ..scenario.clone() };
    let whole = Scenario {
        name: format!("{}, whole pictures", scenario.name),
        slices: SliceCount::ONE,
        ..sliced.clone()
    };
    let bench = Bench::start(setup, &sliced)?;
    let mut sums: [Option<Measured>; 2] = [None, None];
    for _ in 0..ROUNDS {
        for (sum, scenario) in sums.iter_mut().zip([&sliced, &whole]) {
            let measured =
                bench.measure(scenario, bench.address(), "loopback", Outputs::default())?;
            match sum {
                Some(sum) => sum.append(measured),
                None => *sum = Some(measured),
            }
        }
    }
    bench.stop();
    let [sliced, whole] = sums.map(|sum| sum.expect("there is a round").report());
    Ok(report::compare(&sliced, &whole))
}

/// A host of the bench's own, with its state in a temporary directory.
pub struct Bench {
    setup: Setup,
    directory: tempfile::TempDir,
    host: Host,
    drawn_log: PathBuf,
}

impl Bench {
    /// Starts the host on a free loopback port; its sessions show the test card as `scenario`
    /// says.
    ///
    /// # Errors
    /// See [`BenchError`].
    pub fn start(setup: &Setup, scenario: &Scenario) -> Result<Self, BenchError> {
        let directory = tempfile::tempdir().map_err(BenchError::Directory)?;
        let drawn_log = directory.path().join("drawn.txt");
        let state = directory.path().join("state").to_string_lossy().into_owned();
        let mut flags: BTreeMap<&'static str, String> =
            setup.host_settings.iter().cloned().collect();
        flags.insert("port", "0".to_owned());
        flags.insert("state-dir", state);
        let flags: Vec<_> = flags.iter().map(|(&key, value)| (key, value.as_str())).collect();
        let mut config = HostConfig::from_settings(&Settings::of(&flags))?;
        config.app = App::Command(testcard_command(&setup.program, scenario, &drawn_log));
        let host = Host::start(config)?;
        Ok(Self { setup: setup.clone(), directory, host, drawn_log })
    }

    /// Where the host listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.host.local_addr()
    }

    /// Connects through `address` (the host's own, or a relay's before it), measures for the
    /// scenario's time and ends the session.
    ///
    /// # Errors
    /// See [`BenchError`].
    pub fn measure(
        &self,
        scenario: &Scenario,
        address: SocketAddr,
        link: &str,
        outputs: Outputs,
    ) -> Result<Measured, BenchError> {
        let store = Store::open(&self.directory.path().join("client"))?;
        let options = ConnectOptions {
            host: address,
            identity: store.identity(Side::Client)?,
            trust: Trust::Pinned(self.host.fingerprint()),
            hello: hello(scenario),
        };
        let (observer, observed) = Observer::new(scenario.content);
        let mut viewer = Viewer::connect(options, outputs, Some(Box::new(observer)))?;
        run_for(&mut viewer, WARM_UP)?;
        let before = Usage::take(&self.host)?;
        let from = net::clock::now();
        run_for(&mut viewer, scenario.time)?;
        let to = net::clock::now();
        let after = Usage::take(&self.host)?;
        let outcome = viewer.finish()?;
        let observed = observed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let records = records::merge(&outcome, &observed.markers);
        let measured: Vec<_> = records
            .into_iter()
            .filter(|record| (from..to).contains(&record.captured))
            .collect();
        let usage = after.since(&before);
        let mut counters = records::count(&measured, &outcome);
        counters.captured = usage.counters.captured;
        counters.superseded = usage.counters.superseded;
        counters.drawn = records::drawn_between(&self.drawn_log, &measured);
        let run = Run {
            name: scenario.name.clone(),
            seconds: to.since(from).as_secs_f64(),
            machine: Machine::this(self.host.display(), &self.setup.revision),
            configuration: configuration(scenario, &outcome, link),
            counters,
            threads: usage.threads,
            verified: observed.verified,
            connect_to_picture_ms: outcome.first_picture.map(|time| time.as_secs_f64() * 1e3),
        };
        Ok(Measured { run, records: measured })
    }

    /// Ends the host.
    pub fn stop(self) {
        self.host.stop();
    }
}

fn run_for(viewer: &mut Viewer, time: Duration) -> Result<(), BenchError> {
    if viewer.run_for(time, || false) {
        Ok(())
    } else {
        let reason = viewer.end_reason().unwrap_or("the decoder stopped").to_owned();
        Err(BenchError::Ended(reason))
    }
}

fn testcard_command(program: &Path, scenario: &Scenario, log: &Path) -> Vec<String> {
    let mut command = vec![
        program.to_string_lossy().into_owned(),
        "testcard".to_owned(),
        "--content".to_owned(),
        scenario.content.name().to_owned(),
        "--cut-every".to_owned(),
        scenario.cut_every_frames.to_string(),
        "--drawn-log".to_owned(),
        log.to_string_lossy().into_owned(),
    ];
    if let Some(fps) = scenario.fps_max {
        command.extend(["--fps".to_owned(), fps.to_string()]);
    }
    command
}

fn hello(scenario: &Scenario) -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        mode: RequestedMode::from(scenario.mode),
        codecs: CodecSet::H264,
        fec_codes: FecCodes::ALL,
        aeads: AeadSet::ALL,
        required: Features::FRAME_TIMES,
        optional: Features::NONE,
        slices: scenario.slices.get(),
        bitrate: scenario.bitrate,
        fec_percent: None,
        datagram_bytes_max: net::limits::DATAGRAM_BYTES_MAX as u16,
        name: "bench".to_owned(),
    }
}

fn configuration(scenario: &Scenario, outcome: &Outcome, link: &str) -> Configuration {
    let welcome = &outcome.welcome;
    Configuration {
        mode: welcome.mode.to_string(),
        content: scenario.content.name().to_owned(),
        fps: scenario
            .fps_max
            .unwrap_or(f64::from(welcome.mode.refresh().get()) / 1000.0),
        bitrate_bps: welcome.bitrate.0,
        slices: welcome.slices.get(),
        encoder: welcome.encoder_name.clone(),
        encoder_threads: 1,
        capture: String::new(),
        fec_percent: f64::from(welcome.fec_percent),
        aead: format!("{:?}", welcome.aead),
        link: link.to_owned(),
    }
}

/// What host, client and their threads have used so far.
struct Usage {
    at: Instant,
    threads: Vec<ThreadUsage>,
    counters: CounterSnapshot,
}

/// The same over a span of time.
struct UsageSpan {
    threads: Vec<ThreadUse>,
    counters: CounterSnapshot,
}

impl Usage {
    fn take(host: &Host) -> Result<Self, BenchError> {
        let sessions = host.sessions();
        let counters = sessions.first().map(|entry| entry.metrics.counters.snapshot());
        Ok(Self {
            at: Instant::now(),
            threads: thread_usage(None).map_err(BenchError::Usage)?,
            counters: counters.unwrap_or_default(),
        })
    }

    fn since(&self, before: &Self) -> UsageSpan {
        let seconds = (self.at - before.at).as_secs_f64();
        let counters = self.counters.since(&before.counters);
        let threads = self.threads.iter().filter_map(|thread| {
            let old = before.threads.iter().find(|old| old.thread_id == thread.thread_id)?;
            Some(ThreadUse {
                name: thread.name.clone(),
                cpu_percent: (thread.cpu - old.cpu).as_secs_f64() / seconds * 100.0,
                switches_voluntary: thread.switches_voluntary - old.switches_voluntary,
                switches_involuntary: thread.switches_involuntary - old.switches_involuntary,
                allocations: allocations(&thread.name, &counters),
            })
        });
        UsageSpan { threads: threads.collect(), counters }
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

/// A tool of [`records`] and [`observe`]: verification figures so far.
type Markers = BTreeMap<u32, crate::marker::Marker>;

/// What the observer has gathered.
#[derive(Default)]
pub(crate) struct Observed {
    /// By frame.
    pub(crate) markers: Markers,
    /// Pixels held against the drawn ones.
    pub(crate) verified: Verified,
}

/// The default counters of a report that knows only the client's side.
pub(crate) fn received_only(outcome: &Outcome) -> Counters {
    let decoded = outcome.frames.iter().filter(|frame| !frame.decoded.is_zero()).count() as u64;
    Counters {
        encoded: outcome.host_times.len() as u64,
        received: outcome.received.frames + outcome.received.frames_lost,
        lost: outcome.received.frames_lost,
        repaired: outcome.frames.iter().filter(|frame| frame.repaired_shards > 0).count() as u64,
        decoded,
        ..Counters::default()
    }
}
