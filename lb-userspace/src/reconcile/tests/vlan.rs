//! Backends in VLANs of an interface that drlb is attached to.

use lb_common::backend::Segment;

use super::*;

const ETH1: u32 = 3;
const VLAN: u32 = 4;

/// The link `eth1.100`.
fn vlan(parent: u32) -> Link {
    let mac = MacAddr([2, 0, 0, 0, 0, 9]);
    Link { ifindex: VLAN, mac, up: true, xdp_program: None, vlan: Some(Vlan { parent, id: 100 }) }
}

/// A pool on `eth1`, and its first backend behind `eth1.100`.
fn world(link: Link) -> World {
    let mut world = a_pool_at_work();
    world.step(Step::Link("eth1.100".to_owned(), Some(link)));
    let reach = Reach::Resolved { mac: MacAddr([2, 0, 0, 0, 1, 0]), ifindex: VLAN };
    world.step(Step::Reach(pool_address(0), reach));
    world
}

/// The segment that the pool's first backend is sent to.
fn segment(world: &World) -> Option<Segment> {
    let place = world.held.owners_in(0..SIZES.places).find(|(_, owner)| *owner == pool_address(0).address());
    let word = world.held.backend(place.expect("the backend has a place").0);
    word.is_reachable().then(|| world.held.segments[&word.segment()])
}

#[test]
fn a_backend_behind_a_vlan_is_sent_to_on_its_parent_with_a_tag() {
    let world = world(vlan(ETH1));
    assert_eq!(segment(&world), Some(Segment::new(ETH1, MacAddr([2, 0, 0, 0, 0, 9]), 100)));
    let egress: Vec<u32> = world.held.egress.values().copied().collect();
    assert_eq!(egress, [ETH1, ETH1], "both segments go out of the interface itself");
}

#[test]
fn a_vlan_of_what_drlb_is_not_attached_to_is_no_segment() {
    assert_eq!(segment(&world(vlan(99))), None);
    // A VLAN within a VLAN: its parent has a segment, but is not attached.
    let mut world = world(vlan(ETH1));
    let inner = Link { ifindex: 5, vlan: Some(Vlan { parent: VLAN, id: 7 }), ..vlan(ETH1) };
    world.step(Step::Link("eth1.100.7".to_owned(), Some(inner)));
    let reach = Reach::Resolved { mac: MacAddr([2, 0, 0, 0, 1, 0]), ifindex: 5 };
    world.step(Step::Reach(pool_address(0), reach));
    assert_eq!(segment(&world), None);
}

#[test]
fn a_restart_keeps_the_segments_of_vlans_until_the_backends_are_known_again() {
    let mut world = world(vlan(ETH1));
    let before = segment(&world);
    world.step(Step::Restart);
    world.step(Step::Reach(pool_address(0), Reach::Unresolved { why: Unresolved::Asking }));
    assert_eq!(segment(&world), before);
    world.step(Step::Link("eth1.100".to_owned(), None));
    assert_eq!(world.held.segments.len(), 1, "the VLAN is gone");
}
