//! A VIP and other hosts on the segment: it is announced, defended, and those that have it, too, are named. And VIPs that
//! the host or nobody owns.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use drlb_tests::agent::Agent;
use drlb_tests::at_two_corners;
use drlb_tests::host::Host;
use drlb_tests::http;
use drlb_tests::segment::{Family, Legs, Mode, Net, Node, Plan};
use drlb_tests::traffic::{is_silent, ping};
use drlb_tests::wait::{SOON, until};
use drlb_tests::wire::Wire;
use drlb_tests::world::{WEB, World};
use lb_common::address::MacAddr;
use lb_userspace::engine::status::RivalStatus;
use lb_userspace::ethernet::frames::{announcement, probe};

/// Much less than the time between two announcements that nobody gives cause for.
const BEFORE_THE_NEXT: Duration = Duration::from_secs(25);

/// Two clients, of which the second one is whatever the scenario needs it for.
fn with_another_host(mode: Mode, scenario: impl FnOnce(&mut World) -> Result<()>) -> Result<()> {
    World::play(Plan { clients: 2, ..Plan::new(mode, Legs::One) }, scenario)
}

fn balance(agent: &Agent, world: &World, family: Family, to: SocketAddr) -> Result<()> {
    let (vip, port) = (to.ip().to_string(), to.port().to_string());
    agent.tell(&["listener", "add", WEB, "--vip", &vip, "--protocol", "tcp", "--port", &port])?;
    for backend in &world.segment.backends {
        agent.tell(&["backend", "add", WEB, &backend.address(family).to_string()])?;
    }
    Ok(())
}

/// Waits until a host believes a VIP to be at a MAC.
fn wait_until_known_at(host: &Host, vip: IpAddr, mac: MacAddr) -> Result<()> {
    until("a host to learn where the VIP is", SOON, || {
        let shown = host.run("ip", &["neighbour", "show", &vip.to_string(), "dev", "eth0"]);
        let shown = shown.map_err(|error| format!("{error:#}"))?;
        if shown.contains(&mac.to_string()) { Ok(()) } else { Err(format!("it believes `{}`", shown.trim())) }
    })
}

/// Waits until the status names a host as a rival for a VIP.
fn wait_for_rival(agent: &Agent, vip: IpAddr, mac: MacAddr, claims: bool) -> Result<RivalStatus> {
    until("a rival to be named", SOON, || {
        let status = agent.status().map_err(|error| format!("{error:#}"))?;
        let vips = status.vips.into_iter().filter(|status| status.address.ip() == vip);
        let mut rivals = vips.flat_map(|vip| vip.rivals);
        let found = rivals.find(|rival| rival.mac == mac.to_string() && rival.claims == claims);
        found.ok_or_else(|| "no such host is named".to_owned())
    })
}

fn a_second_balancer_takes_over(family: Family) -> Result<()> {
    with_another_host(Mode::Generic, |world| {
        let to = world.balance_http(family, &[1, 1, 1])?;
        let second = world.segment.clients[1].clone();
        http::get(world.client(), to.ip(), to.port())?;
        wait_until_known_at(world.client(), to.ip(), world.segment.balancer_macs()[0])?;

        // The first one is gone from the segment.
        world.agent.kill()?;
        let port = world.segment.balancer_ports().remove(0);
        world.segment.switch.ip(&format!("link set {port} down\n"))?;
        let agent = Agent::start(&second.host)?;
        balance(&agent, world, family, to)?;
        agent.tell(&["attach", "eth0", "--mode", "generic"])?;
        agent.wait_until_serving(WEB)?;
        // The client did not ask: it was told.
        wait_until_known_at(world.client(), to.ip(), second.mac())?;
        for _ in 0..20 {
            http::get(world.client(), to.ip(), to.port())?;
        }
        ensure!(agent.listener(WEB)?.counters.packets > 0, "the second balancer forwarded nothing");
        Ok(())
    })
}

#[test]
fn the_segment_learns_by_itself_that_a_second_balancer_took_over_ipv4() -> Result<()> {
    a_second_balancer_takes_over(Family::V4)
}

#[test]
fn the_segment_learns_by_itself_that_a_second_balancer_took_over_ipv6() -> Result<()> {
    a_second_balancer_takes_over(Family::V6)
}

fn the_vip_is_announced_when_it_is_added_and_when_the_agent_starts(world: &mut World, family: Family) -> Result<()> {
    let wire = Wire::open(world.client(), "eth0")?;
    let balancer = world.segment.balancer_macs()[0];
    let to = world.balance_http(family, &[1])?;
    let expected = announcement(to.ip(), balancer);
    let is_announcement = |frame: &[u8]| frame == expected;
    wire.wait_for("the announcement of a new VIP", balancer, is_announcement)?;
    let asked = probe(to.ip(), balancer);
    wire.wait_for("the question who else has it", balancer, |frame| frame == asked)?;
    world.agent.kill()?;
    let wire = Wire::open(world.client(), "eth0")?;
    world.agent.start_again()?;
    wire.wait_for("the announcement at the agent's start", balancer, is_announcement)?;
    world.agent.tell(&["listener", "set", WEB, "--vip-owner", "none"])?;
    let wire = Wire::open(world.client(), "eth0")?;
    world.agent.tell(&["listener", "set", WEB, "--vip-owner", "xdp"])?;
    wire.wait_for("the announcement of a VIP that is ours again", balancer, is_announcement).map(drop)
}
at_two_corners!(the_vip_is_announced_when_it_is_added_and_when_the_agent_starts);

fn who_wants_the_vip_is_told_that_it_is_taken_and_who_claims_it_is_answered(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let wire = Wire::open(world.client(), "eth0")?;
    let to = world.balance_http(family, &[1])?;
    let (client, balancer) = (world.segment.clients[0].mac(), world.segment.balancer_macs()[0]);
    let defence = announcement(to.ip(), balancer);
    // After the two announcements of a new VIP the next one by itself is a minute away.
    for _ in 0..2 {
        wire.wait_for("the announcement of a new VIP", balancer, |frame| frame == defence)?;
    }

    wire.send(&probe(to.ip(), client))?;
    match to.ip() {
        IpAddr::V4(vip) => {
            // An ARP reply (2) from the VIP at our MAC.
            let reply = wire.wait_for("the answer to a probe", balancer, |frame| {
                frame.get(20..22) == Some(&[0, 2]) && frame.get(28..32) == Some(&vip.octets()[..])
            })?;
            ensure!(reply[22..28] == balancer.0, "the VIP is said to be at {:02x?}", &reply[22..28]);
        }
        IpAddr::V6(_) => {
            wire.wait_so_long_for(BEFORE_THE_NEXT, "the answer to a solicitation", balancer, |frame| frame == defence)?;
        }
    }
    let rival = wait_for_rival(&world.agent, to.ip(), client, false)?;
    ensure!(rival.interface == "eth0" && rival.reason.contains("wanted"), "{rival:?}");

    let wire = Wire::open(world.client(), "eth0")?;
    wire.send(&announcement(to.ip(), client))?;
    wire.wait_so_long_for(BEFORE_THE_NEXT, "the defence against a claim", balancer, |frame| frame == defence)?;
    let rival = wait_for_rival(&world.agent, to.ip(), client, true)?;
    ensure!(rival.reason.contains("remove the address there"), "{rival:?}");
    let text = world.agent.tell(&["status"])?;
    let expected = format!("VIPs: the host {client} behind eth0 has {}, too", to.ip());
    ensure!(text.contains(&expected), "{text}");
    http::get(world.client(), to.ip(), to.port()).map(drop)
}
at_two_corners!(who_wants_the_vip_is_told_that_it_is_taken_and_who_claims_it_is_answered);

fn a_host_that_has_the_vip_is_named(family: Family) -> Result<()> {
    with_another_host(Mode::Native, |world| {
        let other: Node = world.segment.clients[1].clone();
        let vip = drlb_tests::segment::vip(family, 0);
        let bits = if family == Family::V4 { "/32" } else { "/128 nodad" };
        let (address, nodad) = bits.split_once(' ').map_or((bits, ""), |(bits, nodad)| (bits, nodad));
        other.host.ip(&format!("address add {vip}{address} dev eth0 {nodad}\n"))?;
        // It says nothing by itself; it answers when it is asked.
        world.balance_http(family, &[1])?;
        let rival = wait_for_rival(&world.agent, vip, other.mac(), true)?;
        ensure!(rival.interface == "eth0" && rival.reason.contains(&other.mac().to_string()), "{rival:?}");
        // The backends have it, too, but keep silent about it.
        let status = world.agent.status()?;
        let named: Vec<_> = status.vips.iter().flat_map(|vip| &vip.rivals).map(|rival| rival.mac.clone()).collect();
        ensure!(named == [other.mac().to_string()], "{named:?} are named");
        Ok(())
    })
}

#[test]
fn a_host_that_has_the_vip_is_named_in_the_status_ipv4() -> Result<()> {
    a_host_that_has_the_vip_is_named(Family::V4)
}

#[test]
fn a_host_that_has_the_vip_is_named_in_the_status_ipv6() -> Result<()> {
    a_host_that_has_the_vip_is_named(Family::V6)
}

fn a_vip_of_the_host_is_answered_by_its_kernel_and_one_of_nobody_not_at_all(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = world.balance_http(family, &[1, 1])?;
    let vip = to.ip();
    let forget = || world.client().run("ip", &["neighbour", "flush", "dev", "eth0"]).map(drop);
    let whole = if family == Family::V4 { "/32" } else { "/128" };
    let nodad = if family == Family::V4 { "" } else { "nodad" };
    ping(world.client(), vip, b"ours")?;

    world.agent.tell(&["listener", "set", WEB, "--vip-owner", "host"])?;
    forget()?;
    ensure!(
        is_silent(world.client(), vip, b"is anybody there?")?,
        "the kernel does not have {vip}, and somebody answered"
    );
    world.segment.balancer.ip(&format!("address add {vip}{whole} dev eth0 {nodad}\n"))?;
    forget()?;
    ping(world.client(), vip, b"the kernel's")?;
    ensure!(http::get(world.client(), vip, to.port())?.starts_with("backend"), "the kernel got the listener's traffic");

    world.agent.tell(&["listener", "set", WEB, "--vip-owner", "none"])?;
    forget()?;
    ensure!(is_silent(world.client(), vip, b"is anybody there?")?, "nobody owns {vip}, and somebody answered");
    let text = world.agent.tell(&["listener", "show", WEB])?;
    ensure!(text.contains(&format!("Nobody answers for {vip}")), "{text}");
    // It is routed to the balancer.
    let balancer = world.segment.balancer_address(Net::Front, family).to_string();
    world.client().run("ip", &["route", "add", &format!("{vip}{whole}"), "via", &balancer])?;
    ensure!(http::get(world.client(), vip, to.port())?.starts_with("backend"), "routed traffic is not balanced");
    let refused = world.agent.ask(&[
        "listener",
        "add",
        "other",
        "--vip",
        &vip.to_string(),
        "--protocol",
        "udp",
        "--port",
        "53",
        "--vip-owner",
        "xdp",
    ])?;
    ensure!(refused.code == Some(1) && refused.stderr.contains("has the owner none"), "{refused:?}");
    world.client().run("ip", &["route", "del", &format!("{vip}{whole}")]).context("the route")?;

    world.agent.tell(&["listener", "set", WEB, "--vip-owner", "xdp"])?;
    forget()?;
    ping(world.client(), vip, b"ours again").map(drop)
}
at_two_corners!(a_vip_of_the_host_is_answered_by_its_kernel_and_one_of_nobody_not_at_all);
