//! `uinput`: controllers as devices of the kernel, up to 16, with rumble.
//!
//! A controller is plugged in when a client's first word about it comes (its kind by its arrival)
//! and out when it is missing from the set that every state names. What an application asks of the
//! motors comes back as [`PadOutput`].

mod layout;
mod rumble;

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use evdev::uinput::VirtualDevice;
use evdev::{
    AbsInfo, AttributeSet, BusType, EventSummary, FFEffectCode, FFEffectData, FFEffectKind,
    InputEvent as Event, InputId, KeyCode, UInputCode, UinputAbsSetup,
};
use net::clock;
use net::input::{
    CONTROLLERS_MAX, ControllerArrival, ControllerKind, ControllerState, InputEvent, PadOutput,
};
use rustix::fs::OFlags;

use super::{Capabilities, InjectBackend, InjectError, Injected, Injector, Roles};
use crate::display::OutputAddress;
use crate::select::Refusal;

use layout::Identity;
use rumble::{EFFECTS_MAX, Motors, Rumble};

const ROLES: Roles = Roles {
    desk: false,
    pads: true,
};
const NODE: &str = "/dev/uinput";
/// `FF_GAIN` (`linux/input.h`), beyond the numbers of effects.
const FF_GAIN: u16 = 0x60;
/// Events that are written for one state at most: all buttons and axes.
const EVENTS_PER_STATE: usize = 32;

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct Uinput;

impl InjectBackend for Uinput {
    fn name(&self) -> &'static str {
        "uinput"
    }

    fn roles(&self) -> Roles {
        ROLES
    }

    fn probe(&self, output: Option<&OutputAddress>) -> Result<String, Refusal> {
        if output.is_none() {
            return Err(Refusal::new("the display has no applications", ""));
        }
        probe()
    }

    fn open(&self, _: Option<&OutputAddress>) -> Result<Box<dyn Injector>, InjectError> {
        Ok(Box::new(UinputInjector::default()))
    }
}

/// Can controllers be made here?
///
/// # Errors
/// Why not, and what helps.
pub fn probe() -> Result<String, Refusal> {
    match OpenOptions::new().read(true).write(true).open(NODE) {
        Ok(_) => Ok(format!("{CONTROLLERS_MAX} controllers with rumble")),
        Err(error) => {
            let fix = match error.kind() {
                io::ErrorKind::NotFound => "load the kernel module: sudo modprobe uinput",
                io::ErrorKind::PermissionDenied => {
                    "install the udev rule: sudo scripts/setup.sh --udev, then log in again"
                }
                _ => "",
            };
            Err(Refusal::new(format!("{NODE}: {error}"), fix))
        }
    }
}

/// The controllers of a session.
#[derive(Default)]
pub struct UinputInjector {
    pads: [Option<Pad>; CONTROLLERS_MAX as usize],
}

struct Pad {
    device: VirtualDevice,
    identity: Identity,
    rumble: Rumble,
    /// Room for the events of a state.
    events: Vec<Event>,
    /// What the kernel has told and nobody has looked at.
    told: Vec<Event>,
}

impl UinputInjector {
    /// The controller, plugged in as what it is said to be; another kind than it is replaces it.
    fn plug(
        &mut self,
        controller: u8,
        kind: Option<ControllerKind>,
    ) -> Result<Option<&mut Pad>, InjectError> {
        let Some(place) = self.pads.get_mut(usize::from(controller)) else {
            return Ok(None);
        };
        let wanted = kind.map(Identity::of);
        let fits = place
            .as_ref()
            .is_some_and(|pad| wanted.is_none_or(|wanted| wanted == pad.identity));
        if !fits {
            let identity = wanted.unwrap_or(Identity::of(ControllerKind::Unknown));
            // The old one is pulled before the new one comes.
            *place = None;
            let pad = Pad::new(identity).map_err(|source| InjectError::Device {
                device: format!("{controller} ({})", identity.name),
                source,
            })?;
            log::info!("controller {controller} is plugged in: {}", identity.name);
            *place = Some(pad);
        }
        Ok(place.as_mut())
    }

    fn arrive(&mut self, arrival: &ControllerArrival) -> Result<Injected, InjectError> {
        let plugged = self.plug(arrival.controller, Some(arrival.kind))?;
        Ok(if plugged.is_some() {
            Injected::Done
        } else {
            Injected::Unsupported
        })
    }

    fn state(&mut self, state: &ControllerState) -> Result<Injected, InjectError> {
        for (number, place) in self.pads.iter_mut().enumerate() {
            if state.present & 1 << number == 0 && place.take().is_some() {
                log::info!("controller {number} is unplugged");
            }
        }
        let number = state.controller;
        if number >= CONTROLLERS_MAX || state.present & 1 << number == 0 {
            return Ok(Injected::Done);
        }
        let Some(pad) = self.plug(number, None)? else {
            return Ok(Injected::Unsupported);
        };
        pad.apply(state).map_err(|source| failed(number, source))?;
        Ok(Injected::Done)
    }
}

fn failed(number: u8, source: io::Error) -> InjectError {
    InjectError::Device {
        device: number.to_string(),
        source,
    }
}

impl Injector for UinputInjector {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            name: "uinput",
            roles: ROLES,
            has_touch: false,
            pads_max: CONTROLLERS_MAX,
        }
    }

    fn inject(&mut self, event: &InputEvent) -> Result<Injected, InjectError> {
        match event {
            InputEvent::ControllerArrival(arrival) => self.arrive(arrival),
            InputEvent::ControllerState(state) => self.state(state),
            _ => Ok(Injected::Unsupported),
        }
    }

    fn flush(&mut self) -> Result<(), InjectError> {
        Ok(())
    }

    fn release_all(&mut self) -> Result<(), InjectError> {
        for (number, pad) in (0..).zip(&mut self.pads) {
            if let Some(pad) = pad {
                pad.apply(&ControllerState::default())
                    .map_err(|source| failed(number, source))?;
            }
        }
        Ok(())
    }

    fn poll_output(&mut self) -> Result<Option<PadOutput>, InjectError> {
        for (number, pad) in (0..).zip(&mut self.pads) {
            let Some(pad) = pad else { continue };
            pad.listen().map_err(|source| failed(number, source))?;
            if let Some(Motors { strong, weak }) = pad.rumble.poll(clock::now()) {
                return Ok(Some(PadOutput::Rumble {
                    controller: number,
                    strong,
                    weak,
                }));
            }
        }
        Ok(None)
    }

    fn descriptors<'a>(&'a self, into: &mut Vec<BorrowedFd<'a>>) {
        into.extend(self.pads.iter().flatten().map(|pad| pad.device.as_fd()));
    }
}

impl Pad {
    fn new(identity: Identity) -> io::Result<Self> {
        let model = identity.model;
        let mut keys: AttributeSet<KeyCode> = model.buttons().map(|(_, code)| code).collect();
        if model.has_trigger_buttons() {
            keys.insert(KeyCode::BTN_TL2);
            keys.insert(KeyCode::BTN_TR2);
        }
        let effects: AttributeSet<FFEffectCode> = [
            FFEffectCode::FF_RUMBLE,
            FFEffectCode::FF_PERIODIC,
            FFEffectCode::FF_SQUARE,
            FFEffectCode::FF_TRIANGLE,
            FFEffectCode::FF_SINE,
            FFEffectCode::FF_GAIN,
        ]
        .into_iter()
        .collect();
        let id = InputId::new(
            BusType::BUS_USB,
            identity.vendor,
            identity.product,
            identity.version,
        );
        let mut builder = VirtualDevice::builder()?
            .name(identity.name)
            .input_id(id)
            .with_keys(&keys)?
            .with_ff(&effects)?
            .with_ff_effects_max(EFFECTS_MAX as u32);
        for (axis, low, high, fuzz, flat) in model.axes() {
            // Where it stands comes with the first state.
            let info = AbsInfo::new(0, low, high, fuzz, flat, 0);
            builder = builder.with_absolute_axis(&UinputAbsSetup::new(axis, info))?;
        }
        let device = builder.build()?;
        let flags = rustix::fs::fcntl_getfl(&device)?;
        rustix::fs::fcntl_setfl(&device, flags | OFlags::NONBLOCK)?;
        let mut pad = Self {
            device,
            identity,
            rumble: Rumble::default(),
            events: Vec::with_capacity(EVENTS_PER_STATE),
            told: Vec::with_capacity(EVENTS_PER_STATE),
        };
        pad.apply(&ControllerState::default())?;
        Ok(pad)
    }

    fn apply(&mut self, state: &ControllerState) -> io::Result<()> {
        self.events.clear();
        // The kernel drops what is so already.
        self.identity.model.events(state, &mut self.events);
        self.device.emit(&self.events)
    }

    /// Takes what applications ask of the motors. An upload is answered here: the application
    /// waits for it.
    fn listen(&mut self) -> io::Result<()> {
        self.told.clear();
        match self.device.fetch_events() {
            Ok(events) => self.told.extend(events),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let mut told = std::mem::take(&mut self.told);
        for event in told.drain(..) {
            match event.destructure() {
                EventSummary::UInput(event, UInputCode::UI_FF_UPLOAD, _) => {
                    let mut upload = self.device.process_ff_upload(event)?;
                    let (motors, data) = (motors(&upload.effect()), upload.effect());
                    let replay = data.replay;
                    let taken =
                        self.rumble
                            .upload(upload.effect_id(), motors, replay.length, replay.delay);
                    upload.set_retval(if taken { 0 } else { NO_SPACE });
                }
                EventSummary::UInput(event, UInputCode::UI_FF_ERASE, _) => {
                    let erase = self.device.process_ff_erase(event)?;
                    self.rumble.erase(erase.effect_id());
                }
                EventSummary::ForceFeedback(_, code, value) if code.0 == FF_GAIN => {
                    self.rumble.set_gain(value);
                }
                EventSummary::ForceFeedback(_, code, value) => {
                    self.rumble.play(clock::now(), code.0, value);
                }
                _ => {}
            }
        }
        self.told = told;
        Ok(())
    }
}

/// `-ENOSPC`, which an upload answers without room (`drivers/input/ff-core.c`).
const NO_SPACE: i32 = -libc::ENOSPC;

/// What an effect is for two motors; one that is no rumble shakes both.
fn motors(effect: &FFEffectData) -> Motors {
    match effect.kind {
        FFEffectKind::Rumble {
            strong_magnitude,
            weak_magnitude,
        } => Motors {
            strong: strong_magnitude,
            weak: weak_magnitude,
        },
        FFEffectKind::Periodic { magnitude, .. } => {
            let both = magnitude.unsigned_abs().saturating_mul(2);
            Motors {
                strong: both,
                weak: both,
            }
        }
        _ => Motors::default(),
    }
}
