//! Health checks: which backends really serve.
//!
//! ```text
//!   engine ──[Checks]──▶ task ──▶ probes, from a namespace of the agent's own ──▶ backends, by the VIP
//!      ▲                  │  └──▶ probes, from the host ──▶ backends, by their own address
//!      └───[HealthView]───┘
//! ```
//!
//! A probe goes to the VIP, on the backend's own MAC, from the balancer's own address on that segment; the answer comes back
//! as it would to any client there. The host's addresses and routes are no part of it: [`ground`] is a network namespace in
//! which the sockets are, and a program of the data plane joins it to the segments. When such a probe fails, the backend's
//! own address is tried, which tells a service that is down from a way by the VIP that is broken.
//!
//! [`machine`] is what makes a backend count as up or down, [`timetable`] when it is probed, [`plan`] what is to be probed,
//! [`ports`] from which port, [`room`] how many at once. All these are pure. [`task`] is the thread that does it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use lb_common::backend::Backend;
use lb_common::probe::{ProbeKey, ProbeTarget};
use serde::{Deserialize, Serialize};

use crate::model::{BackendAddr, Fault, HealthCheck, Name};

mod files;
pub mod ground;
pub mod machine;
pub mod once;
mod own;
pub mod plan;
pub mod ports;
mod probe;
mod records;
pub mod room;
pub mod task;
pub mod timetable;

pub use machine::Standing;

/// A backend of a pool: what is checked.
pub type CheckKey = (Name, BackendAddr);

/// Who asks for a probe.
#[derive(Clone, Debug)]
enum Asker {
    /// A check.
    Check(CheckKey),
    /// A check whose backend is down, to tell why.
    Why(CheckKey),
    /// A question with this number.
    Once(u64),
}

/// Backends that are to take no traffic because they are not up.
pub type Unhealthy = BTreeSet<CheckKey>;

/// Everything that is to be checked: what the engine asks of the task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// The checks.
    pub checks: BTreeMap<CheckKey, Check>,
}

/// How a backend is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is sent, and when.
    pub spec: Arc<HealthCheck>,
    /// The VIPs and ports to probe.
    pub vips: Vec<SocketAddr>,
    /// The backend's own address, or the one that it is to be probed at.
    pub own: SocketAddr,
    /// The way that a probe takes.
    pub way: Way,
    /// The backend's standing when it comes to be checked.
    pub first: Standing,
}

/// The way that a probe takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the VIPs, on the backend's MAC.
    Vip {
        /// The backend's MAC and segment.
        backend: Backend,
        /// The balancer's address to send from.
        source: IpAddr,
    },
    /// To the address that the operator named, as any host speaks to it.
    Own,
    /// The backend can't be reached, which is a failure.
    Unreachable {
        /// Why.
        reason: String,
    },
    /// No probe can be sent now, which says nothing of the backend: its standing stays.
    Impossible {
        /// Why, and what to do.
        reason: String,
    },
}

impl Check {
    /// How many sockets its probe takes.
    #[must_use]
    pub fn sockets(&self) -> usize {
        match self.way {
            Way::Vip { .. } => self.vips.len(),
            Way::Own => 1,
            Way::Unreachable { .. } | Way::Impossible { .. } => 0,
        }
    }

    /// True if a probe of the one says as much as a probe of the other.
    #[must_use]
    pub fn asks_the_same(&self, other: &Self) -> bool {
        (&self.way, &self.spec.probe, &self.vips, self.own) == (&other.way, &other.spec.probe, &other.vips, other.own)
    }
}

/// What the checks have found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthView {
    /// By backend. One that is not here has not been probed by this agent yet.
    pub backends: BTreeMap<CheckKey, BackendHealth>,
}

/// What the checks have found of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendHealth {
    /// Whether it is taken to serve.
    pub standing: Standing,
    /// If it is down: why.
    pub cause: Cause,
    /// What its last probe that failed said, or why it can't be probed.
    pub reason: Option<String>,
    /// When it came to its standing, in seconds since 1970; `None` if this agent found it so.
    pub since: Option<u64>,
    /// True if it keeps going down and coming up.
    pub flapping: bool,
    /// How many right answers in a row bring it up when it is down.
    pub needed: u32,
}

/// Why a backend is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Its service doesn't answer, neither by the VIP nor by its own address.
    Service,
    /// Its service answers by its own address, and not by the VIP.
    VipPath,
}

/// What the task has counted. All of them only grow, but for `in_flight`.
#[derive(Debug, Default)]
pub struct HealthCounters {
    /// Probes that have ended.
    pub probes: AtomicU64,
    /// Those that failed.
    pub failed: AtomicU64,
    /// Those that began late, for want of room.
    pub late: AtomicU64,
    /// Sockets of those that are under way.
    pub in_flight: AtomicU64,
    /// The most that were under way at once.
    pub most_in_flight: AtomicU64,
}

/// The data plane's part in probing. The real one is [`crate::dataplane::Probes`].
pub trait ProbePlane: Send {
    /// Joins the interface with that index, in the calling thread's network namespace, to the segments: what is sent there
    /// leaves as probes, and answers arrive there.
    ///
    /// # Errors
    /// The kernel refused it.
    fn join(&mut self, outer: u32) -> Result<(), Fault>;

    /// Says whether there are checks at all. Without, the program looks for no answers.
    ///
    /// # Errors
    /// The kernel refused it.
    fn switch(&mut self, on: bool) -> Result<(), Fault>;

    /// Says where a probe goes.
    ///
    /// # Errors
    /// The kernel refused it.
    fn put(&mut self, key: ProbeKey, target: ProbeTarget) -> Result<(), Fault>;

    /// Forgets a probe.
    fn remove(&mut self, key: ProbeKey);
}
