//! Private directories (mode 0700) for the sockets of a display, and the clearing away of those
//! whose host has died.
//!
//! `BASE/punktfunk-PID-N/host.lock` is locked (flock) for the life of the host. A directory
//! whose lock can be taken, or one without a lock whose process is gone, is stale.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::{FlockOperation, flock};

use crate::process;

const PREFIX: &str = "punktfunk-";
const LOCK: &str = "host.lock";

/// A private directory; removed, with everything in it, on drop.
#[derive(Debug)]
pub(crate) struct RuntimeDir {
    path: PathBuf,
    token: String,
    _lock: File,
}

impl RuntimeDir {
    /// Where such directories go: `$XDG_RUNTIME_DIR` if it is a directory of this user's, else
    /// the directory for temporary files.
    ///
    /// # Errors
    /// There is no such directory.
    pub(crate) fn base() -> io::Result<PathBuf> {
        let user = rustix::process::geteuid().as_raw();
        if let Some(path) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
            && path.is_absolute()
            && fs::metadata(&path).is_ok_and(|meta| meta.is_dir() && meta.uid() == user)
        {
            return Ok(path);
        }
        let path = std::env::temp_dir();
        fs::metadata(&path)?;
        Ok(path)
    }

    /// Makes one, after removing stale ones.
    ///
    /// # Errors
    /// The system's answer.
    pub(crate) fn create() -> io::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let base = Self::base()?;
        remove_stale(&base);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = base.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                // Somebody else's, or a dead host's with our process id: the next number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            }
            let lock = open_lock(&path, true).inspect_err(|_| drop(fs::remove_dir_all(&path)))?;
            flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            let token = path.to_string_lossy().into_owned();
            return Ok(Self {
                path,
                token,
                _lock: lock,
            });
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What marks the processes that belong to it: its path.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Removes it now. Idempotent.
    pub(crate) fn remove(&self) {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::warn!("{} could not be removed: {error}", self.path.display());
            }
            _ => {}
        }
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        self.remove();
    }
}

fn open_lock(directory: &Path, create: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(create)
        .truncate(false)
        .mode(0o600);
    options
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(directory.join(LOCK))
}

fn remove_stale(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let path = entry.path();
        if !is_stale(&path) {
            continue;
        }
        let strays = process::kill_marked(&path.to_string_lossy());
        match fs::remove_dir_all(&path) {
            Ok(()) => log::info!(
                "removed {}, left by a host that died, and {strays} processes",
                path.display()
            ),
            Err(error) => log::warn!("{} could not be removed: {error}", path.display()),
        }
    }
}

fn is_stale(path: &Path) -> bool {
    let Some(rest) = path
        .file_name()
        .and_then(|name| name.to_str()?.strip_prefix(PREFIX))
    else {
        return false;
    };
    let Some(pid) = rest
        .split('-')
        .next()
        .and_then(|pid| pid.parse::<u32>().ok())
    else {
        return false;
    };
    let user = rustix::process::geteuid().as_raw();
    if !fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == user) {
        return false;
    }
    match open_lock(path, false) {
        Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok(),
        // Between its making and its locking the owner is alive.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            !Path::new(&format!("/proc/{pid}")).exists()
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_directory_is_not_stale_and_an_unlocked_one_is() {
        let base = tempfile::tempdir().expect("temporary directory");
        let path = base.path().join("punktfunk-999999999-0");
        fs::create_dir(&path).expect("mkdir");
        assert!(is_stale(&path), "no lock and no such process");
        let lock = open_lock(&path, true).expect("lock file");
        flock(&lock, FlockOperation::LockExclusive).expect("lock");
        assert!(!is_stale(&path), "a host holds it");
        drop(lock);
        remove_stale(base.path());
        assert!(!path.exists(), "its host is gone");
    }

    #[test]
    fn other_directories_are_left_alone() {
        let base = tempfile::tempdir().expect("temporary directory");
        let path = base.path().join("punktfunk-notes");
        fs::create_dir(&path).expect("mkdir");
        remove_stale(base.path());
        assert!(path.exists());
    }
}
