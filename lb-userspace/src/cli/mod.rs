//! The command line: one file a group of commands, all over the API's client.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use serde::de::DeserializeOwned;

use self::args::{Cli, Command, Output};
use crate::agent;
use crate::api::client::{Answer, Client, ClientError};
use crate::model::Fault;

pub mod args;
mod backend;
mod interface;
mod listener;
mod stats;
mod status;
mod table;
mod texts;

/// Why a command failed. `Display` is the sentence for the user.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Fault(#[from] Fault),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

/// Reads the command line, does what it says, and gives the exit status: 0 done, 1 refused or failed, 2 wrong usage.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let sentence = failure.to_string();
            let stop = if sentence.ends_with('.') { "" } else { "." };
            eprintln!("error: {sentence}{stop}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let session = Session { client: Client::new(&cli.socket), output: cli.output };
    match cli.command {
        Command::Agent(args) => run_agent(args, &cli.socket),
        Command::Completions { shell } => texts::completions(shell),
        Command::Man { dir } => texts::man(dir.as_deref()),
        Command::Attach(args) => wait_for(interface::attach(&session, args)),
        Command::Detach { interface } => wait_for(interface::detach(&session, &interface)),
        Command::Status => wait_for(status::show(&session)),
        Command::Listener(command) => wait_for(listener::run(&session, command)),
        Command::Backend(args::BackendCommand::Setup { vips, format }) => texts::backend_setup(format, vips),
        Command::Backend(command) => wait_for(backend::run(&session, command)),
        Command::Stats => wait_for(stats::show(&session)),
    }
}

fn run_agent(args: args::AgentArgs, socket: &Path) -> Result<(), Failure> {
    let args::AgentArgs { state_dir, pin_dir } = args;
    Ok(agent::run(agent::Config { state_dir, pin_dir, socket: socket.to_owned() })?)
}

/// One request at a time needs no more than this thread.
fn wait_for(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| Failure::Io { what: "the system gives no resources to wait for the agent".into(), source })?
        .block_on(work)
}

/// What every command has: the agent, and the way to print.
struct Session {
    client: Client,
    output: Output,
}

impl Session {
    /// Prints an answer: as it came, or what `render` makes of it for people.
    fn print<T: DeserializeOwned>(&self, answer: &Answer, render: impl FnOnce(T) -> String) -> Result<(), Failure> {
        match self.output {
            Output::Json => print_text(&answer.text),
            Output::Table => print_text(&render(answer.parse()?)),
        }
    }

    /// Tells people what was done; programs know it from the exit status.
    fn print_done(&self, sentence: &str) -> Result<(), Failure> {
        match self.output {
            Output::Json => Ok(()),
            Output::Table => print_text(&format!("{sentence}\n")),
        }
    }
}

/// Writes to standard output. A reader that has gone, as in `drlb status | head`, has what it wanted.
fn print_text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Io { what: "the output could not be written".into(), source: error })
        }
        _ => Ok(()),
    }
}
