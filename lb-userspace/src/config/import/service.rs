//! A virtual service of the kernel's IPVS, as both of its tools describe it, and the listener that takes its place.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lb_common::limits::MAX_WEIGHT;

use super::Imported;
use crate::config::wanted::{At, WantedBackend, WantedListener};
use crate::model::{
    Algorithm, AllowList, BackendAddr, HealthCheck, Listener, MonitorTarget, Name, NewListener, Persistence, Protocol,
    Timeouts, Vip,
};

/// A virtual service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) line: usize,
    pub(super) vip: IpAddr,
    pub(super) protocol: Protocol,
    pub(super) port: u16,
    pub(super) scheduler: String,
    /// Flags of the scheduler, as `sh-port`.
    pub(super) flags: Vec<String>,
    /// Seconds of persistence.
    pub(super) persistence: Option<u32>,
    /// Leading bits of a client's address that make one session.
    pub(super) granularity: Option<u8>,
    pub(super) servers: Vec<Server>,
}

/// A real server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) line: usize,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) weight: u32,
    /// True if it is for when no other one can take anything.
    pub(super) backup: bool,
}

impl Imported {
    pub(super) fn note(&mut self, line: usize, note: impl AsRef<str>) {
        self.notes.push(format!("line {line}: {}", note.as_ref()));
    }

    /// Takes up a service, as far as that can be done.
    ///
    /// `health` gives the health check of the listener that it becomes.
    pub(super) fn take(&mut self, service: Service, health: impl FnOnce(&Listener, &mut Self) -> Option<HealthCheck>) {
        let Service { line, vip, protocol, port, scheduler, flags, persistence, granularity, servers } = service;
        let vip = match Vip::try_from(vip) {
            Ok(vip) => vip,
            Err(fault) => return self.note(line, format!("the service was left out: {}", fault.message)),
        };
        let Some(name) = self.name_for(vip, protocol, port) else {
            return self.note(line, "the service was left out: no name was found for it");
        };
        let algorithm = self.algorithm(line, &scheduler, &flags);
        let persistence = persistence.map(|timeout| self.persistence(line, timeout, granularity));
        let new = NewListener {
            name,
            vip,
            protocol,
            port,
            algorithm,
            persistence,
            timeouts: Timeouts::default(),
            allowed: AllowList::from(Vec::new()),
            vip_owner: None,
            source_rate: None,
            max_flows: None,
            slots: None,
        };
        let backends = self.backends(vip, port, servers);
        let health = health(&new.listener(), self).map(At::nowhere);
        self.wanted.listeners.push(At::nowhere(WantedListener { new, up: true, health, backends }));
    }

    /// A name that says what the listener takes: `tcp-192.0.2.10-80`.
    fn name_for(&self, vip: Vip, protocol: Protocol, port: u16) -> Option<Name> {
        let port = if port == 0 { "all".to_owned() } else { port.to_string() };
        let base = format!("{protocol}-{}-{port}", vip.to_string().replace(':', "."));
        let taken: BTreeSet<_> = self.wanted.listeners.iter().map(|at| at.value.new.name.as_str()).collect();
        let names = std::iter::once(base.clone()).chain((2..).map(|number| format!("{base}-{number}")));
        names.take(taken.len() + 1).find(|name| !taken.contains(name.as_str()))?.parse().ok()
    }

    fn algorithm(&mut self, line: usize, scheduler: &str, flags: &[String]) -> Algorithm {
        let with_port = |flag: &str| flags.iter().any(|given| given == flag);
        let (algorithm, exact) = match scheduler {
            "rr" | "wrr" => (Algorithm::RoundRobin, true),
            "lc" | "wlc" => (Algorithm::LeastConnections, true),
            "sh" if with_port("sh-port") => (Algorithm::SourceIpPort, true),
            "mh" if with_port("mh-port") => (Algorithm::SourceIpPort, true),
            "sh" | "mh" => (Algorithm::SourceIp, true),
            "sed" | "nq" | "fo" | "ovf" | "twos" => (Algorithm::LeastConnections, false),
            _ => (Algorithm::SourceIpPort, false),
        };
        if !exact {
            self.note(line, format!("drlb has no scheduler `{scheduler}`; {algorithm} takes its place"));
        }
        for flag in flags {
            if !["sh-port", "mh-port", "sh-fallback", "mh-fallback"].contains(&flag.as_str()) {
                self.note(line, format!("the scheduler's flag `{flag}` was left out"));
            }
        }
        algorithm
    }

    fn persistence(&mut self, line: usize, timeout: u32, granularity: Option<u8>) -> Persistence {
        let most = Persistence::MAX_TIMEOUT;
        if !(1..=most).contains(&timeout) {
            self.note(line, format!("a session lasts {most} seconds at most, not {timeout}"));
        }
        let mut persistence = Persistence { timeout: timeout.clamp(1, most), ..Persistence::default() };
        match granularity {
            Some(bits @ 1..=32) => {
                persistence.ipv4_prefix = bits;
                persistence.ipv6_prefix = bits;
            }
            Some(bits @ 33..=128) => persistence.ipv6_prefix = bits,
            Some(bits) => self.note(line, format!("sessions of the leading {bits} bits were left out")),
            None => {}
        }
        persistence
    }

    fn backends(&mut self, vip: Vip, port: u16, servers: Vec<Server>) -> Vec<At<WantedBackend>> {
        let heaviest = servers.iter().map(|server| server.weight).max().unwrap_or(0);
        let scale = |weight: u32| match heaviest > MAX_WEIGHT.into() {
            // The weights keep their proportion as well as whole numbers can; who had some keeps some.
            true => (u64::from(weight) * u64::from(MAX_WEIGHT)).div_ceil(heaviest.into()) as u16,
            false => weight as u16,
        };
        let mut backends: Vec<At<WantedBackend>> = Vec::new();
        for Server { line, address, port: own_port, weight, backup } in servers {
            let address = match BackendAddr::try_from(address) {
                Ok(address) => address,
                Err(fault) => {
                    self.note(line, format!("the server was left out: {}", fault.message));
                    continue;
                }
            };
            if address.family() != vip.family() {
                self.note(line, format!("server {address} was left out: direct routing does not translate to {vip}"));
                continue;
            }
            if backends.iter().any(|at| at.value.address == address) {
                self.note(line, format!("server {address} is there twice; the first one was taken"));
                continue;
            }
            if own_port != port && own_port != 0 {
                self.note(
                    line,
                    format!("server {address} is reached at port {port} of the VIP, not at its port {own_port}"),
                );
            }
            if u32::from(scale(weight)) != weight {
                self.note(line, format!("the weight {weight} of server {address} became {}", scale(weight)));
            }
            let monitor = MonitorTarget::default();
            backends.push(At::nowhere(WantedBackend { address, weight: scale(weight), up: true, monitor, backup }));
        }
        backends
    }
}
