//! Displays that appear, refuse and vanish as a test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use net::units::Mode;
use platform::display::{
    AppState, DisplayBackend, DisplayError, DisplayRequest, OutputAddress, VirtualDisplay,
};
use platform::select::Refusal;

const NAME: &str = "fake";

/// The backend. Its displays have no address: a session draws on them itself.
#[derive(Clone, Default)]
pub struct FakeDisplayBackend {
    state: Arc<State>,
}

/// What the test holds.
pub struct DisplayRemote {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    refuses: AtomicBool,
    app_ended: AtomicBool,
    is_stubborn: AtomicBool,
    gone: AtomicBool,
    alive: AtomicUsize,
}

impl FakeDisplayBackend {
    /// A backend that works, and its remote control.
    #[must_use]
    pub fn new() -> (Self, DisplayRemote) {
        let backend = Self::default();
        let remote = DisplayRemote {
            state: Arc::clone(&backend.state),
        };
        (backend, remote)
    }
}

impl DisplayRemote {
    /// From now on no display can be made.
    pub fn refuse(&self) {
        self.state.refuses.store(true, Ordering::Release);
    }

    /// From now on no display takes another mode.
    pub fn refuse_modes(&self) {
        self.state.is_stubborn.store(true, Ordering::Release);
    }

    /// Every application has ended, as one that a person has left.
    pub fn end_apps(&self) {
        self.state.app_ended.store(true, Ordering::Release);
    }

    /// Every display is gone, as if its compositor had died.
    pub fn vanish(&self) {
        self.state.gone.store(true, Ordering::Release);
    }

    /// Displays that have been made and not been dropped.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.state.alive.load(Ordering::Acquire)
    }
}

impl DisplayBackend for FakeDisplayBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn probe(&self) -> Result<String, Refusal> {
        Ok("whatever the test wants".to_owned())
    }

    fn create(&self, request: &DisplayRequest) -> Result<Box<dyn VirtualDisplay>, DisplayError> {
        if self.state.refuses.load(Ordering::Acquire) {
            let reason = "as the test wanted".to_owned();
            return Err(DisplayError::Start {
                compositor: NAME,
                reason,
            });
        }
        self.state.alive.fetch_add(1, Ordering::AcqRel);
        Ok(Box::new(FakeDisplay {
            mode: request.mode,
            state: Arc::clone(&self.state),
        }))
    }
}

struct FakeDisplay {
    mode: Mode,
    state: Arc<State>,
}

impl VirtualDisplay for FakeDisplay {
    fn address(&self) -> Option<&OutputAddress> {
        None
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn set_mode(&mut self, mode: Mode) -> Result<(), DisplayError> {
        if self.state.is_stubborn.load(Ordering::Acquire) {
            return Err(DisplayError::Refused {
                compositor: NAME,
                request: format!("the mode {mode}"),
                reason: "as the test wanted".to_owned(),
            });
        }
        self.mode = mode;
        Ok(())
    }

    fn check(&mut self) -> Result<(), DisplayError> {
        if self.state.gone.load(Ordering::Acquire) {
            let reason = "as the test wanted".to_owned();
            return Err(DisplayError::Gone {
                compositor: NAME,
                reason,
            });
        }
        Ok(())
    }

    fn app(&mut self) -> AppState {
        match self.state.app_ended.load(Ordering::Acquire) {
            true => AppState::Ended {
                success: true,
                epitaph: "exit status: 0".to_owned(),
                after: Duration::from_secs(60),
            },
            false => AppState::Running,
        }
    }
}

impl Drop for FakeDisplay {
    fn drop(&mut self) {
        self.state.alive.fetch_sub(1, Ordering::AcqRel);
    }
}
