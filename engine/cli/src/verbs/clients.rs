//! `punktfunk clients`

use std::path::PathBuf;

use argh::FromArgs;
use engine::config::Settings;
use engine::mgmt::Access;
use engine::mgmt::client::{
    NativeClientView, NativeSettings, PairedClient, access, clients, native_clients, set_native,
    set_slices, unpair, unpair_native,
};

use crate::exit::Failure;
use crate::output::say;

use super::rights::{apply, expiry, until};

/// What leaves the slices to the client.
const AUTO: &str = "auto";

/// List the clients that are paired with the host on this machine, our own and Moonlight's, change
/// what one may do, or unpair it.
#[derive(FromArgs)]
#[argh(subcommand, name = "clients")]
pub struct Clients {
    /// which one: its name, or how its fingerprint begins
    #[argh(positional)]
    client: Option<String>,
    /// unpair it; its session ends
    #[argh(switch)]
    unpair: bool,
    /// what it may do: view, input, audio, clipboard and microphone with commas between, all or
    /// none (not for Moonlight)
    #[argh(option)]
    rights: Option<String>,
    /// applications that it may see, with commas between, or all (not for Moonlight)
    #[argh(option)]
    apps: Option<String>,
    /// until when, from now: 90m, 12h, 30d or never (not for Moonlight)
    #[argh(option)]
    expires: Option<String>,
    /// call it so (not for Moonlight)
    #[argh(option)]
    rename: Option<String>,
    /// slices of each picture from its next stream on, or auto for what the client asks; few, where
    /// its decoder dislikes many (Moonlight only)
    #[argh(option)]
    slices: Option<String>,
    /// directory of the host's identity (default: ~/.local/state/punktfunk)
    #[argh(option)]
    state_dir: Option<String>,
    /// configuration file (default: ~/.config/punktfunk/config.toml, if it is there)
    #[argh(option)]
    config: Option<PathBuf>,
}

/// Either kind.
enum Paired {
    Native(NativeClientView),
    Moonlight(PairedClient),
}

impl Paired {
    fn fingerprint(&self) -> &str {
        match self {
            Self::Native(client) => &client.fingerprint,
            Self::Moonlight(client) => &client.fingerprint,
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Native(client) => &client.name,
            Self::Moonlight(client) => &client.name,
        }
    }
}

impl Clients {
    pub fn run(self) -> Result<(), Failure> {
        let flags = [("state-dir", self.state_dir.clone())];
        let settings = Settings::gather(flags, self.config.as_deref())?;
        let access = access(&settings.state_dir()?)?;
        let native = native_clients(&access)?.into_iter().map(Paired::Native);
        let moonlight = clients(&access)?.into_iter().map(Paired::Moonlight);
        let all: Vec<_> = native.chain(moonlight).collect();
        let Some(wanted) = &self.client else {
            if self.changes_something() {
                return Err(Failure::usage(
                    "say which client: punktfunk clients NAME --unpair",
                ));
            }
            all.iter().for_each(tell);
            return Ok(());
        };
        let client = find(&all, wanted)?;
        if self.unpair {
            match client {
                Paired::Native(client) => unpair_native(&access, &client.fingerprint)?,
                Paired::Moonlight(client) => unpair(&access, &client.fingerprint)?,
            }
            return Ok(());
        }
        tell(&self.change(&access, client)?);
        Ok(())
    }

    const fn changes_something(&self) -> bool {
        self.unpair || self.slices.is_some() || self.changes_native()
    }

    const fn changes_native(&self) -> bool {
        self.rights.is_some()
            || self.apps.is_some()
            || self.expires.is_some()
            || self.rename.is_some()
    }

    fn change(&self, access: &Access, client: &Paired) -> Result<Paired, Failure> {
        match client {
            Paired::Native(_) if self.slices.is_some() => {
                Err(Failure::usage("--slices is for Moonlight clients"))
            }
            Paired::Moonlight(_) if self.changes_native() => Err(Failure::usage(
                "--rights, --apps, --expires and --rename are not for Moonlight clients",
            )),
            Paired::Native(client) => {
                let mut rights = client.rights.clone();
                apply(&mut rights, self.rights.as_deref(), self.apps.as_deref())?;
                let settings = NativeSettings {
                    name: self.rename.clone(),
                    rights: Some(rights),
                    expires_at_unix_s: self.expires.as_deref().map(expiry).transpose()?,
                };
                let client = set_native(access, &client.fingerprint, &settings)?;
                Ok(Paired::Native(client))
            }
            Paired::Moonlight(client) => {
                let mut client = client.clone();
                if let Some(slices) = &self.slices {
                    client.slices = parse(slices)?;
                    set_slices(access, &client.fingerprint, client.slices)?;
                }
                Ok(Paired::Moonlight(client))
            }
        }
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

fn find<'a>(all: &'a [Paired], wanted: &str) -> Result<&'a Paired, Failure> {
    let begins = |it: &&Paired| it.fingerprint().starts_with(wanted) || it.name() == wanted;
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

fn tell(client: &Paired) {
    match client {
        Paired::Native(client) => {
            let apps = client.rights.apps.as_ref();
            say(format_args!(
                "{}  {}, apps {}, {}  {}",
                client.fingerprint,
                client.rights.kinds(),
                apps.map_or("all".to_owned(), |apps| apps.join(",")),
                until(client.expires_at_unix_s, client.expired),
                client.name,
            ));
        }
        Paired::Moonlight(client) => {
            let slices = client
                .slices
                .map_or(AUTO.to_owned(), |slices| slices.to_string());
            say(format_args!(
                "{}  moonlight, slices {slices}  {}",
                client.fingerprint, client.name
            ));
        }
    }
}
