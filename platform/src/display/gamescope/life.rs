//! The processes of a display: one gamescope, and another where it falls.
//!
//! ```text
//!  begin ─▶ runs ──(the stream's node goes)──▶ next: fell by a signal? ─▶ begin again ─▶ its node
//!             └──(exits by itself)──▶ the display has ended
//! ```
//!
//! gamescope dies of assertions of its own, and its application with it. Whoever streams it waits
//! and sees the application begin again; the size, the stream and the input stay. One that falls
//! again within [`LIFE_MIN`] has ended.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use net::units::Mode;

use super::{LOOK_INTERVAL, NAME, command, node_of, start_error};
use crate::capture::pipewire::{Heir, NodeName};
use crate::display::runtime_dir::RuntimeDir;
use crate::display::{AppState, Cancel, DisplayError, DisplayRequest};
use crate::process::{self, GRACE, Guard, Process};

/// How long it may take to its node; 0.3 s as a rule.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// A second one must live so long before a third follows.
const LIFE_MIN: Duration = Duration::from_secs(10);
/// From the end of its node to its own: the kernel writes its memory down before.
const FALL_TIMEOUT: Duration = Duration::from_secs(2);

/// What runs, and what it takes to start it again.
#[derive(Debug)]
pub(super) struct Life {
    program: PathBuf,
    request: DisplayRequest,
    mode: Mode,
    /// The display goes.
    over: Cancel,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` from the end of one to the start of the next.
    running: Option<Running>,
    /// Of the application that ends the display.
    begun: Instant,
    /// When the newest followed on another.
    followed: Option<Instant>,
    /// Why there is no next one.
    failed: Option<String>,
    ended: Option<AppState>,
}

/// A gamescope with all that it started. Dropping it ends them.
#[derive(Debug)]
struct Running {
    process: Process,
    directory: RuntimeDir,
    _guard: Guard,
}

/// Ends what lives, when it is dropped.
#[derive(Debug)]
pub(super) struct End(pub(super) Arc<Life>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.leave();
        let running = self.0.lock().running.take();
        drop(running);
    }
}

impl Life {
    /// Starts one, and tells its node.
    pub(super) fn begin(
        program: &Path,
        request: &DisplayRequest,
        mode: Mode,
    ) -> Result<(Arc<Self>, NodeName), DisplayError> {
        let begun = Instant::now();
        let cancel = [&request.cancel];
        let (running, node) = Running::start(program, request, &cancel).map_err(start_error)?;
        let life = Self {
            program: program.to_owned(),
            request: request.clone(),
            mode,
            over: Cancel::default(),
            state: Mutex::new(State {
                running: Some(running),
                begun,
                followed: None,
                failed: None,
                ended: None,
            }),
        };
        Ok((Arc::new(life), node))
    }

    /// No other one follows from now on.
    pub(super) fn leave(&self) {
        self.over.ask();
    }

    /// Its words, for a message.
    pub(super) fn words(&self) -> String {
        let state = self.lock();
        let words = state.running.as_ref().map(|it| it.process.last_lines());
        match (words, &state.failed) {
            (Some(words), _) if !words.is_empty() => format!(" ({words})"),
            (None, Some(reason)) => format!(" ({reason})"),
            _ => String::new(),
        }
    }

    /// Where its sockets are, while it runs.
    pub(super) fn directory(&self) -> Option<PathBuf> {
        let state = self.lock();
        let running = state.running.as_ref()?;
        Some(running.directory.path().to_owned())
    }

    /// It has not ended for good.
    pub(super) fn goes_on(&self) -> bool {
        let state = self.lock();
        !self.over.is_asked() && state.failed.is_none() && state.ended.is_none()
    }

    /// Why it has ended. `streams`: its pictures have not, so that another one follows where it
    /// fell.
    pub(super) fn check(&self, streams: bool) -> Result<(), String> {
        let mut state = self.lock();
        if let Some(reason) = &state.failed {
            return Err(reason.clone());
        }
        let Some(running) = &mut state.running else {
            return Ok(());
        };
        if running.process.is_ending() {
            running.process.wait(GRACE);
        }
        match running.process.exited() {
            None => Ok(()),
            Some(status) if streams && status.signal().is_some() => Ok(()),
            Some(_) => {
                let epitaph = running.process.epitaph();
                state.note_end();
                Err(epitaph)
            }
        }
    }

    /// What became of the application; `streams` as for [`Life::check`].
    pub(super) fn app(&self, streams: bool) -> AppState {
        let mut state = self.lock();
        let exited = state.running.as_mut().map(|it| it.process.exited());
        let fell = exited
            .flatten()
            .is_some_and(|status| status.signal().is_some());
        if !(fell && streams) {
            state.note_end();
        }
        state.ended.clone().unwrap_or(AppState::Running)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the one that fell; `None` where none may follow on it, and it stays.
    fn take_fallen(&self) -> Option<Running> {
        let mut state = self.lock();
        let lately = |at: Instant| at.elapsed() < LIFE_MIN;
        let is_again = state.followed.is_some_and(lately);
        let running = state.running.as_mut()?;
        running.process.wait(LOOK_INTERVAL);
        if running.process.is_ending() {
            running.process.wait(FALL_TIMEOUT);
        }
        let status = running.process.exited()?;
        if self.over.is_asked() || status.signal().is_none() {
            return None;
        }
        let epitaph = running.process.epitaph();
        if is_again {
            log::warn!("{NAME}: {epitaph}; it fell again within {LIFE_MIN:?} and is left alone");
            return None;
        }
        log::warn!("{NAME}: {epitaph}; it is started again, with its application");
        state.running.take()
    }
}

impl Heir for Life {
    fn next(&self) -> Option<NodeName> {
        drop(self.take_fallen()?);
        let asked = Instant::now();
        let cancel = [&self.over, &self.request.cancel];
        let started = Running::start(&self.program, &self.request, &cancel);
        let mut state = self.lock();
        match started {
            // `End` may have been here already.
            Ok(_) if self.over.is_asked() => None,
            Ok((running, node)) => {
                log::info!("{NAME}: {} again after {:?}", self.mode, asked.elapsed());
                state.running = Some(running);
                state.followed = Some(Instant::now());
                Some(node)
            }
            Err(reason) => {
                state.failed = Some(reason);
                None
            }
        }
    }
}

impl State {
    fn note_end(&mut self) {
        let Some(running) = &mut self.running else {
            return;
        };
        let Some(status) = running.process.exited() else {
            return;
        };
        if self.ended.is_none() {
            self.ended = Some(AppState::Ended {
                success: status.success(),
                epitaph: running.process.epitaph(),
                after: self.begun.elapsed(),
            });
        }
    }
}

impl Running {
    fn start(
        program: &Path,
        request: &DisplayRequest,
        cancel: &[&Cancel],
    ) -> Result<(Self, NodeName), String> {
        let directory = RuntimeDir::create().map_err(|error| error.to_string())?;
        let guard = Guard::spawn(directory.token(), directory.path(), &[])
            .map_err(|error| format!("no guard process: {error}"))?;
        let command = command(program, request, &directory);
        let process = Process::spawn(NAME, command).map_err(|error| error.to_string())?;
        // From here on dropping it ends it and all that it started.
        let mut running = Self {
            process,
            directory,
            _guard: guard,
        };
        let node = running.await_node(cancel)?;
        Ok((running, NodeName::Id(node)))
    }

    fn await_node(&mut self, cancel: &[&Cancel]) -> Result<u32, String> {
        let process = &mut self.process;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if let Some(node) = node_of(&process.last_lines()) {
                return Ok(node);
            }
            if cancel.iter().any(|cancel| cancel.is_asked()) {
                return Err("the session is over".to_owned());
            }
            if process.wait(LOOK_INTERVAL) {
                return Err(process.epitaph());
            }
            if Instant::now() >= deadline {
                let words = process.last_lines();
                return Err(format!(
                    "no node in PipeWire after {START_TIMEOUT:?}; check that pipewire runs: {words}"
                ));
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.stop(GRACE);
        let strays = process::kill_marked(self.directory.token());
        if strays > 0 {
            log::info!("{NAME}: killed {strays} processes that the application left behind");
        }
        self.directory.remove();
        process::reap_orphans();
    }
}
