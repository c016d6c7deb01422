//! Host's stamps, client's stamps and markers, joined by frame.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use engine::client::Outcome;
use net::native::ClockDomain;
use net::units::{FrameId, Timestamp};

use super::{Link, Markers, received_only};
use crate::report::{Configuration, Counters, FrameRecord, Machine, Report, Run, Shown};

/// One record for each frame that the host reported, with what the client saw of it.
pub(super) fn merge(outcome: &Outcome, markers: &Markers) -> Vec<FrameRecord> {
    let mut records: BTreeMap<FrameId, FrameRecord> = outcome
        .host_times
        .iter()
        .map(|times| (times.frame, FrameRecord::from(times)))
        .collect();
    for seen in &outcome.frames {
        let Some(record) = records.get_mut(&seen.frame) else {
            continue;
        };
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

/// What the one who watches has of the frames that `records` are: `link` says what is nobody's
/// fault, and `from` when its clock began.
pub(super) fn shown(records: &[FrameRecord], link: &Link, from: Timestamp) -> Shown {
    let in_time = link.delay() + Duration::from_millis(Shown::LATE_MS);
    let is_late = |record: &&FrameRecord| {
        record
            .decoded
            .is_none_or(|decoded| decoded.since(record.captured) > in_time)
    };
    let decoded: BTreeSet<Timestamp> = records.iter().filter_map(|r| r.decoded).collect();
    let gaps = || {
        decoded
            .iter()
            .zip(decoded.iter().skip(1))
            .map(|(a, b)| b.since(*a))
    };
    let after_outage = link.outages().map(|(_, to)| {
        let end = from + to;
        let next = decoded.range(end..).next();
        next.map_or(-1.0, |next| next.since(end).as_secs_f64() * 1e3)
    });
    let freeze = Duration::from_millis(Shown::FREEZE_MS);
    Shown {
        late: records.iter().filter(is_late).count() as u64,
        frames: records.len() as u64,
        freezes: gaps().filter(|gap| *gap > freeze).count() as u64,
        gap_ms_max: gaps().max().unwrap_or_default().as_secs_f64() * 1e3,
        after_outage_ms: after_outage.collect(),
    }
}

/// Pictures drawn and, of these, delivered, where the test card's log says what was drawn: a
/// picture is delivered if its number was read from a decoded one.
pub(super) fn delivered_of(drawn: &BTreeSet<u32>, markers: &Markers) -> (u64, u64) {
    let decoded: BTreeSet<u32> = markers.values().map(|marker| marker.number).collect();
    (
        drawn.len() as u64,
        drawn.intersection(&decoded).count() as u64,
    )
}

/// The same without the log: numbers are consecutive, so what is missing between the first and
/// the last delivered one was drawn, too.
pub(super) fn delivered_between(records: &[FrameRecord]) -> (u64, u64) {
    let numbers: BTreeSet<u32> = records.iter().filter_map(|record| record.number).collect();
    match (numbers.first(), numbers.last()) {
        (Some(first), Some(last)) => (u64::from(last - first) + 1, numbers.len() as u64),
        _ => (0, 0),
    }
}

/// The test card's log of a session. The card writes it when it ends, that is, after the session.
pub(super) struct DrawnLog<'a> {
    path: &'a Path,
}

impl<'a> DrawnLog<'a> {
    /// How long the card has to end after its session.
    const PATIENCE: Duration = Duration::from_secs(3);
    const INTERVAL: Duration = Duration::from_millis(10);

    /// Before the session: what an earlier one has left is not what is waited for.
    pub(super) fn expect(path: &'a Path) -> Self {
        if let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            log::warn!("{} cannot be removed: {error}", path.display());
        }
        Self { path }
    }

    /// After the session: numbers of the pictures drawn from `from` to before `to`. `None` if no
    /// complete log comes, as with other applications than the card.
    pub(super) fn numbers_between(&self, from: Timestamp, to: Timestamp) -> Option<BTreeSet<u32>> {
        let deadline = Instant::now() + Self::PATIENCE;
        loop {
            let text = std::fs::read_to_string(self.path).unwrap_or_default();
            if let Some(numbers) = numbers_between(&text, from, to) {
                return Some(numbers);
            }
            if Instant::now() >= deadline {
                log::warn!("the test card wrote no log; what was drawn is told from its numbers");
                return None;
            }
            std::thread::sleep(Self::INTERVAL);
        }
    }
}

/// Numbers in a log, `number time_ns` a line, of pictures drawn from `from` to before `to`; `None`
/// unless the log goes on beyond `to`: then it is not written to its end yet.
fn numbers_between(log: &str, from: Timestamp, to: Timestamp) -> Option<BTreeSet<u32>> {
    let mut numbers = BTreeSet::new();
    let mut is_complete = false;
    // What follows the last line break may be half a line.
    for line in log
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
    {
        let (number, ns) = line.trim_end().split_once(' ')?;
        let drawn = Timestamp::from_ns(ns.parse().ok()?);
        is_complete |= drawn >= to;
        if (from..to).contains(&drawn) {
            numbers.insert(number.parse().ok()?);
        }
    }
    is_complete.then_some(numbers)
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
    let span = |stamp: fn(&FrameRecord) -> Timestamp| match (
        records.first().map(stamp),
        records.last().map(stamp),
    ) {
        (Some(first), Some(last)) => last.since(first).as_secs_f64(),
        _ => 0.0,
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
            fec_percent: welcome.fec_percent,
            aead: format!("{:?}", welcome.aead),
            link: if same_clock {
                "this machine".to_owned()
            } else {
                "network".to_owned()
            },
            ..Configuration::default()
        },
        counters: received_only(outcome),
        connect_to_picture_ms: outcome.first_picture.map(|time| time.as_secs_f64() * 1e3),
        ..Run::default()
    };
    Report::from_records(run, &records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::Marker;

    fn at(ns: u64) -> Timestamp {
        Timestamp::from_ns(ns)
    }

    #[test]
    fn a_log_counts_only_once_it_goes_beyond_the_measured_time() {
        let log = "7 100\n8 200\n9 300\n10 400\n";
        let found = numbers_between(log, at(200), at(400));
        assert_eq!(found, Some(BTreeSet::from([8, 9])));
        assert_eq!(numbers_between(log, at(200), at(401)), None);
        assert_eq!(
            numbers_between(&log[..log.len() - 1], at(200), at(400)),
            None
        );
        assert_eq!(numbers_between("", at(200), at(400)), None);
        assert_eq!(numbers_between("not a log\n", at(200), at(400)), None);
    }

    #[test]
    fn lateness_freezes_and_the_way_back_from_an_outage() {
        let ms = |ms: u64| at(1_000_000_000 + ms * 1_000_000);
        let record = |captured: u64, decoded: Option<u64>| FrameRecord {
            captured: ms(captured),
            decoded: decoded.map(ms),
            ..FrameRecord::default()
        };
        let records = [
            record(0, Some(52)),
            record(16, Some(69)),
            record(33, None),
            record(50, Some(169)),
            record(150, Some(270)),
        ];
        let text = "delay=2ms,outage=100ms@20ms,outage=1s@1s";
        let link = Link::Relayed(text.parse().expect("a path"));
        let shown = shown(&records, &link, ms(0));
        // 52 ms are in time with the link's 2 ms; 53 are not. A gap of 100 ms is no freeze yet.
        assert_eq!((shown.late, shown.frames, shown.freezes), (4, 5, 1));
        assert_eq!(shown.gap_ms_max, 101.0);
        assert_eq!(shown.after_outage_ms, [49.0, -1.0]);
    }

    #[test]
    fn what_is_drawn_and_not_decoded_is_not_delivered() {
        let marker = |number| Marker {
            number,
            drawn: at(1),
            look: 0,
        };
        // The same picture may be encoded twice; it is delivered once.
        let markers = Markers::from([(0, marker(7)), (1, marker(9)), (2, marker(9))]);
        assert_eq!(delivered_of(&BTreeSet::from([7, 8, 9]), &markers), (3, 2));
        let record = |number| FrameRecord {
            number,
            ..FrameRecord::default()
        };
        let records = [
            record(Some(7)),
            record(None),
            record(Some(9)),
            record(Some(9)),
        ];
        assert_eq!(delivered_between(&records), (3, 2));
        assert_eq!(delivered_between(&records[1..2]), (0, 0));
    }
}
