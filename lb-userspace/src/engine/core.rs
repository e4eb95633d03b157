//! What the engine does, without its thread: everything here blocks and happens one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lb_common::track::pin::Table;
use tokio::sync::watch;

use super::Feeds;
use super::health::Health;
use super::news::Told;
use super::openstack::{OpenStack, doubled};
use super::status::{self, Flows, Status};
use crate::announce::{Owned, Port, Watched};
use crate::config::{self, Plan, Wanted};
use crate::events::{EventKind, News};
use crate::health::HealthView;
use crate::model::{BackendAddr, Command, Desired, Drain, Edit, Fault, Name, VipOwner};
use crate::neighbour::{NetworkView, Targets};
use crate::octavia;
use crate::reconcile::{Attached, Change, DataPlane, Held, LinkChange, Scope, apply, plan, plan_links};
use crate::store::{Store, catalogue_of, changes_of, desired_of, standings_of};
use crate::tracking::Tracker;

/// The desired state, what the maps hold, and what leads from the one to the other.
pub(super) struct Core {
    pub(super) store: Box<dyn Store>,
    pub(super) plane: Box<dyn DataPlane>,
    /// False without a data plane: then what is asked for is written down, and that is all.
    pub(super) on: bool,
    pub(super) desired: Desired,
    pub(super) held: Held,
    pub(super) tracker: Tracker,
    pub(super) openstack: OpenStack,
    /// `None` until the first picture of the network: nothing is changed before.
    pub(super) view: Option<Arc<NetworkView>>,
    /// Why interfaces could not be attached, by name.
    link_faults: BTreeMap<String, Fault>,
    pub(super) health: Health,
    pub(super) told: Told,
    targets: watch::Sender<Arc<Targets>>,
    owned: watch::Sender<Arc<Owned>>,
    /// Others that have or want our VIPs; `None` where nobody watches.
    watched: Option<watch::Receiver<Arc<Watched>>>,
}

impl Core {
    /// Reads the desired state from the store and what is held from the maps.
    ///
    /// # Errors
    /// One of them cannot be read.
    pub(super) fn new(
        mut store: Box<dyn Store>,
        mut plane: Box<dyn DataPlane>,
        settings: octavia::Settings,
        default_owner: VipOwner,
    ) -> Result<Self, Fault> {
        let entries = store.load()?;
        let mut desired = desired_of(&entries)?;
        desired.default_owner = default_owner;
        let on = settings.data_plane;
        if let Some((one, other)) = doubled(&desired).filter(|_| on) {
            return Err(Fault::conflict(format!(
                "listeners `{one}` and `{other}` take the same, which can be without a data plane only; remove one of them \
                 with `--data-plane off`, or give another folder with --state-dir"
            )));
        }
        let mut openstack = OpenStack::new(catalogue_of(&entries)?, settings);
        let adopted = openstack.adopt(&desired)?;
        if !adopted.is_empty() {
            store.commit(&adopted)?;
        }
        openstack.catalogue.commit();
        let health = Health::new(&desired, standings_of(&entries));
        let mut held = plane.read()?;
        // A pool that is gone may have left pins and sessions: its number is not given again either.
        for number in numbers_of(plane.as_mut())? {
            held.saw_pool(number);
        }
        let mut tracker = Tracker::new();
        tracker.sync(&desired, &held, None, true, plane.now());
        let targets = watch::Sender::new(Arc::new(targets_of(&desired)));
        Ok(Self {
            store,
            plane,
            on,
            desired,
            held,
            tracker,
            openstack,
            view: None,
            link_faults: BTreeMap::new(),
            health,
            told: Told::default(),
            targets,
            owned: watch::Sender::default(),
            watched: None,
        })
    }

    /// What the engine asks of others, now and after each change, and where it hears from them.
    pub(super) fn feeds(&mut self) -> Feeds {
        let (watched, receiver) = watch::channel(Arc::default());
        self.watched = Some(receiver);
        let (targets, owned) = (self.targets.subscribe(), self.owned.subscribe());
        let (checks, checked) = (self.health.checks(), self.health.counters());
        Feeds { targets, owned, watched, checks, checked, events: self.told.log.clone() }
    }

    /// True if the picture of the network is enough for a command. It may lag behind the kernel: an interface that was
    /// made a moment ago is waited for.
    pub(super) fn can_execute(&self, command: &Command) -> bool {
        if !self.on {
            return true;
        }
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
        // What the API began comes first; if it fails, that is no fault of this command.
        let _ = self.settle();
        let edits = self.desired.check(command, unix_now())?;
        if !self.on {
            return self.write_only(command, edits);
        }
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
        let mut changes = changes_of(&edits)?;
        let undo = self.desired.edit_all(edits);
        let known = self.health.known();
        self.health.follow(&self.desired);
        self.held.tell_time(self.plane.now());
        // A plan that does not fit is found before anything is written down.
        let planned = plan(&self.desired, &view, self.health.unhealthy(), &self.held, &scope);
        let written = planned.and_then(|plan| {
            changes.extend(self.adopt()?);
            self.store.commit(&changes).map(|()| plan)
        });
        let planned = match written {
            Ok(plan) => plan,
            Err(fault) => {
                self.desired.edit_all(undo);
                self.openstack.catalogue.roll_back();
                self.health.put_back(known);
                return Err(fault);
            }
        };
        let done = match scope {
            // Interfaces come or go: what is attached then decides what else is to be done.
            Scope::All => self.reconcile(&view, &scope, attached),
            Scope::Some { .. } => self.follow(&planned, &scope),
        };
        if let Err(fault) = done {
            self.health.put_back(known);
            return Err(self.roll_back(&view, undo, fault));
        }
        self.openstack.catalogue.commit();
        self.tell_targets();
        self.tell_health(&view);
        tracing::info!(?command, "done");
        Ok(())
    }

    /// Does a command where there is no data plane.
    fn write_only(&mut self, command: &Command, edits: Vec<Edit>) -> Result<(), Fault> {
        if let Command::Attach { interface, .. } = command {
            return Err(Fault::unavailable(format!(
                "this agent runs without a data plane and cannot attach to {interface}; start it without \
                 `--data-plane off`"
            )));
        }
        let mut changes = changes_of(&edits)?;
        let undo = self.desired.edit_all(edits);
        let written = self.adopt().and_then(|objects| {
            changes.extend(objects);
            self.store.commit(&changes)
        });
        match written {
            Ok(()) => {
                self.openstack.catalogue.commit();
                self.health.follow(&self.desired);
            }
            Err(_) => {
                self.desired.edit_all(undo);
                self.openstack.catalogue.roll_back();
            }
        }
        written
    }

    /// What a file changes.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(super) fn plan_file(&self, text: &str) -> Result<Plan, Fault> {
        let flaw = |flaw: config::Flaw| Fault::invalid(flaw.to_string());
        let wanted = config::read(text).map_err(flaw)?;
        config::plan(&wanted, &self.desired, unix_now()).map_err(flaw)
    }

    /// The desired state as a file.
    pub(super) fn export(&self) -> String {
        config::write(&Wanted::of(&self.desired))
    }

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
            self.health.ask(&self.desired, &view, &self.held);
            return Ok(());
        };
        self.logged(|core| {
            if scope == Scope::All {
                // An interface that went took its link with it.
                let before = std::mem::replace(&mut core.held.attached, core.plane.attached()?);
                core.tell_gone(&before);
            }
            let done = core.reconcile(&view, &scope, None);
            core.health.ask(&core.desired, &view, &core.held);
            done
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
            core.tracker.sync(&core.desired, &core.held, None, true, core.plane.now());
            let found = plan(&core.desired, &view, core.health.unhealthy(), &core.held, &Scope::All)?;
            if !found.is_empty() {
                let text = format!("the maps were not as they should be; {} changes repair them", found.len());
                core.told.log.tell(News::new(EventKind::MapsRepaired, text));
            }
            let done = core.reconcile(&view, &Scope::All, None);
            core.settled(&done);
            core.health.ask(&core.desired, &view, &core.held);
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

    /// A snapshot.
    ///
    /// # Errors
    /// The counters cannot be read.
    pub(super) fn status(&mut self) -> Result<Status, Fault> {
        let none = NetworkView::default();
        let view = self.view.as_deref().unwrap_or(&none);
        let tracking = status::tracking(&self.tracker, self.plane.as_mut())?;
        let (desired, held, health) = (&self.desired, &self.held, &self.health);
        let watched = self.watched.as_ref().map(|watched| Arc::clone(&watched.borrow())).unwrap_or_default();
        let (vips, events) = (status::vips(desired, held, &watched), self.told.log.counts());
        let others = status::Others { tracking, vips, events };
        let (link_faults, tracker, plane) = (&self.link_faults, &self.tracker, self.plane.as_ref());
        status::take(&status::Sources { desired, view, held, health, link_faults, tracker, plane }, others)
    }

    /// What is remembered of flows.
    ///
    /// # Errors
    /// There is no such listener, or the pins cannot be read.
    pub(super) fn flows(&mut self, listener: Option<&Name>, limit: usize) -> Result<Flows, Fault> {
        if let Some(name) = listener
            && !self.desired.listeners.contains_key(name)
        {
            return Err(Fault::not_found(format!("there is no listener `{name}`")));
        }
        status::flows(&self.desired, &self.held, self.plane.as_mut(), listener, limit)
    }

    /// True if there may be flows to look after.
    pub(super) fn has_flows(&self) -> bool {
        self.view.is_some() && self.tracker.has_work()
    }

    /// True between the first and the last step of a sweep.
    pub(super) fn is_sweeping(&self) -> bool {
        self.tracker.is_sweeping()
    }

    /// Takes the next step of a sweep.
    pub(super) fn sweep(&mut self) {
        let Some(view) = self.view.clone() else { return };
        if !self.tracker.is_sweeping() {
            self.end_drains(&view, &self.past_deadline());
        }
        let swept = self.logged(|core| {
            let step = core.tracker.step(core.plane.as_mut(), &core.held)?;
            core.apply(&step.changes)?;
            core.end_drains(&view, &step.drained);
            Ok(())
        });
        if swept.is_err() {
            self.tracker.abandon();
        }
    }

    /// The backends whose drain is past its deadline.
    fn past_deadline(&self) -> Vec<(Name, BackendAddr)> {
        let now = unix_now();
        let is_past = |drain: &Drain| !drain.drained && drain.deadline.is_some_and(|deadline| deadline <= now);
        let mut past = Vec::new();
        for pool in self.desired.pools.values() {
            let backends = pool.backends.values().filter(|backend| backend.drain.as_ref().is_some_and(is_past));
            past.extend(backends.map(|backend| (pool.name.clone(), backend.address)));
        }
        past
    }

    /// Writes down that backends have drained, and takes them out. What fails is tried again by the next sweep.
    fn end_drains(&mut self, view: &NetworkView, drained: &[(Name, BackendAddr)]) {
        let mut edits = Vec::new();
        for (pool, address) in drained {
            let backend = self.desired.pools.get(pool).and_then(|pool| pool.backends.get(address));
            if let Some(backend) = backend
                && let Some(drain) = backend.drain
            {
                let mut backend = backend.clone();
                backend.drain = Some(Drain { drained: true, ..drain });
                self.tell_drained(pool, *address);
                edits.push(Edit::PutBackend(pool.clone(), backend));
            }
        }
        if edits.is_empty() {
            return;
        }
        let scope = self.scope_of(&edits);
        // A fault is in the log, and the next comparison tries again.
        let _ = self.logged(|core| {
            core.store.commit(&changes_of(&edits)?)?;
            core.desired.edit_all(edits);
            core.health.follow(&core.desired);
            core.reconcile(view, &scope, None)?;
            core.health.ask(&core.desired, view, &core.held);
            Ok(())
        });
    }

    /// Makes changes in the maps, and follows them.
    fn apply(&mut self, changes: &[Change]) -> Result<(), Fault> {
        let (now, tracker) = (self.plane.now(), &mut self.tracker);
        self.held.tell_time(now);
        apply(changes, self.plane.as_mut(), &mut self.held, |change| tracker.note(change, now))
    }

    /// Ends: forwarding goes on, and if there is none, nothing is left in the kernel.
    pub(super) fn stop(&mut self) {
        if self.held.attached.is_empty()
            && let Err(fault) = self.plane.remove_maps()
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
    pub(super) fn scope_of(&self, edits: &[Edit]) -> Scope {
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
                Edit::PutFromFile(_) => {}
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
    pub(super) fn reconcile(&mut self, view: &NetworkView, scope: &Scope, must: Option<&str>) -> Result<(), Fault> {
        let links = plan_links(&self.desired, view, &self.held);
        for change in &links.first {
            // What failed is tried again with everything, not with every small change.
            let tried = *scope != Scope::All && self.link_faults.contains_key(change.interface());
            if !tried
                && let Err(fault) = self.link(change)
                && must == Some(change.interface())
            {
                self.link_faults.remove(change.interface());
                return Err(fault);
            }
        }
        self.held.tell_time(self.plane.now());
        let changes = plan(&self.desired, view, self.health.unhealthy(), &self.held, scope)?;
        self.follow(&changes, scope)?;
        let done = links.last.iter().try_for_each(|change| self.link(change));
        self.tell_owned();
        done
    }

    /// Does a plan, and takes up what it leads to.
    fn follow(&mut self, plan: &[Change], scope: &Scope) -> Result<(), Fault> {
        let applied = self.apply(plan);
        self.tell_owned();
        let pools = self.pools_of(scope);
        self.tracker.sync(&self.desired, &self.held, pools.as_ref(), false, self.plane.now());
        applied
    }

    /// The pools that a scope is about; `None` for all.
    fn pools_of(&self, scope: &Scope) -> Option<BTreeSet<Name>> {
        let Scope::Some { pools, keys } = scope else { return None };
        let served = self.desired.listeners.values().filter(|listener| keys.contains(&listener.key()));
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

    /// Makes all as it was before a command that failed, and returns the fault to answer with.
    fn roll_back(&mut self, view: &NetworkView, undo: Vec<Edit>, fault: Fault) -> Fault {
        let objects = self.openstack.roll_back();
        let written = changes_of(&undo).and_then(|mut changes| {
            changes.extend(objects?);
            self.store.commit(&changes)
        });
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

    /// Asks for what is to be checked after a change of what is wanted, and writes down what that made known.
    pub(super) fn tell_health(&mut self, view: &NetworkView) {
        self.health.ask(&self.desired, view, &self.held);
        if let Err(fault) = self.health.keep(self.store.as_mut()) {
            tracing::warn!("{fault}; after a restart, backends may have to prove themselves");
        }
    }

    pub(super) fn tell_targets(&self) {
        let targets = targets_of(&self.desired);
        self.targets.send_if_modified(|known| {
            let changed = **known != targets;
            if changed {
                *known = Arc::new(targets);
            }
            changed
        });
    }

    /// Tells what is to be announced: VIPs that are in the maps, on interfaces that the program runs on.
    fn tell_owned(&self) {
        let ours = self.held.vips.iter().filter(|(_, vip)| vip.is_ours());
        let vips = ours.map(|(address, _)| IpAddr::from(*address)).collect();
        let port = |attached: &Attached| Some(Port { ifindex: attached.ifindex, mac: attached.mac? });
        let ports = self.held.attached.iter().filter_map(|(name, attached)| Some((name.clone(), port(attached)?)));
        let owned = Owned { vips, ports: ports.collect() };
        self.owned.send_if_modified(|known| {
            let changed = **known != owned;
            if changed {
                *known = Arc::new(owned);
            }
            changed
        });
    }

    pub(super) fn logged(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
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

/// The time in seconds since 1970.
pub(super) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The numbers of pools under which pins or sessions are kept.
fn numbers_of(plane: &mut dyn DataPlane) -> Result<BTreeSet<u32>, Fault> {
    let mut numbers = BTreeSet::new();
    for table in [Table::Young, Table::Established] {
        let mut from = None;
        loop {
            let (pins, next) = plane.pins(table, from)?;
            numbers.extend(pins.iter().map(|(key, _)| key.pool()));
            match next {
                Some(_) => from = next,
                None => break,
            }
        }
    }
    let mut from = None;
    loop {
        let (sessions, next) = plane.sessions(from)?;
        numbers.extend(sessions.iter().map(|(key, _)| key.pool));
        match next {
            Some(_) => from = next,
            None => return Ok(numbers),
        }
    }
}
