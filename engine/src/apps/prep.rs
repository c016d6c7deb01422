//! What runs before an application and after it: prep commands, in order before, undone in reverse
//! after, also when the host dies meanwhile.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use net::gamestream::nvhttp::LaunchRequest;
use platform::display::Cancel;
use platform::process::{Process, Undo, UndoFailure};

use super::{App, Prep};

/// For all commands before an application together: its user waits.
pub const PREP_TIMEOUT: Duration = Duration::from_secs(15);
/// For each command after it.
pub const UNDO_TIMEOUT: Duration = Duration::from_secs(10);
/// Commands of an application.
pub const PREP_MAX: usize = 32;
/// How often a wait looks whether the session is over.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A command before the application was not done; what had been done is undone.
#[derive(Debug, thiserror::Error)]
pub enum PrepError {
    /// There is no such program, or the system is at an end.
    #[error("the prep command {command:?} cannot be started: {source}")]
    Start {
        /// Its command line.
        command: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// It says that it failed.
    #[error("the prep command {command:?} failed: {reason}")]
    Failed {
        /// Its command line.
        command: String,
        /// Exit status and last words.
        reason: String,
    },
    /// It does not end.
    #[error("the prep command {command:?} did not end within {PREP_TIMEOUT:?} of the launch")]
    Slow {
        /// Its command line.
        command: String,
    },
    /// The session is over.
    #[error("the session was over before the prep command {command:?} had ended")]
    Cancelled {
        /// Its command line.
        command: String,
    },
}

/// Prep commands that were done. Dropping it undoes them, last first, and waits for that.
#[derive(Debug)]
pub struct Prepared {
    undo: Option<Undo>,
    commands: Vec<Vec<String>>,
    /// Those of which something lives on in the background; it ends after the undoing.
    background: Vec<Process>,
}

impl Prepared {
    /// Does all commands, one after the other.
    ///
    /// # Errors
    /// See [`PrepError`].
    pub fn run(
        prep: &[Prep],
        environment: &BTreeMap<String, String>,
        cancel: &Cancel,
    ) -> Result<Self, PrepError> {
        let commands = prep.iter().map(|it| it.undo.clone().unwrap_or_default());
        let commands: Vec<Vec<String>> = commands.collect();
        let mut this = Self {
            undo: None,
            background: Vec::new(),
            commands,
        };
        if prep.iter().any(|it| it.undo.is_some()) {
            let undo = Undo::spawn(&this.commands, environment, UNDO_TIMEOUT);
            this.undo = Some(undo.map_err(|source| PrepError::Start {
                command: "sh".to_owned(),
                source,
            })?);
        }
        let deadline = Instant::now() + PREP_TIMEOUT;
        for (index, it) in prep.iter().enumerate() {
            if let Some(words) = &it.before {
                // Returning early drops `this`, which undoes what was done.
                let left = run_one(words, environment, deadline, cancel)?;
                this.background.extend(left);
            }
            if let Some(undo) = &mut this.undo
                && let Err(source) = undo.set_due(index + 1)
            {
                let command = "sh".to_owned();
                return Err(PrepError::Start { command, source });
            }
        }
        Ok(this)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        let Some(undo) = self.undo.take() else {
            return;
        };
        match undo.run() {
            Ok(failures) => {
                for UndoFailure { index, status } in failures {
                    let words = self.commands.get(index);
                    let command = words.map(|words| words.join(" ")).unwrap_or_default();
                    match status {
                        Some(status) => {
                            log::warn!("the undo command {command:?} failed: status {status}");
                        }
                        None => log::warn!(
                            "the undo command {command:?} was ended after {UNDO_TIMEOUT:?}"
                        ),
                    }
                }
            }
            Err(error) => log::warn!("undo commands: {error}"),
        }
    }
}

/// What a launch tells the application and its commands: the variables of Sunshine's, because
/// scripts for it are what Moonlight's users have.
#[must_use]
pub fn launch_environment(
    app: &App,
    client: &str,
    launch: &LaunchRequest,
) -> BTreeMap<String, String> {
    let mode = launch.mode;
    let stream = &launch.stream;
    let speakers = match stream.surround.channels {
        6 => "5.1",
        8 => "7.1",
        _ => "2.0",
    };
    // A client that says nothing of it plays the sound itself.
    let at_host = stream.local_audio.unwrap_or(false);
    let fps = mode.refresh().get().div_ceil(1000);
    [
        ("SUNSHINE_APP_ID", app.id.get().to_string()),
        ("SUNSHINE_APP_NAME", app.name.clone()),
        ("SUNSHINE_CLIENT_NAME", client.to_owned()),
        ("SUNSHINE_CLIENT_WIDTH", mode.width().to_string()),
        ("SUNSHINE_CLIENT_HEIGHT", mode.height().to_string()),
        ("SUNSHINE_CLIENT_FPS", fps.to_string()),
        ("SUNSHINE_CLIENT_HDR", stream.hdr.to_string()),
        ("SUNSHINE_CLIENT_GCMAP", stream.controllers.to_string()),
        ("SUNSHINE_CLIENT_HOST_AUDIO", at_host.to_string()),
        ("SUNSHINE_CLIENT_ENABLE_SOPS", launch.optimise.to_string()),
        ("SUNSHINE_CLIENT_AUDIO_CONFIGURATION", speakers.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Runs a command to its end; what is left of it if it has left something in the background.
fn run_one(
    words: &[String],
    environment: &BTreeMap<String, String>,
    deadline: Instant,
    cancel: &Cancel,
) -> Result<Option<Process>, PrepError> {
    let command = words.join(" ");
    let Some((program, arguments)) = words.split_first() else {
        return Ok(None);
    };
    let mut child = Command::new(program);
    child.args(arguments).envs(environment);
    let mut process = match Process::spawn("prep", child) {
        Ok(process) => process,
        Err(source) => return Err(PrepError::Start { command, source }),
    };
    while !process.wait(LOOK_INTERVAL) {
        if cancel.is_asked() {
            return Err(PrepError::Cancelled { command });
        }
        if Instant::now() >= deadline {
            return Err(PrepError::Slow { command });
        }
    }
    let success = process.exited().is_some_and(|status| status.success());
    if !success {
        let reason = process.epitaph();
        return Err(PrepError::Failed { command, reason });
    }
    log::info!("prep command {command:?} done");
    Ok(process.has_group().then_some(process))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn shell(script: &str) -> Option<Vec<String>> {
        Some(["sh", "-c", script].map(str::to_owned).into())
    }

    fn prep(before: &str, undo: &str) -> Prep {
        Prep {
            before: shell(before),
            undo: shell(undo),
        }
    }

    fn environment(path: &Path) -> BTreeMap<String, String> {
        [("KEPT".to_owned(), path.display().to_string())].into()
    }

    fn say(word: &str) -> String {
        format!("printf '%s ' {word} >>\"$KEPT\"")
    }

    #[test]
    fn commands_run_in_order_and_are_undone_in_reverse() {
        let directory = tempfile::tempdir().expect("a directory");
        let kept = directory.path().join("kept");
        let all = [
            prep(&say("a"), &say("-a")),
            Prep {
                before: shell(&say("b")),
                undo: None,
            },
            Prep {
                before: None,
                undo: shell(&say("-c")),
            },
        ];
        let prepared = Prepared::run(&all, &environment(&kept), &Cancel::default());
        let prepared = prepared.expect("done");
        let text = || fs::read_to_string(&kept).expect("written");
        assert_eq!(text(), "a b ");
        drop(prepared);
        assert_eq!(text(), "a b -c -a ");
    }

    #[test]
    fn a_failure_says_so_and_undoes_what_was_done() {
        let directory = tempfile::tempdir().expect("a directory");
        for (broken, words) in [
            ("echo no such luck >&2; exit 7", "no such luck"),
            ("kill -9 $$", "signal: 9"),
        ] {
            let kept = directory.path().join("kept");
            let all = [
                prep(&say("a"), &say("-a")),
                prep(&say("b"), &say("-b")),
                prep(broken, &say("-never")),
                prep(&say("never"), &say("-never")),
            ];
            let failed = Prepared::run(&all, &environment(&kept), &Cancel::default());
            let failed = failed.expect_err("broken").to_string();
            assert!(failed.contains(words), "{failed}");
            let text = fs::read_to_string(&kept).expect("written");
            assert_eq!(text, "a b -b -a ");
            fs::remove_file(kept).expect("there");
        }
        let nobody = Prep {
            before: Some(vec!["no-such-program-anywhere".to_owned()]),
            undo: None,
        };
        let failed = Prepared::run(&[nobody], &BTreeMap::new(), &Cancel::default());
        assert!(matches!(failed, Err(PrepError::Start { .. })), "{failed:?}");
    }

    #[test]
    fn the_end_of_the_session_ends_a_command() {
        let cancel = Cancel::default();
        cancel.ask();
        let hangs = prep("sleep 1000", "true");
        let failed = Prepared::run(&[hangs], &BTreeMap::new(), &cancel);
        assert!(
            matches!(failed, Err(PrepError::Cancelled { .. })),
            "{failed:?}"
        );
    }

    #[test]
    fn what_a_command_leaves_behind_lives_until_it_is_undone() {
        let directory = tempfile::tempdir().expect("a directory");
        let kept = directory.path().join("kept");
        let all = [prep(
            "sleep 1000 & echo $! >\"$KEPT\"",
            "kill -0 $(cat \"$KEPT\") && printf alive >>\"$KEPT\"",
        )];
        let prepared = Prepared::run(&all, &environment(&kept), &Cancel::default());
        let prepared = prepared.expect("done");
        assert_eq!(prepared.background.len(), 1);
        drop(prepared);
        let text = fs::read_to_string(&kept).expect("written");
        let (pid, alive) = text.split_once('\n').expect("two lines");
        assert_eq!(alive, "alive");
        // Killed it is; until it is gone may take the kernel a moment.
        let deadline = Instant::now() + PREP_TIMEOUT;
        loop {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.is_empty() || stat.contains(") Z") {
                break;
            }
            assert!(Instant::now() < deadline, "{stat}");
            std::thread::yield_now();
        }
    }
}
