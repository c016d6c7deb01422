//! Arbitrary slices through the video packetizer, and arbitrary datagrams into the model of a
//! client.

use net::gamestream::client_model::ClientModel;
use net::gamestream::video::{FramePlan, VideoConfig, VideoFormat, VideoPacketizer};
use net::packetize::{Batch, Protection, SliceMeta};
use net::units::{FrameId, SliceIndex, Timestamp};

/// Commands of four bytes: size of a slice, how the frame is planned, and whether it ends.
pub fn run(data: &[u8]) {
    let mut video = VideoPacketizer::new(&VideoConfig {
        packet_bytes: 512,
        parity_min: data.first().copied().unwrap_or(0) % 8,
        protection: Protection::at_frame_end(data.get(1).copied().unwrap_or(0) % 101),
        format: VideoFormat::H264,
        key: None,
        batch_datagrams_max: 47,
    })
    .expect("512 can be served");
    let mut client = ClientModel::new(512, None, true);
    let mut batch = Batch::new();
    let bytes = [7; 255 * 90];
    let (mut frame, mut index) = (0, 0);
    for command in data.chunks_exact(4) {
        let last = command[2] & 1 == 1;
        let meta = SliceMeta {
            frame: FrameId(frame),
            index: SliceIndex(index),
            last,
            keyframe: frame == 0,
            recovery: command[2] & 2 != 0,
            captured: Timestamp::from_ns(u64::from(frame) * 16_666_667),
        };
        let plan = FramePlan {
            slices: command[1] & 15,
            blocks: command[1] >> 4,
            ..FramePlan::default()
        };
        let size = usize::from(command[0]) * if command[3] & 1 == 1 { 90 } else { 1 };
        let _given_up = video.begin(&meta, &plan, &bytes[..size]);
        while video.next_batch(&mut batch) {
            for datagram in batch.iter() {
                client
                    .handle_datagram(datagram)
                    .expect("every rule is kept");
            }
        }
        if last {
            (frame, index) = (frame + 1, 0);
        } else {
            index = index.saturating_add(1);
        }
        client.take_events();
    }
}
