//! `drlb doctor` finds nothing on a healthy segment, and each fault by its name.

use anyhow::{Context, Result, ensure};
use drlb_tests::segment::{Family, Legs, Node};
use drlb_tests::wait::{SOON, until};
use drlb_tests::wire::Wire;
use drlb_tests::world::{WEB, World};
use drlb_tests::{at_two_corners, everywhere};
use lb_userspace::ethernet::frames::announcement;
use serde_json::Value;

/// The codes of the problems that it finds, each once, in order; and its exit status.
fn problems(world: &World) -> Result<(Vec<String>, Option<i32>)> {
    let answer = world.agent.ask(&["doctor", "-o", "json"])?;
    let json: Value = serde_json::from_str(&answer.stdout).with_context(|| format!("it printed {}", answer.stdout))?;
    let findings = json["findings"].as_array().context("no findings")?;
    let problems = findings.iter().filter(|finding| finding["severity"] == "problem");
    let mut codes: Vec<_> = problems.filter_map(|finding| finding["code"].as_str().map(str::to_owned)).collect();
    codes.sort_unstable();
    codes.dedup();
    Ok((codes, answer.code))
}

/// Waits until it finds just these problems.
fn finds(world: &World, codes: &[&str]) -> Result<()> {
    until(&format!("the doctor to find {codes:?}"), SOON, || {
        let (found, code) = problems(world).map_err(|error| format!("{error:#}"))?;
        let expected = if codes.is_empty() { 0 } else { 3 };
        if found == codes && code == Some(expected) {
            Ok(())
        } else {
            Err(format!("it finds {found:?}, status {code:?}"))
        }
    })
}

fn healthy(world: &World, family: Family) -> Result<std::net::SocketAddr> {
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
        "500ms",
        "--fall",
        "2",
    ])?;
    world.agent.wait_until_serving(WEB)?;
    finds(world, &[])?;
    let text = world.agent.tell(&["doctor"])?;
    ensure!(text == "Nothing is wrong.\n", "it says {text}");
    Ok(to)
}

fn a_backend_without_the_vip_or_the_service_is_named(world: &mut World, family: Family) -> Result<()> {
    let to = healthy(world, family)?;
    let (whole, node) = (if to.is_ipv4() { 32 } else { 128 }, &world.segment.backends[0]);
    node.host.ip(&format!("address del {}/{whole} dev lo\n", to.ip()))?;
    finds(world, &["vip-path-broken"])?;
    drop(world.servers.remove(1));
    finds(world, &["service-down", "vip-path-broken"])
}
everywhere!(a_backend_without_the_vip_or_the_service_is_named);

fn a_backend_behind_a_router_or_that_is_the_balancer_is_named(world: &mut World, family: Family) -> Result<()> {
    healthy(world, family)?;
    let (away, via) = match family {
        Family::V4 => ("203.0.113.5", world.segment.backends[0].address(family)),
        Family::V6 => ("2001:db8:ffff::5", world.segment.backends[0].address(family)),
    };
    world.segment.balancer.ip(&format!("route add {away} via {via}\n"))?;
    world.agent.tell(&["backend", "add", WEB, away])?;
    finds(world, &["backend-unresolved"])?;
    let text = world.agent.ask(&["doctor"])?.stdout;
    ensure!(text.contains(&format!("it is behind the router {via}")), "it says {text}");
    world.agent.tell(&["backend", "remove", WEB, away])?;
    finds(world, &[])?;
    let own = world.segment.balancer_address(world.segment.backends[0].net, family).to_string();
    world.agent.tell(&["backend", "add", WEB, &own])?;
    finds(world, &["backend-unresolved"])?;
    let text = world.agent.ask(&["doctor"])?.stdout;
    ensure!(text.contains("the address is this host's own"), "it says {text}");
    Ok(())
}
at_two_corners!(a_backend_behind_a_router_or_that_is_the_balancer_is_named);

fn two_backends_with_one_mac_are_named(world: &mut World, family: Family) -> Result<()> {
    healthy(world, family)?;
    // One server under two addresses: what a copied configuration does.
    let node = &world.segment.backends[0];
    let second = node.net.address(family, 77).to_string();
    let (prefix, nodad) = if family == Family::V4 { (24, "") } else { (64, " nodad") };
    node.host.ip(&format!("address add {second}/{prefix} dev eth0{nodad}\n"))?;
    world.agent.tell(&["backend", "add", WEB, &second])?;
    finds(world, &["duplicate-mac"])
}
at_two_corners!(two_backends_with_one_mac_are_named);

fn an_interface_that_loses_its_link_is_named_and_followed(world: &mut World, family: Family) -> Result<()> {
    healthy(world, family)?;
    let port = world.segment.balancer_ports().remove(0);
    world.segment.switch.ip(&format!("link set {port} down\n"))?;
    until("the link to be named", SOON, || {
        let (found, _) = problems(world).map_err(|error| format!("{error:#}"))?;
        if found.contains(&"link-down".to_owned()) { Ok(()) } else { Err(format!("it finds {found:?}")) }
    })?;
    world.segment.switch.ip(&format!("link set {port} up\n"))?;
    finds(world, &[])
}
at_two_corners!(an_interface_that_loses_its_link_is_named_and_followed);

fn an_mtu_that_differs_between_the_legs_is_named(world: &mut World, family: Family) -> Result<()> {
    healthy(world, family)?;
    if world.segment.balancer_interfaces().len() < 2 {
        return Ok(());
    }
    world.segment.balancer.ip("link set eth1 mtu 1400\n")?;
    finds(world, &["mtu-mismatch"])
}
at_two_corners!(an_mtu_that_differs_between_the_legs_is_named);

fn another_host_that_has_the_vip_is_told_from_a_backend_that_answers_for_it(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = healthy(world, family)?;
    let claims = |node: &Node| Wire::open(&node.host, "eth0")?.send(&announcement(to.ip(), node.mac()));
    let code = if world.segment.plan.legs == Legs::One {
        claims(&world.segment.backends[0])?;
        "backend-answers-for-vip"
    } else {
        claims(&world.segment.clients[0])?;
        "vip-elsewhere"
    };
    finds(world, &[code])
}
at_two_corners!(another_host_that_has_the_vip_is_told_from_a_backend_that_answers_for_it);
