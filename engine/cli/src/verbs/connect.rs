//! `punktfunk connect`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use argh::FromArgs;
use bench::report::Report;
use bench::run::from_outcome;
use engine::client::{
    ClientError, ClipboardChoice, DecoderChoice, MicrophoneChoice, Outcome, Outputs, Viewer, Voice,
    VoiceError,
};
use engine::config::{DEFAULT_PORT, Settings, machine_name};
use engine::trust::{Pinned, Side, Store};
use net::client::{ConnectError, ConnectOptions, ReceiveSnapshot, Trust};
use net::identity::Fingerprint;
use net::limits::DATAGRAM_BYTES_MAX;
use net::native::{AeadSet, CodecSet, Features, FecCodes, Hello, PROTOCOL_VERSION, RequestedMode};
use net::units::{BitsPerSecond, Mode, SliceCount};

use crate::exit::{Failure, Kind};
use crate::output::say;
use crate::signals::Interrupt;

use super::input_test;
use super::remode::{self, Plan};

/// Show another machine's desktop.
#[derive(FromArgs)]
#[argh(subcommand, name = "connect")]
pub struct Connect {
    /// the host: a name or address, with :PORT if it is not 9777
    #[argh(positional)]
    host: String,
    /// open no window: decode, record and measure only (the only way there is so far)
    #[argh(switch)]
    headless: bool,
    /// display wanted, WIDTHxHEIGHT@HZ (default: 1280x720@60)
    #[argh(option)]
    mode: Option<String>,
    /// bitrate wanted, such as 20M or 8000k (default: the host's choice)
    #[argh(option)]
    bitrate: Option<String>,
    /// slices a picture wanted, 1 to 32 (default: the host's choice)
    #[argh(option)]
    slices: Option<String>,
    /// parity in percent of the data (default: what the loss needs)
    #[argh(option)]
    fec: Option<String>,
    /// the only decoder to try: libavcodec or openh264
    #[argh(option)]
    decoder: Option<String>,
    /// end after so many seconds (default: at Ctrl-C)
    #[argh(option)]
    seconds: Option<String>,
    /// ask for other modes while it streams: MODE@TIME, such as 1280x720@60@3s,1920x1080@60@6s
    #[argh(option)]
    remode: Option<String>,
    /// type a line and move the pointer on the host's desktop
    #[argh(switch)]
    input_test: bool,
    /// write the H.264 stream to this file
    #[argh(option)]
    out: Option<String>,
    /// write the last picture to this file, the pointer drawn on it
    #[argh(option)]
    png: Option<String>,
    /// on: be told of the pointer and draw it; off: have the host paint it into the pictures
    /// (default: on, but off with --out, whose pictures would lack it)
    #[argh(option)]
    cursor: Option<String>,
    /// ask for the desktop's sound and write what was heard to this file (WAVE)
    #[argh(option)]
    audio_out: Option<String>,
    /// channels of the sound: 2, 6 or 8 (default: 2)
    #[argh(option)]
    audio_channels: Option<String>,
    /// share this desktop's clipboard with the host's, text only; the host must allow it
    #[argh(switch)]
    clipboard: bool,
    /// ask for the host's clipboard and write the newest text that is copied there to this file
    #[argh(option)]
    clipboard_out: Option<String>,
    /// put this text on the clipboard of the host's desktop
    #[argh(option)]
    clipboard_test: Option<String>,
    /// speak into a microphone on the host's desktop: default (this machine's microphone, by
    /// PipeWire), the name of a source of PipeWire's, a file NAME.wav (16 bits, 48 kHz), or tone
    #[argh(option)]
    mic: Option<String>,
    /// write statistics of every stage to this file
    #[argh(option)]
    stats: Option<String>,
    /// connect only to the host with this fingerprint, and remember it
    #[argh(option)]
    pin_host: Option<String>,
    /// directory of this client's identity and known hosts (default: ~/.local/state/punktfunk)
    #[argh(option)]
    state_dir: Option<String>,
    /// configuration file (default: ~/.config/punktfunk/config.toml, if it is there)
    #[argh(option)]
    config: Option<PathBuf>,
}

impl Connect {
    pub fn run(self) -> Result<(), Failure> {
        let (name, file) = (self.host.clone(), self.config.clone());
        let settings = Settings::gather(self.settings(), file.as_deref())?;
        if !settings.switch("headless")? {
            return Err(Failure::usage(
                "this version has no window yet: add --headless, with --png, --out or --stats",
            ));
        }
        let seconds = settings.seconds()?;
        let plan: Plan = settings.value("remode")?.unwrap_or_default();
        let stats = settings.value::<PathBuf>("stats")?;
        let outputs = Outputs {
            h264: settings.value("out")?,
            png: settings.value("png")?,
            wave: settings.value("audio-out")?,
        };
        let clipboard = clipboard(&settings)?;
        let choice = settings.value::<MicrophoneChoice>("mic")?;
        let voice = choice.as_ref().map(Voice::open).transpose();
        let voice = voice.map_err(|error| Failure::new(voiceless(&error), error))?;
        let host = resolve(&name)?;
        let store = Store::open(&settings.state_dir()?)?;
        let options = ConnectOptions {
            host,
            identity: store.identity(Side::Client)?,
            trust: trust(&settings, host, &store)?,
            hello: hello(&settings)?,
        };
        let decoder = settings.value::<String>("decoder")?;
        let decoder = DecoderChoice::make(decoder.as_deref()).map_err(failure)?;
        let mut viewer = Viewer::connect(options, decoder, outputs, None).map_err(failure)?;
        // Not before: until there is a session, Ctrl-C simply ends the wait for one.
        let interrupt = Interrupt::install()?;
        store.pin(&host.to_string(), viewer.fingerprint())?;
        share_clipboard(&mut viewer, clipboard)?;
        speak(&mut viewer, voice)?;
        let input_test = settings.switch("input-test")?;
        let outcome = watch(viewer, &interrupt, seconds, input_test, plan)?;
        conclude(&outcome, stats.as_deref())
    }

    fn settings(self) -> [(&'static str, Option<String>); 21] {
        [
            ("audio-channels", self.audio_channels),
            ("audio-out", self.audio_out),
            ("bitrate", self.bitrate),
            ("clipboard", self.clipboard.then(|| "true".to_owned())),
            ("clipboard-out", self.clipboard_out),
            ("clipboard-test", self.clipboard_test),
            ("cursor", self.cursor),
            ("decoder", self.decoder),
            ("fec", self.fec),
            ("headless", self.headless.then(|| "true".to_owned())),
            ("input-test", self.input_test.then(|| "true".to_owned())),
            ("mic", self.mic),
            ("mode", self.mode),
            ("out", self.out),
            ("pin-host", self.pin_host),
            ("png", self.png),
            ("remode", self.remode),
            ("seconds", self.seconds),
            ("slices", self.slices),
            ("state-dir", self.state_dir),
            ("stats", self.stats),
        ]
    }
}

/// A fingerprint that was given, else what is pinned, else first use on loopback only.
fn trust(settings: &Settings, host: SocketAddr, store: &Store) -> Result<Trust, Failure> {
    if let Some(fingerprint) = settings.value::<Fingerprint>("pin-host")? {
        return Ok(Trust::Pinned(fingerprint));
    }
    Ok(match store.pinned(&host.to_string())? {
        Pinned::Known(fingerprint) => Trust::Pinned(fingerprint),
        Pinned::Unknown if host.ip().is_loopback() => Trust::FirstUse,
        Pinned::Unknown => Trust::Ask,
    })
}

fn conclude(outcome: &Outcome, stats: Option<&Path>) -> Result<(), Failure> {
    let report: Report = from_outcome(outcome);
    say(bench::report::table(&report));
    if let Some(path) = stats {
        std::fs::write(path, report.json()).map_err(|error| {
            Failure::new(
                Kind::Output,
                format!("{} cannot be written: {error}", path.display()),
            )
        })?;
    }
    if let Some(sound) = &outcome.sound {
        let received = &outcome.received;
        say(format_args!(
            "sound: {} packets, {} repaired by copies, {} concealed, {} left out, {} overrun, {} \
             refused; {:.1} ms from the application to the decoder",
            sound.packets,
            received.audio_repaired,
            sound.concealed,
            received.audio_skipped,
            received.audio_overrun,
            sound.refused,
            received.audio_latency_us as f64 * 1e-3,
        ));
    }
    if let Some(spoken) = &outcome.spoken {
        say(format_args!(
            "microphone: {} packets, {} refused, {} samples not taken in time",
            spoken.packets, spoken.refused, spoken.dropped,
        ));
    }
    if let Some(texts) = outcome.copied {
        say(format_args!("clipboard: {texts} texts from the host"));
    }
    if outcome.welcome.features.contains(Features::CURSOR) {
        let received = &outcome.received;
        say(format_args!(
            "cursor: {} changes, {} repaired by the stream, {} late, {} shapes",
            received.cursor_states,
            received.cursor_repaired,
            received.cursor_stale,
            received.cursor_shapes,
        ));
    }
    remode::conclude(outcome);
    match &outcome.ended {
        Some(reason) => Err(Failure::new(
            Kind::Refused,
            format!("the session ended: {reason}"),
        )),
        None => Ok(()),
    }
}

/// Says so where the host does not want to.
fn share_clipboard(viewer: &mut Viewer, choice: ClipboardChoice) -> Result<(), Failure> {
    let wanted = choice.features();
    if !viewer.welcome().features.contains(wanted) {
        say(
            "the host shares no clipboard: it is started with --clipboard, and a paired client \
             needs the right to it (punktfunk clients NAME --rights view,input,audio,clipboard)",
        );
    }
    viewer.share_clipboard(choice).map_err(failure)
}

/// Whether the command line or the machine is at fault where there is nothing to be said.
const fn voiceless(error: &VoiceError) -> Kind {
    match error {
        VoiceError::Record(_) => Kind::System,
        VoiceError::File { .. } | VoiceError::Kind { .. } => Kind::Usage,
    }
}

/// Says so where the host does not listen.
fn speak(viewer: &mut Viewer, voice: Option<Voice>) -> Result<(), Failure> {
    let Some(voice) = voice else { return Ok(()) };
    if !viewer.welcome().features.contains(Features::MICROPHONE) {
        say(
            "the host takes no microphone: it is started with --microphone, and a paired client \
             needs the right to it (punktfunk clients NAME --rights view,input,audio,microphone)",
        );
    }
    viewer.speak(voice).map_err(failure)
}

/// Prints a line a second until time is up, the user has enough or the host ends it.
fn watch(
    mut viewer: Viewer,
    interrupt: &Interrupt,
    seconds: Option<Duration>,
    input_test: bool,
    mut plan: Plan,
) -> Result<Outcome, Failure> {
    let welcome = viewer.welcome();
    say(format_args!(
        "connected to {}: {} at {}, {} slices by {}, {}",
        welcome.host_name,
        welcome.mode,
        welcome.bitrate,
        welcome.slices.get(),
        welcome.encoder_name,
        match welcome.fec_percent {
            Some(percent) => format!("{percent} % parity"),
            None => "parity as the loss needs it".to_owned(),
        },
    ));
    // More seconds than the clock has are as good as no limit.
    let until = seconds.and_then(|seconds| Instant::now().checked_add(seconds));
    if input_test && !input_test::run(&mut viewer, || interrupt.is_asked()) {
        return viewer.finish().map_err(failure);
    }
    let mut before = viewer.received();
    let begun = Instant::now();
    loop {
        let left = until.map_or(Duration::MAX, |at| {
            at.saturating_duration_since(Instant::now())
        });
        let turn = left.min(Duration::from_secs(1));
        if turn.is_zero() || !run_for(&mut viewer, turn, &mut plan, begun, interrupt) {
            break;
        }
        let now = viewer.received();
        say(live_line(&before, &now, turn));
        before = now;
    }
    viewer.finish().map_err(failure)
}

/// Lets the session run for `turn` and asks for the modes that are planned in it. False if it has
/// ended.
fn run_for(
    viewer: &mut Viewer,
    turn: Duration,
    plan: &mut Plan,
    begun: Instant,
    interrupt: &Interrupt,
) -> bool {
    let until = Instant::now() + turn;
    loop {
        plan.advance(viewer, begun.elapsed());
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        let next = plan.due(begun.elapsed()).map_or(left, |due| due.min(left));
        if !viewer.run_for(next, || interrupt.is_asked()) {
            return false;
        }
    }
}

fn live_line(before: &ReceiveSnapshot, now: &ReceiveSnapshot, over: Duration) -> String {
    let seconds = over.as_secs_f64().max(1e-3);
    format!(
        "{:.0} fps, {:.1} Mbit/s, {} lost, {} hidden, {} overrun, {} shards repaired, {} times \
         asked again, {} repairs asked for, {} of an IDR, round trip {:.1} ms, host's clock known \
         to {:.2} ms",
        (now.frames - before.frames) as f64 / seconds,
        (now.bytes - before.bytes) as f64 * 8e-6 / seconds,
        now.frames_lost - before.frames_lost,
        now.frames_hidden - before.frames_hidden,
        now.frames_overrun - before.frames_overrun,
        now.shards_repaired - before.shards_repaired,
        now.rounds_asked - before.rounds_asked,
        now.repair_requests - before.repair_requests,
        now.keyframe_requests - before.keyframe_requests,
        now.round_trip_us as f64 * 1e-3,
        now.clock_uncertainty_us as f64 * 1e-3,
    )
}

fn hello(settings: &Settings) -> Result<Hello, Failure> {
    let default = Mode::new(1280, 720, 60_000).expect("720p60 is within the limits");
    Ok(Hello {
        version: PROTOCOL_VERSION,
        mode: RequestedMode::from(settings.value("mode")?.unwrap_or(default)),
        codecs: CodecSet::H264,
        fec_codes: FecCodes::ALL,
        aeads: AeadSet::ALL,
        required: Features::NONE,
        optional: Features::FRAME_TIMES
            .union(sound(settings)?)
            .union(clipboard(settings)?.features())
            .union(microphone(settings)?)
            .union(cursor(settings)?),
        slices: settings.slices()?.map_or(0, SliceCount::get),
        bitrate: settings.bitrate()?.unwrap_or(BitsPerSecond(0)),
        fec_percent: settings.fec_percent()?,
        datagram_bytes_max: DATAGRAM_BYTES_MAX as u16,
        name: machine_name(),
    })
}

/// None, unless somebody speaks.
fn microphone(settings: &Settings) -> Result<Features, Failure> {
    Ok(match settings.value::<MicrophoneChoice>("mic")? {
        Some(_) => Features::MICROPHONE,
        None => Features::NONE,
    })
}

/// The clipboard to share: none, unless somebody asks for it.
fn clipboard(settings: &Settings) -> Result<ClipboardChoice, Failure> {
    Ok(ClipboardChoice {
        desktop: settings.switch("clipboard")?,
        out: settings.value("clipboard-out")?,
        text: settings.value("clipboard-test")?,
    })
}

/// The sound to ask for: none, unless somebody listens.
fn sound(settings: &Settings) -> Result<Features, Failure> {
    let speakers = settings.speakers()?.unwrap_or_default();
    Ok(match settings.value::<PathBuf>("audio-out")? {
        Some(_) => Features::sound(speakers),
        None => Features::NONE,
    })
}

/// Whether to draw the pointer: nobody can on what the host's stream is written to.
fn cursor(settings: &Settings) -> Result<Features, Failure> {
    let default = if settings.value::<PathBuf>("out")?.is_some() {
        Cursor::Off
    } else {
        Cursor::On
    };
    Ok(match settings.value("cursor")?.unwrap_or(default) {
        Cursor::On => Features::CURSOR,
        Cursor::Off => Features::NONE,
    })
}

/// `--cursor`.
enum Cursor {
    On,
    Off,
}

impl std::str::FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err("use on or off"),
        }
    }
}

/// The first address of a name, with the default port if it has none.
pub(super) fn resolve(host: &str) -> Result<SocketAddr, Failure> {
    net::client::resolve(host, DEFAULT_PORT).map_err(|error| {
        Failure::new(
            Kind::Unreachable,
            format!("{host} is not a host that can be found: {error}"),
        )
    })
}

fn failure(error: ClientError) -> Failure {
    let kind = match &error {
        ClientError::Connect(ConnectError::Impostor { .. } | ConnectError::Unknown { .. }) => {
            Kind::Trust
        }
        ClientError::Connect(ConnectError::Refused { .. }) => Kind::Refused,
        ClientError::Connect(ConnectError::Unreachable { .. }) => Kind::Unreachable,
        ClientError::Connect(ConnectError::System(_) | ConnectError::Quic(_))
        | ClientError::Thread(_)
        | ClientError::Record(_)
        | ClientError::Decode(_) => Kind::System,
        ClientError::NoDecoder { .. } | ClientError::Decoder(_) | ClientError::Opus(_) => {
            Kind::Codec
        }
        ClientError::Output { .. } => Kind::Output,
    };
    Failure::new(kind, error)
}
