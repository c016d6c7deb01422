//! Applications that a client can choose: `apps.json`, watched for changes.
//!
//! ```json
//! { "apps": [ {
//!   "id": 10, "name": "Steam", "image": "steam.png", "compositor": "private-sway",
//!   "command": "steam -bigpicture", "environment": { "LANG": "C.UTF-8" },
//!   "prep": [ { "do": "systemctl --user stop mpd", "undo": "systemctl --user start mpd" } ]
//! } ] }
//! ```
//!
//! Only `id` and `name` must be there. `command` is what `--app` takes: a command line, `testcard`
//! or `none`, which is the desktop alone. `compositor` is what `--desktop` takes; without it the
//! application gets the host's kind of display. Paths of images are relative to the file.
//!
//! `prep` runs before the display is made: each `do` to its end, in order. One that fails, or all
//! together taking longer than [`prep::PREP_TIMEOUT`], is a launch that fails. After application
//! and display have ended, each `undo` whose entry was done runs, last first, also where the host
//! was killed. No shell reads these lines; who wants one writes `sh -c '…'`. They and the
//! application get `environment` and the launch itself in variables that scripts for Sunshine know
//! ([`prep::launch_environment`]).
//!
//! Where there is no file, there are the entries Desktop and Test card. A file that cannot be read
//! changes nothing: the applications of before stay, and the log names line and field.

mod image;
mod locate;
pub mod prep;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use net::gamestream::nvhttp::AppId;
use serde_json::{Map, Value};

use crate::config;
use locate::Step;
use prep::PREP_MAX;

/// Applications in a file.
pub const APPS_MAX: usize = 256;
/// Length of the file, bytes: 4 KB for each application.
pub const FILE_BYTES_MAX: u64 = APPS_MAX as u64 * 4096;
/// Length of an image, bytes: a photograph of box art's size as PNG has 1 MB.
pub const IMAGE_BYTES_MAX: u64 = 4 << 20;
/// Longest name, characters.
pub const NAME_CHARS_MAX: usize = 64;
/// What every PNG begins with (RFC 2083 section 3.1).
const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// An application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// Its number, which clients remember.
    pub id: AppId,
    /// Its name.
    pub name: String,
    /// Its picture, PNG.
    pub image: Option<PathBuf>,
    /// The only kind of display to try for it.
    pub compositor: Option<String>,
    /// What runs on the display.
    pub run: config::App,
    /// Variables that it gets beside the session's own.
    pub environment: BTreeMap<String, String>,
    /// Before and after, in this order and in reverse.
    pub prep: Vec<Prep>,
}

/// A command before the application starts, and one after it has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prep {
    /// Before; if it fails the application is not started.
    pub before: Option<Vec<String>>,
    /// After, if `before` was run.
    pub undo: Option<Vec<String>>,
}

/// The file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppsError {
    /// The system's answer.
    #[error("{path} cannot be read: {reason}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// The system's answer.
        reason: String,
    },
    /// It is not JSON.
    #[error("{path} is not JSON: {reason}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// The parser's answer, with line and column.
        reason: String,
    },
    /// A field is wrong.
    #[error("{path}, line {line}: {field}: {reason}")]
    Field {
        /// Which file.
        path: PathBuf,
        /// Where in it, from 1.
        line: usize,
        /// Which field, `apps[2].command`.
        field: String,
        /// What it should be.
        reason: String,
    },
}

/// The file, and what it held when it could be read last.
#[derive(Debug)]
pub struct Apps {
    path: Option<PathBuf>,
    seen: Seen,
    apps: Arc<[App]>,
}

/// What tells that a file has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    NotYet,
    Nothing,
    File {
        mtime_ns: i128,
        bytes: u64,
        inode: u64,
    },
    Error(ErrorKind),
}

impl Apps {
    /// Those of a file, which need not be there; the default ones without a file.
    #[must_use]
    pub fn open(path: Option<PathBuf>) -> Self {
        let mut apps = Self {
            path,
            seen: Seen::NotYet,
            apps: default_apps(),
        };
        if let Err(error) = apps.refresh() {
            log::warn!("{error}; until then there are the applications Desktop and Test card");
        }
        apps
    }

    /// Looks whether the file has changed, and reads it if so. True if there are other
    /// applications now.
    ///
    /// # Errors
    /// [`AppsError`], once for each change; the applications of before stay.
    pub fn refresh(&mut self) -> Result<bool, AppsError> {
        let Some(path) = &self.path else {
            return Ok(false);
        };
        let seen = look_at(path);
        if seen == self.seen {
            return Ok(false);
        }
        self.seen = seen.clone();
        let apps = match seen {
            Seen::Nothing => default_apps(),
            Seen::File { .. } => read(path)?.into(),
            Seen::NotYet | Seen::Error(_) => {
                return Err(AppsError::Io {
                    path: path.clone(),
                    reason: format!("{seen:?}"),
                });
            }
        };
        let changed = apps != self.apps;
        self.apps = apps;
        Ok(changed)
    }

    /// All of them, in the file's order.
    #[must_use]
    pub fn list(&self) -> &[App] {
        &self.apps
    }

    /// The one with this number.
    #[must_use]
    pub fn find(&self, id: AppId) -> Option<&App> {
        self.apps.iter().find(|app| app.id == id)
    }
}

impl App {
    /// Its picture, PNG: its own, or one made for it.
    #[must_use]
    pub fn picture(&self) -> Vec<u8> {
        let own = self.image.as_deref().map(|path| (path, read_image(path)));
        match own {
            Some((_, Ok(png))) => png,
            Some((path, Err(reason))) => {
                log::warn!("the image {} of {}: {reason}", path.display(), self.name);
                image::default_image(self.id)
            }
            None => image::default_image(self.id),
        }
    }

    fn plain(id: u32, name: &str, run: config::App) -> Self {
        Self {
            id: AppId::new(id).expect("from 1 on"),
            name: name.to_owned(),
            image: None,
            compositor: None,
            run,
            environment: BTreeMap::new(),
            prep: Vec::new(),
        }
    }
}

fn default_apps() -> Arc<[App]> {
    Arc::new([
        App::plain(1, "Desktop", config::App::None),
        App::plain(2, "Test card", config::App::TestCard),
    ])
}

fn look_at(path: &Path) -> Seen {
    match fs::metadata(path) {
        Ok(found) => Seen::File {
            mtime_ns: i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec()),
            bytes: found.len(),
            inode: found.ino(),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => Seen::Nothing,
        Err(error) => Seen::Error(error.kind()),
    }
}

fn read(path: &Path) -> Result<Vec<App>, AppsError> {
    let io = |reason: String| AppsError::Io {
        path: path.to_owned(),
        reason,
    };
    let text = read_bounded(path, FILE_BYTES_MAX).map_err(io)?;
    let text = String::from_utf8(text).map_err(|_| io("it is not UTF-8".to_owned()))?;
    parse(path, &text)
}

fn read_bounded(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    // A FIFO or a device would keep us waiting.
    if !file.metadata().is_ok_and(|found| found.is_file()) {
        return Err("it is not a regular file".to_owned());
    }
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("it is longer than {bytes_max} bytes"));
    }
    Ok(bytes)
}

fn read_image(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = read_bounded(path, IMAGE_BYTES_MAX)?;
    if bytes.starts_with(PNG_SIGNATURE) {
        Ok(bytes)
    } else {
        Err("it is not a PNG".to_owned())
    }
}

/// Where a field stands, and what is wrong with it.
struct Wrong {
    at: Vec<Step>,
    reason: String,
}

impl Wrong {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            at: Vec::new(),
            reason: reason.into(),
        }
    }

    /// Inside of this.
    fn under(mut self, step: impl Into<Step>) -> Self {
        self.at.insert(0, step.into());
        self
    }
}

fn parse(path: &Path, text: &str) -> Result<Vec<App>, AppsError> {
    let value: Value = serde_json::from_str(text).map_err(|error| AppsError::Syntax {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    let directory = path.parent().unwrap_or(Path::new("."));
    parse_file(&value, directory).map_err(|wrong| AppsError::Field {
        path: path.to_owned(),
        line: locate::line(text, &wrong.at),
        field: locate::name(&wrong.at),
        reason: wrong.reason,
    })
}

fn parse_file(value: &Value, directory: &Path) -> Result<Vec<App>, Wrong> {
    let fields = object(value, &["apps"])?;
    let entries = fields.get("apps").ok_or(Wrong::new("apps is missing"))?;
    let Value::Array(entries) = entries else {
        return Err(Wrong::new("it is a list of applications").under("apps"));
    };
    if entries.len() > APPS_MAX {
        return Err(Wrong::new(format!("there are more than {APPS_MAX}")).under("apps"));
    }
    let mut apps: Vec<App> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let here = |wrong: Wrong| wrong.under(index).under("apps");
        let app = parse_app(entry, directory).map_err(here)?;
        if let Some(other) = apps.iter().find(|other| other.id == app.id) {
            let reason = format!("{} has this number already", other.name);
            return Err(here(Wrong::new(reason).under("id")));
        }
        apps.push(app);
    }
    Ok(apps)
}

fn parse_app(value: &Value, directory: &Path) -> Result<App, Wrong> {
    let known = [
        "id",
        "name",
        "image",
        "compositor",
        "command",
        "environment",
        "prep",
    ];
    let fields = object(value, &known)?;
    let id = fields.get("id").ok_or(Wrong::new("id is missing"))?;
    let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
    let id = id.and_then(AppId::new);
    let id = id.ok_or(Wrong::new("it is a number from 1 to 2147483647").under("id"))?;
    let name = text(fields, "name")?.ok_or(Wrong::new("name is missing"))?;
    if name.trim().is_empty() || name.chars().count() > NAME_CHARS_MAX {
        let reason = format!("it is 1 to {NAME_CHARS_MAX} characters");
        return Err(Wrong::new(reason).under("name"));
    }
    let compositor = text(fields, "compositor")?;
    if let Some(compositor) = compositor {
        let kinds = platform::display::candidates();
        let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
        // What follows a colon is the output to use.
        let kind = compositor.split(':').next().unwrap_or(compositor);
        if !names.contains(&kind) {
            let reason = format!("there are {}", names.join(", "));
            return Err(Wrong::new(reason).under("compositor"));
        }
    }
    let run = match text(fields, "command")? {
        Some(command) => {
            config::parse_app(command).map_err(|reason| Wrong::new(reason).under("command"))?
        }
        None => config::App::None,
    };
    Ok(App {
        id,
        name: name.to_owned(),
        image: text(fields, "image")?.map(|image| directory.join(image)),
        compositor: compositor.map(str::to_owned),
        run,
        environment: environment(fields).map_err(|wrong| wrong.under("environment"))?,
        prep: prep(fields).map_err(|wrong| wrong.under("prep"))?,
    })
}

fn environment(fields: &Map<String, Value>) -> Result<BTreeMap<String, String>, Wrong> {
    let Some(value) = fields.get("environment") else {
        return Ok(BTreeMap::new());
    };
    let Value::Object(variables) = value else {
        return Err(Wrong::new("it is an object of texts"));
    };
    let variable = |(name, value): (&String, &Value)| {
        let named = |reason: &str| Wrong::new(reason).under(name.as_str());
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(named("this cannot be a variable's name"));
        }
        let value = value.as_str().ok_or_else(|| named("it is a text"))?;
        if value.contains('\0') {
            return Err(named("a variable cannot hold a zero"));
        }
        Ok((name.clone(), value.to_owned()))
    };
    variables.iter().map(variable).collect()
}

fn prep(fields: &Map<String, Value>) -> Result<Vec<Prep>, Wrong> {
    let Some(value) = fields.get("prep") else {
        return Ok(Vec::new());
    };
    let Value::Array(entries) = value else {
        return Err(Wrong::new("it is a list of objects with do and undo"));
    };
    if entries.len() > PREP_MAX {
        return Err(Wrong::new(format!("there are more than {PREP_MAX}")));
    }
    let entry = |(index, entry): (usize, &Value)| {
        let one = || -> Result<Prep, Wrong> {
            let fields = object(entry, &["do", "undo"])?;
            Ok(Prep {
                before: command(fields, "do")?,
                undo: command(fields, "undo")?,
            })
        };
        one().map_err(|wrong| wrong.under(index))
    };
    entries.iter().enumerate().map(entry).collect()
}

/// A command line of its own: neither the test card nor nothing.
fn command(fields: &Map<String, Value>, name: &'static str) -> Result<Option<Vec<String>>, Wrong> {
    let Some(line) = text(fields, name)? else {
        return Ok(None);
    };
    match config::parse_app(line) {
        Ok(config::App::Command(words)) => Ok(Some(words)),
        Ok(_) => Err(Wrong::new("it is a command line").under(name)),
        Err(reason) => Err(Wrong::new(reason).under(name)),
    }
}

/// The fields of an object that has none but these.
fn object<'a>(value: &'a Value, known: &[&str]) -> Result<&'a Map<String, Value>, Wrong> {
    let Value::Object(fields) = value else {
        return Err(Wrong::new(format!(
            "it is an object with {}",
            known.join(", ")
        )));
    };
    match fields.keys().find(|name| !known.contains(&name.as_str())) {
        Some(unknown) => {
            let reason = format!("there is no such field; there are {}", known.join(", "));
            Err(Wrong::new(reason).under(unknown.as_str()))
        }
        None => Ok(fields),
    }
}

fn text<'a>(fields: &'a Map<String, Value>, name: &'static str) -> Result<Option<&'a str>, Wrong> {
    let value = match fields.get(name) {
        None => return Ok(None),
        Some(value) => value,
    };
    let value = value.as_str().filter(|text| !text.contains('\0'));
    value
        .map(Some)
        .ok_or(Wrong::new("it is a text").under(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{ "apps": [
        { "id": 10, "name": "Steam", "image": "steam.png", "compositor": "private-sway",
          "command": "steam -bigpicture 'a b'", "environment": { "LANG": "C" },
          "prep": [ { "do": "true", "undo": "echo gone" } ] },
        { "id": 11, "name": "Card", "command": "testcard" }
    ] }"#;

    fn parse_text(text: &str) -> Result<Vec<App>, AppsError> {
        parse(Path::new("/etc/pf/apps.json"), text)
    }

    #[test]
    fn every_field_is_read() {
        let apps = parse_text(GOOD).expect("good");
        assert_eq!(apps.len(), 2);
        let words = |line: &[&str]| line.iter().map(|word| (*word).to_owned()).collect();
        let expected = App {
            id: AppId::new(10).expect("valid"),
            name: "Steam".to_owned(),
            image: Some("/etc/pf/steam.png".into()),
            compositor: Some("private-sway".to_owned()),
            run: config::App::Command(words(&["steam", "-bigpicture", "a b"])),
            environment: [("LANG".to_owned(), "C".to_owned())].into(),
            prep: vec![Prep {
                before: Some(words(&["true"])),
                undo: Some(words(&["echo", "gone"])),
            }],
        };
        assert_eq!(apps[0], expected);
        assert_eq!(apps[1].run, config::App::TestCard);
    }

    #[test]
    fn errors_name_line_and_field() {
        for (from, to, line, field) in [
            ("\"id\": 11", "\"id\": 10", 5, "apps[1].id"),
            ("\"id\": 11", "\"id\": \"x\"", 5, "apps[1].id"),
            ("\"id\": 11, ", "", 5, "apps[1]"),
            ("\"Card\"", "7", 5, "apps[1].name"),
            ("private-sway", "weston", 2, "apps[0].compositor"),
            ("'a b'", "'a b", 3, "apps[0].command"),
            ("\"C\"", "7", 3, "apps[0].environment.LANG"),
            ("\"LANG\"", "\"A=B\"", 3, "apps[0].environment.A=B"),
            ("\"true\"", "\"\"", 4, "apps[0].prep[0].do"),
            ("undo", "redo", 4, "apps[0].prep[0].redo"),
            ("\"echo gone\"", "[]", 4, "apps[0].prep[0].undo"),
            ("\"echo gone\"", "\"echo 'gone\"", 4, "apps[0].prep[0].undo"),
            ("\"apps\"", "\"app\"", 1, "app"),
        ] {
            match parse_text(&GOOD.replace(from, to)) {
                Err(AppsError::Field {
                    line: l, field: f, ..
                }) => assert_eq!((l, f.as_str()), (line, field), "{from} -> {to}"),
                other => panic!("{from} -> {to}: {other:?}"),
            }
        }
        let error = parse_text("{\n\"apps\": [}")
            .expect_err("no JSON")
            .to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn a_changed_file_is_read_and_a_bad_one_changes_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("apps.json");
        let mut apps = Apps::open(Some(path.clone()));
        assert_eq!(apps.list()[0].name, "Desktop");
        assert_eq!(apps.list()[1].run, config::App::TestCard);
        assert_eq!(apps.refresh(), Ok(false));

        fs::write(&path, GOOD).expect("written");
        assert_eq!(apps.refresh(), Ok(true));
        assert_eq!(apps.list()[0].name, "Steam");

        fs::write(&path, "{").expect("written");
        assert!(apps.refresh().is_err());
        assert_eq!(apps.refresh(), Ok(false), "told once");
        assert_eq!(apps.list()[0].name, "Steam");

        fs::remove_file(&path).expect("removed");
        assert_eq!(apps.refresh(), Ok(true));
        assert_eq!(apps.list()[0].name, "Desktop");
    }

    #[test]
    fn every_application_has_a_picture() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut app = default_apps()[0].clone();
        let made = app.picture();
        assert!(made.starts_with(PNG_SIGNATURE));
        app.image = Some(directory.path().join("none.png"));
        assert_eq!(app.picture(), made);
        let own = directory.path().join("own.png");
        fs::write(&own, [PNG_SIGNATURE, b"..."].concat()).expect("written");
        app.image = Some(own.clone());
        assert_eq!(app.picture(), [PNG_SIGNATURE, b"..."].concat());
        fs::write(&own, "GIF89a").expect("written");
        assert_eq!(app.picture(), made);
    }
}
