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
    let built = workspace.built("release", "demo");
    // What stands was started by the demo that is there, and must come down even if the source does not build just now.
    if flags.contains(&"--end") && built.exists() {
        return Err(Command::new(&built).args(flags).exec())
            .with_context(|| format!("{} cannot be run", built.display()));
    }
    Setup::of_this_machine().for_building(workspace)?;
    console::part("build");
    console::run(&mut workspace.cargo(["build", "--locked", "--release", "--bin", "drlb", "--bin", "demo"]))?;
    console::part("demo");
    let mut demo = Command::new(built);
    demo.args(flags).env("DRLB_BIN", workspace.built("release", "drlb"));
    // It takes our place, so that Ctrl-C reaches nothing but the demo.
    Err(demo.exec()).with_context(|| format!("{} cannot be run", demo.get_program().display()))
}
