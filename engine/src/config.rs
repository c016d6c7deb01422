//! Configuration: flags, environment and file say the same things under the same names, and
//! become one immutable typed value.
//!
//! A setting `state-dir` is the flag `--state-dir`, the variable `PUNKTFUNK_STATE_DIR` and the
//! key `state-dir` of the file. The flag wins over the variable, the variable over the file. The
//! file is `--config FILE`, else `$XDG_CONFIG_HOME/punktfunk/config.toml`
//! (`~/.config/punktfunk/config.toml`) if it exists.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use net::audio::Speakers;
use net::gamestream::video::BLOCKS_MAX;
use net::limits::{BITRATE_MAX, BITRATE_MIN, FEC_PERCENT_MAX, SESSIONS_MAX};
use net::units::{BitsPerSecond, Mode, SliceCount};

use crate::control::gamestream::{DEFAULT_BASE_PORT, GameStreamConfig, Ports};

/// The native protocol's default port.
pub const DEFAULT_PORT: u16 = 9777;
/// What a host sends when neither side says otherwise.
pub const DEFAULT_BITRATE: BitsPerSecond = BitsPerSecond(20_000_000);

/// The name that asks for no sound.
pub const AUDIO_OFF: &str = "off";

/// Where a value came from; the start of every message about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Flag,
    Variable,
    File,
}

/// The name of a setting as its source writes it.
struct Named<'a> {
    source: Source,
    key: &'a str,
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            Source::Flag => write!(f, "--{}", self.key),
            Source::Variable => f.write_str(&variable(self.key)),
            Source::File => write!(f, "{} in the configuration file", self.key),
        }
    }
}

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

/// Every setting that flags, environment and file know.
pub const SETTINGS: &[&str] = &[
    "app",
    "apps",
    "audio",
    "audio-channels",
    "audio-out",
    "bind",
    "bitrate",
    "blocks",
    "cursor",
    "decoder",
    "desktop",
    "encoder",
    "encoder-threads",
    "fec",
    "gamestream",
    "gamestream-bind",
    "gamestream-port",
    "headless",
    "input-test",
    "max-sessions",
    "mode",
    "name",
    "open",
    "out",
    "pace",
    "pairing",
    "pin-host",
    "png",
    "port",
    "remode",
    "require-pairing",
    "seconds",
    "slices",
    "state-dir",
    "stats",
    "video-drop",
];

/// Texts of settings, by source. Typed access names the source in its errors.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    flags: BTreeMap<&'static str, String>,
    variables: BTreeMap<&'static str, String>,
    file: BTreeMap<&'static str, String>,
}

impl Settings {
    /// Gathers all sources. `flags` holds those that were given; `file` is `--config`, if given.
    ///
    /// # Errors
    /// [`ConfigError::File`] and [`ConfigError::Unknown`].
    pub fn gather(
        flags: impl IntoIterator<Item = (&'static str, Option<String>)>,
        file: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let flags = flags
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        let variables = SETTINGS
            .iter()
            .filter_map(|&key| Some((key, std::env::var(variable(key)).ok()?)))
            .collect();
        let file = match file {
            Some(path) => read_file(path)?,
            None => match default_file() {
                Some(path) if path.exists() => read_file(&path)?,
                _ => BTreeMap::new(),
            },
        };
        Ok(Self {
            flags,
            variables,
            file,
        })
    }

    /// Only these flags: for tests and for embedders.
    #[must_use]
    pub fn of(flags: &[(&'static str, &str)]) -> Self {
        let flags = flags
            .iter()
            .map(|&(key, value)| (key, value.to_owned()))
            .collect();
        Self {
            flags,
            variables: BTreeMap::new(),
            file: BTreeMap::new(),
        }
    }

    /// Sets what no source can: the caller's own choice wins over all of them.
    pub fn overrule(&mut self, key: &'static str, value: impl Into<String>) {
        self.flags.insert(key, value.into());
    }

    fn text(&self, key: &'static str) -> Option<(Source, &str)> {
        let layers = [
            (Source::Flag, &self.flags),
            (Source::Variable, &self.variables),
            (Source::File, &self.file),
        ];
        layers
            .into_iter()
            .find_map(|(source, layer)| Some((source, layer.get(key)?.as_str())))
    }

    fn parse<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let Some((source, value)) = self.text(key) else {
            return Ok(None);
        };
        parse(value).map(Some).map_err(|reason| ConfigError::Value {
            setting: Named { source, key }.to_string(),
            value: value.to_owned(),
            reason,
        })
    }

    /// A value of a type that reads itself.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn value<T: FromStr<Err: fmt::Display>>(
        &self,
        key: &'static str,
    ) -> Result<Option<T>, ConfigError> {
        self.parse(key, |text| {
            text.parse().map_err(|error: T::Err| error.to_string())
        })
    }

    /// A bitrate: bits a second with `k`, `M` or `G`, or a bare figure in kbit/s.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn bitrate(&self) -> Result<Option<BitsPerSecond>, ConfigError> {
        self.parse("bitrate", parse_bitrate)
    }

    /// A number of slices.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn slices(&self) -> Result<Option<SliceCount>, ConfigError> {
        self.parse("slices", |text| {
            text.parse()
                .ok()
                .and_then(SliceCount::new)
                .ok_or("use a number from 1 to 32".to_owned())
        })
    }

    /// Blocks of error correction that a stock client's picture is sent in.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn blocks(&self) -> Result<Option<u8>, ConfigError> {
        self.parse("blocks", |text| {
            let blocks = text.parse().ok();
            let blocks = blocks.filter(|it| (1..=BLOCKS_MAX).contains(it));
            blocks.ok_or(format!("use a number from 1 to {BLOCKS_MAX}"))
        })
    }

    /// Channels of sound.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn speakers(&self) -> Result<Option<Speakers>, ConfigError> {
        self.parse("audio-channels", |text| {
            let channels = text.parse().ok().and_then(Speakers::from_channels);
            channels.ok_or("use 2, 6 or 8".to_owned())
        })
    }

    /// The FEC share in percent.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn fec_percent(&self) -> Result<Option<u8>, ConfigError> {
        self.parse("fec", |text| {
            let percent = text
                .trim_end_matches('%')
                .parse()
                .ok()
                .filter(|&p: &u8| p <= FEC_PERCENT_MAX);
            percent.ok_or(format!("use a percentage from 0 to {FEC_PERCENT_MAX}"))
        })
    }

    /// A length of time in seconds, with a fraction if need be.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn seconds(&self) -> Result<Option<Duration>, ConfigError> {
        self.parse("seconds", |text| {
            let seconds = text
                .parse()
                .map_err(|_| "use a number of seconds".to_owned())?;
            Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
        })
    }

    /// True or false; false if nobody says.
    ///
    /// # Errors
    /// [`ConfigError::Value`].
    pub fn switch(&self, key: &'static str) -> Result<bool, ConfigError> {
        let value = self.parse(key, |text| match text {
            "true" | "1" | "yes" => Ok(true),
            "false" | "0" | "no" => Ok(false),
            _ => Err("use true or false".to_owned()),
        })?;
        Ok(value.unwrap_or(false))
    }

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

    /// `--state-dir`, else `$XDG_STATE_HOME/punktfunk`, else `~/.local/state/punktfunk`.
    ///
    /// # Errors
    /// [`ConfigError::NoStateDir`].
    pub fn state_dir(&self) -> Result<PathBuf, ConfigError> {
        if let Some(path) = self.value::<PathBuf>("state-dir")? {
            return Ok(path);
        }
        if let Some(path) = directory_variable("XDG_STATE_HOME") {
            return Ok(path.join("punktfunk"));
        }
        let home = directory_variable("HOME").ok_or(ConfigError::NoStateDir)?;
        Ok(home.join(".local/state/punktfunk"))
    }
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
    /// Threads inside an encoder.
    pub encoder_threads: u8,
    /// The only kind of display to try.
    pub desktop: Option<String>,
    /// The only source of sound to try, or [`AUDIO_OFF`].
    pub audio: Option<String>,
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
            let count = text.parse().ok().filter(|n| (1..=16).contains(n));
            count.ok_or("use a number from 1 to 16".to_owned())
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
            encoder_threads: encoder_threads.unwrap_or(1),
            desktop: settings.value("desktop")?,
            audio: settings.parse("audio", parse_audio)?,
            app: app.unwrap_or(App::TestCard),
            video_drop: settings.value("video-drop")?,
            pace: settings.value("pace")?.unwrap_or_default(),
            name,
        })
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

fn variable(key: &str) -> String {
    format!("PUNKTFUNK_{}", key.to_uppercase().replace('-', "_"))
}

fn directory_variable(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os(name)?);
    path.is_absolute().then_some(path)
}

fn default_file() -> Option<PathBuf> {
    config_file("config.toml")
}

fn config_file(name: &str) -> Option<PathBuf> {
    let base = directory_variable("XDG_CONFIG_HOME")
        .or_else(|| Some(directory_variable("HOME")?.join(".config")))?;
    Some(base.join("punktfunk").join(name))
}

fn read_file(path: &Path) -> Result<BTreeMap<&'static str, String>, ConfigError> {
    let error = |reason: String| ConfigError::File {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|e| error(e.to_string()))?;
    let table: toml::Table = text
        .parse()
        .map_err(|e: toml::de::Error| error(e.to_string()))?;
    let mut settings = BTreeMap::new();
    for (key, value) in table {
        let known = SETTINGS
            .iter()
            .find(|&&known| known == key.replace('_', "-"));
        let Some(&known) = known else {
            let known = SETTINGS.join(", ");
            return Err(ConfigError::Unknown {
                path: path.to_owned(),
                key,
                known,
            });
        };
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => {
                value.to_string()
            }
            _ => {
                return Err(error(format!(
                    "{key} must be a text, a number or true/false"
                )));
            }
        };
        settings.insert(known, value);
    }
    Ok(settings)
}

/// Reads a bitrate: bits a second with `k`, `M` or `G`, or a bare figure in kbit/s.
///
/// # Errors
/// What is wrong with it.
pub fn parse_bitrate(text: &str) -> Result<BitsPerSecond, String> {
    let (digits, unit) = match text.trim().char_indices().find(|(_, c)| c.is_alphabetic()) {
        Some((at, _)) => text.trim().split_at(at),
        None => (text.trim(), "k"),
    };
    let unit = match unit {
        "k" | "kbps" => 1e3,
        "M" | "Mbps" | "m" => 1e6,
        "G" | "Gbps" => 1e9,
        _ => return Err("units are k, M and G".to_owned()),
    };
    let figure: f64 = digits
        .trim()
        .parse()
        .map_err(|_| "use a figure such as 20M".to_owned())?;
    let bits = figure * unit;
    if (BITRATE_MIN as f64..=BITRATE_MAX as f64).contains(&bits) {
        Ok(BitsPerSecond(bits as u64))
    } else {
        Err(format!(
            "use {} to {} kbit/s",
            BITRATE_MIN / 1000,
            BITRATE_MAX / 1000
        ))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn host(flags: &[(&'static str, &str)]) -> Result<HostConfig, ConfigError> {
        let mut all = vec![("state-dir", "/nowhere")];
        all.extend_from_slice(flags);
        HostConfig::from_settings(&Settings::of(&all))
    }

    #[test]
    fn defaults_listen_on_loopback_only() {
        let config = host(&[]).expect("defaults are valid");
        assert_eq!(config.listen, "127.0.0.1:9777".parse().expect("address"));
        assert_eq!(config.app, App::TestCard);
    }

    #[test]
    fn beyond_loopback_only_the_paired_are_served_unless_the_operator_says_so() {
        let admit = |flags: &[(&'static str, &str)]| host(flags).map(|config| config.admit);
        assert!(matches!(admit(&[]), Ok(Admit::Machine)));
        assert!(matches!(admit(&[("bind", "::1")]), Ok(Admit::Machine)));
        assert!(matches!(admit(&[("bind", "0.0.0.0")]), Ok(Admit::Paired)));
        assert!(matches!(admit(&[("bind", "::")]), Ok(Admit::Paired)));
        let open = ("open", "true");
        let required = ("require-pairing", "true");
        assert!(matches!(admit(&[("bind", "::"), open]), Ok(Admit::Anybody)));
        assert!(matches!(admit(&[required]), Ok(Admit::Paired)));
        assert!(matches!(
            admit(&[open, required]),
            Err(ConfigError::Contradiction)
        ));
    }

    #[test]
    fn applications_have_names() {
        let name = |text| parse_app(text).map(|app| app.name());
        assert_eq!(name("testcard").as_deref(), Ok("testcard"));
        assert_eq!(name("none").as_deref(), Ok("none"));
        assert_eq!(name("/usr/bin/foot -e top").as_deref(), Ok("foot"));
    }

    #[test]
    fn a_bad_value_names_its_flag() {
        let error = host(&[("mode", "0x0@60")])
            .expect_err("no such mode")
            .to_string();
        assert!(
            error.starts_with("--mode: \"0x0@60\" is not valid: "),
            "{error}"
        );
    }

    #[test]
    fn the_kernel_keeps_departure_times_only_where_that_is_asked_for() {
        let pace = |text| host(&[("pace", text)]).map(|config| config.pace.wants_txtime());
        assert!(matches!(pace("auto"), Ok(false)));
        assert!(matches!(pace("timer"), Ok(false)));
        assert!(matches!(pace("txtime"), Ok(true)));
        assert!(matches!(pace("fq"), Err(ConfigError::Value { .. })));
        assert_eq!(host(&[]).expect("defaults are valid").pace, PaceBy::Auto);
    }

    #[test]
    fn flags_win_over_the_file() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("config.toml");
        std::fs::write(&path, "port = 1234\nslices = 4\nstate_dir = \"/s\"\n").expect("write");
        let flags = [("port", Some("5678".to_owned())), ("slices", None)];
        let settings = Settings::gather(flags, Some(&path)).expect("valid");
        let config = HostConfig::from_settings(&settings).expect("valid");
        assert_eq!(config.listen.port(), 5678);
        assert_eq!(config.slices.map(SliceCount::get), Some(4));
        assert_eq!(config.state_dir, Path::new("/s"));
    }

    #[test]
    fn gamestream_is_opt_in_and_listens_around_its_base() {
        assert!(host(&[]).expect("defaults are valid").gamestream.is_none());
        let config = host(&[("gamestream", "true"), ("gamestream-port", "50000")]);
        let config = config.expect("valid").gamestream.expect("asked for");
        assert_eq!(
            (config.ports.https(), config.ports.rtsp()),
            (49_995, 50_021)
        );
        assert_eq!(config.bind, None);
        assert!(host(&[("gamestream-port", "80")]).is_err());
        assert!(host(&[("gamestream-port", "65530")]).is_err());
    }

    #[test]
    fn an_unknown_key_in_the_file_lists_the_known_ones() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("config.toml");
        std::fs::write(&path, "prot = 1234\n").expect("write");
        let Err(error) = Settings::gather([], Some(&path)) else {
            panic!("accepted")
        };
        let error = error.to_string();
        assert!(
            error.contains("\"prot\"") && error.contains("port"),
            "{error}"
        );
    }

    #[test]
    fn bitrates_have_units() {
        assert_eq!(parse_bitrate("20M"), Ok(BitsPerSecond(20_000_000)));
        assert_eq!(parse_bitrate("2.5 M"), Ok(BitsPerSecond(2_500_000)));
        assert_eq!(parse_bitrate("8000"), Ok(BitsPerSecond(8_000_000)));
        assert!(parse_bitrate("1").is_err());
        assert!(parse_bitrate("20X").is_err());
    }

    #[test]
    fn applications_are_split_into_words() {
        let words = |text| match parse_app(text) {
            Ok(App::Command(words)) => words,
            other => panic!("{other:?}"),
        };
        assert_eq!(words("foot -e 'top -d 1'"), ["foot", "-e", "top -d 1"]);
        assert_eq!(words("a \"\" b"), ["a", "", "b"]);
        assert!(parse_app("a 'b").is_err());
        assert!(parse_app("  ").is_err());
    }
}
