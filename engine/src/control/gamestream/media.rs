//! One stream's video, seen from control: what the client reports, turned into orders for the
//! pipeline and requests to the encoder.
//!
//! Beside [`crate::control`]'s native steering: a stock client asks for no repeats and tells no
//! arrival times, so parity does it alone, and the rate follows [`LinkRate`].

use std::collections::VecDeque;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Receiver;
use net::gamestream::control::FromClient;
use net::gamestream::enet::Echo;
use net::gamestream::rate::{LOSS_WINDOW, LinkRate};
use net::gamestream::reports::{Report, Reports};
use net::gamestream::video::{BlockPolicy, BlockPolicyConfig, LatencyEstimate, parity_packets};
use net::ladder::{Ladder, LadderConfig, ParityConfig, Path, ReferencesConfig, Repair, SentFrame};
use net::limits::BITRATE_MIN;
use net::packetize::Protection;
use net::rate::{Pace, State, UNMEASURED_BURST_BYTES};
use net::steering::{Orders, SteeringStatus};
use net::times::FrameTimes;
use net::units::{BitsPerSecond, FrameId, RefreshMilliHz, SliceCount, Timestamp};

use crate::stage::cutter::VideoGuidance;
use crate::stage::encode::EncodeCommand;
use crate::steering::{ControlEnds, Departed, PipelineEnds, ways};

/// How often the path is looked at.
const TICK: Duration = Duration::from_millis(10);
/// How often the rate is decided on.
const RATE_INTERVAL: Duration = Duration::from_millis(50);
/// Between two IDRs that the client asks for: one is on its way for about so long, and a client
/// that lost it asks again.
const IDR_INTERVAL: Duration = Duration::from_millis(100);
/// RTP header of each packet, bytes; the second one counts as the packet's.
const RTP_BYTES: u64 = 16;
/// Both.
const HEADER_BYTES: u64 = 32;
/// Up to this the pace may be four times the rate: a frame is then less than 21 KB.
const PACE_FAST: BitsPerSecond = BitsPerSecond(40_000_000);
/// Frames whose departure is remembered: a second's.
const DEPARTURES_MAX: usize = 64;
/// Sizes of pictures around what is asked for.
const SIZES_PERCENT: [u64; 5] = [70, 85, 100, 115, 130];
/// Most parity, as [`ParityConfig`] has it. A native client's lost frame is repeated first, this
/// one's never, and small frames need a larger share for the same loss: 5 of 10 packets at 5 %.
const STRONG_BASE: f64 = 0.2;
/// See [`STRONG_BASE`].
const STRONG_PER_LOSS: f64 = 10.0;
/// See [`STRONG_BASE`]; of bursts of eight half are longer than that, whatever is spent.
const PARITY_SHARE_MAX: f64 = 1.0;
/// For one damage, before an IDR: the client asks for that itself when nothing else helps, and on a
/// path that loses each recovery an IDR, which is larger, is lost the sooner.
const INVALIDATIONS_MAX: u8 = 8;
/// A change of the encoder's bitrate by less than this share is no order.
const BITRATE_STEP: f64 = 0.02;

/// How a stream is steered.
#[derive(Clone, Copy, Debug)]
pub struct VideoTerms {
    /// What video may take on the wire, parity included: the client's wish.
    pub bitrate: BitsPerSecond,
    /// Size of a packet, bytes.
    pub packet_bytes: u16,
    /// Pictures a second.
    pub refresh: RefreshMilliHz,
    /// Slices of each picture.
    pub slices: SliceCount,
    /// Blocks of each picture that the operator has fixed, as far as slices allow.
    pub blocks: Option<u8>,
    /// Parity packets of a block that the client wants at least.
    pub parity_min: u8,
    /// Parity in percent that the operator has fixed.
    pub fec_percent: Option<u8>,
}

/// The frame that is being sent, as control has heard.
#[derive(Clone, Copy, Debug)]
struct InHand {
    frame: FrameId,
    /// Data so far, packets.
    columns: usize,
    /// Of these told to the reports.
    told: u32,
    recovers: bool,
}

/// The steering of one stream.
pub struct VideoSteer {
    terms: VideoTerms,
    ladder: Ladder,
    reports: Reports,
    policy: BlockPolicy,
    latency: LatencyEstimate,
    rate: LinkRate,
    orders: Orders,
    ends: ControlEnds,
    guidance: Arc<VideoGuidance>,
    /// Finished frames, once the pipeline runs.
    times: Option<Receiver<FrameTimes>>,
    blocks: u8,
    in_hand: Option<InHand>,
    newest_sent: Option<FrameId>,
    /// The oldest ping that waits.
    waits_since: Option<Timestamp>,
    /// When the last frames began to leave, by their number.
    departures: [(FrameId, Timestamp); DEPARTURES_MAX],
    /// When what the client has spoken of last was sent: a ping from before it was lost and waits
    /// in no queue.
    heard_of: Timestamp,
    commands: VecDeque<EncodeCommand>,
    idr_due: bool,
    last_idr: Option<Timestamp>,
    polled: Timestamp,
    rated: Timestamp,
    /// What the client reported so far.
    feedbacks: u64,
    /// What became of it, until somebody looks.
    status: Option<SteeringStatus>,
}

impl VideoSteer {
    /// A stream that is about to start, its pipeline's ends, and what its packetizer is told.
    #[must_use]
    pub fn new(now: Timestamp, terms: VideoTerms) -> (Self, PipelineEnds) {
        let ladder = Ladder::new(LadderConfig {
            parity: ParityConfig {
                // No repeat ever comes in time: there is none, and a frame that is lost takes those
                // until its report and a recovery with it.
                wait: Duration::ZERO,
                strong_base: STRONG_BASE,
                strong_per_loss: STRONG_PER_LOSS,
                share_max: PARITY_SHARE_MAX,
                ..ParityConfig::default()
            },
            references: ReferencesConfig {
                invalidations_max: INVALIDATIONS_MAX,
                ..ReferencesConfig::default()
            },
            ..LadderConfig::default()
        });
        let rate = LinkRate::new(now, floor(&terms), terms.bitrate);
        let mut policy = BlockPolicy::new(BlockPolicyConfig {
            fixed: terms.blocks,
            ..BlockPolicyConfig::default()
        });
        let blocks = policy.blocks(now, terms.slices.get());
        let orders = Orders {
            bitrate: BitsPerSecond(0),
            frame_divisor: NonZeroU8::MIN,
            protection: protection(&ladder, &terms),
            pace: pace(rate.rate()),
            datagram_bytes_max: usize::from(terms.packet_bytes),
        };
        let (pipeline, ends) = ways(&orders);
        let guidance = Arc::new(VideoGuidance::default());
        guidance.set_blocks(blocks);
        let mut this = Self {
            terms,
            ladder,
            reports: Reports::new(),
            policy,
            latency: LatencyEstimate::new(),
            rate,
            orders,
            ends,
            guidance,
            times: None,
            blocks,
            in_hand: None,
            newest_sent: None,
            waits_since: None,
            departures: [(FrameId(0), Timestamp::ZERO); DEPARTURES_MAX],
            heard_of: Timestamp::ZERO,
            commands: VecDeque::new(),
            idr_due: false,
            last_idr: None,
            polled: now,
            rated: now,
            feedbacks: 0,
            status: None,
        };
        this.order();
        (this, pipeline)
    }

    /// What the packetizer is told.
    #[must_use]
    pub fn guidance(&self) -> Arc<VideoGuidance> {
        Arc::clone(&self.guidance)
    }

    /// What holds now.
    #[must_use]
    pub const fn orders(&self) -> Orders {
        self.orders
    }

    /// The pipeline runs.
    pub fn started(&mut self, times: Receiver<FrameTimes>) {
        self.times = Some(times);
    }

    /// The client said something of its video.
    pub fn handle_message(&mut self, now: Timestamp, round_trip: Duration, message: &FromClient) {
        self.feedbacks += 1;
        // First what has left: the client may speak of it already.
        self.take_departures();
        self.tell_sent(now);
        self.hear_of(message);
        match self.reports.handle(now, message) {
            Some(Report::Loss { is_burst }) => self.policy.handle_loss(now, is_burst),
            Some(Report::Damage(damage)) => {
                self.guidance.give_up(damage.newest_lost);
                log::debug!("a client lost {damage:?}, {:?} was sent", self.newest_sent);
                self.rate.handle_damage(now);
                let feedback = self.reports.feedback(now, round_trip);
                self.ladder.handle_feedback(now, &feedback);
            }
            // Before the first frame there is nothing to begin anew.
            Some(Report::Idr) if self.newest_sent.is_some() => {
                log::debug!("a client asks for an IDR");
                self.rate.handle_damage(now);
                self.idr_due = true;
            }
            Some(Report::Idr) | None => {}
        }
        self.collect_repairs(now);
    }

    /// The control stream was answered: in order, and before [`VideoSteer::handle_timeout`].
    pub fn handle_echo(&mut self, echo: Echo) {
        self.take_departures();
        self.rate.handle_echo(echo);
    }

    /// Since when a ping waits for its answer.
    pub const fn set_waits_since(&mut self, waits_since: Option<Timestamp>) {
        self.waits_since = waits_since;
    }

    /// When [`VideoSteer::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Timestamp {
        self.polled + TICK
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Timestamp, round_trip: Duration) {
        if self.poll_timeout() > now {
            return;
        }
        self.polled = now;
        self.take_departures();
        self.take_times();
        let feedback = self.reports.feedback(now, round_trip);
        self.ladder.handle_feedback(now, &feedback);
        let path = self.reports.path(now, round_trip);
        self.ladder.handle_path(now, &path, self.rate.rate());
        if now.since(self.rated) >= RATE_INTERVAL {
            self.rated = now;
            let loss = self.reports.loss_over(now, LOSS_WINDOW);
            let waits_since = self.waits_since.map(|since| since.max(self.heard_of));
            self.rate.poll(now, loss, waits_since);
        }
        self.blocks = self.policy.blocks(now, self.terms.slices.get());
        self.guidance.set_blocks(self.blocks);
        self.guidance.set_fill(self.fill_16(now));
        self.order();
        self.collect_repairs(now);
        if self.rated == now {
            self.status = Some(self.look(now, round_trip, &path));
        }
    }

    /// What the path is like and what was made of it, once each time that the rate was decided on.
    pub fn poll_status(&mut self) -> Option<SteeringStatus> {
        self.status.take()
    }

    /// What the encoder is asked for, until there is nothing.
    pub fn poll_command(&mut self) -> Option<EncodeCommand> {
        self.commands.pop_front()
    }

    /// As the native steering tells it; what no stock client reports stays empty.
    fn look(&self, now: Timestamp, round_trip: Duration, path: &Path) -> SteeringStatus {
        let data = self.ladder.frame_size().data_shards;
        SteeringStatus {
            state: match self.rate.is_congested(now) {
                true => State::BackingOff,
                false => State::Steady,
            },
            rung: self.ladder.rung(now),
            wire_rate: self.rate.rate(),
            orders: self.orders,
            loss_share: path.loss_share,
            loss_burst: path.burst_mean,
            round_trip,
            frame: (data, self.orders.protection.parity_for(data)),
            queue_delay: self.rate.queue_delay(),
            bottleneck: None,
            path_bytes: usize::from(self.terms.packet_bytes),
            is_path_searched: false,
            black_holes: 0,
            tail_probes: 0,
            feedbacks: self.feedbacks,
            refused: 0,
            tasks_dropped: 0,
        }
    }

    /// While bursts come, what the rate has left is parity: a frame stands a longer one, and a burst
    /// that is so many packets long is over sooner. An operator's parity is left as it is.
    fn fill_16(&self, now: Timestamp) -> u16 {
        if self.terms.fec_percent.is_some() || !self.policy.is_bursty(now) {
            return 0;
        }
        let packet_bytes = u64::from(self.terms.packet_bytes) + RTP_BYTES;
        let bytes_16 = 16 * 1000 * self.rate.rate().0 / (8 * u64::from(self.terms.refresh.get()));
        u16::try_from(bytes_16 / packet_bytes).unwrap_or(u16::MAX)
    }

    fn take_departures(&mut self) {
        while let Ok(departed) = self.ends.departures.try_recv() {
            self.take_departed(&departed);
        }
    }

    fn take_departed(&mut self, departed: &Departed) {
        let frame = FrameId(departed.sent.burst);
        if self.in_hand.is_none_or(|it| it.frame != frame) {
            if let Some(before) = self.in_hand {
                self.policy.handle_sent(before.columns, before.recovers);
            }
            self.tell_sent(departed.at);
            self.departures[frame.0 as usize % DEPARTURES_MAX] = (frame, departed.at);
            self.in_hand = Some(InHand {
                frame,
                columns: 0,
                told: 0,
                recovers: false,
            });
        }
        self.newest_sent = Some(frame);
        if !departed.is_refused {
            self.rate.handle_sent(departed.at, departed.sent.bytes());
        }
        let Some(in_hand) = &mut self.in_hand else {
            return;
        };
        if let Some(sent) = departed.frame {
            in_hand.columns = sent.columns;
            in_hand.recovers |= sent.is_recovery;
            if sent.is_recovery {
                log::debug!("{frame} recovers");
                // At once: the ladder counts from here, too, when the client must have said so if
                // it misses it.
                self.reports.handle_recovery(departed.at, frame);
            }
            // Parity is chosen for what shares it: a block.
            let columns = sent.columns.div_ceil(usize::from(self.blocks.max(1)));
            let block = SentFrame {
                columns,
                whole_shards: columns,
                ..sent
            };
            self.ladder.handle_sent(departed.at, block);
        }
    }

    /// Takes the time of the frame that the client speaks of: it saw that one, or a later one.
    fn hear_of(&mut self, message: &FromClient) {
        let frame = match message {
            FromClient::FecStatus(status) => status.frame,
            FromClient::Invalidate { last, .. } => *last,
            _ => return,
        };
        // Counted from 1 on the wire.
        let frame = FrameId(frame.wrapping_sub(1));
        let (known, sent) = self.departures[frame.0 as usize % DEPARTURES_MAX];
        if known == frame {
            self.heard_of = self.heard_of.max(sent);
        }
    }

    /// Tells the reports what has left of the frame in hand, as so many blocks. Data only: a client
    /// looks at no more packets of a block than it needs, so what it says to be lost is of as many
    /// as there is data.
    fn tell_sent(&mut self, now: Timestamp) {
        let Some(in_hand) = &mut self.in_hand else {
            return;
        };
        let columns = in_hand.columns as u32;
        let packets = columns.saturating_sub(in_hand.told);
        in_hand.told = columns.max(in_hand.told);
        let blocks = u32::from(self.blocks.max(1)).min(packets);
        for block in 0..blocks {
            let part = packets * (block + 1) / blocks - packets * block / blocks;
            self.reports
                .handle_sent(now, in_hand.frame, part, in_hand.recovers);
        }
    }

    fn take_times(&mut self) {
        let Some(times) = &self.times else { return };
        for frame in times.try_iter() {
            let last = frame.slices[..usize::from(frame.slice_count)].last();
            if let Some(last) = last.filter(|it| !it.last_byte.is_zero()) {
                self.latency
                    .handle_frame(last.last_byte.since(frame.captured));
            }
        }
        self.guidance
            .set_latency(self.latency.estimate(Duration::ZERO));
    }

    fn collect_repairs(&mut self, now: Timestamp) {
        let newest = self.newest_sent.unwrap_or_default();
        while let Some(repair) = self.ladder.poll_repair() {
            log::debug!("the encoder is asked to {repair}");
            match repair {
                Repair::Invalidate {
                    first_lost,
                    newest_lost,
                } => self.commands.push_back(EncodeCommand::Invalidate {
                    first_lost,
                    newest_lost,
                }),
                Repair::Idr => self.idr_due = true,
            }
        }
        let is_recent = |at: Timestamp| now.since(at) < IDR_INTERVAL;
        if self.idr_due && !self.last_idr.is_some_and(is_recent) {
            self.idr_due = false;
            self.last_idr = Some(now);
            self.commands.push_back(EncodeCommand::Keyframe {
                newest_lost: newest,
            });
        }
    }

    /// Gives the pipeline other orders where they have changed.
    fn order(&mut self) {
        let protection = protection(&self.ladder, &self.terms);
        let rate = self.rate.rate();
        let bytes = frame_bytes(&self.terms, &protection, self.blocks, rate);
        let refresh_millihz = u64::from(self.terms.refresh.get());
        let bitrate = BitsPerSecond((8 * bytes * refresh_millihz / 1000).max(BITRATE_MIN));
        let step = bitrate.0 as f64 / self.orders.bitrate.0.max(1) as f64 - 1.0;
        let before = self.orders;
        if step.abs() >= BITRATE_STEP {
            self.orders.bitrate = bitrate;
        }
        self.orders.protection = protection;
        self.orders.pace = pace(rate);
        if self.orders != before {
            self.ends.orders.set(&self.orders);
        }
    }
}

/// What pictures of a packet each take with two of parity, which are whole: below it the encoder's
/// bitrate is nearly nothing, and the pacer would fall behind for ever.
fn floor(terms: &VideoTerms) -> BitsPerSecond {
    let packets_millihz = 3 * u64::from(terms.refresh.get());
    let packet_bits = 8 * (u64::from(terms.packet_bytes) + HEADER_BYTES);
    BitsPerSecond((packets_millihz * packet_bits / 1000).max(BITRATE_MIN))
}

/// What the encoder may make of a frame so that on average it fits `rate` with its parity and
/// headers. Small frames round up: two packets and three of parity take as much as five.
fn frame_bytes(
    terms: &VideoTerms,
    protection: &Protection,
    blocks: u8,
    rate: BitsPerSecond,
) -> u64 {
    let budget = 1000 * rate.0 / (8 * u64::from(terms.refresh.get()));
    let payload = u64::from(terms.packet_bytes) + RTP_BYTES - HEADER_BYTES;
    let blocks = u64::from(blocks.max(1));
    let wire = |bytes: u64| {
        let packets = bytes.div_ceil(payload).max(1);
        let blocks = blocks.min(packets);
        let data = packets.div_ceil(blocks) as usize;
        let wanted = protection.parity_for(data).max(terms.parity_min.into());
        let parity = blocks * parity_packets(data, wanted) as u64;
        bytes + packets * HEADER_BYTES + parity * (u64::from(terms.packet_bytes) + RTP_BYTES)
    };
    let mean = |bytes: u64| {
        let each = SIZES_PERCENT.map(|percent| wire(bytes * percent / 100));
        each.iter().sum::<u64>() / SIZES_PERCENT.len() as u64
    };
    let (mut fits, mut too_much) = (0, budget + 1);
    while too_much - fits > 1 {
        let middle = fits.midpoint(too_much);
        match mean(middle) <= budget {
            true => fits = middle,
            false => too_much = middle,
        }
    }
    fits
}

/// The operator's, else what the ladder finds needed.
fn protection(ladder: &Ladder, terms: &VideoTerms) -> Protection {
    match terms.fec_percent {
        Some(percent) => Protection::at_frame_end(percent),
        None => ladder.protection(),
    }
}

/// Twice the rate, as no bottleneck is ever measured, and more where that is little: the sooner a
/// frame has left, the sooner its loss is told, and what is let go so fast is less than the smallest
/// queues hold.
fn pace(rate: BitsPerSecond) -> Pace {
    let fast = BitsPerSecond(4 * rate.0).min(PACE_FAST);
    Pace {
        rate: BitsPerSecond(2 * rate.0).max(fast),
        burst_bytes: UNMEASURED_BURST_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_told_each_time_that_the_rate_is_decided_on() {
        let begin = Timestamp::ZERO + Duration::from_secs(1);
        let terms = VideoTerms {
            bitrate: BitsPerSecond(10_000_000),
            packet_bytes: 1392,
            refresh: RefreshMilliHz::new(60_000).expect("60 Hz"),
            slices: SliceCount::ONE,
            parity_min: 0,
            blocks: None,
            fec_percent: None,
        };
        let (mut steer, _pipeline) = VideoSteer::new(begin, terms);
        let least = Duration::from_millis(2);
        steer.handle_timeout(begin + TICK, least);
        assert!(steer.poll_status().is_none());
        steer.handle_timeout(begin + RATE_INTERVAL, least);
        let status = steer.poll_status().expect("decided");
        assert_eq!(status.state, State::Steady);
        assert_eq!(status.wire_rate.0, terms.bitrate.0 / 2, "to begin with");
        assert_eq!(status.path_bytes, 1392);
        assert!(steer.poll_status().is_none(), "once");
        let answered = Echo {
            sent: begin,
            came: begin + least,
        };
        steer.handle_echo(answered);
        // The next ping has waited for 190 ms.
        steer.set_waits_since(Some(begin + RATE_INTERVAL + TICK));
        steer.handle_timeout(begin + 5 * RATE_INTERVAL, least);
        let status = steer.poll_status().expect("decided");
        assert_eq!(status.state, State::BackingOff);
        assert!(status.wire_rate.0 < terms.bitrate.0 / 2);
    }
}
