//! `cargo xtask setup`: installs what is missing to build, test and check drlb, and says so. What is there stays as it is.

mod bpf;
mod openstack;
mod packages;
mod tools;

use std::cell::OnceCell;

use anyhow::Result;
use xtask::toolchain::Toolchain;

use self::packages::Packages;
use crate::console;
use crate::workspace::Workspace;

/// What this machine has, as far as it has been looked at.
pub(crate) struct Setup {
    packages: Packages,
    toolchain: OnceCell<Toolchain>,
}

/// # Errors
/// Of every function here: if something is missing that cannot be installed; says what, and how to.
impl Setup {
    pub(crate) fn of_this_machine() -> Self {
        Self { packages: Packages::of_this_machine(), toolchain: OnceCell::new() }
    }

    /// What building and testing need.
    pub(crate) fn for_building(&self, workspace: &Workspace) -> Result<&Toolchain> {
        if let Some(toolchain) = self.toolchain.get() {
            return Ok(toolchain);
        }
        console::part("set-up");
        tools::of_the_system(&self.packages)?;
        let toolchain = bpf::toolchain(workspace, &self.packages)?;
        Ok(self.toolchain.get_or_init(|| toolchain))
    }

    /// The OpenStack clients that the tests run.
    pub(crate) fn openstack_clients(&self, workspace: &Workspace) -> Result<()> {
        openstack::clients(workspace, &self.packages)?;
        openstack::gophercloud(workspace, &self.packages)
    }

    /// A tool that belongs to the compiler that runs us, and cargo's name for it.
    pub(crate) fn component(&self, workspace: &Workspace, tool: &str, subcommand: &str) -> Result<()> {
        tools::component(workspace, &self.packages, tool, subcommand)
    }

    /// clippy of the compiler that makes BPF code.
    pub(crate) fn clippy_for_bpf(&self, toolchain: &Toolchain) -> Result<()> {
        tools::clippy_for_bpf(toolchain, &self.packages)
    }

    /// cargo-deny.
    pub(crate) fn cargo_deny(&self, workspace: &Workspace) -> Result<()> {
        tools::cargo_deny(workspace)
    }
}
