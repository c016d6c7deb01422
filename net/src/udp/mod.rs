//! UDP in batches: many datagrams to the kernel and back for one system call.
//!
//! | way out | one call sends | used |
//! |---|---|---|
//! | [`SendPath::Gso`] | 47 datagrams of one size to one peer, as one buffer | where the kernel can |
//! | [`SendPath::SendMmsg`] | 64 datagrams of any size to any peers | what GSO cannot carry |
//! | [`SendPath::SendTo`] | 1 datagram | kernels without the others |
//!
//! and in: `recvmmsg` with GRO, which undoes GSO on the way up. [`Socket`] sends and [`Receiver`]
//! receives; both only borrow, so a host's send thread and its control thread share one port by
//! [`Socket::try_clone`]. No call that sends or receives allocates.
//!
//! Where the device's queue keeps departure times, [`Socket::send_segments_at`] hands batches over
//! ahead of time ([`txtime`]).

mod batch;
mod mark;
mod receive;
mod rtnetlink;
mod sys;
#[cfg(test)]
mod tests;
pub mod txtime;

pub use batch::{
    Capabilities, Datagram, SendError, SendPath, Sent, Socket, SocketConfig, UdpCounters,
};
pub use mark::Dscp;
pub use receive::{Receiver, Wait};
