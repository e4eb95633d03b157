//! `drlb events`: what happened, each made to happen.

use std::fs;

use anyhow::{Context, Result, ensure};
use drlb_tests::agent::binary;
use drlb_tests::at_two_corners;
use drlb_tests::segment::{Family, Legs, Mode, Plan};
use drlb_tests::wait::{SOON, until};
use drlb_tests::wire::Wire;
use drlb_tests::world::{WEB, World};
use lb_userspace::engine::status::BackendState;
use lb_userspace::ethernet::frames::{announcement, probe};
use lb_userspace::events::{Event, EventKind};

/// A check by HTTP that is quick to find out.
const QUICK: &[&str] =
    &["health", "set", WEB, "--type", "http", "--delay", "200ms", "--timeout", "200ms", "--fall", "2"];

fn kinds(events: &[Event]) -> Vec<EventKind> {
    events.iter().map(|event| event.kind).collect()
}

fn a_backends_fate_is_told_and_found_by_backend_listener_and_vip(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1, 1, 1])?;
    world.agent.tell(QUICK)?;
    world.agent.wait_until_serving(WEB)?;
    let (dead, lacking) = (world.segment.backends[0].address(family), &world.segment.backends[1]);
    drop(world.servers.remove(0));
    world.agent.wait_for_backend(WEB, dead, BackendState::ServiceDown)?;
    lacking.host.ip(&format!("address del {}/{} dev lo\n", to.ip(), if to.is_ipv4() { 32 } else { 128 }))?;
    world.agent.wait_for_backend(WEB, lacking.address(family), BackendState::VipPathBroken)?;

    let (dead, vip) = (dead.to_string(), to.ip().to_string());
    let of_dead = world.agent.events(&["--backend", &dead])?;
    ensure!(kinds(&of_dead) == [EventKind::NeighbourLearnt, EventKind::BackendDown], "{of_dead:#?}");
    ensure!(of_dead[1].text.contains("refuses connections"), "{of_dead:#?}");
    ensure!(of_dead[1].listeners.iter().any(|name| name.as_str() == WEB), "{of_dead:#?}");
    let lacking = lacking.address(family).to_string();
    world.agent.wait_for_event(&["--kind", "backend-vip-path-broken", "--listener", WEB], &[&lacking])?;
    let by_vip = world.agent.events(&["--kind", "backend-down", "--kind", "vip-announced", "--vip", &vip])?;
    ensure!(
        kinds(&by_vip).contains(&EventKind::BackendDown) && kinds(&by_vip).contains(&EventKind::VipAnnounced),
        "{by_vip:#?}"
    );
    ensure!(world.agent.events(&["--listener", "another"])?.is_empty(), "another listener has events");

    let table = world.agent.tell(&["events", "--kind", "backend-down", "--limit", "1"])?;
    ensure!(table.lines().count() == 1 && table.contains(" ! backend-down: backend "), "{table}");
    let stats: serde_json::Value = serde_json::from_str(&world.agent.tell(&["stats", "-o", "json"])?)?;
    let counts = stats["events"].as_array().context("the stats have no events")?;
    let counted = |kind: &str| counts.iter().find(|count| count["kind"] == kind).map(|count| count["count"].clone());
    ensure!(counts.len() == EventKind::ALL.len() && counted("agent-started") == Some(1.into()), "{counts:?}");
    ensure!(counted("backend-vip-path-broken") == Some(1.into()), "{counts:?}");
    ensure!(world.agent.tell(&["stats"])?.contains("backend-vip-path-broken"), "the table has no events");
    Ok(())
}
at_two_corners!(a_backends_fate_is_told_and_found_by_backend_listener_and_vip);

#[test]
fn who_follows_sees_each_event_once_also_those_of_the_next_agent() -> Result<()> {
    World::play(Plan { backends: 1, ..Plan::new(Mode::Generic, Legs::One) }, |world| {
        let family = Family::V4;
        let binary = binary()?;
        let following = world.segment.balancer.spawn(binary, &["events", "--follow", "-o", "json"])?;
        let shown = || -> Vec<Event> { following.log().lines().filter_map(|l| serde_json::from_str(l).ok()).collect() };
        let wait_for = |what: &str, kind: EventKind, count: usize| {
            until(what, SOON, || {
                let of_kind = shown().iter().filter(|event| event.kind == kind).count();
                if of_kind == count { Ok(()) } else { Err(following.log()) }
            })
        };
        wait_for("the attachment of before to be shown", EventKind::XdpAttached, 1)?;
        world.balance_http(family, &[1])?;
        wait_for("the backend to be learnt", EventKind::NeighbourLearnt, 1)?;
        world.agent.kill()?;
        world.agent.start_again()?;
        wait_for("the second agent to be shown", EventKind::AgentStarted, 2)?;
        world.agent.stop()?;
        world.agent.start_again()?;
        wait_for("the third agent to be shown", EventKind::AgentStarted, 3)?;
        world.segment.plug(&world.segment.backends[0], false)?;
        wait_for("the loss of the backend to be shown", EventKind::NeighbourLost, 1)?;
        let numbers: Vec<u64> = shown().iter().map(|event| event.number).collect();
        ensure!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        Ok(())
    })
}

#[test]
fn a_file_that_is_applied_or_refused_is_told() -> Result<()> {
    World::play(Plan { backends: 1, ..Plan::new(Mode::Generic, Legs::One) }, |world| {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("drlb.toml");
        let path = path.to_string_lossy();
        fs::write(&*path, "")?;
        world.agent.stop()?;
        world.agent.start_again_with(&["--config", &path])?;
        world.agent.wait_for_event(&["--kind", "configuration-applied"], &[&path, "0 changes"])?;
        fs::write(&*path, "[[interfaces]]\nname = \"eth0\"\n[[listener]]\n")?;
        world.agent.reload()?;
        let refused = world.agent.wait_for_event(&["--kind", "configuration-refused"], &["line 3", "`listener`"])?;
        ensure!(refused.text.starts_with("nothing was changed: "), "{refused:?}");
        fs::write(&*path, "[[interfaces]]\nname = \"eth0\"\nmode = \"generic\"\n")?;
        world.agent.reload()?;
        world.agent.wait_for_event(&["--kind", "configuration-applied"], &["changes were made"]).map(drop)
    })
}

fn another_host_that_wants_or_claims_the_vip_is_told_and_the_defence(world: &mut World, family: Family) -> Result<()> {
    let to = world.balance_http(family, &[1])?;
    let (vip, rival) = (to.ip().to_string(), world.segment.clients[0].mac());
    world.agent.wait_for_event(&["--kind", "vip-announced", "--vip", &vip, "--interface", "eth0"], &["eth0"])?;
    let wire = Wire::open(world.client(), "eth0")?;
    // Somebody who asks whether the VIP is free, and then takes it.
    wire.send(&probe(to.ip(), rival))?;
    world.agent.wait_for_event(&["--kind", "vip-wanted", "--vip", &vip], &[&rival.to_string()])?;
    wire.send(&announcement(to.ip(), rival))?;
    world.agent.wait_for_event(&["--kind", "vip-contested", "--vip", &vip], &[&rival.to_string()])?;
    world.agent.wait_for_event(&["--kind", "vip-defended", "--vip", &vip], &[&rival.to_string()]).map(drop)
}
at_two_corners!(another_host_that_wants_or_claims_the_vip_is_told_and_the_defence);
