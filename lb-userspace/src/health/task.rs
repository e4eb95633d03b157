//! The thread that does the checks.
//!
//! It is one thread, in a network namespace of its own ([`ground`](super::ground)), with a queue of timers and sockets of its own; a
//! second one (`own`) sends what must be sent from the host's.
//!
//! | input | depth | what it does |
//! |---|---|---|
//! | checks | `watch`: only the latest set counts | takes up new ones, lets go of old ones |
//! | probes that are asked for once | as [`channel`](super::once::channel) says; taken while there is room | sends them, and answers |
//! | probes that end | as many as are under way | steps the check's machine |
//! | results of the other thread | as many as are under way there | the same, or tells why a backend is down |
//! | timer | one deadline | begins the probes that are due |
//!
//! Its output is a `watch` with the latest [`HealthView`].
//!
//! # Cancel safety
//! The thread ends when the sender of the checks is dropped. A probe that is under way then is dropped: its connection is
//! reset. What is left in the program's map is removed by the next agent, and no packet is looked up in it meanwhile.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lb_common::address::Port;
use lb_common::probe::ProbeTarget;
use lb_common::protocol;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until};

use super::ground::Ground;
use super::once::{Answer, Once, Questions};
use super::own::{self, Done, Job};
use super::ports::{self, Ports};
use super::probe::{self, From, Means, Pinger, Trust};
use super::records::Records;
use super::timetable::{Rhythm, Timetable};
use super::{Asker, Check, CheckKey, Checks, HealthCounters, HealthView, ProbePlane, Way};
use crate::model::{Fault, ProbeType};

/// The most probes that are under way at once. Each has a socket, or two with UDP.
const MOST: usize = 1_024;
/// The most probes of backends' own addresses that are under way at once.
const MOST_OWN: usize = 256;
/// The least time between two views: where many backends change at once, they are told together.
const BETWEEN_VIEWS: Duration = Duration::from_millis(10);
/// Why a probe is not sent when all ports are taken.
const CROWDED: &str = "too many probes are under way";
/// How soon the ground is tried to be made again where that failed.
const RETRY: Duration = Duration::from_secs(30);

/// Starts the thread.
///
/// # Errors
/// The host has no thread left.
pub fn start(
    plane: Box<dyn ProbePlane>,
    checks: watch::Receiver<Arc<Checks>>,
    asked: mpsc::Receiver<Once>,
    views: watch::Sender<Arc<HealthView>>,
    counters: Arc<HealthCounters>,
) -> Result<JoinHandle<()>, Fault> {
    let no_thread = |error| Fault::unavailable(format!("no thread for health checks can be started: {error}"));
    let (jobs, results) = own::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
    let run = move || {
        let checker = Checker::new(plane, views, counters, jobs);
        runtime.block_on(LocalSet::new().run_until(checker.run(checks, asked, results)));
    };
    thread::Builder::new().name("probes".to_owned()).spawn(run).map_err(no_thread)
}

/// A probe by the VIP that has ended.
struct Ended {
    asker: Asker,
    round: u64,
    result: Result<(), String>,
    /// What it held: protocol, address and port.
    held: Vec<(u8, IpAddr, u16)>,
}

struct Checker {
    plane: Box<dyn ProbePlane>,
    views: watch::Sender<Arc<HealthView>>,
    counters: Arc<HealthCounters>,
    jobs: mpsc::UnboundedSender<Job>,
    begun: Instant,
    ground: Result<Option<Ground>, String>,
    retry_at: Duration,
    checks: Arc<Checks>,
    records: Records,
    table: Timetable<CheckKey>,
    ports: Ports,
    means: Means,
    running: JoinSet<Ended>,
    /// Probes of own addresses that are under way.
    running_own: usize,
    questions: Questions,
    round: u64,
    told: Duration,
}

impl Checker {
    fn new(
        plane: Box<dyn ProbePlane>,
        views: watch::Sender<Arc<HealthView>>,
        counters: Arc<HealthCounters>,
        jobs: mpsc::UnboundedSender<Job>,
    ) -> Self {
        Self {
            plane,
            views,
            counters,
            jobs,
            begun: Instant::now(),
            ground: Ok(None),
            retry_at: Duration::ZERO,
            checks: Arc::default(),
            records: Records::default(),
            table: Timetable::default(),
            ports: Ports::default(),
            means: Means { pinger: Rc::new(Pinger::default()), trust: Rc::new(Trust::read()) },
            running: JoinSet::new(),
            running_own: 0,
            questions: Questions::default(),
            round: 0,
            told: Duration::ZERO,
        }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    async fn run(
        mut self,
        mut checks: watch::Receiver<Arc<Checks>>,
        mut asked: mpsc::Receiver<Once>,
        mut results: mpsc::UnboundedReceiver<Done>,
    ) {
        let first = checks.borrow_and_update().clone();
        self.take_up(first).await;
        loop {
            self.begin_what_is_due();
            self.tell();
            let wake = self.wake();
            let has_room = self.running.len() + self.running_own < MOST_OWN;
            tokio::select! {
                changed = checks.changed() => match changed {
                    Ok(()) => {
                        let latest = checks.borrow_and_update().clone();
                        self.take_up(latest).await;
                    }
                    Err(_) => break,
                },
                Some(once) = asked.recv(), if has_room => self.ask(once).await,
                Some(ended) = self.running.join_next() => {
                    let before = self.questions.sources();
                    self.vip_ended(ended);
                    while let Some(ended) = self.running.try_join_next() {
                        self.vip_ended(ended);
                    }
                    if self.questions.sources() != before {
                        self.prepare_ground().await;
                    }
                }
                Some(done) = results.recv() => self.own_ended(done),
                () = sleep_until(wake) => {}
            }
        }
        if let Err(fault) = self.plane.switch(false) {
            tracing::warn!("{fault}");
        }
    }

    /// When there is something to do though nothing happens.
    fn wake(&self) -> Instant {
        // Ports rest, and a ground that could not be made is tried again, without hurry.
        let mut wake = self.now() + Duration::from_secs(1);
        if self.running.len() < MOST {
            wake = self.table.next().map_or(wake, |due| due.min(wake));
        }
        if self.records.has_news() {
            wake = wake.min(self.told + BETWEEN_VIEWS);
        }
        self.begun + wake
    }

    async fn take_up(&mut self, checks: Arc<Checks>) {
        let now = self.now();
        let before = std::mem::replace(&mut self.checks, Arc::clone(&checks));
        for key in before.checks.keys().filter(|key| !checks.checks.contains_key(*key)) {
            self.table.remove(key);
            self.records.remove(key);
        }
        for (key, check) in &checks.checks {
            let new = self.records.put(key, check, now);
            let rhythm = Rhythm { delay: check.spec.delay(), jitter: check.spec.jitter };
            self.table.put(key.clone(), rhythm, new && check.first == super::Standing::Unproven, now);
        }
        self.prepare_ground().await;
    }

    /// Makes the ground when it is first needed, and gives it the addresses to send from.
    async fn prepare_ground(&mut self) {
        let source = |check: &Check| match check.way {
            Way::Vip { source, .. } => Some(source),
            _ => None,
        };
        let mut sources: BTreeSet<IpAddr> = self.checks.checks.values().filter_map(source).collect();
        sources.append(&mut self.questions.sources());
        let needed = !sources.is_empty();
        if needed && !matches!(self.ground, Ok(Some(_))) && self.now() >= self.retry_at {
            self.ground = Ground::make(self.plane.as_mut()).await.map(Some).map_err(|fault| {
                tracing::error!("{fault}");
                fault.message
            });
            self.retry_at = self.now() + RETRY;
        }
        if let Ok(Some(ground)) = &mut self.ground {
            ground.set_sources(&sources).await;
        }
        if let Err(fault) = self.plane.switch(needed) {
            tracing::warn!("{fault}");
        }
    }

    fn begin_what_is_due(&mut self) {
        let now = self.now();
        for key in self.ports.rested(now) {
            self.plane.remove(key);
        }
        let room = MOST.saturating_sub(self.running.len() + self.running_own);
        let due = self.table.begin(now, room);
        self.counters.late.store(self.table.late(), Ordering::Relaxed);
        let checks = Arc::clone(&self.checks);
        for key in due {
            if let Some(check) = checks.checks.get(&key) {
                self.begin(key, check);
            }
        }
        self.counters.in_flight.store((self.running.len() + self.running_own) as u64, Ordering::Relaxed);
    }

    fn begin(&mut self, key: CheckKey, check: &Check) {
        self.round += 1;
        let round = self.round;
        match &check.way {
            Way::Own => {
                self.records.began(&key, round);
                self.try_own(&key, check, round);
            }
            Way::Unreachable { reason } => self.finish(&key, Err(reason.clone())),
            Way::Impossible { reason } => self.skip(&key, reason.clone()),
            Way::Vip { backend, source } => match &self.ground {
                Ok(Some(_)) => {
                    self.records.began(&key, round);
                    if !self.send(Asker::Check(key.clone()), check, *backend, *source, round) {
                        self.skip(&key, CROWDED.to_owned());
                    }
                }
                Ok(None) => self.skip(&key, "health checks are being prepared".to_owned()),
                Err(reason) => {
                    let reason = reason.clone();
                    self.skip(&key, reason);
                }
            },
        }
    }

    /// Sends a probe that is asked for once.
    async fn ask(&mut self, Once { check, reply }: Once) {
        self.round += 1;
        let round = self.round;
        let source = match &check.way {
            Way::Vip { source, .. } => Some(*source),
            _ => None,
        };
        self.questions.begin(round, reply, source);
        let not_sent = match &check.way {
            Way::Vip { backend, source } => {
                // The ground may have no such address yet.
                self.prepare_ground().await;
                match &self.ground {
                    Ok(None) => Some("health checks are being prepared".to_owned()),
                    Err(reason) => Some(reason.clone()),
                    Ok(Some(_)) => {
                        let sent = self.send(Asker::Once(round), &check, *backend, *source, round);
                        (!sent).then(|| CROWDED.to_owned())
                    }
                }
            }
            Way::Own => Some("it is probed at another address".to_owned()),
            Way::Unreachable { reason } | Way::Impossible { reason } => Some(reason.clone()),
        };
        if let Some(reason) = not_sent {
            self.questions.by_vip(round, Answer::NotSent(reason));
        }
        // Both at once: who asks wants to know soon.
        self.try_own_once(round, &check);
    }

    fn try_own_once(&mut self, round: u64, check: &Check) {
        let echo = echo_number(round);
        let job = Job { asker: Asker::Once(round), spec: Arc::clone(&check.spec), to: check.own, round, echo };
        match self.jobs.send(job) {
            Ok(()) => self.running_own += 1,
            Err(_) => self.questions.by_own_address(round, Answer::NotSent("the agent is stopping".to_owned())),
        }
    }

    /// Sends a probe to each VIP. All must be answered. False if there is no room.
    fn send(
        &mut self,
        asker: Asker,
        check: &Check,
        backend: lb_common::backend::Backend,
        source: IpAddr,
        round: u64,
    ) -> bool {
        let mut held = Vec::new();
        let mut probes = Vec::new();
        for to in &check.vips {
            let mut hold = |protocol, vip_port| {
                let port = self.ports.take(protocol, source)?;
                held.push((protocol, source, port));
                let target = ProbeTarget::new(backend, to.ip().into(), vip_port);
                self.plane.put(ports::key(protocol, source, port), target).ok().map(|()| port)
            };
            let vip_port = Port::from_host(to.port());
            let ports = match check.spec.probe.kind() {
                ProbeType::Icmp => hold(echo(source), Port::ANY).map(|port| (port, port)),
                ProbeType::Udp => hold(protocol::UDP, vip_port).zip(hold(echo(source), Port::ANY)),
                _ => hold(protocol::TCP, vip_port).map(|port| (port, 0)),
            };
            match ports {
                Some((port, echo)) => probes.push((*to, From { address: source, port, echo })),
                None => {
                    self.rest(held);
                    return false;
                }
            }
        }
        let (spec, means) = (Arc::clone(&check.spec), self.means.clone());
        self.running.spawn_local(async move {
            let all = probes.iter().map(|(to, from)| probe::run(&spec, *to, *from, &means));
            let results = futures_util::future::join_all(all).await;
            let several = results.len() > 1;
            let failed = results.into_iter().zip(&probes).find_map(|(result, (to, _))| Some((result.err()?, to.ip())));
            let result = match failed {
                None => Ok(()),
                Some((why, vip)) if several => Err(format!("{why} (VIP {vip})")),
                Some((why, _)) => Err(why),
            };
            Ended { asker, round, result, held }
        });
        true
    }

    /// Probes a backend's own address, if there is room.
    fn try_own(&mut self, key: &CheckKey, check: &Check, round: u64) {
        if self.running_own < MOST_OWN {
            // Its identifier is told apart by the address that it goes to, too.
            let asker = Asker::Check(key.clone());
            let echo = echo_number(round);
            let job = Job { asker, spec: Arc::clone(&check.spec), to: check.own, round, echo };
            if self.jobs.send(job).is_ok() {
                self.running_own += 1;
            }
        } else if check.way == Way::Own {
            self.table.ended(key, self.now());
        }
    }

    fn vip_ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let Ok(Ended { asker, round, result, held }) = ended else { return };
        self.rest(held);
        match asker {
            Asker::Check(key) if self.records.is_current(&key, round) => self.finish(&key, result),
            Asker::Check(_) => {}
            Asker::Once(number) => self.questions.by_vip(number, result.into()),
        }
    }

    fn own_ended(&mut self, done: Done) {
        self.running_own = self.running_own.saturating_sub(1);
        let key = match done.asker {
            Asker::Check(key) => key,
            Asker::Once(number) => return self.questions.by_own_address(number, done.result.into()),
        };
        let checks = Arc::clone(&self.checks);
        let Some(check) = checks.checks.get(&key) else { return };
        match check.way {
            Way::Own if self.records.is_current(&key, done.round) => self.finish(&key, done.result),
            Way::Own => {}
            _ => self.records.own_address(&key, done.result.is_ok()),
        }
    }

    fn rest(&mut self, held: Vec<(u8, IpAddr, u16)>) {
        let now = self.now();
        for (protocol, source, port) in held {
            self.ports.give_back(protocol, source, port, now);
        }
    }

    /// Steps a check's machine by what its probe found, and tries the backend's own address where that says why it is down.
    fn finish(&mut self, key: &CheckKey, result: Result<(), String>) {
        let now = self.now();
        self.table.ended(key, now);
        self.counters.probes.fetch_add(1, Ordering::Relaxed);
        if result.is_err() {
            self.counters.failed.fetch_add(1, Ordering::Relaxed);
        }
        let checks = Arc::clone(&self.checks);
        let Some(check) = checks.checks.get(key) else { return };
        let failed = result.is_err();
        self.records.probed(key, check, result, now, unix_now());
        if failed && self.records.is_down(key) && matches!(check.way, Way::Vip { .. }) {
            self.round += 1;
            let round = self.round;
            self.try_own(key, check, round);
        }
    }

    /// Notes that no probe could be sent.
    fn skip(&mut self, key: &CheckKey, reason: String) {
        self.table.ended(key, self.now());
        self.records.skipped(key, reason);
    }

    fn tell(&mut self) {
        let now = self.now();
        if self.records.has_news() && now >= self.told + BETWEEN_VIEWS {
            self.told = now;
            self.views.send_replace(Arc::new(self.records.view(&self.checks)));
        }
    }
}

/// The identifier of a ping of a backend's own address. Low ones are the doctor's.
const fn echo_number(round: u64) -> u16 {
    round as u16 | 0x8000
}

/// The protocol of echo requests from an address.
const fn echo(source: IpAddr) -> u8 {
    if source.is_ipv4() { protocol::ICMP } else { protocol::ICMPV6 }
}

/// The time in seconds since 1970.
fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
