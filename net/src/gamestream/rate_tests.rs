use super::*;

const CEILING: BitsPerSecond = BitsPerSecond(10_000_000);
const FLOOR: BitsPerSecond = BitsPerSecond(600_000);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ns(1_000_000_000 + ms * 1_000_000)
}

/// Over `ms`, of a link that takes `link` bits a second, has no queue and loses the rest.
fn police(rate: &mut LinkRate, from_ms: u64, ms: u64, link: f64) {
    for step in 0..ms / 100 {
        let sent = rate.rate().0 as f64;
        let loss = ((sent - link) / sent).max(0.0);
        rate.poll(at(from_ms + step * 100), loss, None);
    }
}

/// A link with a queue that drops what does not fit, 2 ms away; the host pings every 50 ms.
struct Link {
    bits_per_ms: f64,
    queue_bits_max: f64,
    queue_bits: f64,
    /// Sent, and when the answer comes.
    pings: VecDeque<(u64, f64)>,
    ms: u64,
    offered_bits: f64,
    dropped_bits: f64,
    /// Since the last look.
    window: (f64, f64),
}

impl Link {
    fn new(mbit: f64, queue_bytes: f64) -> Self {
        Self {
            bits_per_ms: mbit * 1000.0,
            queue_bits_max: queue_bytes * 8.0,
            queue_bits: 0.0,
            pings: VecDeque::new(),
            ms: 0,
            offered_bits: 0.0,
            dropped_bits: 0.0,
            window: (0.0, 0.0),
        }
    }

    fn queue_ms(&self) -> f64 {
        self.queue_bits / self.bits_per_ms
    }

    fn step(&mut self, rate: &mut LinkRate) {
        let now = self.ms;
        if now.is_multiple_of(16) {
            let frame = rate.rate().0 as f64 * 0.016;
            rate.handle_sent(at(now), (frame / 8.0) as u64);
            let dropped = (self.queue_bits + frame - self.queue_bits_max).max(0.0);
            self.queue_bits += frame - dropped;
            self.offered_bits += frame;
            self.dropped_bits += dropped;
            self.window.0 += frame;
            self.window.1 += dropped;
        }
        if now.is_multiple_of(50) {
            self.pings
                .push_back((now, now as f64 + 2.0 + self.queue_ms()));
        }
        while let Some(&(sent, comes)) = self.pings.front()
            && comes <= now as f64
        {
            self.pings.pop_front();
            rate.handle_echo(Echo {
                sent: at(sent),
                came: at(now),
            });
        }
        if now.is_multiple_of(50) {
            let loss = self.window.1 / self.window.0.max(1.0);
            if now.is_multiple_of(600) {
                self.window = (0.0, 0.0);
            }
            let waits = self.pings.front().map(|&(sent, _)| at(sent));
            rate.poll(at(now), loss, waits);
        }
        self.queue_bits = (self.queue_bits - self.bits_per_ms).max(0.0);
        self.ms += 1;
    }

    fn run(&mut self, rate: &mut LinkRate, ms: u64) {
        for _ in 0..ms {
            self.step(rate);
        }
    }
}

#[test]
fn it_begins_with_a_half_and_has_all_soon() {
    let mut rate = LinkRate::new(at(0), FLOOR, CEILING);
    assert_eq!(rate.rate(), BitsPerSecond(5_000_000));
    let mut link = Link::new(100.0, 128e3);
    link.run(&mut rate, 600);
    assert_eq!(rate.rate(), CEILING);
    assert!(!rate.is_congested(at(link.ms)));
}

/// The row of the session's figures: 10 Mbit/s asked for, 3 there, 128 KB.
#[test]
fn a_narrow_link_with_a_queue_loses_nothing_and_has_drained_within_a_second() {
    for mbit in [2.0, 3.0, 6.0] {
        let mut rate = LinkRate::new(at(0), FLOOR, CEILING);
        let mut link = Link::new(mbit, 128e3);
        link.run(&mut rate, 1000);
        assert!(link.queue_ms() < 150.0, "{mbit}: {} ms", link.queue_ms());
        let lost = link.dropped_bits / link.offered_bits;
        assert!(lost < 0.1, "{mbit}: {lost}");
        let lost_at_first = link.dropped_bits;
        let offered_at_first = link.offered_bits;
        link.run(&mut rate, 30_000);
        assert!(link.dropped_bits <= lost_at_first, "{mbit}: nothing later");
        let used = (link.offered_bits - offered_at_first) / (30_000.0 * link.bits_per_ms);
        assert!((0.7..1.0).contains(&used), "{mbit}: {used}");
    }
}

#[test]
fn a_link_that_becomes_narrow_and_wide_again_is_followed() {
    let mut rate = LinkRate::new(at(0), FLOOR, CEILING);
    let mut link = Link::new(50.0, 128e3);
    link.run(&mut rate, 5000);
    assert_eq!(rate.rate(), CEILING);
    link.bits_per_ms = 4000.0;
    link.run(&mut rate, 1500);
    assert!(link.queue_ms() < 100.0, "{} ms", link.queue_ms());
    assert!(rate.rate().0 < 4_000_000, "{:?}", rate.rate());
    link.bits_per_ms = 50_000.0;
    link.run(&mut rate, 60_000);
    assert_eq!(rate.rate(), CEILING, "the link is free again");
}

#[test]
fn a_late_answer_costs_little_and_not_for_long() {
    let mut rate = LinkRate::new(at(0), FLOOR, CEILING);
    let mut link = Link::new(100.0, 1e7);
    link.run(&mut rate, 2000);
    // As if the radio had been away for 120 ms.
    link.queue_bits += 120.0 * link.bits_per_ms;
    link.run(&mut rate, 500);
    assert!(rate.rate().0 >= 6_500_000, "{:?}", rate.rate());
}

/// Somebody else fills the queue, whatever is sent here.
#[test]
fn the_queue_of_another_is_no_reason_to_give_up() {
    let mut rate = LinkRate::new(at(0), FLOOR, CEILING);
    for ms in (0..20_000).step_by(50) {
        rate.handle_sent(at(ms), rate.rate().0 / 160);
        let queue = if ms < 1000 { 2 } else { 120 };
        if ms > queue {
            rate.handle_echo(Echo {
                sent: at(ms - queue),
                came: at(ms),
            });
        }
        rate.poll(at(ms), 0.0, None);
    }
    assert!(rate.rate().0 >= 2_000_000, "{:?}", rate.rate());
}

#[test]
fn a_policed_link_of_a_third_is_found_within_two_seconds() {
    let mut rate = LinkRate::new(at(0), FLOOR, CEILING);
    police(&mut rate, 0, 2000, 3e6);
    assert!(rate.rate().0 <= 3_600_000, "{:?}", rate.rate());
    police(&mut rate, 2000, 20_000, 3e6);
    assert!(rate.rate().0 >= 2_000_000, "{:?}", rate.rate());
    police(&mut rate, 22_000, 60_000, 1e9);
    assert_eq!(rate.rate(), CEILING, "the link is free again");
}

#[test]
fn random_loss_and_bursts_cost_no_quality() {
    let mut rate = LinkRate::new(at(0), FLOOR, CEILING);
    for step in 0..200 {
        rate.poll(at(step * 100), 0.08, None);
        rate.handle_damage(at(step * 100));
    }
    assert_eq!(rate.rate(), CEILING);
}

#[test]
fn frames_lost_in_a_row_are_congestion() {
    let mut rate = LinkRate::new(at(0), FLOOR, CEILING);
    for frame in 0..DAMAGES_OF_CONGESTION as u64 {
        rate.handle_damage(at(16 * frame));
    }
    rate.poll(at(300), 0.0, None);
    assert_eq!(rate.rate(), BitsPerSecond(3_250_000));
    for step in 1..100 {
        rate.poll(at(300 + step * 500), 0.9, None);
    }
    assert_eq!(rate.rate(), FLOOR);
}
