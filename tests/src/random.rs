//! Random packets of all that drlb knows, and of what it does not: for tests that hold for any packet.

use lb_common::protocol::ANY;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::packet::{Extension, Frame, Transport, icmp, icmpv6, sctp, solicitation, tcp, udp};
use crate::program::LONGEST;

/// The ports of most packets, unless a test has others.
pub const PORTS: &[u16] = &[0, 22, 53, 80, 81, 443, 38_412, 40_000];
const EXTENSIONS: &[u8] = &[0, 43, 60, 135, 139, 140];

/// Where random packets come from and go to.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    /// The MAC that most are sent to.
    pub own: [u8; 6],
    /// Sources: IPv4, then IPv6.
    pub from: [&'static [&'static str]; 2],
    /// Destinations, and what is asked for: IPv4, then IPv6.
    pub to: [&'static [&'static str]; 2],
    /// The ports of most.
    pub ports: &'static [u16],
}

impl Random {
    /// A frame: whole, cut short or damaged.
    pub fn packet(self) -> impl Strategy<Value = Vec<u8>> {
        (self.frame(), damage()).prop_map(damaged)
    }

    /// A frame such as nearly all are, to our MAC and with nothing between Ethernet, IP and ports: whole, cut short or damaged.
    pub fn plain(self) -> impl Strategy<Value = Vec<u8>> {
        let own = self.own;
        let v4 = (select(self.from[0]), select(self.to[0]), plain_transport(self.ports))
            .prop_map(move |(from, to, transport)| Frame::to(own).ipv4(from, to).carry(transport));
        let v6 = (select(self.from[1]), select(self.to[1]), plain_transport(self.ports))
            .prop_map(move |(from, to, transport)| Frame::to(own).ipv6(from, to).carry(transport));
        (prop_oneof![v4, v6], damage()).prop_map(damaged)
    }

    fn frame(self) -> impl Strategy<Value = Frame> {
        let own = self.own;
        let arp = (1_u16..4, any::<[u8; 6]>(), select(self.from[0]), select(self.to[0]))
            .prop_map(move |(operation, mac, sender, target)| Frame::to(own).arp(operation, mac, sender, target));
        let raw = (select(&[0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x88cc, 40_u16][..]), data())
            .prop_map(move |(kind, bytes)| Frame::to(own).raw(kind, bytes));
        let tags = vec((any::<bool>(), 0_u16..4_096), 0..4);
        let content = prop_oneof![10 => self.network(self.transport().boxed()), 1 => arp, 1 => raw];
        let padding = prop_oneof![Just(0_usize), Just(60)];
        (content, self.mac(), prop_oneof![3 => Just(Vec::new()), 1 => tags], padding).prop_map(
            |(frame, mac, tags, padding)| {
                tags.into_iter()
                    .fold(
                        frame.addressed_to(mac),
                        |frame, (service, id)| {
                            if service { frame.service_tag(id) } else { frame.vlan(id) }
                        },
                    )
                    .padded(padding)
            },
        )
    }

    /// A frame to our MAC with an IP packet.
    fn network(self, transport: BoxedStrategy<Transport>) -> impl Strategy<Value = Frame> {
        let own = self.own;
        let us = move || Frame::to(own);
        let v4 = (
            select(self.from[0]),
            select(self.to[0]),
            prop_oneof![4 => Just(0_usize), 1 => 0_usize..11],
            prop_oneof![4 => Just((0, false)), 1 => (0_u16..10, any::<bool>())],
            transport.clone(),
        )
            .prop_map(move |(from, to, options, (offset, more), transport)| {
                // Of fragments most have a right length.
                let transport = if more { transport.in_units_of_8() } else { transport };
                us().ipv4(from, to).options(options).fragment(offset, more).carry(transport)
            });
        let ttl = prop_oneof![Just(255_u8), any::<u8>()];
        let extensions = prop_oneof![3 => Just(Vec::new()), 2 => vec(extension(), 1..3), 1 => vec(extension(), 3..10)];
        let v6 = (select(self.from[1]), select(self.to[1]), ttl, extensions, transport).prop_map(
            move |(from, to, ttl, extensions, above)| {
                extensions.into_iter().fold(us().ipv6(from, to).ttl(ttl), Frame::extension).carry(above)
            },
        );
        prop_oneof![v4, v6]
    }

    fn transport(self) -> impl Strategy<Value = Transport> {
        prop_oneof![
            6 => plain_transport(self.ports),
            2 => (select(&[0, 3, 5, 8, 11, 12, 13_u8][..]), any::<u8>(), self.quoted())
                .prop_map(|(kind, code, quoted)| icmp(kind, code, 0).payload(quoted)),
            2 => (select(&[1, 2, 3, 4, 128, 129, 133, 136_u8][..]), any::<u8>(), self.quoted())
                .prop_map(|(kind, code, quoted)| icmpv6(kind, code, 0).payload(quoted)),
            1 => (select(self.to[1]), option::of(any::<[u8; 6]>()))
                .prop_map(|(target, asker)| solicitation(target, asker)),
        ]
    }

    /// A packet that an ICMP error could quote, and how much of it.
    fn quoted(self) -> impl Strategy<Value = Vec<u8>> {
        (self.network(plain_transport(self.ports).boxed()), 0_usize..120).prop_map(|(frame, length)| {
            let mut bytes = frame.network();
            bytes.truncate(length);
            bytes
        })
    }

    fn mac(self) -> impl Strategy<Value = [u8; 6]> {
        prop_oneof![
            12 => Just(self.own),
            1 => Just([0xff; 6]),
            2 => Just([0x33, 0x33, 0xff, 0, 0, 0x10]),
            1 => Just([0x02, 0xbe, 0, 0, 0, 0]),
            1 => any::<[u8; 6]>(),
        ]
    }
}

fn port(ports: &'static [u16]) -> impl Strategy<Value = u16> {
    prop_oneof![4 => select(ports), 1 => any::<u16>()]
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(any::<u8>(), 0..64), 1 => vec(any::<u8>(), 1_200..1_300)]
}

fn plain_transport(ports: &'static [u16]) -> impl Strategy<Value = Transport> {
    let port = move || port(ports);
    let tcp = (port(), port(), any::<[bool; 4]>(), data()).prop_map(|(from, to, [syn, ack, fin, rst], data)| {
        let mut segment = tcp(from, to).payload(data);
        for (set, flag) in [
            (syn, Transport::syn as fn(Transport) -> Transport),
            (ack, Transport::ack),
            (fin, Transport::fin),
            (rst, Transport::rst),
        ] {
            segment = if set { flag(segment) } else { segment };
        }
        segment
    });
    prop_oneof![
        4 => tcp,
        3 => (port(), port(), data()).prop_map(|(from, to, data)| udp(from, to).payload(data)),
        1 => (port(), port()).prop_map(|(from, to)| sctp(from, to)),
        1 => (any::<u8>(), data()).prop_map(|(protocol, data)| Transport::protocol(protocol, data)),
        // What stands for every protocol and every port in a listener's key.
        1 => any::<u16>().prop_map(|number| {
            let [first, second] = number.to_be_bytes();
            Transport::protocol(ANY, [first, second, 0, 0].repeat(8))
        }),
    ]
}

fn extension() -> impl Strategy<Value = Extension> {
    prop_oneof![
        6 => (select(EXTENSIONS), 1_u8..4).prop_map(|(kind, units)| Extension::options(kind, units)),
        1 => Just(Extension::authentication()),
        1 => (prop_oneof![Just(0), 0_u16..100], any::<bool>()).prop_map(|(at, more)| Extension::fragment(at, more)),
    ]
}

/// What happens to a frame on its way.
#[derive(Clone, Debug)]
enum Damage {
    None,
    Cut(prop::sample::Index),
    Flip(Vec<(prop::sample::Index, u8)>),
    /// Another byte among the headers.
    Overwrite(usize, u8),
}

fn damaged((frame, damage): (Frame, Damage)) -> Vec<u8> {
    let mut bytes = frame.bytes();
    bytes.truncate(LONGEST);
    match damage {
        Damage::None => {}
        Damage::Cut(at) => bytes.truncate(14 + at.index(bytes.len() - 13)),
        Damage::Flip(flips) => {
            for (at, bits) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
        }
        Damage::Overwrite(at, value) => {
            let at = at.min(bytes.len() - 1);
            bytes[at] = value;
        }
    }
    bytes
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => Just(Damage::None),
        2 => any::<prop::sample::Index>().prop_map(Damage::Cut),
        1 => vec((any::<prop::sample::Index>(), any::<u8>()), 1..5).prop_map(Damage::Flip),
        3 => (12_usize..100, any::<u8>()).prop_map(|(at, value)| Damage::Overwrite(at, value)),
    ]
}
