//! A stock client's session in the simulator holds its bounds: rows of `loss-harness`.

use harness::sim::session_figures::Figure;

#[test]
fn the_rows_of_a_stock_client_hold() {
    for name in [
        "moonlight-slow-hop",
        "moonlight-loss-2",
        "moonlight-loss-5",
        "moonlight-narrow",
    ] {
        for seed in [1, 2] {
            let figure = Figure::named(name).expect("a row of that name");
            let row = figure.run(seed);
            println!(
                "{name}, seed {seed}: {} (bound: {})",
                row.measured, row.bound
            );
            assert!(row.held, "{name} with seed {seed}: {}", row.measured);
        }
    }
}

/// A seed is a run, to the last word.
#[test]
fn a_seed_gives_the_same_run_again() {
    let run = || {
        let figure = Figure::named("moonlight-loss-5").expect("a row of that name");
        figure.run(7).measured
    };
    assert_eq!(run(), run());
}
