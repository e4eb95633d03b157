//! What the balancer itself lacks.

use anyhow::{Result, ensure};
use drlb_tests::agent::binary;
use drlb_tests::at_two_corners;
use drlb_tests::http::Server;
use drlb_tests::load::requests;
use drlb_tests::segment::{Family, Legs, Mode, Plan};
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::{WEB, World, none_failed};
use lb_userspace::doctor::Severity;

use super::{finds, finds_among_others, of_backend, says, unchecked};

fn a_listener_without_backends_and_a_balancer_without_an_address_are_named(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = unchecked(world, family)?;
    world.add_listener("empty", to.ip(), "tcp", Some(81))?;
    let findings = finds(world, &[("no-backend", "empty")])?;
    says(&findings, "no-backend", &["drlb backend add empty ADDRESS"])?;
    world.agent.tell(&["listener", "remove", "empty"])?;
    // The backends are still reached, by a route alone.
    let net = world.segment.backends[0].net;
    let leg = world.segment.balancer_interfaces().last().copied().unwrap_or_default();
    let (own, prefix) = (world.segment.balancer_address(net, family), if family == Family::V4 { 24 } else { 64 });
    let network = net.address(family, 0);
    world
        .segment
        .balancer
        .ip(&format!("address del {own}/{prefix} dev {leg}\nroute replace {network}/{prefix} dev {leg}\n"))?;
    let finding = finds_among_others(world, Severity::Problem, "not-tried", &of_backend(world, family, 0))?;
    ensure!(finding.text.contains("give it one (`ip address add`)"), "{finding:?}");
    world.agent.wait_until_serving(WEB)
}
at_two_corners!(a_listener_without_backends_and_a_balancer_without_an_address_are_named);

fn a_listener_that_there_is_no_room_for_is_named_and_the_other_goes_on(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = unchecked(world, family)?;
    let late = "web-late";
    world.add_listener(late, to.ip(), "tcp", Some(81))?;
    let servers = (0..3)
        .map(|index| {
            world.add_backend(late, world.segment.backends[index].address(family), 1)?;
            Server::start(&world.segment.backends[index].host, 81)
        })
        .collect::<Result<Vec<_>>>()?;
    finds(world, &[])?;
    // The maps are made anew, and smaller, when nothing is attached and the agent ends.
    for interface in world.segment.balancer_interfaces() {
        world.agent.tell(&["detach", interface])?;
    }
    world.agent.stop()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("drlb.toml");
    std::fs::write(&file, "[tables]\nroom = 1\n")?;
    world.agent.start_again_with(&["--config", &file.to_string_lossy()])?;
    for interface in world.segment.balancer_interfaces() {
        world.agent.tell(&["attach", interface, "--mode", world.segment.plan.mode.word()])?;
    }
    let findings = finds(world, &[("no-room", late)])?;
    says(&findings, "no-room", &["not in force", "the slots of pool `web-late`", "smaller tables", "`[tables]`"])?;
    none_failed(&requests(world.client(), to, 20)?)?;
    world.agent.tell(&["listener", "remove", late])?;
    finds(world, &[])?;
    drop(servers);
    Ok(())
}
at_two_corners!(a_listener_that_there_is_no_room_for_is_named_and_the_other_goes_on);

#[test]
fn an_agent_without_the_right_to_speak_for_the_vips_says_so() -> Result<()> {
    World::play(Plan::new(Mode::Generic, Legs::One), |world| {
        let to = unchecked(world, Family::V4)?;
        world.agent.stop()?;
        let binary = binary()?;
        let binary = binary.to_string_lossy();
        let _agent = world.segment.balancer.spawn("setpriv", &["--bounding-set=-net_raw", &binary, "agent"])?;
        until("the agent to answer", SOON, || match world.agent.tell(&["status"]) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("{error:#}")),
        })?;
        let (vip, balancer) = (to.ip().to_string(), "balancer");
        for (code, about) in [("vip-not-announced", vip.as_str()), ("not-asked", balancer)] {
            let finding = finds_among_others(world, Severity::Problem, code, about)?;
            ensure!(finding.text.contains("CAP_NET_RAW"), "{finding:?}");
        }
        Ok(())
    })
}
