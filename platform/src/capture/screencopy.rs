//! Capture by `wlr-screencopy-unstable-v1`, version 3, into shared memory.
//!
//! The life of a frame: `capture_output` → `buffer`, `buffer_done` (the layout wanted) →
//! `copy` for the first, `copy_with_damage` for the rest → `flags`, `damage`, `ready` or
//! `failed`. The compositor answers `copy_with_damage` when the output next changes, so the
//! request stands until then, over as many calls of `next` as it takes. The next frame is asked
//! for when the one at hand has been given away: wlroots keeps the damage of the time in between,
//! and the frame at hand does not wait for a request and its system call.

use std::sync::Arc;
use std::time::Duration;

use gpu::frame::{Frame, Rect};
use net::clock;
use wayland_client::backend::ObjectData;
use wayland_client::protocol::wl_output::WlOutput;
use wayland_client::protocol::wl_shm::WlShm;
use wayland_client::{Connection, Dispatch, Proxy, QueueHandle, WEnum, delegate_noop};
use wayland_protocols_wlr::screencopy::v1::client::zwlr_screencopy_frame_v1::{
    self, Flags, ZwlrScreencopyFrameV1,
};
use wayland_protocols_wlr::screencopy::v1::client::zwlr_screencopy_manager_v1::{
    self, ZwlrScreencopyManagerV1,
};

use super::link::{Link, State, ended};
use super::pool::{Layout, NOTHING, Pool, ShmSurface, clip};
use super::steps::{Steps, next_frame};
use super::{Capture, CaptureBackend, CaptureError, Captured, Waker, refusal};
use crate::display::{OutputAddress, WaylandOutput};
use crate::select::Refusal;

/// Failed copies in a row after which the capture is given up.
const FAILURES_MAX: u32 = 3;
const VERSION: u32 = 3;

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScreencopyBackend;

impl CaptureBackend for ScreencopyBackend {
    fn name(&self) -> &'static str {
        "screencopy"
    }

    fn probe(&self, output: &OutputAddress) -> Result<String, Refusal> {
        let check = || -> Result<(), CaptureError> {
            let output = output.over_wayland()?;
            let mut link = Link::connect(output, Events::default())?;
            let manager: ZwlrScreencopyManagerV1 = link.bind(VERSION, VERSION)?;
            manager.destroy();
            link.find_output(&output.output).map(drop)
        };
        check().map_err(|error| refusal(&error))?;
        Ok(format!("wlr-screencopy v{VERSION}, shared memory"))
    }

    fn open(&self, output: &OutputAddress) -> Result<Box<dyn Capture>, CaptureError> {
        Ok(Box::new(Screencopy::open(output.over_wayland()?)?))
    }
}

/// What the compositor has said of the frame asked for.
#[derive(Debug)]
struct Events {
    layout: Option<Layout>,
    refused_layout: Option<String>,
    layout_complete: bool,
    damage: Rect,
    inverted: bool,
    outcome: Option<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ready,
    Failed,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            layout: None,
            refused_layout: None,
            layout_complete: false,
            damage: NOTHING,
            inverted: false,
            outcome: None,
        }
    }
}

/// How far the frame in the making is.
#[derive(Debug)]
enum Stage {
    /// The next frame is not asked for yet.
    Idle,
    /// The compositor was asked what buffer it wants.
    Asked(ZwlrScreencopyFrameV1),
    /// It is to fill the buffer of this index.
    Copying(ZwlrScreencopyFrameV1, usize),
}

/// What was delivered so far; decides which request comes next.
#[derive(Clone, Debug)]
enum Delivered {
    /// Nothing: the first picture is wanted at once, by `copy`.
    Nothing,
    /// The first, kept to compare: wlroots counts damage from the first `copy_with_damage` on
    /// and begins with the whole output, so its answer may be the same picture again.
    First(Arc<ShmSurface>),
    /// More.
    More,
}

struct Screencopy {
    link: Link<Events>,
    source: Source,
    pool: Pool,
    stage: Stage,
    delivered: Delivered,
    failures: u32,
}

impl Screencopy {
    fn open(address: &WaylandOutput) -> Result<Self, CaptureError> {
        let mut link = Link::connect(address, Events::default())?;
        let manager: ZwlrScreencopyManagerV1 = link.bind(VERSION, VERSION)?;
        let shm: WlShm = link.bind(1, 1)?;
        let output = link.find_output(&address.output)?;
        let source = Source::new(&link, manager, output);
        let frame = source.ask(&mut link);
        link.wait_for(|state| {
            state.protocol.layout_complete || state.protocol.outcome == Some(Outcome::Failed)
        })?;
        let layout = offered_layout(&link.state.protocol)?;
        let pool = Pool::new(&shm, &link.handle(), layout)
            .map_err(|error| ended(format!("no memory for capture buffers: {error}")))?;
        let (stage, delivered) = (Stage::Asked(frame), Delivered::Nothing);
        Ok(Self {
            link,
            source,
            pool,
            stage,
            delivered,
            failures: 0,
        })
    }

    fn deliver(&mut self, index: usize, damage: Rect) -> Option<Arc<ShmSurface>> {
        let surface = self.pool.filled(index, damage);
        let now = match self.delivered {
            Delivered::Nothing => Delivered::First(Arc::clone(&surface)),
            Delivered::First(_) | Delivered::More => Delivered::More,
        };
        match std::mem::replace(&mut self.delivered, now) {
            Delivered::First(first) if first.same_picture(&surface) => None,
            _ => Some(surface),
        }
    }
}

impl Steps for Screencopy {
    type Protocol = Events;

    fn link(&mut self) -> &mut Link<Events> {
        &mut self.link
    }

    fn ask(&mut self) -> Result<(), CaptureError> {
        if let Stage::Idle = self.stage {
            self.stage = Stage::Asked(self.source.ask(&mut self.link));
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<bool, CaptureError> {
        if self.link.output_lost() {
            return Err(ended("the output was removed"));
        }
        let Stage::Asked(frame) = &self.stage else {
            return Ok(true);
        };
        let events = &self.link.state.protocol;
        if !events.layout_complete || events.outcome.is_some() {
            return Ok(true);
        }
        let (wanted, have) = (offered_layout(events)?, self.pool.layout());
        if wanted != have {
            return Err(have.changed_to(wanted));
        }
        let Some(index) = self.pool.free() else {
            return Ok(false);
        };
        let buffer = &self.pool.slot(index).buffer;
        match self.delivered {
            Delivered::Nothing => frame.copy(buffer),
            Delivered::First(_) | Delivered::More => frame.copy_with_damage(buffer),
        }
        self.stage = Stage::Copying(frame.clone(), index);
        Ok(true)
    }

    fn take(&mut self) -> Result<Option<Frame>, CaptureError> {
        let Some(outcome) = self.link.state.protocol.outcome else {
            return Ok(None);
        };
        let captured = clock::now();
        let index = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => return Ok(None),
            Stage::Asked(frame) => {
                frame.destroy();
                None
            }
            Stage::Copying(frame, index) => {
                frame.destroy();
                Some(index)
            }
        };
        let (damage, inverted) = (
            self.link.state.protocol.damage,
            self.link.state.protocol.inverted,
        );
        let (Outcome::Ready, Some(index)) = (outcome, index) else {
            self.failures += 1;
            if self.failures >= FAILURES_MAX {
                return Err(ended(format!(
                    "the compositor failed {FAILURES_MAX} copies in a row"
                )));
            }
            return Ok(None);
        };
        self.failures = 0;
        if inverted {
            self.pool.flip(index);
        }
        let whole = Rect::whole(self.pool.layout().size);
        let damage = if inverted || damage.is_empty() {
            whole
        } else {
            damage
        };
        Ok(self.deliver(index, damage).map(|surface| Frame {
            surface,
            damage,
            captured,
        }))
    }
}

impl Capture for Screencopy {
    fn ask(&mut self) -> Result<(), CaptureError> {
        Steps::ask(self)
    }

    fn next(&mut self, timeout: Duration) -> Result<Captured, CaptureError> {
        next_frame(self, timeout)
    }

    fn waker(&self) -> Arc<dyn Waker> {
        Arc::clone(&self.link.waker) as Arc<dyn Waker>
    }
}

/// What frames are asked of.
struct Source {
    manager: ZwlrScreencopyManagerV1,
    output: WlOutput,
    /// The object data of every frame: `capture_output` would allocate one each.
    frame_data: Arc<dyn ObjectData>,
}

impl Source {
    fn new(link: &Link<Events>, manager: ZwlrScreencopyManagerV1, output: WlOutput) -> Self {
        let frame_data = link.handle().make_data::<ZwlrScreencopyFrameV1, ()>(());
        Self {
            manager,
            output,
            frame_data,
        }
    }

    fn ask(&self, link: &mut Link<Events>) -> ZwlrScreencopyFrameV1 {
        link.state.protocol = Events::default();
        // 1: paint the cursor into the picture. The protocol tells nothing else of it.
        let (overlay_cursor, output) = (1, self.output.clone());
        let request = zwlr_screencopy_manager_v1::Request::CaptureOutput {
            overlay_cursor,
            output,
        };
        self.manager
            .send_constructor(request, Arc::clone(&self.frame_data))
            .unwrap_or_else(|_| Proxy::inert(self.manager.backend().clone()))
    }
}

fn offered_layout(events: &Events) -> Result<Layout, CaptureError> {
    if events.outcome == Some(Outcome::Failed) {
        return Err(ended("the compositor refused to copy the output"));
    }
    events.layout.ok_or_else(|| match &events.refused_layout {
        Some(layout) => ended(format!(
            "the compositor wants a buffer we cannot read: {layout}"
        )),
        None => ended("the compositor copies to no shared memory"),
    })
}

impl Dispatch<ZwlrScreencopyFrameV1, ()> for State<Events> {
    fn event(
        state: &mut Self,
        _: &ZwlrScreencopyFrameV1,
        event: zwlr_screencopy_frame_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        let frame = &mut state.protocol;
        match event {
            zwlr_screencopy_frame_v1::Event::Buffer {
                format,
                width,
                height,
                stride,
            } => {
                frame.layout = match format {
                    WEnum::Value(format) => Layout::new(width, height, stride, format),
                    WEnum::Unknown(_) => None,
                };
                if frame.layout.is_none() {
                    let text = format!("{width}x{height}, stride {stride}, format {format:?}");
                    frame.refused_layout = Some(text);
                }
            }
            zwlr_screencopy_frame_v1::Event::BufferDone => frame.layout_complete = true,
            zwlr_screencopy_frame_v1::Event::Flags { flags } => {
                frame.inverted = match flags {
                    WEnum::Value(flags) => flags.contains(Flags::YInvert),
                    WEnum::Unknown(_) => false,
                };
            }
            zwlr_screencopy_frame_v1::Event::Damage {
                x,
                y,
                width,
                height,
            } => {
                if let Some(layout) = frame.layout {
                    let rect = [x, y, width, height].map(i64::from);
                    frame.damage = frame.damage.union(clip(rect, layout.size));
                }
            }
            zwlr_screencopy_frame_v1::Event::Ready { .. } => frame.outcome = Some(Outcome::Ready),
            zwlr_screencopy_frame_v1::Event::Failed => frame.outcome = Some(Outcome::Failed),
            _ => {}
        }
    }
}

delegate_noop!(State<Events>: ignore ZwlrScreencopyManagerV1);
