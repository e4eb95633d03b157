//! What hosts are asked, and what their answers mean.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use lb_common::address::MacAddr;

use super::inquiry::Inquiry;
use super::questions::{Place, Question, Questions};
use super::seen::{Claim, HeldVip};
use crate::announce::Port;
use crate::ethernet::frames::announcement;
use crate::ethernet::questions::arp;

const PORT: Port = Port { ifindex: 3, mac: MacAddr([2, 0, 0, 0, 1, 2]) };
const BACKEND: MacAddr = MacAddr([2, 0, 0, 0, 1, 0x21]);
const OTHER: MacAddr = MacAddr([2, 0, 0, 0, 1, 0x99]);
/// The balancer's address beside an IPv6 VIP.
const BESIDE: &str = "2001:db8::3";
const FIRST: u32 = 0x0001_0000;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// One backend of one listener, behind one interface.
fn questions(vip: &str, backend: &str, source: &str) -> Questions {
    let source = address(source);
    let place = Place { interface: "eth1".into(), port: PORT, mac: BACKEND, source, beside: Some(address(BESIDE)) };
    let question = Question {
        listener: "web".parse().expect("a name"),
        backend: backend.parse().expect("an address"),
        vip: address(vip),
        unresolved: None,
        check: None,
        place: Some(place),
    };
    Questions {
        ports: BTreeMap::from([("eth1".to_owned(), PORT)]),
        own: [PORT.mac].into(),
        vips: [address(vip)].into(),
        backends: vec![question],
    }
}

fn v4() -> Questions {
    questions("192.0.2.10", "192.0.2.21", "192.0.2.2")
}

fn v6() -> Questions {
    questions("2001:db8::10", "2001:db8::21", "2001:db8::2")
}

/// Whom a ping is from.
fn from(frame: &[u8]) -> IpAddr {
    if frame[12] == 8 {
        IpAddr::from(<[u8; 4]>::try_from(&frame[26..30]).expect("an address"))
    } else {
        IpAddr::from(<[u8; 16]>::try_from(&frame[22..38]).expect("an address"))
    }
}

fn inquiry(questions: &Questions) -> Inquiry<'_> {
    Inquiry::new(questions, &BTreeMap::from([(PORT.ifindex, 1_500)]), FIRST)
}

/// The answer to an ARP question.
fn arp_reply(from: Ipv4Addr, mac: MacAddr, told: Ipv4Addr) -> Vec<u8> {
    let mut frame = arp(told, from, mac, Some(PORT.mac));
    frame[21] = 2;
    frame
}

/// Turns a ping's frame into its answer, from `from`.
fn echoed(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let v4 = frame[12] == 8;
    let (addresses, length, kind) = if v4 { (26, 4, 34) } else { (22, 16, 54) };
    for at in 0..length {
        frame.swap(addresses + at, addresses + length + at);
    }
    frame[kind] = if v4 { 0 } else { 129 };
    frame
}

fn unanswered(inquiry: &Inquiry<'_>) -> Vec<Vec<u8>> {
    inquiry.unanswered().map(|(_, frame)| frame.to_vec()).collect()
}

#[test]
fn a_backend_that_answers_all_as_it_should_is_well() {
    for questions in [v4(), v6()] {
        let mut inquiry = inquiry(&questions);
        let is_v6 = questions.backends[0].vip.is_ipv6();
        // Small, wide, and to the VIP; by the VIP and beside it.
        assert_eq!(inquiry.pings(), if is_v6 { 5 } else { 3 });
        let asked = unanswered(&inquiry);
        for frame in asked.iter().filter(|frame| frame[34] == 8 || frame[54] == 128) {
            if from(frame) != questions.backends[0].vip {
                inquiry.hear(PORT.ifindex, &echoed(frame), false);
            }
        }
        let answered = if is_v6 { 4 } else { 3 };
        assert_eq!(unanswered(&inquiry).len(), asked.len() - answered, "what is answered is not asked again");
        let told = inquiry.finish();
        let host = &told.hosts[&questions.backends[0].backend];
        assert!(host.small && host.wide && told.claims.is_empty() && told.unfinished.is_empty(), "{told:?}");
        let expected = HeldVip { echoed: true, told_beside: is_v6, ..HeldVip::default() };
        assert_eq!(host.vips[&questions.backends[0].vip], expected);
    }
}

#[test]
fn arp_tells_whether_a_backend_has_the_vip_and_lets_clients_in() {
    let questions = v4();
    let backend = Ipv4Addr::new(192, 0, 2, 21);
    let mut inquiry = inquiry(&questions);
    inquiry.hear(PORT.ifindex, &arp_reply(backend, BACKEND, Ipv4Addr::new(192, 0, 2, 2)), false);
    inquiry.hear(PORT.ifindex, &arp_reply(backend, OTHER, Ipv4Addr::new(192, 0, 2, 2)), false);
    inquiry.hear(PORT.ifindex, &arp_reply(backend, BACKEND, Ipv4Addr::new(192, 0, 2, 10)), false);
    let told = inquiry.finish();
    let host = &told.hosts[&questions.backends[0].backend];
    assert_eq!(host.macs, [BACKEND, OTHER].into());
    assert!(host.vips[&address("192.0.2.10")].told_vip && !host.off_link, "{host:?}");
    let mut inquiry = self::inquiry(&questions);
    inquiry.hear(PORT.ifindex, &arp_reply(backend, BACKEND, Ipv4Addr::new(198, 18, 0, 1)), false);
    let told = inquiry.finish();
    let host = &told.hosts[&questions.backends[0].backend];
    assert!(host.off_link && host.macs.is_empty() && !host.vips[&address("192.0.2.10")].told_vip, "{host:?}");
}

#[test]
fn a_ping_by_the_vip_tells_whether_a_backend_has_it_and_one_from_beside_it_that_answers_come() {
    let mut questions = v6();
    let mut inquiry = inquiry(&questions);
    for frame in unanswered(&inquiry).iter().filter(|frame| frame[54] == 128 && from(frame) == address("2001:db8::10"))
    {
        // From another host it means nothing.
        let mut strange = echoed(frame);
        strange[37] ^= 1;
        inquiry.hear(PORT.ifindex, &strange, false);
        inquiry.hear(PORT.ifindex, &echoed(frame), false);
    }
    let told = inquiry.finish();
    let held = told.hosts[&questions.backends[0].backend].vips[&questions.backends[0].vip];
    assert_eq!(held, HeldVip { told_vip: true, ..HeldVip::default() });
    questions.backends[0].place.as_mut().expect("a place").beside = None;
    let without = self::inquiry(&questions);
    assert!(unanswered(&without).iter().all(|frame| from(frame) != address(BESIDE)));
    assert_eq!(without.pings(), 4);
}

#[test]
fn who_answers_for_a_vip_is_told_but_not_the_balancer_itself_or_on_another_interface() {
    for (questions, vip) in [(v4(), "192.0.2.10"), (v6(), "2001:db8::10")] {
        let vip = address(vip);
        let claim = |mac| match vip {
            IpAddr::V4(v4) => arp_reply(v4, mac, Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => announcement(vip, mac),
        };
        let mut inquiry = inquiry(&questions);
        inquiry.hear(PORT.ifindex, &claim(PORT.mac), false);
        inquiry.hear(99, &claim(OTHER), true);
        inquiry.hear(PORT.ifindex, &claim(OTHER), false);
        inquiry.hear(PORT.ifindex, b"anything", false);
        let told = inquiry.finish();
        assert_eq!(told.claims, [Claim { vip, mac: OTHER, interface: "eth1".into() }].into());
        assert_eq!(told.unfinished, [99].into());
    }
}

#[test]
fn a_backend_that_two_listeners_share_is_asked_once_and_by_each_vip() {
    let mut questions = v4();
    let second = Question { vip: address("192.0.2.11"), ..questions.backends[0].clone() };
    questions.backends.push(second);
    let inquiry = inquiry(&questions);
    // Small and wide once; to the VIP twice.
    assert_eq!(inquiry.pings(), 4);
    assert_eq!(inquiry.finish().hosts[&questions.backends[0].backend].vips.len(), 2);
}
