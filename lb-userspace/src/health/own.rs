//! The thread that probes backends by their own address, as any host does: in the host's network namespace.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

use super::Asker;
use super::probe::{self, Failed, From, Means, Pinger, Trust};
use crate::model::{Fault, HealthCheck};

/// A probe to send.
#[derive(Debug)]
pub(super) struct Job {
    /// Who asks.
    pub(super) asker: Asker,
    /// What to send.
    pub(super) spec: Arc<HealthCheck>,
    /// Where to.
    pub(super) to: SocketAddr,
    /// Told apart by whoever asked.
    pub(super) round: u64,
    /// The identifier of an echo request.
    pub(super) echo: u16,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Done {
    /// Who asked.
    pub(super) asker: Asker,
    /// As in the [`Job`].
    pub(super) round: u64,
    /// Whether the right answer came, or what went wrong.
    pub(super) result: Result<(), Failed>,
}

/// Starts the thread. It ends when nobody can give it a job any more. How many jobs there are at once is bounded by
/// whoever gives them.
///
/// # Errors
/// The host has no thread left.
pub(super) fn start() -> Result<(mpsc::UnboundedSender<Job>, mpsc::UnboundedReceiver<Done>), Fault> {
    let (jobs, queue) = mpsc::unbounded_channel::<Job>();
    let (results, done) = mpsc::unbounded_channel();
    let no_thread = |error| Fault::unavailable(format!("no thread for health checks can be started: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
    let run = move || runtime.block_on(LocalSet::new().run_until(work(queue, results)));
    thread::Builder::new().name("probes-own".to_owned()).spawn(run).map_err(no_thread)?;
    Ok((jobs, done))
}

async fn work(mut queue: mpsc::UnboundedReceiver<Job>, results: mpsc::UnboundedSender<Done>) {
    let means = Means { pinger: Rc::new(Pinger::default()), trust: Rc::new(Trust::read()) };
    while let Some(Job { asker, spec, to, round, echo }) = queue.recv().await {
        let (means, results) = (means.clone(), results.clone());
        spawn_local(async move {
            let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let result = probe::run(&spec, to, From { address: any, port: echo, echo }, &means).await;
            // Nobody waits for it once the checks have ended.
            let _ = results.send(Done { asker, round, result });
        });
    }
}
