//! The few shared-memory buffers that the window draws into, in turn.
//!
//! gamescope looks at the memory of a `wl_buffer` once and never again (3.16.25: what it imported it
//! knows by the `wl_buffer`). There each picture gets a new one over the same memory.

use std::os::fd::AsFd;

use gpu::frame::Size;
use net::units::Timestamp;
use wayland_client::protocol::{wl_buffer, wl_shm, wl_shm_pool};
use wayland_client::{Dispatch, QueueHandle};

use super::sys::SharedMemory;
use super::window::Window;
use crate::picture::Painter;

/// One shown, one queued in the compositor, one to draw into.
const BUFFERS: usize = 3;

/// Which buffer an event speaks of: which set of buffers, and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferId {
    generation: u32,
    index: usize,
}

struct Buffer {
    proxy: wl_buffer::WlBuffer,
    /// It was given away once.
    is_used: bool,
    /// The compositor may still read it.
    busy: bool,
    /// Number of the picture of the current painter that it holds.
    held: Option<u32>,
}

/// A set of buffers of one size.
pub struct Buffers {
    memory: SharedMemory,
    pool: wl_shm_pool::WlShmPool,
    buffers: Vec<Buffer>,
    /// Each picture gets a new `wl_buffer`.
    is_renewed: bool,
    size: Size,
    stride: usize,
    buffer_bytes: usize,
    generation: u32,
}

impl Buffers {
    /// Allocates shared memory and tells the compositor about it.
    pub fn new(
        shm: &wl_shm::WlShm,
        queue: &QueueHandle<Window>,
        size: Size,
        generation: u32,
    ) -> std::io::Result<Self>
    where
        Window: Dispatch<wl_shm_pool::WlShmPool, ()> + Dispatch<wl_buffer::WlBuffer, BufferId>,
    {
        let stride = usize::from(size.width) * 4;
        let buffer_bytes = stride * usize::from(size.height);
        let all_bytes = buffer_bytes * BUFFERS;
        // The protocol counts in i32; 8192² in three buffers still fits.
        let pool_bytes = i32::try_from(all_bytes).map_err(|_| std::io::ErrorKind::OutOfMemory)?;
        let memory = SharedMemory::new(all_bytes)?;
        let pool = shm.create_pool(memory.fd().as_fd(), pool_bytes, queue, ());
        let mut buffers = Self {
            memory,
            pool,
            buffers: Vec::with_capacity(BUFFERS),
            // Set for all that runs inside of it.
            is_renewed: std::env::var_os("GAMESCOPE_WAYLAND_DISPLAY").is_some(),
            size,
            stride,
            buffer_bytes,
            generation,
        };
        for index in 0..BUFFERS {
            let proxy = buffers.buffer(queue, index);
            buffers.buffers.push(Buffer {
                proxy,
                is_used: false,
                busy: false,
                held: None,
            });
        }
        Ok(buffers)
    }

    fn buffer(&self, queue: &QueueHandle<Window>, index: usize) -> wl_buffer::WlBuffer {
        self.pool.create_buffer(
            (index * self.buffer_bytes) as i32,
            self.size.width.into(),
            self.size.height.into(),
            self.stride as i32,
            wl_shm::Format::Xrgb8888,
            queue,
            BufferId {
                generation: self.generation,
                index,
            },
        )
    }

    /// The compositor has done with a buffer; one of an older set is gone already.
    pub fn released(&mut self, id: BufferId) {
        if id.generation == self.generation
            && let Some(buffer) = self.buffers.get_mut(id.index)
        {
            buffer.busy = false;
        }
    }

    /// Forgets what the buffers hold: another painter follows.
    pub fn forget(&mut self) {
        self.buffers
            .iter_mut()
            .for_each(|buffer| buffer.held = None);
    }

    /// Paints picture `number` into a free buffer and stamps it, the clock read last. The buffer
    /// counts as busy from then on. `None` if the compositor still holds all of them.
    pub fn draw(
        &mut self,
        painter: &mut Painter,
        number: u32,
        queue: &QueueHandle<Window>,
    ) -> Option<(&wl_buffer::WlBuffer, Timestamp)> {
        let index = self.buffers.iter().position(|buffer| !buffer.busy)?;
        if self.is_renewed && std::mem::replace(&mut self.buffers[index].is_used, true) {
            let newer = self.buffer(queue, index);
            std::mem::replace(&mut self.buffers[index].proxy, newer).destroy();
        }
        let start = index * self.buffer_bytes;
        let bytes = &mut self.memory.bytes_mut()[start..start + self.buffer_bytes];
        let buffer = &mut self.buffers[index];
        painter.paint(bytes, self.stride, number, buffer.held);
        let drawn = net::clock::now();
        painter.stamp(bytes, self.stride, number, drawn);
        buffer.held = Some(number);
        buffer.busy = true;
        Some((&buffer.proxy, drawn))
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        self.buffers
            .iter()
            .for_each(|buffer| buffer.proxy.destroy());
        self.pool.destroy();
    }
}
