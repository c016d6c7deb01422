//! The host and its sessions: what the pieces of `net`, `gpu` and `platform` become together.
//!
//! Start at [`host`] for how a host is built, at [`pipeline`] for the way of a frame.

pub mod config;
pub mod trust;
pub mod apps;
pub mod metrics;
pub mod steering;
pub mod stage;
pub mod pipeline;
pub mod session;
pub mod control;
pub mod mgmt;
pub mod host;
pub mod client;
pub mod doctor;
