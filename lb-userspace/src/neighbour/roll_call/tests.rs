//! Who is asked.

use std::collections::BTreeSet;

use super::*;
use crate::announce::Port;
use crate::neighbour::{Unresolved, Vlan};

const OWN: MacAddr = MacAddr([2, 0, 0, 0, 1, 2]);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 0x21]);

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn backend(text: &str) -> BackendAddr {
    text.parse().expect("a backend address")
}

/// `eth1` (3), which the program runs on, its VLAN `eth1.7` (5), and `eth2` (4), with an IPv4 and an IPv6 address each.
fn host() -> (NetworkView, Owned) {
    let link = |ifindex, vlan| Link { ifindex, mac: OWN, up: true, xdp_program: None, vlan };
    let vlan = Some(Vlan { parent: 3, id: 7 });
    let mut view = NetworkView::default();
    for (name, link) in [("eth1", link(3, None)), ("eth1.7", link(5, vlan)), ("eth2", link(4, None))] {
        let number = link.ifindex;
        let own = [(address(&format!("192.0.{number}.2")), 24), (address(&format!("2001:db8:{number}::2")), 64)];
        view.addresses.insert(number, own.to_vec());
        view.links.insert(name.to_owned(), link);
    }
    let ports = BTreeMap::from([("eth1".to_owned(), Port { ifindex: 3, mac: OWN })]);
    (view, Owned { ports, ..Owned::default() })
}

fn at(view: &mut NetworkView, text: &str, ifindex: u32) {
    view.backends.insert(backend(text), Reach::Resolved { mac: MAC, ifindex });
}

#[test]
fn backends_behind_what_drlb_runs_on_are_asked_by_an_address_near_them() {
    let (mut view, owned) = host();
    for (text, ifindex) in [("192.0.3.21", 3), ("2001:db8:3::21", 3), ("192.0.5.21", 5), ("192.0.4.21", 4)] {
        at(&mut view, text, ifindex);
    }
    // A route on the link, with no address of that network.
    at(&mut view, "203.0.113.21", 3);
    let place = |ifindex, source: &str| Place { ifindex, own: OWN, source: address(source), mac: MAC };
    let expected = [
        (backend("192.0.3.21"), place(3, "192.0.3.2")),
        (backend("192.0.5.21"), place(5, "192.0.5.2")),
        (backend("203.0.113.21"), place(3, "192.0.3.2")),
        (backend("2001:db8:3::21"), place(3, "2001:db8:3::2")),
    ];
    assert_eq!(places(&view, &owned), BTreeMap::from(expected));
}

#[test]
fn nobody_is_asked_where_there_is_nothing_to_learn_or_nobody_to_ask_from() {
    let (mut view, owned) = host();
    at(&mut view, "192.0.3.21", 3);
    at(&mut view, "192.0.3.22", 3);
    view.fixed.insert(backend("192.0.3.22"));
    view.backends.insert(backend("192.0.3.23"), Reach::Unresolved { why: Unresolved::Asking });
    let asked = |view: &NetworkView, owned: &Owned| places(view, owned).into_keys().collect::<Vec<_>>();
    assert_eq!(asked(&view, &owned), [backend("192.0.3.21")]);

    let mut down = view.clone();
    down.links.entry("eth1".to_owned()).and_modify(|link| link.up = false);
    assert_eq!(asked(&down, &owned), [], "a link that is down");
    let mut replaced = view.clone();
    replaced.links.entry("eth1".to_owned()).and_modify(|link| link.ifindex = 9);
    assert_eq!(asked(&replaced, &owned), [], "another link has the name");
    let mut renamed = view.clone();
    if let Some(link) = renamed.links.remove("eth1") {
        renamed.links.insert("lan0".to_owned(), link);
    }
    assert_eq!(asked(&renamed, &owned), [backend("192.0.3.21")], "the program stays on a link that is renamed");

    let vips = BTreeSet::from([address("192.0.3.2")]);
    let program = Owned { vips: vips.clone(), ..owned.clone() };
    let others = Owned { others: vips, ..owned.clone() };
    for owned in [program, others] {
        assert_eq!(asked(&view, &owned), [], "its only address is a VIP");
    }
    view.addresses.clear();
    assert_eq!(asked(&view, &owned), [], "no address");
    let (mut view, _) = host();
    at(&mut view, "192.0.3.21", 3);
    assert_eq!(asked(&view, &Owned::default()), [], "detached");
}
