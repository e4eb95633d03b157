//! Health checks: only backends that really serve, by the VIP, take traffic.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use drlb_tests::everywhere;
use drlb_tests::load::requests;
use drlb_tests::segment::Family;
use drlb_tests::world::{WEB, World, none_failed, spreads_like};
use lb_userspace::engine::status::BackendState;

fn a_backend_without_the_vip_takes_nothing_and_is_told_from_one_without_the_service(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    world.agent.tell(&[
        "health",
        "set",
        WEB,
        "--type",
        "http",
        "--delay",
        "200ms",
        "--timeout",
        "200ms",
        "--fall",
        "2",
    ])?;
    world.agent.wait_until_serving(WEB)?;
    let backends = &world.segment.backends;
    let (whole, prefix) = if family == Family::V4 { (32, "-4") } else { (128, "-6") };
    let vip = format!("{prefix} address del {}/{whole} dev lo", to.ip());
    backends[0].host.run("ip", &vip.split(' ').collect::<Vec<_>>())?;
    world.agent.wait_for_backend(WEB, backends[0].address(family), BackendState::VipPathBroken)?;
    drop(world.servers.remove(1));
    world.agent.wait_for_backend(WEB, backends[1].address(family), BackendState::ServiceDown)?;
    check(world, to, &[0, 0, 1])
}
everywhere!(a_backend_without_the_vip_takes_nothing_and_is_told_from_one_without_the_service);

fn check(world: &World, to: SocketAddr, weights: &[u16]) -> Result<()> {
    let counts = requests(world.client(), to, 100)?;
    none_failed(&counts)?;
    ensure!(counts.ok == 100, "{counts}");
    spreads_like(&counts, weights)
}
