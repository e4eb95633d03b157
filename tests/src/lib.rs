//! The harness that tries drlb as a whole: hosts made of namespaces, the direct-routing segment that they stand on,
//! servers, clients and captures on it, and the real `drlb` in its balancer.
//!
//! From the bottom up: [`host`] makes hosts, [`segment`] joins them, [`agent`] runs `drlb` in one of them, [`http`],
//! [`traffic`] and [`flows`], which last, are who talks over it, [`flood`] is who floods it, [`capture`] watches the wires, [`wire`] is one of them,
//! and [`world`] is all of it together, as most scenarios want it; [`lasting`] adds what those of tracking begin with. The
//! scenarios are in `tests/tests`.
#![deny(unsafe_code)]

pub mod agent;
pub mod capture;
pub mod control;
pub mod flood;
pub mod flows;
pub mod fragmenting;
pub mod host;
pub mod http;
pub mod lasting;
pub mod load;
pub mod moody;
pub mod openstack;
pub mod paced;
pub mod packet;
pub mod particular;
pub mod program;
pub mod random;
pub mod sample;
pub mod segment;
pub mod tap;
pub mod traffic;
pub mod vlan;
pub mod wait;
pub mod wire;
pub mod world;

mod listening;
mod sys;
