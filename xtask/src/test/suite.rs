//! Test executables, several at a time: most of a scenario is waiting, and each has its own network namespaces.

use std::collections::VecDeque;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::console;

/// Those that take longest begin first, so that no processor is idle at the end.
const LONG: &[&str] = &[
    "tracking",
    "simulator",
    "tracking_algorithms",
    "openstack_clients",
    "doctor",
    "openstack_fuzz",
    "health",
    "serving",
    "agent_life",
    "datagrams",
    "lb_userspace",
    "demo",
    "protocols",
    "health_types",
    "events",
    "vip_owner",
    "health_scale",
    "neighbours",
    "changes",
    "health_faults",
];

/// An executable that cargo built of tests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Executable {
    /// The name of its target, as `fixtures`.
    name: String,
    /// The file.
    path: PathBuf,
    /// Where cargo would run it: the folder of its package.
    folder: PathBuf,
}

/// The test executables that cargo's messages (`--message-format=json`) tell of, in the order to begin them.
///
/// # Errors
/// If a message is not what cargo writes.
pub(super) fn executables(messages: &str) -> Result<Vec<Executable>> {
    let mut all = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).with_context(|| format!("no message of cargo's: {line}"))?;
        let (Some(path), Some(true)) = (message["executable"].as_str(), message["profile"]["test"].as_bool()) else {
            continue;
        };
        let name = message["target"]["name"].as_str().context("a target has no name")?;
        let manifest = message["manifest_path"].as_str().context("a target has no manifest")?;
        let folder = Path::new(manifest).parent().context("a manifest stands in no folder")?;
        all.push(Executable { name: name.to_owned(), path: path.into(), folder: folder.to_owned() });
    }
    all.sort_by_key(|executable| LONG.iter().position(|name| *name == executable.name).unwrap_or(LONG.len()));
    Ok(all)
}

/// Runs them, one more at a time than there are processors, and shows what each printed when it ends.
///
/// # Errors
/// If one cannot be run, or fails.
pub(super) fn run(executables: &[Executable], filters: &[&str], drlb: &Path) -> Result<()> {
    let at_once = thread::available_parallelism().map_or(1, NonZero::get) + 1;
    let waiting: Mutex<VecDeque<&Executable>> = Mutex::new(executables.iter().collect());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(executable) = next(&waiting) {
                    let start = Instant::now();
                    let mut command = Command::new(&executable.path);
                    command.current_dir(&executable.folder).args(filters).env("DRLB_BIN", drlb);
                    let ended = command.output();
                    // Held while printing, so that nobody prints between.
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    if !show(&executable.name, ended, start) {
                        failed.push(executable.name.as_str());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !failed.is_empty() {
        bail!("tests failed in: {}", failed.join(", "));
    }
    Ok(())
}

fn next<'a>(waiting: &Mutex<VecDeque<&'a Executable>>) -> Option<&'a Executable> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

/// Shows how an executable ended. False if it failed.
fn show(name: &str, ended: std::io::Result<Output>, start: Instant) -> bool {
    match ended {
        Ok(output) => {
            console::part(format_args!("{name}, {}", console::seconds(start.elapsed())));
            print!("{}{}", String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
            if !output.status.success() {
                console::fact(format_args!("FAILED: {name} ({})", output.status));
            }
            output.status.success()
        }
        Err(error) => {
            console::fact(format_args!("FAILED: {name} cannot be run: {error}"));
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: &str = r#"{"reason":"compiler-artifact","manifest_path":"/src/lib/Cargo.toml","target":{"name":"lib"},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","manifest_path":"/src/bin/Cargo.toml","target":{"name":"drlb"},"profile":{"test":false},"executable":"/target/drlb"}
{"reason":"compiler-artifact","manifest_path":"/src/tests/Cargo.toml","target":{"name":"fixtures"},"profile":{"test":true},"executable":"/target/fixtures-1"}
{"reason":"compiler-artifact","manifest_path":"/src/tests/Cargo.toml","target":{"name":"agent_life"},"profile":{"test":true},"executable":"/target/agent_life-2"}
{"reason":"build-finished","success":true}"#;

    fn script(text: &str) -> Executable {
        let shell = Path::new("/bin/sh");
        Executable { name: text.to_owned(), path: shell.to_owned(), folder: "/".into() }
    }

    #[test]
    fn of_what_cargo_built_the_tests_are_run_and_the_long_ones_first() {
        let found = executables(MESSAGES).expect("messages");
        let names: Vec<_> = found.iter().map(|executable| executable.name.as_str()).collect();
        assert_eq!(names, ["agent_life", "fixtures"]);
        assert_eq!(found[0].path, Path::new("/target/agent_life-2"));
        assert_eq!(found[0].folder, Path::new("/src/tests"));
        assert!(executables("warning: not JSON").is_err());
    }

    #[test]
    fn one_that_fails_fails_the_run_and_the_others_are_run() {
        let ran = tempfile::tempdir().expect("a folder");
        let file = ran.path().join("ran");
        let well = format!("touch {}", file.display());
        // The filters of a run are the arguments of each executable, here of a shell.
        let all = [script("fails"), script("well")];
        assert!(run(&all, &["-c", "exit 3"], Path::new("drlb")).is_err());
        assert!(run(&all, &["-c", &well], Path::new("drlb")).is_ok());
        assert!(file.exists());
        let gone = Executable { path: "/nowhere/at/all".into(), ..script("gone") };
        let error = run(&[gone, script("well")], &["-c", "true"], Path::new("drlb")).expect_err("one is gone");
        assert_eq!(error.to_string(), "tests failed in: gone");
    }
}
