//! The engine's side of the OpenStack API: answers requests, writes down what they change, and carries it out.
//!
//! An answer is given when all is written down and carried out. What it changed shows as `PENDING_CREATE` or `PENDING_UPDATE` to
//! all who asked before it was given, as that is what it was when they asked: of two that change the same at once, the second is
//! refused. Whoever asks after it finds it carried out, or in error with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use uuid::Uuid;

use super::change::Prepared;
use super::core::{Core, unix_now};
use super::health::Health;
use super::took::Watch;
use super::touched::Touched;
use crate::health::Standing;
use crate::model::{BackendAddr, Desired, Fault, FaultKind, Name};
use crate::neighbour::NetworkView;
use crate::octavia::adopt::{Part, adopt};
use crate::octavia::catalogue::Catalogue;
use crate::octavia::project::project;
use crate::octavia::schema::Kind;
use crate::octavia::{self, Observed, Refusal, Reply, Seen, Traffic};
use crate::reconcile::{DataPlane, Held, Planned, Scope};
use crate::store::{Change, object_changes, object_changes_of};
use crate::tracking::Tracker;

/// The API's part of the engine's state.
pub(super) struct OpenStack {
    /// The API's objects.
    pub(super) catalogue: Catalogue,
    /// What the configuration says.
    pub(super) settings: octavia::Settings,
    /// Load balancers for whose sake all is to be compared again.
    again: BTreeSet<String>,
    /// What became of all that was written down since [`Core::settle`] was last asked.
    done: Result<(), Fault>,
}

impl OpenStack {
    pub(super) fn new(catalogue: Catalogue, settings: octavia::Settings) -> Self {
        Self { catalogue, settings, again: BTreeSet::new(), done: Ok(()) }
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

/// What is written down and is to be done.
struct Begun {
    touched: Touched,
    planned: Result<Planned, Fault>,
    /// `None` if nothing can be done yet, or ever.
    view: Option<Arc<NetworkView>>,
    watch: Watch,
}

fn new_id() -> String {
    Uuid::new_v4().to_string()
}

impl Core {
    /// Answers a request of the OpenStack API. What it changes is written down and carried out when this returns.
    ///
    /// # Errors
    /// Why it is refused; nothing is changed then.
    pub(super) fn octavia(&mut self, request: &octavia::Request) -> Result<Reply, Refusal> {
        let watch = Watch::start();
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
        let written = answered.and_then(|(reply, touched)| {
            let begun = self.write_down(&touched, watch).map_err(|fault| refusal_of(&fault))?;
            Ok((reply, touched, begun))
        });
        let (reply, load_balancers, begun) = written.inspect_err(|_| self.openstack.catalogue.roll_back())?;
        self.openstack.catalogue.commit();
        if let Some(begun) = begun {
            self.carry_out(begun, &load_balancers);
        }
        Ok(reply)
    }

    /// Plans what a request changes of the model, and writes it down with what it changes of the API's objects. Returns what is
    /// to be done.
    ///
    /// # Errors
    /// It could not be written down; nothing is changed then but the objects.
    fn write_down(&mut self, load_balancers: &BTreeSet<String>, mut watch: Watch) -> Result<Option<Begun>, Fault> {
        let catalogue = &self.openstack.catalogue;
        let objects = object_changes(catalogue)?;
        if objects.is_empty() {
            // Nothing is asked for but to compare all again, or nothing at all.
            self.openstack.again.extend(load_balancers.iter().cloned());
            return Ok(None);
        }
        let edits = match load_balancers.is_empty() {
            true => Vec::new(),
            false => project(catalogue, &self.desired, load_balancers, self.on)?,
        };
        let view = self.view.clone().filter(|_| self.on);
        let Prepared { touched, mut records, planned, undo, known } = self.prepare(edits, view.as_deref())?;
        records.extend(objects);
        watch.part();
        if let Err(fault) = self.store.commit(&records) {
            self.take_back(undo, known);
            return Err(fault);
        }
        watch.part();
        Ok(Some(Begun { touched, planned, view, watch }))
    }

    /// Does what is written down. What cannot be done is in error, and the next comparison tries again.
    fn carry_out(&mut self, begun: Begun, load_balancers: &BTreeSet<String>) {
        let Begun { touched, planned, view, mut watch } = begun;
        if let Some(view) = view {
            let done = self.logged(|core| {
                let Planned { changes, left_out } = planned?;
                core.leave_out(&touched.scope, left_out);
                core.follow(&changes, &touched.scope)
            });
            watch.part();
            watch.tell(&self.took);
            self.tell_health(&view, &touched);
            self.carried_out(load_balancers, done);
        }
        self.tell_targets(&touched);
    }

    /// Hears what became of load balancers.
    fn carried_out(&mut self, load_balancers: &BTreeSet<String>, done: Result<(), Fault>) {
        let before = self.openstack.catalogue.errors();
        self.openstack.catalogue.carried_out(load_balancers, done.as_ref().err().map(|fault| fault.message.as_str()));
        self.tell_errors(&before);
        if done.is_err() {
            // What a comparison found before this is no word about it.
            self.comparison = None;
            self.openstack.done = done;
        }
    }

    /// True if something shows as pending, or all is to be compared again.
    pub(super) fn is_unsettled(&self) -> bool {
        self.openstack.catalogue.is_pending() || self.is_waiting()
    }

    /// True if all is to be compared again.
    pub(super) fn is_waiting(&self) -> bool {
        !self.openstack.again.is_empty()
    }

    /// Says that nothing is under way any more, and does what is left to do.
    ///
    /// # Errors
    /// Something could not be carried out since this was last called; the load balancers that it is about say so, and the next
    /// comparison is to try again.
    pub(super) fn settle(&mut self) -> Result<(), Fault> {
        if !self.is_unsettled() || (self.on && self.view.is_none()) {
            // Without a picture of the network nothing is carried out. The first one is about everything.
            return Ok(());
        }
        let again = std::mem::take(&mut self.openstack.again);
        if let Some(view) = self.view.clone().filter(|_| self.on && !again.is_empty()) {
            let done = self.logged(|core| core.reconcile(&view, &Scope::All, None));
            self.carried_out(&again, done);
        }
        self.openstack.catalogue.settle();
        std::mem::replace(&mut self.openstack.done, Ok(()))
    }

    /// Hears whether all that is wanted is carried out.
    pub(super) fn compared(&mut self, done: &Result<(), Fault>) {
        let failure = done.as_ref().err().map(|fault| fault.message.as_str());
        if failure.is_some() || self.openstack.catalogue.is_pending() || self.openstack.catalogue.has_errors() {
            let before = self.openstack.catalogue.errors();
            self.openstack.catalogue.compared(failure);
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
