//! Listeners of other kinds: UDP, and every protocol and port of a VIP.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Result, ensure};
use drlb_tests::agent::set_up_backend;
use drlb_tests::http::{self, Server};
use drlb_tests::segment::{Family, vip};
use drlb_tests::traffic::{ESP, Echo, GRE, SCTP, ask_ip, ask_udp};
use drlb_tests::world::World;
use drlb_tests::{at_two_corners, everywhere};

/// An SCTP packet (RFC 9260) from port 10000 to port 9 with an INIT chunk.
const SCTP_INIT: &str = "\x27\x10\0\x09\0\0\0\0\0\0\0\0\x01\0\0\x14\0\0\0\x01\0\0\x10\0\0\x0a\0\x0a\0\0\0\x01";
/// The packet after it, with a COOKIE ECHO chunk.
const SCTP_COOKIE_ECHO: &str = "\x27\x10\0\x09\0\0\0\x01\0\0\0\0\x0a\0\0\x08cook";

fn udp_is_answered_and_spread(world: &mut World, family: Family) -> Result<()> {
    let to = SocketAddr::new(vip(family, 0), 53);
    world.add_listener("dns", to.ip(), "udp", Some(53))?;
    // A UDP flow does not say that it is a new one: it goes to the first backend until that one's flows could have ended.
    world.agent.tell(&["listener", "set", "dns", "--idle", "udp=1", "--idle", "handshake=1"])?;
    let mut servers = Vec::new();
    for backend in &world.segment.backends {
        servers.push(Echo::udp(&backend.host, to.ip(), to.port())?);
        world.add_backend("dns", backend.address(family), 1)?;
    }
    world.agent.wait_until_serving("dns")?;
    world.agent.wait_until_nothing_moves("dns")?;
    let mut answers = BTreeMap::<String, u32>::new();
    for number in 0..150 {
        *answers.entry(ask_udp(world.client(), to, &format!("question {number}"))?).or_default() += 1;
    }
    // Each of 150 flows goes to one of three at random: a backend gets 50 ± 35 but once in 500 million times.
    ensure!(answers.len() == 3 && answers.values().all(|count| (15..=85).contains(count)), "answers: {answers:?}");
    Ok(())
}
everywhere!(udp_is_answered_and_spread);

fn dig_is_answered_by_every_backend(world: &mut World, family: Family) -> Result<()> {
    let vip = vip(family, 0);
    world.add_listener("dns", vip, "udp", Some(53))?;
    let mut servers = Vec::new();
    for backend in &world.segment.backends {
        servers.push(Echo::dns(&backend.host, vip)?);
        world.add_backend("dns", backend.address(family), 1)?;
    }
    world.agent.wait_until_serving("dns")?;
    world.agent.wait_until_nothing_moves("dns")?;
    let server = format!("@{vip}");
    let mut answers = BTreeMap::<String, u32>::new();
    for _ in 0..60 {
        let answer = world.client().run("dig", &[&server, "who.example", "TXT", "+short", "+tries=3", "+time=5"])?;
        *answers.entry(answer.trim().to_owned()).or_default() += 1;
    }
    // That one of three backends gets none of 60 flows happens once in 10 billion times.
    let names: Vec<_> = answers.keys().map(String::as_str).collect();
    ensure!(names == ["\"backend-1\"", "\"backend-2\"", "\"backend-3\""], "answers: {answers:?}");
    Ok(())
}
at_two_corners!(dig_is_answered_by_every_backend);

fn a_listener_of_protocol_ip_takes_every_protocol_and_port(world: &mut World, family: Family) -> Result<()> {
    let vip = vip(family, 1);
    world.add_listener("all", vip, "ip", None)?;
    let mut servers = Vec::new();
    let mut web_servers = Vec::new();
    for backend in &world.segment.backends {
        set_up_backend(&backend.host, &[vip])?;
        servers.push(Echo::ip(&backend.host, vip, GRE)?);
        servers.push(Echo::ip(&backend.host, vip, ESP)?);
        servers.push(Echo::ip(&backend.host, vip, SCTP)?);
        servers.push(Echo::udp(&backend.host, vip, 5060)?);
        web_servers.push(Server::start(&backend.host, 8443)?);
        world.add_backend("all", backend.address(family), 1)?;
    }
    world.agent.wait_until_serving("all")?;
    let client = world.client();
    for protocol in [GRE, ESP] {
        let first = ask_ip(client, vip, protocol, "one")?;
        for message in ["two", "three", "four"] {
            let next = ask_ip(client, vip, protocol, message)?;
            ensure!(next == first, "protocol {protocol}: `{first}` answered, then `{next}`, and it is one flow");
        }
    }
    let begun = ask_ip(client, vip, SCTP, SCTP_INIT)?;
    let data = ask_ip(client, vip, SCTP, SCTP_COOKIE_ECHO)?;
    ensure!(begun == data, "an association that `{begun}` began went on at `{data}`");
    ask_udp(client, SocketAddr::new(vip, 5060), "hello")?;
    for port in [80, 8443] {
        http::get(client, vip, port)?;
    }
    Ok(())
}
everywhere!(a_listener_of_protocol_ip_takes_every_protocol_and_port);

fn a_more_exact_listener_wins_over_one_of_protocol_ip(world: &mut World, family: Family) -> Result<()> {
    let vip = vip(family, 0);
    let [first, second, ..] = world.segment.backends.as_slice() else { anyhow::bail!("two backends are needed") };
    world.add_listener("all", vip, "ip", None)?;
    world.add_backend("all", first.address(family), 1)?;
    world.add_listener("web", vip, "tcp", Some(80))?;
    world.add_backend("web", second.address(family), 1)?;
    world.agent.wait_until_serving("all")?;
    world.agent.wait_until_serving("web")?;
    let _other = Server::start(&first.host, 8080)?;
    for _ in 0..20 {
        let (exact, any) = (http::get(world.client(), vip, 80)?, http::get(world.client(), vip, 8080)?);
        ensure!(exact == "backend-2", "port 80 was answered by {exact}");
        ensure!(any == "backend-1", "port 8080 was answered by {any}");
    }
    Ok(())
}
everywhere!(a_more_exact_listener_wins_over_one_of_protocol_ip);
