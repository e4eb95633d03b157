//! `drlb backend drain`: asks for it, and waits for its end.

mod pace;
mod progress;

use std::io::Write;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use self::pace::Pace;
use self::progress::Progress;
pub(super) use self::progress::state;
use super::{Failure, Session, unix_now};
use crate::api::client::{Answer, Client, ClientError};
use crate::api::types::DrainBody;
use crate::engine::status::{BackendState, BackendStatus, ListenerStatus};
use crate::model::{BackendAddr, FaultKind, Name, Protocol};

/// How often the agent is asked. It counts flows about once a second.
const INTERVAL: Duration = Duration::from_secs(1);
/// For how long an agent that does not answer is asked again: it may be restarting, and the drain goes on meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// Begins a drain, and waits for its end if that is wanted.
pub(super) async fn run(
    session: &Session,
    listener: Name,
    address: BackendAddr,
    deadline: Option<u32>,
    wait: bool,
) -> Result<(), Failure> {
    let drain = Drain { client: &session.client, listener, address, interval: INTERVAL, patience: PATIENCE };
    if !wait {
        let answer = drain.begin(deadline).await?;
        return session.print(&answer, |backend: BackendStatus| begun(&drain.listener, &backend));
    }
    let mut progress = Progress::on_stderr();
    let end = tokio::select! {
        end = drain.end(deadline, &mut progress) => end,
        interrupt = tokio::signal::ctrl_c() => match interrupt {
            Ok(()) => Err(Failure::Interrupted(drain.goes_on())),
            Err(source) => Err(Failure::Io { what: "Ctrl-C could not be waited for".into(), source }),
        },
    };
    progress.finish();
    session.print(&end?, |backend: BackendStatus| drained(&drain.listener, &backend))
}

/// A drain of one backend.
struct Drain<'a> {
    client: &'a Client,
    listener: Name,
    address: BackendAddr,
    /// How often the agent is asked.
    interval: Duration,
    /// For how long it is asked again when it does not answer.
    patience: Duration,
}

impl Drain<'_> {
    async fn begin(&self, deadline: Option<u32>) -> Result<Answer, Failure> {
        let path = ["listeners", self.listener.as_str(), "backends", &self.address.to_string(), "drain"];
        Ok(self.client.post(&path, &DrainBody { deadline }).await?)
    }

    /// Begins the drain, unless it is under way and keeps its deadline; shows how it goes, until its end; gives the answer
    /// that told of that.
    async fn end(&self, deadline: Option<u32>, progress: &mut Progress<impl Write>) -> Result<Answer, Failure> {
        let listener: ListenerStatus = self.client.get(&["listeners", self.listener.as_str()]).await?.parse()?;
        let idle = longest_idle(&listener);
        let is_draining = listener.backends.iter().any(|one| one.address == self.address && one.drain.is_some());
        let keeps_on = deadline.is_none() && is_draining;
        let (mut answer, mut counted) =
            if keeps_on { self.ask(progress).await? } else { (self.begin(deadline).await?, false) };
        let mut pace = Pace::default();
        loop {
            let backend: BackendStatus = answer.parse()?;
            if backend.state == BackendState::Drained {
                return Ok(answer);
            }
            let Some(drain) = backend.drain else { return Err(Failure::Other(self.cancelled(backend.state))) };
            if counted {
                pace.count(Instant::now(), drain.flows);
                let state = progress::state_at(&drain, pace.rate(), idle, unix_now());
                progress.show(&progress::left(drain.flows), &self.line(&state));
            } else {
                progress.show("counting", &self.line("its flows are being counted"));
            }
            sleep(self.interval).await;
            (answer, counted) = self.ask(progress).await?;
        }
    }

    /// The backend as it is now. Asks again while the agent does not answer. False if the agent may have counted no flows
    /// yet, as it was away.
    async fn ask(&self, progress: &mut Progress<impl Write>) -> Result<(Answer, bool), Failure> {
        let path = ["listeners", self.listener.as_str(), "backends", &self.address.to_string()];
        let began = Instant::now();
        let mut counted = true;
        loop {
            match self.client.get(&path).await {
                Ok(answer) => return Ok((answer, counted)),
                Err(ClientError::Fault(fault)) if fault.kind == FaultKind::NotFound => {
                    let Self { listener, address, .. } = self;
                    let sentence = format!("backend {address} of {listener} was removed before it was drained");
                    return Err(Failure::Other(sentence));
                }
                // The agent is not there, or about to go.
                Err(ClientError::Unreachable { .. } | ClientError::BrokenOff { .. })
                    if began.elapsed() < self.patience => {}
                Err(ClientError::Fault(fault))
                    if fault.kind == FaultKind::Unavailable && began.elapsed() < self.patience => {}
                Err(error) => return Err(error.into()),
            }
            counted = false;
            progress.show("no agent", &self.line("the agent does not answer, asking again"));
            sleep(self.interval).await;
        }
    }

    fn line(&self, state: &str) -> String {
        format!("draining {} of {}: {state}", self.address, self.listener)
    }

    /// What to say when somebody put the backend back, or out, while it was waited for.
    fn cancelled(&self, state: BackendState) -> String {
        let Self { listener, address, .. } = self;
        format!("the drain of backend {address} of {listener} was cancelled; the backend is {} now", state.name())
    }

    /// What to say to whoever waits no longer.
    fn goes_on(&self) -> String {
        let Self { listener, address, .. } = self;
        format!(
            "the drain goes on without waiting; `drlb backend drain {listener} {address} --wait` waits again, \
             `drlb backend set {listener} {address} --up` puts the backend back into service"
        )
    }
}

/// The longest that a flow of a listener may be silent before it counts as ended, in seconds.
fn longest_idle(listener: &ListenerStatus) -> u64 {
    let times = listener.timeouts;
    let tcp = times.handshake.max(times.established).max(times.closing);
    let udp = times.handshake.max(times.udp);
    let longest = match listener.protocol {
        Protocol::Tcp | Protocol::Sctp => tcp,
        Protocol::Udp => udp,
        Protocol::Ip => tcp.max(udp).max(times.other),
    };
    longest.into()
}

/// What was begun, and how to follow it.
fn begun(listener: &Name, backend: &BackendStatus) -> String {
    match (backend.state, &backend.drain) {
        (BackendState::Drained, _) | (_, None) => drained(listener, backend),
        (_, Some(drain)) => {
            let until = drain.deadline.map(|deadline| format!(", {}", progress::until_deadline(deadline, unix_now())));
            format!(
                "draining backend {} of {listener}{}; `drlb backend list {listener}` shows the flows left\n",
                backend.address,
                until.unwrap_or_default()
            )
        }
    }
}

fn drained(listener: &Name, backend: &BackendStatus) -> String {
    let cut_off = match backend.drain.map_or(0, |drain| drain.flows) {
        0 => String::new(),
        1 => "; 1 flow was left at its deadline".into(),
        flows => format!("; {flows} flows were left at its deadline"),
    };
    format!("drained backend {} of {listener}{cut_off}\n", backend.address)
}

#[cfg(test)]
mod tests;
