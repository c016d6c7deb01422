//! Clipboard text between a client and the desktop of its session: both ways, bounded, only where
//! host and rights allow it, and on real compositors.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::trust::rights::Rights;
use harness::PATIENCE;
use harness::facts::{alone, entries, eventually};
use harness::loopback::{LoopbackClient, LoopbackHost, MODE, hello};
use harness::program::{Sandbox, start};
use net::client::{ClipboardRefused, ConnectError, Trust};
use net::identity::Identity;
use net::limits::CLIPBOARD_BYTES_MAX;
use net::native::{Features, Hello, RefuseCode};
use platform::capture::Waker;
use platform::clipboard::synthetic::FIRST;
use platform::clipboard::{ClipboardBackend, Copied, DataControl};
use platform::display::private_sway::PrivateSway;
use platform::display::{
    Cancel, DisplayBackend, DisplayRequest, OutputAddress, VirtualDisplay, WaylandOutput,
};

fn asking() -> Hello {
    let hello = hello(MODE);
    Hello {
        optional: hello.optional.union(Features::CLIPBOARD),
        ..hello
    }
}

fn connect(host: &LoopbackHost) -> LoopbackClient {
    LoopbackClient::with(host.address(), Trust::FirstUse, asking()).expect("a session")
}

fn shares(client: &LoopbackClient) -> bool {
    client.welcome().features.contains(Features::CLIPBOARD)
}

/// The next text of the host's that is `wanted`; what came before it was older.
fn until_copied(client: &LoopbackClient, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = client.connector().copied().recv_deadline(deadline);
        if text.expect("a text comes") == wanted {
            return;
        }
    }
}

#[test]
fn a_host_that_was_not_told_to_shares_nothing() {
    let host = LoopbackHost::synthetic(&[]);
    let mut client = connect(&host);
    assert!(!shares(&client));
    let refused = client.connector().clipboard().set("mine".to_owned());
    assert_eq!(refused, Err(ClipboardRefused::NotShared));
    client.watch(5, |_, _| {});
    assert!(client.connector().copied().is_empty());

    let mut hello = asking();
    hello.required = Features::CLIPBOARD;
    match LoopbackClient::with(host.address(), Trust::FirstUse, hello).err() {
        Some(ConnectError::Refused { code, .. }) => assert_eq!(code, RefuseCode::Feature),
        other => panic!("{other:?}"),
    }
    client.end();
}

#[test]
fn a_client_that_does_not_ask_gets_nothing() {
    let host = LoopbackHost::synthetic(&[("clipboard", "true")]);
    let mut client = LoopbackClient::connect(host.address());
    assert!(!shares(&client));
    client.watch(5, |_, _| {});
    assert!(client.connector().copied().is_empty());
    client.end();
}

#[test]
fn texts_go_both_ways_up_to_their_limit() {
    let host = LoopbackHost::synthetic(&[("clipboard", "true")]);
    let client = connect(&host);
    assert!(shares(&client));
    until_copied(&client, FIRST);
    let set = |text: &str| client.connector().clipboard().set(text.to_owned());
    set("grüße").expect("it is shared");
    until_copied(&client, "GRÜSSE");
    let longest = "x".repeat(CLIPBOARD_BYTES_MAX);
    set(&longest).expect("it is the longest");
    until_copied(&client, &longest.to_uppercase());
    let longer = set(&(longest + "x"));
    assert!(matches!(longer, Err(ClipboardRefused::TooLong(_))));
    client.end();
}

#[test]
fn only_who_has_the_right_shares_and_loses_the_session_with_it() {
    let host = LoopbackHost::synthetic(&[("require-pairing", "true"), ("clipboard", "true")]);
    let trust = Trust::Pinned(host.fingerprint());
    let known = |identity: &Identity| {
        LoopbackClient::known(host.address(), identity.clone(), trust, asking()).expect("a session")
    };
    let client = known(&host.paired(Rights::default()));
    assert!(!shares(&client), "it is no right that comes by itself");
    client.end();

    let identity = host.paired(Rights::all());
    let mut client = known(&identity);
    assert!(shares(&client));
    until_copied(&client, FIRST);
    client.watch(3, |_, _| {});
    let clients = host.trust().clients();
    clients
        .edit(identity.fingerprint(), |it| it.rights.clipboard = false)
        .expect("it is kept");
    let reason = client.until_end();
    assert!(reason.contains("taken a right"), "{reason}");
    let client = known(&identity);
    assert!(!shares(&client));
    client.end();
}

/// A program of a desktop that copies and pastes.
struct Desktop {
    orders: Sender<String>,
    copied: Receiver<String>,
    waker: Arc<dyn Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Desktop {
    fn of(address: &OutputAddress) -> Self {
        let mut clipboard = DataControl.open(Some(address)).expect("a clipboard");
        let (orders, taken) = channel::<String>();
        let (copied_in, copied) = channel();
        let waker = clipboard.waker();
        let thread = std::thread::spawn(move || {
            while let Ok(copied) = clipboard.next(Duration::from_secs(60)) {
                match copied {
                    Copied::Text(text) => {
                        if copied_in.send(text).is_err() {
                            return;
                        }
                    }
                    Copied::Nothing => {}
                    Copied::Woken => match taken.try_recv() {
                        Ok(text) => clipboard.set(&text).expect("it is set"),
                        Err(_) => return,
                    },
                }
            }
        });
        Self {
            orders,
            copied,
            waker,
            thread: Some(thread),
        }
    }

    fn copy(&self, text: &str) {
        self.orders.send(text.to_owned()).expect("it runs");
        self.waker.wake();
    }

    fn until_pasted(&self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let text = self.copied.recv_timeout(left).expect("a text comes");
            if text == wanted {
                return;
            }
        }
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it does not panic");
        }
    }
}

/// The display of this process's only session; `near` is another that this process has made.
fn the_display(near: Option<&OutputAddress>) -> OutputAddress {
    let near = near.map(|it| it.over_wayland().expect("sway's").wayland_socket.clone());
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, Into::into);
    let ours = format!("punktfunk-{}-", std::process::id());
    let named = |path: &PathBuf, begin: &str| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(begin) && !name.ends_with(".lock")
    };
    let directories = entries(&base).into_iter().filter(|it| named(it, &ours));
    let sockets = directories.flat_map(|it| entries(&it));
    let mut sockets: Vec<_> = sockets
        .filter(|it| named(it, "wayland-") && Some(it) != near.as_ref())
        .collect();
    assert_eq!(sockets.len(), 1, "one session: {sockets:?}");
    OutputAddress::from(WaylandOutput {
        wayland_socket: sockets.remove(0),
        output: String::new(),
    })
}

fn sway() -> Box<dyn VirtualDisplay> {
    let request = DisplayRequest {
        environment: Vec::new(),
        mode: "640x360@30".parse().expect("a mode"),
        app: Vec::new(),
        cursor_apart: false,
        cancel: Cancel::default(),
    };
    match PrivateSway.create(&request) {
        Ok(display) => display,
        Err(error) => panic!("this test needs a private sway: {error}"),
    }
}

fn host_of_a_private_sway() -> LoopbackHost {
    let settings = [
        ("desktop", "private-sway"),
        ("app", "none"),
        ("clipboard", "true"),
    ];
    match LoopbackHost::start(&settings) {
        Ok(host) => host,
        Err(error) => panic!("this test needs a private sway: {error}"),
    }
}

#[test]
fn what_is_copied_on_the_streamed_desktop_arrives_and_the_other_way() {
    let _alone = alone();
    let host = host_of_a_private_sway();
    let client = connect(&host);
    assert!(shares(&client));
    let desktop = Desktop::of(&the_display(None));
    desktop.copy("von der Kachel: ü €");
    until_copied(&client, "von der Kachel: ü €");
    let longest = "ß".repeat(CLIPBOARD_BYTES_MAX / 2);
    let set = client.connector().clipboard().set(longest.clone());
    set.expect("it is the longest");
    desktop.until_pasted(&longest);
    // Nothing has come back, and the desktop's next text is heard.
    assert!(client.connector().copied().is_empty());
    desktop.copy(&longest.to_lowercase().replace('ß', "s"));
    until_copied(&client, &"s".repeat(CLIPBOARD_BYTES_MAX / 2));
    // Of many the last one counts.
    for n in 0..200 {
        let set = client.connector().clipboard().set(format!("text {n}"));
        set.expect("it is shared");
    }
    desktop.until_pasted("text 199");
    client.end();
}

/// The executable as a client, on a desktop of its own.
#[test]
fn two_desktops_share_a_clipboard() {
    let _alone = alone();
    let host = host_of_a_private_sway();
    let address = host.address().to_string();
    let sandbox = Sandbox::new();
    let near = sway();
    let near_address = near.address().expect("sway's").clone();
    let socket = near_address.over_wayland().expect("sway's");
    let out = sandbox.path().join("copied.txt");
    let arguments = [
        "connect",
        &address,
        "--headless",
        "--mode",
        MODE,
        "--clipboard",
        "--clipboard-out",
        out.to_str().expect("a readable path"),
    ];
    let mut command = sandbox.command(&arguments);
    let client = start(command.env("WAYLAND_DISPLAY", &socket.wayland_socket));
    eventually("it streams", || !host.sessions().is_empty());
    let here = Desktop::of(&near_address);
    let there = Desktop::of(&the_display(Some(&near_address)));
    here.copy("from the client");
    there.until_pasted("from the client");
    there.copy("from the host");
    here.until_pasted("from the host");
    let written = || std::fs::read_to_string(&out).unwrap_or_default();
    eventually("it is written, too", || written() == "from the host");
    here.copy("and back");
    there.until_pasted("and back");
    client.interrupt();
    let ended = client.wait();
    assert!(ended.status.success(), "{}", ended.stderr);
}

/// The line of `doctor` about the clipboard.
fn examined(command: &mut Command) -> String {
    let doctor = start(command.arg("doctor"));
    let lines: Vec<String> = doctor.lines.iter().collect();
    assert!(doctor.wait().status.success());
    let line = lines.into_iter().find(|it| it.starts_with("clipboard"));
    line.expect("a line about it")
}

#[test]
fn doctor_tells_whether_a_clipboard_can_be_shared() {
    let _alone = alone();
    let sandbox = Sandbox::new();
    let line = examined(&mut sandbox.command(&[]));
    assert!(line.contains("yes  by each session's own sway"), "{line}");
    assert!(
        line.contains("off unless the host says --clipboard"),
        "{line}"
    );
    let request = DisplayRequest {
        environment: Vec::new(),
        mode: "640x360@30".parse().expect("a mode"),
        app: Vec::new(),
        cursor_apart: false,
        cancel: Cancel::default(),
    };
    let desktop = PrivateSway.create_desktop(&request).expect("a sway");
    let address = desktop.address().expect("sway's");
    let socket = &address.over_wayland().expect("sway's").wayland_socket;
    let line = examined(
        sandbox
            .command(&[])
            .env("SWAYSOCK", socket.with_file_name("ipc.sock"))
            .env("WAYLAND_DISPLAY", socket),
    );
    assert!(line.contains("yes  by the sway that runs"), "{line}");
}
