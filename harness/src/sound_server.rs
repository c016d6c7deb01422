//! A sound server of a test's own: bus, PipeWire and session manager, as a user's login has them.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::facts::eventually;
use crate::program::Sandbox;

/// The server. Everything is killed when it is dropped.
pub struct SoundServer {
    // In the order of their end.
    manager: Option<Program>,
    pipewire: Option<Program>,
    _bus: Program,
}

/// A running program. Killed when dropped.
pub struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended with what it depends on.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl SoundServer {
    /// Starts it for what runs in a sandbox.
    ///
    /// # Panics
    /// If a program is missing or does not come up.
    #[must_use]
    pub fn start(sandbox: &Sandbox) -> Self {
        let address = format!("unix:path={}", sandbox.runtime().join("bus").display());
        let mut bus = command(sandbox, "dbus-daemon");
        bus.args([
            "--session",
            "--nofork",
            "--nopidfile",
            "--address",
            &address,
        ]);
        let mut server = Self {
            manager: None,
            pipewire: None,
            _bus: spawn(bus),
        };
        eventually("there is a bus", || sandbox.runtime().join("bus").exists());
        server.restart(sandbox);
        server
    }

    /// What is left of the last one is ended first.
    ///
    /// # Panics
    /// As [`SoundServer::start`].
    pub fn restart(&mut self, sandbox: &Sandbox) {
        self.manager = None;
        self.pipewire = None;
        self.pipewire = Some(spawn(command(sandbox, "pipewire")));
        let answers = || {
            let mut ask = command(sandbox, "pw-cli");
            ask.args(["info", "0"]);
            ask.status().is_ok_and(|status| status.success())
        };
        eventually("PipeWire answers", answers);
        self.manager = Some(spawn(command(sandbox, "wireplumber")));
    }

    /// Kills PipeWire, and leaves the rest.
    pub fn kill(&mut self) {
        self.pipewire = None;
    }

    /// Plays a file into a sink.
    ///
    /// # Panics
    /// If there is no player.
    #[must_use]
    pub fn play(sandbox: &Sandbox, file: &Path, sink: &str) -> Program {
        let mut play = command(sandbox, "pw-play");
        play.env("PIPEWIRE_NODE", sink).arg(file);
        spawn(play)
    }

    /// A microphone: a source of one channel in which a file is played. Of several that of the
    /// highest `priority` is the default.
    ///
    /// # Panics
    /// If a program is missing or the source does not come up.
    #[must_use]
    pub fn microphone(sandbox: &Sandbox, name: &str, priority: u32, file: &Path) -> [Program; 2] {
        let mouth = format!("{name}-mouth");
        let mut device = command(sandbox, "pw-loopback");
        device
            .args(["--channels", "1", "-m", "[ MONO ]"])
            .arg(format!(
                "--capture-props=media.class=Audio/Sink node.name={mouth} priority.session=1"
            ))
            .arg(format!(
                "--playback-props=media.class=Audio/Source node.name={name} \
                 priority.session={priority}"
            ));
        let device = spawn(device);
        eventually("there is a microphone", || {
            [name, &mouth].iter().all(|it| Self::has_node(sandbox, it))
        });
        [Self::play(sandbox, file, &mouth), device]
    }

    /// Records a source into a file, in one channel.
    ///
    /// # Panics
    /// If there is no recorder.
    #[must_use]
    pub fn record(sandbox: &Sandbox, file: &Path, source: &str) -> Program {
        let mut record = command(sandbox, "pw-record");
        record
            .args(["--target", source, "--rate", "48000", "--channels", "1"])
            .args(["--format", "s16"])
            .arg(file);
        spawn(record)
    }

    /// Records what is played into a sink, in one channel.
    ///
    /// # Panics
    /// If there is no recorder.
    #[must_use]
    pub fn record_sink(sandbox: &Sandbox, file: &Path, sink: &str) -> Program {
        let mut record = command(sandbox, "pw-record");
        record
            .args(["--target", sink, "--rate", "48000", "--channels", "1"])
            .args(["-P", "{ stream.capture.sink = true }", "--format", "s16"])
            .arg(file);
        spawn(record)
    }

    /// Makes a sink that stands for the machine's speakers.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn make_speakers(sandbox: &Sandbox, name: &str) {
        let properties = format!(
            "{{ factory.name = support.null-audio-sink node.name = {name} \
             media.class = Audio/Sink object.linger = true audio.position = [ FL FR ] \
             priority.session = 1000 }}"
        );
        let mut make = command(sandbox, "pw-cli");
        let status = make.args(["create-node", "adapter", &properties]).status();
        assert!(status.is_ok_and(|status| status.success()), "no sink");
        eventually("there are speakers", || Self::has_node(sandbox, name));
    }

    /// The graph's links, as pw-link tells them.
    #[must_use]
    pub fn links(sandbox: &Sandbox) -> String {
        let output = command(sandbox, "pw-link")
            .arg("-l")
            .stdout(Stdio::piped())
            .output();
        output.map_or_else(
            |_| String::new(),
            |it| String::from_utf8_lossy(&it.stdout).into_owned(),
        )
    }

    /// The graph has a node of that name.
    #[must_use]
    pub fn has_node(sandbox: &Sandbox, name: &str) -> bool {
        let mut list = command(sandbox, "pw-cli");
        let output = list.args(["ls", "Node"]).stdout(Stdio::piped()).output();
        let wanted = format!("node.name = \"{name}\"");
        output.is_ok_and(|it| String::from_utf8_lossy(&it.stdout).contains(&wanted))
    }
}

/// A program in the sandbox's environment.
fn command(sandbox: &Sandbox, program: &str) -> Command {
    let bus = format!("unix:path={}", sandbox.runtime().join("bus").display());
    let mut command = Command::new(program);
    command
        .env("HOME", sandbox.path().join("home"))
        .env("XDG_RUNTIME_DIR", sandbox.runtime())
        .env("DBUS_SESSION_BUS_ADDRESS", bus)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn spawn(mut command: Command) -> Program {
    let child = command.spawn().unwrap_or_else(|error| {
        let program = command.get_program().to_string_lossy().into_owned();
        panic!("{program} cannot be started ({error}): run scripts/setup.sh")
    });
    Program(child)
}
