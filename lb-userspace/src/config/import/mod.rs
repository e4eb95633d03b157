//! Files of other load balancers in direct-routing mode, as drlb's: `ipvsadm-save -n` and keepalived's `virtual_server`.
//!
//! What cannot be carried over is told, a note each, and nothing is left out in silence.

mod ipvsadm;
mod keepalived;
mod service;

pub use ipvsadm::ipvsadm;
pub use keepalived::keepalived;

use super::wanted::Wanted;

/// What came of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// What drlb is asked for.
    pub wanted: Wanted,
    /// What was not carried over, or not as it was, a sentence each with its line.
    pub notes: Vec<String>,
}

#[cfg(test)]
mod tests;
