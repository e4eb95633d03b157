//! What a command or a request touches, so that nobody looks at the rest.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::model::{BackendAddr, Desired, Edit, Listener, Name};
use crate::reconcile::Scope;

/// What some edits touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Touched {
    /// What a plan must look at.
    pub(super) scope: Scope,
    /// The pools that change, and those of listeners that do, before and after.
    pub(super) pools: BTreeSet<Name>,
    /// The listeners that change.
    pub(super) listeners: BTreeSet<Name>,
    /// Their VIPs.
    pub(super) vips: BTreeSet<IpAddr>,
    /// The backends that change.
    pub(super) backends: BTreeSet<BackendAddr>,
}

impl Touched {
    /// Nothing.
    pub(super) const fn nothing() -> Self {
        Self {
            scope: Scope::Some { pools: BTreeSet::new(), keys: BTreeSet::new() },
            pools: BTreeSet::new(),
            listeners: BTreeSet::new(),
            vips: BTreeSet::new(),
            backends: BTreeSet::new(),
        }
    }

    /// What these edits touch. To be asked before they are made.
    pub(super) fn by(edits: &[Edit], desired: &Desired) -> Self {
        let mut keys = BTreeSet::new();
        // Which interfaces are attached decides which backends serve, in every pool.
        let mut all = false;
        let mut touched = Self::nothing();
        for edit in edits {
            match edit {
                Edit::PutInterface(_) | Edit::RemoveInterface(_) => all = true,
                Edit::PutPool(settings) => {
                    touched.pools.insert(settings.name.clone());
                }
                Edit::RemovePool(pool) => {
                    touched.pools.insert(pool.clone());
                }
                Edit::PutBackend(pool, backend) => {
                    touched.pools.insert(pool.clone());
                    touched.backends.insert(backend.address);
                }
                Edit::RemoveBackend(pool, address) => {
                    touched.pools.insert(pool.clone());
                    touched.backends.insert(*address);
                }
                Edit::PutListener(listener) => {
                    let before = desired.listeners.get(&listener.name);
                    keys.extend(before.into_iter().chain([listener]).map(Listener::key));
                    before.into_iter().chain([listener]).for_each(|listener| touched.add(listener));
                }
                Edit::RemoveListener(name) => {
                    if let Some(listener) = desired.listeners.get(name) {
                        keys.insert(listener.key());
                        touched.add(listener);
                    }
                }
                Edit::PutFromFile(_) => {}
            }
        }
        // Those that a listener leaves are looked at, too: others may share them, whose flows were all pinned for its limit.
        touched.scope = if all { Scope::All } else { Scope::Some { pools: touched.pools.clone(), keys } };
        touched
    }

    fn add(&mut self, listener: &Listener) {
        self.listeners.insert(listener.name.clone());
        self.pools.insert(listener.pool.clone());
        self.vips.insert(listener.vip.ip());
    }
}
