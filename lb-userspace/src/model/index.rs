//! What is looked up in the desired state otherwise than by name, so that no command has to go through all of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Deref;

use lb_common::listener::ListenerKey;

use super::address::BackendAddr;
use super::check::{places_region, slots_region};
use super::name::Name;
use super::objects::{Listener, Pool};

/// Objects by name. Everybody may read them; only [`super::Desired`] changes them, which keeps its index in step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objects<V>(BTreeMap<Name, V>);

impl<V> Default for Objects<V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<V> Deref for Objects<V> {
    type Target = BTreeMap<Name, V>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<V> Objects<V> {
    /// The objects, to be changed by those who look after the index.
    pub(super) const fn change(&mut self) -> &mut BTreeMap<Name, V> {
        &mut self.0
    }
}

/// Names by something that several may have in common.
type By<K> = BTreeSet<(K, Name)>;

fn with<K: Ord + Clone>(all: &By<K>, key: K) -> impl Iterator<Item = &Name> {
    let first = (key.clone(), Name::least());
    all.range(first..).take_while(move |(other, _)| *other == key).map(|(_, name)| name)
}

/// See the head of the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Index {
    listeners_by_key: By<ListenerKey>,
    listeners_by_pool: By<Name>,
    listeners_by_vip: By<IpAddr>,
    pools_by_backend: By<BackendAddr>,
    /// Slots of all pools' regions.
    slots: u64,
    /// Places of all pools' regions.
    places: u64,
}

impl Index {
    pub(super) fn add_listener(&mut self, listener: &Listener) {
        let name = || listener.name.clone();
        self.listeners_by_key.insert((listener.key(), name()));
        self.listeners_by_pool.insert((listener.pool.clone(), name()));
        self.listeners_by_vip.insert((listener.vip.ip(), name()));
    }

    pub(super) fn remove_listener(&mut self, listener: &Listener) {
        let name = || listener.name.clone();
        self.listeners_by_key.remove(&(listener.key(), name()));
        self.listeners_by_pool.remove(&(listener.pool.clone(), name()));
        self.listeners_by_vip.remove(&(listener.vip.ip(), name()));
    }

    /// A pool has come, without backends.
    pub(super) fn add_pool(&mut self, pool: &Pool) {
        self.slots += u64::from(slots_region(pool.slots));
        self.places += places_of(pool.backends.len());
        self.pools_by_backend.extend(pool.backends.keys().map(|address| (*address, pool.name.clone())));
    }

    /// A pool goes, with the backends that it has.
    pub(super) fn remove_pool(&mut self, pool: &Pool) {
        self.slots -= u64::from(slots_region(pool.slots));
        self.places -= places_of(pool.backends.len());
        for address in pool.backends.keys() {
            self.pools_by_backend.remove(&(*address, pool.name.clone()));
        }
    }

    /// A pool has another number of slots.
    pub(super) fn resize_pool(&mut self, before: u32, after: u32) {
        self.slots = self.slots - u64::from(slots_region(before)) + u64::from(slots_region(after));
    }

    /// A pool has one more backend, and this many now.
    pub(super) fn add_backend(&mut self, pool: &Name, address: BackendAddr, count: usize) {
        self.places = self.places - places_of(count - 1) + places_of(count);
        self.pools_by_backend.insert((address, pool.clone()));
    }

    /// A pool has one backend less, and this many now.
    pub(super) fn remove_backend(&mut self, pool: &Name, address: BackendAddr, count: usize) {
        self.places = self.places - places_of(count + 1) + places_of(count);
        self.pools_by_backend.remove(&(address, pool.clone()));
    }

    pub(super) fn listeners_with(&self, key: ListenerKey) -> impl Iterator<Item = &Name> {
        with(&self.listeners_by_key, key)
    }

    pub(super) fn listeners_of(&self, pool: &Name) -> impl Iterator<Item = &Name> {
        with(&self.listeners_by_pool, pool.clone())
    }

    pub(super) fn listeners_of_vip(&self, vip: IpAddr) -> impl Iterator<Item = &Name> {
        with(&self.listeners_by_vip, vip)
    }

    pub(super) fn pools_with(&self, address: BackendAddr) -> impl Iterator<Item = &Name> {
        with(&self.pools_by_backend, address)
    }

    /// The pools that have a backend with this address, which may be none's.
    pub(super) fn pools_with_ip(&self, ip: IpAddr) -> impl Iterator<Item = &Name> {
        BackendAddr::try_from(ip).into_iter().flat_map(|address| self.pools_with(address))
    }

    /// Every backend's address, each once.
    pub(super) fn backends(&self) -> BTreeSet<BackendAddr> {
        self.pools_by_backend.iter().map(|(address, _)| *address).collect()
    }

    pub(super) const fn slots(&self) -> u64 {
        self.slots
    }

    pub(super) const fn places(&self) -> u64 {
        self.places
    }
}

fn places_of(backends: usize) -> u64 {
    u64::from(places_region(backends as u32))
}
