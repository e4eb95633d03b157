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
//! The thread ends when the sender of the checks is dropped, or when the second one has ended, which it does only by a mistake. A probe that is under way then is dropped: its connection is
//! reset. What is left in the program's map is removed by the next agent, and no packet is looked up in it meanwhile.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lb_common::address::Port;
use lb_common::backend::Backend;
use lb_common::probe::ProbeTarget;
use lb_common::protocol;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until};

use super::files;
use super::ground::Ground;
use super::once::{Answer, Once, Questions};
use super::own::{self, Done, Job};
use super::ports::{self, Ports};
use super::probe::{self, Failed, From, Means, Pinger, Trust};
use super::records::Records;
use super::room::{Room, SOCKETS};
use super::timetable::{Rhythm, Timetable};
use super::{Asker, Check, CheckKey, Checks, HealthCounters, HealthView, ProbePlane, Way};
use crate::model::{Fault, ProbeType};

/// How many of the sockets may be used to tell why backends are down.
const MOST_WHY: usize = 256;
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
    files::allow_many();
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
    result: Result<(), Failed>,
    /// What it held: protocol, address and port.
    held: Vec<(u8, IpAddr, u16)>,
    sockets: usize,
    /// What was to be checked when it was sent.
    sent: Arc<Checks>,
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
    room: Room,
    /// Probes that are to tell why a backend is down.
    asking_why: usize,
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
            room: Room::default(),
            asking_why: 0,
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
            if self.ground.is_err() && self.now() >= self.retry_at {
                self.prepare_ground().await;
            }
            self.begin_what_is_due();
            self.tell();
            let wake = self.wake();
            let has_room = self.room.taken() < MOST_WHY;
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
                done = results.recv() => match done {
                    Some(done) => self.own_ended(done),
                    None => break,
                },
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
        if self.room.left() > 0 {
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
            let changed = before.checks.get(key).is_some_and(|before| !before.asks_the_same(check));
            if changed && matches!(check.way, Way::Vip { .. } | Way::Own) {
                self.table.hasten(key, now);
            }
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
        let checks = Arc::clone(&self.checks);
        // One that needs more than there is begins when nothing else is under way.
        let need = |key: &CheckKey| checks.checks.get(key).map_or(0, Check::sockets).min(SOCKETS);
        let due = self.table.begin(now, self.room.left(), need);
        self.counters.late.store(self.table.late(), Ordering::Relaxed);
        for key in due {
            if let Some(check) = checks.checks.get(&key) {
                self.begin(key, check);
            }
        }
        self.counters.in_flight.store(self.room.taken() as u64, Ordering::Relaxed);
        self.counters.most_in_flight.store(self.room.most() as u64, Ordering::Relaxed);
    }

    fn begin(&mut self, key: CheckKey, check: &Check) {
        self.round += 1;
        let round = self.round;
        match &check.way {
            Way::Own => {
                self.records.began(&key, round);
                self.ask_own(Asker::Check(key), check, round);
            }
            Way::Unreachable { reason } => self.finish(&key, Err(Failed::There(reason.clone()))),
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
        if !self.ask_own(Asker::Once(round), &check, round) {
            self.questions.by_own_address(round, Answer::NotSent("the agent is stopping".to_owned()));
        }
    }

    /// Sends a probe to each VIP. All must be answered. False if there is no room.
    fn send(&mut self, asker: Asker, check: &Check, backend: Backend, source: IpAddr, round: u64) -> bool {
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
        let sockets = probes.len();
        self.room.take(sockets);
        let (spec, means, sent) = (Arc::clone(&check.spec), self.means.clone(), Arc::clone(&self.checks));
        self.running.spawn_local(async move {
            let all = probes.iter().map(|(to, from)| probe::run(&spec, *to, *from, &means));
            let results = futures_util::future::join_all(all).await;
            let result = Failed::of_all(results.into_iter().zip(&probes).map(|(result, (to, _))| (to.ip(), result)));
            Ended { asker, round, result, held, sockets, sent }
        });
        true
    }

    /// Probes a backend's own address. False if nobody is there to do it.
    fn ask_own(&mut self, asker: Asker, check: &Check, round: u64) -> bool {
        let asks_why = matches!(asker, Asker::Why(_));
        // Its identifier is told apart by the address that it goes to, too.
        let echo = echo_number(round);
        let sent = self.jobs.send(Job { asker, spec: Arc::clone(&check.spec), to: check.own, round, echo }).is_ok();
        if sent {
            self.room.take(1);
            self.asking_why += usize::from(asks_why);
        }
        sent
    }

    fn vip_ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let Ok(Ended { asker, round, result, held, sockets, sent }) = ended else { return };
        self.room.give_back(sockets);
        self.rest(held);
        let key = match asker {
            Asker::Once(number) => return self.questions.by_vip(number, result.into()),
            Asker::Check(key) | Asker::Why(key) => key,
        };
        if !self.records.is_current(&key, round) {
            return;
        }
        let same = |now: &Check| sent.checks.get(&key).is_some_and(|then| then.asks_the_same(now));
        if self.checks.checks.get(&key).is_some_and(same) {
            self.finish(&key, result);
        } else {
            // It went another way than one would now, or asked for something else: that says nothing any more.
            self.table.ended(&key, self.now());
            self.table.hasten(&key, self.now());
        }
    }

    fn own_ended(&mut self, done: Done) {
        self.room.give_back(1);
        match done.asker {
            Asker::Once(number) => self.questions.by_own_address(number, done.result.into()),
            Asker::Check(key) if self.records.is_current(&key, done.round) => self.finish(&key, done.result),
            Asker::Check(_) => {}
            Asker::Why(key) => {
                self.asking_why = self.asking_why.saturating_sub(1);
                match done.result {
                    Ok(()) => self.records.own_address(&key, true),
                    Err(Failed::There(_)) => self.records.own_address(&key, false),
                    Err(Failed::Here(_)) => {}
                }
            }
        }
    }

    fn rest(&mut self, held: Vec<(u8, IpAddr, u16)>) {
        let now = self.now();
        for (protocol, source, port) in held {
            self.ports.give_back(protocol, source, port, now);
        }
    }

    /// Steps a check's machine by what its probe found, and tries the backend's own address where that says why it is down.
    fn finish(&mut self, key: &CheckKey, result: Result<(), Failed>) {
        let result = match result {
            Ok(()) => Ok(()),
            Err(Failed::There(why)) => Err(why),
            Err(Failed::Here(why)) => return self.skip(key, format!("no health check can be sent: {why}")),
        };
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
        let has_room = self.asking_why < MOST_WHY && self.room.left() > 0;
        if failed && has_room && self.records.is_down(key) && matches!(check.way, Way::Vip { .. }) {
            self.round += 1;
            let round = self.round;
            self.ask_own(Asker::Why(key.clone()), check, round);
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
