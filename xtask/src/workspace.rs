//! Where the source is, where its builds go, and how its cargo is run.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// drlb's source and builds.
pub(crate) struct Workspace {
    /// The folder of the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    /// The cargo that runs us.
    cargo: OsString,
}

impl Workspace {
    /// The workspace that this program was built in.
    ///
    /// # Errors
    /// If this program does not stand where cargo built it.
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .canonicalize()
            .with_context(|| format!("{} is gone: run `cargo xtask` in drlb's source", env!("CARGO_MANIFEST_DIR")))?;
        // We are `<target>/<profile>/xtask`.
        let program = env::current_exe().context("this program's own path cannot be read")?;
        let target = program.ancestors().nth(2).context("this program does not stand in a target folder")?.to_owned();
        Ok(Self { root, target, cargo: env::var_os("CARGO").unwrap_or_else(|| "cargo".into()) })
    }

    /// The cargo that runs us, in the workspace's root.
    pub(crate) fn cargo<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(&self.root).args(arguments);
        command
    }

    /// A program that cargo has built.
    pub(crate) fn built(&self, profile: &str, name: &str) -> PathBuf {
        self.target.join(profile).join(name)
    }
}

/// True if we are root.
pub(crate) fn is_root() -> bool {
    // The folder of a process belongs to its effective user (proc(5)).
    fs::metadata("/proc/self").is_ok_and(|folder| folder.uid() == 0)
}

/// # Errors
/// If we are not root, which what follows needs.
pub(crate) fn want_root(command: &str) -> Result<()> {
    if !is_root() {
        bail!(
            "`cargo xtask {command}` makes network namespaces and loads BPF programs, which only root may do; \
             run it as: sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask {command}"
        );
    }
    Ok(())
}
