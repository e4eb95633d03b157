//! From what is wanted to what the maps hold.
//!
//! [`plan()`] compares the desired state and the network with what the maps hold and answers with the changes, in the
//! order in which a packet never meets a half-made state. [`apply()`] does them on a [`DataPlane`]. All but the data plane
//! is pure. Each change is idempotent, so a plan that was cut short is completed by the next one.
//!
//! The order of a plan:
//! 1. segments, so that backends can name them;
//! 2. backends' places, so that slots can name them;
//! 3. slots, in one step from the old backend to the new;
//! 4. listeners and VIPs that are new or changed;
//! 5. listeners and VIPs that go;
//! 6. places and segments that nothing names any more.

mod apply;
mod change;
mod held;
mod links;
mod plan;
mod pool;
mod regions;
mod segments;
mod standing;

pub use apply::{DataPlane, apply};
pub use change::Change;
pub use held::{Attached, Held, Sizes};
pub use links::{LinkChange, LinkPlan, plan_links};
pub use plan::{Scope, plan};
pub use segments::SegmentsByInterface;
pub use standing::{Obstacle, reach};

#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
mod tests;
