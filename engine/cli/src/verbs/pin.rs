//! `punktfunk pin`

use std::path::PathBuf;

use argh::FromArgs;
use engine::config::Settings;
use engine::mgmt::client::{PinOutcome, access, enter_pin};
use engine::mgmt::page;

use crate::exit::Failure;
use crate::output::say;

/// Pair a Moonlight client with the host on this machine: enter the PIN that the client shows.
#[derive(FromArgs)]
#[argh(subcommand, name = "pin")]
pub struct Pin {
    /// the four digits
    #[argh(positional)]
    pin: Option<String>,
    /// which pairing, if more than one client waits; the host prints the number
    #[argh(option)]
    id: Option<u32>,
    /// what to call the client
    #[argh(option)]
    name: Option<String>,
    /// print the address of the page where a PIN can be entered, with the token: keep it to
    /// yourself
    #[argh(switch)]
    page: bool,
    /// directory of the host's identity (default: ~/.local/state/punktfunk)
    #[argh(option)]
    state_dir: Option<String>,
    /// configuration file (default: ~/.config/punktfunk/config.toml, if it is there)
    #[argh(option)]
    config: Option<PathBuf>,
}

impl Pin {
    pub fn run(self) -> Result<(), Failure> {
        let flags = [("state-dir", self.state_dir)];
        let settings = Settings::gather(flags, self.config.as_deref())?;
        let access = access(&settings.state_dir()?)?;
        if self.page {
            say(page(&access));
            return Ok(());
        }
        let Some(pin) = self.pin else {
            return Err(Failure::usage(
                "give the four digits that the client shows: punktfunk pin 1234",
            ));
        };
        match enter_pin(&access, &pin, self.id, self.name)? {
            PinOutcome::Paired { id } => say(format_args!("pairing {id}: paired")),
            PinOutcome::Pending { id } => say(format_args!(
                "pairing {id}: the PIN was taken; the client has not finished yet"
            )),
        }
        Ok(())
    }
}
