//! `cargo xtask setup`: installs what is missing to build, test and check drlb, and says so. What is there stays as it is.

mod bpf;
mod packages;
mod tools;

use anyhow::Result;
use xtask::toolchain::Toolchain;

use self::packages::Packages;
use crate::console;
use crate::workspace::Workspace;

/// Installs what building and testing need.
///
/// # Errors
/// If something is missing that cannot be installed here: says what, and how to.
pub(crate) fn run(workspace: &Workspace) -> Result<Toolchain> {
    for_building(workspace, &Packages::of_this_machine())
}

/// Installs what the checks need, beyond that.
///
/// # Errors
/// If something is missing that cannot be installed here: says what, and how to.
pub(crate) fn for_checks(workspace: &Workspace) -> Result<Toolchain> {
    let packages = Packages::of_this_machine();
    let toolchain = for_building(workspace, &packages)?;
    tools::of_the_compiler(workspace, &packages)?;
    tools::clippy_for_bpf(&toolchain, &packages)?;
    tools::cargo_deny(workspace)?;
    Ok(toolchain)
}

fn for_building(workspace: &Workspace, packages: &Packages) -> Result<Toolchain> {
    console::part("set-up");
    tools::of_the_system(packages)?;
    bpf::toolchain(workspace, packages)
}
