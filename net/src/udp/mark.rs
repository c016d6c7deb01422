//! Marks for the network's queues: the code point of differentiated services (RFC 2474) that a
//! datagram carries in its traffic class.
//!
//! A mark belongs to a clone of a socket and goes with each datagram as a control message
//! (`IP_TOS`, `IPV6_TCLASS`): clients that want none share the port with those that do.

/// A code point, 6 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dscp(u8);

impl Dscp {
    /// Interactive video: class selector 4 (RFC 4594 section 4.4). Wi-Fi takes it as video
    /// (RFC 8325 section 4.2.4).
    pub const VIDEO: Self = Self(32);
    /// Sound of a conversation: expedited forwarding (RFC 4594 section 4.1). Wi-Fi takes it as voice.
    pub const AUDIO: Self = Self(46);

    /// The traffic class that it is in: the two lower bits are for congestion (RFC 3168).
    #[must_use]
    pub const fn traffic_class(self) -> u8 {
        self.0 << 2
    }
}
