//! Two ends of the plane, in virtual time.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ns(ms * 1_000_000)
}

/// All pieces of what waits, as fast as they may go, and when the last one went.
fn drain(from: &mut Clipboard, mut now: Timestamp) -> (Vec<ClipboardPiece>, Timestamp) {
    let mut pieces = Vec::new();
    while let Some(due) = from.poll_timeout() {
        now = now.max(due);
        pieces.extend(from.poll_piece(now));
    }
    (pieces, now)
}

fn pass(from: &mut Clipboard, to: &mut Clipboard, now: Timestamp) -> Option<String> {
    let mut text = None;
    for piece in drain(from, now).0 {
        let whole = to.handle(&piece).expect("the other end keeps to the rules");
        text = whole.or(text);
    }
    text
}

fn long(letter: char) -> String {
    letter.to_string().repeat(CLIPBOARD_BYTES_MAX)
}

#[test]
fn the_longest_text_arrives_and_one_byte_more_is_not_sent() {
    let (mut host, mut client) = (Clipboard::host(), Clipboard::client());
    host.set(long('x')).expect("it is the longest");
    let (pieces, last) = drain(&mut host, at(0));
    assert_eq!(pieces.len(), CLIPBOARD_BYTES_MAX / CLIPBOARD_PIECE_BYTES);
    assert_eq!(last, at(10 * 127), "a piece every 10 ms");
    let mut arrived = None;
    for piece in &pieces {
        assert_eq!(piece.bytes.len(), CLIPBOARD_PIECE_BYTES);
        assert_eq!(arrived, None);
        assert!(client.held_bytes() <= piece.offset as usize);
        arrived = client.handle(piece).expect("in order");
    }
    assert_eq!(arrived, Some(long('x')));
    assert_eq!(client.held_bytes(), 0);
    let bytes = CLIPBOARD_BYTES_MAX + 1;
    assert_eq!(host.set(long('x') + "x"), Err(TooLong { bytes }));
    assert_eq!(host.poll_timeout(), None);
}

#[test]
fn nothing_is_sent_that_both_sides_know() {
    let (mut host, mut client) = (Clipboard::host(), Clipboard::client());
    client.set("copied".to_owned()).expect("short");
    assert_eq!(
        pass(&mut client, &mut host, at(0)).as_deref(),
        Some("copied")
    );
    // The desktop that was given it says so, and so does the other.
    host.set("copied".to_owned()).expect("short");
    client.set("copied".to_owned()).expect("short");
    host.set(String::new()).expect("short");
    assert_eq!((host.poll_timeout(), client.poll_timeout()), (None, None));
    // Copied anew after something else it is news again.
    host.set("other".to_owned()).expect("short");
    host.set("copied".to_owned()).expect("short");
    assert_eq!(
        pass(&mut host, &mut client, at(1000)).as_deref(),
        Some("copied")
    );
    assert_eq!(host.stats().abandoned, 1);
}

#[test]
fn the_newest_takes_the_place_of_what_is_on_its_way() {
    let (mut host, mut client) = (Clipboard::host(), Clipboard::client());
    host.set(long('a')).expect("short enough");
    for ms in [0, 10, 20] {
        let piece = host.poll_piece(at(ms)).expect("due");
        assert_eq!(client.handle(&piece), Ok(None));
    }
    assert_eq!(client.held_bytes(), 3 * CLIPBOARD_PIECE_BYTES);
    host.set("b".to_owned()).expect("short");
    assert_eq!(host.poll_piece(at(30)), None, "a text every 100 ms");
    assert_eq!(host.poll_timeout(), Some(at(100)));
    assert_eq!(pass(&mut host, &mut client, at(30)).as_deref(), Some("b"));
    assert_eq!(client.held_bytes(), 0);
}

#[test]
fn of_two_texts_that_cross_the_hosts_counts_on_both_sides() {
    let (mut host, mut client) = (Clipboard::host(), Clipboard::client());
    host.set("host's".to_owned()).expect("short");
    client.set("client's".to_owned()).expect("short");
    let (from_host, _) = drain(&mut host, at(0));
    assert_eq!(pass(&mut client, &mut host, at(0)), None);
    assert_eq!(host.stats().crossed, 1);
    assert_eq!(client.handle(&from_host[0]), Ok(Some("host's".to_owned())));
    // From there on the client has seen it.
    client.set("client's".to_owned()).expect("short");
    let text = pass(&mut client, &mut host, at(500));
    assert_eq!(text.as_deref(), Some("client's"));
}

#[test]
fn pieces_out_of_order_and_texts_that_are_none_are_refused() {
    let piece = |serial, total: usize, offset: usize| ClipboardPiece {
        serial,
        seen: 0,
        total_bytes: total as u32,
        offset: offset as u32,
        bytes: vec![b'x'; CLIPBOARD_PIECE_BYTES.min(total - offset)],
    };
    let two = 2 * CLIPBOARD_PIECE_BYTES;
    let half = CLIPBOARD_PIECE_BYTES;
    for bad in [
        vec![piece(1, two, half)],
        vec![piece(1, two, 0), piece(1, two, 0)],
        vec![piece(1, two, 0), piece(2, two, half)],
        vec![piece(1, two, 0), piece(1, two + 1, half)],
        vec![piece(2, 1, 0), piece(2, 1, 0)],
        vec![piece(2, 1, 0), piece(1, 1, 0)],
        vec![piece(1, two, 0), piece(1, two, half), piece(1, two, half)],
    ] {
        let mut end = Clipboard::client();
        let (last, good) = bad.split_last().expect("not empty");
        for piece in good {
            end.handle(piece).expect("in order");
        }
        let refused = end.handle(last);
        assert!(
            matches!(refused, Err(MessageError::Value { .. })),
            "{refused:?} for {:?}",
            (last.serial, last.total_bytes, last.offset)
        );
    }
    let mut end = Clipboard::client();
    let broken = ClipboardPiece {
        bytes: vec![0xC3],
        ..piece(1, 1, 0)
    };
    assert_eq!(end.handle(&broken), Err(MessageError::NotUtf8));
}

#[test]
fn a_piece_is_checked_before_anything_is_kept_of_it() {
    let head = |serial: u32, total: u32, offset: u32, count: u16| {
        let mut body = Vec::new();
        let mut writer = Writer::new(&mut body);
        writer.u32(serial);
        writer.u32(0);
        writer.u32(total);
        writer.u32(offset);
        writer.u16(count);
        body.extend(std::iter::repeat_n(b'x', count.into()));
        ClipboardPiece::read(&mut Reader::new(&body))
    };
    let most = CLIPBOARD_BYTES_MAX as u32;
    assert!(head(1, 5, 0, 5).is_ok() && head(1, most, most - 8192, 8192).is_ok());
    for (serial, total, offset, count) in [
        (0, 5, 0, 5),
        (1, 0, 0, 0),
        (1, most + 1, 0, 8192),
        (1, u32::MAX, 0, 8192),
        (1, 5, 5, 0),
        (1, 9000, 100, 8192),
        (1, 9000, 0, 8191),
        (1, 9000, 0, 9000),
        (1, 9000, 8192, 809),
    ] {
        let read = head(serial, total, offset, count);
        assert!(
            matches!(read, Err(MessageError::Value { .. })),
            "{serial} {total} {offset} {count}: {read:?}"
        );
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    HostCopies(u16),
    ClientCopies(u16),
    /// The desktop of a side reports what it has.
    Echo(bool),
    /// The stream of a side takes what is due.
    Send(bool),
    /// A message of a side arrives.
    Arrive(bool),
    Wait(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => any::<u16>().prop_map(Op::HostCopies),
        1 => any::<u16>().prop_map(Op::ClientCopies),
        1 => any::<bool>().prop_map(Op::Echo),
        6 => any::<bool>().prop_map(Op::Send),
        4 => any::<bool>().prop_map(Op::Arrive),
        4 => any::<u8>().prop_map(Op::Wait),
    ]
}

/// Two desktops, two ends, and two streams between them.
struct World {
    ends: [Clipboard; 2],
    desktops: [String; 2],
    ways: [VecDeque<ClipboardPiece>; 2],
    now: Timestamp,
    copied: u32,
}

impl World {
    fn copy(&mut self, side: usize, seed: u16) {
        self.copied += 1;
        // Some are of several pieces.
        let bytes = usize::from(seed % 4) * 7000;
        let text = format!("{} {}", self.copied, "é".repeat(bytes));
        self.desktops[side].clone_from(&text);
        self.ends[side].set(text).expect("short enough");
    }

    fn send(&mut self, side: usize) {
        if let Some(piece) = self.ends[side].poll_piece(self.now) {
            self.ways[side].push_back(piece);
        }
    }

    fn arrive(&mut self, side: usize) {
        let Some(piece) = self.ways[side].pop_front() else {
            return;
        };
        let text = self.ends[1 - side].handle(&piece).expect("by the rules");
        if let Some(text) = text {
            self.desktops[1 - side] = text;
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::HostCopies(seed) => self.copy(0, seed),
            Op::ClientCopies(seed) => self.copy(1, seed),
            Op::Echo(side) => {
                let text = self.desktops[usize::from(side)].clone();
                let due = self.ends[usize::from(side)].poll_timeout();
                self.ends[usize::from(side)].set(text).expect("known");
                assert_eq!(due, self.ends[usize::from(side)].poll_timeout());
            }
            Op::Send(side) => self.send(side.into()),
            Op::Arrive(side) => self.arrive(side.into()),
            Op::Wait(ms) => self.now = self.now + Duration::from_millis(ms.into()),
        }
        for end in &self.ends {
            assert!(end.held_bytes() <= CLIPBOARD_BYTES_MAX);
        }
    }

    fn settle(&mut self) {
        while self.ends.iter().any(|end| end.poll_timeout().is_some())
            || self.ways.iter().any(|way| !way.is_empty())
        {
            self.now = self.now + Duration::from_millis(10);
            for side in [0, 1] {
                self.send(side);
                self.arrive(side);
            }
        }
    }
}

proptest! {
    /// Whatever is copied when, both desktops agree in the end, and nothing goes round.
    #[test]
    fn both_desktops_agree_once_nobody_copies_any_more(
        ops in prop::collection::vec(op(), 0..120),
    ) {
        let mut world = World {
            ends: [Clipboard::host(), Clipboard::client()],
            desktops: Default::default(),
            ways: Default::default(),
            now: Timestamp::ZERO,
            copied: 0,
        };
        for op in ops {
            world.run(op);
        }
        world.settle();
        prop_assert_eq!(&world.desktops[0], &world.desktops[1]);
        let sent: u64 = world.ends.iter().map(|end| end.stats().sent).sum();
        prop_assert!(sent <= world.copied.into(), "each text goes once at most");
    }
}
