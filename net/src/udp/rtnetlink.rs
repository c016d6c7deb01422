//! Two questions to the kernel's routing: by which device an address is reached, and which queueing
//! disciplines the devices have. Both may be asked by anybody (rtnetlink(7), no privilege).
//!
//! The kernel answers within the call that asks, so nothing here waits. What it answers is parsed
//! as if it came from a stranger: lengths are checked, unknown attributes are passed over.

use std::io;
use std::net::IpAddr;

use rustix::fd::OwnedFd;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};

/// Room for an answer. The kernel fills at most as much as the caller has room for, but wants two
/// pages to begin with (`NLMSG_GOODSIZE`).
const ANSWER_BYTES: usize = 16 * 1024;
/// Sizes of `nlmsghdr`, `rtmsg` and `tcmsg`, bytes (linux/netlink.h, linux/rtnetlink.h).
const HEADER_BYTES: usize = 16;
const ROUTE_BYTES: usize = 12;
const QDISC_BYTES: usize = 20;
/// Attribute types carry two flags in their upper bits (`NLA_TYPE_MASK`).
const TYPE_MASK: u16 = 0x3FFF;
/// Of an etf discipline's options, its parameters (`TCA_ETF_PARMS`, linux/pkt_sched.h).
const ETF_PARAMETERS: u16 = 1;
/// A discipline's options, the nested attributes of its kind (`TCA_OPTIONS`, linux/rtnetlink.h).
const OPTIONS: u16 = libc::TCA_OPTIONS;
/// `tcm_parent` of a device's outermost discipline (`TC_H_ROOT`, linux/pkt_sched.h).
const ROOT: u32 = 0xFFFF_FFFF;
/// The same of what looks at incoming packets (`TC_H_INGRESS`, `TC_H_CLSACT`).
const INGRESS: u32 = 0xFFFF_FFF1;

/// The name of a queueing discipline, at most 15 bytes (`IFNAMSIZ`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind([u8; 16]);

impl Kind {
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut name = [0; 16];
        let text = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
        let text = &text[..text.len().min(15)];
        name[..text.len()].copy_from_slice(text);
        Self(name)
    }

    /// The name.
    pub(super) fn name(&self) -> &str {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(16);
        std::str::from_utf8(&self.0[..end]).unwrap_or("?")
    }
}

/// Parameters of an etf discipline (`struct tc_etf_qopt`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EtfParameters {
    /// How long before a packet's time it is let go, ns.
    pub(super) delta_ns: i32,
    /// The clock of packets' times.
    pub(super) clock: i32,
    /// `TC_ETF_DEADLINE_MODE_ON` and others.
    pub(super) flags: u32,
}

/// A queueing discipline of a device.
#[derive(Clone, Copy)]
pub(super) struct Qdisc {
    /// The device's index.
    pub(super) device: u32,
    /// It is the outermost one.
    pub(super) is_root: bool,
    /// What it is.
    pub(super) kind: Kind,
    /// For etf.
    pub(super) etf: Option<EtfParameters>,
}

/// The index of the device by which `to` is reached; that of `lo` for this machine's own addresses.
///
/// # Errors
/// The kernel's: no route, or no permission to ask.
pub(super) fn device_to(to: IpAddr) -> io::Result<u32> {
    let (family, address, len): (_, [u8; 16], usize) = match to.to_canonical() {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            (libc::AF_INET, bytes, 4)
        }
        IpAddr::V6(v6) => (libc::AF_INET6, v6.octets(), 16),
    };
    let mut body = [0; ROUTE_BYTES + 4 + 16];
    body[0] = family as u8;
    body[1] = len as u8 * 8;
    body[ROUTE_BYTES..][..2].copy_from_slice(&(len as u16 + 4).to_ne_bytes());
    body[ROUTE_BYTES + 2..][..2].copy_from_slice(&libc::RTA_DST.to_ne_bytes());
    body[ROUTE_BYTES + 4..][..len].copy_from_slice(&address[..len]);
    let mut device = None;
    let body = &body[..ROUTE_BYTES + 4 + len];
    ask(
        libc::RTM_GETROUTE,
        libc::NLM_F_REQUEST,
        body,
        |kind, body| {
            if kind == libc::RTM_NEWROUTE {
                device = device.or(parse_route(body));
            }
        },
    )?;
    device.ok_or_else(|| io::Error::from_raw_os_error(libc::ENETUNREACH))
}

/// Calls `with` for each outgoing queueing discipline of each device.
///
/// # Errors
/// The kernel's.
pub(super) fn qdiscs(mut with: impl FnMut(&Qdisc)) -> io::Result<()> {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    ask(
        libc::RTM_GETQDISC,
        flags,
        &[0; QDISC_BYTES],
        |kind, body| {
            if kind == libc::RTM_NEWQDISC
                && let Some(qdisc) = parse_qdisc(body)
            {
                with(&qdisc);
            }
        },
    )
}

/// The device's name, for messages.
pub(super) fn device_name(device: u32) -> String {
    socket()
        .and_then(|socket| Ok(rustix::net::netdevice::index_to_name(&socket, device)?))
        .unwrap_or_else(|_| format!("device {device}"))
}

/// Protocol 0 of this family is routing (`NETLINK_ROUTE`).
fn socket() -> io::Result<OwnedFd> {
    let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
    Ok(socket_with(family, SocketType::RAW, flags, None)?)
}

/// Asks, and calls `with` for the type and the body of each message of the answer.
fn ask(kind: u16, flags: i32, body: &[u8], mut with: impl FnMut(u16, &[u8])) -> io::Result<()> {
    let socket = socket()?;
    let mut question = [0; HEADER_BYTES + 64];
    let len = HEADER_BYTES + body.len();
    question[..4].copy_from_slice(&(len as u32).to_ne_bytes());
    question[4..6].copy_from_slice(&kind.to_ne_bytes());
    question[6..8].copy_from_slice(&(flags as u16).to_ne_bytes());
    question[HEADER_BYTES..len].copy_from_slice(body);
    send(&socket, &question[..len], SendFlags::empty())?;
    let mut answer = [0; ANSWER_BYTES];
    loop {
        let (_, bytes) = recv(&socket, &mut answer[..], RecvFlags::DONTWAIT)?;
        if messages(&answer[..bytes.min(ANSWER_BYTES)], &mut with)? {
            return Ok(());
        }
        if flags & libc::NLM_F_DUMP != libc::NLM_F_DUMP {
            return Ok(());
        }
    }
}

/// Hands on the messages in `bytes`; true after the last one of a dump.
fn messages(mut bytes: &[u8], with: &mut impl FnMut(u16, &[u8])) -> io::Result<bool> {
    while let Some(header) = bytes.first_chunk::<HEADER_BYTES>() {
        let len = u32_at(header, 0) as usize;
        let Some(body) = bytes.get(HEADER_BYTES..len) else {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        };
        match i32::from(u16_at(header, 4)) {
            libc::NLMSG_DONE => return Ok(true),
            libc::NLMSG_ERROR => {
                let errno = body.first_chunk().map_or(0, |b| i32::from_ne_bytes(*b));
                return Err(io::Error::from_raw_os_error(errno.saturating_neg()));
            }
            _ => with(u16_at(header, 4), body),
        }
        bytes = bytes.get(aligned(len)..).unwrap_or_default();
    }
    Ok(false)
}

fn parse_route(body: &[u8]) -> Option<u32> {
    attributes(body.get(ROUTE_BYTES..)?)
        .find(|&(kind, _)| kind == libc::RTA_OIF)
        .and_then(|(_, value)| Some(u32::from_ne_bytes(*value.first_chunk()?)))
}

/// `None` for what is not an outgoing discipline.
fn parse_qdisc(body: &[u8]) -> Option<Qdisc> {
    let parent = u32_at(body.first_chunk::<QDISC_BYTES>()?, 12);
    let mut qdisc = Qdisc {
        device: u32_at(body.first_chunk::<QDISC_BYTES>()?, 4),
        is_root: parent == ROOT,
        kind: Kind([0; 16]),
        etf: None,
    };
    for (kind, value) in attributes(&body[QDISC_BYTES..]) {
        match kind {
            libc::TCA_KIND => qdisc.kind = Kind::parse(value),
            OPTIONS if qdisc.kind.name() == "etf" => qdisc.etf = parse_etf(value),
            _ => {}
        }
    }
    (parent != INGRESS && !qdisc.kind.name().is_empty()).then_some(qdisc)
}

fn parse_etf(options: &[u8]) -> Option<EtfParameters> {
    let (_, value) = attributes(options).find(|&(kind, _)| kind == ETF_PARAMETERS)?;
    let value = value.first_chunk::<12>()?;
    Some(EtfParameters {
        delta_ns: u32_at(value, 0).cast_signed(),
        clock: u32_at(value, 4).cast_signed(),
        flags: u32_at(value, 8),
    })
}

/// Type and value of each attribute (`struct rtattr`), up to the first that is cut off.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<4>()?;
        let len = usize::from(u16_at(header, 0));
        let value = bytes.get(4..len)?;
        let kind = u16_at(header, 2) & TYPE_MASK;
        bytes = bytes.get(aligned(len)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// Netlink aligns everything to 4 bytes (`NLMSG_ALIGN`).
fn aligned(len: usize) -> usize {
    len.saturating_add(3) & !3
}

fn u16_at<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(aligned(bytes.len()), 0);
        bytes
    }

    fn qdisc(device: i32, parent: u32, kind: &str, options: &[u8]) -> Vec<u8> {
        let mut body = vec![0; QDISC_BYTES];
        body[4..8].copy_from_slice(&device.to_ne_bytes());
        body[12..16].copy_from_slice(&parent.to_ne_bytes());
        body.extend(attribute(libc::TCA_KIND, format!("{kind}\0").as_bytes()));
        body.extend(attribute(OPTIONS, options));
        body
    }

    #[test]
    fn disciplines_are_read_with_their_parameters() {
        let fq = parse_qdisc(&qdisc(3, ROOT, "fq", &[])).expect("outgoing");
        assert_eq!((fq.device, fq.is_root, fq.kind.name()), (3, true, "fq"));
        assert_eq!(fq.etf, None);
        let mut parameters = 300_000_i32.to_ne_bytes().to_vec();
        parameters.extend(11_i32.to_ne_bytes());
        parameters.extend(4_u32.to_ne_bytes());
        let options = attribute(ETF_PARAMETERS, &parameters);
        let etf = parse_qdisc(&qdisc(4, 0x0001_0002, "etf", &options)).expect("outgoing");
        assert!(!etf.is_root);
        assert_eq!(
            etf.etf,
            Some(EtfParameters {
                delta_ns: 300_000,
                clock: 11,
                flags: 4
            })
        );
        assert!(parse_qdisc(&qdisc(4, INGRESS, "clsact", &[])).is_none());
    }

    #[test]
    fn an_error_of_the_kernel_is_one_of_ours() {
        let mut bytes = vec![0; HEADER_BYTES + 4];
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_ne_bytes());
        bytes[4..6].copy_from_slice(&(libc::NLMSG_ERROR as u16).to_ne_bytes());
        bytes[HEADER_BYTES..].copy_from_slice(&(-libc::ENETUNREACH).to_ne_bytes());
        let error = messages(&bytes, &mut |_, _| {}).expect_err("an error");
        assert_eq!(error.raw_os_error(), Some(libc::ENETUNREACH));
    }

    #[test]
    fn loopback_is_reached_by_a_device_without_a_queue() {
        let device = device_to(Ipv4Addr::LOCALHOST.into()).expect("a route to ourselves");
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        assert_eq!(device, device_to(mapped.into()).expect("the same route"));
        assert_eq!(device_name(device), "lo");
        let mut kinds = Vec::new();
        let seen = |qdisc: &Qdisc| {
            if qdisc.device == device {
                kinds.push(qdisc.kind.name().to_owned());
            }
        };
        qdiscs(seen).expect("anybody may ask");
        assert_eq!(kinds, ["noqueue"]);
        // Never assigned (RFC 6666 discards it): refused or routed, but answered.
        let nowhere: Ipv6Addr = "100::1".parse().expect("an address");
        let _answered = device_to(nowhere.into());
    }

    proptest! {
        #[test]
        fn nothing_that_is_answered_makes_it_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = messages(&bytes, &mut |_, body| {
                parse_route(body);
                parse_qdisc(body);
            });
            let _ = (parse_route(&bytes), parse_qdisc(&bytes), parse_etf(&bytes));
        }

        #[test]
        fn nor_a_message_that_is_damaged(at in 0_usize..60, byte: u8) {
            let mut bytes = qdisc(3, ROOT, "etf", &attribute(ETF_PARAMETERS, &[9; 12]));
            let at = at % bytes.len();
            bytes[at] = byte;
            parse_qdisc(&bytes);
        }
    }
}
