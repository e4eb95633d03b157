//! `cargo xtask test`: every test of the workspace, those in network namespaces too.

mod suite;

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use self::suite::Executable;
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
    let executables = build(workspace)?;
    console::part("test");
    // The scenarios run the program as a user would.
    let tests = suite::run(&executables, filters, &workspace.built("debug", "drlb"));
    let mut examples = workspace.cargo(["test", "--locked", "--workspace", "--doc", "--"]);
    console::run(examples.args(filters)).and(tests)
}

/// Builds the tests, and says where they are.
fn build(workspace: &Workspace) -> Result<Vec<Executable>> {
    let shown = "cargo test --locked --workspace --no-run";
    console::fact(format_args!("$ {shown}"));
    let mut command = workspace.cargo(["test", "--locked", "--workspace", "--no-run"]);
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let built = command.output().with_context(|| format!("`{shown}` cannot be run"))?;
    if !built.status.success() {
        bail!("`{shown}` failed ({})", built.status);
    }
    let messages = String::from_utf8(built.stdout).context("cargo's messages are not UTF-8")?;
    let executables = suite::executables(&messages)?;
    if executables.is_empty() {
        bail!("`{shown}` built no tests");
    }
    Ok(executables)
}
