//! `cargo xtask bench`: what a packet costs, and what a change does.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::toolchain;

use crate::console;
use crate::setup::Setup;
use crate::workspace::{Workspace, want_root};

/// Sets up, builds what is to be measured as it is shipped, and becomes the bench.
///
/// # Errors
/// If we are not root, or the first part that fails.
pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    want_root("bench")?;
    let setup = Setup::of_this_machine();
    let toolchain = setup.for_building(workspace)?;
    console::part("build");
    if let ["control", chosen @ ..] = arguments {
        return control(workspace, chosen);
    }
    let (wire, flags) = match arguments {
        ["wire", flags @ ..] => (&["--wire"][..], flags),
        flags => (&[][..], flags),
    };
    let target = workspace.target.join("bpf");
    let object = toolchain::build_object(toolchain, &workspace.root, &target, env::consts::ARCH, toolchain::BENCH)?;
    console::run(&mut workspace.cargo(["build", "--locked", "--release", "--bin", "bench"]))?;
    console::part("bench");
    let mut bench = Command::new(workspace.built("release", "bench"));
    bench.args(wire).args(flags).env("DRLB_BENCH_OBJECT", object);
    become_the(&mut bench)
}

/// The control plane, by criterion. `chosen` are parts of the names of what is to be measured.
fn control(workspace: &Workspace, chosen: &[&str]) -> Result<()> {
    console::run(&mut workspace.cargo(["build", "--locked", "--release", "--bin", "drlb"]))?;
    console::run(&mut workspace.cargo([
        "bench",
        "--locked",
        "--package",
        "drlb-tests",
        "--bench",
        "control",
        "--no-run",
    ]))?;
    console::part("bench");
    let mut bench = workspace.cargo(["bench", "--locked", "--package", "drlb-tests", "--bench", "control", "--"]);
    bench.args(chosen).env("DRLB_BIN", workspace.built("release", "drlb"));
    become_the(&mut bench)
}

/// It takes our place, so that Ctrl-C reaches nothing but the bench.
fn become_the(bench: &mut Command) -> Result<()> {
    Err(bench.exec()).with_context(|| format!("{} cannot be run", bench.get_program().display()))
}
