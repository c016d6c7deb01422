//! x
pub mod paired;
pub mod sessions;
