use proptest::prelude::*;

use super::*;
use crate::fec::Code;
use crate::media::{DataHeader, Descriptor, FrameHeader, ParityHeader};
use crate::reassemble::ReassemblerConfig;

const MS: Duration = Duration::from_millis(1);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ns(1_000_000_000 + ms * 1_000_000)
}

/// A client: shards of 64 bytes go to the reassembler and to what is tested.
struct Client {
    reassembler: Reassembler,
    wants: Wants,
}

impl Client {
    fn new(round_trip: Duration) -> Self {
        let mut wants = Wants::new(WantsConfig::default());
        wants.set_round_trip(round_trip);
        Self {
            reassembler: Reassembler::new(ReassemblerConfig {
                access_unit_bytes_max: 1 << 16,
                ..ReassemblerConfig::default()
            }),
            wants,
        }
    }

    fn handle(&mut self, ms: u64, header: &VideoHeader, payload: &[u8]) {
        self.wants.handle_shard(at(ms), header);
        self.reassembler.handle(at(ms), header, payload);
    }

    /// Columns of a frame of 10.
    fn data(&mut self, ms: u64, frame: u32, columns: impl IntoIterator<Item = u16>) {
        for column in columns {
            self.handle(ms, &VideoHeader::Data(data(frame, column, 10)), &[1; 64]);
        }
    }

    /// Shards of the parity of a frame of 10, which recover nothing.
    fn parity(&mut self, ms: u64, frame: u32, indices: std::ops::Range<u16>, m: u16) {
        for index in indices {
            let header = VideoHeader::Parity(ParityHeader {
                frame: header_of(frame),
                last_group: true,
                code: Code::Gf8,
                first_column: 0,
                index,
            });
            let mut payload = vec![0; 8 + 64];
            payload[0] = 10;
            payload[2] = m as u8;
            self.handle(ms, &header, &payload);
        }
    }

    /// A whole frame with so much parity.
    fn whole(&mut self, ms: u64, frame: u32, parity: u16) {
        self.data(ms, frame, 0..9);
        self.parity(ms, frame, 0..parity, parity + 1);
        self.data(ms, frame, 9..10);
        while self.reassembler.poll(at(ms)).is_some() {}
    }

    fn wants(&mut self, ms: u64) -> Vec<(u32, u16, u16)> {
        let wants = self.wants.poll_wants(at(ms), &self.reassembler);
        let wants = wants.as_slice().iter();
        wants
            .map(|want| (want.frame.0, want.first_column, want.count))
            .collect()
    }

    fn timeout_ms(&mut self, ms: u64) -> Option<u64> {
        let due = self.wants.poll_timeout(at(ms), &self.reassembler)?;
        Some((due.as_ns() - at(0).as_ns()).div_ceil(1_000_000))
    }
}

fn header_of(frame: u32) -> FrameHeader {
    FrameHeader {
        frame: FrameId(frame),
        ..FrameHeader::default()
    }
}

fn data(frame: u32, column: u16, columns: u16) -> DataHeader {
    DataHeader {
        frame: header_of(frame),
        descriptor: Descriptor {
            bytes: 64,
            last_of_slice: column + 1 == columns,
            last_slice: true,
            ..Descriptor::default()
        },
        column,
        shard_bytes: 64,
        ..DataHeader::default()
    }
}

#[test]
fn a_whole_frame_is_not_asked_for() {
    let mut client = Client::new(4 * MS);
    client.whole(0, 0, 0);
    assert_eq!((client.timeout_ms(0), client.wants(30)), (None, vec![]));
}

#[test]
fn a_gap_waits_for_the_parity_that_follows_the_frame() {
    let mut client = Client::new(4 * MS);
    client.data(0, 0, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    assert_eq!((client.timeout_ms(0), client.wants(1)), (Some(2), vec![]));
    assert_eq!(client.wants(2), vec![(0, 3, 1)]);
}

#[test]
fn a_gap_is_asked_for_once_a_newer_frame_has_begun() {
    let mut client = Client::new(4 * MS);
    client.data(0, 0, [0, 1, 2, 4, 5]);
    assert_eq!(client.timeout_ms(0), Some(10));
    client.data(3, 1, [0]);
    assert_eq!((client.timeout_ms(3), client.wants(3)), (Some(4), vec![]));
    // The end of the frame before is not known: it is asked for to its end.
    assert_eq!(client.wants(4), vec![(0, 3, 1), (0, 6, u16::MAX - 6)]);
}

#[test]
fn a_frame_of_which_nothing_came_is_asked_for_whole() {
    let mut client = Client::new(4 * MS);
    client.whole(0, 0, 0);
    client.data(16, 2, [0]);
    assert_eq!(client.wants(17), vec![(1, 0, u16::MAX)]);
}

#[test]
fn a_lost_end_is_asked_for_after_a_silence() {
    let mut client = Client::new(4 * MS);
    client.data(0, 0, 0..6);
    assert_eq!((client.timeout_ms(0), client.wants(9)), (Some(10), vec![]));
    assert_eq!(client.wants(10), vec![(0, 6, u16::MAX - 6)]);
}

#[test]
fn more_missing_than_parity_brings_is_asked_for_at_once() {
    let mut client = Client::new(4 * MS);
    client.whole(0, 0, 1);
    // One missing: the parity may bring it. Two: it cannot.
    client.data(16, 1, [0, 2, 3, 4, 5, 6]);
    assert_eq!(client.wants(16), vec![]);
    client.data(16, 1, [8]);
    assert_eq!(client.wants(16), vec![(1, 1, 1)]);
    // The other gap has too few later shards yet: it may be late.
    assert_eq!(client.wants(17), vec![(1, 1, 1), (1, 7, 1)]);
}

#[test]
fn a_want_is_said_three_times_and_then_after_the_repeat_is_overdue() {
    let mut client = Client::new(4 * MS);
    client.data(0, 0, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    let said: Vec<u64> = (0..14).filter(|&ms| !client.wants(ms).is_empty()).collect();
    // 4 ms and a quarter and 3 ms after it was asked first.
    assert_eq!(said, vec![2, 3, 4, 10, 11, 12, 13]);
    assert_eq!(
        (
            client.wants.stats().rounds,
            client.wants.stats().rounds_again
        ),
        (2, 1)
    );
}

#[test]
fn nothing_is_asked_for_that_cannot_come_in_time() {
    let mut client = Client::new(80 * MS);
    client.data(0, 0, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    client.data(5, 1, 0..10);
    assert_eq!(client.timeout_ms(6), None);
    assert_eq!(client.wants(20), vec![]);
    let grace = client.wants.reorder_grace(at(20), &client.reassembler);
    assert_eq!(grace, MS);
}

#[test]
fn the_reassembler_waits_until_the_frame_is_due_but_no_longer() {
    let mut client = Client::new(4 * MS);
    client.data(0, 0, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    client.data(16, 1, 0..10);
    // Until 36 ms after the frame's last shard, from when the newer one was complete.
    let grace = |client: &Client, ms| client.wants.reorder_grace(at(ms), &client.reassembler);
    assert_eq!(grace(&client, 16), 20 * MS);
    assert!(!client.wants(26).is_empty());
    // The next round would begin at 34 ms, too late: the one under way is the last.
    assert_eq!(grace(&client, 26), 18 * MS);
    client.reassembler.set_reorder_grace(18 * MS);
    assert!(client.reassembler.poll(at(33)).is_none());
    assert!(client.reassembler.poll(at(34)).is_some());
}

#[test]
fn reordering_that_was_seen_is_allowed_for() {
    let mut client = Client::new(4 * MS);
    client.whole(0, 0, 0);
    client.data(16, 1, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    client.data(20, 1, [3]);
    assert_eq!(client.wants.stats().reordered, 1);
    client.data(32, 2, [0, 1, 2, 4, 5, 6, 7, 8, 9]);
    // 4 ms late, and a quarter.
    assert_eq!(client.timeout_ms(32), Some(37));
}

#[test]
fn while_damaged_only_the_repair_is_wanted() {
    let mut client = Client::new(4 * MS);
    client.data(0, 0, [0, 2]);
    client.data(5, 1, 0..10);
    client.wants.set_damaged(true);
    assert_eq!((client.wants(8), client.timeout_ms(8)), (vec![], None));
    let grace = client.wants.reorder_grace(at(8), &client.reassembler);
    assert_eq!(grace, MS);
    let mut recovery = data(2, 0, 10);
    recovery.frame.recovery = true;
    client.handle(16, &VideoHeader::Data(recovery), &[1; 64]);
    recovery.column = 2;
    client.handle(16, &VideoHeader::Data(recovery), &[1; 64]);
    assert_eq!(client.wants(26), vec![(2, 1, 1), (2, 3, u16::MAX - 3)]);
}

proptest! {
    /// Any shards at any time: no panic, no more wants than fit, and never one of a frame that
    /// is gone.
    #[test]
    fn arbitrary_shards_are_bounded(
        first in prop_oneof![Just(0u32), Just(u32::MAX - 5)],
        shards in proptest::collection::vec(
            (0u32..40, any::<u16>(), any::<u8>(), 0u64..20), 0..200),
    ) {
        let mut client = Client::new(4 * MS);
        client.reassembler = Reassembler::new(ReassemblerConfig {
            first_frame: FrameId(first),
            access_unit_bytes_max: 1 << 16,
            ..ReassemblerConfig::default()
        });
        let mut ms = 0;
        for (ahead, column, kind, step) in shards {
            ms += step;
            let frame = first.wrapping_add(ahead);
            if kind % 3 == 0 {
                client.parity(ms, frame, column % 5..column % 5 + 1, 5);
            } else {
                let mut header = data(frame, column % 300, u16::from(kind));
                header.repeat = kind % 7 == 0;
                header.frame.recovery = kind % 11 == 0;
                client.handle(ms, &VideoHeader::Data(header), &[1; 64]);
            }
            client.wants.set_damaged(kind > 200);
            let grace = client.wants.reorder_grace(at(ms), &client.reassembler);
            prop_assert!(grace <= client.wants.config.wait);
            client.reassembler.set_reorder_grace(grace);
            while client.reassembler.poll(at(ms)).is_some() {}
            client.wants.poll_timeout(at(ms), &client.reassembler);
            let front = client.reassembler.front();
            for (frame, first, count) in client.wants(ms) {
                prop_assert!(!is_before(FrameId(frame), front));
                prop_assert!(count > 0 && first.checked_add(count).is_some());
            }
        }
    }
}
