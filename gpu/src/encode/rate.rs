//! The size of each picture, steered by its quantiser alone.

mod analysis;

use std::ops::RangeInclusive;

use net::units::{BitsPerSecond, Mode};

pub use analysis::{Analyser, Content, Spectrum};

/// Chooses quantisers.
#[derive(Debug)]
pub struct RateController {
    mode: Mode,
    qp_range: RangeInclusive<u8>,
    budget_bits: f32,
}

impl RateController {
    /// New.
    #[must_use]
    pub fn new(mode: Mode, bitrate: BitsPerSecond, qp_range: RangeInclusive<u8>) -> Self {
        let budget_bits = bitrate.bytes_per_frame(mode.refresh()) as f32 * 8.0;
        Self {
            mode,
            qp_range,
            budget_bits,
        }
    }

    /// Changes.
    pub fn set_bitrate(&mut self, bitrate: BitsPerSecond) {
        self.budget_bits = bitrate.bytes_per_frame(self.mode.refresh()) as f32 * 8.0;
    }

    /// Plan.
    pub fn plan(&mut self, _content: &Content, _idr: bool) -> u8 {
        33.clamp(*self.qp_range.start(), *self.qp_range.end())
    }

    /// Result.
    pub fn encoded(&mut self, _bytes: usize) {}
}
