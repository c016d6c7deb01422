//! The figures, each with the seeds it was reached with.

use super::testnet::{Losing, Net, Path, at_ms};
use super::*;

fn config() -> Config {
    Config::default()
}

fn trace(net: &Net, to: u64, step: u64) {
    for t in (0..to).step_by(step as usize) {
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
fn explore_steady() {
    let mut net = Net::new(1, Path::new(50.0, 4, 400_000));
    net.stream(0, config());
    net.run(10_000);
    trace(&net, 3_000, 100);
    trace(&net, 10_000, 1000);
}
#[test]
fn explore_step() {
    let mut path = Path::new(50.0, 4, 400_000);
    path.rate = vec![(0, 50.0), (5_000, 10.0), (15_000, 50.0)];
    let mut net = Net::new(1, path);
    net.stream(0, config());
    net.run(25_000);
    trace(&net, 25_000, 200);
}
#[test]
fn explore_two() {
    let mut net = Net::new(1, Path::new(50.0, 20, 400_000));
    net.stream(0, config());
    net.stream(5_000, config());
    net.run(60_000);
    trace(&net, 60_000, 500);
}
#[test]
fn explore_cubic() {
    let mut net = Net::new(1, Path::new(50.0, 20, 312_000));
    net.stream(0, config());
    net.cubic(5000);
    net.run(60_000);
    trace(&net, 60_000, 500);
    println!("cubic {}", net.cubic_bytes as f64 * 8.0 / 55e6);
}
#[test]
fn explore_misc() {
    for loss in [Losing::Random(0.05), Losing::Gilbert(0.05, 8.0)] {
        let mut path = Path::new(50.0, 4, 400_000);
        path.losing = loss;
        let mut net = Net::new(1, path);
        net.stream(0, config());
        net.run(30_000);
        trace(&net, 30_000, 2000);
    }
    let mut path = Path::new(50.0, 4, 400_000);
    path.outages = vec![(5_000, 6_000)];
    let mut net = Net::new(1, path);
    net.stream(0, config());
    net.run(10_000);
    trace(&net, 10_000, 100);
    let mut path = Path::new(50.0, 4, 400_000);
    path.stall = Some((1000, 60));
    let mut net = Net::new(1, path);
    net.stream(0, config());
    net.run(10_000);
    trace(&net, 10_000, 200);
    let mut net = Net::new(1, Path::new(100.0, 4, 64_000));
    net.stream(0, Config { ceiling: BitsPerSecond(50_000_000), ..config() });
    net.run(30_000);
    trace(&net, 30_000, 2000);
}
