//! The snapshot that `drlb status` shows. Serialised, these types are the documented JSON of `drlb status -o json`.

mod flows;
mod take;
mod vips;

use std::net::IpAddr;

use lb_common::outcome::{Counter, Refused};
use serde::{Deserialize, Serialize};

pub(super) use flows::{flows, tracking};
pub(super) use take::{Others, Sources, take};
pub(super) use vips::vips;

use crate::events::EventCount;
use crate::model::{
    Algorithm, AllowList, AttachMode, BackendAddr, HealthCheck, MonitorTarget, Name, Persistence, Protocol, SourceRate,
    Timeouts, Vip, VipOwner, XdpMode,
};

/// All that there is to know of a running balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Version of the maps' layout.
    pub layout: String,
    /// The interfaces that drlb is to run on, by name.
    pub interfaces: Vec<InterfaceStatus>,
    /// The listeners, by name.
    pub listeners: Vec<ListenerStatus>,
    /// The VIPs, by address.
    #[serde(default)]
    pub vips: Vec<VipStatus>,
    /// What became of packets, in the order of [`lb_common::outcome::Outcome::ALL`].
    pub outcomes: Vec<OutcomeStatus>,
    /// What is remembered of flows.
    pub tracking: TrackingStatus,
    /// How the health checks get on.
    #[serde(default)]
    pub checks: ChecksStatus,
    /// How often each kind of event happened, since this agent started, in the order of their documentation.
    #[serde(default)]
    pub events: Vec<EventCount>,
}

/// How the health checks get on, since this agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChecksStatus {
    /// Backends that are checked, each once for each pool that it is in.
    pub checked: u64,
    /// Probes that have ended.
    pub probes: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that began more than 100 ms late, for want of room.
    pub late: u64,
    /// Sockets of those that are under way.
    pub in_flight: u64,
    /// The most sockets that were under way at once. There are never more than 1,024.
    #[serde(default)]
    pub most_in_flight: u64,
}

/// What is remembered of flows: as of the last sweep while there are sweeps, else as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackingStatus {
    /// Pins of flows that only their first packet was seen of.
    pub pins_young: u64,
    /// Pins of flows at work.
    pub pins_established: u64,
    /// Sessions of clients.
    pub sessions: u64,
    /// Pins that there was no room for, since the maps were made.
    pub overflows: u64,
    /// Slots of all lookup tables that are moving or settling.
    pub unsteady_slots: u64,
    /// How long the last sweep took, in milliseconds; `null` if this agent has not swept yet.
    pub last_sweep_ms: Option<u64>,
}

/// How many slots of a lookup table are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotStates {
    /// Nothing is remembered of their flows.
    pub steady: u32,
    /// Flows that began before a change may still show themselves.
    pub moving: u32,
    /// Only remembered flows are left of the time before a change.
    pub settling: u32,
}

/// How far a draining backend is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// When draining began, in seconds since 1970.
    pub since: u64,
    /// When it ends whatever is left, in seconds since 1970; `null` to wait for the last flow.
    pub deadline: Option<u64>,
    /// Flows that are known to be left, as of the last sweep. A flow that has been silent since the drain began is not
    /// known yet; the drain waits for the idle time of such.
    pub flows: u64,
}

/// What is remembered of flows, one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// The flows.
    pub flows: Vec<FlowStatus>,
    /// True if there are more than were asked for.
    pub cut: bool,
}

/// A remembered flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStatus {
    /// The listener.
    pub listener: Name,
    /// The IP protocol's number.
    pub protocol: u8,
    /// The client.
    pub source: IpAddr,
    /// The client's port; 0 for a protocol without ports.
    pub source_port: u16,
    /// The VIP.
    pub destination: IpAddr,
    /// The VIP's port; 0 for a protocol without ports.
    pub destination_port: u16,
    /// The flow's backend; `null` if that one is gone, so that the flow's next packet takes another.
    pub backend: Option<BackendAddr>,
    /// How far its life is known to be.
    pub state: FlowState,
    /// Milliseconds since its last packet, to some 130 ms.
    pub idle_ms: u64,
}

/// How far a flow's life is known to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowState {
    /// Only its first packet was seen.
    Handshake,
    /// At work (TCP and SCTP).
    Established,
    /// One side has said that it will send no more.
    Closing,
    /// At work (UDP).
    Udp,
    /// At work (any other protocol).
    Other,
}

impl FlowState {
    /// The name that JSON and tables use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Udp => "udp",
            Self::Other => "other",
        }
    }
}

/// An interface that drlb is to run on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    /// Its name.
    pub name: String,
    /// The mode that was asked for.
    pub configured_mode: AttachMode,
    /// The mode that the program runs in; `null` if it does not.
    pub mode: Option<XdpMode>,
    /// Its index; `null` if there is no such interface.
    pub ifindex: Option<u32>,
    /// Its MAC, as `02:00:00:00:00:01`; `null` if there is no such interface.
    pub mac: Option<String>,
    /// Whether the program runs on it.
    pub state: InterfaceState,
    /// If it does not: why, and what to do. If it does, and has one MAC with others: with whom.
    pub reason: Option<String>,
}

/// Whether the XDP program runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceState {
    /// It runs.
    Attached,
    /// It is attached, but the interface is switched off or has no carrier.
    Down,
    /// There is no such interface now; it is attached as soon as there is.
    Missing,
    /// It could not be attached.
    Failed,
}

/// A VIP, whatever listens on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VipStatus {
    /// The VIP.
    pub address: Vip,
    /// Who answers for it on its segment.
    pub owner: VipOwner,
    /// The interfaces that it is announced on.
    pub announced_on: Vec<String>,
    /// If it should be announced and can't: why, and what to do.
    pub reason: Option<String>,
    /// Other hosts that have it, too, or want it.
    pub rivals: Vec<RivalStatus>,
}

/// Another host that has a VIP of ours, or wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RivalStatus {
    /// Its MAC, as `02:00:00:00:00:01`.
    pub mac: String,
    /// The interface that it is behind.
    pub interface: String,
    /// True if it says that it has the VIP, false if it only asked for it.
    pub claims: bool,
    /// When it was last heard, in seconds since 1970.
    pub seen: u64,
    /// How many of its frames were heard.
    pub frames: u64,
    /// What that means, and what to do.
    pub reason: String,
}

/// A listener, its pool and its backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Its name.
    pub name: Name,
    /// The VIP.
    pub vip: Vip,
    /// The protocol.
    pub protocol: Protocol,
    /// The port; 0 for every port.
    pub port: u16,
    /// False when an operator took it out of service.
    #[serde(default = "in_service")]
    pub admin_up: bool,
    /// Why it is not in the maps as it is wanted, if so: there is no room for it. What was there before goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    /// How a new flow gets its backend.
    pub algorithm: Algorithm,
    /// Whether a client's new flows go to the backend that it had before; `null` for no.
    pub persistence: Option<Persistence>,
    /// For how many seconds a flow may be silent before it counts as ended.
    pub timeouts: Timeouts,
    /// Who answers for the VIP.
    #[serde(default)]
    pub vip_owner: VipOwner,
    /// How fast each source may begin flows; `null` for as fast as it likes.
    #[serde(default)]
    pub source_rate: Option<SourceRate>,
    /// How many flows there may be at once; `null` for any number.
    #[serde(default)]
    pub max_flows: Option<u32>,
    /// How many flows there are, where they are limited: as of the last sweep, and those that began since; else `null`.
    #[serde(default)]
    pub flows: Option<u64>,
    /// How many prefixes it takes packets from; 0 for everywhere.
    #[serde(default)]
    pub allowed: usize,
    /// The prefixes, where one listener is asked for; not in lists of listeners.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_cidrs: Option<AllowList>,
    /// How its backends are probed; `null` if they are not.
    #[serde(default)]
    pub health: Option<HealthCheck>,
    /// Slots of the lookup table.
    pub slots: u32,
    /// How many of them are in which state.
    pub slot_states: SlotStates,
    /// What was sent to its backends.
    pub counters: Counters,
    /// Packets that it refused.
    #[serde(default)]
    pub refused: RefusedStatus,
    /// The backends, by address.
    pub backends: Vec<BackendStatus>,
}

const fn in_service() -> bool {
    true
}

/// A backend of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendStatus {
    /// Its own address.
    pub address: BackendAddr,
    /// Its weight.
    pub weight: u16,
    /// False when an operator took it out of service.
    pub admin_up: bool,
    /// True if it takes new flows only while none of the others does.
    #[serde(default)]
    pub backup: bool,
    /// Whether it takes traffic.
    pub state: BackendState,
    /// If it does not: why, and what to do. If it does, and has one MAC with others: with whom.
    pub reason: Option<String>,
    /// Its MAC, as `02:00:00:00:00:01`; `null` if not known.
    pub mac: Option<String>,
    /// The interface that it is behind; `null` if not known.
    pub interface: Option<String>,
    /// How many slots of the lookup table it holds.
    pub slots: u32,
    /// How many of its flows are remembered, as of the last sweep; `null` where nothing is remembered, as nothing changes
    /// and the algorithm needs no memory.
    pub flows: Option<u64>,
    /// How far it is, if it is draining or drained.
    pub drain: Option<DrainStatus>,
    /// What its health checks found; `null` if it is not checked.
    #[serde(default)]
    pub health: Option<HealthStatus>,
    /// Where it is probed, where that differs from the others of its listener.
    #[serde(default)]
    pub monitor: MonitorTarget,
    /// What was sent to it.
    pub counters: Counters,
}

/// What the health checks found of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthStatus {
    /// How it stands.
    pub state: HealthState,
    /// What the last probe said, if it failed, or why none can be sent.
    pub reason: Option<String>,
    /// When it came to that, in seconds since 1970; `null` if this agent found it so.
    pub since: Option<u64>,
    /// True if it keeps going down and coming up, so that more right answers than `rise` are needed.
    pub flapping: bool,
    /// How many right answers in a row bring it up when it is down.
    pub needed: u32,
}

/// How a backend stands by its health checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthState {
    /// It answers.
    Up,
    /// No probe has come to an end yet.
    Unproven,
    /// It answers neither by the VIP nor by its own address.
    ServiceDown,
    /// It answers by its own address, and not by the VIP.
    VipPathBroken,
}

/// Whether a backend takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendState {
    /// It does.
    Serving,
    /// An operator took it out of service.
    AdminDown,
    /// It takes no new flows, and keeps those that it has.
    Draining,
    /// It was drained, and takes nothing.
    Drained,
    /// Its weight is 0: it takes no new flows, and keeps those that it has.
    NoWeight,
    /// It is a backup, and others serve: it takes no new flows, and keeps those that it has.
    StandingBy,
    /// No health check has come to an end yet.
    Unproven,
    /// Its service does not answer.
    ServiceDown,
    /// Its service answers by its own address, and not by the VIP.
    VipPathBroken,
    /// Its MAC is not known.
    Unresolved,
    /// It is behind an interface that drlb is not attached to.
    NoInterface,
}

impl BackendState {
    /// The name that JSON and tables use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::AdminDown => "admin-down",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::NoWeight => "no-weight",
            Self::StandingBy => "standing-by",
            Self::Unproven => "unproven",
            Self::ServiceDown => "service-down",
            Self::VipPathBroken => "vip-path-broken",
            Self::Unresolved => "unresolved",
            Self::NoInterface => "no-interface",
        }
    }
}

impl InterfaceState {
    /// The name that JSON and tables use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Down => "down",
            Self::Missing => "missing",
            Self::Failed => "failed",
        }
    }
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the Ethernet header on, without the frame check sequence.
    pub bytes: u64,
}

impl From<Counter> for Counters {
    fn from(counter: Counter) -> Self {
        Self { packets: counter.packets, bytes: counter.bytes }
    }
}

/// Packets that a listener refused, by why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedStatus {
    /// Their source is not on its allow-list.
    pub denied: u64,
    /// Their source begins too many new flows a second.
    #[serde(default)]
    pub too_many_new_flows: u64,
    /// There are as many flows as there may be.
    #[serde(default)]
    pub too_many_flows: u64,
}

impl From<Refused> for RefusedStatus {
    fn from(refused: Refused) -> Self {
        let Refused { denied, too_many_new_flows, too_many_flows } = refused;
        Self { denied, too_many_new_flows, too_many_flows }
    }
}

/// What became of some packets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeStatus {
    /// Name of the outcome.
    pub name: String,
    /// What it means, in a sentence.
    pub meaning: String,
    /// Packets.
    pub packets: u64,
    /// Bytes, from the Ethernet header on, without the frame check sequence.
    pub bytes: u64,
}
