//! Commands: each is done whole or not at all.

use std::collections::BTreeMap;

use super::change::Prepared;
use super::core::{Core, unix_now};
use super::took::Watch;
use crate::model::{Command, Edit, Fault, Name};
use crate::neighbour::NetworkView;
use crate::reconcile::{Planned, Scope};
use crate::store::changes_of;

impl Core {
    /// Does a command, whole or not at all.
    ///
    /// # Errors
    /// Why it was refused or failed.
    pub(super) fn execute(&mut self, command: &Command) -> Result<(), Fault> {
        // What the API began comes first; if it fails, that is no fault of this command.
        let _ = self.settle();
        let mut watch = Watch::start();
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
        let Prepared { touched, mut records, planned, undo, known } = self.prepare(edits, Some(&view))?;
        // A plan that does not fit is found before anything is written down.
        let written = planned.and_then(|Planned { changes, left_out }| {
            // What there was no room for before is no fault of this command.
            let is_ours = |pool: &Name| touched.pools.contains(pool) || !self.left_out.contains_key(pool);
            if let Some((_, fault)) = left_out.iter().find(|(pool, _)| is_ours(pool)) {
                return Err(fault.clone());
            }
            records.extend(self.adopt(&touched)?);
            watch.part();
            self.store.commit(&records).map(|()| changes)
        });
        let planned = match written {
            Ok(plan) => plan,
            Err(fault) => {
                self.take_back(undo, known);
                return Err(fault);
            }
        };
        watch.part();
        let done = match touched.scope {
            // Interfaces come or go: what is attached then decides what else is to be done.
            Scope::All | Scope::Rest => self.reconcile(&view, &touched.scope, attached),
            Scope::Some { .. } => {
                self.leave_out(&touched.scope, BTreeMap::new());
                self.follow(&planned, &touched.scope)
            }
        };
        if let Err(fault) = done {
            self.health.put_back(known);
            return Err(self.roll_back(&view, undo, fault));
        }
        watch.part();
        watch.tell(&self.took);
        self.openstack.catalogue.commit();
        self.tell_targets(&touched);
        self.tell_health(&view, &touched);
        tell_done(command);
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
        let Prepared { touched, mut records, undo, known, .. } = self.prepare(edits, None)?;
        let written = self.adopt(&touched).and_then(|objects| {
            records.extend(objects);
            self.store.commit(&records)
        });
        match &written {
            Ok(()) => self.openstack.catalogue.commit(),
            Err(_) => self.take_back(undo, known),
        }
        written
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
}

/// A line a command: all of a file in one would be megabytes, which the log keeps a buffer for.
fn tell_done(command: &Command) {
    match command {
        Command::All(commands) => commands.iter().for_each(tell_done),
        command => tracing::info!(?command, "done"),
    }
}
