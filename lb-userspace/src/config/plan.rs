//! What a file changes: commands, and a line for people for each.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::wanted::{At, Flaw, Place, Wanted, WantedBackend, WantedListener};
use crate::model::{
    Backend, BackendChange, Command, Desired, FromFile, HealthChange, Interface, Listener, ListenerChange,
    MonitorTarget, Name, NewListener, Pool, SourceRate, Timeouts, TimeoutsChange, Vip, VipOwner, span,
};

/// What a file changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The commands that make the change, to be done as [`Command::All`].
    pub commands: Vec<Command>,
    /// The same for people, a line each: `+` for what is added, `-` for what is removed, `~` for what is changed. Empty if
    /// all is as the file says.
    pub lines: Vec<String>,
}

/// Compares a file with what is wanted now. Every command of the plan has been checked; `now` is the time in seconds
/// since 1970.
///
/// # Errors
/// What of the file cannot be done, and why.
pub fn plan(wanted: &Wanted, desired: &Desired, now: u64) -> Result<Plan, Flaw> {
    let owners = wanted.listeners.iter().filter_map(|at| Some((at.value.new.vip, at.value.new.vip_owner?))).collect();
    let mut planner = Planner { after: desired.clone(), now, owners, plan: Plan::default() };
    planner.removals(wanted, desired)?;
    for interface in &wanted.interfaces {
        planner.interface(interface)?;
    }
    for listener in &wanted.listeners {
        planner.listener(listener)?;
    }
    let from_file = FromFile {
        interfaces: wanted.interfaces.iter().map(|at| at.value.name.clone()).collect(),
        listeners: wanted.listeners.iter().map(|at| at.value.new.name.clone()).collect(),
    };
    if from_file != desired.from_file {
        planner.plan.commands.push(Command::OwnByFile(from_file));
    }
    Ok(planner.plan)
}

struct Planner {
    /// The state with all that is planned done.
    after: Desired,
    now: u64,
    /// Who answers for the VIPs of which the file says it.
    owners: BTreeMap<Vip, VipOwner>,
    plan: Plan,
}

impl Planner {
    /// Plans a command, if it changes something.
    fn add(&mut self, place: Place, command: Command, line: String) -> Result<(), Flaw> {
        let edits = self.after.check(&command, self.now).map_err(|fault| Flaw { place, message: fault.message })?;
        if !edits.is_empty() {
            self.after.edit_all(edits);
            self.plan.commands.push(command);
            self.plan.lines.push(line);
        }
        Ok(())
    }

    /// What an earlier file had and this one has not, and what can only be changed by making it anew. First of all, so that
    /// its VIP, port and room are free.
    fn removals(&mut self, wanted: &Wanted, desired: &Desired) -> Result<(), Flaw> {
        let owned = &desired.from_file;
        for listener in desired.listeners.values() {
            let in_file = wanted.listeners.iter().find(|at| at.value.new.name == listener.name);
            let (place, line) = match in_file {
                None if owned.listeners.contains(&listener.name) => {
                    (Place::default(), format!("- listener {}: {}", listener.name, listener.describe()))
                }
                Some(at) if made_anew(listener, desired.pool_of(listener), &at.value.new) => (
                    at.place,
                    format!("- listener {}: {}, to be made anew; its flows end", listener.name, listener.describe()),
                ),
                _ => continue,
            };
            self.add(place, Command::RemoveListener { name: listener.name.clone() }, line)?;
        }
        for interface in desired.interfaces.values() {
            let in_file = wanted.interfaces.iter().find(|at| at.value.name == interface.name);
            let (place, line) = match in_file {
                None if owned.interfaces.contains(&interface.name) => {
                    (Place::default(), format!("- interface {}", interface.name))
                }
                Some(at) if at.value.mode != interface.mode => {
                    (at.place, format!("- interface {} in mode {}", interface.name, interface.mode))
                }
                _ => continue,
            };
            self.add(place, Command::Detach { interface: interface.name.clone() }, line)?;
        }
        Ok(())
    }

    fn interface(&mut self, wanted: &At<Interface>) -> Result<(), Flaw> {
        let Interface { name, mode } = &wanted.value;
        if self.after.interfaces.contains_key(name) {
            return Ok(());
        }
        let command = Command::Attach { interface: name.clone(), mode: *mode };
        self.add(wanted.place, command, format!("+ interface {name} in mode {mode}"))
    }

    fn listener(&mut self, wanted: &At<WantedListener>) -> Result<(), Flaw> {
        let WantedListener { new, up, health, backends } = &wanted.value;
        let name = &new.name;
        match self.after.listeners.get(name).cloned() {
            None => {
                let listener = new.listener();
                let line = format!("+ listener {name}: {}", listener.describe());
                self.add(wanted.place, Command::AddListener(new.clone()), line)?;
            }
            Some(listener) => self.settings(wanted.place, new, &listener)?,
        }
        let is_up = self.after.listeners.get(name).is_none_or(|listener| listener.admin_up);
        if *up != is_up {
            let change = ListenerChange { admin_up: Some(*up), ..ListenerChange::default() };
            let line = format!("~ listener {name}: {}", if *up { "up" } else { "down" });
            self.add(wanted.place, Command::SetListener { name: name.clone(), change }, line)?;
        }
        let probed = self.pool(name).and_then(|pool| pool.health.clone());
        match (health, probed) {
            (Some(check), before) if before.as_ref() != Some(&check.value) => {
                let command =
                    Command::SetHealth { listener: name.clone(), change: HealthChange::exactly(&check.value) };
                let line = match before {
                    None => format!("+ listener {name}: health check of type {}", check.value.probe.type_name()),
                    Some(_) => format!("~ listener {name}: health check of type {}", check.value.probe.type_name()),
                };
                self.add(check.place, command, line)?;
            }
            (None, Some(_)) => {
                let line = format!("- listener {name}: health check");
                self.add(wanted.place, Command::UnsetHealth { listener: name.clone() }, line)?;
            }
            _ => {}
        }
        let gone: Vec<_> = self.pool(name).map_or_else(Vec::new, |pool| {
            let is_wanted = |address| backends.iter().any(|at| at.value.address == address);
            pool.backends.keys().copied().filter(|address| !is_wanted(*address)).collect()
        });
        for address in gone {
            let command = Command::RemoveBackend { listener: name.clone(), address };
            self.add(wanted.place, command, format!("- listener {name}: backend {address}"))?;
        }
        backends.iter().try_for_each(|backend| self.backend(name, backend))
    }

    /// What can be changed of a listener as it is.
    fn settings(&mut self, place: Place, new: &NewListener, listener: &Listener) -> Result<(), Flaw> {
        let Some(pool) = self.after.pool_of(listener).map(Pool::settings) else { return Ok(()) };
        let mut what = Vec::new();
        let mut change = ListenerChange::default();
        if new.algorithm != pool.algorithm {
            what.push(changed("algorithm", pool.algorithm, new.algorithm));
            change.algorithm = Some(new.algorithm);
        }
        if new.persistence != pool.persistence {
            what.push(if new.persistence.is_some() { "persistence" } else { "no persistence" }.to_owned());
            change.persistence = Some(new.persistence);
        }
        if new.timeouts != pool.timeouts {
            what.extend(idle_times(&pool.timeouts, &new.timeouts));
            let Timeouts { handshake, established, closing, udp, other } = new.timeouts;
            change.timeouts = TimeoutsChange {
                handshake: Some(handshake),
                established: Some(established),
                closing: Some(closing),
                udp: Some(udp),
                other: Some(other),
            };
        }
        if new.allowed != listener.allowed {
            what.push(changed("allowed prefixes", listener.allowed.len(), new.allowed.len()));
            change.allowed = Some(new.allowed.clone());
        }
        let owner = self.owners.get(&new.vip).copied().unwrap_or(self.after.default_owner);
        if owner != listener.vip_owner {
            what.push(changed("VIP owner", listener.vip_owner, owner));
            change.vip_owner = Some(owner);
        }
        if new.source_rate != listener.source_rate {
            what.push(changed("new flows of a source", rate(listener.source_rate), rate(new.source_rate)));
            change.source_rate = Some(new.source_rate);
        }
        if new.max_flows != listener.max_flows {
            let most = |most: Option<u32>| most.map_or("any number".to_owned(), |most| most.to_string());
            what.push(changed("flows at once", most(listener.max_flows), most(new.max_flows)));
            change.max_flows = Some(new.max_flows);
        }
        let line = format!("~ listener {}: {}", new.name, what.join(", "));
        self.add(place, Command::SetListener { name: new.name.clone(), change }, line)
    }

    fn backend(&mut self, listener: &Name, wanted: &At<WantedBackend>) -> Result<(), Flaw> {
        let WantedBackend { address, weight, up, monitor, backup } = wanted.value;
        let known = self.pool(listener).and_then(|pool| pool.backends.get(&address).cloned());
        if known.is_none() {
            let command = Command::AddBackend { listener: listener.clone(), address, weight };
            let line = format!("+ listener {listener}: backend {address} of weight {weight}");
            self.add(wanted.place, command, line)?;
        }
        let before = known.unwrap_or_else(|| Backend::new(address, weight));
        let mut what = Vec::new();
        let mut change = BackendChange::default();
        if weight != before.weight {
            what.push(changed("weight", before.weight, weight));
            change.weight = Some(weight);
        }
        if up != before.admin_up {
            what.push(if up { "up" } else { "down" }.to_owned());
            change.admin_up = Some(up);
        }
        if backup != before.backup {
            what.push(if backup { "backup" } else { "no backup" }.to_owned());
            change.backup = Some(backup);
        }
        let MonitorTarget { address: monitor_address, port: monitor_port } = monitor;
        if monitor_address != before.monitor.address {
            what.push("probed at another address".to_owned());
            change.monitor_address = Some(monitor_address);
        }
        if monitor_port != before.monitor.port {
            what.push("probed at another port".to_owned());
            change.monitor_port = Some(monitor_port);
        }
        let command = Command::SetBackend { listener: listener.clone(), address, change };
        self.add(wanted.place, command, format!("~ listener {listener}: backend {address}: {}", what.join(", ")))
    }

    fn pool(&self, listener: &Name) -> Option<&Pool> {
        self.after.pool_of(self.after.listeners.get(listener)?)
    }
}

/// True if a listener cannot be changed into the wanted one.
fn made_anew(listener: &Listener, pool: Option<&Pool>, new: &NewListener) -> bool {
    let slots = pool.is_some_and(|pool| new.slots.is_some_and(|slots| slots != pool.slots));
    listener.key() != new.listener().key() || slots
}

fn rate(rate: Option<SourceRate>) -> String {
    rate.map_or("any number".to_owned(), |rate| format!("{} a second, {} at once", rate.rate, rate.burst))
}

fn changed<T: Display>(what: &str, before: T, after: T) -> String {
    format!("{what} {before} → {after}")
}

fn idle_times(before: &Timeouts, after: &Timeouts) -> Vec<String> {
    let all = |times: &Timeouts| {
        let Timeouts { handshake, established, closing, udp, other } = *times;
        [("handshake", handshake), ("established", established), ("closing", closing), ("udp", udp), ("other", other)]
    };
    let pairs = all(before).into_iter().zip(all(after));
    pairs
        .filter(|(before, after)| before != after)
        .map(|((kind, before), (_, after))| {
            changed(&format!("idle time {kind}"), span::show_seconds(before), span::show_seconds(after))
        })
        .collect()
}
