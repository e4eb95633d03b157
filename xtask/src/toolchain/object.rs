//! Building the BPF object.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{Core, TARGET, Toolchain, environment};

/// The package of the XDP program.
const PACKAGE: &str = "lb-ebpf";
/// Its binary that drlb embeds.
pub const PROGRAM: &str = "drlb-ebpf";
/// Its binary that the bench measures it against.
pub const BENCH: &str = "drlb-bench-ebpf";

/// The variable that says which step of a packet's way is left out of a build.
const WITHOUT: &str = "DRLB_BENCH_WITHOUT";

/// The crates that ask for an unstable feature (`asm_experimental_arch`), and so may have it. The program's own is for atomic
/// operations.
const UNSTABLE_CRATES: &str = "aya_ebpf,drlb_ebpf";

/// Builds an object, [`PROGRAM`] or [`BENCH`], in `target_dir` and returns its path. `arch` is the architecture of the
/// kernel that will run it. `without` is a step of the packet's way to leave out (`lb-ebpf/src/left_out.rs`).
///
/// `target_dir` must not be that of a cargo that waits for this one: they would wait for each other's lock.
///
/// # Errors
/// If the build fails; what the compiler said is on standard error then.
pub fn build_object(
    toolchain: &Toolchain,
    workspace: &Path,
    target_dir: &Path,
    arch: &str,
    object: &str,
    without: Option<&str>,
) -> Result<PathBuf> {
    let mut command = command(toolchain, "build", workspace, target_dir, arch)?;
    command.args(["--bin", object]).env_remove(WITHOUT).envs(without.map(|step| (WITHOUT, step)));
    let status = command.status().with_context(|| format!("{} cannot be run", toolchain.compiler.cargo.display()))?;
    if !status.success() {
        bail!("the XDP program does not build ({status}): its errors stand above, the compiler is {toolchain}");
    }
    let object = target_dir.join(TARGET).join("release").join(object);
    if !object.is_file() {
        bail!("the XDP program was built, but {} is not there", object.display());
    }
    Ok(object)
}

/// The command that does `verb` (`build`, `clippy`) to the XDP programs, for BPF and in their release form; `--bin`s and
/// more arguments can be added.
///
/// # Errors
/// If the folders of `PATH` cannot be put together.
pub fn command(toolchain: &Toolchain, verb: &str, workspace: &Path, target_dir: &Path, arch: &str) -> Result<Command> {
    let compiler = &toolchain.compiler;
    let mut command = Command::new(&compiler.cargo);
    environment::clear(&mut command);
    command.current_dir(workspace).arg(verb).args(["--package", PACKAGE, "--release", "--locked"]);
    command.args(["--target", TARGET, "--target-dir"]).arg(target_dir);

    // Build scripts and cargo's own subcommands must meet this toolchain first, not rustup's proxies.
    let bin = compiler.cargo.parent().unwrap_or(Path::new("/usr/bin")).to_owned();
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([bin].into_iter().chain(env::split_paths(&path)))
        .context("the compiler's folder cannot stand in PATH")?;
    command.env("PATH", path).env("RUSTC", &compiler.rustc);

    match (compiler.core, compiler.nightly) {
        (Core::Prebuilt, true) => {}
        // Not `1`: that opens unstable features to every crate, some of which then try them.
        (Core::Prebuilt, false) => {
            command.env("RUSTC_BOOTSTRAP", UNSTABLE_CRATES);
        }
        (Core::Source, nightly) => {
            command.args(["-Z", "build-std=core"]);
            if !nightly {
                // Cargo takes `-Z` from a stable release for nothing less.
                command.env("RUSTC_BOOTSTRAP", "1");
            }
        }
    }

    // The kernel takes BTF, which bpf-linker makes of the debug information; panics must not unwind; bpf-linker does
    // its own optimisation over the whole program, for which one unit is best.
    command.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker);
    // v3 has 32-bit operations (Linux 5.1); without them, each takes two shifts more.
    let flags = [&format!("--cfg=bpf_target_arch=\"{arch}\""), "-Ctarget-cpu=v3", "-Clink-arg=--btf"].join("\x1f");
    command.env("CARGO_ENCODED_RUSTFLAGS", flags);
    for (key, value) in [
        ("CODEGEN_UNITS", "1"),
        ("DEBUG", "2"),
        ("DEBUG_ASSERTIONS", "false"),
        ("LTO", "off"),
        ("OPT_LEVEL", "3"),
        ("OVERFLOW_CHECKS", "false"),
        ("PANIC", "abort"),
    ] {
        command.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    Ok(command)
}
