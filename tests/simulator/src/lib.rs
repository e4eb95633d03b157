//! A model of the balancer with packets, CPUs and an agent whose every access to a map can come between any two others:
//! where the rules of [`lb_common::track`] are proved.
//!
//! The rules are not copied here. A packet on its way *is* a run of [`lb_common::track::follow`] that was stopped between
//! two accesses ([`packet`]); the agent goes by [`lb_common::track::change`] and [`lb_common::track::sweep`] ([`agent`]).
//! [`world`] holds what they work on, knows each flow's promise, and says when one was broken. [`explore`] goes through
//! the schedules: all of them for small worlds, random ones for large worlds.
//!
//! [`compare`] is another thing: no races, but many flows over long times, to count what this and other ways of tracking
//! hold and lose.

pub mod agent;
pub mod compare;
pub mod explore;
pub mod fingerprint;
pub mod packet;
pub mod world;
