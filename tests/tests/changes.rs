//! Changes of a pool under load.
//!
//! Backends that come, and weights, cost no connection. A backend that is removed, and was not drained, breaks those that it
//! has: each worker of a load has one connection open at a time, so at most one of each worker.

use anyhow::{Result, ensure};
use drlb_tests::at_two_corners;
use drlb_tests::load::{Connections, Counts, Load};
use drlb_tests::segment::Family;
use drlb_tests::world::{WEB, World, none_failed, spreads_like};

const WORKERS: usize = 4;

fn at_most_one_break_for_each_open_connection(counts: &Counts) -> Result<()> {
    let allowed = 2 * WORKERS as u64;
    ensure!(counts.failed <= allowed, "at most {allowed} requests may fail: {counts}");
    Ok(())
}

fn a_backend_that_is_removed_under_load_gets_no_more_and_costs_no_more_than_open_connections(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let load = Load::start(world.client(), to, WORKERS, Connections::Fresh)?;
    load.wait_for(300)?;
    let address = world.segment.backends[0].address(family).to_string();
    world.agent.tell(&["backend", "remove", WEB, &address])?;
    // Requests that began before are over when each worker has ended one more, for which these are enough.
    load.wait_for(100)?;
    let middle = load.counts();
    load.wait_for(500)?;
    let end = load.stop()?;
    at_most_one_break_for_each_open_connection(&end)?;
    ensure!(middle.of("backend-1") > 0, "backend-1 got nothing while it was there");
    ensure!(end.of("backend-1") == middle.of("backend-1"), "backend-1 got requests after it was removed");
    ensure!(end.of("backend-2") > middle.of("backend-2") && end.of("backend-3") > middle.of("backend-3"));
    Ok(())
}
at_two_corners!(a_backend_that_is_removed_under_load_gets_no_more_and_costs_no_more_than_open_connections);

fn a_backend_that_is_added_under_load_takes_its_share(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1])?;
    let load = Load::start(world.client(), to, WORKERS, Connections::Fresh)?;
    load.wait_for(300)?;
    world.add_backend(WEB, world.segment.backends[2].address(family), 2)?;
    world.agent.wait_until_serving(WEB)?;
    load.wait_for(100)?;
    none_failed(&load.stop()?)?;
    let counts = drlb_tests::load::requests(world.client(), to, 600)?;
    none_failed(&counts)?;
    spreads_like(&counts, &[1, 1, 2])
}
at_two_corners!(a_backend_that_is_added_under_load_takes_its_share);

fn a_weight_that_is_changed_under_load_changes_the_spread(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let load = Load::start(world.client(), to, WORKERS, Connections::Fresh)?;
    load.wait_for(300)?;
    let address = world.segment.backends[1].address(family).to_string();
    world.agent.tell(&["backend", "set", WEB, &address, "--weight", "6"])?;
    load.wait_for(100)?;
    none_failed(&load.stop()?)?;
    let counts = drlb_tests::load::requests(world.client(), to, 600)?;
    none_failed(&counts)?;
    spreads_like(&counts, &[1, 6, 1])
}
at_two_corners!(a_weight_that_is_changed_under_load_changes_the_spread);

fn a_weight_of_zero_takes_a_backend_out_and_it_comes_back(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let address = world.segment.backends[2].address(family).to_string();
    for (weight, weights) in [("0", [1, 1, 0]), ("1", [1, 1, 1])] {
        world.agent.tell(&["backend", "set", WEB, &address, "--weight", weight])?;
        let counts = drlb_tests::load::requests(world.client(), to, 300)?;
        none_failed(&counts)?;
        spreads_like(&counts, &weights)?;
    }
    Ok(())
}
at_two_corners!(a_weight_of_zero_takes_a_backend_out_and_it_comes_back);

fn a_listener_out_of_service_serves_nobody_until_it_is_back(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    none_failed(&drlb_tests::load::requests(world.client(), to, 30)?)?;
    world.agent.tell(&["listener", "set", WEB, "--down"])?;
    let before = world.agent.listener(WEB)?.counters.packets;
    // Nobody on the balancer listens, so its kernel, which gets the packets, does not answer for an address that it has not.
    let refused = drlb_tests::http::get(world.client(), to.ip(), to.port());
    ensure!(refused.is_err(), "a listener out of service answered {refused:?}");
    let after = world.agent.listener(WEB)?;
    ensure!(after.counters.packets == before && !after.admin_up, "{after:?}");
    ensure!(world.agent.tell(&["listener", "show", WEB])?.contains("Out of service"));
    world.agent.tell(&["listener", "set", WEB, "--up"])?;
    none_failed(&drlb_tests::load::requests(world.client(), to, 30)?)
}
at_two_corners!(a_listener_out_of_service_serves_nobody_until_it_is_back);
