//! Limits with real stacks: who is above them waits or is dropped, and flows at work go on.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use drlb_tests::at_two_corners;
use drlb_tests::host::Host;
use drlb_tests::load::{Connections, Load, requests};
use drlb_tests::segment::Family;
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::{WEB, World, none_failed};

fn connect(host: &Host, to: SocketAddr) -> Result<Option<TcpStream>> {
    host.enter(|| match TcpStream::connect_timeout(&to, Duration::from_secs(2)) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(None),
        Err(error) => Err(error).context("a SYN was answered by a refusal"),
    })
}

fn a_source_that_begins_too_many_flows_is_slowed_down_and_its_flows_at_work_go_on(
    world: &mut World,
    family: Family,
) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    let at_work = Load::start(world.client(), to, 1, Connections::Kept)?;
    at_work.wait_for(10)?;
    world.agent.tell(&["listener", "set", WEB, "--source-rate", "4:2"])?;
    // A SYN that was dropped is sent again after a second, when there are tokens again.
    none_failed(&requests(world.client(), to, 8)?)?;
    let refused = world.agent.listener(WEB)?.refused;
    ensure!(refused.too_many_new_flows > 0 && refused.too_many_flows == 0, "{refused:?}");
    at_work.wait_for(10)?;
    none_failed(&at_work.stop()?)?;
    let text = world.agent.tell(&["listener", "show", WEB])?;
    let prefix = if family == Family::V4 { 32 } else { 64 };
    ensure!(text.contains(&format!("Each /{prefix} may begin 4 flows a second, 2 at once;")), "{text}");
    ensure!(world.agent.tell(&["stats"])?.contains("TOO MANY NEW"), "stats do not tell of it");

    world.agent.tell(&["listener", "set", WEB, "--no-source-rate"])?;
    none_failed(&requests(world.client(), to, 50)?)?;
    ensure!(world.agent.listener(WEB)?.source_rate.is_none());
    Ok(())
}
at_two_corners!(a_source_that_begins_too_many_flows_is_slowed_down_and_its_flows_at_work_go_on);

fn no_more_flows_than_the_limit_and_each_that_ends_makes_room(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    world.agent.tell(&["listener", "set", WEB, "--max-flows", "3"])?;
    let mut open = Vec::new();
    for number in 1..=3 {
        open.push(connect(world.client(), to)?.with_context(|| format!("connection {number} of 3 was refused"))?);
    }
    // They are at work by their second packets, so that sweeps count them.
    until("three flows to be counted by a sweep", SOON, || {
        let flows = world.agent.listener(WEB).map_err(|error| format!("{error:#}"))?.flows;
        let text = world.agent.tell(&["flows", "-o", "json"]).map_err(|error| format!("{error:#}"))?;
        let at_work = text.matches("\"established\"").count();
        if flows == Some(3) && at_work == 3 { Ok(()) } else { Err(format!("{flows:?}, {at_work} at work")) }
    })?;
    ensure!(connect(world.client(), to)?.is_none(), "a fourth connection was made");
    let listener = world.agent.listener(WEB)?;
    ensure!(listener.refused.too_many_flows > 0 && listener.flows == Some(3), "{listener:?}");
    for stream in &open {
        ensure!(stream.take_error()?.is_none() && stream.peer_addr().is_ok(), "a connection at work was broken");
    }
    // The limit outlives the agent.
    world.agent.kill()?;
    world.agent.start_again()?;
    ensure!(connect(world.client(), to)?.is_none(), "a fourth connection was made");

    drop(open.pop());
    let fourth = until("room for another connection", SOON, || {
        connect(world.client(), to).map_err(|error| format!("{error:#}"))?.ok_or_else(|| "there is none".to_owned())
    })?;
    open.push(fourth);
    // A sweep that met it between its first packet and its second has left room until the next one.
    until("the limit to hold again", SOON, || match connect(world.client(), to) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err("a fifth connection was made".to_owned()),
        Err(error) => Err(format!("{error:#}")),
    })?;

    world.agent.tell(&["listener", "set", WEB, "--no-max-flows"])?;
    none_failed(&requests(world.client(), to, 20)?)
}
at_two_corners!(no_more_flows_than_the_limit_and_each_that_ends_makes_room);
