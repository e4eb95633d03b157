//! The OpenStack clients that the tests run, and what fuzzes the API: a virtual environment of Python in the target folder,
//! with the versions that `tests/openstack/requirements.txt` names.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use super::packages::Packages;
use crate::console;
use crate::workspace::Workspace;

/// The folder of the environment, in the target folder.
const FOLDER: &str = "openstack-clients";
/// What is written into it when all is installed: the requirements that it was made by.
const STAMP: &str = "drlb-requirements.txt";

/// Makes the environment, unless it is there as it should be.
pub(super) fn clients(workspace: &Workspace, packages: &Packages) -> Result<()> {
    let requirements = workspace.root.join("tests/openstack/requirements.txt");
    let wanted =
        fs::read_to_string(&requirements).with_context(|| format!("{} cannot be read", requirements.display()))?;
    let folder = workspace.target.join(FOLDER);
    if fs::read_to_string(folder.join(STAMP)).is_ok_and(|there| there == wanted) {
        console::fact("OpenStack clients: found");
        return Ok(());
    }
    // The module is there without what it installs from, where Debian's package is not.
    let mut probe = Command::new("python3");
    probe.args(["-c", "import venv, ensurepip"]).stdin(Stdio::null());
    if !probe.output().is_ok_and(|output| output.status.success()) {
        packages.install(&["python3", "python3-venv"], "Python (runs the OpenStack clients of the tests)")?;
    }
    console::fact("OpenStack clients: missing, installing them (half a minute)");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
    }
    console::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let mut install = Command::new(folder.join("bin/pip"));
    install
        .args(["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"])
        .arg(&requirements);
    console::run(&mut install)?;
    fs::write(folder.join(STAMP), wanted).with_context(|| format!("{} cannot be written", folder.display()))
}
