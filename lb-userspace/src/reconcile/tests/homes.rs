//! The segments that programs take for granted, those of the interfaces that they run on.

use lb_common::backend::Segment;

use super::*;

/// `eth1` and `eth2` as the network shows them.
fn links() -> NetworkView {
    let mut view = NetworkView::default();
    for (name, ifindex) in [("eth1", 3), ("eth2", 4)] {
        let mac = MacAddr([2, 0, 0, 0, 0, ifindex as u8]);
        view.links.insert(name.to_owned(), Link { ifindex, mac, up: true, xdp_program: None, vlan: None });
    }
    view
}

/// What is wanted when drlb is attached to these.
fn wanted(interfaces: &[&str]) -> Desired {
    let mut desired = Desired::default();
    for interface in interfaces {
        let command = Command::Attach { interface: (*interface).to_owned(), mode: AttachMode::Native };
        let edits = desired.check(&command, 0).expect("a command");
        desired.edit_all(edits);
    }
    desired
}

/// Maps without a segment; a program runs on `eth1`, loaded for this one.
fn held(home: u16) -> Held {
    let mut held = Held::empty(SIZES);
    let station = Some(Station { mac: links().links["eth1"].mac, home: Some(home) });
    held.attached.insert("eth1".to_owned(), Attached { ifindex: 3, station, mode: model::XdpMode::Native });
    held
}

/// What is attached, or renewed, and for which segment.
fn loaded(desired: &Desired, held: &Held) -> Vec<(String, Option<u16>)> {
    let of = |change: &LinkChange| match change {
        LinkChange::Attach { name, station, .. } | LinkChange::Renew { name, station } => (name.clone(), station.home),
        LinkChange::Detach { name } => panic!("{name} is wanted"),
    };
    plan_links(desired, &links(), held).first.iter().map(of).collect()
}

fn segments(desired: &Desired, held: &Held) -> Vec<(u16, u32)> {
    let changes = plan(desired, &links(), &Unhealthy::new(), held, &Scope::All).expect("there is room");
    let of = |change: &Change| match change {
        Change::SetSegment { index, segment } => (*index, segment.ifindex),
        other => panic!("{other:?}"),
    };
    changes.iter().map(of).collect()
}

#[test]
fn a_segment_is_made_where_the_program_was_told_that_it_will_be() {
    for home in [0, 4] {
        let (held, desired) = (held(home), wanted(&["eth1"]));
        assert_eq!(loaded(&desired, &held), []);
        assert_eq!(segments(&desired, &held), [(home, 3)]);
    }
}

#[test]
fn a_home_is_nobody_elses_before_there_is_a_segment() {
    // As when the agent was killed after it attached the program. The other interface is planned for first.
    let mut held = held(0);
    let eth1 = held.attached.remove("eth1").expect("it is attached");
    held.attached.insert("zeth".to_owned(), eth1);
    let mut view = links();
    let link = view.links.remove("eth1").expect("a link");
    view.links.insert("zeth".to_owned(), link);
    let desired = wanted(&["eth2", "zeth"]);
    let plan = plan_links(&desired, &view, &held).first;
    let [LinkChange::Attach { name, station, .. }] = &plan[..] else { panic!("{plan:?}") };
    assert_eq!((name.as_str(), station.home), ("eth2", Some(1)));
}

#[test]
fn a_program_whose_home_is_anothers_is_renewed() {
    let mut held = held(0);
    held.segments.insert(0, Segment::new(4, MacAddr([2, 0, 0, 0, 0, 4]), 0));
    held.egress.insert(0, 4);
    assert_eq!(loaded(&wanted(&["eth1"]), &held), [("eth1".to_owned(), Some(1))]);
    // And one that knows none, when there is one.
    let mut held = self::held(0);
    held.attached.get_mut("eth1").and_then(|eth1| eth1.station.as_mut()).expect("it is known").home = None;
    held.segments.insert(5, Segment::new(3, MacAddr([2, 0, 0, 0, 0, 3]), 0));
    assert_eq!(loaded(&wanted(&["eth1"]), &held), [("eth1".to_owned(), Some(5))]);
}

#[test]
fn without_an_index_left_the_program_is_told_of_no_home() {
    let mut held = Held::empty(SIZES);
    for index in 0..SIZES.segments {
        held.segments.insert(index, Segment::new(9, MacAddr([2, 0, 0, 0, 0, 9]), index + 1));
    }
    assert_eq!(loaded(&wanted(&["eth1"]), &held), [("eth1".to_owned(), None)]);
}
