//! What is said aloud, and commands that are shown as they run.

use std::fmt::Display;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// The beginning of a part.
pub(crate) fn part(title: impl Display) {
    println!("== {title}");
}

/// Something that is there already, or that has been found.
pub(crate) fn fact(text: impl Display) {
    println!("   {text}");
}

/// Runs a command, showing it before and how long it took after.
///
/// # Errors
/// If it cannot be started, or fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    run_as(&written(command), command)
}

/// The same with a text in place of the command.
///
/// # Errors
/// If it cannot be started, or fails.
pub(crate) fn run_as(shown: &str, command: &mut Command) -> Result<()> {
    println!(" $ {shown}");
    let start = Instant::now();
    let status = command.status().with_context(|| format!("`{shown}` cannot be run"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    fact(format_args!("done in {}", seconds(start.elapsed())));
    Ok(())
}

/// A duration as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// A command as it would be typed.
fn written(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        let value = value?;
        Some(format!("{}={}", name.display(), quoted(&value.to_string_lossy())))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    variables.chain(words.map(|word| quoted(&word.to_string_lossy()))).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_it_would_be_typed() {
        let mut command = Command::new("cargo");
        command.args(["test", "two words"]).env("LLVM_PREFIX", "/usr/lib/llvm-22");
        assert_eq!(written(&command), "LLVM_PREFIX=/usr/lib/llvm-22 cargo test 'two words'");
    }
}
