//! What is to be checked, and from where: from what is wanted and what the network looks like. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use lb_common::backend::Backend;

use super::{Check, CheckKey, Checks, Standing, Unhealthy, Way};
use crate::model::{self, BackendAddr, Desired, Pool, WhenAllDown};
use crate::neighbour::{NetworkView, Reach, Unresolved};
use crate::reconcile::SegmentsByInterface;

/// The standing of each backend that is checked.
pub type Standings = BTreeMap<CheckKey, Standing>;

/// Everything that is to be checked. Backends that an operator took out of service are not.
#[must_use]
pub fn checks(desired: &Desired, view: &NetworkView, segments: &SegmentsByInterface, standings: &Standings) -> Checks {
    let of_pools = desired.pools.values().flat_map(|pool| checks_in(desired, pool, view, segments, standings));
    Checks { checks: of_pools.collect() }
}

/// What is to be checked of one pool.
#[must_use]
pub fn checks_in(
    desired: &Desired,
    pool: &Pool,
    view: &NetworkView,
    segments: &SegmentsByInterface,
    standings: &Standings,
) -> BTreeMap<CheckKey, Check> {
    let mut checks = BTreeMap::new();
    let Some(health) = &pool.health else { return checks };
    let spec = Arc::new(health.clone());
    let listeners: Vec<_> = desired.listeners_of(&pool.name).collect();
    for backend in pool.backends.values().filter(|backend| is_checked(backend)) {
        let port = |listener: &model::Listener| match spec.probe.kind().has_port() {
            true => backend.monitor.port.or(spec.port).unwrap_or(listener.port),
            false => 0,
        };
        let mut targets: Vec<_> =
            listeners.iter().map(|listener| SocketAddr::new(listener.vip.ip(), port(listener))).collect();
        targets.sort_unstable();
        targets.dedup();
        let Some(first) = targets.first().copied() else { continue };
        let key = (pool.name.clone(), backend.address);
        let own = backend.monitor.address.unwrap_or(backend.address).ip();
        let check = Check {
            spec: Arc::clone(&spec),
            own: SocketAddr::new(own, first.port()),
            way: match backend.monitor.address {
                Some(_) => Way::Own,
                None => way(backend.address, view, segments, desired),
            },
            vips: targets,
            first: standings.get(&key).copied().unwrap_or(Standing::Unproven),
        };
        checks.insert(key, check);
    }
    checks
}

/// The backends that take no traffic because they are not up. Where all of a pool would be, and it says so, none is.
#[must_use]
pub fn unhealthy(desired: &Desired, standings: &Standings) -> Unhealthy {
    desired.pools.values().flat_map(|pool| unhealthy_in(pool, standings)).collect()
}

/// Those of one pool.
pub fn unhealthy_in(pool: &Pool, standings: &Standings) -> Vec<CheckKey> {
    let Some(health) = &pool.health else { return Vec::new() };
    let is_up = |backend: &model::Backend| {
        standings.get(&(pool.name.clone(), backend.address)).is_some_and(|standing| *standing == Standing::Up)
    };
    if health.when_all_down == WhenAllDown::UseAll && !takes_new_flows(pool).any(is_up) {
        return Vec::new();
    }
    let down = pool.backends.values().filter(|backend| is_checked(backend) && !is_up(backend));
    down.map(|backend| (pool.name.clone(), backend.address)).collect()
}

fn takes_new_flows(pool: &Pool) -> impl Iterator<Item = &model::Backend> {
    let takes = |backend: &&model::Backend| is_checked(backend) && backend.weight > 0 && backend.drain.is_none();
    pool.backends.values().filter(takes)
}

fn is_checked(backend: &model::Backend) -> bool {
    backend.admin_up && !backend.drain.is_some_and(|drain| drain.drained)
}

/// The keys of all that have a standing, so that others can be forgotten. Those that are out of service keep theirs.
pub fn known(desired: &Desired) -> impl Iterator<Item = CheckKey> {
    desired.pools.values().flat_map(known_in)
}

/// Those of one pool.
pub fn known_in(pool: &Pool) -> impl Iterator<Item = CheckKey> {
    let checked = Some(pool).filter(|pool| pool.health.is_some());
    checked.into_iter().flat_map(|pool| pool.backends.keys().map(|address| (pool.name.clone(), *address)))
}

/// The way that a probe of a backend takes by the VIP. No VIP is sent from.
#[must_use]
pub fn way(address: BackendAddr, view: &NetworkView, segments: &SegmentsByInterface, desired: &Desired) -> Way {
    let (mac, ifindex) = match view.backends.get(&address) {
        Some(Reach::Resolved { mac, ifindex }) => (*mac, *ifindex),
        None | Some(Reach::Unresolved { why: Unresolved::Asking }) => {
            return Way::Impossible { reason: Unresolved::Asking.to_string() };
        }
        Some(Reach::Unresolved { why }) => return Way::Unreachable { reason: why.to_string() },
    };
    let name = || {
        let link = view.links.iter().find(|(_, link)| link.ifindex == ifindex);
        link.map_or_else(|| format!("the interface with index {ifindex}"), |(name, _)| name.clone())
    };
    let Some(segment) = segments.get(&ifindex) else {
        let reason = format!("it is behind {}, which drlb is not attached to", name());
        return Way::Unreachable { reason };
    };
    let is_vip = |own| desired.listeners_of_vip(own).next().is_some();
    match view.source(address, ifindex, is_vip) {
        Some(source) => Way::Vip { backend: Backend::new(mac, *segment), source },
        None => Way::Impossible {
            reason: format!(
                "the balancer has no {} address on {} to send health checks from; give it one (`ip address add`), which must \
                 not be a VIP",
                address.family(),
                name()
            ),
        },
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
