//! The arguments of `drlb apply` and `drlb import`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// `drlb apply`
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The file; `-` for standard input. `drlb export` writes one, and docs/configuration.md has every key.
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,
    /// Show what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// `drlb import`
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What the file is.
    #[arg(value_enum)]
    pub format: ImportFormat,
    /// The file; `-` for standard input.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Whose file is imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// What `ipvsadm-save -n` prints.
    Ipvsadm,
    /// A keepalived.conf: its virtual_server blocks.
    Keepalived,
}
