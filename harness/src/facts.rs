//! Facts about processes and threads, read from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// How often a fact that nobody announces is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// Waits until `is_so`, for facts that nobody announces.
///
/// # Panics
/// If it is still not so after [`PATIENCE`]; the message says `what` was waited for.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(
            Instant::now() < deadline,
            "still not so after {PATIENCE:?}: {what}"
        );
        std::thread::park_timeout(LOOK_INTERVAL);
    }
}

/// Held by tests of one executable that must not run side by side, because they look at
/// something that the whole process shares.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// This process's threads whose names begin with `prefix`: how many of each name.
#[must_use]
pub fn threads(prefix: &str) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    let tasks = fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    // A thread may end between being listed and being read.
    for name in tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok()) {
        let name = name.trim();
        if name.starts_with(prefix) {
            *names.entry(name.to_owned()).or_default() += 1;
        }
    }
    names
}

/// Ids of this process's children, grandchildren and so on whose program is called `name`.
#[must_use]
pub fn descendants(root: u32, name: &str) -> Vec<u32> {
    let parents: BTreeMap<u32, u32> = processes()
        .into_iter()
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let is_below = |pid: u32| {
        let mut at = pid;
        // Bounded, should ids be reused while we look.
        for _ in 0..64 {
            match parents.get(&at) {
                Some(&up) if up == root => return true,
                Some(&up) => at = up,
                None => return false,
            }
        }
        false
    };
    parents
        .keys()
        .copied()
        .filter(|&pid| is_below(pid) && program_name(pid) == name)
        .collect()
}

/// Ids of processes whose environment sets `variable` to `value`; those that this user may see.
#[must_use]
pub fn marked(variable: &str, value: &str) -> Vec<u32> {
    let mark = format!("{variable}={value}").into_bytes();
    let is_marked = |pid: &u32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|all| all.split(|byte| *byte == 0).any(|entry| entry == mark))
    };
    processes().into_iter().filter(is_marked).collect()
}

/// Entries of a directory; none if it does not exist.
#[must_use]
pub fn entries(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// Name of a process's program as the kernel knows it (at most 15 bytes); empty if it is gone.
#[must_use]
pub fn program_name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn processes() -> Vec<u32> {
    let entries = entries(Path::new("/proc"));
    entries
        .iter()
        .filter_map(|path| path.file_name()?.to_str()?.parse().ok())
        .collect()
}

/// From `/proc/PID/stat`: fields after the name in parentheses are state and parent.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    // One that has ended is only waited for.
    (state != "Z").then_some(parent)
}
