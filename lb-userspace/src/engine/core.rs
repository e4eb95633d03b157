//! What the engine does, without its thread: everything here blocks and happens one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;

use super::status::{self, Status};
use crate::model::{Command, Desired, Edit, Fault, Name};
use crate::neighbour::{NetworkView, Targets};
use crate::reconcile::{DataPlane, Held, LinkChange, Scope, apply, plan, plan_links};
use crate::store::{Store, changes_of, desired_of};

/// The desired state, what the maps hold, and what leads from the one to the other.
pub(super) struct Core {
    store: Box<dyn Store>,
    plane: Box<dyn DataPlane>,
    desired: Desired,
    held: Held,
    /// `None` until the first picture of the network: nothing is changed before.
    view: Option<Arc<NetworkView>>,
    /// Why interfaces could not be attached, by name.
    link_faults: BTreeMap<String, Fault>,
    targets: watch::Sender<Arc<Targets>>,
}

impl Core {
    /// Reads the desired state from the store and what is held from the maps.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub(super) fn new(store: Box<dyn Store>, mut plane: Box<dyn DataPlane>) -> Result<Self, Fault> {
        let desired = desired_of(&store.load()?)?;
        let held = plane.read()?;
        let targets = watch::Sender::new(Arc::new(targets_of(&desired)));
        Ok(Self { store, plane, desired, held, view: None, link_faults: BTreeMap::new(), targets })
    }

    /// Whose MACs the engine needs, now and after each change.
    pub(super) fn targets(&self) -> watch::Receiver<Arc<Targets>> {
        self.targets.subscribe()
    }

    /// True if the picture of the network is enough for a command. It may lag behind the kernel: an interface that was
    /// made a moment ago is waited for.
    pub(super) fn can_execute(&self, command: &Command) -> bool {
        let Some(view) = &self.view else { return false };
        match command {
            Command::Attach { interface, .. } => {
                view.links.contains_key(interface) || !self.plane.interface_exists(interface)
            }
            _ => true,
        }
    }

    /// Does a command, whole or not at all.
    ///
    /// # Errors
    /// Why it was refused or failed.
    pub(super) fn execute(&mut self, command: &Command) -> Result<(), Fault> {
        let edits = self.desired.check(command)?;
        let view = self.view.clone().ok_or_else(|| {
            Fault::unavailable("the state of this host's network is not known yet; try again in a moment")
        })?;
        let attached = match command {
            Command::Attach { interface, .. } => {
                self.must_exist(interface, &view)?;
                Some(interface.as_str())
            }
            _ => None,
        };
        let scope = self.scope_of(&edits);
        let changes = changes_of(&edits)?;
        let undo = self.desired.edit_all(edits);
        // A plan that does not fit is found before anything is written down.
        let planned = plan(&self.desired, &view, &self.held, &scope);
        let written = planned.and_then(|plan| self.store.commit(&changes).map(|()| plan));
        let planned = match written {
            Ok(plan) => plan,
            Err(fault) => {
                self.desired.edit_all(undo);
                return Err(fault);
            }
        };
        let done = match scope {
            // Interfaces come or go: what is attached then decides what else is to be done.
            Scope::All => self.reconcile(&view, &scope, attached),
            Scope::Some { .. } => apply(&planned, self.plane.as_mut(), &mut self.held),
        };
        if let Err(fault) = done {
            return Err(self.roll_back(&view, undo, fault));
        }
        self.tell_targets();
        tracing::info!(?command, "done");
        Ok(())
    }

    /// Takes a new picture of the network.
    ///
    /// # Errors
    /// What it asks for could not be done; it is tried again by the next comparison.
    pub(super) fn network_changed(&mut self, view: Arc<NetworkView>) -> Result<(), Fault> {
        let scope = match self.view.replace(Arc::clone(&view)) {
            None => Scope::All,
            Some(before) => match self.what_moved(&before, &view) {
                Some(scope) => scope,
                None => return Ok(()),
            },
        };
        self.logged(|core| {
            if scope == Scope::All {
                // An interface that went took its link with it.
                core.held.attached = core.plane.attached()?;
            }
            core.reconcile(&view, &scope, None)
        })
    }

    /// Reads back what the maps and links really hold, and repairs what is not as it should be.
    ///
    /// # Errors
    /// It could not be read or repaired.
    pub(super) fn compare_everything(&mut self) -> Result<(), Fault> {
        let Some(view) = self.view.clone() else { return Ok(()) };
        self.logged(|core| {
            core.held = core.plane.read()?.remembering(&core.held);
            let found = plan(&core.desired, &view, &core.held, &Scope::All)?;
            if !found.is_empty() {
                tracing::warn!("the maps were not as they should be; {} changes repair them", found.len());
            }
            core.reconcile(&view, &Scope::All, None)
        })
    }

    /// A snapshot.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub(super) fn status(&self) -> Result<Status, Fault> {
        let none = NetworkView::default();
        let view = self.view.as_deref().unwrap_or(&none);
        status::take(&self.desired, view, &self.held, &self.link_faults, self.plane.as_ref())
    }

    /// Ends: forwarding goes on, and if there is none, nothing is left in the kernel.
    pub(super) fn stop(&mut self) {
        if self.held.attached.is_empty()
            && let Err(fault) = self.plane.remove_pins()
        {
            tracing::warn!("{fault}");
        }
    }

    fn must_exist(&self, interface: &str, view: &NetworkView) -> Result<(), Fault> {
        if view.links.contains_key(interface) {
            return Ok(());
        }
        if self.plane.interface_exists(interface) {
            return Err(Fault::invalid(format!(
                "{interface} is not an Ethernet interface; drlb forwards Ethernet frames"
            )));
        }
        let links: Vec<_> = view.links.keys().map(String::as_str).collect();
        let links = if links.is_empty() { "none".to_owned() } else { links.join(", ") };
        Err(Fault::not_found(format!("there is no interface {interface} on this host; there are: {links}")))
    }

    /// What a plan must look at for these edits. To be asked before they are made.
    fn scope_of(&self, edits: &[Edit]) -> Scope {
        let (mut pools, mut keys) = (BTreeSet::new(), BTreeSet::new());
        for edit in edits {
            match edit {
                // Which interfaces are attached decides which backends serve, in every pool.
                Edit::PutInterface(_) | Edit::RemoveInterface(_) => return Scope::All,
                Edit::PutPool(settings) => {
                    pools.insert(settings.name.clone());
                }
                Edit::RemovePool(pool) | Edit::PutBackend(pool, _) | Edit::RemoveBackend(pool, _) => {
                    pools.insert(pool.clone());
                }
                Edit::PutListener(listener) => {
                    keys.insert(listener.key());
                    keys.extend(self.desired.listeners.get(&listener.name).map(|before| before.key()));
                }
                Edit::RemoveListener(name) => keys.extend(self.desired.listeners.get(name).map(|before| before.key())),
            }
        }
        Scope::Some { pools, keys }
    }

    /// What a plan must look at after a change of the network; `None` if it touches nothing.
    fn what_moved(&self, before: &NetworkView, after: &NetworkView) -> Option<Scope> {
        let place = |view: &NetworkView, name: &String| view.links.get(name).map(|link| (link.ifindex, link.mac));
        if self.desired.interfaces.keys().any(|name| place(before, name) != place(after, name)) {
            return Some(Scope::All);
        }
        let moved = |address| before.backends.get(address) != after.backends.get(address);
        let touched = self.desired.pools.values().filter(|pool| pool.backends.keys().any(moved));
        let pools: BTreeSet<Name> = touched.map(|pool| pool.name.clone()).collect();
        (!pools.is_empty()).then(|| Scope::Some { pools, keys: BTreeSet::new() })
    }

    /// Makes the links and maps as they should be. The fault of an interface counts only if it is `must`: the others
    /// keep theirs, for `status` to show.
    fn reconcile(&mut self, view: &NetworkView, scope: &Scope, must: Option<&str>) -> Result<(), Fault> {
        let links = plan_links(&self.desired, view, &self.held);
        for change in &links.first {
            // What failed is tried again with everything, not with every small change.
            let tried = *scope != Scope::All && self.link_faults.contains_key(change.interface());
            if !tried && let Err(fault) = self.link(change) {
                if must == Some(change.interface()) {
                    self.link_faults.remove(change.interface());
                    return Err(fault);
                }
                tracing::warn!("{fault}");
            }
        }
        let changes = plan(&self.desired, view, &self.held, scope)?;
        apply(&changes, self.plane.as_mut(), &mut self.held)?;
        links.last.iter().try_for_each(|change| self.link(change))
    }

    fn link(&mut self, change: &LinkChange) -> Result<(), Fault> {
        let name = change.interface().to_owned();
        match self.plane.link(change) {
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

    /// Makes all as it was before a command that failed, and returns the fault to answer with.
    fn roll_back(&mut self, view: &NetworkView, undo: Vec<Edit>, fault: Fault) -> Fault {
        let written = changes_of(&undo).and_then(|changes| self.store.commit(&changes));
        self.desired.edit_all(undo);
        let applied = self.reconcile(view, &Scope::All, None);
        match written.and(applied) {
            Ok(()) => fault,
            Err(second) => {
                tracing::error!("a command failed ({fault}), and so did taking it back ({second})");
                Fault::internal(format!("{fault}; it could not be taken back either: {second}; restart the agent"))
            }
        }
    }

    fn tell_targets(&self) {
        let targets = targets_of(&self.desired);
        self.targets.send_if_modified(|known| {
            let changed = **known != targets;
            if changed {
                *known = Arc::new(targets);
            }
            changed
        });
    }

    fn logged(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        let result = work(self);
        if let Err(fault) = &result {
            tracing::error!("{fault}");
        }
        result
    }
}

fn targets_of(desired: &Desired) -> Targets {
    Targets { backends: desired.backend_addresses() }
}
