//! Who the backends' neighbours are: what the kernel knows of their MACs, and of this host's links.
//!
//! This file is the pure vocabulary, shared with the engine. [`picture`] turns what the kernel told into a
//! [`NetworkView`]; [`netlink`] is the task that listens to the kernel, and the only home of netlink. [`roll_call`] finds out
//! what the kernel would notice late: backends that went to another MAC without a word.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;

use lb_common::address::MacAddr;

use crate::model::BackendAddr;

pub mod netlink;
pub mod picture;
pub mod roll_call;

/// The backends whose MACs must be known: what the engine asks of the neighbour task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Every backend of every pool, each once. A VIP is never among them.
    pub backends: BTreeSet<BackendAddr>,
}

/// What this host's network looks like now, as far as the load balancer cares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkView {
    /// Each target and whether frames can reach it. A target that is missing here has not been looked at yet.
    pub backends: BTreeMap<BackendAddr, Reach>,
    /// Those of them whose MAC the operator or the link has fixed, so that nobody need ask for it.
    pub fixed: BTreeSet<BackendAddr>,
    /// This host's links by name. A link that has no Ethernet address is not listed.
    pub links: BTreeMap<String, Link>,
    /// This host's own addresses by the index of their link, each with the length of its network's prefix, in their order.
    pub addresses: BTreeMap<u32, Vec<(IpAddr, u8)>>,
    /// What of the kernel's announcements was missed.
    pub missed: Missed,
}

impl NetworkView {
    /// This host's address that a backend's answer gets back to on a segment: of the backend's network if there is one, the
    /// narrowest; else any of that interface. An IPv6 address of the link alone is none, and neither is a VIP.
    #[must_use]
    pub fn source(&self, backend: BackendAddr, ifindex: u32, is_vip: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let usable = |(own, _): &&(IpAddr, u8)| {
            let link_local = matches!(own, IpAddr::V6(v6) if v6.is_unicast_link_local());
            own.is_ipv4() == backend.ip().is_ipv4() && !is_vip(*own) && !link_local
        };
        let addresses = self.addresses.get(&ifindex)?.iter().filter(usable);
        let near = |(own, prefix): &&(IpAddr, u8)| {
            if same_network(*own, backend.ip(), *prefix) { u16::from(*prefix) + 1 } else { 0 }
        };
        // Of equals the first, so that it stays the same.
        addresses.rev().max_by_key(near).map(|(own, _)| *own)
    }
}

/// True if two addresses are of one network whose prefix has this length.
#[must_use]
pub fn same_network(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    let (a, b, bits) = match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    let host_bits = 128_u32.min(bits - u32::from(prefix).min(bits));
    (a ^ b).checked_shr(host_bits).unwrap_or(0) == 0
}

/// What of the kernel's announcements was missed, since this agent started. All was read anew each time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// How often.
    pub times: u64,
    /// Why, the last time.
    pub why: Option<String>,
}

/// A network interface of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index, in this network namespace.
    pub ifindex: u32,
    /// Its own MAC: the source of the frames sent there.
    pub mac: MacAddr,
    /// True if it is switched on and has a carrier.
    pub up: bool,
    /// Id of the XDP program that is attached to it, whosever it is.
    pub xdp_program: Option<u32>,
    /// What it is a VLAN of, if it is one.
    pub vlan: Option<Vlan>,
}

/// An interface, as the kernel tells of it when it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its MTU in bytes.
    pub mtu: u32,
    /// True if it is one end of a pair of virtual interfaces.
    pub is_veth: bool,
    /// The other end of the pair, if it can be seen from here.
    pub peer: Option<Peer>,
}

/// The other end of a pair of virtual interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its MTU in bytes.
    pub mtu: u32,
    /// True if an XDP program runs there.
    pub has_program: bool,
    /// How many queues it may send on.
    pub transmit_queues: u32,
}

/// A VLAN (IEEE 802.1Q) of another interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Index of the interface that its frames go out of, with a tag.
    pub parent: u32,
    /// Its number, 1–4094.
    pub id: u16,
}

/// Whether frames can reach a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// They can.
    Resolved {
        /// The backend's MAC.
        mac: MacAddr,
        /// Index of the interface that it is behind.
        ifindex: u32,
    },
    /// They cannot.
    Unresolved {
        /// What stands in the way.
        why: Unresolved,
    },
}

impl Reach {
    /// True if the backend is known to be behind that interface.
    #[must_use]
    pub fn is_behind(&self, link: &Link) -> bool {
        matches!(self, Self::Resolved { ifindex, .. } if *ifindex == link.ifindex)
    }
}

/// Why a backend has no MAC. Its `Display` says what is wrong and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// The kernel is asking (ARP or neighbour solicitation) and has no answer yet.
    Asking,
    /// The kernel asked and nobody answered. It goes on asking.
    NoAnswer,
    /// The route to the backend goes through this router, so the backend is not on a segment of this host.
    BehindRouter(IpAddr),
    /// The kernel has no route to the backend.
    NoRoute,
    /// The address is one of this host's own.
    OwnAddress,
    /// The address is a broadcast, multicast or anycast address.
    NotAHost,
    /// The link towards the backend has no Ethernet addresses (a tunnel, say).
    NotEthernet,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asking => f.write_str("its MAC is being asked for"),
            Self::NoAnswer => f.write_str(
                "nobody answers for its address on the link; check that the server is up, on this segment, and answers \
                 ARP or neighbour solicitations",
            ),
            Self::BehindRouter(router) => write!(
                f,
                "it is behind the router {router}; direct routing needs it on the same segment as this host, so move it \
                 there or give this host an interface in its network"
            ),
            Self::NoRoute => f.write_str(
                "this host has no route to it; give an interface an address in the backend's network, or switch that \
                 interface on",
            ),
            Self::OwnAddress => {
                f.write_str("the address is this host's own; a backend must be another host on the segment")
            }
            Self::NotAHost => {
                f.write_str("the address is a broadcast, multicast or anycast address; give the address of one server")
            }
            Self::NotEthernet => f.write_str(
                "the interface towards it has no Ethernet addresses; direct routing needs the backend on an Ethernet \
                 segment of this host",
            ),
        }
    }
}
