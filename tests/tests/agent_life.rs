//! The data plane outlives the agent: killed, restarted, replaced, and only `drlb detach` stops forwarding.

use anyhow::{Context, Result, ensure};
use drlb_tests::agent::Agent;
use drlb_tests::host::Host;
use drlb_tests::http;
use drlb_tests::load::{Connections, Load};
use drlb_tests::segment::Family;
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::{WEB, World, none_failed, spreads_like};
use drlb_tests::{at_two_corners, everywhere};
use serde_json::Value;

const WORKERS: usize = 4;

fn the_agent_is_killed_under_load_and_started_again_and_no_request_fails(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 2])?;
    let before = world.agent.status()?;
    let fresh = Load::start(world.client(), to, WORKERS, Connections::Fresh)?;
    let kept = Load::start(world.client(), to, 1, Connections::Kept)?;
    fresh.wait_for(200)?;
    world.agent.kill()?;
    // A good while without an agent.
    fresh.wait_for(500)?;
    world.agent.start_again()?;
    world.agent.wait_until_serving(WEB)?;
    fresh.wait_for(200)?;
    kept.wait_for(1)?;
    let (fresh, kept) = (fresh.stop()?, kept.stop()?);
    none_failed(&fresh)?;
    none_failed(&kept)?;
    ensure!(kept.by_backend.len() == 1, "a connection went from one backend to another: {:?}", kept.by_backend);
    spreads_like(&fresh, &[1, 1, 2])?;
    let after = world.agent.status()?;
    for (was, is) in before.listeners.iter().zip(&after.listeners) {
        for (was, is) in was.backends.iter().zip(&is.backends) {
            ensure!(was.slots == is.slots, "{} had {} slots and has {}", was.address, was.slots, is.slots);
            ensure!(is.counters.packets > was.counters.packets, "the counters of {} began anew", was.address);
        }
    }
    Ok(())
}
everywhere!(the_agent_is_killed_under_load_and_started_again_and_no_request_fails);

fn each_start_replaces_the_program_in_place_and_no_request_fails(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let load = Load::start(world.client(), to, WORKERS, Connections::Fresh)?;
    let mut programs = vec![program(&world.segment.balancer, "eth0")?];
    for _ in 0..3 {
        world.agent.stop()?;
        let while_stopped = program(&world.segment.balancer, "eth0")?;
        ensure!(programs.last() == Some(&while_stopped), "the agent's end changed the program");
        load.wait_for(50)?;
        world.agent.start_again()?;
        world.agent.wait_until_serving(WEB)?;
        let now = program(&world.segment.balancer, "eth0")?;
        ensure!(!programs.contains(&now), "program {now} was not replaced by the start");
        programs.push(now);
        load.wait_for(50)?;
    }
    none_failed(&load.stop()?)
}
at_two_corners!(each_start_replaces_the_program_in_place_and_no_request_fails);

fn what_was_changed_before_the_agent_was_killed_is_there_after_its_start(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let address = world.segment.backends[2].address(family).to_string();
    world.agent.tell(&["backend", "set", WEB, &address, "--weight", "4"])?;
    // Acknowledged, so it must last, even if the agent has no time for anything after.
    world.agent.kill()?;
    world.agent.start_again()?;
    world.agent.wait_until_serving(WEB)?;
    let counts = drlb_tests::load::requests(world.client(), to, 300)?;
    none_failed(&counts)?;
    spreads_like(&counts, &[1, 1, 4])
}
at_two_corners!(what_was_changed_before_the_agent_was_killed_is_there_after_its_start);

fn detach_stops_forwarding_and_a_clean_end_leaves_nothing_pinned(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    http::get(world.client(), to.ip(), to.port())?;
    for interface in world.segment.balancer_interfaces() {
        world.agent.tell(&["detach", interface])?;
        ensure!(program(&world.segment.balancer, interface).is_err(), "`{interface}` still has an XDP program");
    }
    // Nobody answers for the VIP any more. A connection cannot be tried, since it would only time out.
    let vip = to.ip().to_string();
    let client = world.client();
    client.run("ip", &["neighbour", "flush", "dev", "eth0"])?;
    ensure!(
        drlb_tests::traffic::is_silent(client, to.ip(), b"is anybody there?")?,
        "something still answers for {vip}"
    );
    ensure!(pinned(&world.segment.balancer)?.iter().any(|path| path.contains("FORWARDING")), "the maps are gone early");
    world.agent.stop()?;
    let left = pinned(&world.segment.balancer)?;
    ensure!(left.is_empty(), "these are left: {left:?}");
    Ok(())
}
at_two_corners!(detach_stops_forwarding_and_a_clean_end_leaves_nothing_pinned);

fn after_detach_and_attach_it_serves_again(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let mode = world.segment.plan.mode.word();
    for _ in 0..2 {
        for interface in world.segment.balancer_interfaces() {
            world.agent.tell(&["detach", interface])?;
        }
        for interface in world.segment.balancer_interfaces() {
            world.agent.tell(&["attach", interface, "--mode", mode])?;
        }
        world.agent.wait_until_serving(WEB)?;
        none_failed(&drlb_tests::load::requests(world.client(), to, 50)?)?;
    }
    Ok(())
}
at_two_corners!(after_detach_and_attach_it_serves_again);

fn a_clean_end_of_the_agent_goes_on_forwarding(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    world.agent.stop()?;
    let counts = drlb_tests::load::requests(world.client(), to, 100)?;
    none_failed(&counts)?;
    world.agent.start_again()?;
    until("the status to be whole again", SOON, || {
        let listener = world.agent.listener(WEB).map_err(|error| format!("{error:#}"))?;
        let serving = listener.backends.iter().filter(|backend| backend.slots > 0).count();
        if serving == 3 { Ok(()) } else { Err(format!("{serving} of 3 backends have slots")) }
    })
}
at_two_corners!(a_clean_end_of_the_agent_goes_on_forwarding);

#[test]
fn without_a_bpf_file_system_the_agent_mounts_one() -> Result<()> {
    let host = Host::new("bare")?;
    host.run("umount", &["/sys/fs/bpf"])?;
    let mut agent = Agent::start(&host)?;
    let mounted = host.run("findmnt", &["--noheadings", "--output", "FSTYPE", "/sys/fs/bpf"])?;
    ensure!(mounted.trim() == "bpf", "at /sys/fs/bpf there is `{}`", mounted.trim());
    ensure!(agent.log().contains("/sys/fs/bpf"), "it does not say what it mounted:\n{}", agent.log());
    agent.stop()
}

/// The id of the XDP program on an interface.
fn program(host: &Host, interface: &str) -> Result<u64> {
    let json = host.run("ip", &["-json", "link", "show", "dev", interface])?;
    let links: Value = serde_json::from_str(&json).with_context(|| format!("`ip -json` printed {json}"))?;
    links[0]["xdp"]["prog"]["id"].as_u64().with_context(|| format!("`{interface}` has no XDP program: {json}"))
}

/// Everything on the host's BPF file system, except the two files that the kernel itself puts on each
/// (kernel/bpf/preload).
fn pinned(host: &Host) -> Result<Vec<String>> {
    let list = host.run("find", &["/sys/fs/bpf", "-mindepth", "1", "-not", "-name", "*.debug"])?;
    Ok(list.lines().map(str::to_owned).collect())
}
