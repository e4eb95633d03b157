//! Backends and links that come, move, go and come back are followed, and traffic with them.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use drlb_tests::at_two_corners;
use drlb_tests::load::{Connections, Load, requests};
use drlb_tests::segment::{Family, Legs, Mode, Node, Plan};
use drlb_tests::wait::{SOON, until};
use drlb_tests::wire::Wire;
use drlb_tests::world::{WEB, World, none_failed, spreads_like};
use lb_common::address::MacAddr;
use lb_userspace::engine::status::BackendState;
use lb_userspace::ethernet::frames::announcement;
use lb_userspace::events::EventKind;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The MAC that a backend gets in these scenarios.
const NEW: MacAddr = MacAddr([2, 0, 0, 0, 0x99, 0x99]);
/// What a machine with other work may need beyond a bound.
const ALLOWANCE: Duration = Duration::from_secs(5);
/// How often the kernel asks for a neighbour that does not answer: three times, a second apart, in each of these
/// (`interval_probe_time_ms` and `mcast_solicit` in Documentation/networking/ip-sysctl.rst).
const INTERVAL: Duration = Duration::from_secs(5);
const ASKED_IN_INTERVAL: u32 = 3;

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Gives a backend another MAC, which it announces, as a server does that took another one's place.
fn move_mac(node: &Node, family: Family) -> Result<()> {
    node.host.ip(&format!("link set eth0 address {NEW}\n"))?;
    Wire::open(&node.host, "eth0")?.send(&announcement(node.address(family), NEW))
}

fn wait_for_mac(world: &World, address: IpAddr, mac: MacAddr) -> Result<()> {
    until(&format!("{address} to be at {mac}"), SOON, || {
        let backend = world.agent.backend(WEB, address).map_err(|error| format!("{error:#}"))?;
        match backend.mac {
            Some(known) if known == mac.to_string() && backend.state == BackendState::Serving => Ok(()),
            other => Err(format!("it is at {other:?}, {}", backend.state.name())),
        }
    })
}

fn all_serve(world: &World, to: std::net::SocketAddr) -> Result<()> {
    let counts = requests(world.client(), to, 100)?;
    none_failed(&counts)?;
    spreads_like(&counts, &[1, 1, 1])
}

fn a_mac_that_moves_is_followed_within_a_second_under_load(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let moved = &world.segment.backends[0];
    let load = Load::start(world.client(), to, 4, Connections::Fresh)?;
    load.wait_for(50)?;
    let begun = unix_ms();
    move_mac(moved, family)?;
    let address = moved.address(family).to_string();
    let event =
        world.agent.wait_for_event(&["--kind", "neighbour-moved", "--backend", &address], &[&NEW.to_string()])?;
    let took = Duration::from_millis(event.time_ms.saturating_sub(begun));
    ensure!(took < Duration::from_secs(1) + ALLOWANCE, "it took {took:?}");
    println!("followed after {took:?}");
    wait_for_mac(world, moved.address(family), NEW)?;
    load.wait_for(50)?;
    load.stop()?;
    all_serve(world, to)
}
at_two_corners!(a_mac_that_moves_is_followed_within_a_second_under_load);

fn a_dead_address_is_asked_for_in_measure_and_found_soon_after_it_comes_to_life(
    world: &mut World,
    family: Family,
) -> Result<()> {
    world.balance_http(family, &[1])?;
    let node = &world.segment.backends[1];
    let late = node.net.address(family, 88);
    let leg = world.segment.balancer_macs().pop().context("the balancer has a leg")?;
    let wire = Wire::open(&node.host, "eth0")?;
    world.agent.tell(&["backend", "add", WEB, &late.to_string()])?;
    let target = match late {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    // An ARP request, or a solicitation for it.
    let asks = |frame: &[u8]| match late {
        IpAddr::V4(_) => frame.get(12..14) == Some(&[8, 6]) && frame.get(38..42) == Some(&target[..]),
        IpAddr::V6(_) => frame.get(54) == Some(&135) && frame.get(62..78) == Some(&target[..]),
    };
    // Those that the first question brings; all later ones follow the kernel's clock.
    for _ in 0..=ASKED_IN_INTERVAL {
        wire.wait_for("it to be asked for", leg, asks)?;
    }
    let begun = Instant::now();
    let more = 2 * ASKED_IN_INTERVAL;
    for _ in 0..more {
        wire.wait_for("it to be asked for again", leg, asks)?;
    }
    // Two intervals; without a pause between questions it were one second for each.
    let took = begun.elapsed();
    let least = Duration::from_secs(u64::from(more) + 1);
    ensure!(took > least, "it was asked for {more} times in {took:?}, and {:?} are due", 2 * INTERVAL);
    let prefix = if family == Family::V4 { "24 dev eth0" } else { "64 dev eth0 nodad" };
    let begun = unix_ms();
    node.host.ip(&format!("address add {late}/{prefix}\n"))?;
    let text = late.to_string();
    let event = world.agent.wait_for_event(&["--kind", "neighbour-learnt", "--backend", &text], &[&text])?;
    let took = Duration::from_millis(event.time_ms.saturating_sub(begun));
    ensure!(took < INTERVAL + ALLOWANCE, "it was found after {took:?}");
    println!("found after {took:?}");
    world.agent.wait_for_backend(WEB, late, BackendState::Serving)
}
at_two_corners!(a_dead_address_is_asked_for_in_measure_and_found_soon_after_it_comes_to_life);

#[test]
fn announcements_that_the_kernel_dropped_are_made_up_for_and_counted() -> Result<()> {
    World::play(Plan::new(Mode::Generic, Legs::One), |world| {
        let to = world.balance_http(Family::V4, &[1, 1, 1])?;
        let moved = &world.segment.backends[0];
        let agent = Pid::from_raw(world.agent.pid().cast_signed());
        // While it cannot read, more happens than the kernel keeps for it; the last of it is what counts.
        kill(agent, Signal::SIGSTOP)?;
        let mut flood = String::new();
        for number in 0..20_000 {
            let (a, b) = (number / 250, number % 250);
            writeln!(flood, "neighbour replace 10.9.{a}.{b} lladdr 02:00:00:00:00:99 dev eth0")?;
        }
        // An entry of the operator's, which the kernel announces this once and never again.
        let address = moved.address(Family::V4);
        writeln!(flood, "neighbour replace {address} lladdr {NEW} dev eth0 nud permanent")?;
        let flooded = world.segment.balancer.ip(&flood);
        kill(agent, Signal::SIGCONT)?;
        flooded?;
        moved.host.ip(&format!("link set eth0 address {NEW}\n"))?;
        world.agent.wait_for_event(&["--kind", "netlink-overrun"], &["were read anew"])?;
        wait_for_mac(world, address, NEW)?;
        let counted = world.agent.status()?.events.into_iter().find(|count| count.kind == EventKind::NetlinkOverrun);
        ensure!(counted.as_ref().is_some_and(|count| count.count > 0), "{counted:?}");
        ensure!(world.agent.tell(&["stats"])?.contains("netlink-overrun"), "the stats do not show it");
        all_serve(world, to)
    })
}

fn a_link_that_goes_down_is_renamed_or_replaced_is_followed_and_traffic_goes_on(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let happened = |kind: &str, words: &[&str]| world.agent.wait_for_event(&["--kind", kind], words).map(drop);
    let port = world.segment.balancer_ports().remove(0);
    world.segment.switch.ip(&format!("link set {port} down\n"))?;
    happened("link-down", &["eth0"])?;
    world.segment.switch.ip(&format!("link set {port} up\n"))?;
    happened("link-up", &["eth0"])?;
    world.agent.wait_until_serving(WEB)?;
    all_serve(world, to)?;

    // The program stays on a link that is renamed.
    world.segment.balancer.ip("link set eth0 name lan0\n")?;
    happened("link-renamed", &["eth0", "lan0"])?;
    all_serve(world, to)?;
    world.segment.balancer.ip("link set lan0 name eth0\n")?;
    happened("link-renamed", &["link lan0 is called eth0"])?;
    world.agent.wait_until_serving(WEB)?;
    all_serve(world, to)?;

    world.segment.replace_front_leg(1)?;
    world.agent.wait_for_event(&["--kind", "xdp-reattached"], &["eth0"])?;
    world.agent.wait_until_serving(WEB)?;
    all_serve(world, to)
}
at_two_corners!(a_link_that_goes_down_is_renamed_or_replaced_is_followed_and_traffic_goes_on);
