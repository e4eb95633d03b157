//! What can be asked of a balancer.

use serde::{Deserialize, Serialize};

use super::address::{BackendAddr, Vip};
use super::choices::{Algorithm, AttachMode, Protocol};
use super::name::Name;

/// A change of the desired state. It is done whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// Run the XDP program on an interface.
    Attach {
        /// The interface's name.
        interface: String,
        /// How to attach.
        mode: AttachMode,
    },
    /// Take the XDP program off an interface: the only thing that stops forwarding there.
    Detach {
        /// The interface's name.
        interface: String,
    },
    /// Add a listener, and a pool of the same name.
    AddListener(NewListener),
    /// Change a listener or its pool.
    SetListener {
        /// The listener.
        name: Name,
        /// What to change.
        change: ListenerChange,
    },
    /// Remove a listener, and its pool when no other listener has it.
    RemoveListener {
        /// The listener.
        name: Name,
    },
    /// Add a backend to a listener's pool.
    AddBackend {
        /// The listener.
        listener: Name,
        /// The backend's own address.
        address: BackendAddr,
        /// Its weight, 0 to 256.
        weight: u16,
    },
    /// Change a backend of a listener's pool.
    SetBackend {
        /// The listener.
        listener: Name,
        /// The backend's own address.
        address: BackendAddr,
        /// What to change.
        change: BackendChange,
    },
    /// Remove a backend from a listener's pool.
    RemoveBackend {
        /// The listener.
        listener: Name,
        /// The backend's own address.
        address: BackendAddr,
    },
}

/// A listener to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewListener {
    /// Its name.
    pub name: Name,
    /// The VIP.
    pub vip: Vip,
    /// The protocol.
    pub protocol: Protocol,
    /// The port; 0 for every port, and always 0 with protocol `ip`.
    pub port: u16,
    /// What of a flow chooses its slot.
    pub algorithm: Algorithm,
    /// Slots of the lookup table, a prime; [`lb_common::limits::DEFAULT_SLOTS`] if not given.
    pub slots: Option<u32>,
}

/// What to change of a listener; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerChange {
    /// What of a flow chooses its slot.
    pub algorithm: Option<Algorithm>,
}

/// What to change of a backend; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendChange {
    /// Its weight, 0 to 256.
    pub weight: Option<u16>,
    /// Whether it is in service.
    pub admin_up: Option<bool>,
}
