//! What the bench's BPF programs share with the bench: see `lb-ebpf/src/bench.rs`.

use bytemuck::{Pod, Zeroable};

use crate::address::{Address, Port};

/// Slots of the floors' one lookup table.
pub const FLOOR_SLOTS: u32 = 65_537;
/// VIPs that the floors can have.
pub const MOST_FLOOR_VIPS: u32 = 16_384;
/// Flows that floor e can remember: more than any case has.
pub const MOST_FLOOR_FLOWS: u32 = 2_097_152;

/// The driver notes the time after so many packets, each time: a power of two.
pub const LAP: u64 = 1 << 17;
/// How many times it notes, a power of two: then it begins anew.
pub const LAPS: u32 = 64;

/// How the driver makes the next packet of the last one. 36 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Drive {
    /// One less than the number of flows, which is a power of two.
    pub flows_mask: u32,
    /// The last 32 bits of the first client's address, in host order. Each has 16,384 ports.
    pub source: u32,
    /// The last 32 bits of the first VIP, in host order.
    pub vip: u32,
    /// How many VIPs; the flows are spread over them. 0 leaves an IPv4 packet as it is, but for its MACs.
    pub vips: u32,
    /// Where the network header begins.
    pub network: u32,
    /// 1 for IPv6.
    pub is_ipv6: u32,
    /// The destination MAC.
    pub balancer: [u8; 6],
    /// The source MAC.
    pub router: [u8; 6],
}

/// The key of the floors' hash lookup. 24 bytes, no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FloorKey {
    /// The VIP.
    pub vip: Address,
    /// The port.
    pub port: Port,
    /// The protocol.
    pub protocol: u8,
    /// Always zero.
    pub reserved: [u8; 5],
}
