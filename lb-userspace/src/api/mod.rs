//! The HTTP API on a Unix socket: the only way in. `docs/api.md` describes it for users.

pub mod client;
mod respond;
pub mod server;
pub mod socket;
pub mod types;
