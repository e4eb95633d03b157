//! What drlb takes from others: licences, where it comes from, what is there twice.

use anyhow::Result;

use super::Context;
use crate::console;

/// # Errors
/// If something does not stand to what deny.toml allows.
pub(super) fn run(context: &Context<'_>) -> Result<()> {
    let deny = ["deny", "--locked", "check", "--hide-inclusion-graph", "bans", "licenses", "sources"];
    console::run(&mut context.workspace.cargo(deny))?;
    console::fact("not checked here: known vulnerabilities, whose database is fetched from the network;");
    console::fact("to check them, run `cargo deny check advisories`");
    Ok(())
}
