use super::*;

fn at_us(us: u64) -> Timestamp {
    Timestamp::from_ns(us * 1000)
}

fn path(text: &str) -> Path {
    text.parse().expect("a path")
}

fn line(text: &str) -> Line {
    path(text).down().line.expect("it has a rate")
}

#[test]
fn a_burst_leaves_at_the_lines_rate() {
    let mut fast = line("100M");
    // 1392 and 66 bytes are 11 664 bits: 116.64 µs.
    for count in 1..=100 {
        let departure = fast.departure(at_us(50), 1392).expect("there is room");
        assert_eq!(departure.as_ns(), 50_000 + count * 116_640);
    }
    // A megabit comes out in ten milliseconds, whatever it is cut into.
    let mut fast = line("100M");
    let whole = (0..1000)
        .map(|_| fast.departure(at_us(0), 125 - OVERHEAD_BYTES))
        .last();
    assert_eq!(whole.flatten(), Some(at_us(10_000)));
}

#[test]
fn an_idle_line_delays_by_the_datagram_alone() {
    let mut line = line("100M");
    let own = Duration::from_nanos(116_640);
    for ms in [0, 1, 5, 100] {
        let now = at_us(ms * 1000);
        assert_eq!(line.departure(now, 1392), Some(now + own));
    }
}

#[test]
fn a_full_queue_drops_until_it_has_drained() {
    let mut line = line("100M");
    let taken = (0..10_000)
        .filter(|_| line.departure(at_us(0), 1392).is_some())
        .count();
    // Half a second of 116.64 µs each, and the one that fills it.
    assert_eq!(taken, 4287);
    assert!(line.departure(at_us(0), 1).is_none());
    assert!(line.departure(at_us(1_000), 1392).is_some());
}

#[test]
fn a_queue_of_bytes_takes_its_bytes() {
    let mut line = line("100M,queue=64K");
    let taken = (0..100)
        .filter(|_| line.departure(at_us(0), 1392).is_some())
        .count();
    // 1458 bytes each with their headers; 1384 are left, and 12.5 leave each microsecond.
    assert_eq!(taken, 65_536 / 1458);
    assert!(line.departure(at_us(5), 1392).is_none());
    assert!(line.departure(at_us(6), 1392).is_some());
}

#[test]
fn what_waits_at_a_step_leaves_at_the_new_rate() {
    let mut line = line("50M,10M@5s,50M@15s");
    line.begun = Some(at_us(1_000_000));
    let ten_kbit = 1250 - OVERHEAD_BYTES;
    assert_eq!(
        line.departure(at_us(0), ten_kbit),
        Some(at_us(200)),
        "before the clock runs"
    );
    assert_eq!(
        line.departure(at_us(5_999_900), ten_kbit),
        Some(at_us(6_000_500)),
        "half at 50, half at 10"
    );
    assert_eq!(
        line.departure(at_us(15_999_500), ten_kbit),
        Some(at_us(16_000_100)),
        "half at 10, half at 50"
    );
    assert_eq!(line.waiting_bits(at_us(15_999_900)), 6000);
}

#[test]
fn losses_have_their_share_and_their_run() {
    for (text, share, run) in [
        ("loss=5%,seed=7", 0.05, 1.0 / 0.95),
        ("loss=5%,burst=8,seed=7", 0.05, 8.0),
    ] {
        let mut way = path(text).down();
        let (mut lost, mut runs, mut before) = (0.0, 0.0, false);
        let count = 400_000;
        for index in 0..count {
            let is_lost = way.pass(at_us(index), 1000) == Passed::Lost;
            lost += f64::from(u8::from(is_lost));
            runs += f64::from(u8::from(is_lost && !before));
            before = is_lost;
        }
        let (found, found_run) = (lost / count as f64, lost / runs);
        assert!((found / share - 1.0).abs() < 0.05, "{text}: {found}");
        assert!((found_run / run - 1.0).abs() < 0.05, "{text}: {found_run}");
    }
}

#[test]
fn the_same_seed_loses_the_same_and_directions_lose_apart() {
    let fates = |mut way: Way| -> Vec<bool> {
        (0..1000)
            .map(|at| way.pass(at_us(at), 100) == Passed::Lost)
            .collect()
    };
    let both = path("loss=10%,seed=3");
    assert_eq!(fates(both.down()), fates(both.down()));
    assert_ne!(fates(both.down()), fates(both.up()));
    assert_ne!(fates(both.down()), fates(path("loss=10%,seed=4").down()));
    let down_only = path("loss-down=10%");
    assert!(fates(down_only.down()).contains(&true));
    assert!(!fates(down_only.up()).contains(&true));
}

#[test]
fn nothing_passes_an_outage_and_the_rest_is_delayed() {
    for mut way in [
        path("delay=2ms,outage=1s@5s").down(),
        path("delay=2ms,outage=1s@5s").up(),
    ] {
        let passes = |way: &mut Way, ms: u64| way.pass(at_us(ms * 1000), 100);
        let arrives = |ms: u64| Passed::Arrives {
            departure: at_us(ms * 1000),
            arrival: at_us((ms + 2) * 1000),
        };
        assert_eq!(passes(&mut way, 5500), arrives(5500), "no clock runs yet");
        way.begin(at_us(10_000_000), Duration::from_secs(10));
        assert_eq!(passes(&mut way, 14_999), arrives(14_999));
        assert_eq!(passes(&mut way, 15_000), Passed::Lost);
        assert_eq!(passes(&mut way, 15_999), Passed::Lost);
        assert_eq!(passes(&mut way, 16_000), arrives(16_000));
    }
}

#[test]
fn the_use_of_each_rate_is_measured_with_headers_and_what_is_lost_behind_the_line() {
    let mut way = path("50M,10M@5s,loss=20%,seed=3").down();
    assert!(way.stretches().is_empty(), "nothing is measured yet");
    let begun = at_us(10_000_000);
    way.begin(begun, Duration::from_secs(10));
    // Not again.
    way.begin(at_us(11_000_000), Duration::from_secs(1));
    // 20 Mbit/s with all headers: two fifths of the first rate, more than the second takes.
    for ms in 0..10_400 {
        way.pass(begun + Duration::from_millis(ms), 2500 - OVERHEAD_BYTES);
    }
    let told = way.stretches();
    let used: Vec<_> = told.iter().filter_map(|it| it.used_share).collect();
    assert!(
        (used[0] - 0.4).abs() < 0.001 && (used[1] - 1.0).abs() < 0.001,
        "{used:?}"
    );
    let waits: Vec<_> = told.iter().filter_map(|it| it.queue_p99_us).collect();
    assert_eq!(waits[0], 400);
    assert!((490_000..=504_000).contains(&waits[1]), "{waits:?}");
}

#[test]
fn a_wrong_part_is_named() {
    for (text, part) in [
        ("fast", "fast"),
        ("50M,fast=1", "fast=1"),
        ("50M, delay=2", "delay=2"),
        ("50M,delay=-2ms", "delay=-2ms"),
        ("50M,loss=2", "loss=2"),
        ("loss=95%", "loss=95%"),
        ("burst=0", "burst=0"),
        ("queue=1", "queue=1"),
        ("10M@5s", "10M@5s"),
        ("50M,10M", "10M"),
        ("50M,10M@5s,20M@5s", "20M@5s"),
        ("outage=1s", "outage=1s"),
        ("seed=x", "seed=x"),
        ("", ""),
        ("50M,", ""),
    ] {
        let error = text.parse::<Path>().expect_err(text);
        assert_eq!(error.part, part, "{error}");
    }
    let many = ["outage=1s@1s"; STEPS_MAX + 1].join(",");
    assert!(many.parse::<Path>().is_err());
}

#[test]
fn a_path_says_all_of_itself() {
    let text = "50M,delay=2ms,loss=2%,burst=8,queue=64K,10M@5s,outage=1s@5s";
    assert_eq!(
        path(text).to_string(),
        format!(
            "at {}, {} from 5s, queue 64 KiB, delay 2ms, loss 2.0 % down 2.0 % up in runs of 8.0, \
             seed 1, outage 5s to 6s",
            BitsPerSecond(50_000_000),
            BitsPerSecond(10_000_000)
        )
    );
}
