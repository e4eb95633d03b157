//! The desired state, and the small edits that it changes by.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::address::BackendAddr;
use super::choices::VipOwner;
use super::name::Name;
use super::objects::{Backend, Interface, Listener, Pool, PoolSettings};

/// All that the user asked for.
///
/// Every listener's pool exists: [`Desired::check`] makes only edits that keep it so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Interfaces to run on, by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// Listeners, by name.
    pub listeners: BTreeMap<Name, Listener>,
    /// Pools, by name.
    pub pools: BTreeMap<Name, Pool>,
    /// Who answers for a VIP whose first listener does not say. A setting of the agent, which no edit changes.
    pub default_owner: VipOwner,
    /// What of these came from a file.
    pub from_file: FromFile,
}

/// The objects that the file last applied has. Those that the next one has no more are removed; what was made otherwise
/// stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromFile {
    /// Names of interfaces.
    pub interfaces: BTreeSet<String>,
    /// Names of listeners.
    pub listeners: BTreeSet<Name>,
}

/// One change of one object, as the store writes it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Add or replace an interface.
    PutInterface(Interface),
    /// Remove an interface.
    RemoveInterface(String),
    /// Add or replace a pool's settings; its backends stay.
    PutPool(PoolSettings),
    /// Remove a pool and its backends. An edit before it has removed each of them.
    RemovePool(Name),
    /// Add or replace a backend of a pool.
    PutBackend(Name, Backend),
    /// Remove a backend of a pool.
    RemoveBackend(Name, BackendAddr),
    /// Add or replace a listener.
    PutListener(Listener),
    /// Remove a listener.
    RemoveListener(Name),
    /// What came from a file.
    PutFromFile(FromFile),
}

impl Desired {
    /// Makes an edit, and returns the one that undoes it; `None` if it changed nothing, as when it names a pool that
    /// does not exist.
    pub fn edit(&mut self, edit: Edit) -> Option<Edit> {
        match edit {
            Edit::PutInterface(interface) => {
                let name = interface.name.clone();
                let old = self.interfaces.insert(name.clone(), interface);
                Some(old.map_or(Edit::RemoveInterface(name), Edit::PutInterface))
            }
            Edit::RemoveInterface(name) => self.interfaces.remove(&name).map(Edit::PutInterface),
            Edit::PutPool(settings) => Some(self.put_pool(settings)),
            Edit::RemovePool(name) => self.pools.remove(&name).map(|pool| Edit::PutPool(pool.settings())),
            Edit::PutBackend(pool, backend) => {
                let address = backend.address;
                let old = self.pools.get_mut(&pool)?.backends.insert(address, backend);
                Some(match old {
                    Some(old) => Edit::PutBackend(pool, old),
                    None => Edit::RemoveBackend(pool, address),
                })
            }
            Edit::RemoveBackend(pool, address) => {
                let old = self.pools.get_mut(&pool)?.backends.remove(&address)?;
                Some(Edit::PutBackend(pool, old))
            }
            Edit::PutListener(listener) => {
                let name = listener.name.clone();
                let old = self.listeners.insert(name.clone(), listener);
                Some(old.map_or(Edit::RemoveListener(name), Edit::PutListener))
            }
            Edit::RemoveListener(name) => self.listeners.remove(&name).map(Edit::PutListener),
            Edit::PutFromFile(from_file) => Some(Edit::PutFromFile(std::mem::replace(&mut self.from_file, from_file))),
        }
    }

    fn put_pool(&mut self, settings: PoolSettings) -> Edit {
        let PoolSettings { name, algorithm, persistence, timeouts, slots, health } = settings;
        match self.pools.get_mut(&name) {
            Some(pool) => {
                let old = pool.settings();
                (pool.algorithm, pool.persistence) = (algorithm, persistence);
                (pool.timeouts, pool.slots, pool.health) = (timeouts, slots, health);
                Edit::PutPool(old)
            }
            None => {
                let backends = BTreeMap::new();
                let pool = Pool { name: name.clone(), algorithm, persistence, timeouts, slots, health, backends };
                self.pools.insert(name.clone(), pool);
                Edit::RemovePool(name)
            }
        }
    }

    /// Makes edits in their order, and returns those that undo them, in the order in which to do that.
    pub fn edit_all(&mut self, edits: impl IntoIterator<Item = Edit>) -> Vec<Edit> {
        let mut undo: Vec<_> = edits.into_iter().filter_map(|edit| self.edit(edit)).collect();
        undo.reverse();
        undo
    }

    /// The listeners that are in service.
    pub fn listeners_in_service(&self) -> impl Iterator<Item = &Listener> {
        self.listeners.values().filter(|listener| listener.admin_up)
    }

    /// The listeners that a pool serves, in the order of their names.
    pub fn listeners_of<'a>(&'a self, pool: &'a Name) -> impl Iterator<Item = &'a Listener> {
        self.listeners.values().filter(move |listener| listener.pool == *pool)
    }

    /// The pool of a listener.
    #[must_use]
    pub fn pool_of(&self, listener: &Listener) -> Option<&Pool> {
        self.pools.get(&listener.pool)
    }

    /// Every backend's address, each once.
    #[must_use]
    pub fn backend_addresses(&self) -> BTreeSet<BackendAddr> {
        self.pools.values().flat_map(|pool| pool.backends.keys().copied()).collect()
    }
}
