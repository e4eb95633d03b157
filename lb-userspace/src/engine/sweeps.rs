//! Looking after flows: sweeps, and drains that end.

use super::core::{Core, unix_now};
use super::touched::Touched;
use crate::model::{BackendAddr, Drain, Edit, Name};
use crate::neighbour::NetworkView;
use crate::store::changes_of;

impl Core {
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
        let touched = Touched::by(&edits, &self.desired);
        // A fault is in the log, and the next comparison tries again.
        let _ = self.logged(|core| {
            core.store.commit(&changes_of(&edits)?)?;
            core.desired.edit_all(edits);
            core.health.follow(&core.desired, &touched.pools);
            core.reconcile(view, &touched.scope, None)?;
            core.health.ask(&core.desired, view, &core.held, Some(&touched.pools));
            Ok(())
        });
    }
}
