//! `drlb status`: the overview for people.

use super::table::{NOTHING, optional, table};
use super::{Failure, Session, listener};
use crate::engine::Status;

pub(super) async fn show(session: &Session) -> Result<(), Failure> {
    let answer = session.client.get(&["status"]).await?;
    session.print(&answer, |status: Status| render(&status))
}

fn render(status: &Status) -> String {
    let mut text = format!("drlb {}, maps of layout {}\n\n", status.version, status.layout);
    text.push_str(&interfaces(status));
    if status.listeners.is_empty() {
        text.push_str("\nNo listener. Add one with `drlb listener add NAME --vip IP --protocol tcp --port N`.\n");
    }
    for one in &status.listeners {
        text.push('\n');
        text.push_str(&listener::show(one));
    }
    text
}

fn interfaces(status: &Status) -> String {
    if status.interfaces.is_empty() {
        return "Attached to no interface, so nothing is forwarded. Attach to one with `drlb attach IFNAME`.\n".into();
    }
    let rows = status.interfaces.iter().map(|interface| {
        [
            interface.name.clone(),
            interface.mode.map_or(NOTHING, |mode| mode.name()).to_owned(),
            interface.state.name().to_owned(),
            optional(interface.mac.as_deref()),
        ]
    });
    let mut text = table(["INTERFACE", "MODE", "STATE", "MAC"], &[], rows);
    for interface in &status.interfaces {
        if let Some(reason) = &interface.reason {
            text.push_str(&format!("{}: {reason}.\n", interface.name));
        }
    }
    text
}
