//! Datagrams longer than the MTU, and frames longer than most: real stacks cut them and put them together.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use drlb_tests::agent::set_up_backend;
use drlb_tests::segment::{Family, vip};
use drlb_tests::traffic::{ESP, Echo, ask_ip, ask_udp, is_silent, ping};
use drlb_tests::world::World;
use drlb_tests::{at_two_corners, everywhere};
use lb_common::outcome::Outcome;

/// How many packets ended so.
fn counted(world: &World, outcome: Outcome) -> Result<u64> {
    let status = world.agent.status()?;
    let found = status.outcomes.iter().find(|counted| counted.name == outcome.name());
    Ok(found.with_context(|| format!("no counter of {}", outcome.name()))?.packets)
}

/// A listener for every protocol of the second VIP, and servers of UDP port 5000 behind it.
fn balance_everything(world: &World, family: Family) -> Result<(SocketAddr, Vec<Echo>)> {
    let to = SocketAddr::new(vip(family, 1), 5_000);
    world.add_listener("all", to.ip(), "ip", None)?;
    let mut servers = Vec::new();
    for backend in &world.segment.backends {
        set_up_backend(&backend.host, &[to.ip()])?;
        servers.push(Echo::udp(&backend.host, to.ip(), to.port())?);
        world.add_backend("all", backend.address(family), 1)?;
    }
    world.agent.wait_until_serving("all")?;
    world.agent.wait_until_nothing_moves("all")?;
    Ok((to, servers))
}

fn datagrams_of_32_kb_reach_one_backend_whole(world: &mut World, family: Family) -> Result<()> {
    let (to, _servers) = balance_everything(world, family)?;
    let mut answers = BTreeMap::<String, u32>::new();
    for number in 0..60 {
        // The echo is the proof: a backend that misses a fragment has nothing to answer.
        let question = format!("{number:05}").repeat(6_400);
        *answers.entry(ask_udp(world.client(), to, &question)?).or_default() += 1;
    }
    // That one of three backends gets none of 60 flows happens once in 10 billion times.
    ensure!(answers.len() == 3, "answers: {answers:?}");
    let fragments: u64 = [Outcome::FragmentEarly, Outcome::FragmentTiny, Outcome::FragmentOverlap]
        .into_iter()
        .map(|outcome| counted(world, outcome))
        .sum::<Result<u64>>()?;
    ensure!(fragments == 0, "{fragments} fragments were dropped");
    // 32,000 bytes are 22 fragments.
    let sent = world.agent.listener("all")?.counters.packets;
    ensure!(sent >= 60 * 22, "only {sent} packets were balanced, so these were no fragments");
    Ok(())
}
everywhere!(datagrams_of_32_kb_reach_one_backend_whole);

fn other_protocols_have_long_packets_too(world: &mut World, family: Family) -> Result<()> {
    let (to, _servers) = balance_everything(world, family)?;
    let mut servers = Vec::new();
    for backend in &world.segment.backends {
        servers.push(Echo::ip(&backend.host, to.ip(), ESP)?);
    }
    let first = ask_ip(world.client(), to.ip(), ESP, "short")?;
    let long = ask_ip(world.client(), to.ip(), ESP, &"long".repeat(2_000))?;
    ensure!(first == long, "`{first}` answered the short packet and `{long}` the long one, and it is one flow");
    Ok(())
}
at_two_corners!(other_protocols_have_long_packets_too);

fn jumbo_datagrams_pass_in_one_piece_and_in_several(world: &mut World, family: Family) -> Result<()> {
    world.segment.set_mtu(9_000)?;
    let (to, _servers) = balance_everything(world, family)?;
    let before = world.agent.listener("all")?.counters;
    ask_udp(world.client(), to, &"j".repeat(8_900))?;
    let after = world.agent.listener("all")?.counters;
    let (packets, bytes) = (after.packets - before.packets, after.bytes - before.bytes);
    ensure!(packets == 1 && bytes > 8_900, "a datagram of 8,900 bytes took {packets} packets of {bytes} bytes");
    ask_udp(world.client(), to, &"j".repeat(60_000))?;
    Ok(())
}
everywhere!(jumbo_datagrams_pass_in_one_piece_and_in_several);

fn pings_of_all_sizes_are_answered(world: &mut World, family: Family) -> Result<()> {
    let (to, _servers) = balance_everything(world, family)?;
    let header = if family == Family::V4 { 28 } else { 48 };
    let largest = 1_500 - header;
    for size in [0, 1, 17, 18, 46, 56, 64, 1_000, largest] {
        ping(world.client(), to.ip(), &vec![0xa5; size]).with_context(|| format!("a ping of {size} bytes"))?;
    }
    let answered = counted(world, Outcome::EchoReply)?;
    ensure!(answered >= 9, "the program itself answered {answered} of 9");
    // One byte more makes two fragments: a backend answers.
    for size in [largest + 1, 9_000, 60_000] {
        ping(world.client(), to.ip(), &vec![0x5a; size]).with_context(|| format!("a ping of {size} bytes"))?;
    }
    ensure!(counted(world, Outcome::EchoReply)? == answered, "the program answered a ping in fragments");
    // Without a listener for every protocol, there is nobody to put it together.
    let other = vip(family, 0);
    world.balance_http(family, &[1, 1, 1])?;
    ping(world.client(), other, b"short")?;
    ensure!(is_silent(world.client(), other, &[1; 2_000])?, "a ping in fragments to a VIP of TCP was answered");
    Ok(())
}
at_two_corners!(pings_of_all_sizes_are_answered);
