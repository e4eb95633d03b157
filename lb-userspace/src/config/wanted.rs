//! What a file asks for, with where it says so.

use std::fmt;

use crate::model::{
    AttachMode, BackendAddr, Desired, HealthCheck, Interface, Listener, MonitorTarget, NewListener, Pool, Tables,
};

/// All that a file asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The interfaces, in the file's order.
    pub interfaces: Vec<At<Interface>>,
    /// The listeners, in the file's order.
    pub listeners: Vec<At<WantedListener>>,
}

/// A listener with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedListener {
    /// The listener and its pool.
    pub new: NewListener,
    /// Whether it is in service.
    pub up: bool,
    /// How its backends are probed.
    pub health: Option<At<HealthCheck>>,
    /// Its backends, in the file's order.
    pub backends: Vec<At<WantedBackend>>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedBackend {
    /// Its own address.
    pub address: BackendAddr,
    /// Its weight.
    pub weight: u16,
    /// Whether it is in service.
    pub up: bool,
    /// Where it is probed.
    pub monitor: MonitorTarget,
    /// Whether it takes new flows only while none of the others does.
    pub backup: bool,
}

/// A part of a file, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The part.
    pub value: T,
    /// Where it begins.
    pub place: Place,
}

/// A place in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What is wrong with a file. `Display` is the sentence for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Where; at line 0 if it stands nowhere in the file.
    pub place: Place,
    /// What, and what to do.
    pub message: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.line > 0 {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Flaw {}

impl Wanted {
    /// What a file that asks for just this state would say. Draining is no part of it: that is a thing of the moment.
    #[must_use]
    pub fn of(desired: &Desired) -> Self {
        let listeners = desired.listeners.values();
        Self {
            interfaces: desired.interfaces.values().cloned().map(At::nowhere).collect(),
            listeners: listeners
                .filter_map(|listener| {
                    Some(At::nowhere(WantedListener::of(listener, desired.pool_of(listener)?, desired)))
                })
                .collect(),
        }
    }
}

impl WantedListener {
    fn of(listener: &Listener, pool: &Pool, desired: &Desired) -> Self {
        // All fields by name: what is added to the model has to find its way into the file.
        let Listener { name, vip, protocol, port, pool: _, allowed, vip_owner, admin_up, source_rate, max_flows } =
            listener.clone();
        let Pool { name: _, algorithm, persistence, timeouts, slots, health, backends } = pool.clone();
        let backends = backends.into_values().map(|backend| {
            let crate::model::Backend { address, weight, admin_up: up, drain: _, monitor, backup } = backend;
            At::nowhere(WantedBackend { address, weight, up, monitor, backup })
        });
        // Another agent may have other tables where a file does not say, and so may this one have been told.
        let usual = [desired.tables.slots, Tables::default().slots];
        Self {
            new: NewListener {
                name,
                vip,
                protocol,
                port,
                algorithm,
                persistence,
                timeouts,
                allowed,
                vip_owner: (vip_owner != desired.default_owner).then_some(vip_owner),
                source_rate,
                max_flows,
                slots: Some(slots).filter(|slots| [*slots; 2] != usual),
            },
            up: admin_up,
            health: health.map(At::nowhere),
            backends: backends.collect(),
        }
    }
}

impl<T> At<T> {
    /// A part that stands in no file.
    pub const fn nowhere(value: T) -> Self {
        Self { value, place: Place { line: 0, column: 0 } }
    }
}

/// The mode of an interface unless a file says it.
pub(super) const DEFAULT_MODE: AttachMode = AttachMode::Native;
