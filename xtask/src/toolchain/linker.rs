//! bpf-linker: where it is, and whether it reads what a compiler writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::{env, io};

use anyhow::{Context as _, Result, bail};

use super::compiler::Compiler;
use super::{environment, sysroot};

/// The release of bpf-linker that set-up installs.
pub const LINKER_VERSION: &str = "0.13.0";

/// A library for any target, with calls, a loop, a copy and a branch, so that its bitcode has what real bitcode has.
const TRIAL: &str = "#![no_std]
#[unsafe(no_mangle)]
pub extern \"C\" fn trial(words: &mut [u64; 8], count: usize) -> u64 {
    let copy = *words;
    copy.iter().take(count).enumerate().for_each(|(i, word)| words[7 - (i & 7)] ^= word.rotate_left(i as u32));
    words.iter().copied().filter(|word| word & 1 == 0).fold(0, u64::wrapping_add)
}
";

/// The bpf-linkers on this machine: in `PATH`, and where cargo installs.
#[must_use]
pub fn linkers() -> Vec<PathBuf> {
    let mut found = sysroot::in_path("bpf-linker");
    if let Some(file) = sysroot::cargo_bin().map(|bin| bin.join("bpf-linker"))
        && file.is_file()
        && !found.contains(&file)
    {
        found.push(file);
    }
    found
}

/// The first of the linkers that links what the compiler writes.
///
/// # Errors
/// A phrase that says why none of them does.
pub fn find_linker(compiler: &Compiler, linkers: &[PathBuf]) -> Result<PathBuf, String> {
    let mut reasons = Vec::new();
    for linker in linkers {
        match try_out(compiler, linker) {
            Ok(()) => return Ok(linker.clone()),
            Err(reason) => reasons.push(format!("{} does not fit ({reason:#})", linker.display())),
        }
    }
    if reasons.is_empty() {
        return Err("there is none in PATH or in cargo's bin folder".to_owned());
    }
    Err(reasons.join("; "))
}

/// Arguments of the cargo that builds bpf-linker on the LLVM of that major version; the environment variable
/// `LLVM_PREFIX` is to name its folder.
#[must_use]
pub fn install_arguments(llvm: u32) -> Vec<String> {
    let feature = format!("llvm-{llvm}");
    ["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--no-default-features", "--features", &feature]
        .map(str::to_owned)
        .to_vec()
}

/// Compiles a trial and links it.
fn try_out(compiler: &Compiler, linker: &Path) -> Result<()> {
    // LLVM promises to read older bitcode, never newer; that it happens to read the trial proves little.
    if let Some(llvm) = fs::read(linker).ok().as_deref().and_then(linked_llvm)
        && llvm < compiler.llvm
    {
        bail!("it is built on LLVM {llvm}");
    }
    let folder = Scratch::new().context("no folder for a trial can be made")?;
    let (source, bitcode, object) = (folder.0.join("trial.rs"), folder.0.join("trial.bc"), folder.0.join("trial.o"));
    fs::write(&source, TRIAL).context("a trial cannot be written")?;
    // Compiled for the host, because that needs no core for BPF: it is the bitcode's form that is tried.
    let mut compile = Command::new(&compiler.rustc);
    compile.args([
        "--edition=2024",
        "--crate-type=lib",
        "--emit=llvm-bc",
        "-O",
        "-Cdebuginfo=2",
        "-Cpanic=abort",
        "-o",
    ]);
    run(compile.arg(&bitcode).arg(&source))?;
    let mut link = Command::new(linker);
    link.args(["--target", super::TARGET, "--export", "trial", "-o"]);
    run(link.arg(&object).arg(&bitcode))
}

fn run(command: &mut Command) -> Result<()> {
    environment::clear(command);
    let output = command.output().with_context(|| format!("{command:?} cannot be run"))?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("a trial failed: {}", error.lines().next().unwrap_or("it said nothing"));
    }
    Ok(())
}

/// The major version of the LLVM library that a program loads; none for one that has LLVM built in.
fn linked_llvm(program: &[u8]) -> Option<u32> {
    // Debian writes libLLVM.so.22.1 or libLLVM-16.so.1, as LLVM itself has done before and since version 18.
    [&b"libLLVM.so."[..], b"libLLVM-"].into_iter().find_map(|name| {
        program.windows(name.len()).enumerate().filter(|(_, window)| *window == name).find_map(|(at, _)| {
            let digits: Vec<u8> =
                program[at + name.len()..].iter().copied().take_while(u8::is_ascii_digit).take(4).collect();
            String::from_utf8(digits).ok()?.parse().ok()
        })
    })
}

/// A folder that is gone when this value is.
struct Scratch(PathBuf);

impl Scratch {
    /// A new one: one that is there already may be somebody else's.
    fn new() -> io::Result<Self> {
        let mut number = 0;
        loop {
            let folder = env::temp_dir().join(format!("drlb-linker-trial-{}-{number}", process::id()));
            match fs::create_dir(&folder) {
                Ok(()) => return Ok(Self(folder)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: a folder that stays behind in the temporary folder harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_that_a_program_loads_is_read_from_its_library_name() {
        assert_eq!(linked_llvm(b"\0libLLVM.so.22.1\0libc.so.6"), Some(22));
        assert_eq!(linked_llvm(b"\0libLLVM-16.so.1\0"), Some(16));
        assert_eq!(linked_llvm(b"libLLVM.so. libLLVM.so.21.1"), Some(21));
        assert_eq!(linked_llvm(b"all built in"), None);
    }

    #[test]
    fn the_install_command_takes_the_feature_of_that_llvm() {
        assert!(install_arguments(22).ends_with(&["--features".to_owned(), "llvm-22".to_owned()]));
    }
}
