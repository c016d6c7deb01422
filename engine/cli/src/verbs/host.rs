//! `punktfunk host`

use std::path::PathBuf;
use std::time::Duration;

use argh::FromArgs;
use engine::config::{Admit, HostConfig, Settings, machine_name};
use engine::host::Host as RunningHost;
use engine::trust::native::Grant;
use net::gamestream::pairing::PairingId;

use crate::exit::{Failure, Kind};
use crate::output::say;
use crate::signals::Interrupt;

/// Serve this machine's desktop: every client gets a display of its own, at its own size and
/// refresh rate.
#[derive(FromArgs)]
#[argh(subcommand, name = "host")]
pub struct Host {
    /// configuration file (default: ~/.config/punktfunk/config.toml, if it is there)
    #[argh(option)]
    config: Option<PathBuf>,
    /// address to listen on (default: 127.0.0.1, where nobody outside this machine reaches it)
    #[argh(option)]
    bind: Option<String>,
    /// UDP port (default: 9777)
    #[argh(option)]
    port: Option<String>,
    /// serve paired clients only: the default on every address but loopback, where without this the
    /// users of this machine are served, too
    #[argh(switch)]
    require_pairing: bool,
    /// serve anybody who reaches the address, paired or not
    #[argh(switch)]
    open: bool,
    /// open a pairing window at the start and print its PIN (later: punktfunk pair-window)
    #[argh(switch)]
    pairing: bool,
    /// sessions at once (default: 4)
    #[argh(option)]
    max_sessions: Option<String>,
    /// directory of the host's identity (default: ~/.local/state/punktfunk)
    #[argh(option)]
    state_dir: Option<String>,
    /// this mode, WIDTHxHEIGHT@HZ, instead of what clients ask for
    #[argh(option)]
    mode: Option<String>,
    /// slices a picture, 1 to 32, instead of what clients ask for
    #[argh(option)]
    slices: Option<String>,
    /// blocks of error correction in a picture for Moonlight, 1 to 4 and at most as many as slices,
    /// instead of what the path allows: more leave sooner, fewer bear longer bursts of losses
    #[argh(option)]
    blocks: Option<String>,
    /// bitrate (20M, 8000k) instead of what clients ask for
    #[argh(option)]
    bitrate: Option<String>,
    /// parity in percent of the data, instead of what clients ask for or the loss needs
    #[argh(option)]
    fec: Option<String>,
    /// the only encoder to try: x264 or openh264
    #[argh(option)]
    encoder: Option<String>,
    /// threads inside the encoder (default: half the cores, at least 2 of
    /// them)
    #[argh(option)]
    encoder_threads: Option<String>,
    /// the only kind of display to try: sway, kwin, mutter, hyprland, wlroots, private-sway,
    /// gamescope, mirror, portal or synthetic; wlroots:NAME and mirror:NAME take that output
    #[argh(option)]
    desktop: Option<String>,
    /// what runs on a session's display: a command line, testcard or none (default: testcard)
    #[argh(option)]
    app: Option<String>,
    /// who keeps departure times: timer, txtime (the device's queue, where it is fq or etf) or auto
    /// (default; timer until measured otherwise)
    #[argh(option)]
    pace: Option<String>,
    /// the only source of sound to try: pipewire, synthetic (a tone) or off
    #[argh(option)]
    audio: Option<String>,
    /// play the sessions' sound on this machine's speakers, too; without it, that of Moonlight clients
    /// that ask for it
    #[argh(switch)]
    host_speakers: bool,
    /// share the clipboard of a session's display with its client, text only; of paired clients with
    /// those that have the right `clipboard` (punktfunk clients NAME --rights)
    #[argh(switch)]
    clipboard: bool,
    /// give each session a microphone that hears what its client sends; of paired clients those that
    /// have the right `microphone`
    #[argh(switch)]
    microphone: bool,
    /// leave out every Nth video datagram, to see error correction work
    #[argh(option)]
    video_drop: Option<String>,
    /// the name that clients see (default: this machine's)
    #[argh(option)]
    name: Option<String>,
    /// serve Moonlight clients too, which pair with a PIN
    #[argh(switch)]
    gamestream: bool,
    /// address to listen on for Moonlight (default: every address)
    #[argh(option)]
    gamestream_bind: Option<String>,
    /// base of GameStream's ports (default: 47989)
    #[argh(option)]
    gamestream_port: Option<String>,
    /// applications for Moonlight (default: ~/.config/punktfunk/apps.json, if it is there)
    #[argh(option)]
    apps: Option<String>,
}

impl Host {
    pub fn run(self) -> Result<(), Failure> {
        let config_file = self.config.clone();
        let settings = Settings::gather(self.settings(), config_file.as_deref())?;
        let config = HostConfig::from_settings(&settings)?;
        let interrupt = Interrupt::install()?;
        let (admit, pairing) = (config.admit, config.pairing);
        let host = RunningHost::start(config)?;
        introduce(&host, admit);
        if pairing {
            open_window(&host)?;
        }
        let mut figures = host.live_figures();
        let mut announced = None;
        while !interrupt.wait(Duration::from_secs(1)) {
            if host.has_failed() {
                let text = "the host has stopped serving; the lines above say why, start it again";
                return Err(Failure::new(Kind::System, text));
            }
            announce_pairings(&host, &mut announced);
            let line = figures.line();
            figures.take_ended().into_iter().for_each(say);
            say(line);
        }
        host.stop();
        // What ended with the host.
        figures.line();
        figures.take_ended().into_iter().for_each(say);
        Ok(())
    }

    fn settings(self) -> [(&'static str, Option<String>); 27] {
        [
            ("app", self.app),
            ("apps", self.apps),
            ("audio", self.audio),
            ("bind", self.bind),
            ("bitrate", self.bitrate),
            ("blocks", self.blocks),
            ("clipboard", self.clipboard.then(|| "true".to_owned())),
            ("desktop", self.desktop),
            ("encoder", self.encoder),
            ("encoder-threads", self.encoder_threads),
            ("fec", self.fec),
            ("gamestream", self.gamestream.then(|| "true".to_owned())),
            ("gamestream-bind", self.gamestream_bind),
            ("gamestream-port", self.gamestream_port),
            (
                "host-speakers",
                self.host_speakers.then(|| "true".to_owned()),
            ),
            ("max-sessions", self.max_sessions),
            ("microphone", self.microphone.then(|| "true".to_owned())),
            ("mode", self.mode),
            ("name", self.name),
            ("open", self.open.then(|| "true".to_owned())),
            ("pace", self.pace),
            ("pairing", self.pairing.then(|| "true".to_owned())),
            ("port", self.port),
            (
                "require-pairing",
                self.require_pairing.then(|| "true".to_owned()),
            ),
            ("slices", self.slices),
            ("state-dir", self.state_dir),
            ("video-drop", self.video_drop),
        ]
    }
}

/// What to type on the client; with the way to this executable, which need not be in PATH.
fn connect_command(host: &RunningHost) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("punktfunk"));
    let mut address = host.local_addr().to_string();
    if host.local_addr().ip().is_unspecified() {
        address = format!("{}:{}", machine_name(), host.local_addr().port());
    }
    let fingerprint = host.fingerprint();
    format!(
        "{} connect {address} --headless --pin-host {fingerprint}",
        program.display()
    )
}

/// Says once of each pairing that it waits for its PIN. `announced` is the newest that was told.
fn announce_pairings(host: &RunningHost, announced: &mut Option<PairingId>) {
    let Some(gamestream) = host.gamestream() else {
        return;
    };
    // No answer: the host is stopping, or busy for more than a second, and will be asked again.
    for pairing in gamestream.operator().waiting().unwrap_or_default() {
        if *announced < Some(pairing.id) {
            *announced = Some(pairing.id);
            say(format_args!(
                "pairing {id}: a client at {} shows a PIN; enter it with: punktfunk pin PIN --id {id}",
                pairing.address,
                id = pairing.id,
            ));
        }
    }
}

/// The operator asked for it with `--pairing`, so the PIN is for whoever reads this.
fn open_window(host: &RunningHost) -> Result<(), Failure> {
    let opened = host
        .trust()
        .open_window(Grant::default())
        .map_err(|error| Failure::new(Kind::System, format!("no PIN can be made: {error}")))?;
    say(format_args!(
        "pairing      PIN {} for {} s and one try: punktfunk pair HOST --pin {}",
        opened.pin.digits(),
        opened.time.as_secs(),
        opened.pin.digits(),
    ));
    Ok(())
}

fn introduce(host: &RunningHost, admit: Admit) {
    let address = host.local_addr();
    say(format_args!(
        "punktfunk host {} ({})",
        env!("CARGO_PKG_VERSION"),
        host.name()
    ));
    say(format_args!("listening    {address} (udp)"));
    say(format_args!("fingerprint  {}", host.fingerprint()));
    say(format_args!("display      {}", host.display()));
    say(format_args!("encoder      {}", host.encoder()));
    say(format_args!("serves       {}", served(admit)));
    say(format_args!("connect      {}", connect_command(host)));
    if let Some(gamestream) = host.gamestream() {
        let ports = gamestream.ports();
        let found = if gamestream.is_announced() {
            "; clients find it by themselves"
        } else {
            ""
        };
        say(format_args!(
            "moonlight    ports {} and {} (tcp){found}",
            ports.http(),
            ports.https()
        ));
    }
    if admit == Admit::Anybody && !address.ip().is_loopback() {
        eprintln!(
            "punktfunk: --open: anybody who reaches {address} can watch and use this desktop"
        );
    }
}

const fn served(admit: Admit) -> &'static str {
    match admit {
        Admit::Paired => "paired clients; pair one with: punktfunk pair-window",
        Admit::Machine => "the users of this machine (--require-pairing: paired clients only)",
        Admit::Anybody => "anybody who reaches it (--open)",
    }
}
