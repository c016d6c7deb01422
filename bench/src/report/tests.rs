use net::units::{FrameId, Timestamp};

use super::*;

/// A made-up run: frames at 60 Hz, four slices, times that vary a little.
pub(crate) fn example(frames: u32) -> Report {
    let records: Vec<FrameRecord> = (0..frames).map(record).collect();
    let run = Run {
        name: "game <1280x720> & \"friends\"".into(),
        seconds: f64::from(frames) / 60.0,
        machine: Machine {
            cpu: "Example CPU".into(),
            cores: 2,
            kernel: "Linux 6.1 x86_64".into(),
            governor: None,
            load_1min: Some(0.25),
            priority: "SCHED_FIFO, up to 9".into(),
            compositor: "sway 1.7".into(),
            revision: "0123abc".into(),
        },
        configuration: Configuration {
            mode: "1280x720@60".into(),
            content: "game".into(),
            fps: 60.0,
            bitrate_bps: 10_000_000,
            slices: 4,
            encoder: "x264".into(),
            encoder_threads: 1,
            capture: "screencopy".into(),
            fec_percent: Some(20),
            aead: "AES-128-GCM".into(),
            link: "loopback".into(),
        },
        counters: Counters {
            drawn: frames.into(),
            captured: frames.into(),
            ..Counters::default()
        },
        threads: vec![
            ThreadUse {
                name: "pf-encode".into(),
                cpu_percent: 31.5,
                switches_voluntary: 60,
                switches_involuntary: 2,
                allocations: Some(0),
            },
            ThreadUse {
                name: "pf-decode".into(),
                cpu_percent: 20.0,
                ..ThreadUse::default()
            },
        ],
        encoder_cpu_percent: Some(30.0),
        ask_allocations: Some(240),
        judder_ms: Some(1.25),
        verified: Verified {
            pictures: frames.into(),
            ..Verified::default()
        },
        connect_to_picture_ms: Some(120.0),
        path: PathReport::of(path_samples(), PathCounts::default(), Vec::new()),
        shown: Some(Shown {
            late: 3,
            frames: frames.into(),
            after_outage_ms: vec![80.0],
            ..Shown::default()
        }),
    };
    Report::from_records(run, &records)
}

fn path_samples() -> Vec<PathSample> {
    let sample = |index: u32| PathSample {
        at_ms: i64::from(index) * 100 - 1000,
        state: "steady".into(),
        rung: "parity".into(),
        wire_bps: 12_000_000,
        encoder_bps: 10_000_000,
        pace_bps: 40_000_000,
        bottleneck_bps: (index > 5).then_some(38_000_000),
        queue_us: u64::from(index) * 10,
        round_trip_us: 4000,
        sent_bytes: u64::from(index) * 150_000,
        ..PathSample::default()
    };
    (0..40).map(sample).collect()
}

#[test]
fn the_path_is_in_all_three_forms() {
    let report = example(60);
    let table = table(&report);
    assert!(table.contains("judder   1.250 ms"), "{table}");
    for part in [
        "steady 100 %",
        "12.0 Mbit/s (12.0 to 12.0)",
        "3 of 60 (5.00 %) late by 50 ms",
        "a picture 80 ms after an outage",
    ] {
        assert!(table.contains(part), "{part} is not in\n{table}");
    }
    let page = html(&report, None);
    for part in [
        "queue delay as believed",
        "bottleneck as believed",
        "38.0 Mbit/s",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(
        !page.contains("longest wait in the relay"),
        "there was none"
    );
    let read: Report = serde_json::from_str(&report.json()).expect("a report");
    assert_eq!(read.run.path.map(|path| path.samples.len()), Some(40));
}

fn record(index: u32) -> FrameRecord {
    let vary = |share: u64| u64::from(index.wrapping_mul(2_654_435_761) >> 20) % share;
    let captured = 5_000_000_000 + u64::from(index) * 16_666_667;
    let at = |us: u64| Some(Timestamp::from_ns(captured + us * 1000));
    let slices = (0..4_u64).map(|slice| {
        let encoded = 1400 + slice * (700 + vary(150));
        SliceRecord {
            encoded: at(encoded),
            protected: at(encoded + 12 + vary(9)),
            first_byte: at(encoded + 30 + vary(20)),
            last_byte: at(encoded + 70 + vary(30)),
            complete: at(encoded + 180 + vary(60)),
            bytes: 5000,
        }
    });
    FrameRecord {
        qp_tenths: 300,
        frame: FrameId(index),
        keyframe: index == 0,
        number: Some(index),
        drawn: Some(Timestamp::from_ns(captured - 1_000_000 - vary(700) * 1000)),
        captured: Timestamp::from_ns(captured),
        encode_begin: at(25),
        converted: at(420 + vary(60)),
        slices: slices.collect(),
        received_first: at(1500 + vary(40)),
        complete: at(4200 + vary(400)),
        decoded: at(6500 + vary(900)),
    }
}

#[test]
fn the_hosts_cpu_is_that_of_its_threads_and_no_others() {
    let mut run = example(1).run;
    assert_eq!(run.host_cpu_over_encoder(), Some(31.5 / 30.0));
    run.encoder_cpu_percent = Some(0.0);
    assert_eq!(run.host_cpu_over_encoder(), None);
    run.encoder_cpu_percent = None;
    assert_eq!(run.host_cpu_over_encoder(), None);
}

#[test]
fn only_a_first_idr_is_left_out_of_the_largest_frame() {
    let share = 10_000_000.0 / 8.0 / 60.0;
    let sized = |keyframe, bytes| FrameRecord {
        keyframe,
        slices: vec![SliceRecord {
            bytes,
            ..SliceRecord::default()
        }],
        ..FrameRecord::default()
    };
    let run = example(1).run;
    let largest = |first_is_idr| {
        let records = [sized(first_is_idr, 90_000), sized(false, 30_000)];
        Report::from_records(run.clone(), &records)
            .sizes
            .max_over_share
    };
    assert!((largest(true) - 30_000.0 / share).abs() < 1e-9);
    assert!((largest(false) - 90_000.0 / share).abs() < 1e-9);
}

#[test]
fn every_rendering_copes_with_nothing_one_and_many() {
    for frames in [0, 1, 1000] {
        let report = example(frames);
        let page = html(&report, Some(&compare(&report, &report)));
        assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
        assert!(!page.contains("NaN") && !page.contains("inf"), "{frames}");
        let text = table(&report);
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{text}");
        let again: Report = serde_json::from_str(&report.json()).expect("our own JSON");
        assert_eq!(
            (again.frames, again.run.counters),
            (report.frames, report.run.counters)
        );
    }
    assert!(html(&Report::default(), None).contains("Nothing to plot"));
    assert!(table(&example(0)).contains("glass to decoded"));
}

#[test]
fn the_page_needs_nothing_from_outside_and_trusts_no_text() {
    let page = html(&example(10), None);
    assert!(page.contains("game &lt;1280x720&gt; &amp; &quot;friends&quot;"));
    assert!(!page.contains("<1280x720>"));
    for outside in [
        "http:", "https:", "src=", "href=", "@import", "url(", "<script",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn stages_are_the_differences_of_their_stamps() {
    let report = example(1);
    let p50 = |id: &str| report.stage(id).expect("a known stage").times.p50_ms;
    assert_eq!(p50("drawn_to_captured"), 1.0);
    assert_eq!(p50("captured_to_encoder"), 0.025);
    assert_eq!(p50("conversion"), 0.395);
    assert_eq!(p50("encode_first"), 0.98);
    assert_eq!(p50("encode_last"), 3.08);
    assert_eq!(p50("captured_to_first_byte"), 1.43);
    assert_eq!(p50("captured_to_last_byte"), 3.57);
    // 0.025 before the encoder, 0.070 after it.
    assert!((p50("overhead") - 0.095).abs() < 1e-9);
    assert_eq!(p50("drawn_to_decoded"), 7.5);
    assert_eq!(
        report.stage("protect").map(|stage| stage.times.count),
        Some(4)
    );
}

#[test]
fn missing_stamps_leave_values_out() {
    let mut half = record(3);
    half.decoded = None;
    half.slices[2].last_byte = None;
    let report = Report::from_records(Run::default(), &[record(2), half]);
    let count = |id: &str| report.stage(id).map(|stage| stage.times.count);
    assert_eq!(count("decode"), Some(1));
    assert_eq!(count("captured_to_last_byte"), Some(1));
    assert_eq!(count("captured_to_first_byte"), Some(2));
    assert_eq!(count("send"), Some(7));
}

#[test]
fn sizes_are_held_against_the_share_of_the_bitrate() {
    let sizes = example(600).sizes;
    assert_eq!((sizes.mean_bytes, sizes.max_bytes), (20_000.0, 20_000));
    // 10 Mbit/s at 60 fps are 20 833 bytes a frame.
    assert!((sizes.fill - 0.96).abs() < 1e-3);
    assert!((sizes.bitrate_bps / 1e6 - 9.6).abs() < 1e-2);
}

#[test]
fn a_comparison_is_a_ratio_of_the_same_stages() {
    let (sliced, mut whole) = (example(10), example(10));
    for stage in &mut whole.stages {
        stage.times.p50_ms *= 2.0;
    }
    let comparison = compare(&sliced, &whole);
    let ratio = comparison
        .stage("captured_to_first_byte")
        .and_then(|row| row.p50_ratio);
    assert_eq!(ratio, Some(0.5));
    assert!(comparison_table(&comparison).contains("captured to first byte"));
}
