//! Backends that do not serve, or not by the VIP. No listener here has a health check but where that is said: the doctor
//! tries them itself.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Result, ensure};
use drlb_tests::at_two_corners;
use drlb_tests::http::Server;
use drlb_tests::moody::{Mood, Moody};
use drlb_tests::segment::Family;
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::{HTTP, WEB, World};
use lb_userspace::doctor::Severity;
use lb_userspace::engine::status::BackendState;

use super::{at_once, checked, finds, finds_among_others, of_backend, says, unchecked, whole};

/// Without a packet of the VIP's that gets out: what a cloud's port security does.
fn eat_replies(world: &World, index: usize, to: SocketAddr, eaten: bool) -> Result<()> {
    let (version, what) = (if to.is_ipv4() { "-4" } else { "-6" }, if eaten { "add" } else { "delete" });
    let rule = [version, "rule", what, "from", &to.ip().to_string(), "blackhole"].map(str::to_owned);
    let arguments: Vec<&str> = rule.iter().map(String::as_str).collect();
    world.segment.backends[index].host.run("ip", &arguments).map(drop)
}

fn a_missing_vip_a_dead_service_and_eaten_replies_are_told_apart(world: &mut World, family: Family) -> Result<()> {
    let to = unchecked(world, family)?;
    let vip = format!("{}/{}", to.ip(), whole(family));
    let [lacking, dead, eaten] = [0, 1, 2].map(|index| of_backend(world, family, index));
    world.segment.backends[0].host.ip(&format!("address del {vip} dev lo\n"))?;
    drop(world.servers.remove(1));
    eat_replies(world, 2, to, true)?;
    let findings = finds(world, &[("vip-missing", &lacking), ("service-down", &dead), ("replies-lost", &eaten)])?;
    says(&findings, "vip-missing", &[&format!("drlb backend setup --vip {}", to.ip())])?;
    says(&findings, "replies-lost", &["source/destination check", "port security", "from the VIP"])?;
    says(&findings, "service-down", &["port 80 refuses connections"])?;
    let text = world.agent.ask(&["doctor"])?;
    ensure!(text.code == Some(3) && text.stderr == "error: 3 problems were found.\n", "{text:?}");
    ensure!(text.stdout.starts_with("problem ") && text.stdout.contains("\nnote unchecked: web: "), "{text:?}");

    world.segment.backends[0].host.ip(&format!("address add {vip} dev lo{}\n", at_once(family)))?;
    world.servers.insert(1, Server::start(&world.segment.backends[1].host, HTTP)?);
    eat_replies(world, 2, to, false)?;
    finds(world, &[]).map(drop)
}
at_two_corners!(a_missing_vip_a_dead_service_and_eaten_replies_are_told_apart);

fn where_it_cannot_be_told_whether_a_backend_has_the_vip_both_are_named(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = unchecked(world, family)?;
    let node = &world.segment.backends[2];
    match family {
        Family::V4 => {
            // It answers no ARP, and needs not, for its MAC is known.
            let leg = world.segment.balancer_interfaces().last().copied().unwrap_or_default();
            let (address, mac) = (node.address(family), node.mac());
            world
                .segment
                .balancer
                .ip(&format!("neighbour replace {address} lladdr {mac} dev {leg} nud permanent\n"))?;
            node.host.sysctl(&[("ipv4/conf/all/arp_ignore", "8")])?;
        }
        // What the backends answer to the VIP is balanced.
        Family::V6 => world.add_listener("all", to.ip(), "ip", None)?,
    }
    eat_replies(world, 2, to, true)?;
    let broken = of_backend(world, family, 2);
    let finding = finds_among_others(world, Severity::Problem, "vip-path-broken", &broken)?;
    ensure!(
        ["drlb backend setup", "what eats its replies"].iter().all(|words| finding.text.contains(words)),
        "{finding:?}"
    );
    Ok(())
}
at_two_corners!(where_it_cannot_be_told_whether_a_backend_has_the_vip_both_are_named);

fn a_backend_that_forwards_and_one_that_listens_elsewhere_are_named(world: &mut World, family: Family) -> Result<()> {
    let to = unchecked(world, family)?;
    let [forwarding, elsewhere] = [0, 1].map(|index| of_backend(world, family, index));
    let router = &world.segment.backends[0].host;
    router.sysctl(&[("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")])?;
    finds(world, &[])?;
    router.ip(&format!("address del {}/{} dev lo\n", to.ip(), whole(family)))?;
    // The service of the other one listens at its own address alone.
    let node = &world.segment.backends[1];
    drop(world.servers.remove(1));
    let own = SocketAddr::new(node.address(family), HTTP);
    let _listens = node.host.enter(|| Ok(TcpListener::bind(own)?))?;
    let findings = finds(world, &[("vip-forwarded", &forwarding), ("vip-not-served", &elsewhere)])?;
    says(&findings, "vip-forwarded", &["sysctl net.ipv4.ip_forward=0", "drlb backend setup --vip"])?;
    says(&findings, "vip-not-served", &["answers pings", "listen on the VIP"])
}
at_two_corners!(a_backend_that_forwards_and_one_that_listens_elsewhere_are_named);

fn what_the_checks_say_of_a_backend_is_named_too(world: &mut World, family: Family) -> Result<()> {
    drop(world.servers.remove(0));
    let moody = Moody::start(&world.segment.backends[0].host, HTTP)?;
    checked(world, family)?;
    let (about, address) = (of_backend(world, family, 0), world.segment.backends[0].address(family));
    // Failed, and not yet so often that it is down.
    world.agent.tell(&["health", "set", WEB, "--fall", "10", "--delay", "1s"])?;
    moody.set(Mood::Fails);
    let finding = finds_among_others(world, Severity::Problem, "check-fails", &about)?;
    ensure!(finding.text.contains("500"), "{finding:?}");
    // Down, and answering again, but not often enough to be up.
    world.agent.tell(&["health", "set", WEB, "--fall", "1", "--rise", "10"])?;
    world.agent.wait_for_backend(WEB, address, BackendState::ServiceDown)?;
    moody.set(Mood::Well);
    until("the doctor to say that it answers", SOON, || {
        let (findings, _) = super::diagnose(world).map_err(|error| format!("{error:#}"))?;
        let is_it = |finding: &lb_userspace::doctor::Finding| {
            finding.code == "service-down" && finding.about == about && finding.text.contains("though it answers now")
        };
        if findings.iter().any(is_it) { Ok(()) } else { Err(format!("{findings:#?}")) }
    })?;
    // Down and up and down again.
    world.agent.tell(&["health", "set", WEB, "--fall", "1", "--rise", "1", "--delay", "100ms", "--timeout", "90ms"])?;
    until("it to be flapping", SOON, || {
        let flapping = || -> Result<bool> {
            moody.set(Mood::Fails);
            world.agent.wait_for_backend(WEB, address, BackendState::ServiceDown)?;
            moody.set(Mood::Well);
            world.agent.wait_for_backend(WEB, address, BackendState::Serving)?;
            Ok(world.agent.backend(WEB, address)?.health.is_some_and(|health| health.flapping))
        };
        match flapping() {
            Ok(true) => Ok(()),
            Ok(false) => Err("it goes up and down".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        }
    })?;
    finds(world, &[("flapping", &about)]).map(drop)
}
at_two_corners!(what_the_checks_say_of_a_backend_is_named_too);
