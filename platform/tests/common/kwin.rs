//! A KWin of a test's own, headless, and what is to be known of its outputs.
//!
//! `PUNKTFUNK_KWIN` names a `kwin_wayland` without file capabilities and `PUNKTFUNK_RENDER_NODE`
//! the library that stands in for a GPU's node (`scripts/lab/kwin` sets both, and `PUNKTFUNK_LAB`,
//! which forbids to pass a test over).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use platform::display::kwin::Kwin;
use platform::display::{Cancel, DisplayRequest};
use wayland_client::protocol::wl_output::{self, WlOutput};
use wayland_client::protocol::wl_registry::{self, WlRegistry};
use wayland_client::{Connection, Dispatch, QueueHandle};

use super::PATIENCE;

/// How a KWin is started.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// A `.desktop` file among its user's applications. (Plasma's kded tells KWin of files that
    /// come later; there is none here.)
    pub permission: Option<&'a str>,
    /// Every client may use everything.
    pub is_open: bool,
    /// With the stand-in for a render node.
    pub has_node: bool,
}

/// The usual one.
pub const OPEN: Options<'_> = Options {
    permission: None,
    is_open: true,
    has_node: true,
};

/// Every application (the menu specification of freedesktop.org).
const MENU: &str = "<Menu><Name>Applications</Name><DefaultAppDirs/>\
    <Include><All/></Include></Menu>";

/// A running KWin; killed on drop.
pub struct Desktop {
    kwin: Child,
    /// Its Wayland socket.
    pub socket: PathBuf,
    log: PathBuf,
    /// Its user's home.
    _home: tempfile::TempDir,
}

/// What this test needs of the environment; `None`, said to standard error, where it is missing.
fn programs() -> Option<(PathBuf, PathBuf)> {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let both = path("PUNKTFUNK_KWIN").zip(path("PUNKTFUNK_RENDER_NODE"));
    if both.is_none() {
        assert!(
            std::env::var_os("PUNKTFUNK_LAB").is_none(),
            "the lab has to set PUNKTFUNK_KWIN and PUNKTFUNK_RENDER_NODE"
        );
        eprintln!("passed over: no KWin here (scripts/lab/kwin has one)");
    }
    both
}

impl Desktop {
    /// Starts it and waits until it listens.
    pub fn start(options: Options<'_>) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let (kwin, node) = programs()?;
        // As a host does; else ended orphans stay behind where process 1 does not collect them.
        platform::process::become_subreaper().expect("allowed to everybody");
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("kwin-{}-{number}", std::process::id());
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").expect("the lab sets it");
        let socket = Path::new(&runtime).join(&name);
        let home = tempfile::tempdir().expect("a directory");
        let log = home.path().join("log");
        let file = File::create(&log).expect("a log");
        let mut command = Command::new(kwin);
        command.args(["--virtual", "--width", "1280", "--height", "720"]);
        command.args([
            "--no-lockscreen",
            "--no-global-shortcuts",
            "--socket",
            &name,
        ]);
        command.env("LIBGL_ALWAYS_SOFTWARE", "1");
        // Its own memory of outputs, and applications of its own.
        command.env("HOME", home.path());
        if options.is_open {
            command.env("KWIN_WAYLAND_NO_PERMISSION_CHECKS", "1");
        }
        if options.has_node {
            command.env("KWIN_COMPOSE", "O2").env("LD_PRELOAD", node);
        }
        // As Plasma has one; what is in no menu is no application to KDE.
        install(home.path(), ".config/menus/applications.menu", MENU);
        if let Some(text) = options.permission {
            install(
                home.path(),
                ".local/share/applications/punktfunk-kwin.desktop",
                text,
            );
        }
        command.stdin(Stdio::null());
        command
            .stdout(file.try_clone().expect("a log"))
            .stderr(file);
        let kwin = command.spawn().expect("KWin starts");
        let mut desktop = Self {
            kwin,
            socket,
            log,
            _home: home,
        };
        let deadline = Instant::now() + PATIENCE;
        while Connection::from_socket_at(&desktop.socket).is_none() {
            let ended = desktop.kwin.try_wait().expect("our child");
            assert!(ended.is_none(), "KWin ended: {}", desktop.words());
            assert!(
                Instant::now() < deadline,
                "KWin is silent: {}",
                desktop.words()
            );
            std::thread::yield_now();
        }
        Some(desktop)
    }

    /// The backend for it.
    pub fn backend(&self) -> Kwin {
        Kwin {
            wayland_socket: Some(self.socket.clone()),
        }
    }

    /// As the system's memory pressure would do it.
    pub fn kill(&mut self) {
        self.kwin.kill().expect("our child");
        self.kwin.wait().expect("our child");
    }

    /// Every output, by name.
    pub fn outputs(&self) -> Vec<OutputSeen> {
        let connection = Connection::from_socket_at(&self.socket).expect("KWin listens");
        let mut queue = connection.new_event_queue();
        let mut seen = Seen::default();
        let _registry = connection.display().get_registry(&queue.handle(), ());
        for _ in 0..2 {
            queue.roundtrip(&mut seen).expect("KWin answers");
        }
        seen.outputs
    }

    /// The names of the outputs that are not its first.
    pub fn extra_outputs(&self) -> Vec<String> {
        let names = self.outputs().into_iter().map(|output| output.name);
        names.filter(|name| name != "Virtual-0").collect()
    }

    fn words(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

fn install(home: &Path, name: &str, text: &str) {
    let path = home.join(name);
    let directory = path.parent().expect("it lies below the home");
    std::fs::create_dir_all(directory).expect("our directory");
    std::fs::write(path, text).expect("our directory");
}

impl Drop for Desktop {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("KWin said: {}", self.words());
        }
    }
}

/// A display on it.
pub fn request(mode: &str, app: &[String]) -> DisplayRequest {
    DisplayRequest {
        mode: mode.parse().expect("a valid mode"),
        app: app.to_vec(),
        environment: Vec::new(),
        cursor_apart: false,
        cancel: Cancel::default(),
    }
}

/// An output as a client sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutputSeen {
    /// Its name.
    pub name: String,
    /// Width and height in pixels, rate in mHz.
    pub mode: (i32, i32, i32),
}

#[derive(Default)]
struct Seen {
    outputs: Vec<OutputSeen>,
}

trait FromSocketAt: Sized {
    fn from_socket_at(socket: &Path) -> Option<Self>;
}

impl FromSocketAt for Connection {
    fn from_socket_at(socket: &Path) -> Option<Self> {
        let stream = std::os::unix::net::UnixStream::connect(socket).ok()?;
        Self::from_socket(stream).ok()
    }
}

impl Dispatch<WlRegistry, ()> for Seen {
    fn event(
        seen: &mut Self,
        registry: &WlRegistry,
        event: wl_registry::Event,
        (): &(),
        _: &Connection,
        handle: &QueueHandle<Self>,
    ) {
        if let wl_registry::Event::Global {
            name, interface, ..
        } = event
            && interface == "wl_output"
        {
            let index = seen.outputs.len();
            seen.outputs.push(OutputSeen::default());
            registry.bind::<WlOutput, _, _>(name, 4, handle, index);
        }
    }
}

impl Dispatch<WlOutput, usize> for Seen {
    fn event(
        seen: &mut Self,
        _: &WlOutput,
        event: wl_output::Event,
        index: &usize,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        let output = &mut seen.outputs[*index];
        match event {
            wl_output::Event::Name { name } => output.name = name,
            wl_output::Event::Mode {
                width,
                height,
                refresh,
                ..
            } => output.mode = (width, height, refresh),
            _ => {}
        }
    }
}
