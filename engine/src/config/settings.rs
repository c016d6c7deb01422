//! Texts of settings from flags, environment and file, and typed access to them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use net::audio::Speakers;
use net::gamestream::video::BLOCKS_MAX;
use net::limits::{BITRATE_MAX, BITRATE_MIN, FEC_PERCENT_MAX};
use net::units::{BitsPerSecond, SliceCount};

use super::ConfigError;

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
    "clipboard",
    "clipboard-out",
    "clipboard-test",
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
    "host-speakers",
    "input-test",
    "max-sessions",
    "mic",
    "microphone",
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

    pub(super) fn parse<T>(
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

pub(super) fn config_file(name: &str) -> Option<PathBuf> {
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
