//! Programs that are run: the system's, those that belong to a Rust compiler, and cargo-deny.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use xtask::toolchain::Toolchain;

use super::packages::Packages;
use crate::console;
use crate::workspace::Workspace;

/// The release of cargo-deny that is installed if there is none.
const DENY_VERSION: &str = "0.20.2";

/// Programs of the system: each with an argument that it answers, its package and what it does for us.
const SYSTEM: &[(&str, &str, &str, &str)] = &[
    ("ip", "-V", "iproute2", "ip (makes the network of the tests)"),
    ("dig", "-v", "bind9-dnsutils", "dig (asks DNS servers in the tests)"),
    ("jq", "--version", "jq", "jq (reads JSON in the scripts of the tests)"),
    ("ethtool", "--version", "ethtool", "ethtool (sets the offloads of that network)"),
];

/// The system's programs that building and testing use.
pub(super) fn of_the_system(packages: &Packages) -> Result<()> {
    let (mut missing, mut purposes) = (Vec::new(), Vec::new());
    if compiles_c() {
        console::fact("C compiler: found");
    } else {
        missing.extend(["gcc", "libc6-dev"]);
        purposes.push("a C compiler (builds SQLite)");
    }
    for (program, argument, package, purpose) in SYSTEM {
        if answers(Command::new(program).arg(argument)) {
            console::fact(format_args!("{program}: found"));
        } else {
            missing.push(package);
            purposes.push(purpose);
        }
    }
    if missing.is_empty() { Ok(()) } else { packages.install(&missing, &purposes.join(", ")) }
}

/// A tool that belongs to the compiler that runs us.
pub(super) fn component(workspace: &Workspace, packages: &Packages, tool: &str, subcommand: &str) -> Result<()> {
    if answers(&mut workspace.cargo([subcommand, "--version"])) {
        return Ok(());
    }
    // rustup's proxy sets this variable, and so says which toolchain runs us.
    if env::var_os("RUSTUP_TOOLCHAIN").is_some() {
        return console::run(Command::new("rustup").args(["component", "add", tool]));
    }
    packages.install(&[debian_name(tool)], tool)
}

/// The package of a compiler's tool that fits Debian's installed cargo: that which builds the browsers has its own.
fn debian_name(tool: &str) -> &'static str {
    match (tool, Path::new("/usr/share/doc/cargo-web").exists()) {
        ("rustfmt", true) => "rustfmt-web",
        ("rustfmt", false) => "rustfmt",
        (_, true) => "rust-web-clippy",
        (_, false) => "rust-clippy",
    }
}

/// clippy of the compiler that makes BPF code.
pub(super) fn clippy_for_bpf(toolchain: &Toolchain, packages: &Packages) -> Result<()> {
    let compiler = &toolchain.compiler;
    let driver = compiler.cargo.with_file_name("cargo-clippy");
    if driver.is_file() {
        return Ok(());
    }
    if compiler.sysroot == Path::new("/usr") {
        return packages.install(&[debian_name("clippy")], "clippy for BPF");
    }
    match compiler.sysroot.file_name() {
        Some(name) if compiler.sysroot.parent().is_some_and(|parent| parent.ends_with("toolchains")) => {
            console::run(Command::new("rustup").args(["component", "add", "clippy", "--toolchain"]).arg(name))
        }
        _ => bail!("clippy for BPF: {} is not there; install clippy for that compiler", driver.display()),
    }
}

/// cargo-deny, for the check of dependencies.
pub(super) fn cargo_deny(workspace: &Workspace) -> Result<()> {
    if answers(&mut workspace.cargo(["deny", "--version"])) {
        return Ok(());
    }
    console::fact("cargo-deny: missing, building it (one to two minutes)");
    // It runs for a second. Unoptimised it is built in half the time.
    let install = ["install", "cargo-deny", "--version", DENY_VERSION, "--locked", "--debug"];
    console::run(workspace.cargo(install).env("CARGO_PROFILE_DEV_DEBUG", "0"))
}

/// True if a C program that uses the C library's headers can be compiled.
fn compiles_c() -> bool {
    let mut cc = Command::new("cc");
    cc.args(["-x", "c", "-fsyntax-only", "-include", "stdlib.h", "/dev/null"]);
    answers(&mut cc)
}

/// True if a command can be run and succeeds; what it prints is not shown.
fn answers(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}
