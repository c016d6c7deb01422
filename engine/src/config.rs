//! Configuration: flags, environment and file say the same things under the same names, and
//! become one immutable typed value.
//!
//! A setting `state-dir` is the flag `--state-dir`, the variable `PUNKTFUNK_STATE_DIR` and the
//! key `state-dir` of the file. The flag wins over the variable, the variable over the file. The
//! file is `--config FILE`, else `$XDG_CONFIG_HOME/punktfunk/config.toml`
//! (`~/.config/punktfunk/config.toml`) if it exists.

mod settings;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use net::limits::SESSIONS_MAX;
use net::units::{BitsPerSecond, Mode, SliceCount};

use crate::control::gamestream::{DEFAULT_BASE_PORT, GameStreamConfig, Ports};
use crate::host;

use settings::config_file;
pub use settings::{SETTINGS, Settings, parse_bitrate};

/// The native protocol's default port.
pub const DEFAULT_PORT: u16 = 9777;
/// What a host sends when neither side says otherwise.
pub const DEFAULT_BITRATE: BitsPerSecond = BitsPerSecond(20_000_000);
/// Most threads inside one encoder: what bounds them in practice is its slices.
pub const ENCODER_THREADS_MAX: u8 = 16;

/// The name that asks for no sound.
pub const AUDIO_OFF: &str = "off";

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A value cannot be read.
    #[error("{setting}: {value:?} is not valid: {reason}")]
    Value {
        /// The setting, as its source writes it.
        setting: String,
        /// What was given.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file cannot be read.
    #[error("the configuration file {path} cannot be read: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// The system's or the parser's answer, with line and column.
        reason: String,
    },
    /// The file names something that does not exist.
    #[error(
        "the configuration file {path} sets {key:?}, which is not a setting; settings are: {known}"
    )]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// The unknown key.
        key: String,
        /// All that exist.
        known: String,
    },
    /// A host cannot be both.
    #[error("--open serves anybody and --require-pairing only who is paired: leave one out")]
    Contradiction,
    /// No home directory to keep identities in.
    #[error("there is no place for the host's identity: set --state-dir or HOME")]
    NoStateDir,
}

/// A host's configuration.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who gets a session.
    pub admit: Admit,
    /// A pairing window is opened at the start.
    pub pairing: bool,
    /// Sessions at once.
    pub sessions_max: usize,
    /// Where identities are kept.
    pub state_dir: PathBuf,
    /// This mode instead of what clients ask for.
    pub mode: Option<Mode>,
    /// This many slices instead of what clients ask for.
    pub slices: Option<SliceCount>,
    /// This many blocks of error correction in a stock client's picture, as far as its slices
    /// allow, instead of what its path does.
    pub blocks: Option<u8>,
    /// This bitrate instead of what clients ask for.
    pub bitrate: Option<BitsPerSecond>,
    /// This FEC share instead of what clients ask for.
    pub fec_percent: Option<u8>,
    /// The only encoder to try.
    pub encoder: Option<String>,
    /// Threads inside an encoder, up to [`ENCODER_THREADS_MAX`].
    pub encoder_threads: u8,
    /// The only kind of display to try.
    pub desktop: Option<String>,
    /// The only source of sound to try, or [`AUDIO_OFF`].
    pub audio: Option<String>,
    /// The host's own speakers play every session's sound, too.
    pub host_speakers: bool,
    /// Clients with the right to it share the clipboard of their session's display.
    pub clipboard: bool,
    /// Clients with the right to it have a microphone in their session.
    pub microphone: bool,
    /// What runs on a session's display.
    pub app: App,
    /// Leave out every Nth video datagram, to see FEC work.
    pub video_drop: Option<NonZeroU32>,
    /// Who keeps departure times.
    pub pace: PaceBy,
    /// What clients see as this host's name.
    pub name: String,
    /// Serve stock GameStream clients (Moonlight) too.
    pub gamestream: Option<GameStreamConfig>,
}

/// Who gets a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// Paired clients, each with its rights.
    Paired,
    /// Whoever reaches the host, which listens on loopback only: the users of this machine.
    Machine,
    /// Whoever reaches the host: the operator said `--open`.
    Anybody,
}

/// Who keeps the pacer's departure times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PaceBy {
    /// What was measured to be better: the timer, until somebody has measured otherwise.
    #[default]
    Auto,
    /// The send thread, with a timer.
    Timer,
    /// The queue of the device (`SO_TXTIME`) where it keeps times; else the timer, with a warning.
    Txtime,
}

impl PaceBy {
    /// True if the kernel is to be asked.
    #[must_use]
    pub const fn wants_txtime(self) -> bool {
        match self {
            Self::Txtime => true,
            Self::Auto | Self::Timer => false,
        }
    }
}

impl FromStr for PaceBy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "timer" => Ok(Self::Timer),
            "txtime" => Ok(Self::Txtime),
            _ => Err("use auto, timer or txtime"),
        }
    }
}

/// What runs on a session's display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum App {
    /// The host's own test card.
    TestCard,
    /// Nothing.
    None,
    /// This command with these arguments.
    Command(Vec<String>),
}

impl App {
    /// What clients' rights call it: `testcard`, `none`, or the program's name without its way.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::TestCard => "testcard".to_owned(),
            Self::None => "none".to_owned(),
            Self::Command(words) => {
                let program = words.first().map(Path::new);
                let name = program.and_then(Path::file_name).unwrap_or_default();
                name.to_string_lossy().into_owned()
            }
        }
    }
}

impl HostConfig {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let bind = settings
            .value("bind")?
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let admit = settings.admit(bind)?;
        let port = settings.value("port")?.unwrap_or(DEFAULT_PORT);
        let sessions_max = settings.parse("max-sessions", |text| {
            let count = text.parse().ok().filter(|n| (1..=SESSIONS_MAX).contains(n));
            count.ok_or(format!("use a number from 1 to {SESSIONS_MAX}"))
        })?;
        let encoder_threads = settings.parse("encoder-threads", |text| {
            let count = text
                .parse()
                .ok()
                .filter(|n| (1..=ENCODER_THREADS_MAX).contains(n));
            count.ok_or(format!("use a number from 1 to {ENCODER_THREADS_MAX}"))
        })?;
        let app = settings.parse("app", parse_app)?;
        let name = settings.value("name")?.unwrap_or_else(machine_name);
        Ok(Self {
            gamestream: settings.gamestream(&name)?,
            listen: SocketAddr::new(bind, port),
            admit,
            pairing: settings.switch("pairing")?,
            sessions_max: sessions_max.unwrap_or(4),
            state_dir: settings.state_dir()?,
            mode: settings.value("mode")?,
            slices: settings.slices()?,
            blocks: settings.blocks()?,
            bitrate: settings.bitrate()?,
            fec_percent: settings.fec_percent()?,
            encoder: settings.value("encoder")?,
            encoder_threads: encoder_threads.unwrap_or_else(host::encoder_threads_default),
            desktop: settings.value("desktop")?,
            audio: settings.parse("audio", parse_audio)?,
            host_speakers: settings.switch("host-speakers")?,
            clipboard: settings.switch("clipboard")?,
            microphone: settings.switch("microphone")?,
            app: app.unwrap_or(App::TestCard),
            video_drop: settings.value("video-drop")?,
            pace: settings.value("pace")?.unwrap_or_default(),
            name,
        })
    }
}

impl Settings {
    /// Paired clients only, unless the operator asks for another thing; a host that nobody outside
    /// reaches also serves the users of this machine.
    fn admit(&self, bind: IpAddr) -> Result<Admit, ConfigError> {
        match (self.switch("open")?, self.switch("require-pairing")?) {
            (true, true) => Err(ConfigError::Contradiction),
            (true, false) => Ok(Admit::Anybody),
            (false, false) if bind.is_loopback() => Ok(Admit::Machine),
            (false, _) => Ok(Admit::Paired),
        }
    }

    /// What GameStream is served with, if it is wanted. Its clients are paired before they get a
    /// session, so it listens on every address unless told otherwise.
    fn gamestream(&self, name: &str) -> Result<Option<GameStreamConfig>, ConfigError> {
        let ports = self.parse("gamestream-port", |text| {
            let ports = text.parse().ok().and_then(Ports::new);
            ports.ok_or("use a number from 1029 to 65514; the ports lie around it".to_owned())
        })?;
        let ports = ports.or(Ports::new(DEFAULT_BASE_PORT));
        let config = GameStreamConfig {
            bind: self.value("gamestream-bind")?,
            ports: ports.expect("the default is valid"),
            name: name.to_owned(),
            apps: match self.value("apps")? {
                Some(path) => Some(path),
                None => config_file("apps.json"),
            },
        };
        Ok(self.switch("gamestream")?.then_some(config))
    }
}

/// This machine's name, for peers to show.
#[must_use]
pub fn machine_name() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    if name.is_empty() {
        "punktfunk".to_owned()
    } else {
        name
    }
}

/// A source of sound by its name, or [`AUDIO_OFF`].
fn parse_audio(text: &str) -> Result<String, String> {
    let candidates = platform::audio::candidates();
    let mut names: Vec<_> = candidates.iter().map(|it| it.name()).collect();
    names.push(AUDIO_OFF);
    if names.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(format!("use one of {}", names.join(", ")))
    }
}

/// `testcard`, `none`, or a command line; quotes hold words together as in a shell, and nothing
/// else of a shell is done.
pub(crate) fn parse_app(text: &str) -> Result<App, String> {
    match text {
        "testcard" => return Ok(App::TestCard),
        "none" => return Ok(App::None),
        _ => {}
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quote.is_some() {
        Err("a quote is not closed".to_owned())
    } else if words.is_empty() {
        Err("give a command, testcard or none".to_owned())
    } else {
        Ok(App::Command(words))
    }
}
