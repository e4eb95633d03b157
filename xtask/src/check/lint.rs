//! clippy, for this machine and for BPF.

use std::env;

use anyhow::Result;
use xtask::toolchain;

use super::Context;
use crate::console;

/// Everything that runs on this machine, tests too.
///
/// # Errors
/// If clippy warns of anything.
pub(super) fn host(context: &Context<'_>) -> Result<()> {
    let mut clippy = context.workspace.cargo(["clippy", "--locked", "--workspace", "--all-targets"]);
    console::run(clippy.args(["--", "-D", "warnings"]))
}

/// The XDP program, as it is compiled for BPF, by clippy of the compiler that makes it.
///
/// # Errors
/// If clippy warns of anything.
pub(super) fn bpf(context: &Context<'_>) -> Result<()> {
    console::fact(format_args!("with {}", context.toolchain.compiler));
    let Context { workspace, toolchain } = context;
    let target = workspace.target.join("bpf");
    let mut clippy = toolchain::command(toolchain, "clippy", &workspace.root, &target, env::consts::ARCH)?;
    console::run(clippy.args(["--", "-D", "warnings"]))
}
