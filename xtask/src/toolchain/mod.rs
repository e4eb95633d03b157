//! The BPF toolchain: a compiler that has, or can build, `core` for BPF, and a bpf-linker that reads its bitcode.
//!
//! Rust ships no `core` for BPF with its stable releases, so what a machine has differs. [`probe`] takes the first of:
//! 1. the cargo that the environment variable [`CARGO_VARIABLE`] names, with the rustc beside it;
//! 2. a nightly with `rust-src`, which builds `core` itself;
//! 3. a compiler with a prebuilt `core` for BPF (Debian's packages);
//! 4. any other compiler with `rust-src`.

mod compiler;
mod environment;
mod linker;
mod object;
mod sysroot;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};

pub use self::compiler::{CARGO_VARIABLE, Compiler, Core, Search, Version};
pub use self::linker::{LINKER_VERSION, find_linker, install_arguments, linkers};
pub use self::object::{BENCH, PROGRAM, build_object, command};
pub use self::sysroot::cargo_bin;

/// The target that the XDP program is compiled for.
pub const TARGET: &str = "bpfel-unknown-none";

/// A compiler and a linker that fit together.
#[derive(Clone, Debug)]
pub struct Toolchain {
    /// Compiles to LLVM bitcode.
    pub compiler: Compiler,
    /// The bpf-linker that makes an object of it.
    pub linker: PathBuf,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, linked by {}", self.compiler, self.linker.display())
    }
}

/// Finds the toolchain. Runs the compilers that it finds for their version, and links a trial; reaches no network.
///
/// # Errors
/// If there is no compiler, or no linker for it: says what was looked at and the commands that install one.
pub fn probe() -> Result<Toolchain> {
    let search = Search::run()?;
    let linkers = linkers();
    let mut unfit = Vec::new();
    for compiler in &search.fit {
        match find_linker(compiler, &linkers) {
            Ok(linker) => return Ok(Toolchain { compiler: compiler.clone(), linker }),
            Err(reason) => unfit.push((compiler, reason)),
        }
    }
    match unfit.first() {
        Some((compiler, reason)) => Err(anyhow!(no_linker(compiler, reason))),
        None => Err(anyhow!(no_compiler(&search.refused))),
    }
}

/// What a user reads when no compiler on the machine can make BPF code.
fn no_compiler(refused: &[(PathBuf, String)]) -> String {
    let mut text = String::from("drlb's XDP program needs a Rust compiler for BPF, and this machine has none.\n");
    for (sysroot, reason) in refused {
        text.push_str(&format!("  looked at {}: {reason}\n", sysroot.display()));
    }
    text.push_str(
        "`cargo xtask setup` installs one. By hand, either\n  \
         on Debian or Ubuntu:  apt-get install rustc-web cargo-web libstd-rust-web-dev-bpf llvm-22-dev\n  \
         with rustup:          rustup toolchain install nightly --profile minimal --component rust-src\n\
         and then a bpf-linker, which `cargo xtask setup` builds too.\n",
    );
    text.push_str(&format!("To use another compiler, name its cargo in the environment variable {CARGO_VARIABLE}."));
    text
}

/// What a user reads when there is a compiler, but no linker for it.
fn no_linker(compiler: &Compiler, reason: &str) -> String {
    let llvm = compiler.llvm;
    format!(
        "drlb's XDP program needs a bpf-linker that reads LLVM {llvm} bitcode, for {compiler}: {reason}.\n\
         `cargo xtask setup` installs one. By hand:\n  \
         apt-get install llvm-{llvm}-dev\n  {}",
        install_linker_by_hand(llvm, Path::new(&format!("/usr/lib/llvm-{llvm}")))
    )
}

/// The command that builds bpf-linker on the LLVM in the folder `prefix`.
fn install_linker_by_hand(llvm: u32, prefix: &Path) -> String {
    format!("LLVM_PREFIX={} cargo {}", prefix.display(), install_arguments(llvm).join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_names_both_ways_and_what_was_looked_at() {
        let text = no_compiler(&[(PathBuf::from("/opt/rust"), "no rust-src".to_owned())]);
        for part in ["/opt/rust: no rust-src", "apt-get install rustc-web", "rustup toolchain install", CARGO_VARIABLE]
        {
            assert!(text.contains(part), "{part:?} is missing in:\n{text}");
        }
    }

    #[test]
    fn the_error_for_a_missing_linker_gives_the_commands_for_that_llvm() {
        let compiler = Compiler {
            cargo: "/usr/bin/cargo".into(),
            rustc: "/usr/bin/rustc".into(),
            sysroot: "/usr".into(),
            version: Version { major: 1, minor: 96 },
            nightly: false,
            llvm: 22,
            core: Core::Prebuilt,
        };
        let text = no_linker(&compiler, "there is none in PATH");
        for part in
            ["there is none in PATH", "apt-get install llvm-22-dev", "LLVM_PREFIX=/usr/lib/llvm-22 cargo install"]
        {
            assert!(text.contains(part), "{part:?} is missing in:\n{text}");
        }
    }
}
