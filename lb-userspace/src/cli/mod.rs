//! The command line: one file a group of commands, all over the API's client.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use serde::de::DeserializeOwned;

use self::args::{Cli, Command, Output};
use crate::agent;
use crate::api::client::{Answer, Client, ClientError};
use crate::model::Fault;
use crate::settings;

mod allow;
pub mod args;
mod backend;
mod config;
mod doctor;
mod drain;
mod events;
mod flows;
mod health;
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
    /// What was waited for came to another end.
    #[error("{0}")]
    Other(String),
    /// The doctor found something.
    #[error("{0}")]
    Problems(String),
    /// The options contradict each other.
    #[error("{0}")]
    Usage(String),
    /// The user ended the waiting.
    #[error("{0}")]
    Interrupted(String),
}

impl Failure {
    /// The exit status.
    const fn status(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Problems(_) => 3,
            // As a shell tells of a process that SIGINT ended.
            Self::Interrupted(_) => 130,
            _ => 1,
        }
    }
}

/// Reads the command line, does what it says, and gives the exit status: 0 done, 1 refused or failed, 2 wrong usage, 3
/// the doctor found a problem, 130 interrupted.
#[must_use]
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let sentence = failure.to_string();
            let stop = if sentence.ends_with('.') { "" } else { "." };
            let kind = if matches!(failure, Failure::Interrupted(_)) { "interrupted" } else { "error" };
            eprintln!("{kind}: {sentence}{stop}");
            ExitCode::from(failure.status())
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let session = Session { client: Client::new(&cli.socket), output: cli.output };
    match cli.command {
        Command::Agent(args) => run_agent(args, &cli.socket),
        Command::HashPassword => texts::hash_password(),
        Command::Apply(args) => wait_for(config::apply(&session, args)),
        Command::Export => wait_for(config::export(&session)),
        Command::Import(args) => config::import(session.output, &args),
        Command::Completions { shell } => texts::completions(shell),
        Command::Man { dir } => texts::man(dir.as_deref()),
        Command::Attach(args) => wait_for(interface::attach(&session, args)),
        Command::Detach { interface } => wait_for(interface::detach(&session, &interface)),
        Command::Status => wait_for(status::show(&session)),
        Command::Listener(command) => wait_for(listener::run(&session, command)),
        Command::Backend(args::BackendCommand::Setup { vips, format }) => texts::backend_setup(format, vips),
        Command::Backend(command) => wait_for(backend::run(&session, command)),
        Command::Health(command) => wait_for(health::run(&session, command)),
        Command::Doctor => wait_for(doctor::run(&session)),
        Command::Stats => wait_for(stats::show(&session)),
        Command::Flows(args) => wait_for(flows::show(&session, args)),
        Command::Events(args) => wait_for(events::show(&session, args)),
    }
}

fn run_agent(args: args::AgentArgs, socket: &Path) -> Result<(), Failure> {
    let args::AgentArgs { state_dir, pin_dir, config, api_listen, data_plane, vip_owner } = args;
    let mut settings = match &config {
        Some(path) => settings::read(path)?,
        None => settings::resolve(settings::File::default())?,
    };
    settings.api.listen = api_listen.or(settings.api.listen);
    settings.check_access()?;
    let (socket, file) = (socket.to_owned(), config);
    Ok(agent::run(agent::Config { state_dir, pin_dir, socket, settings, file, data_plane, vip_owner })?)
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

    /// Tells people what was done, where the answer has no body; programs get an empty object, so that what they read is
    /// JSON in any case.
    fn print_done(&self, sentence: &str) -> Result<(), Failure> {
        match self.output {
            Output::Json => print_text("{}\n"),
            Output::Table => print_text(&format!("{sentence}\n")),
        }
    }
}

/// Seconds of the Unix epoch, as drains are given in. That is the agent's clock: it runs on this machine.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
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
