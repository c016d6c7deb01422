//! Commands that run at the end, whatever the end is: when their owner says so, or when this
//! process has died without a farewell. A small shell outside our fate waits for either, as
//! [`super::Guard`] does.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags};

use super::{TOKEN_VARIABLE, await_end, owned_children};

/// `$1` seconds for each command, then the commands as lines of shell. Each line on standard input
/// says how many of them are due by now; its end, that this is the time: the last due one first.
/// One that fails is told by its number and status, and the next one runs all the same.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
limit=$1
shift
due=0
while read -r count; do due=$count; done
trap - INT TERM HUP
while [ "$due" -gt 0 ]; do
  eval "line=\${$due}"
  timeout -k 1 "$limit" sh -c "$line" </dev/null >/dev/null 2>&1
  status=$?
  [ "$status" -eq 0 ] || (echo "$due $status")
  due=$((due - 1))
done
"#;

/// What `timeout` of the coreutils exits with when the time was up.
const TIMED_OUT: i32 = 124;
/// And for a command that had to be killed.
const KILLED: i32 = 137;

/// The commands, last due one first. Dropping it runs them and waits for none.
#[derive(Debug)]
pub struct Undo {
    child: Child,
    commands: usize,
    limit: Duration,
}

/// A command failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UndoFailure {
    /// Which, from 0.
    pub index: usize,
    /// What it exited with; `None` if its time was up.
    pub status: Option<i32>,
}

impl Undo {
    /// Starts the shell. No command is due yet; an empty one does nothing. Each has `limit`, whole
    /// seconds, before it is ended.
    ///
    /// # Errors
    /// The system's answer (there must be a `sh`).
    pub fn spawn(
        commands: &[Vec<String>],
        environment: &BTreeMap<String, String>,
        limit: Duration,
    ) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "punktfunk-undo"]);
        command.arg(limit.as_secs().to_string());
        command.args(commands.iter().map(|words| line(words)));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
            .envs(environment)
            .env_remove(TOKEN_VARIABLE)
            .process_group(0)
            .current_dir("/");
        // Locked until it is known, or an orphans' collector could take it.
        let mut owned = owned_children();
        let child = command.spawn()?;
        owned.insert(child.id());
        Ok(Self {
            child,
            commands: commands.len(),
            limit,
        })
    }

    /// From now on the first `count` commands are due.
    ///
    /// # Errors
    /// The shell is gone.
    pub fn set_due(&mut self, count: usize) -> io::Result<()> {
        let input = self.child.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(input, "{count}")
    }

    /// Runs what is due and waits for it; what failed.
    ///
    /// # Errors
    /// The system's answer; `TimedOut` if it still runs although every time limit has passed.
    pub fn run(mut self) -> io::Result<Vec<UndoFailure>> {
        let pidfd = rustix::process::pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())?;
        drop(self.child.stdin.take());
        // With the second that a command has between the signals, and one for the shell.
        let all = (self.limit + Duration::from_secs(1)) * self.commands.try_into().unwrap_or(1);
        await_end(&pidfd, all + Duration::from_secs(1));
        if self.child.try_wait()?.is_none() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut said = [0; 4096];
        let count = self.child.stdout.take().map_or(Ok(0), |pipe| {
            // A command may have left a child behind that holds the pipe: what is there is all.
            rustix::io::ioctl_fionbio(&pipe, true)?;
            match File::from(OwnedFd::from(pipe)).read(&mut said) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                other => other,
            }
        })?;
        let said = String::from_utf8_lossy(&said[..count]);
        Ok(said.lines().filter_map(failure).collect())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // Ended already, or to be collected as an orphan when it has.
        let _ = self.child.try_wait();
        owned_children().remove(&self.child.id());
    }
}

fn failure(line: &str) -> Option<UndoFailure> {
    let (number, status) = line.split_once(' ')?;
    let status: i32 = status.parse().ok()?;
    Some(UndoFailure {
        index: number.parse::<usize>().ok()?.checked_sub(1)?,
        status: (![TIMED_OUT, KILLED].contains(&status)).then_some(status),
    })
}

/// Words as a line for a shell that takes none of them apart.
fn line(words: &[String]) -> String {
    let quoted = words
        .iter()
        .map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    let line = quoted.collect::<Vec<_>>().join(" ");
    match line.is_empty() {
        true => ":".to_owned(),
        false => format!("exec {line}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn words(line: &[&str]) -> Vec<String> {
        line.iter().map(|word| (*word).to_owned()).collect()
    }

    /// Appends a word to the file that the environment names.
    fn append(word: &str) -> Vec<String> {
        words(&["sh", "-c", "printf %s \"$1\" >>\"$KEPT\"", "sh", word])
    }

    fn undo(path: &Path, commands: &[Vec<String>], limit: Duration) -> Undo {
        let environment = [("KEPT".to_owned(), path.display().to_string())].into();
        Undo::spawn(commands, &environment, limit).expect("a shell")
    }

    #[test]
    fn what_is_due_runs_in_reverse_and_a_failure_stops_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let kept = directory.path().join("kept");
        let commands = [
            append("it's $HOME"),
            words(&["sh", "-c", "exit 3"]),
            Vec::new(),
            append("two "),
            append("never"),
        ];
        let mut undo = undo(&kept, &commands, LIMIT);
        undo.set_due(2).expect("it listens");
        undo.set_due(4).expect("it listens");
        let failures = undo.run().expect("it ends");
        let failure = UndoFailure {
            index: 1,
            status: Some(3),
        };
        assert_eq!(failures, [failure]);
        let text = fs::read_to_string(kept).expect("written");
        assert_eq!(text, "two it's $HOME", "words stay what they are");
    }

    #[test]
    fn nothing_is_due_at_first_and_dropping_runs_what_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let kept = directory.path().join("kept");
        let idle = undo(&kept, &[append("never")], LIMIT);
        assert_eq!(idle.run().expect("it ends"), []);
        assert!(!kept.exists());
        let mut left = undo(&kept, &[append("done")], LIMIT);
        left.set_due(1).expect("it listens");
        let child = Pid::from_child(&left.child);
        let pidfd = rustix::process::pidfd_open(child, PidfdFlags::empty()).expect("it runs");
        drop(left);
        await_end(&pidfd, LIMIT);
        assert_eq!(fs::read_to_string(kept).expect("written"), "done");
    }

    #[test]
    fn a_command_that_hangs_is_ended() {
        let directory = tempfile::tempdir().expect("a directory");
        let kept = directory.path().join("kept");
        let commands = [append("after"), words(&["sleep", "1000"])];
        let mut undo = undo(&kept, &commands, Duration::from_secs(1));
        undo.set_due(2).expect("it listens");
        let failure = UndoFailure {
            index: 1,
            status: None,
        };
        assert_eq!(undo.run().expect("it ends"), [failure]);
        assert_eq!(fs::read_to_string(kept).expect("written"), "after");
    }
}
