//! A host, built from its configuration. [`Host::start`] shows the whole of it, top to bottom.

mod janitor;
mod places;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use gpu::encode::EncoderKind;
use net::gamestream::nvhttp::CodecModes;
use net::identity::Fingerprint;
use net::quic::QuicError;
use net::udp::{Socket, SocketConfig};
use net::units::Mode;
use platform::audio::AudioBackend;
use platform::audio::microphone::MicrophoneBackend;
use platform::select::{self, Answer, Refusal, Selection};

use crate::config::{AUDIO_OFF, HostConfig};
use crate::control::Control;
use crate::control::gamestream::broker::Streams;
use crate::control::gamestream::{GameStream, GameStreamError};
use crate::metrics::{CounterSnapshot, HistogramSnapshot, SessionMetrics};
use crate::mgmt::{Management, Operators};
use crate::session::Backends;
use crate::trust::native::NativeTrust;
use crate::trust::{Side, Store, TrustError};
use janitor::Janitor;
use places::Taken;

pub use places::{Place, encoder_threads_default, encoder_threads_max};

/// A host could not be started. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The identity cannot be read or made.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The address cannot be bound.
    #[error("{address} (udp) cannot be listened on: {source}{}", bind_hint(.source))]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// No kind of display works here.
    #[error("no display can be made here: {reasons}")]
    NoDisplay {
        /// What each candidate said.
        reasons: String,
    },
    /// No encoder works here.
    #[error("no encoder works here: {reasons}")]
    NoEncoder {
        /// What each candidate said.
        reasons: String,
    },
    /// QUIC could not be set up.
    #[error("the control protocol cannot be set up: {0}")]
    Control(#[from] QuicError),
    /// The control thread could not be started.
    #[error("the control thread cannot be started: {0}")]
    Thread(std::io::Error),
    /// GameStream's clients cannot be served.
    #[error(transparent)]
    GameStream(#[from] GameStreamError),
}

fn bind_hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            "; another host may be running: stop it, or choose a port with --port"
        }
        std::io::ErrorKind::AddrNotAvailable => "; it is not an address of this machine",
        std::io::ErrorKind::PermissionDenied => "; choose a port above 1023 with --port",
        _ => "",
    }
}

/// A running host. Dropping it ends all sessions and everything that they started.
pub struct Host {
    control: Control,
    gamestream: Option<GameStream>,
    streams: Option<Streams>,
    /// Without GameStream, which has its own.
    _management: Option<Management>,
    trust: Arc<NativeTrust>,
    local: SocketAddr,
    fingerprint: Fingerprint,
    name: String,
    backends: Backends,
    display_detail: String,
    registry: Arc<Registry>,
}

impl Host {
    /// Builds and starts a host: identity, socket, backends, control. Sessions come with clients.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn start(config: HostConfig) -> Result<Self, HostError> {
        Self::start_with(config, choose_backends)
    }

    /// As [`Host::start`], with these backends for all sessions: for those who bring their own, as
    /// tests do.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn start_on(config: HostConfig, backends: Backends) -> Result<Self, HostError> {
        Self::start_with(config, |_| Ok((backends, String::new())))
    }

    fn start_with(
        config: HostConfig,
        choose: impl FnOnce(&HostConfig) -> Result<(Backends, String), HostError>,
    ) -> Result<Self, HostError> {
        // Orphans of applications become our children, to be ended with their session.
        if let Err(error) = platform::process::become_subreaper() {
            log::warn!("applications may outlive their session: {error}");
        }
        platform::thread::return_freed_memory();
        match platform::thread::lock_memory() {
            Ok(detail) => log::info!("memory: {detail}"),
            Err(refusal) => log::info!("memory may be swapped out: {refusal}"),
        }
        let store = Store::open(&config.state_dir)?;
        platform::display::portal::keep_token_in(&config.state_dir);
        let identity = store.identity(Side::Host)?;
        let trust = Arc::new(NativeTrust::open(&store)?);
        let fingerprint = identity.fingerprint();

        // The socket first of what others can hold against us: a second host on this port ends
        // here, before it has probed or touched anything.
        let address = config.listen;
        let bind = |source| HostError::Bind { address, source };
        let socket_config = SocketConfig {
            txtime: config.pace.wants_txtime(),
            ..SocketConfig::default()
        };
        let socket = Socket::bind(address, socket_config).map_err(bind)?;
        let local = socket.local_addr().map_err(bind)?;

        let (backends, display_detail) = choose(&config)?;
        let name = config.name.clone();
        let registry = Arc::new(Registry::with_janitor().map_err(HostError::Thread)?);
        let gamestream = config.gamestream.clone();
        let streams = gamestream
            .as_ref()
            .map(|gamestream| {
                Streams::start(
                    &config,
                    gamestream.bind,
                    gamestream.ports,
                    backends.clone(),
                    Arc::clone(&registry),
                )
            })
            .transpose()?;
        let control = Control::start(
            config,
            identity,
            Arc::clone(&trust),
            socket,
            backends.clone(),
            Arc::clone(&registry),
        )?;
        let gamestream = gamestream
            .zip(streams.as_ref())
            .map(|(config, streams)| {
                // H.264 is what every encoder of ours makes.
                let (sessions, trust) = (streams.sessions(), Arc::clone(&trust));
                GameStream::start(config, &store, CodecModes::H264, sessions, trust)
            })
            .transpose()?;
        // Beside GameStream's clients it serves ours; without them it is there for ours alone.
        let management = match &gamestream {
            Some(_) => None,
            None => manage(&store, &trust),
        };
        Ok(Self {
            control,
            gamestream,
            streams,
            _management: management,
            trust,
            local,
            fingerprint,
            name,
            backends,
            display_detail,
            registry,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What clients pin.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// What clients see as its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The chosen kind of display.
    #[must_use]
    pub fn display(&self) -> &'static str {
        self.backends.display.name()
    }

    /// What the probe of that kind told: the compositor's version, mostly.
    #[must_use]
    pub fn display_detail(&self) -> &str {
        &self.display_detail
    }

    /// The chosen encoder.
    #[must_use]
    pub const fn encoder(&self) -> &'static str {
        self.backends.encoder.name
    }

    /// Who may connect by the native protocol.
    #[must_use]
    pub const fn trust(&self) -> &Arc<NativeTrust> {
        &self.trust
    }

    /// The sessions that stream now.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionEntry> {
        self.registry.list()
    }

    /// GameStream's side, if it is served.
    #[must_use]
    pub const fn gamestream(&self) -> Option<&GameStream> {
        self.gamestream.as_ref()
    }

    /// True if it serves nobody any more although nobody stopped it; the log tells why.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        let gamestream = self.gamestream.as_ref();
        let streams = self.streams.as_ref();
        self.control.has_ended()
            || gamestream.is_some_and(GameStream::has_ended)
            || streams.is_some_and(Streams::has_ended)
    }

    /// A view of the live figures that remembers what it said last.
    #[must_use]
    pub fn live_figures(&self) -> LiveFigures {
        LiveFigures {
            registry: Arc::clone(&self.registry),
            last: Vec::new(),
            ended: Vec::new(),
            turned_away: 0,
        }
    }

    /// Tells all clients and ends everything, within two seconds.
    pub fn stop(self) {
        drop(self.gamestream);
        drop(self.streams);
        self.control.stop();
    }
}

/// The operator's calls on a port that the system chooses. A host that cannot serve them, because
/// its state directory cannot be written, serves its paired clients all the same.
fn manage(store: &Store, trust: &Arc<NativeTrust>) -> Option<Management> {
    let operators = Operators {
        native: Arc::clone(trust),
        gamestream: None,
    };
    Management::start(0, store, operators)
        .inspect_err(|error| log::warn!("nobody can be paired or unpaired: {error}"))
        .ok()
}

/// The display and the encoder that sessions will be made with, and what the display's probe
/// told.
fn choose_backends(config: &HostConfig) -> Result<(Backends, String), HostError> {
    let wanted = config.desktop.as_deref();
    let display = select::choose_display(platform::display::candidates_for(wanted), wanted);
    let Some(chosen) = display.chosen else {
        return Err(HostError::NoDisplay {
            reasons: unchosen(wanted, &display.answers),
        });
    };
    let wanted = config.encoder.as_deref();
    let encoder = choose_encoder(wanted);
    let Some(kind) = encoder.chosen else {
        return Err(HostError::NoEncoder {
            reasons: unchosen(wanted, &encoder.answers),
        });
    };
    let said = display
        .answers
        .into_iter()
        .find(|answer| answer.name == chosen.name());
    let detail = said
        .and_then(|answer| answer.result.ok())
        .unwrap_or_default();
    let backends = Backends {
        display: Arc::from(chosen),
        encoder: *kind,
        audio: choose_audio(config.audio.as_deref()),
        microphone: config.microphone.then(choose_microphone).flatten(),
    };
    Ok((backends, detail))
}

/// The source of sound, if there is one: a host without is a host all the same.
fn choose_audio(wanted: Option<&str>) -> Option<Arc<dyn AudioBackend>> {
    if wanted == Some(AUDIO_OFF) {
        return None;
    }
    let selection = ask_audio(wanted);
    if selection.chosen.is_none() {
        log::warn!("clients hear nothing: {}", selection.refusals());
    }
    selection.chosen.map(Arc::from)
}

/// Where clients' sound goes, if it goes anywhere.
fn choose_microphone() -> Option<Arc<dyn MicrophoneBackend>> {
    let candidates = platform::audio::microphone::candidates();
    let selection = select::choose("microphone", candidates, None, |backend| {
        (backend.name(), backend.probe())
    });
    if selection.chosen.is_none() {
        log::warn!("clients have no microphone: {}", selection.refusals());
    }
    selection.chosen.map(Arc::from)
}

/// Asks every source of sound, the synthetic one only by its name.
pub(crate) fn ask_audio(wanted: Option<&str>) -> Selection<dyn AudioBackend> {
    let mut candidates = platform::audio::candidates();
    candidates.retain(|it| wanted.is_some() || it.name() != platform::audio::synthetic::NAME);
    select::choose("audio", candidates, wanted, |backend| {
        (backend.name(), backend.probe())
    })
}

/// Asks every encoder of this build, and takes the first that is ready.
pub(crate) fn choose_encoder(wanted: Option<&str>) -> Selection<&'static EncoderKind> {
    let candidates = gpu::encode::candidates().iter().map(Box::new).collect();
    select::choose("encoder", candidates, wanted, |kind| {
        (
            kind.name,
            (kind.probe)().map_err(|reason| Refusal::new(reason, "")),
        )
    })
}

/// Why none was chosen: what each said, or that there is none of the name asked for.
pub(crate) fn unchosen(wanted: Option<&str>, answers: &[Answer]) -> String {
    if let Some(wanted) = wanted
        && answers.iter().all(|answer| answer.name != wanted)
    {
        let names: Vec<_> = answers.iter().map(|answer| answer.name).collect();
        return format!(
            "there is none named {wanted}; choose one of {}",
            names.join(", ")
        );
    }
    let relevant = answers
        .iter()
        .filter(|answer| wanted.is_none_or(|name| name == answer.name));
    let reasons = relevant.filter_map(|answer| {
        answer
            .result
            .as_ref()
            .err()
            .map(|refusal| format!("{}: {refusal}", answer.name))
    });
    reasons.collect::<Vec<_>>().join(" / ")
}

/// A streaming session, for figures.
#[derive(Clone)]
pub struct SessionEntry {
    /// Number of the session within this host's life, from 1.
    pub number: u64,
    /// The client's name.
    pub client: String,
    /// Its mode.
    pub mode: Mode,
    /// Name of its capture backend.
    pub capture: &'static str,
    /// What its pipeline measures, since the session was launched.
    pub metrics: Arc<SessionMetrics>,
    /// As it was when the stream began: a client that comes back begins anew.
    begun: Figures,
}

impl SessionEntry {
    /// One whose stream begins now.
    pub(crate) fn new(
        number: u64,
        client: String,
        mode: Mode,
        capture: &'static str,
        metrics: Arc<SessionMetrics>,
    ) -> Self {
        Self {
            begun: Figures::of(&metrics),
            number,
            client,
            mode,
            capture,
            metrics,
        }
    }
}

/// A session's figures at one moment.
#[derive(Clone)]
struct Figures {
    at: Instant,
    counters: CounterSnapshot,
    first_byte: HistogramSnapshot,
    last_byte: HistogramSnapshot,
    sound: HistogramSnapshot,
}

impl Figures {
    fn of(metrics: &SessionMetrics) -> Self {
        Self {
            at: Instant::now(),
            counters: metrics.counters.snapshot(),
            first_byte: metrics.capture_to_first_byte.snapshot(),
            last_byte: metrics.capture_to_last_byte.snapshot(),
            sound: metrics.capture_to_audio_packet.snapshot(),
        }
    }
}

/// The streaming sessions. Written when one begins or ends, never on the frame path.
#[derive(Default)]
pub struct Registry {
    entries: Mutex<Vec<SessionEntry>>,
    /// Numbers given so far.
    numbers: AtomicU64,
    /// Datagrams of strangers that led to no connection.
    turned_away: AtomicU64,
    /// What sessions have of the host, of all protocols together.
    taken: Mutex<Taken>,
    /// Of a host's, whom to call when something has gone.
    janitor: Option<Janitor>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Registry(..)")
    }
}

impl Registry {
    fn with_janitor() -> std::io::Result<Self> {
        Ok(Self {
            janitor: Some(Janitor::start()?),
            ..Self::default()
        })
    }

    /// A session, a stream of it or a connection has gone: its memory can be the system's again.
    pub(crate) fn note_gone(&self) {
        if let Some(janitor) = &self.janitor {
            janitor.call();
        }
    }

    /// A place for a session, of `places` that all protocols share, with as many threads for its
    /// encoder as it may have of `threads_wanted`. `None` if all are taken; one that is ending has
    /// its place until it has ended.
    pub(crate) fn take_place(self: &Arc<Self>, places: usize, threads_wanted: u8) -> Option<Place> {
        places::take(self, places, threads_wanted)
    }

    /// The next session's number, whatever protocol it speaks.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Relaxed) + 1
    }

    pub(crate) fn add(&self, entry: SessionEntry) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry);
    }

    /// A session's display has another mode.
    pub(crate) fn set_mode(&self, number: u64, mode: Mode) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in entries.iter_mut().filter(|it| it.number == number) {
            entry.mode = mode;
        }
    }

    pub(crate) fn remove(&self, number: u64) {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|entry| entry.number != number);
        self.note_gone();
    }

    pub(crate) fn note_turned_away(&self, datagrams: u64) {
        self.turned_away.store(datagrams, Relaxed);
    }

    fn list(&self) -> Vec<SessionEntry> {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// One line of figures over the time since the last one.
pub struct LiveFigures {
    registry: Arc<Registry>,
    last: Vec<(SessionEntry, Figures)>,
    /// What sessions came to that have ended.
    ended: Vec<String>,
    turned_away: u64,
}

impl LiveFigures {
    /// The line; sessions are separated by ` | `. A session that is new in it counts from the
    /// begin of its stream.
    pub fn line(&mut self) -> String {
        let mut parts = Vec::new();
        let mut seen = Vec::new();
        let entries = self.registry.list();
        for (before, _) in &self.last {
            if !entries.iter().any(|entry| entry.number == before.number) {
                self.ended.push(sum(before));
            }
        }
        for entry in entries {
            let now = Figures::of(&entry.metrics);
            let last = self
                .last
                .iter()
                .find(|(seen, last)| seen.number == entry.number && last.at >= entry.begun.at);
            let old = last.map_or(&entry.begun, |(_, last)| last);
            parts.push(part(&entry, &now, old));
            seen.push((entry, now));
        }
        self.last = seen;
        let mut line = match parts.is_empty() {
            true => "waiting for a client".to_owned(),
            false => parts.join(" | "),
        };
        let turned_away = self.registry.turned_away.load(Relaxed);
        if turned_away > self.turned_away {
            let datagrams = turned_away - self.turned_away;
            let _ = write!(line, "; {datagrams} datagrams of strangers turned away");
        }
        self.turned_away = turned_away;
        line
    }

    /// A line for each session that [`LiveFigures::line`] has found to have ended: what it came to
    /// in all its streams. What was not looked at while it streamed has none.
    pub fn take_ended(&mut self) -> Vec<String> {
        std::mem::take(&mut self.ended)
    }
}

/// What a session came to.
fn sum(entry: &SessionEntry) -> String {
    let counters = entry.metrics.counters.snapshot();
    let first = entry.metrics.capture_to_first_byte.snapshot();
    let last = entry.metrics.capture_to_last_byte.snapshot();
    let mut line = format!(
        "session {} of {} has ended: {} frames, {} IDR, {} skipped, captured to first byte p50 {} \
         p99 {} ms, to last p50 {} p99 {} ms, judder {} ms, {} datagrams, {} of parity",
        entry.number,
        entry.client,
        counters.encoded,
        counters.keyframes,
        counters.superseded,
        ms(&first, 0.5),
        ms(&first, 0.99),
        ms(&last, 0.5),
        ms(&last, 0.99),
        judder(&counters),
        counters.datagrams,
        counters.parity_datagrams,
    );
    tell_microphone(&mut line, &counters);
    line
}

/// What came of a client's microphone, if it said anything.
fn tell_microphone(line: &mut String, counters: &CounterSnapshot) {
    let (packets, dropped) = (counters.microphone_packets, counters.microphone_dropped);
    if packets + dropped > 0 {
        let _ = write!(
            line,
            "; microphone {packets} packets, {} concealed, {dropped} dropped, {} samples unheard",
            counters.microphone_concealed, counters.microphone_unheard,
        );
    }
}

/// A quantile in milliseconds.
fn ms(durations: &HistogramSnapshot, quantile: f64) -> String {
    let duration = durations.quantile(quantile);
    duration.map_or("-".to_owned(), |it| {
        format!("{:.2}", it.as_secs_f64() * 1e3)
    })
}

/// Judder in milliseconds.
fn judder(counters: &CounterSnapshot) -> String {
    let judder = counters.judder();
    judder.map_or("-".to_owned(), |it| {
        format!("{:.2}", it.as_secs_f64() * 1e3)
    })
}

/// A session's part of the line: what happened between `old` and `now`.
fn part(entry: &SessionEntry, now: &Figures, old: &Figures) -> String {
    let seconds = now.at.duration_since(old.at).as_secs_f64().max(1e-3);
    let counted = now.counters.since(&old.counters);
    let ms = |now: &HistogramSnapshot, old: &HistogramSnapshot, q: f64| {
        now.since(old)
            .quantile(q)
            .map_or("-".to_owned(), |d| format!("{:.1}", d.as_secs_f64() * 1e3))
    };
    let mut line = format!(
        "{} {}: {:.0} fps, judder {} ms, {:.1} Mbit/s, captured to first byte p50 {} ms, to last \
         p50 {} p99 {} ms, {} IDR, {} skipped, {} not sent",
        entry.client,
        entry.mode,
        counted.encoded as f64 / seconds,
        judder(&counted),
        counted.sent_bytes as f64 * 8e-6 / seconds,
        ms(&now.first_byte, &old.first_byte, 0.5),
        ms(&now.last_byte, &old.last_byte, 0.5),
        ms(&now.last_byte, &old.last_byte, 0.99),
        counted.keyframes,
        counted.superseded,
        counted.send_failures + counted.encode_failures + counted.protect_failures,
    );
    if counted.audio_packets > 0 {
        let _ = write!(
            line,
            "; sound {:.0} packets/s, {} of silence, made {} ms after, p99 {} ms",
            counted.audio_packets as f64 / seconds,
            counted.audio_silent,
            ms(&now.sound, &old.sound, 0.5),
            ms(&now.sound, &old.sound, 0.99),
        );
    }
    tell_microphone(&mut line, &counted);
    let path = entry.metrics.path.lock();
    if let Some(path) = &*path.unwrap_or_else(PoisonError::into_inner) {
        let _ = write!(line, "; {path}, {} repeated", counted.repeated);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(registry: &Arc<Registry>) -> LiveFigures {
        LiveFigures {
            registry: Arc::clone(registry),
            last: Vec::new(),
            ended: Vec::new(),
            turned_away: 0,
        }
    }

    /// What was counted before a client came back is in no line, and neither is the time that it
    /// was away.
    #[test]
    fn the_first_line_after_a_resume_counts_from_the_resume() {
        let registry = Arc::new(Registry::default());
        let mut figures = figures(&registry);
        let mode = Mode::new(1280, 720, 60_000).expect("a mode");
        let metrics = Arc::new(SessionMetrics::default());
        let entry = || SessionEntry::new(1, "den".into(), mode, "fake", Arc::clone(&metrics));
        let play = |packets: u64, took_ms: u64| {
            let counters = &metrics.counters;
            counters.audio_packets.fetch_add(packets, Relaxed);
            counters.audio_silent.fetch_add(packets, Relaxed);
            counters.keyframes.fetch_add(packets, Relaxed);
            (0..packets).for_each(|_| {
                let took = std::time::Duration::from_millis(took_ms);
                metrics.capture_to_audio_packet.record(took);
            });
        };
        play(900, 100);
        registry.add(entry());
        play(7, 1);
        let line = figures.line();
        assert!(
            line.contains(" 7 IDR") && line.contains(", 7 of silence"),
            "{line}"
        );
        assert!(line.contains("made 1.0 ms after, p99 1.0 ms"), "{line}");
        play(900, 100);
        // It leaves and comes back between two lines.
        registry.remove(1);
        registry.add(entry());
        play(5, 2);
        let line = figures.line();
        assert!(
            line.contains(" 5 IDR") && line.contains(", 5 of silence"),
            "{line}"
        );
        assert!(
            line.contains("made 2.1 ms after") || line.contains("made 2.0 ms after"),
            "{line}"
        );
        play(3, 1);
        assert!(figures.line().contains(" 3 IDR"));
        assert!(!figures.line().contains("sound"), "none came");
    }

    #[test]
    fn what_came_of_a_microphone_is_told_while_it_speaks_and_at_the_end() {
        let registry = Arc::new(Registry::default());
        let mut figures = figures(&registry);
        let mode = Mode::new(1280, 720, 60_000).expect("a mode");
        let metrics = Arc::new(SessionMetrics::default());
        registry.add(SessionEntry::new(
            1,
            "den".into(),
            mode,
            "fake",
            Arc::clone(&metrics),
        ));
        assert!(!figures.line().contains("microphone"), "it is silent");
        let counters = &metrics.counters;
        counters.microphone_packets.store(200, Relaxed);
        counters.microphone_dropped.store(4, Relaxed);
        let told = "; microphone 200 packets, 0 concealed, 4 dropped, 0 samples unheard";
        assert!(figures.line().contains(told));
        assert!(!figures.line().contains("microphone"), "nothing new came");
        registry.remove(1);
        figures.line();
        let ended = figures.take_ended();
        assert!(ended.iter().any(|it| it.contains(told)), "{ended:?}");
    }
}
