//! The contract between drlb's two sides: the XDP program (`lb-ebpf`) and the agent (`lb-userspace`).
//!
//! Everything here is `no_std`, pure and the same on both sides. The types that go into BPF maps are `repr(C)`, have no
//! padding and no niche (no `bool`, `Option` or enum), which `bytemuck::Pod` checks when this crate is compiled.
#![no_std]

pub mod address;
pub mod allow;
pub mod backend;
pub mod bench;
pub mod counters;
pub mod event;
pub mod flow;
pub mod forwarding;
pub mod fragment;
pub mod hash;
pub mod limits;
pub mod listener;
pub mod maps;
pub mod outcome;
pub mod probe;
pub mod protocol;
pub mod rate;
pub mod session;
pub mod slot;
pub mod table;
pub mod track;
