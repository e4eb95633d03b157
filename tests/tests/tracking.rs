//! No flow is broken that could be kept: thousands of connections that carry checked data, through every change.

use anyhow::{Result, ensure};
use drlb_tests::at_two_corners;
use drlb_tests::flood::Flood;
use drlb_tests::flows::{Flows, Kind};
use drlb_tests::lasting::{BOTH, Lasting, TCP};
use drlb_tests::segment::{Family, Legs, Mode, Plan};
use drlb_tests::world::World;
use lb_userspace::engine::status::BackendState;

/// TCP connections at a time.
const CONNECTIONS: usize = 2_000;
/// UDP flows at a time.
const DATAGRAMS: usize = 300;
/// The flows of scenarios that are not about how many they are.
const FEW: usize = 300;
/// SYNs that a flood has: more than there is room for pins of first packets.
const SYNS: u32 = 150_000;

/// Backends of a rolling deploy.
const FLEET: u8 = 100;
/// Backends that it has out at a time.
const BATCH: usize = 20;

/// Replaces every backend, one after the other: drain, remove, add again.
fn replace_every_backend(lasting: &Lasting, tcp: &Flows, udp: &Flows) -> Result<()> {
    for index in 0..3 {
        lasting.drain(index, tcp, udp)?;
        lasting.backend("remove", index, &[])?;
        tcp.wait_for_all(1)?;
        lasting.add(index, 1)?;
        tcp.stay(lasting.name(index));
        udp.stay(lasting.name(index));
    }
    tcp.wait_for_all(2)?;
    udp.wait_for_all(2)
}

fn a_rolling_change_of_every_backend_resets_and_moves_nothing(world: &mut World, family: Family) -> Result<()> {
    let lasting = Lasting::new(world, family, &[], &[1, 1, 1])?;
    let (tcp, udp) = (lasting.open(Kind::Tcp, CONNECTIONS)?, lasting.open(Kind::Udp, DATAGRAMS)?);
    replace_every_backend(&lasting, &tcp, &udp)?;
    let (tcp, udp) = (tcp.stop()?, udp.stop()?);
    tcp.none_suffered()?;
    udp.none_suffered()?;
    ensure!(tcp.begun.values().sum::<u64>() > CONNECTIONS as u64, "no connection had to leave: {tcp}");
    lasting.wait_until_nothing_is_remembered()
}
at_two_corners!(a_rolling_change_of_every_backend_resets_and_moves_nothing);

#[test]
fn a_rolling_deploy_of_a_hundred_backends_resets_and_moves_nothing() -> Result<()> {
    let plan = Plan { backends: FLEET, ..Plan::new(Mode::Native, Legs::One) };
    World::play(plan, |world| {
        let lasting = Lasting::new(world, Family::V4, &[], &[1; FLEET as usize])?;
        let (tcp, udp) = (lasting.open(Kind::Tcp, CONNECTIONS)?, lasting.open(Kind::Udp, DATAGRAMS)?);
        for first in (0..FLEET.into()).step_by(BATCH) {
            let batch = first..first + BATCH;
            lasting.drain_all(batch.clone(), &tcp, &udp)?;
            batch.clone().try_for_each(|index| lasting.backend("remove", index, &[]))?;
            for index in batch {
                lasting.add(index, 1)?;
                tcp.stay(lasting.name(index));
                udp.stay(lasting.name(index));
            }
        }
        tcp.wait_for_all(2)?;
        udp.wait_for_all(2)?;
        let (tcp, udp) = (tcp.stop()?, udp.stop()?);
        tcp.none_suffered()?;
        udp.none_suffered()?;
        ensure!(tcp.begun.len() == usize::from(FLEET), "connections were at {} backends", tcp.begun.len());
        ensure!(tcp.begun.values().sum::<u64>() > CONNECTIONS as u64, "no connection had to leave: {tcp}");
        lasting.wait_until_nothing_is_remembered()
    })
}

fn a_rolling_change_during_a_syn_flood_resets_and_moves_nothing(world: &mut World, family: Family) -> Result<()> {
    let lasting = Lasting::new(world, family, &[], &[1, 1, 1])?;
    let (tcp, udp) = (lasting.open(Kind::Tcp, CONNECTIONS)?, lasting.open(Kind::Udp, DATAGRAMS)?);
    let flood = Flood::start(lasting.world.client(), lasting.to, SYNS)?;
    replace_every_backend(&lasting, &tcp, &udp)?;
    flood.wait_for(SYNS)?;
    tcp.wait_for_all(2)?;
    let overflows = lasting.world.agent.status()?.tracking.overflows;
    ensure!(overflows == 0, "there was no room for {overflows} pins");
    flood.stop()?;
    tcp.stop()?.none_suffered()?;
    udp.stop()?.none_suffered()?;
    lasting.wait_until_nothing_is_remembered()
}
at_two_corners!(a_rolling_change_during_a_syn_flood_resets_and_moves_nothing);

fn a_syn_flood_while_nothing_changes_leaves_no_trace(world: &mut World, family: Family) -> Result<()> {
    const SYNS: u32 = 20_000;
    let lasting = Lasting::new(world, family, &[], &[1, 1, 1])?;
    lasting.wait_until_nothing_is_remembered()?;
    let tcp = lasting.open(Kind::Tcp, FEW)?;
    let before = lasting.world.agent.listener(TCP)?.counters.packets;
    let flood = Flood::start(lasting.world.client(), lasting.to, SYNS)?;
    flood.wait_for(SYNS)?;
    let status = lasting.world.agent.status()?;
    let known = status.tracking;
    ensure!(known.pins_young == 0 && known.pins_established == 0, "something is remembered: {known:?}");
    flood.stop()?;
    let packets = lasting.world.agent.listener(TCP)?.counters.packets - before;
    ensure!(packets >= u64::from(SYNS), "only {packets} packets came of {SYNS} SYNs");
    tcp.stop()?.none_suffered()
}
at_two_corners!(a_syn_flood_while_nothing_changes_leaves_no_trace);

fn changes_in_fast_succession_move_no_flow_of_a_backend_that_serves(world: &mut World, family: Family) -> Result<()> {
    let lasting = Lasting::new(world, family, &[], &[1, 1])?;
    let (tcp, udp) = (lasting.open(Kind::Tcp, FEW)?, lasting.open(Kind::Udp, FEW)?);
    for round in 0..5 {
        // The third backend comes and goes. No flow begins meanwhile, so none is at it.
        lasting.add(2, 4)?;
        lasting.backend("set", 0, &["--weight", if round % 2 == 0 { "5" } else { "1" }])?;
        lasting.backend("set", 1, &["--weight", "0"])?;
        lasting.backend("drain", 0, &[])?;
        lasting.backend("set", 1, &["--weight", "2"])?;
        lasting.backend("set", 0, &["--up"])?;
        lasting.backend("set", 2, &["--down"])?;
        lasting.backend("remove", 2, &[])?;
    }
    tcp.wait_for_all(2)?;
    udp.wait_for_all(2)?;
    let (tcp, udp) = (tcp.stop()?, udp.stop()?);
    tcp.none_suffered()?;
    udp.none_suffered()?;
    lasting.wait_until_nothing_is_remembered()
}
at_two_corners!(changes_in_fast_succession_move_no_flow_of_a_backend_that_serves);

fn the_agent_is_killed_in_the_middle_of_a_drain_and_nothing_is_reset_or_moved(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let lasting = Lasting::new(world, family, &[], &[1, 1, 1])?;
    let (tcp, udp) = (lasting.open(Kind::Tcp, FEW)?, lasting.open(Kind::Udp, FEW)?);
    lasting.backend("drain", 0, &[])?;
    lasting.backend("set", 1, &["--weight", "3"])?;
    lasting.world.agent.kill()?;
    // A good while without an agent, in which flows end, begin and go on.
    tcp.leave(lasting.name(0));
    tcp.wait_until_left(lasting.name(0))?;
    tcp.wait_for_all(2)?;
    lasting.world.agent.start_again()?;
    lasting.drain(0, &tcp, &udp)?;
    lasting.backend("remove", 0, &[])?;
    tcp.wait_for_all(2)?;
    udp.wait_for_all(2)?;
    tcp.stop()?.none_suffered()?;
    udp.stop()?.none_suffered()?;
    lasting.wait_until_nothing_is_remembered()
}
at_two_corners!(the_agent_is_killed_in_the_middle_of_a_drain_and_nothing_is_reset_or_moved);

fn the_death_of_a_backend_and_its_return_touch_only_its_own_flows(world: &mut World, family: Family) -> Result<()> {
    let lasting = Lasting::new(world, family, &[], &[1, 1, 1])?;
    let (tcp, udp) = (lasting.open(Kind::Tcp, FEW)?, lasting.open(Kind::Udp, FEW)?);
    let name = lasting.name(2).to_owned();
    let dead = lasting.world.segment.backends[2].clone();
    ensure!(tcp.at(&name) > 0 && udp.at(&name) > 0, "{name} has no flows to lose");
    lasting.world.segment.plug(&dead, false)?;
    for listener in BOTH {
        lasting.world.agent.wait_for_backend(listener, dead.address(family), BackendState::Unresolved)?;
    }
    // Its UDP flows go on at the others; its connections are refused there and begin anew.
    udp.wait_until_left(&name)?;
    tcp.wait_until_left(&name)?;
    udp.wait_for_all(2)?;
    let lost = udp.tally().moved;
    lasting.world.segment.plug(&dead, true)?;
    for listener in BOTH {
        lasting.world.agent.wait_for_backend(listener, dead.address(family), BackendState::Serving)?;
    }
    tcp.wait_for_all(2)?;
    udp.wait_for_all(2)?;
    let (tcp, udp) = (tcp.stop()?, udp.stop()?);
    tcp.only_those_suffered(&name)?;
    udp.only_those_suffered(&name)?;
    // These are noticed at all: what is said of the others is not true for want of looking.
    ensure!(lost > 0 && tcp.broken > 0, "no flow of {name} suffered: {tcp}; {udp}");
    ensure!(udp.moved == lost, "flows went back: {lost} had moved, and {} have", udp.moved);
    Ok(())
}
at_two_corners!(the_death_of_a_backend_and_its_return_touch_only_its_own_flows);

fn a_backend_that_is_set_down_and_up_loses_its_own_flows_and_no_other(world: &mut World, family: Family) -> Result<()> {
    let lasting = Lasting::new(world, family, &[], &[1, 1, 1])?;
    let (tcp, udp) = (lasting.open(Kind::Tcp, FEW)?, lasting.open(Kind::Udp, FEW)?);
    let name = lasting.name(1).to_owned();
    ensure!(tcp.at(&name) > 0 && udp.at(&name) > 0, "{name} has no flows to lose");
    lasting.backend("set", 1, &["--down"])?;
    tcp.wait_until_left(&name)?;
    udp.wait_until_left(&name)?;
    lasting.backend("set", 1, &["--up"])?;
    tcp.wait_for_all(2)?;
    udp.wait_for_all(2)?;
    let (tcp, udp) = (tcp.stop()?, udp.stop()?);
    tcp.only_those_suffered(&name)?;
    udp.only_those_suffered(&name)?;
    ensure!(udp.moved > 0 && tcp.broken > 0, "no flow of {name} suffered: {tcp}; {udp}");
    Ok(())
}
at_two_corners!(a_backend_that_is_set_down_and_up_loses_its_own_flows_and_no_other);

fn a_drain_ends_at_its_deadline_and_only_what_is_left_there_suffers(world: &mut World, family: Family) -> Result<()> {
    let lasting = Lasting::new(world, family, &[], &[1, 1, 1])?;
    let (tcp, udp) = (lasting.open(Kind::Tcp, FEW)?, lasting.open(Kind::Udp, FEW)?);
    let name = lasting.name(2).to_owned();
    // A deadline that is far away ends nothing: the flows go on there.
    lasting.backend("drain", 2, &["--deadline", "1h"])?;
    tcp.wait_for_all(2)?;
    udp.wait_for_all(2)?;
    ensure!(tcp.at(&name) > 0 && udp.at(&name) > 0, "{name} has lost its flows: {}, {}", tcp.tally(), udp.tally());
    for flows in [&tcp, &udp] {
        flows.tally().none_suffered()?;
    }
    // One that is over does, though no flow has left.
    lasting.backend("drain", 2, &["--deadline", "1s", "--wait"])?;
    tcp.wait_until_left(&name)?;
    udp.wait_until_left(&name)?;
    for listener in BOTH {
        let drained = lasting.world.agent.backend(listener, lasting.world.segment.backends[2].address(family))?;
        ensure!(drained.state == BackendState::Drained, "{name} of `{listener}` is {}", drained.state.name());
    }
    let (tcp, udp) = (tcp.stop()?, udp.stop()?);
    tcp.only_those_suffered(&name)?;
    udp.only_those_suffered(&name)?;
    ensure!(udp.moved > 0 && tcp.broken > 0, "no flow of {name} suffered: {tcp}; {udp}");
    Ok(())
}
at_two_corners!(a_drain_ends_at_its_deadline_and_only_what_is_left_there_suffers);
