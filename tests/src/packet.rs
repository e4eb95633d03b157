//! Packets, made layer by layer, with right lengths and checksums unless a test breaks them.
//!
//! ```
//! use drlb_tests::packet::{Frame, tcp};
//! let frame = Frame::to([2, 0, 0, 0, 0, 1]).vlan(100).ipv4("198.51.100.7", "192.0.2.10").carry(tcp(40_000, 80).syn());
//! assert_eq!(frame.bytes().len(), 14 + 4 + 20 + 20);
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, Ipv4Header, Ipv4Options, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader};

/// The MAC of the host that packets come from, a client or its router.
pub const CLIENT_MAC: [u8; 6] = [0x02, 0xc1, 0x1e, 0x47, 0x00, 0x01];

const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const ARP: u16 = 0x0806;

/// What stands above IP.
#[derive(Clone, Debug)]
pub struct Transport {
    protocol: u8,
    bytes: Vec<u8>,
    checksum: Sum,
}

/// Where a transport's checksum stands, and over what it goes.
#[derive(Clone, Copy, Debug)]
enum Sum {
    None,
    /// Over the bytes alone.
    Plain(usize),
    /// Over the bytes and the pseudo header.
    Pseudo(usize),
}

impl Transport {
    /// Any IP protocol with these bytes.
    #[must_use]
    pub fn protocol(protocol: u8, bytes: impl Into<Vec<u8>>) -> Self {
        Self { protocol, bytes: bytes.into(), checksum: Sum::None }
    }

    /// More bytes behind what is there.
    #[must_use]
    pub fn payload(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.bytes.extend_from_slice(bytes.as_ref());
        if self.protocol == 17 {
            let length = u16::try_from(self.bytes.len()).expect("a UDP datagram");
            self.bytes[4..6].copy_from_slice(&length.to_be_bytes());
        }
        self
    }

    /// Cut to its first `length` bytes.
    #[must_use]
    pub fn cut(mut self, length: usize) -> Self {
        self.bytes.truncate(length);
        self.checksum = Sum::None;
        self
    }

    /// Cut to the largest multiple of 8 bytes, as a fragment is that has others behind it.
    #[must_use]
    pub fn in_units_of_8(self) -> Self {
        let length = self.bytes.len() / 8 * 8;
        self.cut(length)
    }

    /// TCP: sets the SYN flag.
    #[must_use]
    pub fn syn(self) -> Self {
        self.tcp_flags(0x02)
    }

    /// TCP: sets the ACK flag.
    #[must_use]
    pub fn ack(self) -> Self {
        self.tcp_flags(0x10)
    }

    /// TCP: sets the FIN flag.
    #[must_use]
    pub fn fin(self) -> Self {
        self.tcp_flags(0x01)
    }

    /// TCP: sets the RST flag.
    #[must_use]
    pub fn rst(self) -> Self {
        self.tcp_flags(0x04)
    }

    fn tcp_flags(mut self, flags: u8) -> Self {
        assert_eq!(self.protocol, 6, "only TCP has these flags");
        self.bytes[13] |= flags;
        self
    }

    /// Puts the checksum in, for this pair of addresses.
    fn finish(mut self, source: IpAddr, destination: IpAddr) -> (u8, Vec<u8>) {
        let (at, pseudo) = match self.checksum {
            Sum::None => return (self.protocol, self.bytes),
            Sum::Plain(at) => (at, false),
            Sum::Pseudo(at) => (at, true),
        };
        self.bytes[at..at + 2].fill(0);
        let mut sum = Sum16BitWords::new().add_slice(&self.bytes);
        if pseudo {
            let length = u32::try_from(self.bytes.len()).expect("a packet");
            sum = sum.add_slice(&octets(source)).add_slice(&octets(destination));
            sum = sum.add_slice(&length.to_be_bytes()).add_2bytes([0, self.protocol]);
        }
        let checksum = sum.ones_complement().to_be();
        self.bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        (self.protocol, self.bytes)
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// A TCP segment without flags.
#[must_use]
pub fn tcp(source: u16, destination: u16) -> Transport {
    let header = TcpHeader::new(source, destination, 1_000, 65_000);
    Transport { protocol: 6, bytes: header.to_bytes().to_vec(), checksum: Sum::Pseudo(16) }
}

/// An empty UDP datagram.
#[must_use]
pub fn udp(source: u16, destination: u16) -> Transport {
    let header = UdpHeader { source_port: source, destination_port: destination, length: 8, checksum: 0 };
    Transport { protocol: 17, bytes: header.to_bytes().to_vec(), checksum: Sum::Pseudo(6) }
}

/// An SCTP packet (RFC 9260) with an INIT chunk; its CRC is left 0, as drlb never reads it.
#[must_use]
pub fn sctp(source: u16, destination: u16) -> Transport {
    let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&[1, 0, 0, 20]);
    bytes.extend_from_slice(&[0; 16]);
    Transport::protocol(132, bytes)
}

/// An ICMP message: type, code, the second word, and no data yet.
#[must_use]
pub fn icmp(kind: u8, code: u8, word: u32) -> Transport {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend_from_slice(&word.to_be_bytes());
    Transport { protocol: 1, bytes, checksum: Sum::Plain(2) }
}

/// An ICMPv6 message: type, code, the second word, and no data yet.
#[must_use]
pub fn icmpv6(kind: u8, code: u8, word: u32) -> Transport {
    Transport { protocol: 58, checksum: Sum::Pseudo(2), ..icmp(kind, code, word) }
}

/// A neighbour solicitation for a target, with the asker's MAC as an option if it is given.
#[must_use]
pub fn solicitation(target: &str, asker: Option<[u8; 6]>) -> Transport {
    let target: Ipv6Addr = target.parse().expect("an IPv6 address");
    let message = icmpv6(135, 0, 0).payload(target.octets());
    match asker {
        Some(mac) => message.payload([1, 1]).payload(mac),
        None => message,
    }
}

/// A neighbour advertisement (RFC 4861 section 4.4) of an address, unsolicited, with the MAC that it is at.
#[must_use]
pub fn advertisement(target: &str, mac: [u8; 6]) -> Transport {
    let target: Ipv6Addr = target.parse().expect("an IPv6 address");
    icmpv6(136, 0, 0x2000_0000).payload(target.octets()).payload([2, 1]).payload(mac)
}

/// An IPv6 extension header: its type, and its bytes with the first (the next header) still to be set.
#[derive(Clone, Debug)]
pub struct Extension {
    kind: u8,
    bytes: Vec<u8>,
}

impl Extension {
    /// Hop-by-hop (0), routing (43) or destination (60) options, or another type of that shape, of `units` × 8 bytes.
    #[must_use]
    pub fn options(kind: u8, units: u8) -> Self {
        let mut bytes = vec![0; usize::from(units) * 8];
        bytes[1] = units - 1;
        // One PadN option fills it (RFC 8200 section 4.2); longer ones end in zeros, which are Pad1.
        bytes[2] = 1;
        bytes[3] = 4;
        Self { kind, bytes }
    }

    /// An authentication header (RFC 4302) with a 12-byte check value.
    #[must_use]
    pub fn authentication() -> Self {
        let mut bytes = vec![0; 24];
        bytes[1] = 4;
        Self { kind: 51, bytes }
    }

    /// A fragment header: offset in units of 8 bytes, and whether more follow.
    #[must_use]
    pub fn fragment(offset: u16, more: bool) -> Self {
        Self::fragment_of(77, offset, more)
    }

    /// A fragment header with that identification.
    #[must_use]
    pub fn fragment_of(id: u32, offset: u16, more: bool) -> Self {
        let word = (offset << 3 | u16::from(more)).to_be_bytes();
        Self { kind: 44, bytes: [&[0, 0], &word[..], &id.to_be_bytes()].concat() }
    }
}

/// A frame that is being made.
#[derive(Clone, Debug)]
pub struct Frame {
    destination: [u8; 6],
    source: [u8; 6],
    tags: Vec<(u16, u16)>,
    content: Content,
    padding: usize,
}

#[derive(Clone, Debug)]
enum Content {
    Nothing,
    Raw { ether_type: u16, bytes: Vec<u8> },
    V4 { header: Box<Ipv4Header>, payload: Vec<u8> },
    V6 { header: Box<Ipv6Header>, extensions: Vec<Extension>, upper: u8, payload: Vec<u8> },
}

impl Frame {
    /// A frame from the client to a MAC.
    #[must_use]
    pub fn to(mac: [u8; 6]) -> Self {
        Self { destination: mac, source: CLIENT_MAC, tags: Vec::new(), content: Content::Nothing, padding: 0 }
    }

    /// To another MAC.
    #[must_use]
    pub fn addressed_to(mut self, mac: [u8; 6]) -> Self {
        self.destination = mac;
        self
    }

    /// From another host than the client.
    #[must_use]
    pub fn from(mut self, mac: [u8; 6]) -> Self {
        self.source = mac;
        self
    }

    /// With an IEEE 802.1Q tag, inside those that it has.
    #[must_use]
    pub fn vlan(mut self, id: u16) -> Self {
        self.tags.push((VLAN, id));
        self
    }

    /// With an IEEE 802.1Q tag of that priority (0–7), inside those that it has.
    #[must_use]
    pub fn vlan_with_priority(mut self, id: u16, priority: u16) -> Self {
        self.tags.push((VLAN, priority << 13 | id));
        self
    }

    /// With an IEEE 802.1ad service tag, inside those that it has.
    #[must_use]
    pub fn service_tag(mut self, id: u16) -> Self {
        self.tags.push((QINQ, id));
        self
    }

    /// With bytes of another protocol than IP.
    #[must_use]
    pub fn raw(mut self, ether_type: u16, bytes: impl Into<Vec<u8>>) -> Self {
        self.content = Content::Raw { ether_type, bytes: bytes.into() };
        self
    }

    /// An ARP packet: operation, sender's MAC and address, target's address (its MAC is unknown).
    #[must_use]
    pub fn arp(self, operation: u16, mac: [u8; 6], sender: &str, target: &str) -> Self {
        let address = |text: &str| text.parse::<Ipv4Addr>().expect("an IPv4 address").octets();
        let mut bytes = vec![0, 1, 8, 0, 6, 4];
        bytes.extend_from_slice(&operation.to_be_bytes());
        bytes.extend_from_slice(&mac);
        bytes.extend_from_slice(&address(sender));
        bytes.extend_from_slice(&[0; 6]);
        bytes.extend_from_slice(&address(target));
        self.raw(ARP, bytes)
    }

    /// An IPv4 packet without payload yet.
    #[must_use]
    pub fn ipv4(mut self, source: &str, destination: &str) -> Self {
        let header = Ipv4Header {
            time_to_live: 61,
            identification: 4711,
            source: source.parse::<Ipv4Addr>().expect("an IPv4 address").octets(),
            destination: destination.parse::<Ipv4Addr>().expect("an IPv4 address").octets(),
            ..Ipv4Header::default()
        };
        self.content = Content::V4 { header: Box::new(header), payload: Vec::new() };
        self
    }

    /// An IPv6 packet without payload yet.
    #[must_use]
    pub fn ipv6(mut self, source: &str, destination: &str) -> Self {
        let header = Ipv6Header {
            hop_limit: 61,
            flow_label: Ipv6FlowLabel::try_new(0x1234).expect("20 bits"),
            source: source.parse::<Ipv6Addr>().expect("an IPv6 address").octets(),
            destination: destination.parse::<Ipv6Addr>().expect("an IPv6 address").octets(),
            ..Ipv6Header::default()
        };
        self.content = Content::V6 { header: Box::new(header), extensions: Vec::new(), upper: 59, payload: Vec::new() };
        self
    }

    /// An IPv4 or IPv6 packet without payload yet, by what the addresses are.
    #[must_use]
    pub fn ip(self, source: &str, destination: &str) -> Self {
        if destination.contains(':') { self.ipv6(source, destination) } else { self.ipv4(source, destination) }
    }

    fn v4(&mut self) -> &mut Ipv4Header {
        match &mut self.content {
            Content::V4 { header, .. } => header,
            other => panic!("not an IPv4 packet: {other:?}"),
        }
    }

    /// IPv4: with options of `words` × 4 bytes (no-operations).
    #[must_use]
    pub fn options(mut self, words: usize) -> Self {
        self.v4().options =
            Ipv4Options::try_from(vec![1_u8; words * 4].as_slice()).expect("at most 40 bytes of options");
        self
    }

    /// IPv4: a fragment, its offset in units of 8 bytes.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        let header = self.v4();
        header.fragment_offset = offset.try_into().expect("13 bits");
        header.more_fragments = more;
        self
    }

    /// IPv4: the identification.
    #[must_use]
    pub fn id(mut self, id: u16) -> Self {
        self.v4().identification = id;
        self
    }

    /// IPv4: the type of service byte; IPv6: the traffic class.
    #[must_use]
    pub fn traffic_class(mut self, class: u8) -> Self {
        match &mut self.content {
            Content::V4 { header, .. } => {
                header.dscp = (class >> 2).try_into().expect("6 bits");
                header.ecn = (class & 3).try_into().expect("2 bits");
            }
            Content::V6 { header, .. } => header.traffic_class = class,
            other => panic!("not an IP packet: {other:?}"),
        }
        self
    }

    /// The TTL or hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        match &mut self.content {
            Content::V4 { header, .. } => header.time_to_live = ttl,
            Content::V6 { header, .. } => header.hop_limit = ttl,
            other => panic!("not an IP packet: {other:?}"),
        }
        self
    }

    /// IPv6: with an extension header, behind those that it has.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Self {
        match &mut self.content {
            Content::V6 { extensions, .. } => extensions.push(extension),
            other => panic!("not an IPv6 packet: {other:?}"),
        }
        self
    }

    /// With what stands above IP.
    #[must_use]
    pub fn carry(mut self, transport: Transport) -> Self {
        match &mut self.content {
            Content::V4 { header, payload } => {
                let (protocol, bytes) = transport.finish(header.source.into(), header.destination.into());
                header.protocol = IpNumber(protocol);
                *payload = bytes;
            }
            Content::V6 { header, upper, payload, .. } => {
                let (protocol, bytes) = transport.finish(header.source.into(), header.destination.into());
                *upper = protocol;
                *payload = bytes;
            }
            other => panic!("not an IP packet: {other:?}"),
        }
        self
    }

    /// Padded with zeros to `length` bytes, as Ethernet does with short frames.
    #[must_use]
    pub fn padded(mut self, length: usize) -> Self {
        self.padding = length;
        self
    }

    /// The packet from its IP header on: what an ICMP error quotes.
    #[must_use]
    pub fn network(&self) -> Vec<u8> {
        match &self.content {
            Content::Nothing => Vec::new(),
            Content::Raw { bytes, .. } => bytes.clone(),
            Content::V4 { header, payload } => {
                let mut header = (**header).clone();
                header.set_payload_len(payload.len()).expect("a payload that IPv4 can carry");
                header.header_checksum = header.calc_header_checksum();
                [&header.to_bytes()[..], payload].concat()
            }
            Content::V6 { header, extensions, upper, payload } => {
                let mut next = *upper;
                let mut above = payload.clone();
                for extension in extensions.iter().rev() {
                    let mut bytes = extension.bytes.clone();
                    bytes[0] = next;
                    next = extension.kind;
                    above = [bytes, above].concat();
                }
                let mut header = (**header).clone();
                header.next_header = IpNumber(next);
                header.payload_length = u16::try_from(above.len()).expect("a payload that IPv6 can carry");
                [&header.to_bytes()[..], &above].concat()
            }
        }
    }

    /// The finished frame.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut frame = [self.destination, self.source].concat();
        for (kind, id) in &self.tags {
            frame.extend_from_slice(&kind.to_be_bytes());
            frame.extend_from_slice(&id.to_be_bytes());
        }
        let ether_type = match &self.content {
            Content::Nothing => 0x9000,
            Content::Raw { ether_type, .. } => *ether_type,
            Content::V4 { .. } => IPV4,
            Content::V6 { .. } => IPV6,
        };
        frame.extend_from_slice(&ether_type.to_be_bytes());
        frame.extend_from_slice(&self.network());
        frame.resize(frame.len().max(self.padding), 0);
        frame
    }
}

#[cfg(test)]
mod tests {
    use etherparse::{PacketHeaders, SlicedPacket, TransportSlice};

    use super::*;

    const LB: [u8; 6] = [2, 0, 0, 0, 0, 1];

    #[test]
    fn another_parser_reads_back_what_was_built() {
        let bytes = Frame::to(LB)
            .vlan(7)
            .ipv4("198.51.100.7", "192.0.2.10")
            .options(2)
            .carry(tcp(40_000, 80).syn().payload("hello"))
            .bytes();
        let packet = SlicedPacket::from_ethernet(&bytes).expect("a packet");
        let Some(TransportSlice::Tcp(segment)) = packet.transport else { panic!("no TCP in {packet:?}") };
        assert_eq!((segment.source_port(), segment.destination_port(), segment.syn()), (40_000, 80, true));
        let headers = PacketHeaders::from_ethernet_slice(&bytes).expect("headers");
        let ip = headers.net.expect("an IP header").ipv4_ref().expect("IPv4").0.clone();
        assert_eq!(ip.header_checksum, ip.calc_header_checksum());
        assert_eq!(segment.checksum(), segment.calc_checksum_ipv4(ip.source, ip.destination).expect("a checksum"));
    }

    #[test]
    fn checksums_of_udp_and_icmpv6_over_ipv6_are_right() {
        let bytes = Frame::to(LB).ipv6("2001:db8::7", "2001:db8::10").carry(udp(53, 5353).payload("x")).bytes();
        let packet = SlicedPacket::from_ethernet(&bytes).expect("a packet");
        let Some(TransportSlice::Udp(datagram)) = packet.transport else { panic!("no UDP in {packet:?}") };
        let header = datagram.to_header();
        let (source, destination) = ("2001:db8::7", "2001:db8::10");
        let address = |text: &str| text.parse::<Ipv6Addr>().expect("an address").octets();
        let right = header.calc_checksum_ipv6_raw(address(source), address(destination), b"x").expect("a checksum");
        assert_eq!(header.checksum, right);

        let bytes = Frame::to(LB).ipv6(source, destination).carry(icmpv6(128, 0, 9).payload("ping")).bytes();
        let packet = SlicedPacket::from_ethernet(&bytes).expect("a packet");
        let Some(TransportSlice::Icmpv6(message)) = packet.transport else { panic!("no ICMPv6 in {packet:?}") };
        assert!(message.is_checksum_valid(address(source), address(destination)));
    }
}
