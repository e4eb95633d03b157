//! The HTTP API on a Unix socket: the only way in. `docs/api.md` describes it for users.

pub mod client;
pub mod openstack;
mod respond;
pub mod server;
pub mod socket;
pub mod types;
