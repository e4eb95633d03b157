//! What the engine asks of others: whose MACs it needs, what to check, and which VIPs to announce.

use std::net::IpAddr;
use std::sync::Arc;

use super::core::Core;
use super::touched::Touched;
use crate::announce::{Owned, Port};
use crate::neighbour::NetworkView;
use crate::reconcile::{Attached, Scope};

impl Core {
    /// Asks for what is to be checked after a change of what is wanted, and writes down what that made known.
    pub(super) fn tell_health(&mut self, view: &NetworkView, touched: &Touched) {
        // No probe is sent from an address that is a VIP, so one that is our own concerns every pool.
        let own = view.addresses.values().flatten().any(|(own, _)| touched.vips.contains(own));
        let all = own || touched.scope == Scope::All;
        self.health.ask(&self.desired, view, &self.held, (!all).then_some(&touched.pools));
        if let Err(fault) = self.health.keep(self.store.as_mut()) {
            tracing::warn!("{fault}; after a restart, backends may have to prove themselves");
        }
    }

    /// Asks for the MACs of backends that have come, and no more for those of backends that have gone.
    pub(super) fn tell_targets(&self, touched: &Touched) {
        self.targets.send_if_modified(|known| {
            let is_wanted = |address| self.desired.pools_with(address).next().is_some();
            let changed: Vec<_> = (touched.backends.iter().copied())
                .filter(|address| is_wanted(address.ip()) != known.backends.contains(address))
                .collect();
            for address in &changed {
                let targets = &mut Arc::make_mut(known).backends;
                if !targets.remove(address) {
                    targets.insert(*address);
                }
            }
            !changed.is_empty()
        });
    }

    /// Tells which VIPs are in the maps, and which interfaces the program runs on: what is to be announced, and where.
    pub(super) fn tell_owned(&self) {
        let vips = |ours: bool| {
            let of_kind = self.held.vips.iter().filter(move |(_, vip)| vip.is_ours() == ours);
            of_kind.map(|(address, _)| IpAddr::from(*address)).collect()
        };
        let port = |attached: &Attached| Some(Port { ifindex: attached.ifindex, mac: attached.station?.mac });
        let ports = self.held.attached.iter().filter_map(|(name, attached)| Some((name.clone(), port(attached)?)));
        let owned = Owned { vips: vips(true), others: vips(false), ports: ports.collect() };
        self.owned.send_if_modified(|known| {
            let changed = **known != owned;
            if changed {
                *known = Arc::new(owned);
            }
            changed
        });
    }
}
