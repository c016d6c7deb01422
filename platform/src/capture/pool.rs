//! Shared-memory buffers of a capture, allocated once and used in turn. A buffer is free when
//! nobody but the pool holds its surface.

use std::io;
use std::sync::Arc;

use gpu::frame::{MappedPixels, PixelFormat, Rect, Size, Surface};
use wayland_client::QueueHandle;
use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::protocol::wl_shm::{self, WlShm};

use super::CaptureError;
use super::link::{State, ended};
use crate::sys::SharedMemory;

/// Buffers of a capture: one being filled, one on the edge to the encoder, one in it, and one so
/// that the next is never waited for.
const BUFFERS: usize = 4;

/// What the compositor wants a buffer to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) size: Size,
    pub(super) stride: usize,
    pub(super) format: wl_shm::Format,
}

impl Layout {
    /// From the compositor's figures; `None` if a side does not fit, the stride is too short
    /// for a row, or the format is none of ours.
    pub(super) fn new(
        width: u32,
        height: u32,
        stride: u32,
        format: wl_shm::Format,
    ) -> Option<Self> {
        let (width, height) = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
        let stride = stride as usize;
        let fits = width > 0 && height > 0 && stride >= usize::from(width) * 4;
        (fits && rank(format).is_some() && stride <= 1 << 20).then_some(Self {
            size: Size { width, height },
            stride,
            format,
        })
    }

    /// A size that fits a picture.
    pub(super) fn size_of((width, height): (u32, u32)) -> Option<Size> {
        Some(Size {
            width: u16::try_from(width).ok()?,
            height: u16::try_from(height).ok()?,
        })
    }

    /// The capture's end when the output now wants `wanted` instead.
    pub(super) fn changed_to(self, wanted: Self) -> CaptureError {
        let text = |layout: Self| {
            format!(
                "{}x{} {:?}",
                layout.size.width, layout.size.height, layout.format
            )
        };
        ended(format!(
            "the output changed from {} to {}",
            text(self),
            text(wanted)
        ))
    }

    fn bytes(self) -> usize {
        self.stride * usize::from(self.size.height)
    }

    fn pixel_format(self) -> PixelFormat {
        match self.format {
            wl_shm::Format::Xbgr8888 | wl_shm::Format::Abgr8888 => PixelFormat::Rgbx,
            _ => PixelFormat::Bgrx,
        }
    }
}

/// No damage.
pub(crate) const NOTHING: Rect = Rect {
    x: 0,
    y: 0,
    width: 0,
    height: 0,
};

/// A rectangle (x, y, width, height) as a compositor tells it, cut to the picture.
pub(crate) fn clip([x, y, width, height]: [i64; 4], size: Size) -> Rect {
    let span = |from: i64, len: i64, side: u16| -> (u16, u16) {
        let begin = from.clamp(0, side.into());
        let end = from.saturating_add(len).clamp(begin, side.into());
        let px = |value: i64| u16::try_from(value).expect("clamped to a u16's side");
        (px(begin), px(end - begin))
    };
    let ((x, width), (y, height)) = (span(x, width, size.width), span(y, height, size.height));
    Rect {
        x,
        y,
        width,
        height,
    }
}

/// Our liking for a format, best first; `None` for one that we cannot read.
pub(super) fn rank(format: wl_shm::Format) -> Option<u8> {
    match format {
        wl_shm::Format::Xrgb8888 => Some(0),
        wl_shm::Format::Argb8888 => Some(1),
        wl_shm::Format::Xbgr8888 => Some(2),
        wl_shm::Format::Abgr8888 => Some(3),
        _ => None,
    }
}

/// Pixels in memory shared with the compositor.
#[derive(Debug)]
pub(super) struct ShmSurface {
    memory: SharedMemory,
    layout: Layout,
}

impl Surface for ShmSurface {
    fn size(&self) -> Size {
        self.layout.size
    }

    fn map(&self) -> Option<MappedPixels<'_>> {
        Some(MappedPixels {
            bytes: self.memory.bytes(),
            stride: self.layout.stride,
            format: self.layout.pixel_format(),
        })
    }
}

impl ShmSurface {
    /// Byte for byte the same pixels.
    pub(super) fn same_picture(&self, other: &Self) -> bool {
        self.layout == other.layout && self.memory.bytes() == other.memory.bytes()
    }

    /// Turns the picture upside down in place.
    fn flip(&mut self) {
        let stride = self.layout.stride;
        let height = usize::from(self.layout.size.height);
        let (top, bottom) = self.memory.bytes_mut().split_at_mut(height / 2 * stride);
        // With an odd height the middle row stays: `bottom` starts with it.
        let from_below = bottom.chunks_exact_mut(stride).rev();
        for (upper, lower) in top.chunks_exact_mut(stride).zip(from_below) {
            upper.swap_with_slice(lower);
        }
    }
}

/// One buffer.
#[derive(Debug)]
pub(super) struct Slot {
    surface: Arc<ShmSurface>,
    /// Its name at the compositor.
    pub(super) buffer: WlBuffer,
    /// What has changed on the output since this buffer was last filled.
    pub(super) stale: Rect,
}

/// All buffers of a capture.
#[derive(Debug)]
pub(super) struct Pool {
    layout: Layout,
    slots: Vec<Slot>,
}

impl Pool {
    pub(super) fn new<P: 'static>(
        shm: &WlShm,
        handle: &QueueHandle<State<P>>,
        layout: Layout,
    ) -> io::Result<Self> {
        let slots = (0..BUFFERS)
            .map(|_| slot(shm, handle, layout))
            .collect::<io::Result<_>>()?;
        Ok(Self { layout, slots })
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// A buffer that nobody reads. `get_mut` and not a look at the count: it synchronises with
    /// the reader that dropped its reference.
    pub(super) fn free(&mut self) -> Option<usize> {
        self.slots
            .iter_mut()
            .position(|slot| Arc::get_mut(&mut slot.surface).is_some())
    }

    pub(super) fn slot(&self, index: usize) -> &Slot {
        &self.slots[index]
    }

    /// The surface of a buffer that has just been filled, with `damage` against the frame
    /// before it; the other buffers are now older by that much.
    pub(super) fn filled(&mut self, index: usize, damage: Rect) -> Arc<ShmSurface> {
        for slot in &mut self.slots {
            slot.stale = slot.stale.union(damage);
        }
        self.slots[index].stale = NOTHING;
        Arc::clone(&self.slots[index].surface)
    }

    /// Turns the picture in a buffer upside down; nobody else may hold it.
    pub(super) fn flip(&mut self, index: usize) {
        let surface = Arc::get_mut(&mut self.slots[index].surface);
        surface
            .expect("a buffer being filled is held by the pool alone")
            .flip();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for slot in &self.slots {
            slot.buffer.destroy();
        }
    }
}

fn slot<P: 'static>(
    shm: &WlShm,
    handle: &QueueHandle<State<P>>,
    layout: Layout,
) -> io::Result<Slot> {
    let memory = SharedMemory::new(layout.bytes())?;
    let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let bytes = i32::try_from(layout.bytes()).map_err(too_large)?;
    let stride = i32::try_from(layout.stride).map_err(too_large)?;
    let (width, height) = (layout.size.width.into(), layout.size.height.into());
    let pool = shm.create_pool(memory.fd(), bytes, handle, ());
    let buffer = pool.create_buffer(0, width, height, stride, layout.format, handle, ());
    pool.destroy();
    let stale = Rect::whole(layout.size);
    Ok(Slot {
        surface: Arc::new(ShmSurface { memory, layout }),
        buffer,
        stale,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_layouts_are_refused() {
        let xrgb = wl_shm::Format::Xrgb8888;
        assert!(Layout::new(1280, 720, 5120, xrgb).is_some());
        assert!(Layout::new(0, 720, 5120, xrgb).is_none());
        assert!(Layout::new(70_000, 720, 280_000, xrgb).is_none());
        assert!(Layout::new(1280, 720, 5116, xrgb).is_none());
        assert!(Layout::new(1280, 720, 5120, wl_shm::Format::Nv12).is_none());
    }

    #[test]
    fn damage_is_cut_to_the_picture() {
        let size = Size {
            width: 100,
            height: 50,
        };
        assert_eq!(clip([0, 0, 100, 50], size), Rect::whole(size));
        assert_eq!(
            clip([-5, 40, 10, 99], size),
            Rect {
                x: 0,
                y: 40,
                width: 5,
                height: 10
            }
        );
        assert!(clip([i64::MAX, 0, i64::MAX, 1], size).is_empty());
        assert!(clip([5, 5, -1, -1], size).is_empty());
    }

    #[test]
    fn flipping_swaps_rows_and_keeps_the_middle_one() {
        let layout = Layout::new(1, 3, 4, wl_shm::Format::Xrgb8888).expect("valid");
        let memory = SharedMemory::new(layout.bytes()).expect("memory");
        let mut surface = ShmSurface { memory, layout };
        surface
            .memory
            .bytes_mut()
            .copy_from_slice(&[1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
        surface.flip();
        assert_eq!(surface.memory.bytes(), [3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1]);
    }
}
