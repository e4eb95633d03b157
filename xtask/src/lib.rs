//! What drlb's build needs to know of the machine: where a compiler and a linker for BPF are, and how they are run.
//!
//! The binary of this crate is `cargo xtask`; this library is what it shares with lb-userspace's build script.

pub mod toolchain;
