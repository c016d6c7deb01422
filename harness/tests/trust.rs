//! A client speaks only to the host that it trusts, and says nothing before it knows.

use harness::loopback::{LoopbackClient, LoopbackHost, MODE, hello};
use harness::stub_host::StubHost;
use net::client::{ConnectError, Trust};

#[test]
fn a_host_with_another_fingerprint_hears_nothing() {
    let impostor = StubHost::start();
    let trusted = LoopbackHost::synthetic(&[]);
    let trust = Trust::Pinned(trusted.fingerprint());
    let refused = LoopbackClient::with(impostor.address(), trust, hello(MODE));
    match refused.err() {
        Some(ConnectError::Impostor {
            host,
            found,
            expected,
        }) => {
            assert_eq!(host, impostor.address());
            assert_eq!(found, impostor.fingerprint());
            assert_eq!(expected, trusted.fingerprint());
        }
        other => panic!("{other:?}"),
    }
    let heard = impostor.heard();
    assert!(heard.established, "the client had to see its certificate");
    assert_eq!(heard.said, b"", "not a word was said");
    assert_eq!(
        heard.closed.as_deref(),
        Some("not the host that this client trusts")
    );
}

#[test]
fn an_unknown_host_is_asked_about_and_hears_nothing() {
    let unknown = StubHost::start();
    let refused = LoopbackClient::with(unknown.address(), Trust::Ask, hello(MODE));
    let error = refused.err().expect("nobody vouches for it");
    let told = error.to_string();
    assert!(told.contains(&unknown.fingerprint().to_string()), "{told}");
    assert!(told.contains("--pin-host"), "{told}");
    match error {
        ConnectError::Unknown { found, .. } => assert_eq!(found, unknown.fingerprint()),
        other => panic!("{other}"),
    }
    assert_eq!(unknown.heard().said, b"");
}

#[test]
fn what_was_trusted_at_first_use_is_held_to_afterwards() {
    let host = LoopbackHost::synthetic(&[]);
    let mut first = LoopbackClient::with(host.address(), Trust::FirstUse, hello(MODE))
        .expect("whoever answers is trusted once");
    first.watch(3, |_, _| {});
    let pinned = Trust::Pinned(first.fingerprint());
    first.end();

    let mut again =
        LoopbackClient::with(host.address(), pinned, hello(MODE)).expect("it is the same host");
    again.watch(3, |_, _| {});
    again.end();

    let impostor = StubHost::start();
    let refused = LoopbackClient::with(impostor.address(), pinned, hello(MODE));
    assert!(matches!(refused.err(), Some(ConnectError::Impostor { .. })));
    assert_eq!(impostor.heard().said, b"");
}
