//! The one owner of the desired state: it persists, plans and applies, one command at a time.
//!
//! The engine runs on a thread of its own, because it waits for the disk and for the kernel. Others speak to it through
//! an [`Engine`], by messages. A caller that goes away while it waits takes nothing with it: its command is done all
//! the same.

mod core;
pub mod status;
mod thread;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot, watch};

pub use status::{Flows, Status};

use self::core::Core;
use self::thread::Request;
use crate::config::Plan;
use crate::dataplane::Dataplane;
use crate::model::{Command, Fault, Name};
use crate::neighbour::{NetworkView, Targets};
use crate::store::sqlite::SqliteStore;

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
}

/// The newest picture of the network that the engine has not taken yet.
type NewestView = Arc<Mutex<Option<Arc<NetworkView>>>>;

/// A handle to the engine. Clones speak to the same engine.
#[derive(Clone)]
pub struct Engine {
    requests: mpsc::Sender<Request>,
    view: NewestView,
}

impl Engine {
    /// Opens the store and the data plane, and starts the engine's thread. What the store holds is applied as soon as
    /// the first [`NetworkView`] arrives; until then the maps stay as they were found, and forwarding goes on.
    ///
    /// The receiver tells whose MACs the engine needs.
    ///
    /// # Errors
    /// The store cannot be opened, or the kernel cannot run the data plane.
    pub fn start(config: EngineConfig) -> Result<(Self, watch::Receiver<Arc<Targets>>), Fault> {
        let store = SqliteStore::open(&config.state_dir)?;
        let plane = Dataplane::open(&config.pin_dir)?;
        Self::with(Core::new(Box::new(store), Box::new(plane))?)
    }

    fn with(core: Core) -> Result<(Self, watch::Receiver<Arc<Targets>>), Fault> {
        let (requests, receiver) = mpsc::channel(DEPTH);
        let view = NewestView::default();
        let targets = core.targets();
        thread::start(core, receiver, Arc::clone(&view))?;
        Ok((Self { requests, view }, targets))
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

    /// Tells the engine what the network looks like now. Only the newest picture counts; this never waits.
    pub fn network_changed(&self, view: Arc<NetworkView>) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Some(view);
        // A full queue is no loss: the engine looks for a new picture before each request that it takes.
        let _ = self.requests.try_send(Request::LookAtNetwork);
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
