use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::control::gamestream::testing;

/// A management server without anybody behind it: its operator does not answer.
struct Rig {
    management: Management,
    directory: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("open");
        let management = Management::start(0, &store, testing::nobody()).expect("started");
        Self {
            management,
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
    let _second = Management::start(0, &store, testing::nobody()).expect("started");
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
    assert!(none.contains("--gamestream"), "{none}");
}
