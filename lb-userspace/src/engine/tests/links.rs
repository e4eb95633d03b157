//! Interfaces that come, go and refuse.

use super::*;
use crate::reconcile::{LinkChange, Station};

#[test]
fn an_interface_that_refuses_the_program_is_not_kept() {
    let host = Host::new();
    host.plane().refusing.insert("eth1".to_owned());
    let mut core = host.start();
    let before = host.state();
    let fault = core.execute(&attach("eth1")).expect_err("it refuses");
    assert_eq!(fault.message, "interface eth1 has no XDP");
    assert_eq!(host.state(), before);
    assert!(core.status().expect("a status").interfaces.is_empty());
}

#[test]
fn an_unknown_interface_is_refused_and_a_new_one_is_waited_for() {
    let mut host = Host::new();
    let mut core = host.start();
    let fault = core.execute(&attach("eth9")).expect_err("there is none");
    assert_eq!(fault.message, "there is no interface eth9 on this host; there are: eth1, eth2");
    assert_eq!(fault.kind, FaultKind::NotFound);

    host.plane().interfaces.insert("eth3".to_owned(), 4);
    assert!(!core.can_execute(&attach("eth3")), "the picture of the network lags behind");
    host.link("eth3", 4, 3);
    host.look(&mut core);
    assert!(core.can_execute(&attach("eth3")));
    do_all(&mut core, [attach("eth3")]);
}

#[test]
fn an_interface_that_goes_and_comes_back_is_attached_again() {
    let mut host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    host.view.links.remove("eth1");
    host.plane().interfaces.remove("eth1");
    host.look(&mut core);
    let status = core.status().expect("a status");
    assert_eq!(status.interfaces[0].state, InterfaceState::Missing);
    assert_eq!(slots(&mut core, "web"), [0, 0, 0]);

    host.link("eth1", 7, 1);
    for reach in host.view.backends.values_mut() {
        if let Reach::Resolved { ifindex, .. } = reach {
            *ifindex = 7;
        }
    }
    host.look(&mut core);
    assert_eq!(core.status().expect("a status").interfaces[0].ifindex, Some(7));
    assert_eq!(slots(&mut core, "web").iter().sum::<u32>(), 101);
}

#[test]
fn an_interface_that_is_only_missing_in_the_picture_forwards_on() {
    let mut host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    host.plane().changes.clear();
    let links = std::mem::take(&mut host.view.links);
    host.look(&mut core);
    core.compare_everything().expect("a comparison");
    assert_eq!(core.status().expect("a status").interfaces[0].state, InterfaceState::Attached);
    host.view.links = links;
    host.look(&mut core);
    assert_eq!(host.plane().changes, []);
}

#[test]
fn a_new_mac_of_an_interface_renews_its_program() {
    let mut host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    host.plane().links.clear();
    host.link("eth1", 2, 9);
    host.look(&mut core);
    let mac = MacAddr([2, 0, 0, 0, 0, 9]);
    let station = Station { mac, home: Some(0) };
    assert_eq!(host.plane().links, [LinkChange::Renew { name: "eth1".to_owned(), station }]);
    assert_eq!(host.plane().held.segments.values().map(|segment| segment.mac).collect::<Vec<_>>(), [mac]);
}

#[test]
fn an_interface_that_cannot_be_attached_again_is_named_and_tried_again() {
    let mut host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    host.plane().refusing.insert("eth1".to_owned());
    host.link("eth1", 7, 1);
    host.look(&mut core);
    let status = core.status().expect("a status");
    assert_eq!(status.interfaces[0].state, InterfaceState::Failed);
    assert_eq!(status.interfaces[0].reason.as_deref(), Some("interface eth1 has no XDP"));
    // The other commands are not held up.
    do_all(&mut core, [add_backend("web", 24, 1)]);
    host.plane().refusing.clear();
    core.compare_everything().expect("a comparison");
    let status = core.status().expect("a status");
    assert_eq!((status.interfaces[0].state, &status.interfaces[0].reason), (InterfaceState::Attached, &None));
}

#[test]
fn an_interface_whose_link_is_down_is_named() {
    let mut host = Host::new();
    let mut core = host.start();
    usual(&mut core);
    host.view.links.get_mut("eth1").expect("the link").up = false;
    host.look(&mut core);
    let interface = core.status().expect("a status").interfaces.remove(0);
    assert_eq!(interface.state, InterfaceState::Down);
    assert!(interface.reason.expect("a reason").contains("`ip link set eth1 up`"));
}
