//! A backend that cannot be reached takes no traffic, is named, and comes in when it can.

use anyhow::{Context, Result, ensure};
use drlb_tests::at_two_corners;
use drlb_tests::load::requests;
use drlb_tests::segment::Family;
use drlb_tests::world::{WEB, World, none_failed, spreads_like};
use lb_userspace::engine::status::BackendState;

fn a_backend_that_is_down_is_named_takes_nothing_and_takes_its_share_when_it_comes_up(
    world: &mut World,
    family: Family,
) -> Result<()> {
    world.segment.plug(&world.segment.backends[2], false)?;
    let to = world.balance_http(family, &[1, 1])?;
    let late = world.segment.backends[2].address(family);
    world.add_backend(WEB, late, 2)?;
    world.agent.wait_for_backend(WEB, late, BackendState::Unresolved)?;
    let status = world.agent.backend(WEB, late)?;
    ensure!(status.slots == 0 && status.mac.is_none(), "it has {} slots and MAC {:?}", status.slots, status.mac);
    let reason = status.reason.context("the status gives no reason")?;
    ensure!(reason.len() > 20, "the reason is `{reason}`");
    let table = world.agent.tell(&["status"])?;
    ensure!(table.contains("unresolved"), "the table does not show it:\n{table}");
    let counts = requests(world.client(), to, 200)?;
    none_failed(&counts)?;
    spreads_like(&counts, &[1, 1, 0])?;
    world.segment.plug(&world.segment.backends[2], true)?;
    world.agent.wait_until_serving(WEB)?;
    let counts = requests(world.client(), to, 400)?;
    none_failed(&counts)?;
    spreads_like(&counts, &[1, 1, 2])
}
at_two_corners!(a_backend_that_is_down_is_named_takes_nothing_and_takes_its_share_when_it_comes_up);

fn a_backend_off_the_link_is_accepted_and_named_and_takes_nothing(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let away = match family {
        Family::V4 => "203.0.113.5",
        Family::V6 => "2001:db8:ffff::5",
    };
    world.agent.tell(&["backend", "add", WEB, away])?;
    world.agent.wait_for_backend(WEB, away.parse()?, BackendState::Unresolved)?;
    let reason = world.agent.backend(WEB, away.parse()?)?.reason.context("the status gives no reason")?;
    ensure!(reason.contains("route") || reason.contains("segment"), "the reason is `{reason}`");
    let counts = requests(world.client(), to, 200)?;
    none_failed(&counts)?;
    spreads_like(&counts, &[1, 1, 1])
}
at_two_corners!(a_backend_off_the_link_is_accepted_and_named_and_takes_nothing);

fn a_backend_whose_mac_changes_is_followed(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let moved = &world.segment.backends[0];
    moved.host.ip("link set eth0 address 02:00:00:00:99:99\n")?;
    // It speaks up under its new MAC, as a server does that was replaced.
    let balancer = world.segment.balancer_address(moved.net, family);
    moved.host.run("ip", &["neighbour", "flush", "dev", "eth0"])?;
    drlb_tests::traffic::ping(&moved.host, balancer, b"I moved")?;
    drlb_tests::wait::until("the new MAC to be known", drlb_tests::wait::SOON, || {
        let backend = world.agent.backend(WEB, moved.address(family)).map_err(|error| format!("{error:#}"))?;
        match backend.mac.as_deref() {
            Some("02:00:00:00:99:99") if backend.state == BackendState::Serving => Ok(()),
            other => Err(format!("it is {other:?}")),
        }
    })?;
    let counts = requests(world.client(), to, 200)?;
    none_failed(&counts)?;
    spreads_like(&counts, &[1, 1, 1])
}
at_two_corners!(a_backend_whose_mac_changes_is_followed);

fn a_pool_without_backends_drops_and_counts(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[])?;
    let refused = world.client().enter(|| {
        let address = to;
        Ok(std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_millis(300)).is_err())
    })?;
    ensure!(refused, "something answered at {to}, and nothing serves it");
    let dropped = world.agent.status()?.outcomes.into_iter().find(|outcome| outcome.name == "no-backend");
    let dropped = dropped.context("the status has no outcome `no-backend`")?.packets;
    ensure!(dropped > 0, "what was dropped was not counted");
    Ok(())
}
at_two_corners!(a_pool_without_backends_drops_and_counts);
