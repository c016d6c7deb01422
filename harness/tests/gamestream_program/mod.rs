//! The host as a user starts it, with `--gamestream`, for tests with stock clients.

use std::path::{Path, PathBuf};
use std::time::Instant;

use engine::mgmt::client::{self, CallError, PinOutcome};
use harness::PATIENCE;
use harness::moonlight::{Moonlight, free_base_port};
use harness::program::{Running, Sandbox};
use serde_json::Value;

/// A host with `--gamestream`, and where it keeps its state.
pub struct Host {
    pub sandbox: Sandbox,
    /// Where native clients find it.
    pub address: String,
    pub port: u16,
    pub running: Option<Running>,
    settings: Vec<&'static str>,
}

impl Host {
    /// With this kind of display.
    pub fn new(desktop: &'static str) -> Self {
        Self::with(Sandbox::new(), &["--desktop", desktop])
    }

    /// In this sandbox, with these settings beside the usual ones.
    pub fn with(sandbox: Sandbox, settings: &[&'static str]) -> Self {
        let mut host = Self {
            sandbox,
            port: free_base_port(),
            address: String::new(),
            running: None,
            settings: settings.to_vec(),
        };
        host.start();
        host
    }

    pub fn start(&mut self) {
        let state = self.state();
        let port = self.port.to_string();
        let mut arguments = vec![
            "--verbose",
            "host",
            "--port",
            "0",
            "--gamestream",
            "--gamestream-bind",
            "127.0.0.1",
            "--gamestream-port",
            &port,
            "--name",
            "den",
            "--state-dir",
            state.to_str().expect("a readable path"),
        ];
        arguments.extend_from_slice(&self.settings);
        let mut running = self.sandbox.start(&arguments);
        let listening = running.line("listening");
        let address = listening.split_whitespace().next();
        address.expect("an address").clone_into(&mut self.address);
        eprintln!("native clients find the host at {}", self.address);
        running.line("moonlight");
        self.running = Some(running);
    }

    /// Ends it; what it has logged.
    pub fn stop(&mut self) -> String {
        let running = self.running.take().expect("it runs");
        running.interrupt();
        let ended = running.wait();
        assert!(ended.status.success(), "{ended:?}");
        ended.stderr
    }

    pub fn state(&self) -> PathBuf {
        self.sandbox.path().join("state")
    }

    pub fn client(&self, name: &str) -> Moonlight {
        let home = self.sandbox.path().join(name);
        std::fs::create_dir_all(&home).expect("a directory");
        Moonlight::new(&home, self.port)
    }

    pub fn pair(&self, client: &Moonlight, pin: &str) {
        pair(&self.state(), client, pin);
    }
}

/// Enters a PIN once somebody waits for it, as `punktfunk pin` does, where the host keeps its
/// state.
pub fn enter_pin(state: &Path, pin: &str) -> Result<PinOutcome, CallError> {
    let access = client::access(state).expect("left by the host");
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client::enter_pin(&access, pin, None, None) {
            Err(CallError::Refused(text)) if text.starts_with("no client waits") => {
                assert!(Instant::now() < deadline, "nobody came");
                std::thread::yield_now();
            }
            other => return other,
        }
    }
}

/// Pairs a client.
pub fn pair(state: &Path, client: &Moonlight, pin: &str) {
    let running = client.start(&["pair", pin]);
    enter_pin(state, pin).expect("paired");
    let answer = next(&running);
    assert!(answer["ok"].is_string(), "{answer}");
    drop(running.wait());
}

pub fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

pub fn next(running: &Running) -> Value {
    parse(&running.lines.recv_timeout(PATIENCE).expect("an answer"))
}
