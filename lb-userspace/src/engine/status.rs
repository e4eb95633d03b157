//! The snapshot that `drlb status` shows. Serialised, these types are the documented JSON of `drlb status -o json`.

mod take;

use lb_common::outcome::Counter;
use serde::{Deserialize, Serialize};

pub(super) use take::take;

use crate::model::{Algorithm, AttachMode, BackendAddr, Name, Protocol, Vip, XdpMode};

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
    /// What became of packets, in the order of [`lb_common::outcome::Outcome::ALL`].
    pub outcomes: Vec<OutcomeStatus>,
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
    /// If it does not: why, and what to do.
    pub reason: Option<String>,
}

/// Whether the XDP program runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceState {
    /// It runs.
    Attached,
    /// There is no such interface now; it is attached as soon as there is.
    Missing,
    /// It could not be attached.
    Failed,
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
    /// What of a flow chooses its slot.
    pub algorithm: Algorithm,
    /// Slots of the lookup table.
    pub slots: u32,
    /// What was sent to its backends.
    pub counters: Counters,
    /// The backends, by address.
    pub backends: Vec<BackendStatus>,
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
    /// Whether it takes traffic.
    pub state: BackendState,
    /// If it does not: why, and what to do.
    pub reason: Option<String>,
    /// Its MAC, as `02:00:00:00:00:01`; `null` if not known.
    pub mac: Option<String>,
    /// The interface that it is behind; `null` if not known.
    pub interface: Option<String>,
    /// How many slots of the lookup table it holds.
    pub slots: u32,
    /// What was sent to it.
    pub counters: Counters,
}

/// Whether a backend takes traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendState {
    /// It does.
    Serving,
    /// An operator took it out of service.
    AdminDown,
    /// Its weight is 0.
    NoWeight,
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
            Self::NoWeight => "no-weight",
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
