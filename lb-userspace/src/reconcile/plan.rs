//! What must change in the maps.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::address::{Address, Port};
use lb_common::listener::{Listener, ListenerKey, Vip};

use super::allowed::AllowPlanner;
use super::change::Change;
use super::held::Held;
use super::pool::PoolPlanner;
use super::segments::plan_segments;
use crate::health::Unhealthy;
use crate::model::{self, Desired, Fault, Name, Pool, VipOwner};
use crate::neighbour::NetworkView;

/// What to compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything. Also finds what nobody should hold.
    All,
    /// What a change of these touches; the rest is known to be as it should.
    Some {
        /// Pools that changed.
        pools: BTreeSet<Name>,
        /// What listeners listen on that changed, came or went.
        keys: BTreeSet<ListenerKey>,
    },
}

/// The changes of the maps by their stage, see the head of the module [`super`].
#[derive(Default)]
struct Stages {
    places: Vec<Change>,
    allowed: Vec<Change>,
    slots: Vec<Change>,
    unreachable: Vec<Change>,
    listeners: Vec<Change>,
    free: Vec<Change>,
}

/// Plans what to change in the maps so that they hold what is wanted. What already is so gives no change.
///
/// # Errors
/// There is no room in a map. Nothing has been changed then.
pub fn plan(
    desired: &Desired,
    view: &NetworkView,
    unhealthy: &Unhealthy,
    held: &Held,
    scope: &Scope,
) -> Result<Vec<Change>, Fault> {
    let segments = plan_segments(desired, view, held)?;
    // A segment that comes or goes can touch every pool.
    let same_segments = segments.set.is_empty() && segments.clear.is_empty();
    let scope = if same_segments { scope } else { &Scope::All };
    let gone = keys_to_remove(desired, held, scope);
    let mut pools = PoolPlanner::new(view, unhealthy, held, &segments.by_interface);
    let mut listeners = ListenerPlanner::new(held, &gone);
    let mut allowed = AllowPlanner::new(held);
    let mut stages = Stages::default();
    for (pool, served) in pools_in(desired, scope) {
        let keys: Vec<_> = served.iter().map(|listener| listener.key()).collect();
        let limited = served.iter().any(|listener| listener.max_flows.is_some());
        let mut planned = pools.plan(pool, &keys, limited)?;
        if planned.moves {
            // The places move: the listeners go over to the copies before anything else changes in them, so that slots
            // and places match at every moment.
            stages.places.append(&mut planned.copies);
            for key in &keys {
                stages.places.extend(listeners.moved(key, |listener| planned.region.moved(listener)));
            }
        }
        for listener in served {
            let id = listeners.id(&listener.key())?;
            let (guard, write) = allowed.plan(listener)?;
            stages.allowed.extend(write);
            let after = with_limits(guard.of(planned.listener(id, pool, listener.vip)), listener);
            stages.listeners.extend(listeners.put(listener.key(), after));
        }
        stages.places.append(&mut planned.places);
        stages.slots.append(&mut planned.slots);
        stages.unreachable.append(&mut planned.unreachable);
    }
    stages.free.extend(unused_places(held, &listeners.after, scope));

    let mut changes = segments.set;
    changes.append(&mut stages.places);
    changes.append(&mut stages.allowed);
    changes.append(&mut stages.slots);
    changes.append(&mut stages.listeners);
    changes.append(&mut stages.unreachable);
    changes.extend(vips(desired, held, scope));
    changes.extend(gone.into_iter().map(|key| Change::RemoveListener { key }));
    changes.append(&mut stages.free);
    changes.extend(segments.clear);
    Ok(changes)
}

/// A listener in the maps, with the limits that are wanted.
fn with_limits(held: Listener, wanted: &model::Listener) -> Listener {
    let mut after = held;
    if let Some(rate) = wanted.source_rate {
        after.guards |= Listener::GUARD_RATE;
        after.rate_prefix = if wanted.vip.ip().is_ipv4() { rate.ipv4_prefix } else { rate.ipv6_prefix };
        after.rate_interval = rate.interval();
        after.rate_burst = rate.burst;
    }
    if let Some(flows) = wanted.max_flows {
        after.guards |= Listener::GUARD_FLOWS;
        after.max_flows = flows;
    }
    after
}

/// The pools to look at, each with all its listeners, in the order of their names.
fn pools_in<'a>(desired: &'a Desired, scope: &Scope) -> Vec<(&'a Pool, Vec<&'a model::Listener>)> {
    let mut listeners: BTreeMap<&Name, Vec<&model::Listener>> = BTreeMap::new();
    for listener in desired.listeners_in_service() {
        listeners.entry(&listener.pool).or_default().push(listener);
    }
    if let Scope::Some { pools, keys } = scope {
        listeners.retain(|pool, served| {
            pools.contains(*pool) || served.iter().any(|listener| keys.contains(&listener.key()))
        });
    }
    listeners.into_iter().filter_map(|(pool, served)| Some((desired.pools.get(pool)?, served))).collect()
}

/// What is held to be listened on and is wanted no more.
fn keys_to_remove(desired: &Desired, held: &Held, scope: &Scope) -> Vec<ListenerKey> {
    let mut gone: BTreeSet<ListenerKey> = match scope {
        Scope::All => held.listeners.keys().copied().collect(),
        Scope::Some { keys, .. } => keys.iter().copied().filter(|key| held.listeners.contains_key(key)).collect(),
    };
    if !gone.is_empty() {
        for listener in desired.listeners_in_service() {
            gone.remove(&listener.key());
        }
    }
    gone.into_iter().collect()
}

/// The listeners as they will be.
struct ListenerPlanner<'a> {
    held: &'a Held,
    after: BTreeMap<ListenerKey, Listener>,
    new_ids: BTreeSet<u32>,
}

impl<'a> ListenerPlanner<'a> {
    fn new(held: &'a Held, gone: &[ListenerKey]) -> Self {
        let mut after = held.listeners.clone();
        for key in gone {
            after.remove(key);
        }
        Self { held, after, new_ids: BTreeSet::new() }
    }

    /// The id that a listener has, or a free one.
    fn id(&mut self, key: &ListenerKey) -> Result<u32, Fault> {
        let held = self.held.listeners.get(key).map(|listener| listener.id);
        if let Some(id) = held.filter(|id| *id < self.held.sizes.listeners) {
            return Ok(id);
        }
        let id = self.held.free_id(&self.new_ids).ok_or_else(|| {
            Fault::unavailable(format!("there is no room for another listener beside {}", self.held.listeners.len()))
        })?;
        self.new_ids.insert(id);
        Ok(id)
    }

    /// The change that takes a listener that is held over to where its pool's places move, if it isn't there.
    fn moved(&mut self, key: &ListenerKey, moved: impl Fn(&Listener) -> Listener) -> Option<Change> {
        let held = self.held.listeners.get(key)?;
        let listener = moved(held);
        self.after.insert(*key, listener);
        (listener != *held).then_some(Change::PutListener { key: *key, listener, new: false })
    }

    /// The change that writes a listener, if it isn't so already.
    fn put(&mut self, key: ListenerKey, listener: Listener) -> Option<Change> {
        let before = self.after.insert(key, listener);
        let new = before.is_none_or(|before| before.id != listener.id);
        (before != Some(listener)).then_some(Change::PutListener { key, listener, new })
    }
}

/// Frees the places that no listener's pool has any more.
fn unused_places(held: &Held, after: &BTreeMap<ListenerKey, Listener>, scope: &Scope) -> Vec<Change> {
    let in_use: BTreeSet<_> = after.values().map(|listener| (listener.backends_base, listener.backends_len)).collect();
    let used = |place: u32| in_use.iter().any(|(base, len)| (*base..base.saturating_add(*len)).contains(&place));
    let candidates: Vec<(u32, Address)> = match scope {
        Scope::All => held.owners_in(0..held.sizes.places).collect(),
        Scope::Some { .. } => {
            let changed = held.listeners.iter().filter(|(key, listener)| after.get(*key) != Some(*listener));
            let regions: BTreeSet<_> =
                changed.map(|(_, listener)| (listener.backends_base, listener.backends_len)).collect();
            let obsolete = regions.difference(&in_use);
            obsolete.flat_map(|(base, len)| held.owners_in(*base..base.saturating_add(*len))).collect()
        }
    };
    candidates.into_iter().filter(|(place, _)| !used(*place)).map(|(place, _)| Change::FreePlace { place }).collect()
}

/// The changes of the VIPs: each says which wildcard listeners it has.
fn vips(desired: &Desired, held: &Held, scope: &Scope) -> Vec<Change> {
    let mut wanted: BTreeMap<Address, Vip> = BTreeMap::new();
    for listener in desired.listeners_in_service() {
        let key = listener.key();
        let vip = wanted.entry(key.vip).or_default();
        vip.flags |= match listener.vip_owner {
            VipOwner::Xdp => 0,
            VipOwner::Host => Vip::OWNER_HOST,
            VipOwner::None => Vip::OWNER_NONE,
        };
        if key.port == Port::ANY {
            vip.flags |= Vip::wildcard_of(key.protocol);
        }
    }
    let looked_at: BTreeSet<Address> = match scope {
        Scope::All => wanted.keys().chain(held.vips.keys()).copied().collect(),
        Scope::Some { pools, keys } => {
            let served = desired.listeners.values().filter(|listener| pools.contains(&listener.pool));
            served.map(|listener| listener.vip.address()).chain(keys.iter().map(|key| key.vip)).collect()
        }
    };
    let changed = looked_at.into_iter().filter(|address| wanted.get(address) != held.vips.get(address));
    let change = |address| match wanted.get(&address) {
        Some(vip) => Change::PutVip { address, vip: *vip },
        None => Change::RemoveVip { address },
    };
    changed.map(change).collect()
}
