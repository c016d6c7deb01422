//! The figures, each with the seeds it was reached with.

use super::testnet::{Losing, Net, Path, at_ms, ms};
use super::*;

fn config() -> Config {
    Config::default()
}

fn trace(net: &Net, from: u64, to: u64, step: u64) {
    for t in (from..to).step_by(step as usize) {
        let mut line = format!("{t:6}");
        for s in &net.streams {
            let state = s.history.iter().rev().find(|h| h.0 <= at_ms(t + step)).map(|h| (h.1, h.2));
            line += &format!("  {:6.1} {:?}", s.mbit(t, t + step), state);
        }
        println!("{line}  q50 {:?} q99 {:?}", net.wait_percentile(t, t + step, 50.0), net.wait_percentile(t, t + step, 99.0));
    }
    println!("drops {}", net.drops);
}

#[test]
fn x_start() {
    for mbit in [3.0, 5.0, 10.0, 20.0, 50.0, 100.0, 145.0] {
        for rtt in [4, 20, 80] {
            let mut net = Net::new(1, Path::new(mbit, rtt, 400_000));
            net.stream(0, config());
            net.run(5_000);
            let s = &net.streams[0];
            println!("{mbit} {rtt}: use 1s {:.2} 2s {:.2} 3+ {:.2} q99 1s {:?} max {:?} later {:?} drops {}",
                s.mbit(1000, 2000) / mbit, s.mbit(2000, 3000) / mbit, s.mbit(3000, 5000) / mbit,
                net.wait_percentile(0, 1000, 99.0), net.wait_percentile(0, 1000, 100.0), net.wait_percentile(1000, 5000, 99.0), net.drops);
        }
    }
}
#[test]
fn x_step() {
    for rtt in [4, 20, 80] {
        for seed in 1..6 {
            let mut path = Path::new(50.0, rtt, 1_000_000);
            path.rate = vec![(0, 50.0), (5_000, 10.0), (15_000, 50.0)];
            let mut net = Net::new(seed, path);
            net.stream(0, config());
            net.run(25_000);
            let s = &net.streams[0];
            println!("rtt {rtt} seed {seed}: down q99 after 1s {:?} use {:.2} up use after 3s {:.2} q99 {:?} max {:?} drops {}",
                net.wait_percentile(6_000, 15_000, 99.0), s.mbit(8_000, 15_000) / 10.0, s.mbit(18_000, 25_000) / 50.0, 
                net.wait_percentile(16_000, 25_000, 99.0), net.wait_percentile(5_000, 6_000, 100.0), net.drops);
        }
    }
}
fn jain(a: f64, b: f64) -> f64 { (a + b).powi(2) / (2.0 * (a * a + b * b)) }
#[test]
fn x_two() {
    for (mbit, rtt, second) in [(50.0, 4, 5_000), (50.0, 20, 5_000), (50.0, 20, 5_008), (50.0, 80, 5_003), (20.0, 20, 0), (100.0, 20, 5_005)] {
        for seed in 1..5 {
            let mut net = Net::new(seed, Path::new(mbit, rtt, 400_000));
            net.stream(0, config());
            net.stream(second, config());
            net.run(65_000);
            let mean = |from, to| { let (a, b) = (net.streams[0].mbit(from, to), net.streams[1].mbit(from, to)); format!("{a:.1} {b:.1} jain {:.2}", jain(a, b)) };
            println!("{mbit} {rtt} {second} {seed}: 10-15 {} 15-25 {} 25-65 {} q99 {:?} drops {}", mean(10_000, 15_000), mean(15_000, 25_000), mean(25_000, 65_000), net.wait_percentile(10_000, 65_000, 99.0), net.drops);
        }
    }
}
#[test]
fn x_cubic() {
    for (mbit, rtt, buffer_ms) in [(50.0, 20, 50), (50.0, 20, 30), (50.0, 20, 15), (50.0, 4, 50), (50.0, 80, 50), (20.0, 20, 50), (100.0, 20, 50), (50.0, 20, 200)] {
        for (first, second) in [(0, 5_000), (5_000, 0)] {
            let mut net = Net::new(1, Path::new(mbit, rtt, (mbit * 125.0) as u64 * buffer_ms));
            net.stream(first, config());
            net.cubic(second);
            net.run(65_000);
            let s = &net.streams[0];
            println!("{mbit} {rtt} {buffer_ms} ours at {first}: ours {:.2} {:.2} cubic {:.2} q99 {:?} drops {} {:?}", s.mbit(10_000, 25_000) / mbit, s.mbit(25_000, 65_000) / mbit, net.cubic_bytes as f64 * 8.0 / 60e6 / mbit, net.wait_percentile(10_000, 65_000, 99.0), net.drops, s.states().len());
        }
    }
}
#[test]
fn x_loss() {
    for losing in [Losing::Random(0.05), Losing::Gilbert(0.05, 8.0), Losing::Random(0.15)] {
      for rtt in [4, 80] {
        let mut path = Path::new(50.0, rtt, 400_000);
        path.losing = losing;
        let mut net = Net::new(1, path);
        net.stream(0, config());
        net.run(60_000);
        let s = &net.streams[0];
        let l = s.rate.signals(at_ms(60_000)).loss;
        println!("rtt {rtt} {:.2} {:.2} q99 {:?} share {:.3} burst {:.1}", s.mbit(0, 10_000) / 50.0, s.mbit(10_000, 60_000) / 50.0, net.wait_percentile(0, 60_000, 99.0), l.share(), l.burst_mean());
      }
    }
}
#[test]
fn x_stall() {
    for (every, lasts) in [(1000, 60), (200, 20), (1000, 150), (100, 5), (20, 8)] {
        let mut path = Path::new(50.0, 4, 2_000_000);
        path.stall = Some((every, lasts));
        let mut net = Net::new(1, path);
        net.stream(0, Config { ceiling: BitsPerSecond(30_000_000), ..config() });
        net.stream(1_000_000, config());
        net.run(30_000);
        let s = &net.streams[0];
        println!("{every} {lasts} {:.2} q50 {:?} q99 {:?}", s.mbit(5_000, 30_000) / 30.0, net.wait_percentile(5000, 30_000, 50.0), net.wait_percentile(5000, 30_000, 99.0));
        trace(&net, 20_000, 21_400, 100);
    }
}
#[test]
fn x_outage() {
    for rtt in [4, 80] {
    for lasts in [200, 1000, 3000] {
        let mut path = Path::new(50.0, rtt, 400_000);
        path.outages = vec![(5_000, 5_000 + lasts)];
        let mut net = Net::new(1, path);
        net.stream(0, config());
        net.run(12_000);
        let s = &net.streams[0];
        let end = at_ms(5_000 + lasts);
        let first = s.frames.iter().find(|f| f.0 >= end).map(|f| f.0.since(end));
        println!("rtt {rtt} {lasts}: first frame {first:?} q max after {:?} mbit 500ms {:.1} {:.1}", net.wait_percentile(5_000 + lasts, 12_000, 100.0), s.mbit(5_000+lasts, 5_500+lasts), s.mbit(5_500+lasts, 6_500+lasts));
        println!("{:?}", s.states());
    }
    }
}
#[test]
fn x_deep() {
            let mut net = Net::new(1, Path::new(50.0, 20, 6250 * 200));
            net.stream(0, config());
            net.cubic(5_000);
            net.run(25_000);
            trace(&net, 4_800, 8_000, 100);
            trace(&net, 8_000, 25_000, 500);
}
#[test]
fn x_police() {
            let mut net = Net::new(1, Path::new(50.0, 20, 12_000));
            net.stream(0, config());
            net.run(25_000);
            trace(&net, 0, 25_000, 500);
}
#[test]
fn x_hop() {
    for ceiling in [50, 90] {
    let mut net = Net::new(1, Path::new(100.0, 4, 64_000));
    net.stream(0, Config { ceiling: BitsPerSecond(ceiling * 1_000_000), ..config() });
    net.run(60_000);
    println!("drops {} held {:?} q {:?} {:?}", net.drops, net.streams[0].held_back, net.wait_percentile(0, 60_000, 100.0), net.streams[0].states());
    }
}
#[test]
fn x_still() {
    let mut net = Net::new(1, Path::new(50.0, 20, 400_000));
    let s = net.stream(0, config());
    s.app = vec![(0, 0.0), (20_000, 1000.0)];
    net.run(25_000);
    trace(&net, 0, 20_000, 1000);
    trace(&net, 20_000, 21_000, 100);
    println!("probe bytes {}", net.streams[0].probe_bytes);
}
#[test]
fn x_stepd() {
            let mut path = Path::new(50.0, 4, 1_000_000);
            path.rate = vec![(0, 50.0), (5_000, 10.0), (15_000, 50.0)];
            let mut net = Net::new(1, path);
            net.stream(0, config());
    for t in (5_000..6_000).step_by(10) {
            net.run(t);
        let d = net.streams[0].rate.signals(at_ms(t));
        let h = net.streams[0].history.last().unwrap();
        println!("{t} {:?} {:.1} q {:?} st {:?} busy {:?} del {:?} long {:.1} sent {:.1} bn {:?} drops {}", h.1, h.2, d.queue_delay.as_millis(), d.standing.as_millis(), d.busy_for.as_millis(), d.delivered.map(|x| (x / 1e5).round() / 10.0), d.delivered_long/1e6, d.sent/1e6, d.bottleneck.map(|x| (x / 1e5).round() / 10.0), net.drops);
    }
}
