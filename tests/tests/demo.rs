//! The demo: it tells its whole story, and leaves nothing, however it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use drlb_tests::wait::{SOON, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A variable that every process of a demo inherits, by which they are found.
const MARK: &str = "DRLB_TEST_MARK";

/// A demo whose processes can be found, with a state file of its own.
struct Demo {
    mark: String,
    folder: tempfile::TempDir,
}

impl Demo {
    fn new(name: &str) -> Result<Self> {
        Ok(Self { mark: format!("{name}-{}", std::process::id()), folder: tempfile::tempdir()? })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
        command.args(arguments).env(MARK, &self.mark).env("DRLB_DEMO_STATE", self.folder.path().join("pid"));
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<(Output, String)> {
        let output = self.command(arguments).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Ok((output, text))
    }

    /// The processes of this demo that are there.
    fn processes(&self) -> Result<Vec<String>> {
        let wanted = format!("{MARK}={}", self.mark);
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            // A process that ends meanwhile has no environment to read.
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes()) {
                let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
                found.push(format!("{} {}", entry.file_name().display(), name.trim()));
            }
        }
        Ok(found)
    }

    fn is_gone(&self) -> Result<()> {
        until("the demo's processes to be gone", SOON, || match self.processes() {
            Ok(left) if left.is_empty() => Ok(()),
            Ok(left) => Err(format!("there are {left:?}")),
            Err(error) => Err(error.to_string()),
        })
    }
}

#[test]
fn the_demo_tells_its_story_and_leaves_nothing() -> Result<()> {
    let demo = Demo::new("whole")?;
    let (output, text) = demo.run(&[])?;
    ensure!(output.status.success(), "it ended with {}:\n{text}", output.status);
    for piece in [
        "drlb agent",
        "drlb attach eth0",
        "drlb listener add web4 --vip 192.0.2.10",
        "drlb listener add web6 --vip 2001:db8:1::10",
        "drlb backend add web4 192.0.2.23 --weight 2",
        "drlb status",
        "2000 requests, 0 failed",
        "kill -9",
        "drlb backend remove web4 192.0.2.21",
    ] {
        ensure!(text.contains(piece), "no `{piece}` in:\n{text}");
    }
    let crossed: Vec<_> = text.lines().filter(|line| line.contains("on the balancer's cable, or in it")).collect();
    ensure!(
        crossed.len() == 2 && crossed.iter().all(|line| line.trim().ends_with(" 0")),
        "replies crossed: {crossed:?}"
    );
    for line in text.lines() {
        ensure!(line.chars().count() <= 100, "a line of {} columns: {line}", line.chars().count());
    }
    demo.is_gone()
}

#[test]
fn an_interrupted_demo_ends_clean() -> Result<()> {
    let demo = Demo::new("interrupted")?;
    let mut running = demo.command(&[]).stdout(Stdio::piped()).spawn()?;
    let mut story = BufReader::new(running.stdout.take().context("it has no standard output")?).lines();
    let at = story.by_ref().map_while(Result::ok).find(|line| line.contains("requests to http"));
    ensure!(at.is_some(), "it ended before its first requests");
    ensure!(demo.processes()?.len() > 5, "the segment has only these processes: {:?}", demo.processes()?);
    kill(Pid::from_raw(running.id().cast_signed()), Signal::SIGINT)?;
    let rest: Vec<_> = story.map_while(Result::ok).collect();
    let status = running.wait()?;
    ensure!(status.code() == Some(130), "it ended with {status}: {rest:?}");
    ensure!(rest.iter().any(|line| line.contains("nothing is left")), "its last words were {rest:?}");
    demo.is_gone()
}

#[test]
fn a_kept_demo_stands_until_it_is_ended() -> Result<()> {
    let demo = Demo::new("kept")?;
    let (output, text) = demo.run(&["--keep"])?;
    ensure!(output.status.success(), "it ended with {}:\n{text}", output.status);
    // What it prints is what works, word for word.
    let aliases: String =
        text.lines().filter(|line| line.trim().starts_with("alias ")).map(|l| format!("{l}\n")).collect();
    let play = |command: &str| -> Result<String> {
        let script = format!("shopt -s expand_aliases\n{aliases}{command}\n");
        let output = Command::new("bash").args(["-c", &script]).output()?;
        ensure!(output.status.success(), "`{command}`: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    ensure!(play("drlb status")?.contains("192.0.2.10"), "the status has no VIP");
    ensure!(play("backend-2 ip address show lo")?.contains("192.0.2.10/32"), "the backend has no VIP");
    let (second, text) = demo.run(&["--keep"])?;
    ensure!(!second.status.success() && text.contains("standing already"), "a second one said {text}");
    let (end, text) = demo.run(&["--end"])?;
    ensure!(end.status.success() && text.contains("nothing is left"), "--end said {text}");
    demo.is_gone()?;
    let (end, text) = demo.run(&["--end"])?;
    ensure!(end.status.success() && text.contains("No demo is standing"), "--end said {text}");
    Ok(())
}

#[test]
fn a_kept_demo_that_was_killed_is_gone_and_its_file_does_no_harm() -> Result<()> {
    let demo = Demo::new("killed")?;
    let (output, text) = demo.run(&["--keep"])?;
    ensure!(output.status.success(), "it ended with {}:\n{text}", output.status);
    let keeper = fs::read_to_string(demo.folder.path().join("pid"))?.trim().parse()?;
    kill(Pid::from_raw(keeper), Signal::SIGKILL)?;
    demo.is_gone()?;
    let (end, text) = demo.run(&["--end"])?;
    ensure!(end.status.success() && text.contains("Nothing is left"), "--end said {text}");
    Ok(())
}
