//! Real sockets on loopback: every way out gives the receiver the same datagrams.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::time::Duration;

use super::txtime::{TimedQueue, TxtimeErrors};
use super::{sys, *};

/// A bound for tests that fail; nothing waits so long in one that passes.
const PATIENCE: Wait = Wait::UpTo(Duration::from_secs(10));

fn loopbacks() -> Vec<std::net::SocketAddr> {
    let v6 = std::net::SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let v4 = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    // Containers without IPv6 exist.
    let has_v6 = Socket::bind(v6, SocketConfig::default()).is_ok();
    if has_v6 { vec![v4, v6] } else { vec![v4] }
}

fn socket(address: std::net::SocketAddr, config: SocketConfig) -> Socket {
    Socket::bind(address, config).expect("a free port of loopback")
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i * 31 + i / 251) as u8).collect()
}

/// Receives `count` datagrams from `from`.
fn collect(socket: &Socket, from: std::net::SocketAddr, count: usize) -> Vec<Vec<u8>> {
    let mut receiver = Receiver::new();
    let mut all = Vec::new();
    while all.len() < count {
        let datagrams = receiver.recv(socket, PATIENCE).expect("a good socket");
        assert!(datagrams > 0, "{} of {count} came", all.len());
        let before = all.len();
        for (bytes, sender) in receiver.datagrams() {
            assert_eq!(sender, from);
            all.push(bytes.to_vec());
        }
        assert_eq!(all.len() - before, datagrams);
    }
    assert_eq!(
        receiver.recv(socket, Wait::No).expect("a good socket"),
        0,
        "no more than sent"
    );
    all
}

/// Sends everything, however many calls that takes.
fn send_all(socket: &Socket, to: std::net::SocketAddr, bytes: &[u8], segment: usize) -> usize {
    let (mut at, mut datagrams) = (0, 0);
    while at < bytes.len() {
        let sent = socket
            .send_segments(to, &bytes[at..], segment)
            .expect("loopback takes it");
        at += sent.bytes;
        datagrams += sent.datagrams;
    }
    datagrams
}

#[test]
fn every_way_out_gives_the_receiver_the_same_datagrams() {
    for address in loopbacks() {
        for send_path in [SendPath::Gso, SendPath::SendMmsg, SendPath::SendTo] {
            for gro in [true, false] {
                let sender = socket(
                    address,
                    SocketConfig {
                        send_path,
                        ..SocketConfig::default()
                    },
                );
                let receiver = socket(
                    address,
                    SocketConfig {
                        gro,
                        ..SocketConfig::default()
                    },
                );
                let to = receiver.local_addr().expect("bound");
                let from = sender.local_addr().expect("bound");
                // One datagram, a last short one, exactly one GSO buffer, more than one, tiny ones.
                for (bytes, segment) in [
                    (100, 1392),
                    (5 * 1392 + 7, 1392),
                    (47 * 1392, 1392),
                    (130_001, 1392),
                    (95, 1),
                ] {
                    let sent = pattern(bytes);
                    let datagrams = send_all(&sender, to, &sent, segment);
                    assert_eq!(datagrams, bytes.div_ceil(segment));
                    let expected: Vec<_> = sent.chunks(segment).map(<[u8]>::to_vec).collect();
                    assert_eq!(collect(&receiver, from, datagrams), expected);
                }
                let gso_stays = sender.capabilities().gso || send_path != SendPath::Gso;
                assert!(!gso_stays || sender.send_path() == send_path);
            }
        }
    }
}

/// Loopback sends them at once, but the kernel reads what it is told, and refuses what it cannot.
#[test]
fn every_way_out_takes_departure_times() {
    for address in loopbacks() {
        for send_path in [SendPath::Gso, SendPath::SendMmsg, SendPath::SendTo] {
            let config = SocketConfig {
                send_path,
                ..SocketConfig::default()
            };
            let sender = socket(address, config);
            let receiver = socket(address, SocketConfig::default());
            let (to, from) = (
                receiver.local_addr().expect("bound"),
                sender.local_addr().expect("bound"),
            );
            let send = |bytes: &[u8]| {
                let departure = crate::clock::now() + Duration::from_millis(1);
                sender.send_segments_at(to, bytes, 1392, TimedQueue::Fq, departure)
            };
            let refused = send(&pattern(10)).expect_err("the socket was not asked to");
            assert!(matches!(refused, SendError::Unreachable(_)), "{refused}");
            sys::enable_txtime(sender.as_fd(), libc::CLOCK_MONOTONIC).expect("Linux 4.19");
            for bytes in [100, 9 * 1392 + 1] {
                let sent = send(&pattern(bytes)).expect("loopback takes it");
                assert_eq!(sent.bytes, bytes);
                let got = collect(&receiver, from, sent.datagrams);
                assert_eq!(got.concat(), pattern(bytes));
            }
            // And what has no time goes on as before.
            let sent = send_all(&sender, to, &pattern(3000), 1392);
            assert_eq!(collect(&receiver, from, sent).concat(), pattern(3000));
            assert_eq!(sender.take_txtime_errors(), TxtimeErrors::default());
        }
    }
}

#[test]
fn a_kernel_that_refuses_gso_is_asked_once_and_nothing_is_lost() {
    let address = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let sender = socket(address, SocketConfig::default());
    let receiver = socket(address, SocketConfig::default());
    let to = receiver.local_addr().expect("bound");
    sys::make_gso_refused(sender.as_fd()).expect("an option of every socket");
    for _ in 0..2 {
        let sent = pattern(9 * 1392 + 1);
        assert_eq!(send_all(&sender, to, &sent, 1392), 10);
        let got = collect(&receiver, sender.local_addr().expect("bound"), 10);
        assert_eq!(got.concat(), sent);
    }
    assert_eq!(sender.send_path(), SendPath::SendMmsg);
    assert_eq!(sender.counters().fallbacks, 1);
}

#[test]
fn odd_sizes_and_several_peers_go_in_one_call() {
    for address in loopbacks() {
        for send_path in [SendPath::SendMmsg, SendPath::SendTo] {
            let sender = socket(
                address,
                SocketConfig {
                    send_path,
                    ..SocketConfig::default()
                },
            );
            let from = sender.local_addr().expect("bound");
            let peers = [
                socket(address, SocketConfig::default()),
                socket(address, SocketConfig::default()),
            ];
            let to = peers
                .each_ref()
                .map(|peer| peer.local_addr().expect("bound"));
            let bytes = pattern(4000);
            let datagrams: Vec<_> = (1..=150)
                .map(|i| Datagram {
                    to: to[i % 2],
                    bytes: &bytes[i..i + i * 9],
                })
                .collect();
            let sent = sender.send_many(&datagrams).expect("loopback takes it");
            let total = datagrams.iter().map(|datagram| datagram.bytes.len()).sum();
            assert_eq!(
                sent,
                Sent {
                    datagrams: 150,
                    bytes: total
                }
            );
            for (peer, &to) in peers.iter().zip(&to) {
                let expected: Vec<_> = datagrams
                    .iter()
                    .filter(|datagram| datagram.to == to)
                    .map(|datagram| datagram.bytes.to_vec())
                    .collect();
                assert_eq!(collect(peer, from, 75), expected);
            }
        }
    }
}

#[test]
fn a_datagram_too_large_is_named_and_harms_nothing() {
    for address in loopbacks() {
        let sender = socket(address, SocketConfig::default());
        let before = sender.send_path();
        let receiver = socket(address, SocketConfig::default());
        let to = receiver.local_addr().expect("bound");
        let bytes = pattern(140_000);
        for (bytes, segment) in [
            (&bytes[..], 70_000),
            (&bytes[..70_000], 70_000),
            (&bytes[..], 0),
        ] {
            let error = sender
                .send_segments(to, bytes, segment)
                .expect_err("65507 is the most");
            assert!(matches!(error, SendError::TooLarge { .. }), "{error}");
        }
        assert_eq!(sender.send_path(), before, "that was not GSO's fault");
        send_all(&sender, to, &bytes[..5000], 1000);
        assert_eq!(
            collect(&receiver, sender.local_addr().expect("bound"), 5).len(),
            5
        );
    }
}

#[test]
fn a_peer_that_is_gone_harms_nothing() {
    for address in loopbacks() {
        let sender = socket(address, SocketConfig::default());
        let gone = socket(address, SocketConfig::default())
            .local_addr()
            .expect("bound");
        let receiver = socket(address, SocketConfig::default());
        let to = receiver.local_addr().expect("bound");
        for _ in 0..3 {
            // The ICMP answer comes before this returns, because loopback delivers at once.
            send_all(&sender, gone, &pattern(3000), 1000);
            send_all(&sender, to, &pattern(3000), 1000);
        }
        assert_eq!(
            collect(&receiver, sender.local_addr().expect("bound"), 9).len(),
            9
        );
    }
}

#[test]
fn truncated_datagrams_are_counted_and_dropped() {
    let address = loopbacks()[0];
    let sender = socket(address, SocketConfig::default());
    let socket = socket(
        address,
        SocketConfig {
            gro: false,
            ..SocketConfig::default()
        },
    );
    let to = socket.local_addr().expect("bound");
    for bytes in [100, 101, 99, 3000] {
        send_all(&sender, to, &pattern(bytes), 0);
    }
    let mut receiver = Receiver::with_buffer_bytes(100);
    assert_eq!(receiver.recv(&socket, PATIENCE).expect("a good socket"), 2);
    let sizes: Vec<_> = receiver.datagrams().map(|(bytes, _)| bytes.len()).collect();
    assert_eq!(sizes, [100, 99]);
    assert_eq!(receiver.truncated(), 2);
}

#[test]
fn empty_datagrams_and_empty_sends_are_nothing() {
    let address = loopbacks()[0];
    let sender = socket(address, SocketConfig::default());
    let socket = socket(address, SocketConfig::default());
    let to = socket.local_addr().expect("bound");
    let nothing = Sent {
        datagrams: 0,
        bytes: 0,
    };
    assert_eq!(
        sender
            .send_segments(to, &[], 1392)
            .expect("nothing to refuse"),
        nothing
    );
    assert_eq!(sender.send_many(&[]).expect("nothing to refuse"), nothing);
    sender
        .send_many(&[Datagram { to, bytes: &[] }])
        .expect("loopback takes it");
    send_all(&sender, to, b"after", 0);
    let all = collect(&socket, sender.local_addr().expect("bound"), 1);
    assert_eq!(all, [b"after"]);
}

#[test]
fn nothing_there_is_no_error_and_a_bound_wait_ends() {
    let socket = socket(loopbacks()[0], SocketConfig::default());
    let mut receiver = Receiver::new();
    assert_eq!(receiver.recv(&socket, Wait::No).expect("a good socket"), 0);
    let soon = Wait::UpTo(Duration::from_millis(1));
    assert_eq!(receiver.recv(&socket, soon).expect("a good socket"), 0);
    assert_eq!(receiver.datagrams().count(), 0);
    assert!(socket.wait_writable(Duration::ZERO).expect("a good socket"));
}

#[test]
fn a_clone_sends_from_the_same_port_on_another_thread() {
    let address = loopbacks()[0];
    let sender = socket(address, SocketConfig::default());
    let receiver = socket(
        address,
        SocketConfig {
            nonblocking: false,
            ..SocketConfig::default()
        },
    );
    let to = receiver.local_addr().expect("bound");
    let clone = sender.try_clone().expect("a file descriptor");
    let thread = std::thread::spawn(move || send_all(&clone, to, &pattern(20 * 1392), 1392));
    let from = sender.local_addr().expect("bound");
    assert_eq!(collect(&receiver, from, 20).concat(), pattern(20 * 1392));
    assert_eq!(thread.join().expect("the thread sent"), 20);
}

#[test]
fn an_ipv6_socket_reaches_ipv4_peers() {
    let any = std::net::SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let Ok(sender) = Socket::bind(any, SocketConfig::default()) else {
        return;
    };
    let receiver = socket(loopbacks()[0], SocketConfig::default());
    send_all(
        &sender,
        receiver.local_addr().expect("bound"),
        &pattern(3000),
        1000,
    );
    let port = sender.local_addr().expect("bound").port();
    let from = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    assert_eq!(collect(&receiver, from, 3).concat(), pattern(3000));
}

#[test]
fn a_port_in_use_is_refused() {
    let first = socket(loopbacks()[0], SocketConfig::default());
    let address = first.local_addr().expect("bound");
    let error = Socket::bind(address, SocketConfig::default()).expect_err("it is in use");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn addresses_that_cannot_be_are_unreachable_not_fatal() {
    let sender = socket(loopbacks()[0], SocketConfig::default());
    let nowhere = std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    for segment in [1000, 3000] {
        let error = sender
            .send_segments(nowhere, &pattern(3000), segment)
            .expect_err("port 0");
        assert!(matches!(error, SendError::Unreachable(_)), "{error}");
    }
    let v6 = std::net::SocketAddr::from((Ipv6Addr::LOCALHOST, 9));
    let error = sender
        .send_segments(v6, &pattern(3000), 1000)
        .expect_err("an IPv4 socket");
    assert!(matches!(error, SendError::Unreachable(_)), "{error}");
    assert_eq!(
        sender.send_path() == SendPath::Gso,
        sender.capabilities().gso
    );
}

/// On every way out, between all families, and for the clone that is marked only.
#[test]
fn a_marks_code_point_is_what_arrives() {
    let any_v6 = std::net::SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let mut ways: Vec<_> = loopbacks().into_iter().map(|it| (it, it)).collect();
    if ways.len() > 1 {
        // As the host listens: one socket for both.
        ways.extend([(any_v6, ways[0].0), (any_v6, ways[1].0)]);
    }
    for (from, to) in ways {
        for send_path in [SendPath::Gso, SendPath::SendMmsg, SendPath::SendTo] {
            let plain = SocketConfig {
                send_path,
                ..SocketConfig::default()
            };
            let plain = socket(from, plain);
            let clone = || plain.try_clone().expect("a file descriptor");
            let (video, audio) = (
                clone().marked(Some(Dscp::VIDEO)),
                clone().marked(Some(Dscp::AUDIO)),
            );
            let peer = std::net::UdpSocket::bind(to).expect("a free port");
            let patience = Duration::from_secs(10);
            peer.set_read_timeout(Some(patience)).expect("a limit");
            sys::tell_class(peer.as_fd(), to.is_ipv6()).expect("the kernel can");
            let to = peer.local_addr().expect("bound");
            for (socket, class) in [
                (&video, 32 << 2),
                (&plain, 0),
                (&audio, 46 << 2),
                (&plain, 0),
            ] {
                assert_eq!(send_all(socket, to, &pattern(2500), 1000), 3);
                let bytes: &[u8] = &[7; 300];
                let sent = socket.send_many(&[Datagram { to, bytes }]);
                assert_eq!(sent.expect("loopback takes it").datagrams, 1);
                let came = || sys::receive_class(peer.as_fd()).expect("it came");
                let sizes = [1000, 1000, 500, 300].map(|size| (size, Some(class)));
                assert_eq!(
                    [came(), came(), came(), came()],
                    sizes,
                    "{from} {to} {send_path:?}"
                );
            }
        }
    }
}
