//! The harness itself: the segment carries traffic before drlb is on it, and nothing of it outlives the test.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use drlb_tests::capture::Capture;
use drlb_tests::host::Host;
use drlb_tests::http::{self, Server};
use drlb_tests::load::{Connections, Load, requests};
use drlb_tests::segment::{Family, Legs, Mode, Plan, Segment};
use drlb_tests::traffic::{self, Echo};
use drlb_tests::wait::{SOON, until};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

#[test]
fn a_client_reaches_a_backend_at_its_own_address_on_one_leg_and_on_two() -> Result<()> {
    for legs in [Legs::One, Legs::Two] {
        let segment = Segment::new(Plan::new(Mode::Native, legs))?;
        let backend = &segment.backends[0];
        if legs == Legs::Two {
            // For this test alone: a client needs no way to the back, since what it asks for is on the front.
            segment.clients[0].host.ip("route add default via 192.0.2.1\nroute add ::/0 via 2001:db8:1::1\n")?;
        }
        let _server = Server::start(&backend.host, 80)?;
        for family in FAMILIES {
            let name = http::get(&segment.clients[0].host, backend.address(family), 80)?;
            ensure!(name == backend.host.name(), "{legs:?} {family:?}: `{name}` answered");
        }
    }
    Ok(())
}

#[test]
fn udp_gre_and_echo_requests_are_answered_over_the_segment() -> Result<()> {
    let segment = Segment::new(Plan::new(Mode::Generic, Legs::One))?;
    let (client, backend) = (&segment.clients[0].host, &segment.backends[1]);
    for family in FAMILIES {
        let address = backend.address(family);
        let _udp = Echo::udp(&backend.host, address, 7)?;
        let _gre = Echo::ip(&backend.host, address, traffic::GRE)?;
        ensure!(traffic::ask_udp(client, SocketAddr::new(address, 7), "hello")? == "backend-2");
        ensure!(traffic::ask_ip(client, address, traffic::GRE, "hello")? == "backend-2");
        traffic::ping(client, address, b"hello")?;
    }
    Ok(())
}

#[test]
fn a_capture_sees_who_sent_a_frame_and_only_on_the_ports_it_crossed() -> Result<()> {
    let segment = Segment::new(Plan::new(Mode::Native, Legs::One))?;
    let (client, backend) = (&segment.clients[0], &segment.backends[2]);
    let _server = Server::start(&backend.host, 80)?;
    for family in FAMILIES {
        // The bridge learns both ends from this; before it does, it sends frames everywhere.
        traffic::ping(&client.host, backend.address(family), b"hello")?;
        let (at_client, at_switch) = (Capture::start(&client.host)?, Capture::start(&segment.switch)?);
        http::get(&client.host, backend.address(family), 80)?;
        let replies = at_client.finish()?.source_macs(|kind| kind.source == backend.address(family));
        ensure!(replies.keys().copied().eq([backend.mac()]), "replies came from {replies:?}");
        let port = segment.switch.ifindex(&segment.balancer_ports()[0])?;
        let seen = at_switch.finish()?;
        ensure!(seen.count(|kind| kind.source == backend.address(family)) > 0, "the switch saw nothing");
        let address = backend.address(family);
        seen.none("the balancer has no part in this", |kind| kind.ifindex == port && kind.source == address)?;
    }
    Ok(())
}

#[test]
fn a_load_counts_every_request_and_every_failure() -> Result<()> {
    let segment = Segment::new(Plan::new(Mode::Generic, Legs::One))?;
    let backend = &segment.backends[0];
    let to = SocketAddr::new(backend.address(Family::V4), 80);
    let server = Server::start(&backend.host, 80)?;
    for connections in [Connections::Fresh, Connections::Kept] {
        let load = Load::start(&segment.clients[0].host, to, 2, connections)?;
        load.wait_for(200)?;
        let counts = load.stop()?;
        ensure!(counts.failed == 0 && counts.ok >= 200 && counts.of("backend-1") == counts.ok, "{counts}");
    }
    drop(server);
    let counts = requests(&segment.clients[0].host, to, 3)?;
    ensure!(counts.failed == 3 && counts.failures.len() == 3, "without a server: {counts}");
    Ok(())
}

/// Names the role of the process that the test below starts and kills.
const VICTIM: &str = "DRLB_TEST_VICTIM";

#[test]
fn a_killed_test_process_leaves_no_process_no_namespace_and_no_mount() -> Result<()> {
    if std::env::var_os(VICTIM).is_some() {
        return be_the_victim();
    }
    let mounts_before = fs::read_to_string("/proc/self/mountinfo")?;
    let links_before = links()?;
    let mut victim = Command::new(std::env::current_exe()?)
        .args(["--exact", "a_killed_test_process_leaves_no_process_no_namespace_and_no_mount", "--nocapture"])
        .env(VICTIM, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = victim.stdout.take().context("the victim has no standard output")?;
    let mut pids = BTreeSet::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if let Some(pid) = line.strip_prefix("pid ") {
            pids.insert(pid.parse::<u32>()?);
        } else if line == "standing" {
            break;
        }
    }
    ensure!(pids.len() > 5, "the victim told of {} processes only", pids.len());
    let namespaces = pids.iter().map(|pid| namespaces_of(*pid)).collect::<Result<Vec<_>>>()?;
    let namespaces: BTreeSet<String> = namespaces.into_iter().flatten().collect();
    ensure!(namespaces.len() > pids.len(), "the victim's hosts share namespaces: {namespaces:?}");
    victim.kill()?;
    victim.wait()?;
    until("everything of the killed process to go", SOON, || {
        let living: Vec<_> = pids.iter().filter(|pid| fs::metadata(format!("/proc/{pid}/ns/net")).is_ok()).collect();
        if !living.is_empty() {
            return Err(format!("processes {living:?} are still there"));
        }
        match holders_of(&namespaces).first() {
            Some(holder) => Err(format!("{holder} still holds a namespace")),
            None => Ok(()),
        }
    })?;
    ensure!(fs::read_to_string("/proc/self/mountinfo")? == mounts_before, "a mount is left");
    ensure!(links()? == links_before, "an interface is left");
    Ok(())
}

fn be_the_victim() -> Result<()> {
    let segment = Segment::new(Plan::new(Mode::Native, Legs::Two))?;
    // Two processes that would go on for ever, one of which takes no notice of signals that can be ignored.
    let sleeper = segment.balancer.spawn("sleep", &["infinity"])?;
    let stubborn = segment.balancer.spawn("sh", &["-c", "trap '' HUP INT TERM; exec sleep infinity"])?;
    let holders = segment.hosts().into_iter().map(Host::pid);
    for pid in holders.chain([sleeper.pid(), stubborn.pid()]) {
        println!("pid {pid}");
    }
    println!("standing");
    // The parent never writes: this ends with the process only.
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// The machine's own interfaces.
fn links() -> Result<Vec<String>> {
    let mut links: Vec<_> = nix::net::if_::if_nameindex()?.iter().map(|link| format!("{link:?}")).collect();
    links.sort();
    Ok(links)
}

fn namespaces_of(pid: u32) -> Result<[String; 2]> {
    let read = |kind: &str| -> Result<String> {
        let path = format!("/proc/{pid}/ns/{kind}");
        Ok(fs::read_link(&path).with_context(|| format!("cannot read {path}"))?.to_string_lossy().into_owned())
    };
    Ok([read("net")?, read("mnt")?])
}

/// Every process and every open file of this machine that keeps one of these namespaces alive.
fn holders_of(namespaces: &BTreeSet<String>) -> Vec<String> {
    let Ok(processes) = fs::read_dir("/proc") else { return vec!["(/proc cannot be read)".to_owned()] };
    let folders = processes.flatten().map(|entry| entry.path()).filter(|path| path.join("ns").exists());
    let links = folders.flat_map(|process| {
        let held = [process.join("ns/net"), process.join("ns/mnt")];
        let open = fs::read_dir(process.join("fd")).into_iter().flatten().flatten().map(|entry| entry.path());
        held.into_iter().chain(open).collect::<Vec<_>>()
    });
    let is_one_of_them = |link: &std::path::PathBuf| {
        fs::read_link(link).is_ok_and(|target| namespaces.contains(target.to_string_lossy().as_ref()))
    };
    links.filter(is_one_of_them).map(|link| link.display().to_string()).collect()
}
