//! `cargo xtask demo`: drlb at work, between network namespaces.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::console;
use crate::setup::Setup;
use crate::workspace::{Workspace, want_root};

/// Sets up, builds drlb as it is shipped, and becomes the demo.
///
/// # Errors
/// If we are not root, a flag is unknown, or the first part that fails.
pub(crate) fn run(workspace: &Workspace, flags: &[&str]) -> Result<()> {
    if let Some(unknown) = flags.iter().find(|flag| !["--keep", "--end"].contains(flag)) {
        bail!("{unknown:?} is no flag of the demo: it knows --keep and --end");
    }
    want_root("demo")?;
    Setup::of_this_machine().for_building(workspace)?;
    console::part("build");
    console::run(&mut workspace.cargo(["build", "--locked", "--release", "--bin", "drlb", "--bin", "demo"]))?;
    console::part("demo");
    let mut demo = Command::new(workspace.built("release", "demo"));
    demo.args(flags).env("DRLB_BIN", workspace.built("release", "drlb"));
    // It takes our place, so that Ctrl-C reaches nothing but the demo.
    Err(demo.exec()).with_context(|| format!("{} cannot be run", demo.get_program().display()))
}
