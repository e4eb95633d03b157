//! What the XDP program tells the agent of, packet by packet. Few packets are worth it.

use bytemuck::{Pod, Zeroable};

use crate::address::{Address, MacAddr};

/// Another host and a VIP of ours. 28 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Event {
    /// The VIP.
    pub vip: Address,
    /// The interface that the frame came in by.
    pub ifindex: u32,
    /// The other host.
    pub mac: MacAddr,
    /// What it does: one of the constants of this type.
    pub kind: u8,
    /// Always zero.
    pub reserved: u8,
}

impl Event {
    /// It says that the VIP is its own: an ARP packet from that address, or a neighbour advertisement.
    pub const CLAIMS: u8 = 1;
    /// It asks whether somebody has the VIP, to take it otherwise: an ARP probe (RFC 5227), answered by the program.
    pub const PROBES: u8 = 2;
    /// The same by a neighbour solicitation (RFC 4862 section 5.4), which the program leaves to the agent: the answer is longer
    /// than the question.
    pub const SOLICITS: u8 = 3;
}
