//! A stream's buffers: raw pointers of the library's between `add_buffer` and `remove_buffer`, and
//! the memory behind them, mapped by ourselves so that a picture outlives its stream.

#![allow(unsafe_code)]

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::pipewire as pw;
use pw::spa::sys as spa_sys;
use pw::stream::{ListenerLocalBuilder, Stream};
use rustix::fs::{SeekFrom, fstat, seek};
use rustix::mm::{MapFlags, ProtFlags};

/// Names a buffer for as long as it is the stream's, and none ever after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64);

/// Of this process: a buffer of a stream that follows on another has no number of that one's.
static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

/// `struct spa_chunk`, of the buffer's first block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub(super) offset: u32,
    pub(super) size: u32,
    pub(super) stride: i32,
    pub(super) is_corrupted: bool,
}

/// Where the pixels of a buffer are.
pub(super) enum Pixels<'a> {
    /// In a file of the producer's.
    Shared(&'a Arc<Memory>),
    /// In memory of the daemon's, which goes with the stream.
    Lent(&'a [u8]),
}

/// The buffers of one stream. Lives on its loop's thread.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Slot>,
    /// Why the memory of some buffer cannot be used.
    pub(super) unusable: Option<String>,
}

struct Slot {
    key: Key,
    /// Alive until it is removed from the table, which `remove_buffer` does.
    buffer: NonNull<pw::sys::pw_buffer>,
    /// `None` where it is the daemon's, which the library alone has mapped.
    memory: Option<Arc<Memory>>,
    /// Taken from the stream and not given back.
    is_ours: bool,
}

impl Table {
    /// Has the table follow the stream's buffers.
    pub(super) fn follow<'s>(
        table: &Rc<RefCell<Self>>,
        builder: ListenerLocalBuilder<'s, ()>,
    ) -> ListenerLocalBuilder<'s, ()> {
        let (adds, removes) = (Rc::clone(table), Rc::clone(table));
        builder
            .add_buffer(move |_, (), buffer| {
                if let Some(buffer) = NonNull::new(buffer) {
                    adds.borrow_mut().add(buffer);
                }
            })
            .remove_buffer(move |_, (), buffer| {
                let mut table = removes.borrow_mut();
                table.slots.retain(|slot| slot.buffer.as_ptr() != buffer);
            })
    }

    fn add(&mut self, buffer: NonNull<pw::sys::pw_buffer>) {
        // SAFETY: the library has just told of it, complete with its blocks, on this thread.
        let block = unsafe { first_block(buffer) };
        if block.is_none() {
            self.unusable = Some("a buffer has no memory that we can read".to_owned());
        }
        let shared = block.filter(|data| data.type_ != spa_sys::SPA_DATA_MemPtr);
        let memory = shared.map(|data| {
            // SAFETY: the descriptor is the buffer's own and open for as long as the buffer.
            let fd = unsafe { BorrowedFd::borrow_raw(i32::try_from(data.fd).unwrap_or(-1)) };
            let is_dmabuf = data.type_ == spa_sys::SPA_DATA_DmaBuf;
            Memory::map(
                fd,
                data.mapoffset as usize,
                data.maxsize as usize,
                is_dmabuf,
            )
        });
        let memory = match memory {
            Some(Ok(memory)) => Some(Arc::new(memory)),
            Some(Err(error)) => {
                self.unusable = Some(format!("a buffer cannot be mapped: {error}"));
                None
            }
            None => None,
        };
        self.slots.push(Slot {
            key: Key(NEXT_KEY.fetch_add(1, Ordering::Relaxed)),
            buffer,
            memory,
            is_ours: false,
        });
    }

    /// The next filled buffer, if there is one; ours until [`Table::give_back`].
    pub(super) fn take(&mut self, stream: &Stream) -> Option<Key> {
        // SAFETY: called on the loop's thread, where the stream's `process` is.
        let buffer = NonNull::new(unsafe { stream.dequeue_raw_buffer() })?;
        let slot = self.slots.iter_mut().find(|slot| slot.buffer == buffer)?;
        slot.is_ours = true;
        Some(slot.key)
    }

    /// For the producer to fill again. A buffer that is gone meanwhile is none to give back.
    pub(super) fn give_back(&mut self, stream: &Stream, key: Key) {
        let slot = self.slots.iter_mut().find(|slot| slot.key == key);
        if let Some(slot) = slot.filter(|slot| slot.is_ours) {
            slot.is_ours = false;
            // SAFETY: taken from this stream by `take`, not given back since, not removed since.
            unsafe { stream.queue_raw_buffer(slot.buffer.as_ptr()) };
        }
    }

    /// The memory of a buffer that is ours, and where in it the picture is.
    pub(super) fn picture(&self, key: Key) -> Option<(Pixels<'_>, Chunk)> {
        let slot = self.ours(key)?;
        // SAFETY: the buffer is in the table, so it lives; its chunk is memory of the library's
        // that the producer writes before the buffer is queued, and not while it is ours.
        let (data, chunk) = unsafe {
            let data = first_block(slot.buffer)?;
            (data, data.chunk.as_ref()?)
        };
        let corrupted = spa_sys::SPA_CHUNK_FLAG_CORRUPTED.cast_signed();
        let chunk = Chunk {
            offset: chunk.offset,
            size: chunk.size,
            stride: chunk.stride,
            is_corrupted: chunk.flags & corrupted != 0,
        };
        let pixels = match &slot.memory {
            Some(memory) => Pixels::Shared(memory),
            None if data.type_ == spa_sys::SPA_DATA_MemPtr => {
                let start = NonNull::new(data.data)?.cast::<u8>();
                // SAFETY: the library keeps `maxsize` bytes mapped there for as long as the buffer
                // lives, which is longer than this borrow of the table; they are only read.
                Pixels::Lent(unsafe {
                    std::slice::from_raw_parts(start.as_ptr(), data.maxsize as usize)
                })
            }
            None => return None,
        };
        Some((pixels, chunk))
    }

    /// What comes with a buffer that is ours: the bytes of the first of that kind (`SPA_META_*`).
    pub(super) fn meta(&self, key: Key, kind: u32) -> Option<&[u8]> {
        let slot = self.ours(key)?;
        // SAFETY: the buffer is in the table, so it and its array of metadata live; each entry's
        // bytes lie in memory that the library keeps mapped as long, and that the producer leaves
        // alone while the buffer is ours. They are read as plain bytes.
        unsafe {
            let buffer = slot.buffer.as_ref().buffer.as_ref()?;
            let metas = NonNull::new(buffer.metas)?;
            let metas = std::slice::from_raw_parts(metas.as_ptr(), buffer.n_metas as usize);
            let meta = metas.iter().find(|meta| meta.type_ == kind)?;
            let data = NonNull::new(meta.data)?.cast::<u8>();
            Some(std::slice::from_raw_parts(
                data.as_ptr(),
                meta.size as usize,
            ))
        }
    }

    fn ours(&self, key: Key) -> Option<&Slot> {
        self.slots
            .iter()
            .find(|slot| slot.key == key && slot.is_ours)
    }
}

/// The first block of a buffer, if it has one with a descriptor or an address.
///
/// # Safety
/// `buffer` is one of the library's and not removed.
unsafe fn first_block<'a>(buffer: NonNull<pw::sys::pw_buffer>) -> Option<&'a spa_sys::spa_data> {
    // SAFETY: by the caller's promise; the library makes `n_datas` blocks at `datas`.
    let data = unsafe {
        let buffer = buffer.as_ref().buffer.as_ref()?;
        (buffer.n_datas > 0).then_some(buffer.datas)?.as_ref()?
    };
    let is_readable = match data.type_ {
        spa_sys::SPA_DATA_MemFd | spa_sys::SPA_DATA_DmaBuf => data.fd >= 0,
        spa_sys::SPA_DATA_MemPtr => !data.data.is_null(),
        _ => false,
    };
    is_readable.then_some(data)
}

/// A producer's memory, mapped for reading.
#[derive(Debug)]
pub(super) struct Memory {
    fd: OwnedFd,
    start: NonNull<u8>,
    mapped: usize,
    /// From the mapping's start to the buffer's.
    skip: usize,
    is_dmabuf: bool,
}

// SAFETY: the mapping belongs to this value until it is dropped, and is only read.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// `len` bytes from `offset` on; of a dmabuf all from there on, as producers do not agree on
    /// what they tell. The file must be as long: bytes past its end would end the process.
    fn map(fd: BorrowedFd<'_>, offset: usize, len: usize, is_dmabuf: bool) -> io::Result<Self> {
        // Refuses a number that is no open descriptor.
        let fd = fd.try_clone_to_owned()?;
        let file = if is_dmabuf {
            seek(&fd, SeekFrom::End(0))?
        } else {
            u64::try_from(fstat(&fd)?.st_size).unwrap_or(0)
        };
        let file = usize::try_from(file).map_err(|_| io::ErrorKind::InvalidInput)?;
        let end = if is_dmabuf {
            file
        } else {
            offset.saturating_add(len)
        };
        if end > file || end <= offset {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let begin = offset - offset % rustix::param::page_size();
        let mapped = end - begin;
        // SAFETY: a fresh shared mapping at an address of the kernel's choice; nothing else is
        // unmapped or aliased.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                mapped,
                ProtFlags::READ,
                MapFlags::SHARED,
                &fd,
                begin as u64,
            )?
        };
        Ok(Self {
            fd,
            start: NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?,
            mapped,
            skip: offset - begin,
            is_dmabuf,
        })
    }

    /// The buffer's bytes. The producer does not write while the buffer is ours.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for `mapped` bytes until drop, `skip` of them before the buffer's. By the
        // protocol nobody writes meanwhile; a producer that breaks it could tear the picture, and
        // the bytes are only ever read as plain integers.
        unsafe {
            let start = self.start.add(self.skip);
            std::slice::from_raw_parts(start.as_ptr(), self.mapped - self.skip)
        }
    }

    /// The descriptor, to import it elsewhere.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Begins or ends a time in which the processor reads a dmabuf (`DMA_BUF_IOCTL_SYNC` of
    /// `linux/dma-buf.h`): caches are made right, and what a GPU still draws is waited for.
    pub(super) fn sync_for_reading(&self, begins: bool) {
        const READ: u64 = 1;
        const END: u64 = 1 << 2;
        /// `_IOW('b', 0, struct dma_buf_sync)`, 8 bytes.
        const SYNC: libc::c_ulong = 0x4008_6200;
        if !self.is_dmabuf {
            return;
        }
        let flags = if begins { READ } else { READ | END };
        // SAFETY: the kernel reads 8 bytes of `flags`, which outlive the call. That it fails for a
        // descriptor that only stands for a dmabuf does not matter: such memory needs no sync.
        unsafe { libc::ioctl(self.fd.as_raw_fd(), SYNC, &raw const flags) };
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `map`; no reference to it outlives `self`.
        if let Err(error) = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.mapped) } {
            log::error!("a capture buffer could not be unmapped: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    #[test]
    fn memory_is_mapped_from_any_offset_and_never_past_its_file() {
        let file = memfd_create("test", MemfdFlags::CLOEXEC).expect("memory");
        ftruncate(&file, 10_000).expect("memory");
        rustix::io::pwrite(&file, b"here", 5000).expect("room");
        let memory = Memory::map(file.as_fd(), 5000, 4, false).expect("inside");
        assert_eq!(memory.bytes(), b"here");
        assert!(Memory::map(file.as_fd(), 5000, 5001, false).is_err());
        assert!(Memory::map(file.as_fd(), 5000, 0, false).is_err());
        assert!(Memory::map(file.as_fd(), usize::MAX, 2, false).is_err());
        let all = Memory::map(file.as_fd(), 0, 0, true).expect("as long as the file");
        assert_eq!(all.bytes().len(), 10_000);
    }
}
