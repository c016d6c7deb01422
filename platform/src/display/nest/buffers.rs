//! The pictures of the nested compositor, where it drew them: its `wl_buffer`s, mapped for reading.
//!
//! A buffer is lent to us from its commit to our release. It is released when nobody reads it any
//! more and another picture is shown; that is asked when the compositor could use it: before it is
//! told to draw. All sizes are bytes of the compositor's words, checked before they are believed.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use gpu::frame::{MappedPixels, MemorySurface, PixelFormat, Size, Surface};
use net::cursor::PIXEL_BYTES;
use net::limits::{CURSOR_SIDE_PX_MAX, SIDE_PX_MAX};
use wayland_server::protocol::wl_buffer::WlBuffer;
use wayland_server::protocol::wl_shm::Format;

use crate::sys::SharedView;

/// Most bytes of a pool: a picture of the largest mode.
pub(super) const POOL_BYTES_MAX: i32 = SIDE_PX_MAX as i32 * SIDE_PX_MAX as i32 * 4;
/// Buffers that the compositor can have at a time: those of its old size beside the new, twice, and
/// as many of its cursor.
const BUFFERS_MAX: usize = 8 * SWAPCHAIN;
/// What is looked at of a cursor: compositors fill the largest shape up, but not by far.
const IMAGE_SIDE_PX_MAX: u16 = 4 * CURSOR_SIDE_PX_MAX;
/// Buffers of one size that wlroots draws in, in turn (`WLR_SWAPCHAIN_CAP`): with all of them lent
/// to us it cannot draw, and does not try again by itself.
const SWAPCHAIN: usize = 4;

/// What is wrong with a buffer that the compositor wants to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nonsense {
    /// Not one of the formats offered.
    Format,
    /// A size, stride or offset that makes no picture inside the pool.
    Geometry,
    /// The file is not what the pool says, or cannot be mapped.
    Memory,
    /// There are too many.
    Number,
}

/// How a picture lies in its pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) size: Size,
    pub(super) stride: usize,
    offset: u64,
}

impl Layout {
    /// From the figures of `wl_shm_pool.create_buffer`, for a pool of `pool_bytes`.
    pub(super) fn new(
        [offset, width, height, stride]: [i32; 4],
        pool_bytes: i32,
    ) -> Result<Self, Nonsense> {
        let nonsense = Nonsense::Geometry;
        let side = |value: i32| {
            u16::try_from(value)
                .ok()
                .filter(|side| (1..=SIDE_PX_MAX).contains(side))
        };
        let size = Size {
            width: side(width).ok_or(nonsense)?,
            height: side(height).ok_or(nonsense)?,
        };
        let end = i64::from(offset) + i64::from(stride) * i64::from(height);
        if i64::from(stride) < i64::from(width) * 4 || end > i64::from(pool_bytes) {
            return Err(nonsense);
        }
        Ok(Self {
            size,
            stride: usize::try_from(stride).map_err(|_| nonsense)?,
            offset: u64::try_from(offset).map_err(|_| nonsense)?,
        })
    }

    fn bytes(&self) -> usize {
        self.stride * usize::from(self.size.height)
    }
}

/// A picture in the compositor's memory.
#[derive(Debug)]
pub(super) struct NestSurface {
    view: SharedView,
    layout: Layout,
    has_alpha: bool,
}

impl NestSurface {
    /// Maps it.
    pub(super) fn new(fd: Arc<OwnedFd>, layout: Layout, has_alpha: bool) -> io::Result<Self> {
        let view = SharedView::new(fd, layout.offset, layout.bytes())?;
        Ok(Self {
            view,
            layout,
            has_alpha,
        })
    }

    /// What a cursor can use of it.
    fn image(&self) -> Image {
        let Size { width, height } = self.layout.size;
        let (width, height) = (width.min(IMAGE_SIDE_PX_MAX), height.min(IMAGE_SIDE_PX_MAX));
        let row_bytes = usize::from(width) * PIXEL_BYTES;
        let rows = self.view.bytes().chunks_exact(self.layout.stride);
        let rows = rows.take(height.into()).map(|row| &row[..row_bytes]);
        let mut pixels: Vec<u8> = rows.flatten().copied().collect();
        if !self.has_alpha {
            let opaque = pixels.iter_mut().skip(3).step_by(PIXEL_BYTES);
            opaque.for_each(|alpha| *alpha = u8::MAX);
        }
        let size = Size { width, height };
        Image { size, pixels }
    }

    /// The same picture in memory of our own.
    fn copy(&self) -> MemorySurface {
        let mut copy = MemorySurface::new(self.layout.size, FORMAT);
        let row = copy.stride();
        let rows = self.view.bytes().chunks_exact(self.layout.stride);
        for (to, from) in copy.bytes_mut().chunks_exact_mut(row).zip(rows) {
            to.copy_from_slice(&from[..row]);
        }
        copy
    }
}

/// A cursor as the compositor drew it: B, G, R, A multiplied by A, rows without gaps.
pub(super) struct Image {
    size: Size,
    pub(super) pixels: Vec<u8>,
}

impl Image {
    pub(super) fn row_bytes(&self) -> usize {
        usize::from(self.size.width) * PIXEL_BYTES
    }

    /// Width and height, pixels.
    pub(super) fn sides(&self) -> (usize, usize) {
        (self.size.width.into(), self.size.height.into())
    }
}

/// Both formats that are offered, `xrgb8888` and `argb8888`.
const FORMAT: PixelFormat = PixelFormat::Bgrx;

/// Whether a buffer of that format can be read.
pub(super) fn readable(format: Format) -> bool {
    matches!(format, Format::Xrgb8888 | Format::Argb8888)
}

impl Surface for NestSurface {
    fn size(&self) -> Size {
        self.layout.size
    }

    fn map(&self) -> Option<MappedPixels<'_>> {
        Some(MappedPixels {
            bytes: self.view.bytes(),
            stride: self.layout.stride,
            format: FORMAT,
        })
    }
}

struct Buffer {
    object: WlBuffer,
    surface: Arc<NestSurface>,
    lent: bool,
}

/// All buffers of the compositor.
#[derive(Default)]
pub(super) struct Buffers {
    all: Vec<Buffer>,
    /// The one that is shown.
    shown: Option<WlBuffer>,
}

impl Buffers {
    /// Another one.
    pub(super) fn add(&mut self, object: WlBuffer, surface: NestSurface) {
        let surface = Arc::new(surface);
        let lent = false;
        self.all.push(Buffer {
            object,
            surface,
            lent,
        });
    }

    /// Whether the compositor may make another.
    pub(super) fn has_room(&self) -> bool {
        self.all.len() < BUFFERS_MAX
    }

    /// The compositor has destroyed it. Who reads it reads on: the mapping lives with the surface.
    pub(super) fn remove(&mut self, object: &WlBuffer) {
        self.all.retain(|buffer| buffer.object != *object);
        self.shown.take_if(|shown| shown == object);
    }

    /// The picture in a buffer that was committed, which is lent from now on and the one that is
    /// shown; `None` if it cannot be read.
    pub(super) fn lend(&mut self, object: &WlBuffer) -> Option<Arc<NestSurface>> {
        let buffer = self.all.iter_mut().find(|it| it.object == *object)?;
        if !buffer.surface.view.is_whole() {
            return None;
        }
        buffer.lent = true;
        self.shown = Some(object.clone());
        Some(Arc::clone(&buffer.surface))
    }

    /// The cursor in a buffer that was committed; `None` if it cannot be read.
    pub(super) fn image(&self, object: &WlBuffer) -> Option<Image> {
        let buffer = self.all.iter().find(|it| it.object == *object)?;
        buffer
            .surface
            .view
            .is_whole()
            .then(|| buffer.surface.image())
    }

    /// Gives back every buffer that is not shown and that nobody reads.
    pub(super) fn release(&mut self) {
        for buffer in &mut self.all {
            // `get_mut` and not a look at the count: it synchronises with the reader that dropped
            // its reference.
            let shown = self.shown.as_ref() == Some(&buffer.object);
            if buffer.lent && !shown && Arc::get_mut(&mut buffer.surface).is_some() {
                buffer.lent = false;
                buffer.object.release();
            }
        }
    }

    /// The compositor has no buffer left to draw in.
    pub(super) fn exhausted(&self) -> bool {
        let Some(shown) = self
            .all
            .iter()
            .find(|it| self.shown.as_ref() == Some(&it.object))
        else {
            return false;
        };
        let size = shown.surface.layout.size;
        // Those of another size are of a swapchain that it has given up.
        let lent = |it: &&Buffer| it.lent && it.surface.layout.size == size;
        self.all.iter().filter(lent).count() >= SWAPCHAIN
    }

    /// Gives back the buffer that is shown, if nobody but the one who shows it (who passes his
    /// reference) reads it: a copy is shown instead. For when the others are all being read.
    pub(super) fn release_shown(&mut self, surface: Arc<dyn Surface>) -> Arc<dyn Surface> {
        let shown = &self.shown;
        let mut all = self.all.iter_mut();
        let Some(buffer) = all.find(|it| shown.as_ref() == Some(&it.object)) else {
            return surface;
        };
        drop(surface);
        let Some(own) = Arc::get_mut(&mut buffer.surface) else {
            return Arc::clone(&buffer.surface) as Arc<dyn Surface>;
        };
        let copy = Arc::new(own.copy());
        buffer.lent = false;
        buffer.object.release();
        self.shown = None;
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pictures_inside_the_pool_are_believed() {
        let pool = 640 * 480 * 4;
        let good = Layout::new([0, 640, 480, 2560], pool).expect("fits exactly");
        assert_eq!((good.size.width, good.bytes()), (640, 640 * 480 * 4));
        for figures in [
            [1, 640, 480, 2560],
            [0, 640, 481, 2560],
            [0, 641, 480, 2560],
            [0, 640, 480, 2559],
            [-4, 640, 480, 2560],
            [0, -640, 480, 2560],
            [0, 640, 480, -2560],
            [0, 0, 480, 2560],
            [0, 640, 0, 2560],
            [i32::MAX, 640, 480, i32::MAX],
            [0, i32::MAX, 1, i32::MAX],
            [0, 1, i32::MAX, i32::MAX],
            [i32::MIN, i32::MIN, i32::MIN, i32::MIN],
        ] {
            let answer = Layout::new(figures, pool);
            assert_eq!(answer, Err(Nonsense::Geometry), "{figures:?}");
        }
    }

    #[test]
    fn a_view_needs_all_of_its_file_and_notices_when_it_is_cut_off() {
        use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
        let layout = Layout::new([100, 16, 16, 64], 1 << 20).expect("fits the pool");
        let fd = memfd_create("pool", MemfdFlags::CLOEXEC).expect("a memfd");
        let fd = Arc::new(fd);
        ftruncate(&*fd, 100 + 1023).expect("grows");
        let short = NestSurface::new(Arc::clone(&fd), layout, false);
        assert_eq!(
            short.expect_err("short").kind(),
            io::ErrorKind::UnexpectedEof
        );
        ftruncate(&*fd, 100 + 1024).expect("grows");
        rustix::io::pwrite(&*fd, &[7; 4], 100).expect("writes");
        let surface = NestSurface::new(Arc::clone(&fd), layout, false).expect("maps");
        let pixels = surface.map().expect("is mapped");
        assert_eq!(
            (pixels.bytes.len(), &pixels.bytes[..5]),
            (1024, &[7, 7, 7, 7, 0][..])
        );
        assert_eq!(surface.copy().map().expect("memory").bytes, pixels.bytes);
        assert!(surface.view.is_whole());
        ftruncate(&*fd, 100).expect("shrinks");
        assert!(!surface.view.is_whole());
    }
}
