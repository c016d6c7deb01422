//! What touches a desktop: virtual displays, capture, injection, clipboards, sound, threads and the clock.
//!
//! Each kind of backend is a small trait with one ordered list of candidates ([`select`]); a new
//! backend is one new file and one line in that list.

pub mod audio;
pub mod capture;
pub mod clipboard;
mod dbus;
pub mod cursor;
pub mod display;
pub mod inject;
pub mod process;
pub mod select;
pub mod pipewire_link;
mod sys;
pub mod thread;

/// The identifier that this machine's kernel made at its start (`/proc/sys/kernel/random/boot_id`):
/// who has the same shares the clock. Empty where the kernel does not tell.
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}
