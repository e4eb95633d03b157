//! What the doctor asks, from what is wanted and what the network looks like. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lb_common::address::MacAddr;

use crate::announce::Port;
use crate::health::{Check, Standing, Way, plan};
use crate::model::{self, BackendAddr, Desired, HealthChange, Name, Pool, Protocol, VipOwner};
use crate::neighbour::{Link, NetworkView, Reach, Unresolved, same_network};
use crate::reconcile::SegmentsByInterface;

/// Everything that is asked.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    /// The interfaces that the program is attached to, by name.
    pub ports: BTreeMap<String, Port>,
    /// The MACs of all of this host's interfaces.
    pub own: BTreeSet<MacAddr>,
    /// The VIPs that no other host may answer for.
    pub vips: BTreeSet<IpAddr>,
    /// The backends, once for each listener.
    pub backends: Vec<Question>,
}

/// What is asked of a backend of a listener.
#[derive(Clone, Debug)]
pub struct Question {
    /// The listener.
    pub listener: Name,
    /// The backend.
    pub backend: BackendAddr,
    /// The listener's VIP.
    pub vip: IpAddr,
    /// Why it has no MAC, if it has none.
    pub unresolved: Option<Unresolved>,
    /// How its service is tried; `None` if it is out of service, cannot be reached, or has an address to be probed at.
    pub check: Option<Check>,
    /// Where it stands on a segment.
    pub place: Option<Place>,
}

/// Where a backend stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The interface that it is behind.
    pub interface: String,
    /// That interface.
    pub port: Port,
    /// The backend's MAC.
    pub mac: MacAddr,
    /// The balancer's address that it can answer to.
    pub source: IpAddr,
    /// One that stands beside the VIP, so that what is sent to it takes the way of what is sent to the VIP. `None` if there is
    /// none, or if a listener takes all that comes for the VIP, so that it would not be seen here.
    pub beside: Option<IpAddr>,
}

/// What is to be asked, where the program is attached to these interfaces, by name.
#[must_use]
pub fn questions<'a>(
    desired: &Desired,
    view: &NetworkView,
    segments: &SegmentsByInterface,
    attached: impl Iterator<Item = &'a String>,
) -> Questions {
    let port = |name: &String| {
        let link = view.links.get(name).filter(|link| link.up)?;
        Some((name.clone(), Port { ifindex: link.ifindex, mac: link.mac }))
    };
    let mut backends = Vec::new();
    for listener in desired.listeners.values().filter(|listener| listener.admin_up) {
        let Some(pool) = desired.pool_of(listener) else { continue };
        let spec = pool.health.clone().or_else(|| HealthChange::default().applied_to(None, listener).ok());
        for backend in pool.backends.values() {
            let way = plan::way(backend.address, view, segments, desired);
            let question = Question {
                listener: listener.name.clone(),
                backend: backend.address,
                vip: listener.vip.ip(),
                unresolved: match view.backends.get(&backend.address) {
                    Some(Reach::Unresolved { why }) => Some(why.clone()),
                    _ => None,
                },
                place: place(backend.address, listener.vip.ip(), &way, view, desired),
                check: spec.as_ref().and_then(|spec| check(listener, pool, backend, spec, way)),
            };
            backends.push(question);
        }
    }
    Questions {
        ports: attached.filter_map(port).collect(),
        own: view.links.values().map(|link| link.mac).collect(),
        vips: desired
            .listeners
            .values()
            .filter(|listener| listener.vip_owner != VipOwner::None)
            .map(|listener| listener.vip.ip())
            .collect(),
        backends,
    }
}

fn check(
    listener: &model::Listener,
    pool: &Pool,
    backend: &model::Backend,
    spec: &model::HealthCheck,
    way: Way,
) -> Option<Check> {
    let in_service = backend.admin_up && !backend.drain.is_some_and(|drain| drain.drained);
    if !in_service || backend.monitor.address.is_some() || matches!(way, Way::Unreachable { .. }) {
        return None;
    }
    let port = match spec.probe.kind().has_port() {
        true => backend.monitor.port.or(spec.port).unwrap_or(listener.port),
        false => 0,
    };
    let mut spec = spec.clone();
    if pool.health.is_none() {
        // Whoever asks waits for it.
        spec.timeout_ms = spec.timeout_ms.min(UNCHECKED_MS);
    }
    Some(Check {
        spec: Arc::new(spec),
        vips: vec![SocketAddr::new(listener.vip.ip(), port)],
        own: SocketAddr::new(backend.address.ip(), port),
        way,
        first: Standing::Unproven,
    })
}

/// How long an answer may take where no health check says it, in milliseconds.
const UNCHECKED_MS: u32 = 2_000;

fn place(address: BackendAddr, vip: IpAddr, way: &Way, view: &NetworkView, desired: &Desired) -> Option<Place> {
    let Way::Vip { source, .. } = way else { return None };
    let Some(Reach::Resolved { mac, ifindex }) = view.backends.get(&address) else { return None };
    let is_it = |(_, link): &(&String, &Link)| link.ifindex == *ifindex;
    let (name, link) = view.links.iter().find(is_it)?;
    let port = Port { ifindex: *ifindex, mac: link.mac };
    let beside = beside(vip, view, desired);
    Some(Place { interface: name.clone(), port, mac: *mac, source: *source, beside })
}

/// An address of the balancer's in the network that a VIP is of, which is no VIP.
fn beside(vip: IpAddr, view: &NetworkView, desired: &Desired) -> Option<IpAddr> {
    if desired.listeners_of_vip(vip).any(|listener| listener.protocol == Protocol::Ip) {
        return None;
    }
    let is_beside = |(own, prefix): &&(IpAddr, u8)| {
        same_network(*own, vip, *prefix) && desired.listeners_of_vip(*own).next().is_none()
    };
    view.addresses.values().flatten().find(is_beside).map(|(own, _)| *own)
}
