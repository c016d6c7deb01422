//! The latency bench: a real host and the real client in this process, over real sockets, with
//! the test card on the streamed display. What it measures is what a user gets.

mod compare;
mod gate;
mod link;
mod observe;
mod protocol;
mod records;
mod relay;
mod remode;
mod rows;
mod stretch;
mod usage;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::client::{ClientError, DecoderChoice, Outcome, Outputs, Viewer};
use engine::config::{App, ConfigError, HostConfig, Settings};
use engine::host::{Host, HostError};
use engine::metrics::CounterSnapshot;
use engine::trust::{Side, Store, TrustError};
use net::client::{ConnectOptions, ReceiveSnapshot, Trust};
use net::limits::SESSIONS_MAX;
use net::native::{AeadSet, CodecSet, Features, FecCodes, Hello, PROTOCOL_VERSION, RequestedMode};
use net::units::{BitsPerSecond, Mode, SliceCount};

use crate::picture::Content;
use crate::report::{
    Configuration, Counters, FrameRecord, Machine, PathCounts, PathReport, Report, Run,
};
use crate::verify::Verified;

use observe::{Observer, PathLog};
use records::DrawnLog;
use relay::Relay;
use usage::{Usage, UsageSpan};

pub use compare::{Compared, compare_frames, compare_whole};
pub use gate::{GateReport, Gated, measure_budgets};
pub use link::{Line, Link, LinkError, Passed, Path as LinkPath, Way};
pub use protocol::{
    CONNECTS, Churn, ChurnCounts, Flood, Held, Part, ProtocolFigures, measure_protocol,
    protocol_budgets,
};
pub use records::from_outcome;
pub use remode::ModeFigures;

/// The first second is left out of all figures: buffers warm up and the encoder finds its level.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long the session goes on after the measured time, so that its last frames arrive and the
/// host's stamps of them, which it passes on every 100 ms.
const COOL_DOWN: Duration = Duration::from_millis(400);

/// The kind of display on which no application runs, and thus no test card.
const SYNTHETIC: &str = "synthetic";

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
    /// Slices asked for; `None` for the host's choice.
    pub slices: Option<SliceCount>,
    /// The decoder gets whole frames, even if it takes slices.
    pub whole_frames: bool,
    /// Measured time, after the warm-up.
    pub time: Duration,
}

/// How the bench itself is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The executable that has the verb `testcard`.
    pub program: PathBuf,
    /// Settings for the host. Not all of them: it listens on a port of its own on loopback, keeps
    /// its state in a temporary directory, shows the test card, and its mode, slices and bitrate
    /// are the scenario's.
    pub settings: Settings,
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
    /// Its pairing.
    #[error("the client cannot be paired: {0}")]
    Pairing(String),
    /// The session ended during the measurement.
    #[error("the session ended during the measurement: {0}")]
    Ended(String),
    /// This system does not tell what threads use.
    #[error("the threads' use of the processor cannot be read: {0}")]
    Usage(std::io::Error),
    /// Sockets or threads on loopback.
    #[error("loopback cannot be used: {0}")]
    Loopback(std::io::Error),
    /// A micro-benchmark.
    #[error(transparent)]
    Micro(#[from] crate::micro::path::PathError),
}

/// What was measured, before it is worked out.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Everything but the frames.
    pub run: Run,
    /// Frames within the measured time.
    pub records: Vec<FrameRecord>,
    /// Frames of the whole session, from its first IDR on: the warm-up's, the measured ones, and
    /// those of the cool-down. Of the first session where several were appended.
    pub session: Vec<FrameRecord>,
    /// What the host's stages counted in that time.
    pub host: CounterSnapshot,
    /// What the client's receiver counted in the whole session.
    pub received: ReceiveSnapshot,
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
        self.run.judder_ms = self.run.judder_ms.zip(other.run.judder_ms).map(|(a, b)| {
            let (m, n) = (counters.captured as f64, more.captured as f64);
            ((a * a * m + b * b * n) / (m + n).max(1.0)).sqrt()
        });
        counters.drawn += more.drawn;
        counters.delivered += more.delivered;
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

/// A host of the bench's own, with its state in a temporary directory.
pub struct Bench {
    setup: Setup,
    directory: tempfile::TempDir,
    host: Host,
    drawn_log: PathBuf,
    encoder_threads: u8,
    decoder: DecoderChoice,
}

impl Bench {
    /// Starts the host on a free loopback port; its sessions show the test card as `scenario`
    /// says.
    ///
    /// # Errors
    /// See [`BenchError`].
    pub fn start(setup: &Setup, scenario: &Scenario) -> Result<Self, BenchError> {
        // Nobody else reaches it, and its one client pairs with nobody.
        Self::start_for(setup, scenario, false)
    }

    /// The same, for paired clients only.
    fn start_paired(setup: &Setup, scenario: &Scenario) -> Result<Self, BenchError> {
        Self::start_for(setup, scenario, true)
    }

    fn start_for(setup: &Setup, scenario: &Scenario, paired: bool) -> Result<Self, BenchError> {
        let directory = tempfile::tempdir().map_err(BenchError::Directory)?;
        let drawn_log = directory.path().join("drawn.txt");
        let state = directory.path().join("state");
        let mut settings = setup.settings.clone();
        settings.overrule("bind", "127.0.0.1");
        settings.overrule("open", (!paired).to_string());
        settings.overrule("require-pairing", paired.to_string());
        settings.overrule("port", "0");
        // Sessions follow each other faster than they end, and some parts want many at once.
        settings.overrule("max-sessions", SESSIONS_MAX.to_string());
        settings.overrule("state-dir", state.to_string_lossy());
        settings.overrule("app", "testcard");
        let read = HostConfig::from_settings(&settings)?;
        let encoder_threads = read.encoder_threads;
        let decoder = settings.value::<String>("decoder")?;
        let decoder = DecoderChoice::make(decoder.as_deref())?;
        let app = match read.desktop.as_deref() {
            Some(SYNTHETIC) => App::None,
            _ => App::Command(testcard_command(&setup.program, scenario, &drawn_log)),
        };
        let config = HostConfig {
            app,
            mode: None,
            slices: None,
            bitrate: None,
            ..read
        };
        let host = Host::start(config)?;
        Ok(Self {
            setup: setup.clone(),
            directory,
            host,
            drawn_log,
            encoder_threads,
            decoder,
        })
    }

    /// Connects over `link`, measures for the scenario's time and ends the session.
    ///
    /// # Errors
    /// See [`BenchError`].
    pub fn measure(
        &self,
        scenario: &Scenario,
        link: Link,
        outputs: Outputs,
    ) -> Result<Measured, BenchError> {
        let drawn_log = DrawnLog::expect(&self.drawn_log);
        let relay = self.relay(link)?;
        let address = relay
            .as_ref()
            .map_or(self.host.local_addr(), Relay::address);
        let options = self.options(scenario, address)?;
        let (observer, observed) = Observer::new(scenario);
        let decoder = DecoderChoice {
            whole_frames: scenario.whole_frames,
            ..self.decoder
        };
        let observer = Box::new(observer);
        let mut viewer = Viewer::connect(options, decoder, outputs, Some(observer))?;
        let mut path = PathLog::default();
        self.watch(&mut viewer, WARM_UP, relay.as_ref(), &mut path)?;
        let before = Usage::take(&self.host)?;
        let feedbacks_before = path.feedbacks;
        let from = net::clock::now();
        if let Some(relay) = &relay {
            relay.begin(from, scenario.time);
        }
        self.watch(&mut viewer, scenario.time, relay.as_ref(), &mut path)?;
        let to = net::clock::now();
        let after = Usage::take(&self.host)?;
        let capture = self
            .host
            .sessions()
            .last()
            .map_or("", |entry| entry.capture);
        run_for(&mut viewer, COOL_DOWN)?;
        let outcome = viewer.finish()?;
        let relayed = relay.map(|relay| (relay.dropped(), relay.lost(), relay.finish()));
        let (relay_full, relay_lost, stretches) = relayed.unwrap_or_default();
        if relay_full > 0 {
            log::warn!("the relay's queue was full for {relay_full} datagrams");
        }
        let observed = observed
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let session = records::merge(&outcome, &observed.markers);
        let measured = session
            .iter()
            .filter(|record| (from..to).contains(&record.captured));
        let records: Vec<_> = measured.cloned().collect();
        let usage = after.since(&before);
        let counts = PathCounts {
            feedbacks: path.feedbacks - feedbacks_before,
            relay_lost,
            relay_full,
            ..path_counts(&usage, &outcome)
        };
        let mut counters = records::count(&records, &outcome);
        counters.captured = usage.counters.captured;
        counters.superseded = usage.counters.superseded;
        let shows_card = self.host.display() != SYNTHETIC;
        let drawn = shows_card.then(|| drawn_log.numbers_between(from, to));
        let drawn = drawn.flatten();
        (counters.drawn, counters.delivered) = match &drawn {
            Some(drawn) => records::delivered_of(drawn, &observed.markers),
            None => records::delivered_between(&records),
        };
        let run = Run {
            name: scenario.name.clone(),
            seconds: to.since(from).as_secs_f64(),
            machine: Machine::this(&self.compositor(), &self.setup.revision),
            configuration: Configuration {
                encoder_threads: self.encoder_threads,
                capture: capture.to_owned(),
                content: if shows_card {
                    scenario.content.name().to_owned()
                } else {
                    "a drawn pattern".to_owned()
                },
                ..configuration(scenario, &outcome, link)
            },
            path: PathReport::of(path.since(from), counts, stretches),
            shown: Some(records::shown(&records, &link, from)),
            counters,
            threads: usage.threads,
            encoder_cpu_percent: Some(usage.encoder_cpu_percent),
            ask_allocations: usage.ask_allocations,
            judder_ms: usage.counters.judder().map(|it| it.as_secs_f64() * 1e3),
            verified: observed.verified,
            connect_to_picture_ms: outcome.first_picture.map(|time| time.as_secs_f64() * 1e3),
        };
        Ok(Measured {
            run,
            records,
            session,
            host: usage.counters,
            received: outcome.received,
        })
    }

    /// Lets the session run for `time` and samples its path meanwhile.
    fn watch(
        &self,
        viewer: &mut Viewer,
        time: Duration,
        relay: Option<&Relay>,
        path: &mut PathLog,
    ) -> Result<(), BenchError> {
        let until = net::clock::now() + time;
        loop {
            let left = until.since(net::clock::now());
            if left.is_zero() {
                return Ok(());
            }
            run_for(viewer, left.min(PathLog::INTERVAL))?;
            path.sample(&self.host, relay);
        }
    }

    /// Connects and waits, at most for the scenario's time, for the first decoded picture: the
    /// time that took, if one came.
    ///
    /// # Errors
    /// See [`BenchError`].
    pub fn first_picture(&self, scenario: &Scenario) -> Result<Option<Duration>, BenchError> {
        let options = self.options(scenario, self.host.local_addr())?;
        let mut viewer = Viewer::connect(options, self.decoder, Outputs::default(), None)?;
        run_for(&mut viewer, scenario.time)?;
        Ok(viewer.finish()?.first_picture)
    }

    fn options(&self, scenario: &Scenario, host: SocketAddr) -> Result<ConnectOptions, BenchError> {
        Ok(ConnectOptions {
            host,
            identity: self.client_store()?.identity(Side::Client)?,
            trust: Trust::Pinned(self.host.fingerprint()),
            hello: hello(scenario),
        })
    }

    fn client_store(&self) -> Result<Store, TrustError> {
        Store::open(&self.directory.path().join("client"))
    }

    fn relay(&self, link: Link) -> Result<Option<Relay>, BenchError> {
        match link {
            Link::Loopback => Ok(None),
            Link::Relayed(path) => {
                let relay = Relay::start(self.host.local_addr(), &path);
                relay.map(Some).map_err(BenchError::Loopback)
            }
        }
    }

    /// Kind of display and what its probe told, the compositor's version mostly.
    fn compositor(&self) -> String {
        let (kind, detail) = (self.host.display(), self.host.display_detail());
        if detail.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind} ({detail})")
        }
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
        let reason = viewer
            .end_reason()
            .unwrap_or("the decoder stopped")
            .to_owned();
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
        slices: scenario.slices.map_or(0, SliceCount::get),
        bitrate: scenario.bitrate,
        fec_percent: None,
        datagram_bytes_max: net::limits::DATAGRAM_BYTES_MAX as u16,
        name: "bench".to_owned(),
    }
}

fn configuration(scenario: &Scenario, outcome: &Outcome, link: Link) -> Configuration {
    let welcome = &outcome.welcome;
    Configuration {
        mode: welcome.mode.to_string(),
        fps: scenario
            .fps_max
            .unwrap_or(f64::from(welcome.mode.refresh().get()) / 1000.0),
        bitrate_bps: welcome.bitrate.0,
        slices: welcome.slices.get(),
        encoder: welcome.encoder_name.clone(),
        fec_percent: welcome.fec_percent,
        aead: format!("{:?}", welcome.aead),
        link: link.to_string(),
        ..Configuration::default()
    }
}

/// What host and client counted of the path, but for what the samples and the relay know.
fn path_counts(usage: &UsageSpan, outcome: &Outcome) -> PathCounts {
    let (host, client) = (&usage.counters, &outcome.received);
    let control = usage
        .threads
        .iter()
        .filter(|thread| thread.name == "pf-control");
    PathCounts {
        datagrams: host.datagrams,
        parity: host.parity_datagrams,
        repeated: host.repeated,
        not_repeated: host.not_repeated,
        feedback_refused: host.feedback_refused,
        tasks_dropped: host.tasks_dropped,
        departures_dropped: host.departures_dropped,
        control_cpu_percent: control.map(|thread| thread.cpu_percent).sum(),
        rounds_asked: client.rounds_asked,
        client_round_trip_us: client.round_trip_us,
        clock_uncertainty_us: client.clock_uncertainty_us,
        ..PathCounts::default()
    }
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
    let decoded = outcome
        .frames
        .iter()
        .filter(|frame| !frame.decoded.is_zero())
        .count() as u64;
    Counters {
        encoded: outcome.host_times.len() as u64,
        received: outcome.received.frames + outcome.received.frames_lost,
        lost: outcome.received.frames_lost,
        repaired: outcome
            .frames
            .iter()
            .filter(|frame| frame.repaired_shards > 0)
            .count() as u64,
        decoded,
        ..Counters::default()
    }
}
