//! `cargo run -p bench --release --example micro`: the gate's rows that need no display.

use std::time::Duration;

use bench::micro::{fec, path};

fn main() -> Result<(), path::PathError> {
    println!(
        "{:#?}",
        path::wide(Duration::from_secs(1), Duration::from_secs(10))?
    );
    println!(
        "{:#?}",
        path::sealed_send(5, Duration::from_millis(250), false)?
    );
    for row in fec::compare(fec::ROUNDS) {
        println!("{row:?}");
    }
    Ok(())
}
