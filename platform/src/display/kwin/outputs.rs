//! KWin's outputs and their modes, over `kde_output_management_v2` (version 18 and later: modes of
//! one's own; before that an output has the one mode that it was made with).
//!
//! A change has two steps, for a mode can be chosen only once KWin lists it: (1) the list of modes
//! of one's own, which replaces the one of before and therefore holds the current mode too, until
//! the next is chosen; (2) the choice. KWin makes rates up from CVT timings: 120 Hz becomes
//! 119.88 Hz or so.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use net::units::Mode;
use wayland_client::backend::protocol::{Argument, Message};
use wayland_client::backend::{Backend, ObjectData, ObjectId};

use super::interfaces::{
    CAPABILITY_CUSTOM_MODES, CONFIGURATION, DEVICE, MANAGEMENT, MANAGEMENT_WITH_MODES, MODE,
    MODE_LIST, REGISTRY, configuration_event, configuration_request, device_event,
    management_request, mode_event, mode_list_request,
};
use crate::capture::CaptureError;
use crate::capture::link::Link;

/// How far the rate of a mode may be from the one that was asked for, per mille: CVT's clock steps
/// and reduced blanking move it by less than 3.
const RATE_OFF_MAX_PER_MILLE: u32 = 10;
/// A scale of 1, as 24.8 fixed point.
const SCALE_ONE: i32 = 256;

/// A mode that KWin lists.
#[derive(Clone, Debug)]
struct ListedMode {
    id: ObjectId,
    width: i32,
    height: i32,
    refresh_millihz: i32,
}

impl ListedMode {
    /// As a mode of ours, if it can be one.
    fn mode(&self) -> Option<Mode> {
        let width = u32::try_from(self.width).ok()?;
        let height = u32::try_from(self.height).ok()?;
        let refresh = u32::try_from(self.refresh_millihz).ok()?;
        Mode::new(width, height, refresh).ok()
    }
}

#[derive(Debug)]
struct Device {
    id: ObjectId,
    /// Name in the registry, where it is a global.
    global: Option<u32>,
    name: String,
    modes: Vec<ListedMode>,
    current: Option<ObjectId>,
    has_custom_modes: bool,
    is_told: bool,
}

/// What became of a configuration.
#[derive(Debug, Default)]
struct Verdict {
    applied: Option<bool>,
    reason: String,
}

#[derive(Debug, Default)]
struct Known {
    devices: Vec<Device>,
    verdict: Verdict,
}

impl Known {
    fn device(&mut self, id: &ObjectId) -> Option<&mut Device> {
        self.devices.iter_mut().find(|device| device.id == *id)
    }

    fn named(&self, name: &str) -> Option<&Device> {
        self.devices
            .iter()
            .find(|device| device.name == name && device.is_told)
    }
}

/// Hears what all objects of output management say.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Known>>);

impl Ear {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arc(&self) -> Arc<dyn ObjectData> {
        Arc::new(self.clone())
    }

    fn hear_device(&self, message: &Message<ObjectId, OwnedFd>) {
        let mut known = self.known();
        let id = &message.sender_id;
        let Some(device) = known.device(id) else {
            return;
        };
        match (message.opcode, &*message.args) {
            (device_event::CURRENT_MODE, [Argument::Object(mode)]) => {
                device.current = Some(mode.clone());
            }
            (device_event::MODE, [Argument::NewId(mode)]) => device.modes.push(ListedMode {
                id: mode.clone(),
                width: 0,
                height: 0,
                refresh_millihz: 0,
            }),
            (device_event::DONE, _) => device.is_told = true,
            (device_event::CAPABILITIES, [Argument::Uint(flags)]) => {
                device.has_custom_modes = flags & CAPABILITY_CUSTOM_MODES != 0;
            }
            (device_event::NAME, [Argument::Str(Some(name))]) => {
                device.name = name.to_string_lossy().into_owned();
            }
            (device_event::REMOVED, _) => known.devices.retain(|device| device.id != *id),
            _ => {}
        }
    }

    fn hear_mode(&self, message: &Message<ObjectId, OwnedFd>) {
        let mut known = self.known();
        let id = &message.sender_id;
        if message.opcode == mode_event::REMOVED {
            for device in &mut known.devices {
                device.modes.retain(|mode| mode.id != *id);
            }
            return;
        }
        let modes = known.devices.iter_mut().flat_map(|it| &mut it.modes);
        for mode in modes.filter(|mode| mode.id == *id) {
            match (message.opcode, &*message.args) {
                (mode_event::SIZE, [Argument::Int(width), Argument::Int(height)]) => {
                    (mode.width, mode.height) = (*width, *height);
                }
                (mode_event::REFRESH, [Argument::Int(rate)]) => mode.refresh_millihz = *rate,
                _ => {}
            }
        }
    }

    fn hear_verdict(&self, message: &Message<ObjectId, OwnedFd>) {
        let verdict = &mut self.known().verdict;
        match (message.opcode, &*message.args) {
            (configuration_event::APPLIED, _) => verdict.applied = Some(true),
            (configuration_event::FAILED, _) => verdict.applied = Some(false),
            (configuration_event::FAILURE_REASON, [Argument::Str(Some(reason))]) => {
                verdict.reason = reason.to_string_lossy().into_owned();
            }
            _ => {}
        }
    }
}

impl ObjectData for Ear {
    fn event(
        self: Arc<Self>,
        _: &Backend,
        message: Message<ObjectId, OwnedFd>,
    ) -> Option<Arc<dyn ObjectData>> {
        let made = message.args.iter().find_map(|argument| match argument {
            Argument::NewId(id) => Some(id.clone()),
            _ => None,
        });
        let from = message.sender_id.interface().name;
        if from == DEVICE.name {
            self.hear_device(&message);
        } else if from == MODE.name {
            self.hear_mode(&message);
        } else if from == CONFIGURATION.name {
            self.hear_verdict(&message);
        } else if from == REGISTRY.name
            && let Some(id) = &made
        {
            self.known().devices.push(Device::new(id.clone(), None));
        }
        made.map(|_| self as Arc<dyn ObjectData>)
    }

    fn destroyed(&self, _: ObjectId) {}
}

impl Device {
    fn new(id: ObjectId, global: Option<u32>) -> Self {
        Self {
            id,
            global,
            name: String::new(),
            modes: Vec::new(),
            current: None,
            has_custom_modes: false,
            is_told: false,
        }
    }

    fn current(&self) -> Option<&ListedMode> {
        let current = self.current.as_ref()?;
        self.modes.iter().find(|mode| mode.id == *current)
    }

    /// The listed mode that comes nearest to `wanted`, if it is near enough.
    fn nearest(&self, wanted: Mode) -> Option<&ListedMode> {
        let off = |mode: &&ListedMode| off_millihz(mode, wanted);
        let best = self.modes.iter().filter(|mode| fits(mode, wanted));
        best.min_by_key(off)
    }
}

fn off_millihz(mode: &ListedMode, wanted: Mode) -> u32 {
    let refresh = u32::try_from(mode.refresh_millihz).unwrap_or(0);
    refresh.abs_diff(wanted.refresh().get())
}

fn fits(mode: &ListedMode, wanted: Mode) -> bool {
    let size = (mode.width, mode.height);
    let same_size = size == (i32::from(wanted.width()), i32::from(wanted.height()));
    let wanted_millihz = wanted.refresh().get();
    same_size && off_millihz(mode, wanted) <= wanted_millihz / 1000 * RATE_OFF_MAX_PER_MILLE
}

/// KWin's output management on a connection.
pub(super) struct Outputs {
    ear: Ear,
    management: ObjectId,
    version: u32,
}

impl Outputs {
    /// Binds it, and learns the outputs.
    ///
    /// # Errors
    /// [`CaptureError::Unsupported`] where the compositor is not KWin; the connection's.
    pub(super) fn bind<P: 'static>(link: &mut Link<P>) -> Result<Self, CaptureError> {
        let ear = Ear::default();
        let protocol = MANAGEMENT.name;
        let global = link.globals_of(protocol).first().copied();
        let global = global.ok_or(CaptureError::Unsupported { protocol })?;
        let management = link.bind_untyped(global, &MANAGEMENT, ear.arc())?;
        if let Some(&registry) = link.globals_of(REGISTRY.name).first() {
            link.bind_untyped(registry, &REGISTRY, ear.arc())?;
        }
        let version = global.1.min(MANAGEMENT.version);
        let mut outputs = Self {
            ear,
            management,
            version,
        };
        outputs.refresh(link)?;
        Ok(outputs)
    }

    /// Learns outputs that came, where each is a global; what else changed is heard by itself.
    pub(super) fn refresh<P: 'static>(&mut self, link: &mut Link<P>) -> Result<(), CaptureError> {
        let globals = link.globals_of(DEVICE.name);
        {
            let mut known = self.ear.known();
            let stands = |name: u32| globals.iter().any(|global| global.0 == name);
            known.devices.retain(|it| it.global.is_none_or(stands));
        }
        for global in globals {
            let known = |device: &Device| device.global == Some(global.0);
            if !self.ear.known().devices.iter().any(known) {
                let id = link.bind_untyped(global, &DEVICE, self.ear.arc())?;
                let device = Device::new(id, Some(global.0));
                self.ear.known().devices.push(device);
            }
        }
        link.round_trip()
    }

    /// The names of all outputs.
    pub(super) fn names(&self) -> Vec<String> {
        let known = self.ear.known();
        known.devices.iter().map(|it| it.name.clone()).collect()
    }

    /// The mode that the output of that name has; `None` if there is no such output.
    pub(super) fn mode(&self, output: &str) -> Option<Mode> {
        let known = self.ear.known();
        known.named(output)?.current()?.mode()
    }

    /// Gives an output that size and that rate, or the nearest that KWin makes of it, at a scale
    /// of 1; returns the mode that it has then.
    ///
    /// # Errors
    /// What KWin said.
    pub(super) fn set_mode<P: 'static>(
        &mut self,
        link: &mut Link<P>,
        output: &str,
        wanted: Mode,
    ) -> Result<Mode, String> {
        let text = |error: CaptureError| error.to_string();
        let (device, current, listed, can_list) = {
            let known = self.ear.known();
            let device = known.named(output);
            let device = device.ok_or_else(|| format!("there is no output {output} any more"))?;
            let listed = device.nearest(wanted).map(|mode| mode.id.clone());
            let current = device.current().and_then(ListedMode::mode);
            (device.id.clone(), current, listed, device.has_custom_modes)
        };
        let mode = match listed {
            Some(mode) => mode,
            None if self.version < MANAGEMENT_WITH_MODES || !can_list => {
                return Err(format!(
                    "this KWin gives an output no modes but {}; KWin 6.6 and later can",
                    current.map_or_else(|| "none".to_owned(), |mode| mode.to_string())
                ));
            }
            None => {
                self.list_modes(link, &device, current.into_iter().chain([wanted]))?;
                let mut known = self.ear.known();
                let device = known.device(&device);
                let mode = device.and_then(|it| Some(it.nearest(wanted)?.id.clone()));
                mode.ok_or("it did not list the mode that it was given")?
            }
        };
        self.configure(link, |_, link, configuration| {
            use configuration_request as asks;
            let output = Argument::Object(device.clone());
            let enable = [output.clone(), Argument::Int(1)];
            let choose = [output.clone(), Argument::Object(mode.clone())];
            let scale = [output, Argument::Fixed(SCALE_ONE)];
            link.send_untyped(configuration, asks::ENABLE, &enable, None)?;
            link.send_untyped(configuration, asks::MODE, &choose, None)?;
            link.send_untyped(configuration, asks::SCALE, &scale, None)?;
            Ok(())
        })?;
        link.round_trip().map_err(text)?;
        let now = self.mode(output);
        match now {
            Some(now) if (now.width(), now.height()) == (wanted.width(), wanted.height()) => {
                Ok(now)
            }
            Some(now) => Err(format!("output {output} has {now} instead of {wanted}")),
            None => Err(format!("output {output} was removed")),
        }
    }

    /// Replaces the output's list of modes of one's own.
    fn list_modes<P: 'static>(
        &mut self,
        link: &mut Link<P>,
        device: &ObjectId,
        modes: impl Iterator<Item = Mode>,
    ) -> Result<(), String> {
        let modes: Vec<Mode> = modes.collect();
        self.configure(link, |outputs, link, configuration| {
            use mode_list_request as asks;
            let child = (&MODE_LIST, outputs.version, outputs.ear.arc());
            let request = management_request::CREATE_MODE_LIST;
            let new = [Argument::NewId(ObjectId::null())];
            let list = link.send_untyped(&outputs.management, request, &new, Some(child))?;
            let set = |request: u16, values: &[u32]| {
                let values: Vec<_> = values.iter().copied().map(Argument::Uint).collect();
                link.send_untyped(&list, request, &values, None).map(drop)
            };
            for mode in &modes {
                let size = [mode.width().into(), mode.height().into()];
                set(asks::SET_RESOLUTION, &size)?;
                set(asks::SET_REFRESH_RATE, &[mode.refresh().get()])?;
                set(asks::SET_REDUCED_BLANKING, &[1])?;
                set(asks::ADD_MODE, &[])?;
            }
            let both = [
                Argument::Object(device.clone()),
                Argument::Object(list.clone()),
            ];
            let request = configuration_request::SET_CUSTOM_MODES;
            link.send_untyped(configuration, request, &both, None)?;
            set(asks::DESTROY, &[])
        })?;
        link.round_trip().map_err(|error| error.to_string())
    }

    /// Makes a configuration, lets `fill` fill it, and applies it.
    fn configure<P: 'static>(
        &mut self,
        link: &mut Link<P>,
        fill: impl FnOnce(&Self, &Link<P>, &ObjectId) -> Result<(), CaptureError>,
    ) -> Result<(), String> {
        use configuration_request as asks;
        let text = |error: CaptureError| error.to_string();
        self.ear.known().verdict = Verdict::default();
        let child = (&CONFIGURATION, self.version, self.ear.arc());
        let request = management_request::CREATE_CONFIGURATION;
        let new = [Argument::NewId(ObjectId::null())];
        let made = link.send_untyped(&self.management, request, &new, Some(child));
        let configuration = made.map_err(text)?;
        fill(self, link, &configuration).map_err(text)?;
        link.send_untyped(&configuration, asks::APPLY, &[], None)
            .map_err(text)?;
        let ear = self.ear.clone();
        link.wait_for(|_| ear.known().verdict.applied.is_some())
            .map_err(text)?;
        link.send_untyped(&configuration, asks::DESTROY, &[], None)
            .map_err(text)?;
        let verdict = std::mem::take(&mut self.ear.known().verdict);
        match verdict.applied {
            Some(true) => Ok(()),
            _ if verdict.reason.is_empty() => Err("KWin gives no reason".to_owned()),
            _ => Err(verdict.reason),
        }
    }
}
