//! What the engine knows of the backends' health, and what it asks to be checked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::core::Core;
use super::status::ChecksStatus;
use crate::doctor::questions::{Questions, questions};
use crate::health::plan::{self, Standings};
use crate::health::{BackendHealth, CheckKey, Checks, HealthCounters, HealthView, Standing, Unhealthy};
use crate::model::{BackendAddr, Desired, Fault, Name};
use crate::neighbour::NetworkView;
use crate::reconcile::{Held, held_segments};
use crate::store::{Store, changes_of_standings};

/// The standings of all that is checked.
pub(super) struct Health {
    known: Known,
    /// The standings as the store has them.
    kept: Standings,
    /// Pools whose standings may be others than the store has.
    unkept: BTreeSet<Name>,
    /// What the checks found last.
    view: Arc<HealthView>,
    checks: watch::Sender<Arc<Checks>>,
    counters: Arc<HealthCounters>,
}

#[derive(Default)]
struct Known {
    standings: Standings,
    /// The pools that had a health check before.
    checked: BTreeSet<Name>,
    unhealthy: Unhealthy,
}

/// What was known of some pools before a command, to be put back if it fails.
pub(super) struct Before(Vec<(Name, Known)>);

/// Where the backends of a pool begin.
fn first_of(pool: &Name) -> CheckKey {
    (pool.clone(), BackendAddr::LEAST)
}

/// What is said of the backends of a pool.
fn of_pool<'a, V>(all: &'a BTreeMap<CheckKey, V>, pool: &'a Name) -> impl Iterator<Item = (&'a CheckKey, &'a V)> {
    all.range(first_of(pool)..).take_while(move |(key, _)| key.0 == *pool)
}

impl Known {
    /// Takes out what is known of one pool.
    fn take(&mut self, pool: &Name) -> Self {
        let keys: Vec<CheckKey> = of_pool(&self.standings, pool).map(|(key, _)| key.clone()).collect();
        let standings = keys.into_iter().filter_map(|key| self.standings.remove_entry(&key)).collect();
        let keys: Vec<CheckKey> =
            self.unhealthy.range(first_of(pool)..).take_while(|key| key.0 == *pool).cloned().collect();
        let unhealthy = keys.into_iter().filter_map(|key| self.unhealthy.take(&key)).collect();
        Self { standings, checked: self.checked.take(pool).into_iter().collect(), unhealthy }
    }

    /// Adds what is known of another pool.
    fn add(&mut self, other: Self) {
        self.standings.extend(other.standings);
        self.checked.extend(other.checked);
        self.unhealthy.extend(other.unhealthy);
    }
}

impl Health {
    /// What is known at the start, given the standings that the store has.
    pub(super) fn new(desired: &Desired, kept: Standings) -> Self {
        let checked = desired.pools.values().filter(|pool| pool.health.is_some());
        let checked = checked.map(|pool| pool.name.clone()).collect();
        let known = Known { standings: kept.clone(), checked, unhealthy: Unhealthy::new() };
        let pools = desired.pools.keys().chain(kept.keys().map(|(pool, _)| pool)).cloned().collect();
        let mut health = Self {
            known,
            kept,
            unkept: BTreeSet::new(),
            view: Arc::default(),
            checks: watch::Sender::default(),
            counters: Arc::default(),
        };
        health.follow(desired, &pools);
        health
    }

    /// What is to be checked, now and after each change.
    pub(super) fn checks(&self) -> watch::Receiver<Arc<Checks>> {
        self.checks.subscribe()
    }

    /// Where those who do the checks count.
    pub(super) fn counters(&self) -> Arc<HealthCounters> {
        Arc::clone(&self.counters)
    }

    /// How the checks get on.
    pub(super) fn totals(&self) -> ChecksStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let HealthCounters { probes, failed, late, in_flight, most_in_flight } = &*self.counters;
        ChecksStatus {
            checked: self.checks.borrow().checks.len() as u64,
            probes: count(probes),
            failed: count(failed),
            late: count(late),
            in_flight: count(in_flight),
            most_in_flight: count(most_in_flight),
        }
    }

    /// Follows a change of what is wanted of some pools, and returns what was known of them before. A backend that comes to
    /// a pool with a health check has to prove itself; those of a pool that gets one count as up until they fail, as nobody
    /// has found anything wrong with them.
    pub(super) fn follow(&mut self, desired: &Desired, pools: &BTreeSet<Name>) -> Before {
        self.unkept.extend(pools.iter().cloned());
        let mut before = Vec::new();
        for name in pools {
            let known = self.known.take(name);
            if let Some(pool) = desired.pools.get(name).filter(|pool| pool.health.is_some()) {
                let first = if known.checked.contains(name) { Standing::Unproven } else { Standing::Up };
                let standing = |key: CheckKey| {
                    let standing = known.standings.get(&key).copied().unwrap_or(first);
                    (key, standing)
                };
                let standings: Standings = plan::known_in(pool).map(standing).collect();
                let unhealthy = plan::unhealthy_in(pool, &standings).into_iter().collect();
                self.known.add(Known { standings, checked: BTreeSet::from([name.clone()]), unhealthy });
            }
            before.push((name.clone(), known));
        }
        Before(before)
    }

    /// Puts back what was known.
    pub(super) fn put_back(&mut self, before: Before) {
        for (pool, known) in before.0 {
            self.known.take(&pool);
            self.known.add(known);
            self.unkept.insert(pool);
        }
    }

    /// Takes what the checks found. Returns the backends whose standing has changed.
    pub(super) fn take(&mut self, desired: &Desired, view: Arc<HealthView>) -> Vec<CheckKey> {
        let mut changed = Vec::new();
        for (key, health) in &view.backends {
            if let Some(standing) = self.known.standings.get_mut(key)
                && *standing != health.standing
            {
                *standing = health.standing;
                changed.push(key.clone());
            }
        }
        let pools: BTreeSet<Name> = changed.iter().map(|(pool, _)| pool.clone()).collect();
        self.follow(desired, &pools);
        self.view = view;
        changed
    }

    /// Writes down the standings that have changed, so that a new agent knows them.
    ///
    /// # Errors
    /// They could not be written; they are with the next change.
    pub(super) fn keep(&mut self, store: &mut dyn Store) -> Result<(), Fault> {
        let part = |all: &Standings| -> Standings {
            let of_pools = self.unkept.iter().flat_map(|pool| of_pool(all, pool));
            of_pools.map(|(key, standing)| (key.clone(), *standing)).collect()
        };
        let (kept, known) = (part(&self.kept), part(&self.known.standings));
        let changes = changes_of_standings(&kept, &known);
        if !changes.is_empty() {
            store.commit(&changes)?;
        }
        for key in kept.keys() {
            self.kept.remove(key);
        }
        self.kept.extend(known);
        self.unkept.clear();
        Ok(())
    }

    /// Asks for what is to be checked now: of some pools, if nothing else can have changed.
    pub(super) fn ask(&self, desired: &Desired, view: &NetworkView, held: &Held, pools: Option<&BTreeSet<Name>>) {
        let segments = held_segments(held, view);
        let standings = &self.known.standings;
        let Some(pools) = pools else {
            let checks = plan::checks(desired, view, &segments, standings);
            self.checks.send_if_modified(|asked| {
                let changed = **asked != checks;
                if changed {
                    *asked = Arc::new(checks);
                }
                changed
            });
            return;
        };
        for name in pools {
            let pool = desired.pools.get(name);
            let checks =
                pool.map(|pool| plan::checks_in(desired, pool, view, &segments, standings)).unwrap_or_default();
            self.checks.send_if_modified(|asked| {
                let changed = !of_pool(&asked.checks, name).eq(&checks);
                if changed {
                    let asked = &mut Arc::make_mut(asked).checks;
                    let before: Vec<CheckKey> = of_pool(asked, name).map(|(key, _)| key.clone()).collect();
                    for key in before {
                        asked.remove(&key);
                    }
                    asked.extend(checks);
                }
                changed
            });
        }
    }

    /// What the checks found last.
    pub(super) fn view(&self) -> &HealthView {
        &self.view
    }

    /// The backends that are to take no traffic.
    pub(super) const fn unhealthy(&self) -> &Unhealthy {
        &self.known.unhealthy
    }

    /// A backend's standing; `None` if it is not checked.
    pub(super) fn standing(&self, key: &CheckKey) -> Option<Standing> {
        self.known.standings.get(key).copied()
    }

    /// What the checks found of a backend.
    pub(super) fn found(&self, key: &CheckKey) -> Option<&BackendHealth> {
        self.view.backends.get(key)
    }
}

impl Core {
    /// What the doctor is to ask.
    pub(super) fn questions(&self) -> Questions {
        let Some(view) = &self.view else { return Questions::default() };
        questions(&self.desired, view, &held_segments(&self.held, view), self.held.attached.keys())
    }
}
