//! The test card's calls below safe Rust: shared memory and signals as a descriptor.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags};

/// Shared memory that this process and the compositor see. Unmapped when dropped.
pub struct SharedMemory {
    start: NonNull<u8>,
    bytes: usize,
    fd: OwnedFd,
}

// SAFETY: the mapping belongs to this value alone within this process; moving the value to
// another thread moves the only pointer to it.
unsafe impl Send for SharedMemory {}

impl SharedMemory {
    /// New zeroed memory of `bytes` bytes, which is not zero.
    pub fn new(bytes: usize) -> io::Result<Self> {
        use rustix::fs::MemfdFlags;
        let fd = rustix::fs::memfd_create("punktfunk-testcard", MemfdFlags::CLOEXEC)?;
        rustix::fs::ftruncate(&fd, bytes as u64)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address that the kernel chooses aliases nothing.
        let start = unsafe {
            let nowhere = std::ptr::null_mut();
            rustix::mm::mmap(nowhere, bytes, protection, MapFlags::SHARED, fd.as_fd(), 0)?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes, fd })
    }

    /// The descriptor, to be given to the compositor.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// All of it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `start` maps `bytes` readable and writable bytes until drop, and `&mut self`
        // makes this the only reference within the process. The compositor maps the same pages
        // but wl_shm clients' memory is only ever read by it, and any byte value is a valid u8.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this length and no slice of it outlives
        // `self`. Unmapping it cannot fail with these arguments.
        let _ = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// Blocks SIGTERM and SIGINT for this thread and returns a descriptor that becomes readable when
/// one of them arrives, together with the mask before.
pub fn block_end_signals() -> io::Result<(OwnedFd, libc::sigset_t)> {
    // SAFETY: both sets are plain data that sigemptyset and pthread_sigmask initialise; the
    // pointers are valid for the calls; signalfd returns a new descriptor that nobody else owns.
    unsafe {
        let (mut wanted, mut before) = std::mem::zeroed();
        libc::sigemptyset(&mut wanted);
        libc::sigaddset(&mut wanted, libc::SIGTERM);
        libc::sigaddset(&mut wanted, libc::SIGINT);
        let error = libc::pthread_sigmask(libc::SIG_BLOCK, &wanted, &mut before);
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        let fd = libc::signalfd(-1, &wanted, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 {
            let error = io::Error::last_os_error();
            restore_signals(&before);
            return Err(error);
        }
        Ok((OwnedFd::from_raw_fd(fd), before))
    }
}

/// Puts the mask of [`block_end_signals`] back.
pub fn restore_signals(before: &libc::sigset_t) {
    // SAFETY: `before` is an initialised set; the old mask is not asked for.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, before, std::ptr::null_mut());
    }
}
