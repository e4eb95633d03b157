//! Addresses as they stand in a packet and in map keys.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};

/// An IP address as four 32-bit words **in network order** (the words hold the bytes as they stand in the packet).
///
/// IPv4 is kept as an IPv4-mapped IPv6 address (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2), so that one key type
/// serves both families. Words, not bytes, because BPF loads a word in one instruction.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct Address(pub [u32; 4]);

impl Address {
    /// The third word of an IPv4-mapped address, in network order.
    const MAPPED: u32 = 0x0000_ffff_u32.to_be();

    /// An IPv4 address from the word that stands in the packet (network order).
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(word: u32) -> Self {
        Self([0, 0, Self::MAPPED, word])
    }

    /// True for an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == Self::MAPPED
    }

    /// The address as two words that hold the bytes as they stand in memory, as are read from there at once.
    #[inline(always)]
    #[must_use]
    pub const fn halves(&self) -> [u64; 2] {
        let [a, b, c, d] = self.0;
        [(b as u64) << 32 | a as u64, (d as u64) << 32 | c as u64]
    }

    /// The address of such two words.
    #[inline(always)]
    #[must_use]
    pub const fn from_halves([first, last]: [u64; 2]) -> Self {
        Self([first as u32, (first >> 32) as u32, last as u32, (last >> 32) as u32])
    }

    /// The 16 bytes in the order in which they stand in a packet.
    #[must_use]
    pub fn octets(&self) -> [u8; 16] {
        bytemuck::cast(self.0)
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        let octets = match address {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
            IpAddr::V6(v6) => v6.octets(),
        };
        Self(bytemuck::cast(octets))
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        IpAddr::V4(address).into()
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        IpAddr::V6(address).into()
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        Ipv6Addr::from(address.octets()).to_canonical()
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

/// A MAC address, in the order of the wire.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Pod, Zeroable)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// The first four bytes and the last two, as they stand in memory: a MAC is read, compared and written so.
    #[inline(always)]
    #[must_use]
    pub const fn halves(self) -> (u32, u16) {
        let [a, b, c, d, e, f] = self.0;
        (u32::from_ne_bytes([a, b, c, d]), u16::from_ne_bytes([e, f]))
    }

    /// The MAC in the first six bytes of a word, as they stand in memory.
    #[inline(always)]
    #[must_use]
    pub const fn to_word(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }

    /// The MAC in the first six bytes of a word.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        let [a, b, c, d, e, f, _, _] = word.to_le_bytes();
        Self([a, b, c, d, e, f])
    }

    /// The MAC of such two halves.
    #[inline(always)]
    #[must_use]
    pub const fn from_halves(first: u32, last: u16) -> Self {
        let ([a, b, c, d], [e, f]) = (first.to_ne_bytes(), last.to_ne_bytes());
        Self([a, b, c, d, e, f])
    }
}

/// A MAC in the upper 48 bits of a word, as it is compared with a word of a packet: what stands behind the packet's MAC is shifted
/// out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RaisedMac(pub u64);

impl RaisedMac {
    /// The MAC, raised.
    #[inline(always)]
    #[must_use]
    pub const fn new(mac: MacAddr) -> Self {
        Self(mac.to_word() << 16)
    }

    /// The MAC.
    #[inline(always)]
    #[must_use]
    pub const fn mac(self) -> MacAddr {
        MacAddr::from_word(self.0 >> 16)
    }

    /// True if the first six bytes of a word, as they stand in memory, are this MAC.
    #[inline(always)]
    #[must_use]
    pub const fn is_first_in(self, word: u64) -> bool {
        u64::from_le(word) << 16 == self.0
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A transport port **in network order**: the 16 bits as they stand in the packet.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Pod, Zeroable)]
pub struct Port(u16);

impl Port {
    /// No port, or every port: the wildcard of a listener and the port of a protocol that has none.
    pub const ANY: Self = Self(0);

    /// A port from a number in host order, as people write it.
    #[inline(always)]
    #[must_use]
    pub const fn from_host(number: u16) -> Self {
        Self(number.to_be())
    }

    /// A port from the 16 bits that stand in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn from_wire(bits: u16) -> Self {
        Self(bits)
    }

    /// The number in host order, as people write it.
    #[inline(always)]
    #[must_use]
    pub const fn to_host(self) -> u16 {
        u16::from_be(self.0)
    }

    /// The 16 bits as they stand in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn to_wire(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_host().fmt(f)
    }
}

/// The two ports of a packet as they stand in it, in one word: a packet reads and hashes them so.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
pub struct Ports(u32);

impl Ports {
    /// Those of a protocol that has none.
    pub const NONE: Self = Self(0);

    /// The port of who sent a packet, and of whom it is for.
    #[inline(always)]
    #[must_use]
    pub const fn new(source: Port, destination: Port) -> Self {
        Self(((destination.0 as u32) << 16 | source.0 as u32).to_le())
    }

    /// Ports from the 32 bits that stand in the packet.
    #[inline(always)]
    #[must_use]
    pub const fn from_wire(bits: u32) -> Self {
        Self(bits)
    }

    /// The port of who sent the packet.
    #[inline(always)]
    #[must_use]
    pub const fn source(self) -> Port {
        Port(u32::from_le(self.0) as u16)
    }

    /// The port of whom it is for.
    #[inline(always)]
    #[must_use]
    pub const fn destination(self) -> Port {
        Port((u32::from_le(self.0) >> 16) as u16)
    }

    /// Those of a packet of the other direction.
    #[inline(always)]
    #[must_use]
    pub const fn swapped(self) -> Self {
        Self(self.0.rotate_left(16))
    }

    /// The 32 bits, as the hash takes them: the destination's in the upper half.
    #[inline(always)]
    #[must_use]
    pub const fn to_word(self) -> u32 {
        u32::from_le(self.0)
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}→{:?}", self.source(), self.destination())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::ToString;

    use super::*;

    #[test]
    fn an_ipv4_address_is_the_same_from_the_packet_and_from_the_configuration() {
        let configured = Address::from(Ipv4Addr::new(192, 0, 2, 10));
        let word = u32::from_ne_bytes([192, 0, 2, 10]);
        assert_eq!(configured, Address::from_v4_word(word));
        assert!(configured.is_v4());
        assert_eq!(IpAddr::from(configured).to_string(), "192.0.2.10");
    }

    #[test]
    fn an_ipv6_address_comes_back_as_it_went_in() {
        let address: Ipv6Addr = "2001:db8::10".parse().expect("a literal address");
        assert!(!Address::from(address).is_v4());
        assert_eq!(IpAddr::from(Address::from(address)), IpAddr::V6(address));
    }

    #[test]
    fn ports_are_read_as_one_word_and_told_apart() {
        let (source, destination) = (Port::from_host(40_000), Port::from_host(443));
        let ports = Ports::new(source, destination);
        let [a, b] = 40_000_u16.to_be_bytes();
        let [c, d] = 443_u16.to_be_bytes();
        assert_eq!(ports, Ports::from_wire(u32::from_ne_bytes([a, b, c, d])));
        assert_eq!((ports.source(), ports.destination()), (source, destination));
        assert_eq!(ports.swapped(), Ports::new(destination, source));
    }

    #[test]
    fn a_port_is_kept_in_network_order() {
        let wire = Port::from_host(80).to_wire();
        assert_eq!(wire.to_ne_bytes(), [0, 80]);
        assert_eq!(Port::from_wire(wire).to_host(), 80);
    }
}
