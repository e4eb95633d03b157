//! `cargo xtask demo`: a client served by direct-routed backends, before your eyes, in network namespaces.
//!
//! Everything belongs to this process: however it ends, nothing of the demo is left. With `--keep` a second process in the
//! background, the keeper, plays the story and then waits for `--end`.

mod keep;
mod screen;
mod signals;
mod story;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use drlb_tests::wait::has_given_up;

/// Shows drlb at work: a client, a balancer and three backends in network namespaces of this machine.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Arguments {
    /// Leave everything standing at the end, and print how to play with it.
    #[arg(long, conflicts_with = "end")]
    keep: bool,
    /// End what `--keep` left standing.
    #[arg(long)]
    end: bool,
    /// Be the process in the background that `--keep` starts.
    #[arg(long, hide = true, conflicts_with_all = ["keep", "end"])]
    keeper: bool,
}

/// The status of a process that was interrupted, as shells know it (128 + SIGINT).
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = if arguments.end {
        keep::end()
    } else if arguments.keep {
        keep::start()
    } else if arguments.keeper {
        keep::be_the_keeper()
    } else {
        play_and_end()
    };
    match outcome {
        Ok(code) => code,
        Err(_) if has_given_up() => {
            screen::note("Interrupted. Everything was taken down; nothing is left.");
            ExitCode::from(INTERRUPTED)
        }
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play_and_end() -> Result<ExitCode> {
    signals::watch()?;
    let stage = story::play()?;
    screen::heading("The end");
    drop(stage);
    screen::note("Everything was taken down; nothing is left. To keep it standing: cargo xtask demo --keep");
    Ok(ExitCode::SUCCESS)
}
