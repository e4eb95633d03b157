//! `cargo xtask bench`: what a packet costs.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::toolchain;

use crate::console;
use crate::setup::Setup;
use crate::workspace::{Workspace, want_root};

/// Sets up, builds the programs and the bench as they are shipped, and becomes the bench.
///
/// # Errors
/// If we are not root, or the first part that fails.
pub(crate) fn run(workspace: &Workspace, flags: &[&str]) -> Result<()> {
    want_root("bench")?;
    let setup = Setup::of_this_machine();
    let toolchain = setup.for_building(workspace)?;
    console::part("build");
    let target = workspace.target.join("bpf");
    let object = toolchain::build_object(toolchain, &workspace.root, &target, env::consts::ARCH, toolchain::BENCH)?;
    console::run(&mut workspace.cargo(["build", "--locked", "--release", "--bin", "bench"]))?;
    console::part("bench");
    let mut bench = Command::new(workspace.built("release", "bench"));
    bench.args(flags).env("DRLB_BENCH_OBJECT", object);
    // It takes our place, so that Ctrl-C reaches nothing but the bench.
    Err(bench.exec()).with_context(|| format!("{} cannot be run", bench.get_program().display()))
}
