//! `cargo xtask test`: every test of the workspace, those in network namespaces too.

use anyhow::Result;

use crate::console;
use crate::setup::Setup;
use crate::workspace::{Workspace, want_root};

/// Sets up, builds drlb and runs the tests whose name holds a filter, or all.
///
/// # Errors
/// If we are not root, or the first part that fails.
pub(crate) fn run(workspace: &Workspace, filters: &[&str]) -> Result<()> {
    want_root("test")?;
    let setup = Setup::of_this_machine();
    setup.for_building(workspace)?;
    setup.openstack_clients(workspace)?;
    console::part("build");
    console::run(&mut workspace.cargo(["build", "--locked", "--package", "lb-userspace"]))?;
    console::part("test");
    let mut test = workspace.cargo(["test", "--locked", "--workspace", "--no-fail-fast", "--"]);
    // The scenarios run the program as a user would.
    test.args(filters).env("DRLB_BIN", workspace.built("debug", "drlb"));
    console::run(&mut test)
}
