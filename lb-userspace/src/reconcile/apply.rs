//! Doing a plan.

use std::collections::BTreeMap;

use lb_common::outcome::{Counter, Outcome};

use super::change::Change;
use super::held::{Attached, Held};
use super::links::LinkChange;
use crate::model::Fault;

/// The maps and links, as far as they are changed and read. The real one is [`crate::dataplane::Dataplane`].
pub trait DataPlane: Send {
    /// Reads what the maps hold and where the program is attached.
    ///
    /// # Errors
    /// The kernel refused it.
    fn read(&mut self) -> Result<Held, Fault>;

    /// Reads where the program is attached. An interface that is gone is not among them.
    ///
    /// # Errors
    /// The kernel refused it.
    fn attached(&mut self) -> Result<BTreeMap<String, Attached>, Fault>;

    /// Makes a change in the maps.
    ///
    /// # Errors
    /// The kernel refused it; the map is as before.
    fn change(&mut self, change: &Change) -> Result<(), Fault>;

    /// Attaches, renews or detaches; returns what is attached then.
    ///
    /// # Errors
    /// The kernel refused it; what was attached still is.
    fn link(&mut self, change: &LinkChange) -> Result<Option<Attached>, Fault>;

    /// True if this host has such an interface now, known to [`crate::neighbour`] or not.
    fn interface_exists(&self, name: &str) -> bool;

    /// What was sent to the backends of a listener, by its id.
    ///
    /// # Errors
    /// The kernel refused it.
    fn listener_counter(&self, id: u32) -> Result<Counter, Fault>;

    /// What was sent to the backend of a place.
    ///
    /// # Errors
    /// The kernel refused it.
    fn backend_counter(&self, place: u32) -> Result<Counter, Fault>;

    /// What became of packets.
    ///
    /// # Errors
    /// The kernel refused it.
    fn outcome_counter(&self, outcome: Outcome) -> Result<Counter, Fault>;

    /// Removes the pinned maps, so that the kernel frees them when the agent ends. Called when nothing is attached.
    ///
    /// # Errors
    /// A pin could not be removed.
    fn remove_pins(&mut self) -> Result<(), Fault>;
}

/// Does changes in their order, and follows them in the image of the maps. It stops at the first that fails; a later
/// plan completes or undoes what was begun.
///
/// # Errors
/// Why a change failed.
pub fn apply(changes: &[Change], plane: &mut dyn DataPlane, held: &mut Held) -> Result<(), Fault> {
    for change in changes {
        plane.change(change)?;
        held.change(change);
    }
    Ok(())
}
