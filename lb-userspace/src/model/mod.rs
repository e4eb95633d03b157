//! What a user wants of the balancer: addresses, names, objects, commands, and the state that they make.
//!
//! Everything here is pure and imports no sibling module. A [`Command`] is checked against the [`Desired`] state by
//! [`Desired::check`], which answers with the [`Edit`]s that carry it out or with the [`Fault`] that refuses it.

mod address;
mod allow;
mod check;
mod choices;
mod command;
mod desired;
mod fault;
mod guards;
mod health;
mod index;
mod name;
mod objects;
mod primes;
pub mod span;
mod tables;
mod tracking;

pub(crate) use check::{places_region, slots_region};

pub use address::{BackendAddr, Vip};
pub use allow::{AllowList, Prefix, fingerprint};
pub use choices::{
    Algorithm, AttachMode, HttpMethod, HttpVersion, ProbeType, Protocol, VipOwner, WhenAllDown, XdpMode,
};
pub use command::{BackendChange, Command, ListenerChange, NewListener};
pub use desired::{Desired, Edit, FromFile};
pub use fault::{Fault, FaultKind};
pub use guards::SourceRate;
pub use health::{
    HealthChange, HealthCheck, HttpProbe, HttpsProbe, MonitorTarget, Probe, StatusCodes, TlsProbe, UdpProbe,
};
pub use index::Objects;
pub use name::Name;
pub use objects::{Backend, Interface, Listener, Pool, PoolSettings};
pub use tables::Tables;
pub use tracking::{Drain, Persistence, Timeouts, TimeoutsChange};
