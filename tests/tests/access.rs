//! Allow-lists with real stacks: who is on the list is served, who is not is dropped and counted, and a list is replaced
//! under load without a packet that meets half of it.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use drlb_tests::agent;
use drlb_tests::at_two_corners;
use drlb_tests::host::Host;
use drlb_tests::http;
use drlb_tests::load::{Connections, Load};
use drlb_tests::segment::Family;
use drlb_tests::traffic::ping;
use drlb_tests::world::{WEB, World, none_failed};

/// Fails if a host can connect: its SYNs must come to nothing.
fn is_shut_out(host: &Host, to: SocketAddr) -> Result<()> {
    host.enter(|| match TcpStream::connect_timeout(&to, Duration::from_secs(2)) {
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(()),
        Err(error) => Err(error).context("a SYN was answered, if only by a refusal"),
        Ok(_) => anyhow::bail!("host `{}` is connected to {to}", host.name()),
    })
}

fn denied(world: &World) -> Result<u64> {
    let outcome = world.agent.status()?.outcomes.into_iter().find(|outcome| outcome.name == "denied");
    let (outcome, listener) = (outcome.context("an outcome")?.packets, world.agent.listener(WEB)?.refused.denied);
    ensure!(outcome == listener, "the outcome counts {outcome} packets and the only listener {listener}");
    Ok(listener)
}

fn whoever_is_not_on_the_list_is_shut_out(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let (client, other) = (world.segment.clients[0].address(family), world.segment.backends[2].address(family));
    http::get(world.client(), to.ip(), to.port())?;

    world.agent.tell(&["listener", "set", WEB, "--allow", &other.to_string()])?;
    is_shut_out(world.client(), to)?;
    let count = denied(world)?;
    ensure!(count > 0, "nothing was counted as denied");
    ping(world.client(), to.ip(), b"a VIP answers echo requests, whoever asks")?;
    let text = world.agent.tell(&["listener", "show", WEB])?;
    ensure!(text.contains(&format!("Takes packets from 1 prefix only; {count} others were denied.")), "{text}");

    // The client's whole network, by a sloppy prefix.
    let bits = if family == Family::V4 { 24 } else { 64 };
    world.agent.tell(&[
        "listener",
        "set",
        WEB,
        "--allow",
        &other.to_string(),
        "--allow",
        &format!("{client}/{bits}"),
    ])?;
    http::get(world.client(), to.ip(), to.port())?;
    let json = world.agent.tell(&["listener", "show", WEB, "-o", "json"])?;
    let network = if family == Family::V4 { "\"192.0.2.0/24\"" } else { "\"2001:db8:1::/64\"" };
    ensure!(json.contains("\"allowed_cidrs\"") && json.contains(network), "{json}");
    ensure!(
        !world.agent.tell(&["status", "-o", "json"])?.contains("allowed_cidrs"),
        "long lists are not in the status"
    );

    world.agent.tell(&["listener", "set", WEB, "--allow", &other.to_string()])?;
    // A restart changes nothing.
    world.agent.stop()?;
    is_shut_out(world.client(), to)?;
    world.agent.start_again()?;
    is_shut_out(world.client(), to)?;
    ensure!(denied(world)? > count);

    world.agent.tell(&["listener", "set", WEB, "--allow-any"])?;
    http::get(world.client(), to.ip(), to.port()).map(drop)
}
at_two_corners!(whoever_is_not_on_the_list_is_shut_out);

/// Ten thousand prefixes, and the client's address among them.
fn long_list(family: Family, client: &str, seed: u32) -> String {
    let mut text = format!("# A long list.\n{client}\n");
    for number in 0..10_000 {
        let bits = (number ^ seed).wrapping_mul(0x9e37_79b1);
        let _ = match family {
            Family::V4 => writeln!(text, "{}/24", std::net::Ipv4Addr::from(bits | 0x4000_0000)),
            Family::V6 => writeln!(text, "2001:{:x}:{:x}::/{}", bits >> 16, bits & 0xffff, 48 + number % 81),
        };
    }
    text
}

fn a_list_of_ten_thousand_is_replaced_under_load_and_no_packet_is_lost(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let client = world.segment.clients[0].address(family).to_string();
    let lists = [long_list(family, &client, 1), long_list(family, &client, 0xffff)];
    let replace = |list: &str| {
        let drlb = agent::binary()?;
        let drlb = drlb.to_str().context("a path in UTF-8")?;
        world.segment.balancer.feed(drlb, &["listener", "set", WEB, "--allow-file", "-"], list)
    };
    replace(&lists[0])?;
    let load = Load::start(world.client(), to, 4, Connections::Fresh)?;
    load.wait_for(100)?;
    for round in 1..12 {
        replace(&lists[round % 2])?;
        load.wait_for(20)?;
    }
    none_failed(&load.stop()?)?;
    // Not even a packet that was sent again.
    ensure!(denied(world)? == 0, "packets met a list that was not whole");
    let listener = world.agent.listener(WEB)?;
    ensure!(listener.allowed > 9_000, "{} prefixes", listener.allowed);
    // And it is a list, not an open door.
    replace(&lists[0].replace(&format!("{client}\n"), ""))?;
    is_shut_out(world.client(), to)
}
at_two_corners!(a_list_of_ten_thousand_is_replaced_under_load_and_no_packet_is_lost);
