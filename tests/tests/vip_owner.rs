//! The balancer owns a VIP without having its address: it answers for it on the segment.

use anyhow::{Context, Result, ensure};
use drlb_tests::everywhere;
use drlb_tests::http::{self, Server};
use drlb_tests::segment::{Family, Net};
use drlb_tests::traffic::ping;
use drlb_tests::world::World;

fn echo_requests_to_the_vip_are_answered(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let addresses = world.segment.balancer.run("ip", &["address"])?;
    ensure!(!addresses.contains(&format!(" {}/", to.ip())), "the balancer has the VIP as an address:\n{addresses}");
    for length in [0, 8, 56, 1400] {
        ping(world.client(), to.ip(), &vec![b'p'; length]).with_context(|| format!("{length} bytes"))?;
    }
    Ok(())
}
everywhere!(echo_requests_to_the_vip_are_answered);

fn the_segment_learns_the_balancers_mac_for_the_vip(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let balancer = world.segment.balancer_macs()[0];
    // The router, where there is one, stands on the front, too, and asks for itself.
    for host in world.segment.clients.iter().map(|node| &node.host).chain(&world.segment.router) {
        host.run("ip", &["neighbour", "flush", "dev", "eth0"])?;
        ping(host, to.ip(), b"who has it?")?;
        let neighbour = host.run("ip", &["neighbour", "show", &to.ip().to_string(), "dev", "eth0"])?;
        ensure!(
            neighbour.contains(&balancer.to_string()),
            "host `{}` believes `{}`, and the balancer is at {balancer}",
            host.name(),
            neighbour.trim()
        );
    }
    Ok(())
}
everywhere!(the_segment_learns_the_balancers_mac_for_the_vip);

fn the_balancers_own_address_is_left_to_its_kernel(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let own = world.segment.balancer_address(Net::Front, family);
    ping(world.client(), own, b"are you there?")?;
    // The same port as the VIP's, served by the balancer itself.
    let _server = Server::start(&world.segment.balancer, to.port())?;
    for _ in 0..20 {
        let name = http::get(world.client(), own, to.port())?;
        ensure!(name == "balancer", "{own} was answered by {name}");
        let name = http::get(world.client(), to.ip(), to.port())?;
        ensure!(name.starts_with("backend"), "{} was answered by {name}", to.ip());
    }
    Ok(())
}
everywhere!(the_balancers_own_address_is_left_to_its_kernel);
