//! Memory for a producer's buffers, as compositors allocate it: a memfd each.

#![allow(unsafe_code)]

use std::os::fd::IntoRawFd;

use pipewire as pw;
use pw::spa::sys as spa_sys;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::mm::{MapFlags, ProtFlags};

/// Room for the largest picture of these tests.
const BYTES: usize = 640 * 480 * 4;

/// Gives a buffer its memory, for the test's time.
pub fn allocate(buffer: *mut pw::sys::pw_buffer) {
    let memory = memfd_create("producer", MemfdFlags::CLOEXEC).expect("memory");
    ftruncate(&memory, BYTES as u64).expect("memory");
    // SAFETY: a fresh mapping of a file of that length. The buffer is one that the library has
    // just made, with a block for us to fill in, on this thread.
    unsafe {
        let start = rustix::mm::mmap(
            std::ptr::null_mut(),
            BYTES,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::SHARED,
            &memory,
            0,
        )
        .expect("memory");
        let data = &mut *(*(*buffer).buffer).datas;
        data.type_ = spa_sys::SPA_DATA_MemFd;
        data.flags = spa_sys::SPA_DATA_FLAG_READABLE | spa_sys::SPA_DATA_FLAG_WRITABLE;
        data.fd = memory.into_raw_fd().into();
        data.mapoffset = 0;
        data.maxsize = BYTES as u32;
        data.data = start;
    }
}
