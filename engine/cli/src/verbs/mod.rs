//! The verbs of the command line.

mod bench;
mod clients;
mod connect;
mod doctor;
mod host;
mod input_test;
mod openapi;
mod pin;
mod remode;
mod testcard;

use argh::FromArgs;

use crate::exit::Failure;

/// What to do.
#[derive(FromArgs)]
#[argh(subcommand)]
pub enum Verb {
    /// Serve this machine's desktop.
    Host(host::Host),
    /// Show another machine's desktop.
    Connect(connect::Connect),
    /// Measure latency.
    Bench(bench::Bench),
    /// Say what this machine can do.
    Doctor(doctor::Doctor),
    /// Pair a Moonlight client.
    Pin(pin::Pin),
    /// List paired Moonlight clients.
    Clients(clients::Clients),
    /// Describe the management calls.
    Openapi(openapi::Openapi),
    /// Draw the test card.
    Testcard(testcard::Testcard),
}

impl Verb {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Host(verb) => verb.run(),
            Self::Connect(verb) => verb.run(),
            Self::Bench(verb) => verb.run(),
            Self::Doctor(verb) => verb.run(),
            Self::Pin(verb) => verb.run(),
            Self::Clients(verb) => verb.run(),
            Self::Openapi(verb) => verb.run(),
            Self::Testcard(verb) => verb.run(),
        }
    }
}
