//! Frames that ask a host something, and what is answered. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::address::MacAddr;

use super::frames::{
    ADVERTISEMENT, BROADCAST, ETHERTYPE_ARP, ETHERTYPE_IPV6, ICMPV6, SOLICITATION, arp_request, checksum, discovery,
    ethernet, icmpv6, solicited_node,
};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ICMP: u8 = 1;
/// Length of an Ethernet header.
const ETHERNET: usize = 14;
/// Length of an IPv6 header, and of an IPv4 header without options.
const IPV6: usize = 40;
const IPV4: usize = 20;
/// Length of the header of an echo.
const ECHO: usize = 8;
/// Of an IPv4 header's flags: don't fragment.
const DONT_FRAGMENT: u16 = 0x4000;

/// Asks who has an IPv4 address, and says where the answer goes (RFC 826): to all, or to one host alone.
#[must_use]
pub fn arp(target: Ipv4Addr, tell: Ipv4Addr, from: MacAddr, to: Option<MacAddr>) -> Vec<u8> {
    let mut frame = arp_request(tell, target, from);
    frame.splice(..6, to.unwrap_or(BROADCAST).0);
    frame
}

/// Asks who has an IPv6 address (RFC 4861 section 4.3): all who may have it, or one host alone, as is done to find out
/// whether it still has it (section 7.3.3).
#[must_use]
pub fn solicitation(target: Ipv6Addr, source: Ipv6Addr, from: MacAddr, to: Option<MacAddr>) -> Vec<u8> {
    let destination = if to.is_some() { target } else { solicited_node(target) };
    // Option 1: the source's link-layer address.
    let mut frame = icmpv6(from, source, destination, discovery(SOLICITATION, 0, target, Some((1, from))));
    if let Some(to) = to {
        frame.splice(..6, to.0);
    }
    frame
}

/// An echo request.
#[derive(Clone, Copy, Debug)]
pub struct Echo {
    /// From whom.
    pub source: IpAddr,
    /// For whom; of the same family.
    pub destination: IpAddr,
    /// The MAC that it comes from.
    pub from: MacAddr,
    /// The MAC that it goes to.
    pub to: MacAddr,
    /// Told apart by whoever asks: identifier and sequence number.
    pub number: u32,
    /// TTL or hop limit.
    pub hops: u8,
    /// Length of the packet from its IP header on, which is not to be fragmented. Even, and of two headers at least.
    pub length: u16,
}

impl Echo {
    /// The frame; none if the addresses are not of one family.
    #[must_use]
    pub fn frame(&self) -> Option<Vec<u8>> {
        let header = if self.source.is_ipv4() { IPV4 } else { IPV6 };
        let mut message = vec![0; (usize::from(self.length) & !1).max(header + ECHO) - header];
        message[0] = if self.source.is_ipv4() { 8 } else { 128 };
        message[4..8].copy_from_slice(&self.number.to_be_bytes());
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let sum = checksum(&message);
                message[2..4].copy_from_slice(&sum.to_be_bytes());
                let mut ip = vec![0x45, 0];
                ip.extend(((IPV4 + message.len()) as u16).to_be_bytes());
                ip.extend([0, 0]);
                ip.extend(DONT_FRAGMENT.to_be_bytes());
                ip.extend([self.hops, ICMP, 0, 0]);
                ip.extend(source.octets());
                ip.extend(destination.octets());
                let sum = checksum(&ip);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
                Some([ethernet(self.to, self.from, ETHERTYPE_IPV4), ip, message].concat())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut frame = icmpv6(self.from, source, destination, message);
                frame.splice(..6, self.to.0);
                // Where the hop limit stands in an IPv6 header.
                frame[ETHERNET + 7] = self.hops;
                Some(frame)
            }
            _ => None,
        }
    }
}

/// What a frame answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A host has an address.
    Has {
        /// The address.
        address: IpAddr,
        /// Whom it tells: the address that an ARP reply is for.
        told: Option<Ipv4Addr>,
        /// Its MAC.
        mac: MacAddr,
    },
    /// An echo request is answered.
    Echoed {
        /// By whom.
        from: IpAddr,
        /// [`Echo::number`].
        number: u32,
    },
    /// An echo request was to be handed on, and might not (time exceeded).
    Expired {
        /// By whom.
        from: IpAddr,
        /// [`Echo::number`].
        number: u32,
    },
}

/// What a frame answers; nothing if it is another one.
#[must_use]
pub fn hear(frame: &[u8]) -> Option<Heard> {
    let mac = MacAddr(*frame.get(6..)?.first_chunk()?);
    let packet = frame.get(ETHERNET..)?;
    match u16::from_be_bytes(*frame.get(12..)?.first_chunk()?) {
        ETHERTYPE_ARP => {
            // Ethernet, IPv4, addresses of 6 and 4 bytes, reply.
            packet.starts_with(&[0, 1, 8, 0, 6, 4, 0, 2]).then_some(())?;
            let (sender, target) = (v4(packet, 14)?, v4(packet, 24)?);
            Some(Heard::Has {
                address: sender.into(),
                told: Some(target),
                mac: MacAddr(*packet.get(8..)?.first_chunk()?),
            })
        }
        ETHERTYPE_IPV4 => {
            let (protocol, message) = ipv4_payload(packet)?;
            let from = v4(packet, 12)?.into();
            (protocol == ICMP).then_some(())?;
            match *message {
                [0, 0, _, _, a, b, c, d, ..] => Some(Heard::Echoed { from, number: u32::from_be_bytes([a, b, c, d]) }),
                [11, 0, _, _, _, _, _, _, ref quoted @ ..] => match ipv4_payload(quoted)? {
                    (ICMP, &[8, 0, _, _, a, b, c, d, ..]) => {
                        Some(Heard::Expired { from, number: u32::from_be_bytes([a, b, c, d]) })
                    }
                    _ => None,
                },
                _ => None,
            }
        }
        ETHERTYPE_IPV6 => {
            let (protocol, message) = ipv6_payload(packet)?;
            let from = v6(packet, 8)?.into();
            (protocol == ICMPV6).then_some(())?;
            match *message {
                [129, 0, _, _, a, b, c, d, ..] => {
                    Some(Heard::Echoed { from, number: u32::from_be_bytes([a, b, c, d]) })
                }
                [3, 0, _, _, _, _, _, _, ref quoted @ ..] => match ipv6_payload(quoted)? {
                    (ICMPV6, &[128, 0, _, _, a, b, c, d, ..]) => {
                        Some(Heard::Expired { from, number: u32::from_be_bytes([a, b, c, d]) })
                    }
                    _ => None,
                },
                [ADVERTISEMENT, 0, ..] => Some(Heard::Has { address: v6(message, 8)?.into(), told: None, mac }),
                _ => None,
            }
        }
        _ => None,
    }
}

fn v4(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?))
}

fn v6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(*bytes.get(at..)?.first_chunk::<16>()?))
}

/// The protocol and the payload of an IPv4 packet.
fn ipv4_payload(packet: &[u8]) -> Option<(u8, &[u8])> {
    let first = *packet.first()?;
    (first >> 4 == 4).then_some(())?;
    Some((*packet.get(9)?, packet.get(usize::from(first & 0x0f) * 4..)?))
}

/// The protocol and the payload of an IPv6 packet without extension headers.
fn ipv6_payload(packet: &[u8]) -> Option<(u8, &[u8])> {
    Some((*packet.get(6)?, packet.get(IPV6..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
    const BACKEND: MacAddr = MacAddr([2, 0, 0, 0, 1, 0x21]);

    fn echo(source: &str, destination: &str, length: u16) -> Vec<u8> {
        let (source, destination) = (source.parse().expect("an address"), destination.parse().expect("an address"));
        let echo = Echo { source, destination, from: OWN, to: BACKEND, number: 0x1234_0007, hops: 1, length };
        echo.frame().expect("one family")
    }

    #[test]
    fn an_echo_has_the_length_that_is_asked_for_and_right_checksums() {
        let frame = echo("192.0.2.2", "192.0.2.10", 1_500);
        assert_eq!((frame.len(), &frame[..6], frame[22]), (1_514, &BACKEND.0[..], 1));
        assert_eq!((checksum(&frame[14..34]), checksum(&frame[34..])), (0, 0));
        let frame = echo("2001:db8::2", "2001:db8::10", 1_500);
        assert_eq!((frame.len(), &frame[..6], frame[21]), (1_514, &BACKEND.0[..], 1));
        let pseudo = [&frame[22..54], &1_460_u32.to_be_bytes(), &[0, 0, 0, ICMPV6], &frame[54..]].concat();
        assert_eq!(checksum(&pseudo), 0);
        assert_eq!(echo("192.0.2.2", "192.0.2.10", 0).len(), 42, "at least the headers");
    }

    #[test]
    fn answers_are_told_from_questions() {
        for (source, destination, reply) in [("192.0.2.2", "192.0.2.10", 0), ("2001:db8::2", "2001:db8::10", 129)] {
            let question = echo(source, destination, 100);
            assert_eq!(hear(&question), None);
            let mut answer = question.clone();
            let at = if reply == 0 { 34 } else { 54 };
            answer[at] = reply;
            let from = source.parse().expect("an address");
            assert_eq!(hear(&answer), Some(Heard::Echoed { from, number: 0x1234_0007 }));
            // Time exceeded, with the question in it.
            let mut expired = question[..at].to_vec();
            expired.extend([if reply == 0 { 11 } else { 3 }, 0, 0, 0, 0, 0, 0, 0]);
            expired.extend(&question[14..]);
            assert_eq!(hear(&expired), Some(Heard::Expired { from, number: 0x1234_0007 }));
            assert!((0..expired.len()).all(|cut| hear(&expired[..cut]).is_none() || cut > at), "cut short");
        }
    }

    #[test]
    fn who_has_an_address_is_read_from_arp_and_neighbour_discovery() {
        let (vip, own) = (Ipv4Addr::new(192, 0, 2, 10), Ipv4Addr::new(192, 0, 2, 2));
        let mut frame = arp(own, vip, BACKEND, Some(OWN));
        assert_eq!(&frame[..6], &OWN.0);
        assert_eq!(hear(&frame), None, "a question");
        frame[21] = 2;
        assert_eq!(hear(&frame), Some(Heard::Has { address: vip.into(), told: Some(own), mac: BACKEND }));
        let vip: Ipv6Addr = "2001:db8::10".parse().expect("an address");
        let frame = super::super::frames::announcement(vip.into(), BACKEND);
        assert_eq!(hear(&frame), Some(Heard::Has { address: vip.into(), told: None, mac: BACKEND }));
        let own = "2001:db8::2".parse().expect("an address");
        let frame = solicitation(vip, own, OWN, None);
        assert_eq!((hear(&frame), frame.len()), (None, 86));
        assert_eq!(
            (&frame[..6], &frame[38..54]),
            (&[0x33, 0x33, 0xff, 0, 0, 0x10][..], &solicited_node(vip).octets()[..])
        );
        let alone = solicitation(vip, own, OWN, Some(BACKEND));
        assert_eq!((&alone[..6], &alone[38..54]), (&BACKEND.0[..], &vip.octets()[..]));
        let pseudo = [&alone[22..54], &32_u32.to_be_bytes(), &[0, 0, 0, ICMPV6], &alone[54..]].concat();
        assert_eq!(checksum(&pseudo), 0);
    }
}
