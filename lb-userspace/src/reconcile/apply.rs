//! Doing a plan.

use std::collections::BTreeMap;

use lb_common::outcome::{Counter, Outcome, Refused};
use lb_common::session::{Session, SessionKey};
use lb_common::track::pin::{Moment, Pin, PinKey, Table};

use super::change::Change;
use super::held::{Attached, Held};
use super::links::LinkChange;
use crate::model::Fault;

/// Elements of a map, and where the next are looked up from; `None` after the last.
pub type Batch<K, V> = (Vec<(K, V)>, Option<u32>);

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

    /// What a listener refused, by its id.
    ///
    /// # Errors
    /// The kernel refused it.
    fn listener_refusals(&self, id: u32) -> Result<Refused, Fault>;

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

    /// The time by the clock that pins are marked by.
    fn now(&self) -> Moment;

    /// Some pins of a table: the next ones, from where the batch before ended, or the first. All batches together miss
    /// no pin that is there from the first to the last.
    ///
    /// # Errors
    /// The kernel refused it.
    fn pins(&mut self, table: Table, from: Option<u32>) -> Result<Batch<PinKey, Pin>, Fault>;

    /// Removes pins from a table.
    ///
    /// # Errors
    /// The kernel refused it; some may be gone.
    fn remove_pins(&mut self, table: Table, keys: &[PinKey]) -> Result<(), Fault>;

    /// Some sessions, as with pins.
    ///
    /// # Errors
    /// The kernel refused it.
    fn sessions(&mut self, from: Option<u32>) -> Result<Batch<SessionKey, Session>, Fault>;

    /// Removes sessions.
    ///
    /// # Errors
    /// The kernel refused it; some may be gone.
    fn remove_sessions(&mut self, keys: &[SessionKey]) -> Result<(), Fault>;

    /// Writes how many flows the backend of a place has.
    fn set_flows(&mut self, place: u32, flows: u32);

    /// Writes how many flows a listener has, by its id, where they are limited.
    fn set_listener_flows(&mut self, id: u32, flows: u64);

    /// How many flows a listener has, by its id: those that were written, and those that began since.
    fn listener_flows(&self, id: u32) -> u64;

    /// Pins that there was no room for, since the maps were made.
    ///
    /// # Errors
    /// The kernel refused it.
    fn pin_overflows(&self) -> Result<u64, Fault>;

    /// True while the tables of pins are marked as crowded.
    fn pins_are_crowded(&self) -> bool;

    /// Marks the tables of pins as crowded, or not.
    fn mark_pins_crowded(&mut self, crowded: bool);

    /// Removes the pinned maps, so that the kernel frees them when the agent ends. Called when nothing is attached.
    ///
    /// # Errors
    /// A pin could not be removed.
    fn remove_maps(&mut self) -> Result<(), Fault>;
}

/// Does changes in their order, and follows them in the image of the maps. It stops at the first that fails; a later
/// plan completes or undoes what was begun. `done` hears of each change that was made.
///
/// # Errors
/// Why a change failed.
pub fn apply(
    changes: &[Change],
    plane: &mut dyn DataPlane,
    held: &mut Held,
    mut done: impl FnMut(&Change),
) -> Result<(), Fault> {
    for change in changes {
        plane.change(change)?;
        held.change(change);
        done(change);
    }
    Ok(())
}
