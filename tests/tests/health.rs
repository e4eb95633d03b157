//! Health checks: only backends that really serve, by the VIP, take traffic.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use drlb_tests::flows::Kind;
use drlb_tests::lasting::{BOTH, Lasting};
use drlb_tests::load::{Connections, Load, requests};
use drlb_tests::moody::{Mood, Moody};
use drlb_tests::paced::{Paced, Request};
use drlb_tests::segment::{Family, Node};
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::{HTTP, WEB, World, none_failed, spreads_like};
use drlb_tests::{at_two_corners, everywhere};
use lb_userspace::engine::status::{BackendState, HealthState};

/// A check by HTTP that is quick to find out.
const QUICK: &[&str] = &["--type", "http", "--delay", "200ms", "--timeout", "200ms", "--fall", "2"];

/// How many flows of each kind: enough for each backend to have some.
const FLOWS: usize = 60;

fn check(world: &World, arguments: &[&str]) -> Result<String> {
    world.agent.tell(&[&["health", "set", WEB], arguments].concat())
}

/// Takes the VIP from a backend, or gives it back.
fn hold_vip(node: &Node, to: SocketAddr, holds: bool) -> Result<()> {
    let whole = if to.is_ipv4() { 32 } else { 128 };
    let what = if holds { "add" } else { "del" };
    let nodad = if holds && to.is_ipv6() { " nodad" } else { "" };
    node.host.ip(&format!("address {what} {}/{whole} dev lo{nodad}\n", to.ip())).map(drop)
}

fn all_go_to(world: &World, to: SocketAddr, weights: &[u16]) -> Result<()> {
    let counts = requests(world.client(), to, 100)?;
    none_failed(&counts)?;
    spreads_like(&counts, weights)
}

fn a_backend_without_the_vip_takes_nothing_and_is_told_from_one_without_the_service(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    check(world, QUICK)?;
    world.agent.wait_until_serving(WEB)?;
    let (lacking, dead) = (&world.segment.backends[0], &world.segment.backends[1]);
    hold_vip(lacking, to, false)?;
    world.agent.wait_for_backend(WEB, lacking.address(family), BackendState::VipPathBroken)?;
    drop(world.servers.remove(1));
    world.agent.wait_for_backend(WEB, dead.address(family), BackendState::ServiceDown)?;
    all_go_to(world, to, &[0, 0, 1])?;
    hold_vip(lacking, to, true)?;
    world.agent.wait_for_backend(WEB, lacking.address(family), BackendState::Serving)?;
    all_go_to(world, to, &[1, 0, 1])
}
everywhere!(a_backend_without_the_vip_takes_nothing_and_is_told_from_one_without_the_service);

fn a_new_agent_knows_who_was_up_and_finds_out_what_changed_while_there_was_none(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    check(world, QUICK)?;
    world.agent.wait_until_serving(WEB)?;
    let (dead, dying) = (world.segment.backends[0].address(family), world.segment.backends[1].address(family));
    drop(world.servers.remove(0));
    world.agent.wait_for_backend(WEB, dead, BackendState::ServiceDown)?;
    let load = Load::start(world.client(), to, 4, Connections::Fresh)?;
    load.wait_for(50)?;
    // Killed while a check is under way, and the standings are those from before.
    world.agent.kill()?;
    load.wait_for(200)?;
    world.agent.start_again()?;
    let state = |address| -> Result<_> { Ok(world.agent.backend(WEB, address)?.health.map(|health| health.state)) };
    ensure!(state(dead)? == Some(HealthState::ServiceDown), "what was down is {:?}", state(dead)?);
    ensure!(state(dying)? == Some(HealthState::Up), "what was up is {:?}", state(dying)?);
    load.wait_for(200)?;
    none_failed(&load.stop()?)?;
    // What dies while there is no agent is found out by the next.
    world.agent.kill()?;
    drop(world.servers.remove(0));
    world.agent.start_again()?;
    world.agent.wait_for_backend(WEB, dying, BackendState::ServiceDown)?;
    all_go_to(world, to, &[0, 0, 1])
}
at_two_corners!(a_new_agent_knows_who_was_up_and_finds_out_what_changed_while_there_was_none);

fn pings_tcp_and_datagrams_tell_who_serves(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let node = &world.segment.backends[0];
    let address = node.address(family);
    let quick = ["--delay", "200ms", "--timeout", "1s", "--fall", "2"];

    check(world, &[&["--type", "icmp"], &quick[..]].concat())?;
    world.agent.wait_until_serving(WEB)?;
    hold_vip(node, to, false)?;
    world.agent.wait_for_backend(WEB, address, BackendState::VipPathBroken)?;
    hold_vip(node, to, true)?;
    world.agent.wait_for_backend(WEB, address, BackendState::Serving)?;

    check(world, &["--type", "tcp", "--port", "81"])?;
    world.agent.wait_for_backend(WEB, address, BackendState::ServiceDown)?;
    let reason = world.agent.backend(WEB, address)?.reason.unwrap_or_default();
    ensure!(reason.contains("port 81 refuses connections"), "the reason is `{reason}`");
    check(world, &["--type", "tcp", "--port", "0"])?;
    world.agent.wait_until_serving(WEB)?;

    check(world, &["--type", "udp", "--port", "9"])?;
    world.agent.wait_for_backend(WEB, address, BackendState::ServiceDown)?;
    let reason = world.agent.backend(WEB, address)?.reason.unwrap_or_default();
    ensure!(reason.contains("port 9 is closed (ICMP port unreachable)"), "the reason is `{reason}`");
    let _silent = node.host.enter(|| Ok(UdpSocket::bind("[::]:9")?))?;
    world.agent.wait_for_backend(WEB, address, BackendState::Serving)?;
    Ok(())
}
everywhere!(pings_tcp_and_datagrams_tell_who_serves);

fn when_all_are_down_a_setting_says_whether_all_are_used(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    check(world, QUICK)?;
    let load = Paced::start(world.client(), to)?;
    check(world, &["--expect", "204"])?;
    for node in &world.segment.backends {
        world.agent.wait_for_backend(WEB, node.address(family), BackendState::ServiceDown)?;
    }
    let down = Instant::now();
    let refused =
        world.client().enter(|| Ok(std::net::TcpStream::connect_timeout(&to, Duration::from_millis(300)).is_err()))?;
    ensure!(refused, "something answered though all are down");
    let asked = Instant::now();
    check(world, &["--when-all-down", "use-all"])?;
    let used = Instant::now();
    load.wait_for_answers(used, 200, None)?;
    world.agent.tell(&["health", "unset", WEB])?;
    world.agent.wait_until_serving(WEB)?;
    let again = Instant::now();
    load.wait_for_answers(again, 100, None)?;
    let requests = load.stop()?;
    let answered = |request: &Request| request.outcome.is_ok();
    let meanwhile = |request: &&Request| request.begun >= down && request.begun + request.took <= asked;
    let wrong = requests.iter().filter(meanwhile).filter(|request| answered(request)).count();
    ensure!(wrong == 0, "{wrong} requests were answered while all were down");
    let since: Vec<_> = requests.iter().filter(|request| request.begun >= used).collect();
    let lost: Vec<_> = since.iter().filter(|request| !answered(request)).collect();
    ensure!(lost.is_empty(), "of {} that began since all are used failed {lost:?}", since.len());
    all_go_to(world, to, &[1, 1, 1])
}
at_two_corners!(when_all_are_down_a_setting_says_whether_all_are_used);

fn who_keeps_going_down_needs_ever_more_right_answers_and_is_named(world: &mut World, family: Family) -> Result<()> {
    world.servers.clear();
    let moody: Vec<_> =
        world.segment.backends.iter().map(|node| Moody::start(&node.host, HTTP)).collect::<Result<_>>()?;
    world.balance_http(family, &[1, 1, 1])?;
    check(world, &["--type", "http", "--delay", "100ms", "--timeout", "2s", "--rise", "1", "--fall", "1"])?;
    world.agent.wait_until_serving(WEB)?;
    let address = world.segment.backends[0].address(family);
    for (needed, flapping) in [(1, false), (2, false), (4, true)] {
        moody[0].set(Mood::Fails);
        world.agent.wait_for_backend(WEB, address, BackendState::ServiceDown)?;
        let backend = world.agent.backend(WEB, address)?;
        let health = backend.health.context("it is not checked")?;
        ensure!((health.needed, health.flapping) == (needed, flapping), "{health:?}");
        let reason = backend.reason.unwrap_or_default();
        ensure!(reason.contains("keeps going down, so it needs 4 right answers") == flapping, "{reason}");
        let well = Instant::now();
        moody[0].set(Mood::Well);
        world.agent.wait_for_backend(WEB, address, BackendState::Serving)?;
        let vip = drlb_tests::segment::vip(family, 0);
        let answered = moody[0].taken().into_iter().filter(|taken| taken.at >= well && taken.to == vip).count();
        ensure!(answered >= needed as usize, "it was up after {answered} right answers, and {needed} were needed");
    }
    let text = world.agent.tell(&["status"])?;
    ensure!(text.contains(&format!("{address} serves and keeps going down")), "{text}");
    world.agent.wait_for_event(&["--kind", "backend-flapping"], &[&address.to_string(), "4 right answers"])?;
    let others = &world.segment.backends[1..];
    others.iter().try_for_each(|node| world.agent.wait_for_backend(WEB, node.address(family), BackendState::Serving))
}
at_two_corners!(who_keeps_going_down_needs_ever_more_right_answers_and_is_named);

fn a_backend_that_fails_its_checks_loses_its_flows_at_once_and_nobody_else_does(
    world: &mut World,
    family: Family,
) -> Result<()> {
    world.servers.clear();
    let moody: Vec<_> =
        world.segment.backends.iter().map(|node| Moody::start(&node.host, HTTP)).collect::<Result<_>>()?;
    let lasting = Lasting::new(world, family, &[], &[1, 1, 1])?;
    for listener in BOTH {
        lasting.world.agent.tell(&[&["health", "set", listener, "--port", "80"], QUICK].concat())?;
        lasting.world.agent.wait_until_serving(listener)?;
    }
    let (tcp, udp) = (lasting.open(Kind::Tcp, FLOWS)?, lasting.open(Kind::Udp, FLOWS)?);
    let (name, address) = (lasting.name(1).to_owned(), lasting.world.segment.backends[1].address(family));
    ensure!(tcp.at(&name) > 0 && udp.at(&name) > 0, "{name} has no flows to lose");
    // What carries the flows is well, and answers: they leave because they are led elsewhere.
    moody[1].set(Mood::Fails);
    for listener in BOTH {
        lasting.world.agent.wait_for_backend(listener, address, BackendState::ServiceDown)?;
    }
    udp.wait_until_left(&name)?;
    tcp.wait_until_left(&name)?;
    udp.wait_for_all(2)?;
    let moved = udp.tally().moved;
    moody[1].set(Mood::Well);
    for listener in BOTH {
        lasting.world.agent.wait_for_backend(listener, address, BackendState::Serving)?;
    }
    tcp.wait_for_all(2)?;
    udp.wait_for_all(2)?;
    let (tcp, udp) = (tcp.stop()?, udp.stop()?);
    tcp.only_those_suffered(&name)?;
    udp.only_those_suffered(&name)?;
    ensure!(moved > 0 && tcp.broken > 0, "no flow of {name} suffered: {tcp}; {udp}");
    ensure!(udp.moved == moved, "flows went back: {moved} had moved, and {} have", udp.moved);
    Ok(())
}
at_two_corners!(a_backend_that_fails_its_checks_loses_its_flows_at_once_and_nobody_else_does);

fn health_checks_leave_nothing_on_the_host(world: &mut World, family: Family) -> Result<()> {
    let shown = |world: &World| -> Result<String> {
        let host = &world.segment.balancer;
        let mut text = String::new();
        for what in ["link", "address", "route", "-6 route", "rule"] {
            let arguments = ["-o"].into_iter().chain(what.split(' ')).chain(["show"]).collect::<Vec<_>>();
            text += &host.run("ip", &arguments)?;
        }
        Ok(text)
    };
    world.balance_http(family, &[1, 1, 1])?;
    let before = shown(world)?;
    check(world, QUICK)?;
    world.agent.wait_until_serving(WEB)?;
    ensure!(shown(world)? == before, "while checks run the host shows\n{}\nand before\n{before}", shown(world)?);
    world.agent.kill()?;
    ensure!(shown(world)? == before, "after a kill the host shows\n{}\nand before\n{before}", shown(world)?);
    world.agent.start_again()?;
    world.agent.wait_until_serving(WEB)
}
at_two_corners!(health_checks_leave_nothing_on_the_host);

/// With the last check of a family its address went, and with that the kernel took the way that the next one needs.
fn a_check_that_is_set_again_after_the_last_one_was_taken_away_still_works(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    for _ in 0..2 {
        // Often, and with time for an answer: no check may fail because the machine is busy.
        check(world, &["--type", "http", "--delay", "200ms", "--timeout", "5s"])?;
        let begun = world.agent.status()?.checks.probes;
        until("the backends to be checked", SOON, || {
            let checks = world.agent.status().map_err(|error| format!("{error:#}"))?.checks;
            if checks.probes >= begun + 9 { Ok(()) } else { Err(format!("{checks:?}")) }
        })?;
        let failed = world.agent.status()?.checks.failed;
        ensure!(failed == 0, "{failed} checks failed");
        world.agent.tell(&["health", "unset", WEB])?;
    }
    all_go_to(world, to, &[1, 1, 1])
}
at_two_corners!(a_check_that_is_set_again_after_the_last_one_was_taken_away_still_works);
