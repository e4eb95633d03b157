//! The objects of the desired state. Each is also the body of its record in the store.

use std::collections::BTreeMap;

use lb_common::address::Port;
use lb_common::listener::ListenerKey;
use serde::{Deserialize, Serialize};

use super::address::{BackendAddr, Vip};
use super::allow::AllowList;
use super::choices::{Algorithm, AttachMode, Protocol, VipOwner};
use super::guards::SourceRate;
use super::health::{HealthCheck, MonitorTarget};
use super::name::Name;
use super::tracking::{Drain, Persistence, Timeouts};

/// An interface that the XDP program is to run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name in this host's network namespace.
    pub name: String,
    /// How to attach.
    pub mode: AttachMode,
}

/// A VIP, a protocol and a port, and the pool that serves them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Its name.
    pub name: Name,
    /// The VIP.
    pub vip: Vip,
    /// The protocol.
    pub protocol: Protocol,
    /// The port; 0 for every port.
    pub port: u16,
    /// The pool.
    pub pool: Name,
    /// The sources that it takes packets from.
    #[serde(default, skip_serializing_if = "AllowList::is_empty")]
    pub allowed: AllowList,
    /// Who answers for the VIP: the same for all listeners of a VIP.
    #[serde(default)]
    pub vip_owner: VipOwner,
    /// False when an operator took it out of service: its packets are treated as if it were not there.
    #[serde(default = "in_service", skip_serializing_if = "Clone::clone")]
    pub admin_up: bool,
    /// How fast each source may begin flows; `None` for as fast as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_rate: Option<SourceRate>,
    /// How many flows there may be at once; `None` for any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_flows: Option<u32>,
}

const fn in_service() -> bool {
    true
}

impl Listener {
    /// What it listens on, as the listeners' map has it.
    #[must_use]
    pub fn key(&self) -> ListenerKey {
        ListenerKey::new(self.vip.address(), self.protocol.number(), Port::from_host(self.port))
    }

    /// What it listens on, as people say it: `tcp port 80 of 192.0.2.10`.
    #[must_use]
    pub fn describe(&self) -> String {
        match (self.protocol, self.port) {
            (Protocol::Ip, _) => format!("every protocol of {}", self.vip),
            (protocol, 0) => format!("every {protocol} port of {}", self.vip),
            (protocol, port) => format!("{protocol} port {port} of {}", self.vip),
        }
    }
}

/// Backends, and how flows are spread over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub name: Name,
    /// How a new flow gets its backend.
    pub algorithm: Algorithm,
    /// Whether a client's new flows go to the backend that it had before.
    pub persistence: Option<Persistence>,
    /// For how long a flow may be silent before it counts as ended.
    pub timeouts: Timeouts,
    /// Slots of its lookup table, a prime.
    pub slots: u32,
    /// How its backends are probed; `None` if they aren't, and count as up.
    pub health: Option<HealthCheck>,
    /// Its backends.
    pub backends: BTreeMap<BackendAddr, Backend>,
}

/// A server that holds the VIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Its own address.
    pub address: BackendAddr,
    /// Its share of the flows, in proportion to the weights of the others; 0 for none.
    pub weight: u16,
    /// False when an operator took it out of service.
    pub admin_up: bool,
    /// Whether it is to run empty.
    #[serde(default)]
    pub drain: Option<Drain>,
    /// Where it is probed, where that differs from the others of its pool.
    #[serde(default)]
    pub monitor: MonitorTarget,
    /// True if it takes new flows only while none of the others of its pool does.
    #[serde(default, skip_serializing_if = "is_false")]
    pub backup: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Backend {
    /// A backend in service, with nothing set but its weight.
    #[must_use]
    pub fn new(address: BackendAddr, weight: u16) -> Self {
        Self { address, weight, admin_up: true, drain: None, monitor: MonitorTarget::default(), backup: false }
    }
}

/// A pool without its backends: what the store keeps as one record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSettings {
    /// Its name.
    pub name: Name,
    /// How a new flow gets its backend.
    pub algorithm: Algorithm,
    /// Whether a client's new flows go to the backend that it had before.
    #[serde(default)]
    pub persistence: Option<Persistence>,
    /// For how long a flow may be silent before it counts as ended.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// Slots of its lookup table, a prime.
    pub slots: u32,
    /// How its backends are probed.
    #[serde(default)]
    pub health: Option<HealthCheck>,
}

impl Pool {
    /// The pool without its backends.
    #[must_use]
    pub fn settings(&self) -> PoolSettings {
        PoolSettings {
            name: self.name.clone(),
            algorithm: self.algorithm,
            persistence: self.persistence,
            timeouts: self.timeouts,
            slots: self.slots,
            health: self.health.clone(),
        }
    }
}
