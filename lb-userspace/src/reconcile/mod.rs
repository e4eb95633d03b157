//! From what is wanted to what the maps hold.
//!
//! [`plan()`] compares the desired state and the network with what the maps hold and answers with the changes, in the
//! order in which a packet never meets a half-made state. [`apply()`] does them on a [`DataPlane`]. All but the data plane
//! is pure. Each change is idempotent, so a plan that was cut short is completed by the next one.
//!
//! The order of a plan:
//! 1. segments, so that backends can name them;
//! 2. backends' places, so that slots can name them;
//! 3. allow-lists, into regions that no listener has;
//! 4. slots, each in one step by the rule of [`lb_common::track::change::retarget`], and schedules;
//! 5. listeners that are new or changed;
//! 6. backends that take nothing any more, as no slot names them now;
//! 7. VIPs, and listeners that go;
//! 8. places of pools that are gone, and segments.
//!
//! The place of a backend that is gone stays taken while a pin or a session may name it; the engine's sweeps find out, and
//! free it.

mod allowed;
mod apply;
mod change;
mod held;
mod links;
mod listeners;
mod pages;
mod plan;
mod pool;
mod regions;
mod schedule;
mod segments;
mod standing;
mod transition;

pub use allowed::AllowLists;
pub use apply::{Batch, DataPlane, apply};
pub use change::Change;
pub use held::{Attached, Held, Sizes, Station};
pub use links::{LinkChange, LinkPlan, plan_links};
pub use listeners::Listeners;
pub use plan::{Planned, Scope, plan, plan_what_fits};
pub use segments::{SegmentsByInterface, held_segments};
pub use standing::{Obstacle, reach};

#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod work;
