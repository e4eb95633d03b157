//! The way of every change of what is wanted, from the command line and from the OpenStack API: its edits are made and planned,
//! then it is written down, then done. Planning is nearly all of the work, as lookup tables are built in it; so from the disk to
//! the maps it is a matter of microseconds.

use super::core::Core;
use super::health::Before;
use super::touched::Touched;
use crate::model::{Edit, Fault};
use crate::neighbour::NetworkView;
use crate::reconcile::{Planned, plan_what_fits};
use crate::store::{Change, changes_of};

/// Edits that are made and planned, and neither written down nor done.
pub(super) struct Prepared {
    /// What they touch.
    pub(super) touched: Touched,
    /// What is to be written down of them.
    pub(super) records: Vec<Change>,
    /// What is to be done in the maps; the fault if that cannot be planned.
    pub(super) planned: Result<Planned, Fault>,
    /// The edits that take them back.
    pub(super) undo: Vec<Edit>,
    /// What was known of the health of the backends of the pools that they touch.
    pub(super) known: Before,
}

impl Core {
    /// Makes edits and plans them. Without a view of the network nothing is planned.
    ///
    /// # Errors
    /// An object has no JSON form, which would be a bug. Nothing is changed then.
    pub(super) fn prepare(&mut self, edits: Vec<Edit>, view: Option<&NetworkView>) -> Result<Prepared, Fault> {
        let touched = Touched::by(&edits, &self.desired);
        let records = changes_of(&edits)?;
        let undo = self.desired.edit_all(edits);
        let known = self.health.follow(&self.desired, &touched.pools);
        let planned = match view {
            // Edits of nothing: only the names of the API's objects have changed, or the like.
            Some(view) if !undo.is_empty() => {
                self.held.tell_time(self.plane.now());
                plan_what_fits(&self.desired, view, self.health.unhealthy(), &self.held, &touched.scope)
            }
            _ => Ok(Planned::default()),
        };
        Ok(Prepared { touched, records, planned, undo, known })
    }

    /// Takes back what is not written down.
    pub(super) fn take_back(&mut self, undo: Vec<Edit>, known: Before) {
        self.desired.edit_all(undo);
        self.openstack.catalogue.roll_back();
        self.health.put_back(known);
    }
}
