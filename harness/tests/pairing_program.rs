//! Pairing by the executable, as an operator and a user do it.

use std::fs;
use std::path::Path;

use harness::program::{Ended, Running, Sandbox};

// Exit codes, as the executable documents them.
const TRUST: i32 = 8;
const REFUSED: i32 = 9;

/// A host that serves paired clients only, and where it listens.
fn host(sandbox: &Sandbox, more: &[&str]) -> (Running, String) {
    let host = [
        "host",
        "--port",
        "0",
        "--desktop",
        "synthetic",
        "--app",
        "none",
    ];
    let state = state(sandbox, "host");
    let arguments = [&host[..], &["--state-dir", &state], more].concat();
    let mut host = sandbox.start(&arguments);
    let address = host.line("listening").replace("(udp)", "");
    (host, address.trim().to_owned())
}

fn state(sandbox: &Sandbox, name: &str) -> String {
    sandbox
        .path()
        .join(name)
        .to_str()
        .expect("readable")
        .to_owned()
}

/// Opens a window; the verb that waits for its end, and the PIN.
fn window(sandbox: &Sandbox, more: &[&str]) -> (Running, String) {
    let state = state(sandbox, "host");
    let arguments = [&["pair-window", "--state-dir", &state], more].concat();
    let mut window = sandbox.start(&arguments);
    let pin = window.line("PIN");
    (window, pin)
}

fn pair(sandbox: &Sandbox, address: &str, pin: &str) -> Ended {
    let state = state(sandbox, "client");
    sandbox.run(&[
        "pair",
        address,
        "--pin",
        pin,
        "--name",
        "tablet",
        "--state-dir",
        &state,
    ])
}

fn connect(sandbox: &Sandbox, address: &str) -> Ended {
    let state = state(sandbox, "client");
    sandbox.run(&[
        "connect",
        address,
        "--headless",
        "--mode",
        "320x240@30",
        "--seconds",
        "0.5",
        "--state-dir",
        &state,
    ])
}

fn clients(sandbox: &Sandbox, more: &[&str]) -> Running {
    let state = state(sandbox, "host");
    sandbox.start(&[&["clients", "--state-dir", &state], more].concat())
}

fn assert_code(ended: &Ended, code: i32, word: &str) {
    assert_eq!(ended.status.code(), Some(code), "{ended:?}");
    assert!(
        ended.stderr.contains(word),
        "{word:?} is missing: {ended:?}"
    );
}

fn stop(host: Running) -> String {
    host.interrupt();
    let ended = host.wait();
    assert!(ended.status.success(), "{ended:?}");
    ended.stderr
}

#[test]
fn a_client_is_paired_used_restricted_and_unpaired() {
    let sandbox = Sandbox::new();
    let (running, address) = host(&sandbox, &["--require-pairing", "--name", "desk"]);
    assert_code(
        &connect(&sandbox, &address),
        REFUSED,
        "punktfunk pair-window",
    );

    let (mut waiting, pin) = window(&sandbox, &["--rights", "view,audio"]);
    let paired = pair(&sandbox, &address, &pin);
    assert!(paired.status.success(), "{paired:?}");
    assert_eq!(waiting.line("paired"), "tablet");
    let fingerprint = waiting.line("fingerprint");
    assert!(waiting.wait().status.success());
    let known = fs::read_to_string(sandbox.path().join("client/known-hosts.json"));
    assert!(known.expect("pinned").contains(&address));
    let served = connect(&sandbox, &address);
    assert!(served.status.success(), "{served:?}");

    let mut listed = clients(&sandbox, &[]);
    assert!(
        listed
            .line(&fingerprint)
            .starts_with("view,audio, apps all, for ever")
    );
    assert!(listed.wait().status.success());
    let mut set = clients(&sandbox, &["tablet", "--apps", "foot", "--expires", "30d"]);
    assert!(
        set.line(&fingerprint)
            .starts_with("view,audio, apps foot, for 30 days")
    );
    assert!(set.wait().status.success());
    assert_code(&connect(&sandbox, &address), REFUSED, "right to none");
    let unpaired = clients(&sandbox, &["tablet", "--unpair"]).wait();
    assert!(unpaired.status.success(), "{unpaired:?}");
    assert_code(
        &connect(&sandbox, &address),
        REFUSED,
        "punktfunk pair-window",
    );
    let log = stop(running);
    assert!(!log.contains(&pin), "the PIN is in the log: {log}");
    sandbox.assert_clean();
}

#[test]
fn a_wrong_pin_is_the_end_of_its_window() {
    let sandbox = Sandbox::new();
    let (running, address) = host(&sandbox, &["--require-pairing"]);
    let (waiting, pin) = window(&sandbox, &[]);
    let wrong = if pin == "000000" { "111111" } else { "000000" };
    assert_code(
        &pair(&sandbox, &address, wrong),
        REFUSED,
        "the PIN is wrong",
    );
    assert_code(&waiting.wait(), REFUSED, "an attempt failed");
    assert_code(
        &pair(&sandbox, &address, &pin),
        REFUSED,
        "no pairing is open",
    );

    let (waiting, pin) = window(&sandbox, &[]);
    waiting.interrupt();
    assert_code(&waiting.wait(), REFUSED, "the window is closed");
    assert_code(
        &pair(&sandbox, &address, &pin),
        REFUSED,
        "no pairing is open",
    );
    let log = stop(running);
    assert!(
        log.contains("the PIN is wrong") && !log.contains(&pin),
        "{log}"
    );
    sandbox.assert_clean();
}

/// Whoever installs a host anew pairs anew: what the client had pinned gives way to the PIN.
#[test]
fn a_host_whose_certificate_has_changed() {
    let sandbox = Sandbox::new();
    let (running, address) = host(&sandbox, &["--require-pairing"]);
    let (waiting, pin) = window(&sandbox, &[]);
    assert!(pair(&sandbox, &address, &pin).status.success());
    assert!(waiting.wait().status.success());
    stop(running);

    fs::remove_dir_all(sandbox.path().join("host")).expect("it was there");
    let port = address.rsplit(':').next().expect("a port");
    let again = ["--require-pairing", "--pairing", "--port", port];
    let arguments = [
        "host",
        "--desktop",
        "synthetic",
        "--app",
        "none",
        "--state-dir",
    ];
    let state = state(&sandbox, "host");
    let mut running = sandbox.start(&[&arguments[..], &[&state], &again].concat());
    let shown = running.line("pairing");
    let pin = shown.split_whitespace().nth(1).expect("PIN and its digits");
    assert_code(
        &connect(&sandbox, &address),
        TRUST,
        "not the host that was pinned",
    );
    let paired = pair(&sandbox, &address, pin);
    assert!(paired.status.success(), "{paired:?}");
    let served = connect(&sandbox, &address);
    assert!(served.status.success(), "{served:?}");
    stop(running);
    sandbox.assert_clean();
}

#[test]
fn a_host_that_others_reach_serves_the_paired_alone() {
    let sandbox = Sandbox::new();
    let (running, address) = host(&sandbox, &["--bind", "0.0.0.0"]);
    let port = address.rsplit(':').next().expect("a port");
    let address = format!("127.0.0.1:{port}");
    assert_code(
        &connect(&sandbox, &address),
        REFUSED,
        "punktfunk pair-window",
    );
    stop(running);
    sandbox.assert_clean();
}

#[test]
fn stores_that_are_damaged_or_open_to_others() {
    let sandbox = Sandbox::new();
    let directory = sandbox.path().join("host");
    fs::create_dir(&directory).expect("a directory");
    let file = directory.join("native-clients.json");
    let private = |file: &Path, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("ours");
    };
    fs::write(&file, "{\"clients\": [").expect("written");
    private(&file, 0o600);
    let (running, address) = host(&sandbox, &["--require-pairing"]);
    assert_code(
        &connect(&sandbox, &address),
        REFUSED,
        "punktfunk pair-window",
    );
    let log = stop(running);
    assert!(log.contains("was put aside as"), "{log}");
    let aside = fs::read_dir(&directory)
        .expect("there")
        .filter_map(Result::ok);
    let mut aside = aside.filter(|it| it.file_name().to_string_lossy().contains("damaged-"));
    let aside = aside.next().expect("put aside").path();
    assert_eq!(fs::read_to_string(aside).expect("whole"), "{\"clients\": [");

    fs::write(&file, "{\"clients\": []}").expect("written");
    private(&file, 0o666);
    let state = state(&sandbox, "host");
    let ended = sandbox.run(&[
        "host",
        "--port",
        "0",
        "--desktop",
        "synthetic",
        "--state-dir",
        &state,
    ]);
    assert_code(&ended, 6, "chmod 600");

    // A directory that cannot be written: who is paired is served, nobody new comes.
    private(&file, 0o600);
    private(&directory, 0o500);
    let (running, address) = host(&sandbox, &["--require-pairing"]);
    assert_code(
        &connect(&sandbox, &address),
        REFUSED,
        "punktfunk pair-window",
    );
    let log = stop(running);
    private(&directory, 0o700);
    assert!(log.contains("nobody can be paired"), "{log}");
    sandbox.assert_clean();
}
