//! Backends as the XDP program sees them, and the segments they stand on.

use bytemuck::{Pod, Zeroable};

use crate::address::{Address, MacAddr};

/// Where a backend is: its MAC and its segment, in one word that is written in one store.
///
/// Bits 0–47 are the MAC's bytes as they stand in memory, bits 48–62 the segment's index and one more, bit 63 says that the backend
/// takes no new sessions (it is draining). An all-zero word is a place without a reachable backend: it is on no segment.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Backend(pub u64);

impl Backend {
    /// A place without a reachable backend: nothing is sent there.
    pub const UNREACHABLE: Self = Self(0);

    const DRAINING: u64 = 1 << 63;
    /// Where the MAC ends and the segment begins.
    const SEGMENT: u32 = 48;

    /// A backend at `mac` on the segment with that index.
    #[must_use]
    pub const fn new(mac: MacAddr, segment: u16) -> Self {
        Self(mac.to_word() | Self::on(segment))
    }

    /// What the words of all backends have above the MAC that stand on the segment with that index and are not draining.
    #[must_use]
    pub const fn on(segment: u16) -> u64 {
        (segment as u64 + 1) << Self::SEGMENT
    }

    /// In place of [`Backend::on`]: what no backend's word has there.
    pub const ON_NONE: u64 = !0 << Self::SEGMENT;

    /// The MAC, as a word, of a backend that is `on` a segment ([`Backend::on`]); `None` for one that is on another, is draining or
    /// not reachable. One comparison: nearly all packets ask.
    #[inline(always)]
    #[must_use]
    pub const fn mac_on(self, segment: u64) -> Option<u64> {
        let mac = self.0 ^ segment;
        if mac < 1 << Self::SEGMENT { Some(mac) } else { None }
    }

    /// The same backend, draining: its flows stay, a session of its clients brings it no new ones.
    #[must_use]
    pub const fn draining(self) -> Self {
        Self(self.0 | Self::DRAINING)
    }

    /// True if the backend is draining.
    #[inline(always)]
    #[must_use]
    pub const fn is_draining(self) -> bool {
        self.0 & Self::DRAINING != 0
    }

    /// True if a packet can be sent there.
    #[inline(always)]
    #[must_use]
    pub const fn is_reachable(self) -> bool {
        self.0 != 0
    }

    /// True if both words name the same MAC on the same segment, whether it drains or not.
    #[inline(always)]
    #[must_use]
    pub const fn is_same_as(self, other: Self) -> bool {
        (self.0 ^ other.0) & !Self::DRAINING == 0
    }

    /// The backend's MAC.
    #[inline(always)]
    #[must_use]
    pub const fn mac(self) -> MacAddr {
        MacAddr::from_word(self.0)
    }

    /// Index of the backend's segment.
    #[inline(always)]
    #[must_use]
    pub const fn segment(self) -> u16 {
        ((self.0 >> Self::SEGMENT) as u16 & 0x7fff).wrapping_sub(1)
    }
}

/// How much a backend has to do, for [`crate::listener::Listener::LEAST_CONNECTIONS`]. 8 bytes.
///
/// The agent counts the flows in each sweep; between two sweeps the program adds those that begin.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Load {
    /// Flows.
    pub flows: u32,
    /// The backend's weight; 0 takes no new flow.
    pub weight: u32,
}

impl Load {
    /// True if this one has less to do for its weight than the other.
    #[inline(always)]
    #[must_use]
    pub const fn is_less_than(self, other: Self) -> bool {
        (self.flows as u64) * (other.weight as u64) < (other.flows as u64) * (self.weight as u64)
    }
}

/// Who holds a place in the backends' map: for the agent, that reads its own state back from the maps. 16 bytes.
///
/// All zero for a free place.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct BackendOwner {
    /// The backend's address.
    pub address: Address,
}

impl BackendOwner {
    /// A place that nobody holds.
    pub const FREE: Self = Self { address: Address([0; 4]) };
}

/// A piece of Ethernet that packets go out to: an interface of this host, our MAC there, and the VLAN. 16 bytes.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Segment {
    /// Our MAC on it: the source of what is sent there.
    pub mac: MacAddr,
    /// Always zero.
    pub reserved: u16,
    /// The interface's index.
    pub ifindex: u32,
    /// The VLAN that its hosts stand in (IEEE 802.1Q), 1–4094; 0 for frames without a tag.
    pub vlan: u16,
    /// Always zero.
    pub reserved_too: u16,
}

impl Segment {
    /// Hosts behind an interface, in a VLAN or in none (0), to which we are `mac`.
    #[inline(always)]
    #[must_use]
    pub const fn new(ifindex: u32, mac: MacAddr, vlan: u16) -> Self {
        Self { mac, reserved: 0, ifindex, vlan, reserved_too: 0 }
    }

    /// The segment from its two words, as a packet reads it.
    #[inline(always)]
    #[must_use]
    pub const fn of_words([mac, interface]: [u64; 2]) -> Self {
        Self {
            mac: MacAddr::from_word(mac),
            reserved: 0,
            ifindex: interface as u32,
            vlan: (interface >> 32) as u16,
            reserved_too: (interface >> 48) as u16,
        }
    }

    /// True if frames to it go out by the interface with that index, and have no tag. One comparison of a word: nearly all packets
    /// ask.
    #[inline(always)]
    #[must_use]
    pub const fn is_untagged_on(&self, ifindex: u64) -> bool {
        (self.reserved_too as u64) << 48 | (self.vlan as u64) << 32 | self.ifindex as u64 == ifindex
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_read_in_two_words() {
        let segment = Segment::new(0x1234_5678, MacAddr([0x02, 0x11, 0x22, 0x33, 0x44, 0xff]), 0xfed);
        assert_eq!(Segment::of_words(bytemuck::cast(segment)), segment);
        let untagged = Segment { vlan: 0, ..segment };
        assert!(untagged.is_untagged_on(0x1234_5678) && !untagged.is_untagged_on(0x1234_5679));
        assert!(!segment.is_untagged_on(0x1234_5678));
    }

    #[test]
    fn the_word_gives_back_mac_and_segment() {
        let mac = MacAddr([0x02, 0x11, 0x22, 0x33, 0x44, 0xff]);
        let backend = Backend::new(mac, 0x3eef);
        assert_eq!(backend.mac(), mac);
        assert_eq!(backend.segment(), 0x3eef);
        assert!(backend.is_reachable() && !backend.is_draining());
        let draining = backend.draining();
        assert!(draining.is_draining() && draining.is_reachable());
        assert_eq!((draining.mac(), draining.segment()), (mac, 0x3eef));
        assert!(draining.is_same_as(backend) && !Backend::new(mac, 1).is_same_as(backend));
        assert!(!Backend::UNREACHABLE.is_reachable());
    }

    #[test]
    fn a_backend_is_on_one_segment_unless_it_drains_or_is_not_reachable() {
        let mac = MacAddr([0xfe, 0x11, 0x22, 0x33, 0x44, 0xff]);
        for segment in [0, 1, 1_023] {
            let backend = Backend::new(mac, segment);
            assert_eq!(backend.mac_on(Backend::on(segment)), Some(mac.to_word()));
            for other in [segment + 1, segment ^ 0x40] {
                assert_eq!(backend.mac_on(Backend::on(other)), None);
            }
            assert_eq!(backend.mac_on(Backend::ON_NONE), None);
            assert_eq!(backend.draining().mac_on(Backend::on(segment)), None);
            assert_eq!(Backend::UNREACHABLE.mac_on(Backend::on(segment)), None);
        }
        assert_eq!(Backend::UNREACHABLE.mac_on(Backend::ON_NONE), None);
    }
}
