//! Five thousand health checks: every second, spread after a restart, and when none of them is answered.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use drlb_tests::moody::Moody;
use drlb_tests::segment::{Family, Legs, Mode, Plan, vip};
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::{HTTP, World};
use lb_userspace::engine::Status;
use lb_userspace::engine::status::HealthState;

const HOSTS: u8 = 5;
/// Backends at each host, each with an address of its own.
const BACKENDS: u8 = 10;
const LISTENERS: u16 = 100;
const CHECKS: usize = HOSTS as usize * BACKENDS as usize * LISTENERS as usize;
/// What `docs/health.md` says is the most.
const SOCKETS: usize = 1_024;

struct Scale<'a> {
    world: &'a mut World,
    servers: Vec<Moody>,
}

impl Scale<'_> {
    fn address(host: u8, backend: u8) -> String {
        format!("192.0.2.{}", 101 + host * BACKENDS + backend)
    }

    /// Makes all checks have this delay.
    fn apply(&self, delay: &str) -> Result<()> {
        let mut file = String::from("[[interfaces]]\nname = \"eth0\"\nmode = \"generic\"\n");
        for index in 0..LISTENERS {
            let (vip, port) = (vip(Family::V4, 0), 1_000 + index);
            writeln!(file, "[[listeners]]\nname = \"l{index}\"\nvip = \"{vip}\"\nprotocol = \"tcp\"\nport = {port}")?;
            // None goes down here: that would be another matter.
            writeln!(
                file,
                "slots = 101\nhealth = {{ type = \"tcp\", port = {HTTP}, delay = \"{delay}\", timeout = \"2s\", fall = 100 }}"
            )?;
            for address in (0..HOSTS).flat_map(|host| (0..BACKENDS).map(move |backend| Self::address(host, backend))) {
                writeln!(file, "[[listeners.backends]]\naddress = \"{address}\"")?;
            }
        }
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("drlb.toml");
        std::fs::write(&path, file)?;
        self.world.agent.tell(&["apply", "-f", &path.to_string_lossy()]).map(drop)
    }

    /// When the backends' servers took the probes that came since a time.
    fn probes(&self, since: Instant) -> Vec<Instant> {
        let taken = self.servers.iter().flat_map(Moody::taken).map(|taken| taken.at);
        let mut taken: Vec<_> = taken.filter(|at| *at >= since).collect();
        taken.sort_unstable();
        taken
    }

    /// Waits until so many probes have come since a time.
    fn wait_for_probes(&self, since: Instant, count: usize) -> Result<Vec<Instant>> {
        until("probes to come", SOON, || {
            let probes = self.probes(since);
            if probes.len() >= count { Ok(probes) } else { Err(format!("{} of {count} came", probes.len())) }
        })
    }

    /// Takes the VIP from all backends, so that no probe is answered, or gives it back.
    fn answer(&self, answer: bool) -> Result<()> {
        let verb = if answer { "add" } else { "del" };
        let vip = vip(Family::V4, 0);
        let mut hosts = self.world.segment.backends.iter();
        hosts.try_for_each(|node| node.host.ip(&format!("address {verb} {vip}/32 dev lo\n")).map(drop))
    }

    /// How many sockets the agent has.
    fn sockets(&self) -> Result<usize> {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.world.agent.pid()))?;
        let is_socket = |file: std::io::Result<std::fs::DirEntry>| {
            // One that is closed meanwhile is none.
            let target = std::fs::read_link(file.ok()?.path()).ok()?;
            target.to_string_lossy().starts_with("socket:").then_some(())
        };
        Ok(files.filter_map(is_socket).count())
    }
}

/// The most of these times that are in a span of this length.
fn most_within(times: &[Instant], span: Duration) -> usize {
    let within =
        |(index, first): (usize, &Instant)| times[index..].iter().take_while(|at| **at < *first + span).count();
    times.iter().enumerate().map(within).max().unwrap_or(0)
}

fn all_are_up(status: &Status) -> Result<()> {
    let backends = status.listeners.iter().flat_map(|listener| &listener.backends);
    let states: Vec<_> = backends.filter_map(|backend| backend.health.as_ref()).collect();
    ensure!(states.len() == CHECKS, "{} of {CHECKS} are checked", states.len());
    let wrong = states.iter().find(|health| health.state != HealthState::Up);
    ensure!(wrong.is_none(), "one is {wrong:?}");
    // An agent that runs out of files would say so here.
    let said: BTreeSet<_> = states.iter().filter_map(|health| health.reason.as_deref()).collect();
    ensure!(said.iter().all(|reason| reason.starts_with("no answer within")), "{said:?}");
    Ok(())
}

#[test]
fn five_thousand_checks_are_spread_done_every_second_and_bounded_when_none_is_answered() -> Result<()> {
    let plan = Plan { backends: HOSTS, ..Plan::new(Mode::Generic, Legs::One) };
    World::play(plan, |world| {
        world.servers.clear();
        let mut servers = Vec::new();
        for (host, node) in (0..HOSTS).zip(&world.segment.backends) {
            let add = |backend| format!("address add {}/24 dev eth0\n", Scale::address(host, backend));
            node.host.ip(&(0..BACKENDS).map(add).collect::<String>())?;
            servers.push(Moody::start(&node.host, HTTP)?);
        }
        // As few files as a service has unless it asks for more.
        world.agent.kill()?;
        world.agent.start_again_by(&["prlimit", "--nofile=1024:"])?;
        let begun = Instant::now();
        let scale = Scale { world, servers };
        let delay = Duration::from_secs(4);
        scale.apply("4s")?;
        scale.wait_for_probes(begun, CHECKS)?;
        until("all to be up", SOON, || {
            let status = scale.world.agent.status().map_err(|error| format!("{error:#}"))?;
            all_are_up(&status).map_err(|error| format!("{error:#}"))
        })?;

        // No herd after a restart: what a new agent knows already is asked within the delay, and not at once. A quarter of the
        // delay should see a quarter of the checks; half of them are allowed to a machine that stalls.
        scale.world.agent.kill()?;
        let killed = Instant::now();
        scale.world.agent.start_again()?;
        let probes = scale.wait_for_probes(killed, CHECKS)?;
        let most = most_within(&probes[..CHECKS], delay / 4);
        println!("after a restart: {most} of {CHECKS} probes in the worst quarter of the delay");
        ensure!(most < CHECKS / 2, "{most} of {CHECKS} probes came within {:?}", delay / 4);

        // Every second.
        scale.apply("1s")?;
        let (begun, before) = (Instant::now(), scale.world.agent.status()?.checks);
        scale.wait_for_probes(begun, 3 * CHECKS)?;
        let took = begun.elapsed();
        let status = scale.world.agent.status()?;
        all_are_up(&status)?;
        let checks = status.checks;
        let rate = (3 * CHECKS) as f64 / took.as_secs_f64();
        println!("every second: {rate:.0} probes a second; {checks:?}");
        ensure!(checks.checked == CHECKS as u64, "{checks:?}");
        ensure!(checks.failed * 100 < checks.probes, "more than one in a hundred failed: {checks:?}");
        ensure!(checks.probes > before.probes, "they are not counted: {before:?}, {checks:?}");

        // None is answered: five thousand a second want a socket for two seconds each.
        scale.answer(false)?;
        let mut sockets = 0;
        let full = until("as many to be under way as may", SOON, || {
            sockets = sockets.max(scale.sockets().map_err(|error| format!("{error:#}"))?);
            let checks = scale.world.agent.status().map_err(|error| format!("{error:#}"))?.checks;
            // Those that failed were followed by others.
            let is_full = checks.most_in_flight == SOCKETS as u64
                && checks.late > status.checks.late + 1_000
                && checks.failed > status.checks.failed + 2 * SOCKETS as u64;
            if is_full { Ok(checks) } else { Err(format!("{checks:?}")) }
        })?;
        println!("unanswered: {full:?}; {sockets} sockets");
        ensure!(full.in_flight <= SOCKETS as u64, "{full:?}");
        ensure!(sockets <= SOCKETS + 100, "the agent had {sockets} sockets");
        scale.answer(true)?;
        let answered = Instant::now();
        scale.wait_for_probes(answered, CHECKS)?;
        let status = scale.world.agent.status()?;
        all_are_up(&status)?;
        let text = scale.world.agent.tell(&["status"])?;
        ensure!(text.contains("health checks began late, for want of room"), "the status does not tell of late checks");
        Ok(())
    })
}
