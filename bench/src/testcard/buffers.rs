//! The few shared-memory buffers that the window draws into, in turn.

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
    /// The compositor may still read it.
    busy: bool,
    /// Number of the picture of the current painter that it holds.
    held: Option<u32>,
}

/// A set of buffers of one size.
pub struct Buffers {
    memory: SharedMemory,
    buffers: Vec<Buffer>,
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
        let buffers = (0..BUFFERS)
            .map(|index| Buffer {
                proxy: pool.create_buffer(
                    (index * buffer_bytes) as i32,
                    size.width.into(),
                    size.height.into(),
                    stride as i32,
                    wl_shm::Format::Xrgb8888,
                    queue,
                    BufferId { generation, index },
                ),
                busy: false,
                held: None,
            })
            .collect();
        pool.destroy();
        Ok(Self {
            memory,
            buffers,
            stride,
            buffer_bytes,
            generation,
        })
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
    ) -> Option<(&wl_buffer::WlBuffer, Timestamp)> {
        let index = self.buffers.iter().position(|buffer| !buffer.busy)?;
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
    }
}
