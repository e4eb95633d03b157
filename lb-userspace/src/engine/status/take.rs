//! How the snapshot is taken.

use std::collections::BTreeMap;

use lb_common::address::Address;
use lb_common::backend::Backend;
use lb_common::listener::Listener;
use lb_common::maps::LAYOUT;
use lb_common::outcome::Outcome;
use lb_common::slot::NO_BACKEND;

use super::{
    BackendState, BackendStatus, Counters, DrainStatus, HealthState, HealthStatus, InterfaceState, InterfaceStatus,
    ListenerStatus, OutcomeStatus, SlotStates, Status, TrackingStatus, VipStatus,
};
use crate::engine::health::Health;
use crate::events::EventCount;
use crate::events::network::one_mac;
use crate::health::{Cause, Standing};
use crate::model::{self, BackendAddr, Desired, Fault, Interface};
use crate::neighbour::{NetworkView, Reach};
use crate::reconcile::{DataPlane, Held, Obstacle, SegmentsByInterface, held_segments, reach};
use crate::tracking::Tracker;

/// Parts of the snapshot that were taken before.
#[derive(Debug)]
pub(in crate::engine) struct Others {
    /// What is remembered of flows.
    pub(in crate::engine) tracking: TrackingStatus,
    /// The VIPs.
    pub(in crate::engine) vips: Vec<VipStatus>,
    /// How often each kind of event happened.
    pub(in crate::engine) events: Vec<EventCount>,
}

/// What a snapshot is taken of.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Sources<'a> {
    pub(in crate::engine) desired: &'a Desired,
    pub(in crate::engine) view: &'a NetworkView,
    pub(in crate::engine) held: &'a Held,
    pub(in crate::engine) health: &'a Health,
    pub(in crate::engine) link_faults: &'a BTreeMap<String, Fault>,
    pub(in crate::engine) left_out: &'a BTreeMap<model::Name, Fault>,
    pub(in crate::engine) tracker: &'a Tracker,
    pub(in crate::engine) plane: &'a dyn DataPlane,
}

/// Takes a snapshot of what is wanted, what is so, and the counters.
///
/// # Errors
/// A counter cannot be read.
pub(in crate::engine) fn take(
    sources: &Sources<'_>,
    Others { tracking, vips, events }: Others,
) -> Result<Status, Fault> {
    let Sources { desired, view, held, health, link_faults, left_out, tracker, plane } = *sources;
    let segments = held_segments(held, view);
    let snapshot = Snapshot { view, held, health, tracker, plane, segments, sharing: sharing(view) };
    let interface = |interface| snapshot.interface(interface, link_faults);
    let listener = |listener| {
        let pool = desired.pool_of(listener).ok_or_else(|| Fault::internal("a listener has no pool"))?;
        let fault = left_out.get(&pool.name).filter(|_| listener.admin_up).map(|fault| fault.message.clone());
        Ok(ListenerStatus { fault, ..snapshot.listener(listener, pool)? })
    };
    let outcome = |outcome: &Outcome| {
        let Counters { packets, bytes } = plane.outcome_counter(*outcome)?.into();
        let (name, meaning) = (outcome.name().to_owned(), outcome.meaning().to_owned());
        Ok(OutcomeStatus { name, meaning, packets, bytes })
    };
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        layout: LAYOUT.to_owned(),
        interfaces: desired.interfaces.values().map(interface).collect(),
        listeners: desired.listeners.values().map(listener).collect::<Result<_, Fault>>()?,
        vips,
        tracking,
        checks: health.totals(),
        events,
        outcomes: Outcome::ALL.iter().map(outcome).collect::<Result<_, Fault>>()?,
    })
}

/// A backend's place.
#[derive(Clone, Copy)]
struct Place {
    place: u32,
    /// Its index in the pool.
    index: u16,
    /// How many slots name it.
    slots: u32,
}

struct Snapshot<'a> {
    view: &'a NetworkView,
    held: &'a Held,
    health: &'a Health,
    tracker: &'a Tracker,
    plane: &'a dyn DataPlane,
    segments: SegmentsByInterface,
    sharing: BTreeMap<BackendAddr, String>,
}

/// What is to be said of each backend that has one MAC with others.
fn sharing(view: &NetworkView) -> BTreeMap<BackendAddr, String> {
    let mut sharing = BTreeMap::new();
    for ((_, mac, _), same) in one_mac(view) {
        for address in &same {
            let others: Vec<_> = same.iter().filter(|other| *other != address).map(ToString::to_string).collect();
            let text = format!(
                "it has one MAC, {mac}, with {}: they are one server, or two with the same MAC",
                others.join(" and ")
            );
            sharing.insert(*address, text);
        }
    }
    sharing
}

impl Snapshot<'_> {
    fn interface(&self, interface: &Interface, faults: &BTreeMap<String, Fault>) -> InterfaceStatus {
        let link = self.view.links.get(&interface.name);
        let attached = self.held.attached.get(&interface.name);
        let fault = faults.get(&interface.name).map(|fault| fault.message.clone());
        let (state, reason) = match (attached, link) {
            (Some(_), Some(link)) if !link.up => {
                let name = &interface.name;
                let reason = format!(
                    "it is switched off or has no carrier, so nothing comes in or goes out; run `ip link set {name} up` and \
                     look at the cable"
                );
                (InterfaceState::Down, Some(reason))
            }
            (Some(_), _) => (InterfaceState::Attached, fault),
            (None, None) => {
                let reason = format!("there is no interface {} now; drlb attaches as soon as there is", interface.name);
                (InterfaceState::Missing, Some(reason))
            }
            (None, Some(_)) => (InterfaceState::Failed, fault),
        };
        InterfaceStatus {
            name: interface.name.clone(),
            configured_mode: interface.mode,
            mode: attached.map(|attached| attached.mode),
            ifindex: link.map(|link| link.ifindex).or(attached.map(|attached| attached.ifindex)),
            mac: link.map(|link| link.mac.to_string()),
            state,
            reason,
        }
    }

    fn listener(&self, listener: &model::Listener, pool: &model::Pool) -> Result<ListenerStatus, Fault> {
        let held = self.held.listeners.get(&listener.key());
        let counters = held.map(|held| self.plane.listener_counter(held.id)).transpose()?.unwrap_or_default();
        let refused = held.map(|held| self.plane.listener_refusals(held.id)).transpose()?.unwrap_or_default();
        let places = held.map(|held| self.places(held)).unwrap_or_default();
        let number = held.map_or(0, |held| held.pool);
        let backend = |backend| self.backend(backend, listener, number, &places);
        let unsteady = self.tracker.slots(number);
        let slot_states = SlotStates {
            steady: pool.slots.saturating_sub(unsteady.moving + unsteady.settling),
            moving: unsteady.moving,
            settling: unsteady.settling,
        };
        Ok(ListenerStatus {
            name: listener.name.clone(),
            vip: listener.vip,
            protocol: listener.protocol,
            port: listener.port,
            admin_up: listener.admin_up,
            fault: None,
            algorithm: pool.algorithm,
            persistence: pool.persistence,
            timeouts: pool.timeouts,
            vip_owner: listener.vip_owner,
            source_rate: listener.source_rate,
            max_flows: listener.max_flows,
            flows: held.filter(|_| listener.max_flows.is_some()).map(|held| self.plane.listener_flows(held.id)),
            allowed: listener.allowed.len(),
            allowed_cidrs: Some(listener.allowed.clone()),
            health: pool.health.clone(),
            slots: pool.slots,
            slot_states,
            counters: counters.into(),
            refused: refused.into(),
            backends: pool.backends.values().map(backend).collect::<Result<_, Fault>>()?,
        })
    }

    /// The places of a listener's backends, and how many slots name each.
    fn places(&self, listener: &Listener) -> BTreeMap<Address, Place> {
        let mut slots = vec![0; listener.backends_len as usize];
        for index in 0..listener.slots_len {
            let named = self.held.slot(listener.slots_base + index).current();
            if named != NO_BACKEND
                && let Some(count) = slots.get_mut(usize::from(named))
            {
                *count += 1;
            }
        }
        let base = listener.backends_base;
        let owners = self.held.owners_in(base..base.saturating_add(listener.backends_len));
        let mut places = BTreeMap::new();
        for (place, owner) in owners {
            let index = (place - base) as u16;
            // Of two places of one backend, the first is the one in use.
            places.entry(owner).or_insert(Place { place, index, slots: slots[usize::from(index)] });
        }
        places
    }

    fn backend(
        &self,
        backend: &model::Backend,
        listener: &model::Listener,
        number: u32,
        places: &BTreeMap<Address, Place>,
    ) -> Result<BackendStatus, Fault> {
        let place = places.get(&backend.address.address()).copied();
        let counters = place.map(|place| self.plane.backend_counter(place.place)).transpose()?.unwrap_or_default();
        let now = place.map_or(Backend::UNREACHABLE, |place| self.held.backend(place.place));
        let reached = reach(backend.address, self.view, &self.segments, now);
        let health = self.health_of(backend, &listener.pool);
        let (state, reason) = self.state(backend, &listener.name, &reached, health.as_ref(), now.is_draining());
        let (mac, ifindex) = match (&reached, self.view.backends.get(&backend.address)) {
            (_, Some(Reach::Resolved { mac, ifindex })) => (Some(*mac), Some(*ifindex)),
            (Ok(word), _) => {
                let segment = self.segments.iter().find(|(_, index)| **index == word.segment());
                (Some(word.mac()), segment.map(|(ifindex, _)| *ifindex))
            }
            _ => (None, None),
        };
        let flows = place.and_then(|place| self.tracker.flows(number, place.index));
        let drain = backend.drain.map(|drain| DrainStatus {
            since: drain.since,
            deadline: drain.deadline,
            flows: flows.unwrap_or(0),
        });
        Ok(BackendStatus {
            address: backend.address,
            weight: backend.weight,
            admin_up: backend.admin_up,
            backup: backend.backup,
            state,
            reason,
            mac: mac.map(|mac| mac.to_string()),
            interface: ifindex.and_then(|ifindex| self.interface_name(ifindex)),
            slots: place.map_or(0, |place| place.slots),
            flows,
            drain,
            health,
            monitor: backend.monitor,
            counters: counters.into(),
        })
    }

    fn state(
        &self,
        backend: &model::Backend,
        listener: &model::Name,
        reached: &Result<Backend, Obstacle>,
        health: Option<&HealthStatus>,
        keeps_only: bool,
    ) -> (BackendState, Option<String>) {
        let address = backend.address;
        let (state, reason) = match reached {
            _ if !backend.admin_up => {
                let how = format!("`drlb backend set {listener} {address} --up`");
                (BackendState::AdminDown, format!("it was taken out of service; put it back with {how}"))
            }
            _ if backend.drain.is_some_and(|drain| drain.drained) => {
                let how = format!("`drlb backend set {listener} {address} --up`");
                (BackendState::Drained, format!("it was drained; remove it, or put it back with {how}"))
            }
            Ok(_) if let Some((state, reason)) = health.and_then(not_up) => (state, reason),
            Ok(_) if backend.drain.is_some() => {
                let how = format!("`drlb backend set {listener} {address} --up`");
                (BackendState::Draining, format!("it takes no new flows; put it back with {how}"))
            }
            Ok(_) if backend.weight == 0 => {
                let how = format!("`drlb backend set {listener} {address} --weight 1`");
                (BackendState::NoWeight, format!("its weight is 0; give it one with {how}"))
            }
            Ok(_) if backend.backup && keeps_only => {
                let reason = "it is a backup: it takes new flows when none of the others can";
                (BackendState::StandingBy, reason.to_owned())
            }
            Ok(_) => return (BackendState::Serving, self.sharing.get(&address).cloned()),
            Err(Obstacle::Unresolved(why)) => (BackendState::Unresolved, why.to_string()),
            Err(Obstacle::NotAttached { ifindex }) => {
                let name =
                    self.interface_name(*ifindex).unwrap_or_else(|| format!("the interface with index {ifindex}"));
                let parent = self.parent_name(*ifindex);
                let reason = match parent {
                    None => format!("it is behind {name}, which drlb is not attached to; run `drlb attach {name}`"),
                    Some(parent) => format!(
                        "it is behind {name}, a VLAN of {parent}, which drlb is not attached to; run `drlb attach {parent}`"
                    ),
                };
                (BackendState::NoInterface, reason)
            }
        };
        (state, Some(reason))
    }

    /// The name of the interface that a VLAN is of; nothing for what is no VLAN.
    fn parent_name(&self, ifindex: u32) -> Option<String> {
        let link = self.view.links.values().find(|link| link.ifindex == ifindex)?;
        self.interface_name(link.vlan?.parent)
    }

    /// What the health checks found of a backend of a pool.
    fn health_of(&self, backend: &model::Backend, pool: &model::Name) -> Option<HealthStatus> {
        let key = (pool.clone(), backend.address);
        let standing = self.health.standing(&key)?;
        let found = self.health.found(&key);
        let state = match (standing, found.map(|found| found.cause)) {
            (Standing::Up, _) => HealthState::Up,
            (Standing::Unproven, _) => HealthState::Unproven,
            (Standing::Down, Some(Cause::VipPath)) => HealthState::VipPathBroken,
            (Standing::Down, _) => HealthState::ServiceDown,
        };
        Some(HealthStatus {
            state,
            reason: found.and_then(|found| found.reason.clone()),
            since: found.and_then(|found| found.since),
            flapping: found.is_some_and(|found| found.flapping),
            needed: found.map_or(0, |found| found.needed),
        })
    }

    fn interface_name(&self, ifindex: u32) -> Option<String> {
        self.view.links.iter().find(|(_, link)| link.ifindex == ifindex).map(|(name, _)| name.clone())
    }
}

/// The state of a backend that is not up, and why.
fn not_up(health: &HealthStatus) -> Option<(BackendState, String)> {
    let why = health.reason.as_deref();
    let flapping = if health.flapping {
        format!("; it keeps going down, so it needs {} right answers in a row to come up", health.needed)
    } else {
        String::new()
    };
    Some(match health.state {
        HealthState::Up => return None,
        HealthState::Unproven => {
            (BackendState::Unproven, why.unwrap_or("its first health check is under way").to_owned())
        }
        HealthState::ServiceDown => {
            let why = why.unwrap_or("it was down when the agent started");
            (BackendState::ServiceDown, format!("its health check fails: {why}{flapping}"))
        }
        HealthState::VipPathBroken => {
            let why = why.unwrap_or_default();
            let reason = format!(
                "it serves by its own address, but not by the VIP: {why}; check that it holds the VIP (`drlb backend setup`) \
                 and that nothing on the way filters by the VIP{flapping}"
            );
            (BackendState::VipPathBroken, reason)
        }
    })
}
