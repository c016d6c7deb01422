//! The application of a display: a child of the host in its own process group.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{AppState, DisplayError, DisplayRequest};
use crate::process::{self, GRACE, Process};

/// A started application. Dropping it ends its process group.
#[derive(Debug)]
pub(crate) struct App {
    process: Process,
    command: String,
    started: Instant,
    ended: Option<AppState>,
}

/// Ends what a display ran on a compositor that goes on: the application, which has its time to
/// close; what `placed` its windows, which any of them may need until then; and at last every
/// process that carries the display's `token`, whoever started it.
pub(crate) fn end<P>(app: Option<App>, placed: P, token: &str) {
    if let Some(mut app) = app {
        app.terminate();
        app.wait(GRACE);
        app.kill();
    }
    drop(placed);
    process::kill_marked(token);
}

impl App {
    /// Starts the request's command with its environment, and with `environment` set (or, where
    /// `None`, unset). Nothing to start for an empty command.
    ///
    /// # Errors
    /// [`DisplayError::App`].
    pub(crate) fn start(
        request: &DisplayRequest,
        environment: &[(&'static str, Option<PathBuf>)],
    ) -> Result<Option<Self>, DisplayError> {
        let command = &request.app;
        let Some((program, arguments)) = command.split_first() else {
            return Ok(None);
        };
        let mut child = Command::new(program);
        child.args(arguments);
        let variables = request.environment.iter();
        child.envs(variables.map(|(name, value)| (name, value)));
        for (name, value) in environment {
            match value {
                Some(value) => child.env(name, value),
                None => child.env_remove(name),
            };
        }
        let command = command.join(" ");
        match Process::spawn("app", child) {
            Ok(process) => {
                log::info!("application {command:?} started, pid {}", process.id());
                Ok(Some(Self {
                    process,
                    command,
                    started: Instant::now(),
                    ended: None,
                }))
            }
            Err(error) => Err(DisplayError::App {
                command,
                reason: error.to_string(),
            }),
        }
    }

    /// What became of it. That it has ended is logged, once; it is not fatal: the display stays.
    pub(crate) fn state(&mut self) -> AppState {
        if let Some(ended) = &self.ended {
            return ended.clone();
        }
        let Some(status) = self.process.exited() else {
            return AppState::Running;
        };
        let epitaph = self.process.epitaph();
        if status.success() {
            log::info!("application {:?} ended", self.command);
        } else {
            log::warn!("application {:?} ended: {epitaph}", self.command);
        }
        let ended = AppState::Ended {
            success: status.success(),
            epitaph,
            after: self.started.elapsed(),
        };
        self.ended = Some(ended.clone());
        ended
    }

    pub(crate) fn terminate(&self) {
        self.process.terminate();
    }

    pub(crate) fn wait(&mut self, timeout: Duration) -> bool {
        self.process.wait(timeout)
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }
}
