//! Just enough tracking: which backend a packet takes while its slot is changing, and how a slot gets over a change.
//!
//! A slot ([`crate::slot::Slot`]) is one word with two backends in it, and in one of three states:
//!
//! - *steady*: all packets take `current`. Nothing is looked up and nothing is stored.
//! - *moving*: it had `previous` and now has `current`. A new flow takes `current`, any other began before the change and
//!   takes `previous`; both are pinned, so that they stay there whatever comes next.
//! - *settling*: every flow that is left of the time before the change is pinned. Pinned flows take their pin, all others
//!   `current`, unpinned.
//!
//! ```text
//!              another backend is wanted               every old flow has shown itself,
//!             (and the one it has serves)              or died with its backend
//!   steady ──────────────────────────────▶ moving ──────────────────────────────▶ settling
//!      ▲                                     ▲   another backend is wanted           │ │
//!      │                                     └───────────────────────────────────────┘ │
//!      └───────────────────────────────────────────────────────────────────────────────┘
//!                                       no pin is left in the slot
//! ```
//!
//! Pins are in two tables ([`pin::Table`]): young ones, where the newest push out the oldest, and established ones, which
//! nothing pushes out. So a flood of first packets does not get at flows that are at work.
//!
//! The packet's side is [`follow`], the agent's [`change`] and [`sweep`]. All of it is pure; the same code runs in the XDP
//! program, in the agent and in the simulator that proves it.
//!
//! # What the maps must do
//! The proof rests on these:
//!
//! 1. A slot's word, and a backend's, are written in one store.
//! 2. Looking at a pin stores the time *in place*, and in a kernel's hash map nothing else is ever written in place: by the time of
//!    the write the element may belong to another flow, and the time of a pin is all that may be wrong about it then. A backend
//!    or a state changes by an update of the whole element. In [`place`] it may be written in place, as a place is nobody else's
//!    for a [`pin::Timing::grace`] after it was withdrawn. The first eight bytes of a pin are read, and written, at once.
//! 3. A sweep sees every pin that is there from its beginning to its end. Looking up in batches does (they hold the bucket's
//!    lock); walking by `get_next_key` may miss a pin that is being updated. In [`place`], a pin does not change its place.
//! 4. A packet is through within [`pin::Timing::grace`] of its arrival.
//! 5. A backend that died is marked as unreachable before its slots are written; a new one is reachable before any slot names it.

pub mod change;
pub mod follow;
pub mod pin;
pub mod place;
pub mod signal;
pub mod sweep;
