//! `synthetic`: a display without a compositor. It has no address; whoever drives the session
//! opens [`crate::capture::synthetic`] at its mode instead of capturing an output.

use net::units::Mode;

use super::{
    AppState, DisplayBackend, DisplayError, DisplayRequest, OutputAddress, VirtualDisplay,
};
use crate::cursor::synthetic::SyntheticPointer;
use crate::select::Refusal;

/// The backend; fits everywhere, and is used only when asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Synthetic;

impl DisplayBackend for Synthetic {
    fn name(&self) -> &'static str {
        "synthetic"
    }

    fn probe(&self) -> Result<String, Refusal> {
        Ok("a drawn pattern, without any desktop".to_owned())
    }

    fn create(&self, request: &DisplayRequest) -> Result<Box<dyn VirtualDisplay>, DisplayError> {
        if !request.app.is_empty() {
            log::warn!(
                "a synthetic display runs no application: {:?} is not started",
                request.app
            );
        }
        Ok(Box::new(SyntheticDisplay {
            mode: request.mode,
            pointer: SyntheticPointer::new(request.mode),
        }))
    }
}

struct SyntheticDisplay {
    mode: Mode,
    pointer: SyntheticPointer,
}

impl VirtualDisplay for SyntheticDisplay {
    fn address(&self) -> Option<&OutputAddress> {
        None
    }

    fn pointer(&self) -> Option<&SyntheticPointer> {
        Some(&self.pointer)
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn set_mode(&mut self, mode: Mode) -> Result<(), DisplayError> {
        self.mode = mode;
        self.pointer.set_mode(mode);
        Ok(())
    }

    fn check(&mut self) -> Result<(), DisplayError> {
        Ok(())
    }

    fn app(&mut self) -> AppState {
        AppState::None
    }
}
