//! Colours: packed RGB in memory to the 4:2:0 planes that encoders take, and back.
//!
//! All pictures on the wire are BT.709, limited range (ITU-R BT.709-6, section 3.4: luma 16 to
//! 235, chroma 16 to 240), and the encoders' VUI says so. Arithmetic is the crate `yuv`'s, which
//! picks AVX2, SSE4.1 or NEON at run time.
//!
//! A [`Converter`] keeps two pictures and fills them in turn, so that the rate controller can
//! compare a picture with the one before it without a copy. Only what changed is converted: the
//! damage of this frame and of the one before it, which the older picture has not seen.

use yuv::{
    BufferStoreMut, YuvBiPlanarImageMut, YuvConversionMode, YuvPlanarImage, YuvPlanarImageMut,
    YuvRange, YuvStandardMatrix,
};

use crate::decode::Picture;
use crate::frame::{Frame, MappedPixels, PixelFormat, Rect, Size};

const RANGE: YuvRange = YuvRange::Limited;
const MATRIX: YuvStandardMatrix = YuvStandardMatrix::Bt709;
const MODE: YuvConversionMode = YuvConversionMode::Balanced;

/// Rows of a plane start this many bytes apart or a multiple of it: a cache line.
const STRIDE_ALIGN: usize = 64;
/// Rows after a plane's last: `yuv` works on whole strides, which the last rows of a part that
/// begins right of the first column lack.
const PADDING_ROWS: usize = 2;
/// Columns of the damage are extended to multiples of this, so that vector loops see few tails.
const COLUMN_ALIGN: u16 = 32;

/// Why a surface could not be converted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// The surface is of another size than the stream.
    #[error("it is {}x{}, the stream is {}x{}", got.width, got.height, want.width, want.height)]
    Size {
        /// The surface's size.
        got: Size,
        /// The stream's size.
        want: Size,
    },
    /// The surface cannot be read by the CPU.
    #[error("it is not mapped in memory; capture to shared memory, or use an encoder that imports")]
    NotMapped,
    /// Stride or length of the mapping do not hold the picture.
    #[error("its mapping of {bytes} bytes with {stride} bytes a row does not hold the picture")]
    Mapping {
        /// Length of the mapping.
        bytes: usize,
        /// Bytes a row.
        stride: usize,
    },
    /// The decoded picture or the destination is too small for its size.
    #[error("a plane or the destination is too short: {reason}")]
    Planes {
        /// What does not fit.
        reason: String,
    },
}

/// A 4:2:0 picture that pixels can be converted into, part by part.
pub trait Planar {
    /// A black picture of that (even) size.
    fn black(size: Size) -> Self;

    /// Converts the pixels inside `rect`, whose edges are even and inside the picture. `pixels`
    /// begins with its top left pixel and holds height × stride bytes.
    ///
    /// # Errors
    /// [`ConvertError::Planes`] if the library refuses, which a checked input cannot cause.
    fn convert(&mut self, pixels: MappedPixels<'_>, rect: Rect) -> Result<(), ConvertError>;
}

/// Luma and one plane of interleaved chroma (blue first): what x264 and hardware encoders take.
#[derive(Clone, Debug)]
pub struct Nv12 {
    /// Size, pixels.
    pub size: Size,
    /// Bytes from row to row, of both planes.
    pub stride: usize,
    /// One byte a pixel.
    pub luma: Vec<u8>,
    /// Two bytes for each 2×2 pixels.
    pub chroma: Vec<u8>,
}

/// Luma and two chroma planes: what openh264 takes.
#[derive(Clone, Debug)]
pub struct I420 {
    /// Size, pixels.
    pub size: Size,
    /// Bytes from row to row of luma; chroma has half.
    pub stride: usize,
    /// One byte a pixel.
    pub luma: Vec<u8>,
    /// Chroma blue and red, one byte each for 2×2 pixels.
    pub chroma: [Vec<u8>; 2],
}

/// Converts the frames of one session; see the module's text.
#[derive(Debug)]
pub struct Converter<P> {
    size: Size,
    pictures: [P; 2],
    /// Index of the picture converted last.
    current: usize,
    /// What the other picture lacks; everything until a frame has been converted.
    behind: Rect,
    /// No frame has been converted yet.
    fresh: bool,
    /// Two rows of pixels.
    rows: Vec<u8>,
}

impl<P: Planar> Converter<P> {
    /// For pictures of that size, whose sides are even. All memory is allocated here.
    #[must_use]
    pub fn new(size: Size) -> Self {
        let pictures = [P::black(size), P::black(size)];
        let rows = vec![0; usize::from(size.width) * 4 * 2];
        Self {
            size,
            pictures,
            current: 0,
            behind: Rect::whole(size),
            fresh: true,
            rows,
        }
    }

    /// Converts what changed, after which [`Self::current`] is this frame and
    /// [`Self::previous`] the one before it.
    ///
    /// The first frame is converted whole whatever its damage says.
    ///
    /// # Errors
    /// See [`ConvertError`].
    pub fn convert(&mut self, frame: &Frame) -> Result<(), ConvertError> {
        let got = frame.surface.size();
        if got != self.size {
            return Err(ConvertError::Size {
                got,
                want: self.size,
            });
        }
        let pixels = frame.surface.map().ok_or(ConvertError::NotMapped)?;
        check_mapping(pixels, self.size)?;
        let damage = if self.fresh {
            Rect::whole(self.size)
        } else {
            aligned(frame.damage, self.size)
        };
        let target = &mut self.pictures[1 - self.current];
        for rect in cover(damage, self.behind) {
            convert_part(target, pixels, rect, &mut self.rows)?;
        }
        self.fresh = false;
        self.behind = damage;
        self.current = 1 - self.current;
        Ok(())
    }

    /// The picture converted last.
    #[must_use]
    pub fn current(&self) -> &P {
        &self.pictures[self.current]
    }

    /// The picture before it; black at first.
    #[must_use]
    pub fn previous(&self) -> &P {
        &self.pictures[1 - self.current]
    }
}

impl Planar for Nv12 {
    fn black(size: Size) -> Self {
        let stride = aligned_stride(size);
        let rows = usize::from(size.height) + PADDING_ROWS;
        let chroma = vec![128; stride * (rows / 2)];
        Self {
            size,
            stride,
            luma: vec![16; stride * rows],
            chroma,
        }
    }

    fn convert(&mut self, pixels: MappedPixels<'_>, rect: Rect) -> Result<(), ConvertError> {
        let (x, y, stride) = (usize::from(rect.x), usize::from(rect.y), self.stride);
        let rows = usize::from(rect.height);
        let mut image = YuvBiPlanarImageMut {
            y_plane: BufferStoreMut::Borrowed(&mut self.luma[y * stride + x..][..rows * stride]),
            y_stride: plane_u32(stride),
            uv_plane: BufferStoreMut::Borrowed(
                &mut self.chroma[y / 2 * stride + x..][..rows / 2 * stride],
            ),
            uv_stride: plane_u32(stride),
            width: u32::from(rect.width),
            height: u32::from(rect.height),
        };
        let convert = match pixels.format {
            PixelFormat::Bgrx => yuv::bgra_to_yuv_nv12,
            PixelFormat::Rgbx => yuv::rgba_to_yuv_nv12,
        };
        convert(
            &mut image,
            pixels.bytes,
            plane_u32(pixels.stride),
            RANGE,
            MATRIX,
            MODE,
        )
        .map_err(|error| ConvertError::Planes {
            reason: error.to_string(),
        })
    }
}

impl Planar for I420 {
    fn black(size: Size) -> Self {
        let stride = aligned_stride(size);
        let rows = usize::from(size.height) + PADDING_ROWS;
        let chroma = vec![128; stride / 2 * (rows / 2)];
        Self {
            size,
            stride,
            luma: vec![16; stride * rows],
            chroma: [chroma.clone(), chroma],
        }
    }

    fn convert(&mut self, pixels: MappedPixels<'_>, rect: Rect) -> Result<(), ConvertError> {
        let (x, y, stride) = (usize::from(rect.x), usize::from(rect.y), self.stride);
        let (rows, half) = (usize::from(rect.height), stride / 2);
        let [blue, red] = &mut self.chroma;
        let mut image = YuvPlanarImageMut {
            y_plane: BufferStoreMut::Borrowed(&mut self.luma[y * stride + x..][..rows * stride]),
            y_stride: plane_u32(stride),
            u_plane: BufferStoreMut::Borrowed(&mut blue[y / 2 * half + x / 2..][..rows / 2 * half]),
            u_stride: plane_u32(half),
            v_plane: BufferStoreMut::Borrowed(&mut red[y / 2 * half + x / 2..][..rows / 2 * half]),
            v_stride: plane_u32(half),
            width: u32::from(rect.width),
            height: u32::from(rect.height),
        };
        let convert = match pixels.format {
            PixelFormat::Bgrx => yuv::bgra_to_yuv420,
            PixelFormat::Rgbx => yuv::rgba_to_yuv420,
        };
        convert(
            &mut image,
            pixels.bytes,
            plane_u32(pixels.stride),
            RANGE,
            MATRIX,
            MODE,
        )
        .map_err(|error| ConvertError::Planes {
            reason: error.to_string(),
        })
    }
}

/// A decoded picture as packed RGB, three bytes a pixel, rows without padding: what a PNG takes.
/// `rgb` holds width × height × 3 bytes.
///
/// # Errors
/// [`ConvertError::Planes`] if `rgb` or a plane is too short.
pub fn to_rgb(picture: &Picture<'_>, rgb: &mut [u8]) -> Result<(), ConvertError> {
    let side = |value: usize| {
        u32::try_from(value).map_err(|_| ConvertError::Planes {
            reason: format!("a side of {value} pixels"),
        })
    };
    let image = YuvPlanarImage {
        y_plane: picture.planes[0],
        y_stride: side(picture.strides[0])?,
        u_plane: picture.planes[1],
        u_stride: side(picture.strides[1])?,
        v_plane: picture.planes[2],
        v_stride: side(picture.strides[2])?,
        width: side(picture.width)?,
        height: side(picture.height)?,
    };
    yuv::yuv420_to_rgb(&image, rgb, image.width * 3, RANGE, MATRIX).map_err(|error| {
        ConvertError::Planes {
            reason: error.to_string(),
        }
    })
}

/// Converts a part, whose rows the library wants whole: the last pair, where the mapping ends
/// before a whole stride, goes by way of `rows`.
fn convert_part<P: Planar>(
    target: &mut P,
    pixels: MappedPixels<'_>,
    rect: Rect,
    rows: &mut [u8],
) -> Result<(), ConvertError> {
    if rect.is_empty() {
        return Ok(());
    }
    let MappedPixels {
        bytes,
        stride,
        format,
    } = pixels;
    let start = usize::from(rect.y) * stride + usize::from(rect.x) * 4;
    let height = usize::from(rect.height);
    if let Some(bytes) = bytes.get(start..start + height * stride) {
        return target.convert(
            MappedPixels {
                bytes,
                stride,
                format,
            },
            rect,
        );
    }
    let above = Rect {
        height: rect.height - 2,
        ..rect
    };
    if !above.is_empty() {
        let bytes = &bytes[start..start + (height - 2) * stride];
        target.convert(
            MappedPixels {
                bytes,
                stride,
                format,
            },
            above,
        )?;
    }
    let width = usize::from(rect.width) * 4;
    let rows = &mut rows[..2 * width];
    for (row, copy) in rows.chunks_exact_mut(width).enumerate() {
        copy.copy_from_slice(&bytes[start + (height - 2 + row) * stride..][..width]);
    }
    let last = Rect {
        y: rect.y + rect.height - 2,
        height: 2,
        ..rect
    };
    target.convert(
        MappedPixels {
            bytes: rows,
            stride: width,
            format,
        },
        last,
    )
}

fn check_mapping(pixels: MappedPixels<'_>, size: Size) -> Result<(), ConvertError> {
    let row = usize::from(size.width) * 4;
    let needed = pixels
        .stride
        .checked_mul(usize::from(size.height).saturating_sub(1))
        .and_then(|rows| rows.checked_add(row));
    let holds = needed.is_some_and(|needed| needed <= pixels.bytes.len());
    if holds && pixels.stride >= row && u32::try_from(pixels.stride).is_ok() {
        return Ok(());
    }
    Err(ConvertError::Mapping {
        bytes: pixels.bytes.len(),
        stride: pixels.stride,
    })
}

/// `rect` extended to even rows and to [`COLUMN_ALIGN`] columns, clipped to the (even) picture.
fn aligned(rect: Rect, size: Size) -> Rect {
    let rect = rect.clipped(size);
    if rect.is_empty() {
        return Rect {
            x: 0,
            y: 0,
            width: 0,
            height: 0,
        };
    }
    let x = rect.x / COLUMN_ALIGN * COLUMN_ALIGN;
    let y = rect.y / 2 * 2;
    let right = (rect.x + rect.width)
        .next_multiple_of(COLUMN_ALIGN)
        .min(size.width);
    let bottom = (rect.y + rect.height).next_multiple_of(2).min(size.height);
    Rect {
        x,
        y,
        width: right - x,
        height: bottom - y,
    }
}

/// One or two rectangles that cover both: their union unless that is much more work.
fn cover(a: Rect, b: Rect) -> [Rect; 2] {
    let nothing = Rect {
        x: 0,
        y: 0,
        width: 0,
        height: 0,
    };
    let union = a.union(b);
    if union.area() <= a.area() + b.area() {
        [union, nothing]
    } else {
        [a, b]
    }
}

fn aligned_stride(size: Size) -> usize {
    usize::from(size.width).next_multiple_of(STRIDE_ALIGN)
}

fn plane_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("sides are u16 and mapped strides were checked")
}

#[cfg(test)]
#[path = "convert_tests.rs"]
mod tests;
