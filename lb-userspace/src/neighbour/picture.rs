//! What the kernel told of links, routes and neighbours, and what follows from it. Pure: no netlink, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::address::MacAddr;

use super::{Link, NetworkView, Reach, Targets, Unresolved};
use crate::model::BackendAddr;

/// A neighbour entry's identity: the kernel keeps one for each link and address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NeighbourKey {
    /// Index of the link.
    pub ifindex: u32,
    /// The neighbour's address.
    pub address: IpAddr,
}

/// A neighbour entry, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// How far its resolution is.
    pub state: NeighbourState,
    /// Its MAC, if one is known.
    pub mac: Option<MacAddr>,
    /// True if the kernel keeps it fresh by itself (`NTF_EXT_MANAGED`).
    pub managed: bool,
    /// True if drlb made it managed, in this run or in an earlier one: the entry carries drlb's protocol number.
    pub ours: bool,
}

/// The kernel's neighbour states (`NUD_…`), grouped by what they mean for forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// The MAC can be used: `REACHABLE`, `STALE`, `DELAY` or `PROBE`. The last three mean that it is being confirmed.
    Usable,
    /// The MAC was set by the operator or by the link and is never asked for: `PERMANENT` or `NOARP`.
    Fixed,
    /// Being asked for, or not yet: `INCOMPLETE` or `NONE`.
    Asking,
    /// Nobody answered: `FAILED`.
    Failed,
}

/// A link, as the kernel has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFacts {
    /// Its name.
    pub name: String,
    /// Its MAC, if it is an Ethernet link.
    pub mac: Option<MacAddr>,
    /// True if it is switched on and has a carrier.
    pub up: bool,
    /// Id of the XDP program that is attached to it.
    pub xdp_program: Option<u32>,
}

/// Where the kernel would send a packet for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// To the address itself, on the link with this index.
    OnLink(u32),
    /// To a router.
    Via(IpAddr),
    /// To this host.
    Local,
    /// To more than one host, or to whichever of them is near.
    NotAHost,
    /// Nowhere.
    None,
}

/// Something that the kernel shall do with a neighbour entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Resolve this neighbour and keep it fresh.
    Manage {
        /// The entry.
        key: NeighbourKey,
        /// True if the entry is there already.
        exists: bool,
    },
    /// Treat this neighbour as any other again.
    Release {
        /// The entry.
        key: NeighbourKey,
    },
}

/// All that was heard from the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Links by index.
    pub links: BTreeMap<u32, LinkFacts>,
    /// IPv4 and IPv6 neighbours of all links.
    pub neighbours: BTreeMap<NeighbourKey, Neighbour>,
    /// The kernel's route for each target.
    pub routes: BTreeMap<BackendAddr, Route>,
}

impl Picture {
    /// Forgets a link and its neighbours.
    pub fn remove_link(&mut self, ifindex: u32) {
        self.links.remove(&ifindex);
        self.neighbours.retain(|key, _| key.ifindex != ifindex);
    }

    /// What the engine needs to know of all this.
    #[must_use]
    pub fn view(&self, targets: &Targets) -> NetworkView {
        let backends = targets.backends.iter().filter_map(|&backend| Some((backend, self.reach(backend)?))).collect();
        let links = self
            .links
            .iter()
            .filter_map(|(&ifindex, link)| {
                let view = Link { ifindex, mac: link.mac?, up: link.up, xdp_program: link.xdp_program };
                Some((link.name.clone(), view))
            })
            .collect();
        NetworkView { backends, links }
    }

    /// What the kernel shall do so that every target is resolved and nothing else is kept fresh on our account.
    ///
    /// Entries that the operator fixed are left alone: making one managed would take its permanence away
    /// (`__neigh_update` in the kernel's net/core/neighbour.c).
    #[must_use]
    pub fn actions(&self, targets: &Targets) -> Vec<Action> {
        let wanted: BTreeSet<NeighbourKey> = targets.backends.iter().filter_map(|&b| self.entry_of(b)).collect();
        let manage = wanted.iter().filter_map(|&key| match self.neighbours.get(&key) {
            None => Some(Action::Manage { key, exists: false }),
            Some(entry) if entry.managed || entry.state == NeighbourState::Fixed => None,
            Some(_) => Some(Action::Manage { key, exists: true }),
        });
        let release = self
            .neighbours
            .iter()
            .filter(|(key, entry)| entry.managed && entry.ours && !wanted.contains(key))
            .map(|(&key, _)| Action::Release { key });
        manage.chain(release).collect()
    }

    /// The neighbour entry that tells a backend's MAC, if the backend is on an Ethernet link of this host.
    fn entry_of(&self, backend: BackendAddr) -> Option<NeighbourKey> {
        match self.routes.get(&backend)? {
            Route::OnLink(ifindex) if self.is_ethernet(*ifindex) => {
                Some(NeighbourKey { ifindex: *ifindex, address: backend.ip() })
            }
            _ => None,
        }
    }

    fn is_ethernet(&self, ifindex: u32) -> bool {
        self.links.get(&ifindex).is_some_and(|link| link.mac.is_some())
    }

    /// Whether frames can reach a backend; nothing if its route has not been looked up yet.
    fn reach(&self, backend: BackendAddr) -> Option<Reach> {
        let why = match *self.routes.get(&backend)? {
            Route::OnLink(ifindex) if !self.is_ethernet(ifindex) => Unresolved::NotEthernet,
            Route::OnLink(ifindex) => {
                let entry = self.neighbours.get(&NeighbourKey { ifindex, address: backend.ip() });
                match entry.map(|entry| (entry.state, entry.mac)) {
                    Some((NeighbourState::Usable | NeighbourState::Fixed, Some(mac))) => {
                        return Some(Reach::Resolved { mac, ifindex });
                    }
                    Some((NeighbourState::Failed, _)) => Unresolved::NoAnswer,
                    Some(_) | None => Unresolved::Asking,
                }
            }
            Route::Via(router) => Unresolved::BehindRouter(router),
            Route::Local => Unresolved::OwnAddress,
            Route::NotAHost => Unresolved::NotAHost,
            Route::None => Unresolved::NoRoute,
        };
        Some(Reach::Unresolved { why })
    }
}

#[cfg(test)]
mod tests {
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
        let ethernet =
            LinkFacts { name: "eth1".into(), mac: Some(MacAddr([2, 0, 0, 0, 0, 1])), up: true, xdp_program: Some(7) };
        let tunnel = LinkFacts { name: "tun0".into(), mac: None, up: true, xdp_program: None };
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
            (NeighbourState::Usable, Some(MAC), &resolved),
            (NeighbourState::Fixed, Some(MAC), &resolved),
            (NeighbourState::Fixed, None, &asking),
            (NeighbourState::Asking, None, &asking),
            // The kernel keeps the old MAC of an entry that it asks for anew; nobody has confirmed it.
            (NeighbourState::Asking, Some(MAC), &asking),
            (NeighbourState::Failed, None, &no_answer),
        ];
        assert_eq!(reach(&picture, &targets), asking, "no entry yet");
        for (state, mac, expected) in cases {
            picture.neighbours.insert(key(2, "192.0.2.21"), entry(state, mac));
            assert_eq!(reach(&picture, &targets), *expected, "{state:?} with MAC {mac:?}");
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
    fn a_neighbour_on_another_link_does_not_count() {
        let (mut picture, targets) = picture(Route::OnLink(2));
        picture.neighbours.insert(key(3, "192.0.2.21"), entry(NeighbourState::Usable, Some(MAC)));
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
        picture.neighbours.insert(key, plain);
        assert_eq!(picture.actions(&targets), [Action::Manage { key, exists: true }]);

        picture.neighbours.insert(key, Neighbour { managed: true, ours: true, ..plain });
        assert_eq!(picture.actions(&targets), []);

        picture.neighbours.insert(key, Neighbour { state: NeighbourState::Fixed, ..plain });
        assert_eq!(picture.actions(&targets), []);
    }

    #[test]
    fn only_entries_that_drlb_manages_are_released() {
        let (mut picture, _) = picture(Route::OnLink(2));
        let nobody = Targets::default();
        let managed = entry(NeighbourState::Usable, Some(MAC));
        picture.neighbours.insert(key(2, "192.0.2.21"), managed);
        picture.neighbours.insert(key(2, "192.0.2.22"), Neighbour { ours: false, ..managed });
        picture.neighbours.insert(key(2, "192.0.2.23"), Neighbour { managed: false, ..managed });
        assert_eq!(picture.actions(&nobody), [Action::Release { key: key(2, "192.0.2.21") }]);
    }

    #[test]
    fn a_backend_that_moved_to_another_link_is_released_on_the_old_one() {
        let (mut picture, targets) = picture(Route::OnLink(2));
        let other = LinkFacts { name: "eth2".into(), ..picture.links[&2].clone() };
        picture.links.insert(4, other);
        picture.neighbours.insert(key(4, "192.0.2.21"), entry(NeighbourState::Usable, Some(MAC)));
        let expected = [
            Action::Manage { key: key(2, "192.0.2.21"), exists: false },
            Action::Release { key: key(4, "192.0.2.21") },
        ];
        assert_eq!(picture.actions(&targets), expected);
    }

    #[test]
    fn a_removed_link_takes_its_neighbours_along() {
        let (mut picture, targets) = picture(Route::OnLink(2));
        picture.neighbours.insert(key(2, "192.0.2.21"), entry(NeighbourState::Usable, Some(MAC)));
        picture.remove_link(2);
        assert!(picture.neighbours.is_empty());
        assert_eq!(reach(&picture, &targets), Reach::Unresolved { why: Unresolved::NotEthernet });
    }
}
