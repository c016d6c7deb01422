//! The trace of a run: what the encoder gave out and when, for a simulator that has none.
//!
//! JSON lines: first a [`TraceHeader`], then a [`TraceFrame`] for each picture, in the order in
//! which they were encoded, the session's first IDR first. Times are whole microseconds, those of
//! a frame after its own capture. A frame whose stamps did not all reach the client before the
//! session's end is left out; the numbers of the others show the gap.

use net::units::Timestamp;
use serde::{Deserialize, Serialize};

use crate::report::{FrameRecord, Machine, Run, SliceRecord};

/// Version of the format. A reader refuses others: [`TraceError::Version`].
pub const TRACE_VERSION: u32 = 1;

/// The first line: how the run was set up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TraceHeader {
    /// [`TRACE_VERSION`].
    pub version: u32,
    /// Mode of the display, `WIDTHxHEIGHT@HZ`.
    pub mode: String,
    /// Target of the encoder, bit/s.
    pub bitrate_bps: u64,
    /// Slices agreed for a picture.
    pub slices: u8,
    /// Name of the encoder.
    pub encoder: String,
    /// Content of the test card.
    pub content: String,
    /// Where it ran.
    pub machine: Machine,
}

/// A picture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceFrame {
    /// Its number in the stream.
    pub frame: u32,
    /// It is an IDR.
    pub keyframe: bool,
    /// Pixels complete in the capture buffer, µs after those of the trace's first frame.
    pub captured_us: u64,
    /// Taken by the encode thread, µs after its capture.
    pub encode_begin_us: u32,
    /// Colours converted, µs after its capture.
    pub converted_us: u32,
    /// Mean quantiser, tenths.
    pub qp_tenths: u16,
    /// Its slices, top to bottom.
    pub slices: Vec<TraceSlice>,
}

/// A slice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceSlice {
    /// The encoder had finished it, µs after the picture's capture.
    pub encoded_us: u32,
    /// Size before FEC, bytes.
    pub bytes: u32,
}

/// A run, to be kept or replayed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// How it was set up.
    pub header: TraceHeader,
    /// Its pictures.
    pub frames: Vec<TraceFrame>,
}

/// Why a text is not a trace.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// There is no first line.
    #[error("the trace is empty; record one with punktfunk bench --record FILE")]
    Empty,
    /// A line is not what it should be.
    #[error("line {line} of the trace cannot be read: {reason}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// The parser's answer.
        reason: serde_json::Error,
    },
    /// Another version of the format.
    #[error("the trace has version {found}, this program reads {TRACE_VERSION}; record it anew")]
    Version {
        /// Its version.
        found: u32,
    },
}

impl Trace {
    /// The trace of a run; `session` are the records of its frames, in the order of their numbers.
    #[must_use]
    pub fn of(run: &Run, session: &[FrameRecord]) -> Self {
        let set = &run.configuration;
        let complete = || session.iter().filter(|record| is_complete(record));
        let first = complete().next().map_or(Timestamp::ZERO, |it| it.captured);
        Self {
            header: TraceHeader {
                version: TRACE_VERSION,
                mode: set.mode.clone(),
                bitrate_bps: set.bitrate_bps,
                slices: set.slices,
                encoder: set.encoder.clone(),
                content: set.content.clone(),
                machine: run.machine.clone(),
            },
            frames: complete().filter_map(|it| frame(it, first)).collect(),
        }
    }

    /// As JSON lines.
    #[must_use]
    pub fn lines(&self) -> String {
        const PLAIN: &str = "a trace holds nothing that JSON cannot say";
        let header = serde_json::to_string(&self.header).expect(PLAIN);
        let frames = self.frames.iter();
        let lines = frames.map(|frame| serde_json::to_string(frame).expect(PLAIN));
        std::iter::once(header)
            .chain(lines)
            .flat_map(|line| [line, "\n".to_owned()])
            .collect()
    }

    /// Reads JSON lines.
    ///
    /// # Errors
    /// See [`TraceError`].
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut lines = (1..).zip(text.lines());
        let (line, first) = lines.next().ok_or(TraceError::Empty)?;
        let unread = |line| move |reason| TraceError::Line { line, reason };
        let header: TraceHeader = serde_json::from_str(first).map_err(unread(line))?;
        if header.version != TRACE_VERSION {
            return Err(TraceError::Version {
                found: header.version,
            });
        }
        let frames = lines.map(|(line, text)| serde_json::from_str(text).map_err(unread(line)));
        Ok(Self {
            header,
            frames: frames.collect::<Result<_, _>>()?,
        })
    }
}

/// All that a trace tells of it is known.
fn is_complete(record: &FrameRecord) -> bool {
    record.encode_begin.is_some() && record.converted.is_some() && record.encoded_last().is_some()
}

fn frame(record: &FrameRecord, first: Timestamp) -> Option<TraceFrame> {
    let after = |stamp: Option<Timestamp>| {
        let us = stamp?.since(record.captured).as_micros();
        u32::try_from(us).ok()
    };
    let slice = |slice: &SliceRecord| {
        Some(TraceSlice {
            encoded_us: after(slice.encoded)?,
            bytes: slice.bytes,
        })
    };
    Some(TraceFrame {
        frame: record.frame.0,
        keyframe: record.keyframe,
        captured_us: u64::try_from(record.captured.since(first).as_micros()).ok()?,
        encode_begin_us: after(record.encode_begin)?,
        converted_us: after(record.converted)?,
        qp_tenths: record.qp_tenths,
        slices: record.slices.iter().map(slice).collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use net::units::FrameId;

    use super::*;

    fn run() -> Run {
        let mut run = Run::default();
        run.configuration.mode = "1280x720@60".to_owned();
        run.configuration.bitrate_bps = 10_000_000;
        run.configuration.slices = 2;
        run.configuration.encoder = "x264".to_owned();
        run.configuration.content = "game".to_owned();
        run
    }

    fn record(number: u32, captured_us: u64) -> FrameRecord {
        let at = |us: u64| Some(Timestamp::from_ns((captured_us + us) * 1000));
        let slice = |us, bytes| SliceRecord {
            encoded: at(us),
            bytes,
            ..SliceRecord::default()
        };
        FrameRecord {
            frame: FrameId(number),
            keyframe: number == 0,
            qp_tenths: 305,
            captured: Timestamp::from_ns(captured_us * 1000),
            encode_begin: at(40),
            converted: at(900),
            slices: vec![slice(1500, 700), slice(2500, 1300)],
            ..FrameRecord::default()
        }
    }

    #[test]
    fn the_lines_are_these() {
        let trace = Trace::of(&run(), &[record(0, 5_000_000), record(1, 5_016_667)]);
        let lines = trace.lines();
        let [header, first, second] = lines.lines().collect::<Vec<_>>()[..] else {
            panic!("{lines}")
        };
        let begin = r#"{"version":1,"mode":"1280x720@60","bitrate_bps":10000000,"slices":2,"#;
        assert!(header.starts_with(begin), "{header}");
        assert!(
            header.contains(r#""encoder":"x264","content":"game","machine":{"#),
            "{header}"
        );
        assert_eq!(
            first,
            concat!(
                r#"{"frame":0,"keyframe":true,"captured_us":0,"encode_begin_us":40,"#,
                r#""converted_us":900,"qp_tenths":305,"slices":[{"encoded_us":1500,"bytes":700},"#,
                r#"{"encoded_us":2500,"bytes":1300}]}"#,
            )
        );
        assert!(second.contains(r#""captured_us":16667,"#), "{second}");
        assert_eq!(Trace::parse(&lines).expect("just written"), trace);
    }

    #[test]
    fn a_frame_without_all_of_its_stamps_is_left_out() {
        let mut cut_off = record(1, 16_000);
        cut_off.slices[1].encoded = None;
        let mut unseen = record(2, 32_000);
        unseen.slices.clear();
        let records = [record(0, 1000), cut_off, unseen, record(3, 48_000)];
        let frames = Trace::of(&run(), &records).frames;
        let numbers: Vec<u32> = frames.iter().map(|frame| frame.frame).collect();
        assert_eq!(numbers, [0, 3]);
    }

    #[test]
    fn what_is_no_trace_is_refused_with_the_line() {
        assert!(matches!(Trace::parse(""), Err(TraceError::Empty)));
        let good = Trace::of(&run(), &[record(0, 0)]).lines();
        let other = good.replacen("\"version\":1", "\"version\":2", 1);
        assert!(matches!(
            Trace::parse(&other),
            Err(TraceError::Version { found: 2 })
        ));
        let cut = &good[..good.len() - 5];
        assert!(matches!(
            Trace::parse(cut),
            Err(TraceError::Line { line: 2, .. })
        ));
    }
}
