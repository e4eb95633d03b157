//! clippy, for this machine and for BPF.

use std::env;

use anyhow::Result;
use xtask::toolchain;

use crate::console;
use crate::setup::Setup;
use crate::workspace::Workspace;

/// Everything that runs on this machine, tests too.
///
/// # Errors
/// If clippy warns of anything.
pub(super) fn host(workspace: &Workspace, setup: &Setup) -> Result<()> {
    setup.component(workspace, "clippy", "clippy")?;
    setup.for_building(workspace)?;
    let mut clippy = workspace.cargo(["clippy", "--locked", "--workspace", "--all-targets"]);
    console::run(clippy.args(["--", "-D", "warnings"]))
}

/// The XDP programs, as they are compiled for BPF, by clippy of the compiler that makes it.
///
/// # Errors
/// If clippy warns of anything.
pub(super) fn bpf(workspace: &Workspace, setup: &Setup) -> Result<()> {
    let toolchain = setup.for_building(workspace)?;
    setup.clippy_for_bpf(toolchain)?;
    let target = workspace.target.join("bpf");
    let mut clippy = toolchain::command(toolchain, "clippy", &workspace.root, &target, env::consts::ARCH)?;
    let shown =
        format!("{} clippy, in the environment that the object is built in", toolchain.compiler.cargo.display());
    console::run_as(&shown, clippy.args(["--bins", "--", "-D", "warnings"]))
}
