//! `drlb backend`, but for `setup`, which needs no agent.

use super::args::BackendCommand;
use super::table::{NOTHING, optional, share, table};
use super::{Failure, Session, drain, unix_now};
use crate::api::types::{BackendBody, BackendPatch};
use crate::engine::status::{BackendState, BackendStatus, HealthStatus, ListenerStatus};

pub(super) async fn run(session: &Session, command: BackendCommand) -> Result<(), Failure> {
    let client = &session.client;
    match command {
        BackendCommand::Add { listener, address, weight, backup } => {
            let body = BackendBody { address, weight, backup };
            let answer = client.post(&["listeners", listener.as_str(), "backends"], &body).await?;
            session.print(&answer, |backend: BackendStatus| {
                let role = role_of(&backend);
                format!("added backend {} to {listener}, weight {}{role}\n", backend.address, backend.weight)
            })
        }
        BackendCommand::List { listener } => match session.output {
            super::Output::Json => {
                let answer = client.get(&["listeners", listener.as_str(), "backends"]).await?;
                super::print_text(&answer.text)
            }
            // The shares are of the listener's slots, so the table needs the listener.
            super::Output::Table => {
                let answer = client.get(&["listeners", listener.as_str()]).await?;
                session.print(&answer, |listener: ListenerStatus| list(listener.slots, &listener.backends, unix_now()))
            }
        },
        BackendCommand::Set {
            listener,
            address,
            weight,
            up,
            down,
            monitor_address,
            monitor_port,
            no_monitor,
            backup,
            no_backup,
        } => {
            let patch = BackendPatch {
                weight,
                admin_up: (up || down).then_some(up),
                monitor_address: if no_monitor { Some(None) } else { monitor_address.map(Some) },
                monitor_port: if no_monitor { Some(None) } else { monitor_port.map(Some) },
                backup: (backup || no_backup).then_some(backup),
            };
            let path = ["listeners", listener.as_str(), "backends", &address.to_string()];
            let answer = client.patch(&path, &patch).await?;
            session.print(&answer, |backend: BackendStatus| {
                let service = if backend.admin_up { "in service" } else { "out of service" };
                let (weight, role) = (backend.weight, role_of(&backend));
                format!("changed backend {} of {listener}: weight {weight}, {service}{role}\n", backend.address)
            })
        }
        BackendCommand::Drain { listener, address, deadline, wait } => {
            drain::run(session, listener, address, deadline, wait).await
        }
        BackendCommand::Remove { listener, address } => {
            client.delete(&["listeners", listener.as_str(), "backends", &address.to_string()]).await?;
            session.print_done(&format!("removed backend {address} from {listener}"))
        }
        BackendCommand::Setup { vips, format } => super::texts::backend_setup(format, vips),
    }
}

/// What a backend is beside a server of its weight.
const fn role_of(backend: &BackendStatus) -> &'static str {
    if backend.backup { ", backup" } else { "" }
}

/// Backends of a listener with that many slots, and below what keeps each from taking traffic. `now` is in seconds of
/// the Unix epoch.
pub(super) fn list(slots: u32, backends: &[BackendStatus], now: u64) -> String {
    let rows = backends.iter().map(|backend| {
        [
            backend.address.to_string(),
            backend.weight.to_string(),
            backend.state.name().to_owned(),
            share(backend.slots, slots),
            optional(backend.mac.as_deref()),
            optional(backend.interface.as_deref()),
            backend.flows.map_or(NOTHING.into(), |flows| flows.to_string()),
            backend.counters.packets.to_string(),
            backend.counters.bytes.to_string(),
        ]
    });
    let heading = ["BACKEND", "WEIGHT", "STATE", "SHARE", "MAC", "INTERFACE", "FLOWS", "PACKETS", "BYTES"];
    let mut text = table(heading, &["WEIGHT", "SHARE", "FLOWS", "PACKETS", "BYTES"], rows);
    for backend in backends {
        let address = backend.address;
        match (backend.state, &backend.drain, &backend.reason) {
            (BackendState::Draining, Some(drain), _) => {
                text.push_str(&format!("{address} is draining: {}.\n", drain::state(drain, now)));
            }
            (BackendState::NoWeight | BackendState::StandingBy, _, Some(reason)) => {
                text.push_str(&format!("{address} takes no new flows: {reason}.\n"));
            }
            (_, _, Some(reason)) if backend.slots > 0 => {
                text.push_str(&format!("{address} is used as long as all are down: {reason}.\n"));
            }
            (_, _, Some(reason)) => text.push_str(&format!("{address} takes no traffic: {reason}.\n")),
            (BackendState::Serving, ..) if let Some(health) = &backend.health => {
                text.push_str(&trouble(address, health))
            }
            _ => {}
        }
    }
    text
}

/// What is wrong with a backend that serves. Nothing if nothing is.
fn trouble(address: crate::model::BackendAddr, health: &HealthStatus) -> String {
    let flapping = if health.flapping { " and keeps going down" } else { "" };
    match &health.reason {
        Some(reason) => format!("{address} serves{flapping}, but its last health check did not succeed: {reason}.\n"),
        None if health.flapping => format!("{address} serves and keeps going down.\n"),
        None => String::new(),
    }
}
