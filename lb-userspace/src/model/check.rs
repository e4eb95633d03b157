//! Whether a command can be done, and by which edits: the rules of the desired state.

use std::fmt::Display;

use lb_common::limits;

use super::address::{BackendAddr, Vip};
use super::choices::{Protocol, VipOwner};
use super::command::{BackendChange, Command, ListenerChange, NewListener};
use super::desired::{Desired, Edit};
use super::fault::Fault;
use super::guards::check_max_flows;
use super::health::{HealthChange, MonitorTarget};
use super::name::Name;
use super::objects::{Backend, Interface, Listener, Pool, PoolSettings};
use super::primes::{is_prime, nearest_prime};
use super::tracking::Drain;

/// The longest name of an interface, in bytes (`IFNAMSIZ` in linux/if.h, less the closing zero).
const MAX_INTERFACE_NAME: usize = 15;
/// The fewest places that a pool takes in the backends' map.
const MIN_PLACES: u32 = 8;

// As many pools of a few backends as there can be listeners.
const _: () = assert!(limits::MAX_LISTENERS * MIN_PLACES <= limits::MAX_BACKENDS);

// Each listener needs at most one VIP, so the limit of the VIPs cannot be met before that of the listeners.
const _: () = assert!(limits::MAX_VIPS >= limits::MAX_LISTENERS);

impl Desired {
    /// Checks a command against this state. `now` is the time in seconds since 1970, which a drain begins at.
    ///
    /// # Errors
    /// The [`Fault`] that refuses it. The state is the same afterwards either way; no edits are returned when the command
    /// asks for what is already so.
    pub fn check(&mut self, command: &Command, now: u64) -> Result<Vec<Edit>, Fault> {
        match command {
            Command::Attach { interface, mode } => self.attach(Interface { name: interface.clone(), mode: *mode }),
            Command::Detach { interface } => self.detach(interface),
            Command::AddListener(new) => self.add_listener(new),
            Command::SetListener { name, change } => self.set_listener(name, change),
            Command::RemoveListener { name } => self.remove_listener(name),
            Command::AddBackend { listener, address, weight } => self.add_backend(listener, *address, *weight),
            Command::SetBackend { listener, address, change } => self.set_backend(listener, *address, change),
            Command::DrainBackend { listener, address, deadline } => {
                self.drain_backend(listener, *address, *deadline, now)
            }
            Command::RemoveBackend { listener, address } => self.remove_backend(listener, *address),
            Command::SetHealth { listener, change } => self.set_health(listener, change),
            Command::UnsetHealth { listener } => self.unset_health(listener),
            Command::OwnByFile(wanted) if *wanted == self.from_file => Ok(vec![]),
            Command::OwnByFile(wanted) => Ok(vec![Edit::PutFromFile(wanted.clone())]),
            Command::All(commands) => self.all(commands, now),
        }
    }

    /// Each is checked against what those before it make. That is made here and taken back, as a copy of all there is would
    /// cost more than a few commands do.
    fn all(&mut self, commands: &[Command], now: u64) -> Result<Vec<Edit>, Fault> {
        let (mut all, mut undo) = (Vec::new(), Vec::new());
        let checked = commands.iter().try_for_each(|command| {
            let edits = self.check(command, now)?;
            undo.push(self.edit_all(edits.iter().cloned()));
            all.extend(edits);
            Ok(())
        });
        for edits in undo.into_iter().rev() {
            self.edit_all(edits);
        }
        checked.map(|()| all)
    }

    fn attach(&self, interface: Interface) -> Result<Vec<Edit>, Fault> {
        interface_name(&interface.name)?;
        if self.interfaces.contains_key(&interface.name) {
            return Err(Fault::conflict(format!(
                "drlb is already attached to {0}; to attach in another mode, run `drlb detach {0}` first",
                interface.name
            )));
        }
        if self.interfaces.len() >= limits::MAX_SEGMENTS as usize {
            return Err(Fault::conflict(format!("drlb runs on at most {} interfaces", limits::MAX_SEGMENTS)));
        }
        Ok(vec![Edit::PutInterface(interface)])
    }

    fn detach(&self, name: &str) -> Result<Vec<Edit>, Fault> {
        interface_name(name)?;
        match self.interfaces.contains_key(name) {
            true => Ok(vec![Edit::RemoveInterface(name.to_owned())]),
            false => Err(Fault::not_found(format!(
                "drlb is not attached to {name}; {}",
                those_that_exist("it is attached to", self.interfaces.keys())
            ))),
        }
    }

    fn add_listener(&self, new: &NewListener) -> Result<Vec<Edit>, Fault> {
        let NewListener {
            name,
            vip,
            protocol,
            port,
            algorithm,
            persistence,
            timeouts,
            allowed,
            vip_owner,
            source_rate,
            max_flows,
            slots,
        } = new.clone();
        if protocol == Protocol::Ip && port != 0 {
            return Err(Fault::invalid(format!(
                "listener `{name}` has protocol ip, which takes every port; leave out port {port} or choose tcp, udp or \
                 sctp"
            )));
        }
        let slots = slots.unwrap_or(self.tables.slots);
        table_size(&name, slots)?;
        persistence.map_or(Ok(()), |persistence| persistence.check())?;
        timeouts.check()?;
        allowed.check(vip)?;
        source_rate.map_or(Ok(()), |rate| rate.check())?;
        max_flows.map_or(Ok(()), check_max_flows)?;
        if self.listeners.contains_key(&name) {
            return Err(Fault::conflict(format!("there is already a listener `{name}`; choose another name")));
        }
        if self.pools.contains_key(&name) {
            return Err(Fault::conflict(format!("there is already a pool `{name}`; choose another name")));
        }
        let listener = Listener {
            name: name.clone(),
            vip,
            protocol,
            port,
            pool: name.clone(),
            allowed,
            vip_owner: self.owner_of(vip, vip_owner)?,
            admin_up: true,
            source_rate,
            max_flows,
        };
        if let Some(other) = self.listeners_on(listener.key()).next() {
            return Err(Fault::conflict(format!(
                "listener `{}` already takes {}; remove it first or choose another VIP, protocol or port",
                other.name,
                listener.describe()
            )));
        }
        if let Some(pool) = self.pools_with(vip.ip()).next() {
            return Err(Fault::conflict(format!(
                "{vip} is the own address of a backend in pool `{}`; a VIP must be an address that no backend is reached by",
                pool.name
            )));
        }
        if self.listeners.len() >= limits::MAX_LISTENERS as usize {
            return Err(Fault::conflict(format!("a balancer holds at most {} listeners", limits::MAX_LISTENERS)));
        }
        self.room_for_table(slots)?;
        let pool = PoolSettings { name, algorithm, persistence, timeouts, slots, health: None };
        Ok(vec![Edit::PutPool(pool), Edit::PutListener(listener)])
    }

    fn set_listener(&self, name: &Name, change: &ListenerChange) -> Result<Vec<Edit>, Fault> {
        let (listener, pool) = self.listener(name)?;
        let mut settings = pool.settings();
        settings.algorithm = change.algorithm.unwrap_or(settings.algorithm);
        settings.persistence = change.persistence.unwrap_or(settings.persistence);
        settings.timeouts = settings.timeouts.with(&change.timeouts);
        settings.persistence.map_or(Ok(()), |persistence| persistence.check())?;
        settings.timeouts.check()?;
        let mut after = listener.clone();
        if let Some(allowed) = &change.allowed {
            allowed.check(listener.vip)?;
            after.allowed = allowed.clone();
        }
        after.vip_owner = change.vip_owner.unwrap_or(after.vip_owner);
        after.source_rate = change.source_rate.unwrap_or(after.source_rate);
        after.max_flows = change.max_flows.unwrap_or(after.max_flows);
        after.admin_up = change.admin_up.unwrap_or(after.admin_up);
        after.source_rate.map_or(Ok(()), |rate| rate.check())?;
        after.max_flows.map_or(Ok(()), check_max_flows)?;
        let pool = (settings != pool.settings()).then_some(Edit::PutPool(settings));
        // The other listeners of the VIP, which have the same owner.
        let others = self.listeners_of_vip(listener.vip.ip()).filter(|other| other.name != listener.name);
        let others = others.filter(|other| other.vip_owner != after.vip_owner);
        let others: Vec<_> =
            others.map(|other| Edit::PutListener(Listener { vip_owner: after.vip_owner, ..other.clone() })).collect();
        let listener = (after != *listener).then_some(Edit::PutListener(after));
        Ok(pool.into_iter().chain(listener).chain(others).collect())
    }

    /// Who is to answer for a VIP that gets another listener.
    fn owner_of(&self, vip: Vip, wanted: Option<VipOwner>) -> Result<VipOwner, Fault> {
        match (self.listeners_of_vip(vip.ip()).next(), wanted) {
            (None, wanted) => Ok(wanted.unwrap_or(self.default_owner)),
            (Some(other), Some(wanted)) if wanted != other.vip_owner => Err(Fault::conflict(format!(
                "the VIP {vip} has the owner {}, by listener `{1}`; change it for all of its listeners with `drlb listener \
                 set {1} --vip-owner {wanted}` first",
                other.vip_owner, other.name
            ))),
            (Some(other), _) => Ok(other.vip_owner),
        }
    }

    fn remove_listener(&self, name: &Name) -> Result<Vec<Edit>, Fault> {
        let (_, pool) = self.listener(name)?;
        let mut edits = vec![Edit::RemoveListener(name.clone())];
        if self.listeners_of(&pool.name).count() == 1 {
            edits.extend(pool.backends.keys().map(|address| Edit::RemoveBackend(pool.name.clone(), *address)));
            edits.push(Edit::RemovePool(pool.name.clone()));
        }
        Ok(edits)
    }

    fn add_backend(&self, listener: &Name, address: BackendAddr, weight: u16) -> Result<Vec<Edit>, Fault> {
        let (listener, pool) = self.listener(listener)?;
        weight_in_range(address, weight)?;
        if address.family() != listener.vip.family() {
            let (name, vip, family) = (&listener.name, listener.vip, listener.vip.family());
            return Err(Fault::invalid(format!(
                "backend {address} is {} and the VIP {vip} of listener `{name}` is {family}; direct routing does not \
                 translate, so give the backend's {family} address",
                address.family(),
            )));
        }
        if address.ip() == listener.vip.ip() {
            return Err(Fault::invalid(format!(
                "backend {address} is the VIP of listener `{}` itself; give the server's own address, by which it is \
                 found on the segment",
                listener.name
            )));
        }
        if let Some(other) = self.listeners_of_vip(address.ip()).next() {
            return Err(Fault::conflict(format!(
                "backend {address} is the VIP of listener `{}`; give the server's own address, by which it is found on \
                 the segment",
                other.name
            )));
        }
        if pool.backends.contains_key(&address) {
            return Err(Fault::conflict(format!(
                "listener `{}` already has the backend {address}; change it with `drlb backend set`",
                listener.name
            )));
        }
        self.room_for_backend(listener, pool)?;
        Ok(vec![Edit::PutBackend(pool.name.clone(), Backend::new(address, weight))])
    }

    fn set_backend(&self, listener: &Name, address: BackendAddr, change: &BackendChange) -> Result<Vec<Edit>, Fault> {
        let (pool, old) = self.backend(listener, address)?;
        let backend = Backend {
            address,
            weight: change.weight.unwrap_or(old.weight),
            admin_up: change.admin_up.unwrap_or(old.admin_up),
            drain: old.drain.filter(|_| change.admin_up != Some(true)),
            monitor: MonitorTarget {
                address: change.monitor_address.unwrap_or(old.monitor.address),
                port: change.monitor_port.unwrap_or(old.monitor.port),
            },
            backup: change.backup.unwrap_or(old.backup),
        };
        weight_in_range(address, backend.weight)?;
        if backend.monitor.port == Some(0) {
            return Err(Fault::invalid(format!("backend {address} cannot be probed at port 0; give 1 to 65535")));
        }
        Ok(if backend == *old { vec![] } else { vec![Edit::PutBackend(pool.name.clone(), backend)] })
    }

    fn drain_backend(
        &self,
        listener: &Name,
        address: BackendAddr,
        deadline: Option<u32>,
        now: u64,
    ) -> Result<Vec<Edit>, Fault> {
        let (pool, old) = self.backend(listener, address)?;
        if !old.admin_up {
            return Err(Fault::conflict(format!(
                "backend {address} of listener `{listener}` is out of service and has nothing to drain; put it back with \
                 `drlb backend set {listener} {address} --up`"
            )));
        }
        let mut drain = old.drain.unwrap_or(Drain { since: now, deadline: None, drained: false });
        if !drain.drained {
            drain.deadline = deadline.map(|seconds| now.saturating_add(seconds.into()));
        }
        let backend = Backend { drain: Some(drain), ..old.clone() };
        Ok(if backend == *old { vec![] } else { vec![Edit::PutBackend(pool.name.clone(), backend)] })
    }

    fn remove_backend(&self, listener: &Name, address: BackendAddr) -> Result<Vec<Edit>, Fault> {
        let (pool, _) = self.backend(listener, address)?;
        Ok(vec![Edit::RemoveBackend(pool.name.clone(), address)])
    }

    fn set_health(&self, listener: &Name, change: &HealthChange) -> Result<Vec<Edit>, Fault> {
        let (listener, pool) = self.listener(listener)?;
        let check = change.clone().applied_to(pool.health.as_ref(), listener)?;
        self.listeners_of(&pool.name).try_for_each(|listener| check.fits(listener))?;
        let settings = PoolSettings { health: Some(check), ..pool.settings() };
        Ok(if settings == pool.settings() { vec![] } else { vec![Edit::PutPool(settings)] })
    }

    fn unset_health(&self, listener: &Name) -> Result<Vec<Edit>, Fault> {
        let (_, pool) = self.listener(listener)?;
        let settings = PoolSettings { health: None, ..pool.settings() };
        Ok(if settings == pool.settings() { vec![] } else { vec![Edit::PutPool(settings)] })
    }

    fn listener(&self, name: &Name) -> Result<(&Listener, &Pool), Fault> {
        let listener = self.listeners.get(name).ok_or_else(|| {
            Fault::not_found(format!(
                "there is no listener `{name}`; {}",
                those_that_exist("there are:", self.listeners.keys())
            ))
        })?;
        let pool = self
            .pool_of(listener)
            .ok_or_else(|| Fault::internal(format!("listener `{name}` has no pool `{}`", listener.pool)))?;
        Ok((listener, pool))
    }

    fn backend(&self, listener: &Name, address: BackendAddr) -> Result<(&Pool, &Backend), Fault> {
        let (_, pool) = self.listener(listener)?;
        let backend = pool.backends.get(&address).ok_or_else(|| {
            Fault::not_found(format!(
                "listener `{listener}` has no backend {address}; {}",
                those_that_exist("it has", pool.backends.keys())
            ))
        })?;
        Ok((pool, backend))
    }

    fn room_for_table(&self, slots: u32) -> Result<(), Fault> {
        let (held, room) = (self.slots_taken(), self.tables.room);
        if held + u64::from(slots_region(slots)) > u64::from(room) {
            return Err(Fault::conflict(format!(
                "a lookup table of {slots} slots does not fit: {held} of the balancer's {room} are taken; set fewer slots \
                 with --slots, or make room for more with `room` in [tables] of the agent's configuration"
            )));
        }
        Ok(())
    }

    fn room_for_backend(&self, listener: &Listener, pool: &Pool) -> Result<(), Fault> {
        let count = pool.backends.len() as u32 + 1;
        let name = &listener.name;
        if count > limits::MAX_POOL_BACKENDS {
            let max = limits::MAX_POOL_BACKENDS;
            return Err(Fault::conflict(format!(
                "listener `{name}` already has {max} backends, the most that one can"
            )));
        }
        if count > pool.slots {
            return Err(Fault::conflict(format!(
                "listener `{name}` has {} slots and as many backends; for more, make it anew with more slots",
                pool.slots
            )));
        }
        let others = self.places_taken() - u64::from(places_region(pool.backends.len() as u32));
        if others + u64::from(places_region(count)) > u64::from(limits::MAX_BACKENDS) {
            return Err(Fault::conflict(format!(
                "the balancer's {} places for backends are taken; remove backends or listeners first",
                limits::MAX_BACKENDS
            )));
        }
        Ok(())
    }
}

/// How many slots a pool's region has: its lookup table in whole lines of [`limits::SLOTS_PER_LINE`].
pub(crate) fn slots_region(slots: u32) -> u32 {
    slots.next_multiple_of(limits::SLOTS_PER_LINE as u32)
}

/// How many places a pool's region has: a power of two, so that it grows seldom.
pub(crate) fn places_region(backends: u32) -> u32 {
    backends.max(MIN_PLACES).next_power_of_two()
}

fn interface_name(name: &str) -> Result<(), Fault> {
    // The kernel's own rules: `dev_valid_name` in net/core/dev.c.
    let objection = if name.is_empty() {
        "must not be empty".to_owned()
    } else if name.len() > MAX_INTERFACE_NAME {
        format!("has {} bytes; {MAX_INTERFACE_NAME} are allowed", name.len())
    } else if name == "." || name == ".." || name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
        "is not one that an interface can have".to_owned()
    } else {
        return Ok(());
    };
    Err(Fault::invalid(format!("the interface name `{name}` {objection}")))
}

fn table_size(name: &Name, slots: u32) -> Result<(), Fault> {
    let nearest = nearest_prime(slots, limits::LARGEST_SLOTS);
    if slots > limits::LARGEST_SLOTS {
        return Err(Fault::invalid(format!(
            "listener `{name}` cannot have {slots} slots; the largest lookup table has {nearest}"
        )));
    }
    if !is_prime(slots) {
        return Err(Fault::invalid(format!(
            "listener `{name}` cannot have {slots} slots: the size of a lookup table is a prime; the nearest is {nearest}"
        )));
    }
    Ok(())
}

fn weight_in_range(address: BackendAddr, weight: u16) -> Result<(), Fault> {
    match weight <= limits::MAX_WEIGHT {
        true => Ok(()),
        false => Err(Fault::invalid(format!(
            "backend {address} cannot have weight {weight}; a weight is 0 to {}",
            limits::MAX_WEIGHT
        ))),
    }
}

/// Names what exists when that is a short list: `there are: a, b`.
fn those_that_exist<T: Display>(intro: &str, names: impl ExactSizeIterator<Item = T>) -> String {
    /// More names than this do not help.
    const FEW: usize = 8;
    match names.len() {
        0 => "there is none".to_owned(),
        count if count > FEW => format!("there are {count} others"),
        _ => format!("{intro} {}", names.map(|name| name.to_string()).collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
