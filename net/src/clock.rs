//! The one place of `net` that reads a clock. Protocol machines take time as an argument;
//! sockets, threads and measurements ask here.

use crate::units::Timestamp;

/// Now, on `CLOCK_MONOTONIC` (which every process of one machine shares).
#[must_use]
pub fn now() -> Timestamp {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let seconds_ns = u64::try_from(now.tv_sec)
        .unwrap_or(0)
        .saturating_mul(1_000_000_000);
    Timestamp::from_ns(seconds_ns + u64::try_from(now.tv_nsec).unwrap_or(0))
}
