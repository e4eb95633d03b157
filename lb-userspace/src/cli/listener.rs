//! `drlb listener`.

use super::args::{ListenerAdd, ListenerCommand};
use super::table::{port as port_text, table};
use super::{Failure, Session, backend};
use crate::api::types::{ListenerBody, ListenerPatch, Listeners};
use crate::engine::status::{BackendState, ListenerStatus};
use crate::model::Protocol;

pub(super) async fn run(session: &Session, command: ListenerCommand) -> Result<(), Failure> {
    let client = &session.client;
    match command {
        ListenerCommand::Add(add) => {
            let ListenerAdd { name, vip, protocol, port, algorithm, slots } = add;
            let body = ListenerBody { name, vip, protocol, port, algorithm, slots };
            let answer = client.post(&["listeners"], &body).await?;
            session.print(&answer, |listener: ListenerStatus| {
                format!("added listener {}: {}\n", listener.name, describe(&listener))
            })
        }
        ListenerCommand::List => {
            let answer = client.get(&["listeners"]).await?;
            session.print(&answer, |listeners: Listeners| list(&listeners.listeners))
        }
        ListenerCommand::Show { name } => {
            let answer = client.get(&["listeners", name.as_str()]).await?;
            session.print(&answer, |listener: ListenerStatus| show(&listener))
        }
        ListenerCommand::Set { name, algorithm } => {
            let patch = ListenerPatch { algorithm: Some(algorithm) };
            let answer = client.patch(&["listeners", name.as_str()], &patch).await?;
            session.print(&answer, |listener: ListenerStatus| {
                format!("changed listener {}: {}\n", listener.name, describe(&listener))
            })
        }
        ListenerCommand::Remove { name } => {
            client.delete(&["listeners", name.as_str()]).await?;
            session.print_done(&format!("removed listener {name}"))
        }
    }
}

/// What it listens on and how it chooses, in a line.
pub(super) fn describe(listener: &ListenerStatus) -> String {
    let what = match (listener.protocol, listener.port) {
        (Protocol::Ip, _) => format!("every protocol of {}", listener.vip),
        (protocol, 0) => format!("every {protocol} port of {}", listener.vip),
        (protocol, port) => format!("{protocol} port {port} of {}", listener.vip),
    };
    format!("{what}, by {}", listener.algorithm)
}

/// A listener with its backends, and what keeps them from taking traffic.
pub(super) fn show(listener: &ListenerStatus) -> String {
    let mut text = format!("{}: {}, {} slots\n", listener.name, describe(listener), listener.slots);
    if listener.backends.is_empty() {
        text.push_str(&format!(
            "It has no backend, so its packets are dropped; add one with `drlb backend add {} ADDRESS`.\n",
            listener.name
        ));
    } else {
        text.push_str(&backend::list(listener.slots, &listener.backends));
    }
    text
}

fn list(listeners: &[ListenerStatus]) -> String {
    let serving = |listener: &ListenerStatus| {
        listener.backends.iter().filter(|backend| backend.state == BackendState::Serving).count()
    };
    let rows = listeners.iter().map(|listener| {
        [
            listener.name.to_string(),
            listener.vip.to_string(),
            listener.protocol.to_string(),
            port_text(listener.port),
            listener.algorithm.to_string(),
            format!("{} of {}", serving(listener), listener.backends.len()),
            listener.counters.packets.to_string(),
            listener.counters.bytes.to_string(),
        ]
    });
    let heading = ["NAME", "VIP", "PROTOCOL", "PORT", "ALGORITHM", "SERVING", "PACKETS", "BYTES"];
    table(heading, &["PACKETS", "BYTES"], rows)
}
