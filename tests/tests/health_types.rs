//! Health checks of each type with real servers that are right and others that are wrong; checks at a port or an address of a
//! backend's own; and checks of VIPs that the host or nobody owns.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};
use drlb_tests::at_two_corners;
use drlb_tests::load::requests;
use drlb_tests::particular::{Asked, Authority, Datagrams, Particular};
use drlb_tests::segment::{Family, Net, Node};
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::{WEB, World, none_failed};
use lb_userspace::engine::status::BackendState;

/// How often, and what it takes to be up and down: quick, but a busy machine's slowness brings nobody down.
const QUICK: &[&str] = &["--delay", "100ms", "--timeout", "1s", "--rise", "1", "--fall", "2"];

fn check(world: &World, arguments: &[&str]) -> Result<String> {
    world.agent.tell(&[&["health", "set", WEB], arguments].concat())
}

fn address(world: &World, family: Family, index: usize) -> IpAddr {
    world.segment.backends[index].address(family)
}

/// Waits until the first backend serves, and the others are down for these reasons.
fn only_the_first_serves(world: &World, family: Family, reasons: &[&str]) -> Result<()> {
    world.agent.wait_for_backend(WEB, address(world, family, 0), BackendState::Serving)?;
    for (index, expected) in reasons.iter().enumerate() {
        let address = address(world, family, index + 1);
        until(&format!("{address} to be down, as {expected}"), SOON, || {
            let backend = world.agent.backend(WEB, address).map_err(|error| format!("{error:#}"))?;
            let reason = backend.reason.unwrap_or_default();
            let down = backend.state == BackendState::ServiceDown && reason.contains(expected);
            if down { Ok(()) } else { Err(format!("it is {} ({reason})", backend.state.name())) }
        })?;
    }
    // It did not just come to serve and go down again.
    world.agent.wait_for_backend(WEB, address(world, family, 0), BackendState::Serving)
}

fn hold_vip(node: &Node, vip: IpAddr, holds: bool) -> Result<()> {
    let whole = if vip.is_ipv4() { 32 } else { 128 };
    let what = if holds { "add" } else { "del" };
    let nodad = if holds && vip.is_ipv6() { " nodad" } else { "" };
    node.host.ip(&format!("address {what} {vip}/{whole} dev lo{nodad}\n")).map(drop)
}

const NAME: &str = "www.example.com";

/// Answers rightly only what it was told to expect.
fn particular(asked: &Asked) -> u16 {
    let is_right = asked.line == "HEAD /healthz?deep=1 HTTP/1.0" && asked.host.as_deref() == Some(NAME);
    if is_right { 302 } else { 404 }
}

fn well(_: &Asked) -> u16 {
    200
}

fn each_type_tells_a_server_that_is_right_from_those_that_are_wrong(world: &mut World, family: Family) -> Result<()> {
    let hosts: Vec<_> = world.segment.backends.iter().map(|node| node.host.clone()).collect();
    let authority = Authority::new("An authority that the balancer trusts")?;
    let folder = tempfile::tempdir()?;
    let bundle = folder.path().join("authorities.pem");
    std::fs::write(&bundle, authority.pem())?;
    world.agent.kill()?;
    world.agent.start_again_by(&["env", &format!("SSL_CERT_FILE={}", bundle.display())])?;
    let to = world.balance_http(family, &[1, 1, 1])?;

    // HTTP: method, path, version, host; codes as a list and a range.
    let _http = [
        Particular::start(&hosts[0], 8080, None, particular)?,
        Particular::start(&hosts[1], 8080, None, well)?,
        Particular::start(&hosts[2], 8080, None, |_| 500)?,
    ];
    let http = ["--type", "http", "--port", "8080", "--method", "HEAD", "--path", "/healthz?deep=1", "--host", NAME];
    check(world, &[&http[..], &["--http-version", "1.0", "--expect", "204,300-399"], QUICK].concat())?;
    only_the_first_serves(world, family, &["HTTP status 200 instead of", "HTTP status 500 instead of"])?;

    // HTTPS with a valid certificate, one of an authority that nobody knows, and one for another name.
    let stranger = Authority::new("A stranger")?;
    let certified = [
        Particular::start(&hosts[0], 443, Some(authority.certify(NAME)?), well)?,
        Particular::start(&hosts[1], 443, Some(stranger.certify(NAME)?), well)?,
        Particular::start(&hosts[2], 443, Some(authority.certify("www.example.org")?), well)?,
    ];
    let https = ["--type", "https", "--port", "443", "--verify", "true", "--sni", NAME, "--path", "/secure"];
    check(world, &https)?;
    let invalid = ["UnknownIssuer", "not valid for name"];
    only_the_first_serves(world, family, &invalid)?;
    check(world, &["--expect", "204"])?;
    world.agent.wait_for_backend(WEB, address(world, family, 0), BackendState::ServiceDown)?;
    let reason = world.agent.backend(WEB, address(world, family, 0))?.reason.unwrap_or_default();
    ensure!(reason.contains("HTTP status 200 instead of 204"), "{reason}");
    // TLS alone does not look at the answer.
    check(world, &["--type", "tls", "--port", "443", "--verify", "true", "--sni", NAME])?;
    only_the_first_serves(world, family, &invalid)?;
    // Without verification each that has the key of its certificate is right.
    check(world, &["--type", "https", "--verify", "false", "--sni", "any.example.net", "--host", NAME])?;
    world.agent.wait_until_serving(WEB)?;
    let asked = certified[0].asked();
    let expected = |line: &str, host: &str, sni: &str| Asked {
        line: line.to_owned(),
        host: Some(host.to_owned()),
        sni: Some(sni.to_owned()),
    };
    let vip = if to.is_ipv4() { to.ip().to_string() } else { format!("[{}]", to.ip()) };
    let secure = expected("GET /secure HTTP/1.1", &vip, NAME);
    ensure!(asked.contains(&secure), "{asked:?} has no {secure:?}");
    ensure!(asked.contains(&expected("GET / HTTP/1.1", NAME, "any.example.net")), "{asked:?}");

    // Datagrams: the right answer, a wrong one, and none.
    let at = SocketAddr::new(to.ip(), 9_000);
    let _datagrams = [
        Datagrams::start(&hosts[0], at, b"ping\n", b"well: pong")?,
        Datagrams::start(&hosts[1], at, b"ping\n", b"gnop")?,
        Datagrams::start(&hosts[2], at, b"something else", b"pong")?,
    ];
    check(world, &["--type", "udp", "--port", "9000", "--send", "hex:70696e670a", "--answer", "pong"])?;
    only_the_first_serves(world, family, &["does not hold what is expected", "no answer within 1 s"])
}
at_two_corners!(each_type_tells_a_server_that_is_right_from_those_that_are_wrong);

fn a_listener_of_every_protocol_is_checked_by_pings_to_the_vip(world: &mut World, family: Family) -> Result<()> {
    let vip = drlb_tests::segment::vip(family, 0);
    world.add_listener(WEB, vip, "ip", None)?;
    for index in 0..2 {
        world.add_backend(WEB, address(world, family, index), 1)?;
    }
    let said = check(world, QUICK)?;
    ensure!(said.contains("ICMP") || said.contains("ping"), "{said}");
    world.agent.wait_until_serving(WEB)?;
    hold_vip(&world.segment.backends[0], vip, false)?;
    world.agent.wait_for_backend(WEB, address(world, family, 0), BackendState::VipPathBroken)?;
    hold_vip(&world.segment.backends[0], vip, true)?;
    world.agent.wait_until_serving(WEB)
}
at_two_corners!(a_listener_of_every_protocol_is_checked_by_pings_to_the_vip);

fn a_backend_is_checked_at_the_port_or_the_address_that_it_is_given(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1])?;
    check(world, &[&["--type", "http"], QUICK].concat())?;
    world.agent.wait_until_serving(WEB)?;
    let node = world.segment.backends[0].clone();
    let own = node.address(family);
    let set = |arguments: &[&str]| {
        world.agent.tell(&[&["backend", "set", WEB, &own.to_string()], arguments].concat()).map(drop)
    };
    let state = |state| world.agent.wait_for_backend(WEB, own, state);

    // A port of its own: the others are checked as before.
    set(&["--monitor-port", "8081"])?;
    state(BackendState::ServiceDown)?;
    let reason = world.agent.backend(WEB, own)?.reason.unwrap_or_default();
    ensure!(reason.contains("port 8081 refuses connections"), "{reason}");
    let at_its_port = Particular::start(&node.host, 8081, None, well)?;
    state(BackendState::Serving)?;
    ensure!(!at_its_port.asked().is_empty(), "nobody asked at port 8081");
    // Still by the VIP.
    hold_vip(&node, to.ip(), false)?;
    state(BackendState::VipPathBroken)?;
    hold_vip(&node, to.ip(), true)?;
    state(BackendState::Serving)?;
    drop(at_its_port);
    state(BackendState::ServiceDown)?;

    // An address elsewhere, of somebody who knows how the backend is.
    let elsewhere = &world.segment.backends[2];
    let told = Particular::start(&elsewhere.host, 8081, None, well)?;
    set(&["--monitor-address", &elsewhere.address(family).to_string()])?;
    state(BackendState::Serving)?;
    hold_vip(&node, to.ip(), false)?;
    drop(told);
    state(BackendState::ServiceDown)?;
    // That one's cable has nothing to do with it, and the VIP neither.
    let told = Particular::start(&elsewhere.host, 8081, None, well)?;
    state(BackendState::Serving)?;
    ensure!(!told.asked().is_empty(), "nobody asked at {}", elsewhere.address(family));
    set(&["--no-monitor"])?;
    state(BackendState::VipPathBroken)?;
    hold_vip(&node, to.ip(), true)?;
    state(BackendState::Serving)?;
    world.agent.wait_for_backend(WEB, world.segment.backends[1].address(family), BackendState::Serving)
}
at_two_corners!(a_backend_is_checked_at_the_port_or_the_address_that_it_is_given);

fn vips_of_the_host_and_of_nobody_are_checked_as_those_of_the_program_are(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = world.balance_http(family, &[1, 1])?;
    check(world, &[&["--type", "http"], QUICK].concat())?;
    world.agent.wait_until_serving(WEB)?;
    let (vip, whole) = (to.ip(), if family == Family::V4 { "/32" } else { "/128" });
    let nodad = if family == Family::V4 { "" } else { "nodad" };
    let balancer = world.segment.balancer.clone();
    let front = world.segment.balancer_address(Net::Front, family).to_string();
    for owner in ["host", "none"] {
        world.agent.tell(&["listener", "set", WEB, "--vip-owner", owner])?;
        match owner {
            "host" => balancer.ip(&format!("address add {vip}{whole} dev eth0 {nodad}\n")).map(drop)?,
            _ => {
                balancer.ip(&format!("address del {vip}{whole} dev eth0\n"))?;
                world.client().run("ip", &["route", "add", &format!("{vip}{whole}"), "via", &front])?;
            }
        }
        world.client().run("ip", &["neighbour", "flush", "dev", "eth0"])?;
        let sick = &world.segment.backends[0];
        let answered_by_the_other_alone = || {
            let counts = requests(world.client(), to, 20)?;
            none_failed(&counts)?;
            ensure!(counts.of(sick.host.name()) == 0, "{} takes traffic: {:?}", sick.host.name(), counts.by_backend);
            Ok(())
        };
        hold_vip(sick, vip, false)?;
        world.agent.wait_for_backend(WEB, sick.address(family), BackendState::VipPathBroken)?;
        answered_by_the_other_alone().with_context(|| format!("the VIP is of {owner}"))?;
        // Also by a new agent, which has to make the way of its probes anew.
        world.agent.kill()?;
        world.agent.start_again()?;
        hold_vip(sick, vip, true)?;
        world.agent.wait_until_serving(WEB).with_context(|| format!("the VIP is of {owner}"))?;
        none_failed(&requests(world.client(), to, 20)?)?;
    }
    Ok(())
}
at_two_corners!(vips_of_the_host_and_of_nobody_are_checked_as_those_of_the_program_are);

/// The next probe by its rhythm is ten minutes away.
fn a_backend_that_comes_in_reach_is_probed_at_once_and_not_a_delay_later(
    world: &mut World,
    family: Family,
) -> Result<()> {
    world.balance_http(family, &[1, 1])?;
    check(world, &["--type", "http", "--delay", "10m", "--timeout", "1s", "--rise", "1"])?;
    let node = &world.segment.backends[2];
    world.segment.plug(node, false)?;
    world.add_backend(WEB, node.address(family), 1)?;
    until("its first probe to find no way", SOON, || {
        let backend = world.agent.backend(WEB, node.address(family)).map_err(|error| format!("{error:#}"))?;
        let health = backend.health.ok_or("it is not checked")?;
        if health.reason.is_some() { Ok(()) } else { Err(format!("{health:?}")) }
    })?;
    world.segment.plug(node, true)?;
    world.agent.wait_for_backend(WEB, node.address(family), BackendState::Serving)
}
at_two_corners!(a_backend_that_comes_in_reach_is_probed_at_once_and_not_a_delay_later);
