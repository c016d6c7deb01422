//! A stock GameStream client pairs with the host, or does not, as a user sees it.

use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Instant;

use engine::mgmt::client::{self, CallError, PinOutcome};
use harness::PATIENCE;
use harness::moonlight::{Moonlight, free_base_port};
use harness::program::{Running, Sandbox};
use serde_json::{Value, json};

/// A host with `--gamestream`, and where it keeps its state.
struct Host {
    sandbox: Sandbox,
    port: u16,
    running: Option<Running>,
}

impl Host {
    fn new() -> Self {
        let mut host = Self {
            sandbox: Sandbox::new(),
            port: free_base_port(),
            running: None,
        };
        host.start();
        host
    }

    fn start(&mut self) {
        let state = self.state();
        let port = self.port.to_string();
        let mut running = self.sandbox.start(&[
            "host",
            "--port",
            "0",
            "--desktop",
            "synthetic",
            "--gamestream",
            "--gamestream-bind",
            "127.0.0.1",
            "--gamestream-port",
            &port,
            "--name",
            "den",
            "--state-dir",
            state.to_str().expect("a readable path"),
        ]);
        running.line("moonlight");
        self.running = Some(running);
    }

    fn stop(&mut self) {
        let running = self.running.take().expect("it runs");
        running.interrupt();
        let ended = running.wait();
        assert!(ended.status.success(), "{ended:?}");
    }

    fn state(&self) -> PathBuf {
        self.sandbox.path().join("state")
    }

    fn client(&self, name: &str) -> Moonlight {
        let home = self.sandbox.path().join(name);
        std::fs::create_dir_all(&home).expect("a directory");
        Moonlight::new(&home, self.port)
    }

    /// Enters a PIN once somebody waits for it, as `punktfunk pin` does.
    fn enter_pin(&self, pin: &str) -> Result<PinOutcome, CallError> {
        let access = client::access(&self.state()).expect("left by the host");
        let deadline = Instant::now() + PATIENCE;
        loop {
            match client::enter_pin(&access, pin, None, None) {
                Err(CallError::Refused(text)) if text.starts_with("no client waits") => {
                    assert!(Instant::now() < deadline, "nobody came");
                    std::thread::yield_now();
                }
                other => return other,
            }
        }
    }

    fn pair(&self, client: &Moonlight, pin: &str) {
        let running = client.start(&["pair", pin]);
        self.enter_pin(pin).expect("paired");
        let answer = next(&running);
        assert!(answer["ok"].is_string(), "{answer}");
        drop(running.wait());
    }
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"))
}

fn next(running: &Running) -> Value {
    parse(&running.lines.recv_timeout(PATIENCE).expect("an answer"))
}

fn apps() -> Value {
    json!({ "ok": [[1, "Desktop"], [2, "Test card"]] })
}

fn listed(client: &Moonlight) -> Value {
    parse(&client.run(&["apps"])[0])
}

#[test]
fn unpaired_it_gets_nothing_and_a_wrong_pin_pairs_nobody() {
    let mut host = Host::new();
    let client = host.client("client");
    let assert_refused = || {
        let answers = client.run(&["everything-but-pairing"]);
        assert_eq!(answers.len(), 6);
        for answer in &answers[..5] {
            let answer = parse(answer);
            assert_eq!(answer["error"], "HttpResponseError", "{answer}");
            let message = answer["message"].as_str().expect("a text");
            assert!(message.contains("401"), "{answer}");
        }
    };
    assert_refused();
    let running = client.start(&["pair", "1234"]);
    let refused = host.enter_pin("4321").expect_err("wrong");
    assert!(
        refused.to_string().contains("the PIN was wrong"),
        "{refused}"
    );
    assert_eq!(next(&running)["error"], "WrongPinError");
    drop(running.wait());
    assert_refused();
    host.pair(&client, "1234");
    assert_eq!(listed(&client), apps());
    host.stop();
}

#[test]
fn a_pairing_lasts_over_restarts_and_can_be_repeated() {
    let mut host = Host::new();
    let client = host.client("client");
    host.pair(&client, "0000");
    host.stop();
    host.start();
    assert_eq!(listed(&client), apps());
    let info = parse(&client.run(&["info_over_https"])[0]);
    assert_eq!(
        info,
        json!({ "ok": { "name": "den", "paired": true, "game": 0 } })
    );

    // Once more, by the verb, with a name.
    let running = client.start(&["pair", "4711"]);
    let announced = host.running.as_mut().expect("it runs").line("pairing 1:");
    assert!(
        announced.contains("punktfunk pin PIN --id 1"),
        "{announced}"
    );
    let state = host.state();
    let pin = ["pin", "4711", "--id", "1", "--name", "phone", "--state-dir"];
    let arguments = [&pin[..], &[state.to_str().expect("a readable path")]].concat();
    let ended = host.sandbox.run(&arguments);
    assert!(ended.status.success(), "{ended:?}");
    assert!(next(&running)["ok"].is_string());
    drop(running.wait());
    let kept = std::fs::read_to_string(state.join("gamestream-clients.json")).expect("there");
    let kept = parse(&kept);
    assert_eq!(kept["clients"].as_array().expect("a list").len(), 1);
    assert_eq!(kept["clients"][0]["name"], "phone");
    host.pair(&client, "4712");
    let kept = std::fs::read_to_string(state.join("gamestream-clients.json")).expect("there");
    assert_eq!(
        parse(&kept)["clients"][0]["name"],
        "phone",
        "it keeps its name"
    );

    // A client whose certificate is gone from the store is a stranger.
    host.stop();
    std::fs::remove_file(state.join("gamestream-clients.json")).expect("removed");
    host.start();
    assert_eq!(listed(&client)["error"], "HttpResponseError");
    host.stop();
}

#[test]
fn fifty_pairings_in_a_row_beside_idle_connections() {
    let mut host = Host::new();
    let idle = |port| TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let held: Vec<TcpStream> = (0..20)
        .flat_map(|_| [idle(host.port), idle(host.port - 5)])
        .collect();
    let client = host.client("client");
    let running = client.start(&["pair", "1357", "50"]);
    for n in 0..50 {
        let outcome = host.enter_pin("1357");
        assert!(
            matches!(outcome, Ok(PinOutcome::Paired { .. })),
            "{n}: {outcome:?}"
        );
        let answer = next(&running);
        assert!(answer["ok"].is_string(), "{n}: {answer}");
    }
    drop(running.wait());
    assert_eq!(listed(&client), apps());
    drop(held);
    host.stop();
}

/// Both call themselves the same and come from the same address, as stock clients behind one
/// router do.
#[test]
fn two_clients_pair_at_once() {
    let mut host = Host::new();
    let (one, two) = (host.client("one"), host.client("two"));
    let (first, second) = (one.start(&["pair", "1111"]), two.start(&["pair", "2222"]));
    let access = client::access(&host.state()).expect("left by the host");
    let deadline = Instant::now() + PATIENCE;
    // With two waiting, a PIN without a number is nobody's.
    let waiting = loop {
        let waiting = client::waiting(&access).expect("an answer");
        if waiting.len() == 2 {
            break waiting;
        }
        assert!(Instant::now() < deadline, "they did not come");
        std::thread::yield_now();
    };
    let refused = client::enter_pin(&access, "1111", None, None).expect_err("whose?");
    assert!(refused.to_string().contains("say which"), "{refused}");
    // Their certificates tell which is which.
    let certificate = std::fs::read(host.sandbox.path().join("one/cert.pem")).expect("there");
    let certificate = net::gamestream::pairing::ClientCertificate::from_pem(&certificate);
    let fingerprint = certificate
        .expect("a certificate")
        .fingerprint()
        .to_string();
    let (mine, others): (Vec<_>, Vec<_>) = waiting
        .into_iter()
        .partition(|it| it.fingerprint == fingerprint);
    client::enter_pin(&access, "2222", Some(others[0].id), None).expect("paired");
    assert!(next(&second)["ok"].is_string());
    client::enter_pin(&access, "1111", Some(mine[0].id), None).expect("paired");
    assert!(next(&first)["ok"].is_string());
    drop((first.wait(), second.wait()));
    assert_eq!((listed(&one), listed(&two)), (apps(), apps()));
    host.stop();
}

#[test]
fn a_launch_is_refused_with_words_while_nothing_streams() {
    let mut host = Host::new();
    let client = host.client("client");
    host.pair(&client, "2468");
    let answers = client.run(&["everything-but-pairing"]);
    let answers: Vec<Value> = answers.iter().map(|line| parse(line)).collect();
    assert_eq!(answers[0], apps());
    for refused in &answers[2..4] {
        let message = refused["message"].as_str().expect("a text");
        assert!(
            message.contains("503") && message.contains("stream"),
            "{refused}"
        );
    }
    assert_eq!(answers[4], json!({ "ok": true }), "there is nothing to end");
    assert!(answers[5]["ok"].as_u64() > Some(500), "a picture");
    host.stop();
}
