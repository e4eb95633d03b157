//! Backends and links that come, move, go and come back are followed, and traffic with them.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::thread;
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
/// The MAC that a backend's own interface has after its addresses went to another one.
const NOBODY: MacAddr = MacAddr([2, 0, 0, 0, 0x99, 0x98]);
/// The number of the backends' router on their network.
const ROUTER: u8 = 1;
/// How long the kernel keeps a MAC that it has just learnt, whatever it hears (net/ipv4/arp.c). A backend that moves so soon after
/// it came is followed when that is over.
const LOCKTIME: Duration = Duration::from_secs(1);
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

/// Gives a backend's address to another MAC, which says nothing of it to anybody: it knows where its replies go, and so asks
/// nobody for anything. Connections live on, as it is the same server; the old MAC takes no packet any more.
fn move_mac_silently(world: &World, node: &Node, family: Family) -> Result<()> {
    let own = node.address(family);
    let (prefix, nodad) = if family == Family::V4 { (24, "") } else { (64, " nodad") };
    node.host.ip(&format!("link add moved link eth0 address {NEW} type macvlan mode bridge\nlink set moved up\n"))?;
    let (peer, number) = match world.segment.plan.legs {
        Legs::One => (world.segment.clients[0].address(family), world.segment.clients[0].number),
        Legs::Two => (node.net.address(family, ROUTER), ROUTER),
    };
    let mut script = format!(
        "neighbour add {peer} lladdr {} dev moved nud permanent\naddress add {own}/{prefix} dev moved{nodad}\n",
        node.net.mac(number)
    );
    if world.segment.plan.legs == Legs::Two {
        let (all, metric) = if family == Family::V4 { ("0.0.0.0/0", 0) } else { ("::/0", 1) };
        writeln!(script, "route replace {all} via {peer} dev moved metric {metric}")?;
    }
    write!(script, "address del {own}/{prefix} dev eth0\nlink set eth0 address {NOBODY}\n")?;
    node.host.ip(&script).map(drop)
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

/// Tells whether a frame asks for an address: an ARP request, or a solicitation.
fn question_for(address: IpAddr) -> impl Fn(&[u8]) -> bool {
    move |frame| match address {
        IpAddr::V4(v4) => frame.get(12..14) == Some(&[8, 6]) && frame.get(38..42) == Some(&v4.octets()[..]),
        IpAddr::V6(v6) => frame.get(54) == Some(&135) && frame.get(62..78) == Some(&v6.octets()[..]),
    }
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

fn a_mac_that_moves_without_a_word_is_found_by_asking_under_load(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let moved = &world.segment.backends[0];
    let load = Load::start(world.client(), to, 4, Connections::Fresh)?;
    load.wait_for(50)?;
    thread::sleep(LOCKTIME);
    let begun = unix_ms();
    move_mac_silently(world, moved, family)?;
    let address = moved.address(family).to_string();
    let event =
        world.agent.wait_for_event(&["--kind", "neighbour-moved", "--backend", &address], &[&NEW.to_string()])?;
    let took = Duration::from_millis(event.time_ms.saturating_sub(begun));
    println!("found after {took:?}");
    ensure!(took < Duration::from_secs(1) + ALLOWANCE, "it took {took:?}");
    wait_for_mac(world, moved.address(family), NEW)?;
    load.wait_for(50)?;
    // What was on its way to the old MAC was sent again, and reached the new one.
    none_failed(&load.stop()?)?;
    all_serve(world, to)
}
at_two_corners!(a_mac_that_moves_without_a_word_is_found_by_asking_under_load);

fn backends_are_asked_alone_and_one_that_the_operator_fixed_is_not(world: &mut World, family: Family) -> Result<()> {
    let leg = world.segment.balancer_interfaces().last().copied().context("the balancer has a leg")?;
    let own = world.segment.balancer_macs().pop().context("the balancer has a leg")?;
    let [fixed, other] = [0, 1].map(|index| &world.segment.backends[index]);
    let entry = format!("neighbour replace {} lladdr {} dev {leg} nud permanent\n", fixed.address(family), fixed.mac());
    world.segment.balancer.ip(&entry)?;
    let wires = [Wire::open(&fixed.host, "eth0")?, Wire::open(&other.host, "eth0")?];
    world.balance_http(family, &[1, 1, 1])?;
    let alone = |node: &Node| (node.mac(), question_for(node.address(family)));
    let (mac, asks) = alone(other);
    for _ in 0..4 {
        wires[1].wait_for("it to be asked alone", own, |frame| frame.starts_with(&mac.0) && asks(frame))?;
    }
    let (mac, asks) = alone(fixed);
    let was_asked = wires[0].wait_so_long_for(Duration::from_millis(100), "it to be asked", own, |frame| {
        frame.starts_with(&mac.0) && asks(frame)
    });
    ensure!(was_asked.is_err(), "the one that is fixed was asked, too");
    Ok(())
}
at_two_corners!(backends_are_asked_alone_and_one_that_the_operator_fixed_is_not);

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
    let asks = question_for(late);
    // Those that the first question brings; all later ones follow the kernel's clock.
    for _ in 0..=ASKED_IN_INTERVAL {
        wire.wait_for("it to be asked for", leg, &asks)?;
    }
    let begun = Instant::now();
    let more = 2 * ASKED_IN_INTERVAL;
    for _ in 0..more {
        wire.wait_for("it to be asked for again", leg, &asks)?;
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
