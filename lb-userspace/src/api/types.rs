//! The JSON that goes in and out, where it is not [`Status`] or a part of it.
//!
//! A body with a field that is not listed here is refused, so that a misspelt setting is never silently ignored.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use crate::engine::Status;
use crate::engine::status::{
    BackendStatus, Counters, InterfaceStatus, ListenerStatus, OutcomeStatus, RefusedStatus, TrackingStatus,
};
use crate::events::{EventCount, MOST_EVENTS, Query};
use crate::model::{
    Algorithm, AllowList, AttachMode, BackendAddr, BackendChange, Fault, ListenerChange, Name, NewListener,
    Persistence, Protocol, SourceRate, Timeouts, TimeoutsChange, Vip, VipOwner,
};

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What was refused or failed.
    pub error: Fault,
}

/// The parameters, or the body, of what takes none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParameters {}

/// The longest time that `GET /v1/events` waits for something to happen, in seconds.
pub const LONGEST_WAIT: u64 = 30;
/// How many events are shown unless asked for more or fewer.
pub const EVENTS: usize = 100;

/// The parameters of `GET /v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsQuery {
    /// Only events after the one with this number.
    pub after: Option<u64>,
    /// So many at most.
    pub limit: Option<usize>,
    /// Only of these kinds, with commas between them.
    pub kind: Option<String>,
    /// Only about this listener.
    pub listener: Option<Name>,
    /// Only about this VIP.
    pub vip: Option<Vip>,
    /// Only about this backend.
    pub backend: Option<BackendAddr>,
    /// Only about this interface.
    pub interface: Option<String>,
    /// If there is none, wait so many seconds for one.
    pub wait: u64,
}

impl EventsQuery {
    /// What is asked for, and how long to wait for it.
    ///
    /// # Errors
    /// A number is out of range, or there is no such kind.
    pub fn resolve(self) -> Result<(Query, Duration), Fault> {
        let Self { after, limit, kind, listener, vip, backend, interface, wait } = self;
        let limit = limit.unwrap_or(EVENTS);
        if !(1..=MOST_EVENTS).contains(&limit) {
            return Err(Fault::invalid(format!("`limit` cannot be {limit}; give 1 to {MOST_EVENTS}")));
        }
        if wait > LONGEST_WAIT {
            return Err(Fault::invalid(format!("`wait` cannot be {wait}; give 0 to {LONGEST_WAIT} seconds")));
        }
        let kinds = kind.as_deref().map_or(Ok(BTreeSet::new()), |codes| codes.split(',').map(str::parse).collect());
        let kinds = kinds.map_err(Fault::invalid)?;
        let query = Query { after, limit, kinds, listener, vip, backend, interface };
        Ok((query, Duration::from_secs(wait)))
    }
}

/// The parameters of `PUT /v1/config`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConfigQuery {
    /// Only tell what would change.
    pub dry_run: bool,
}

/// The answer of `PUT /v1/config`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// What was changed, or would be, a line each: `+` added, `-` removed, `~` changed.
    pub changes: Vec<String>,
    /// True if nothing was done.
    pub dry_run: bool,
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
    /// How a new flow gets its backend; `source-ip-port` if not given.
    #[serde(default = "source_ip_port")]
    pub algorithm: Algorithm,
    /// Sessions; none if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistence: Option<Persistence>,
    /// For how many seconds a flow may be silent before it counts as ended; those that are not given have a default.
    #[serde(default)]
    pub timeouts: TimeoutsChange,
    /// Prefixes of the sources that it takes packets from; from everywhere if empty or not given.
    #[serde(default, skip_serializing_if = "AllowList::is_empty")]
    pub allowed_cidrs: AllowList,
    /// Who answers for the VIP: if not given, who does already for other listeners of the VIP, or the agent's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip_owner: Option<VipOwner>,
    /// How fast each source may begin flows; as fast as it likes if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_rate: Option<SourceRate>,
    /// How many flows there may be at once; any number if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_flows: Option<u32>,
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
        let ListenerBody {
            name,
            vip,
            protocol,
            port,
            algorithm,
            persistence,
            timeouts,
            allowed_cidrs,
            vip_owner,
            source_rate,
            max_flows,
            slots,
        } = body;
        let port = match (port, protocol) {
            (Some(port), _) => port,
            (None, Protocol::Ip) => 0,
            (None, _) => {
                return Err(Fault::invalid(format!(
                    "the listener `{name}` needs a `port` with protocol {protocol}; give 0 for every port"
                )));
            }
        };
        let timeouts = Timeouts::default().with(&timeouts);
        Ok(Self {
            name,
            vip,
            protocol,
            port,
            algorithm,
            persistence,
            timeouts,
            allowed: allowed_cidrs,
            vip_owner,
            source_rate,
            max_flows,
            slots,
        })
    }
}

/// `PATCH /v1/listeners/{name}`: what to change of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerPatch {
    /// How a new flow gets its backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// Sessions; `null` for none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub persistence: Option<Option<Persistence>>,
    /// For how many seconds a flow may be silent before it counts as ended; those that are not given stay.
    #[serde(default)]
    pub timeouts: TimeoutsChange,
    /// Prefixes of the sources that it takes packets from, in place of those of before; an empty list is everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_cidrs: Option<AllowList>,
    /// Who answers for the VIP, for all of its listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vip_owner: Option<VipOwner>,
    /// How fast each source may begin flows; `null` for as fast as it likes.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub source_rate: Option<Option<SourceRate>>,
    /// How many flows there may be at once; `null` for any number.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub max_flows: Option<Option<u32>>,
    /// Whether it is in service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_up: Option<bool>,
}

/// A field that is there, be it `null`. One that is not there is `None` by its default.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl TryFrom<ListenerPatch> for ListenerChange {
    type Error = Fault;

    fn try_from(patch: ListenerPatch) -> Result<Self, Fault> {
        if patch == ListenerPatch::default() {
            return Err(Fault::invalid(
                "the body changes nothing; give `algorithm`, `persistence`, `allowed_cidrs`, `vip_owner`, `source_rate`, `max_flows`, `admin_up` or one of the `timeouts`",
            ));
        }
        let ListenerPatch {
            algorithm,
            persistence,
            timeouts,
            allowed_cidrs: allowed,
            vip_owner,
            source_rate,
            max_flows,
            admin_up,
        } = patch;
        Ok(Self { algorithm, persistence, timeouts, allowed, vip_owner, source_rate, max_flows, admin_up })
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
    /// Whether it takes new flows only while none of the others does.
    #[serde(default)]
    pub backup: bool,
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
    /// Whether it is in service; `true` also ends a drain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin_up: Option<bool>,
    /// The address to probe instead of the VIP; `null` for the VIP.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub monitor_address: Option<Option<BackendAddr>>,
    /// The port to probe; `null` for the health check's.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub monitor_port: Option<Option<u16>>,
    /// Whether it takes new flows only while none of the others does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<bool>,
}

impl TryFrom<BackendPatch> for BackendChange {
    type Error = Fault;

    fn try_from(patch: BackendPatch) -> Result<Self, Fault> {
        if patch == BackendPatch::default() {
            return Err(Fault::invalid(
                "the body changes nothing; give `weight`, `admin_up`, `backup`, `monitor_address` or `monitor_port`",
            ));
        }
        let BackendPatch { weight, admin_up, monitor_address, monitor_port, backup } = patch;
        Ok(Self { weight, admin_up, monitor_address, monitor_port, backup })
    }
}

/// `POST /v1/listeners/{name}/backends/{address}/drain`: how to drain a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainBody {
    /// For how many seconds its flows are waited for; without end if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u32>,
}

/// How many flows an answer shows unless asked for another number.
pub const FLOWS: usize = 1_000;
/// The most flows that one answer shows: some megabytes of JSON.
pub const MOST_FLOWS: usize = 10_000;

/// `GET /v1/flows`: which flows to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowsQuery {
    /// Only those of this listener.
    pub listener: Option<Name>,
    /// The most to show, 1 to [`MOST_FLOWS`]; [`FLOWS`] if not given.
    pub limit: Option<usize>,
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

/// `GET /v1/stats`: the counters alone, and how much is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// What became of packets.
    pub outcomes: Vec<OutcomeStatus>,
    /// What is remembered of flows.
    pub tracking: TrackingStatus,
    /// What was sent to the backends, by listener.
    pub listeners: Vec<ListenerStats>,
    /// How often each kind of event happened.
    #[serde(default)]
    pub events: Vec<EventCount>,
}

/// A listener's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStats {
    /// The listener.
    pub name: Name,
    /// What was sent to its backends.
    pub counters: Counters,
    /// What it refused.
    #[serde(default)]
    pub refused: RefusedStatus,
    /// What was sent to each backend.
    pub backends: Vec<BackendStats>,
}

/// A backend's counters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendStats {
    /// The backend.
    pub address: BackendAddr,
    /// How many of its flows are remembered; `null` where nothing is.
    pub flows: Option<u64>,
    /// What was sent to it.
    pub counters: Counters,
}

impl From<Status> for Stats {
    fn from(status: Status) -> Self {
        let backend = |b: BackendStatus| BackendStats { address: b.address, flows: b.flows, counters: b.counters };
        let listener = |l: ListenerStatus| ListenerStats {
            name: l.name,
            counters: l.counters,
            refused: l.refused,
            backends: l.backends.into_iter().map(backend).collect(),
        };
        let listeners = status.listeners.into_iter().map(listener).collect();
        Self { outcomes: status.outcomes, tracking: status.tracking, listeners, events: status.events }
    }
}
