//! GNOME's shell shows an overview of its windows, small, when it has just started and whenever its
//! user asks for it. A session's application is there to be seen: the overview is left for it.
//!
//! A shell without monitors, as headless ones are between sessions, starts in earnest when it gets
//! the first, and shows its overview then. Who has it leave before that start is complete breaks it
//! (gnome-shell 48: the actor that keeps the pointer from windows during the start stays for ever).
//! The shell does not tell when it is complete, but its steps have fixed lengths, 1 s together
//! (`STARTUP_ANIMATION_TIME` twice, `ui/layout.js`).

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustbus::message_builder::MarshalledMessage;
use rustbus::wire::unmarshal::traits::Variant;

use super::cancel::{Cancel, LOOK_INTERVAL};
use crate::dbus::{Bus, BusError, Target, unmarshallable};

/// For one exchange. The shell answers late while it starts.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// From a first monitor to the overview: 0.5 s on two busy cores.
const APPEAR_MAX: Duration = Duration::from_secs(10);
/// From the overview to the end of the start: its 1 s, and as much again for a slow machine.
const START_TIME: Duration = Duration::from_secs(2);

/// The shell on top of Mutter, where there is one (`org.gnome.Shell.xml` of gnome-shell).
const SHELL: Target<'static> = Target {
    service: "org.gnome.Shell",
    path: "/org/gnome/Shell",
    interface: "org.gnome.Shell",
};
const ACTIVE: &str = "OverviewActive";
const DISPLAY_CONFIG: Target<'static> = Target {
    service: "org.gnome.Mutter.DisplayConfig",
    path: "/org/gnome/Mutter/DisplayConfig",
    interface: "org.gnome.Mutter.DisplayConfig",
};

/// Has the shell leave its overview, on a thread of its own; given up when it is dropped.
#[derive(Debug)]
pub(super) struct Leaving {
    given_up: Cancel,
    thread: Option<JoinHandle<()>>,
}

impl Leaving {
    /// Begins. `starts` where the shell had no monitor until now.
    pub(super) fn begin(bus: PathBuf, starts: bool) -> Self {
        let given_up = Cancel::default();
        let seen = given_up.clone();
        let thread = std::thread::Builder::new()
            .name("overview".to_owned())
            .spawn(move || {
                let left = Bus::connect(&bus, CALL_TIMEOUT, &seen)
                    .and_then(|mut bus| leave(&mut bus, starts, &seen));
                if let Err(error) = left {
                    log::debug!("gnome-shell: no overview to leave: {error}");
                }
            })
            .inspect_err(|error| log::warn!("gnome-shell: its overview may stay: {error}"));
        Self {
            given_up,
            thread: thread.ok(),
        }
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.given_up.ask();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("the thread of gnome-shell's overview panicked");
        }
    }
}

/// Whether Mutter has monitors.
pub(super) fn has_monitors(bus: &mut Bus, limit: Duration) -> Result<bool, BusError> {
    let call = DISPLAY_CONFIG.call("GetCurrentState");
    let answer = bus.call(&call, limit, &Cancel::default())?;
    // A serial number, then the array of monitors, which begins with its length.
    let length = answer.bytes().get(4..8);
    Ok(length.is_some_and(|length| length != [0; 4]))
}

fn leave(bus: &mut Bus, starts: bool, given_up: &Cancel) -> Result<(), BusError> {
    // A bare Mutter has none.
    if !bus.has_owner(SHELL.service, CALL_TIMEOUT)? {
        return Ok(());
    }
    let begun = Instant::now();
    let mut appeared = None;
    while !given_up.is_asked() {
        let is_active = is_active(bus, given_up)?;
        let now = Instant::now();
        if is_active {
            let since = *appeared.get_or_insert(now);
            if !starts || now - since >= START_TIME {
                log::debug!("gnome-shell: leaving the overview");
                let mut call = of_properties("Set")?;
                call.body.push_variant(false).map_err(unmarshallable)?;
                return bus.call(&call, CALL_TIMEOUT, given_up).map(drop);
            }
        } else if appeared.is_some() || !starts || now - begun >= APPEAR_MAX {
            return Ok(());
        }
        std::thread::park_timeout(LOOK_INTERVAL);
    }
    Ok(())
}

fn is_active(bus: &mut Bus, given_up: &Cancel) -> Result<bool, BusError> {
    let answer = bus.call(&of_properties("Get")?, CALL_TIMEOUT, given_up)?;
    let variant: Variant<'_, '_> = answer.first()?;
    let read = variant.get();
    read.map_err(|error| BusError::Ended(format!("{ACTIVE} is of another kind: {error:?}")))
}

fn of_properties(method: &str) -> Result<MarshalledMessage, BusError> {
    let properties = Target {
        interface: "org.freedesktop.DBus.Properties",
        ..SHELL
    };
    let mut call = properties.call(method);
    let pushed = call.body.push_param2(SHELL.interface, ACTIVE);
    pushed.map_err(unmarshallable)?;
    Ok(call)
}
