//! Where a video node is, and what to ask of it.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use net::units::Mode;

use super::stream::NodeStream;

/// A video node of PipeWire.
#[derive(Clone, Debug)]
pub struct VideoNode {
    /// Which.
    pub node: NodeName,
    /// A connection that somebody else opened for us (a portal's `OpenPipeWireRemote`); else the
    /// user's daemon. It serves one stream, so a display that has one opens the [`NodeStream`]
    /// itself and names it in `stream`.
    pub remote: Option<Arc<OwnedFd>>,
    /// What to ask for.
    pub shape: Shape,
    /// Where pixels may lie.
    pub memory: Memory,
    /// The producer leaves the pointer out of its pictures and tells of it beside them
    /// (`SPA_META_Cursor`), because it was asked to.
    pub tells_cursor: bool,
    /// The display's own connection to the node, where it keeps one (for compositors whose output
    /// stands and falls with its consumer). Every capture then reads that one.
    pub stream: Option<NodeStream>,
    /// Who names the node that follows where this one has gone; without it a stream ends with its
    /// node.
    pub heir: Option<Arc<dyn Heir>>,
}

/// Knows which node follows on one that has gone. Its pictures are of the same display.
pub trait Heir: fmt::Debug + Send + Sync {
    /// Asked by the stream's own thread, once for each end of a node; it may take the time that the
    /// making of a node takes. `None`: there is none, and the stream ends.
    fn next(&self) -> Option<NodeName>;
}

/// How a node is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeName {
    /// The number that the daemon gave it (`object.id`); used again after the node's end.
    Id(u32),
    /// `object.serial`; never used again.
    Serial(u64),
}

/// Who decides how large the picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// We do: exactly this size and rate are offered, as Mutter's virtual monitors want it.
    Asked(Mode),
    /// The producer does, and is asked to scale its picture down so that it fits into this size
    /// (gamescope). The rate is the producer's and only for the measure of its evenness.
    Within(Mode),
    /// The producer does; whatever it has is taken (KWin, a mirrored monitor).
    Given,
}

/// What kinds of memory are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// Linear dmabufs where the producer has them, else shared memory.
    #[default]
    Any,
    /// Shared memory only.
    Shared,
}

impl VideoNode {
    /// A node of the user's own daemon, of its producer's size.
    #[must_use]
    pub const fn new(node: NodeName) -> Self {
        Self {
            node,
            remote: None,
            shape: Shape::Given,
            memory: Memory::Any,
            tells_cursor: false,
            stream: None,
            heir: None,
        }
    }
}

impl PartialEq for VideoNode {
    /// Connections are the same if they are one, not if they are alike.
    fn eq(&self, other: &Self) -> bool {
        let remotes = match (&self.remote, &other.remote) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (one, two) => one.is_none() && two.is_none(),
        };
        remotes
            && (self.node, self.shape, self.memory) == (other.node, other.shape, other.memory)
            && self.tells_cursor == other.tells_cursor
            && self.stream == other.stream
    }
}

impl Eq for VideoNode {}
