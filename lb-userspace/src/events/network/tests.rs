use lb_common::address::MacAddr;

use super::*;
use crate::model::{AttachMode, Interface};

const A: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

fn address(text: &str) -> BackendAddr {
    text.parse().expect("an address")
}

/// Interfaces that drlb is to run on, and a pool with these backends.
fn desired(interfaces: &[&str], backends: &[&str]) -> Desired {
    let mut desired = Desired::default();
    for name in interfaces {
        let interface = Interface { name: (*name).to_owned(), mode: AttachMode::Native };
        desired.interfaces.insert((*name).to_owned(), interface);
    }
    let text = format!(
        "[[listeners]]\nname = \"web\"\nvip = \"192.0.2.10\"\nprotocol = \"tcp\"\nport = 80\n{}",
        backends.iter().map(|a| format!("[[listeners.backends]]\naddress = \"{a}\"\n")).collect::<String>()
    );
    let wanted = crate::config::read(&text).expect("a file");
    let plan = crate::config::plan(&wanted, &desired, 0).expect("a plan");
    for command in &plan.commands {
        let edits = desired.check(command, 0).expect("a command");
        desired.edit_all(edits);
    }
    for name in interfaces {
        let interface = Interface { name: (*name).to_owned(), mode: AttachMode::Native };
        desired.interfaces.insert((*name).to_owned(), interface);
    }
    desired
}

fn view(links: &[(&str, u32, bool)], backends: &[(&str, Reach)]) -> NetworkView {
    let link = |ifindex, up| Link { ifindex, mac: A, up, xdp_program: None, vlan: None };
    NetworkView {
        links: links.iter().map(|(name, index, up)| ((*name).to_owned(), link(*index, *up))).collect(),
        backends: backends.iter().map(|(text, reach)| (address(text), reach.clone())).collect(),
        ..NetworkView::default()
    }
}

fn at(mac: MacAddr, ifindex: u32) -> Reach {
    Reach::Resolved { mac, ifindex }
}

const fn not(why: Unresolved) -> Reach {
    Reach::Unresolved { why }
}

fn kinds(desired: &Desired, before: Option<&NetworkView>, after: &NetworkView) -> Vec<EventKind> {
    changes(desired, before, after).into_iter().map(|news| news.kind).collect()
}

#[test]
fn a_neighbours_life_is_told() {
    use EventKind::{NeighbourLearnt, NeighbourLost, NeighbourMoved};
    let desired = desired(&[], &["192.0.2.21"]);
    let links = [("eth1", 2, true), ("eth2", 3, true)];
    let seen = |reach: Reach| view(&links, &[("192.0.2.21", reach)]);
    let steps = [
        (not(Unresolved::Asking), vec![]),
        (at(A, 2), vec![NeighbourLearnt]),
        (at(A, 2), vec![]),
        (at(B, 2), vec![NeighbourMoved]),
        (at(B, 3), vec![NeighbourMoved]),
        (not(Unresolved::NoAnswer), vec![NeighbourLost]),
        (not(Unresolved::Asking), vec![]),
        (not(Unresolved::OwnAddress), vec![NeighbourLost]),
        (at(A, 2), vec![NeighbourLearnt]),
    ];
    let mut before = view(&links, &[]);
    for (reach, expected) in steps {
        let after = seen(reach);
        assert_eq!(kinds(&desired, Some(&before), &after), expected, "{before:?} {after:?}");
        before = after;
    }
    let [news] = &changes(&desired, Some(&seen(at(A, 2))), &seen(at(B, 2)))[..] else { panic!("one") };
    assert_eq!(news.text, "backend 192.0.2.21 has the MAC 02:00:00:00:00:02 now behind eth1; it had 02:00:00:00:00:01");
    assert_eq!((news.interface.as_deref(), news.backends.first()), (Some("eth1"), Some(&address("192.0.2.21"))));
    assert!(news.listeners.iter().any(|name| name.as_str() == "web") && news.vips.len() == 1, "{news:?}");
}

#[test]
fn the_first_picture_tells_only_what_is_wrong() {
    use EventKind::{LinkDown, LinkGone, NeighbourDuplicate, NeighbourLost};
    let desired = desired(&["eth1", "eth2"], &["192.0.2.21", "192.0.2.22", "192.0.2.23"]);
    let well = view(&[("eth1", 2, true), ("eth2", 3, true)], &[("192.0.2.21", at(A, 2))]);
    assert_eq!(kinds(&desired, None, &well), []);
    let ill = view(
        &[("eth2", 3, false)],
        &[("192.0.2.21", at(A, 3)), ("192.0.2.22", at(A, 3)), ("192.0.2.23", not(Unresolved::NoRoute))],
    );
    assert_eq!(kinds(&desired, None, &ill), [LinkGone, LinkDown, NeighbourLost, NeighbourDuplicate]);
}

#[test]
fn backends_with_one_mac_are_told_once_and_the_two_families_of_a_server_are_none() {
    let desired = desired(&[], &["192.0.2.21", "192.0.2.22"]);
    let links = [("eth1", 2, true)];
    let two = view(&links, &[("192.0.2.21", at(A, 2)), ("192.0.2.22", at(B, 2)), ("2001:db8::21", at(A, 2))]);
    assert!(one_mac(&two).is_empty());
    let one = view(&links, &[("192.0.2.21", at(A, 2)), ("192.0.2.22", at(A, 2))]);
    assert_eq!(kinds(&desired, Some(&two), &one), [EventKind::NeighbourMoved, EventKind::NeighbourDuplicate]);
    let moved = view(&links, &[("192.0.2.21", at(B, 2)), ("192.0.2.22", at(A, 2))]);
    assert_eq!(kinds(&desired, Some(&one), &moved), [EventKind::NeighbourMoved]);
}

#[test]
fn a_links_life_is_told_by_its_names() {
    use EventKind::{LinkAppeared, LinkDown, LinkGone, LinkRenamed, LinkReplaced, LinkUp};
    let desired = desired(&["eth1"], &[]);
    type Step<'a> = (&'a [(&'a str, u32, bool)], &'a [EventKind]);
    let steps: &[Step<'_>] = &[
        (&[("eth1", 2, false)], &[LinkDown]),
        (&[("eth1", 2, true)], &[LinkUp]),
        (&[("eth9", 2, true)], &[LinkRenamed]),
        (&[("eth9", 2, true), ("eth1", 3, true)], &[LinkAppeared]),
        (&[("eth9", 2, true), ("eth1", 4, true)], &[LinkReplaced]),
        (&[("eth1", 2, true)], &[LinkReplaced]),
        (&[("veth7", 7, true)], &[LinkGone]),
        (&[], &[]),
        (&[("eth1", 8, false)], &[LinkAppeared, LinkDown]),
        (&[("eth8", 8, true), ("eth1", 9, true)], &[LinkRenamed, LinkReplaced]),
    ];
    let mut before = view(&[("eth1", 2, true)], &[]);
    for (links, expected) in steps {
        let after = view(links, &[]);
        assert_eq!(kinds(&desired, Some(&before), &after), *expected, "{before:?} {after:?}");
        before = after;
    }
}

#[test]
fn what_was_missed_is_told_with_the_reason() {
    let before = NetworkView::default();
    let missed = crate::neighbour::Missed { times: 1, why: Some("too fast".to_owned()) };
    let after = NetworkView { missed, ..NetworkView::default() };
    let [news] = &changes(&Desired::default(), Some(&before), &after)[..] else { panic!("one") };
    assert_eq!((news.kind, news.text.contains("too fast")), (EventKind::NetlinkOverrun, true));
    assert!(changes(&Desired::default(), Some(&after), &after).is_empty());
}
