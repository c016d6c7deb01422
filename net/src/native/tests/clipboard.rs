//! Clipboard text, from one machine to the other.

use super::*;
use crate::native::clipboard::TooLong;

fn streaming_with(features: Features) -> Pair {
    let mut pair = Pair::new(1000);
    let welcome = Welcome {
        features,
        ..welcome()
    };
    pair.client.handle_connected(at(1));
    pair.exchange(at(2));
    assert!(pair.host.poll_event().is_some());
    assert!(pair.host.accept(at(3), &welcome));
    pair.exchange(at(4));
    assert!(pair.client.poll_event().is_some());
    assert!(pair.client.start());
    pair.exchange(at(5));
    assert_eq!(pair.host.poll_event(), Some(HostEvent::Start));
    pair
}

/// Lets time pass until neither machine waits for it.
fn settle(pair: &mut Pair, from_ms: u64) {
    let mut now = at(from_ms);
    loop {
        pair.exchange(now);
        let due = [pair.host.poll_timeout(), pair.client.poll_timeout()];
        let Some(due) = due.into_iter().flatten().min() else {
            return;
        };
        now = now.max(due);
        pair.host.handle_timeout(now);
        pair.client.handle_timeout(now);
    }
}

#[test]
fn texts_go_both_ways_beside_what_else_is_said() {
    let mut pair = streaming_with(Features::CLIPBOARD);
    let long = "ü".repeat(CLIPBOARD_BYTES_MAX / 2);
    pair.host
        .set_clipboard(at(10), long.clone())
        .expect("the longest");
    let request = Reconfigure {
        number: 1,
        mode: welcome().mode.into(),
    };
    pair.client.request_mode(request);
    settle(&mut pair, 10);
    assert!(matches!(
        pair.client.poll_event(),
        Some(ClientEvent::Reconfigured(_))
    ));
    assert_eq!(pair.client.poll_event(), Some(ClientEvent::Clipboard(long)));
    for text in ["older", "newer"] {
        pair.client
            .set_clipboard(at(5000), text.to_owned())
            .expect("short");
    }
    settle(&mut pair, 5000);
    let newer = HostEvent::Clipboard("newer".to_owned());
    assert_eq!(pair.host.poll_event(), Some(newer));
    assert_eq!(pair.host.poll_event(), None);
    assert_eq!(pair.host.clipboard_stats().map(|it| it.received), Some(2));
    let bytes = CLIPBOARD_BYTES_MAX + 1;
    let refused = pair.client.set_clipboard(at(9000), "x".repeat(bytes));
    assert_eq!(refused, Err(TooLong { bytes }));
}

#[test]
fn without_the_feature_nothing_is_said_and_what_comes_breaks_the_protocol() {
    let mut pair = streaming_with(Features::FRAME_TIMES);
    pair.host
        .set_clipboard(at(10), "secret".to_owned())
        .expect("not even looked at");
    pair.client
        .set_clipboard(at(10), "secret".to_owned())
        .expect("not even looked at");
    assert_eq!(pair.host.poll_transmit(), None);
    assert_eq!(pair.client.poll_transmit(), None);
    let piece = Message::Clipboard(ClipboardPiece {
        serial: 1,
        seen: 0,
        total_bytes: 1,
        offset: 0,
        bytes: b"x".to_vec(),
    });
    let mut bytes = Vec::new();
    piece.write(&mut bytes);
    for error in [
        pair.host.handle_stream(at(11), &bytes),
        pair.client.handle_stream(at(11), &bytes),
    ] {
        let text = error.expect_err("it was not agreed on").to_string();
        assert!(text.contains("sharing no clipboard"), "{text}");
    }
}

#[test]
fn a_stream_that_takes_nothing_is_not_waited_for_in_a_hurry() {
    let mut pair = streaming_with(Features::CLIPBOARD);
    let text = "x".repeat(2 * CLIPBOARD_PIECE_BYTES);
    pair.host.set_clipboard(at(10), text).expect("short");
    assert!(pair.host.poll_transmit().is_some());
    assert_eq!(pair.host.poll_timeout(), None, "the stream is behind");
    pair.host.handle_timeout(at(1000));
    let waiting = pair.host.poll_transmit().map_or(0, <[u8]>::len);
    assert_eq!(waiting, 6 + 18 + CLIPBOARD_PIECE_BYTES);
    pair.exchange(at(1001));
    assert!(pair.host.poll_timeout().is_some_and(|due| due <= at(1001)));
}

#[test]
fn a_text_before_start_breaks_the_protocol() {
    let mut pair = Pair::new(usize::MAX);
    pair.client.handle_connected(at(1));
    pair.exchange(at(2));
    let body = [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, b'x'];
    let bytes = [&[0x40, 0, body.len() as u8, 0, 0, 0][..], &body].concat();
    assert!(pair.host.handle_stream(at(3), &bytes).is_err());
    assert_eq!(pair.host.state(), HostState::Ended);
}
