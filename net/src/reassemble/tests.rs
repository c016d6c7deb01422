use std::num::NonZeroU32;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRng;

use super::*;
use crate::crypto::{Aead, EXPORTER_BYTES, MediaKeys, Opener, Sealer};
use crate::fec::Code;
use crate::media::{self, CaptureMicros};
use crate::packetize::{Batch, Packetizer, PacketizerConfig, SliceMeta};
use crate::units::SliceIndex;

const MS: Duration = Duration::from_millis(1);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ns(1_000_000_000 + ms * 1_000_000)
}

fn small() -> ReassemblerConfig {
    ReassemblerConfig {
        access_unit_bytes_max: 1 << 20,
        ..ReassemblerConfig::default()
    }
}

type Shard = (VideoHeader, Vec<u8>);

/// Frames through packetizer, seal and open, as shards in the order of sending.
struct Host {
    packetizer: Packetizer,
    opener: Opener,
}

impl Host {
    fn new(fec_percent: u8) -> Self {
        let keys = || MediaKeys::from_exporter(Aead::ChaCha20Poly1305, &mut [5; EXPORTER_BYTES]);
        let config = PacketizerConfig {
            fec_percent,
            ..PacketizerConfig::default()
        };
        Self {
            packetizer: Packetizer::new(Sealer::new(keys()), config),
            opener: Opener::new(keys()),
        }
    }

    fn send(&mut self, frame: u32, slices: &[Vec<u8>]) -> Vec<Shard> {
        let mut shards = Vec::new();
        let mut batch = Batch::new();
        for (index, slice) in slices.iter().enumerate() {
            let meta = SliceMeta {
                frame: FrameId(frame),
                index: SliceIndex(index as u8),
                last: index + 1 == slices.len(),
                keyframe: frame == 0,
                recovery: frame == 3,
                captured: at(u64::from(frame)),
            };
            let mut data = slice.clone();
            data.resize(self.packetizer.padded_len(slice.len()), 0);
            self.packetizer
                .begin(&meta, &mut data, slice.len())
                .expect("within the limits");
            while self.packetizer.next_batch(&data, &mut batch) {
                for datagram in batch.iter() {
                    let mut datagram = datagram.to_vec();
                    let (header, payload) =
                        media::open_video(&mut self.opener, &mut datagram).expect("authentic");
                    shards.push((header, payload.to_vec()));
                }
            }
        }
        shards
    }
}

fn slices(frame: u32, sizes: &[usize]) -> Vec<Vec<u8>> {
    let byte = |slice: usize, i: usize| (frame as usize * 31 + slice * 17 + i * 7 + i / 255) as u8;
    sizes
        .iter()
        .enumerate()
        .map(|(s, &n)| (0..n).map(|i| byte(s, i)).collect())
        .collect()
}

fn handle(reassembler: &mut Reassembler, now: Timestamp, shards: &[Shard]) {
    for (header, payload) in shards {
        reassembler.handle(now, header, payload);
    }
}

/// One line for each event that is due.
fn drain(reassembler: &mut Reassembler, now: Timestamp) -> Vec<String> {
    std::iter::from_fn(|| reassembler.poll(now))
        .map(|event| match event {
            Event::Frame(unit) => format!("frame {}", unit.frame.0),
            Event::Lost(Loss {
                first,
                last,
                reason,
            }) => {
                format!("lost {}..={} {reason:?}", first.0, last.0)
            }
        })
        .collect()
}

#[test]
fn a_frame_comes_out_as_it_went_in() {
    let mut host = Host::new(20);
    let mut client = Reassembler::new(small());
    for frame in 0..20 {
        let parts = slices(frame, &[5000, 1, 30_000, 700]);
        let shards = host.send(frame, &parts);
        let first_of = |slice: u8| {
            shards
                .iter()
                .position(|(h, _)| h.first_slice.0 == slice)
                .expect("it was sent")
        };
        for (index, shard) in shards.iter().enumerate() {
            handle(
                &mut client,
                at(u64::from(frame) * 1000 + index as u64),
                std::slice::from_ref(shard),
            );
        }
        let Some(Event::Frame(unit)) = client.poll(at(u64::from(frame) * 1000 + 100)) else {
            panic!("the frame is whole");
        };
        assert!(unit.bytes() == parts.concat());
        assert_eq!(
            (unit.frame.0, unit.keyframe, unit.recovery),
            (frame, frame == 0, frame == 3)
        );
        assert_eq!(unit.captured, CaptureMicros::from(at(u64::from(frame))));
        assert_eq!((unit.slice_count, unit.repaired_shards), (4, 0));
        // The first slice is complete with its data shards, before its parity came.
        let begin = at(u64::from(frame) * 1000);
        assert_eq!(unit.received_first, begin);
        assert_eq!(unit.slice_times()[0], begin + MS * 3);
        assert_eq!(unit.slice_times()[1], begin + MS * first_of(1) as u32);
        assert_eq!(unit.slice_times()[3], unit.complete);
        assert!(
            client.poll(at(50_000)).is_none(),
            "nothing is left to wait for"
        );
        assert_eq!(client.poll_timeout(), None);
    }
    assert_eq!((client.stats().frames, client.stats().lost_frames), (20, 0));
}

#[test]
fn a_silent_frame_is_given_up_in_time() {
    let mut host = Host::new(0);
    let mut client = Reassembler::new(small());
    let shards = host.send(0, &slices(0, &[5000, 5000]));
    handle(&mut client, at(0), &shards[..2]);
    handle(&mut client, at(30), &shards[2..6]);
    assert_eq!(drain(&mut client, at(79)), [""; 0]);
    assert_eq!(
        client.poll_timeout(),
        Some(at(80)),
        "50 ms after its latest shard"
    );
    let lost = "lost 0..=0 Incomplete { block: 1, received: 2, needed: 4 }";
    assert_eq!(drain(&mut client, at(80)), [lost]);
    handle(&mut client, at(81), &shards[6..]);
    assert_eq!(
        drain(&mut client, at(500)),
        [""; 0],
        "once lost it stays lost"
    );
    assert_eq!(client.stats().late_shards, 2);
}

#[test]
fn a_dripping_frame_is_given_up_by_age() {
    let mut host = Host::new(0);
    let mut client = Reassembler::new(small());
    let shards = host.send(0, &slices(0, &[1344 * 30]));
    for (step, shard) in shards.iter().enumerate().take(13) {
        handle(
            &mut client,
            at(step as u64 * 40),
            std::slice::from_ref(shard),
        );
        assert_eq!(drain(&mut client, at(step as u64 * 40)), [""; 0]);
    }
    assert_eq!(client.poll_timeout(), Some(at(500)));
    assert_eq!(drain(&mut client, at(500)).len(), 1);
}

#[test]
fn a_newer_whole_frame_shortens_the_wait() {
    let mut host = Host::new(0);
    let mut client = Reassembler::new(small());
    let first = host.send(0, &slices(0, &[5000]));
    let second = host.send(1, &slices(1, &[5000]));
    handle(&mut client, at(0), &first[1..]);
    handle(&mut client, at(1), &second);
    assert_eq!(drain(&mut client, at(8)), [""; 0]);
    assert_eq!(
        client.poll_timeout(),
        Some(at(9)),
        "8 ms after the newer one"
    );
    let lost = "lost 0..=0 Incomplete { block: 0, received: 3, needed: 4 }";
    assert_eq!(drain(&mut client, at(9)), [lost, "frame 1"]);
}

#[test]
fn a_late_shard_within_the_grace_saves_the_order() {
    let mut host = Host::new(0);
    let mut client = Reassembler::new(small());
    let first = host.send(0, &slices(0, &[5000]));
    let second = host.send(1, &slices(1, &[5000]));
    handle(&mut client, at(0), &first[1..]);
    handle(&mut client, at(1), &second);
    handle(&mut client, at(2), &first[..1]);
    assert_eq!(drain(&mut client, at(2)), ["frame 0", "frame 1"]);
}

#[test]
fn frames_of_which_nothing_came_are_lost_too() {
    let mut host = Host::new(0);
    let mut client = Reassembler::new(small());
    let third = host.send(2, &slices(2, &[100]));
    handle(&mut client, at(0), &third);
    assert_eq!(drain(&mut client, at(7)), [""; 0]);
    assert_eq!(
        drain(&mut client, at(8)),
        ["lost 0..=0 Missing", "lost 1..=1 Missing", "frame 2"]
    );

    // Begun but not whole: the missing one is as old as the newer one.
    let fifth = host.send(4, &slices(4, &[5000]));
    handle(&mut client, at(100), &fifth[..1]);
    assert_eq!(client.poll_timeout(), Some(at(150)));
}

#[test]
fn a_frame_far_ahead_pushes_the_window() {
    let mut host = Host::new(0);
    let mut client = Reassembler::new(small());
    let begun = host.send(0, &slices(0, &[5000]));
    let whole = host.send(1, &slices(1, &[100]));
    handle(&mut client, at(0), &begun[..1]);
    handle(&mut client, at(0), &whole);
    let ahead = host.send(1_000_000, &slices(1, &[100]));
    handle(&mut client, at(1), &ahead);
    assert_eq!(
        drain(&mut client, at(1)),
        [
            "lost 0..=0 Incomplete { block: 0, received: 1, needed: 4 }",
            "frame 1",
            "lost 2..=999992 Missing",
        ]
    );
    let rest = drain(&mut client, at(9));
    assert_eq!(
        rest.len(),
        8,
        "seven missing ones within the window, then the frame: {rest:?}"
    );
    assert_eq!(client.stats().lost_frames, 1_000_000 - 1);
}

#[test]
fn contradicting_headers_are_dropped() {
    let mut host = Host::new(20);
    let mut client = Reassembler::new(small());
    let parts = slices(0, &[5000, 5000]);
    let shards = host.send(0, &parts);
    handle(&mut client, at(0), &shards[..1]);
    let changes: [fn(&mut VideoHeader); 8] = [
        |h| h.data_shards += 1,
        |h| h.parity_shards += 1,
        |h| h.padding_bytes += 1,
        |h| h.code = Code::Gf16,
        |h| h.first_slice = SliceIndex(1),
        |h| h.last_block = true,
        |h| h.keyframe = false,
        |h| h.captured = CaptureMicros(0),
    ];
    for change in changes {
        let (mut header, payload) = shards[1].clone();
        change(&mut header);
        client.handle(at(0), &header, &payload);
    }
    client.handle(at(0), &shards[1].0, &shards[1].1[1..]);
    assert_eq!(client.stats().conflicting_shards, 9);

    // After the last block is known: another last one, and one behind it.
    handle(&mut client, at(0), &shards[5..6]);
    assert!(shards[5].0.last_block && shards[5].0.block == 1);
    let mut header = shards[5].0;
    header.block = 2;
    client.handle(at(0), &header, &shards[5].1);
    header.last_block = false;
    client.handle(at(0), &header, &shards[5].1);
    assert_eq!(client.stats().conflicting_shards, 11);
    handle(&mut client, at(0), &shards);
    let Some(Event::Frame(unit)) = client.poll(at(0)) else {
        panic!("the frame is whole")
    };
    assert!(unit.bytes() == parts.concat());
}

#[test]
fn a_frame_over_the_limit_is_lost_at_once() {
    let mut host = Host::new(0);
    let mut client = Reassembler::new(ReassemblerConfig {
        access_unit_bytes_max: 100_000,
        ..ReassemblerConfig::default()
    });
    handle(
        &mut client,
        at(0),
        &host.send(0, &slices(0, &[99_000, 2000])),
    );
    assert_eq!(drain(&mut client, at(0)), ["lost 0..=0 TooLarge"]);
    assert!(client.stats().oversized_shards > 0);
    handle(
        &mut client,
        at(0),
        &host.send(1, &slices(1, &[99_000, 1000])),
    );
    assert_eq!(drain(&mut client, at(0)), ["frame 1"]);
}

#[test]
fn a_whole_frame_waits_for_a_buffer() {
    let mut host = Host::new(0);
    let mut client = Reassembler::new(ReassemblerConfig {
        access_units: 1,
        ..small()
    });
    handle(&mut client, at(0), &host.send(0, &slices(0, &[10])));
    handle(&mut client, at(0), &host.send(1, &slices(1, &[10])));
    let held = client.poll(at(0));
    assert!(matches!(held, Some(Event::Frame(_))));
    assert!(client.poll(at(0)).is_none());
    assert_eq!(client.poll_timeout(), Some(at(1)));
    drop(held);
    assert_eq!(drain(&mut client, at(1)), ["frame 1"]);

    // While the caller holds the only buffer, the window moves on without the frames behind it.
    handle(&mut client, at(2), &host.send(2, &slices(2, &[10])));
    let held = client.poll(at(2));
    for frame in 3..12 {
        handle(&mut client, at(2), &host.send(frame, &slices(frame, &[10])));
    }
    assert_eq!(drain(&mut client, at(2)), ["lost 3..=3 NoBuffer"]);
    drop(held);
    assert_eq!(drain(&mut client, at(2)).len(), 8);
}

#[test]
fn a_caller_that_never_polls_holds_a_bounded_queue() {
    let mut host = Host::new(0);
    let mut client = Reassembler::new(small());
    let capacity = client.events.capacity();
    for frame in (0..20_000).step_by(2) {
        let mut shards = host.send(frame, &slices(frame, &[3000]));
        if frame % 4 == 0 {
            shards.truncate(1);
        }
        handle(&mut client, at(0), &shards);
    }
    assert_eq!(
        client.events.capacity(),
        capacity,
        "the queue has never grown"
    );
    let mut next = 0;
    while let Some(event) = client.poll(at(100)) {
        let (first, last) = match &event {
            Event::Frame(unit) => (unit.frame.0, unit.frame.0),
            Event::Lost(loss) => (loss.first.0, loss.last.0),
        };
        assert_eq!(first, next, "in order, without a gap");
        next = last + 1;
    }
    assert!(next >= 19_999);
}

#[test]
fn the_packetizers_own_losses_are_repaired() {
    let mut host = Host::new(30);
    host.packetizer.set_drop_every(NonZeroU32::new(6));
    let mut client = Reassembler::new(small());
    for frame in 0..50 {
        handle(
            &mut client,
            at(0),
            &host.send(frame, &slices(frame, &[20_000, 15_000, 30_000])),
        );
        assert_eq!(drain(&mut client, at(0)), [format!("frame {frame}")]);
    }
    assert!(client.stats().repaired_shards > 100);
}

/// A permutation of `count` numbers.
fn shuffled(count: usize, rng: &mut TestRng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    for i in (1..count).rev() {
        order.swap(i, rng.next_u64() as usize % (i + 1));
    }
    order
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Any loss up to m in each block, any order within a frame, any duplication.
    #[test]
    fn what_parity_covers_is_recovered(
        sizes in prop::collection::vec(1..40_000usize, 1..6),
        fec_percent in 0..60u8,
        mut rng in any::<u64>().prop_perturb(|_, rng| rng),
    ) {
        let mut host = Host::new(fec_percent);
        let mut client = Reassembler::new(small());
        for frame in 0..3 {
            let parts = slices(frame, &sizes);
            let mut shards = host.send(frame, &parts);
            let mut lost = [0u16; 64];
            shards.retain(|(header, _)| {
                let lost = &mut lost[usize::from(header.block)];
                let loses = *lost < header.parity_shards && rng.next_u32() % 2 == 0;
                *lost += u16::from(loses);
                !loses
            });
            for index in shuffled(shards.len(), &mut rng) {
                let (header, payload) = &shards[index];
                client.handle(at(0), header, payload);
                if rng.next_u32() % 4 == 0 {
                    client.handle(at(0), header, payload);
                }
            }
            let Some(Event::Frame(unit)) = client.poll(at(0)) else {
                return Err(TestCaseError::fail("the frame is whole"));
            };
            prop_assert!(unit.bytes() == parts.concat());
        }
        prop_assert_eq!(client.stats().lost_frames, 0);
    }

    /// One shard more than parity covers is exactly one lost frame.
    #[test]
    fn what_parity_does_not_cover_is_one_loss(
        sizes in prop::collection::vec(1..40_000usize, 1..6),
        fec_percent in 0..60u8,
        hit in any::<prop::sample::Index>(),
    ) {
        let mut host = Host::new(fec_percent);
        let mut client = Reassembler::new(small());
        let hit = hit.index(sizes.len());
        let mut shards = host.send(0, &slices(0, &sizes));
        shards.retain(|(h, _)| usize::from(h.block) != hit || h.shard > h.parity_shards);
        handle(&mut client, at(0), &shards);
        handle(&mut client, at(1), &host.send(1, &slices(1, &sizes)));
        let events = drain(&mut client, at(1000));
        prop_assert_eq!(events.len(), 2, "{:?}", &events);
        prop_assert!(events[0].starts_with("lost 0..=0"), "{:?}", &events);
        prop_assert_eq!(&events[1], "frame 1");
    }
}
