//! The real `drlb` in a host: its agent, and its command line.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use lb_userspace::engine::Status;
use lb_userspace::engine::status::{BackendState, BackendStatus, ListenerStatus};
use lb_userspace::events::{Event, Events};

use crate::host::{Host, Process};
use crate::wait::{SOON, until};

/// Where the `drlb` binary is: what `DRLB_BIN` names, or beside the programs that this build made.
///
/// # Errors
/// There is none.
pub fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os("DRLB_BIN") {
        Some(path) => std::path::absolute(path)?,
        None => {
            // Tests are in target/PROFILE/deps, programs in target/PROFILE.
            let own = std::env::current_exe().context("cannot tell where this program is")?;
            let folders = own.ancestors().skip(1).take(2).map(|folder| folder.join("drlb"));
            folders.clone().find(|path| path.exists()).or(folders.last()).context("this program is in no folder")?
        }
    };
    ensure!(
        path.exists(),
        "there is no `drlb` at {}: run `cargo build` first (`cargo xtask test` does), or name it with DRLB_BIN",
        path.display()
    );
    Ok(path)
}

/// What a command said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The exit status; none if it was ended by a signal.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs `drlb` with these arguments in a host, whatever comes of it.
///
/// # Errors
/// It cannot be started.
pub fn ask(host: &Host, arguments: &[&str]) -> Result<Answer> {
    let output = host
        .command(binary()?)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `drlb {}`", arguments.join(" ")))?;
    Ok(Answer {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs `drlb` with these arguments in a host and returns what it printed.
///
/// # Errors
/// It cannot be started, or refuses; the message has what it said.
pub fn tell(host: &Host, arguments: &[&str]) -> Result<String> {
    let answer = ask(host, arguments)?;
    if answer.code != Some(0) {
        let code = answer.code.map_or_else(|| "no status".to_owned(), |code| format!("status {code}"));
        bail!("`drlb {}` ended with {code}: {}", arguments.join(" "), answer.stderr.trim());
    }
    Ok(answer.stdout)
}

/// Makes a host a backend for VIPs, by running what `drlb backend setup` prints.
///
/// # Errors
/// `drlb` or the shell fails.
pub fn set_up_backend(host: &Host, vips: &[std::net::IpAddr]) -> Result<()> {
    let vips: Vec<_> = vips.iter().map(ToString::to_string).collect();
    let mut arguments = vec!["backend", "setup", "--format", "shell"];
    for vip in &vips {
        arguments.extend(["--vip", vip]);
    }
    host.feed("sh", &[], &tell(host, &arguments)?).map(drop)
}

/// A running agent. It is killed when it is dropped, and its maps and links go with its host.
#[derive(Debug)]
pub struct Agent {
    host: Host,
    binary: PathBuf,
    /// What it is started with, beside `agent`.
    arguments: Vec<String>,
    /// The command that starts it, if not itself, and the arguments of that.
    by: Vec<String>,
    process: Process,
}

impl Agent {
    /// Starts an agent with its default places, which are the host's own, and waits until it answers.
    ///
    /// # Errors
    /// It cannot be started, ends, or does not answer; the message has its log.
    pub fn start(host: &Host) -> Result<Self> {
        Self::start_with(host, &[])
    }

    /// The same with further arguments.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn start_with(host: &Host, arguments: &[&str]) -> Result<Self> {
        let binary = binary()?;
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let process = launch(host, &[], &binary, &arguments)?;
        let mut agent = Self { host: host.clone(), binary, arguments, by: Vec::new(), process };
        agent.wait_until_ready()?;
        Ok(agent)
    }

    /// Kills it with SIGKILL.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn kill(&mut self) -> Result<()> {
        self.process.kill()
    }

    /// Stops it with SIGTERM.
    ///
    /// # Errors
    /// It does not end, or not with status 0.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.process.terminate()?;
        ensure!(status.success(), "the agent ended with {status} after SIGTERM:\n{}", self.process.log());
        Ok(())
    }

    /// Starts it again after it was killed or stopped, and waits until it answers.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn start_again(&mut self) -> Result<()> {
        self.process = launch(&self.host, &self.by, &self.binary, &self.arguments)?;
        self.wait_until_ready()
    }

    /// As [`Agent::start_again`], by a command that becomes what its last arguments name, as `env` and `prlimit` do.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn start_again_by(&mut self, command: &[&str]) -> Result<()> {
        self.by = command.iter().map(|&part| part.to_owned()).collect();
        self.start_again()
    }

    /// As [`Agent::start_again`], with these arguments instead of those that it had.
    ///
    /// # Errors
    /// As [`Agent::start`].
    pub fn start_again_with(&mut self, arguments: &[&str]) -> Result<()> {
        self.arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self.start_again()
    }

    /// Has it read its configuration file again (SIGHUP).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn reload(&self) -> Result<()> {
        let pid = nix::unistd::Pid::from_raw(self.pid().cast_signed());
        Ok(nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP)?)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let (host, process) = (&self.host, &mut self.process);
        let ended = until("the agent to answer", SOON, || {
            if let Ok(Some(status)) = process.ended() {
                return Ok(Some(status));
            }
            let answer = ask(host, &["status", "-o", "json"]).map_err(|error| format!("{error:#}"))?;
            if answer.code == Some(0) { Ok(None) } else { Err(answer.stderr) }
        });
        match ended {
            Ok(None) => Ok(()),
            Ok(Some(status)) => bail!("the agent ended with {status}; its log:\n{}", self.process.log()),
            Err(error) => bail!("{error:#}; the agent's log:\n{}", self.process.log()),
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has logged since its last start.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Runs `drlb` with these arguments in its host, whatever comes of it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn ask(&self, arguments: &[&str]) -> Result<Answer> {
        ask(&self.host, arguments)
    }

    /// Runs `drlb` with these arguments in its host and returns what it printed.
    ///
    /// # Errors
    /// It cannot be started, or refuses; the message has what it said.
    pub fn tell(&self, arguments: &[&str]) -> Result<String> {
        tell(&self.host, arguments)
    }

    /// What `drlb status -o json` says.
    ///
    /// # Errors
    /// It refuses, or prints something else than its documented JSON.
    pub fn status(&self) -> Result<Status> {
        let json = self.tell(&["status", "-o", "json"])?;
        serde_json::from_str(&json).with_context(|| format!("`drlb status -o json` printed {json}"))
    }

    /// The events that `drlb events -o json` shows with these filters, as `--kind link-up`.
    ///
    /// # Errors
    /// It refuses, or prints something else than its documented JSON.
    pub fn events(&self, filters: &[&str]) -> Result<Vec<Event>> {
        let json = self.tell(&[&["events", "-o", "json", "--limit", "8192"], filters].concat())?;
        let events: Events =
            serde_json::from_str(&json).with_context(|| format!("`drlb events -o json` printed {json}"))?;
        Ok(events.events)
    }

    /// Waits until there is an event that these filters let through and whose text has all of these words in it.
    ///
    /// # Errors
    /// There is none, in a minute; the message has those that there are.
    pub fn wait_for_event(&self, filters: &[&str], words: &[&str]) -> Result<Event> {
        until(&format!("an event {filters:?} with {words:?}"), SOON, || {
            let events = self.events(filters).map_err(|error| format!("{error:#}"))?;
            let found = events.iter().find(|event| words.iter().all(|word| event.text.contains(word)));
            found.cloned().ok_or_else(|| format!("there are {:?}", events.iter().map(|e| &e.text).collect::<Vec<_>>()))
        })
    }

    /// What the status says of a listener.
    ///
    /// # Errors
    /// There is no such listener.
    pub fn listener(&self, name: &str) -> Result<ListenerStatus> {
        let mut listeners = self.status()?.listeners;
        let index = listeners.iter().position(|listener| listener.name.to_string() == name);
        Ok(listeners.swap_remove(index.with_context(|| format!("the status has no listener `{name}`"))?))
    }

    /// What the status says of a backend of a listener.
    ///
    /// # Errors
    /// There is no such listener or backend.
    pub fn backend(&self, listener: &str, address: std::net::IpAddr) -> Result<BackendStatus> {
        let backends = self.listener(listener)?.backends;
        let is_it = |backend: &BackendStatus| backend.address.to_string() == address.to_string();
        backends.into_iter().find(is_it).with_context(|| format!("listener `{listener}` has no backend {address}"))
    }

    /// Waits until a backend of a listener is in this state.
    ///
    /// # Errors
    /// It is not, in a minute; the message has the state that it is in, and why.
    pub fn wait_for_backend(&self, listener: &str, address: std::net::IpAddr, state: BackendState) -> Result<()> {
        until(&format!("backend {address} of `{listener}` to be {}", state.name()), SOON, || {
            let backend = self.backend(listener, address).map_err(|error| format!("{error:#}"))?;
            if backend.state == state {
                Ok(())
            } else {
                Err(format!("it is {} ({})", backend.state.name(), backend.reason.unwrap_or_default()))
            }
        })
    }

    /// Waits until no slot of a listener is moving.
    ///
    /// # Errors
    /// One is, after a minute.
    pub fn wait_until_nothing_moves(&self, listener: &str) -> Result<()> {
        until("no slot to be moving", SOON, || {
            let moving = self.listener(listener).map_err(|error| format!("{error:#}"))?.slot_states.moving;
            if moving > 0 { Err(format!("{moving} are in `{listener}`")) } else { Ok(()) }
        })
    }

    /// Waits until every backend of a listener serves.
    ///
    /// # Errors
    /// As [`Agent::wait_for_backend`].
    pub fn wait_until_serving(&self, listener: &str) -> Result<()> {
        for backend in self.listener(listener)?.backends {
            self.wait_for_backend(listener, backend.address.ip(), BackendState::Serving)?;
        }
        Ok(())
    }
}

fn launch(host: &Host, by: &[String], binary: &Path, arguments: &[String]) -> Result<Process> {
    let binary = binary.to_str().context("the path of `drlb` is no text")?;
    let own = [binary, "agent"].into_iter().chain(arguments.iter().map(String::as_str));
    let words: Vec<&str> = by.iter().map(String::as_str).chain(own).collect();
    host.spawn(words[0], &words[1..])
}
