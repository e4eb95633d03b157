//! Load: clients that send one request after the other until they are stopped, and count what came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::host::Host;
use crate::http::Client;
use crate::wait::{SOON, has_given_up, until};

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Requests that were answered.
    pub ok: u64,
    /// Requests that were not.
    pub failed: u64,
    /// How many answers each backend gave, by its name.
    pub by_backend: BTreeMap<String, u64>,
    /// What the first few failures said.
    pub failures: Vec<String>,
    /// The longest that an answered request took. A segment that had to be sent again shows here.
    pub slowest: Duration,
}

/// Failures whose words are kept.
const FAILURES_KEPT: usize = 5;

impl Counts {
    /// Requests, answered or not.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.ok + self.failed
    }

    /// Answers of one backend.
    #[must_use]
    pub fn of(&self, backend: &str) -> u64 {
        self.by_backend.get(backend).copied().unwrap_or(0)
    }

    fn note(&mut self, outcome: Result<String>, took: Duration) {
        match outcome {
            Ok(name) => {
                self.ok += 1;
                *self.by_backend.entry(name).or_default() += 1;
                self.slowest = self.slowest.max(took);
            }
            Err(error) => {
                self.failed += 1;
                if self.failures.len() < FAILURES_KEPT {
                    self.failures.push(format!("{error:#}"));
                }
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests, {} failed", self.total(), self.failed)?;
        for failure in &self.failures {
            write!(f, "\n  {failure}")?;
        }
        Ok(())
    }
}

/// How a worker makes its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// A new one for every request.
    Fresh,
    /// One for all requests.
    Kept,
}

/// A load that is running. It stops when it is dropped, and by itself after [`LIMIT`].
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    counts: Mutex<Counts>,
}

/// No load runs longer than this, whatever becomes of who started it.
pub const LIMIT: Duration = Duration::from_secs(300);

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    /// Starts `workers` threads in a host, each of which asks `GET /` of `to` again and again.
    ///
    /// # Errors
    /// The threads cannot be made.
    pub fn start(from: &Host, to: SocketAddr, workers: usize, connections: Connections) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let end = Instant::now() + LIMIT;
        let start = |_| {
            let shared = Arc::clone(&shared);
            from.thread("load", move || {
                let client = match connections {
                    Connections::Fresh => Client::fresh(),
                    Connections::Kept => Client::keep_alive(),
                };
                while !shared.stop.load(Ordering::Relaxed) && Instant::now() < end {
                    let begun = Instant::now();
                    let outcome = client.get(to, "/");
                    shared.counts().note(outcome, begun.elapsed());
                }
                Ok(())
            })
        };
        let workers = (0..workers).map(start).collect::<Result<_>>()?;
        Ok(Self { shared, workers })
    }

    /// What came of it so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counts().clone()
    }

    /// Waits until this many more requests have ended than when it is called.
    ///
    /// # Errors
    /// They don't, in a minute.
    pub fn wait_for(&self, more: u64) -> Result<()> {
        let target = self.shared.counts().total() + more;
        until("requests to end", SOON, || {
            let total = self.shared.counts().total();
            if total >= target { Ok(()) } else { Err(format!("{total} of {target} have ended")) }
        })
    }

    /// Stops it, waits for the requests that are under way, and returns what came of it all.
    ///
    /// # Errors
    /// A worker could not work at all.
    pub fn stop(mut self) -> Result<Counts> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            worker.join().map_err(|_| anyhow!("a client's thread panicked"))?.context("a client could not work")?;
        }
        Ok(self.counts())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            // Who drops a load does not care what became of it.
            let _ = worker.join();
        }
    }
}

/// Sends exactly `count` requests from a host, one after the other, each on a connection of its own.
///
/// # Errors
/// The thread cannot enter the host, or the process was asked to end (see [`crate::wait::give_up`]).
pub fn requests(from: &Host, to: SocketAddr, count: u64) -> Result<Counts> {
    from.enter(|| {
        let client = Client::fresh();
        let mut counts = Counts::default();
        for _ in 0..count {
            ensure!(!has_given_up(), "was asked to end while sending requests");
            let begun = Instant::now();
            let outcome = client.get(to, "/");
            counts.note(outcome, begun.elapsed());
        }
        Ok(counts)
    })
}
