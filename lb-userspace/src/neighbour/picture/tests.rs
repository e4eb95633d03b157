use super::*;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x21]);

fn backend(text: &str) -> BackendAddr {
    text.parse().expect("a backend address")
}

fn key(ifindex: u32, text: &str) -> NeighbourKey {
    NeighbourKey { ifindex, address: backend(text).ip() }
}

fn entry(state: NeighbourState, mac: Option<MacAddr>) -> Neighbour {
    Neighbour { state, mac, managed: true, ours: true }
}

/// A host with an Ethernet link (2), a tunnel (3), and the given route to 192.0.2.21, which is the only target.
fn picture(route: Route) -> (Picture, Targets) {
    let mut picture = Picture::default();
    let ethernet = LinkFacts {
        name: "eth1".into(),
        mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
        up: true,
        xdp_program: Some(7),
        vlan: None,
    };
    let tunnel = LinkFacts { name: "tun0".into(), mac: None, up: true, xdp_program: None, vlan: None };
    picture.links.insert(2, ethernet);
    picture.links.insert(3, tunnel);
    picture.routes.insert(backend("192.0.2.21"), route);
    (picture, Targets { backends: BTreeSet::from([backend("192.0.2.21")]) })
}

fn reach(picture: &Picture, targets: &Targets) -> Reach {
    picture.view(targets).backends.remove(&backend("192.0.2.21")).expect("the target was looked up")
}

#[test]
fn each_neighbour_state_says_whether_the_backend_can_be_reached() {
    let (mut picture, targets) = picture(Route::OnLink(2));
    let resolved = Reach::Resolved { mac: MAC, ifindex: 2 };
    let asking = Reach::Unresolved { why: Unresolved::Asking };
    let no_answer = Reach::Unresolved { why: Unresolved::NoAnswer };
    let cases = [
        (NeighbourState::Fixed, None, &asking),
        (NeighbourState::Usable, Some(MAC), &resolved),
        (NeighbourState::Failed, None, &no_answer),
        // The kernel keeps the old MAC of an entry that it asks for again after a failure; nobody has confirmed it.
        (NeighbourState::Asking, Some(MAC), &asking),
        (NeighbourState::Fixed, Some(MAC), &resolved),
    ];
    assert_eq!(reach(&picture, &targets), asking, "no entry yet");
    for (state, mac, expected) in cases {
        picture.set_neighbour(key(2, "192.0.2.21"), entry(state, mac));
        assert_eq!(reach(&picture, &targets), *expected, "{state:?} with MAC {mac:?}");
        let fixed = picture.view(&targets).fixed;
        assert_eq!(!fixed.is_empty(), state == NeighbourState::Fixed, "{state:?}");
    }
}

#[test]
fn a_backend_that_is_not_on_an_ethernet_link_is_unresolved_and_says_why() {
    let router = backend("192.0.2.1").ip();
    let cases = [
        (Route::Via(router), Unresolved::BehindRouter(router)),
        (Route::Local, Unresolved::OwnAddress),
        (Route::NotAHost, Unresolved::NotAHost),
        (Route::None, Unresolved::NoRoute),
        (Route::OnLink(3), Unresolved::NotEthernet),
        (Route::OnLink(99), Unresolved::NotEthernet),
    ];
    for (route, why) in cases {
        let (picture, targets) = picture(route);
        assert_eq!(reach(&picture, &targets), Reach::Unresolved { why }, "{route:?}");
        assert_eq!(picture.actions(&targets), [], "{route:?}: there is no neighbour to ask for");
    }
}

#[test]
fn an_entry_that_is_asked_for_anew_keeps_its_mac_until_nobody_answers() {
    let (mut picture, targets) = picture(Route::OnLink(2));
    let key = key(2, "192.0.2.21");
    let resolved = Reach::Resolved { mac: MAC, ifindex: 2 };
    picture.set_neighbour(key, entry(NeighbourState::Usable, Some(MAC)));
    picture.remove_neighbour(key);
    assert_eq!(reach(&picture, &targets), resolved, "flushed");
    picture.set_neighbour(key, entry(NeighbourState::Asking, None));
    assert_eq!(reach(&picture, &targets), resolved, "asked for anew");
    picture.set_all_neighbours(BTreeMap::new());
    picture.forget_all_but(&targets);
    assert_eq!(reach(&picture, &targets), resolved, "gone when all was read anew");
    assert!(!picture.is_asking(&targets));
    picture.set_neighbour(key, entry(NeighbourState::Failed, None));
    assert_eq!(reach(&picture, &targets), Reach::Unresolved { why: Unresolved::NoAnswer });
    picture.set_neighbour(key, entry(NeighbourState::Asking, None));
    assert_eq!(reach(&picture, &targets), Reach::Unresolved { why: Unresolved::Asking });
    assert!(picture.is_asking(&targets));
}

#[test]
fn an_entry_that_was_there_before_its_backend_is_used() {
    for state in [NeighbourState::Fixed, NeighbourState::Usable] {
        let (mut picture, targets) = picture(Route::OnLink(2));
        picture.set_neighbour(key(2, "192.0.2.21"), entry(state, Some(MAC)));
        picture.forget_all_but(&Targets::default());
        picture.routes.insert(backend("192.0.2.21"), Route::OnLink(2));
        assert_eq!(reach(&picture, &targets), Reach::Resolved { mac: MAC, ifindex: 2 }, "{state:?}");
    }
}

#[test]
fn a_mac_is_forgotten_with_the_route_and_with_the_target() {
    let (mut picture, targets) = picture(Route::OnLink(2));
    let backend = backend("192.0.2.21");
    for forget in [true, false] {
        picture.set_neighbour(key(2, "192.0.2.21"), entry(NeighbourState::Usable, Some(MAC)));
        picture.remove_neighbour(key(2, "192.0.2.21"));
        if forget {
            picture.routes.insert(backend, Route::None);
            picture.forget_all_but(&targets);
        } else {
            picture.forget_all_but(&Targets::default());
        }
        picture.routes.insert(backend, Route::OnLink(2));
        assert_eq!(reach(&picture, &targets), Reach::Unresolved { why: Unresolved::Asking });
    }
}

#[test]
fn a_neighbour_on_another_link_does_not_count() {
    let (mut picture, targets) = picture(Route::OnLink(2));
    picture.set_neighbour(key(3, "192.0.2.21"), entry(NeighbourState::Usable, Some(MAC)));
    assert_eq!(reach(&picture, &targets), Reach::Unresolved { why: Unresolved::Asking });
}

#[test]
fn a_target_without_a_looked_up_route_is_not_in_the_view() {
    let (mut picture, targets) = picture(Route::OnLink(2));
    picture.routes.clear();
    assert!(picture.view(&targets).backends.is_empty());
}

#[test]
fn only_ethernet_links_are_in_the_view() {
    let (picture, targets) = picture(Route::None);
    let links = picture.view(&targets).links;
    assert_eq!(links.keys().collect::<Vec<_>>(), ["eth1"]);
    assert_eq!(links["eth1"].xdp_program, Some(7));
}

#[test]
fn a_target_is_managed_once_and_the_operators_entry_is_left_alone() {
    let (mut picture, targets) = picture(Route::OnLink(2));
    let key = key(2, "192.0.2.21");
    assert_eq!(picture.actions(&targets), [Action::Manage { key, exists: false }]);

    let plain = Neighbour { managed: false, ours: false, ..entry(NeighbourState::Usable, Some(MAC)) };
    picture.set_neighbour(key, plain);
    assert_eq!(picture.actions(&targets), [Action::Manage { key, exists: true }]);

    picture.set_neighbour(key, Neighbour { managed: true, ours: true, ..plain });
    assert_eq!(picture.actions(&targets), []);

    picture.set_neighbour(key, Neighbour { state: NeighbourState::Fixed, ..plain });
    assert_eq!(picture.actions(&targets), []);
}

#[test]
fn only_entries_that_drlb_manages_are_released() {
    let (mut picture, _) = picture(Route::OnLink(2));
    let nobody = Targets::default();
    let managed = entry(NeighbourState::Usable, Some(MAC));
    picture.set_neighbour(key(2, "192.0.2.21"), managed);
    picture.set_neighbour(key(2, "192.0.2.22"), Neighbour { ours: false, ..managed });
    picture.set_neighbour(key(2, "192.0.2.23"), Neighbour { managed: false, ..managed });
    assert_eq!(picture.actions(&nobody), [Action::Release { key: key(2, "192.0.2.21") }]);
}

#[test]
fn a_backend_that_moved_to_another_link_is_released_on_the_old_one() {
    let (mut picture, targets) = picture(Route::OnLink(2));
    let other = LinkFacts { name: "eth2".into(), ..picture.links[&2].clone() };
    picture.links.insert(4, other);
    picture.set_neighbour(key(4, "192.0.2.21"), entry(NeighbourState::Usable, Some(MAC)));
    let expected =
        [Action::Manage { key: key(2, "192.0.2.21"), exists: false }, Action::Release { key: key(4, "192.0.2.21") }];
    assert_eq!(picture.actions(&targets), expected);
}

#[test]
fn a_removed_link_takes_its_neighbours_along() {
    let (mut picture, targets) = picture(Route::OnLink(2));
    picture.set_neighbour(key(2, "192.0.2.21"), entry(NeighbourState::Usable, Some(MAC)));
    picture.remove_link(2);
    assert!(picture.neighbours.is_empty());
    assert_eq!(reach(&picture, &targets), Reach::Unresolved { why: Unresolved::NotEthernet });
}
