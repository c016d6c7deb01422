//! Departure times that the kernel keeps: `SO_TXTIME` over a pair of veth devices between two
//! network namespaces, with the queues of `tc`.
//!
//! This needs root, iproute2 and the kernel modules sch_fq and sch_etf. Where they are missing the
//! tests say what is and pass; in the lab (`PUNKTFUNK_LAB` is set, see `scripts/lab/departure-times`)
//! they fail instead. What is asserted holds on the slowest machine: nothing leaves early, order
//! is that of the times, every batch either arrives or is reported. How late they are is printed.

mod lab;
mod sys;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use lab::Lab;
use net::clock;
use net::udp::txtime::{TimedQueue, TxtimeErrors};
use net::udp::{SendPath, Socket, SocketConfig};
use net::units::Timestamp;

/// Datagrams of a batch, and their size, bytes.
const DATAGRAMS: usize = 5;
const DATAGRAM_BYTES: usize = 1200;
/// Between two departures.
const SPACING: Duration = Duration::from_millis(3);
/// How long before the first departure batches are handed over; the longer ones for a machine that
/// was not done by then. fq drops what is more than 10 s ahead.
const LEADS: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(8),
];
/// A bound for tests that fail; nothing waits so long in one that passes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A datagram that has come.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    /// The batch that it belongs to.
    number: u8,
    /// Its place in it.
    place: u8,
    at: Timestamp,
}

/// Both ends of the way.
struct Way {
    sender: Socket,
    receiver: UdpSocket,
    to: SocketAddr,
}

impl Way {
    fn new(lab: &Lab, send_path: SendPath) -> Self {
        let config = SocketConfig {
            txtime: true,
            send_path,
            ..SocketConfig::default()
        };
        let sender = lab.in_sender(move || Socket::bind(([10, 77, 0, 1], 0).into(), config));
        let receiver = lab.in_receiver(|| {
            let receiver = UdpSocket::bind(("10.77.0.2", 0))?;
            receiver.set_read_timeout(Some(Duration::from_millis(100)))?;
            sys::stamp_arrivals(&receiver)?;
            Ok(receiver)
        });
        Self {
            to: receiver.local_addr().expect("bound"),
            sender,
            receiver,
        }
    }

    /// The probe's answer on this way.
    fn queue(&self, lab: &Lab) -> Result<TimedQueue, String> {
        let (sender, to) = (self.sender.try_clone().expect("a descriptor"), self.to);
        lab.in_sender(move || Ok(sender.timed_queue(to)))
            .map_err(|refusal| refusal.to_string())
    }

    /// Sends batch `number`; each of its datagrams carries the number and its own place.
    fn send(&self, number: u8, queue: TimedQueue, departure: Timestamp) {
        let mut bytes = vec![0; DATAGRAMS * DATAGRAM_BYTES];
        for (i, datagram) in bytes.chunks_mut(DATAGRAM_BYTES).enumerate() {
            datagram[..2].copy_from_slice(&[number, i as u8]);
        }
        let sent = self
            .sender
            .send_segments_at(self.to, &bytes, DATAGRAM_BYTES, queue, departure)
            .expect("the queue takes it");
        assert_eq!(sent.datagrams, DATAGRAMS);
    }

    /// The next datagram, if one comes within a tenth of a second.
    fn receive(&self, ahead_ns: u64) -> Option<Arrival> {
        let mut buffer = [0; 2000];
        match sys::receive(&self.receiver, &mut buffer) {
            Ok((bytes, stamp_ns)) => {
                assert_eq!(bytes, DATAGRAM_BYTES);
                Some(Arrival {
                    number: buffer[0],
                    place: buffer[1],
                    at: Timestamp::from_ns(stamp_ns - ahead_ns),
                })
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Receives until `enough` says so of the arrivals and the reports so far.
    fn collect(&self, mut enough: impl FnMut(&[Arrival], TxtimeErrors) -> bool) -> Vec<Arrival> {
        let ahead_ns = realtime_ahead_ns();
        let give_up = clock::now() + PATIENCE;
        let mut arrivals = Vec::new();
        while !enough(&arrivals, self.sender.counters().txtime) {
            assert!(clock::now() < give_up, "only {arrivals:?} came");
            arrivals.extend(self.receive(ahead_ns));
            self.sender.take_txtime_errors();
        }
        arrivals
    }
}

/// How far `CLOCK_REALTIME`, on which arrivals are stamped, is ahead of our clock, ns. The most that
/// it was seen to be: an arrival never looks later for it.
fn realtime_ahead_ns() -> u64 {
    let ahead = (0..100).map(|_| {
        let now = clock::now().as_ns();
        let realtime = std::time::SystemTime::UNIX_EPOCH.elapsed();
        realtime.expect("after 1970").as_nanos() as u64 - now
    });
    ahead.min().expect("a hundred")
}

/// Hands over batches 0 to `count` - 1, the odd ones first, `lead` before the first of them is due;
/// the departures of each.
fn hand_over(way: &Way, queue: TimedQueue, count: u8, lead: Duration) -> Vec<Timestamp> {
    let start = clock::now() + lead;
    let departures: Vec<_> = (0..count).map(|i| start + SPACING * u32::from(i)).collect();
    let odd_first = (0..count)
        .filter(|i| i % 2 == 1)
        .chain((0..count).filter(|i| i % 2 == 0));
    for number in odd_first {
        way.send(number, queue, departures[usize::from(number)]);
    }
    departures
}

/// Prints how much later than their times batches arrived.
fn print_lateness(name: &str, arrivals: &[Arrival], departures: &[Timestamp]) {
    let first = arrivals.iter().filter(|it| it.place == 0);
    let mut late: Vec<_> = first
        .map(|it| it.at.since(departures[usize::from(it.number)]))
        .collect();
    late.sort();
    if let Some(last) = late.last() {
        println!(
            "{name}: {} batches {SPACING:?} apart arrived {:?} (median), {last:?} (most) after \
             their departure times",
            late.len(),
            late[late.len() / 2],
        );
    }
}

fn assert_never_early(arrivals: &[Arrival], departures: &[Timestamp]) {
    for arrival in arrivals {
        let departure = departures[usize::from(arrival.number)];
        assert!(
            arrival.at >= departure,
            "{arrival:?} is {:?} early",
            departure.since(arrival.at)
        );
    }
}

/// Hands over batches and has them all arrive, until one lead was enough to hand them over before
/// the first is due: batches 0 to `count` - 1, and after them, if `with_urgent`, one for at once.
/// Returns the arrivals and the departures of that time.
fn hand_over_in_time(
    way: &Way,
    queue: TimedQueue,
    count: u8,
    with_urgent: bool,
) -> Option<(Vec<Arrival>, Vec<Timestamp>)> {
    let batches = usize::from(count) + usize::from(with_urgent);
    for lead in LEADS {
        let mut departures = hand_over(way, queue, count, lead);
        if with_urgent {
            departures.push(clock::now());
            way.send(count, queue, clock::now());
        }
        let handed_over = clock::now();
        let arrivals = way.collect(|arrivals, _| arrivals.len() == batches * DATAGRAMS);
        assert_never_early(&arrivals, &departures);
        if handed_over < departures[0] {
            return Some((arrivals, departures));
        }
    }
    lab::missing("handing over took longer than the longest lead");
    None
}

#[test]
fn fq_lets_batches_go_at_their_times_and_in_their_order() {
    let Some(lab) = Lab::with_queue(&["fq"]) else {
        return;
    };
    for send_path in [SendPath::Gso, SendPath::SendMmsg, SendPath::SendTo] {
        let way = Way::new(&lab, send_path);
        let queue = way.queue(&lab);
        assert_eq!(queue, Ok(TimedQueue::Fq));
        // fq holds 100 packets of a line; without GSO each datagram is one.
        let Some((arrivals, departures)) = hand_over_in_time(&way, TimedQueue::Fq, 15, false)
        else {
            return;
        };
        let came: Vec<_> = arrivals.iter().map(|it| (it.number, it.place)).collect();
        let due: Vec<_> = (0..15)
            .flat_map(|n| (0..DATAGRAMS as u8).map(move |place| (n, place)))
            .collect();
        assert_eq!(came, due, "in the order of their times, not of the calls");
        print_lateness(&format!("fq, {send_path:?}"), &arrivals, &departures);
        assert_eq!(way.sender.send_path(), send_path);
        assert_eq!(way.sender.counters().txtime, TxtimeErrors::default());
    }
}

#[test]
fn an_urgent_batch_passes_those_that_wait() {
    let Some(lab) = Lab::with_queue(&["fq"]) else {
        return;
    };
    let way = Way::new(&lab, SendPath::Gso);
    let queue = way.queue(&lab).expect("fq");
    let Some((arrivals, departures)) = hand_over_in_time(&way, queue, 3, true) else {
        return;
    };
    assert_eq!(arrivals[0].number, 3, "the urgent one comes first");
    println!(
        "fq: a batch for at once, behind one due in {:?}, arrived after {:?}",
        departures[0].since(departures[3]),
        arrivals[0].at.since(departures[3])
    );
}

#[test]
fn etf_lets_batches_go_at_their_times_and_reports_those_that_are_late() {
    // The window in which a batch must leave: more than an emulated machine oversleeps, and less.
    for delta in [Duration::from_millis(10), Duration::from_micros(200)] {
        let delta_ns = delta.as_nanos().to_string();
        let Some(lab) = Lab::with_queue(&["etf", "clockid", "CLOCK_TAI", "delta", &delta_ns])
        else {
            return;
        };
        let way = Way::new(&lab, SendPath::Gso);
        let queue = way.queue(&lab);
        assert_eq!(queue, Ok(TimedQueue::Etf { delta }));
        let queue = queue.expect("etf");
        for number in 20..23 {
            way.send(number, queue, clock::now() - Duration::from_secs(1));
        }
        let departures = hand_over(&way, queue, 20, LEADS[0]);
        let arrivals = way.collect(|arrivals, errors| {
            let arrived = arrivals.len() / DATAGRAMS;
            arrived as u64 + errors.missed + errors.invalid == 23
        });
        let errors = way.sender.counters().txtime;
        println!("etf, delta {delta:?}: {errors:?} of 3 batches for a second ago, 20 in time");
        assert!(errors.invalid >= 3, "{errors:?}");
        assert!(arrivals.iter().all(|it| it.number < 20));
        assert_never_early(&arrivals, &departures);
        assert!(
            arrivals.is_sorted_by_key(|it| (it.number, it.place)),
            "in the order of their times"
        );
        print_lateness("etf", &arrivals, &departures);
    }
}

#[test]
fn without_such_a_queue_the_probe_refuses_although_the_option_is_accepted() {
    let Some(lab) = Lab::with_queue(&["fq"]) else {
        return;
    };
    let way = Way::new(&lab, SendPath::Gso);
    let queue = way.queue(&lab).expect("fq, and the socket takes times now");
    for (kind, arguments) in [
        ("pfifo", &["pfifo"][..]),
        ("fq_codel", &["fq_codel"]),
        ("netem", &["netem", "delay", "1ms"]),
    ] {
        if !lab.set_queue(arguments) {
            println!("this kernel has no {kind}");
            continue;
        }
        let refusal = way.queue(&lab).expect_err("no times are kept");
        assert!(refusal.contains(kind), "{refusal}");
        // And so it is: what is due in an hour is there at once.
        let departure = clock::now() + Duration::from_secs(3600);
        way.send(0, queue, departure);
        let arrivals = way.collect(|arrivals, _| arrivals.len() == DATAGRAMS);
        assert!(arrivals[0].at < departure);
    }
    // A device with several queues keeps times if each of them does.
    lab.set_queues_of_several(&["fq", "fq"]);
    assert_eq!(lab.queue_of_several(), Ok(TimedQueue::Fq));
    lab.set_queues_of_several(&["fq", "pfifo"]);
    let refusal = lab.queue_of_several().expect_err("one sends at once");
    assert!(refusal.contains("mq over pfifo"), "{refusal}");
}

#[test]
fn loopback_is_refused_everywhere() {
    let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = SocketConfig {
        txtime: true,
        ..SocketConfig::default()
    };
    let socket = Socket::bind(loopback, config).expect("a free port");
    let to = socket.local_addr().expect("bound");
    let refusal = socket.timed_queue(to).expect_err("no queue").to_string();
    assert!(refusal.contains("noqueue"), "{refusal}");
}
