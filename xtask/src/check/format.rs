//! The source's format.

use anyhow::Result;

use super::Context;
use crate::console;

/// # Errors
/// If rustfmt would change a file.
pub(super) fn run(context: &Context<'_>) -> Result<()> {
    console::run(&mut context.workspace.cargo(["fmt", "--all", "--check"]))
}
