//! Child processes that end when they should: compositors and applications.
//!
//! Four nets, each for what slips through the one before:
//! 1. every child leads its own process group and is killed with it ([`Process`]);
//! 2. every child dies with this process (`PR_SET_PDEATHSIG`), even after `SIGKILL`;
//! 3. children carry a token in their environment ([`TOKEN_VARIABLE`]), by which descendants
//!    that left the group are found and killed ([`kill_marked`]);
//! 4. a [`Guard`], a small shell outside, does 3 when this process dies without a farewell.
//!
//! [`become_subreaper`] lets orphaned descendants become our children, so that [`reap_orphans`]
//! can collect them.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use crate::sys;

mod undo;
pub mod usage;

pub use undo::{Undo, UndoFailure};
pub use usage::{ThreadUsage, thread_usage};

/// Environment variable that marks everything started for one display.
pub const TOKEN_VARIABLE: &str = "PUNKTFUNK_DISPLAY";

/// How long a process group may take to end after `SIGTERM`.
pub const GRACE: Duration = Duration::from_millis(500);

/// How many lines of a child's standard error are kept, and how much of each, bytes.
const LAST_LINES_MAX: usize = 12;
const LINE_BYTES_MAX: usize = 400;

/// A child that leads its own process group. Dropping it ends the group: `SIGTERM`, then
/// `SIGKILL` after [`GRACE`].
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    group: Pid,
    pidfd: OwnedFd,
    status: Option<ExitStatus>,
    stderr: Stderr,
}

impl Process {
    /// Starts `command` with its standard error captured, standard input and output closed.
    /// `name` is for log lines and thread names.
    ///
    /// # Errors
    /// The system's answer: no such program, no permission, no processes left.
    pub fn spawn(name: &'static str, mut command: Command) -> io::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        sys::tie_to_parent(&mut command, rustix::process::getpid());
        // Locked from before it exists until it is known, or `reap_orphans` on another thread
        // could take one that ends at once for an orphan, and its exit status from us.
        let mut owned = owned_children();
        let mut child = spawn_on_lasting_thread(command)?;
        let group = Pid::from_child(&child);
        owned.insert(child.id());
        drop(owned);
        let (pidfd, stderr) = match attach(name, &mut child, group) {
            Ok(parts) => parts,
            Err(error) => {
                abandon(&mut child, group);
                return Err(error);
            }
        };
        Ok(Self {
            name,
            child,
            group,
            pidfd,
            status: None,
            stderr,
        })
    }

    /// Process id, which is also the id of its group.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, or `None` while it runs. Its group may live on.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() {
            match self.child.try_wait() {
                Ok(status) => self.status = status,
                Err(error) => log::error!("{}: wait failed: {error}", self.name),
            }
        }
        self.status
    }

    /// The kernel is taking it down: its connections may be closed already although it cannot be
    /// waited for yet.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        // PF_EXITING of the kernel's sched.h, in field 9 of proc(5)'s stat; the tail starts at
        // field 3. It is set before the first descriptor is closed.
        const EXITING: u64 = 0x4;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        let tail = stat.rsplit_once(')').map_or("", |(_, tail)| tail);
        let flags = tail
            .split_ascii_whitespace()
            .nth(6)
            .and_then(|flags| flags.parse().ok());
        flags.is_none_or(|flags: u64| flags & EXITING != 0)
    }

    /// Waits until it has ended, at most `timeout`. True if it has.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while self.exited().is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
            if let Err(error) = poll(&mut fds, Some(&timespec(left)))
                && error != rustix::io::Errno::INTR
            {
                log::error!("{}: poll failed: {error}", self.name);
                return false;
            }
        }
        true
    }

    /// The last lines that it wrote to standard error, joined by ` | `; empty if none.
    #[must_use]
    pub fn last_lines(&self) -> String {
        lock(&self.stderr.lines)
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" | ")
    }

    /// How it ended and its last words, for an error message. Gives the last words a moment to
    /// come through the pipe.
    pub fn epitaph(&mut self) -> String {
        let status = match self.exited() {
            Some(status) => {
                self.stderr.finish(Duration::from_millis(50));
                status.to_string()
            }
            None => "still running".to_owned(),
        };
        let words = self.last_lines();
        if words.is_empty() {
            status
        } else {
            format!("{status}: {words}")
        }
    }

    /// True if others of its group live, whether it does itself or not.
    #[must_use]
    pub fn has_group(&self) -> bool {
        rustix::process::test_kill_process_group(self.group).is_ok()
    }

    /// Asks the whole group to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Kills the whole group and collects the leader. Idempotent.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        if !self.wait(GRACE) {
            log::error!("{} (pid {}) survives SIGKILL", self.name, self.id());
        }
    }

    /// Ends the group: `SIGTERM`, up to `grace` for the leader, `SIGKILL` for the rest.
    pub fn stop(&mut self, grace: Duration) {
        self.terminate();
        if !self.wait(grace) {
            log::warn!("{} did not end within {grace:?}, killing it", self.name);
        }
        self.kill();
    }

    fn signal(&self, signal: Signal) {
        signal_quietly(rustix::process::kill_process_group(self.group, signal));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited().is_none() {
            self.stop(GRACE);
        } else {
            self.kill();
        }
        self.stderr.finish(Duration::ZERO);
        owned_children().remove(&self.child.id());
    }
}

/// A shell outside our fate: when this process dies without dropping the guard, it kills
/// everything that carries its token, removes its directory and runs its last command.
#[derive(Debug)]
pub struct Guard {
    child: Child,
}

/// `$1` token, `$2` directory, then the last command, if any. The guard reads until end of file on
/// standard input, which comes when the host is gone. `grep` finds the marked by their environment;
/// twice, because a marked process may have been forking.
const GUARD_SCRIPT: &str = r#"
trap '' INT TERM HUP
read -r _
for pass in 1 2 3; do
  for file in $(grep -lzsxF -- "$1" /proc/[0-9]*/environ); do
    pid=${file#/proc/}
    kill -9 "${pid%/environ}" 2>/dev/null
  done
done
rm -rf -- "$2"
shift 2
[ $# -eq 0 ] || "$@"
"#;

impl Guard {
    /// Starts it. `token` is the value of [`TOKEN_VARIABLE`] of everything it watches over;
    /// `last_command` undoes what the kernel does not (empty: nothing).
    ///
    /// # Errors
    /// The system's answer (there must be a `sh`).
    pub fn spawn(token: &str, directory: &Path, last_command: &[OsString]) -> io::Result<Self> {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GUARD_SCRIPT, "punktfunk-guard"]);
        command
            .arg(format!("{TOKEN_VARIABLE}={token}"))
            .arg(directory)
            .args(last_command);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
            .env_remove(TOKEN_VARIABLE)
            .process_group(0)
            .current_dir("/");
        let child = command.spawn()?;
        owned_children().insert(child.id());
        Ok(Self { child })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Killed before its standard input closes, or it would do its work.
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            log::warn!("the guard process could not be ended: {error}");
        }
        owned_children().remove(&self.child.id());
    }
}

/// Runs `command` to its end, within `limit`: how it ended, and what it has written to standard
/// output, up to a pipe's 64 KiB.
///
/// # Errors
/// The system's answer; `TimedOut`, and then it is killed.
pub fn run_within(mut command: Command, limit: Duration) -> io::Result<(ExitStatus, Vec<u8>)> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    // In our own process group, so that `reap_orphans` leaves it alone.
    let mut child = command.spawn()?;
    if let Ok(pidfd) = rustix::process::pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
        await_end(&pidfd, limit);
    }
    let Some(status) = child.try_wait()? else {
        child.kill()?;
        child.wait()?;
        let text = format!("it did not end in {limit:?}");
        return Err(io::Error::new(io::ErrorKind::TimedOut, text));
    };
    let mut said = vec![0; 64 << 10];
    let count = child.stdout.take().map_or(Ok(0), |pipe| {
        // A child of its own may hold the pipe open: what is there now is all.
        rustix::io::ioctl_fionbio(&pipe, true)?;
        File::from(OwnedFd::from(pipe)).read(&mut said)
    });
    said.truncate(count.unwrap_or(0));
    Ok((status, said))
}

/// Makes orphaned descendants our children (`PR_SET_CHILD_SUBREAPER`), once for the process.
///
/// # Errors
/// The system's answer.
pub fn become_subreaper() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(
        rustix::process::getpid(),
    ))?)
}

/// Kills (`SIGKILL`) every process whose environment has `token` as [`TOKEN_VARIABLE`] and
/// collects those that became our children. Returns how many there were. Processes of other
/// users are neither seen nor touched.
pub fn kill_marked(token: &str) -> usize {
    let mark = format!("{TOKEN_VARIABLE}={token}");
    let mut killed = BTreeSet::new();
    let deadline = Instant::now() + GRACE;
    // A process can fork while we look: repeat until nothing is found, boundedly.
    for _ in 0..8 {
        let found: Vec<Pid> = marked(mark.as_bytes());
        if found.is_empty() {
            break;
        }
        let mut ending = Vec::with_capacity(found.len());
        for pid in found {
            if let Ok(pidfd) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
                signal_quietly(rustix::process::kill_process(pid, Signal::KILL));
                ending.push(pidfd);
                killed.insert(pid.as_raw_nonzero());
            }
        }
        for pidfd in ending {
            await_end(&pidfd, deadline.saturating_duration_since(Instant::now()));
        }
        reap_orphans();
    }
    killed.len()
}

/// Collects ended orphans that became our children by [`become_subreaper`]. Never touches a
/// child that this process started: ours through [`Process`] are known, any other lives in our
/// own process group.
pub fn reap_orphans() {
    let own_group = stat_of(rustix::process::getpid()).map(|stat| stat.group);
    for (pid, Stat { state, group, .. }) in children() {
        let ours = Some(group) == own_group || owned_children().contains(&pid_u32(pid));
        if state == b'Z' && !ours {
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// The tail of a child's standard error, kept by a thread of its own.
#[derive(Debug)]
struct Stderr {
    lines: Arc<Mutex<VecDeque<String>>>,
    stop: Arc<OwnedFd>,
    reader: Option<JoinHandle<()>>,
}

impl Stderr {
    fn start(name: &'static str, pipe: impl Into<OwnedFd>) -> io::Result<Self> {
        let pipe: OwnedFd = pipe.into();
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (sink, stop_seen) = (Arc::clone(&lines), Arc::clone(&stop));
        let reader = std::thread::Builder::new()
            .name(format!("log {name}"))
            .spawn(move || read_lines(name, File::from(pipe), &stop_seen, &sink))?;
        Ok(Self {
            lines,
            stop,
            reader: Some(reader),
        })
    }

    /// Ends the reader, after `patience` at the latest if the pipe has not ended by itself.
    fn finish(&mut self, patience: Duration) {
        let Some(reader) = self.reader.take() else {
            return;
        };
        let deadline = Instant::now() + patience;
        while !reader.is_finished() && Instant::now() < deadline {
            // The reader ends with the pipe; there is no descriptor to wait on for that.
            std::thread::park_timeout(Duration::from_millis(1));
        }
        if let Err(error) = rustix::io::write(self.stop.as_fd(), &1u64.to_ne_bytes()) {
            log::error!("a log reader cannot be stopped: {error}");
            return;
        }
        if reader.join().is_err() {
            log::error!("a log reader panicked");
        }
    }
}

impl Drop for Stderr {
    fn drop(&mut self) {
        self.finish(Duration::ZERO);
    }
}

fn read_lines(name: &str, mut pipe: File, stop: &OwnedFd, sink: &Mutex<VecDeque<String>>) {
    let mut partial: Vec<u8> = Vec::new();
    let mut chunk = [0u8; 4096];
    loop {
        let mut fds = [
            PollFd::new(&pipe, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        let polled = poll(&mut fds, None);
        let (readable, stopped) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
        match polled {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
            // What is in the pipe comes first: a dying child's last words.
            Ok(_) if !readable && stopped => return,
            Ok(_) => {}
        }
        let count = match pipe.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        for byte in &chunk[..count] {
            if *byte != b'\n' && partial.len() < LINE_BYTES_MAX {
                partial.push(*byte);
            } else if *byte == b'\n' {
                keep_line(name, &mut partial, sink);
            }
        }
        if count == 0 {
            keep_line(name, &mut partial, sink);
            return;
        }
    }
}

fn keep_line(name: &str, partial: &mut Vec<u8>, sink: &Mutex<VecDeque<String>>) {
    let line = plain(&String::from_utf8_lossy(partial)).trim().to_owned();
    partial.clear();
    if line.is_empty() {
        return;
    }
    log::debug!("{name}: {line}");
    let mut lines = lock(sink);
    if lines.len() == LAST_LINES_MAX {
        lines.pop_front();
    }
    lines.push_back(line);
}

/// Without the escape sequences that colour a terminal (ECMA-48, 5.4: CSI, then bytes up to a final
/// one from `@` to `~`) and without other control characters.
fn plain(line: &str) -> String {
    let mut pieces = line.split("\x1b[");
    let first = pieces.next().unwrap_or_default();
    let rest = pieces.map(|piece| {
        piece
            .split_once(|byte: char| ('@'..='~').contains(&byte))
            .map_or("", |(_, text)| text)
    });
    let text: String = std::iter::once(first).chain(rest).collect();
    text.replace(|character: char| character.is_control(), " ")
}

fn attach(name: &'static str, child: &mut Child, group: Pid) -> io::Result<(OwnedFd, Stderr)> {
    let pidfd = rustix::process::pidfd_open(group, PidfdFlags::empty())?;
    let pipe = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    Ok((pidfd, Stderr::start(name, pipe)?))
}

fn abandon(child: &mut Child, group: Pid) {
    signal_quietly(rustix::process::kill_process_group(group, Signal::KILL));
    drop(child.wait());
    owned_children().remove(&child.id());
}

type SpawnRequest = (Command, mpsc::SyncSender<io::Result<Child>>);

/// Spawns from a thread that lives as long as the process, because the parent-death signal
/// comes when the spawning *thread* ends.
fn spawn_on_lasting_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<Option<mpsc::SyncSender<SpawnRequest>>>> = OnceLock::new();
    let mut spawner = lock(SPAWNER.get_or_init(|| Mutex::new(None)));
    if spawner.is_none() {
        let (sender, requests) = mpsc::sync_channel::<SpawnRequest>(1);
        std::thread::Builder::new()
            .name("spawn".to_owned())
            .spawn(move || {
                forget_placement();
                for (mut command, reply) in requests {
                    // The asker waits for the reply; it cannot have gone.
                    drop(reply.send(command.spawn()));
                }
            })?;
        *spawner = Some(sender);
    }
    let (reply, answer) = mpsc::sync_channel(1);
    let sender = spawner.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
    sender
        .send((command, reply))
        .map_err(|_| io::ErrorKind::BrokenPipe)?;
    answer.recv().map_err(|_| io::ErrorKind::BrokenPipe)?
}

/// Children inherit CPU affinity, nice value and timer slack from the spawning thread, which has
/// them from whoever came first: back to the process's own.
fn forget_placement() {
    let process = Some(rustix::process::getpid());
    let affinity = rustix::thread::sched_getaffinity(process)
        .and_then(|cpus| rustix::thread::sched_setaffinity(None, &cpus));
    let nice = rustix::process::getpriority_process(process)
        .and_then(|nice| rustix::process::setpriority_process(None, nice));
    let slack = rustix::thread::set_current_timer_slack(None);
    for (what, result) in [
        ("affinity", affinity),
        ("nice", nice),
        ("timer slack", slack),
    ] {
        if let Err(error) = result {
            log::debug!("{what} of the spawning thread: {error}");
        }
    }
}

fn owned_children() -> MutexGuard<'static, BTreeSet<u32>> {
    static OWNED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());
    lock(&OWNED)
}

/// A poisoned lock of plain data is still plain data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn marked(mark: &[u8]) -> Vec<Pid> {
    let own = rustix::process::getpid();
    processes()
        .filter(|pid| *pid != own)
        .filter(|pid| {
            fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero()))
                .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|entry| entry == mark))
        })
        .collect()
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| {
        let name = entry.ok()?.file_name();
        let number: i32 = std::str::from_utf8(name.as_bytes()).ok()?.parse().ok()?;
        Pid::from_raw(number)
    })
}

/// What the kernel tells of a process (proc_pid_stat(5)).
struct Stat {
    state: u8,
    parent: i32,
    /// 0 where its leader is outside of this namespace of process ids: no group to ask for, then.
    group: i32,
}

fn stat_of(pid: Pid) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    Some(Stat {
        state: *fields.next()?.as_bytes().first()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
    })
}

/// Our children.
fn children() -> Vec<(Pid, Stat)> {
    let own = rustix::process::getpid().as_raw_nonzero().get();
    let describe = |pid: Pid| Some((pid, stat_of(pid)?));
    let all = processes().filter_map(describe);
    all.filter(|(_, stat)| stat.parent == own).collect()
}

fn await_end(pidfd: &OwnedFd, timeout: Duration) {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    let _ = poll(&mut fds, Some(&timespec(timeout)));
}

/// Whoever is gone needs no signal.
fn signal_quietly(sent: rustix::io::Result<()>) {
    match sent {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => log::warn!("a signal could not be sent: {error}"),
    }
}

fn pid_u32(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}

/// For `ppoll`.
pub(crate) fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
