//! The application of a display: a child of the host in its own process group.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::{DisplayError, DisplayRequest};
use crate::process::Process;

/// A started application. Dropping it ends its process group.
#[derive(Debug)]
pub(crate) struct App {
    process: Process,
    command: String,
    reported: bool,
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
        child.envs(
            request
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        );
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
                    reported: false,
                }))
            }
            Err(error) => Err(DisplayError::App {
                command,
                reason: error.to_string(),
            }),
        }
    }

    /// Logs, once, that it has ended. Not fatal: the display stays.
    pub(crate) fn check(&mut self) {
        if self.reported {
            return;
        }
        if let Some(status) = self.process.exited() {
            self.reported = true;
            if status.success() {
                log::info!("application {:?} ended", self.command);
            } else {
                log::warn!(
                    "application {:?} ended: {}",
                    self.command,
                    self.process.epitaph()
                );
            }
        }
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
