//! The one owner of the desired state: it persists, plans and applies, one command at a time.
//!
//! The engine runs on a thread of its own, because it waits for the disk and for the kernel. Others speak to it through
//! an [`Engine`], by messages. A caller that goes away while it waits takes nothing with it: its command is done all
//! the same.

mod change;
mod commands;
mod compare;
mod core;
mod events;
mod follow;
mod health;
mod idle;
mod news;
mod openstack;
pub mod status;
mod sweeps;
mod tell;
mod thread;
mod took;
mod touched;

use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

pub use events::Events;
pub use status::{Flows, Status};
pub use took::Took;

use self::core::{Core, Stored};
use self::idle::Idle;
use self::thread::Request;
use crate::announce::{Owned, Watched};
use crate::config::Plan;
use crate::dataplane::Dataplane;
use crate::doctor;
use crate::events::{self as log, EventKind, EventLog, Query};
use crate::health::once::{self, Once};
use crate::health::{Checks, HealthCounters, HealthView, ProbePlane};
use crate::model::{Command, Fault, Name, Tables, VipOwner};
use crate::neighbour::{NetworkView, Targets};
use crate::octavia::{self, Refusal, Reply};
use crate::store::sqlite::SqliteStore;
use crate::store::{Store as _, interfaces_of};

/// How many requests wait for the engine. Requests come from people and scripts, each of which waits for its answer, so
/// the depth only has to cover the callers that arrive during one write to the disk; more of them wait to send.
const DEPTH: usize = 64;

/// Where the engine keeps its state.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Folder of the store.
    pub state_dir: PathBuf,
    /// Folder of the pinned maps and links, on a BPF file system.
    pub pin_dir: PathBuf,
    /// Who answers for a VIP whose first listener does not say.
    pub vip_owner: VipOwner,
    /// How large lookup tables are, and how much room there is for them.
    pub tables: Tables,
    /// What the OpenStack API is told, and whether there is a data plane.
    pub openstack: octavia::Settings,
}

/// What only a program in the kernel has.
pub struct Program {
    /// What it tells of.
    pub events: Events,
    /// Its part in probing.
    pub probes: Box<dyn ProbePlane>,
    /// What is to be probed once.
    pub asked: mpsc::Receiver<Once>,
}

/// What the engine asks of others and what they tell it.
#[derive(Debug)]
pub struct Feeds {
    /// Whose MACs the engine needs.
    pub targets: watch::Receiver<Arc<Targets>>,
    /// Which VIPs are to be announced, and where.
    pub owned: watch::Receiver<Arc<Owned>>,
    /// Where the engine hears of others that have or want these VIPs.
    pub watched: watch::Sender<Arc<Watched>>,
    /// What is to be checked.
    pub checks: watch::Receiver<Arc<Checks>>,
    /// Where those who check count.
    pub checked: Arc<HealthCounters>,
    /// Where others tell what happened.
    pub events: EventLog,
}

/// The newest picture of the network, and of the backends' health, that the engine has not taken yet.
#[derive(Default)]
struct Newest {
    network: Option<Arc<NetworkView>>,
    health: Option<Arc<HealthView>>,
}

type Mailbox = Arc<Mutex<Newest>>;

/// A handle to the engine. Clones speak to the same engine.
#[derive(Clone)]
pub struct Engine {
    requests: mpsc::Sender<Request>,
    newest: Mailbox,
    probes: mpsc::Sender<Once>,
    events: EventLog,
    took: Arc<Took>,
}

impl Engine {
    /// Opens the store and the data plane, and starts the engine's thread. What the store holds is applied as soon as
    /// the first [`NetworkView`] arrives; until then the maps stay as they were found, and forwarding goes on.
    ///
    /// To be called within a tokio runtime: the events of the program are read in it.
    ///
    /// # Errors
    /// The store cannot be opened, or the kernel cannot run the data plane.
    pub fn start(config: EngineConfig) -> Result<(Self, Feeds, Option<Program>), Fault> {
        let EngineConfig { state_dir, pin_dir, vip_owner, tables, openstack } = config;
        let store = SqliteStore::open(&state_dir)?;
        let entries = store.load()?;
        let on = openstack.data_plane;
        let read = || Stored::of(Box::new(store), &entries, openstack, vip_owner, tables);
        if !on {
            let (engine, feeds, _) = Self::with(Core::new(read()?, Box::new(Idle))?)?;
            return Ok((engine, feeds, None));
        }
        let interfaces = interfaces_of(&entries);
        // The kernel takes as long to verify the program as it takes to read much that is stored.
        let (plane, stored) = std::thread::scope(|scope| {
            let opening = scope.spawn(|| Dataplane::open(&pin_dir, tables.room, &interfaces));
            let stored = read();
            (opening.join().unwrap_or_else(|panic| resume_unwind(panic)), stored)
        });
        let (mut plane, stored) = (plane?, stored?);
        let ring = plane.take_events().ok_or_else(|| Fault::internal("somebody else reads the program's events"))?;
        let events = Events::new(ring)
            .map_err(|error| Fault::unavailable(format!("the program's events cannot be waited for: {error}")))?;
        let probes = Box::new(plane.probes()?);
        let core = Core::new(stored, Box::new(plane))?;
        let (engine, feeds, asked) = Self::with(core)?;
        Ok((engine, feeds, Some(Program { events, probes, asked })))
    }

    fn with(mut core: Core) -> Result<(Self, Feeds, mpsc::Receiver<Once>), Fault> {
        let (requests, receiver) = mpsc::channel(DEPTH);
        let newest = Mailbox::default();
        let (probes, asked) = once::channel();
        let feeds = core.feeds();
        let (events, took) = (feeds.events.clone(), Arc::clone(&core.took));
        thread::start(core, receiver, Arc::clone(&newest))?;
        Ok((Self { requests, newest, probes, events, took }, feeds, asked))
    }

    /// Does a command: returns when it is persisted and the maps are so. A command that is refused or fails leaves all
    /// as it was.
    ///
    /// # Errors
    /// Why it was refused or failed.
    pub async fn execute(&self, command: Command) -> Result<(), Fault> {
        self.ask(|reply| Request::Execute(command, reply)).await?
    }

    /// Makes all as a file says, whole or not at all, and tells what changed; with `dry_run`, only tells it. Interfaces
    /// that are not there, or that refuse the program, are no fault: `status` names them, and they are attached when they
    /// can be.
    ///
    /// # Errors
    /// What is wrong with the file, and where; or why it could not be done.
    pub async fn apply(&self, text: String, dry_run: bool) -> Result<Vec<String>, Fault> {
        let Plan { commands, lines } = self.ask(|reply| Request::PlanFile(text, reply)).await??;
        if !dry_run && !commands.is_empty() {
            self.execute(Command::All(commands)).await?;
        }
        Ok(lines)
    }

    /// The desired state as the text of a file.
    ///
    /// # Errors
    /// The engine has stopped.
    pub async fn export(&self) -> Result<String, Fault> {
        self.ask(Request::Export).await
    }

    /// A snapshot of all that there is, with the counters as they are now.
    ///
    /// # Errors
    /// The maps could not be read, or the engine has stopped.
    pub async fn status(&self) -> Result<Status, Fault> {
        self.ask(Request::Status).await?
    }

    /// What is remembered of flows, of one listener or of all, `limit` of them at most.
    ///
    /// # Errors
    /// There is no such listener, the maps could not be read, or the engine has stopped.
    pub async fn flows(&self, listener: Option<Name>, limit: usize) -> Result<Flows, Fault> {
        self.ask(|reply| Request::Flows(listener, limit, reply)).await?
    }

    /// What happened, as far as it is asked for. If there is nothing, waits until there is, but no longer than `patience`.
    pub async fn events(&self, query: Query, patience: Duration) -> log::Events {
        self.events.ask(query, patience).await
    }

    /// Looks for what is wrong: asks hosts on the segments and backends' services now, which takes a second or more.
    ///
    /// # Errors
    /// The maps could not be read, or the engine has stopped.
    pub async fn examine(&self) -> Result<doctor::Report, Fault> {
        let questions = Arc::new(self.ask(Request::Questions).await?);
        let before = self.status().await?;
        let mut seen = doctor::look::look(Arc::clone(&questions), &before, &self.probes).await;
        let moved = Query { kinds: [EventKind::NeighbourMoved].into(), limit: log::MOST_EVENTS, ..Query::default() };
        let moved = self.events(moved, Duration::ZERO).await;
        seen.moved = doctor::seen::moved(&moved, log::since_1970());
        // What the agent itself found out meanwhile counts, too.
        Ok(doctor::examine(&self.status().await?, &questions, &seen))
    }

    /// How long the parts of the last command took.
    #[must_use]
    pub fn took(&self) -> &Took {
        &self.took
    }

    /// Answers a request of the OpenStack API: returns when what it changes is persisted and the maps are so. What the maps
    /// cannot hold is no refusal: its load balancer is in error.
    ///
    /// # Errors
    /// Why it is refused; nothing is changed then.
    pub async fn octavia(&self, request: octavia::Request) -> Result<Reply, Refusal> {
        let came_at = Instant::now();
        let answered = self.ask(|reply| Request::Octavia(Box::new(request), came_at, reply)).await;
        answered.unwrap_or_else(|fault| Err(Refusal::new(503, fault.message)))
    }

    /// Tells the engine what the network looks like now. Only the newest picture counts; this never waits.
    pub fn network_changed(&self, view: Arc<NetworkView>) {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).network = Some(view);
        // A full queue is no loss: the engine looks for a new picture before each request that it takes.
        let _ = self.requests.try_send(Request::Look);
    }

    /// Tells the engine what the health checks found. Only the newest picture counts; this never waits.
    pub fn health_changed(&self, view: Arc<HealthView>) {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).health = Some(view);
        let _ = self.requests.try_send(Request::Look);
    }

    /// Stops the engine, and returns when the store is closed. Forwarding goes on; if nothing is attached, the pinned
    /// maps are removed.
    pub async fn stop(self) {
        // An engine that has stopped already is as good.
        let _ = self.ask(Request::Stop).await;
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Fault> {
        let stopped = || Fault::unavailable("the agent is stopping; ask again when it runs");
        let (reply, answer) = oneshot::channel();
        self.requests.send(request(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())
    }
}

#[cfg(test)]
mod tests;
