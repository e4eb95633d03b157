//! Health checks: only backends that really serve, by the VIP, take traffic.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use drlb_tests::load::{Connections, Load, requests};
use drlb_tests::moody::{Mood, Moody};
use drlb_tests::segment::{Family, Node};
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::{HTTP, WEB, World, none_failed, spreads_like};
use drlb_tests::{at_two_corners, everywhere};
use lb_userspace::engine::status::{BackendState, HealthState};

/// A check by HTTP that is quick to find out.
const QUICK: &[&str] = &["--type", "http", "--delay", "200ms", "--timeout", "200ms", "--fall", "2"];

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

/// The time that a machine with other work may need beyond what the formula says.
const ALLOWANCE: Duration = Duration::from_secs(10);

fn a_server_that_fails_in_any_way_is_out_in_time_and_back_when_it_is_well(
    world: &mut World,
    family: Family,
) -> Result<()> {
    world.servers.clear();
    let moody: Vec<_> =
        world.segment.backends.iter().map(|node| Moody::start(&node.host, HTTP)).collect::<Result<_>>()?;
    let to = world.balance_http(family, &[1, 1, 1])?;
    check(world, QUICK)?;
    world.agent.wait_until_serving(WEB)?;
    let sick = world.segment.backends[0].address(family);
    let detection = world.agent.listener(WEB)?.health.map_or(Duration::ZERO, |health| health.detection());
    for mood in [Mood::Fails, Mood::Closes, Mood::Hangs] {
        let load = Load::start(world.client(), to, 4, Connections::Fresh)?;
        load.wait_for(100)?;
        ensure!(load.counts().failed == 0, "before: {}", load.counts());
        moody[0].set(mood);
        let begun = Instant::now();
        world.agent.wait_for_backend(WEB, sick, BackendState::ServiceDown)?;
        let took = begun.elapsed();
        ensure!(took < detection + ALLOWANCE, "{mood:?}: it took {took:?}, and {detection:?} are promised");
        // What began before may still fail; what begins now does not.
        all_go_to(world, to, &[0, 1, 1])?;
        let counts = load.stop()?;
        // All that failed did so in that time, and of that no more than its share.
        ensure!(counts.failed > 0, "{mood:?}: no request failed, so the load says nothing: {counts}");
        ensure!(counts.failed < counts.total() / 2, "{mood:?}: {counts}");
        println!(
            "{mood:?}: down after {took:?} ({detection:?} promised), {} of {} failed",
            counts.failed,
            counts.total()
        );
        moody[0].set(Mood::Well);
        world.agent.wait_for_backend(WEB, sick, BackendState::Serving)?;
        all_go_to(world, to, &[1, 1, 1])?;
    }
    Ok(())
}
at_two_corners!(a_server_that_fails_in_any_way_is_out_in_time_and_back_when_it_is_well);

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

fn a_backend_whose_cable_is_pulled_is_out_and_comes_back(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    check(world, QUICK)?;
    world.agent.wait_until_serving(WEB)?;
    let node = &world.segment.backends[2];
    world.segment.plug(node, false)?;
    until("the backend to be out", SOON, || {
        let backend = world.agent.backend(WEB, node.address(family)).map_err(|error| format!("{error:#}"))?;
        if backend.slots == 0 { Ok(()) } else { Err(format!("it is {}", backend.state.name())) }
    })?;
    all_go_to(world, to, &[1, 1, 0])?;
    world.segment.plug(node, true)?;
    world.agent.wait_for_backend(WEB, node.address(family), BackendState::Serving)?;
    all_go_to(world, to, &[1, 1, 1])
}
at_two_corners!(a_backend_whose_cable_is_pulled_is_out_and_comes_back);

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
    check(world, &["--expect", "204"])?;
    for node in &world.segment.backends {
        world.agent.wait_for_backend(WEB, node.address(family), BackendState::ServiceDown)?;
    }
    let refused =
        world.client().enter(|| Ok(std::net::TcpStream::connect_timeout(&to, Duration::from_millis(300)).is_err()))?;
    ensure!(refused, "something answered though all are down");
    check(world, &["--when-all-down", "use-all"])?;
    all_go_to(world, to, &[1, 1, 1])?;
    world.agent.tell(&["health", "unset", WEB])?;
    world.agent.wait_until_serving(WEB)?;
    all_go_to(world, to, &[1, 1, 1])
}
at_two_corners!(when_all_are_down_a_setting_says_whether_all_are_used);

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
        check(world, QUICK)?;
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
