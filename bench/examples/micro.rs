//! `cargo run -p bench --release --example micro`: the gate's rows that need no display.

use std::time::Duration;

use bench::micro::udp::Reader;
use bench::micro::{fec, path};

fn main() -> Result<(), path::PathError> {
    println!(
        "{:#?}",
        path::wide(Duration::from_secs(1), Duration::from_secs(10))?
    );
    for reader in [Reader::None, Reader::Plain, Reader::Gro] {
        let row = path::sealed_send(5, Duration::from_millis(250), reader)?;
        println!("{row:#?}");
    }
    for row in fec::compare(fec::ROUNDS) {
        println!("{row:?}");
    }
    Ok(())
}
