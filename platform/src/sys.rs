//! The unsafe corner of this crate: what the kernel offers only through raw pointers or between
//! `fork` and `exec`. Everything here has a safe signature; the reasons stand at each block.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};
use rustix::process::{Pid, Signal};

/// Makes `command` start its own process group and die (`SIGKILL`) when the *thread* that spawns
/// it ends (`PR_SET_PDEATHSIG` counts threads, see prctl(2)); so spawn from a thread that lives
/// as long as the process. `parent` is the spawning process: should it be gone before the child
/// has asked for the signal, the child gives up.
pub(crate) fn tie_to_parent(command: &mut Command, parent: Pid) {
    command.process_group(0);
    let tie = move || -> io::Result<()> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if rustix::process::getppid() != Some(parent) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec, where only async-signal-safe calls are
    // allowed: it makes two bare system calls, and neither allocates nor locks. The error is a
    // plain kind, which needs no allocation.
    unsafe {
        command.pre_exec(tie);
    }
}

/// Lets the child of `command` inherit `fd`, under the same number, and nobody else: the flag that
/// closes it at exec is lifted in the child alone. Our copy closes with `command`.
pub(crate) fn pass_descriptor(command: &mut Command, fd: OwnedFd) {
    let keep = move || Ok(rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::empty())?);
    // SAFETY: between fork and exec it makes one bare system call, on a descriptor that the closure
    // owns and that is thus still open.
    unsafe {
        command.pre_exec(keep);
    }
}

/// Gives the calling thread `SCHED_FIFO` at `priority` (1 to 99), not inherited by children.
///
/// # Errors
/// `EPERM` where neither `RLIMIT_RTPRIO` nor `CAP_SYS_NICE` permits it.
pub(crate) fn set_fifo(priority: i32) -> io::Result<()> {
    let parameter = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: `parameter` is a valid sched_param that outlives the call; pid 0 is this thread.
    let rc = unsafe {
        libc::sched_setscheduler(
            0,
            libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK,
            &raw const parameter,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Names the calling thread; the kernel keeps 15 bytes.
pub(crate) fn name_thread(name: &str) -> io::Result<()> {
    let name = std::ffi::CString::new(name)?;
    Ok(rustix::thread::set_name(&name)?)
}

/// The calling thread's CPU clock, as other threads read it (pthread_getcpuclockid(3)).
pub(crate) fn thread_clock() -> libc::clockid_t {
    let mut clock = libc::CLOCK_THREAD_CPUTIME_ID;
    // SAFETY: the thread is the caller, and `clock` is written to before the call returns.
    let rc = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
    debug_assert_eq!(rc, 0, "a running thread has a CPU clock");
    clock
}

/// What a clock shows, ns; 0 if there is none such any more.
pub(crate) fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is written to before the call returns; the kernel checks the clock's number.
    let rc = unsafe { libc::clock_gettime(clock, &raw mut time) };
    if rc != 0 {
        return 0;
    }
    let unsigned = |number: i64| u64::try_from(number).unwrap_or(0);
    unsigned(time.tv_sec) * 1_000_000_000 + unsigned(time.tv_nsec)
}

/// `mallopt(3)`. False if the allocator does not take it.
#[cfg(target_env = "gnu")]
pub(crate) fn set_allocator_option(option: libc::c_int, value: libc::c_int) -> bool {
    // SAFETY: it takes two numbers by value, locks what it changes, and refuses what it does not
    // know.
    unsafe { libc::mallopt(option, value) == 1 }
}

/// `malloc_trim(3)`.
#[cfg(target_env = "gnu")]
pub(crate) fn trim_heaps() {
    // SAFETY: it takes a number by value and locks each heap while it looks at it. Whether it found
    // anything does not matter.
    unsafe { libc::malloc_trim(0) };
}

/// Memory that is shared with a compositor: a sealed memfd, mapped for reading and writing.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    fd: OwnedFd,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone until it is dropped; within the process it is
// plain memory, read through `&self` and written only through `&mut self`.
unsafe impl Send for SharedMemory {}
// SAFETY: as above; `&self` only reads.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Allocates `len` bytes, zeroed, and seals the size, so that nobody who is given the
    /// descriptor can shrink it under our feet (reads would end in `SIGBUS`).
    ///
    /// # Errors
    /// What memfd_create(2), ftruncate(2) or mmap(2) say: out of memory or of descriptors.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = rustix::fs::memfd_create("punktfunk-capture", flags)?;
        let size = u64::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        rustix::fs::ftruncate(&fd, size)?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        // SAFETY: a fresh shared mapping at an address of the kernel's choice, over a memfd of
        // exactly `len` bytes that cannot shrink; nothing else is unmapped or aliased.
        let start = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &fd,
                0,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { fd, start, len })
    }

    /// The descriptor to hand to the compositor.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The bytes. The caller must not have lent the buffer to the compositor at this time: the
    /// capture backends hand a buffer out only after `ready` and lend it only when nobody but
    /// they hold it.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is mapped for `len` bytes until drop and initialised (a memfd is
        // zeroed). By the protocol above nobody writes meanwhile; a compositor that breaks it
        // could tear the picture, and the bytes are only ever read as plain integers.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes, to change.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as `bytes`, and `&mut self` excludes every other view within the process.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping made in `new`; no reference to it outlives `self`.
        if let Err(error) = unsafe { rustix::mm::munmap(self.start.as_ptr().cast(), self.len) } {
            log::error!("a capture buffer could not be unmapped: {error}");
        }
    }
}

/// A part of a file that another process fills, mapped for reading.
#[derive(Debug)]
pub(crate) struct SharedView {
    fd: Arc<OwnedFd>,
    /// First byte of the mapping.
    base: NonNull<u8>,
    /// Bytes from there to the part, which begins inside the mapping's first page.
    skip: usize,
    len: usize,
    /// Where the part ends in the file.
    end: u64,
}

// SAFETY: the mapping belongs to this value alone until it is dropped and is only read.
unsafe impl Send for SharedView {}
// SAFETY: as above.
unsafe impl Sync for SharedView {}

impl SharedView {
    /// Maps `len` bytes of the file from `offset` on, all of them at once (`MAP_POPULATE`), so that
    /// no page fault is left for whoever reads first.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file does not reach so far; what fstat(2) and mmap(2) say.
    pub(crate) fn new(fd: Arc<OwnedFd>, offset: u64, len: usize) -> io::Result<Self> {
        let page = rustix::param::page_size() as u64;
        let skip = offset % page;
        let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let end = u64::try_from(len).map_err(too_large)?.checked_add(offset);
        let end = end.ok_or(io::ErrorKind::InvalidInput)?;
        let skip = usize::try_from(skip).map_err(too_large)?;
        if !reaches(&fd, end) || len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // SAFETY: a fresh mapping at an address of the kernel's choice, over a part of the file
        // that exists; nothing else is unmapped or aliased.
        let base = unsafe {
            rustix::mm::mmap(
                std::ptr::null_mut(),
                skip + len,
                ProtFlags::READ,
                MapFlags::SHARED | MapFlags::POPULATE,
                &*fd,
                offset - skip as u64,
            )?
        };
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            fd,
            base,
            skip,
            len,
            end,
        })
    }

    /// The file still reaches to the end of the part. To be asked before each reading: reading
    /// beyond the end of a file that was cut off is a `SIGBUS`. The one who can cut it off between
    /// this and the reading is a process of our own user that could end us by a signal as well.
    pub(crate) fn is_whole(&self) -> bool {
        reaches(&self.fd, self.end)
    }

    /// The bytes, while the other process has promised not to write.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: `base` is mapped for `skip + len` bytes until drop, and file pages are
        // initialised. The writer has handed the buffer over and writes again only after its
        // release, which follows the drop of every reader; one that breaks that could tear the
        // picture, and the bytes are only ever read as plain integers.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(self.skip), self.len) }
    }
}

impl Drop for SharedView {
    fn drop(&mut self) {
        let len = self.skip + self.len;
        // SAFETY: exactly the mapping made in `new`; no reference to it outlives `self`.
        if let Err(error) = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), len) } {
            log::error!("a compositor's buffer could not be unmapped: {error}");
        }
    }
}

fn reaches(fd: &OwnedFd, end: u64) -> bool {
    rustix::fs::fstat(fd)
        .is_ok_and(|stat| u64::try_from(stat.st_size).is_ok_and(|size| size >= end))
}
