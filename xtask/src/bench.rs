//! `cargo xtask bench`: what a packet costs, and what a change does.

use std::env;
use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::toolchain;

use crate::console;
use crate::setup::Setup;
use crate::workspace::{Workspace, want_root};

/// What `bench steps` leaves out of a packet's way, see `lb-ebpf/src/left_out.rs`.
const STEPS: &[&str] = &["match", "select", "backend", "count", "each"];

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
    let target = workspace.target.join("bpf");
    let build =
        |object, step| toolchain::build_object(toolchain, &workspace.root, &target, env::consts::ARCH, object, step);
    let mut bench = Command::new(workspace.built("debug", "bench"));
    let flags = match arguments {
        ["wire", flags @ ..] => {
            bench.arg("--wire");
            flags
        }
        ["steps", flags @ ..] => {
            let kept = workspace.target.join("bpf").join("steps");
            fs::create_dir_all(&kept).with_context(|| format!("{} cannot be made", kept.display()))?;
            for step in STEPS {
                let copy = kept.join(step);
                let object = build(toolchain::PROGRAM, Some(step))?;
                fs::copy(object, &copy).with_context(|| format!("{} cannot be written", copy.display()))?;
                bench.arg(format!("--without={step}={}", copy.display()));
            }
            // In the others a packet does not take all of these steps.
            bench.arg("--case=TCP ACK, 16 k");
            flags
        }
        flags => flags,
    };
    let floors = build(toolchain::BENCH, None)?;
    // The kernel runs and times what is measured: how this program is built makes no difference.
    console::run(&mut workspace.cargo(["build", "--locked", "--bin", "bench"]))?;
    console::part("bench");
    become_the(bench.args(flags).env("DRLB_BENCH_OBJECT", floors))
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
