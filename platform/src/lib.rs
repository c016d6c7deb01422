//! What touches a desktop: virtual displays, capture, threads and the clock.
//!
//! Each kind of backend is a small trait with one ordered list of candidates ([`select`]); a new
//! backend is one new file and one line in that list.

pub mod capture;
pub mod display;
pub mod process;
pub mod select;
mod sys;
pub mod thread;
