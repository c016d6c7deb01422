//! Capture by `ext-image-copy-capture-v1` with an output as its source, into shared memory.
//!
//! The session tells once what buffers it wants (`buffer_size`, `shm_format`, `done`). Then, for
//! each frame, `create_frame`, `attach_buffer`, `damage_buffer`, `capture` go out together, and
//! the compositor answers `damage`, `ready` when the output has changed since the frame before
//! (for the first at once). `damage_buffer` says what this buffer has missed, so that only that
//! is copied. The next frame is created when the one at hand has been given away: the compositor
//! keeps the damage of the time in between.

use std::sync::Arc;
use std::time::Duration;

use gpu::frame::{Frame, Rect};
use net::clock;
use wayland_client::backend::ObjectData;
use wayland_client::protocol::wl_output::Transform;
use wayland_client::protocol::wl_shm::{self, WlShm};
use wayland_client::{Connection, Dispatch, Proxy, QueueHandle, WEnum, delegate_noop};
use wayland_protocols::ext::image_capture_source::v1::client::{
    ext_image_capture_source_v1::ExtImageCaptureSourceV1,
    ext_output_image_capture_source_manager_v1::ExtOutputImageCaptureSourceManagerV1,
};
use wayland_protocols::ext::image_copy_capture::v1::client::{
    ext_image_copy_capture_frame_v1::{self, ExtImageCopyCaptureFrameV1, FailureReason},
    ext_image_copy_capture_manager_v1::{ExtImageCopyCaptureManagerV1, Options},
    ext_image_copy_capture_session_v1::{self, ExtImageCopyCaptureSessionV1},
};

use super::cursor_session::ImageCopyCursor;
use super::link::{Link, State, ended};
use super::pool::{Layout, NOTHING, Pool, clip, rank};
use super::steps::{Steps, next_frame};
use super::{Apart, Capture, CaptureBackend, CaptureError, Captured, Waker, refusal};
use crate::display::{OutputAddress, WaylandOutput};
use crate::select::Refusal;

/// Failed frames in a row, without the compositor naming a lasting reason, after which the
/// capture is given up.
const FAILURES_MAX: u32 = 3;

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExtImageCopyBackend;

impl CaptureBackend for ExtImageCopyBackend {
    fn name(&self) -> &'static str {
        "ext-image-copy"
    }

    fn probe(&self, output: &OutputAddress) -> Result<String, Refusal> {
        let check = || -> Result<(), CaptureError> {
            let output = output.over_wayland()?;
            let mut link = Link::connect(output, Protocol::default())?;
            bind(&link)?;
            link.find_output(&output.output).map(drop)
        };
        check().map_err(|error| refusal(&error))?;
        Ok("ext-image-copy-capture v1, shared memory".to_owned())
    }

    fn open(&self, output: &OutputAddress) -> Result<Box<dyn Capture>, CaptureError> {
        let output = output.over_wayland()?;
        Ok(Box::new(ExtImageCopy::open(output, Options::PaintCursors)?))
    }

    fn open_with_cursor(&self, output: &OutputAddress) -> Result<Option<Apart>, CaptureError> {
        let output = output.over_wayland()?;
        let Some(mut cursor) = ImageCopyCursor::open(output)? else {
            return Ok(None);
        };
        let capture = ExtImageCopy::open(output, Options::empty())?;
        cursor.set_output(capture.pool.layout().size);
        Ok(Some((Box::new(capture), Box::new(cursor))))
    }
}

/// What the compositor has said.
#[derive(Debug, Default)]
struct Protocol {
    constraints: Constraints,
    frame: FrameEvents,
    stopped: bool,
}

#[derive(Debug, Default)]
struct Constraints {
    size: Option<(u32, u32)>,
    format: Option<wl_shm::Format>,
    complete: bool,
}

#[derive(Debug)]
struct FrameEvents {
    damage: Rect,
    transformed: bool,
    outcome: Option<Result<(), WEnum<FailureReason>>>,
}

impl Default for FrameEvents {
    fn default() -> Self {
        Self {
            damage: NOTHING,
            transformed: false,
            outcome: None,
        }
    }
}

/// How far the frame in the making is.
#[derive(Debug)]
enum Stage {
    /// The next frame is not asked for yet.
    Idle,
    /// It is created, without a buffer.
    Asked(ExtImageCopyCaptureFrameV1),
    /// The compositor is to fill the buffer of this index.
    Copying(ExtImageCopyCaptureFrameV1, usize),
}

struct ExtImageCopy {
    link: Link<Protocol>,
    session: ExtImageCopyCaptureSessionV1,
    /// The object data of every frame: `create_frame` would allocate one each.
    frame_data: Arc<dyn ObjectData>,
    pool: Pool,
    stage: Stage,
    failures: u32,
}

impl ExtImageCopy {
    fn open(address: &WaylandOutput, options: Options) -> Result<Self, CaptureError> {
        let mut link = Link::connect(address, Protocol::default())?;
        let (sources, manager) = bind(&link)?;
        let shm: WlShm = link.bind(1, 1)?;
        let output = link.find_output(&address.output)?;
        let handle = link.handle();
        let source = sources.create_source(&output, &handle, ());
        let session = manager.create_session(&source, options, &handle, ());
        source.destroy();
        link.wait_for(|state| state.protocol.constraints.complete || state.protocol.stopped)?;
        let layout = wanted_layout(&link.state.protocol)?;
        let pool = Pool::new(&shm, &handle, layout)
            .map_err(|error| ended(format!("no memory for capture buffers: {error}")))?;
        let frame_data = handle.make_data::<ExtImageCopyCaptureFrameV1, ()>(());
        Ok(Self {
            link,
            session,
            frame_data,
            pool,
            stage: Stage::Idle,
            failures: 0,
        })
    }

    fn failed(&mut self, reason: WEnum<FailureReason>) -> Result<(), CaptureError> {
        match reason {
            WEnum::Value(FailureReason::Stopped) => return Err(ended("the output was removed")),
            // The new constraints are told before this; `advance` compares them.
            WEnum::Value(FailureReason::BufferConstraints) => {}
            _ => {}
        }
        self.failures += 1;
        if self.failures >= FAILURES_MAX {
            let text = format!("the compositor failed {FAILURES_MAX} frames in a row: {reason:?}");
            return Err(ended(text));
        }
        Ok(())
    }
}

impl Steps for ExtImageCopy {
    type Protocol = Protocol;

    fn link(&mut self) -> &mut Link<Protocol> {
        &mut self.link
    }

    fn ask(&mut self) -> Result<(), CaptureError> {
        if let Stage::Idle = self.stage {
            self.link.state.protocol.frame = FrameEvents::default();
            let request = ext_image_copy_capture_session_v1::Request::CreateFrame {};
            let frame = self
                .session
                .send_constructor(request, Arc::clone(&self.frame_data))
                .unwrap_or_else(|_| Proxy::inert(self.session.backend().clone()));
            self.stage = Stage::Asked(frame);
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<bool, CaptureError> {
        if self.link.output_lost() || self.link.state.protocol.stopped {
            return Err(ended("the output was removed"));
        }
        // A batch of constraints counts once it is complete.
        if !self.link.state.protocol.constraints.complete {
            return Ok(true);
        }
        let (wanted, have) = (
            wanted_layout(&self.link.state.protocol)?,
            self.pool.layout(),
        );
        if wanted != have {
            return Err(have.changed_to(wanted));
        }
        let Stage::Asked(frame) = &self.stage else {
            return Ok(true);
        };
        let Some(index) = self.pool.free() else {
            return Ok(false);
        };
        let slot = self.pool.slot(index);
        frame.attach_buffer(&slot.buffer);
        if !slot.stale.is_empty() {
            let Rect {
                x,
                y,
                width,
                height,
            } = slot.stale;
            frame.damage_buffer(x.into(), y.into(), width.into(), height.into());
        }
        frame.capture();
        self.stage = Stage::Copying(frame.clone(), index);
        Ok(true)
    }

    fn take(&mut self) -> Result<Option<Frame>, CaptureError> {
        let events = &self.link.state.protocol.frame;
        let (Some(outcome), damage) = (events.outcome, events.damage) else {
            return Ok(None);
        };
        let Stage::Copying(frame, index) = &self.stage else {
            return Ok(None);
        };
        let (captured, index) = (clock::now(), *index);
        frame.destroy();
        self.stage = Stage::Idle;
        if let Err(reason) = outcome {
            return self.failed(reason).map(|()| None);
        }
        if events.transformed {
            return Err(ended(
                "the output is rotated or mirrored; set its transform to normal",
            ));
        }
        self.failures = 0;
        let damage = if damage.is_empty() {
            Rect::whole(self.pool.layout().size)
        } else {
            damage
        };
        let surface = self.pool.filled(index, damage);
        Ok(Some(Frame {
            surface,
            damage,
            captured,
        }))
    }
}

impl Capture for ExtImageCopy {
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

fn bind(
    link: &Link<Protocol>,
) -> Result<
    (
        ExtOutputImageCaptureSourceManagerV1,
        ExtImageCopyCaptureManagerV1,
    ),
    CaptureError,
> {
    Ok((link.bind(1, 1)?, link.bind(1, 1)?))
}

fn wanted_layout(protocol: &Protocol) -> Result<Layout, CaptureError> {
    if protocol.stopped {
        return Err(ended("the output was removed"));
    }
    let Constraints {
        size: Some((width, height)),
        format: Some(format),
        ..
    } = protocol.constraints
    else {
        return Err(ended(
            "the compositor copies to no shared memory that we can read",
        ));
    };
    // The stride is ours to choose: rows without gaps.
    Layout::new(width, height, width.saturating_mul(4), format).ok_or_else(|| {
        ended(format!(
            "the output's size of {width}x{height} is not usable"
        ))
    })
}

impl Dispatch<ExtImageCopyCaptureSessionV1, ()> for State<Protocol> {
    fn event(
        state: &mut Self,
        _: &ExtImageCopyCaptureSessionV1,
        event: ext_image_copy_capture_session_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        let constraints = &mut state.protocol.constraints;
        // A batch of constraints replaces the one before.
        let fresh = |constraints: &mut Constraints| {
            if constraints.complete {
                *constraints = Constraints::default();
            }
        };
        match event {
            ext_image_copy_capture_session_v1::Event::BufferSize { width, height } => {
                fresh(constraints);
                constraints.size = Some((width, height));
            }
            ext_image_copy_capture_session_v1::Event::ShmFormat {
                format: WEnum::Value(format),
            } => {
                fresh(constraints);
                let better = |old: wl_shm::Format| rank(format) < rank(old);
                if rank(format).is_some() && constraints.format.is_none_or(better) {
                    constraints.format = Some(format);
                }
            }
            ext_image_copy_capture_session_v1::Event::Done => constraints.complete = true,
            ext_image_copy_capture_session_v1::Event::Stopped => state.protocol.stopped = true,
            _ => {}
        }
    }
}

impl Dispatch<ExtImageCopyCaptureFrameV1, ()> for State<Protocol> {
    fn event(
        state: &mut Self,
        _: &ExtImageCopyCaptureFrameV1,
        event: ext_image_copy_capture_frame_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        let size = state.protocol.constraints.size;
        let frame = &mut state.protocol.frame;
        match event {
            ext_image_copy_capture_frame_v1::Event::Transform { transform } => {
                frame.transformed = transform != WEnum::Value(Transform::Normal);
            }
            ext_image_copy_capture_frame_v1::Event::Damage {
                x,
                y,
                width,
                height,
            } => {
                if let Some(size) = size.and_then(Layout::size_of) {
                    let rect = [x, y, width, height].map(i64::from);
                    frame.damage = frame.damage.union(clip(rect, size));
                }
            }
            ext_image_copy_capture_frame_v1::Event::Ready => frame.outcome = Some(Ok(())),
            ext_image_copy_capture_frame_v1::Event::Failed { reason } => {
                frame.outcome = Some(Err(reason));
            }
            _ => {}
        }
    }
}

delegate_noop!(State<Protocol>: ignore ExtImageCaptureSourceV1);
delegate_noop!(State<Protocol>: ignore ExtOutputImageCaptureSourceManagerV1);
delegate_noop!(State<Protocol>: ignore ExtImageCopyCaptureManagerV1);
