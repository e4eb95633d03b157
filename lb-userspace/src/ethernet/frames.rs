//! The frames that announce a VIP and ask who else has it. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::address::MacAddr;

pub(super) const BROADCAST: MacAddr = MacAddr([0xff; 6]);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub(super) const ETHERTYPE_ARP: u16 = 0x0806;
pub(super) const ETHERTYPE_IPV6: u16 = 0x86dd;
pub(super) const ICMPV6: u8 = 58;
pub(super) const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;
/// Of an advertisement's flags: override, not solicited, no router.
const OVERRIDE: u32 = 0x2000_0000;
/// The shortest frame on a wire, without the frame check sequence.
const SHORTEST: usize = 60;

/// Says to everybody that an address is at a MAC: an ARP announcement (RFC 5227 section 3), or an unsolicited neighbour
/// advertisement that overrides what was known (RFC 4861 section 7.2.6).
#[must_use]
pub fn announcement(address: IpAddr, mac: MacAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp_request(address, address, mac),
        IpAddr::V6(address) => {
            // Option 2: the target's link-layer address.
            let message = discovery(ADVERTISEMENT, OVERRIDE, address, Some((2, mac)));
            icmpv6(mac, address, ALL_NODES, message)
        }
    }
}

/// Asks whether a host has an address, without saying that we do: an ARP probe (RFC 5227 section 2.1.1), or the
/// solicitation of duplicate address detection (RFC 4862 section 5.4.2). Nobody who hears it changes what it knows.
#[must_use]
pub fn probe(address: IpAddr, mac: MacAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => arp_request(Ipv4Addr::UNSPECIFIED, address, mac),
        IpAddr::V6(address) => {
            let message = discovery(SOLICITATION, 0, address, None);
            icmpv6(mac, Ipv6Addr::UNSPECIFIED, solicited_node(address), message)
        }
    }
}

pub(super) fn arp_request(sender: Ipv4Addr, target: Ipv4Addr, mac: MacAddr) -> Vec<u8> {
    let mut frame = ethernet(BROADCAST, mac, ETHERTYPE_ARP);
    // Ethernet, IPv4, addresses of 6 and 4 bytes, request.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac.0);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    padded(frame)
}

/// The group that who has an address listens to (RFC 4291 section 2.7.1).
pub(super) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from(b) << 8 | u16::from(c))
}

/// A neighbour discovery message without its checksum.
pub(super) fn discovery(kind: u8, flags: u32, target: Ipv6Addr, option: Option<(u8, MacAddr)>) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend(flags.to_be_bytes());
    message.extend(target.octets());
    if let Some((kind, mac)) = option {
        message.extend([kind, 1]);
        message.extend(mac.0);
    }
    message
}

pub(super) fn icmpv6(mac: MacAddr, source: Ipv6Addr, destination: Ipv6Addr, mut message: Vec<u8>) -> Vec<u8> {
    // RFC 2464 section 7: a group's MAC ends in its last four bytes.
    let [.., a, b, c, d] = destination.octets();
    let mut frame = ethernet(MacAddr([0x33, 0x33, a, b, c, d]), mac, ETHERTYPE_IPV6);
    let length = message.len() as u16;
    // RFC 4443 section 2.3: the checksum is also of the addresses, the length and the protocol.
    let pseudo = [&source.octets()[..], &destination.octets(), &u32::from(length).to_be_bytes(), &[0, 0, 0, ICMPV6]];
    let check = checksum(&[&pseudo.concat()[..], &message].concat());
    message[2..4].copy_from_slice(&check.to_be_bytes());
    // Version 6; hop limit 255, as RFC 4861 section 7.1 demands.
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([ICMPV6, 255]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend(message);
    padded(frame)
}

pub(super) fn ethernet(to: MacAddr, from: MacAddr, ether_type: u16) -> Vec<u8> {
    [&to.0[..], &from.0, &ether_type.to_be_bytes()].concat()
}

pub(super) fn padded(mut frame: Vec<u8>) -> Vec<u8> {
    frame.resize(frame.len().max(SHORTEST), 0);
    frame
}

/// The Internet checksum (RFC 1071) of an even number of bytes.
pub(super) fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 1, 0x02]);

    #[test]
    fn an_arp_announcement_has_the_address_twice_and_a_probe_once() {
        let vip = Ipv4Addr::new(192, 0, 2, 10);
        let frame = announcement(vip.into(), MAC);
        assert_eq!(frame.len(), 60);
        assert_eq!(&frame[..14], [&[0xff; 6][..], &MAC.0, &[8, 6]].concat());
        assert_eq!(&frame[14..22], [0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(&frame[22..42], [&MAC.0[..], &[192, 0, 2, 10], &[0; 6], &[192, 0, 2, 10]].concat());
        let frame = probe(vip.into(), MAC);
        assert_eq!(&frame[22..42], [&MAC.0[..], &[0; 4], &[0; 6], &[192, 0, 2, 10]].concat());
    }

    #[test]
    fn an_advertisement_overrides_and_goes_to_all() {
        let vip: Ipv6Addr = "2001:db8::10".parse().expect("an address");
        let frame = announcement(vip.into(), MAC);
        assert_eq!(&frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
        assert_eq!(&frame[14..22], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(&frame[22..38], vip.octets());
        assert_eq!(&frame[38..54], ALL_NODES.octets());
        assert_eq!((frame[54], &frame[58..62]), (136, &[0x20, 0, 0, 0][..]));
        assert_eq!(&frame[62..86], [&vip.octets()[..], &[2, 1], &MAC.0].concat());
        assert_eq!(sum_with_pseudo_header(&frame, 32), 0xffff);
    }

    #[test]
    fn a_solicitation_comes_from_nowhere_and_goes_to_the_addresses_group() {
        let vip: Ipv6Addr = "2001:db8::12:3456".parse().expect("an address");
        let frame = probe(vip.into(), MAC);
        assert_eq!(&frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        assert_eq!(&frame[22..38], [0; 16]);
        assert_eq!(&frame[38..54], "ff02::1:ff12:3456".parse::<Ipv6Addr>().expect("a group").octets());
        assert_eq!((frame.len(), frame[54]), (78, 135));
        assert_eq!(sum_with_pseudo_header(&frame, 24), 0xffff);
    }

    /// What a receiver sums up: all ones if the checksum is right.
    fn sum_with_pseudo_header(frame: &[u8], length: u8) -> u16 {
        !checksum(&[&frame[22..54], &[0, 0, 0, length, 0, 0, 0, ICMPV6], &frame[54..54 + usize::from(length)]].concat())
    }
}
