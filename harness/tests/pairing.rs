//! Real hosts and clients on loopback: who may pair, who tries in vain, and what the paired may do.

use std::net::SocketAddr;

use engine::trust::native::Grant;
use engine::trust::rights::Rights;
use engine::trust::wall::unix_s;
use harness::facts::eventually;
use harness::loopback::{LoopbackClient, LoopbackHost, MODE, hello};
use harness::middle::Middle;
use harness::stranger::Stranger;
use net::audio::Speakers;
use net::client::{ConnectError, PairError, PairOptions, Paired, Trust, pair};
use net::identity::Identity;
use net::input::{InputEvent, KeyEvent, Modifiers};
use net::native::pairing::{
    ClientPairing, Entropy, PairingError, PairingMessage, Pin, WindowEnd, WindowState,
};
use net::native::{Features, Message, RefuseCode};

const CLOSED_BY_FAILURE: WindowState = WindowState::Closed(Some(WindowEnd::Failed));

fn host(more: &[(&'static str, &str)]) -> LoopbackHost {
    let mut settings = vec![("require-pairing", "true")];
    settings.extend_from_slice(more);
    LoopbackHost::synthetic(&settings)
}

fn identity() -> Identity {
    Identity::generate().expect("an identity")
}

fn open(host: &LoopbackHost) -> Pin {
    let opened = host.trust().open_window(Grant::default());
    opened.expect("random bytes").pin
}

fn another(pin: &Pin) -> Pin {
    let other = if pin.digits() == "000000" {
        "111111"
    } else {
        "000000"
    };
    other.parse().expect("a PIN")
}

fn pair_as(host: SocketAddr, identity: &Identity, pin: &Pin) -> Result<Paired, PairError> {
    pair(PairOptions {
        host,
        identity: identity.clone(),
        pin: pin.clone(),
        name: "tablet".to_owned(),
    })
}

fn refusal(result: Result<Paired, PairError>) -> RefuseCode {
    match result {
        Err(PairError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

fn connect(host: &LoopbackHost, identity: &Identity) -> Result<LoopbackClient, ConnectError> {
    let trust = Trust::Pinned(host.fingerprint());
    LoopbackClient::known(host.address(), identity.clone(), trust, hello(MODE))
}

fn refused(result: Result<LoopbackClient, ConnectError>) -> (RefuseCode, String) {
    match result.err() {
        Some(ConnectError::Refused { code, text }) => (code, text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_paired_client_is_served_and_no_other() {
    let host = host(&[]);
    let client = identity();
    let (code, text) = refused(connect(&host, &client));
    assert_eq!(code, RefuseCode::NotPaired);
    assert!(text.contains("punktfunk pair HOST"), "{text}");

    let pin = open(&host);
    let known = pair_as(host.address(), &client, &pin).expect("paired");
    assert_eq!(
        known.fingerprint,
        host.fingerprint(),
        "the PIN vouches for it"
    );
    let mut session = connect(&host, &client).expect("a session");
    session.watch(3, |_, _| {});

    // A certificate that has changed is another client's.
    let (code, _) = refused(connect(&host, &identity()));
    assert_eq!(code, RefuseCode::NotPaired);
    let kept = host.trust().clients().list();
    assert_eq!((kept.len(), &kept[0].name[..]), (1, "tablet"));
    session.watch(3, |_, _| {});
    session.end();
}

#[test]
fn one_failure_closes_the_window_and_disturbs_nobody() {
    let host = host(&[]);
    let watcher = host.paired(Rights::default());
    let mut session = connect(&host, &watcher).expect("a session");
    session.watch(3, |_, _| {});

    let client = identity();
    let pin = open(&host);
    let wrong = pair_as(host.address(), &client, &another(&pin));
    assert_eq!(refusal(wrong), RefuseCode::PairingFailed);
    assert_eq!(host.trust().window().state, CLOSED_BY_FAILURE);
    let late = pair_as(host.address(), &client, &pin);
    assert_eq!(refusal(late), RefuseCode::PairingClosed);
    let view = host.trust().window();
    assert_eq!((view.counts.failed, view.counts.refused), (1, 1));
    assert!(host.trust().clients().find(client.fingerprint()).is_none());
    session.watch(3, |_, _| {});
    session.end();
}

#[test]
fn without_a_window_nobody_pairs() {
    let host = host(&[]);
    let pin = open(&host);
    assert!(host.trust().close_window());
    let late = pair_as(host.address(), &identity(), &pin);
    assert_eq!(refusal(late), RefuseCode::PairingClosed);
    assert_eq!(host.trust().window().counts.begun, 0);
}

#[test]
fn a_man_in_the_middle_gets_nothing() {
    let host = host(&[]);
    let middle = Middle::start(host.address());
    let client = identity();
    let pin = open(&host);
    // The client knows the PIN, the host knows it, and every word comes through.
    let fooled = pair_as(middle.address(), &client, &pin);
    assert_eq!(refusal(fooled), RefuseCode::PairingFailed);
    let overheard = middle.overheard();
    // A PairRequest and a PairConfirm; a PairReply and the refusal.
    assert!(overheard.client.len() > 65 + 32, "{overheard:?}");
    assert!(overheard.host.len() > 65, "{overheard:?}");
    assert_eq!(host.trust().window().state, CLOSED_BY_FAILURE);
    assert!(host.trust().clients().list().is_empty());
}

/// Says what a client says that pairs; what it said.
fn pair_by_hand(stranger: &mut Stranger, pin: &Pin) -> [Message; 2] {
    let entropy = Entropy::new([0x5a; 48]);
    let begun = ClientPairing::begin(pin, stranger.binding(), &entropy);
    let (pairing, share) = begun.expect("a share");
    let name = "by hand".to_owned();
    let request = Message::Pairing(PairingMessage::Request { share, name });
    stranger.say_message(&request);
    let share = reply(stranger);
    let (tag, _) = pairing.handle_reply(&share).expect("a confirmation");
    let confirm = Message::Pairing(PairingMessage::Confirm { tag });
    stranger.say_message(&confirm);
    [request, confirm]
}

fn reply(stranger: &mut Stranger) -> net::native::pairing::Share {
    let find = |it: &Stranger| {
        it.heard.iter().find_map(|message| match message {
            Message::Pairing(PairingMessage::Reply { share }) => Some(*share),
            _ => None,
        })
    };
    stranger.until("the host replies", |it| find(it).is_some());
    find(stranger).expect("it has")
}

fn is_done(message: &Message) -> bool {
    matches!(message, Message::Pairing(PairingMessage::Done { .. }))
}

#[test]
fn a_recorded_pairing_is_worth_nothing() {
    let host = host(&[]);
    let client = identity();
    let mut first = Stranger::connect_as(host.address(), client.clone());
    let recorded = pair_by_hand(&mut first, &open(&host));
    first.until("it is paired", |it| it.heard.iter().any(is_done));
    first.slam();
    let fingerprint = client.fingerprint();
    assert!(host.trust().clients().find(fingerprint).is_some());
    host.trust().clients().remove(fingerprint).expect("kept");

    // Into a closed window; then into open ones, by a stranger and by the very client.
    for (identity, is_open) in [(identity(), false), (identity(), true), (client, true)] {
        if is_open {
            open(&host);
        }
        let mut thief = Stranger::connect_as(host.address(), identity);
        thief.say_message(&recorded[0]);
        if is_open {
            reply(&mut thief);
            thief.say_message(&recorded[1]);
        }
        let verdict = thief.verdict();
        let said = if is_open {
            PairingError::Confirmation.to_string()
        } else {
            "no pairing is open on the host: run `punktfunk pair-window` there".to_owned()
        };
        assert_eq!(verdict, said);
        assert!(!thief.heard.iter().any(is_done));
    }
    assert_eq!(host.trust().window().state, CLOSED_BY_FAILURE);
    assert!(host.trust().clients().list().is_empty());
}

#[test]
fn who_goes_away_or_talks_nonsense_has_used_up_the_window() {
    let host = host(&[]);
    let closes = |what: &str| {
        eventually(what, || host.trust().window().state == CLOSED_BY_FAILURE);
        open(&host);
    };
    let pin = open(&host);
    let request = |stranger: &mut Stranger| {
        let begun = ClientPairing::begin(&pin, stranger.binding(), &Entropy::new([3; 48]));
        let share = begun.expect("a share").1;
        let name = String::new();
        Message::Pairing(PairingMessage::Request { share, name })
    };
    let mut deserter = Stranger::connect(host.address());
    let message = request(&mut deserter);
    deserter.say_message(&message);
    reply(&mut deserter);

    // While he is at it nobody else is.
    let busy = pair_as(host.address(), &identity(), &pin);
    assert_eq!(refusal(busy), RefuseCode::PairingClosed);
    deserter.slam();
    closes("his attempt has failed");

    let mut twice = Stranger::connect(host.address());
    let message = request(&mut twice);
    twice.say_message(&message);
    twice.say_message(&message);
    assert!(twice.verdict().contains("out of order"));
    closes("so has this one");

    let mut off_the_curve = Stranger::connect(host.address());
    let share = net::native::pairing::Share([4; 65]);
    let name = String::new();
    off_the_curve.say_message(&Message::Pairing(PairingMessage::Request { share, name }));
    assert!(off_the_curve.verdict().contains("not a point"));
    closes("and this one");

    // What is not even an attempt uses nothing up.
    let mut early = Stranger::connect(host.address());
    let tag = net::native::pairing::Tag([0; 32]);
    early.say_message(&Message::Pairing(PairingMessage::Confirm { tag }));
    assert!(early.verdict().contains("out of order"));
    assert!(matches!(host.trust().window().state, WindowState::Open(_)));
}

#[test]
fn a_client_that_cannot_be_kept_is_told_and_not_paired() {
    let host = host(&[]);
    // In the file's place: nobody can replace it by a file.
    std::fs::create_dir(host.state().join("native-clients.json")).expect("in the way");
    let pin = open(&host);
    match pair_as(host.address(), &identity(), &pin) {
        Err(PairError::Refused { code, text }) => {
            assert_eq!(code, RefuseCode::Internal);
            assert!(text.contains("could not keep"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(host.trust().window().state, CLOSED_BY_FAILURE);
    assert!(host.trust().clients().list().is_empty());
}

#[test]
fn rights_are_held_to() {
    let host = host(&[("audio", "synthetic")]);
    let deaf = host.paired(Rights {
        audio: false,
        ..Rights::default()
    });
    let hears = |identity: &Identity| {
        let mut hello = hello(MODE);
        let sound = Features::sound(Speakers::Stereo);
        hello.optional = hello.optional.union(sound);
        let trust = Trust::Pinned(host.fingerprint());
        let client = LoopbackClient::known(host.address(), identity.clone(), trust, hello);
        let client = client.expect("a session");
        let hears = client.welcome().features.speakers().is_some();
        client.end();
        hears
    };
    assert!(!hears(&deaf));
    assert!(hears(&host.paired(Rights::default())), "there is sound");

    let blind = Rights {
        view: false,
        ..Rights::default()
    };
    let elsewhere = Rights {
        apps: Some(vec!["foot".to_owned()]),
        ..Rights::default()
    };
    let here = Rights {
        apps: Some(vec!["foot".to_owned(), "none".to_owned()]),
        ..Rights::default()
    };
    for (rights, word) in [(blind, "view"), (elsewhere, "none")] {
        let (code, text) = refused(connect(&host, &host.paired(rights)));
        assert_eq!(code, RefuseCode::NotAllowed);
        assert!(text.contains("right to") && text.contains(word), "{text}");
    }
    let client = connect(&host, &host.paired(here)).expect("a session");
    client.end();
}

#[test]
fn a_session_ends_when_its_client_is_unpaired_or_loses_a_right() {
    let host = host(&[]);
    let clients = host.trust().clients();
    let (one, two) = (
        host.paired(Rights::default()),
        host.paired(Rights::default()),
    );
    let mut session = connect(&host, &one).expect("a session");
    let mut beside = connect(&host, &two).expect("a session");
    session.watch(2, |_, _| {});
    beside.watch(2, |_, _| {});

    clients
        .edit(one.fingerprint(), |it| it.name = "renamed".to_owned())
        .expect("kept");
    session.watch(2, |_, _| {});
    clients
        .edit(one.fingerprint(), |it| it.rights.input = false)
        .expect("kept");
    assert!(session.until_end().contains("taken a right"));
    let mut session = connect(&host, &one).expect("with what is left");
    session.watch(2, |_, _| {});
    assert!(clients.remove(one.fingerprint()).expect("kept"));
    assert!(session.until_end().contains("unpaired"));
    assert_eq!(refused(connect(&host, &one)).0, RefuseCode::NotPaired);
    beside.watch(2, |_, _| {});
    beside.end();
}

#[test]
fn a_pairing_expires_before_and_during_a_session() {
    let host = host(&[]);
    let clients = host.trust().clients();
    let client = host.paired(Rights::default());
    let fingerprint = client.fingerprint();
    let expire = |at: u64| {
        clients
            .edit(fingerprint, |it| it.expires_at_unix_s = Some(at))
            .expect("kept")
            .expect("there")
    };
    expire(unix_s());
    let (code, text) = refused(connect(&host, &client));
    assert_eq!(code, RefuseCode::Expired);
    assert!(text.contains("--expires"), "{text}");

    // Long enough for a session to begin on any machine, and its end is waited for.
    expire(unix_s() + 600);
    let mut session = connect(&host, &client).expect("a session");
    session.watch(2, |_, _| {});
    expire(unix_s() + 2);
    assert!(session.until_end().contains("expired"));
}

#[test]
fn open_hosts_ask_for_no_pairing() {
    for settings in [&[][..], &[("open", "true")]] {
        let host = LoopbackHost::synthetic(settings);
        let mut session = connect(&host, &identity()).expect("a session");
        session.watch(1, |_, _| {});
        session.end();
    }
}

/// On a real compositor: only there is something that input could reach.
#[test]
fn input_without_the_right_is_dropped_and_counted() {
    let settings = [
        ("desktop", "private-sway"),
        ("app", "none"),
        ("require-pairing", "true"),
    ];
    let host = LoopbackHost::start(&settings).unwrap_or_else(|error| panic!("{error}"));
    let key = |pressed| {
        InputEvent::Key(KeyEvent {
            virtual_key: 0x41,
            pressed,
            modifiers: Modifiers::default(),
            is_layout_dependent: false,
        })
    };
    let injected = |identity: &Identity, refused: bool| {
        let client = connect(&host, identity).expect("a session");
        eventually("it streams", || !host.sessions().is_empty());
        let metrics = host.sessions()[0].metrics.clone();
        for pressed in [true, false] {
            assert!(client.input().send(key(pressed)));
        }
        eventually("the host has heard of it", || {
            let counters = metrics.counters.snapshot();
            let injected = metrics.input_to_injected.snapshot().count();
            if refused {
                counters.input_refused >= 2
            } else {
                injected >= 2
            }
        });
        client.end();
        eventually("it is over", || host.sessions().is_empty());
        metrics.input_to_injected.snapshot().count()
    };
    let mute = Rights {
        input: false,
        ..Rights::default()
    };
    assert_eq!(injected(&host.paired(mute), true), 0);
    assert!(injected(&host.paired(Rights::default()), false) >= 2);
}
