//! Delivery against a model of the host, the network and the decoder: whatever is lost, nothing
//! is delivered that refers to a picture that the decoder does not have, and once losses end,
//! the picture comes back.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(16);
/// Pictures that the encoder keeps.
const REFERENCES: usize = 8;
/// After so many frames without any loss the client must be up to date: patience twice, and a
/// report and its answer on their way.
const SETTLED: u32 = 40;

/// A frame on its way.
#[derive(Clone, Copy)]
struct Sent {
    arrival: Arrival,
    /// What it refers to; nothing if it is an IDR.
    refers_to: Option<FrameId>,
}

/// The rule of the encode stage, and an encoder that keeps the last pictures.
#[derive(Default)]
struct Host {
    next: FrameId,
    kept: VecDeque<(FrameId, bool)>,
    last_idr: Option<FrameId>,
    last_recovery: Option<FrameId>,
    idr_due: bool,
    recovery_due: bool,
}

impl Host {
    fn obey(&mut self, request: RepairRequest) {
        let newest = Some(request.newest_lost);
        if request.newest_lost >= self.next || self.last_idr > newest || self.idr_due {
            return;
        }
        if request.wish == RepairWish::Idr {
            self.idr_due = true;
        } else if self.last_recovery <= newest {
            for (id, valid) in &mut self.kept {
                *valid &= *id < request.first_lost;
            }
            self.recovery_due = self.kept.iter().any(|(_, valid)| *valid);
            self.idr_due = !self.recovery_due;
        }
    }

    fn encode(&mut self) -> Sent {
        let frame = self.next;
        self.next = frame.next();
        let keyframe = self.idr_due || self.kept.is_empty();
        let recovery = self.recovery_due && !keyframe;
        if keyframe {
            self.kept.clear();
            self.last_idr = Some(frame);
        } else if recovery {
            self.last_recovery = Some(frame);
        }
        (self.idr_due, self.recovery_due) = (false, false);
        let newest = self.kept.iter().rev().find(|(_, valid)| *valid);
        let refers_to = newest.map(|(id, _)| *id);
        self.kept.push_back((frame, true));
        if self.kept.len() > REFERENCES {
            self.kept.pop_front();
        }
        let arrival = Arrival {
            frame,
            keyframe,
            recovery,
        };
        Sent { arrival, refers_to }
    }
}

/// What happens to one frame and to the report that the client sends after it.
#[derive(Clone, Copy, Debug)]
struct Fate {
    lost: bool,
    /// The decoder's queue is full.
    overrun: bool,
    /// The decoder fails at it, and says so so many frames later.
    fails_after: Option<u8>,
    report_lost: bool,
    /// Frames until a report is with the host; reports may overtake each other.
    report_frames: u8,
}

fn fate() -> impl Strategy<Value = Fate> {
    let unlikely = || prop::bool::weighted(0.03);
    let fails_after = prop::option::weighted(0.02, 0..4u8);
    let lost = prop::bool::weighted(0.15);
    let report_lost = prop::bool::weighted(0.1);
    (lost, unlikely(), fails_after, report_lost, 1..6u8).prop_map(
        |(lost, overrun, fails_after, report_lost, report_frames)| Fate {
            lost,
            overrun,
            fails_after,
            report_lost,
            report_frames,
        },
    )
}

const GOOD: Fate = Fate {
    lost: false,
    overrun: false,
    fails_after: None,
    report_lost: false,
    report_frames: 2,
};

/// The client's side.
struct Client {
    delivery: Delivery,
    /// What the decoder has: bridged gaps are not in it.
    decoded: BTreeSet<FrameId>,
    /// It fails up to the next IDR.
    broken: bool,
    /// Complaints of the decoder and when they come.
    complaints: Vec<(u32, FrameId)>,
}

impl Client {
    fn take(&mut self, step: u32, sent: Sent, fate: Fate) {
        let arrival = sent.arrival;
        if fate.lost {
            return self.delivery.lost(arrival.frame, arrival.frame);
        }
        if self.delivery.judge(arrival) == Verdict::Hide {
            return;
        }
        if fate.overrun {
            return self.delivery.lost(arrival.frame, arrival.frame);
        }
        self.delivery.delivered(arrival.frame, arrival.keyframe);
        self.broken &= !arrival.keyframe;
        if self.broken || fate.fails_after.is_some() {
            self.broken = true;
            let after = u32::from(fate.fails_after.unwrap_or(1));
            return self.complaints.push((step + after, arrival.frame));
        }
        if let Some(base) = sent.refers_to {
            let frame = arrival.frame;
            assert!(self.decoded.contains(&base), "{frame} refers to {base}");
        }
        self.decoded.insert(arrival.frame);
    }
}

fn run(fates: &[Fate]) {
    let mut host = Host::default();
    let mut client = Client {
        delivery: Delivery::new(Timestamp::ZERO),
        decoded: BTreeSet::new(),
        broken: false,
        complaints: Vec::new(),
    };
    let mut reports: Vec<(u32, RepairRequest)> = Vec::new();
    let calm = std::iter::repeat_n(&GOOD, SETTLED as usize);
    for (step, fate) in (0u32..).zip(fates.iter().chain(calm)) {
        for (_, request) in reports.extract_if(.., |(due, _)| *due <= step) {
            host.obey(request);
        }
        let sent = host.encode();
        client.take(step, sent, *fate);
        let complaints: Vec<_> = client
            .complaints
            .extract_if(.., |(due, _)| *due <= step)
            .collect();
        for (_, frame) in complaints {
            client.delivery.undecodable(frame);
        }
        let now = Timestamp::ZERO + FRAME * step;
        if let Some(request) = client.delivery.poll_request(now)
            && !fate.report_lost
        {
            reports.push((step + u32::from(fate.report_frames), request));
        }
    }
    let newest = FrameId(host.next.0 - 1);
    assert_eq!(client.decoded.last(), Some(&newest), "the picture is back");
    assert_eq!(client.delivery.request_due(), None);
}

proptest! {
    #[test]
    fn nothing_is_shown_without_what_it_refers_to(
        fates in prop::collection::vec(fate(), 0..300),
    ) {
        run(&fates);
    }

    /// Nearly everything is lost for a while.
    #[test]
    fn an_outage_ends(
        before in prop::collection::vec(fate(), 0..20),
        outage in prop::collection::vec(
            (fate(), prop::bool::weighted(0.9)).prop_map(|(fate, lost)| Fate {
                lost,
                report_lost: lost,
                ..fate
            }),
            0..100,
        ),
    ) {
        run(&[before, outage].concat());
    }
}
