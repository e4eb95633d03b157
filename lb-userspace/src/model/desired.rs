//! The desired state, and the small edits that it changes by.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lb_common::listener::ListenerKey;
use serde::{Deserialize, Serialize};

use super::address::BackendAddr;
use super::choices::VipOwner;
use super::index::{Index, Objects};
use super::name::Name;
use super::objects::{Backend, Interface, Listener, Pool, PoolSettings};
use super::tables::Tables;

/// All that the user asked for.
///
/// Every listener's pool exists: [`Desired::check`] makes only edits that keep it so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// Interfaces to run on, by name.
    pub interfaces: BTreeMap<String, Interface>,
    /// Listeners, by name.
    pub listeners: Objects<Listener>,
    /// Pools, by name.
    pub pools: Objects<Pool>,
    /// Who answers for a VIP whose first listener does not say. A setting of the agent, which no edit changes.
    pub default_owner: VipOwner,
    /// How large lookup tables are, and how much room there is for them. Settings of the agent, too.
    pub tables: Tables,
    /// What of these came from a file.
    pub from_file: FromFile,
    index: Index,
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
            Edit::RemovePool(name) => {
                let pool = self.pools.change().remove(&name)?;
                self.index.remove_pool(&pool);
                Some(Edit::PutPool(pool.settings()))
            }
            Edit::PutBackend(name, backend) => {
                let address = backend.address;
                let pool = self.pools.change().get_mut(&name)?;
                Some(match pool.backends.insert(address, backend) {
                    Some(old) => Edit::PutBackend(name, old),
                    None => {
                        self.index.add_backend(&name, address, pool.backends.len());
                        Edit::RemoveBackend(name, address)
                    }
                })
            }
            Edit::RemoveBackend(name, address) => {
                let pool = self.pools.change().get_mut(&name)?;
                let old = pool.backends.remove(&address)?;
                self.index.remove_backend(&name, address, pool.backends.len());
                Some(Edit::PutBackend(name, old))
            }
            Edit::PutListener(listener) => {
                let name = listener.name.clone();
                let old = self.listeners.change().insert(name.clone(), listener);
                if let Some(old) = &old {
                    self.index.remove_listener(old);
                }
                if let Some(new) = self.listeners.get(&name) {
                    self.index.add_listener(new);
                }
                Some(old.map_or(Edit::RemoveListener(name), Edit::PutListener))
            }
            Edit::RemoveListener(name) => {
                let listener = self.listeners.change().remove(&name)?;
                self.index.remove_listener(&listener);
                Some(Edit::PutListener(listener))
            }
            Edit::PutFromFile(from_file) => Some(Edit::PutFromFile(std::mem::replace(&mut self.from_file, from_file))),
        }
    }

    fn put_pool(&mut self, settings: PoolSettings) -> Edit {
        let PoolSettings { name, algorithm, persistence, timeouts, slots, health } = settings;
        match self.pools.change().get_mut(&name) {
            Some(pool) => {
                let old = pool.settings();
                self.index.resize_pool(pool.slots, slots);
                (pool.algorithm, pool.persistence) = (algorithm, persistence);
                (pool.timeouts, pool.slots, pool.health) = (timeouts, slots, health);
                Edit::PutPool(old)
            }
            None => {
                let backends = BTreeMap::new();
                let pool = Pool { name: name.clone(), algorithm, persistence, timeouts, slots, health, backends };
                self.index.add_pool(&pool);
                self.pools.change().insert(name.clone(), pool);
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
    pub fn listeners_of<'a>(&'a self, pool: &Name) -> impl Iterator<Item = &'a Listener> + use<'a> {
        let names: Vec<_> = self.index.listeners_of(pool).cloned().collect();
        names.into_iter().filter_map(|name| self.listeners.get(&name))
    }

    /// The listeners that listen on just this, in the order of their names. There is at most one where there is a data
    /// plane.
    pub fn listeners_on(&self, key: ListenerKey) -> impl Iterator<Item = &Listener> {
        self.index.listeners_with(key).filter_map(|name| self.listeners.get(name))
    }

    /// The listeners of a VIP, in the order of their names.
    pub fn listeners_of_vip(&self, vip: IpAddr) -> impl Iterator<Item = &Listener> {
        self.index.listeners_of_vip(vip).filter_map(|name| self.listeners.get(name))
    }

    /// The pools that have a backend with this address, in the order of their names.
    pub fn pools_with(&self, backend: IpAddr) -> impl Iterator<Item = &Pool> {
        self.index.pools_with_ip(backend).filter_map(|name| self.pools.get(name))
    }

    /// The pool of a listener.
    #[must_use]
    pub fn pool_of(&self, listener: &Listener) -> Option<&Pool> {
        self.pools.get(&listener.pool)
    }

    /// Every backend's address, each once.
    #[must_use]
    pub fn backend_addresses(&self) -> BTreeSet<BackendAddr> {
        self.index.backends()
    }

    /// Slots that all pools' regions take.
    #[must_use]
    pub const fn slots_taken(&self) -> u64 {
        self.index.slots()
    }

    /// Places that all pools' regions take.
    #[must_use]
    pub const fn places_taken(&self) -> u64 {
        self.index.places()
    }

    /// The pools, to be changed by a test in what the index does not know: not their backends' addresses, nor their slots.
    #[cfg(test)]
    pub(crate) const fn pools_mut(&mut self) -> &mut BTreeMap<Name, Pool> {
        self.pools.change()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Command, NewListener, Protocol};

    fn command(choice: u8, listener: u8, last: u8) -> Command {
        let name: Name = format!("l{listener}").parse().expect("a name");
        let address = format!("192.0.2.{last}").parse().expect("an address");
        match choice {
            0 => Command::AddListener(NewListener {
                name,
                vip: format!("198.51.100.{}", last % 3 + 1).parse().expect("a VIP"),
                protocol: Protocol::Tcp,
                port: u16::from(listener) + 1,
                algorithm: super::super::Algorithm::SourceIpPort,
                persistence: None,
                timeouts: super::super::Timeouts::default(),
                allowed: super::super::AllowList::default(),
                vip_owner: None,
                source_rate: None,
                max_flows: None,
                slots: Some(101),
            }),
            1 => Command::RemoveListener { name },
            2 => Command::RemoveBackend { listener: name, address },
            _ => Command::AddBackend { listener: name, address, weight: 1 },
        }
    }

    /// The index as it is when all is made anew.
    fn index_of(desired: &Desired) -> Index {
        let mut index = Index::default();
        desired.pools.values().for_each(|pool| index.add_pool(pool));
        desired.listeners.values().for_each(|listener| index.add_listener(listener));
        index
    }

    proptest! {
        #[test]
        fn the_index_follows_edits_and_their_undoing(steps in prop::collection::vec((0_u8..6, 0_u8..5, 1_u8..40), 1..80)) {
            let mut desired = Desired::default();
            for (choice, listener, last) in steps {
                let before = desired.clone();
                let Ok(edits) = desired.check(&command(choice, listener, last), 0) else { continue };
                let undo = desired.edit_all(edits);
                prop_assert_eq!(&index_of(&desired), &desired.index);
                let mut undone = desired.clone();
                undone.edit_all(undo);
                prop_assert_eq!(&undone, &before);
            }
        }
    }
}
