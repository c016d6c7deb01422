//! What a session has on a desktop that is not ours, whatever the output is: its application, the
//! directory that marks its processes, and the guard that ends them where we cannot.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::app::{self, App};
use super::runtime_dir::RuntimeDir;
use super::{AppState, DisplayError, DisplayRequest};
use crate::process::{self, Guard, TOKEN_VARIABLE};

/// Processes and directory of a session. Dropping it ends them.
#[derive(Debug)]
pub(super) struct Tenant {
    app: Option<App>,
    directory: RuntimeDir,
    _guard: Guard,
}

impl Tenant {
    /// Makes the directory, and a guard that runs `farewell` should this process die.
    ///
    /// # Errors
    /// [`DisplayError::Start`].
    pub(super) fn new(
        compositor: &'static str,
        farewell: &[OsString],
    ) -> Result<Self, DisplayError> {
        let failed = |error: std::io::Error| DisplayError::Start {
            compositor,
            reason: error.to_string(),
        };
        let directory = RuntimeDir::create().map_err(failed)?;
        let guard = Guard::spawn(directory.token(), directory.path(), farewell).map_err(failed)?;
        Ok(Self {
            app: None,
            directory,
            _guard: guard,
        })
    }

    /// Starts the request's application on the compositor at that socket, if it wants one.
    ///
    /// # Errors
    /// [`DisplayError::App`].
    pub(super) fn start(
        &mut self,
        request: &DisplayRequest,
        wayland_socket: Option<&Path>,
    ) -> Result<(), DisplayError> {
        let mut environment = vec![(TOKEN_VARIABLE, Some(PathBuf::from(self.directory.token())))];
        if let Some(socket) = wayland_socket {
            environment.push(("WAYLAND_DISPLAY", Some(socket.to_owned())));
        }
        self.app = App::start(request, &environment)?;
        Ok(())
    }

    /// What became of the application.
    pub(super) fn app(&mut self) -> AppState {
        process::reap_orphans();
        self.app.as_mut().map_or(AppState::None, App::state)
    }

    /// Ends the application and all that it has started.
    pub(super) fn end(&mut self) {
        app::end(self.app.take(), (), self.directory.token());
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        self.end();
        self.directory.remove();
        process::reap_orphans();
    }
}
