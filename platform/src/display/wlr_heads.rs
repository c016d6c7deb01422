//! Outputs and their modes over `zwlr_output_manager_v1` (wlr-output-management-unstable-v1, version
//! 4), which compositors of the wlroots family let ordinary clients use.
//!
//! A configuration speaks of every head: those that it does not name are free to change. It is made
//! for the state of one `serial`; if the state has changed meanwhile it is cancelled, and made anew.

use std::path::Path;

use net::units::Mode;
use wayland_client::backend::ObjectId;
use wayland_client::{Connection, Dispatch, Proxy, QueueHandle, event_created_child};
use wayland_protocols_wlr::output_management::v1::client as management;

use management::zwlr_output_configuration_head_v1::ZwlrOutputConfigurationHeadV1;
use management::zwlr_output_configuration_v1::{self, ZwlrOutputConfigurationV1};
use management::zwlr_output_head_v1::{self, ZwlrOutputHeadV1};
use management::zwlr_output_manager_v1::{self, ZwlrOutputManagerV1};
use management::zwlr_output_mode_v1::{self, ZwlrOutputModeV1};

use super::cancel::Cancel;
use crate::capture::CaptureError;
use crate::capture::link::{Link, State, ended};

/// How often a configuration is made anew because something else changed meanwhile.
const TRIES: usize = 5;

/// A mode of a head: width, height and rate, mHz (0 if it has none).
pub(super) type HeadMode = (i32, i32, i32);

/// What a head is to have.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HeadState {
    pub(super) enabled: bool,
    pub(super) mode: Option<HeadMode>,
    pub(super) scale: f64,
}

#[derive(Debug)]
struct Head {
    proxy: ZwlrOutputHeadV1,
    name: String,
    modes: Vec<(ZwlrOutputModeV1, HeadMode)>,
    enabled: bool,
    current: Option<ObjectId>,
    scale: f64,
}

impl Head {
    fn mode(&self) -> Option<HeadMode> {
        let current = self.current.as_ref()?;
        let found = self.modes.iter().find(|(proxy, _)| proxy.id() == *current);
        found.map(|(_, mode)| *mode)
    }

    fn state(&self) -> HeadState {
        HeadState {
            enabled: self.enabled,
            mode: self.mode(),
            scale: self.scale,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Succeeded,
    Failed,
    Cancelled,
}

/// What the manager has told.
#[derive(Debug, Default)]
pub(super) struct Known {
    heads: Vec<Head>,
    serial: Option<u32>,
    verdict: Option<Verdict>,
    is_finished: bool,
}

impl Known {
    fn head(&mut self, proxy: &ZwlrOutputHeadV1) -> Option<&mut Head> {
        self.heads.iter_mut().find(|head| head.proxy == *proxy)
    }
}

/// A connection to the manager.
pub(super) struct Heads {
    link: Link<Known>,
    manager: ZwlrOutputManagerV1,
}

impl Heads {
    /// Connects and learns all heads.
    pub(super) fn connect(socket: &Path, cancel: &Cancel) -> Result<Self, CaptureError> {
        let mut link = Link::connect_unless(socket, Known::default(), cancel)?;
        let manager = link.bind(1, 4)?;
        link.wait_for(|state| state.protocol.serial.is_some())?;
        Ok(Self { link, manager })
    }

    /// From now on waits end with their answers or their time, whoever cancels.
    pub(super) fn shield(&mut self) {
        self.link.shield();
    }

    /// Names of all heads, in the order in which they were told.
    pub(super) fn names(&self) -> Vec<String> {
        let heads = self.link.state.protocol.heads.iter();
        heads.map(|head| head.name.clone()).collect()
    }

    /// What a head has by now.
    pub(super) fn state(&mut self, name: &str) -> Result<HeadState, CaptureError> {
        self.link.round_trip()?;
        let known = &self.link.state.protocol;
        if known.is_finished {
            return Err(ended("the compositor ended its output management"));
        }
        let head = known.heads.iter().find(|head| head.name == name);
        head.map(Head::state).ok_or_else(|| CaptureError::NoOutput {
            output: name.to_owned(),
        })
    }

    /// Gives a head another state, tested first; on return it has it. `Err` with the reason.
    pub(super) fn configure(&mut self, name: &str, wanted: &HeadState) -> Result<(), String> {
        for apply in [false, true] {
            self.try_until_current(name, wanted, apply)?;
        }
        let Some((width, height, _)) = wanted.mode.filter(|_| wanted.enabled) else {
            return Ok(());
        };
        let name = name.to_owned();
        let waited = self.link.wait_for(move |state| {
            let mut heads = state.protocol.heads.iter();
            let head = heads.find(|head| head.name == name);
            let mode = head.and_then(Head::mode);
            mode.is_some_and(|(has_width, has_height, _)| {
                (has_width, has_height) == (width, height)
            })
        });
        waited.map_err(|error| error.to_string())
    }

    fn try_until_current(
        &mut self,
        name: &str,
        wanted: &HeadState,
        apply: bool,
    ) -> Result<(), String> {
        for _ in 0..TRIES {
            match self.send(name, wanted, apply)? {
                Verdict::Succeeded => return Ok(()),
                Verdict::Failed if apply => return Err("it could not be applied".to_owned()),
                Verdict::Failed => return Err("the compositor's test of it failed".to_owned()),
                Verdict::Cancelled => {}
            }
            self.link.round_trip().map_err(|error| error.to_string())?;
        }
        Err("other configurations always came first".to_owned())
    }

    fn send(&mut self, name: &str, wanted: &HeadState, apply: bool) -> Result<Verdict, String> {
        let handle = self.link.handle();
        let known = &mut self.link.state.protocol;
        let serial = known.serial.expect("told before anything else");
        known.verdict = None;
        let configuration = self.manager.create_configuration(serial, &handle, ());
        let mut is_there = false;
        for head in &known.heads {
            let is_it = head.name == name;
            is_there |= is_it;
            if !(if is_it { wanted.enabled } else { head.enabled }) {
                configuration.disable_head(&head.proxy);
                continue;
            }
            let part = configuration.enable_head(&head.proxy, &handle, ());
            if let Some(mode) = wanted.mode.filter(|_| is_it) {
                match head.modes.iter().find(|(_, listed)| *listed == mode) {
                    Some((listed, _)) => part.set_mode(listed),
                    None => part.set_custom_mode(mode.0, mode.1, mode.2),
                }
                part.set_scale(wanted.scale);
            }
        }
        if !is_there {
            configuration.destroy();
            return Err(format!("there is no output {name} any more"));
        }
        match apply {
            true => configuration.apply(),
            false => configuration.test(),
        }
        let answered = self.link.wait_for(|state| state.protocol.verdict.is_some());
        configuration.destroy();
        answered.map_err(|error| error.to_string())?;
        let verdict = self.link.state.protocol.verdict.take();
        Ok(verdict.expect("waited for"))
    }
}

/// A mode in the protocol's numbers.
pub(super) fn head_mode(mode: Mode) -> HeadMode {
    let refresh = i32::try_from(mode.refresh().get()).unwrap_or(i32::MAX);
    (mode.width().into(), mode.height().into(), refresh)
}

impl Dispatch<ZwlrOutputManagerV1, ()> for State<Known> {
    fn event(
        state: &mut Self,
        _: &ZwlrOutputManagerV1,
        event: zwlr_output_manager_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        let known = &mut state.protocol;
        match event {
            zwlr_output_manager_v1::Event::Head { head } => known.heads.push(Head {
                proxy: head,
                name: String::new(),
                modes: Vec::new(),
                enabled: false,
                current: None,
                scale: 1.0,
            }),
            zwlr_output_manager_v1::Event::Done { serial } => known.serial = Some(serial),
            zwlr_output_manager_v1::Event::Finished => known.is_finished = true,
            _ => {}
        }
    }

    event_created_child!(Self, ZwlrOutputManagerV1, [
        zwlr_output_manager_v1::EVT_HEAD_OPCODE => (ZwlrOutputHeadV1, ()),
    ]);
}

impl Dispatch<ZwlrOutputHeadV1, ()> for State<Known> {
    fn event(
        state: &mut Self,
        proxy: &ZwlrOutputHeadV1,
        event: zwlr_output_head_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        use zwlr_output_head_v1::Event;
        if matches!(event, Event::Finished) {
            state.protocol.heads.retain(|head| head.proxy != *proxy);
            return;
        }
        let Some(head) = state.protocol.head(proxy) else {
            return;
        };
        match event {
            Event::Name { name } => head.name = name,
            Event::Mode { mode } => head.modes.push((mode, (0, 0, 0))),
            Event::Enabled { enabled } => {
                head.enabled = enabled != 0;
                if !head.enabled {
                    head.current = None;
                }
            }
            Event::CurrentMode { mode } => head.current = Some(mode.id()),
            Event::Scale { scale } => head.scale = scale,
            _ => {}
        }
    }

    event_created_child!(Self, ZwlrOutputHeadV1, [
        zwlr_output_head_v1::EVT_MODE_OPCODE => (ZwlrOutputModeV1, ()),
    ]);
}

impl Dispatch<ZwlrOutputModeV1, ()> for State<Known> {
    fn event(
        state: &mut Self,
        proxy: &ZwlrOutputModeV1,
        event: zwlr_output_mode_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        use zwlr_output_mode_v1::Event;
        let heads = &mut state.protocol.heads;
        if matches!(event, Event::Finished) {
            for head in heads {
                head.modes.retain(|(mode, _)| mode != proxy);
            }
            return;
        }
        let mut modes = heads.iter_mut().flat_map(|head| &mut head.modes);
        let Some((_, mode)) = modes.find(|(mode, _)| mode == proxy) else {
            return;
        };
        match event {
            Event::Size { width, height } => (mode.0, mode.1) = (width, height),
            Event::Refresh { refresh } => mode.2 = refresh,
            _ => {}
        }
    }
}

impl Dispatch<ZwlrOutputConfigurationV1, ()> for State<Known> {
    fn event(
        state: &mut Self,
        _: &ZwlrOutputConfigurationV1,
        event: zwlr_output_configuration_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        use zwlr_output_configuration_v1::Event;
        state.protocol.verdict = Some(match event {
            Event::Succeeded => Verdict::Succeeded,
            Event::Cancelled => Verdict::Cancelled,
            _ => Verdict::Failed,
        });
    }
}

wayland_client::delegate_noop!(State<Known>: ignore ZwlrOutputConfigurationHeadV1);
