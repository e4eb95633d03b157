//! The desired state as a file: read, compared with what is, written, and made of other programs' files.
//!
//! ```toml
//! [[interfaces]]
//! name = "eth1"
//!
//! [[listeners]]
//! name = "web"
//! vip = "192.0.2.10"
//! protocol = "tcp"
//! port = 80
//! health = { type = "http", path = "/healthz" }
//!
//! [[listeners.backends]]
//! address = "192.0.2.21"
//! weight = 2
//! ```
//!
//! A file says all of the listeners and interfaces that it names. What an earlier file had and this one has not is removed;
//! what was made by commands or the API and is in no file stays as it is ([`FromFile`](crate::model::FromFile)).
//! `docs/configuration.md` has every key.
//!
//! Everything here is pure: texts and states in, texts and commands out.

pub mod import;
mod plan;
mod read;
mod wanted;
mod write;

pub use plan::{Plan, plan};
pub use read::read;
pub use wanted::{At, Flaw, Place, Wanted, WantedBackend, WantedListener};
pub use write::write;

#[cfg(test)]
mod tests;
