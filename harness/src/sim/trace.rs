//! Recorded runs as the encoder model's content: what `punktfunk bench --record` wrote.

use std::time::Duration;

use bench::record::Trace;
use net::units::BitsPerSecond;

use super::encoder::{RecordedFrame, Recording};

/// The recording of a trace's pictures; the encoder adds an IDR where it makes one, so the trace's
/// own (the first) is left out. `None` if nothing is left, or a picture has no slices.
#[must_use]
pub fn recording(trace: &Trace) -> Option<Recording> {
    let frames = trace.frames.iter().filter(|frame| !frame.keyframe);
    let frames = frames.map(|frame| RecordedFrame {
        slices: frame
            .slices
            .iter()
            .map(|it| (Duration::from_micros(u64::from(it.encoded_us)), it.bytes))
            .collect(),
    });
    Recording::new(BitsPerSecond(trace.header.bitrate_bps), frames.collect())
}

/// Three seconds of the test card's game content, 1280×720 at 60 Hz and 10 Mbit/s, on x264.
pub const GAME_720P: &str = include_str!("../../traces/1280x720-60hz-game-10M.jsonl");
/// Three seconds of a desktop that scrolls, 1280×720 at 60 Hz and 10 Mbit/s, on x264.
pub const SCROLL_720P: &str = include_str!("../../traces/1280x720-60hz-scroll-10M.jsonl");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_runs_are_read() {
        for text in [GAME_720P, SCROLL_720P] {
            let trace = Trace::parse(text).expect("a trace of this version");
            assert_eq!(trace.header.slices, 8);
            assert!(trace.frames.len() >= 180);
            assert!(recording(&trace).is_some());
        }
        assert!(recording(&Trace::default()).is_none());
    }
}
