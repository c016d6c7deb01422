//! Arbitrary echoes: what is no sample is refused, and what is known stays within bounds.

use net::clock_sync::{ClockSync, ECHO_BYTES, Echo};
use net::units::Timestamp;

const COMMAND_BYTES: usize = 8 + ECHO_BYTES;

/// A row of arrivals, each a step of the client's clock and an echo's body.
pub fn run(data: &[u8]) {
    let mut sync = ClockSync::new();
    let mut samples = 0u64;
    for command in data.chunks(COMMAND_BYTES) {
        let Some((step, body)) = command.split_first_chunk::<8>() else {
            return;
        };
        let arrived = Timestamp::from_ns(u64::from_le_bytes(*step));
        let Ok(echo) = Echo::parse(body) else {
            return;
        };
        let mut written = Vec::new();
        written.extend_from_slice(&echo.to_wire());
        assert_eq!(written, body);
        let before = sync.offset_at(arrived);
        match sync.handle(
            echo.client_sent,
            echo.host_received,
            echo.host_sent,
            arrived,
        ) {
            Ok(()) => samples += 1,
            Err(_) => assert_eq!(sync.offset_at(arrived), before),
        }
        assert_eq!(sync.offset_at(arrived).is_some(), samples > 0);
        assert_eq!(sync.round_trip().is_some(), samples > 0);
        let _far = (sync.to_local(echo.host_sent), sync.to_host(echo.host_sent));
        assert!(sync.contradictions() < samples.max(1));
    }
}
