//! Listeners and VIPs as the XDP program sees them.

use bytemuck::{Pod, Zeroable};

use crate::address::{Address, Port};
use crate::flow::Flow;
use crate::protocol;

/// Key of the listeners' map: what a listener listens on. 20 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct ListenerKey {
    /// The VIP.
    pub vip: Address,
    /// The port; [`Port::ANY`] for every port of the protocol.
    pub port: Port,
    /// The IP protocol; [`protocol::ANY`] for every protocol.
    pub protocol: u8,
    /// Always zero.
    pub reserved: u8,
}

impl ListenerKey {
    /// A listener on one protocol and port of a VIP.
    #[inline(always)]
    #[must_use]
    pub const fn new(vip: Address, protocol: u8, port: Port) -> Self {
        Self { vip, port, protocol, reserved: 0 }
    }

    /// The most exact key that a flow can match.
    #[inline(always)]
    #[must_use]
    pub const fn exact(flow: &Flow) -> Self {
        Self::new(flow.destination, flow.protocol, flow.destination_port)
    }

    /// The key of the DR-mode listener of a VIP: every protocol, every port.
    #[inline(always)]
    #[must_use]
    pub const fn any_protocol(vip: Address) -> Self {
        Self::new(vip, protocol::ANY, Port::ANY)
    }
}

/// What the XDP program knows of a listener and its pool. 24 bytes, no padding.
///
/// The pool is folded in, so that a packet costs no lookup for it; listeners that share a pool hold the same regions.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Listener {
    /// Its place among the listeners' counters.
    pub id: u32,
    /// First slot of the pool's lookup table; a multiple of [`crate::limits::SLOTS_PER_LINE`].
    pub slots_base: u32,
    /// Slots of the pool's lookup table; 0 if it never had a backend.
    pub slots_len: u32,
    /// First place of the pool in the backends' map.
    pub backends_base: u32,
    /// Places of the pool in the backends' map.
    pub backends_len: u32,
    /// What of a flow is hashed: one of the `HASH_` values.
    pub hash: u32,
}

impl Listener {
    /// Hash the whole 5-tuple (`source-ip-port`).
    pub const HASH_FLOW: u32 = 0;
    /// Hash the client's address (`source-ip`).
    pub const HASH_SOURCE: u32 = 1;
}

/// What the XDP program knows of a VIP, whatever listens on it. 4 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Vip {
    /// Which wildcard listeners the VIP has: the `WILDCARD_` bits.
    pub wildcards: u32,
}

impl Vip {
    /// There is a listener for every port of TCP.
    pub const WILDCARD_TCP: u32 = 1 << 0;
    /// There is a listener for every port of UDP.
    pub const WILDCARD_UDP: u32 = 1 << 1;
    /// There is a listener for every port of SCTP.
    pub const WILDCARD_SCTP: u32 = 1 << 2;
    /// There is a listener for every protocol (protocol `ip`).
    pub const WILDCARD_ANY: u32 = 1 << 3;

    /// The bit of a protocol's every-port listener; none for a protocol without ports.
    #[inline(always)]
    #[must_use]
    pub const fn wildcard_of(protocol: u8) -> u32 {
        match protocol {
            protocol::TCP => Self::WILDCARD_TCP,
            protocol::UDP => Self::WILDCARD_UDP,
            protocol::SCTP => Self::WILDCARD_SCTP,
            protocol::ANY => Self::WILDCARD_ANY,
            _ => 0,
        }
    }
}
