//! `synthetic`: keeps what it is told, for displays without a compositor and for tests. Its
//! controllers rumble as hard as their triggers are pressed, so that a client can be tried with it.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use net::clock;
use net::input::{CONTROLLERS_MAX, ControllerState, InputEvent, PadOutput};
use net::units::Timestamp;

use super::{Capabilities, InjectBackend, InjectError, Injected, Injector, Roles};
use crate::cursor::synthetic::SyntheticPointer;
use crate::display::OutputAddress;
use crate::select::Refusal;

/// Events that a record keeps; later ones only count.
const RECORD_MAX: usize = 1 << 16;

const ROLES: Roles = Roles {
    desk: true,
    pads: true,
};

/// An event that some synthetic injector of this process has taken, and when it did.
pub type Taken = (Timestamp, InputEvent);

/// Who hears of every event.
static LISTENER: Mutex<Option<SyncSender<Taken>>> = Mutex::new(None);

/// From now on every event that a synthetic injector of this process takes is told here, with its
/// time, to the newest listener alone: for measuring from the client's call on. Of those that
/// nobody takes, `waiting_max` are kept; later ones are left out.
#[must_use]
pub fn listen(waiting_max: usize) -> Receiver<Taken> {
    let (taken_in, taken) = sync_channel(waiting_max);
    *LISTENER.lock().unwrap_or_else(PoisonError::into_inner) = Some(taken_in);
    taken
}

fn tell(event: &InputEvent) {
    let mut listener = LISTENER.lock().unwrap_or_else(PoisonError::into_inner);
    let is_gone = listener.as_ref().is_some_and(|it| {
        let told = it.try_send((clock::now(), *event));
        matches!(told, Err(TrySendError::Disconnected(_)))
    });
    if is_gone {
        *listener = None;
    }
}

/// The backend; fits a display that has no compositor.
#[derive(Clone, Debug, Default)]
pub struct Synthetic {
    /// What it moves.
    pub pointer: Option<SyntheticPointer>,
}

impl InjectBackend for Synthetic {
    fn name(&self) -> &'static str {
        "synthetic"
    }

    fn roles(&self) -> Roles {
        ROLES
    }

    fn probe(&self, output: Option<&OutputAddress>) -> Result<String, Refusal> {
        match output {
            None => Ok("there is no desktop: events are only counted".to_owned()),
            Some(_) => Err(Refusal::new("it is for displays without a compositor", "")),
        }
    }

    fn open(&self, _: Option<&OutputAddress>) -> Result<Box<dyn Injector>, InjectError> {
        Ok(Box::new(SyntheticInjector {
            record: Record::default(),
            pointer: self.pointer.clone(),
        }))
    }
}

/// What was done, as seen from outside.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    events: Vec<InputEvent>,
    count: u64,
    releases: u64,
    outputs: VecDeque<PadOutput>,
    /// Triggers of each controller, left and right.
    triggers: [(u8, u8); CONTROLLERS_MAX as usize],
}

impl Kept {
    fn rumble(&mut self, state: &ControllerState) {
        let pressed = (state.left_trigger, state.right_trigger);
        let Some(before) = self.triggers.get_mut(usize::from(state.controller)) else {
            return;
        };
        if std::mem::replace(before, pressed) != pressed && self.outputs.len() < RECORD_MAX {
            // 255 · 257 is 65535.
            self.outputs.push_back(PadOutput::Rumble {
                controller: state.controller,
                strong: u16::from(pressed.0) * 257,
                weak: u16::from(pressed.1) * 257,
            });
        }
    }
}

impl Record {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first events, in order.
    #[must_use]
    pub fn events(&self) -> Vec<InputEvent> {
        self.kept().events.clone()
    }

    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.kept().count
    }

    /// How often everything was lifted; dropping the injector counts.
    #[must_use]
    pub fn releases(&self) -> u64 {
        self.kept().releases
    }

    /// Has the injector say this to the client.
    pub fn say(&self, output: PadOutput) {
        self.kept().outputs.push_back(output);
    }
}

/// The injector.
#[derive(Debug, Default)]
pub struct SyntheticInjector {
    record: Record,
    pointer: Option<SyntheticPointer>,
}

impl SyntheticInjector {
    /// What it will have done.
    #[must_use]
    pub fn record(&self) -> Record {
        self.record.clone()
    }
}

impl Injector for SyntheticInjector {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "synthetic",
            roles: ROLES,
            has_touch: true,
            pads_max: CONTROLLERS_MAX,
        }
    }

    fn inject(&mut self, event: &InputEvent) -> Result<Injected, InjectError> {
        tell(event);
        if let Some(pointer) = &self.pointer {
            pointer.handle(event);
        }
        let mut kept = self.record.kept();
        kept.count += 1;
        if kept.events.len() < RECORD_MAX {
            kept.events.push(*event);
        }
        if let InputEvent::ControllerState(state) = event {
            kept.rumble(state);
        }
        Ok(Injected::Done)
    }

    fn flush(&mut self) -> Result<(), InjectError> {
        Ok(())
    }

    fn release_all(&mut self) -> Result<(), InjectError> {
        self.record.kept().releases += 1;
        Ok(())
    }

    fn poll_output(&mut self) -> Result<Option<PadOutput>, InjectError> {
        Ok(self.record.kept().outputs.pop_front())
    }

    fn descriptors<'a>(&'a self, _: &mut Vec<BorrowedFd<'a>>) {}
}

impl Drop for SyntheticInjector {
    fn drop(&mut self) {
        self.record.kept().releases += 1;
    }
}
