//! `drlb attach` and `drlb detach`.

use super::args::AttachArgs;
use super::{Failure, Session};
use crate::api::types::InterfaceBody;
use crate::engine::status::InterfaceStatus;

pub(super) async fn attach(session: &Session, args: AttachArgs) -> Result<(), Failure> {
    let AttachArgs { interface, mode } = args;
    let answer = session.client.post(&["interfaces"], &InterfaceBody { name: interface, mode }).await?;
    session.print(&answer, |interface: InterfaceStatus| {
        let mode = interface.mode.map_or(String::new(), |mode| format!(" in {mode} mode"));
        format!("attached to {}{mode}\n", interface.name)
    })
}

pub(super) async fn detach(session: &Session, interface: &str) -> Result<(), Failure> {
    session.client.delete(&["interfaces", interface]).await?;
    session.print_done(&format!("detached from {interface}"))
}
