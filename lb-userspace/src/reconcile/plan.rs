//! What must change in the maps.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::address::{Address, Port};
use lb_common::listener::{Listener, ListenerKey, Vip};

use super::allowed::AllowPlanner;
use super::change::Change;
use super::held::Held;
use super::listeners::FreeId;
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
    /// All that is not a pool's: interfaces, VIPs, and what nobody should hold. With it and with each pool once, everything has
    /// been compared.
    Rest,
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

/// What to change, and which pools there is no room for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// The changes.
    pub changes: Vec<Change>,
    /// The pools that stay as they are in the maps, or out of them, and why.
    pub left_out: BTreeMap<Name, Fault>,
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
    let Planned { changes, left_out } = plan_what_fits(desired, view, unhealthy, held, scope)?;
    left_out.into_values().next().map_or(Ok(changes), Err)
}

/// The same, but a pool that there is no room for keeps none of the others from what they want.
///
/// # Errors
/// There is no room for a segment. Nothing has been changed then.
pub fn plan_what_fits(
    desired: &Desired,
    view: &NetworkView,
    unhealthy: &Unhealthy,
    held: &Held,
    scope: &Scope,
) -> Result<Planned, Fault> {
    let segments = plan_segments(desired, view, held)?;
    // A segment that comes or goes can touch every pool.
    let same_segments = segments.set.is_empty() && segments.clear.is_empty();
    let scope = if same_segments { scope } else { &Scope::All };
    let gone = keys_to_remove(desired, held, scope);
    let mut pools = PoolPlanner::new(view, unhealthy, held, &segments.by_interface);
    let mut listeners = ListenerPlanner::new(held, &gone);
    let mut allowed = AllowPlanner::new(held);
    let mut stages = Stages::default();
    let mut left_out = BTreeMap::new();
    let mut served_pools = BTreeSet::new();
    for (pool, served) in pools_in(desired, scope) {
        let keys: Vec<_> = served.iter().map(|listener| listener.key()).collect();
        let limited = served.iter().any(|listener| listener.max_flows.is_some());
        // All that there may be no room for comes before anything else.
        let room = pools.plan(pool, &keys, limited).and_then(|planned| {
            let ids = keys.iter().map(|key| listeners.id(key)).collect::<Result<Vec<_>, Fault>>()?;
            let lists = served.iter().map(|listener| allowed.plan(listener)).collect::<Result<Vec<_>, Fault>>()?;
            Ok((planned, ids, lists))
        });
        let (mut planned, ids, lists) = match room {
            Ok(room) => room,
            Err(fault) => {
                left_out.insert(pool.name.clone(), fault);
                continue;
            }
        };
        if planned.moves {
            // The places move: the listeners go over to the copies before anything else changes in them, so that slots
            // and places match at every moment.
            stages.places.append(&mut planned.copies);
            for key in &keys {
                stages.places.extend(listeners.moved(key, |listener| planned.region.moved(listener)));
            }
        }
        for ((listener, id), (guard, write)) in served.into_iter().zip(ids).zip(lists) {
            stages.allowed.extend(write);
            let after = with_limits(guard.of(planned.listener(id, pool, listener.vip)), listener);
            stages.listeners.extend(listeners.put(listener.key(), after));
        }
        stages.places.append(&mut planned.places);
        stages.slots.append(&mut planned.slots);
        stages.unreachable.append(&mut planned.unreachable);
        served_pools.insert(&pool.name);
    }
    stages.free.extend(unused_places(held, &listeners, scope));

    let mut changes = segments.set;
    changes.append(&mut stages.places);
    changes.append(&mut stages.allowed);
    changes.append(&mut stages.slots);
    changes.append(&mut stages.listeners);
    changes.append(&mut stages.unreachable);
    // A VIP whose only listeners are left out, now or by the plan that was about them, is nobody's yet.
    let is_served = |listener: &model::Listener| {
        served_pools.contains(&listener.pool) || held.listeners.contains_key(&listener.key())
    };
    changes.extend(vips(desired, held, scope, &is_served));
    changes.extend(gone.into_iter().map(|key| Change::RemoveListener { key }));
    changes.append(&mut stages.free);
    changes.extend(segments.clear);
    Ok(Planned { changes, left_out })
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
    let names: BTreeSet<&Name> = match scope {
        Scope::All => desired.pools.keys().collect(),
        Scope::Rest => BTreeSet::new(),
        Scope::Some { pools, keys } => {
            let served = keys.iter().flat_map(|key| desired.listeners_on(*key)).map(|listener| &listener.pool);
            pools.iter().chain(served).collect()
        }
    };
    let served = |name: &Name| {
        let listeners: Vec<_> = desired.listeners_of(name).filter(|listener| listener.admin_up).collect();
        (!listeners.is_empty()).then_some(listeners)
    };
    names.into_iter().filter_map(|name| Some((desired.pools.get(name)?, served(name)?))).collect()
}

/// What is held to be listened on and is wanted no more.
fn keys_to_remove(desired: &Desired, held: &Held, scope: &Scope) -> Vec<ListenerKey> {
    let is_wanted = |key: &ListenerKey| desired.listeners_on(*key).any(|listener| listener.admin_up);
    let gone = |key: &&ListenerKey| held.listeners.contains_key(*key) && !is_wanted(key);
    match scope {
        Scope::All | Scope::Rest => held.listeners.keys().filter(gone).copied().collect(),
        Scope::Some { keys, .. } => keys.iter().filter(gone).copied().collect(),
    }
}

/// The listeners as they will be.
struct ListenerPlanner<'a> {
    held: &'a Held,
    /// Those that this plan looked at; `None` for one that goes.
    after: BTreeMap<ListenerKey, Option<Listener>>,
    /// The id that was given last.
    last_id: Option<FreeId>,
}

impl<'a> ListenerPlanner<'a> {
    fn new(held: &'a Held, gone: &[ListenerKey]) -> Self {
        Self { held, after: gone.iter().map(|key| (*key, None)).collect(), last_id: None }
    }

    /// The id that a listener has, or a free one.
    fn id(&mut self, key: &ListenerKey) -> Result<u32, Fault> {
        let held = self.held.listeners.get(key).map(|listener| listener.id);
        if let Some(id) = held.filter(|id| *id < self.held.sizes.listeners) {
            return Ok(id);
        }
        self.last_id = Some(self.held.listeners.free_id(self.last_id).ok_or_else(|| {
            let count = self.held.listeners.len();
            Fault::unavailable(format!(
                "there is no room for another listener beside {count}; remove listeners that are not needed"
            ))
        })?);
        Ok(self.last_id.map_or(0, FreeId::id))
    }

    /// Says what a listener will be; returns what it was so far.
    fn exchange(&mut self, key: ListenerKey, listener: Listener) -> Option<Listener> {
        self.after.insert(key, Some(listener)).unwrap_or_else(|| self.held.listeners.get(&key).copied())
    }

    /// The change that takes a listener that is held over to where its pool's places move, if it isn't there.
    fn moved(&mut self, key: &ListenerKey, moved: impl Fn(&Listener) -> Listener) -> Option<Change> {
        let held = self.held.listeners.get(key)?;
        let listener = moved(held);
        self.exchange(*key, listener);
        (listener != *held).then_some(Change::PutListener { key: *key, listener, new: false })
    }

    /// The change that writes a listener, if it isn't so already.
    fn put(&mut self, key: ListenerKey, listener: Listener) -> Option<Change> {
        let before = self.exchange(key, listener);
        let new = before.is_none_or(|before| before.id != listener.id);
        (before != Some(listener)).then_some(Change::PutListener { key, listener, new })
    }

    /// The regions of places that listeners have of which this plan leaves none, and those that it gives to others.
    fn places_left(&self) -> BTreeSet<(u32, u32)> {
        let mut more: BTreeMap<(u32, u32), i64> = BTreeMap::new();
        for (key, after) in &self.after {
            if let Some(before) = self.held.listeners.get(key) {
                *more.entry(places_of(before)).or_default() -= 1;
            }
            if let Some(after) = after {
                *more.entry(places_of(after)).or_default() += 1;
            }
        }
        let left = |region: &(u32, u32), more: i64| i64::from(self.held.listeners.with_places(*region)) + more == 0;
        more.into_iter().filter(|(region, more)| left(region, *more)).map(|(region, _)| region).collect()
    }

    /// All regions of places that listeners will have, in their order.
    fn places(&self) -> BTreeSet<(u32, u32)> {
        let stay = self.held.listeners.iter().filter(|(key, _)| !self.after.contains_key(*key));
        let looked_at = self.after.values().flatten();
        stay.map(|(_, listener)| listener).chain(looked_at).map(places_of).collect()
    }
}

const fn places_of(listener: &Listener) -> (u32, u32) {
    (listener.backends_base, listener.backends_len)
}

/// Frees the places that no listener's pool has any more.
fn unused_places(held: &Held, listeners: &ListenerPlanner<'_>, scope: &Scope) -> Vec<Change> {
    let free = |place| Change::FreePlace { place };
    let whole = !matches!(scope, Scope::Some { .. }) || held.listeners.are_places_tangled();
    if !whole {
        // What nobody has any more is nobody's: regions do not overlap.
        let left = listeners.places_left();
        let owned = left.into_iter().flat_map(|(base, len)| held.owners_in(base..base.saturating_add(len)));
        return owned.map(|(place, _)| free(place)).collect();
    }
    let mut used = listeners.places().into_iter().peekable();
    // Up to where a region reaches that begins at or before the place.
    let mut reaches = 0;
    let mut unused = Vec::new();
    for (place, _) in held.owners_in(0..held.sizes.places) {
        while let Some((base, len)) = used.next_if(|(base, _)| *base <= place) {
            reaches = reaches.max(base.saturating_add(len));
        }
        if place >= reaches {
            unused.push(free(place));
        }
    }
    unused
}

/// The changes of the VIPs: each says which wildcard listeners it has.
fn vips(desired: &Desired, held: &Held, scope: &Scope, is_served: &dyn Fn(&model::Listener) -> bool) -> Vec<Change> {
    let looked_at: BTreeSet<Address> = match scope {
        Scope::All | Scope::Rest => {
            let wanted = desired.listeners_in_service().map(|listener| listener.vip.address());
            wanted.chain(held.vips.keys().copied()).collect()
        }
        Scope::Some { pools, keys } => {
            let served = pools.iter().flat_map(|pool| desired.listeners_of(pool));
            served.map(|listener| listener.vip.address()).chain(keys.iter().map(|key| key.vip)).collect()
        }
    };
    let change = |address: Address| {
        let wanted = vip(desired, address, is_served);
        match wanted {
            _ if wanted.as_ref() == held.vips.get(&address) => None,
            Some(vip) => Some(Change::PutVip { address, vip }),
            None => Some(Change::RemoveVip { address }),
        }
    };
    looked_at.into_iter().filter_map(change).collect()
}

/// What is wanted of a VIP; `None` if no listener in service has it.
fn vip(desired: &Desired, address: Address, is_served: &dyn Fn(&model::Listener) -> bool) -> Option<Vip> {
    let of_vip = desired.listeners_of_vip(address.into());
    let in_service = of_vip.filter(|listener| listener.admin_up && is_served(listener));
    in_service.fold(None, |vip: Option<Vip>, listener| {
        let mut vip = vip.unwrap_or_default();
        vip.flags |= match listener.vip_owner {
            VipOwner::Xdp => 0,
            VipOwner::Host => Vip::OWNER_HOST,
            VipOwner::None => Vip::OWNER_NONE,
        };
        let key = listener.key();
        if key.port == Port::ANY {
            vip.flags |= Vip::wildcard_of(key.protocol);
        }
        Some(vip)
    })
}
