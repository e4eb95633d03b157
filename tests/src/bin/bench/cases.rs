//! The cases: a packet, how many flows it is made into, and the tables that it meets.

use drlb_tests::packet::{Frame, Transport, icmp, tcp, udp};
use drlb_tests::program::Action;
use drlb_tests::sample::OWN_MAC;
use lb_common::slot::Slot;

use crate::tables::{self, Setting, VIP, VIP6};

/// The MAC that packets come from.
pub(crate) const ROUTER: [u8; 6] = [0x02, 0, 0, 0, 0, 0xfe];

/// One case.
#[derive(Debug)]
pub(crate) struct Case {
    /// Its name in the table.
    pub(crate) name: &'static str,
    /// The packet of the first flow.
    pub(crate) packet: Vec<u8>,
    /// How many flows; a power of two.
    pub(crate) flows: u32,
    /// How many VIPs they are spread over; 0 for a packet that is sent as it is.
    pub(crate) vips: u32,
    /// True for IPv6.
    pub(crate) is_ipv6: bool,
    /// Where the network header begins.
    pub(crate) network: u32,
    /// What the tables hold.
    pub(crate) setting: Setting,
    /// What the program must answer.
    pub(crate) verdict: Action,
    /// True if the floors know such packets.
    pub(crate) floors: bool,
}

const CLIENT: &str = "10.1.0.1";
const CLIENT6: &str = "2001:db8:c::1";

impl Case {
    fn new(name: &'static str, packet: Frame, flows: u32) -> Self {
        Self {
            name,
            packet: packet.bytes(),
            flows,
            vips: 1,
            is_ipv6: false,
            network: 14,
            setting: Setting::default(),
            verdict: Action::Transmit,
            floors: true,
        }
    }

    /// All cases.
    pub(crate) fn all() -> Vec<Self> {
        const ONE: u32 = 1;
        const SIXTEEN_K: u32 = 1 << 14;
        const MILLION: u32 = 1 << 20;
        let to = || Frame::to(OWN_MAC).ipv4(CLIENT, VIP);
        let to6 = || Frame::to(OWN_MAC).ipv6(CLIENT6, VIP6);
        let ack = || to().carry(tcp(1_024, 80).ack());
        let steady = Setting::default;
        let ours = |case: Self| Self { floors: false, ..case };
        let sent = || Frame::to(OWN_MAC).ipv4(VIP, CLIENT).carry(tcp(80, 1_024).ack()).network();
        vec![
            Self::new("TCP ACK, 1 flow", ack(), ONE),
            Self::new("TCP ACK, 16 k flows", ack(), SIXTEEN_K),
            Self::new("TCP ACK, 1 M flows", ack(), MILLION),
            Self::new("SYN, each a new flow", to().carry(tcp(1_024, 80).syn()), 1 << 30),
            Self::new("first ACK of a new flow", ack(), 1 << 30),
            Self::new("UDP, 16 k flows", to().carry(udp(1_024, 53).payload("x")), SIXTEEN_K),
            Self { is_ipv6: true, ..Self::new("IPv6 TCP, 16 k flows", to6().carry(tcp(1_024, 80).ack()), SIXTEEN_K) },
            Self {
                vips: 1_000,
                setting: Setting { vips: 1_000, ..steady() },
                ..Self::new("1 M flows over 1,000 VIPs", ack(), MILLION)
            },
            Self {
                setting: Setting { backends: 4_096, ..steady() },
                ..Self::new("16 k flows, 4,096 backends", ack(), SIXTEEN_K)
            },
            Self {
                setting: Setting { vips: 5_000, ..steady() },
                ..Self::new("16 k flows, 10,000 listeners", ack(), SIXTEEN_K)
            },
            Self {
                setting: Setting { every_protocol: true, ..steady() },
                ..Self::new("DR mode (every protocol), 16 k flows", ack(), SIXTEEN_K)
            },
            ours(Self {
                network: 18,
                // The tag stays: a packet that lost it would not be the one that the driver makes the next of.
                setting: Setting { vlan: 100, ..steady() },
                ..Self::new(
                    "VLAN, 16 k flows",
                    Frame::to(OWN_MAC).vlan(100).ipv4(CLIENT, VIP).carry(tcp(1_024, 80).ack()),
                    SIXTEEN_K,
                )
            }),
            ours(Self::new(
                "first fragment, 16 k flows",
                to().fragment(0, true).carry(udp(1_024, 53).payload([0; 16])),
                SIXTEEN_K,
            )),
            ours(Self { vips: 0, ..Self::new("ICMP error", to_error(sent()), ONE) }),
            Self {
                setting: Setting { allowed: tables::allow_list(10_000, true), ..steady() },
                ..Self::new("allow-list of 10,000, allowed", ack(), SIXTEEN_K)
            },
            ours(Self {
                setting: Setting { allowed: tables::allow_list(10_000, false), ..steady() },
                verdict: Action::Drop,
                ..Self::new("allow-list of 10,000, denied", ack(), SIXTEEN_K)
            }),
            ours(Self {
                vips: 0,
                verdict: Action::Pass,
                ..Self::new("not a VIP", Frame::to(OWN_MAC).ipv4(CLIENT, "198.51.100.99").carry(tcp(1, 2).ack()), ONE)
            }),
            Self {
                setting: Setting { slot: Some(Slot::moving(0, 1)), ..steady() },
                ..Self::new("moving slots, 16 k flows", ack(), SIXTEEN_K)
            },
            Self {
                setting: Setting { round_robin: true, ..steady() },
                ..Self::new("round robin, 16 k flows", ack(), SIXTEEN_K)
            },
            Self {
                setting: Setting { persistence: true, ..steady() },
                ..Self::new("persistence, 16 k flows", ack(), SIXTEEN_K)
            },
        ]
    }
}

/// A router's "fragmentation needed" about a packet that a backend sent.
fn to_error(sent: Vec<u8>) -> Frame {
    let quoted: Transport = icmp(3, 4, 1_400).payload(&sent[..28]);
    Frame::to(OWN_MAC).ipv4("203.0.113.1", VIP).carry(quoted)
}
