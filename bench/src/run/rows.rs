//! What was measured as figures of the budgets, by the names that they have in
//! `bench/budgets.toml`, with a line each that says what stands behind them. Nothing is measured
//! here.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Measured;
use super::compare::Compared;
use crate::micro::fec::{EncodeRow, SHAPES};
use crate::micro::path::{SealedSend, Wide};
use crate::micro::udp::Reader;
use crate::report::Report;

/// Figures and notes so far.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// By the budget's identifier.
    pub(super) figures: BTreeMap<String, f64>,
    /// One line each.
    pub(super) notes: Vec<String>,
}

impl Rows {
    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn figure(&mut self, id: &str, figure: f64) {
        self.figures.insert(id.to_owned(), figure);
    }

    /// Frames lost and delivered; `mode` as the budgets write it.
    pub(super) fn losses(&mut self, mode: &str, measured: &Measured) {
        let (counters, received) = (&measured.run.counters, &measured.received);
        // A session that encoded nothing has lost nothing, and proves nothing.
        if counters.encoded > 0 {
            self.figure(&format!("frames_lost_{mode}"), counters.lost as f64);
        }
        if counters.drawn > 0 {
            let share = counters.delivered as f64 / counters.drawn as f64;
            self.figure(&format!("delivered_over_drawn_{mode}"), share);
        }
        self.note(format!(
            "{mode}: drawn {}, captured {}, superseded {}, delivered {}; in the whole session {} \
             frames hidden after a loss, {} dropped before a late decoder",
            counters.drawn,
            counters.captured,
            counters.superseded,
            counters.delivered,
            received.frames_hidden,
            received.frames_overrun,
        ));
    }

    /// What is neither conversion nor encoding.
    pub(super) fn overhead(&mut self, measured: &Measured, report: &Report) {
        let stage = report
            .stage("overhead")
            .filter(|stage| stage.times.count > 0);
        let Some(stage) = stage else { return };
        self.figure("overhead_p50_ms", stage.times.p50_ms);
        self.figure("overhead_p99_ms", stage.times.p99_ms);
        let frames = measured.host.encoded.max(1) as f64;
        self.note(format!(
            "overhead is captured to last byte, less encoder in to last slice out; handing slices \
             on within that took {:.3} ms a frame in the mean",
            measured.host.handing_on_ns as f64 * 1e-6 / frames,
        ));
    }

    /// CPU of the host's threads.
    pub(super) fn cpu(&mut self, report: &Report) {
        let run = &report.run;
        let Some(ratio) = run.host_cpu_over_encoder() else {
            return;
        };
        self.figure("host_cpu_over_encoder", ratio);
        let of_host = run.threads.iter().filter(|thread| thread.is_of_host());
        let parts: Vec<_> = of_host
            .map(|thread| format!("{} {:.2}", thread.name, thread.cpu_percent))
            .collect();
        self.note(format!(
            "CPU of the host, percent of a core: {}; of it conversion and encoding {:.2}",
            parts.join(", "),
            run.encoder_cpu_percent.unwrap_or_default(),
        ));
    }

    /// Allocations of the four stages, or nothing: a thread that is missing may be the one that
    /// allocates.
    pub(super) fn allocations(&mut self, report: &Report) {
        let threads = report.run.threads.iter();
        let counted: Vec<_> = threads
            .filter_map(|thread| Some((thread.name.as_str(), thread.allocations?)))
            .collect();
        if counted.len() != 4 {
            return;
        }
        let sum: u64 = counted.iter().map(|(_, count)| count).sum();
        self.figure("frame_path_allocations", sum as f64);
        let parts: Vec<_> = counted
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        self.note(format!(
            "allocations after the first second, a frame's way: {}; pf-capture asking for the next \
             picture, after hand-over: {}",
            parts.join(", "),
            report.run.ask_allocations_text().unwrap_or_default(),
        ));
    }

    /// A stage's medians, sliced over whole, as row `id`.
    pub(super) fn sliced_over_whole(&mut self, id: &str, stage: &str, compared: &Compared) {
        let Some(row) = compared.comparison.stage(stage) else {
            return;
        };
        if let Some(ratio) = row.p50_ratio {
            self.figure(id, ratio);
        }
        let [sliced, whole] = [&compared.sliced, &compared.whole].map(|report| &report.run);
        self.note(format!(
            "{}, {}: sliced p50 {:.2} ms, p99 {:.2} ms; whole p50 {:.2} ms, p99 {:.2} ms; {} and \
             {} frames, {} and {} lost",
            row.name,
            sliced.configuration.link,
            row.p50_ms[0],
            row.p99_ms[0],
            row.p50_ms[1],
            row.p99_ms[1],
            sliced.counters.encoded,
            whole.counters.encoded,
            sliced.counters.lost,
            whole.counters.lost,
        ));
    }

    /// Sizes of frames with cuts between them.
    pub(super) fn hard_cuts(&mut self, report: &Report) {
        let sizes = &report.sizes;
        if sizes.max_bytes > 0 {
            self.figure("frame_max_over_share", sizes.max_over_share);
            self.figure("frame_fill_mean", sizes.fill);
        }
        self.note(format!(
            "hard cuts: {:.2} Mbit/s, mean {:.1} kB, largest {:.1} kB",
            sizes.bitrate_bps / 1e6,
            sizes.mean_bytes / 1e3,
            sizes.max_bytes as f64 / 1e3,
        ));
    }

    /// Times from connecting to the first picture; `None`: it did not come.
    pub(super) fn connecting(&mut self, times: &[Option<Duration>]) {
        let ms = |time: &Option<Duration>| time.map_or(f64::INFINITY, |t| t.as_secs_f64() * 1e3);
        let mut ms: Vec<f64> = times.iter().map(ms).collect();
        ms.sort_by(f64::total_cmp);
        if let Some(&median) = ms.get(ms.len() / 2) {
            self.figure("connect_to_picture_p50_ms", median);
        }
        let each: Vec<_> = ms.iter().map(|ms| format!("{ms:.0}")).collect();
        self.note(format!(
            "connect to first decoded picture, ms: {}",
            each.join(" ")
        ));
    }

    /// Senders, on a machine with so many cores. The budget is held with a reader of single
    /// datagrams where that has a core, else with none ([`Reader::of_budget`]); never with merged
    /// ones, where loopback passes a bare sender's buffer on in one piece, which no network does.
    pub(super) fn senders(&mut self, row: &SealedSend, cores: usize) {
        if row.reader == Reader::of_budget(cores) {
            self.figure("sealed_send_over_bare_gso", row.stages_ratio);
        }
        self.note(format!(
            "senders, {}: bare {:.0} k/s, protect and send stages {:.0} k/s ({:.2}), \
             both on one thread {:.0} k/s ({:.2})",
            match row.reader {
                Reader::None => "nobody reading",
                Reader::Plain => "with a reader",
                Reader::Gro => "with a reader that takes merged datagrams",
            },
            row.bare_per_s / 1e3,
            row.stages_per_s / 1e3,
            row.stages_ratio,
            row.one_thread_per_s / 1e3,
            row.one_thread_ratio,
        ));
    }

    /// The kernels of GF(2^8). The budget is held against the one that the host would choose.
    pub(super) fn codes(&mut self, rows: &[EncodeRow]) {
        for (data, parity) in SHAPES {
            let shape = |row: &&EncodeRow| (row.data_shards, row.parity_shards) == (data, parity);
            let of_shape: Vec<_> = rows.iter().filter(shape).collect();
            // In the order in which a host chooses.
            let Some(best) = of_shape.first() else {
                continue;
            };
            self.figure(&format!("gf8_over_erasure_{data}_{parity}"), best.ratio);
            let parts: Vec<_> = of_shape
                .iter()
                .map(|row| format!("{} {:.2} us ({:.2})", row.kernel, row.encode_us, row.ratio))
                .collect();
            self.note(format!(
                "GF(2^8) {data}/{parity}: {}; reed-solomon-erasure {:.2} us",
                parts.join(", "),
                best.erasure_us,
            ));
        }
    }

    /// The pre-encoded display.
    pub(super) fn wide(&mut self, row: &Wide) {
        self.figure("wide_frames_lost", row.lost as f64);
        self.figure("wide_sender_cores", row.protect_cores + row.send_cores);
        self.note(format!(
            "5120x1440@240: {} frames of {:.2} Gbit/s, {} lost, {} batches refused, {} shards \
             repaired; cores: protect {:.3}, send {:.3}, receive and reassemble {:.3}",
            row.frames,
            row.gbit_per_s,
            row.lost,
            row.not_sent,
            row.repaired_shards,
            row.protect_cores,
            row.send_cores,
            row.receive_cores,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate;
    use crate::report::tests::example;
    use crate::report::{ThreadUse, compare};

    fn measured() -> (Measured, Report) {
        let mut report = example(600);
        report.run.counters.encoded = 600;
        report.run.counters.drawn = 600;
        report.run.counters.delivered = 594;
        report.run.counters.lost = 2;
        let stage = |name: &str| ThreadUse {
            name: name.to_owned(),
            cpu_percent: 1.5,
            allocations: Some(3),
            ..ThreadUse::default()
        };
        report.run.threads = ["pf-capture", "pf-encode", "pf-protect", "pf-send"]
            .map(stage)
            .into();
        report.run.encoder_cpu_percent = Some(5.0);
        let measured = Measured {
            run: report.run.clone(),
            records: Vec::new(),
            session: Vec::new(),
            host: Default::default(),
            received: Default::default(),
        };
        (measured, report)
    }

    fn sender(reader: Reader, stages_ratio: f64) -> SealedSend {
        SealedSend {
            bare_per_s: 1e6,
            one_thread_per_s: 5e5,
            stages_per_s: 8e5,
            one_thread_ratio: 0.5,
            stages_ratio,
            reader,
        }
    }

    fn kernel((data_shards, parity_shards): (usize, usize), ratio: f64) -> EncodeRow {
        EncodeRow {
            data_shards,
            parity_shards,
            kernel: "kernel",
            encode_us: 1.0,
            erasure_us: ratio,
            ratio,
        }
    }

    fn all() -> Rows {
        let mut rows = Rows::default();
        let (measured, report) = measured();
        rows.losses("720p60", &measured);
        rows.losses("1080p30", &measured);
        rows.overhead(&measured, &report);
        rows.cpu(&report);
        rows.allocations(&report);
        let compared = Compared {
            comparison: compare(&report, &report),
            sliced: report.clone(),
            whole: report.clone(),
        };
        let stages = [
            ("first_byte_sliced_over_whole", "captured_to_first_byte"),
            ("last_byte_sliced_over_whole", "captured_to_complete"),
        ];
        for (id, stage) in stages {
            rows.sliced_over_whole(id, stage, &compared);
        }
        rows.hard_cuts(&report);
        let ms = |ms| Some(Duration::from_millis(ms));
        rows.connecting(&[ms(100), None, ms(200), ms(300), ms(120)]);
        for reader in [
            (Reader::None, 0.9),
            (Reader::Plain, 0.8),
            (Reader::Gro, 0.1),
        ] {
            rows.senders(&sender(reader.0, reader.1), 4);
        }
        let kernels = SHAPES
            .iter()
            .flat_map(|&shape| [kernel(shape, 4.0), kernel(shape, 0.5)]);
        rows.codes(&kernels.collect::<Vec<_>>());
        rows.wide(&Wide {
            frames: 240,
            lost: 1,
            not_sent: 0,
            repaired_shards: 0,
            gbit_per_s: 0.5,
            protect_cores: 0.1,
            send_cores: 0.05,
            receive_cores: 0.1,
            allocations: Some(0),
            seconds: 1.0,
        });
        rows
    }

    #[test]
    fn every_budget_has_its_figure_and_every_figure_its_budget() {
        let figures = all().figures;
        let budgets = gate::budgets();
        let missing: Vec<_> = budgets
            .iter()
            .filter(|budget| !figures.contains_key(&budget.id))
            .collect();
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(figures.len(), budgets.len());
    }

    #[test]
    fn a_reader_counts_where_it_has_a_core_of_its_own() {
        let ratio = |cores: usize| {
            let mut rows = Rows::default();
            for (reader, ratio) in [
                (Reader::None, 0.9),
                (Reader::Plain, 0.8),
                (Reader::Gro, 0.1),
            ] {
                rows.senders(&sender(reader, ratio), cores);
            }
            rows.figures["sealed_send_over_bare_gso"]
        };
        assert_eq!([2, 3, 4, 16].map(ratio), [0.9, 0.9, 0.8, 0.8]);
    }

    #[test]
    fn figures_are_those_that_were_measured() {
        let figures = all().figures;
        let expected = [
            ("frames_lost_720p60", 2.0),
            ("delivered_over_drawn_1080p30", 0.99),
            ("first_byte_sliced_over_whole", 1.0),
            ("host_cpu_over_encoder", 1.2),
            ("frame_path_allocations", 12.0),
            // A picture that never came is later than all others.
            ("connect_to_picture_p50_ms", 200.0),
            ("sealed_send_over_bare_gso", 0.8),
            ("gf8_over_erasure_20_4", 4.0),
            ("wide_frames_lost", 1.0),
        ];
        for (id, figure) in expected {
            assert!((figures[id] - figure).abs() < 1e-9, "{id}: {}", figures[id]);
        }
        assert!((figures["wide_sender_cores"] - 0.15).abs() < 1e-9);
    }

    #[test]
    fn what_was_not_measured_has_no_figure() {
        let mut rows = Rows::default();
        let empty = Report::default();
        let nothing = Measured {
            run: empty.run.clone(),
            records: Vec::new(),
            session: Vec::new(),
            host: Default::default(),
            received: Default::default(),
        };
        rows.losses("720p60", &nothing);
        rows.overhead(&nothing, &empty);
        rows.cpu(&empty);
        rows.allocations(&empty);
        rows.hard_cuts(&empty);
        rows.connecting(&[]);
        rows.codes(&[]);
        assert!(rows.figures.is_empty(), "{:?}", rows.figures);
    }
}
