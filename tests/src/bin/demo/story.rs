//! The story: from an empty segment to a backend that is removed under load.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use drlb_tests::agent::{self, Agent};
use drlb_tests::http::Server;
use drlb_tests::load::{Connections, Counts, Load, requests};
use drlb_tests::segment::{Family, Legs, Mode, Net, Plan, Segment, vip};
use drlb_tests::world::{HTTP, ReplyPaths, World};
use lb_common::address::MacAddr;

use crate::screen;

/// The backends' weights.
const WEIGHTS: [u16; 3] = [1, 1, 2];
/// Requests for each family.
const REQUESTS: u64 = 2_000;
/// Clients at once, where there is load.
const WORKERS: usize = 8;
/// Requests before, and after, what is done under load.
const UNDER_LOAD: u64 = 1_000;

const FAMILIES: [(Family, &str); 2] = [(Family::V4, "web4"), (Family::V6, "web6")];

/// Plays the whole story, and returns what then stands.
pub(crate) fn play() -> Result<World> {
    let world = set_the_stage()?;
    configure(&world)?;
    let mut paths = Vec::new();
    for (family, _) in FAMILIES {
        paths.push((family, send_requests(&world, family)?));
    }
    screen::heading("Who answered");
    for (index, (family, paths)) in paths.iter().enumerate() {
        if index > 0 {
            screen::line("");
        }
        show_reply_paths(&world, *family, paths);
    }
    let mut world = world;
    kill_the_agent(&mut world)?;
    remove_a_backend(&world)?;
    Ok(world)
}

fn set_the_stage() -> Result<World> {
    screen::heading("A segment: one client, one balancer, three backends, each a network namespace");
    let segment = Segment::new(Plan::new(Mode::Native, Legs::One))?;
    let vips = FAMILIES.map(|(family, _)| vip(family, 0));
    let [balancer_mac, ..] = segment.balancer_macs()[..] else { anyhow::bail!("the balancer has no leg") };
    let row = |name: &str, mac: MacAddr, address: &dyn Fn(Family) -> IpAddr| {
        vec![name.to_owned(), mac.to_string(), address(Family::V4).to_string(), address(Family::V6).to_string()]
    };
    let mut rows = vec![row("balancer", balancer_mac, &|family| segment.balancer_address(Net::Front, family))];
    for node in segment.clients.iter().chain(&segment.backends) {
        rows.push(row(node.host.name(), node.mac(), &|family| node.address(family)));
    }
    screen::table(&["host", "MAC of eth0", "IPv4", "IPv6"], &rows);
    screen::line("");
    screen::note(&format!(
        "A request goes from the client by the balancer to a backend; the reply goes from the backend to the client, past \
         the balancer. The VIPs are {} and {}. Each backend gets them on its loopback, from the script that `drlb backend setup` prints, \
         and serves HTTP. The balancer gets no address: its XDP program answers for them.",
        vips[0], vips[1]
    ));
    screen::line("");
    let mut servers = Vec::new();
    for backend in &segment.backends {
        let command = format!("drlb backend setup --format shell --vip {} --vip {} | sh", vips[0], vips[1]);
        screen::line(&format!("[{}]$ {command}", backend.host.name()));
        agent::set_up_backend(&backend.host, &vips)?;
        servers.push(Server::start(&backend.host, HTTP)?);
    }
    screen::heading("The balancer");
    screen::command("balancer", &["agent", "&"]);
    let agent = Agent::start(&segment.balancer)?;
    Ok(World { agent, servers, segment })
}

fn configure(world: &World) -> Result<()> {
    run(world, &["attach", "eth0"])?;
    for (family, name) in FAMILIES {
        let vip = vip(family, 0).to_string();
        run(world, &["listener", "add", name, "--vip", &vip, "--protocol", "tcp", "--port", &HTTP.to_string()])?;
        for (backend, weight) in world.segment.backends.iter().zip(WEIGHTS) {
            let address = backend.address(family).to_string();
            run(world, &["backend", "add", name, &address, "--weight", &weight.to_string()])?;
        }
    }
    for (family, name) in FAMILIES {
        world.agent.wait_until_serving(name)?;
        world.introduce(SocketAddr::new(vip(family, 0), HTTP))?;
    }
    screen::line("");
    run(world, &["status"])
}

fn run(world: &World, words: &[&str]) -> Result<()> {
    screen::command("balancer", words);
    screen::output(&world.agent.tell(words)?);
    Ok(())
}

fn send_requests(world: &World, family: Family) -> Result<ReplyPaths> {
    let to = SocketAddr::new(vip(family, 0), HTTP);
    screen::heading(&format!("{REQUESTS} requests to http://{to}/, each on a connection of its own"));
    let watch = world.watch()?;
    let counts = requests(world.client(), to, REQUESTS)?;
    let paths = watch.finish(&world.segment, to.ip())?;
    let total: u16 = WEIGHTS.iter().sum();
    let row = |(index, weight): (usize, &u16)| {
        let name = world.segment.backends[index].host.name();
        let share = |part: f64| format!("{:.1} %", 100.0 * part);
        let answered = counts.of(name);
        vec![
            name.to_owned(),
            weight.to_string(),
            share(f64::from(*weight) / f64::from(total)),
            share(answered as f64 / counts.ok.max(1) as f64),
            answered.to_string(),
        ]
    };
    let rows: Vec<_> = WEIGHTS.iter().enumerate().map(row).collect();
    screen::table(&["backend", ">weight", ">due", ">measured", ">answers"], &rows);
    show_counts(&counts);
    Ok(paths)
}

fn show_counts(counts: &Counts) {
    screen::line("");
    screen::line(&format!(
        "    {} requests, {} failed; the slowest answer took {:.1} ms",
        counts.total(),
        counts.failed,
        counts.slowest.as_secs_f64() * 1_000.0
    ));
    for failure in &counts.failures {
        screen::line(&format!("    failed: {failure}"));
    }
}

fn show_reply_paths(world: &World, family: Family, paths: &ReplyPaths) {
    let mut rows = Vec::new();
    let mut others: u64 = paths.at_client.values().sum();
    for backend in &world.segment.backends {
        let frames = paths.at_client.get(&backend.mac()).copied().unwrap_or(0);
        others -= frames;
        rows.push(vec![backend.host.name().to_owned(), backend.mac().to_string(), frames.to_string()]);
    }
    let crossed: u64 = paths.across_balancer.iter().map(|(_, frames)| frames).sum();
    let none = String::new;
    rows.push(vec!["anybody else".to_owned(), none(), others.to_string()]);
    rows.push(vec!["on the balancer's cable, or in it".to_owned(), none(), crossed.to_string()]);
    let vip = vip(family, 0);
    screen::table(&[&format!("replies from {vip}"), "source MAC", ">frames"], &rows);
    screen::line(&format!(
        "    (requests on the balancer's cable: {} frames in, {} out)",
        paths.requests_into_balancer, paths.requests_out_of_balancer
    ));
}

fn kill_the_agent(world: &mut World) -> Result<()> {
    screen::heading(&format!("The agent is killed under load, from {WORKERS} clients at once"));
    let load = Load::start(world.client(), web(Family::V4), WORKERS, Connections::Fresh)?;
    load.wait_for(UNDER_LOAD)?;
    screen::line(&format!("[balancer]$ kill -9 {}", world.agent.pid()));
    world.agent.kill()?;
    let killed = load.counts();
    load.wait_for(UNDER_LOAD)?;
    let alone = load.counts();
    screen::command("balancer", &["agent", "&"]);
    world.agent.start_again()?;
    world.agent.wait_until_serving(FAMILIES[0].1)?;
    load.wait_for(UNDER_LOAD)?;
    let end = load.stop()?;
    let part = |name: &str, from: &Counts, to: &Counts| {
        vec![name.to_owned(), (to.total() - from.total()).to_string(), (to.failed - from.failed).to_string()]
    };
    let rows = [
        part("until the agent was killed", &Counts::default(), &killed),
        part("without an agent", &killed, &alone),
        part("from its new start on", &alone, &end),
    ];
    screen::table(&["requests", ">ended", ">failed"], &rows);
    show_counts(&end);
    screen::line("");
    screen::note("The XDP program and its maps outlive the agent: it forwards on, and a new agent takes over.");
    Ok(())
}

fn remove_a_backend(world: &World) -> Result<()> {
    screen::heading(&format!("A backend is removed under load, from {WORKERS} clients at once"));
    let (family, name) = FAMILIES[0];
    let removed = &world.segment.backends[0];
    let load = Load::start(world.client(), web(family), WORKERS, Connections::Fresh)?;
    load.wait_for(UNDER_LOAD)?;
    let address = removed.address(family).to_string();
    run(world, &["backend", "remove", name, &address])?;
    let before = load.counts();
    load.wait_for(UNDER_LOAD)?;
    let after = load.stop()?;
    let row = |backend: &drlb_tests::segment::Node| {
        let name = backend.host.name();
        vec![name.to_owned(), before.of(name).to_string(), (after.of(name) - before.of(name)).to_string()]
    };
    let rows: Vec<_> = world.segment.backends.iter().map(row).collect();
    screen::table(&["answers of", ">until it was removed", ">after"], &rows);
    show_counts(&after);
    screen::line("");
    screen::note(
        "Only a connection that is open to the backend when it goes can break; `drlb backend drain --wait` before it \
         spares that one, too. All others keep their backend.",
    );
    screen::line("");
    run(world, &["status"])
}

fn web(family: Family) -> SocketAddr {
    let ip: IpAddr = vip(family, 0);
    SocketAddr::new(ip, HTTP)
}
