//! What is known of each frame: absolute stamps while measuring, stamps relative to the capture
//! in the report.

use net::times::FrameTimes;
use net::units::{FrameId, Timestamp};
use serde::{Deserialize, Serialize};

/// Stamps of one slice; `None`: not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SliceRecord {
    /// The encoder had finished it.
    pub encoded: Option<Timestamp>,
    /// FEC and AEAD were done.
    pub protected: Option<Timestamp>,
    /// Just before its first datagram was given to the kernel.
    pub first_byte: Option<Timestamp>,
    /// The kernel had taken its last datagram.
    pub last_byte: Option<Timestamp>,
    /// The client had all of it.
    pub complete: Option<Timestamp>,
    /// Size before FEC, bytes.
    pub bytes: u32,
}

/// Stamps of one frame, host's and client's together; `None`: not seen. All on one clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameRecord {
    /// Which frame.
    pub frame: FrameId,
    /// It is an IDR.
    pub keyframe: bool,
    /// Mean quantiser, tenths.
    pub qp_tenths: u16,
    /// Number in the marker that was read from the decoded picture.
    pub number: Option<u32>,
    /// Time in that marker.
    pub drawn: Option<Timestamp>,
    /// Pixels complete in the capture buffer.
    pub captured: Timestamp,
    /// Taken by the encode thread.
    pub encode_begin: Option<Timestamp>,
    /// Colours converted.
    pub converted: Option<Timestamp>,
    /// Its slices, top to bottom.
    pub slices: Vec<SliceRecord>,
    /// The client's first datagram of it.
    pub received_first: Option<Timestamp>,
    /// The client had all of it.
    pub complete: Option<Timestamp>,
    /// The picture was decoded.
    pub decoded: Option<Timestamp>,
}

impl From<&FrameTimes> for FrameRecord {
    /// The host's part; the client's stamps are missing.
    fn from(times: &FrameTimes) -> Self {
        let seen = |stamp: Timestamp| (!stamp.is_zero()).then_some(stamp);
        let count = usize::from(times.slice_count).min(times.slices.len());
        let slices = times.slices[..count].iter().map(|slice| SliceRecord {
            encoded: seen(slice.encoded),
            protected: seen(slice.protected),
            first_byte: seen(slice.first_byte),
            last_byte: seen(slice.last_byte),
            complete: None,
            bytes: slice.bytes,
        });
        Self {
            frame: times.frame,
            keyframe: times.keyframe,
            qp_tenths: times.qp_tenths,
            captured: times.captured,
            encode_begin: seen(times.encode_begin),
            converted: seen(times.converted),
            slices: slices.collect(),
            ..Self::default()
        }
    }
}

impl FrameRecord {
    /// Size of the access unit, bytes.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        self.slices.iter().map(|slice| slice.bytes).sum()
    }

    /// When the first slice left the encoder.
    #[must_use]
    pub fn encoded_first(&self) -> Option<Timestamp> {
        self.slices.first()?.encoded
    }

    /// When the last slice left the encoder; `None` unless all of them did.
    #[must_use]
    pub fn encoded_last(&self) -> Option<Timestamp> {
        self.latest(|slice| slice.encoded)
    }

    /// When the frame's first datagram was given to the kernel.
    #[must_use]
    pub fn first_byte(&self) -> Option<Timestamp> {
        self.slices
            .iter()
            .filter_map(|slice| slice.first_byte)
            .min()
    }

    /// When the kernel had taken its last datagram; `None` unless all slices were sent.
    #[must_use]
    pub fn last_byte(&self) -> Option<Timestamp> {
        self.latest(|slice| slice.last_byte)
    }

    fn latest(&self, stamp: impl Fn(&SliceRecord) -> Option<Timestamp>) -> Option<Timestamp> {
        self.slices
            .iter()
            .map(stamp)
            .try_fold(Timestamp::ZERO, |latest, stamp| Some(latest.max(stamp?)))
            .filter(|latest| !latest.is_zero())
    }
}

/// Stamps of one slice in a report: µs after the frame's capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceRow {
    /// See [`SliceRecord::encoded`].
    pub encoded_us: Option<i32>,
    /// See [`SliceRecord::protected`].
    pub protected_us: Option<i32>,
    /// See [`SliceRecord::first_byte`].
    pub first_byte_us: Option<i32>,
    /// See [`SliceRecord::last_byte`].
    pub last_byte_us: Option<i32>,
    /// See [`SliceRecord::complete`].
    pub complete_us: Option<i32>,
    /// Size before FEC, bytes.
    pub bytes: u32,
}

/// Stamps of one frame in a report: µs after its capture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameRow {
    /// Which frame.
    pub frame: u32,
    /// It is an IDR.
    pub keyframe: bool,
    /// See [`FrameRecord::qp_tenths`].
    pub qp_tenths: u16,
    /// Number in its marker.
    pub number: Option<u32>,
    /// See [`FrameRecord::drawn`]; below zero, since drawing comes before capture.
    pub drawn_us: Option<i32>,
    /// See [`FrameRecord::encode_begin`].
    pub encode_begin_us: Option<i32>,
    /// See [`FrameRecord::converted`].
    pub converted_us: Option<i32>,
    /// Its slices, top to bottom.
    pub slices: Vec<SliceRow>,
    /// See [`FrameRecord::received_first`].
    pub received_first_us: Option<i32>,
    /// See [`FrameRecord::complete`].
    pub complete_us: Option<i32>,
    /// See [`FrameRecord::decoded`].
    pub decoded_us: Option<i32>,
}

impl From<&FrameRecord> for FrameRow {
    fn from(record: &FrameRecord) -> Self {
        let after = |stamp: Option<Timestamp>| {
            let ns = i128::from(stamp?.as_ns()) - i128::from(record.captured.as_ns());
            i32::try_from(ns / 1000).ok()
        };
        Self {
            frame: record.frame.0,
            keyframe: record.keyframe,
            qp_tenths: record.qp_tenths,
            number: record.number,
            drawn_us: after(record.drawn),
            encode_begin_us: after(record.encode_begin),
            converted_us: after(record.converted),
            slices: record
                .slices
                .iter()
                .map(|slice| SliceRow {
                    encoded_us: after(slice.encoded),
                    protected_us: after(slice.protected),
                    first_byte_us: after(slice.first_byte),
                    last_byte_us: after(slice.last_byte),
                    complete_us: after(slice.complete),
                    bytes: slice.bytes,
                })
                .collect(),
            received_first_us: after(record.received_first),
            complete_us: after(record.complete),
            decoded_us: after(record.decoded),
        }
    }
}

impl FrameRow {
    /// When the last slice left the encoder, µs after capture; `None` unless all did.
    #[must_use]
    pub fn encoded_last_us(&self) -> Option<i32> {
        let stamps = self.slices.iter().map(|slice| slice.encoded_us);
        stamps.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// When the kernel had the last datagram, µs after capture; `None` unless all were sent.
    #[must_use]
    pub fn last_byte_us(&self) -> Option<i32> {
        let stamps = self.slices.iter().map(|slice| slice.last_byte_us);
        stamps.collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// When the kernel was given the first datagram, µs after capture.
    #[must_use]
    pub fn first_byte_us(&self) -> Option<i32> {
        self.slices
            .iter()
            .filter_map(|slice| slice.first_byte_us)
            .min()
    }
}
