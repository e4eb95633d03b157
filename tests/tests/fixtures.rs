//! Packet fixtures: one packet in, and what the real program must make of it: verdict, packet out, counters. Each has a
//! sentence that says what it shows.

use std::fmt::Write as _;

use drlb_tests::packet::{CLIENT_MAC, Extension, Frame, Transport, icmp, icmpv6, sctp, solicitation, tcp, udp};
use drlb_tests::program::{Action, Answer, Program};
use drlb_tests::sample::{self, *};
use lb_common::outcome::{Counter, Outcome};
use lb_ebpf::host::Counters;

const CLIENT: &str = "198.51.100.7";
const CLIENT6: &str = "2001:db8:c::7";
/// A host that is no VIP.
const HOST: &str = "192.0.2.200";
const HOST6: &str = "2001:db8::200";
const BROADCAST: [u8; 6] = [0xff; 6];
const OTHER_HOST_MAC: [u8; 6] = [0x02, 0x77, 0, 0, 0, 1];
/// The MAC of the solicited-node multicast group of 2001:db8::10 (RFC 2464 section 7).
const SOLICITED_NODE_MAC: [u8; 6] = [0x33, 0x33, 0xff, 0, 0, 0x10];
const SOLICITED_NODE: &str = "ff02::1:ff00:10";

/// What is expected of a packet.
enum Expect {
    /// Sent to the backend at that place, only the MACs changed.
    To(u32),
    /// Passed, not a bit changed, with that counter.
    Untouched(Outcome),
    /// Dropped, with that counter.
    Dropped(Outcome),
    /// Sent back as this frame, with that counter.
    Answered(Outcome, Frame),
}
use Expect::{Answered, Dropped, To, Untouched};

struct Fixture {
    says: &'static str,
    packet: Vec<u8>,
    expect: Expect,
}

#[derive(Default)]
struct Fixtures(Vec<Fixture>);

impl Fixtures {
    fn add(&mut self, says: &'static str, frame: Frame, expect: Expect) {
        self.bytes(says, frame.bytes(), expect);
    }

    fn bytes(&mut self, says: &'static str, packet: Vec<u8>, expect: Expect) {
        self.0.push(Fixture { says, packet, expect });
    }

    /// Runs all of them through the program, and fails with the sentences of those that did not hold.
    fn check(self) {
        let mut program = Program::load(&sample::tables()).expect("the program loads");
        let mut failures = String::new();
        let mut names: Vec<_> = self.0.iter().map(|fixture| fixture.says).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), self.0.len(), "two fixtures have one sentence");
        for fixture in self.0 {
            let before = program.counters().expect("counters");
            let answer = program.run(&fixture.packet).expect("a test run");
            let after = program.counters().expect("counters");
            if let Err(why) = judge(&fixture, &answer, &before, &after) {
                let _ = writeln!(failures, "- {}: {why}", fixture.says);
            }
        }
        assert!(failures.is_empty(), "fixtures that do not hold:\n{failures}");
    }
}

fn judge(fixture: &Fixture, answer: &Answer, before: &Counters, after: &Counters) -> Result<(), String> {
    let (verdict, packet, outcome, place) = match &fixture.expect {
        To(place) => {
            let mut packet = fixture.packet.clone();
            packet[..6].copy_from_slice(&backend_mac(*place));
            let far = *place == FAR;
            packet[6..12].copy_from_slice(if far { &OTHER_MAC } else { &OWN_MAC });
            let (verdict, outcome) =
                if far { (Action::Redirect, Outcome::Redirected) } else { (Action::Transmit, Outcome::Forwarded) };
            (verdict, packet, outcome, Some(*place))
        }
        Untouched(outcome) => (Action::Pass, fixture.packet.clone(), *outcome, None),
        Dropped(outcome) => (Action::Drop, fixture.packet.clone(), *outcome, None),
        Answered(outcome, frame) => (Action::Transmit, frame.bytes(), *outcome, None),
    };
    if answer.verdict != verdict {
        return Err(format!("the verdict is {:?}, not {verdict:?}{}", answer.verdict, counted(before, after)));
    }
    if answer.packet != packet {
        return Err(format!("the packet out is\n    {:02x?}\n  not\n    {packet:02x?}", answer.packet));
    }
    let one = Counter { packets: 1, bytes: fixture.packet.len() as u64 };
    let mut expected = before.clone();
    let add = |counter: &mut Counter| *counter = counter.plus(one);
    add(expected.outcomes.entry(outcome).or_default());
    if let Some(place) = place {
        add(expected.backends.entry(place).or_default());
        // The listener is the one whose pool the backend is of; its counter is checked by sum.
        let sum = |counters: &Counters| counters.listeners.values().fold(Counter::default(), |sum, c| sum.plus(*c));
        if sum(after) != sum(before).plus(one) {
            return Err("no listener counted the packet once".to_owned());
        }
    } else if after.listeners != before.listeners {
        return Err("a listener counted a packet that went to no backend".to_owned());
    }
    if after.outcomes != expected.outcomes || after.backends != expected.backends {
        return Err(format!(
            "expected one packet counted as {outcome:?} (backend {place:?}){}",
            counted(before, after)
        ));
    }
    Ok(())
}

fn counted(before: &Counters, after: &Counters) -> String {
    let mut text = String::from("; counted:");
    for (outcome, counter) in &after.outcomes {
        if before.outcomes.get(outcome) != Some(counter) {
            let _ = write!(text, " {}", outcome.name());
        }
    }
    text
}

fn to_us() -> Frame {
    Frame::to(OWN_MAC)
}

/// A client's packet to a VIP.
fn v4(destination: &str) -> Frame {
    to_us().ipv4(CLIENT, destination)
}

fn v6(destination: &str) -> Frame {
    to_us().ipv6(CLIENT6, destination)
}

#[test]
fn packets_for_a_listener_reach_its_backend_with_only_the_macs_changed() {
    let mut f = Fixtures::default();
    f.add("IPv4 TCP SYN to the listener's port", v4(VIP).carry(tcp(40_000, 80).syn()), To(WEB));
    f.add("IPv4 TCP ACK with data", v4(VIP).carry(tcp(40_000, 80).ack().payload("GET /")), To(WEB));
    f.add("IPv4 TCP FIN", v4(VIP).carry(tcp(40_000, 80).fin().ack()), To(WEB));
    f.add("IPv4 TCP RST", v4(VIP).carry(tcp(40_000, 80).rst()), To(WEB));
    f.add(
        "IPv4 type of service and congestion marks stay",
        v4(VIP).traffic_class(0xb9).carry(tcp(40_000, 80).ack()),
        To(WEB),
    );
    f.add("IPv4 TTL is not lowered, even at 1", v4(VIP).ttl(1).carry(tcp(40_000, 80).ack()), To(WEB));
    f.add("IPv4 with one word of options", v4(VIP).options(1).carry(tcp(40_000, 80).ack()), To(WEB));
    f.add(
        "IPv4 with ten words of options, the most there can be",
        v4(VIP).options(10).carry(tcp(1, 80).ack()),
        To(WEB),
    );
    f.add("a short frame with Ethernet's padding", v4(VIP).carry(udp(5353, 53)).padded(60), To(DNS));
    f.add("IPv4 UDP", v4(VIP).carry(udp(5353, 53).payload("query")), To(DNS));
    f.add("an empty UDP datagram", v4(VIP).carry(udp(5353, 53)), To(DNS));
    f.add("SCTP INIT", v4(VIP).carry(sctp(5000, 38_412)), To(SIGNALLING));
    f.add("a large packet", v4(VIP).carry(tcp(40_000, 80).ack().payload(vec![0x5a; 1_446])), To(WEB));
    f.add("a jumbo packet in one piece", v4(VIP).carry(tcp(40_000, 80).ack().payload(vec![0x5a; 3_000])), To(WEB));
    f.add(
        "the first fragment of an IPv4 datagram goes by its ports",
        v4(VIP).fragment(0, true).carry(udp(5353, 53).payload("x")),
        To(DNS),
    );
    f.add("IPv6 TCP SYN", v6(VIP6).carry(tcp(40_000, 443).syn()), To(WEB6));
    f.add("IPv6 TCP with traffic class", v6(VIP6).traffic_class(0x2e).carry(tcp(40_000, 443).ack()), To(WEB6));
    f.add("IPv6 UDP (QUIC)", v6(VIP6).carry(udp(40_000, 443).payload([0xc0; 1_200])), To(QUIC6));
    f.add(
        "a backend behind another interface is reached by redirect",
        v4(VIP_FAR).carry(tcp(40_000, 80).syn()),
        To(FAR),
    );
    f.check();
}

#[test]
fn vlan_tags_are_stepped_over_and_kept() {
    let mut f = Fixtures::default();
    f.add("IPv4 in one VLAN", to_us().vlan(100).ipv4(CLIENT, VIP).carry(tcp(1, 80).syn()), To(WEB));
    f.add("IPv6 in one VLAN", to_us().vlan(4094).ipv6(CLIENT6, VIP6).carry(tcp(1, 443).syn()), To(WEB6));
    f.add(
        "IPv4 in a VLAN in a service VLAN (QinQ)",
        to_us().service_tag(7).vlan(100).ipv4(CLIENT, VIP).carry(tcp(1, 80).syn()),
        To(WEB),
    );
    f.add(
        "three tags are one too many to look into",
        to_us().service_tag(7).vlan(8).vlan(9).ipv4(CLIENT, VIP).carry(tcp(1, 80).syn()),
        Untouched(Outcome::NotIp),
    );
    f.bytes(
        "a frame that ends within its tag",
        to_us().vlan(100).ipv4(CLIENT, VIP).bytes()[..16].to_vec(),
        Untouched(Outcome::NotIp),
    );
    f.check();
}

#[test]
fn the_most_exact_listener_wins() {
    let mut f = Fixtures::default();
    f.add("its own port before every port", v4(VIP_MIXED).carry(tcp(40_000, 22).syn()), To(SSH));
    f.add(
        "every port of the protocol before every protocol",
        v4(VIP_MIXED).carry(tcp(40_000, 80).syn()),
        To(EVERY_TCP),
    );
    f.add("port 0 is a port like any other", v4(VIP_MIXED).carry(tcp(40_000, 0).syn()), To(EVERY_TCP));
    f.add("another protocol falls to the listener for every protocol", v4(VIP_MIXED).carry(udp(1, 22)), To(REST));
    f.add("a port that no listener has", v4(VIP).carry(tcp(40_000, 81).syn()), Untouched(Outcome::NoListener));
    f.add("a protocol that no listener has", v4(VIP).carry(udp(40_000, 80)), Untouched(Outcome::NoListener));
    f.add("GRE to a VIP without a listener for it", v4(VIP).carry(gre()), Untouched(Outcome::NoListener));
    f.check();
}

/// GRE (RFC 2784) with an IPv4 packet inside.
fn gre() -> Transport {
    let inner = to_us().ipv4("10.0.0.1", "10.0.0.2").carry(udp(1, 2).payload("inside")).network();
    Transport::protocol(47, [0, 0, 8, 0]).payload(inner)
}

#[test]
fn a_protocol_ip_listener_takes_every_protocol() {
    let mut f = Fixtures::default();
    f.add("TCP on any port", v4(VIP_IP).carry(tcp(40_000, 9).syn()), To(ALL));
    f.add("UDP on any port", v4(VIP_IP).carry(udp(40_000, 9)), To(ALL));
    f.add("GRE", v4(VIP_IP).carry(gre()), To(ALL));
    f.add("ESP", v4(VIP_IP).carry(Transport::protocol(50, [7; 40])), To(ALL));
    f.add("AH over IPv4", v4(VIP_IP).carry(Transport::protocol(51, [7; 40])), To(ALL));
    f.add("IP in IP", v4(VIP_IP).carry(Transport::protocol(4, v4(HOST).carry(udp(1, 2)).network())), To(ALL));
    f.add("a protocol number that is not assigned", v4(VIP_IP).carry(Transport::protocol(253, [1, 2, 3])), To(ALL));
    f.add("a protocol without a payload", v4(VIP_IP).carry(Transport::protocol(50, [])), To(ALL));
    f.add("SCTP on any port", v4(VIP_IP).carry(sctp(1, 2)), To(ALL));
    f.add("an ICMP timestamp request, which is no echo", v4(VIP_IP).carry(icmp(13, 0, 1)), To(ALL));
    f.add(
        "ICMPv6 inside IPv4 is a protocol like any other",
        v4(VIP_IP).carry(Transport::protocol(58, [128, 0])),
        To(ALL),
    );
    f.add("IPv6: ESP", v6(VIP6_IP).carry(Transport::protocol(50, [7; 40])), To(ALL6));
    f.add("IPv6: no next header", v6(VIP6_IP).carry(Transport::protocol(59, [])), To(ALL6));
    f.add("IPv6: TCP on any port", v6(VIP6_IP).carry(tcp(40_000, 9).syn()), To(ALL6));
    f.check();
}

#[test]
fn ipv6_extension_headers_are_stepped_over() {
    let mut f = Fixtures::default();
    let to_web = || tcp(40_000, 443).syn();
    f.add("hop-by-hop options", v6(VIP6).extension(Extension::options(0, 1)).carry(to_web()), To(WEB6));
    f.add("routing header", v6(VIP6).extension(Extension::options(43, 3)).carry(to_web()), To(WEB6));
    f.add("destination options of 256 bytes", v6(VIP6).extension(Extension::options(60, 32)).carry(to_web()), To(WEB6));
    f.add("authentication header", v6(VIP6).extension(Extension::authentication()).carry(to_web()), To(WEB6));
    f.add("mobility header", v6(VIP6).extension(Extension::options(135, 1)).carry(to_web()), To(WEB6));
    f.add("atomic fragment", v6(VIP6).extension(Extension::fragment(0, false)).carry(to_web()), To(WEB6));
    f.add(
        "first fragment goes by its ports",
        v6(VIP6).extension(Extension::fragment(0, true)).carry(to_web()),
        To(WEB6),
    );
    f.add(
        "later fragment to a VIP",
        v6(VIP6).extension(Extension::fragment(100, true)).carry(to_web()),
        Dropped(Outcome::Fragment),
    );
    f.add(
        "all of them, in the order of RFC 8200",
        v6(VIP6)
            .extension(Extension::options(0, 1))
            .extension(Extension::options(60, 1))
            .extension(Extension::options(43, 1))
            .extension(Extension::fragment(0, false))
            .extension(Extension::authentication())
            .extension(Extension::options(60, 2))
            .carry(to_web()),
        To(WEB6),
    );
    let deep = |destination, count| {
        (0..count).fold(v6(destination), |frame, _| frame.extension(Extension::options(60, 1))).carry(to_web())
    };
    f.add("seven extension headers", deep(VIP6, 7), To(WEB6));
    f.add("eight extension headers to a VIP", deep(VIP6, 8), Dropped(Outcome::TooManyExtensions));
    f.add("eight extension headers to another host", deep(HOST6, 8), Untouched(Outcome::NotVip));
    let long = v6(VIP6).extension(Extension::options(60, 1)).carry(to_web()).bytes();
    let mut lies = long.clone();
    lies[14 + 40 + 1] = 255;
    f.bytes("an extension header that says it is longer than the packet", lies, Dropped(Outcome::Malformed));
    f.bytes(
        "a packet that ends within an extension header",
        v6(VIP6).extension(Extension::options(60, 1)).carry(Transport::protocol(6, [])).bytes()[..55].to_vec(),
        Dropped(Outcome::Malformed),
    );
    f.check();
}

#[test]
fn what_is_not_for_a_vip_passes_bit_by_bit() {
    let mut f = Fixtures::default();
    f.add("IPv4 TCP to another host", v4(HOST).carry(tcp(40_000, 80).syn()), Untouched(Outcome::NotVip));
    f.add("IPv4 UDP to another host", v4(HOST).carry(udp(1, 53)), Untouched(Outcome::NotVip));
    f.add("IPv6 TCP to another host", v6(HOST6).carry(tcp(40_000, 443).syn()), Untouched(Outcome::NotVip));
    f.add("from a VIP to another host", to_us().ipv4(VIP, HOST).carry(tcp(80, 1).ack()), Untouched(Outcome::NotVip));
    f.add("an IPv4 fragment", v4(HOST).fragment(5, true).carry(udp(1, 2)), Untouched(Outcome::NotVip));
    f.add(
        "an IPv6 fragment",
        v6(HOST6).extension(Extension::fragment(5, true)).carry(udp(1, 2)),
        Untouched(Outcome::NotVip),
    );
    f.add("IPv4 with options", v4(HOST).options(3).carry(tcp(1, 80)), Untouched(Outcome::NotVip));
    f.add("tagged", to_us().vlan(9).ipv4(CLIENT, HOST).carry(tcp(1, 80)), Untouched(Outcome::NotVip));
    f.add("ping", v4(HOST).carry(icmp(8, 0, 1).payload("ping")), Untouched(Outcome::NotVip));
    f.add("ping6", v6(HOST6).carry(icmpv6(128, 0, 1).payload("ping")), Untouched(Outcome::NotVip));
    f.add(
        "an ICMP error about a flow of ours, but to another host",
        error_v4(HOST, VIP, 80),
        Untouched(Outcome::NotVip),
    );
    f.add("ARP request for another host", arp_request(HOST), Untouched(Outcome::NotIp));
    f.add("ARP reply from a VIP's address", arp_reply(), Untouched(Outcome::NotIp));
    f.add(
        "neighbour solicitation for another host",
        Frame::to([0x33, 0x33, 0xff, 0, 2, 0])
            .ipv6(CLIENT6, "ff02::1:ff00:200")
            .ttl(255)
            .carry(solicitation(HOST6, None)),
        Untouched(Outcome::NotVip),
    );
    f.add("LLDP", Frame::to([1, 0x80, 0xc2, 0, 0, 0xe]).raw(0x88cc, [2, 7, 4]), Untouched(Outcome::NotIp));
    f.add("an unknown EtherType", to_us().raw(0x1234, [0; 50]), Untouched(Outcome::NotIp));
    f.add("an 802.3 frame with a length for a type", to_us().raw(40, [0x42; 46]), Untouched(Outcome::NotIp));
    f.add("a frame without anything", to_us(), Untouched(Outcome::NotIp));
    f.add(
        "IPv6 in a frame that says IPv4",
        to_us().raw(0x0800, v6(VIP6).carry(tcp(1, 443)).network()),
        Untouched(Outcome::NotIp),
    );
    f.add(
        "IPv4 in a frame that says IPv6",
        to_us().raw(0x86dd, v4(VIP).carry(tcp(1, 80).payload([0; 40])).network()),
        Untouched(Outcome::NotIp),
    );
    f.add(
        "an IPv4 header that says it is shorter than one",
        to_us().raw(0x0800, {
            let mut bytes = v4(VIP).carry(tcp(1, 80)).network();
            bytes[0] = 0x44;
            bytes
        }),
        Untouched(Outcome::NotIp),
    );
    f.bytes(
        "a packet cut within its IPv4 header",
        v4(VIP).carry(tcp(1, 80)).bytes()[..30].to_vec(),
        Untouched(Outcome::NotIp),
    );
    f.bytes(
        "a packet cut within its IPv6 header",
        v6(VIP6).carry(tcp(1, 443)).bytes()[..50].to_vec(),
        Untouched(Outcome::NotIp),
    );
    f.bytes(
        "a truncated TCP header to another host",
        v4(HOST).carry(tcp(1, 80).cut(3)).bytes(),
        Untouched(Outcome::NotVip),
    );
    f.bytes("garbage", (0..200).map(|i| (i * 73 + 11) as u8).collect(), Untouched(Outcome::NotIp));
    f.check();
}

#[test]
fn frames_for_another_mac_are_not_ours() {
    let mut f = Fixtures::default();
    let other = || Frame::to(OTHER_HOST_MAC);
    f.add(
        "a VIP's packet to another host's MAC, flooded by a switch",
        other().ipv4(CLIENT, VIP).carry(tcp(1, 80).syn()),
        Untouched(Outcome::OtherHost),
    );
    f.add(
        "the same to a backend's MAC, sent by another balancer",
        Frame::to(backend_mac(WEB)).ipv4(CLIENT, VIP).carry(tcp(1, 80).syn()),
        Untouched(Outcome::OtherHost),
    );
    f.add("the same over IPv6", other().ipv6(CLIENT6, VIP6).carry(tcp(1, 443).syn()), Untouched(Outcome::OtherHost));
    f.add(
        "a VIP's packet to the broadcast MAC",
        Frame::to(BROADCAST).ipv4(CLIENT, VIP).carry(tcp(1, 80).syn()),
        Untouched(Outcome::OtherHost),
    );
    f.add(
        "a VIP's IPv6 packet to a multicast MAC",
        Frame::to(SOLICITED_NODE_MAC).ipv6(CLIENT6, VIP6).carry(tcp(1, 443).syn()),
        Untouched(Outcome::OtherHost),
    );
    f.add(
        "an ARP request for a VIP to another host's MAC",
        other().arp(1, CLIENT_MAC, "192.0.2.100", VIP),
        Untouched(Outcome::OtherHost),
    );
    f.check();
}

#[test]
fn what_a_vip_cannot_serve_is_dropped_and_counted() {
    let mut f = Fixtures::default();
    f.add("a pool without a backend", v4(VIP_EMPTY).carry(tcp(1, 80).syn()), Dropped(Outcome::NoBackend));
    f.add(
        "a pool whose backend is not reachable",
        v4(VIP_UNREACHABLE).carry(tcp(1, 80).syn()),
        Dropped(Outcome::NoBackend),
    );
    f.add(
        "a slot that names a backend beyond the pool, where another pool's begin",
        v4(VIP_STALE).carry(tcp(1, 80).syn()),
        Dropped(Outcome::NoBackend),
    );
    f.add(
        "a later IPv4 fragment",
        v4(VIP).fragment(185, false).carry(Transport::protocol(17, [1; 80])),
        Dropped(Outcome::Fragment),
    );
    f.add(
        "a later fragment to a listener for every protocol",
        v4(VIP_IP).fragment(185, false).carry(Transport::protocol(17, [1; 80])),
        Dropped(Outcome::Fragment),
    );
    f.add("a TCP header of three bytes", v4(VIP).carry(tcp(1, 80).cut(3)), Dropped(Outcome::Malformed));
    f.add(
        "ports that are only padding",
        v4(VIP).carry(Transport::protocol(6, [])).padded(60),
        Dropped(Outcome::Malformed),
    );
    f.add("an ICMP header of four bytes", v4(VIP).carry(icmp(8, 0, 1).cut(4)), Dropped(Outcome::Malformed));
    let whole = v4(VIP).carry(tcp(1, 80).payload([9; 100])).bytes();
    f.bytes(
        "IPv4 that says it is longer than the packet",
        whole[..whole.len() - 1].to_vec(),
        Dropped(Outcome::Malformed),
    );
    let whole = v6(VIP6).carry(tcp(1, 443).payload([9; 100])).bytes();
    f.bytes(
        "IPv6 that says it is longer than the packet",
        whole[..whole.len() - 1].to_vec(),
        Dropped(Outcome::Malformed),
    );
    let mut short = v4(VIP).options(5).carry(tcp(1, 80)).bytes();
    short[14 + 3] = 24;
    f.bytes("IPv4 that says it is shorter than its header", short, Dropped(Outcome::Malformed));
    f.check();
}

#[test]
fn offloaded_packets_above_64_kb_have_no_length_and_pass_the_check() {
    let mut f = Fixtures::default();
    let mut v4 = v4(VIP).carry(tcp(1, 80).ack().payload([9; 100])).bytes();
    v4[16..18].fill(0);
    f.bytes("IPv4 with total length 0", v4, To(WEB));
    let mut v6 = v6(VIP6).carry(tcp(1, 443).ack().payload([9; 100])).bytes();
    v6[18..20].fill(0);
    f.bytes("IPv6 with payload length 0", v6, To(WEB6));
    f.check();
}

fn arp_request(target: &str) -> Frame {
    Frame::to(BROADCAST).arp(1, CLIENT_MAC, "192.0.2.100", target)
}

fn arp_reply() -> Frame {
    to_us().arp(2, CLIENT_MAC, VIP, "192.0.2.1")
}

/// The answer to `arp_request`, as RFC 826 wants it.
fn arp_answer(tag: Option<u16>) -> Frame {
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, 2];
    bytes.extend_from_slice(&OWN_MAC);
    bytes.extend_from_slice(&[192, 0, 2, 10]);
    bytes.extend_from_slice(&CLIENT_MAC);
    bytes.extend_from_slice(&[192, 0, 2, 100]);
    let frame = Frame::to(CLIENT_MAC).from(OWN_MAC);
    tag.map_or(frame.clone(), |id| frame.vlan(id)).raw(0x0806, bytes)
}

#[test]
fn a_vips_arp_requests_are_answered() {
    let mut f = Fixtures::default();
    f.add("a broadcast request", arp_request(VIP), Answered(Outcome::ArpReply, arp_answer(None)));
    f.add("padded to 60 bytes", arp_request(VIP).padded(60), Answered(Outcome::ArpReply, arp_answer(None).padded(60)));
    f.add(
        "a unicast request to our MAC",
        to_us().arp(1, CLIENT_MAC, "192.0.2.100", VIP),
        Answered(Outcome::ArpReply, arp_answer(None)),
    );
    f.add(
        "in a VLAN",
        Frame::to(BROADCAST).vlan(7).arp(1, CLIENT_MAC, "192.0.2.100", VIP),
        Answered(Outcome::ArpReply, arp_answer(Some(7))),
    );
    f.add(
        "an announcement of the VIP by another host",
        Frame::to(BROADCAST).arp(1, CLIENT_MAC, VIP, VIP),
        Untouched(Outcome::NotIp),
    );
    f.bytes("cut short", arp_request(VIP).bytes()[..40].to_vec(), Untouched(Outcome::NotIp));
    for (says, at, value) in [
        ("of another hardware than Ethernet", 15, 6),
        ("for another protocol than IPv4", 16, 9),
        ("with addresses of another length", 19, 6),
        ("an operation that is no request", 21, 3),
    ] {
        let mut bytes = arp_request(VIP).bytes();
        bytes[at] = value;
        f.bytes(says, bytes, Untouched(Outcome::NotIp));
    }
    f.check();
}

/// A solicitation to the VIP's multicast group.
fn ask(asker: Option<[u8; 6]>) -> Frame {
    Frame::to(SOLICITED_NODE_MAC).ipv6(CLIENT6, SOLICITED_NODE).ttl(255).carry(solicitation(VIP6, asker))
}

/// The advertisement that answers it (RFC 4861 section 7.2.4): solicited, override.
fn advertise(with_mac: bool) -> Frame {
    let target: std::net::Ipv6Addr = VIP6.parse().expect("an address");
    let mut message = icmpv6(136, 0, 0x6000_0000).payload(target.octets());
    if with_mac {
        message = message.payload([2, 1]).payload(OWN_MAC);
    }
    Frame::to(CLIENT_MAC).from(OWN_MAC).ipv6(VIP6, CLIENT6).ttl(255).carry(message)
}

#[test]
fn a_vips_neighbour_solicitations_are_answered() {
    let mut f = Fixtures::default();
    let answered = |frame| Answered(Outcome::NeighbourAdvertisement, frame);
    f.add("a multicast question with the asker's MAC", ask(Some(CLIENT_MAC)), answered(advertise(true)));
    f.add("a question without the asker's MAC", ask(None), answered(advertise(false)));
    f.add(
        "a unicast question",
        to_us().ipv6(CLIENT6, VIP6).ttl(255).carry(solicitation(VIP6, Some(CLIENT_MAC))),
        answered(advertise(true)),
    );
    f.add("a question that was routed is forged", ask(Some(CLIENT_MAC)).ttl(254), Untouched(Outcome::NotVip));
    f.add(
        "the question of a host that wants the VIP for itself",
        Frame::to(SOLICITED_NODE_MAC).ipv6("::", SOLICITED_NODE).ttl(255).carry(solicitation(VIP6, None)),
        Untouched(Outcome::NotVip),
    );
    f.bytes("cut short", ask(None).bytes()[..70].to_vec(), Untouched(Outcome::NotVip));
    f.check();
}

#[test]
fn a_vips_pings_are_answered() {
    let mut f = Fixtures::default();
    let ping = || icmp(8, 0, 0x0007_0001).payload("some data to come back");
    let pong = || icmp(0, 0, 0x0007_0001).payload("some data to come back");
    let answer = || Frame::to(CLIENT_MAC).from(OWN_MAC);
    let answered = |frame| Answered(Outcome::EchoReply, frame);
    f.add("IPv4", v4(VIP).carry(ping()), answered(answer().ipv4(VIP, CLIENT).ttl(64).carry(pong())));
    f.add(
        "IPv4 with options",
        v4(VIP).options(2).carry(ping()),
        answered(answer().ipv4(VIP, CLIENT).options(2).ttl(64).carry(pong())),
    );
    f.add(
        "IPv4, to a listener for every protocol",
        v4(VIP_IP).carry(ping()),
        answered(answer().ipv4(VIP_IP, CLIENT).ttl(64).carry(pong())),
    );
    f.add(
        "IPv4 in a VLAN",
        to_us().vlan(3).ipv4(CLIENT, VIP).carry(ping()),
        answered(answer().vlan(3).ipv4(VIP, CLIENT).ttl(64).carry(pong())),
    );
    f.add(
        "IPv6",
        v6(VIP6).carry(icmpv6(128, 0, 9).payload("data")),
        answered(answer().ipv6(VIP6, CLIENT6).ttl(64).carry(icmpv6(129, 0, 9).payload("data"))),
    );
    f.add("a fragmented ping", v4(VIP).fragment(0, true).carry(ping()), Dropped(Outcome::Fragment));
    f.add("an echo reply is no echo request", v4(VIP).carry(icmp(0, 0, 1)), Untouched(Outcome::NoListener));
    f.check();
}

/// "Fragmentation needed" from a router, to `destination`, about a packet of `vip` from `port` to the client.
fn error_v4(destination: &str, vip: &str, port: u16) -> Frame {
    let sent = to_us().ipv4(vip, CLIENT).carry(tcp(port, 40_000).ack().payload([0; 1_000])).network();
    to_us().ipv4("203.0.113.1", destination).carry(icmp(3, 4, 1_400).payload(&sent[..28]))
}

#[test]
fn icmp_errors_follow_the_flow_that_they_tell_of() {
    let mut f = Fixtures::default();
    f.add("fragmentation needed, with eight bytes of the packet", error_v4(VIP, VIP, 80), To(WEB));
    f.add("about a flow that no listener has", error_v4(VIP, VIP, 81), Untouched(Outcome::NoListener));
    f.add("about a packet that the VIP did not send", error_v4(VIP, HOST, 80), Untouched(Outcome::NoListener));
    let about = |transport: Transport| to_us().ipv4(VIP, CLIENT).carry(transport).network();
    let error = |kind, quoted: Vec<u8>| to_us().ipv4("203.0.113.1", VIP).carry(icmp(kind, 0, 0).payload(quoted));
    f.add("unreachable, about UDP", error(3, about(udp(53, 5353).payload("answer"))), To(DNS));
    f.add("time exceeded", error(11, about(tcp(80, 40_000).ack())), To(WEB));
    f.add("parameter problem", error(12, about(tcp(80, 40_000).ack())), To(WEB));
    f.add(
        "a quoted packet with options",
        error(3, to_us().ipv4(VIP, CLIENT).options(4).carry(tcp(80, 1).ack()).network()),
        To(WEB),
    );
    f.add(
        "a quoted packet cut within its header",
        error(3, about(tcp(80, 40_000).ack())[..12].to_vec()),
        Dropped(Outcome::Malformed),
    );
    f.add(
        "a quoted packet cut before its ports",
        error(3, about(tcp(80, 40_000).ack())[..22].to_vec()),
        Dropped(Outcome::Malformed),
    );
    f.add(
        "a quoted later fragment",
        error(3, to_us().ipv4(VIP, CLIENT).fragment(9, false).carry(tcp(80, 1)).network()),
        Dropped(Outcome::Fragment),
    );
    f.add(
        "in a VLAN",
        to_us().vlan(5).ipv4("203.0.113.1", VIP).carry(icmp(3, 4, 1_400).payload(about(tcp(80, 40_000).ack()))),
        To(WEB),
    );
    let about6 = |port| to_us().ipv6(VIP6, CLIENT6).carry(tcp(port, 40_000).ack().payload([0; 1_000])).network();
    let error6 =
        |kind, quoted: &[u8]| to_us().ipv6("2001:db8:f::1", VIP6).carry(icmpv6(kind, 0, 1_280).payload(quoted));
    f.add("IPv6: packet too big", error6(2, &about6(443)), To(WEB6));
    f.add("IPv6: unreachable", error6(1, &about6(443)[..48]), To(WEB6));
    f.add("IPv6: time exceeded", error6(3, &about6(443)[..48]), To(WEB6));
    f.add("IPv6: parameter problem", error6(4, &about6(443)[..48]), To(WEB6));
    f.add("IPv6: about a flow that no listener has", error6(1, &about6(80)), Untouched(Outcome::NoListener));
    let quoted = to_us().ipv6(VIP6, CLIENT6).extension(Extension::options(60, 2)).carry(tcp(443, 1).ack()).network();
    f.add("IPv6: a quoted packet with an extension header", error6(2, &quoted), To(WEB6));
    f.check();
}

/// Where each of these packets goes.
fn places(program: &mut Program, frames: impl Iterator<Item = Frame>) -> Vec<[u8; 6]> {
    frames
        .map(|frame| {
            let answer = program.run(&frame.bytes()).expect("a test run");
            assert_eq!(answer.verdict, Action::Transmit);
            answer.packet[..6].try_into().expect("six bytes")
        })
        .collect()
}

#[test]
fn flows_spread_over_all_backends_and_each_stays_on_its_own() {
    let mut program = Program::load(&sample::tables()).expect("the program loads");
    let frames = |destination: &'static str| {
        (1_024..1_524).map(move |port| {
            let frame = to_us().ip(if destination.contains(':') { CLIENT6 } else { CLIENT }, destination);
            frame.carry(tcp(port, 80).ack())
        })
    };
    for (vip, pool) in [(VIP_SPREAD, SPREAD), (VIP6_SPREAD, SPREAD6)] {
        let first = places(&mut program, frames(vip));
        assert_eq!(first, places(&mut program, frames(vip)), "a flow to {vip} changed its backend");
        for place in pool.clone() {
            let share = first.iter().filter(|mac| **mac == backend_mac(place)).count();
            // 500 flows over 4 equal backends: mean 125, deviation 9.7; five deviations are allowed.
            assert!((76..=174).contains(&share), "the backend at {place} got {share} of 500 flows to {vip}");
        }
    }
}

#[test]
fn source_ip_keeps_all_flows_and_protocols_of_a_client_on_one_backend() {
    let mut program = Program::load(&sample::tables()).expect("the program loads");
    let mut backends = std::collections::BTreeSet::new();
    for client in 1..=100 {
        let from = |transport| to_us().ipv4(&format!("198.51.100.{client}"), VIP_SOURCE).carry(transport);
        let mut packets: Vec<_> = (1..40).map(|port| from(tcp(port * 1_000, port).syn())).collect();
        packets.extend([from(udp(1, 2)), from(gre()), from(sctp(3, 4)), from(Transport::protocol(50, [1; 20]))]);
        let macs = places(&mut program, packets.into_iter());
        assert!(macs.iter().all(|mac| *mac == macs[0]), "client {client} was split: {macs:?}");
        backends.insert(macs[0]);
    }
    assert_eq!(backends.len(), SOURCE.len(), "100 clients did not reach all backends");
}

#[test]
fn an_icmp_error_reaches_the_backend_of_its_flow_in_a_pool_of_several() {
    let mut program = Program::load(&sample::tables()).expect("the program loads");
    for port in 1_024..1_224 {
        let flow = to_us().ipv4(CLIENT, VIP_SPREAD).carry(tcp(port, 80).ack());
        let sent = to_us().ipv4(VIP_SPREAD, CLIENT).carry(tcp(80, port).ack().payload([0; 600])).network();
        let error = to_us().ipv4("203.0.113.1", VIP_SPREAD).carry(icmp(3, 4, 1_400).payload(&sent[..28]));
        let macs = places(&mut program, [flow, error].into_iter());
        assert_eq!(macs[0], macs[1], "the error about port {port} went elsewhere than the flow");
    }
}
