//! The documentation of the source.

use anyhow::Result;

use super::Context;
use crate::console;

/// # Errors
/// If rustdoc warns of anything.
pub(super) fn run(context: &Context<'_>) -> Result<()> {
    let mut doc = context.workspace.cargo(["doc", "--locked", "--workspace", "--no-deps"]);
    console::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}
