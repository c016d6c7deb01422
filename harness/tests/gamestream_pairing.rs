//! A stock GameStream client pairs with the host, or does not, as a user sees it.

mod gamestream_program;

use std::net::TcpStream;
use std::time::Instant;

use engine::mgmt::client::{self, PinOutcome};
use gamestream_program::{Host, enter_pin, next, parse};
use harness::PATIENCE;
use harness::moonlight::Moonlight;
use serde_json::{Value, json};

fn apps() -> Value {
    json!({ "ok": [[1, "Desktop"], [2, "Test card"]] })
}

fn listed(client: &Moonlight) -> Value {
    parse(&client.run(&["apps"])[0])
}

#[test]
fn unpaired_it_gets_nothing_and_a_wrong_pin_pairs_nobody() {
    let mut host = Host::new("synthetic");
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
    let refused = enter_pin(&host.state(), "4321").expect_err("wrong");
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
    let mut host = Host::new("synthetic");
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
    let mut host = Host::new("synthetic");
    let idle = |port| TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let held: Vec<TcpStream> = (0..20)
        .flat_map(|_| [idle(host.port), idle(host.port - 5)])
        .collect();
    let client = host.client("client");
    let running = client.start(&["pair", "1357", "50"]);
    for n in 0..50 {
        let outcome = enter_pin(&host.state(), "1357");
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
    let mut host = Host::new("synthetic");
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
fn a_paired_client_launches_resumes_and_ends_without_ever_playing() {
    let mut host = Host::new("synthetic");
    let client = host.client("client");
    host.pair(&client, "2468");
    let answers = client.run(&["everything-but-pairing"]);
    let answers: Vec<Value> = answers.iter().map(|line| parse(line)).collect();
    assert_eq!(answers[0], apps());
    for granted in &answers[2..4] {
        let url = granted["ok"].as_str().expect("where RTSP is");
        assert!(url.starts_with("rtsp"), "{granted}");
    }
    assert_eq!(answers[4], json!({ "ok": true }), "it is ended");
    assert!(answers[5]["ok"].as_u64() > Some(500), "a picture");
    host.stop();
}
