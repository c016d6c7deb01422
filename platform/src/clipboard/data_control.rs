//! `data-control`: `ext-data-control-v1` where the compositor offers it, else
//! `zwlr_data_control_manager_v1`, which differs in nothing but its names.
//!
//! A device tells each selection as an offer of MIME types. One with text is read at once through
//! a pipe; a newer selection ends the reading. Our own text is a source, which is sent to whoever
//! pastes. The compositor tells us our own selection, too: a MIME type that only this source has
//! marks it.

use std::os::fd::OwnedFd;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use net::clock;
use net::units::Timestamp;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use wayland_client::backend::ObjectId;
use wayland_client::protocol::wl_seat::WlSeat;
use wayland_client::{Proxy, delegate_noop};
use wayland_protocols::ext::data_control::v1::client as ext;
use wayland_protocols_wlr::data_control::v1::client as wlr;

use ext::ext_data_control_device_v1::ExtDataControlDeviceV1;
use ext::ext_data_control_manager_v1::ExtDataControlManagerV1;
use ext::ext_data_control_offer_v1::ExtDataControlOfferV1;
use ext::ext_data_control_source_v1::ExtDataControlSourceV1;
use wlr::zwlr_data_control_device_v1::ZwlrDataControlDeviceV1;
use wlr::zwlr_data_control_manager_v1::ZwlrDataControlManagerV1;
use wlr::zwlr_data_control_offer_v1::ZwlrDataControlOfferV1;
use wlr::zwlr_data_control_source_v1::ZwlrDataControlSourceV1;

use super::pipes::{Read, Reading, Writing};
use super::{Clipboard, ClipboardBackend, ClipboardError, Copied, is_shared};
use crate::capture::link::{Link, State, Wait, ended};
use crate::capture::{CaptureError, Waker};
use crate::display::{OutputAddress, WaylandOutput};
use crate::process::timespec;
use crate::select::Refusal;

/// What text is called; the first of them that an offer has is read.
const TEXT: [&str; 3] = ["text/plain;charset=utf-8", "UTF8_STRING", "text/plain"];
/// Set by password managers: this is not to be kept or passed on.
const SECRET: &str = "x-kde-passwordManagerHint";
/// MIME types that are remembered of an offer; real ones have two dozen.
const TYPES_MAX: usize = 64;
/// Applications that paste at the same time. One more: the oldest gets no more.
const WRITINGS_MAX: usize = 8;
/// Looks at the compositor's events before pipes get their turn.
const TURNS: usize = 32;

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct DataControl;

impl ClipboardBackend for DataControl {
    fn name(&self) -> &'static str {
        "data-control"
    }

    fn probe(&self, output: Option<&OutputAddress>) -> Result<String, Refusal> {
        let Some(output) = output else {
            return Err(Refusal::new("the display has no compositor", ""));
        };
        match output.beside_over_wayland().and_then(Globals::bind) {
            Ok(_) => Ok("clipboard text".to_owned()),
            Err(error) => Err(Refusal::new(
                error.to_string(),
                "use a compositor with data-control, sway for one",
            )),
        }
    }

    fn open(&self, output: Option<&OutputAddress>) -> Result<Box<dyn Clipboard>, ClipboardError> {
        let output = output.ok_or_else(|| ended("the display has no compositor"))?;
        Ok(Box::new(Controlled::open(output.beside_over_wayland()?)?))
    }
}

enum Manager {
    Ext(ExtDataControlManagerV1),
    Wlr(ZwlrDataControlManagerV1),
}

enum Device {
    Ext(ExtDataControlDeviceV1),
    Wlr(ZwlrDataControlDeviceV1),
}

enum Source {
    Ext(ExtDataControlSourceV1),
    Wlr(ZwlrDataControlSourceV1),
}

enum Offer {
    Ext(ExtDataControlOfferV1),
    Wlr(ZwlrDataControlOfferV1),
}

impl Source {
    fn id(&self) -> ObjectId {
        match self {
            Self::Ext(source) => source.id(),
            Self::Wlr(source) => source.id(),
        }
    }

    fn destroy(&self) {
        match self {
            Self::Ext(source) => source.destroy(),
            Self::Wlr(source) => source.destroy(),
        }
    }
}

impl Offer {
    fn id(&self) -> ObjectId {
        match self {
            Self::Ext(offer) => offer.id(),
            Self::Wlr(offer) => offer.id(),
        }
    }
}

/// An offer and the types that it was told with.
struct Offered {
    offer: Offer,
    types: Vec<String>,
}

impl Offered {
    fn has(&self, name: &str) -> bool {
        self.types.iter().any(|it| it == name)
    }

    /// The type to read it as, if it is a text that may be read.
    fn text_type(&self, mark: &str) -> Option<&str> {
        if self.has(mark) || self.has(SECRET) {
            return None;
        }
        let called = |name: &&str| {
            let found = self.types.iter().find(|it| it.eq_ignore_ascii_case(name));
            found.map(String::as_str)
        };
        TEXT.iter().find_map(called)
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        match &self.offer {
            Offer::Ext(offer) => offer.destroy(),
            Offer::Wlr(offer) => offer.destroy(),
        }
    }
}

/// What the compositor has told and nobody has looked at.
#[derive(Default)]
struct Talk {
    /// Those that are no selection yet; the protocol tells an offer, its types, and what it is for.
    offers: Vec<Offered>,
    /// The newest selection.
    selection: Option<Offered>,
    is_changed: bool,
    /// Who wants our text.
    pastes: Vec<(ObjectId, OwnedFd)>,
    /// Sources that nobody can paste from any more.
    cancelled: Vec<ObjectId>,
    is_finished: bool,
}

impl Talk {
    fn offered(&mut self, offer: Offer) {
        let types = Vec::new();
        self.offers.push(Offered { offer, types });
    }

    fn named(&mut self, id: &ObjectId, name: String) {
        let offered = self.offers.iter_mut().find(|it| it.offer.id() == *id);
        if let Some(offered) = offered
            && offered.types.len() < TYPES_MAX
        {
            offered.types.push(name);
        }
    }

    fn take(&mut self, id: &ObjectId) -> Option<Offered> {
        let place = self.offers.iter().position(|it| it.offer.id() == *id)?;
        Some(self.offers.remove(place))
    }

    fn selected(&mut self, id: Option<ObjectId>) {
        self.selection = id.and_then(|id| self.take(&id));
        self.is_changed = true;
    }

    /// It is for the other selection.
    fn passed_over(&mut self, id: Option<ObjectId>) {
        drop(id.and_then(|id| self.take(&id)));
    }

    fn pasted(&mut self, source: ObjectId, fd: OwnedFd) {
        if self.pastes.len() == WRITINGS_MAX {
            self.pastes.remove(0);
        }
        self.pastes.push((source, fd));
    }
}

struct Globals {
    link: Link<Talk>,
    manager: Manager,
    seat: WlSeat,
}

impl Globals {
    fn bind(address: &WaylandOutput) -> Result<Self, CaptureError> {
        let link = Link::connect(address, Talk::default())?;
        let seat = link.bind(1, 1)?;
        let manager = match link.bind(1, 1) {
            Ok(manager) => Manager::Ext(manager),
            // Version 2 has the other selection, which is left alone.
            Err(_) => Manager::Wlr(link.bind(1, 1)?),
        };
        Ok(Self {
            link,
            manager,
            seat,
        })
    }
}

struct Controlled {
    link: Link<Talk>,
    manager: Manager,
    device: Device,
    /// Only our sources have this type.
    mark: String,
    own: Option<(Source, Arc<str>)>,
    reading: Option<Reading>,
    writings: Vec<Writing>,
}

impl Controlled {
    fn open(address: &WaylandOutput) -> Result<Self, ClipboardError> {
        static OPENED: AtomicU32 = AtomicU32::new(0);
        let Globals {
            mut link,
            manager,
            seat,
        } = Globals::bind(address)?;
        let handle = link.handle();
        let device = match &manager {
            Manager::Ext(it) => Device::Ext(it.get_data_device(&seat, &handle, ())),
            Manager::Wlr(it) => Device::Wlr(it.get_data_device(&seat, &handle, ())),
        };
        link.round_trip()?;
        let mark = format!(
            "application/x-punktfunk-clipboard;of={}.{}.{}",
            process::id(),
            OPENED.fetch_add(1, Relaxed),
            clock::now().as_ns()
        );
        Ok(Self {
            link,
            manager,
            device,
            mark,
            own: None,
            reading: None,
            writings: Vec::new(),
        })
    }

    /// Sends, and takes in what the compositor has said. True if it was woken meanwhile.
    fn look(&mut self) -> Result<bool, ClipboardError> {
        for _ in 0..TURNS {
            match self.link.wait(clock::now())? {
                Wait::Events => {}
                Wait::Woken => return Ok(true),
                Wait::TimedOut => break,
            }
        }
        Ok(false)
    }

    /// Begins to read a selection that is new; what was being read is old by that.
    fn ask(&mut self, now: Timestamp) -> Result<(), ClipboardError> {
        let talk = &mut self.link.state.protocol;
        if !std::mem::take(&mut talk.is_changed) {
            return Ok(());
        }
        self.reading = None;
        let Some(selection) = &talk.selection else {
            return Ok(());
        };
        let Some(name) = selection.text_type(&self.mark) else {
            return Ok(());
        };
        let begun = Reading::begin(now).map_err(|error| ClipboardError::System(error.into()));
        let (reading, far) = begun?;
        let fd = std::os::fd::AsFd::as_fd(&far);
        match &selection.offer {
            Offer::Ext(offer) => offer.receive(name.to_owned(), fd),
            Offer::Wlr(offer) => offer.receive(name.to_owned(), fd),
        }
        self.reading = Some(reading);
        // Before our copy of the far end is closed it must have been sent.
        if self.look()? {
            // It was meant for the next look.
            self.link.waker.wake();
        }
        Ok(())
    }

    fn read(&mut self, now: Timestamp) -> Option<String> {
        let read = self.reading.as_mut()?.advance(now);
        if read == Read::More {
            return None;
        }
        self.reading = None;
        match read {
            Read::Whole(text) => Some(text).filter(|text| is_shared(text)),
            Read::Failed(reason) => {
                log::info!("a copied text is not shared: {reason}");
                None
            }
            Read::More => None,
        }
    }

    /// Hands our text to whoever pastes.
    fn serve(&mut self, now: Timestamp) {
        let talk = &mut self.link.state.protocol;
        for (source, fd) in talk.pastes.drain(..) {
            let Some((own, text)) = &self.own else {
                continue;
            };
            if own.id() != source {
                continue;
            }
            if self.writings.len() == WRITINGS_MAX {
                self.writings.remove(0);
            }
            let begun = Writing::begin(now, fd, Arc::clone(text));
            self.writings.extend(begun);
        }
        for id in talk.cancelled.drain(..) {
            if let Some((own, _)) = self.own.take_if(|(own, _)| own.id() == id) {
                own.destroy();
            }
        }
        self.writings.retain_mut(|writing| writing.advance(now));
    }

    /// Waits for the compositor, a pipe, the waker, or the nearest of the times.
    fn rest(&self, until: Timestamp) -> Result<(), ClipboardError> {
        let reading = self.reading.as_ref();
        let deadlines = self.writings.iter().map(|it| it.deadline);
        let deadlines = deadlines.chain(reading.map(|it| it.deadline));
        let until = deadlines.fold(until, Timestamp::min);
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.link.fd(), PollFlags::IN),
            PollFd::new(self.link.waker.fd(), PollFlags::IN),
        ];
        fds.extend(reading.map(|it| PollFd::new(&it.fd, PollFlags::IN)));
        let writings = self.writings.iter();
        fds.extend(writings.map(|it| PollFd::new(&it.fd, PollFlags::OUT)));
        match poll(&mut fds, Some(&timespec(until.since(clock::now())))) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(ClipboardError::System(error.into())),
        }
    }
}

impl Clipboard for Controlled {
    fn name(&self) -> &'static str {
        "data-control"
    }

    fn set(&mut self, text: &str) -> Result<(), ClipboardError> {
        if !is_shared(text) {
            return Ok(());
        }
        let handle = self.link.handle();
        let types = TEXT.iter().copied().chain([self.mark.as_str()]);
        let source = match &self.manager {
            Manager::Ext(manager) => {
                let source = manager.create_data_source(&handle, ());
                types.for_each(|name| source.offer(name.to_owned()));
                Source::Ext(source)
            }
            Manager::Wlr(manager) => {
                let source = manager.create_data_source(&handle, ());
                types.for_each(|name| source.offer(name.to_owned()));
                Source::Wlr(source)
            }
        };
        match (&self.device, &source) {
            (Device::Ext(device), Source::Ext(source)) => device.set_selection(Some(source)),
            (Device::Wlr(device), Source::Wlr(source)) => device.set_selection(Some(source)),
            _ => return Err(ended("a device and a source of two protocols").into()),
        }
        if let Some((before, _)) = self.own.replace((source, text.into())) {
            before.destroy();
        }
        // What was being read is older.
        self.reading = None;
        Ok(())
    }

    fn next(&mut self, timeout: Duration) -> Result<Copied, ClipboardError> {
        let until = clock::now() + timeout;
        loop {
            if self.look()? {
                return Ok(Copied::Woken);
            }
            let now = clock::now();
            self.ask(now)?;
            self.serve(now);
            if let Some(text) = self.read(now) {
                return Ok(Copied::Text(text));
            }
            if self.link.state.protocol.is_finished {
                return Err(ended("the compositor has taken the clipboard away").into());
            }
            if now >= until {
                return Ok(Copied::Nothing);
            }
            self.rest(until)?;
        }
    }

    fn waker(&self) -> Arc<dyn Waker> {
        Arc::clone(&self.link.waker) as Arc<dyn Waker>
    }
}

macro_rules! dispatch {
    ($kind:ident, $protocol:ident, $Device:ident, $device:ident, $Offer:ident, $offer:ident,
     $Source:ident, $source:ident) => {
        impl wayland_client::Dispatch<$Device, ()> for State<Talk> {
            fn event(
                state: &mut Self,
                _: &$Device,
                event: $protocol::$device::Event,
                (): &(),
                _: &wayland_client::Connection,
                _: &wayland_client::QueueHandle<Self>,
            ) {
                use $protocol::$device::Event;
                let talk = &mut state.protocol;
                match event {
                    Event::DataOffer { id } => talk.offered(Offer::$kind(id)),
                    Event::Selection { id } => talk.selected(id.map(|it| it.id())),
                    Event::PrimarySelection { id } => talk.passed_over(id.map(|it| it.id())),
                    Event::Finished => talk.is_finished = true,
                    _ => {}
                }
            }

            wayland_client::event_created_child!(State<Talk>, $Device, [
                $protocol::$device::EVT_DATA_OFFER_OPCODE => ($Offer, ()),
            ]);
        }

        impl wayland_client::Dispatch<$Offer, ()> for State<Talk> {
            fn event(
                state: &mut Self,
                offer: &$Offer,
                event: $protocol::$offer::Event,
                (): &(),
                _: &wayland_client::Connection,
                _: &wayland_client::QueueHandle<Self>,
            ) {
                if let $protocol::$offer::Event::Offer { mime_type } = event {
                    state.protocol.named(&offer.id(), mime_type);
                }
            }
        }

        impl wayland_client::Dispatch<$Source, ()> for State<Talk> {
            fn event(
                state: &mut Self,
                source: &$Source,
                event: $protocol::$source::Event,
                (): &(),
                _: &wayland_client::Connection,
                _: &wayland_client::QueueHandle<Self>,
            ) {
                use $protocol::$source::Event;
                match event {
                    Event::Send { mime_type, fd } if TEXT.contains(&mime_type.as_str()) => {
                        state.protocol.pasted(source.id(), fd);
                    }
                    Event::Cancelled => state.protocol.cancelled.push(source.id()),
                    // The mark's own content is nothing.
                    _ => {}
                }
            }
        }
    };
}

dispatch!(
    Ext,
    ext,
    ExtDataControlDeviceV1,
    ext_data_control_device_v1,
    ExtDataControlOfferV1,
    ext_data_control_offer_v1,
    ExtDataControlSourceV1,
    ext_data_control_source_v1
);
dispatch!(
    Wlr,
    wlr,
    ZwlrDataControlDeviceV1,
    zwlr_data_control_device_v1,
    ZwlrDataControlOfferV1,
    zwlr_data_control_offer_v1,
    ZwlrDataControlSourceV1,
    zwlr_data_control_source_v1
);
delegate_noop!(State<Talk>: ignore WlSeat);
delegate_noop!(State<Talk>: ExtDataControlManagerV1);
delegate_noop!(State<Talk>: ZwlrDataControlManagerV1);
