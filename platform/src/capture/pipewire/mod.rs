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
//! Whether the pointer is in the pictures or told beside them was decided when the node was made
//! ([`VideoNode::tells_cursor`]).

mod address;
mod consumer;
mod cursor;
mod format;
mod meta;
mod picture;
mod stream;
mod sys;

use std::sync::Arc;
use std::time::Duration;

pub use address::{Heir, Memory, NodeName, Shape, VideoNode};
pub use stream::{NEGOTIATION_TIMEOUT, NodeStream};

use super::{Apart, Capture, CaptureBackend, CaptureError, Captured, Waker, refusal};
use crate::display::OutputAddress;
use crate::pipewire_link;
use crate::select::Refusal;

use cursor::NodeCursorSource;
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
        let capture = NodeCapture::open(output.over_pipewire()?)?;
        Ok(Box::new(capture))
    }

    fn open_with_cursor(&self, output: &OutputAddress) -> Result<Option<Apart>, CaptureError> {
        let node = output.over_pipewire()?;
        if !node.tells_cursor {
            return Ok(None);
        }
        let capture = NodeCapture::open(node)?;
        let source = NodeCursorSource::new(&capture.stream)?;
        Ok(Some((Box::new(capture), Box::new(source))))
    }
}

struct NodeCapture {
    stream: NodeStream,
    reader: Reader,
}

impl NodeCapture {
    fn open(node: &VideoNode) -> Result<Self, CaptureError> {
        let stream = match &node.stream {
            Some(stream) => stream.clone(),
            None => NodeStream::open_for_one(node)?,
        };
        let reader = stream.reader()?;
        Ok(Self { stream, reader })
    }
}

impl Capture for NodeCapture {
    fn next(&mut self, timeout: Duration) -> Result<Captured, CaptureError> {
        self.stream.next(&mut self.reader, timeout)
    }

    fn waker(&self) -> Arc<dyn Waker> {
        self.stream.waker(&self.reader)
    }
}
