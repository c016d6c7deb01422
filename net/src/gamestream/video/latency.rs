//! What a frame will have taken, for a header that leaves before the frame is done.

use std::time::Duration;

/// Smoothed over so many frames.
const FRAMES: u32 = 8;

/// The host's latency from a frame's pixels to its last packet, as frames lately had it.
#[derive(Clone, Copy, Debug, Default)]
pub struct LatencyEstimate {
    smoothed: Option<Duration>,
}

impl LatencyEstimate {
    /// Nothing is known.
    #[must_use]
    pub const fn new() -> Self {
        Self { smoothed: None }
    }

    /// A frame took so long, its last packet included.
    pub fn handle_frame(&mut self, took: Duration) {
        let held = self.smoothed.unwrap_or(took);
        self.smoothed = Some(held - held / FRAMES + took / FRAMES);
    }

    /// For a frame that has taken so long until its first packet: never less than that.
    #[must_use]
    pub fn estimate(&self, so_far: Duration) -> Duration {
        self.smoothed.unwrap_or(so_far).max(so_far)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_whole_frames_and_never_claims_less_than_has_passed() {
        let ms = Duration::from_millis;
        let mut estimate = LatencyEstimate::new();
        assert_eq!(estimate.estimate(ms(3)), ms(3));
        estimate.handle_frame(ms(8));
        assert_eq!(estimate.estimate(ms(2)), ms(8));
        assert_eq!(estimate.estimate(ms(30)), ms(30));
        for _ in 0..60 {
            estimate.handle_frame(ms(4));
        }
        assert!(estimate.estimate(ms(1)) < Duration::from_micros(4100));
    }
}
