//! The stock GameStream client, as a process of its own: moonlight-python, which wraps the real
//! moonlight-common-c. It is under the GPL, so it is installed by scripts/setup.sh into a Python
//! environment outside the sources, driven over the command line and never linked.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::program::{Running, start};

/// A stock client with a home, hence an identity, of its own.
pub struct Moonlight {
    home: PathBuf,
    port: u16,
}

impl Moonlight {
    /// With this home, for the host whose HTTP port this is.
    #[must_use]
    pub fn new(home: &Path, port: u16) -> Self {
        Self {
            home: home.to_owned(),
            port,
        }
    }

    /// Starts it with a command of `tests/moonlight/drive.py`; it answers with one line of JSON
    /// for each thing that it did.
    #[must_use]
    pub fn start(&self, command: &[&str]) -> Running {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/moonlight/drive.py");
        let mut process = Command::new(python());
        // -I: nothing of this machine's own Python; -B: the sources stay as they are.
        process.args(["-I", "-B", script]).arg(&self.home);
        process.args(["127.0.0.1", &self.port.to_string()]);
        process.args(command).stdin(Stdio::null());
        process.env_clear().env("HOME", &self.home);
        start(&mut process)
    }

    /// Does one thing, to its end; its answers.
    ///
    /// # Panics
    /// If it fails to run at all.
    #[must_use]
    pub fn run(&self, command: &[&str]) -> Vec<String> {
        let running = self.start(command);
        let lines = running.lines.clone();
        let ended = running.wait();
        assert!(ended.status.success(), "{command:?}: {}", ended.stderr);
        lines.try_iter().collect()
    }
}

/// Python with the client: `PUNKTFUNK_MOONLIGHT`, as scripts/test sets it, or what
/// `scripts/setup.sh moonlight` has made below `target`.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn python() -> PathBuf {
    let path = std::env::var_os("PUNKTFUNK_MOONLIGHT").map_or_else(
        || {
            // A test is target/PROFILE/deps/NAME-HASH.
            let test = std::env::current_exe().expect("Linux knows a running executable's path");
            let target = test.ancestors().nth(3).expect("cargo's target directory");
            target.join("moonlight/bin/python")
        },
        PathBuf::from,
    );
    assert!(
        path.exists(),
        "there is no {}: run scripts/setup.sh moonlight, or name a Python that has \
         moonlight-python with PUNKTFUNK_MOONLIGHT",
        path.display()
    );
    path
}

/// A base whose ports nobody has at the moment; tests run beside each other.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_base_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // What GameStream binds over TCP, and a stretch that no other process of these tests begins
    // with.
    let is_free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let process = (std::process::id() % 250) as u16;
    (0..250)
        .map(|_| {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            21_000 + (process.wrapping_add(step * 7) % 250) * 40
        })
        .find(|base| {
            [base - 5, *base, base + 1, base + 21]
                .into_iter()
                .all(is_free)
        })
        .expect("a stretch of free ports")
}
