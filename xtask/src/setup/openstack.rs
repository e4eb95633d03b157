//! The OpenStack clients that the tests run, and what fuzzes the API: a virtual environment of Python in the target folder,
//! with the versions that `tests/openstack/requirements.txt` names, and beside them a program on gophercloud, which is the
//! system's.

use std::fs;
use std::path::Path;
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

/// The packages that the program on gophercloud is built with.
const GO: &[&str] = &["golang-go", "golang-github-gophercloud-gophercloud-dev"];
/// Where Debian and Ubuntu have Go's libraries.
const GOPATH: &str = "/usr/share/gocode";
/// The program, and what it was built from, in the environment's folder.
const LIFE: (&str, &str) = ("bin/gophercloud-life", "gophercloud-life.go");

/// Builds the program that drives the API by gophercloud, unless it is there as it should be.
pub(super) fn gophercloud(workspace: &Workspace, packages: &Packages) -> Result<()> {
    let source = workspace.root.join("tests/openstack/gophercloud/life.go");
    let wanted = fs::read_to_string(&source).with_context(|| format!("{} cannot be read", source.display()))?;
    let folder = workspace.target.join(FOLDER);
    let (program, stamp) = (folder.join(LIFE.0), folder.join(LIFE.1));
    if program.is_file() && fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        console::fact("gophercloud: found");
        return Ok(());
    }
    let library = Path::new(GOPATH).join("src/github.com/gophercloud/gophercloud");
    let has_go = Command::new("go").arg("version").stdin(Stdio::null()).output().is_ok_and(|go| go.status.success());
    if !has_go || !library.is_dir() {
        packages.install(GO, "Go and gophercloud (a client of the OpenStack API that the tests run)")?;
    }
    console::fact("gophercloud: building the program that uses it (half a minute)");
    let cache = folder.join("go-cache");
    let mut build = Command::new("go");
    build.arg("build").arg("-o").arg(&program).arg(&source).current_dir(&folder);
    // The libraries of the system, and nothing from anywhere else.
    build.env("GO111MODULE", "off").env("GOPATH", GOPATH).env("GOFLAGS", "").env("GOTOOLCHAIN", "local");
    build.env("GOCACHE", &cache);
    console::run(&mut build)?;
    // It is built seldom, and what Go keeps for the next time is large.
    fs::remove_dir_all(&cache).with_context(|| format!("{} cannot be removed", cache.display()))?;
    fs::write(&stamp, wanted).with_context(|| format!("{} cannot be written", stamp.display()))
}
