//! Where backends stand: their addresses, their MACs, and the way to them.

use anyhow::{Result, ensure};
use drlb_tests::at_two_corners;
use drlb_tests::segment::Family;
use drlb_tests::wait::SOON;
use drlb_tests::world::{WEB, World};
use lb_userspace::doctor::Severity;
use lb_userspace::ethernet::frames::announcement;

use super::{at_once, checked, finds, finds_among_others, says, unchecked, whole};

fn backends_that_are_not_on_the_segment_are_named_with_the_reason(world: &mut World, family: Family) -> Result<()> {
    checked(world, family)?;
    let node = &world.segment.backends[0];
    let (away, routed) = match family {
        Family::V4 => ("203.0.113.5", "203.0.113.77"),
        Family::V6 => ("2001:db8:ffff::5", "2001:db8:fffe::5"),
    };
    let via = node.address(family);
    world.segment.balancer.ip(&format!("route add {routed} via {via}\n"))?;
    let own = world.segment.balancer_address(node.net, family).to_string();
    let silent = node.net.address(family, 99).to_string();
    for address in [away, routed, &own, &silent] {
        world.agent.tell(&["backend", "add", WEB, address])?;
    }
    let about = |address: &str| format!("{WEB} {address}");
    let expected = [
        ("backend-off-link", about(away)),
        ("backend-behind-router", about(routed)),
        ("backend-is-balancer", about(&own)),
        ("backend-silent", about(&silent)),
    ];
    let findings = finds(world, &expected.each_ref().map(|(code, about)| (*code, about.as_str())))?;
    says(&findings, "backend-behind-router", &[&format!("behind the router {via}"), "move it"])?;
    says(&findings, "backend-off-link", &["no route to it", "give an interface an address"])?;
    says(&findings, "backend-is-balancer", &["this host's own", "must be another host"])?;
    says(&findings, "backend-silent", &["nobody answers", "check that the server is up"])?;
    // The status says it, too.
    for (address, word) in [(routed, "behind the router"), (&own, "this host's own"), (away, "no route")] {
        let reason = world.agent.backend(WEB, address.parse()?)?.reason.unwrap_or_default();
        ensure!(reason.contains(word), "the status says of {address}: {reason}");
        world.agent.tell(&["backend", "remove", WEB, address])?;
    }
    world.agent.tell(&["backend", "remove", WEB, &silent])?;
    finds(world, &[]).map(drop)
}
at_two_corners!(backends_that_are_not_on_the_segment_are_named_with_the_reason);

fn addresses_that_are_no_hosts_or_not_on_ethernet_are_named_with_the_reason(
    world: &mut World,
    family: Family,
) -> Result<()> {
    checked(world, family)?;
    let beyond = if family == Family::V4 { "203.0.113.9" } else { "2001:db8:ffff::9" };
    world.segment.balancer.ip(&format!(
        "tuntap add dev tun0 mode tun\nlink set tun0 up\nroute add {beyond}/{} dev tun0\n",
        whole(family)
    ))?;
    world.agent.tell(&["backend", "add", WEB, beyond])?;
    let about = format!("{WEB} {beyond}");
    let findings = finds(world, &[("backend-unresolved", &about)])?;
    says(&findings, "backend-unresolved", &["has no Ethernet addresses", "on an Ethernet segment of this host"])?;
    world.agent.tell(&["backend", "remove", WEB, beyond])?;
    if family == Family::V4 {
        let everybody = world.segment.backends[0].net.address(family, 255).to_string();
        world.agent.tell(&["backend", "add", WEB, &everybody])?;
        let findings = finds(world, &[("backend-unresolved", &format!("{WEB} {everybody}"))])?;
        says(&findings, "backend-unresolved", &["a broadcast", "give the address of one server"])?;
        world.agent.tell(&["backend", "remove", WEB, &everybody])?;
    }
    finds(world, &[]).map(drop)
}
at_two_corners!(addresses_that_are_no_hosts_or_not_on_ethernet_are_named_with_the_reason);

fn one_server_under_two_addresses_and_one_address_on_two_servers_are_named(
    world: &mut World,
    family: Family,
) -> Result<()> {
    checked(world, family)?;
    // What a copied configuration does.
    let node = &world.segment.backends[0];
    let first = node.address(family).to_string();
    let second = node.net.address(family, 77).to_string();
    let prefix = if family == Family::V4 { 24 } else { 64 };
    node.host.ip(&format!("address add {second}/{prefix} dev eth0{}\n", at_once(family)))?;
    world.agent.tell(&["backend", "add", WEB, &second])?;
    let findings = finds(world, &[("duplicate-mac", &format!("{first}, {second}"))])?;
    says(&findings, "duplicate-mac", &[&node.mac().to_string(), "remove all but one"])?;
    for address in [&first, &second] {
        let reason = world.agent.backend(WEB, address.parse()?)?.reason.unwrap_or_default();
        ensure!(reason.contains("one MAC"), "the status says of {address}: {reason}");
    }
    world.agent.tell(&["backend", "remove", WEB, &second])?;
    finds(world, &[])?;

    let other = &world.segment.backends[1];
    other.host.ip(&format!("address add {first}/{} dev eth0{}\n", whole(family), at_once(family)))?;
    let finding = finds_among_others(world, Severity::Problem, "address-twice", &first)?;
    let macs = [node.mac(), other.mac()].map(|mac| mac.to_string());
    ensure!(macs.iter().all(|mac| finding.text.contains(mac)), "{finding:?}");
    other.host.ip(&format!("address del {first}/{} dev eth0\n", whole(family)))?;

    // It moves to and fro, as it does when two hosts speak up in turn.
    let wire = drlb_tests::wire::Wire::open(&other.host, "eth0")?;
    for turn in 0..4 {
        let mac = [other.mac(), node.mac()][turn % 2];
        drlb_tests::wait::until("the MAC to be followed", SOON, || {
            wire.send(&announcement(first.parse().map_err(|e| format!("{e}"))?, mac)).map_err(|e| format!("{e:#}"))?;
            let known = world.agent.backend(WEB, node.address(family)).map_err(|error| format!("{error:#}"))?.mac;
            if known == Some(mac.to_string()) { Ok(()) } else { Err(format!("it is {known:?}")) }
        })?;
    }
    let finding = finds_among_others(world, Severity::Problem, "mac-moved", &first)?;
    ensure!(finding.text.contains("two hosts may have its address"), "{finding:?}");
    Ok(())
}
at_two_corners!(one_server_under_two_addresses_and_one_address_on_two_servers_are_named);

fn a_lower_mtu_a_strict_filter_and_a_leg_without_drlb_are_named(world: &mut World, family: Family) -> Result<()> {
    unchecked(world, family)?;
    let [narrow, strict] = [0, 1].map(|index| world.segment.backends[index].address(family).to_string());
    world.segment.backends[0].host.ip("link set eth0 mtu 1400\n")?;
    let mut expected = vec![("mtu-mismatch", narrow.as_str())];
    if family == Family::V4 {
        // No way back to clients from elsewhere, and packets from there are dropped for it.
        world.segment.backends[1].host.sysctl(&[("ipv4/conf/eth0/rp_filter", "1")])?;
        expected.push(("rp-filter", &strict));
    }
    let findings = finds(world, &expected)?;
    says(&findings, "mtu-mismatch", &["not one of 1500 bytes", "the same MTU"])?;
    if family == Family::V4 {
        says(&findings, "rp-filter", &["default route", "net.ipv4.conf.all.rp_filter"])?;
    }
    world.segment.backends[0].host.ip("link set eth0 mtu 1500\n")?;
    world.segment.backends[1].host.sysctl(&[("ipv4/conf/eth0/rp_filter", "0")])?;
    finds(world, &[])?;

    let leg = world.segment.balancer_interfaces().last().copied().unwrap_or_default();
    world.agent.tell(&["detach", leg])?;
    let about = super::of_backend(world, family, 0);
    let finding = finds_among_others(world, Severity::Problem, "backend-interface", &about)?;
    ensure!(finding.text.contains(&format!("run `drlb attach {leg}`")), "{finding:?}");
    if leg == "eth0" {
        finds_among_others(world, Severity::Problem, "not-attached", "balancer")?;
    }
    Ok(())
}
at_two_corners!(a_lower_mtu_a_strict_filter_and_a_leg_without_drlb_are_named);
