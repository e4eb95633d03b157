//! Limits over the real program: new flows by source, and flows at once.

use drlb_tests::packet::{CLIENT_MAC, Frame, Transport, icmp, tcp, udp};
use drlb_tests::program::{Action, Program};
use drlb_tests::sample::{self, *};
use lb_common::outcome::{Outcome, Refused};

/// Where a packet goes, or how it ends. What a listener refuses it has to count.
fn goes_to(program: &mut Program, frame: &Frame) -> Result<u32, Outcome> {
    let refused = |program: &mut Program| {
        let counters = program.counters().expect("counters");
        counters.refused.values().fold(Refused::default(), |sum, refused| sum.plus(*refused))
    };
    let before = program.counters().expect("counters").outcomes;
    let mut expected = refused(program);
    let answer = program.run(&frame.bytes()).expect("a test run");
    let after = program.counters().expect("counters").outcomes;
    let mut ends =
        after.iter().filter(|(outcome, counter)| before.get(outcome) != Some(counter)).map(|(outcome, _)| *outcome);
    let end = ends.next().expect("an outcome is counted");
    expected.count(end);
    assert_eq!(refused(program), expected, "{end:?}");
    match answer.verdict {
        Action::Transmit => Ok(u32::from(answer.packet[5])),
        _ => Err(end),
    }
}

fn program() -> Program {
    Program::load(&sample::tables()).expect("the program loads")
}

fn from(client: &str, vip: &str, transport: Transport) -> Frame {
    Frame::to(OWN_MAC).ipv4(client, vip).carry(transport)
}

#[test]
fn a_source_begins_as_many_flows_as_it_may_and_others_are_not_its_concern() {
    let mut program = program();
    // Three addresses of one /24 are one source.
    for last in 1..=3 {
        let syn = from(&format!("198.51.100.{last}"), VIP_LIMITED, tcp(40_000, 80).syn());
        assert_eq!(goes_to(&mut program, &syn), Ok(LIMITED), "{last}");
    }
    let fourth = from("198.51.100.4", VIP_LIMITED, tcp(40_000, 80).syn());
    assert_eq!(goes_to(&mut program, &fourth), Err(Outcome::TooManyNewFlows));
    assert_eq!(goes_to(&mut program, &fourth), Err(Outcome::TooManyNewFlows), "what was refused took no token");
    for packet in [tcp(40_000, 80).ack().payload("GET /"), tcp(40_000, 80).fin().ack(), tcp(40_000, 80).rst()] {
        let at_work = from("198.51.100.4", VIP_LIMITED, packet);
        assert_eq!(goes_to(&mut program, &at_work), Ok(LIMITED), "a flow at work is not limited");
    }
    let other = from("198.51.101.1", VIP_LIMITED, tcp(40_000, 80).syn());
    assert_eq!(goes_to(&mut program, &other), Ok(LIMITED), "another source");
    let elsewhere = from("198.51.100.4", VIP, tcp(40_000, 80).syn());
    assert_eq!(goes_to(&mut program, &elsewhere), Ok(WEB), "another listener");
    let quoted = Frame::to(CLIENT_MAC).ipv4(VIP_LIMITED, "198.51.100.4").carry(tcp(80, 40_000).syn());
    let error = from("192.0.2.1", VIP_LIMITED, icmp(3, 4, 1_400).payload(quoted.network()));
    assert_eq!(goes_to(&mut program, &error), Ok(LIMITED), "an ICMP error begins nothing");
}

#[test]
fn a_listener_has_as_many_flows_as_it_may_and_those_at_work_stay() {
    let mut program = program();
    let packet =
        |port, transport: fn(Transport) -> Transport| from("198.51.100.7", VIP_LIMITED, transport(tcp(port, 81)));
    for port in [1, 2] {
        assert_eq!(goes_to(&mut program, &packet(port, Transport::syn)), Ok(LIMITED));
    }
    assert_eq!(goes_to(&mut program, &packet(3, Transport::syn)), Err(Outcome::TooManyFlows));
    assert_eq!(goes_to(&mut program, &packet(1, Transport::syn)), Ok(LIMITED), "a SYN that is sent again");
    assert_eq!(goes_to(&mut program, &packet(2, Transport::ack)), Ok(LIMITED));
    assert_eq!(goes_to(&mut program, &packet(2, Transport::fin)), Ok(LIMITED));
    assert_eq!(goes_to(&mut program, &packet(4, Transport::ack)), Ok(LIMITED), "a flow that began elsewhere");
    assert_eq!(goes_to(&mut program, &packet(3, Transport::syn)), Err(Outcome::TooManyFlows));
    let quoted = Frame::to(CLIENT_MAC).ipv4(VIP_LIMITED, "198.51.100.9").carry(tcp(81, 9).ack());
    let error = from("192.0.2.1", VIP_LIMITED, icmp(3, 4, 1_400).payload(quoted.network()));
    assert_eq!(goes_to(&mut program, &error), Ok(LIMITED), "an ICMP error begins nothing");
}

#[test]
fn a_udp_flow_is_one_that_nothing_is_remembered_of() {
    let mut program = program();
    let datagram = |port| from("198.51.100.7", VIP_LIMITED, udp(port, 53));
    for (port, end) in [(1, Ok(LIMITED)), (2, Ok(LIMITED)), (3, Err(Outcome::TooManyFlows)), (1, Ok(LIMITED))] {
        assert_eq!(goes_to(&mut program, &datagram(port)), end, "{port}");
    }
}

#[test]
fn a_limit_of_nothing_lets_nothing_begin() {
    let mut program = program();
    for (port, end) in [(80, Outcome::TooManyNewFlows), (81, Outcome::TooManyFlows)] {
        let syn = from("198.51.100.7", VIP_SHUT, tcp(40_000, port).syn());
        assert_eq!(goes_to(&mut program, &syn), Err(end));
    }
    assert_eq!(program.memory().expect("maps").young.len(), 0, "what is refused is not remembered");
}
