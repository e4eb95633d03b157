//! Access control over the real program: packets of listeners with an allow-list.

use drlb_tests::packet::{CLIENT_MAC, Frame, icmp, icmpv6, tcp, udp};
use drlb_tests::program::{Action, Program};
use drlb_tests::sample::{self, *};
use lb_common::outcome::{Counter, Outcome, Refused};

/// Which backend a packet goes to; `None` if it is denied.
fn goes_to(program: &mut Program, frame: Frame) -> Option<u32> {
    let bytes = frame.bytes();
    let before = program.counters().expect("counters");
    let answer = program.run(&bytes).expect("a test run");
    let after = program.counters().expect("counters");
    let counted =
        |counters: &lb_ebpf::host::Counters, outcome| counters.outcomes.get(&outcome).copied().unwrap_or_default();
    let one = Counter { packets: 1, bytes: bytes.len() as u64 };
    let refused = |counters: &lb_ebpf::host::Counters| {
        counters.refused.values().fold(Refused::default(), |sum, refused| sum.plus(*refused)).denied
    };
    match answer.verdict {
        Action::Transmit => {
            assert_eq!(counted(&after, Outcome::Forwarded), counted(&before, Outcome::Forwarded).plus(one));
            assert_eq!(refused(&after), refused(&before));
            Some(u32::from(answer.packet[5]))
        }
        Action::Drop => {
            assert_eq!(counted(&after, Outcome::Denied), counted(&before, Outcome::Denied).plus(one));
            assert_eq!(refused(&after), refused(&before) + 1, "the listener counts what it denies");
            assert_eq!(answer.packet, bytes);
            None
        }
        other => panic!("{other:?}"),
    }
}

fn program() -> Program {
    Program::load(&sample::tables()).expect("the program loads")
}

#[test]
fn only_sources_on_the_list_reach_the_backend() {
    let mut program = program();
    for (source, allowed) in [
        ("198.51.100.0", true),
        ("198.51.100.127", true),
        ("198.51.100.128", false),
        ("203.0.113.6", false),
        ("203.0.113.7", true),
        ("203.0.113.8", false),
        ("9.255.255.255", false),
        ("10.0.0.0", true),
        ("10.255.255.255", true),
        ("192.0.2.7", false),
    ] {
        let frame = Frame::to(OWN_MAC).ipv4(source, VIP_GUARDED).carry(tcp(40_000, 80).syn());
        assert_eq!(goes_to(&mut program, frame), allowed.then_some(GUARDED), "{source}");
    }
    for (source, allowed) in [
        ("2001:db8:c::1", true),
        ("2001:db8:c:ffff::", true),
        ("2001:db8:b:ffff::", false),
        ("2001:db8:d:1:ffff::", true),
        ("2001:db8:d:2::", false),
        ("2001:db8:e::6", false),
        ("2001:db8:e::7", true),
        ("2001:db8:e::8", false),
    ] {
        let frame = Frame::to(OWN_MAC).ipv6(source, VIP6_GUARDED).carry(tcp(40_000, 80).syn());
        assert_eq!(goes_to(&mut program, frame), allowed.then_some(GUARDED6), "{source}");
    }
}

#[test]
fn the_list_is_asked_whatever_else_the_listener_does_with_a_packet() {
    use lb_common::listener::Listener;

    type Change = fn(&mut Listener);
    let changes: [(&str, Change); 4] = [
        ("all flows are pinned", |listener| listener.guards |= Listener::GUARD_PINS),
        ("sessions", |listener| listener.persistence = 128),
        ("by the client's address", |listener| listener.algorithm = Listener::SOURCE_IP),
        ("least connections", |listener| listener.algorithm = Listener::LEAST_CONNECTIONS),
    ];
    for (what, change) in changes {
        let mut tables = sample::tables();
        tables.listeners.values_mut().filter(|listener| listener.guards & Listener::GUARD_ALLOW != 0).for_each(change);
        let mut program = Program::load(&tables).expect("the program loads");
        for (source, allowed) in [("203.0.113.6", false), ("203.0.113.7", true), ("192.0.2.7", false)] {
            let frame = Frame::to(OWN_MAC).ipv4(source, VIP_GUARDED).carry(tcp(40_000, 80).syn());
            assert_eq!(goes_to(&mut program, frame).is_some(), allowed, "{what}: {source}");
        }
        for (source, allowed) in [("2001:db8:e::6", false), ("2001:db8:e::7", true)] {
            let frame = Frame::to(OWN_MAC).ipv6(source, VIP6_GUARDED).carry(tcp(40_000, 80).syn());
            assert_eq!(goes_to(&mut program, frame).is_some(), allowed, "{what}: {source}");
        }
    }
}

#[test]
fn each_listener_of_a_vip_has_its_own_list() {
    let mut program = program();
    for (source, by_tcp, by_udp) in [("10.0.0.1", true, false), ("192.0.2.7", false, true)] {
        let to = || Frame::to(OWN_MAC).ipv4(source, VIP_GUARDED);
        assert_eq!(goes_to(&mut program, to().carry(tcp(40_000, 80).syn())), by_tcp.then_some(GUARDED), "{source}");
        assert_eq!(goes_to(&mut program, to().carry(udp(40_000, 80))), by_udp.then_some(GUARDED), "{source}");
    }
}

#[test]
fn every_packet_of_a_flow_is_looked_at_not_only_its_first() {
    let mut program = program();
    for packet in [tcp(40_000, 80).ack().payload("GET /"), tcp(40_000, 80).fin().ack(), tcp(40_000, 80).rst()] {
        let frame = Frame::to(OWN_MAC).ipv4("192.0.2.7", VIP_GUARDED).carry(packet);
        assert_eq!(goes_to(&mut program, frame), None);
    }
}

#[test]
fn an_icmp_error_is_taken_if_the_client_is_on_the_list_that_it_tells_of() {
    let mut program = program();
    // From a router that is on no list, about packets that a backend sent to these clients.
    for (client, allowed) in [("10.0.0.1", true), ("192.0.2.7", false)] {
        let quoted = Frame::to(CLIENT_MAC).ipv4(VIP_GUARDED, client).carry(tcp(80, 40_000).ack());
        let error = icmp(3, 4, 1_400).payload(quoted.network());
        let frame = Frame::to(OWN_MAC).ipv4("192.0.2.1", VIP_GUARDED).carry(error);
        assert_eq!(goes_to(&mut program, frame), allowed.then_some(GUARDED), "{client}");
    }
    for (client, allowed) in [("2001:db8:c::1", true), ("2001:db8::1", false)] {
        let quoted = Frame::to(CLIENT_MAC).ipv6(VIP6_GUARDED, client).carry(tcp(80, 40_000).ack());
        let error = icmpv6(2, 0, 1_280).payload(quoted.network());
        let frame = Frame::to(OWN_MAC).ipv6("2001:db8::1", VIP6_GUARDED).carry(error);
        assert_eq!(goes_to(&mut program, frame), allowed.then_some(GUARDED6), "{client}");
    }
}

#[test]
fn ten_thousand_prefixes_are_looked_up_by_the_program_as_one_by_one() {
    use lb_common::address::{Address, Port};
    use lb_common::allow::Bits;
    use lb_common::listener::{Listener, ListenerKey};
    use lb_userspace::allow::{PrefixBits, build};
    use std::net::Ipv6Addr;

    // Of every length from 32 to 128, at random places that share many bits.
    let mut random = 7_u64;
    let mut next = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random >> 33
    };
    let prefixes: Vec<(u128, u8)> = (0..10_000)
        .map(|_| {
            let bits = 0x2001_0db8 << 96 | u128::from(next()) << 64 | u128::from(next());
            let length = 48 + (next() % 81) as u8;
            (bits & u128::MAX << (128 - u32::from(length)), length)
        })
        .collect();
    let bits = |bits: u128| Bits { high: (bits >> 64) as u64, low: bits as u64 };
    let list = prefixes.iter().map(|(first, length)| PrefixBits { bits: bits(*first), length: *length }).collect();
    let trie = build(list);
    let mut tables = sample::tables();
    let key = ListenerKey::new(address(VIP6_GUARDED), lb_common::protocol::TCP, Port::from_host(80));
    let listener = tables.listeners.get_mut(&key).expect("a listener");
    let allow_base = u32::try_from(tables.allowed.len()).expect("a few words");
    let (allow_len, allow_from, allow_bits) = (trie.words.len() as u32, trie.from, trie.bits);
    *listener = Listener { allow_base, allow_len, allow_from, allow_bits, ..*listener };
    tables.allowed.extend(trie.words);
    let mut program = Program::load(&tables).expect("the program loads");
    for (index, (first, length)) in prefixes.iter().enumerate().step_by(20) {
        let last = first | u128::MAX.checked_shr(u32::from(*length)).unwrap_or(0);
        let client = [*first, last, last.wrapping_add(1), first.wrapping_sub(1)][index / 20 % 4];
        let holds = |(first, length): &(u128, u8)| (first ^ client).leading_zeros() >= u32::from(*length);
        let expected = prefixes.iter().any(holds);
        let source = Ipv6Addr::from(client).to_string();
        assert_eq!(bits(client), Bits::of(&Address::from(Ipv6Addr::from(client))));
        let frame = Frame::to(OWN_MAC).ipv6(&source, VIP6_GUARDED).carry(tcp(40_000, 80).ack());
        assert_eq!(goes_to(&mut program, frame), expected.then_some(GUARDED6), "{source}");
    }
}
