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
        Self { x: 0, y: 0, width: size.width, height: size.height }
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
        let right = (self.x + self.width).max(other.x + other.width);
        let bottom = (self.y + self.height).max(other.y + other.height);
        Self { x, y, width: right - x, height: bottom - y }
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
