//! What can be asked of a balancer.

use serde::{Deserialize, Serialize};

use super::address::{BackendAddr, Vip};
use super::allow::AllowList;
use super::choices::{Algorithm, AttachMode, Protocol, VipOwner};
use super::desired::FromFile;
use super::guards::SourceRate;
use super::health::HealthChange;
use super::name::Name;
use super::objects::Listener;
use super::tracking::{Persistence, Timeouts, TimeoutsChange};

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
    /// Let a backend of a listener's pool run empty: it takes no new flows, and keeps those that it has.
    ///
    /// Asked for again, it gets the new deadline. It ends with `admin_up: Some(true)` of a [`BackendChange`].
    DrainBackend {
        /// The listener.
        listener: Name,
        /// The backend's own address.
        address: BackendAddr,
        /// Seconds until it takes nothing any more, whatever it still has; `None` to wait for its last flow.
        deadline: Option<u32>,
    },
    /// Set how the backends of a listener's pool are probed: what they are probed by first, or what to change of that.
    SetHealth {
        /// The listener.
        listener: Name,
        /// What to set.
        change: HealthChange,
    },
    /// Probe the backends of a listener's pool no more: all count as up.
    UnsetHealth {
        /// The listener.
        listener: Name,
    },
    /// Remove a backend from a listener's pool. Its flows end, unless it was drained before.
    RemoveBackend {
        /// The listener.
        listener: Name,
        /// The backend's own address.
        address: BackendAddr,
    },
    /// Remember what a file has: what the next one has no more is removed.
    OwnByFile(FromFile),
    /// All of these, one after the other.
    All(Vec<Command>),
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
    /// How a new flow gets its backend.
    pub algorithm: Algorithm,
    /// Whether a client's new flows go to the backend that it had before; `None` for no.
    pub persistence: Option<Persistence>,
    /// For how long a flow may be silent before it counts as ended.
    pub timeouts: Timeouts,
    /// The sources that it takes packets from.
    pub allowed: AllowList,
    /// Who answers for the VIP; `None` for who does already, or the agent's default.
    pub vip_owner: Option<VipOwner>,
    /// How fast each source may begin flows; `None` for as fast as it likes.
    pub source_rate: Option<SourceRate>,
    /// How many flows there may be at once; `None` for any number.
    pub max_flows: Option<u32>,
    /// Slots of the lookup table, a prime; [`lb_common::limits::DEFAULT_SLOTS`] if not given.
    pub slots: Option<u32>,
}

impl NewListener {
    /// The listener that this becomes, with a pool of its own name, where nobody said otherwise.
    #[must_use]
    pub fn listener(&self) -> Listener {
        Listener {
            name: self.name.clone(),
            vip: self.vip,
            protocol: self.protocol,
            port: self.port,
            pool: self.name.clone(),
            allowed: self.allowed.clone(),
            vip_owner: self.vip_owner.unwrap_or_default(),
            admin_up: true,
            source_rate: self.source_rate,
            max_flows: self.max_flows,
        }
    }
}

/// What to change of a listener; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerChange {
    /// How a new flow gets its backend.
    pub algorithm: Option<Algorithm>,
    /// Whether a client's new flows go to the backend that it had before; `Some(None)` for not any more.
    pub persistence: Option<Option<Persistence>>,
    /// For how long a flow may be silent before it counts as ended.
    pub timeouts: TimeoutsChange,
    /// The sources that it takes packets from, in place of those of before.
    pub allowed: Option<AllowList>,
    /// Who answers for the VIP, for all of its listeners.
    pub vip_owner: Option<VipOwner>,
    /// How fast each source may begin flows; `Some(None)` for as fast as it likes.
    pub source_rate: Option<Option<SourceRate>>,
    /// How many flows there may be at once; `Some(None)` for any number.
    pub max_flows: Option<Option<u32>>,
    /// Whether it is in service. While it is not, its packets are treated as if it were not there.
    pub admin_up: Option<bool>,
}

/// What to change of a backend; `None` leaves it as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendChange {
    /// Its weight, 0 to 256.
    pub weight: Option<u16>,
    /// Whether it is in service. `Some(true)` also ends its draining.
    pub admin_up: Option<bool>,
    /// The address to probe instead of the VIP; `Some(None)` for the VIP.
    pub monitor_address: Option<Option<BackendAddr>>,
    /// The port to probe; `Some(None)` for the health check's.
    pub monitor_port: Option<Option<u16>>,
    /// Whether it takes new flows only while none of the others does.
    pub backup: Option<bool>,
}
