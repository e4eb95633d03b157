//! The system's packages: Debian's and Ubuntu's are installed, others are named.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::console;
use crate::workspace::is_root;

/// How packages are installed on this machine.
pub(crate) struct Packages {
    apt: bool,
    root: bool,
    updated: Cell<bool>,
}

impl Packages {
    pub(crate) fn of_this_machine() -> Self {
        Self { apt: Path::new("/usr/bin/apt-get").is_file(), root: is_root(), updated: Cell::new(false) }
    }

    /// The version of a package that would be installed; none if there is no such package, or none can be installed.
    pub(crate) fn candidate(&self, package: &str) -> Result<Option<String>> {
        if !self.apt || !self.root {
            return Ok(None);
        }
        self.update()?;
        let output = Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C").output()?;
        Ok(candidate_in(&String::from_utf8_lossy(&output.stdout)).map(str::to_owned))
    }

    /// Installs packages; `purpose` is what they are for.
    ///
    /// # Errors
    /// If we may not, or this system has other packages: names them.
    pub(crate) fn install(&self, packages: &[&str], purpose: &str) -> Result<()> {
        let list = packages.join(" ");
        if !self.apt {
            bail!(
                "{purpose}: what Debian calls {list} is missing; install it with this system's own packages, \
                 and run this again"
            );
        }
        if !self.root {
            bail!("{purpose}: missing; run `sudo apt-get install {list}`, and then this again");
        }
        self.update()?;
        console::fact(format_args!("{purpose}: missing, installing {list}"));
        // `--no-remove`: rather fail than take something away that conflicts.
        let mut install = apt_get();
        install.args(["install", "--yes", "--no-install-recommends", "--no-remove"]).args(packages);
        console::run(&mut install)
    }

    /// Fetches the lists of packages, once: without them nothing is found.
    fn update(&self) -> Result<()> {
        if !self.updated.replace(true) {
            console::run(apt_get().args(["update", "--quiet"]))?;
        }
        Ok(())
    }
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    // Others may be installing, too; and a mirror may fail once.
    command.args(["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// The candidate in what `apt-cache policy` prints.
fn candidate_in(policy: &str) -> Option<&str> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_candidate_is_read_from_the_policy() {
        let policy = "rustc-web:\n  Installed: (none)\n  Candidate: 1.96.0+dfsg1-1~deb12u2\n  Version table:\n";
        assert_eq!(candidate_in(policy), Some("1.96.0+dfsg1-1~deb12u2"));
        assert_eq!(candidate_in("x:\n  Installed: 1\n  Candidate: (none)\n"), None);
        assert_eq!(candidate_in(""), None);
    }
}
