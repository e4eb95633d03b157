//! The roll call: backends are asked in turn whether they are still at the MAC that is known of them.
//!
//! A host that moves and says so is followed by the kernel's announcements alone. One whose address is at another MAC without
//! a word the kernel would find out about when the old one has ceased to answer for long enough, which is up to a minute. So
//! each backend is asked twice a second, alone, at the MAC that is known. One that doesn't answer is asked for before all: whoever
//! has its address answers the balancer, and the kernel learns from that answer, as from any. The agent itself learns nothing
//! here: it follows the kernel.
//!
//! [`roll`] says who is asked when; [`task`] asks. Both know only backends that traffic may go to: see [`places`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use lb_common::address::MacAddr;

use super::{Link, NetworkView, Reach};
use crate::announce::Owned;
use crate::ethernet::questions::{arp, solicitation};
use crate::model::BackendAddr;

pub mod roll;
pub mod task;

/// Where a backend is thought to be, and how it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index of the interface that it is behind.
    pub ifindex: u32,
    /// That interface's MAC.
    pub own: MacAddr,
    /// The balancer's address that it answers.
    pub source: IpAddr,
    /// Its MAC.
    pub mac: MacAddr,
}

impl Place {
    /// The frame that asks for a backend: at its MAC alone, or before all. Nothing if the addresses are of two families.
    #[must_use]
    pub fn question(&self, backend: BackendAddr, alone: bool) -> Option<Vec<u8>> {
        let to = alone.then_some(self.mac);
        match (backend.ip(), self.source) {
            (IpAddr::V4(target), IpAddr::V4(source)) => Some(arp(target, source, self.own, to)),
            (IpAddr::V6(target), IpAddr::V6(source)) => Some(solicitation(target, source, self.own, to)),
            _ => None,
        }
    }
}

/// Who is asked, and where: the backends whose MAC is known and not fixed, behind interfaces that are up and that the program
/// is attached to, or VLANs of those. A backend that the balancer has no address to ask from is left to the kernel.
#[must_use]
pub fn places(view: &NetworkView, owned: &Owned) -> BTreeMap<BackendAddr, Place> {
    let is_attached = |ifindex: u32| owned.ports.values().any(|port| port.ifindex == ifindex);
    let is_ours =
        |link: &&Link| link.up && (is_attached(link.ifindex) || link.vlan.is_some_and(|vlan| is_attached(vlan.parent)));
    let links: BTreeMap<u32, &Link> = view.links.values().filter(is_ours).map(|link| (link.ifindex, link)).collect();
    // A backend does not answer an address that it has itself.
    let is_vip = |own: IpAddr| owned.vips.contains(&own) || owned.others.contains(&own);
    let place = |(backend, reach): (&BackendAddr, &Reach)| {
        let Reach::Resolved { mac, ifindex } = *reach else { return None };
        let link = links.get(&ifindex).filter(|_| !view.fixed.contains(backend))?;
        let source = view.source(*backend, ifindex, is_vip)?;
        Some((*backend, Place { ifindex, own: link.mac, source, mac }))
    };
    view.backends.iter().filter_map(place).collect()
}

#[cfg(test)]
mod tests;
