use proptest::prelude::*;

use super::*;
use crate::crypto::Gcm;
use crate::gamestream::reports::FecStatus;
use crate::input::{InputEvent, PointerButton};

const KEY: [u8; 16] = *b"a client's key..";

/// As a client seals.
fn sealed(sequence: u32, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut plain = kind.to_le_bytes().to_vec();
    plain.extend_from_slice(&(payload.len() as u16).to_le_bytes());
    plain.extend_from_slice(payload);
    let mut out = vec![0; 24 + plain.len()];
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&sequence.to_le_bytes());
    nonce[10..].copy_from_slice(b"CC");
    let mut tag = [0; 16];
    Gcm::new(&KEY).seal(&nonce, &plain, &mut out[24..], &mut tag);
    out[0] = 1;
    let length = (out.len() - 4) as u16;
    out[2..4].copy_from_slice(&length.to_le_bytes());
    out[4..8].copy_from_slice(&sequence.to_le_bytes());
    out[8..24].copy_from_slice(&tag);
    out
}

fn cipher() -> ControlCipher {
    ControlCipher::new(KEY, NonceKind::Directed)
}

#[test]
fn messages_open_once_in_any_order_and_only_whole() {
    let mut cipher = cipher();
    let idr = sealed(5, 0x0302, &[0, 0]);
    let opened = Opened {
        kind: 0x0302,
        payload: vec![0, 0],
    };
    assert_eq!(cipher.open(&idr), Ok(opened.clone()));
    assert_eq!(
        cipher.open(&idr),
        Err(ControlError::Repeated { sequence: 5 })
    );
    assert_eq!(cipher.open(&sealed(3, 0x0302, &[0, 0])), Ok(opened));
    let mut forged = sealed(9, 0x0302, &[0, 0]);
    forged[26] ^= 1;
    assert_eq!(
        cipher.open(&forged),
        Err(ControlError::Forged { sequence: 9 })
    );
    assert!(
        cipher.open(&sealed(9, 0x0200, &[0; 8])).is_ok(),
        "a forgery uses no sequence"
    );
    assert_eq!(
        cipher.open(&[0x02, 0x03, 0, 0]),
        Err(ControlError::Plain { kind: 0x0302 })
    );
    let long = sealed(10, 0x0206, &[0; 600]);
    assert_eq!(
        cipher.open(&long),
        Err(ControlError::Length { bytes: long.len() })
    );
    for cut in 0..idr.len() {
        assert!(cipher.open(&sealed(11, 1, &[1, 2])[..cut]).is_err());
    }
}

#[test]
fn golden_sealed_message() {
    let mut cipher = cipher();
    let first = cipher.seal(0x010b, &[0; 10]).expect("small");
    assert_eq!(first[..8], [1, 0, 34, 0, 0, 0, 0, 0]);
    assert_eq!(first.len(), 38);
    let second = cipher.seal(0x010b, &[0; 10]).expect("small");
    assert_eq!(second[4..8], [1, 0, 0, 0]);
    let mut plain = second[24..].to_vec();
    let tag = second[8..24].try_into().expect("16 bytes");
    assert!(Gcm::new(&KEY).open(b"\x01\0\0\0\0\0\0\0\0\0HC", &mut plain, &tag));
    assert_eq!(plain[..4], [0x0b, 1, 10, 0]);
    assert!(cipher.seal(1, &[0; 600]).is_err());
}

/// Both directions share their nonces here, as those clients do; what one side seals the other
/// opens.
#[test]
fn legacy_clients_are_understood() {
    let mut host = ControlCipher::new(KEY, NonceKind::Legacy);
    let mut client = ControlCipher::new(KEY, NonceKind::Legacy);
    for _ in 0..300 {
        let message = client.seal(0x0200, &[4, 0, 0, 0]).expect("small");
        let opened = host.open(&message).expect("the same key");
        assert_eq!(
            (opened.kind, &opened.payload[..]),
            (0x0200, &[4, 0, 0, 0][..])
        );
    }
    assert!(matches!(
        host.open(&sealed(900, 0x0302, &[0, 0])),
        Err(ControlError::Forged { .. })
    ));
}

#[test]
fn golden_messages_of_clients() {
    let parse = |kind, payload: &[u8]| FromClient::parse(kind, payload);
    assert_eq!(parse(0x0302, &[0, 0]), Ok(FromClient::RequestIdr));
    assert_eq!(parse(0x0305, &[0, 0]), Ok(FromClient::StartA));
    assert_eq!(parse(0x0307, &[0]), Ok(FromClient::StartB));
    assert_eq!(
        parse(0x0200, &[4, 0, 0, 0, 0, 0, 0, 0]),
        Ok(FromClient::Ping)
    );
    let mut rfi = [0; 24];
    (rfi[0], rfi[8]) = (7, 9);
    assert_eq!(
        parse(0x0301, &rfi),
        Ok(FromClient::Invalidate { first: 7, last: 9 })
    );
    rfi[0] = 10;
    assert_eq!(
        parse(0x0301, &rfi),
        Err(MessageError::Order { first: 10, last: 9 })
    );
    let mut stats = [0; 32];
    (stats[0], stats[4], stats[12]) = (3, 50, 200);
    let expected = LossStats {
        lost: 3,
        interval_ms: 50,
        last_good_frame: 200,
    };
    assert_eq!(parse(0x0201, &stats), Ok(FromClient::LossStats(expected)));
    let status = [
        0, 0, 1, 2, 0, 30, 0, 28, 0, 1, 0, 10, 0, 4, 0, 9, 0, 3, 40, 1, 2,
    ];
    let expected = FecStatus {
        frame: 0x102,
        highest_received: 30,
        next_contiguous: 28,
        missing_before_highest: 1,
        data_packets: 10,
        parity_packets: 4,
        data_received: 9,
        parity_received: 3,
        percent: 40,
        block: 1,
        blocks: 2,
    };
    assert_eq!(parse(0x5502, &status), Ok(FromClient::FecStatus(expected)));
    let mut lie = status;
    lie[15] = 11;
    assert_eq!(
        parse(0x5502, &lie),
        Err(MessageError::Report { frame: 0x102 })
    );
    assert_eq!(
        parse(0x0350, &[5, 0, 0, 0, 0, 0, 0, 0]),
        Ok(FromClient::LongTermReference { frame: 5 })
    );
    let click = InputEvent::PointerButton {
        button: PointerButton::Left,
        pressed: true,
    };
    assert_eq!(
        parse(0x0206, &[0, 0, 0, 5, 8, 0, 0, 0, 1]),
        Ok(FromClient::Input(click))
    );
    assert_eq!(parse(0x7777, &[]), Ok(FromClient::Unknown { kind: 0x7777 }));
    assert!(matches!(
        parse(0x0301, &[0; 11]),
        Err(MessageError::Short { .. })
    ));
}

#[test]
fn golden_messages_of_the_host() {
    let wire = |message: ToClient| {
        let (kind, payload, length) = message.to_wire();
        (kind, payload[..length].to_vec())
    };
    let rumble = ToClient::Rumble {
        controller: 2,
        low: 0x1234,
        high: 0xffff,
    };
    assert_eq!(
        wire(rumble),
        (0x010b, vec![0, 0, 0, 0, 2, 0, 0x34, 0x12, 0xff, 0xff])
    );
    let triggers = ToClient::TriggerRumble {
        controller: 1,
        left: 1,
        right: 2,
    };
    assert_eq!(wire(triggers), (0x5500, vec![1, 0, 1, 0, 2, 0]));
    let motion = ToClient::MotionEnable {
        controller: 0,
        kind: MotionKind::Gyroscope,
        rate_hz: 100,
    };
    assert_eq!(wire(motion), (0x5501, vec![0, 0, 100, 0, 2]));
    let led = ToClient::Led {
        controller: 3,
        rgb: [1, 2, 3],
    };
    assert_eq!(wire(led), (0x5502, vec![3, 0, 1, 2, 3]));
    let right = Some(AdaptiveTrigger {
        mode: 0x21,
        effect: [9; 10],
    });
    let adaptive = ToClient::AdaptiveTriggers {
        controller: 0,
        left: None,
        right,
    };
    let expected = [&[0, 0, 4, 0, 0x21][..], &[0; 10], &[9; 10]].concat();
    assert_eq!(wire(adaptive), (0x5503, expected));
    let metadata = HdrMetadata {
        white: [1, 2],
        full_frame_max: 0x304,
        ..HdrMetadata::default()
    };
    let (kind, payload) = wire(ToClient::HdrMode {
        enabled: true,
        metadata,
    });
    assert_eq!((kind, payload.len()), (0x010e, 27));
    assert_eq!(
        (payload[0], &payload[13..17], &payload[25..]),
        (1, &[1, 0, 2, 0][..], &[4, 3][..])
    );
    let end = ToClient::Terminate(EndReason::Closed);
    assert_eq!(wire(end), (0x0109, vec![0x80, 3, 0, 0x23]));
}

proptest! {
    #[test]
    fn any_bytes(data in prop::collection::vec(any::<u8>(), 0..600), kind in any::<u16>()) {
        let _refused = cipher().open(&data);
        let _parsed = FromClient::parse(kind, &data);
    }
}
