//! Whatever a peer sends, nothing panics and everything stays within its limits. The bodies are
//! those of the fuzz targets in `net/fuzz`.

use proptest::prelude::*;

#[path = "../fuzz/bodies/control_stream.rs"]
mod control_stream;
#[path = "../fuzz/bodies/feedback.rs"]
mod feedback;
#[path = "../fuzz/bodies/media_header.rs"]
mod media_header;
#[path = "../fuzz/bodies/reassembler.rs"]
mod reassembler;

/// A stream of messages with valid headers and arbitrary, mostly short bodies.
fn framed() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![0..6u16, 0x0f..0x14u16, Just(0x1fu16), any::<u16>()];
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..90),
        prop::collection::vec(0..3u8, 0..90),
    ];
    let message = (kind, body).prop_map(|(kind, body)| {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    });
    (any::<[u8; 2]>(), prop::collection::vec(message, 0..12)).prop_map(|(first, messages)| {
        let mut stream = first.to_vec();
        stream.extend(messages.concat());
        stream
    })
}

/// The commands of the reassembler's body do reach whole frames: of one shard, and of two blocks
/// whose second is recovered.
#[test]
fn commands_make_frames() {
    let one = [0, 0, 0, 0, 2, 0, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let first = [0, 0, 1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let parity = [0, 0, 0, 0, 2, 0, 0x08, 1, 1, 0, 0, 1, 1, 0, 0, 0];
    let stats = reassembler::run(&[one, one, first, parity].concat());
    assert_eq!(
        (stats.frames, stats.repaired_shards, stats.lost_frames),
        (3, 1, 0)
    );
}

proptest! {
    #[test]
    fn datagrams(data in prop::collection::vec(any::<u8>(), 0..1500)) {
        media_header::run(&data);
    }

    /// Near a header that is valid, with one byte of another value.
    #[test]
    fn nearly_valid_datagrams(at in 0..32usize, value in any::<u8>()) {
        let mut data = vec![0; 32 + 1344 + 16];
        let valid = [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 4, 0, 64, 5];
        data[..valid.len()].copy_from_slice(&valid);
        data[at] = value;
        media_header::run(&data);
    }

    #[test]
    fn shards(data in prop::collection::vec(any::<u8>(), 0..8000)) {
        reassembler::run(&data);
    }

    /// Few distinct values make frames that become whole, and contradictions.
    #[test]
    fn similar_shards(
        base in any::<[u8; 16]>(),
        changes in prop::collection::vec((0..16usize, 0..8u8), 0..600),
    ) {
        let mut data = Vec::new();
        let mut command = base;
        for (at, value) in changes {
            command[at] = value;
            data.extend_from_slice(&command);
        }
        reassembler::run(&data);
    }

    #[test]
    fn feedback_bytes(data in prop::collection::vec(any::<u8>(), 0..900)) {
        feedback::run(&data);
    }

    /// The announced length, few bits set: most checks are passed.
    #[test]
    fn nearly_valid_feedback(
        receipts in 0..4u8,
        wants in 0..4u8,
        set in prop::collection::vec((0..116usize, 0..3u8), 0..24),
    ) {
        let mut data = vec![0; 52 + 8 * usize::from(receipts + wants)];
        (data[50], data[51]) = (receipts, wants);
        for item in data[52..].chunks_exact_mut(8) {
            item[4] = 1;
            item[6] = 1;
        }
        if receipts > 0 {
            data[25] = 1;
            data[58] = 0;
        }
        for (at, value) in set {
            if at != 50 && at != 51 && at < data.len() {
                data[at] = value;
            }
        }
        feedback::run(&data);
    }

    #[test]
    fn control_bytes(data in prop::collection::vec(any::<u8>(), 0..600)) {
        control_stream::run(&data);
    }

    #[test]
    fn control_messages(data in framed()) {
        control_stream::run(&data);
    }
}
