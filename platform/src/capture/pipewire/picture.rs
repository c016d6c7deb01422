//! A picture in a producer's buffer. Nothing is copied: whoever holds the frame holds the buffer,
//! and the last to drop it gives the buffer back at once. Only memory that the daemon allocated
//! (for producers that allocate none) is copied, into a pool.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use gpu::frame::{Dmabuf, MappedPixels, MemorySurface, PixelFormat, Size, Surface};

use super::super::Waker as _;
use super::super::link::EventWaker;
use super::format::Format;
use super::sys::{Chunk, Key, Memory};

/// Copies: as many as there are hands for, see `gpu::frame`, and one for the newest.
const COPIES: usize = 5;
/// More buffers no stream has.
const KEYS_MAX: usize = 64;

/// Buffers on their way back. The stream's thread gives them to the producer; here they only wait.
pub(super) struct Returns {
    keys: Mutex<Vec<Key>>,
    /// Wakes that thread.
    pub(super) waker: EventWaker,
}

impl Returns {
    pub(super) fn new(waker: EventWaker) -> Self {
        Self {
            keys: Mutex::new(Vec::with_capacity(KEYS_MAX)),
            waker,
        }
    }

    fn push(&self, key: Key) {
        self.keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(key);
        self.waker.wake();
    }

    /// The next one.
    pub(super) fn pop(&self) -> Option<Key> {
        self.keys
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
    }
}

/// The loan of a buffer. One small allocation for each picture: only what is made anew is dropped
/// anew, and a pool that looks for free buffers would give them back late.
pub(super) struct Picture {
    memory: Arc<Memory>,
    place: Place,
    fourcc: u32,
    modifier: Option<u64>,
    dmabuf: OnceLock<Option<Dmabuf>>,
    /// The processor has looked at it.
    is_read: AtomicBool,
    key: Key,
    returns: Arc<Returns>,
}

/// Where in the memory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    size: Size,
    format: PixelFormat,
    offset: usize,
    stride: usize,
    bytes: usize,
}

impl Place {
    /// `None` if the chunk does not fit the format (a producer's, for a moment, when that has
    /// changed) or lies outside of the memory.
    fn new(format: &Format, chunk: Chunk, memory: usize) -> Option<Self> {
        let row = usize::from(format.size.width) * 4;
        let stride = match chunk.stride {
            0 => row,
            stride => usize::try_from(stride).ok().filter(|it| *it >= row)?,
        };
        let height = usize::from(format.size.height);
        let (offset, bytes) = (chunk.offset as usize, stride.checked_mul(height)?);
        // Of dmabufs the size is told by some producers only.
        if format.modifier.is_none() && (chunk.size as usize) < bytes {
            return None;
        }
        let room = memory.checked_sub(offset)?;
        (bytes > 0 && bytes <= room).then_some(Self {
            size: format.size,
            format: format.pixels,
            offset,
            stride,
            bytes,
        })
    }
}

impl Picture {
    /// `None` if there is no whole picture; the buffer is not lent then.
    pub(super) fn new(
        format: &Format,
        (memory, chunk): (&Arc<Memory>, Chunk),
        key: Key,
        returns: &Arc<Returns>,
    ) -> Option<Self> {
        Some(Self {
            place: Place::new(format, chunk, memory.bytes().len())?,
            memory: Arc::clone(memory),
            fourcc: format.fourcc,
            modifier: format.modifier,
            dmabuf: OnceLock::new(),
            is_read: AtomicBool::new(false),
            key,
            returns: Arc::clone(returns),
        })
    }
}

/// Copies of pictures, allocated once for each format.
#[derive(Default)]
pub(super) struct Copies {
    format: Option<(Size, PixelFormat)>,
    surfaces: Vec<Arc<MemorySurface>>,
}

impl Copies {
    /// A copy of the picture in `bytes`; `None` if there is no whole one, or if every copy is
    /// still held.
    pub(super) fn copy(
        &mut self,
        format: &Format,
        (bytes, chunk): (&[u8], Chunk),
    ) -> Option<Arc<MemorySurface>> {
        let place = Place::new(format, chunk, bytes.len())?;
        let wanted = (format.size, format.pixels);
        if self.format.replace(wanted) != Some(wanted) {
            let surface = |_| Arc::new(MemorySurface::new(format.size, format.pixels));
            self.surfaces = (0..COPIES).map(surface).collect();
        }
        let mut surfaces = self.surfaces.iter_mut();
        let free = surfaces.position(|surface| Arc::get_mut(surface).is_some())?;
        let surface = &mut self.surfaces[free];
        let copy = Arc::get_mut(surface).expect("found free, and nobody else clones it");
        let stride = copy.stride();
        let rows = bytes[place.offset..].chunks(place.stride);
        for (to, from) in copy.bytes_mut().chunks_exact_mut(stride).zip(rows) {
            to.copy_from_slice(&from[..stride]);
        }
        Some(Arc::clone(surface))
    }
}

impl Surface for Picture {
    fn size(&self) -> Size {
        self.place.size
    }

    fn map(&self) -> Option<MappedPixels<'_>> {
        if !self.is_read.swap(true, Ordering::AcqRel) {
            self.memory.sync_for_reading(true);
        }
        let Place {
            format,
            offset,
            stride,
            bytes,
            ..
        } = self.place;
        Some(MappedPixels {
            bytes: &self.memory.bytes()[offset..offset + bytes],
            stride,
            format,
        })
    }

    fn dmabuf(&self) -> Option<&Dmabuf> {
        let modifier = self.modifier?;
        let make = || {
            Some(Dmabuf {
                fd: self.memory.fd().try_clone_to_owned().ok()?,
                fourcc: self.fourcc,
                modifier,
                offset_bytes: u32::try_from(self.place.offset).ok()?,
                stride_bytes: u32::try_from(self.place.stride).ok()?,
            })
        };
        self.dmabuf.get_or_init(make).as_ref()
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        if *self.is_read.get_mut() {
            self.memory.sync_for_reading(false);
        }
        self.returns.push(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(chunk: (u32, u32, i32), modifier: Option<u64>, memory: usize) -> Option<Place> {
        let (offset, size, stride) = chunk;
        let format = Format {
            size: Size {
                width: 10,
                height: 4,
            },
            pixels: PixelFormat::Bgrx,
            fourcc: 0,
            refresh_millihz: 0,
            modifier,
        };
        let chunk = Chunk {
            offset,
            size,
            stride,
            is_corrupted: false,
        };
        Place::new(&format, chunk, memory)
    }

    #[test]
    fn a_picture_must_lie_in_its_memory() {
        assert_eq!(place((0, 160, 40), None, 160).expect("fits").stride, 40);
        assert_eq!(place((0, 160, 0), None, 160).expect("no gaps").stride, 40);
        assert!(place((0, 159, 40), None, 160).is_none(), "half told");
        assert!(place((1, 160, 40), None, 160).is_none(), "past the end");
        assert!(place((0, 160, 36), None, 160).is_none(), "rows too short");
        assert!(place((0, 160, -40), None, 160).is_none(), "upside down");
        assert!(place((u32::MAX, u32::MAX, i32::MAX), None, 160).is_none());
        assert!(place((0, 160, 40), None, 159).is_none(), "not all there");
        assert!(
            place((0, 0, 40), Some(0), 160).is_some(),
            "a dmabuf of no told size"
        );
    }
}
