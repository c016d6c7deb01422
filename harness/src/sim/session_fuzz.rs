//! Generated datagrams against the reassembler and both ends of the ladder: real shards of real
//! frames, lost, repeated, held back, damaged in what a peer may claim, and headers of nothing but chance.
//!
//! What must hold: no panic, frames leave in order and each once, and a frame none of whose
//! datagrams were forged is what was sent, byte for byte. A forged datagram here is one that an
//! authentic but hostile host could send: past the seal everything is believed to be from it.

use std::collections::VecDeque;
use std::time::Duration;

use net::crypto::{Aead, EXPORTER_BYTES, MediaKeys, Opener, Sealer};
use net::feedback::{Damage, Feedback};
use net::ladder::{Ladder, LadderConfig, SentFrame, Wants, WantsConfig};
use net::limits::MEDIA_HEADER_BYTES;
use net::media::{VideoHeader, open_video};
use net::packetize::{Batch, Columns, Packetizer, PacketizerConfig, Protection, SliceMeta};
use net::reassemble::{Event, Reassembler, ReassemblerConfig};
use net::units::{FrameId, SliceIndex, Timestamp};

use super::rng::{Chance, Rng};
use super::unit::{Picture, UNIT_HEAD_BYTES, Unit};

const FRAME: Duration = Duration::from_micros(16_667);
/// Datagrams that may be under way, shuffled.
const HELD_MAX: usize = 64;
/// Frames that remember whether one of their datagrams was forged.
const FORGED_FRAMES: usize = 64;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fuzzed {
    /// Datagrams handed to the reassembler.
    pub datagrams: u64,
    /// Of these forged.
    pub forged: u64,
    /// Frames delivered.
    pub frames: u64,
    /// Frames lost.
    pub lost: u64,
    /// Frames that none forged and whose bytes are wrong.
    pub wrong: u64,
    /// Frames or losses that did not follow the one before.
    pub out_of_order: u64,
    /// Wants said.
    pub wants: u64,
    /// Columns that the host would repeat for them.
    pub answered: u64,
    /// What the encoder was asked for.
    pub repairs: u64,
    /// Memory that the reassembler states, bytes.
    pub memory_bytes: usize,
}

/// A plaintext datagram on its way.
#[derive(Clone)]
struct Shard {
    header: VideoHeader,
    payload: Vec<u8>,
}

struct Fuzz {
    rng: Rng,
    packetizer: Packetizer,
    opener: Opener,
    reassembler: Reassembler,
    wants: Wants,
    ladder: Ladder,
    held: VecDeque<Shard>,
    batch: Batch,
    now: Timestamp,
    forged: VecDeque<FrameId>,
    next: FrameId,
    result: Fuzzed,
}

/// Runs about `datagrams` of them, all from `seed`.
#[must_use]
pub fn run(datagrams: u64, seed: u64) -> Fuzzed {
    let keys = || MediaKeys::from_exporter(Aead::Aes128Gcm, &mut [7; EXPORTER_BYTES]);
    let config = ReassemblerConfig {
        access_unit_bytes_max: 1 << 20,
        ..ReassemblerConfig::default()
    };
    let mut fuzz = Fuzz {
        rng: Rng::stream(seed, 0),
        packetizer: Packetizer::new(Sealer::new(keys()), PacketizerConfig::default()),
        opener: Opener::new(keys()),
        reassembler: Reassembler::new(config),
        wants: Wants::new(WantsConfig::default()),
        ladder: Ladder::new(LadderConfig::default()),
        held: VecDeque::new(),
        batch: Batch::new(),
        now: Timestamp::from_ns(1),
        forged: VecDeque::new(),
        next: FrameId(0),
        result: Fuzzed {
            memory_bytes: config.memory_bytes(),
            ..Fuzzed::default()
        },
    };
    let mut frame = FrameId(0);
    while fuzz.result.datagrams < datagrams {
        fuzz.frame(frame);
        frame = frame.next();
        // Now and then the host is silent for longer than the window.
        if fuzz.rng.below(500) == 0 {
            frame = FrameId(frame.0 + fuzz.rng.below(40) as u32);
        }
    }
    fuzz.result
}

impl Fuzz {
    fn frame(&mut self, frame: FrameId) {
        let protection = Protection {
            percent: self.rng.below(60) as u8,
            shards_base: 0,
            shards_min: 1,
            slices_per_group: (1 + self.rng.below(8) as u8)
                .try_into()
                .expect("at least one"),
        };
        self.packetizer.set_protection(protection);
        self.packetizer
            .set_datagram_bytes_max(600 + self.rng.below(800) as usize);
        let slices = 1 + self.rng.below(8) as u8;
        let slice_bytes = UNIT_HEAD_BYTES + self.rng.below(6_000) as usize;
        let unit = Unit {
            frame,
            picture: Picture::Predicted,
            bytes: (slice_bytes * usize::from(slices)) as u32,
        };
        let loss = Chance::percent([0, 2, 10, 40][self.rng.below(4) as usize]);
        let mut bytes = vec![0; slice_bytes];
        for slice in 0..slices {
            unit.fill(slice_bytes * usize::from(slice), &mut bytes);
            let meta = SliceMeta {
                frame,
                index: SliceIndex(slice),
                last: slice + 1 == slices,
                keyframe: frame.0 == 0,
                recovery: false,
                captured: self.now,
            };
            self.packetizer
                .begin(&meta, &bytes)
                .expect("within the limits");
            let sent = SentFrame {
                frame,
                columns: self.packetizer.columns(),
                whole_shards: self.packetizer.whole_shards(),
                is_recovery: meta.keyframe,
            };
            self.ladder.handle_sent(self.now, sent);
            let mut batch = std::mem::take(&mut self.batch);
            while self.packetizer.next_batch(&mut batch) {
                self.travel(&batch, loss);
            }
            self.batch = batch;
        }
        if self.rng.below(4) == 0 {
            let back = self.rng.below(10) as u32;
            let start = self.rng.below(30) as u16;
            let mut columns = Columns {
                frame: FrameId(frame.0.saturating_sub(back)),
                range: start..start + self.rng.below(20) as u16,
            };
            let mut batch = std::mem::take(&mut self.batch);
            while self.packetizer.repeat(&mut columns, &mut batch) {
                self.travel(&batch, loss);
            }
            self.batch = batch;
        }
        self.now = self.now + FRAME;
        self.drain();
    }

    /// Opens each datagram as a client does, and lets some of them get lost.
    fn travel(&mut self, batch: &Batch, loss: Chance) {
        for datagram in batch.iter() {
            let mut datagram = datagram.to_vec();
            let (header, payload) =
                open_video(&mut self.opener, &mut datagram).expect("an honest host's");
            let shard = Shard {
                header,
                payload: payload.to_vec(),
            };
            if self.rng.happens(loss) {
                continue;
            }
            if self.rng.below(50) == 0 {
                self.held.push_back(shard.clone());
            }
            if self.rng.below(200) == 0 {
                self.forge(&shard);
            }
            self.held.push_back(shard);
            while self.held.len() > HELD_MAX || self.rng.below(3) > 0 && !self.held.is_empty() {
                // Mostly in order.
                let index = if self.rng.below(10) == 0 {
                    self.rng.below(self.held.len() as u64) as usize
                } else {
                    0
                };
                if let Some(shard) = self.held.remove(index) {
                    self.hand_over(&shard);
                }
            }
        }
    }

    /// A datagram whose header and length are partly chance.
    fn forge(&mut self, like: &Shard) {
        let mut wire = [0; MEDIA_HEADER_BYTES];
        match &like.header {
            VideoHeader::Data(data) => data.write(&mut wire),
            VideoHeader::Parity(parity) => parity.write(&mut wire),
        }
        for _ in 0..1 + self.rng.below(3) {
            let at = self.rng.below(MEDIA_HEADER_BYTES as u64) as usize;
            wire[at] ^= 1 << self.rng.below(8);
        }
        let mut payload = like.payload.clone();
        payload.truncate(self.rng.below(payload.len() as u64 + 1) as usize);
        if let Some(byte) = payload.first_mut() {
            *byte ^= self.rng.bits() as u8;
        }
        let mut datagram = wire.to_vec();
        datagram.extend(&payload);
        datagram.extend([0; 16]);
        let Ok(header) = VideoHeader::parse(&datagram) else {
            return;
        };
        let frame = header.frame().frame;
        // Far ahead, it would end every frame before it, which is the host's own loss.
        if frame.0 > self.next.0 + 16 {
            return;
        }
        self.forged.push_back(frame);
        if self.forged.len() > FORGED_FRAMES {
            self.forged.pop_front();
        }
        self.result.forged += 1;
        self.hand_over(&Shard { header, payload });
    }

    fn hand_over(&mut self, shard: &Shard) {
        self.now = self.now + Duration::from_micros(self.rng.below(20));
        self.result.datagrams += 1;
        self.wants.handle_shard(self.now, &shard.header);
        self.reassembler
            .handle(self.now, &shard.header, &shard.payload);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.reassembler.poll(self.now) {
            let (first, last) = match &event {
                Event::Frame(unit) => (unit.frame, unit.frame),
                Event::Lost(loss) => (loss.first, loss.last),
            };
            self.result.out_of_order += u64::from(first != self.next || last < first);
            self.next = last.next();
            match event {
                Event::Frame(unit) => {
                    self.result.frames += 1;
                    let right = Unit::read(unit.bytes()).is_ok_and(|it| it.frame == unit.frame);
                    let forged = self.forged.contains(&unit.frame);
                    self.result.wrong += u64::from(!right && !forged);
                }
                Event::Lost(loss) => self.result.lost += u64::from(loss.count()),
            }
        }
        if self.rng.below(8) == 0 {
            self.ask();
        }
    }

    /// What is missing is asked for, and answered for the sake of the machines alone: what goes
    /// out again is drawn elsewhere.
    fn ask(&mut self) {
        let grace = self.wants.reorder_grace(self.now, &self.reassembler);
        self.reassembler.set_reorder_grace(grace);
        let wants = self.wants.poll_wants(self.now, &self.reassembler);
        self.result.wants += wants.as_slice().len() as u64;
        let first_lost = FrameId(self.next.0.wrapping_sub(self.rng.below(12) as u32));
        let damage = Damage {
            first_lost,
            newest_lost: FrameId(first_lost.0.wrapping_add(self.rng.below(4) as u32)),
        };
        let feedback = Feedback {
            sent: self.now,
            wants,
            damage: (self.rng.below(3) == 0).then_some(damage),
            ..Feedback::default()
        };
        self.ladder.handle_feedback(self.now, &feedback);
        while let Some(columns) = self.ladder.poll_repeat(self.now) {
            self.result.answered += columns.range.len() as u64;
        }
        while self.ladder.poll_repair().is_some() {
            self.result.repairs += 1;
        }
    }
}
