//! Host's stamps, client's stamps and markers, joined by frame.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use engine::client::Outcome;
use net::native::ClockDomain;
use net::units::{FrameId, Timestamp};

use super::{Markers, received_only};
use crate::report::{Configuration, Counters, FrameRecord, Machine, Report, Run};

/// One record for each frame that the host reported, with what the client saw of it.
pub(super) fn merge(outcome: &Outcome, markers: &Markers) -> Vec<FrameRecord> {
    let mut records: BTreeMap<FrameId, FrameRecord> =
        outcome.host_times.iter().map(|times| (times.frame, FrameRecord::from(times))).collect();
    for seen in &outcome.frames {
        let Some(record) = records.get_mut(&seen.frame) else { continue };
        record.received_first = Some(seen.received_first);
        record.complete = Some(seen.complete);
        record.decoded = (!seen.decoded.is_zero()).then_some(seen.decoded);
        for (slice, &complete) in record.slices.iter_mut().zip(&seen.slices_complete) {
            slice.complete = Some(complete);
        }
        if let Some(marker) = markers.get(&seen.frame.0) {
            record.number = Some(marker.number);
            record.drawn = Some(marker.drawn);
        }
    }
    records.into_values().collect()
}

/// What the records themselves say.
pub(super) fn count(records: &[FrameRecord], outcome: &Outcome) -> Counters {
    let number = |test: fn(&FrameRecord) -> bool| {
        records.iter().filter(|record| test(record)).count() as u64
    };
    let received = number(|record| record.complete.is_some());
    let frames: BTreeSet<FrameId> = records.iter().map(|record| record.frame).collect();
    let repaired = outcome
        .frames
        .iter()
        .filter(|frame| frame.repaired_shards > 0 && frames.contains(&frame.frame));
    Counters {
        encoded: records.len() as u64,
        sent: number(|record| record.last_byte().is_some()),
        received,
        lost: records.len() as u64 - received,
        repaired: repaired.count() as u64,
        decoded: number(|record| record.decoded.is_some()),
        marked: number(|record| record.number.is_some()),
        ..Counters::default()
    }
}

/// Pictures that the test card drew between the first and the last one that `records` name; from
/// its log if that is complete, else by their consecutive numbers.
pub(super) fn drawn_between(_log: &Path, records: &[FrameRecord]) -> u64 {
    let numbers = || records.iter().filter_map(|record| record.number);
    match (numbers().min(), numbers().max()) {
        (Some(first), Some(last)) => u64::from(last - first) + 1,
        _ => 0,
    }
}

/// The report of a client's run, `punktfunk connect`: with the host's stamps if both share a
/// clock, else with the client's alone.
#[must_use]
pub fn from_outcome(outcome: &Outcome) -> Report {
    let welcome = &outcome.welcome;
    let same_clock = ClockDomain::derive(&platform::boot_id(), &welcome.session) == welcome.clock;
    let mut records = merge(outcome, &Markers::new());
    if !same_clock {
        // Stamps of two machines cannot be subtracted; the client's own still can.
        for record in &mut records {
            record.received_first = None;
            record.complete = None;
            record.decoded = None;
            for slice in &mut record.slices {
                slice.complete = None;
            }
        }
    }
    let span = |stamp: fn(&FrameRecord) -> Timestamp| {
        match (records.first().map(stamp), records.last().map(stamp)) {
            (Some(first), Some(last)) => last.since(first).as_secs_f64(),
            _ => 0.0,
        }
    };
    let run = Run {
        name: format!("{} on {}", welcome.mode, welcome.host_name),
        seconds: span(|record| record.captured),
        machine: Machine::this("", ""),
        configuration: Configuration {
            mode: welcome.mode.to_string(),
            fps: f64::from(welcome.mode.refresh().get()) / 1000.0,
            bitrate_bps: welcome.bitrate.0,
            slices: welcome.slices.get(),
            encoder: welcome.encoder_name.clone(),
            fec_percent: f64::from(welcome.fec_percent),
            aead: format!("{:?}", welcome.aead),
            link: if same_clock { "this machine".to_owned() } else { "network".to_owned() },
            ..Configuration::default()
        },
        counters: received_only(outcome),
        connect_to_picture_ms: outcome.first_picture.map(|time| time.as_secs_f64() * 1e3),
        ..Run::default()
    };
    Report::from_records(run, &records)
}
