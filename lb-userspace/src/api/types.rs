//! The JSON that goes in and out, where it is not [`Status`] or a part of it.
//!
//! A body with a field that is not listed here is refused, so that a misspelt setting is never silently ignored.

use serde::{Deserialize, Serialize};

use crate::engine::Status;
use crate::engine::status::{BackendStatus, Counters, InterfaceStatus, ListenerStatus, OutcomeStatus};
use crate::model::{
    Algorithm, AttachMode, BackendAddr, BackendChange, Fault, ListenerChange, Name, NewListener, Protocol, Vip,
};

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What was refused or failed.
    pub error: Fault,
}

/// `POST /v1/interfaces`: an interface to attach to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterfaceBody {
    /// Its name.
    pub name: String,
    /// How to attach; native if not given.
    #[serde(default = "native")]
    pub mode: AttachMode,
}

const fn native() -> AttachMode {
    AttachMode::Native
}

/// `POST /v1/listeners`: a listener to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerBody {
    /// Its name.
    pub name: Name,
    /// The VIP.
    pub vip: Vip,
    /// The protocol.
    pub protocol: Protocol,
    /// The port; 0 for every port. Must be given for TCP, UDP and SCTP; need not be for `ip`, where it is 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What of a flow chooses its slot; `source-ip-port` if not given.
    #[serde(default = "source_ip_port")]
    pub algorithm: Algorithm,
    /// Slots of the lookup table; 65,537 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
}

const fn source_ip_port() -> Algorithm {
    Algorithm::SourceIpPort
}

impl TryFrom<ListenerBody> for NewListener {
    type Error = Fault;

    fn try_from(body: ListenerBody) -> Result<Self, Fault> {
        let ListenerBody { name, vip, protocol, port, algorithm, slots } = body;
        let port = match (port, protocol) {
            (Some(port), _) => port,
            (None, Protocol::Ip) => 0,
            (None, _) => {
                return Err(Fault::invalid(format!(
                    "the listener `{name}` needs a `port` with protocol {protocol}; give 0 for every port"
                )));
            }
        };
        Ok(Self { name, vip, protocol, port, algorithm, slots })
    }
}

/// `PATCH /v1/listeners/{name}`: what to change of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerPatch {
    /// What of a flow chooses its slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
}

impl TryFrom<ListenerPatch> for ListenerChange {
    type Error = Fault;

    fn try_from(patch: ListenerPatch) -> Result<Self, Fault> {
        match patch.algorithm {
            None => Err(Fault::invalid("the body changes nothing; give `algorithm`")),
            algorithm => Ok(Self { algorithm }),
        }
    }
}

/// `POST /v1/listeners/{name}/backends`: a backend to add.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendBody {
    /// Its own address.
    pub address: BackendAddr,
    /// Its weight, 0 to 256; 1 if not given.
    #[serde(default = "one")]
    pub weight: u16,
}

const fn one() -> u16 {
    1
}

/// `PATCH /v1/listeners/{name}/backends/{address}`: what to change of a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendPatch {
    /// Its weight, 0 to 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Whether it is in service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_up: Option<bool>,
}

impl TryFrom<BackendPatch> for BackendChange {
    type Error = Fault;

    fn try_from(patch: BackendPatch) -> Result<Self, Fault> {
        match patch {
            BackendPatch { weight: None, admin_up: None } => {
                Err(Fault::invalid("the body changes nothing; give `weight` or `admin_up`"))
            }
            BackendPatch { weight, admin_up } => Ok(Self { weight, admin_up }),
        }
    }
}

/// `GET /v1/interfaces`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interfaces {
    /// The interfaces that drlb is to run on, by name.
    pub interfaces: Vec<InterfaceStatus>,
}

/// `GET /v1/listeners`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listeners {
    /// The listeners, by name.
    pub listeners: Vec<ListenerStatus>,
}

/// `GET /v1/listeners/{name}/backends`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backends {
    /// The backends, by address.
    pub backends: Vec<BackendStatus>,
}

/// `GET /v1/stats`: the counters alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// What became of packets.
    pub outcomes: Vec<OutcomeStatus>,
    /// What was sent to the backends, by listener.
    pub listeners: Vec<ListenerStats>,
}

/// A listener's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStats {
    /// The listener.
    pub name: Name,
    /// What was sent to its backends.
    pub counters: Counters,
    /// The same, by backend.
    pub backends: Vec<BackendStats>,
}

/// A backend's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendStats {
    /// The backend.
    pub address: BackendAddr,
    /// What was sent to it.
    pub counters: Counters,
}

impl From<Status> for Stats {
    fn from(status: Status) -> Self {
        let backend = |b: BackendStatus| BackendStats { address: b.address, counters: b.counters };
        let listener = |l: ListenerStatus| ListenerStats {
            name: l.name,
            counters: l.counters,
            backends: l.backends.into_iter().map(backend).collect(),
        };
        Self { outcomes: status.outcomes, listeners: status.listeners.into_iter().map(listener).collect() }
    }
}
