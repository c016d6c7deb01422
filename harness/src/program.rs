//! The executable, started as a user starts it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam::channel::{Receiver, bounded};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;

use crate::{PATIENCE, facts};

/// By this variable of their environment the processes of a sandbox are known.
const MARK: &str = "PUNKTFUNK_TEST_SANDBOX";
/// Lines of output that a test may leave unread.
const LINES: usize = 4096;

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// Exit status.
    pub status: ExitStatus,
    /// All of standard error.
    pub stderr: String,
}

/// A place to run the executable in: home, state and runtime directory of its own.
pub struct Sandbox {
    directory: TempDir,
}

/// A running executable. Killed when dropped.
pub struct Running {
    child: Child,
    /// Lines of standard output.
    pub lines: Receiver<String>,
    stderr: Option<JoinHandle<String>>,
}

impl Sandbox {
    /// An empty one.
    ///
    /// # Panics
    /// If there is no temporary directory to be had.
    #[must_use]
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("pf").tempdir();
        let sandbox = Self {
            directory: directory.expect("a temporary directory"),
        };
        for name in ["home", "run"] {
            std::fs::create_dir(sandbox.path().join(name)).expect("a directory");
        }
        sandbox
    }

    /// Its root.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where compositors put their sockets.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.path().join("run")
    }

    /// The executable with these arguments, not yet started.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(executable());
        command.args(arguments).stdin(Stdio::null());
        for inherited in [
            "WAYLAND_DISPLAY",
            "SWAYSOCK",
            "XDG_CONFIG_HOME",
            "XDG_STATE_HOME",
        ] {
            command.env_remove(inherited);
        }
        command.env(MARK, self.path());
        command.env("HOME", self.path().join("home"));
        command.env("XDG_RUNTIME_DIR", self.runtime());
        command
    }

    /// Nothing is left of what was started here: no process, and nothing in the runtime directory.
    ///
    /// # Panics
    /// If something is.
    pub fn assert_clean(&self) {
        let mark = self.path().to_str().expect("a readable path");
        let left: Vec<String> = facts::marked(MARK, mark)
            .into_iter()
            .map(facts::program_name)
            .collect();
        assert!(left.is_empty(), "processes that are left: {left:?}");
        let left = facts::entries(&self.runtime());
        assert!(left.is_empty(), "files that are left: {left:?}");
    }

    /// Runs it to its end.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Ended {
        start(&mut self.command(arguments)).wait()
    }

    /// Starts it.
    #[must_use]
    pub fn start(&self, arguments: &[&str]) -> Running {
        start(&mut self.command(arguments))
    }
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

/// Starts a command of [`Sandbox::command`].
///
/// # Panics
/// If the system cannot.
#[must_use]
pub fn start(command: &mut Command) -> Running {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => panic!("{:?} cannot be started: {error}", command.get_program()),
    };
    let stdout = child.stdout.take().expect("asked for");
    let mut stderr = child.stderr.take().expect("asked for");
    let (lines_in, lines) = bounded(LINES);
    std::thread::spawn(move || {
        let send_all = |out: ChildStdout| {
            BufReader::new(out)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| lines_in.send(line))
        };
        // An error says that the test has stopped reading.
        let _ = send_all(stdout);
    });
    let stderr = std::thread::spawn(move || {
        let mut text = Vec::new();
        // What came before an error is still worth showing.
        let _ = stderr.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    Running {
        child,
        lines,
        stderr: Some(stderr),
    }
}

impl Running {
    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The rest of the first line that begins with `word`.
    ///
    /// # Panics
    /// If the program ends first, or no such line comes within [`PATIENCE`].
    pub fn line(&mut self, word: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_deadline(deadline) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(word) {
                        return rest.trim().to_owned();
                    }
                }
                Err(_) => panic!("no line {word:?}: {:?}", self.end()),
            }
        }
    }

    /// What Ctrl-C does.
    ///
    /// # Panics
    /// If the process is gone.
    pub fn interrupt(&self) {
        kill_process(Pid::from_child(&self.child), Signal::INT).expect("it runs");
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If it has not within [`PATIENCE`].
    #[must_use]
    pub fn wait(mut self) -> Ended {
        let ended = self.ended_within(PATIENCE);
        let status =
            ended.unwrap_or_else(|| panic!("still running after {PATIENCE:?}: {:?}", self.end()));
        Ended {
            status,
            stderr: self.take_stderr(),
        }
    }

    fn ended_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let pidfd = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).ok()?;
        let mut fds = [rustix::event::PollFd::new(
            &pidfd,
            rustix::event::PollFlags::IN,
        )];
        let limit = rustix::event::Timespec {
            tv_sec: i64::try_from(limit.as_secs()).expect("a short time"),
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        while let Err(rustix::io::Errno::INTR) = rustix::event::poll(&mut fds, Some(&limit)) {}
        self.child.try_wait().ok().flatten()
    }

    /// Kills it; what it said on standard error.
    fn end(&mut self) -> String {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.take_stderr()
    }

    fn take_stderr(&mut self) -> String {
        self.stderr
            .take()
            .map(|thread| thread.join().unwrap_or_default())
            .unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// The folder of `libpunktfunk.so` and `libpunktfunk.a`: `PUNKTFUNK_LIBRARIES`, as scripts/test sets
/// it, or that of the same cargo profile.
///
/// # Panics
/// If they are not there.
#[must_use]
pub fn libraries() -> PathBuf {
    let path =
        std::env::var_os("PUNKTFUNK_LIBRARIES").map_or_else(profile_directory, PathBuf::from);
    for name in ["libpunktfunk.so", "libpunktfunk.a"] {
        assert!(
            path.join(name).is_file(),
            "there is no {name} in {}: build it with `cargo build -p capi`, or name its folder \
             with PUNKTFUNK_LIBRARIES",
            path.display()
        );
    }
    path
}

/// Where cargo puts what this test's profile builds: a test is target/PROFILE/deps/NAME-HASH.
fn profile_directory() -> PathBuf {
    let test = std::env::current_exe().expect("Linux knows a running executable's path");
    let directory = test.ancestors().nth(2).expect("cargo's target directory");
    directory.to_owned()
}

/// `PUNKTFUNK_BIN`, as scripts/test sets it, or the executable of the same cargo profile.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn executable() -> PathBuf {
    let path = std::env::var_os("PUNKTFUNK_BIN")
        .map_or_else(|| profile_directory().join("punktfunk"), PathBuf::from);
    assert!(
        path.is_file(),
        "there is no {}: build it with `cargo build -p punktfunk --features x264`, or name \
         another with PUNKTFUNK_BIN",
        path.display()
    );
    path
}
