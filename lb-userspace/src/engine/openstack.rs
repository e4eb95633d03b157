//! The engine's side of the OpenStack API: answers requests, writes down what they change, and carries it out.
//!
//! An answer is given when all is written down; the maps follow right after, together for all requests that wait. So
//! `PENDING_UPDATE` lasts from the one to the other, and whoever asks for a second change in between is refused.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::core::{Core, unix_now};
use super::health::Health;
use super::touched::Touched;
use crate::health::Standing;
use crate::model::{BackendAddr, Desired, Fault, FaultKind, Name};
use crate::octavia::adopt::{Part, adopt};
use crate::octavia::catalogue::Catalogue;
use crate::octavia::project::project;
use crate::octavia::schema::Kind;
use crate::octavia::{self, Observed, Refusal, Reply, Seen, Traffic};
use crate::reconcile::{DataPlane, Held, Scope};
use crate::store::{Change, changes_of, object_changes, object_changes_of};
use crate::tracking::Tracker;

/// The API's part of the engine's state.
pub(super) struct OpenStack {
    /// The API's objects.
    pub(super) catalogue: Catalogue,
    /// What the configuration says.
    pub(super) settings: octavia::Settings,
    /// What was written down and is not carried out.
    touched: Option<Touched>,
}

impl OpenStack {
    pub(super) fn new(catalogue: Catalogue, settings: octavia::Settings) -> Self {
        Self { catalogue, settings, touched: None }
    }

    /// Makes the objects say what the model says, of all or of a part of it, and returns what that changes of the store.
    ///
    /// # Errors
    /// An object has no JSON form, which would be a bug.
    pub(super) fn adopt(&mut self, desired: &Desired, part: Option<Part<'_>>) -> Result<Vec<Change>, Fault> {
        adopt(&mut self.catalogue, desired, &self.settings, unix_now(), &new_id, part);
        object_changes(&self.catalogue)
    }

    /// Takes back what is not committed, and returns what that changes of the store.
    ///
    /// # Errors
    /// An object has no JSON form, which would be a bug.
    pub(super) fn roll_back(&mut self) -> Result<Vec<Change>, Fault> {
        let keys: Vec<_> = self.catalogue.changes().map(|(key, _)| key.clone()).collect();
        self.catalogue.roll_back();
        object_changes_of(&self.catalogue, &keys)
    }
}

fn new_id() -> String {
    Uuid::new_v4().to_string()
}

impl Core {
    /// Answers a request of the OpenStack API. What it changes is written down when this returns.
    ///
    /// # Errors
    /// Why it is refused; nothing is changed then.
    pub(super) fn octavia(&mut self, request: &octavia::Request) -> Result<Reply, Refusal> {
        let observed = Observation {
            on: self.on,
            desired: &self.desired,
            held: &self.held,
            health: &self.health,
            plane: self.plane.as_ref(),
            tracker: &self.tracker,
        };
        let context = octavia::Context {
            now: unix_now(),
            new_id: &new_id,
            desired: &self.desired,
            observed: &observed,
            settings: &self.openstack.settings,
        };
        let answered = octavia::answer(&mut self.openstack.catalogue, &context, request);
        let done = answered.and_then(|(reply, touched)| {
            self.write_down(&touched).map_err(|fault| refusal_of(&fault))?;
            Ok(reply)
        });
        match &done {
            Ok(_) => self.openstack.catalogue.commit(),
            Err(_) => self.openstack.catalogue.roll_back(),
        }
        done
    }

    /// Writes down what a request changed, of the API's objects and of the model.
    fn write_down(&mut self, touched: &BTreeSet<String>) -> Result<(), Fault> {
        let catalogue = &self.openstack.catalogue;
        let objects = object_changes(catalogue)?;
        let edits = match touched.is_empty() {
            true => Vec::new(),
            false => project(catalogue, &self.desired, touched, self.on)?,
        };
        if objects.is_empty() && touched.is_empty() {
            return Ok(());
        }
        if objects.is_empty() {
            // Nothing is asked for but to compare all again.
            self.openstack.touched = Some(Touched { scope: Scope::All, ..Touched::nothing() });
            return Ok(());
        }
        let mut changes = changes_of(&edits)?;
        changes.extend(objects);
        let touched = Touched::by(&edits, &self.desired);
        let undo = self.desired.edit_all(edits);
        if let Err(fault) = self.store.commit(&changes) {
            self.desired.edit_all(undo);
            return Err(fault);
        }
        self.health.follow(&self.desired, &touched.pools);
        self.tell_targets(&touched);
        let before = self.openstack.touched.take();
        self.openstack.touched = Some(before.unwrap_or_else(Touched::nothing).and(touched));
        Ok(())
    }

    /// True if something is written down and not carried out.
    pub(super) fn is_unsettled(&self) -> bool {
        self.openstack.catalogue.is_pending() || self.openstack.touched.is_some()
    }

    /// True if that is known to concern the maps.
    pub(super) const fn is_waiting(&self) -> bool {
        self.openstack.touched.is_some()
    }

    /// Carries out what is written down.
    ///
    /// # Errors
    /// It could not be done; the load balancers that it is about say so, and the next comparison tries again.
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        if !self.is_unsettled() {
            return Ok(());
        }
        let touched = self.openstack.touched.take();
        let done = match (touched, self.view.clone()) {
            (Some(touched), Some(view)) if self.on => {
                let done = self.reconcile(&view, &touched.scope, None);
                self.tell_health(&view, &touched);
                // What was done is known, so the rest can be looked for.
                self.logged(|_| done)
            }
            _ => Ok(()),
        };
        self.settled(&done, false);
        done
    }

    /// Hears whether all that is written down is carried out; with `everything`, whether all that is wanted is.
    pub(super) fn settled(&mut self, done: &Result<(), Fault>, everything: bool) {
        let failure = done.as_ref().err().map(|fault| fault.message.as_str());
        if failure.is_some() || self.openstack.catalogue.is_pending() || self.openstack.catalogue.has_errors() {
            let before = self.openstack.catalogue.errors();
            self.openstack.catalogue.settle(failure, everything);
            self.tell_errors(&before);
        }
    }

    /// Hears which pools of a scope there is no room for. Their load balancers are in error until there is.
    pub(super) fn leave_out(&mut self, scope: &Scope, left_out: BTreeMap<Name, Fault>) {
        if left_out.is_empty() && self.left_out.is_empty() {
            return;
        }
        match self.pools_of(scope) {
            None => self.left_out.clear(),
            Some(pools) => {
                self.left_out.retain(|pool, _| !pools.contains(pool) && self.desired.pools.contains_key(pool))
            }
        }
        self.left_out.extend(left_out);
        let catalogue = &self.openstack.catalogue;
        let of_pool = |pool: &Name| match catalogue.named(Kind::Pool, pool) {
            Some(id) => catalogue.load_balancer_of(Kind::Pool, id),
            None => {
                let mut listeners = self.desired.listeners_of(pool);
                let id = listeners.find_map(|listener| catalogue.named(Kind::Listener, &listener.name))?;
                catalogue.load_balancer_of(Kind::Listener, id)
            }
        };
        let misfits = self.left_out.iter().filter_map(|(pool, fault)| Some((of_pool(pool)?, fault.message.clone())));
        let (misfits, before) = (misfits.collect(), catalogue.errors());
        self.openstack.catalogue.leave_out(misfits);
        self.tell_errors(&before);
    }

    /// True if there is no room for something that is wanted.
    pub(super) fn leaves_out(&self) -> bool {
        !self.left_out.is_empty()
    }

    /// Takes up what a command changed of the model, and returns what that changes of the store.
    ///
    /// # Errors
    /// An object has no JSON form, which would be a bug.
    pub(super) fn adopt(&mut self, touched: &Touched) -> Result<Vec<Change>, Fault> {
        let part = Part { listeners: &touched.listeners, pools: &touched.pools };
        self.openstack.adopt(&self.desired, Some(part))
    }
}

/// A fault of the engine as the API says it.
fn refusal_of(fault: &Fault) -> Refusal {
    let status = match fault.kind {
        FaultKind::Invalid => 400,
        FaultKind::NotFound => 404,
        FaultKind::Conflict => 409,
        FaultKind::Unavailable => 503,
        FaultKind::Internal => 500,
    };
    Refusal::new(status, fault.message.clone())
}

/// What the data plane does, for the API to show.
struct Observation<'a> {
    on: bool,
    desired: &'a Desired,
    held: &'a Held,
    health: &'a Health,
    plane: &'a dyn DataPlane,
    tracker: &'a Tracker,
}

impl Observed for Observation<'_> {
    fn forwards(&self) -> bool {
        self.on && !self.held.attached.is_empty()
    }

    fn member(&self, pool: &Name, address: BackendAddr) -> Seen {
        let backend = self.desired.pools.get(pool).and_then(|pool| pool.backends.get(&address));
        match backend {
            Some(backend) if backend.drain.is_some() => Seen::Draining,
            _ => match self.health.standing(&(pool.clone(), address)) {
                Some(Standing::Up) => Seen::Up,
                Some(Standing::Down) => Seen::Down,
                Some(Standing::Unproven) | None => Seen::Unknown,
            },
        }
    }

    fn traffic(&self, listener: &Name) -> Traffic {
        let listener = self.desired.listeners.get(listener);
        let Some(held) = listener.and_then(|listener| self.held.listeners.get(&listener.key())) else {
            return Traffic::default();
        };
        // A counter that cannot be read is shown as it was at first; the log of the engine tells why.
        let bytes_in = self.plane.listener_counter(held.id).map_or(0, |counter| counter.bytes);
        let places = u16::try_from(held.backends_len).unwrap_or(u16::MAX);
        // Where the hash alone finds the backend, a few flows are remembered while something changes: no number to tell.
        let all = held.pins_every_flow();
        let flows = (0..places).filter(|_| all).filter_map(|index| self.tracker.flows(held.pool, index)).sum();
        Traffic { bytes_in, flows, pool: held.pool }
    }
}

/// The listeners that take the same, as they may without a data plane.
pub(super) fn doubled(desired: &Desired) -> Option<(&Name, &Name)> {
    let mut listeners: Vec<_> =
        desired.listeners_in_service().map(|listener| (listener.key(), &listener.name)).collect();
    listeners.sort_unstable();
    listeners.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| (pair[0].1, pair[1].1))
}
