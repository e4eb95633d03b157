//! Making the maps and links as they should be: after a command, and when the network or the backends' health changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::core::Core;
use crate::health::HealthView;
use crate::model::{BackendAddr, Fault, Name};
use crate::neighbour::NetworkView;
use crate::reconcile::{Change, LinkChange, Planned, Scope, apply, plan_links, plan_what_fits};

impl Core {
    /// Takes a new picture of the network.
    ///
    /// # Errors
    /// What it asks for could not be done; it is tried again by the next comparison.
    pub(super) fn network_changed(&mut self, view: Arc<NetworkView>) -> Result<(), Fault> {
        let before = self.view.replace(Arc::clone(&view));
        self.tell_network(before.as_deref(), &view);
        let scope = match before {
            None => Some(Scope::All),
            Some(before) => self.what_moved(&before, &view),
        };
        let Some(scope) = scope else {
            self.health.ask(&self.desired, &view, &self.held, None);
            return Ok(());
        };
        self.logged(|core| {
            if scope == Scope::All {
                // An interface that went took its link with it.
                let before = std::mem::replace(&mut core.held.attached, core.plane.attached()?);
                core.tell_gone(&before);
            }
            let done = core.reconcile(&view, &scope, None);
            if scope == Scope::All {
                core.compared(&done);
            }
            core.health.ask(&core.desired, &view, &core.held, None);
            done
        })
    }

    /// Takes what the health checks found.
    ///
    /// # Errors
    /// What follows from it could not be done; it is tried again by the next comparison.
    pub(super) fn health_changed(&mut self, found: Arc<HealthView>) -> Result<(), Fault> {
        self.tell_standings(|key| self.health.standing(key), self.health.view(), &found);
        let changed = self.health.take(&self.desired, found);
        let Some(view) = self.view.clone().filter(|_| !changed.is_empty()) else { return Ok(()) };
        let pools = changed.into_iter().map(|(pool, _)| pool).collect();
        let scope = Scope::Some { pools, keys: BTreeSet::new() };
        self.logged(|core| {
            // Packets first, the disk after.
            core.reconcile(&view, &scope, None)?;
            core.health.keep(core.store.as_mut())
        })
    }

    /// What a plan must look at after a change of the network; `None` if it touches nothing.
    fn what_moved(&self, before: &NetworkView, after: &NetworkView) -> Option<Scope> {
        let place = |view: &NetworkView, name: &String| view.links.get(name).map(|link| (link.ifindex, link.mac));
        if self.desired.interfaces.keys().any(|name| place(before, name) != place(after, name)) {
            return Some(Scope::All);
        }
        let differs = |address: &&BackendAddr| before.backends.get(*address) != after.backends.get(*address);
        let known = before.backends.keys().chain(after.backends.keys());
        let touched = known.filter(differs).flat_map(|address| self.desired.pools_with(address.ip()));
        let pools: BTreeSet<Name> = touched.map(|pool| pool.name.clone()).collect();
        (!pools.is_empty()).then(|| Scope::Some { pools, keys: BTreeSet::new() })
    }

    /// Makes the links and maps as they should be. The fault of an interface counts only if it is `must`: the others
    /// keep theirs, for `status` to show.
    pub(super) fn reconcile(&mut self, view: &NetworkView, scope: &Scope, must: Option<&str>) -> Result<(), Fault> {
        let links = plan_links(&self.desired, view, &self.held);
        for change in &links.first {
            // What failed is tried again with everything, not with every small change.
            let tried = matches!(scope, Scope::Some { .. }) && self.link_faults.contains_key(change.interface());
            if !tried
                && let Err(fault) = self.link(change)
                && must == Some(change.interface())
            {
                self.link_faults.remove(change.interface());
                return Err(fault);
            }
        }
        self.held.tell_time(self.plane.now());
        let unhealthy = self.health.unhealthy();
        let Planned { changes, left_out } = plan_what_fits(&self.desired, view, unhealthy, &self.held, scope)?;
        self.leave_out(scope, left_out);
        self.follow(&changes, scope)?;
        let done = links.last.iter().try_for_each(|change| self.link(change));
        if !links.first.is_empty() || !links.last.is_empty() || !matches!(scope, Scope::Some { .. }) {
            self.tell_owned();
        }
        done
    }

    /// Does a plan, and takes up what it leads to.
    pub(super) fn follow(&mut self, plan: &[Change], scope: &Scope) -> Result<(), Fault> {
        self.changes += plan.len();
        let applied = self.apply(plan);
        if plan.iter().any(|change| matches!(change, Change::PutVip { .. } | Change::RemoveVip { .. })) {
            self.tell_owned();
        }
        let pools = self.pools_of(scope);
        self.tracker.sync(&self.desired, &self.held, pools.as_ref(), false, self.plane.now());
        applied
    }

    /// The pools that a scope is about; `None` for all.
    pub(super) fn pools_of(&self, scope: &Scope) -> Option<BTreeSet<Name>> {
        let (pools, keys) = match scope {
            Scope::All => return None,
            Scope::Rest => return Some(BTreeSet::new()),
            Scope::Some { pools, keys } => (pools, keys),
        };
        let served = keys.iter().flat_map(|key| self.desired.listeners_on(*key));
        Some(pools.iter().cloned().chain(served.map(|listener| listener.pool.clone())).collect())
    }

    fn link(&mut self, change: &LinkChange) -> Result<(), Fault> {
        let name = change.interface().to_owned();
        let done = self.plane.link(change);
        self.tell_link(change, done.as_ref().map(Option::as_ref));
        match done {
            Ok(attached) => {
                self.link_faults.remove(&name);
                match attached {
                    Some(attached) => self.held.attached.insert(name, attached),
                    None => self.held.attached.remove(&name),
                };
                Ok(())
            }
            Err(fault) => {
                self.link_faults.insert(name, fault.clone());
                Err(fault)
            }
        }
    }

    /// Makes changes in the maps, and follows them.
    pub(super) fn apply(&mut self, changes: &[Change]) -> Result<(), Fault> {
        let (now, tracker) = (self.plane.now(), &mut self.tracker);
        self.held.tell_time(now);
        apply(changes, self.plane.as_mut(), &mut self.held, |change| tracker.note(change, now))
    }
}
