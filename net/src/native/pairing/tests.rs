//! The exchange, and those who try to get into it.

use proptest::prelude::*;

use super::*;
use crate::identity::Identity;
use crate::native::{
    End, EndReason, HostEvent, HostSession, HostState, Message, Refuse, RefuseCode, StepLimits,
};
use crate::units::Timestamp;

fn pin(text: &str) -> Pin {
    text.parse().expect("a PIN")
}

fn entropy(seed: u8) -> Entropy {
    Zeroizing::new(std::array::from_fn(|at| {
        seed.wrapping_mul(31).wrapping_add(at as u8)
    }))
}

fn fingerprint() -> Fingerprint {
    Identity::generate().expect("an identity").fingerprint()
}

fn binding() -> Binding {
    Binding {
        client: fingerprint(),
        host: fingerprint(),
        channel: [7; EXPORTER_BYTES],
    }
}

/// What the client says of the host's confirmation, or the host of the client's.
fn exchange(pins: [&str; 2], [at_client, at_host]: [Binding; 2]) -> Result<(), PairingError> {
    let (client, pa) = ClientPairing::begin(&pin(pins[0]), at_client, &entropy(1))?;
    let (host, pb) = HostPairing::begin(&pin(pins[1]), &at_host, &entropy(2), &pa)?;
    let (ca, expected) = client.handle_reply(&pb)?;
    expected.check(&host.handle_confirm(&ca)?)
}

#[test]
fn two_that_know_the_pin_are_paired() {
    let both = binding();
    assert_eq!(exchange(["123456"; 2], [both; 2]), Ok(()));
    let wrong = Err(PairingError::Confirmation);
    assert_eq!(exchange(["123456", "123457"], [both; 2]), wrong);
    assert_eq!(exchange(["0123", "00123"], [both; 2]), wrong);
}

#[test]
fn certificates_and_connection_must_be_the_same_on_both_sides() {
    let both = binding();
    let channel = [8; EXPORTER_BYTES];
    for other in [
        Binding {
            client: fingerprint(),
            ..both
        },
        Binding {
            host: fingerprint(),
            ..both
        },
        Binding { channel, ..both },
        Binding {
            client: both.host,
            host: both.client,
            ..both
        },
    ] {
        let failed = exchange(["1234"; 2], [both, other]);
        assert_eq!(failed, Err(PairingError::Confirmation), "{other:?}");
    }
}

/// He has a connection to each, each with certificates and keys of its own, and hands everything on
/// as it is; or puts his own share in its place and guesses.
#[test]
fn a_man_in_the_middle_fails() {
    let (client_side, host_side) = (binding(), binding());
    let failed = exchange(["1234"; 2], [client_side, host_side]);
    assert_eq!(failed, Err(PairingError::Confirmation));

    // With a guess he is a host to the client, and no more than that: the client's confirmation
    // tells him that he was wrong, and with the window that the real host opens he cannot begin
    // again without closing it.
    let (client, pa) = ClientPairing::begin(&pin("1234"), client_side, &entropy(1)).expect("begun");
    let guess = HostPairing::begin(&pin("4321"), &client_side, &entropy(3), &pa);
    let (middle, pm) = guess.expect("a share");
    let (ca, _) = client.handle_reply(&pm).expect("a confirmation");
    let failed = middle.handle_confirm(&ca).err();
    assert_eq!(failed, Some(PairingError::Confirmation));
    // Nor does the confirmation that he got help with the host.
    let begun = HostPairing::begin(&pin("1234"), &host_side, &entropy(2), &pa);
    let (host, _) = begun.expect("a share");
    let failed = host.handle_confirm(&ca).err();
    assert_eq!(failed, Some(PairingError::Confirmation));
}

#[test]
fn a_recorded_pairing_cannot_be_played_again() {
    let first = binding();
    let (client, pa) = ClientPairing::begin(&pin("1234"), first, &entropy(1)).expect("begun");
    let (host, pb) = HostPairing::begin(&pin("1234"), &first, &entropy(2), &pa).expect("a share");
    let (ca, expected) = client.handle_reply(&pb).expect("a confirmation");
    let cb = host.handle_confirm(&ca).expect("it holds");
    expected.check(&cb).expect("it holds");

    // The same PIN by chance, even the same exporter: the host's share is another one.
    let again = HostPairing::begin(&pin("1234"), &first, &entropy(9), &pa);
    let (host, _) = again.expect("a share");
    let failed = host.handle_confirm(&ca).err();
    assert_eq!(failed, Some(PairingError::Confirmation));
    // And the host's half does not satisfy a new client.
    let (client, _) = ClientPairing::begin(&pin("1234"), first, &entropy(8)).expect("begun");
    let (_, expected) = client.handle_reply(&pb).expect("a confirmation");
    assert_eq!(expected.check(&cb), Err(PairingError::Confirmation));
}

/// Somebody has all that crossed the wire, both certificates, even what TLS exported, and all the
/// time in the world for every PIN. Without one of the two secrets, which never crossed it, nothing
/// tells the right one from the others.
#[test]
fn a_stolen_transcript_does_not_tell_the_pin() {
    let both = binding();
    let right = pin("0137");
    let (client, pa) = ClientPairing::begin(&right, both, &entropy(1)).expect("begun");
    let (host, pb) = HostPairing::begin(&right, &both, &entropy(2), &pa).expect("a share");
    let (ca, expected) = client.handle_reply(&pb).expect("a confirmation");
    let cb = host.handle_confirm(&ca).expect("it holds");
    expected.check(&cb).expect("it holds");

    let attempts = |secret: &Entropy| -> Vec<String> {
        let pins = (0..256).map(|number| format!("{number:04}"));
        let holds = |digits: &String| {
            let (guess, _) = ClientPairing::begin(&pin(digits), both, secret).expect("begun");
            let (tag, expected) = guess.handle_reply(&pb).expect("a confirmation");
            let as_host = HostPairing::begin(&pin(digits), &both, secret, &pa);
            let (as_host, _) = as_host.expect("a share");
            tag == ca || expected.check(&cb).is_ok() || as_host.handle_confirm(&ca).is_ok()
        };
        pins.filter(holds).collect()
    };
    for seed in [0, 3, 4] {
        assert!(attempts(&entropy(seed)).is_empty());
    }
    let nothing: Entropy = Zeroizing::new([0; 48]);
    let one: Entropy = Zeroizing::new(std::array::from_fn(|at| u8::from(at == 47)));
    assert!(attempts(&one).is_empty());
    // Whoever had the secret as well could tell: this test can fail.
    let leaked = ClientPairing::begin(&pin("0137"), both, &entropy(1)).expect("begun");
    let (tag, _) = leaked.0.handle_reply(&pb).expect("a confirmation");
    assert_eq!(tag, ca);
    // A secret that is nothing would tell everything, and makes no key.
    let naked = ClientPairing::begin(&right, both, &nothing).expect("begun");
    assert!(matches!(
        naked.0.handle_reply(&pb),
        Err(PairingError::Share)
    ));
}

#[test]
fn pins_are_digits_and_hide_themselves() {
    for good in ["1234", " 123456 ", "000000000000"] {
        assert_eq!(pin(good).digits(), good.trim());
    }
    for bad in ["", "123", "1234567890123", "12 34", "12a4", "١٢٣٤", "-1234"] {
        assert_eq!(bad.parse::<Pin>(), Err(PinError), "{bad}");
    }
    assert_eq!(Pin::from_random([0; 8]).digits(), "000000");
    assert_eq!(Pin::from_random([0xff; 8]).digits(), "551615");
    assert!(!format!("{:?}", pin("4711")).contains("4711"));
    let (pairing, share) = ClientPairing::begin(&pin("4711"), binding(), &entropy(1)).expect("ok");
    assert_eq!(format!("{share:?}"), "Share(..)");
    drop(pairing);
}

// The machines of both ends.

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ns(ms * 1_000_000)
}

struct Ends {
    client: PairingSession,
    host: HostSession,
    binding: Binding,
}

impl Ends {
    fn new(digits: &str) -> Self {
        let limits = StepLimits::default();
        let binding = binding();
        let mut client = PairingSession::new(at(0), limits, pin(digits), "tablet".to_owned());
        client.handle_connected(at(1), binding, &entropy(1));
        Self {
            client,
            host: HostSession::new(at(1), limits),
            binding,
        }
    }

    fn pass_to_host(&mut self) -> Option<HostEvent> {
        let bytes = self.client.poll_transmit().expect("something").to_vec();
        self.client.consumed(bytes.len());
        self.host.handle_stream(at(2), &bytes).expect("valid");
        self.host.poll_event()
    }

    fn pass_to_client(&mut self) -> Option<PairingEvent> {
        let bytes = self.host.poll_transmit().expect("something").to_vec();
        self.host.consumed(bytes.len());
        // In pieces, as a stream may come.
        for byte in &bytes {
            self.client.handle_stream(at(3), &[*byte]);
        }
        self.client.poll_event()
    }

    fn request(&mut self) -> (Share, String) {
        match self.pass_to_host() {
            Some(HostEvent::Pairing(PairingMessage::Request { share, name })) => (share, name),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn both_machines_come_to_an_end() {
    let mut ends = Ends::new("123456");
    let (share, name) = ends.request();
    assert_eq!(name, "tablet");
    let begun = HostPairing::begin(&pin("123456"), &ends.binding, &entropy(2), &share);
    let (host, share) = begun.expect("a share");
    ends.host
        .send_pairing(at(2), PairingMessage::Reply { share });
    assert_eq!(ends.pass_to_client(), None);
    let Some(HostEvent::Pairing(PairingMessage::Confirm { tag })) = ends.pass_to_host() else {
        panic!("no confirmation")
    };
    let tag = host.handle_confirm(&tag).expect("it holds");
    let host_name = "desk".to_owned();
    let done = PairingMessage::Done {
        tag,
        host_name: host_name.clone(),
    };
    ends.host.send_pairing(at(3), done);
    assert_eq!(
        ends.pass_to_client(),
        Some(PairingEvent::Paired { host_name })
    );
    assert!(ends.client.has_ended());
    // It says that it has what it wanted.
    assert!(matches!(ends.pass_to_host(), Some(HostEvent::Ended(_))));
}

#[test]
fn a_host_that_refuses_and_one_that_lies() {
    let mut ends = Ends::new("123456");
    ends.request();
    let refuse = Refuse {
        code: RefuseCode::PairingClosed,
        text: WindowRefusal::Closed.to_string(),
    };
    ends.host.refuse(refuse.clone());
    assert_eq!(ends.pass_to_client(), Some(PairingEvent::Refused(refuse)));

    let mut ends = Ends::new("123456");
    let (share, _) = ends.request();
    let begun = HostPairing::begin(&pin("000000"), &ends.binding, &entropy(2), &share);
    let (_, share) = begun.expect("a share");
    ends.host
        .send_pairing(at(2), PairingMessage::Reply { share });
    assert_eq!(ends.pass_to_client(), None);
    let tag = Tag([0; 32]);
    let host_name = "desk".to_owned();
    ends.host
        .send_pairing(at(2), PairingMessage::Done { tag, host_name });
    let failed = PairingEvent::Failed(PairingError::Confirmation);
    assert_eq!(ends.pass_to_client(), Some(failed));
}

#[test]
fn silence_and_disorder_end_it() {
    let mut ends = Ends::new("1234");
    let due = ends.client.poll_timeout().expect("a limit");
    ends.client.handle_timeout(due);
    let end = ends.client.poll_event();
    let is = |reason| matches!(&end, Some(PairingEvent::Ended(end)) if end.reason == reason);
    assert!(is(EndReason::TimedOut), "{end:?}");

    let mut ends = Ends::new("1234");
    let tag = Tag([0; 32]);
    let host_name = String::new();
    ends.host
        .send_pairing(at(1), PairingMessage::Done { tag, host_name });
    let end = ends.pass_to_client();
    assert!(matches!(
        end,
        Some(PairingEvent::Ended(End {
            reason: EndReason::Protocol,
            ..
        }))
    ));

    // A host waits for the next step no longer than for a Hello.
    let mut host = Ends::new("1234").host;
    host.handle_timeout(host.poll_timeout().expect("a limit"));
    assert_eq!(host.state(), HostState::Ended);
}

#[test]
fn the_bytes_of_every_message() {
    let share = Share([0x04; 65]);
    let tag = Tag([0xaa; 32]);
    let bytes = |message: PairingMessage| {
        let mut bytes = Vec::new();
        let message = Message::Pairing(message);
        message.write(&mut bytes);
        let kind = Kind::from_wire(u16::from_le_bytes([bytes[0], bytes[1]])).expect("known");
        assert_eq!(Message::parse(kind, &bytes[6..]), Ok(message));
        bytes
    };
    let name = "tv".to_owned();
    let request = bytes(PairingMessage::Request {
        share,
        name: name.clone(),
    });
    assert_eq!(
        request,
        [&[0x30, 0, 69, 0, 0, 0], &share.0[..], &[2, 0], b"tv"].concat()
    );
    let reply = bytes(PairingMessage::Reply { share });
    assert_eq!(reply, [&[0x31, 0, 65, 0, 0, 0], &share.0[..]].concat());
    let confirm = bytes(PairingMessage::Confirm { tag });
    assert_eq!(confirm, [&[0x32, 0, 32, 0, 0, 0], &tag.0[..]].concat());
    let done = bytes(PairingMessage::Done {
        tag,
        host_name: name,
    });
    assert_eq!(
        done,
        [&[0x33, 0, 36, 0, 0, 0], &tag.0[..], &[2, 0], b"tv"].concat()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_comes_is_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        kind in 0x2e..0x36_u16,
    ) {
        let mut framed = kind.to_le_bytes().to_vec();
        framed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        framed.extend_from_slice(&bytes);
        let mut ends = Ends::new("1234");
        ends.client.handle_stream(at(1), &framed);
        // What breaks the protocol ends the session.
        let broken = ends.host.handle_stream(at(1), &framed).is_err();
        prop_assert_eq!(broken, ends.host.state() == HostState::Ended);
    }

    #[test]
    fn no_share_is_worth_a_panic(bytes in prop::array::uniform32(any::<u8>())) {
        let mut share = [4; 65];
        share[1..33].copy_from_slice(&bytes);
        // The y beside a random x is never the one of the curve, but for once in 2^256.
        let begun = HostPairing::begin(&pin("1234"), &binding(), &entropy(2), &Share(share));
        prop_assert_eq!(begun.err(), Some(PairingError::Share));
    }
}
