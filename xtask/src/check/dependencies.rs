//! What drlb takes from others: licences, where it comes from, what is there twice.

use anyhow::Result;

use crate::console;
use crate::setup::Setup;
use crate::workspace::Workspace;

/// # Errors
/// If something does not stand to what deny.toml allows.
pub(super) fn run(workspace: &Workspace, setup: &Setup) -> Result<()> {
    setup.cargo_deny(workspace)?;
    let deny = ["deny", "--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
    console::run(&mut workspace.cargo(deny))?;
    console::fact("not checked here: known vulnerabilities, whose database is fetched from the network;");
    console::fact("to check them, run `cargo deny check advisories`");
    Ok(())
}
