//! `punktfunk clients`

use std::path::PathBuf;

use argh::FromArgs;
use engine::config::Settings;
use engine::mgmt::client::{PairedClient, access, clients, set_slices};

use crate::exit::Failure;
use crate::output::say;

/// What leaves the slices to the client.
const AUTO: &str = "auto";

/// List the paired Moonlight clients of the host on this machine, or set how one is served.
#[derive(FromArgs)]
#[argh(subcommand, name = "clients")]
pub struct Clients {
    /// which one to set: its name, or how its fingerprint begins
    #[argh(positional)]
    client: Option<String>,
    /// slices of each picture from its next stream on, or auto for what the client asks; few, where
    /// its decoder dislikes many
    #[argh(option)]
    slices: Option<String>,
    /// directory of the host's identity (default: ~/.local/state/punktfunk)
    #[argh(option)]
    state_dir: Option<String>,
    /// configuration file (default: ~/.config/punktfunk/config.toml, if it is there)
    #[argh(option)]
    config: Option<PathBuf>,
}

impl Clients {
    pub fn run(self) -> Result<(), Failure> {
        let flags = [("state-dir", self.state_dir)];
        let settings = Settings::gather(flags, self.config.as_deref())?;
        let access = access(&settings.state_dir()?)?;
        let all = clients(&access)?;
        match (self.client, self.slices) {
            (None, None) => all.iter().for_each(tell),
            (Some(wanted), None) => tell(find(&all, &wanted)?),
            (Some(wanted), Some(slices)) => {
                let slices = parse(&slices)?;
                let client = find(&all, &wanted)?;
                set_slices(&access, &client.fingerprint, slices)?;
                let client = PairedClient {
                    slices,
                    ..client.clone()
                };
                tell(&client);
            }
            (None, Some(_)) => {
                return Err(Failure::usage(
                    "say which client: punktfunk clients NAME --slices 2",
                ));
            }
        }
        Ok(())
    }
}

fn parse(slices: &str) -> Result<Option<u8>, Failure> {
    if slices == AUTO {
        return Ok(None);
    }
    let count = slices
        .parse()
        .map_err(|_| Failure::usage(format!("--slices {slices}: give a number, or {AUTO}")))?;
    Ok(Some(count))
}

fn find<'a>(all: &'a [PairedClient], wanted: &str) -> Result<&'a PairedClient, Failure> {
    let begins = |it: &&PairedClient| it.fingerprint.starts_with(wanted) || it.name == wanted;
    let found: Vec<_> = all.iter().filter(begins).collect();
    match found[..] {
        [one] => Ok(one),
        [] => Err(Failure::usage(format!(
            "no paired client is called {wanted}; see punktfunk clients"
        ))),
        _ => Err(Failure::usage(format!(
            "{} clients are called {wanted}: give the fingerprint",
            found.len()
        ))),
    }
}

fn tell(client: &PairedClient) {
    let slices = client
        .slices
        .map_or(AUTO.to_owned(), |slices| slices.to_string());
    say(format_args!(
        "{}  slices {slices:>4}  {}",
        client.fingerprint, client.name
    ));
}
