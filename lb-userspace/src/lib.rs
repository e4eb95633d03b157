//! drlb's agent: owns the desired state, follows the backends' MACs and keeps the BPF maps true.
//!
//! The way of a command: `api` → [`engine`] → [`model`] (may it be done?) → `store` (so that it lasts) → `reconcile`
//! (what must change in the maps) → `dataplane` (change it). The packets' way is in `lb-ebpf`.

pub mod agent;
pub mod allow;
pub mod announce;
pub mod api;
pub mod backend_setup;
pub mod cli;
pub mod config;
pub mod dataplane;
pub mod doctor;
pub mod engine;
pub mod ethernet;
pub mod events;
pub mod health;
mod heap;
pub mod keystone;
pub mod maglev;
pub mod model;
pub mod neighbour;
pub mod octavia;
pub mod phase;
pub mod reconcile;
pub mod settings;
pub mod store;
pub mod tracking;
