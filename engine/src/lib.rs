//! The host and its sessions: what the pieces of `net`, `gpu` and `platform` become together.
//!
//! Start at [`host`] for how a host is built, at [`pipeline`] for the way of a frame.

pub mod client;
pub mod config;
pub mod control;
pub mod doctor;
pub mod host;
pub mod metrics;
pub mod pipeline;
pub mod session;
pub mod stage;
pub mod trust;
