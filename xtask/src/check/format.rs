//! The source's format.

use anyhow::Result;

use crate::console;
use crate::setup::Setup;
use crate::workspace::Workspace;

/// # Errors
/// If rustfmt would change a file.
pub(super) fn run(workspace: &Workspace, setup: &Setup) -> Result<()> {
    setup.component(workspace, "rustfmt", "fmt")?;
    console::run(&mut workspace.cargo(["fmt", "--all", "--check"]))
}
