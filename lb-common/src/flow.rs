//! A flow: what identifies one conversation of a client with a VIP.

use crate::address::{Address, Ports};

/// The 5-tuple of a packet on its way to a VIP.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The client.
    pub source: Address,
    /// The VIP.
    pub destination: Address,
    /// The client's port and the VIP's; [`Ports::NONE`] for a protocol without ports.
    pub ports: Ports,
    /// The IP protocol number, see [`crate::protocol`].
    pub protocol: u8,
}

impl Flow {
    /// A flow of a protocol that has no ports.
    #[inline(always)]
    #[must_use]
    pub const fn without_ports(source: Address, destination: Address, protocol: u8) -> Self {
        Self { source, destination, ports: Ports::NONE, protocol }
    }
}
