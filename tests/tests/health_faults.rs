//! Servers that fail in each way in which servers do, one after the other, under load: how long it takes until each is out, how
//! many requests that costs, and that it costs no others. Once with an agent that lives, once with one that is killed between the
//! fault and its discovery.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use drlb_tests::moody::{Mood, Moody, Taken};
use drlb_tests::paced::{PATIENCE, Paced, Request, homes};
use drlb_tests::segment::{Family, Legs, Mode, Plan};
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::{HTTP, WEB, World};
use lb_userspace::engine::status::{BackendState, HealthState};

/// A check that takes many failures, so that there is time between a fault and its discovery: 0.63 s at least.
const CHECK: &[&str] =
    &["health", "set", WEB, "--type", "http", "--delay", "100ms", "--timeout", "100ms", "--rise", "1", "--fall", "8"];
const FALL: usize = 8;

/// The time that a machine with other work may need beyond what the formula says, for all faults together.
const ALLOWANCE: Duration = Duration::from_secs(10);

/// What befalls a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Its server does this from now on.
    Server(Mood),
    /// It loses the VIP.
    LacksVip,
    /// Its cable is pulled.
    Unplugged,
}

/// Each with a backend of its own, as who fails again and again is damped.
const FAULTS: [Fault; 5] = [
    Fault::Server(Mood::Fails),
    Fault::Server(Mood::Hangs),
    Fault::Server(Mood::Closes),
    Fault::LacksVip,
    Fault::Unplugged,
];

/// A fault that was found out.
#[derive(Debug)]
struct Found {
    fault: Fault,
    killed: bool,
    /// The name of the backend.
    sick: String,
    /// When it befell it.
    began: Instant,
    /// When the agent that found it out could begin to: then, or when it was started.
    from: Instant,
    /// When the backend was seen to be out of the lookup table.
    out: Instant,
}

struct Scene<'a> {
    world: &'a mut World,
    family: Family,
    to: SocketAddr,
    moody: Vec<Moody>,
    load: Paced,
    detection: Duration,
}

impl<'a> Scene<'a> {
    fn new(world: &'a mut World, family: Family) -> Result<Self> {
        world.servers.clear();
        let start = |node: &drlb_tests::segment::Node| Moody::start(&node.host, HTTP);
        let moody: Vec<_> = world.segment.backends.iter().map(start).collect::<Result<_>>()?;
        let to = world.balance_http(family, &vec![1; moody.len()])?;
        world.agent.tell(CHECK)?;
        world.agent.wait_until_serving(WEB)?;
        let load = Paced::start(world.client(), to)?;
        let check = world.agent.listener(WEB)?.health.context("the listener is not checked")?;
        ensure!(usize::from(check.fall) == FALL, "{check:?}");
        Ok(Self { world, family, to, moody, load, detection: check.detection() })
    }

    fn befall(&self, index: usize, fault: Fault, begins: bool) -> Result<()> {
        let node = &self.world.segment.backends[index];
        match fault {
            Fault::Server(mood) => self.moody[index].set(if begins { mood } else { Mood::Well }),
            Fault::LacksVip => {
                let (verb, vip) = (if begins { "del" } else { "add" }, self.to.ip());
                let (whole, nodad) = if vip.is_ipv4() { (32, "") } else { (128, " nodad") };
                let nodad = if begins { "" } else { nodad };
                node.host.ip(&format!("address {verb} {vip}/{whole} dev lo{nodad}\n"))?;
            }
            Fault::Unplugged => self.world.segment.plug(node, !begins)?,
        }
        Ok(())
    }

    /// The connections that a backend's server took from the balancer, to the VIP, since a time: its probes.
    fn probes(&self, index: usize, since: Instant) -> Vec<Taken> {
        let net = self.world.segment.backends[index].net;
        let balancer = self.world.segment.balancer_address(net, self.family);
        let is_probe = |taken: &Taken| taken.from == balancer && taken.to == self.to.ip() && taken.at >= since;
        self.moody[index].taken().into_iter().filter(is_probe).collect()
    }

    /// Kills the agent in the middle of a fault, when it has seen some of it where that can be told, and starts a new one.
    /// Returns when that was there.
    fn kill_in_the_middle(&mut self, index: usize, fault: Fault, began: Instant) -> Result<Instant> {
        if matches!(fault, Fault::Server(_)) {
            until("a probe to fail", SOON, || {
                if self.probes(index, began).is_empty() { Err("none has come".to_owned()) } else { Ok(()) }
            })?;
        }
        self.world.agent.kill()?;
        self.world.agent.start_again()?;
        let started = Instant::now();
        for node in &self.world.segment.backends {
            let backend = self.world.agent.backend(WEB, node.address(self.family))?;
            let state = backend.health.map(|health| health.state);
            // The one before had not found it out, and what it knew of the others is known.
            ensure!(
                state == Some(HealthState::Up),
                "{fault:?}: a new agent takes {} to be {state:?}",
                node.address(self.family)
            );
        }
        Ok(started)
    }

    /// Lets a fault befall a backend, waits until it is out, and then until it is back.
    fn play(&mut self, index: usize, fault: Fault, killed: bool) -> Result<Found> {
        let node = self.world.segment.backends[index].clone();
        let (address, sick) = (node.address(self.family), node.host.name().to_owned());
        let began = Instant::now();
        self.befall(index, fault, true)?;
        let from = if killed { self.kill_in_the_middle(index, fault, began)? } else { began };
        until("the backend to be out", SOON, || {
            let backend = self.world.agent.backend(WEB, address).map_err(|error| format!("{error:#}"))?;
            if backend.slots == 0 { Ok(()) } else { Err(format!("it is {}", backend.state.name())) }
        })?;
        let out = Instant::now();
        let state = match fault {
            Fault::Server(_) => BackendState::ServiceDown,
            Fault::LacksVip => BackendState::VipPathBroken,
            // Its neighbour entry fails, too, sooner or later.
            Fault::Unplugged => self.world.agent.backend(WEB, address)?.state,
        };
        self.world.agent.wait_for_backend(WEB, address, state)?;
        if matches!(fault, Fault::Server(_)) && !killed {
            // It is not out before its time: the last of `fall` failures.
            let failed = self.probes(index, began).into_iter().filter(|probe| probe.at <= out).count();
            ensure!(failed >= FALL, "{fault:?}: {sick} was out after {failed} failures, and {FALL} are set");
        }
        self.load.wait_for_answers(out, 100, None)?;
        self.befall(index, fault, false)?;
        self.world.agent.wait_for_backend(WEB, address, BackendState::Serving)?;
        self.load.wait_for_answers(Instant::now(), 10, Some(&sick))?;
        Ok(Found { fault, killed, sick, began, from, out })
    }
}

/// A request, and the backends that it may have been for: the home of its port, and who answered that port last. The slots of a
/// backend that is back are moving, and in these a client's port that is used again is led to where it was before, as the same flow
/// would be.
struct Aimed<'a> {
    request: &'a Request,
    home: &'a str,
    last: &'a str,
}

impl Aimed<'_> {
    fn was_for(&self, backend: &str) -> bool {
        self.home == backend || self.last == backend
    }
}

/// All requests in the order in which they ended: those of one port follow each other.
fn aimed<'a>(requests: &'a [Request], homes: &'a BTreeMap<u16, String>) -> Result<Vec<Aimed<'a>>> {
    let mut answered: BTreeMap<u16, &str> = BTreeMap::new();
    let mut all = Vec::with_capacity(requests.len());
    for request in requests {
        let home = homes.get(&request.port).context("a port that was never answered")?.as_str();
        let last = answered.get(&request.port).copied().unwrap_or(home);
        all.push(Aimed { request, home, last });
        if let Ok(name) = &request.outcome {
            answered.insert(request.port, name);
        }
    }
    Ok(all)
}

/// Fails unless each request that failed began while a fault was not found out, or was under way when it befell, and was one of
/// those for the backend that it befell; and each fault made some fail.
fn only_these_failed(requests: &[Request], faults: &[Found]) -> Result<()> {
    let homes = homes(requests);
    let is_of =
        |request: &Request, found: &Found| request.begun + PATIENCE >= found.began && request.begun <= found.out;
    let requests = aimed(requests, &homes)?;
    let mut failed: BTreeMap<usize, usize> = BTreeMap::new();
    for aimed in &requests {
        let Aimed { request, home, last } = aimed;
        let Err(why) = &request.outcome else { continue };
        let cause = faults.iter().position(|found| is_of(request, found) && aimed.was_for(&found.sick));
        let near = faults.iter().rfind(|found| found.began <= request.begun);
        let since = near.map(|found| (request.begun - found.began, found));
        let cause = cause.with_context(|| {
            format!("a request for {home}, before at {last}, failed ({why}), and should not: {since:?}")
        })?;
        *failed.entry(cause).or_default() += 1;
    }
    for (index, found) in faults.iter().enumerate() {
        let count = failed.get(&index).copied().unwrap_or(0);
        let begun: Vec<_> = requests.iter().filter(|aimed| is_of(aimed.request, found)).collect();
        let due: Vec<_> = begun.iter().filter(|aimed| aimed.was_for(&found.sick)).collect();
        // Its clients were lucky: when they tried again, the backend was out.
        let saved = due.iter().filter(|aimed| aimed.request.came_to(|name| name != found.sick)).count();
        let due = due.len();
        let Found { fault, killed, .. } = found;
        println!(
            "{fault:?}{}: out after {:?}; {} requests began in that time and {PATIENCE:?} before, {due} of them for it, \
             {count} failed, {saved} came to another backend when they tried again",
            if *killed { ", agent killed" } else { "" },
            found.out - found.from,
            begun.len()
        );
        ensure!(count + saved > 0, "{fault:?}: no request suffered, so the load says nothing");
        ensure!(count <= due, "{fault:?}: {count} failed, and {due} were for {}", found.sick);
    }
    Ok(())
}

/// Fails unless the ports are spread over the backends as a hash spreads them: each has its share, six deviations allowed.
fn each_has_its_share(requests: &[Request], backends: usize) -> Result<()> {
    let homes = homes(requests);
    let share = 1.0 / backends as f64;
    let due = homes.len() as f64 * share;
    let allowed = 6.0 * (due * (1.0 - share)).sqrt();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    homes.values().for_each(|home| *counts.entry(home).or_default() += 1);
    let fair = counts.values().all(|count| (*count as f64 - due).abs() <= allowed);
    ensure!(fair && counts.len() == backends, "{due:.0} ± {allowed:.0} ports are due to each, and they are {counts:?}");
    Ok(())
}

fn play(family: Family, mode: Mode, legs: Legs) -> Result<()> {
    let plan = Plan { backends: FAULTS.len() as u8, ..Plan::new(mode, legs) };
    World::play(plan, |world| {
        let mut scene = Scene::new(world, family)?;
        let detection = scene.detection;
        let mut faults = Vec::new();
        for killed in [false, true] {
            for (index, fault) in FAULTS.into_iter().enumerate() {
                let found = scene.play(index, fault, killed);
                faults.push(
                    found.with_context(|| {
                        format!("{fault:?}, {}", if killed { "agent killed" } else { "agent alive" })
                    })?,
                );
            }
        }
        let requests = scene.load.stop()?;
        each_has_its_share(&requests, FAULTS.len())?;
        only_these_failed(&requests, &faults)?;
        // What a busy machine takes is allowed once, and not once for each.
        let took: Duration = faults.iter().map(|found| found.out - found.from).sum();
        let promised = detection * faults.len() as u32;
        ensure!(took < promised + ALLOWANCE, "it took {took:?} in all, and {promised:?} are promised: {faults:#?}");
        println!(
            "{} faults: out after {took:?} in all, {promised:?} promised; {} requests",
            faults.len(),
            requests.len()
        );
        Ok(())
    })
}

#[test]
fn each_fault_costs_the_requests_of_its_own_backend_until_it_is_found_out_ipv4_native_on_one_leg() -> Result<()> {
    play(Family::V4, Mode::Native, Legs::One)
}

#[test]
fn each_fault_costs_the_requests_of_its_own_backend_until_it_is_found_out_ipv6_generic_on_two_legs() -> Result<()> {
    play(Family::V6, Mode::Generic, Legs::Two)
}
