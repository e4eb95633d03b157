//! The BPF toolchain: what is missing of a compiler and a linker that fit together.
//!
//! bpf-linker has to be built on the LLVM of the compiler or a newer one, so the two are chosen together. Debian's
//! compiler comes first where it can be had, because Debian has its LLVM too; a nightly's LLVM is mostly ahead of what
//! distributions have, and then bpf-linker's own released program is taken.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::toolchain::{self, Compiler, Search, Toolchain, Version};

use super::packages::Packages;
use crate::console;
use crate::workspace::Workspace;

/// Packages that are a compiler with `core` for BPF: Debian's stable releases have it with the one that builds its
/// browsers.
const COMPILERS: &[[&str; 3]] =
    &[["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"], ["rustc", "cargo", "libstd-rust-dev-bpf"]];

/// The versions of LLVM that this release of bpf-linker can be built on: its features `llvm-N`.
const LINKABLE: std::ops::RangeInclusive<u32> = 21..=23;

/// Finds the BPF toolchain, after installing what is missing of it.
///
/// # Errors
/// If it can be neither found nor installed: the error of [`toolchain::probe`], with the commands for both ways.
pub(super) fn toolchain(workspace: &Workspace, packages: &Packages) -> Result<Toolchain> {
    if let Ok(found) = toolchain::probe() {
        console::fact(format_args!("BPF toolchain: {found}"));
        return Ok(found);
    }
    let complete = build_linker(workspace, packages)?
        || (install_compiler(packages)? && build_linker(workspace, packages)?)
        || (install_nightly()? && build_linker(workspace, packages)?);
    if !complete {
        download_linker(packages)?;
    }
    let found = toolchain::probe()?;
    console::fact(format_args!("BPF toolchain: {found}"));
    Ok(found)
}

/// Installs Debian's compiler that has `core` for BPF; false if there is none.
fn install_compiler(packages: &Packages) -> Result<bool> {
    for family in COMPILERS {
        let mut new_enough = true;
        for package in family {
            let version = packages.candidate(package)?.as_deref().and_then(Version::parse);
            new_enough &= version.is_some_and(|version| version >= Version::minimum());
        }
        if new_enough {
            packages.install(family, "a Rust compiler for BPF")?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Installs a nightly with rust-src, if there is no compiler for BPF; false if that is not needed, or there is no rustup.
fn install_nightly() -> Result<bool> {
    let rustup = Command::new("rustup").arg("--version").output().is_ok_and(|output| output.status.success());
    if !rustup || !Search::run()?.fit.is_empty() {
        return Ok(false);
    }
    console::fact("a Rust compiler for BPF: missing, installing a nightly with rust-src");
    let mut install = Command::new("rustup");
    install.args(["toolchain", "install", "nightly", "--profile", "minimal", "--component", "rust-src"]);
    Ok(or_say(console::run(install.arg("--no-self-update"))))
}

/// Builds a linker for the best compiler whose LLVM there is, or is a package; false if there is none.
fn build_linker(workspace: &Workspace, packages: &Packages) -> Result<bool> {
    for compiler in Search::run()?.fit {
        if toolchain::find_linker(&compiler, &toolchain::linkers()).is_ok() {
            return Ok(true);
        }
        if let Some((llvm, prefix)) = llvm_for(&compiler, packages)? {
            console::fact(format_args!("bpf-linker for LLVM {llvm}: missing, building it (about a minute)"));
            let arguments = toolchain::install_arguments(llvm);
            let mut build = workspace.cargo(arguments.iter().map(String::as_str));
            // One that is there already does not fit.
            console::run(build.arg("--force").env("LLVM_PREFIX", prefix))?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// An LLVM that is as new as the compiler's, and its folder; installed if need be.
fn llvm_for(compiler: &Compiler, packages: &Packages) -> Result<Option<(u32, PathBuf)>> {
    let fit = compiler.llvm.max(*LINKABLE.start())..=*LINKABLE.end();
    let prefix = |llvm: u32| PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    let usable = |llvm: &u32| prefix(*llvm).join("lib/libLLVM.so").exists();
    if let Some(llvm) = fit.clone().find(usable) {
        return Ok(Some((llvm, prefix(llvm))));
    }
    for llvm in fit {
        let package = format!("llvm-{llvm}-dev");
        if packages.candidate(&package)?.is_some() {
            packages.install(&[&package], "LLVM, to build bpf-linker on")?;
            return Ok(Some((llvm, prefix(llvm))));
        }
    }
    Ok(None)
}

/// Installs the program that bpf-linker's makers release, which has LLVM built in, where cargo would install it. Does
/// nothing if no compiler is there that it would fit.
fn download_linker(packages: &Packages) -> Result<()> {
    let fits = Search::run()?.fit.iter().any(|compiler| compiler.llvm <= *LINKABLE.end());
    let Some(folder) = toolchain::cargo_bin().filter(|_| fits) else { return Ok(()) };
    console::fact(
        "bpf-linker: missing, and no package has an LLVM for it; fetching the program that its makers release",
    );
    for tool in ["curl", "zstd"] {
        if Command::new(tool).arg("--version").output().is_err() {
            packages.install(&[tool], "fetching bpf-linker")?;
        }
    }
    let archive = format!("bpf-linker-{}-unknown-linux-musl.tar.zst", env::consts::ARCH);
    let address =
        format!("https://github.com/aya-rs/bpf-linker/releases/download/v{}/{archive}", toolchain::LINKER_VERSION);
    fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let file = folder.join(archive);
    let fetched = console::run(Command::new("curl").args(["-fL", "--retry", "3", "-o"]).arg(&file).arg(address))
        .and_then(|()| {
            console::run(Command::new("tar").args(["--zstd", "-x", "-f"]).arg(&file).arg("-C").arg(&folder))
        });
    // Gone or never there: either way nothing is left behind.
    let _ = fs::remove_file(&file);
    or_say(fetched);
    Ok(())
}

/// True if something succeeded. If not, its error is said, and the search for the toolchain will tell what to do: it names
/// every way.
fn or_say(result: Result<()>) -> bool {
    if let Err(error) = &result {
        console::fact(format_args!("{error:#}"));
    }
    result.is_ok()
}
