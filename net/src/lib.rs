//! Everything of punktfunk that crosses a wire, and nothing that touches a desktop or a GPU.
//!
//! Modules stand in the order in which data flows: vocabulary first, then what a datagram is
//! made of, then the protocol machines, then the operating system's sockets.
//!
//! Apart from [`udp`], [`quic`] and [`client`] the crate is sans-IO: time, bytes and randomness
//! are arguments, what to send is a return value.

pub mod units;
pub mod clock;
pub mod limits;
pub mod bytes;
pub mod media;
pub mod input;
pub mod cursor;
pub mod times;
pub mod crypto;
pub mod identity;
pub mod fec;
pub mod packetize;
pub mod reassemble;
pub mod clock_sync;
pub mod path_mtu;
pub mod audio;
pub mod gamestream;
pub mod feedback;
pub mod ladder;
pub mod rate;
pub mod steering;
pub mod native;
pub mod udp;
pub mod quic;
pub mod client;
#[cfg(test)]
mod seeded;
