//! drlb's data plane: what happens to one packet.
//!
//! [`pipeline`] shows a packet's whole way on one page, [`steady`] the short one of nearly all; each step is a file of its own and
//! knows no other step. The steps are pure: they see a packet through [`packet`] and the maps through the [`tables::Tables`] trait, so
//! that the same source is the XDP program (`main.rs`, with the BPF maps behind the trait) and, on the host, a library that the tests
//! run beside it.
#![no_std]

#[cfg(not(target_arch = "bpf"))]
extern crate std;

pub mod access;
pub mod account;
pub mod finish;
pub mod fragments;
#[cfg(not(target_arch = "bpf"))]
pub mod host;
pub mod known;
pub mod match_listener;
pub mod packet;
pub mod parse;
pub mod pinned_pool;
pub mod pipeline;
pub mod probe;
pub mod rewrite;
pub mod select;
pub mod steady;
pub mod tables;
pub mod track;
pub mod vip_traffic;
