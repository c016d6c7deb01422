//! The connection to a server of emulated input: its seats and devices, and what they can do.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use gpu::frame::Size;
use net::clock;
use net::input::Position;
use reis::PendingRequestResult;
use reis::ei;
use reis::handshake::EiHandshaker;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::refused;
use crate::capture::CaptureError;
use crate::process::timespec;

/// How long a server may take to answer while the connection opens.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it may take to have read what was told.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(200);
/// More devices no server makes.
const DEVICES_MAX: usize = 64;
const NAME: &str = "punktfunk";

/// A part of the desktop, in the server's coordinates.
#[derive(Clone, Debug, PartialEq)]
struct Region {
    x: f32,
    y: f32,
    width: f32,
    height: f32,
    mapping_id: Option<String>,
}

/// A device of the server's, with what it can do.
pub(super) struct Device {
    proxy: ei::Device,
    pub(super) keyboard: Option<ei::Keyboard>,
    pub(super) pointer: Option<ei::Pointer>,
    pub(super) absolute: Option<ei::PointerAbsolute>,
    pub(super) button: Option<ei::Button>,
    pub(super) scroll: Option<ei::Scroll>,
    pub(super) touch: Option<ei::Touchscreen>,
    pub(super) text: Option<ei::Text>,
    regions: Vec<Region>,
    /// The region that positions are of.
    region: Option<usize>,
    /// Named by the server, before the region that it is of.
    next_mapping_id: Option<String>,
    is_complete: bool,
    is_resumed: bool,
}

impl Device {
    fn new(proxy: ei::Device) -> Self {
        Self {
            proxy,
            keyboard: None,
            pointer: None,
            absolute: None,
            button: None,
            scroll: None,
            touch: None,
            text: None,
            regions: Vec::new(),
            region: None,
            next_mapping_id: None,
            is_complete: false,
            is_resumed: false,
        }
    }

    fn is_ready(&self) -> bool {
        self.is_complete && self.is_resumed
    }

    /// Takes over one of its interfaces.
    fn add(&mut self, object: reis::Object) {
        let any = object.clone();
        match any.interface() {
            "ei_keyboard" => self.keyboard = object.downcast(),
            "ei_pointer" => self.pointer = object.downcast(),
            "ei_pointer_absolute" => self.absolute = object.downcast(),
            "ei_button" => self.button = object.downcast(),
            "ei_scroll" => self.scroll = object.downcast(),
            "ei_touchscreen" => self.touch = object.downcast(),
            "ei_text" => self.text = object.downcast(),
            _ => {}
        }
    }

    /// Where a position of our output is; without regions it is in pixels of nothing, and 0. The
    /// output is of `size` from the first region's corner, where that says nothing of it.
    pub(super) fn point(&self, position: Position, size: Option<Size>) -> (f32, f32) {
        let Some(region) = self.region.and_then(|at| self.regions.get(at)) else {
            return (0.0, 0.0);
        };
        let (width, height) = match size {
            Some(size) => (size.width.into(), size.height.into()),
            None => (region.width, region.height),
        };
        // The right and lower edges are the next region's.
        let along = |from: f32, length: f32, share: f32| {
            from + (share.clamp(0.0, 1.0) * length).min(length - 0.5).max(0.0)
        };
        (
            along(region.x, width, position.x),
            along(region.y, height, position.y),
        )
    }
}

/// The connection.
pub(super) struct Link {
    context: ei::Context,
    connection: ei::Connection,
    serial: u32,
    /// Capabilities that the seat in the making offers.
    offered: u64,
    devices: Vec<Device>,
    sequence: u32,
    mapping_id: Option<String>,
    answered: Option<ei::Callback>,
    is_answered: bool,
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.context.as_fd()
    }
}

impl Link {
    /// Shakes hands, and waits until there is a device.
    pub(super) fn open(
        stream: UnixStream,
        mapping_id: Option<String>,
    ) -> Result<Self, CaptureError> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let context = ei::Context::new(stream).map_err(refused)?;
        let sender = ei::handshake::ContextType::Sender;
        let mut handshake = EiHandshaker::new(NAME, sender);
        let answer = 'answer: loop {
            wait(&context, deadline)?;
            read(&context)?;
            while let Some(event) = context.pending_event() {
                let event = request(event)?;
                if let Some(answer) = handshake.handle_event(event).map_err(refused)? {
                    break 'answer answer;
                }
            }
        };
        let mut link = Self {
            context,
            connection: answer.connection,
            serial: answer.serial,
            offered: 0,
            devices: Vec::new(),
            sequence: 0,
            mapping_id,
            answered: None,
            is_answered: false,
        };
        link.dispatch()?;
        while !link.devices.iter().any(Device::is_ready) {
            wait(&link.context, deadline)?;
            link.exchange()?;
        }
        // The others come in the same breath.
        link.settle()?;
        Ok(link)
    }

    /// The device that has something, the one on our output first.
    pub(super) fn device<T>(&self, part: impl Fn(&Device) -> Option<&T>) -> Option<&Device> {
        let mut fitting: Vec<&Device> = Vec::new();
        let ready = self.devices.iter().filter(|device| device.is_ready());
        for device in ready.filter(|device| part(device).is_some()) {
            let is_ours = device.region.is_some_and(|at| {
                device.regions[at].mapping_id.is_some()
                    && device.regions[at].mapping_id == self.mapping_id
            });
            if is_ours {
                return Some(device);
            }
            fitting.push(device);
        }
        fitting.first().copied()
    }

    /// What was told to a device belongs together.
    pub(super) fn frame(&self, device: &Device) {
        device.proxy.frame(self.serial, clock::now().as_ns() / 1000);
    }

    /// Sends what waits, reads what came, and does not wait.
    pub(super) fn exchange(&mut self) -> Result<(), CaptureError> {
        self.flush()?;
        read(&self.context)?;
        self.dispatch()
    }

    /// Waits, shortly, until the server has done what it was told.
    pub(super) fn settle(&mut self) -> Result<(), CaptureError> {
        self.is_answered = false;
        self.answered = Some(self.connection.sync(1));
        self.flush()?;
        let deadline = Instant::now() + SETTLE_TIMEOUT;
        while !self.is_answered && Instant::now() < deadline {
            if wait(&self.context, deadline).is_err() {
                break;
            }
            self.exchange()?;
        }
        Ok(())
    }

    /// Says goodbye.
    pub(super) fn leave(&self) {
        self.connection.disconnect();
        // Where it is not read any more, it is not needed.
        let _ = self.context.flush();
    }

    fn flush(&self) -> Result<(), CaptureError> {
        match self.context.flush() {
            // A full socket: the next flush goes on.
            Ok(()) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(refused(error)),
        }
    }

    fn dispatch(&mut self) -> Result<(), CaptureError> {
        while let Some(event) = self.context.pending_event() {
            self.take(request(event)?)?;
        }
        self.flush()
    }

    fn take(&mut self, event: ei::Event) -> Result<(), CaptureError> {
        match event {
            ei::Event::Connection(_, ei::connection::Event::Ping { ping }) => ping.done(0),
            ei::Event::Connection(
                _,
                ei::connection::Event::Disconnected {
                    reason,
                    explanation,
                    ..
                },
            ) => {
                let why = explanation.unwrap_or_else(|| format!("{reason:?}"));
                return Err(refused(format!("the compositor closed it ({why})")));
            }
            ei::Event::Seat(seat, event) => self.take_of_seat(&seat, event),
            ei::Event::Device(device, event) => self.take_of_device(&device, event),
            ei::Event::Keyboard(_, ei::keyboard::Event::Modifiers { serial, .. }) => {
                self.serial = serial;
            }
            ei::Event::Callback(callback, ei::callback::Event::Done { .. })
                if self.answered.as_ref() == Some(&callback) =>
            {
                self.is_answered = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn take_of_seat(&mut self, seat: &ei::Seat, event: ei::seat::Event) {
        match event {
            ei::seat::Event::Capability { mask, .. } => self.offered |= mask,
            ei::seat::Event::Done => seat.bind(std::mem::take(&mut self.offered)),
            ei::seat::Event::Device { device } if self.devices.len() < DEVICES_MAX => {
                self.devices.push(Device::new(device));
            }
            _ => {}
        }
    }

    fn take_of_device(&mut self, proxy: &ei::Device, event: ei::device::Event) {
        let Some(at) = self.devices.iter().position(|it| it.proxy == *proxy) else {
            return;
        };
        let device = &mut self.devices[at];
        match event {
            ei::device::Event::Destroyed { serial } => {
                self.serial = serial;
                self.devices.remove(at);
            }
            ei::device::Event::Interface { object } => device.add(object),
            ei::device::Event::RegionMappingId { mapping_id } => {
                device.next_mapping_id = Some(mapping_id);
            }
            ei::device::Event::Region {
                offset_x,
                offset_y,
                width,
                hight,
                ..
            } => {
                let mapping_id = device.next_mapping_id.take();
                let is_ours = mapping_id.is_some() && mapping_id == self.mapping_id;
                if is_ours || device.region.is_none() {
                    device.region = Some(device.regions.len());
                }
                device.regions.push(Region {
                    x: offset_x as f32,
                    y: offset_y as f32,
                    width: width as f32,
                    height: hight as f32,
                    mapping_id,
                });
            }
            ei::device::Event::Done => device.is_complete = true,
            ei::device::Event::Resumed { serial } => {
                self.serial = serial;
                device.is_resumed = true;
                self.sequence += 1;
                device.proxy.start_emulating(serial, self.sequence);
            }
            ei::device::Event::Paused { serial } => {
                self.serial = serial;
                device.is_resumed = false;
            }
            _ => {}
        }
    }
}

fn request(event: PendingRequestResult<ei::Event>) -> Result<ei::Event, CaptureError> {
    match event {
        PendingRequestResult::Request(event) => Ok(event),
        PendingRequestResult::ParseError(error) => Err(refused(error)),
        PendingRequestResult::InvalidObject(id) => Err(refused(format!(
            "the compositor named an unknown object {id}"
        ))),
    }
}

fn read(context: &ei::Context) -> Result<(), CaptureError> {
    match context.read() {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(refused(format!("the compositor closed it ({error})"))),
    }
}

fn wait(context: &ei::Context, deadline: Instant) -> Result<(), CaptureError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(context, PollFlags::IN)];
        match poll(&mut fds, Some(&timespec(left))) {
            Ok(0) => return Err(refused("the compositor did not answer in time")),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(refused(error)),
        }
    }
}
