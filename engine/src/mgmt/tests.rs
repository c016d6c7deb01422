use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::control::gamestream::testing;
use crate::trust::rights::Rights;

/// A management server without anybody behind it: its operator does not answer.
struct Rig {
    management: Management,
    native: Arc<NativeTrust>,
    directory: tempfile::TempDir,
}

fn operators(store: &Store) -> Operators {
    Operators {
        native: Arc::new(NativeTrust::open(store).expect("none yet")),
        gamestream: Some(testing::nobody()),
    }
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("open");
        let operators = operators(&store);
        let native = Arc::clone(&operators.native);
        let management = Management::start(0, &store, operators).expect("started");
        Self {
            management,
            native,
            directory,
        }
    }

    fn access(&self) -> Access {
        client::access(self.directory.path()).expect("left in the state directory")
    }

    /// The status of a raw request.
    fn ask(&self, request: &str) -> u16 {
        let access = self.access();
        let mut stream = TcpStream::connect(access.address).expect("it listens");
        let limit = Some(Duration::from_secs(10));
        stream.set_read_timeout(limit).expect("a limit");
        let request = request
            .replace("HOST", &access.address.to_string())
            .replace("TOKEN", &access.token)
            .replace('\n', "\r\n");
        stream.write_all(request.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer.split(' ').nth(1).expect("a status");
        status.parse().expect("a number")
    }
}

const GOOD: &str = "POST /api/v1/gamestream/pin HTTP/1.1\nHost: HOST\n\
    Authorization: Bearer TOKEN\nContent-Type: application/json\nContent-Length: 14\n\
    Connection: close\n\n{\"pin\":\"1234\"}";

#[test]
fn a_call_needs_token_host_origin_and_type() {
    let rig = Rig::new();
    // It comes through to the operator, who does not answer.
    assert_eq!(rig.ask(GOOD), 503);
    for (from, to, expected) in [
        ("Authorization: Bearer TOKEN\n", "", 401),
        ("TOKEN", "TOKEN0", 401),
        ("Bearer TOKEN", "Basic TOKEN", 401),
        ("Host: HOST", "Host: evil.example:80", 421),
        ("Host: HOST\n", "", 421),
        ("Host: HOST", "Host: HOST\nOrigin: http://evil.example", 403),
        ("Host: HOST", "Host: HOST\nOrigin: null", 403),
        ("Host: HOST", "Host: HOST\nOrigin: https://HOST", 403),
        ("Host: HOST", "Host: HOST\nOrigin: http://HOST", 503),
        ("Host: HOST", "Host: HOST\nHost: HOST", 400),
        ("application/json", "text/plain", 415),
        ("application/json", "application/json; charset=utf-8", 503),
        ("Content-Length: 14", "Content-Length: 99999", 413),
        ("\"1234\"", "\"12a4\"", 400),
        ("\"pin\":", "\"pim\":", 400),
        ("POST", "PUT", 405),
        ("POST", "DELETE", 404),
        ("gamestream/pin", "gamestream/pin/1", 404),
        ("gamestream/pin", "gamestream/pin?id=1", 503),
    ] {
        assert_eq!(rig.ask(&GOOD.replace(from, to)), expected, "{from} -> {to}");
    }
}

#[test]
fn the_page_is_served_and_its_address_holds_the_token() {
    let rig = Rig::new();
    assert_eq!(
        rig.ask("GET / HTTP/1.1\nHost: HOST\nConnection: close\n\n"),
        200
    );
    assert_eq!(
        rig.ask("GET /page.js HTTP/1.1\nHost: HOST\nConnection: close\n\n"),
        200
    );
    assert_eq!(
        rig.ask("GET /page.css HTTP/1.1\nHost: HOST\nConnection: close\n\n"),
        200
    );
    let access = rig.access();
    assert_eq!(
        rig.management.page(),
        format!("http://{}/#{}", access.address, access.token)
    );
}

#[test]
fn the_token_is_private_and_new_at_every_start() {
    let rig = Rig::new();
    let path = rig.directory.path().join(ACCESS_FILE);
    let mode = std::fs::metadata(&path).expect("there").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let first = rig.access().token;
    assert_eq!(first.len(), 2 * TOKEN_BYTES);
    let store = Store::open(rig.directory.path()).expect("open");
    let _second = Management::start(0, &store, operators(&store)).expect("started");
    assert_ne!(rig.access().token, first);
}

#[test]
fn the_caller_is_told_what_to_do() {
    let rig = Rig::new();
    let refused = client::enter_pin(&rig.access(), "12", None, None);
    let refused = refused.expect_err("no PIN").to_string();
    assert!(refused.contains("four digits"), "{refused}");
    let access = rig.access();
    drop(rig);
    let gone = client::enter_pin(&access, "1234", None, None);
    let gone = gone.expect_err("nobody there").to_string();
    assert!(gone.contains("is it still running?"), "{gone}");
    let none = client::access(std::path::Path::new("/nonexistent"));
    let none = none.err().expect("no file").to_string();
    assert!(none.contains("--state-dir"), "{none}");
}

#[test]
fn a_window_is_opened_looked_at_and_closed() {
    let rig = Rig::new();
    let access = rig.access();
    assert_eq!(client::pairing(&access).expect("an answer").state, "none");
    let opened = client::open_pairing(&access, &client::PairingGrant::default());
    let opened = opened.expect("an answer");
    assert_eq!((opened.window, opened.seconds), (1, 120));
    assert!(opened.pin.len() == 6 && opened.pin.bytes().all(|it| it.is_ascii_digit()));
    let status = client::pairing(&access).expect("an answer");
    assert_eq!((status.window, &status.state[..]), (1, "open"));
    assert!((60..=120).contains(&status.seconds_left));
    client::close_pairing(&access).expect("an answer");
    assert_eq!(client::pairing(&access).expect("an answer").state, "closed");
}

#[test]
fn paired_clients_are_listed_changed_and_unpaired() {
    let rig = Rig::new();
    let access = rig.access();
    let fingerprint = net::identity::Identity::generate()
        .expect("one")
        .fingerprint();
    rig.native
        .clients()
        .add(crate::trust::clients::NativeClient {
            fingerprint,
            name: "tablet".to_owned(),
            paired_at_unix_s: 5,
            rights: Rights::default(),
            expires_at_unix_s: None,
        })
        .expect("kept");
    let fingerprint = fingerprint.to_string();
    let [listed] = &client::native_clients(&access).expect("an answer")[..] else {
        panic!("one client")
    };
    assert_eq!((&listed.name[..], listed.expired), ("tablet", false));
    let settings = client::NativeSettings {
        rights: Some(Rights {
            input: false,
            ..Rights::default()
        }),
        expires_at_unix_s: Some(Some(6)),
        ..client::NativeSettings::default()
    };
    let set = client::set_native(&access, &fingerprint, &settings).expect("an answer");
    assert!(set.expired && !set.rights.input && set.name == "tablet");
    let settings = client::NativeSettings {
        expires_at_unix_s: Some(None),
        ..client::NativeSettings::default()
    };
    let set = client::set_native(&access, &fingerprint, &settings).expect("an answer");
    assert!(!set.expired && !set.rights.input);
    let settings = client::NativeSettings {
        name: Some("\u{1b}[2J".to_owned()),
        ..client::NativeSettings::default()
    };
    assert!(client::set_native(&access, &fingerprint, &settings).is_err());
    client::unpair_native(&access, &fingerprint).expect("an answer");
    assert!(client::unpair_native(&access, &fingerprint).is_err());
    assert!(
        client::native_clients(&access)
            .expect("an answer")
            .is_empty()
    );
}
