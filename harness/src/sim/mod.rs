//! A seeded network in virtual time: the real protocol machines on both ends, links that lose,
//! queue, reorder and stall between them, and nothing that reads a clock.
//!
//! ```text
//!  Endpoint ─▶ route: link ─▶ link ─▶ … ─▶ Endpoint        [`network`]
//!                      │
//!                      └ a chain of elements: queue, loss, jitter, radio, …   [`link`]
//! ```
//!
//! Invariants:
//! - Time is [`Timestamp`](net::units::Timestamp), integer nanoseconds from zero; events at one
//!   time run in the order in which they were made.
//! - Every random decision comes from [`rng::Rng`] streams of one seed. Arithmetic is integer, or
//!   f64 with `+ - * /` and `sqrt` only (exact by IEEE 754), so that the same seed gives the same
//!   bytes on every machine; [`network::Network::digest`] is the proof.
//! - Every queue is bounded; what it refuses is counted with its cause ([`packet::Cause`]).

pub mod rng;
pub mod packet;
pub mod schedule;
pub mod tap;
pub mod link;
pub mod network;
pub mod cross;
pub mod encoder;
pub mod unit;
pub mod decoder;
pub mod scenario;
pub mod trace;
pub mod host;
pub mod client;
pub mod moonlight;
pub mod audio;
pub mod session;
pub mod session_fuzz;
pub mod session_figures;
pub mod session_sweep;
