//! GameStream's streaming side against the stock client as a process: RTSP, control stream, video
//! with slices on the wire before the picture is done, audio, input, loss.
//!
//! The feature `moonlight` builds these tests; `PUNKTFUNK_MOONLIGHT` names a Python interpreter
//! that has moonlight-python (PyPI). The machines are driven here as the engine will drive them,
//! by one thread, with the x264 encoder.

mod gamestream_host;

use std::collections::BTreeMap;

use gamestream_host::{Cut, Options, Outcome, stream};
use net::gamestream::control::FromClient;
use net::input::InputEvent;

/// Every frame that the client delivered is what was sent; `decodes` if each is a picture, which
/// libavcodec does not give for a while after frames are missing.
fn compare(outcome: &Outcome, decodes: bool) -> BTreeMap<u64, &serde_json::Value> {
    let mut frames = BTreeMap::new();
    for line in &outcome.lines {
        if let Some(frame) = line["frame"].as_u64() {
            let sent = outcome
                .sums
                .get(&(frame as u32))
                .expect("a frame that was sent");
            assert_eq!(
                line["sum"].as_u64(),
                Some(u64::from(*sent)),
                "frame {frame}"
            );
            assert!(
                !decodes || line["pictures"] == 1,
                "frame {frame} is a picture"
            );
            frames.insert(frame, line);
        }
    }
    frames
}

fn assert_no_gap(frames: &BTreeMap<u64, &serde_json::Value>, count: usize) {
    assert_eq!(frames.len(), count);
    let (first, last) = (frames.keys().next(), frames.keys().last());
    assert_eq!(first, Some(&1));
    assert_eq!(last, Some(&(count as u64)), "none is missing");
}

/// What the client's script plays, once each.
fn assert_input_came(outcome: &Outcome) {
    let count = |wanted: &dyn Fn(&InputEvent) -> bool| {
        let events = outcome.messages.iter().filter_map(|message| match message {
            FromClient::Input(event) => Some(event),
            _ => None,
        });
        events.filter(|event| wanted(event)).count()
    };
    assert_eq!(
        count(&|event| matches!(event, InputEvent::Key(key) if key.virtual_key == 0x41)),
        2
    );
    assert_eq!(
        count(&|event| matches!(event, InputEvent::Text(text) if "grüß".contains(text.as_str()))),
        4,
        "character by character"
    );
    assert_eq!(
        count(
            &|event| matches!(event, InputEvent::PointerPosition(at) if at.x == 0.5 && at.y == 0.25)
        ),
        1
    );
    assert_eq!(
        count(&|event| matches!(event, InputEvent::PointerMotion { dx: 5, dy: -3 })),
        1
    );
    assert_eq!(
        count(&|event| matches!(event, InputEvent::PointerButton { pressed: true, .. })),
        1
    );
    assert_eq!(
        count(&|event| matches!(event, InputEvent::Scroll { amount: -120, .. })),
        1
    );
    assert_eq!(
        count(&|event| matches!(event, InputEvent::ControllerState(state)
            if state.controller == 2 && state.buttons == 0x1001 && state.right_stick == [0, 32767])),
        1
    );
    assert_eq!(
        count(&|event| matches!(event, InputEvent::Touch(touch)
            if touch.id == 7 && touch.contact.rotation == Some(90))),
        1
    );
}

#[test]
fn slices_sound_and_input_in_plain_text() {
    let outcome = stream(&Options::default());
    assert_no_gap(&compare(&outcome, true), 200);
    assert_eq!(outcome.announced.slices.get(), 4);
    assert!(outcome.announced.fec_status && outcome.announced.session_ids);
    assert_input_came(&outcome);
    let said = |key: &str| outcome.lines.iter().find(|line| !line[key].is_null());
    assert_eq!(
        said("rumble").expect("rumble")["rumble"],
        serde_json::json!([1, 0x1234, 0xffff])
    );
    assert_eq!(
        said("led").expect("a light")["led"],
        serde_json::json!([1, 10, 20, 30])
    );
    let heard: Vec<_> = outcome
        .lines
        .iter()
        .filter(|line| line["audio"].is_u64())
        .collect();
    assert!(heard.len() > 100, "{} packets of sound", heard.len());
    assert!(heard.iter().all(|line| {
        line["bytes"] == 80
            && outcome
                .opus
                .contains(&(line["sum"].as_u64().expect("a sum") as u32))
    }));
}

#[test]
fn everything_encrypted_in_small_packets() {
    let outcome = stream(&Options {
        packet_bytes: 1024,
        remote: true,
        encrypt_media: true,
        encrypt_rtsp: true,
        ..Options::default()
    });
    assert_no_gap(&compare(&outcome, true), 200);
    let encryption = outcome.announced.encryption;
    assert!(encryption.control_v2 && encryption.video && encryption.audio);
    assert_eq!(outcome.announced.packet_bytes, 1024 - 32);
    let heard = outcome
        .lines
        .iter()
        .filter(|line| line["audio"].is_u64() && line["bytes"] == 80);
    assert!(heard.count() > 100, "sound is decrypted");
}

#[test]
fn each_number_of_blocks_and_surround() {
    for blocks in [1, 4] {
        let outcome = stream(&Options {
            blocks,
            surround: true,
            frames: 100,
            ..Options::default()
        });
        assert_no_gap(&compare(&outcome, true), 100);
        assert_eq!(outcome.announced.audio.channels, 6);
        let opus = outcome
            .lines
            .iter()
            .find(|line| line["opus"].is_object())
            .expect("told");
        let layout = net::gamestream::sdp::OpusLayout::of(6, outcome.announced.audio.high_quality);
        assert_eq!(opus["opus"]["streams"], layout.streams);
        assert_eq!(
            opus["opus"]["mapping"],
            serde_json::json!(layout.mapping[..6])
        );
    }
}

/// One packet of every block is lost: every frame is recovered, zeros and all.
#[test]
fn a_loss_in_every_block_is_recovered() {
    let outcome = stream(&Options {
        cut: Cut::OneOfEachBlock,
        ..Options::default()
    });
    assert_no_gap(&compare(&outcome, true), 200);
    let reports = outcome
        .messages
        .iter()
        .filter(|it| matches!(it, FromClient::FecStatus(_)));
    assert!(reports.count() > 50, "the client reports what it recovered");
    let idrs = outcome
        .messages
        .iter()
        .filter(|it| matches!(it, FromClient::RequestIdr));
    assert_eq!(idrs.count(), 1, "the one that each client begins with");
}

/// A third of all packets of sound is lost, two of each block: the client hears every one.
#[test]
fn lost_packets_of_sound_are_recovered() {
    for encrypt_media in [false, true] {
        let outcome = stream(&Options {
            cut_sound: true,
            encrypt_media,
            ..Options::default()
        });
        let heard: Vec<_> = outcome
            .lines
            .iter()
            .filter(|line| line["audio"].is_u64())
            .collect();
        assert!(heard.len() > 100, "{} packets of sound", heard.len());
        for line in heard {
            let sum = line["sum"].as_u64().expect("a sum");
            assert!(outcome.opus.contains(&(sum as u32)), "{line}");
        }
    }
}

/// A block is lost now and then: the frame is, and the encoder goes on past it without an IDR.
#[test]
fn a_lost_block_costs_its_frame_and_no_idr() {
    let outcome = stream(&Options {
        cut: Cut::ABlockEvery40Frames,
        ..Options::default()
    });
    let frames = compare(&outcome, false);
    let invalidated = outcome
        .messages
        .iter()
        .filter(|it| matches!(it, FromClient::Invalidate { .. }));
    assert!(invalidated.count() >= 4);
    let idrs = outcome
        .messages
        .iter()
        .filter(|it| matches!(it, FromClient::RequestIdr));
    assert_eq!(idrs.count(), 1, "the one that each client begins with");
    let last = *frames.keys().last().expect("frames");
    let missing = last as usize - frames.len();
    // Four losses; each may cost the frames that were encoded before its report came.
    assert!(
        (4..=16).contains(&missing),
        "{missing} of {last} are missing"
    );
    let kinds: Vec<_> = frames.values().filter(|line| line["kind"] == 1).collect();
    assert_eq!(kinds.len(), 1, "one IDR, the first");
}

#[test]
fn the_client_is_told_why_it_ends() {
    let outcome = stream(&Options {
        terminate_after: Some(60),
        frames: 1000,
        ..Options::default()
    });
    let end = outcome
        .lines
        .iter()
        .find(|line| line.get("terminated").is_some())
        .expect("an end");
    assert_eq!(end["terminated"], 0, "a session that was ended on purpose");
}
