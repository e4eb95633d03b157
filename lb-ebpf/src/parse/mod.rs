//! Step 1, parse: from bytes to what the packet is.
//!
//! What can't be read before its destination is known goes to the kernel untouched; the rest says whom it is for, and
//! the later steps decide.
//!
//! The result is one flat [`Headers`] whose every field always has a value, not an enum with payloads: where the paths
//! of a parser meet, LLVM leaves the payload of the other variants in whatever register there is, and the verifier
//! refuses a program that touches such a value.

mod extensions;
mod fragment;
mod icmp;
mod ipv4;
mod ipv6;
pub mod plain;
mod quoted;
mod signal;
mod transport;

use core::mem::offset_of;

use lb_common::address::{Address, RaisedMac};
use lb_common::flow::Flow;
use lb_common::outcome::Outcome;
use network_types::eth::{EthHdr, EtherType};

pub use fragment::{Fragment, Part};
pub use signal::signal;

use crate::packet::Packet;

/// IEEE 802.1Q and 802.1ad tags that are stepped over.
const MAX_TAGS: usize = 2;
/// Length of a tag.
const TAG: usize = 4;
const VLAN: u16 = EtherType::Ieee8021q as u16;
const QINQ: u16 = EtherType::Ieee8021ad as u16;

/// What a packet is, as far as drlb cares.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// None of ours, whatever the VIPs are: passed with `outcome`.
    Foreign,
    /// A packet of `flow`. An ICMP error is a packet of the flow that it tells of.
    Flow,
    /// A fragment that is not the first of its datagram: it has no ports. Or an ICMP error that quotes one.
    LaterFragment,
    /// An ARP packet (RFC 826); its header begins at `network`.
    Arp,
    /// A neighbour solicitation (RFC 4861 section 4.3), or an advertisement to all (section 4.4); its ICMPv6 header begins at
    /// `transport`.
    Discovery,
    /// An echo request (RFC 792, RFC 4443 section 4.1); its IP header begins at `network`, its ICMP one at `transport`.
    Echo,
    /// An IP packet to the destination of `flow`, but its flow can't be told: if that is a VIP, dropped with `outcome`.
    Flowless,
}

/// What a packet's headers say.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    /// What the packet is; says which of the other fields mean something.
    pub kind: Kind,
    /// How a packet ends that goes no further.
    pub outcome: Outcome,
    /// Source and destination, and, for [`Kind::Flow`], the rest of the 5-tuple.
    pub flow: Flow,
    /// Which part of its datagram the packet is.
    pub fragment: Fragment,
    /// Length of the whole packet in bytes.
    pub length: usize,
    /// Where the 16 bits of the VLAN tag begin that says which VLAN the frame is in; 0 for a frame without one. Of two
    /// tags it is the inner; a single service tag (802.1ad) says nothing of the VLANs within.
    pub tag: usize,
    /// Where the IP (or ARP) header begins.
    pub network: usize,
    /// Where the header above IP begins.
    pub transport: usize,
    /// The packet is not of the flow itself, but tells of it: an ICMP error.
    pub related: bool,
}

impl Headers {
    /// Of a packet that nothing is known of yet.
    pub const NONE: Self = Self {
        kind: Kind::Foreign,
        outcome: Outcome::NotIp,
        flow: Flow::without_ports(Address([0; 4]), Address([0; 4]), 0),
        fragment: Fragment::NONE,
        length: 0,
        tag: 0,
        network: EthHdr::LEN,
        transport: 0,
        related: false,
    };

    #[inline(always)]
    fn foreign(&mut self, outcome: Outcome) {
        self.kind = Kind::Foreign;
        self.outcome = outcome;
    }

    /// Why a packet ends that does not hold all of its headers.
    #[inline(always)]
    fn cut_short(&self) -> Outcome {
        if self.fragment.part as u32 == Part::First as u32 { Outcome::FragmentTiny } else { Outcome::Malformed }
    }

    #[inline(always)]
    fn flowless(&mut self, outcome: Outcome) {
        self.kind = Kind::Flowless;
        self.outcome = outcome;
    }
}

/// Says what the packet is. `own` is our MAC: a frame to another host's MAC is none of ours, even if a switch floods it
/// to us. So two balancers on one segment never forward a packet twice.
#[inline(always)]
pub fn run(packet: &Packet<'_>, own: RaisedMac, headers: &mut Headers) {
    *headers = Headers { length: packet.length(), ..Headers::NONE };
    ethernet(packet, own, headers);
}

#[inline(always)]
fn ethernet(packet: &Packet<'_>, own: RaisedMac, headers: &mut Headers) {
    let Some(ethernet) = packet.view::<{ EthHdr::LEN }>(0) else {
        return headers.foreign(Outcome::NotIp);
    };
    let to = ethernet.mac::<{ offset_of!(EthHdr, dst_addr) }>();
    let to_us = RaisedMac::new(to) == own;
    let to_many = to.0[0] & 1 != 0;
    if !to_us && !to_many {
        return headers.foreign(Outcome::OtherHost);
    }

    let mut ether_type = ethernet.wire16::<{ offset_of!(EthHdr, ether_type) }>();
    for _ in 0..MAX_TAGS {
        if !is_tag(ether_type) {
            break;
        }
        // The tag's own type stood before it; it holds its priority and number, then the next type.
        let Some(tag) = packet.view::<TAG>(headers.network) else {
            return headers.foreign(Outcome::NotIp);
        };
        if ether_type == VLAN || headers.network != EthHdr::LEN {
            headers.tag = headers.network;
        }
        ether_type = tag.wire16::<2>();
        headers.network += TAG;
    }

    const IPV4: u16 = EtherType::Ipv4 as u16;
    const IPV6: u16 = EtherType::Ipv6 as u16;
    const ARP: u16 = EtherType::Arp as u16;
    match ether_type {
        IPV4 if to_us => ipv4::run(packet, headers),
        // IP to a broadcast or multicast MAC: a VIP's traffic comes to our own (RFC 1122 section 3.3.6).
        IPV4 => headers.foreign(Outcome::OtherHost),
        IPV6 => ipv6::run(packet, to_us, headers),
        ARP => headers.kind = Kind::Arp,
        _ => headers.foreign(Outcome::NotIp),
    }
}

#[inline(always)]
fn is_tag(ether_type: u16) -> bool {
    ether_type == VLAN || ether_type == QINQ
}
