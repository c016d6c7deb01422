//! The pointer by `ext-image-copy-capture-v1`'s cursor session, beside a session of the output's
//! pictures that does not paint it.
//!
//! A connection of its own: the pointer waits for no picture. The compositor tells `enter`, `leave`
//! and `position` (of the hotspot, in the output's pixels); what the pointer looks like is captured
//! as any picture is, one frame after the other, each `ready` when the image has changed. A
//! `hotspot` counts from the next `ready` on.
//!
//! Whether a compositor can tell the pointer apart is seen while this opens: the seat has a pointer
//! and the cursor's session says what buffers it wants. wlroots says so only where the output has the
//! pointer on a plane of its own, as headless outputs have since 0.20 (sway 1.12). Where it is drawn in
//! software it is in the pictures whatever a client asks, so this is not offered and they show it.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use gpu::frame::{Rect, Size, Surface};
use net::clock;
use net::cursor::{Cursor, CursorShape, Pointer, Visibility};
use net::units::Timestamp;
use wayland_client::protocol::wl_pointer::WlPointer;
use wayland_client::protocol::wl_seat::{self, WlSeat};
use wayland_client::protocol::wl_shm::{self, WlShm};
use wayland_client::{Connection, Dispatch, QueueHandle, WEnum, delegate_noop};
use wayland_protocols::ext::image_capture_source::v1::client::{
    ext_image_capture_source_v1::ExtImageCaptureSourceV1,
    ext_output_image_capture_source_manager_v1::ExtOutputImageCaptureSourceManagerV1,
};
use wayland_protocols::ext::image_copy_capture::v1::client::{
    ext_image_copy_capture_cursor_session_v1::{self, ExtImageCopyCaptureCursorSessionV1},
    ext_image_copy_capture_frame_v1::{self, ExtImageCopyCaptureFrameV1},
    ext_image_copy_capture_manager_v1::ExtImageCopyCaptureManagerV1,
    ext_image_copy_capture_session_v1::{self, ExtImageCopyCaptureSessionV1},
};

use super::CaptureError;
use super::link::{Link, State, Wait, ended};
use super::pool::{Layout, Pool};
use crate::cursor::{CursorSource, shape};
use crate::display::WaylandOutput;

/// Failed frames in a row after which the shape stays as it is.
const FAILURES_MAX: u32 = 3;
/// Batches of events in one look: a flood is looked at in several.
const BATCHES_MAX: usize = 16;

/// What the compositor has said.
#[derive(Debug, Default)]
struct Told {
    has_pointer: bool,
    is_inside: bool,
    position: (i32, i32),
    /// From the next `ready` on.
    hotspot: (i32, i32),
    /// Counts what changes the pointer.
    changes: u64,
    size: Option<(u32, u32)>,
    has_argb: bool,
    constraints_complete: bool,
    stopped: bool,
    /// Of the frame that was asked for.
    outcome: Option<bool>,
}

/// See the module's text.
pub(super) struct ImageCopyCursor {
    link: Link<Told>,
    shm: WlShm,
    session: ExtImageCopyCaptureSessionV1,
    /// The output's, pixels.
    output: (u16, u16),
    pool: Option<Pool>,
    /// The frame that was asked for, and its buffer.
    asked: Option<(ExtImageCopyCaptureFrameV1, usize)>,
    failures: u32,
    shape: Option<Arc<CursorShape>>,
    changed: Timestamp,
    /// `Told::changes` as told last.
    seen: Option<u64>,
}

impl ImageCopyCursor {
    /// `None` if this compositor cannot tell the pointer apart from this output's pictures.
    pub(super) fn open(address: &WaylandOutput) -> Result<Option<Self>, CaptureError> {
        let mut link = Link::connect(address, Told::default())?;
        let sources: ExtOutputImageCaptureSourceManagerV1 = link.bind(1, 1)?;
        let manager: ExtImageCopyCaptureManagerV1 = link.bind(1, 1)?;
        let shm: WlShm = link.bind(1, 1)?;
        let seat: WlSeat = link.bind(1, 5)?;
        // The seat's abilities come with this.
        let wl_output = link.find_output(&address.output)?;
        if !link.state.protocol.has_pointer {
            log::info!("the seat has no pointer yet, so the pictures show it");
            return Ok(None);
        }
        let handle = link.handle();
        let pointer = seat.get_pointer(&handle, ());
        let source = sources.create_source(&wl_output, &handle, ());
        let cursor = manager.create_pointer_cursor_session(&source, &pointer, &handle, ());
        let session = cursor.get_capture_session(&handle, ());
        source.destroy();
        link.round_trip()?;
        link.round_trip()?;
        let told = &link.state.protocol;
        if !told.constraints_complete || told.stopped || !told.has_argb {
            log::info!("the compositor paints the pointer itself, so the pictures show it");
            return Ok(None);
        }
        Ok(Some(Self {
            link,
            shm,
            session,
            output: (0, 0),
            pool: None,
            asked: None,
            failures: 0,
            shape: None,
            changed: clock::now(),
            seen: None,
        }))
    }

    /// The size of the output's pictures, pixels; to be said before anything is asked.
    pub(super) const fn set_output(&mut self, size: Size) {
        self.output = (size.width, size.height);
    }

    /// Asks for the next image, if none is in the making.
    fn ask(&mut self) -> Result<(), CaptureError> {
        let told = &mut self.link.state.protocol;
        if self.asked.is_some() || !told.constraints_complete || self.failures >= FAILURES_MAX {
            return Ok(());
        }
        let Some((width, height)) = told.size else {
            return Ok(());
        };
        let argb = wl_shm::Format::Argb8888;
        let layout = Layout::new(width, height, width.saturating_mul(4), argb)
            .ok_or_else(|| ended(format!("a cursor of {width}x{height} is not usable")))?;
        told.outcome = None;
        let handle = self.link.handle();
        if self.pool.as_ref().is_none_or(|it| it.layout() != layout) {
            let pool = Pool::new(&self.shm, &handle, layout);
            let pool = pool.map_err(|error| ended(format!("no memory for a cursor: {error}")))?;
            self.pool = Some(pool);
        }
        let pool = self.pool.as_mut().expect("it was just made");
        // Nobody keeps a surface beyond a look, so one is always free.
        let Some(index) = pool.free() else {
            return Ok(());
        };
        let frame = self.session.create_frame(&handle, ());
        frame.attach_buffer(&pool.slot(index).buffer);
        frame.damage_buffer(0, 0, width.cast_signed(), height.cast_signed());
        frame.capture();
        self.asked = Some((frame, index));
        Ok(())
    }

    /// Takes the image that was asked for, if it is there.
    fn take(&mut self) {
        let Some(is_ready) = self.link.state.protocol.outcome.take() else {
            return;
        };
        let (Some((frame, index)), Some(pool)) = (self.asked.take(), &mut self.pool) else {
            return;
        };
        frame.destroy();
        if !is_ready {
            self.failures += 1;
            return;
        }
        self.failures = 0;
        let whole = Rect::whole(pool.layout().size);
        let surface = pool.filled(index, whole);
        let told = &mut self.link.state.protocol;
        let trimmed = surface.map().and_then(|pixels| {
            let size = surface.size();
            let sides = (size.width.into(), size.height.into());
            shape::trimmed(pixels.bytes, pixels.stride, sides, told.hotspot)
        });
        self.shape = trimmed.map(Arc::new).or(self.shape.take());
        told.changes += 1;
    }
}

impl CursorSource for ImageCopyCursor {
    fn name(&self) -> &'static str {
        "ext-image-copy"
    }

    fn poll(&mut self) -> Result<Option<Cursor>, CaptureError> {
        for _ in 0..BATCHES_MAX {
            self.take();
            self.ask()?;
            if self.link.wait(clock::now())? != Wait::Events {
                break;
            }
        }
        if self.link.output_lost() || self.link.state.protocol.stopped {
            return Err(ended("the output was removed"));
        }
        let told = &self.link.state.protocol;
        if self.seen == Some(told.changes) {
            return Ok(None);
        }
        self.seen = Some(told.changes);
        self.changed = clock::now();
        let visibility = match told.is_inside {
            true => Visibility::Shown,
            false => Visibility::Hidden,
        };
        let (x, y) = told.position;
        Ok(Some(Cursor {
            pointer: Pointer {
                visibility,
                x,
                y,
                output: self.output,
            },
            shape: self.shape.clone(),
            changed: self.changed,
        }))
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        self.link.fd()
    }
}

impl Dispatch<WlSeat, ()> for State<Told> {
    fn event(
        state: &mut Self,
        _: &WlSeat,
        event: wl_seat::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let wl_seat::Event::Capabilities {
            capabilities: WEnum::Value(capabilities),
        } = event
        {
            let pointer = wl_seat::Capability::Pointer;
            state.protocol.has_pointer = capabilities.contains(pointer);
        }
    }
}

impl Dispatch<ExtImageCopyCaptureCursorSessionV1, ()> for State<Told> {
    fn event(
        state: &mut Self,
        _: &ExtImageCopyCaptureCursorSessionV1,
        event: ext_image_copy_capture_cursor_session_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        let told = &mut state.protocol;
        match event {
            ext_image_copy_capture_cursor_session_v1::Event::Enter => told.is_inside = true,
            ext_image_copy_capture_cursor_session_v1::Event::Leave => told.is_inside = false,
            ext_image_copy_capture_cursor_session_v1::Event::Position { x, y } => {
                told.position = (x, y);
            }
            ext_image_copy_capture_cursor_session_v1::Event::Hotspot { x, y } => {
                told.hotspot = (x, y);
            }
            _ => {}
        }
        told.changes += 1;
    }
}

impl Dispatch<ExtImageCopyCaptureSessionV1, ()> for State<Told> {
    fn event(
        state: &mut Self,
        _: &ExtImageCopyCaptureSessionV1,
        event: ext_image_copy_capture_session_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        let told = &mut state.protocol;
        match event {
            ext_image_copy_capture_session_v1::Event::BufferSize { width, height } => {
                // The first of a batch, which replaces the one before.
                told.size = Some((width, height));
                told.constraints_complete = false;
            }
            ext_image_copy_capture_session_v1::Event::ShmFormat {
                format: WEnum::Value(format),
            } => told.has_argb |= format == wl_shm::Format::Argb8888,
            ext_image_copy_capture_session_v1::Event::Done => told.constraints_complete = true,
            ext_image_copy_capture_session_v1::Event::Stopped => told.stopped = true,
            _ => {}
        }
    }
}

impl Dispatch<ExtImageCopyCaptureFrameV1, ()> for State<Told> {
    fn event(
        state: &mut Self,
        _: &ExtImageCopyCaptureFrameV1,
        event: ext_image_copy_capture_frame_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            ext_image_copy_capture_frame_v1::Event::Ready => state.protocol.outcome = Some(true),
            ext_image_copy_capture_frame_v1::Event::Failed { .. } => {
                state.protocol.outcome = Some(false);
            }
            _ => {}
        }
    }
}

delegate_noop!(State<Told>: ignore WlPointer);
delegate_noop!(State<Told>: ignore ExtImageCaptureSourceV1);
delegate_noop!(State<Told>: ignore ExtOutputImageCaptureSourceManagerV1);
delegate_noop!(State<Told>: ignore ExtImageCopyCaptureManagerV1);
