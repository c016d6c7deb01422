//! Injection: what a person does at the client, done on the session's display.
//!
//! One ordered list of backends ([`candidates`]); each says what it can take ([`Roles`]) and
//! whether it works here, or why not. A session opens the first that is ready for each role and
//! drives them together as one [`Injectors`]. Everything that is down is lifted when an injector
//! is dropped: nothing stays pressed when a client vanishes.

mod desk;
pub mod ei;
pub mod keys;
pub mod kwin;
mod pointing;
pub mod remote;
pub mod synthetic;
pub mod uinput;
pub mod wlr;

use std::os::fd::BorrowedFd;

use net::input::{InputEvent, PadOutput};

use crate::capture::CaptureError;
use crate::display::OutputAddress;
use crate::select::{Answer, Refusal};

/// Something in an injection went wrong.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// The compositor.
    #[error("input cannot reach the desktop: {0}")]
    Compositor(#[from] CaptureError),
    /// A device of the kernel.
    #[error("the virtual controller {device} failed: {source}")]
    Device {
        /// Which.
        device: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Memory for a keymap.
    #[error("a keymap cannot be handed over: {0}")]
    Keymap(std::io::Error),
}

/// What a backend takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// Keyboard, text, pointer, wheel; fingers and pens.
    pub desk: bool,
    /// Controllers.
    pub pads: bool,
}

/// What an open injector can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Name of its backend.
    pub name: &'static str,
    /// What it takes.
    pub roles: Roles,
    /// Fingers and pens arrive as such; else the first of them moves the pointer.
    pub has_touch: bool,
    /// Controllers at once; 0 if it has none.
    pub pads_max: u8,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// It was done.
    Done,
    /// There is nothing here that could do it.
    Unsupported,
}

/// A kind of injection, asked once for each session.
pub trait InjectBackend: Send + Sync {
    /// Name for logs and `doctor`.
    fn name(&self) -> &'static str;

    /// What it would take.
    fn roles(&self) -> Roles;

    /// Can it work for that output (`None`: a display without a compositor)? Ready with a detail,
    /// or why not. Leaves nothing behind.
    ///
    /// # Errors
    /// The reason, and the fix.
    fn probe(&self, output: Option<&OutputAddress>) -> Result<String, Refusal>;

    /// Opens it.
    ///
    /// # Errors
    /// See [`InjectError`].
    fn open(&self, output: Option<&OutputAddress>) -> Result<Box<dyn Injector>, InjectError>;
}

/// An open injection, driven by the input thread. Dropping it lifts all that is down.
pub trait Injector: Send {
    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Does it. The event may wait for [`Injector::flush`].
    ///
    /// # Errors
    /// See [`InjectError`]; the injector is of no more use then.
    fn inject(&mut self, event: &InputEvent) -> Result<Injected, InjectError>;

    /// Sends what waits; once after each batch of events.
    ///
    /// # Errors
    /// See [`InjectError`].
    fn flush(&mut self) -> Result<(), InjectError>;

    /// Lifts every key, button and finger that is down, and puts controllers to rest.
    ///
    /// # Errors
    /// See [`InjectError`].
    fn release_all(&mut self) -> Result<(), InjectError>;

    /// Reads what came from the other side; the next thing that the client must hear.
    ///
    /// # Errors
    /// See [`InjectError`].
    fn poll_output(&mut self) -> Result<Option<PadOutput>, InjectError>;

    /// Appends the descriptors that become readable when [`Injector::poll_output`] is due.
    fn descriptors<'a>(&'a self, into: &mut Vec<BorrowedFd<'a>>);
}

/// All kinds of injection, best first.
#[must_use]
pub fn candidates() -> Vec<Box<dyn InjectBackend>> {
    vec![
        Box::new(ei::Ei),
        Box::new(remote::RemoteDesktop),
        Box::new(wlr::Wlr),
        Box::new(kwin::Kwin),
        Box::new(uinput::Uinput),
        Box::new(synthetic::Synthetic),
    ]
}

/// Asks every backend, logs each answer, and opens the first that is ready for each role. What
/// does not open counts as refused. A session without any input is a session all the same.
#[must_use]
pub fn open(
    candidates: &[Box<dyn InjectBackend>],
    output: Option<&OutputAddress>,
) -> (Injectors, Vec<Answer>) {
    let mut injectors = Injectors::default();
    let mut answers = Vec::with_capacity(candidates.len());
    for backend in candidates {
        let (name, roles) = (backend.name(), backend.roles());
        let mut result = backend.probe(output);
        let wanted =
            roles.desk && injectors.desk.is_none() || roles.pads && injectors.pads.is_none();
        if result.is_ok() && wanted {
            match backend.open(output) {
                Ok(injector) => {
                    let place = if roles.desk && injectors.desk.is_none() {
                        &mut injectors.desk
                    } else {
                        &mut injectors.pads
                    };
                    *place = Some(injector);
                    log::info!("input: using {name}");
                }
                Err(error) => result = Err(Refusal::new(error.to_string(), "")),
            }
        }
        match &result {
            Ok(detail) => log::info!("input {name}: ready: {detail}"),
            Err(refusal) => log::info!("input {name}: {refusal}"),
        }
        answers.push(Answer {
            kind: "input",
            name,
            result,
        });
    }
    (injectors, answers)
}

/// Every backend's answer, for `doctor`; opens nothing.
#[must_use]
pub fn examine(output: Option<&OutputAddress>) -> Vec<Answer> {
    let backends = candidates();
    let ask = backends.iter().map(|backend| Answer {
        kind: "input",
        name: backend.name(),
        result: backend.probe(output),
    });
    ask.collect()
}

/// A session's injectors, each event to the one whose role it is. A backend that fails is dropped,
/// once, with its reason in the log: the picture goes on without it.
#[derive(Default)]
pub struct Injectors {
    desk: Option<Box<dyn Injector>>,
    pads: Option<Box<dyn Injector>>,
}

impl Injectors {
    /// With these; `pads` may be missing where `desk` takes controllers too.
    #[must_use]
    pub fn new(desk: Option<Box<dyn Injector>>, pads: Option<Box<dyn Injector>>) -> Self {
        Self { desk, pads }
    }

    /// True if it would take no event at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.desk.is_none() && self.pads.is_none()
    }

    /// What the open ones can do.
    pub fn capabilities(&self) -> impl Iterator<Item = Capabilities> {
        [&self.desk, &self.pads]
            .into_iter()
            .flatten()
            .map(|it| it.capabilities())
    }

    /// Does it, if anything here can.
    pub fn inject(&mut self, event: &InputEvent) -> Injected {
        let place = if is_of_pad(event) && !takes_pads(self.desk.as_deref()) {
            &mut self.pads
        } else {
            &mut self.desk
        };
        attempt(place, |injector| injector.inject(event)).unwrap_or(Injected::Unsupported)
    }

    /// Sends what waits.
    pub fn flush(&mut self) {
        for place in [&mut self.desk, &mut self.pads] {
            attempt(place, |injector| injector.flush());
        }
    }

    /// Lifts all that is down.
    pub fn release_all(&mut self) {
        for place in [&mut self.desk, &mut self.pads] {
            attempt(place, |injector| injector.release_all());
        }
    }

    /// The next thing that the client must hear.
    pub fn poll_output(&mut self) -> Option<PadOutput> {
        [&mut self.desk, &mut self.pads]
            .into_iter()
            .find_map(|place| attempt(place, |injector| injector.poll_output()).flatten())
    }

    /// Appends the descriptors to wait for.
    pub fn descriptors<'a>(&'a self, into: &mut Vec<BorrowedFd<'a>>) {
        for injector in [&self.desk, &self.pads].into_iter().flatten() {
            injector.descriptors(into);
        }
    }
}

fn takes_pads(desk: Option<&dyn Injector>) -> bool {
    desk.is_some_and(|desk| desk.capabilities().roles.pads)
}

fn attempt<T>(
    place: &mut Option<Box<dyn Injector>>,
    act: impl FnOnce(&mut dyn Injector) -> Result<T, InjectError>,
) -> Option<T> {
    match act(place.as_deref_mut()?) {
        Ok(value) => Some(value),
        Err(error) => {
            log::warn!(
                "input goes on without {}: {error}",
                place.as_ref()?.capabilities().name
            );
            *place = None;
            None
        }
    }
}

const fn is_of_pad(event: &InputEvent) -> bool {
    matches!(
        event,
        InputEvent::ControllerArrival(_)
            | InputEvent::ControllerState(_)
            | InputEvent::ControllerTouch(_)
            | InputEvent::ControllerMotion(_)
            | InputEvent::ControllerBattery(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_without_compositor_gets_the_synthetic_backend() {
        let (injectors, answers) = open(&candidates(), None);
        assert_eq!(answers.len(), candidates().len());
        let names: Vec<_> = injectors.capabilities().map(|it| it.name).collect();
        assert!(names.contains(&"synthetic"), "{names:?}");
        let wlr = answers
            .iter()
            .find(|answer| answer.name == "wlr")
            .expect("asked");
        assert!(wlr.result.is_err(), "there is no compositor");
    }
}
