//! What can become of a packet: a closed list, each with its counter.

use bytemuck::{Pod, Zeroable};

/// Packets and bytes. 16 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the Ethernet header on, without the frame check sequence.
    pub bytes: u64,
}

impl Counter {
    /// The sum of two counters; wraps as the kernel's do.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { packets: self.packets.wrapping_add(other.packets), bytes: self.bytes.wrapping_add(other.bytes) }
    }
}

/// Packets for a listener that it refused, by why. 24 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Refused {
    /// [`Outcome::Denied`].
    pub denied: u64,
    /// [`Outcome::TooManyNewFlows`].
    pub too_many_new_flows: u64,
    /// [`Outcome::TooManyFlows`].
    pub too_many_flows: u64,
}

impl Refused {
    /// The sum of two; wraps as the kernel's do.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            denied: self.denied.wrapping_add(other.denied),
            too_many_new_flows: self.too_many_new_flows.wrapping_add(other.too_many_new_flows),
            too_many_flows: self.too_many_flows.wrapping_add(other.too_many_flows),
        }
    }

    /// Counts one more packet that ended so. Other ends are no refusals of a listener.
    #[inline(always)]
    pub const fn count(&mut self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Denied => &mut self.denied,
            Outcome::TooManyNewFlows => &mut self.too_many_new_flows,
            Outcome::TooManyFlows => &mut self.too_many_flows,
            _ => return,
        };
        *counter = counter.wrapping_add(1);
    }
}

macro_rules! outcomes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What became of a packet. The number is the index of its counter.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Outcome {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Outcome {
            /// All of them, in the order of their counters.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// How many there are.
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// The one whose counter has that index.
            #[inline(always)]
            #[must_use]
            pub const fn from_index(index: u32) -> Option<Self> {
                $(if index == Self::$variant as u32 {
                    return Some(Self::$variant);
                })+
                None
            }

            /// The name that the command line, the API and the tests use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+
                }
            }
        }
    };
}

outcomes! {
    /// Sent to a backend, out of the interface it came in by.
    Forwarded = "forwarded",
    /// Sent to a backend, out of another interface.
    Redirected = "redirected",
    /// An ARP request for a VIP, answered.
    ArpReply = "arp-reply",
    /// A neighbour solicitation for a VIP, answered.
    NeighbourAdvertisement = "neighbour-advertisement",
    /// An ICMP or ICMPv6 echo request to a VIP, answered.
    EchoReply = "echo-reply",
    /// Passed to the kernel, and told to the agent: another host claims a VIP, or asks to have it.
    VipContested = "vip-contested",
    /// Passed to the kernel: ARP, neighbour discovery or echo for a VIP that the host itself owns.
    HostOwnsVip = "host-owns-vip",
    /// Dropped: ARP, neighbour discovery or echo for a VIP that nobody here is to answer for.
    NobodyOwnsVip = "nobody-owns-vip",
    /// The answer to a probe of a health check, sent to the agent.
    ProbeAnswer = "probe-answer",
    /// Passed to the kernel: neither IP nor an ARP request for a VIP.
    NotIp = "not-ip",
    /// Passed to the kernel: the frame is addressed to another host's MAC.
    OtherHost = "other-host",
    /// Passed to the kernel: not addressed to a VIP.
    NotVip = "not-vip",
    /// Passed to the kernel: addressed to a VIP, but no listener has that protocol and port.
    NoListener = "no-listener",
    /// Dropped: the source is not on the listener's allow-list.
    Denied = "denied",
    /// Dropped: the source begins more new flows a second than the listener takes from one.
    TooManyNewFlows = "too-many-new-flows",
    /// Dropped: the listener has as many flows as it may have; this would have been another one.
    TooManyFlows = "too-many-flows",
    /// Dropped: the listener's pool has no backend that takes traffic.
    NoBackend = "no-backend",
    /// Dropped: a fragment to a VIP whose datagram's first fragment was not seen, or too long ago.
    FragmentEarly = "fragment-early",
    /// Dropped: a first fragment to a VIP that does not hold the whole header above IP, or a later one that holds some of it.
    FragmentTiny = "fragment-tiny",
    /// Dropped: a fragment to a VIP that overlaps the first one of its datagram, or comes after one that did.
    FragmentOverlap = "fragment-overlap",
    /// Dropped: addressed to a VIP, but cut short or contradicting itself.
    Malformed = "malformed",
    /// Dropped: the driver leaves no room before the packet for the VLAN tag that its backend's segment wants.
    NoHeadroom = "no-headroom",
    /// Dropped: a VIP's IPv6 packet with more extension headers than are followed.
    TooManyExtensions = "too-many-extensions",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_own_name_and_counter() {
        for (index, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, index);
            assert_eq!(Outcome::from_index(index as u32), Some(*outcome));
            assert!(!outcome.meaning().is_empty());
            assert_eq!(Outcome::ALL.iter().filter(|other| other.name() == outcome.name()).count(), 1);
        }
    }
}
