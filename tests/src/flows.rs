//! Lasting flows: thousands of connections and UDP flows that stay open, carry data that both ends check, and notice when
//! they are answered by another backend than before.
//!
//! A flow asks again and again, at a steady pace. Each answer has the name of the backend that gave it, and what was asked.
//! The first answer makes that backend the flow's home. From then on an answer of another is a *move*, and an error of the
//! socket, an end that was not asked for or a long silence is a *break*. A flow that was broken begins anew.

mod server;
mod tally;
mod tcp;
mod udp;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::time::{MissedTickBehavior, interval_at};

pub use self::server::Servers;
pub use self::tally::Tally;
use crate::host::Host;
use crate::wait::{SOON, until};

/// How often a connection asks. Far more often than the shortest idle time that a scenario sets.
const PACE: Duration = Duration::from_secs(1);
/// How often a UDP flow asks. More often still, as what is lost is not sent again by itself.
const UDP_PACE: Duration = Duration::from_millis(500);
/// How long a flow waits for an answer before it counts as broken: several times as long as TCP needs to send a lost
/// segment again.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the flows are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP connections.
    Tcp,
    /// UDP flows, each with a socket of its own.
    Udp,
}

/// Flows that are open. They end when this is dropped.
#[derive(Debug)]
pub struct Flows {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// What the flows and the scenario share.
#[derive(Debug)]
struct Shared {
    to: SocketAddr,
    from: IpAddr,
    stop: AtomicBool,
    leaving: Mutex<BTreeSet<String>>,
    state: Mutex<State>,
}

/// What is known of the flows.
#[derive(Debug)]
struct State {
    tally: Tally,
    flows: Vec<Flow>,
}

/// What is known of one of them.
#[derive(Clone, Debug, Default)]
struct Flow {
    home: Option<String>,
    exchanges: u64,
}

impl Flows {
    /// Opens `count` flows from a host to `to`, and waits until each has been answered.
    ///
    /// # Errors
    /// They cannot be opened, or are not answered in a minute.
    pub fn start(from: &Host, kind: Kind, to: SocketAddr, count: usize) -> Result<Self> {
        let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        Self::start_at(from, any, kind, to, count)
    }

    /// As [`Flows::start`], from this address of the host.
    ///
    /// # Errors
    /// As [`Flows::start`].
    pub fn start_at(host: &Host, from: IpAddr, kind: Kind, to: SocketAddr, count: usize) -> Result<Self> {
        allow_many_files(host)?;
        let state = State { tally: Tally::default(), flows: vec![Flow::default(); count] };
        let shared = Arc::new(Shared {
            to,
            from,
            stop: AtomicBool::new(false),
            leaving: Mutex::default(),
            state: Mutex::new(state),
        });
        let theirs = Arc::clone(&shared);
        let thread = host.thread("flows", move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let tasks: Vec<_> =
                    (0..count).map(|index| tokio::spawn(live(Arc::clone(&theirs), kind, index, count))).collect();
                for task in tasks {
                    task.await.context("a flow's task panicked")?;
                }
                Ok(())
            })
        })?;
        let flows = Self { shared, thread: Some(thread) };
        flows.wait_for_all(1).with_context(|| format!("{count} flows were to begin: {}", flows.tally()))?;
        Ok(flows)
    }

    /// Waits until each flow has been answered this many times more than when it is called.
    ///
    /// # Errors
    /// One was not, in a minute.
    pub fn wait_for_all(&self, more: u64) -> Result<()> {
        let before: Vec<_> = self.shared.state().flows.iter().map(|flow| flow.exchanges).collect();
        until("every flow to be answered", SOON, || {
            let state = self.shared.state();
            let late = state.flows.iter().zip(&before).filter(|(flow, before)| flow.exchanges < *before + more).count();
            if late == 0 {
                Ok(())
            } else {
                Err(format!("{late} flows were not answered {more} times; {}", state.tally))
            }
        })
    }

    /// Makes the flows whose home is this backend end, as flows do, and begin anew. No flow that begins from now on should
    /// come to it: one that does counts as misplaced.
    pub fn leave(&self, backend: &str) {
        self.shared.leaving().insert(backend.to_owned());
    }

    /// Takes back [`Flows::leave`]: flows may stay with this backend.
    pub fn stay(&self, backend: &str) {
        self.shared.leaving().remove(backend);
    }

    /// Waits until no flow has this backend as its home.
    ///
    /// # Errors
    /// One has, after a minute.
    pub fn wait_until_left(&self, backend: &str) -> Result<()> {
        until(&format!("every flow to leave {backend}"), SOON, || match self.at(backend) {
            0 => Ok(()),
            count => Err(format!("{count} are there")),
        })
    }

    /// How many open flows have which home.
    #[must_use]
    pub fn homes(&self) -> BTreeMap<String, u64> {
        let mut homes = BTreeMap::new();
        for home in self.shared.state().flows.iter().filter_map(|flow| flow.home.clone()) {
            *homes.entry(home).or_default() += 1;
        }
        homes
    }

    /// How many open flows have this backend as their home.
    #[must_use]
    pub fn at(&self, backend: &str) -> u64 {
        self.homes().get(backend).copied().unwrap_or(0)
    }

    /// What came of them so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.shared.state().tally.clone()
    }

    /// Ends all flows, as flows end, and tells what came of them.
    ///
    /// # Errors
    /// They could not live at all.
    pub fn stop(mut self) -> Result<Tally> {
        self.end().unwrap_or_else(|| bail!("the flows had ended before"))?;
        Ok(self.tally())
    }

    fn end(&mut self) -> Option<Result<()>> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take()?;
        Some(thread.join().unwrap_or_else(|_| Err(anyhow!("the thread of the flows panicked"))))
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        // Who drops flows does not care what became of them.
        let _ = self.end();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leaving(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// One life after the other, until told to stop.
async fn live(shared: Arc<Shared>, kind: Kind, index: usize, count: usize) {
    // Spread over the pace, so that the flows do not all ask at once.
    let offset = PACE.mul_f64(index as f64 / count.max(1) as f64);
    tokio::time::sleep(offset).await;
    let mut worn = Vec::new();
    while !shared.stopped() {
        let life = Life { barred: shared.leaving().clone(), shared: &shared, index };
        let outcome = match kind {
            Kind::Tcp => tcp::live(&life).await,
            Kind::Udp => udp::live(&life, &mut worn).await,
        };
        life.over(outcome);
        if !shared.stopped() {
            tokio::time::sleep(PACE / 10).await;
        }
    }
}

/// One flow, from its beginning to its end.
struct Life<'a> {
    shared: &'a Shared,
    index: usize,
    /// The backends that should get no flow that begins now.
    barred: BTreeSet<String>,
}

impl Life<'_> {
    /// Notes an answer, and says whether the flow is to go on.
    fn answered(&self, by: &str) -> bool {
        let mut state = self.shared.state();
        let State { tally, flows } = &mut *state;
        let flow = &mut flows[self.index];
        flow.exchanges += 1;
        tally.exchanges += 1;
        match &flow.home {
            None => {
                *tally.begun.entry(by.to_owned()).or_default() += 1;
                if self.barred.contains(by) {
                    tally.misplaced += 1;
                    tally.note(format!("flow {} began at {by}, which should get none", self.index));
                }
                flow.home = Some(by.to_owned());
            }
            Some(home) if home != by => {
                tally.moved += 1;
                *tally.lost.entry(home.clone()).or_default() += 1;
                tally.note(format!("flow {} went from {home} to {by}", self.index));
                flow.home = Some(by.to_owned());
            }
            Some(_) => {}
        }
        drop(state);
        !self.shared.stopped() && !self.shared.leaving().contains(by)
    }

    /// Notes the end.
    fn over(&self, outcome: Result<()>) {
        let mut state = self.shared.state();
        let State { tally, flows } = &mut *state;
        let home = flows[self.index].home.take();
        match (outcome, home) {
            (Ok(()), _) => tally.ended += 1,
            (Err(error), Some(home)) => {
                tally.broken += 1;
                tally.note(format!("flow {} at {home}: {error:#}", self.index));
                *tally.lost.entry(home).or_default() += 1;
            }
            (Err(error), None) => {
                tally.refused += 1;
                tally.note(format!("flow {} could not begin: {error:#}", self.index));
            }
        }
    }

    /// Notes a question that had to be asked again.
    fn asked_again(&self) {
        self.shared.state().tally.asked_again += 1;
    }

    /// The pace at which the flow asks, from now on.
    fn pace(period: Duration) -> tokio::time::Interval {
        let mut pace = interval_at(tokio::time::Instant::now() + period, period);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pace
    }
}

/// What a flow says in its n-th question: text that nobody else says.
fn question(index: usize, number: u64, length: usize) -> Vec<u8> {
    let start = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let head = format!("{index} {number} ").into_bytes();
    let mut word = start | 1;
    let tail = std::iter::repeat_with(|| {
        // Marsaglia's xorshift64.
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word as u8
    });
    head.into_iter().chain(tail).take(length).collect()
}

/// Both ends of all flows are files of this process: lets it have as many as it may.
fn allow_many_files(host: &Host) -> Result<()> {
    // `Max open files  1024  524288  files`: what holds, and what a process may set (proc(5)).
    let limits = std::fs::read_to_string("/proc/self/limits").context("cannot read this process's limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let mut numbers = line.context("this process has no limit of files")?.split_whitespace();
    let (soft, hard) = (numbers.next().context("no soft limit")?, numbers.next().context("no hard limit")?);
    if soft != hard {
        let own = std::process::id().to_string();
        host.run("prlimit", &["--pid", &own, &format!("--nofile={hard}:")])?;
    }
    Ok(())
}
