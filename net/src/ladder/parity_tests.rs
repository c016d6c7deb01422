use super::*;
use crate::limits::GF16_PARITY_SHARDS_MAX;
use crate::seeded::{Bursts, Seeded};

fn path(loss_share: f64, burst_mean: f64, round_trip_ms: u64) -> Path {
    Path {
        loss_share,
        burst_mean,
        round_trip: Duration::from_millis(round_trip_ms),
    }
}

fn whole(shards: usize) -> FrameSize {
    FrameSize {
        data_shards: shards,
        whole_shards: shards,
    }
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ns(1_000_000_000 + ms * 1_000_000)
}

fn chosen(path: &Path, data_shards: usize) -> usize {
    let mut parity = Parity::new(ParityConfig::default());
    let protection = parity.update(at(0), path, whole(data_shards));
    protection.parity_for(data_shards)
}

#[test]
fn the_exponential_is_that_of_the_library() {
    for x in [0.0, 1e-9, 0.1, 0.125, 1.0, 3.7, 40.0, 700.0] {
        let error = exp_minus(x) / (-x).exp() - 1.0;
        assert!(error.abs() < 1e-11, "x {x}: {error}");
    }
}

#[test]
fn the_tail_is_that_of_poisson_and_of_the_sum_over_bursts() {
    // Poisson with mean 2: 1 − e⁻²(1 + 2 + 2 + 4/3).
    let poisson = 1.0 - (-2f64).exp() * (1.0 + 2.0 + 2.0 + 4.0 / 3.0);
    assert!((lost_more_than(3, 40, 0.05, 1.0) - poisson).abs() < 1e-12);
    // The compound: Panjer's recursion, in which all terms are positive.
    for (n, share, burst) in [(40, 0.05, 8.0), (200, 0.02, 3.0), (3000, 0.1, 1.5)] {
        let (bursts, again) = (n as f64 * share / burst, 1.0 - 1.0 / burst);
        let mut p = vec![(-bursts).exp()];
        for i in 1..=400usize {
            let size = |j: usize| (1.0 - again) * again.powi(j as i32 - 1);
            let sum: f64 = (1..=i).map(|j| j as f64 * size(j) * p[i - j]).sum();
            p.push(bursts / i as f64 * sum);
        }
        for m in [0, 1, 5, 20, 100, 400] {
            let expected = 1.0 - p[..=m].iter().sum::<f64>();
            let tail = lost_more_than(m, n, share, burst);
            assert!(
                (tail - expected).abs() < 1e-9,
                "{n} {share} {burst} {m}: {tail} {expected}"
            );
        }
    }
}

#[test]
fn choices_are_the_same_on_every_machine() {
    let bits = lost_more_than(8, 40, 0.05, 1.0).to_bits();
    assert_eq!(bits, GOLDEN_TAIL_BITS, "{bits:#x}");
}

/// Of P(more than 8 of 40 are lost) at 5 % and random loss.
const GOLDEN_TAIL_BITS: u64 = 0x3f2f_1f69_04cf_c000;

#[test]
fn where_no_repeat_fits_parity_meets_the_residual_within_its_cost() {
    // Shards of 32, and of the bound of 3 × loss + 12 %.
    for (loss, expected) in [(0.01, 4), (0.02, 5), (0.05, 8)] {
        let m = chosen(&path(loss, 1.0 / (1.0 - loss), 80), 32);
        assert_eq!(m, expected, "loss {loss}");
        assert!(m as f64 / 32.0 <= 3.0 * loss + 0.12);
    }
}

#[test]
fn where_repeats_fit_parity_is_thin() {
    for (loss, expected) in [(0.0, 1), (0.01, 1), (0.02, 1), (0.05, 2)] {
        let m = chosen(&path(loss, 1.0 / (1.0 - loss), 4), 32);
        assert_eq!(m, expected, "loss {loss}");
        assert!(m as f64 / 32.0 <= 0.6 * loss + 0.05);
    }
}

#[test]
fn short_shards_make_parity_dearer() {
    let mut parity = Parity::new(ParityConfig::default());
    let size = FrameSize {
        data_shards: 36,
        whole_shards: 32,
    };
    let protection = parity.update(at(0), &path(0.05, 1.05, 80), size);
    assert_eq!(protection.parity_for(36), 8);
}

#[test]
fn bursts_cost_more_up_to_the_cap() {
    let random = chosen(&path(0.05, 1.05, 80), 64);
    let bursts = chosen(&path(0.05, 8.0, 80), 64);
    assert!(bursts > random && bursts <= 32, "{random} {bursts}");
}

#[test]
fn one_choice_fits_frames_of_other_sizes() {
    let mut parity = Parity::new(ParityConfig::default());
    let protection = parity.update(at(0), &path(0.05, 1.05, 80), whole(32));
    for k in [8, 16, 24, 48, 64, 128] {
        let m = protection.parity_for(k);
        let needed = shards_for(k, 0.05, 1.0, 0.0005, GF16_PARITY_SHARDS_MAX);
        assert!(
            m + 1 >= needed && m <= needed + 6,
            "k {k}: {m}, needed {needed}"
        );
    }
}

#[test]
fn it_rises_at_once_and_falls_slowly() {
    let mut parity = Parity::new(ParityConfig::default());
    let m = |parity: &Parity| parity.protection().parity_for(32);
    parity.update(at(0), &path(0.0, 1.0, 80), whole(32));
    assert_eq!(m(&parity), 1);
    parity.update(at(100), &path(0.05, 1.05, 80), whole(32));
    let risen = m(&parity);
    assert!(risen >= 3, "{risen}");
    for ms in (200..1000).step_by(100) {
        parity.update(at(ms), &path(0.05, 1.05, 80), whole(32));
    }
    let high = m(&parity);
    parity.update(at(1100), &path(0.0, 1.0, 80), whole(32));
    assert!(m(&parity) + 1 >= high);
    for ms in (1200..40_000).step_by(100) {
        parity.update(at(ms), &path(0.0, 1.0, 80), whole(32));
    }
    assert_eq!(m(&parity), 1);
}

#[test]
fn a_longer_round_trip_counts_at_once_a_shorter_one_later() {
    let mut parity = Parity::new(ParityConfig::default());
    parity.update(at(0), &path(0.02, 1.02, 4), whole(32));
    assert!(parity.rounds() >= 4);
    parity.update(at(10), &path(0.02, 1.02, 80), whole(32));
    assert_eq!(parity.rounds(), 0);
    parity.update(at(20), &path(0.02, 1.02, 4), whole(32));
    assert_eq!(parity.rounds(), 0);
    parity.update(at(3020), &path(0.02, 1.02, 4), whole(32));
    assert!(parity.rounds() >= 4);
}

#[test]
fn nothing_that_is_measured_leads_beyond_the_limits() {
    let odd = [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e-300, 0.3, 1.0, 1e300];
    let mut parity = Parity::new(ParityConfig::default());
    for (ms, share) in odd.into_iter().enumerate() {
        for burst in odd {
            for k in [0, 1, 32, 2048, usize::MAX] {
                for round_trip in [0, 80, u64::MAX / 2_000_000] {
                    let path = path(share, burst, round_trip);
                    let protection = parity.update(at(ms as u64), &path, whole(k));
                    let k = k.clamp(1, 2048);
                    assert!(protection.parity_for(k) <= (k / 2).max(1), "{path:?} {k}");
                }
            }
        }
    }
}

/// One line of the table in LADDER.md: frames of 8 slices of 4 shards, `m` parity shards for
/// each group of `slices`.
fn shape(slices: usize, m: usize, loss: f64, burst: f64, seed: u64) -> (f64, f64) {
    const FRAMES: u32 = 40_000;
    let mut random = Seeded(seed);
    let mut bursts = Bursts::new(loss, burst);
    let (mut hit, mut residual) = (0, 0);
    for _ in 0..FRAMES {
        let (mut is_hit, mut is_lost) = (false, false);
        for _ in 0..8 / slices {
            let k = 4 * slices;
            let lost = (0..k + m).map(|i| (i < k, bursts.lost(&mut random)));
            let (mut data, mut all) = (0, 0);
            for (is_data, lost) in lost {
                all += usize::from(lost);
                data += usize::from(lost && is_data);
            }
            is_hit |= data > 0;
            is_lost |= data > 0 && all > m;
        }
        hit += u32::from(is_hit);
        residual += u32::from(is_lost);
    }
    let of_all = |count: u32| 100.0 * f64::from(count) / f64::from(FRAMES);
    (of_all(hit - residual), of_all(residual))
}

/// The least m that is enough, by bisection.
fn least_shards(is_enough: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, 128);
    assert!(is_enough(high));
    while low < high {
        let middle = (low + high) / 2;
        (low, high) = if is_enough(middle) {
            (low, middle)
        } else {
            (middle + 1, high)
        };
    }
    low
}

/// Prints the table of shapes: the least parity whose residual is at most 0.05 %, and what an
/// equal 25 % would leave.
#[test]
fn parity_over_the_whole_frame_costs_least() {
    const SEED: u64 = 3;
    println!("seed {SEED}, 40000 frames of 8 slices of 4 shards");
    for (loss, burst) in [
        (0.01, 1.0),
        (0.02, 1.0),
        (0.05, 1.0),
        (0.01, 8.0),
        (0.02, 8.0),
        (0.05, 8.0),
    ] {
        let length = if burst > 1.0 {
            burst
        } else {
            1.0 / (1.0 - loss)
        };
        let mut costs = Vec::new();
        for slices in [1, 2, 4, 8] {
            let (recovered, residual) = shape(slices, slices, loss, length, SEED);
            let least = least_shards(|m| shape(slices, m, loss, length, SEED).1 <= 0.05);
            let cost = 100.0 * (least * 8 / slices) as f64 / 32.0;
            println!(
                "| {} % | {burst} | {slices} | {recovered:.2} | {residual:.3} | {cost:.0} % |",
                100.0 * loss
            );
            costs.push((cost, residual));
        }
        let whole = costs[3];
        assert!(costs.iter().all(|shape| whole.0 <= shape.0), "{costs:?}");
        assert!(
            burst > 1.0 || costs.iter().all(|shape| whole.1 <= shape.1),
            "{costs:?}"
        );
    }
}

#[test]
fn the_first_seconds_of_a_lossy_path_are_protected_as_the_later_ones() {
    let size = FrameSize {
        data_shards: 36,
        whole_shards: 31,
    };
    let mut parity = Parity::new(ParityConfig::default());
    // Nothing is known with the first feedback; then the loss shows.
    parity.update(at(0), &path(0.0, 1.0, 80), size);
    let mut early = 0;
    for ms in (5..30_000).step_by(5) {
        parity.update(at(ms), &path(0.05, 1.05, 80), size);
        if ms == 1000 {
            early = parity.protection().parity_for(36);
        }
    }
    let late = parity.protection().parity_for(36);
    assert!(late >= 8, "{late}");
    assert_eq!(early, late);
}

#[test]
fn parity_is_alone_only_where_no_repeat_fits() {
    let mut parity = Parity::new(ParityConfig::default());
    parity.update(at(0), &path(0.05, 1.0, 80), whole(36));
    assert!(parity.share_alone() > 0.04);
    let mut parity = Parity::new(ParityConfig::default());
    parity.update(at(0), &path(0.05, 1.0, 4), whole(36));
    assert!(parity.share_alone() <= 0.0);
}

#[test]
fn the_shortcuts_choose_what_a_search_of_all_would() {
    for k in [1, 2, 7, 36, 150, 600] {
        for share in [0.0, 1e-9, 0.002, 0.01, 0.05, 0.2, 0.5] {
            for (burst, residual) in [(1.0, 0.0002), (1.0, 0.01), (4.0, 0.0002), (64.0, 0.01)] {
                for max in [1, 8, k, GF16_PARITY_SHARDS_MAX] {
                    let is_enough = |m| lost_more_than(m, k + m, share, burst) <= residual;
                    let least = (0..max).find(|&m| is_enough(m)).unwrap_or(max);
                    let chosen = shards_for(k, share, burst, residual, max);
                    assert_eq!(chosen, least, "{k}, {share}, {burst}, {residual}, {max}");
                }
            }
        }
    }
}
