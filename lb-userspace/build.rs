//! Builds the XDP program, which the agent embeds: `$OUT_DIR/drlb.bpf.o`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use xtask::toolchain;

/// What the object is made of, relative to the workspace.
const SOURCES: &[&str] =
    &["Cargo.lock", "Cargo.toml", "lb-common/Cargo.toml", "lb-common/src", "lb-ebpf/Cargo.toml", "lb-ebpf/src"];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let variable = |name: &str| env::var(name).with_context(|| format!("cargo has not set {name}"));
    let out = PathBuf::from(variable("OUT_DIR")?);
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = package.parent().context("this package stands in no workspace")?;
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", workspace.join(source).display());
    }
    for name in [toolchain::CARGO_VARIABLE, "CARGO_HOME", "RUSTUP_HOME"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    if variable("CARGO_CFG_TARGET_ENDIAN")? != "little" {
        bail!("drlb runs on little-endian machines only: its maps are laid out for those");
    }

    let toolchain = toolchain::probe()?;
    println!("cargo::rerun-if-changed={}", toolchain.compiler.rustc.display());
    println!("cargo::rerun-if-changed={}", toolchain.linker.display());

    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let object = toolchain::build_object(&toolchain, workspace, &target_dir(&out), &arch, toolchain::PROGRAM, None)?;
    let embedded = out.join("drlb.bpf.o");
    fs::copy(&object, &embedded)
        .with_context(|| format!("{} cannot be copied to {}", object.display(), embedded.display()))?;
    Ok(())
}

/// A folder for the inner cargo that all profiles share, `bpf` in the outer cargo's target folder. The outer cargo
/// holds locks only on the folders of its profiles.
fn target_dir(out: &Path) -> PathBuf {
    // Cargo marks its target folder with this file.
    let outer = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    outer.unwrap_or(out).join("bpf")
}
