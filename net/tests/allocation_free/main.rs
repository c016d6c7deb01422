//! From slice to access unit, with loss, parity and recovery, without one allocation.

mod side_planes;
mod rate;
mod sys;

use std::num::NonZeroU32;

use net::crypto::{Aead, EXPORTER_BYTES, MediaKeys, Opener, Sealer};
use net::media;
use net::packetize::{Batch, Packetizer, PacketizerConfig, SliceMeta};
use net::reassemble::{Event, Granularity, Reassembler, ReassemblerConfig};
use net::units::{FrameId, SliceIndex, Timestamp};

/// Slices of a frame: the last is large enough for the GF(2¹⁶) code.
const SLICE_BYTES: [usize; 5] = [900, 20_000, 1, 60_000, 420_000];

struct Session {
    packetizer: Packetizer,
    opener: Opener,
    reassembler: Reassembler,
    slice: Vec<u8>,
    batch: Batch,
    datagram: Vec<u8>,
    delivered: u64,
}

impl Session {
    fn new(granularity: Granularity) -> Self {
        let keys = || MediaKeys::from_exporter(Aead::Aes128Gcm, &mut [9; EXPORTER_BYTES]);
        let mut packetizer = Packetizer::new(Sealer::new(keys()), PacketizerConfig::default());
        packetizer.set_drop_every(NonZeroU32::new(9));
        Self {
            packetizer,
            opener: Opener::new(keys()),
            reassembler: Reassembler::new(ReassemblerConfig {
                granularity,
                ..ReassemblerConfig::default()
            }),
            slice: vec![0xC7; 500_000],
            batch: Batch::new(),
            datagram: Vec::with_capacity(2000),
            delivered: 0,
        }
    }

    fn frame(&mut self, frame: u32) {
        let now = Timestamp::from_ns(u64::from(frame) * 16_000_000);
        for (index, &bytes) in SLICE_BYTES.iter().enumerate() {
            let meta = SliceMeta {
                frame: FrameId(frame),
                index: SliceIndex(index as u8),
                last: index + 1 == SLICE_BYTES.len(),
                keyframe: false,
                recovery: false,
                captured: now,
            };
            self.packetizer
                .begin(&meta, &self.slice[..bytes])
                .expect("within the limits");
            while self.packetizer.next_batch(&mut self.batch) {
                for datagram in self.batch.iter() {
                    self.datagram.clear();
                    self.datagram.extend_from_slice(datagram);
                    let (header, payload) =
                        media::open_video(&mut self.opener, &mut self.datagram).expect("authentic");
                    self.reassembler.handle(now, &header, payload);
                }
                while let Some(event) = self.reassembler.poll(now) {
                    let Event::Frame(unit) = event else { continue };
                    self.delivered += u64::from(unit.ends && unit.frame == FrameId(frame));
                }
            }
        }
    }
}

#[test]
fn packetizing_and_reassembling_allocate_nothing() {
    for granularity in [Granularity::Frames, Granularity::Slices] {
        let mut session = Session::new(granularity);
        let before = sys::allocations();
        for frame in 0..100 {
            session.frame(frame);
        }
        assert_eq!(sys::allocations() - before, 0, "{granularity:?}");
        assert_eq!(session.delivered, 100);
        assert!(session.reassembler.stats().repaired_shards > 1000);
    }
}
