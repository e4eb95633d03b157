//! What the kernel told of links, routes and neighbours, and what follows from it. Pure: no netlink, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::address::MacAddr;

use super::{Link, Missed, NetworkView, Reach, Targets, Unresolved, Vlan};
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
    /// What it is a VLAN of, if it is one.
    pub vlan: Option<Vlan>,
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
    /// The kernel's route for each target.
    pub routes: BTreeMap<BackendAddr, Route>,
    /// This host's own addresses by the index of their link, with the length of their network's prefix.
    pub addresses: BTreeMap<u32, Vec<(IpAddr, u8)>>,
    /// What of the kernel's announcements was missed.
    pub missed: Missed,
    /// IPv4 and IPv6 neighbours of all links.
    neighbours: BTreeMap<NeighbourKey, Neighbour>,
    /// The MAC that each target's neighbour entry had last, as long as the kernel has not found it to be silent.
    ///
    /// An entry that was deleted (`ip neighbour flush`, a link that flaps, a full table) is asked for anew within
    /// milliseconds. Taking the backend out for that time would move its flows to other backends and back.
    last_macs: BTreeMap<NeighbourKey, MacAddr>,
}

impl Picture {
    /// Forgets a link and its neighbours.
    pub fn remove_link(&mut self, ifindex: u32) {
        self.links.remove(&ifindex);
        self.neighbours.retain(|key, _| key.ifindex != ifindex);
        self.last_macs.retain(|key, _| key.ifindex != ifindex);
    }

    /// Notes a new or changed neighbour entry.
    pub fn set_neighbour(&mut self, key: NeighbourKey, entry: Neighbour) {
        match (entry.state, entry.mac) {
            (NeighbourState::Usable | NeighbourState::Fixed, Some(mac)) => {
                self.last_macs.insert(key, mac);
            }
            (NeighbourState::Failed, _) => {
                self.last_macs.remove(&key);
            }
            _ => {}
        }
        self.neighbours.insert(key, entry);
    }

    /// Notes that a neighbour entry is gone.
    pub fn remove_neighbour(&mut self, key: NeighbourKey) {
        self.neighbours.remove(&key);
    }

    /// Notes that these are all neighbour entries.
    pub fn set_all_neighbours(&mut self, entries: BTreeMap<NeighbourKey, Neighbour>) {
        self.neighbours.clear();
        for (key, entry) in entries {
            self.set_neighbour(key, entry);
        }
    }

    /// Forgets the routes and the MACs of what is no target, or not on a link, any more.
    pub fn forget_all_but(&mut self, targets: &Targets) {
        self.routes.retain(|backend, _| targets.backends.contains(backend));
        let wanted = self.wanted(targets);
        self.last_macs.retain(|key, _| wanted.contains(key));
    }

    /// True if the kernel has not yet found out of some target whether it answers.
    #[must_use]
    pub fn is_asking(&self, targets: &Targets) -> bool {
        let asking = Reach::Unresolved { why: Unresolved::Asking };
        targets.backends.iter().any(|&backend| self.reach(backend).is_none_or(|reach| reach == asking))
    }

    /// What the engine needs to know of all this.
    #[must_use]
    pub fn view(&self, targets: &Targets) -> NetworkView {
        let backends = targets.backends.iter().filter_map(|&backend| Some((backend, self.reach(backend)?))).collect();
        let is_fixed = |backend: &BackendAddr| {
            let entry = self.entry_of(*backend).and_then(|key| self.neighbours.get(&key));
            entry.is_some_and(|entry| entry.state == NeighbourState::Fixed)
        };
        let fixed = targets.backends.iter().copied().filter(is_fixed).collect();
        let links = self
            .links
            .iter()
            .filter_map(|(&ifindex, link)| {
                let LinkFacts { up, xdp_program, vlan, .. } = *link;
                let view = Link { ifindex, mac: link.mac?, up, xdp_program, vlan };
                Some((link.name.clone(), view))
            })
            .collect();
        NetworkView { backends, fixed, links, addresses: self.addresses.clone(), missed: self.missed.clone() }
    }

    /// What the kernel shall do so that every target is resolved and nothing else is kept fresh on our account.
    ///
    /// Entries that the operator fixed are left alone: making one managed would take its permanence away
    /// (`__neigh_update` in the kernel's net/core/neighbour.c).
    #[must_use]
    pub fn actions(&self, targets: &Targets) -> Vec<Action> {
        let wanted = self.wanted(targets);
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

    fn wanted(&self, targets: &Targets) -> BTreeSet<NeighbourKey> {
        targets.backends.iter().filter_map(|&backend| self.entry_of(backend)).collect()
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
                let key = NeighbourKey { ifindex, address: backend.ip() };
                let entry = self.neighbours.get(&key);
                // What was known of it before it became a target was forgotten, but for the entry itself.
                let usable =
                    entry.filter(|entry| matches!(entry.state, NeighbourState::Usable | NeighbourState::Fixed));
                let known = self.last_macs.get(&key).copied().or_else(|| usable?.mac);
                match (known, entry.map(|entry| entry.state)) {
                    (Some(mac), _) => return Some(Reach::Resolved { mac, ifindex }),
                    (None, Some(NeighbourState::Failed)) => Unresolved::NoAnswer,
                    (None, _) => Unresolved::Asking,
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
mod tests;
