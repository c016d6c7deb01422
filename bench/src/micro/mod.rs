//! Micro-benchmarks: parts of the data plane on their own, each beside what it is held against, in
//! one run and interleaved, so that the machine's mood cancels in the ratio.

pub mod fec;
pub mod path;
pub mod udp;

/// The median; NaN of nothing.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
