//! The bytes of every message.

use proptest::prelude::*;

use super::*;
use crate::input::PadOutput;
use crate::native::input::{OutputSender, PACKET_BYTES_MAX};
use crate::times::SliceTimes;

fn bytes_of(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.write(&mut bytes);
    bytes
}

fn parse(bytes: &[u8]) -> Message {
    let mut framer = Framer::new(|_| true);
    let mut rest = bytes;
    let raw = framer
        .feed(&mut rest)
        .expect("within the limit")
        .expect("whole");
    super::super::parse(raw).expect("valid")
}

fn check(message: Message, golden: &[&[u8]]) {
    assert_eq!(bytes_of(&message), golden.concat(), "{message:?}");
    assert_eq!(parse(&golden.concat()), message);
}

#[test]
fn golden_hello() {
    let hello = Hello {
        slices: 8,
        bitrate: BitsPerSecond(0x0102_0304),
        required: Features(2),
        ..hello()
    };
    check(
        Message::Hello(hello),
        &[
            &[0x01, 0x00, 62, 0, 0, 0],               // type, length
            &[0x01, 0x00],                            // version
            &[0x00, 0x05, 0, 0, 0xd0, 0x02, 0, 0],    // 1280 x 720
            &[0x60, 0xea, 0, 0],                      // 60 000 mHz
            &[1, 0, 0, 0, 6, 0, 0, 0, 6, 0, 0, 0],    // codecs, FEC codes, AEADs
            &[2, 0, 0, 0, 0, 0, 0, 0],                // required
            &[1, 0, 0, 0, 0, 0, 0, 0],                // optional
            &[8, 0x04, 0x03, 0x02, 0x01, 0, 0, 0, 0], // slices, bit/s
            &[255, 0x70, 0x05],                       // FEC percent, datagram bytes
            &[6, 0],
            b"laptop",
        ],
    );
}

#[test]
fn golden_welcome() {
    let clock: [u8; 16] = welcome().clock.0;
    check(
        Message::Welcome(welcome()),
        &[
            &[0x02, 0x00, 78, 0, 0, 0],
            &[0x5e; 16],                                             // session
            &[0x00, 0x05, 0, 0, 0xd0, 0x02, 0, 0, 0x60, 0xea, 0, 0], // mode
            &[1, 1, 20],                                             // codec, AEAD, FEC percent
            &[1, 0, 0, 0, 0, 0, 0, 0],                               // features
            &[8, 0x00, 0x2d, 0x31, 0x01, 0, 0, 0, 0],                // slices, bit/s
            &[0x70, 0x05],                                           // datagram bytes
            &clock,
            &[4, 0],
            b"desk",
            &[4, 0],
            b"x264",
        ],
    );
}

#[test]
fn golden_modes() {
    check(
        Message::Reconfigure(Reconfigure {
            number: 7,
            mode: RequestedMode {
                width: 1280,
                height: 720,
                millihz: 0xffff_ffff,
            },
        }),
        &[
            &[0x13, 0, 16, 0, 0, 0, 7, 0, 0, 0],
            &[0x00, 0x05, 0, 0, 0xd0, 0x02, 0, 0, 0xff, 0xff, 0xff, 0xff],
        ],
    );
    check(
        Message::Reconfigured(Reconfigured {
            number: 0x0102_0304,
            outcome: ModeOutcome::Failed,
            mode: welcome().mode,
            first_frame: FrameId(0x0506),
            text: "no".to_owned(),
        }),
        &[
            &[0x14, 0, 25, 0, 0, 0, 4, 3, 2, 1, 2],
            &[0x00, 0x05, 0, 0, 0xd0, 0x02, 0, 0, 0x60, 0xea, 0, 0], // mode
            &[6, 5, 0, 0, 2, 0],                                     // first frame
            b"no",
        ],
    );
}

#[test]
fn golden_small_messages() {
    let refuse = Refuse {
        code: RefuseCode::Mode,
        text: "no".to_owned(),
    };
    check(
        Message::Refuse(refuse),
        &[&[3, 0, 6, 0, 0, 0, 2, 0, 2, 0], b"no"],
    );
    check(Message::Start, &[&[4, 0, 0, 0, 0, 0]]);
    check(
        Message::Clipboard(ClipboardPiece {
            serial: 0x0102,
            seen: 3,
            total_bytes: 0x2005,
            offset: 0x2000,
            bytes: b"later".to_vec(),
        }),
        &[
            &[0x40, 0, 23, 0, 0, 0, 2, 1, 0, 0, 3, 0, 0, 0],
            &[5, 0x20, 0, 0, 0, 0x20, 0, 0, 5, 0],
            b"later",
        ],
    );
    check(
        Message::Input(vec![0xC8, 7]),
        &[&[0x20, 0, 2, 0, 0, 0, 0xC8, 7]],
    );
    let rumble = PadOutput::Rumble {
        controller: 3,
        strong: 0x0201,
        weak: 0x0403,
    };
    check(
        Message::PadOutput(OutputSender::default().packet(rumble)),
        &[
            &[0x21, 0, 11, 0, 0, 0],
            &[0xCA, 1, 1, 0, 0, 0, 3, 1, 2, 3, 4],
        ],
    );
    let request = RepairRequest {
        last_good: Some(FrameId(5)),
        first_lost: FrameId(6),
        newest_lost: FrameId(0x0a09),
        wish: RepairWish::Recovery,
    };
    check(
        Message::RepairRequest(request),
        &[
            &[0x10, 0, 14, 0, 0, 0, 1, 5, 0, 0, 0],
            &[6, 0, 0, 0, 0x09, 0x0a, 0, 0, 0],
        ],
    );
    let request = RepairRequest {
        last_good: None,
        first_lost: FrameId(0),
        newest_lost: FrameId(0),
        wish: RepairWish::Idr,
    };
    check(
        Message::RepairRequest(request),
        &[
            &[0x10, 0, 14, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0, 0, 0, 0, 1],
        ],
    );
    let statistics = ClientStatistics {
        frames_received: 1,
        frames_lost: 2,
        shards_repaired: 3,
        frames_decoded: 4,
        datagrams: 5,
        bytes: 6,
        not_opened: 7,
        newest_frame: Some(FrameId(8)),
    };
    let counters: Vec<u8> = (1..=7u64).flat_map(u64::to_le_bytes).collect();
    check(
        Message::Statistics(statistics),
        &[&[0x11, 0, 61, 0, 0, 0], &counters, &[1, 8, 0, 0, 0]],
    );
    check(
        Message::End(end(EndReason::Shutdown, "bye")),
        &[&[0x1f, 0, 7, 0, 0, 0, 3, 0, 3, 0], b"bye"],
    );
    let frames = vec![FrameTimes {
        frame: FrameId(9),
        ..FrameTimes::default()
    }];
    let not_yet = [0xff; 8];
    check(
        Message::FrameTimes(frames),
        &[
            &[0x12, 0, 26, 0, 0, 0, 1, 0, 9, 0, 0, 0],
            &[0; 4],
            &[0; 8],
            &not_yet,
        ],
    );
}

#[test]
fn unknown_values_are_variants_and_appended_fields_are_ignored() {
    let mut bytes = bytes_of(&Message::End(end(EndReason::Unknown(0x4242), "later")));
    bytes.extend_from_slice(b"more");
    bytes[2] += 4;
    assert_eq!(
        parse(&bytes),
        Message::End(end(EndReason::Unknown(0x4242), "later"))
    );
    for number in 0..100 {
        assert_eq!(RefuseCode::from_wire(number).to_wire(), number);
        assert_eq!(EndReason::from_wire(number).to_wire(), number);
        assert_eq!(Codec::from_wire(number as u8).to_wire(), number as u8);
    }
}

#[test]
fn a_wish_of_a_later_version_is_met_by_an_idr_and_a_run_backwards_is_refused() {
    let mut body = [1, 5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0, 9];
    let Ok(Message::RepairRequest(request)) = Message::parse(Kind::RepairRequest, &body) else {
        panic!("it is whole");
    };
    assert_eq!(request.wish, RepairWish::Idr);
    body[5] = 8;
    assert!(matches!(
        Message::parse(Kind::RepairRequest, &body),
        Err(MessageError::Value { value: 8, .. })
    ));
}

#[test]
fn every_cut_of_every_message_is_an_error() {
    let frames = vec![FrameTimes {
        slice_count: 2,
        ..FrameTimes::default()
    }];
    for message in [
        Message::Hello(hello()),
        Message::Welcome(welcome()),
        Message::Refuse(Refuse {
            code: RefuseCode::Busy,
            text: "busy".to_owned(),
        }),
        Message::RepairRequest(RepairRequest {
            last_good: None,
            first_lost: FrameId(1),
            newest_lost: FrameId(1),
            wish: RepairWish::Idr,
        }),
        Message::Statistics(ClientStatistics::default()),
        Message::FrameTimes(frames),
        Message::End(end(EndReason::Done, "bye")),
        Message::Clipboard(ClipboardPiece {
            serial: 1,
            seen: 0,
            total_bytes: 3,
            offset: 0,
            bytes: b"abc".to_vec(),
        }),
    ] {
        let body = &bytes_of(&message)[6..];
        for cut in 0..body.len() {
            let error = Message::parse(message.kind(), &body[..cut]).expect_err("cut");
            assert!(
                matches!(error, MessageError::Truncated(_) | MessageError::Times(_)),
                "{message:?} cut at {cut}: {error}"
            );
        }
    }
}

#[test]
fn the_values_of_a_welcome_are_checked() {
    let body = bytes_of(&Message::Welcome(welcome()))[6..].to_vec();
    for (at, value) in [(16, 1), (29, 3), (39, 0), (39, 33), (43, 0xff), (48, 0)] {
        let mut bad = body.clone();
        bad[at] = value;
        if at == 48 {
            bad[49] = 0;
        }
        assert!(
            Message::parse(Kind::Welcome, &bad).is_err(),
            "byte {at} = {value}"
        );
    }
}

fn text(bytes_max: usize) -> impl Strategy<Value = String> {
    "[a-zA-Zäöü €𝄞]{0,30}"
        .prop_map(move |text| text[..text.floor_char_boundary(bytes_max)].to_owned())
}

fn any_time(captured_ns: u64) -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        1 => Just(Timestamp::ZERO),
        4 => (0..u32::MAX - 1).prop_map(move |ns| Timestamp::from_ns(captured_ns + u64::from(ns))),
    ]
}

fn any_slice_times(captured_ns: u64) -> impl Strategy<Value = SliceTimes> {
    let time = || any_time(captured_ns);
    (time(), time(), time(), time(), any::<u32>()).prop_map(
        |(encoded, protected, first_byte, last_byte, bytes)| SliceTimes {
            encoded,
            protected,
            first_byte,
            last_byte,
            bytes,
        },
    )
}

fn any_frame_times() -> impl Strategy<Value = FrameTimes> {
    (1..1u64 << 60).prop_flat_map(|captured_ns| {
        let slices = prop::collection::vec(any_slice_times(captured_ns), 0..=32);
        let fields = (any::<u32>(), any::<bool>(), any::<u16>());
        (fields, any_time(captured_ns), any_time(captured_ns), slices).prop_map(
            move |((frame, keyframe, qp_tenths), encode_begin, converted, slices)| {
                let mut times = FrameTimes {
                    frame: FrameId(frame),
                    keyframe,
                    captured: Timestamp::from_ns(captured_ns),
                    encode_begin,
                    converted,
                    slice_count: slices.len() as u8,
                    qp_tenths,
                    ..FrameTimes::default()
                };
                times.slices[..slices.len()].copy_from_slice(&slices);
                times
            },
        )
    })
}

fn any_hello() -> impl Strategy<Value = Hello> {
    let sizes = (any::<u32>(), any::<u32>(), any::<u32>());
    let sets = (
        any::<u32>(),
        any::<u32>(),
        any::<u32>(),
        any::<u64>(),
        any::<u64>(),
    );
    let wishes = (
        any::<u8>(),
        any::<u64>(),
        prop::option::of(0..255u8),
        any::<u16>(),
    );
    (any::<u16>(), sizes, sets, wishes, text(64)).prop_map(
        |(version, (width, height, millihz), sets, wishes, name)| Hello {
            version,
            mode: RequestedMode {
                width,
                height,
                millihz,
            },
            codecs: CodecSet(sets.0),
            fec_codes: FecCodes(sets.1),
            aeads: AeadSet(sets.2),
            required: Features(sets.3),
            optional: Features(sets.4),
            slices: wishes.0,
            bitrate: BitsPerSecond(wishes.1),
            fec_percent: wishes.2,
            datagram_bytes_max: wishes.3,
            name,
        },
    )
}

fn any_message() -> impl Strategy<Value = Message> {
    let frame = || any::<u32>().prop_map(FrameId);
    prop_oneof![
        any_hello().prop_map(Message::Hello),
        (any::<[u8; 16]>(), any::<[u8; 16]>(), text(64), text(64)).prop_map(
            |(session, clock, host_name, encoder_name)| {
                let clock = ClockDomain(clock);
                Message::Welcome(Welcome {
                    session,
                    clock,
                    host_name,
                    encoder_name,
                    ..welcome()
                })
            }
        ),
        (any::<u16>(), text(256)).prop_map(|(code, text)| {
            Message::Refuse(Refuse {
                code: RefuseCode::from_wire(code),
                text,
            })
        }),
        Just(Message::Start),
        prop::collection::vec(any::<u8>(), 0..PACKET_BYTES_MAX).prop_map(Message::Input),
        any::<[u8; 11]>().prop_map(Message::PadOutput),
        (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>()).prop_map(
            |(number, width, height, millihz)| {
                let mode = RequestedMode {
                    width,
                    height,
                    millihz,
                };
                Message::Reconfigure(Reconfigure { number, mode })
            }
        ),
        (any::<u32>(), any::<u8>(), frame(), text(256)).prop_map(
            |(number, outcome, first_frame, text)| {
                Message::Reconfigured(Reconfigured {
                    number,
                    outcome: ModeOutcome::from_wire(outcome),
                    mode: welcome().mode,
                    first_frame,
                    text,
                })
            }
        ),
        (prop::option::of(frame()), frame(), frame(), any::<bool>()).prop_map(
            |(last_good, one, other, idr)| {
                Message::RepairRequest(RepairRequest {
                    last_good,
                    first_lost: one.min(other),
                    newest_lost: one.max(other),
                    wish: if idr {
                        RepairWish::Idr
                    } else {
                        RepairWish::Recovery
                    },
                })
            }
        ),
        (any::<[u64; 7]>(), prop::option::of(frame())).prop_map(|(c, newest_frame)| {
            Message::Statistics(ClientStatistics {
                frames_received: c[0],
                frames_lost: c[1],
                shards_repaired: c[2],
                frames_decoded: c[3],
                datagrams: c[4],
                bytes: c[5],
                not_opened: c[6],
                newest_frame,
            })
        }),
        prop::collection::vec(any_frame_times(), 0..=16).prop_map(Message::FrameTimes),
        (any::<u16>(), text(256)).prop_map(|(reason, text)| {
            Message::End(End {
                reason: EndReason::from_wire(reason),
                text,
            })
        }),
    ]
}

proptest! {
    #[test]
    fn every_message_round_trips(message in any_message()) {
        prop_assert_eq!(parse(&bytes_of(&message)), message);
    }
}
