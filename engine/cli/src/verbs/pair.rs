//! `punktfunk pair`

use std::path::PathBuf;

use argh::FromArgs;
use engine::config::{Settings, machine_name};
use engine::trust::{Pinned, Side, Store};
use net::client::{PairError, PairOptions, pair};
use net::native::pairing::{PairingError, Pin};

use crate::exit::{Failure, Kind};
use crate::output::say;

use super::connect::resolve;

/// Pair with a host, by the PIN that it shows: it then serves this client, and this client knows
/// it. On the host, `punktfunk pair-window` opens a window of two minutes for one try.
#[derive(FromArgs)]
#[argh(subcommand, name = "pair")]
pub struct Pair {
    /// the host: a name or address, with :PORT if it is not 9777
    #[argh(positional)]
    host: String,
    /// the digits that the host shows
    #[argh(option)]
    pin: Option<String>,
    /// what this client shall be called there (default: this machine's name)
    #[argh(option)]
    name: Option<String>,
    /// directory of this client's identity and known hosts (default: ~/.local/state/punktfunk)
    #[argh(option)]
    state_dir: Option<String>,
    /// configuration file (default: ~/.config/punktfunk/config.toml, if it is there)
    #[argh(option)]
    config: Option<PathBuf>,
}

impl Pair {
    pub fn run(self) -> Result<(), Failure> {
        let flags = [("name", self.name), ("state-dir", self.state_dir)];
        let settings = Settings::gather(flags, self.config.as_deref())?;
        let Some(pin) = self.pin else {
            return Err(Failure::usage(
                "give the PIN that `punktfunk pair-window` shows on the host: --pin 123456",
            ));
        };
        // Not with the PIN in the message: it would be kept where messages are kept.
        let pin: Pin = pin
            .parse()
            .map_err(|error| Failure::usage(format!("--pin: {error}")))?;
        let host = resolve(&self.host)?;
        let store = Store::open(&settings.state_dir()?)?;
        // Read before the PIN is used up: a damaged file is told now.
        let before = store.pinned(&host.to_string())?;
        let options = PairOptions {
            host,
            identity: store.identity(Side::Client)?,
            pin,
            name: settings.value("name")?.unwrap_or_else(machine_name),
        };
        let paired = pair(options).map_err(failure)?;
        store.pin(&host.to_string(), paired.fingerprint)?;
        if matches!(before, Pinned::Known(known) if known != paired.fingerprint) {
            say(format_args!(
                "{host} was pinned with another fingerprint; the PIN vouches for the new one"
            ));
        }
        say(format_args!("paired       {} at {host}", paired.host_name));
        say(format_args!("fingerprint  {}", paired.fingerprint));
        Ok(())
    }
}

fn failure(error: PairError) -> Failure {
    let kind = match &error {
        PairError::System(_) | PairError::Quic(_) => Kind::System,
        PairError::Unreachable { .. } => Kind::Unreachable,
        PairError::Refused { .. } => Kind::Refused,
        PairError::Failed(PairingError::Library) => Kind::System,
        PairError::Failed(PairingError::Confirmation | PairingError::Share) => Kind::Trust,
    };
    Failure::new(kind, error)
}
