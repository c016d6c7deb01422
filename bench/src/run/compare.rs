//! The same content sliced and as whole pictures, in turn, so that both meet the same weather.

use engine::client::Outputs;
use net::units::SliceCount;

use super::{Bench, BenchError, Link, Measured, Scenario, Setup};
use crate::report::{self, Comparison, Report};

/// Rounds of a comparison, each with a session of either kind.
const ROUNDS: u32 = 4;

/// Both sides of a comparison.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The scenario as it was given.
    pub sliced: Report,
    /// The same with one slice a picture.
    pub whole: Report,
    /// The first over the second, stage by stage.
    pub comparison: Comparison,
}

/// Measures `scenario` and the same with one slice a picture, in turn, for its time each.
///
/// # Errors
/// See [`BenchError`].
pub fn compare_whole(
    setup: &Setup,
    scenario: &Scenario,
    link: Link,
) -> Result<Compared, BenchError> {
    let sliced = Scenario {
        time: scenario.time / ROUNDS,
        ..scenario.clone()
    };
    let whole = Scenario {
        name: format!("{}, whole pictures", scenario.name),
        slices: Some(SliceCount::ONE),
        ..sliced.clone()
    };
    let bench = Bench::start(setup, &sliced)?;
    let mut sums: [Option<Measured>; 2] = [None, None];
    for _ in 0..ROUNDS {
        for (sum, scenario) in sums.iter_mut().zip([&sliced, &whole]) {
            let measured = bench.measure(scenario, link, Outputs::default())?;
            match sum {
                Some(sum) => sum.append(measured),
                None => *sum = Some(measured),
            }
        }
    }
    bench.stop();
    let [sliced, whole] = sums.map(|sum| sum.expect("there is a round").report());
    let comparison = report::compare(&sliced, &whole);
    Ok(Compared {
        sliced,
        whole,
        comparison,
    })
}
