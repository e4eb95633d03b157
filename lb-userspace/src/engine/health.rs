//! What the engine knows of the backends' health, and what it asks to be checked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::status::ChecksStatus;
use crate::health::plan::{self, Standings};
use crate::health::{BackendHealth, CheckKey, Checks, HealthCounters, HealthView, Standing, Unhealthy};
use crate::model::{Desired, Fault, Name};
use crate::neighbour::NetworkView;
use crate::reconcile::{Held, held_segments};
use crate::store::{Store, changes_of_standings};

/// The standings of all that is checked.
pub(super) struct Health {
    known: Known,
    /// The standings as the store has them.
    kept: Standings,
    /// What the checks found last.
    view: Arc<HealthView>,
    checks: watch::Sender<Arc<Checks>>,
    counters: Arc<HealthCounters>,
}

/// What follows a command, and is taken back with it.
#[derive(Clone, Default)]
pub(super) struct Known {
    standings: Standings,
    /// The pools that had a health check before.
    checked: BTreeSet<Name>,
    unhealthy: Unhealthy,
}

impl Health {
    /// What is known at the start, given the standings that the store has.
    pub(super) fn new(desired: &Desired, kept: Standings) -> Self {
        let checked = pools_with_check(desired);
        let known = Known { standings: kept.clone(), checked, unhealthy: Unhealthy::new() };
        let mut health =
            Self { known, kept, view: Arc::default(), checks: watch::Sender::default(), counters: Arc::default() };
        health.follow(desired);
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
        let HealthCounters { probes, failed, late, in_flight } = &*self.counters;
        ChecksStatus {
            checked: self.checks.borrow().checks.len() as u64,
            probes: count(probes),
            failed: count(failed),
            late: count(late),
            in_flight: count(in_flight),
        }
    }

    /// Follows a change of what is wanted. A backend that comes to a pool with a health check has to prove itself; those
    /// of a pool that gets one count as up until they fail, as nobody has found anything wrong with them.
    pub(super) fn follow(&mut self, desired: &Desired) {
        let Known { standings, checked, unhealthy } = &mut self.known;
        let known: BTreeSet<CheckKey> = plan::known(desired).collect();
        standings.retain(|key, _| known.contains(key));
        for key in known {
            let first = if checked.contains(&key.0) { Standing::Unproven } else { Standing::Up };
            standings.entry(key).or_insert(first);
        }
        *checked = pools_with_check(desired);
        *unhealthy = plan::unhealthy(desired, standings);
    }

    /// What is known, to be put back if a command fails.
    pub(super) fn known(&self) -> Known {
        self.known.clone()
    }

    /// Puts back what was known.
    pub(super) fn put_back(&mut self, known: Known) {
        self.known = known;
    }

    /// Takes what the checks found. Returns the backends whose standing has changed.
    pub(super) fn take(&mut self, desired: &Desired, view: Arc<HealthView>) -> Vec<CheckKey> {
        let Known { standings, unhealthy, .. } = &mut self.known;
        let mut changed = Vec::new();
        for (key, health) in &view.backends {
            if let Some(standing) = standings.get_mut(key)
                && *standing != health.standing
            {
                *standing = health.standing;
                changed.push(key.clone());
            }
        }
        if !changed.is_empty() {
            *unhealthy = plan::unhealthy(desired, standings);
        }
        self.view = view;
        changed
    }

    /// Writes down the standings that have changed, so that a new agent knows them.
    ///
    /// # Errors
    /// They could not be written; they are with the next change.
    pub(super) fn keep(&mut self, store: &mut dyn Store) -> Result<(), Fault> {
        let changes = changes_of_standings(&self.kept, &self.known.standings);
        if !changes.is_empty() {
            store.commit(&changes)?;
            self.kept.clone_from(&self.known.standings);
        }
        Ok(())
    }

    /// Asks for what is to be checked now.
    pub(super) fn ask(&self, desired: &Desired, view: &NetworkView, held: &Held) {
        let segments = held_segments(held, view);
        let checks = plan::checks(desired, view, &segments, &self.known.standings);
        self.checks.send_if_modified(|asked| {
            let changed = **asked != checks;
            if changed {
                *asked = Arc::new(checks);
            }
            changed
        });
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

fn pools_with_check(desired: &Desired) -> BTreeSet<Name> {
    desired.pools.values().filter(|pool| pool.health.is_some()).map(|pool| pool.name.clone()).collect()
}
