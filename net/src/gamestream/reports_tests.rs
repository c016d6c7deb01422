use super::*;
use crate::gamestream::client_model::{ClientEvent, ClientModel};
use crate::gamestream::video::{FramePlan, VideoConfig, VideoFormat, VideoPacketizer};
use crate::ladder::{Ladder, LadderConfig, Repair, SentFrame};
use crate::packetize::{Batch, Protection, SliceMeta};
use crate::seeded::{Bursts, Seeded};
use crate::units::{BitsPerSecond, SliceIndex};

const ROUND_TRIP: Duration = Duration::from_millis(20);

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ns(10_000_000_000 + ms * 1_000_000)
}

fn status(lost: u16) -> FromClient {
    FromClient::FecStatus(FecStatus {
        frame: 1,
        missing_before_highest: lost,
        data_packets: 20,
        parity_packets: 5,
        data_received: 20 - lost,
        parity_received: lost,
        blocks: 1,
        ..FecStatus::default()
    })
}

#[test]
fn loss_is_counted_over_two_seconds() {
    let mut reports = Reports::new();
    for frame in 0..120u64 {
        reports.handle_sent(at(frame * 16), FrameId(frame as u32), 25, false);
        if frame % 4 == 0 {
            let report = reports.handle(at(frame * 16), &status(1));
            assert_eq!(report, Some(Report::Loss { is_burst: false }));
        }
    }
    let path = reports.path(at(1920), ROUND_TRIP);
    assert!((0.009..0.011).contains(&path.loss_share), "{path:?}");
    assert!((1.0..1.1).contains(&path.burst_mean), "{path:?}");
    assert_eq!(reports.path(at(9000), ROUND_TRIP).loss_share, 0.0);
    let burst = reports.handle(at(1920), &status(4));
    assert_eq!(burst, Some(Report::Loss { is_burst: true }));
}

#[test]
fn what_was_never_sent_is_not_lost() {
    let mut reports = Reports::new();
    let lie = FromClient::Invalidate { first: 1, last: 2 };
    assert_eq!(reports.handle(at(0), &lie), None);
    let zero = FromClient::Invalidate { first: 0, last: 0 };
    assert_eq!(reports.handle(at(0), &zero), None);
    assert_eq!(reports.impossible(), 2);
}

/// The shared ladder behind the model of a client, over a path of 10 ms each way: bursts cost
/// frames, each loss is answered by an invalidation, and no IDR but the first is sent.
#[test]
fn a_recovery_counts_from_when_it_left() {
    let mut reports = Reports::new();
    reports.handle_sent(at(0), FrameId(4), 10, false);
    let lost = FromClient::Invalidate { first: 4, last: 4 };
    assert!(reports.handle(at(5), &lost).is_some());
    reports.handle_recovery(at(10), FrameId(5));
    // What is counted of it comes with the next frame.
    reports.handle_sent(at(27), FrameId(5), 10, true);
    let round_trip = Duration::from_millis(4);
    assert!(reports.feedback(at(38), round_trip).damage.is_some());
    assert!(reports.feedback(at(40), round_trip).damage.is_none());
}

#[test]
fn the_ladder_repairs_a_clients_losses_without_an_idr() {
    let seed = 21;
    let mut random = Seeded(seed);
    let mut losses = Bursts::new(0.05, 6.0);
    let mut ladder = Ladder::new(LadderConfig::default());
    let mut reports = Reports::new();
    let mut client = ClientModel::new(1392, None, true);
    let mut video = VideoPacketizer::new(&VideoConfig {
        packet_bytes: 1392,
        parity_min: 2,
        protection: ladder.protection(),
        format: VideoFormat::H264,
        key: None,
        batch_datagrams_max: 16,
    })
    .expect("a size within the limits");
    let mut batch = Batch::new();
    let mut told: Vec<(u64, FromClient)> = Vec::new();
    let (mut shown, mut idrs, mut stretch, mut worst) = (0, 0, 0u32, 0u32);
    let (mut recover, mut begin_anew) = (false, true);
    for frame in 0..1200u32 {
        let now_ms = u64::from(frame) * 16;
        // What was told a round trip ago has arrived.
        while told.first().is_some_and(|(ms, _)| *ms <= now_ms) {
            let (_, message) = told.remove(0);
            match reports.handle(at(now_ms), &message) {
                Some(Report::Idr) => begin_anew = true,
                Some(Report::Damage(_)) => {
                    let feedback = reports.feedback(at(now_ms), ROUND_TRIP);
                    ladder.handle_feedback(at(now_ms), &feedback);
                }
                Some(Report::Loss { .. }) | None => {}
            }
        }
        let feedback = reports.feedback(at(now_ms), ROUND_TRIP);
        ladder.handle_feedback(at(now_ms), &feedback);
        ladder.handle_path(
            at(now_ms),
            &reports.path(at(now_ms), ROUND_TRIP),
            BitsPerSecond(20_000_000),
        );
        while let Some(repair) = ladder.poll_repair() {
            match repair {
                Repair::Invalidate { .. } => recover = true,
                Repair::Idr => begin_anew = true,
            }
        }
        // No repeats to this client: parity alone, and more of it.
        let protection = ladder.protection();
        video.set_protection(Protection {
            percent: protection.percent.max(20),
            ..protection
        });
        let meta = SliceMeta {
            frame: FrameId(frame),
            index: SliceIndex(0),
            last: true,
            keyframe: std::mem::take(&mut begin_anew),
            recovery: std::mem::take(&mut recover),
            captured: at(now_ms),
        };
        let plan = FramePlan {
            slices: 1,
            blocks: 1,
            ..FramePlan::default()
        };
        video.begin(&meta, &plan, &[7; 25_000]).expect("it fits");
        idrs += u32::from(meta.keyframe);
        let mut packets = 0;
        while video.next_batch(&mut batch) {
            packets += u32::from(batch.datagrams);
            for datagram in batch.iter() {
                if frame == 0 || !losses.lost(&mut random) {
                    client
                        .handle_datagram(datagram)
                        .expect("every rule is kept");
                }
            }
        }
        reports.handle_sent(
            at(now_ms),
            FrameId(frame),
            packets,
            meta.recovery || meta.keyframe,
        );
        let sent = SentFrame {
            frame: FrameId(frame),
            columns: video.data_packets(),
            whole_shards: video.data_packets(),
            is_recovery: meta.recovery || meta.keyframe,
        };
        ladder.handle_sent(at(now_ms), sent);
        stretch += 1;
        for event in client.take_events() {
            let message = match event {
                ClientEvent::Frame { .. } => {
                    shown += 1;
                    stretch = 0;
                    continue;
                }
                ClientEvent::FecStatus(status) => FromClient::FecStatus(status),
                ClientEvent::Invalidate { first, last } => FromClient::Invalidate { first, last },
                ClientEvent::RequestIdr => FromClient::RequestIdr,
            };
            told.push((now_ms + ROUND_TRIP.as_millis() as u64, message));
        }
        worst = worst.max(stretch);
    }
    let stats = ladder.references_stats();
    assert!(stats.invalidations > 0, "seed {seed}: {stats:?}");
    assert!(shown >= 900, "seed {seed}: {shown} of 1200, {stats:?}");
    assert!(
        idrs <= 6,
        "seed {seed}: {idrs} IDRs, {stats:?}, {shown} shown, worst {worst}"
    );
}
