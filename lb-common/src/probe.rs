//! Probes of health checks: how the program tells which backend one is for, and its answer from other packets.
//!
//! Probes are sent from one end of a pair of virtual interfaces in a network namespace of the agent's own. On the other end
//! a program sends each to its backend; the program on the balancer's interfaces sends the answers back there.

use bytemuck::{Pod, Zeroable};

use crate::address::{Address, MacAddr, Port};
use crate::backend::Backend;

/// The MAC of the end that probes are sent from. It is seen on no wire.
pub const PROBE_MAC: MacAddr = MacAddr([0x02, b'd', b'r', b'l', b'b', 0x01]);

/// Who sent a probe: the key of `PROBES`. 20 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct ProbeKey {
    /// The address of the balancer that it was sent from.
    pub source: Address,
    /// The port that it was sent from; of an echo request its identifier.
    pub port: Port,
    /// The IP protocol's number.
    pub protocol: u8,
    /// Always 0.
    pub reserved: u8,
}

impl ProbeKey {
    /// The key of a probe.
    #[inline(always)]
    #[must_use]
    pub const fn new(source: Address, port: Port, protocol: u8) -> Self {
        Self { source, port, protocol, reserved: 0 }
    }
}

/// Where a probe goes: the value of `PROBES`. 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct ProbeTarget {
    /// The backend's MAC and segment.
    pub backend: Backend,
    /// The VIP.
    pub vip: Address,
    /// The VIP's port; [`Port::ANY`] of an echo request.
    pub vip_port: Port,
    /// Always 0.
    pub reserved: [u8; 6],
}

impl ProbeTarget {
    /// A target.
    #[must_use]
    pub const fn new(backend: Backend, vip: Address, vip_port: Port) -> Self {
        Self { backend, vip, vip_port, reserved: [0; 6] }
    }
}

const _: () = assert!(size_of::<ProbeKey>() == 20 && size_of::<ProbeTarget>() == 32);
