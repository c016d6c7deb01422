//! The captured picture on its way from capture to encode.
//!
//! A [`Frame`] does not own pixels, it holds a reference to a [`Surface`] that its capture
//! backend will reuse once nobody holds it: dropping the frame gives the buffer back.

use std::sync::Arc;

use net::units::Timestamp;

/// Byte order of a packed 32-bit pixel in memory, lowest address first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// Blue, green, red, unused or alpha: DRM `XR24`/`AR24`, `wl_shm` `xrgb8888`/`argb8888`.
    Bgrx,
    /// Red, green, blue, unused or alpha: DRM `XB24`/`AB24`.
    Rgbx,
}

/// Size of a picture in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Width, pixels.
    pub width: u16,
    /// Height, pixels.
    pub height: u16,
}

/// A rectangle in pixels, origin at the top left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    /// Left edge.
    pub x: u16,
    /// Top edge.
    pub y: u16,
    /// Width; zero means nothing.
    pub width: u16,
    /// Height; zero means nothing.
    pub height: u16,
}

impl Rect {
    /// The whole of a picture.
    #[must_use]
    pub const fn whole(size: Size) -> Self {
        Self {
            x: 0,
            y: 0,
            width: size.width,
            height: size.height,
        }
    }

    /// True if it covers no pixel.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// The smallest rectangle that covers both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        let x = self.x.min(other.x);
        let y = self.y.min(other.y);
        let right = self.right().max(other.right());
        let bottom = self.bottom().max(other.bottom());
        Self {
            x,
            y,
            width: right - x,
            height: bottom - y,
        }
    }

    /// The part of it that lies inside a picture of that size; empty if none does.
    #[must_use]
    pub fn clipped(self, size: Size) -> Self {
        let x = self.x.min(size.width);
        let y = self.y.min(size.height);
        let width = self.right().min(size.width) - x;
        let height = self.bottom().min(size.height) - y;
        Self {
            x,
            y,
            width,
            height,
        }
    }

    /// True if every pixel of `other` is one of this rectangle's.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        other.is_empty() || self.union(other) == self
    }

    /// Number of pixels.
    #[must_use]
    pub const fn area(self) -> usize {
        self.width as usize * self.height as usize
    }

    /// First column right of it; saturates, because a compositor may send any numbers.
    const fn right(self) -> u16 {
        self.x.saturating_add(self.width)
    }

    /// First row below it.
    const fn bottom(self) -> u16 {
        self.y.saturating_add(self.height)
    }
}

/// Pixels in memory that this process can read.
#[derive(Clone, Copy, Debug)]
pub struct MappedPixels<'a> {
    /// `stride` × height bytes, top row first.
    pub bytes: &'a [u8],
    /// Bytes from one row to the next.
    pub stride: usize,
    /// Byte order of a pixel.
    pub format: PixelFormat,
}

/// A buffer that a capture backend fills and an encoder reads. While anybody but its backend
/// holds the `Arc`, the backend neither writes nor frees it.
pub trait Surface: Send + Sync {
    /// Picture size, pixels.
    fn size(&self) -> Size;

    /// The pixels, if they are in memory the CPU can read (shared memory, a mapped linear
    /// dmabuf). A backend whose surfaces are not mappable returns `None`, and only an encoder
    /// that imports can take them.
    fn map(&self) -> Option<MappedPixels<'_>>;

    /// The buffer as a dmabuf for import by a GPU, if it is one.
    fn dmabuf(&self) -> Option<&Dmabuf> {
        None
    }
}

/// A single-plane dmabuf as the Linux DRM describes it (`drm_fourcc.h`).
#[derive(Debug)]
pub struct Dmabuf {
    /// The buffer.
    pub fd: std::os::fd::OwnedFd,
    /// `DRM_FORMAT_*`.
    pub fourcc: u32,
    /// `DRM_FORMAT_MOD_*`.
    pub modifier: u64,
    /// Bytes from the start of the buffer to the first row.
    pub offset_bytes: u32,
    /// Bytes from one row to the next.
    pub stride_bytes: u32,
}

/// One captured picture.
#[derive(Clone)]
pub struct Frame {
    /// The pixels.
    pub surface: Arc<dyn Surface>,
    /// What may differ from the frame captured before this one. Whoever drops a frame unread
    /// adds its damage to the next one.
    pub damage: Rect,
    /// When the pixels were complete in `surface`.
    pub captured: Timestamp,
}

/// A [`Surface`] in this process's own memory: what the synthetic capture draws on, and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemorySurface {
    size: Size,
    stride: usize,
    format: PixelFormat,
    bytes: Vec<u8>,
}

impl MemorySurface {
    /// A picture of that size, all zero (black), without padding between its rows.
    #[must_use]
    pub fn new(size: Size, format: PixelFormat) -> Self {
        let stride = usize::from(size.width) * 4;
        Self {
            size,
            stride,
            format,
            bytes: vec![0; stride * usize::from(size.height)],
        }
    }

    /// Bytes from one row to the next.
    #[must_use]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// All pixels, top row first, [`Self::stride`] bytes a row. Whoever shares the surface by an
    /// `Arc` draws through `Arc::get_mut`, which is refused while a frame still holds it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Sets every pixel by its position; for pictures whose drawing need not be fast.
    pub fn fill_with(&mut self, rgb: impl Fn(u16, u16) -> [u8; 3]) {
        let format = self.format;
        for (y, row) in (0u16..).zip(self.bytes.chunks_exact_mut(self.stride)) {
            for (x, pixel) in (0u16..).zip(row.chunks_exact_mut(4)) {
                let [r, g, b] = rgb(x, y);
                let bytes = match format {
                    PixelFormat::Bgrx => [b, g, r, 255],
                    PixelFormat::Rgbx => [r, g, b, 255],
                };
                pixel.copy_from_slice(&bytes);
            }
        }
    }
}

impl Surface for MemorySurface {
    fn size(&self) -> Size {
        self.size
    }

    fn map(&self) -> Option<MappedPixels<'_>> {
        Some(MappedPixels {
            bytes: &self.bytes,
            stride: self.stride,
            format: self.format,
        })
    }
}
