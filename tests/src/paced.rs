//! Load at a fixed pace: a request begins at each beat, whatever has become of those before, and of each is kept when it began
//! and what came of it. So a server that hangs slows nobody down, and it can be said which requests failed, not only how many.
//!
//! The client's ports are few and used in turn. While a pool is the same a port's requests all go to one backend, its *home*, which
//! also tells where one was to go that failed.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::host::Host;
use crate::wait::{SOON, until};

/// The first of the client's ports: below those that the kernel gives to others.
const FIRST_PORT: u16 = 2_000;
/// How many there are.
pub const PORTS: u16 = 400;
/// From one beat to the next.
pub const PACE: Duration = Duration::from_millis(4);
/// How long a client waits for its answer, from the first packet on.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// How long a client's kernel waits before it sends a lost SYN again.
const AGAIN: Duration = Duration::from_secs(1);

/// A request that has ended.
#[derive(Clone, Debug)]
pub struct Request {
    /// When it began.
    pub begun: Instant,
    /// How long it took.
    pub took: Duration,
    /// The client's port.
    pub port: u16,
    /// Who answered, or what went wrong.
    pub outcome: Result<String, String>,
}

impl Request {
    /// True if its first packet was lost, and one that was sent again brought it to a backend of this kind.
    #[must_use]
    pub fn came_to(&self, other: impl Fn(&str) -> bool) -> bool {
        self.took >= AGAIN && self.outcome.as_deref().is_ok_and(other)
    }
}

/// A load that is running. It ends when it is dropped.
#[derive(Debug)]
pub struct Paced {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    ended: Mutex<Vec<Request>>,
}

impl Shared {
    fn ended(&self) -> MutexGuard<'_, Vec<Request>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Paced {
    /// Starts it, and waits until each port has been answered.
    ///
    /// # Errors
    /// The thread cannot be made, or a port is not answered in a minute.
    pub fn start(from: &Host, to: SocketAddr) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = from.thread("paced", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(beat(&theirs, to));
            Ok(())
        })?;
        let load = Self { shared, thread: Some(thread) };
        until("every port to be answered", SOON, || {
            let count = homes(&load.requests()).len();
            if count == usize::from(PORTS) { Ok(()) } else { Err(format!("{count} of {PORTS} were")) }
        })?;
        Ok(load)
    }

    /// The requests that have ended so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.ended().clone()
    }

    /// Waits until this many requests have been answered, by this backend or by any, that began after a time.
    ///
    /// # Errors
    /// They are not, in a minute.
    pub fn wait_for_answers(&self, after: Instant, count: usize, by: Option<&str>) -> Result<()> {
        until("requests to be answered", SOON, || {
            let ended = self.shared.ended();
            let answered =
                ended.iter().rev().take_while(|request| request.begun + PATIENCE * 2 >= after).filter(|request| {
                    let name = request.outcome.as_deref();
                    request.begun >= after && name.is_ok_and(|name| by.is_none_or(|by| by == name))
                });
            let answered = answered.count();
            if answered >= count { Ok(()) } else { Err(format!("{answered} of {count} have been")) }
        })
    }

    /// Ends it and returns what came of all requests.
    ///
    /// # Errors
    /// The client could not work at all.
    pub fn stop(mut self) -> Result<Vec<Request>> {
        self.end().unwrap_or_else(|| bail!("the load had ended before"))?;
        Ok(self.requests())
    }

    fn end(&mut self) -> Option<Result<()>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take()?;
        Some(thread.join().unwrap_or_else(|_| Err(anyhow!("the thread of the load panicked"))))
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        // Who drops a load does not care what became of it.
        let _ = self.end();
    }
}

/// The backend that answered each port first.
#[must_use]
pub fn homes(requests: &[Request]) -> BTreeMap<u16, String> {
    let mut homes = BTreeMap::new();
    for request in requests {
        if let Ok(name) = &request.outcome {
            homes.entry(request.port).or_insert_with(|| name.clone());
        }
    }
    homes
}

/// Begins a request at each beat, until told to stop.
async fn beat(shared: &Arc<Shared>, to: SocketAddr) {
    let mut free: VecDeque<u16> = (FIRST_PORT..FIRST_PORT + PORTS).collect();
    let mut running: JoinSet<u16> = JoinSet::new();
    let mut beats = interval(PACE);
    // Requests that the machine had no time for are not made up for.
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shared.stop.load(Ordering::Relaxed) {
        beats.tick().await;
        while let Some(port) = running.try_join_next() {
            free.extend(port.ok());
        }
        if let Some(port) = free.pop_front() {
            let shared = Arc::clone(shared);
            running.spawn(async move {
                let begun = Instant::now();
                let outcome = match timeout(PATIENCE, get(to, port)).await {
                    Ok(outcome) => outcome.map_err(|error| format!("{error:#}")),
                    Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
                };
                shared.ended().push(Request { begun, took: begun.elapsed(), port, outcome });
                port
            });
        }
    }
    running.join_all().await;
}

/// A `GET /` from a port. The connection ends with a reset, so that the port can be used again.
async fn get(to: SocketAddr, port: u16) -> Result<String> {
    let (socket, any) = if to.is_ipv4() {
        (TcpSocket::new_v4()?, IpAddr::from([0_u8; 4]))
    } else {
        (TcpSocket::new_v6()?, IpAddr::from([0_u8; 16]))
    };
    socket.set_reuseaddr(true)?;
    socket.set_zero_linger()?;
    socket.bind(SocketAddr::new(any, port)).context("the port is taken")?;
    let mut stream = socket.connect(to).await.context("no connection")?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.context("no answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the connection was closed before an answer came")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{}", head.lines().next().unwrap_or_default());
    Ok(body.to_owned())
}
