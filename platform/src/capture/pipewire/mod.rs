//! Capture of a video node of PipeWire: how KWin, Mutter, gamescope and the portals show an output.
//!
//! ```text
//!  producer -> its buffers (MemFd, dmabuf) -> stream, thread pf-node -> newest -> next
//!      ^                                                                           |
//!      +--- given back by pf-node, at once <- frame dropped <- encode <------------+
//! ```
//!
//! Nothing is copied: a frame's pixels lie in the producer's buffer, mapped by ourselves. (The one
//! exception are producers that leave the buffers' memory to the daemon.) The producer's clock sets
//! the pace; of pictures that nobody took the newest stays, with the damage of all. A node that
//! went, a stream that does not come to streaming within [`NEGOTIATION_TIMEOUT`], or a daemon that
//! ended is [`CaptureError::Ended`]: the session builds the output again. Where the node has an
//! [`Heir`] the stream goes on with the next one instead, and readers only wait. The daemon is never
//! waited for but by the stream's own thread.
//!
//! A cursor that the producer tells beside the picture is kept ([`NodeStream::cursor`]) and not
//! painted.

mod address;
mod consumer;
mod format;
mod meta;
mod pacing;
mod picture;
mod stream;
mod sys;

use std::sync::Arc;
use std::time::Duration;

pub use address::{Heir, Memory, NodeName, Shape, VideoNode};
pub use meta::{CursorImage, NodeCursor};
pub use pacing::Pacing;
pub use stream::{NEGOTIATION_TIMEOUT, NodeStream};

use super::{Capture, CaptureBackend, CaptureError, Captured, Waker, refusal};
use crate::display::OutputAddress;
use crate::pipewire_link;
use crate::select::Refusal;

use stream::Reader;

/// The backend.
#[derive(Clone, Copy, Debug, Default)]
pub struct PipeWireBackend;

impl CaptureBackend for PipeWireBackend {
    fn name(&self) -> &'static str {
        "pipewire"
    }

    fn probe(&self, output: &OutputAddress) -> Result<String, Refusal> {
        let node = output.over_pipewire().map_err(|error| refusal(&error))?;
        pipewire_link::load()
            .map_err(|error| Refusal::new(error.to_string(), "install libpipewire-0.3-0"))?;
        Ok(match node.node {
            NodeName::Id(id) => format!("video node {id}"),
            NodeName::Serial(serial) => format!("video node of serial {serial}"),
        })
    }

    fn open(&self, output: &OutputAddress) -> Result<Box<dyn Capture>, CaptureError> {
        let node = output.over_pipewire()?;
        let stream = match &node.stream {
            Some(stream) => stream.clone(),
            None => NodeStream::open_for_one(node)?,
        };
        let reader = stream.reader()?;
        Ok(Box::new(NodeCapture { stream, reader }))
    }
}

struct NodeCapture {
    stream: NodeStream,
    reader: Reader,
}

impl Capture for NodeCapture {
    fn next(&mut self, timeout: Duration) -> Result<Captured, CaptureError> {
        self.stream.next(&mut self.reader, timeout)
    }

    fn waker(&self) -> Arc<dyn Waker> {
        self.stream.waker(&self.reader)
    }
}

impl Drop for NodeCapture {
    fn drop(&mut self) {
        let pacing = self.stream.pacing();
        if let Some(judder) = pacing.judder() {
            let count = pacing.intervals;
            log::debug!("capture pipewire: {count} intervals, judder {judder:?}");
        }
    }
}
