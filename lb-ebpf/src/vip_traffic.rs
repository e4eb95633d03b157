//! The VIP's own traffic: ARP, neighbour discovery and echo are answered here, so that a balancer needs no address to own
//! a VIP, unless the VIP is the host's or nobody's. A host that claims a VIP of ours, or asks for it, is told to the agent,
//! which defends the VIP (RFC 5227 section 2.4, RFC 4862 section 5.4). And what is for a VIP but for none of its flows is counted and dropped.
//!
//! An answer is the request itself, turned round in place. Checksums are mended by the difference (RFC 1624), so that a
//! request whose checksum was wrong gets an answer whose checksum is wrong.

use core::mem::offset_of;

use lb_common::address::{Address, MacAddr};
use lb_common::event::Event;
use lb_common::listener::Vip;
use lb_common::outcome::Outcome;
use network_types::arp::ArpHdr;
use network_types::eth::{EthHdr, EtherType};
use network_types::icmp::{Icmpv4Hdr, Icmpv6Hdr};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use crate::finish::Finish;
use crate::packet::{Packet, View};
use crate::parse::{Headers, Kind};
use crate::tables::Tables;

const ARP_ETHERNET: u16 = 1_u16.to_be();
const ARP_REQUEST: u16 = 1_u16.to_be();
const ARP_REPLY: u16 = 2_u16.to_be();

/// Length of a solicitation (RFC 4861 section 4.3), to the end of its target.
const SOLICITATION: usize = 24;
/// The same with one option of a link-layer address.
const SOLICITATION_WITH_ADDRESS: usize = SOLICITATION + 8;
/// Where the target stands.
const TARGET: usize = 8;
/// ICMPv6 type of a neighbour advertisement.
const ADVERTISEMENT: u8 = 136;
/// "Solicited" and "override", of the first word of an advertisement's flags.
const SOLICITED_AND_OVERRIDE: u16 = 0x6000_u16.to_be();
/// Option: source link-layer address, one unit of 8 bytes.
const SOURCE_ADDRESS_OPTION: u16 = 0x0101_u16.to_be();
/// Option: target link-layer address, one unit of 8 bytes.
const TARGET_ADDRESS_OPTION: u16 = 0x0201_u16.to_be();
/// What RFC 4861 section 7.1.1 demands of neighbour discovery: not routed.
const NOT_ROUTED: u8 = 255;

/// TTL and hop limit of an echo reply (RFC 1700's recommended default).
const REPLY_TTL: u8 = 64;

/// Answers a packet of the kinds ARP, solicitation and echo, if it is for a VIP. `network` and `transport` are where its
/// headers begin.
#[inline(always)]
pub fn answer<T: Tables>(packet: &Packet<'_>, kind: Kind, network: usize, transport: usize, tables: &T) -> Finish {
    match kind {
        Kind::Arp => arp(packet, network, tables),
        Kind::Discovery => discovery(packet, network, transport, tables),
        _ => echo(packet, network, transport, tables),
    }
}

/// Answers an ARP request (RFC 826).
#[inline(always)]
fn arp<T: Tables>(packet: &Packet<'_>, network: usize, tables: &T) -> Finish {
    let not_ours = Finish::pass(Outcome::NotIp);
    let (Some(ethernet), Some(header)) = (packet.view::<{ EthHdr::LEN }>(0), packet.view::<{ ArpHdr::LEN }>(network))
    else {
        return not_ours;
    };
    const SENDER: usize = offset_of!(ArpHdr, spa);
    const SENDER_MAC: usize = offset_of!(ArpHdr, sha);
    const TARGET: usize = offset_of!(ArpHdr, tpa);
    const TARGET_MAC: usize = offset_of!(ArpHdr, tha);
    let sender = header.ipv4::<SENDER>();
    let target = header.ipv4::<TARGET>();
    let is_arp = header.wire16::<{ offset_of!(ArpHdr, htype) }>() == ARP_ETHERNET
        && header.wire16::<{ offset_of!(ArpHdr, ptype) }>() == EtherType::Ipv4 as u16
        && header.wire16::<{ offset_of!(ArpHdr, hlen) }>() == u16::from_ne_bytes([6, 4]);
    if !is_arp {
        return not_ours;
    }
    let own = tables.own_mac().mac();
    let sender_mac = header.mac::<SENDER_MAC>();
    // Any ARP packet from an address claims it (RFC 5227 section 2.4), also the announcement of a host that asks for itself.
    if sender_mac.0 != own.0 && tables.vip(&sender).is_some_and(Vip::is_ours) {
        return contested(Event::CLAIMS, sender, sender_mac, tables);
    }
    let is_request = header.wire16::<{ offset_of!(ArpHdr, oper) }>() == ARP_REQUEST;
    if !is_request || sender.0[3] == target.0[3] {
        return not_ours;
    }
    let Some(vip) = tables.vip(&target) else {
        return not_ours;
    };
    if !vip.is_ours() {
        return left(vip);
    }
    if sender.0[3] == 0 {
        // A probe; the answer below is what keeps the host from the address.
        contested(Event::PROBES, target, sender_mac, tables);
    }
    header.set_wire16::<{ offset_of!(ArpHdr, oper) }>(ARP_REPLY);
    header.set_mac::<TARGET_MAC>(sender_mac);
    header.set_ipv4::<TARGET>(&sender);
    header.set_mac::<SENDER_MAC>(own);
    header.set_ipv4::<SENDER>(&target);
    turn_ethernet_round(&ethernet, own);
    Finish::answered(Outcome::ArpReply)
}

/// Answers a neighbour solicitation (RFC 4861 section 7.2.4), and takes notice of who advertises or wants a VIP.
#[inline(always)]
fn discovery<T: Tables>(packet: &Packet<'_>, network: usize, transport: usize, tables: &T) -> Finish {
    let not_ours = Finish::pass(Outcome::NotVip);
    let (Some(ethernet), Some(header), Some(message)) = (
        packet.view::<{ EthHdr::LEN }>(0),
        packet.view::<{ Ipv6Hdr::LEN }>(network),
        packet.view::<SOLICITATION>(transport),
    ) else {
        return not_ours;
    };
    const SOURCE: usize = offset_of!(Ipv6Hdr, src_addr);
    const DESTINATION: usize = offset_of!(Ipv6Hdr, dst_addr);
    let target = message.ipv6::<TARGET>();
    let source = header.ipv6::<SOURCE>();
    let destination = header.ipv6::<DESTINATION>();
    let is_valid = header.u8::<{ offset_of!(Ipv6Hdr, hop_limit) }>() == NOT_ROUTED
        && message.u8::<{ offset_of!(Icmpv6Hdr, code) }>() == 0;
    if !is_valid {
        return not_ours;
    }
    let Some(vip) = tables.vip(&target) else {
        return not_ours;
    };
    if !vip.is_ours() {
        return left(vip);
    }
    let own = tables.own_mac().mac();
    let sender_mac = ethernet.mac::<{ offset_of!(EthHdr, src_addr) }>();
    if message.u8::<0>() == ADVERTISEMENT {
        return if sender_mac.0 == own.0 { not_ours } else { contested(Event::CLAIMS, target, sender_mac, tables) };
    }
    // From the unspecified address comes the question of a host that wants the address for itself.
    if source.0 == [0; 4] {
        return contested(Event::SOLICITS, target, sender_mac, tables);
    }

    let mut check = Checksum::of(message.wire16::<{ offset_of!(Icmpv6Hdr, check) }>());
    // The one option that Linux and all others send is replaced by ours; a question without it gets an answer without.
    let length = usize::from(header.u16::<{ offset_of!(Ipv6Hdr, payload_len) }>());
    if length == SOLICITATION_WITH_ADDRESS {
        let Some(option) = packet.view::<8>(transport + SOLICITATION) else {
            return not_ours;
        };
        if option.wire16::<0>() != SOURCE_ADDRESS_OPTION {
            return not_ours;
        }
        check.change(SOURCE_ADDRESS_OPTION, TARGET_ADDRESS_OPTION);
        check.change_mac(option.mac::<2>(), own);
        option.set_wire16::<0>(TARGET_ADDRESS_OPTION);
        option.set_mac::<2>(own);
    } else if length != SOLICITATION {
        return not_ours;
    }

    check.change(message.wire16::<0>(), u16::from_ne_bytes([ADVERTISEMENT, 0]));
    check.change(message.wire16::<4>(), SOLICITED_AND_OVERRIDE);
    check.change(message.wire16::<6>(), 0);
    message.set_wire16::<0>(u16::from_ne_bytes([ADVERTISEMENT, 0]));
    message.set_wire16::<4>(SOLICITED_AND_OVERRIDE);
    message.set_wire16::<6>(0);
    // The pseudo header: from the target to the source, instead of from the source to the destination.
    check.change_address(&destination, &target);
    message.set_wire16::<{ offset_of!(Icmpv6Hdr, check) }>(check.value());
    header.set_ipv6::<SOURCE>(&target);
    header.set_ipv6::<DESTINATION>(&source);
    turn_ethernet_round(&ethernet, own);
    Finish::answered(Outcome::NeighbourAdvertisement)
}

/// Answers an echo request (RFC 1122 section 3.2.2.6, RFC 4443 section 4.2).
#[inline(always)]
fn echo<T: Tables>(packet: &Packet<'_>, network: usize, transport: usize, tables: &T) -> Finish {
    let (Some(ethernet), Some(message), Some(first)) = (
        packet.view::<{ EthHdr::LEN }>(0),
        packet.view::<{ Icmpv4Hdr::LEN }>(transport),
        packet.view::<{ Ipv4Hdr::LEN }>(network),
    ) else {
        return Finish::pass(Outcome::NotVip);
    };
    let v4 = first.u8::<0>() >> 4 == 4;
    let reply_type = if v4 { echo_v4(&first, tables) } else { echo_v6(packet, network, tables) };
    let reply_type = match reply_type {
        Ok(reply_type) => reply_type,
        Err(finish) => return finish,
    };
    let before = message.wire16::<0>();
    let [_, code] = before.to_ne_bytes();
    let after = u16::from_ne_bytes([reply_type, code]);
    let mut check = Checksum::of(message.wire16::<{ offset_of!(Icmpv4Hdr, check) }>());
    check.change(before, after);
    message.set_wire16::<{ offset_of!(Icmpv4Hdr, check) }>(check.value());
    message.set_wire16::<0>(after);
    turn_ethernet_round(&ethernet, tables.own_mac().mac());
    Finish::answered(Outcome::EchoReply)
}

/// Turns the IPv4 header of an echo request round; the reply's ICMP type, or how it ends if it is not for a VIP of ours.
#[inline(always)]
fn echo_v4<T: Tables>(header: &View<'_, { Ipv4Hdr::LEN }>, tables: &T) -> Result<u8, Finish> {
    const SOURCE: usize = offset_of!(Ipv4Hdr, src_addr);
    const DESTINATION: usize = offset_of!(Ipv4Hdr, dst_addr);
    const TTL_AND_PROTOCOL: usize = offset_of!(Ipv4Hdr, ttl);
    let (source, destination) = (header.ipv4::<SOURCE>(), header.ipv4::<DESTINATION>());
    ours(&destination, tables)?;
    // Swapped addresses leave the header's sum as it is; the new TTL does not.
    let before = header.wire16::<TTL_AND_PROTOCOL>();
    let [_, protocol] = before.to_ne_bytes();
    let after = u16::from_ne_bytes([REPLY_TTL, protocol]);
    let mut check = Checksum::of(header.wire16::<{ offset_of!(Ipv4Hdr, check) }>());
    check.change(before, after);
    header.set_wire16::<{ offset_of!(Ipv4Hdr, check) }>(check.value());
    header.set_wire16::<TTL_AND_PROTOCOL>(after);
    header.set_ipv4::<SOURCE>(&destination);
    header.set_ipv4::<DESTINATION>(&source);
    Ok(0)
}

/// The same for IPv6.
#[inline(always)]
fn echo_v6<T: Tables>(packet: &Packet<'_>, network: usize, tables: &T) -> Result<u8, Finish> {
    const SOURCE: usize = offset_of!(Ipv6Hdr, src_addr);
    const DESTINATION: usize = offset_of!(Ipv6Hdr, dst_addr);
    let header = packet.view::<{ Ipv6Hdr::LEN }>(network).ok_or(Finish::pass(Outcome::NotVip))?;
    let (source, destination) = (header.ipv6::<SOURCE>(), header.ipv6::<DESTINATION>());
    ours(&destination, tables)?;
    header.set_u8::<{ offset_of!(Ipv6Hdr, hop_limit) }>(REPLY_TTL);
    header.set_ipv6::<SOURCE>(&destination);
    header.set_ipv6::<DESTINATION>(&source);
    Ok(129)
}

/// Goes on with a request to a VIP that is answered here.
#[inline(always)]
fn ours<T: Tables>(destination: &Address, tables: &T) -> Result<(), Finish> {
    match tables.vip(destination) {
        None => Err(Finish::pass(Outcome::NotVip)),
        Some(vip) if !vip.is_ours() => Err(left(vip)),
        Some(_) => Ok(()),
    }
}

/// Ends a question about a VIP that is not answered here.
#[inline(always)]
fn left(vip: Vip) -> Finish {
    if vip.flags & Vip::OWNER_HOST != 0 {
        Finish::pass(Outcome::HostOwnsVip)
    } else {
        Finish::drop(Outcome::NobodyOwnsVip)
    }
}

/// Tells the agent of another host that claims or wants a VIP of ours.
#[inline(always)]
fn contested<T: Tables>(kind: u8, vip: Address, mac: MacAddr, tables: &T) -> Finish {
    tables.tell(&Event { vip, ifindex: tables.ingress_ifindex() as u32, mac, kind, reserved: 0 });
    Finish::pass(Outcome::VipContested)
}

/// Ends a packet whose flow can't be told: dropped if it is for a VIP, else none of ours.
#[inline(always)]
pub fn flowless<T: Tables>(headers: &Headers, tables: &T) -> Finish {
    if tables.vip(&headers.flow.destination).is_some() {
        Finish::drop(headers.outcome)
    } else {
        Finish::pass(Outcome::NotVip)
    }
}

/// Sends the frame back to where it came from.
#[inline(always)]
fn turn_ethernet_round(ethernet: &View<'_, { EthHdr::LEN }>, own: MacAddr) {
    let sender = ethernet.mac::<{ offset_of!(EthHdr, src_addr) }>();
    ethernet.set_mac::<{ offset_of!(EthHdr, dst_addr) }>(sender);
    ethernet.set_mac::<{ offset_of!(EthHdr, src_addr) }>(own);
}

/// An Internet checksum (RFC 1071) that follows changes of what it sums (RFC 1624, equation 3). Words are taken as they
/// stand in the packet: the sum is the same in either byte order.
struct Checksum {
    sum: u32,
}

impl Checksum {
    #[inline(always)]
    fn of(check: u16) -> Self {
        Self { sum: u32::from(!check) }
    }

    #[inline(always)]
    fn change(&mut self, before: u16, after: u16) {
        self.sum += u32::from(!before) + u32::from(after);
    }

    #[inline(always)]
    fn change_mac(&mut self, before: MacAddr, after: MacAddr) {
        let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (before.0, after.0);
        self.change(u16::from_ne_bytes([a, b]), u16::from_ne_bytes([g, h]));
        self.change(u16::from_ne_bytes([c, d]), u16::from_ne_bytes([i, j]));
        self.change(u16::from_ne_bytes([e, f]), u16::from_ne_bytes([k, l]));
    }

    #[inline(always)]
    fn change_address(&mut self, before: &Address, after: &Address) {
        let ([a, b, c, d], [e, f, g, h]) = (before.0, after.0);
        self.change_word(a, e);
        self.change_word(b, f);
        self.change_word(c, g);
        self.change_word(d, h);
    }

    #[inline(always)]
    fn change_word(&mut self, before: u32, after: u32) {
        self.change(before as u16, after as u16);
        self.change((before >> 16) as u16, (after >> 16) as u16);
    }

    #[inline(always)]
    fn value(self) -> u16 {
        // At most 19 changes of two words each were added: twice folded, nothing is left above 16 bits.
        let sum = (self.sum & 0xffff) + (self.sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        !(sum as u16)
    }
}
