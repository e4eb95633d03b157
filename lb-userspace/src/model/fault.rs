//! What the user sees when something is refused or fails.

use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What sort of failure it is: what a program can act on, where the message is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The input is wrong in itself: it would be refused in any state.
    Invalid,
    /// It names something that is not there.
    NotFound,
    /// It contradicts what is there.
    Conflict,
    /// It cannot be done now: something outside of drlb is missing, busy or full.
    Unavailable,
    /// drlb is at fault.
    Internal,
}

/// A refused or failed request: its kind, and one sentence that says what was wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The sort of failure.
    pub kind: FaultKind,
    /// The sentence, without a full stop at the end.
    pub message: String,
}

impl Fault {
    /// The input is wrong in itself.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Invalid, message: message.into() }
    }

    /// It names something that is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::NotFound, message: message.into() }
    }

    /// It contradicts what is there.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Conflict, message: message.into() }
    }

    /// It cannot be done now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Unavailable, message: message.into() }
    }

    /// drlb is at fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Self { kind: FaultKind::Internal, message: message.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Fault {}
