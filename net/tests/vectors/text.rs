//! `PROTOCOL.md` against the crate, where numbers can be compared.

use std::path::Path;

use net::audio;
use net::limits;
use net::native::messages::Kind;

/// Numbers that `PROTOCOL.md` and the crate must agree on.
#[test]
fn the_text_names_every_message_and_limit() {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("PROTOCOL.md");
    let text = std::fs::read_to_string(text).expect("the text");
    let kinds = (0..=u16::MAX).filter_map(|number| Some((number, Kind::from_wire(number)?)));
    let mut wanted: Vec<String> = kinds
        .map(|(number, kind)| format!("| 0x{number:04X} | {} |", kind.name()))
        .collect();
    assert!(wanted.len() >= 10, "{wanted:?}");
    let (least, most) = (limits::DATAGRAM_BYTES_MIN, limits::DATAGRAM_BYTES_MAX);
    wanted.extend([
        format!("| {most} bytes; agreed from {least} on |"),
        format!("{} to {} pixels", limits::SIDE_PX_MIN, limits::SIDE_PX_MAX),
        format!("| replay window | {} datagrams |", limits::REPLAY_WINDOW),
        format!(
            "| parity groups of a frame | {} |",
            limits::GROUPS_PER_FRAME_MAX
        ),
        format!("`{}`", net::crypto::EXPORTER_LABEL),
        format!("at most {} bytes:", audio::AUDIO_DATAGRAM_BYTES_MAX),
        format!("copies c, at most {} |", audio::COPIES_MAX),
        format!("1 to {}, rising |", audio::DISTANCE_MAX),
        format!(
            "1 to {} and at most {} at once",
            audio::DISTANCE_MAX,
            audio::COPIES_MAX
        ),
        format!("{} ms at most", audio::receive::DELAY_MAX.as_millis()),
        format!(
            "after {} s when it falls",
            audio::redundancy::HOLD.as_secs()
        ),
        format!(
            "at most {} % of the last",
            audio::redundancy::RESIDUAL_MAX * 100.0
        ),
        format!(
            "At most {} bytes; the length is exact",
            net::native::input::PACKET_BYTES_MAX
        ),
        format!("receipts r, at most {} |", net::feedback::RECEIPTS_MAX),
        format!("wants w, at most {} |", net::feedback::WANTS_MAX),
    ]);
    let missing: Vec<&String> = wanted.iter().filter(|it| !text.contains(*it)).collect();
    assert!(missing.is_empty(), "PROTOCOL.md does not say {missing:?}");
}
