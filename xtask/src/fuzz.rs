//! `cargo xtask fuzz`: the targets of drlb-fuzz under libFuzzer, with the compiler that builds everything else.
//!
//! What `cargo fuzz` does with a nightly compiler needs none: LLVM's coverage is switched on by flags that stable has, and
//! libFuzzer comes as a crate.

use anyhow::{Context as _, Result, bail};

use crate::console;
use crate::workspace::Workspace;

/// The targets: programs of `fuzz/libfuzzer`, and folders of seeds.
const TARGETS: &[&str] = &["parse", "quoted"];

/// What makes LLVM note which ways through the code were taken (clang's `-fsanitize=fuzzer-no-link`).
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions --cfg fuzzing";

/// How long a target is tried, unless told, in seconds.
const SECONDS: &str = "60";

/// Builds the targets and tries one, or each, for some seconds. What it finds is added to the corpus in the target folder; the
/// seeds stay as they are.
///
/// # Errors
/// If there is no such target, the build fails, or an input broke what must hold: libFuzzer says which.
pub(crate) fn run(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    let (targets, seconds) = match arguments {
        [] => (TARGETS, SECONDS),
        ["--seconds", seconds] => (TARGETS, *seconds),
        [target] => (chosen(target)?, SECONDS),
        [target, "--seconds", seconds] => (chosen(target)?, *seconds),
        _ => bail!("the arguments of fuzz are a target ({}) and --seconds NUMBER", TARGETS.join(", ")),
    };
    if seconds.parse::<u32>().is_err() {
        bail!("--seconds wants a number, not {seconds:?}");
    }
    let built = workspace.target.join("fuzz");
    let host = host_triple()?;
    console::part("build");
    let mut build = workspace.cargo(["build", "--release", "--locked", "--manifest-path", "fuzz/libfuzzer/Cargo.toml"]);
    // With a target of its own, build scripts are built without these flags.
    build.args(["--target", &host]).env("CARGO_TARGET_DIR", &built).env("RUSTFLAGS", COVERAGE);
    console::run(&mut build)?;
    for target in targets {
        console::part(target);
        let found = built.join("corpus").join(target);
        std::fs::create_dir_all(&found).with_context(|| format!("{} cannot be made", found.display()))?;
        let mut fuzz = std::process::Command::new(built.join(&host).join("release").join(target));
        fuzz.arg(&found).arg(workspace.root.join("fuzz/corpus").join(target));
        fuzz.arg(format!("-max_total_time={seconds}")).args(["-max_len=2048", "-print_final_stats=1"]);
        fuzz.arg(format!("-artifact_prefix={}/", found.display()));
        console::run(&mut fuzz)?;
    }
    Ok(())
}

fn chosen(name: &str) -> Result<&'static [&'static str]> {
    let index = TARGETS.iter().position(|target| *target == name);
    match index {
        Some(index) => Ok(&TARGETS[index..=index]),
        None => bail!("{name:?} is no target of fuzz: there are {}", TARGETS.join(", ")),
    }
}

/// The machine that the compiler builds for by itself.
fn host_triple() -> Result<String> {
    let output = std::process::Command::new("rustc").arg("-vV").output().context("rustc cannot be run")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it builds for")?.to_owned())
}
