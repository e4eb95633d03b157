//! Comparing everything, once in a while: what the maps and links really hold, with what they should.
//!
//! With many pools that takes seconds, as each lookup table is built anew. So it goes in steps of some milliseconds, between
//! which the engine does commands.

use std::collections::BTreeSet;

use super::core::Core;
use crate::events::{EventKind, News};
use crate::heap;
use crate::model::{Fault, Name};
use crate::reconcile::Scope;

/// Slots that one step looks at: those of a table of the default size, or of many small ones.
const STEP: u32 = 65_536;

/// A comparison that is under way.
pub(super) struct Comparison {
    /// The pools that are left, the next one last.
    left: Vec<Name>,
    /// How many changes it took so far to repair what was not as it should be.
    repairs: usize,
}

impl Core {
    /// True between the first and the last step of a comparison.
    pub(super) const fn is_comparing(&self) -> bool {
        self.comparison.is_some()
    }

    /// Reads back what the maps and links hold, and compares all that is not a pool's.
    ///
    /// # Errors
    /// It could not be read or repaired; the comparison is over.
    pub(super) fn begin_comparison(&mut self) -> Result<(), Fault> {
        if self.view.is_none() {
            return Ok(());
        }
        let begun = self.logged(|core| {
            core.held = core.plane.read()?.remembering(&core.held);
            core.tracker.sync(&core.desired, &core.held, None, false, core.plane.now());
            Ok(())
        });
        self.comparison = Some(Comparison { left: self.desired.pools.keys().rev().cloned().collect(), repairs: 0 });
        self.compare(begun, &Scope::Rest)
    }

    /// Compares some more pools.
    ///
    /// # Errors
    /// What is not as it should be could not be repaired; the comparison is over.
    pub(super) fn compare_some(&mut self) -> Result<(), Fault> {
        let Some(comparison) = &mut self.comparison else { return Ok(()) };
        let (mut pools, mut slots) = (BTreeSet::new(), 0);
        while slots < STEP
            && let Some(name) = comparison.left.pop()
        {
            // One that is gone by now costs nothing.
            slots += self.desired.pools.get(&name).map_or(0, |pool| pool.slots);
            pools.insert(name);
        }
        self.tracker.sync(&self.desired, &self.held, Some(&pools), true, self.plane.now());
        self.compare(Ok(()), &Scope::Some { pools, keys: BTreeSet::new() })
    }

    /// Does one step, and what is to be done after the last.
    fn compare(&mut self, begun: Result<(), Fault>, scope: &Scope) -> Result<(), Fault> {
        let Some(view) = self.view.clone() else { return Ok(()) };
        let before = self.changes;
        let misfits: Vec<Name> = self.left_out.keys().cloned().collect();
        let done = begun.and_then(|()| self.logged(|core| core.reconcile(&view, scope, None)));
        let Some(comparison) = &mut self.comparison else { return done };
        // What there was no room for, and is now, repairs nothing.
        if self.left_out.keys().eq(misfits.iter()) {
            comparison.repairs += self.changes - before;
        }
        if done.is_ok() && !comparison.left.is_empty() {
            return Ok(());
        }
        let repairs = comparison.repairs;
        self.comparison = None;
        if repairs > 0 {
            let text = format!("the maps were not as they should be; {repairs} changes repair them");
            self.told.log.tell(News::new(EventKind::MapsRepaired, text));
        }
        // A comparison that a request asked for meanwhile comes on its own.
        if done.is_err() || !self.is_waiting() {
            self.compared(&done);
        }
        self.health.ask(&self.desired, &view, &self.held, None);
        // Of the comparison, and of large commands since the last.
        heap::give_back();
        done
    }

    /// All steps at once.
    #[cfg(test)]
    pub(super) fn compare_everything(&mut self) -> Result<(), Fault> {
        self.begin_comparison()?;
        while self.is_comparing() {
            self.compare_some()?;
        }
        Ok(())
    }
}
