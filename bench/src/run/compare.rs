//! The same content in two ways, in turn, so that both meet the same weather: sliced and as whole
//! pictures, or sliced to a decoder that gets slices and to one that gets whole frames.

use engine::client::Outputs;
use net::units::SliceCount;

use super::{Bench, BenchError, Link, Measured, Scenario, Setup};
use crate::report::{self, Comparison, Report};

/// Rounds of a comparison, each with a session of either kind.
const ROUNDS: u32 = 4;

const ENCODER_THREADS: &str = "encoder-threads";

/// Both sides of a comparison.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The scenario as it was given.
    pub sliced: Report,
    /// The same with one slice a picture, or with whole frames for the decoder.
    pub whole: Report,
    /// The first over the second, stage by stage.
    pub comparison: Comparison,
}

/// Measures `scenario` and the same with one slice a picture, in turn, for its time each. Where
/// nobody says otherwise both have one encoder thread: a whole picture has no work for a second.
///
/// # Errors
/// See [`BenchError`].
pub fn compare_whole(
    setup: &Setup,
    scenario: &Scenario,
    link: Link,
) -> Result<Compared, BenchError> {
    let whole = Scenario {
        name: format!("{}, whole pictures", scenario.name),
        slices: Some(SliceCount::ONE),
        ..scenario.clone()
    };
    let mut setup = setup.clone();
    if setup.settings.value::<u8>(ENCODER_THREADS)?.is_none() {
        setup.settings.overrule(ENCODER_THREADS, "1");
    }
    compare(&setup, scenario, &whole, link)
}

/// Measures `scenario` and the same with whole frames for the decoder, in turn, for its time each.
///
/// # Errors
/// See [`BenchError`].
pub fn compare_frames(
    setup: &Setup,
    scenario: &Scenario,
    link: Link,
) -> Result<Compared, BenchError> {
    let whole = Scenario {
        name: format!("{}, whole frames for the decoder", scenario.name),
        whole_frames: true,
        ..scenario.clone()
    };
    compare(setup, scenario, &whole, link)
}

fn compare(
    setup: &Setup,
    sliced: &Scenario,
    whole: &Scenario,
    link: Link,
) -> Result<Compared, BenchError> {
    let [sliced, whole] = [sliced, whole].map(|scenario| Scenario {
        time: scenario.time / ROUNDS,
        ..scenario.clone()
    });
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
