use std::num::{NonZeroU8, NonZeroU32};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRng;

use super::*;
use crate::crypto::{Aead, EXPORTER_BYTES, MediaKeys, Opener, Sealer};
use crate::fec::Code;
use crate::media::{self, CaptureMicros, DataHeader, ParityHeader};
use crate::packetize::{Batch, Packetizer, PacketizerConfig, Protection, SliceMeta};
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
    /// With parity for every slice by itself.
    fn new(percent: u8) -> Self {
        Self::with(Protection {
            slices_per_group: NonZeroU8::MIN,
            ..Protection::at_frame_end(percent)
        })
    }

    fn with(protection: Protection) -> Self {
        let keys = || MediaKeys::from_exporter(Aead::ChaCha20Poly1305, &mut [5; EXPORTER_BYTES]);
        let config = PacketizerConfig {
            protection,
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
            self.packetizer
                .begin(&meta, slice)
                .expect("within the limits");
            while self.packetizer.next_batch(&mut batch) {
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

fn data_of(shard: &Shard) -> Option<&DataHeader> {
    match &shard.0 {
        VideoHeader::Data(header) => Some(header),
        VideoHeader::Parity(_) => None,
    }
}

fn is_parity(shard: &Shard) -> bool {
    data_of(shard).is_none()
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
                .position(|shard| data_of(shard).is_some_and(|h| h.descriptor.slice.0 == slice))
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
    let lost = "lost 0..=0 Incomplete { column: 6, received: 6, columns: None }";
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
    let lost = "lost 0..=0 Incomplete { column: 0, received: 3, columns: Some(4) }";
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
            "lost 0..=0 Incomplete { column: 1, received: 1, columns: None }",
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
    let mut host = Host::new(50);
    let mut client = Reassembler::new(small());
    let parts = slices(0, &[5000, 5000]);
    let shards = host.send(0, &parts);
    handle(&mut client, at(0), &shards[..1]);
    let changes: [fn(&mut DataHeader); 4] = [
        |h| h.shard_bytes = 1280,
        |h| h.frame.keyframe = false,
        |h| h.frame.recovery = true,
        |h| h.frame.captured = CaptureMicros(0),
    ];
    let (data, payload) = (data_of(&shards[1]).expect("data"), &shards[1].1);
    for change in changes {
        let mut header = *data;
        change(&mut header);
        client.handle(at(0), &VideoHeader::Data(header), payload);
    }
    client.handle(at(0), &shards[1].0, &payload[1..]);
    assert_eq!(client.stats().conflicting_shards, 5);

    // Parity of another shape than what came of its group.
    let parity: Vec<_> = shards.iter().filter(|shard| is_parity(shard)).collect();
    let VideoHeader::Parity(header) = parity[0].0 else {
        unreachable!("it was filtered")
    };
    client.handle(at(0), &parity[0].0, &parity[0].1);
    let changes: [fn(&mut ParityHeader, &mut Vec<u8>); 5] = [
        |_, payload| payload[0] += 1,
        |_, payload| payload[2] += 1,
        |_, payload| payload.truncate(100),
        |h, _| h.code = Code::Gf16,
        |h, _| h.first_column = 1,
    ];
    for change in changes {
        let (mut header, mut payload) = (header, parity[0].1.clone());
        change(&mut header, &mut payload);
        client.handle(at(0), &VideoHeader::Parity(header), &payload);
    }
    assert_eq!(client.stats().conflicting_shards, 10);

    // After the end is known: another one, and what lies behind it.
    let end = shards
        .iter()
        .find(|shard| data_of(shard).is_some_and(|h| h.column == 7));
    let (header, payload) = end.expect("eight columns");
    client.handle(at(0), header, payload);
    for column in [6, 8] {
        let VideoHeader::Data(mut header) = *header else {
            unreachable!("it was found")
        };
        header.column = column;
        client.handle(at(0), &VideoHeader::Data(header), payload);
    }
    assert_eq!(client.stats().conflicting_shards, 12);
    handle(&mut client, at(0), &shards);
    let Some(Event::Frame(unit)) = client.poll(at(0)) else {
        panic!("the frame is whole")
    };
    assert!(unit.bytes() == parts.concat());
}

#[test]
fn parity_alone_gives_a_frame_back() {
    let mut host = Host::with(Protection {
        shards_min: 3,
        ..Protection::at_frame_end(20)
    });
    let mut client = Reassembler::new(small());
    for (frame, sizes) in [(0, [10, 1, 700]), (1, [1343, 64, 65])] {
        let parts = slices(frame, &sizes);
        let shards = host.send(frame, &parts);
        let parity: Vec<_> = shards.into_iter().filter(is_parity).collect();
        assert_eq!(parity.len(), 3);
        handle(&mut client, at(0), &parity);
        let Some(Event::Frame(unit)) = client.poll(at(0)) else {
            panic!("the frame is whole")
        };
        assert!(unit.bytes() == parts.concat());
        assert_eq!((unit.slice_count, unit.repaired_shards), (3, 3));
    }
}

#[test]
fn parity_that_came_before_all_data_is_used_once_the_shards_size_is_known() {
    let mut host = Host::new(20);
    let mut client = Reassembler::new(small());
    let parts = slices(0, &[1, 10_753]);
    let shards = host.send(0, &parts);
    handle(&mut client, at(0), &shards[1..]);
    let Some(Event::Frame(unit)) = client.poll(at(0)) else {
        panic!("the frame is whole")
    };
    assert!(unit.bytes() == parts.concat());
    assert_eq!(unit.repaired_shards, 1);
}

#[test]
fn what_is_missing_is_known() {
    let gaps = |client: &Reassembler| {
        let mut gaps = Vec::new();
        client.gaps(|gap| gaps.push((gap.frame.0, gap.columns)));
        gaps
    };
    let mut host = Host::with(Protection::at_frame_end(10));
    let mut client = Reassembler::new(small());
    assert_eq!(gaps(&client), []);
    let first = host.send(0, &slices(0, &[5000, 5000]));
    handle(&mut client, at(0), &[first[1].clone(), first[4].clone()]);
    assert_eq!(gaps(&client), [(0, 0..1), (0, 2..4)]);
    // A newer frame: the host has sent all of those before it, one of which left no trace.
    let third = host.send(2, &slices(2, &[5000]));
    handle(&mut client, at(0), &third[1..2]);
    assert_eq!(
        gaps(&client),
        [
            (0, 0..1),
            (0, 2..4),
            (0, 5..u16::MAX),
            (1, 0..u16::MAX),
            (2, 0..1),
        ]
    );
    // Parity of the whole frame tells where it ends.
    handle(&mut client, at(0), &first[8..9]);
    assert_eq!(gaps(&client)[2], (0, 5..8));
    handle(&mut client, at(0), &first);
    assert_eq!(gaps(&client), [(1, 0..u16::MAX), (2, 0..1)]);
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

    /// Any loss up to m in each group, any order within a frame, any duplication.
    #[test]
    fn what_parity_covers_is_recovered(
        sizes in prop::collection::vec(1..40_000usize, 1..6),
        percent in 0..60u8,
        slices_per_group in 1..4u8,
        mut rng in any::<u64>().prop_perturb(|_, rng| rng),
    ) {
        let mut host = Host::with(Protection {
            slices_per_group: NonZeroU8::new(slices_per_group).expect("not 0"),
            ..Protection::at_frame_end(percent)
        });
        let mut client = Reassembler::new(small());
        for frame in 0..3 {
            let parts = slices(frame, &sizes);
            let mut shards = host.send(frame, &parts);
            let mut groups = groups_of(&shards);
            shards.retain(|shard| {
                let group = groups.iter_mut().find(|group| group.holds(shard));
                let Some(group) = group else { return true };
                let loses = group.lost < group.parity && rng.next_u32() % 2 == 0;
                group.lost += u16::from(loses);
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
        percent in 0..60u8,
        hit in any::<prop::sample::Index>(),
    ) {
        let mut host = Host::new(percent);
        let mut client = Reassembler::new(small());
        let mut shards = host.send(0, &slices(0, &sizes));
        let hit = hit.index(sizes.len());
        let slice = |shard: &Shard| data_of(shard).map(|h| usize::from(h.descriptor.slice.0));
        let first = shards.iter().position(|shard| slice(shard) == Some(hit));
        let first = data_of(&shards[first.expect("it was sent")]).expect("data").column;
        let groups = groups_of(&shards);
        let parity = groups.iter().find(|group| group.columns.contains(&first));
        let lost = first + parity.map_or(0, |group| group.parity);
        shards.retain(|shard| data_of(shard).is_none_or(|h| !(first..=lost).contains(&h.column)
            || usize::from(h.descriptor.slice.0) != hit));
        // A slice of fewer shards than that is lost with what parity it has.
        shards.retain(|shard| !is_parity(shard) || !groups.iter().any(|group| {
            group.holds(shard) && group.columns.start == first
                && group.columns.len() <= usize::from(group.parity)
        }));
        handle(&mut client, at(0), &shards);
        handle(&mut client, at(1), &host.send(1, &slices(1, &sizes)));
        let events = drain(&mut client, at(1000));
        prop_assert_eq!(events.len(), 2, "{:?}", &events);
        prop_assert!(events[0].starts_with("lost 0..=0"), "{:?}", &events);
        prop_assert_eq!(&events[1], "frame 1");
    }
}

/// A parity group as its datagrams describe it.
struct GroupFacts {
    columns: Range<u16>,
    parity: u16,
    lost: u16,
}

impl GroupFacts {
    fn holds(&self, shard: &Shard) -> bool {
        match &shard.0 {
            VideoHeader::Data(header) => self.columns.contains(&header.column),
            VideoHeader::Parity(header) => header.first_column == self.columns.start,
        }
    }
}

fn groups_of(shards: &[Shard]) -> Vec<GroupFacts> {
    let mut groups: Vec<GroupFacts> = Vec::new();
    for shard in shards {
        let VideoHeader::Parity(header) = &shard.0 else {
            continue;
        };
        let body = ParityBody::parse(header, &shard.1).expect("as it was made");
        if groups.iter().all(|group| !group.holds(shard)) {
            groups.push(GroupFacts {
                columns: header.first_column..header.first_column + body.data_shards,
                parity: body.parity_shards,
                lost: 0,
            });
        }
    }
    groups
}

fn by_slices() -> Reassembler {
    Reassembler::new(ReassemblerConfig {
        granularity: Granularity::Slices,
        ..small()
    })
}

/// All that is due: of frames their number, whether they begin and end with it, and the bytes.
fn parts(reassembler: &mut Reassembler, now: Timestamp) -> Vec<(u32, bool, bool, Vec<u8>)> {
    std::iter::from_fn(|| reassembler.poll(now))
        .filter_map(|event| match event {
            Event::Frame(unit) => {
                let bytes = unit.bytes().to_vec();
                Some((unit.frame.0, unit.begins, unit.ends, bytes))
            }
            Event::Lost(_) => None,
        })
        .collect()
}

#[test]
fn a_slice_leaves_as_soon_as_it_and_all_before_it_came() {
    let mut host = Host::with(Protection::at_frame_end(0));
    let mut client = by_slices();
    let sent = slices(0, &[3000, 1000, 2500, 1]);
    let shards = host.send(0, &sent);
    let of = |slice: u8| -> Vec<Shard> {
        let is_of = |shard: &&Shard| data_of(shard).is_some_and(|h| h.descriptor.slice.0 == slice);
        shards.iter().filter(is_of).cloned().collect()
    };
    let first = of(0);
    handle(&mut client, at(0), &first[..2]);
    assert_eq!(parts(&mut client, at(0)), []);
    // The second slice has to wait for the first.
    handle(&mut client, at(1), &of(1));
    assert_eq!(parts(&mut client, at(1)), []);
    handle(&mut client, at(2), &first[2..]);
    let both = sent[..2].concat();
    assert_eq!(parts(&mut client, at(2)), [(0, true, false, both)]);
    assert_eq!(client.front(), FrameId(0), "it is not whole yet");
    handle(&mut client, at(3), &of(2));
    let third = sent[2].clone();
    assert_eq!(parts(&mut client, at(3)), [(0, false, false, third)]);
    handle(&mut client, at(4), &of(3));
    let last = sent[3].clone();
    assert_eq!(parts(&mut client, at(4)), [(0, false, true, last)]);
    assert_eq!((client.front(), client.stats().frames), (FrameId(1), 1));
}

#[test]
fn a_frame_that_was_begun_and_never_ends_is_lost_in_time() {
    let mut host = Host::with(Protection::at_frame_end(0));
    let mut client = by_slices();
    let shards = host.send(0, &slices(0, &[1000, 1000]));
    handle(&mut client, at(0), &shards[..1]);
    assert_eq!(parts(&mut client, at(0)).len(), 1);
    let next = host.send(1, &slices(1, &[1000, 1000]));
    handle(&mut client, at(10), &next);
    let grace = ReassemblerConfig::default().reorder_grace;
    assert_eq!(client.poll_timeout(), Some(at(10) + grace));
    assert!(client.poll(at(10)).is_none());
    let lost = "lost 0..=0 Incomplete { column: 1, received: 1, columns: None }";
    assert_eq!(drain(&mut client, at(10) + grace), [lost, "frame 1"]);
}

#[test]
fn slices_that_find_no_buffer_go_together_later() {
    let mut host = Host::with(Protection::at_frame_end(0));
    let mut client = Reassembler::new(ReassemblerConfig {
        granularity: Granularity::Slices,
        access_units: 1,
        ..small()
    });
    let sent = slices(0, &[100, 200, 300]);
    let shards = host.send(0, &sent);
    handle(&mut client, at(0), &shards[..1]);
    let held = client.poll(at(0)).expect("the first slice");
    handle(&mut client, at(1), &shards[1..2]);
    assert!(client.poll(at(1)).is_none());
    assert_eq!(client.poll_timeout(), Some(at(1) + POOL_RETRY));
    handle(&mut client, at(2), &shards[2..]);
    assert!(client.poll(at(2)).is_none());
    drop(held);
    let rest = sent[1..].concat();
    assert_eq!(parts(&mut client, at(3)), [(0, false, true, rest)]);
}

proptest! {
    /// Slice by slice or whole, with parity, loss and reordering: the same frames come, the same
    /// are lost, the bytes are the same, and the parts of a frame come in order and in one row.
    #[test]
    fn parts_add_up_to_what_comes_whole(
        sizes in prop::collection::vec(prop::collection::vec(1usize..6000, 1..6), 1..12),
        percent in 0u8..60,
        lost in prop::collection::vec(prop::bool::weighted(0.15), 64),
        swaps in prop::collection::vec((0usize..400, 0usize..6), 0..40),
    ) {
        let mut host = Host::with(Protection::at_frame_end(percent));
        let mut shards = Vec::new();
        for (frame, sizes) in (0u32..).zip(&sizes) {
            shards.extend(host.send(frame, &slices(frame, sizes)));
        }
        for (from, ahead) in swaps {
            let from = from % shards.len();
            let to = (from + ahead).min(shards.len() - 1);
            shards.swap(from, to);
        }
        let run = |mut client: Reassembler| {
            let mut whole = Vec::new();
            let mut open: Option<(u32, Vec<u8>)> = None;
            let arrived = (0..).zip(&shards).filter(|(index, _)| !lost[index % lost.len()]);
            let last = std::iter::once((shards.len() + 10_000, None));
            for (index, shard) in arrived.map(|(i, s)| (i, Some(s))).chain(last) {
                let now = Timestamp::from_ns(1_000_000_000 + index as u64 * 100_000);
                if let Some(shard) = shard {
                    handle(&mut client, now, std::slice::from_ref(shard));
                }
                while let Some(event) = client.poll(now) {
                    match event {
                        Event::Frame(unit) => {
                            assert_eq!(unit.begins, open.is_none());
                            let (frame, mut bytes) = open.take().unwrap_or((unit.frame.0, vec![]));
                            assert_eq!(frame, unit.frame.0);
                            bytes.extend_from_slice(unit.bytes());
                            if unit.ends {
                                whole.push((now, frame, Some(bytes)));
                            } else {
                                open = Some((frame, bytes));
                            }
                        }
                        Event::Lost(loss) => {
                            let begun = open.take().is_none_or(|(frame, _)| frame == loss.first.0);
                            assert!(begun, "what was begun is lost first");
                            whole.push((now, loss.first.0, None));
                        }
                    }
                }
            }
            (whole, client.stats())
        };
        prop_assert_eq!(run(Reassembler::new(small())), run(by_slices()));
    }
}
