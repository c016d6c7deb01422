//! `punktfunk pair-window`

use std::path::PathBuf;
use std::time::Duration;

use argh::FromArgs;
use engine::config::Settings;
use engine::mgmt::Access;
use engine::mgmt::client::{
    PairingGrant, PairingStatus, access, close_pairing, open_pairing, pairing,
};

use crate::exit::{Failure, Kind};
use crate::output::say;
use crate::signals::Interrupt;

use super::rights::{apply, expiry};

/// How often the host is asked how it stands.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);

/// Let one client pair with the host on this machine: shows a PIN that is good for two minutes and
/// one try, and waits for what comes of it. Ctrl-C closes the window.
#[derive(FromArgs)]
#[argh(subcommand, name = "pair-window")]
pub struct PairWindow {
    /// what the client may do: view, input, audio, clipboard and microphone with commas between (default: the
    /// first three)
    #[argh(option)]
    rights: Option<String>,
    /// applications that it may see, with commas between, by the host's names: testcard, or a
    /// program's (default: all)
    #[argh(option)]
    apps: Option<String>,
    /// until when, from now: 90m, 12h, 30d or never (default: never)
    #[argh(option)]
    expires: Option<String>,
    /// what to call the client (default: what it calls itself)
    #[argh(option)]
    name: Option<String>,
    /// close the window that is open
    #[argh(switch)]
    close: bool,
    /// directory of the host's identity (default: ~/.local/state/punktfunk)
    #[argh(option)]
    state_dir: Option<String>,
    /// configuration file (default: ~/.config/punktfunk/config.toml, if it is there)
    #[argh(option)]
    config: Option<PathBuf>,
}

impl PairWindow {
    pub fn run(self) -> Result<(), Failure> {
        let flags = [("state-dir", self.state_dir)];
        let settings = Settings::gather(flags, self.config.as_deref())?;
        let mut grant = PairingGrant {
            name: self.name,
            ..PairingGrant::default()
        };
        apply(
            &mut grant.rights,
            self.rights.as_deref(),
            self.apps.as_deref(),
        )?;
        if let Some(expires) = self.expires {
            grant.expires_at_unix_s = expiry(&expires)?;
        }
        let access = access(&settings.state_dir()?)?;
        if self.close {
            return Ok(close_pairing(&access)?);
        }
        let interrupt = Interrupt::install()?;
        let opened = open_pairing(&access, &grant)?;
        say(format_args!("PIN          {}", opened.pin));
        say(format_args!(
            "good for     {} s and one try: punktfunk pair HOST --pin {}",
            opened.seconds, opened.pin
        ));
        wait(&access, &interrupt, opened.window)
    }
}

fn wait(access: &Access, interrupt: &Interrupt, window: u64) -> Result<(), Failure> {
    loop {
        if interrupt.wait(LOOK_INTERVAL) {
            close_pairing(access)?;
            return Err(refused("the window is closed"));
        }
        let status = pairing(access)?;
        if status.window != window {
            return Err(refused(
                "another window was opened in the place of this one",
            ));
        }
        match &status.state[..] {
            "open" | "tried" => {}
            "paired" => return tell(&status),
            "failed" => {
                return Err(refused(
                    "an attempt failed: the PIN was wrong, or the client went away; the window is \
                     closed, open another one",
                ));
            }
            "timed out" => return Err(refused("nobody came within two minutes")),
            _ => return Err(refused("the window was closed")),
        }
    }
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "it is the end of a wait that can fail"
)]
fn tell(status: &PairingStatus) -> Result<(), Failure> {
    let name = status.last_name.as_deref().unwrap_or_default();
    let fingerprint = status.last_fingerprint.as_deref().unwrap_or_default();
    say(format_args!("paired       {name}"));
    say(format_args!("fingerprint  {fingerprint}"));
    Ok(())
}

fn refused(reason: &str) -> Failure {
    Failure::new(Kind::Refused, format!("nobody was paired: {reason}"))
}
