//! The documentation of the source.

use anyhow::Result;

use crate::console;
use crate::setup::Setup;
use crate::workspace::Workspace;

/// # Errors
/// If rustdoc warns of anything.
pub(super) fn run(workspace: &Workspace, setup: &Setup) -> Result<()> {
    setup.for_building(workspace)?;
    let mut doc = workspace.cargo(["doc", "--locked", "--workspace", "--no-deps"]);
    console::run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}
