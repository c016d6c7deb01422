//! The stages of a frame's way, and their distributions. Percentiles are exact: all values are
//! sorted, and the nearest rank is taken.

use net::units::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::{FrameRecord, SliceRecord};

/// A distribution of times, milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many values.
    pub count: u64,
    /// Median.
    pub p50_ms: f64,
    /// 90th percentile.
    pub p90_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// 99.9th percentile.
    pub p999_ms: f64,
    /// Largest.
    pub max_ms: f64,
}

/// A stage and how long it took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Identifier for scripts and budgets, `drawn_to_decoded` for example.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// The stamp at its beginning.
    pub from: String,
    /// The stamp at its end.
    pub to: String,
    /// How long it took.
    pub times: Distribution,
}

impl Distribution {
    /// Of values in nanoseconds, in any order.
    #[must_use]
    pub fn of_ns(mut values_ns: Vec<i64>) -> Self {
        values_ns.sort_unstable();
        let Some(max) = values_ns.last() else {
            return Self::default();
        };
        let ms = |ns: i64| ns as f64 / 1e6;
        // Nearest rank: the smallest value that at least `per_mille` of all do not exceed.
        let rank = |per_mille: usize| (values_ns.len() * per_mille).div_ceil(1000).max(1) - 1;
        Self {
            count: values_ns.len() as u64,
            p50_ms: ms(values_ns[rank(500)]),
            p90_ms: ms(values_ns[rank(900)]),
            p99_ms: ms(values_ns[rank(990)]),
            p999_ms: ms(values_ns[rank(999)]),
            max_ms: ms(*max),
        }
    }
}

/// How a stage gets its values.
enum Span {
    /// One for each frame.
    Frame(fn(&FrameRecord) -> Option<i64>),
    /// One for each slice.
    Slice(fn(&SliceRecord) -> Option<i64>),
}

struct Definition {
    id: &'static str,
    name: &'static str,
    from: &'static str,
    to: &'static str,
    span: Span,
}

const fn frame(
    id: &'static str,
    name: &'static str,
    (from, to): (&'static str, &'static str),
    span: fn(&FrameRecord) -> Option<i64>,
) -> Definition {
    Definition {
        id,
        name,
        from,
        to,
        span: Span::Frame(span),
    }
}

const fn slice(
    id: &'static str,
    name: &'static str,
    (from, to): (&'static str, &'static str),
    span: fn(&SliceRecord) -> Option<i64>,
) -> Definition {
    Definition {
        id,
        name,
        from,
        to,
        span: Span::Slice(span),
    }
}

const STAGES: [Definition; 17] = [
    frame(
        "drawn_to_captured",
        "compositor and capture",
        ("drawn", "captured"),
        |f| between(f.drawn, Some(f.captured)),
    ),
    frame(
        "captured_to_encoder",
        "wait for the encoder",
        ("captured", "encoder in"),
        |f| between(Some(f.captured), f.encode_begin),
    ),
    frame(
        "conversion",
        "colour conversion",
        ("encoder in", "converted"),
        |f| between(f.encode_begin, f.converted),
    ),
    frame(
        "encode_first",
        "encode, first slice",
        ("converted", "first slice out"),
        |f| between(f.converted, f.encoded_first()),
    ),
    frame(
        "encode_last",
        "encode, all slices",
        ("converted", "last slice out"),
        |f| between(f.converted, f.encoded_last()),
    ),
    slice(
        "protect",
        "FEC and seal, per slice",
        ("slice out", "protected"),
        |s| between(s.encoded, s.protected),
    ),
    slice(
        "queue_to_send",
        "wait to be sent, per slice",
        ("protected", "first byte"),
        |s| between(s.protected, s.first_byte),
    ),
    slice(
        "send",
        "send, per slice",
        ("first byte", "last byte"),
        |s| between(s.first_byte, s.last_byte),
    ),
    frame(
        "captured_to_first_byte",
        "captured to first byte",
        ("captured", "first byte"),
        |f| between(Some(f.captured), f.first_byte()),
    ),
    frame(
        "captured_to_last_byte",
        "captured to last byte",
        ("captured", "last byte"),
        |f| between(Some(f.captured), f.last_byte()),
    ),
    frame(
        "overhead",
        "  of it neither conversion nor encoding",
        ("captured", "last byte"),
        // Conversion and encoding are taken as one span, encoder in to last slice out: sealing
        // and sending of earlier slices within it delays nothing, and what they take from the
        // encoder is in the host's counter `handing_on_ns`.
        |f| {
            let encoding = between(f.encode_begin, f.encoded_last())?;
            Some(between(Some(f.captured), f.last_byte())? - encoding)
        },
    ),
    frame(
        "wire",
        "wire, first datagram",
        ("first byte", "received"),
        |f| between(f.first_byte(), f.received_first),
    ),
    frame(
        "last_byte_to_complete",
        "wire and reassembly",
        ("last byte", "complete"),
        |f| between(f.last_byte(), f.complete),
    ),
    frame("decode", "decode", ("complete", "decoded"), |f| {
        between(f.complete, f.decoded)
    }),
    frame(
        "captured_to_complete",
        "captured to complete",
        ("captured", "complete"),
        |f| between(Some(f.captured), f.complete),
    ),
    frame(
        "captured_to_decoded",
        "captured to decoded",
        ("captured", "decoded"),
        |f| between(Some(f.captured), f.decoded),
    ),
    frame(
        "drawn_to_decoded",
        "glass to decoded",
        ("drawn", "decoded"),
        |f| between(f.drawn, f.decoded),
    ),
];

/// All stages, those without a single value with a count of zero.
pub(super) fn stages(records: &[FrameRecord]) -> Vec<Stage> {
    STAGES
        .iter()
        .map(|definition| Stage {
            id: definition.id.into(),
            name: definition.name.into(),
            from: definition.from.into(),
            to: definition.to.into(),
            times: Distribution::of_ns(match definition.span {
                Span::Frame(span) => records.iter().filter_map(span).collect(),
                Span::Slice(span) => records
                    .iter()
                    .flat_map(|record| &record.slices)
                    .filter_map(span)
                    .collect(),
            }),
        })
        .collect()
}

/// Nanoseconds from one stamp to another; below zero if they are the other way round.
fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> Option<i64> {
    i64::try_from(i128::from(to?.as_ns()) - i128::from(from?.as_ns())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let values: Vec<i64> = (1..=1000).rev().map(|ms| ms * 1_000_000).collect();
        let times = Distribution::of_ns(values);
        assert_eq!(times.count, 1000);
        assert_eq!((times.p50_ms, times.p90_ms), (500.0, 900.0));
        assert_eq!(
            (times.p99_ms, times.p999_ms, times.max_ms),
            (990.0, 999.0, 1000.0)
        );
        let one = Distribution::of_ns(vec![5_000_000]);
        assert_eq!((one.p50_ms, one.p999_ms, one.max_ms), (5.0, 5.0, 5.0));
        assert_eq!(Distribution::of_ns(Vec::new()).count, 0);
    }

    #[test]
    fn stages_have_their_own_identifiers() {
        let ids: std::collections::BTreeSet<_> = STAGES.iter().map(|stage| stage.id).collect();
        assert_eq!(ids.len(), STAGES.len());
    }
}
