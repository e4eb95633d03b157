//! What the engine does, without its thread: everything here blocks and happens one after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use lb_common::track::pin::Table;
use tokio::sync::watch;

use super::Feeds;
use super::compare::Comparison;
use super::health::Health;
use super::news::Told;
use super::openstack::{OpenStack, doubled};
use super::status::{self, Flows, Status};
use super::took::Took;
use crate::announce::{Owned, Watched};
use crate::config::{self, Plan, Wanted};
use crate::model::{Command, Desired, Fault, Name, Tables, VipOwner};
use crate::neighbour::{NetworkView, Targets};
use crate::octavia;
use crate::reconcile::{DataPlane, Held};
use crate::store::{Entry, Store, catalogue_of, desired_of, standings_of};
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
    pub(super) link_faults: BTreeMap<String, Fault>,
    /// The pools that there is no room for, and what of.
    pub(super) left_out: BTreeMap<Name, Fault>,
    pub(super) health: Health,
    pub(super) told: Told,
    pub(super) took: Arc<Took>,
    pub(super) comparison: Option<Comparison>,
    /// How many changes plans have made in the maps.
    pub(super) changes: usize,
    pub(super) targets: watch::Sender<Arc<Targets>>,
    pub(super) owned: watch::Sender<Arc<Owned>>,
    /// Others that have or want our VIPs; `None` where nobody watches.
    watched: Option<watch::Receiver<Arc<Watched>>>,
}

/// The store, and what stands in it.
pub(super) struct Stored {
    store: Box<dyn Store>,
    desired: Desired,
    openstack: OpenStack,
    health: Health,
}

impl Stored {
    /// Reads what the entries of a store say.
    ///
    /// # Errors
    /// They cannot be read, or what follows from them cannot be written.
    pub(super) fn of(
        mut store: Box<dyn Store>,
        entries: &[Entry],
        settings: octavia::Settings,
        default_owner: VipOwner,
        tables: Tables,
    ) -> Result<Self, Fault> {
        let mut desired = desired_of(entries)?;
        (desired.default_owner, desired.tables) = (default_owner, tables);
        if let Some((one, other)) = doubled(&desired).filter(|_| settings.data_plane) {
            return Err(Fault::conflict(format!(
                "listeners `{one}` and `{other}` take the same, which can be without a data plane only; remove one of them \
                 with `--data-plane off`, or give another folder with --state-dir"
            )));
        }
        let mut openstack = OpenStack::new(catalogue_of(entries)?, settings);
        let adopted = openstack.adopt(&desired, None)?;
        if !adopted.is_empty() {
            store.commit(&adopted)?;
        }
        openstack.catalogue.commit();
        let health = Health::new(&desired, standings_of(entries));
        Ok(Self { store, desired, openstack, health })
    }
}

impl Core {
    /// Reads what is held from the maps.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn new(stored: Stored, mut plane: Box<dyn DataPlane>) -> Result<Self, Fault> {
        let Stored { store, mut desired, openstack, health } = stored;
        let on = openstack.settings.data_plane;
        let mut held = plane.read()?;
        if on {
            // Maps that are there keep their size, if it is larger.
            desired.tables.room = held.sizes.slots;
        }
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
            left_out: BTreeMap::new(),
            health,
            told: Told::default(),
            took: Arc::default(),
            comparison: None,
            changes: 0,
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
        let (link_faults, left_out) = (&self.link_faults, &self.left_out);
        let (tracker, plane) = (&self.tracker, self.plane.as_ref());
        status::take(&status::Sources { desired, view, held, health, link_faults, left_out, tracker, plane }, others)
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

    /// Ends: forwarding goes on, and if there is none, nothing is left in the kernel.
    pub(super) fn stop(&mut self) {
        if self.held.attached.is_empty()
            && let Err(fault) = self.plane.remove_maps()
        {
            tracing::warn!("{fault}");
        }
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
