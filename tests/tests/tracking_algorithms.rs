//! Which backend a new flow gets, by each algorithm, and that a change of the algorithm breaks none.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result, ensure};
use drlb_tests::at_two_corners;
use drlb_tests::flows::{Flows, Kind, Servers};
use drlb_tests::lasting::{Lasting, PORT, TCP, UDP};
use drlb_tests::load::requests;
use drlb_tests::segment::{Family, vip};
use drlb_tests::traffic::{Echo, GRE, ask_ip};
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::{HTTP, WEB, World, none_failed};

/// The name of the listener for every protocol.
const ALL: &str = "all";

fn round_robin_takes_the_backends_in_turn_by_weight(world: &mut World, family: Family) -> Result<()> {
    let to = SocketAddr::new(vip(family, 0), HTTP);
    let (vip, port) = (to.ip().to_string(), HTTP.to_string());
    let add = ["listener", "add", WEB, "--vip", &vip, "--protocol", "tcp", "--port", &port];
    world.agent.tell(&[&add[..], &["--algorithm", "round-robin"]].concat())?;
    for (backend, weight) in world.segment.backends.iter().zip([1, 1, 2]) {
        world.add_backend(WEB, backend.address(family), weight)?;
    }
    world.agent.wait_until_serving(WEB)?;
    let counts = requests(world.client(), to, 400)?;
    none_failed(&counts)?;
    // Each CPU takes turns of its own: on each, a backend is at most one round from its share.
    let cpus = std::thread::available_parallelism()?.get() as u64;
    for (name, weight) in [("backend-1", 1), ("backend-2", 1), ("backend-3", 2)] {
        let (got, due) = (counts.of(name), 100 * weight);
        ensure!(
            got.abs_diff(due) <= cpus * weight,
            "{name} of weight {weight} got {got} turns of 400, and {due} are due"
        );
    }
    Ok(())
}
at_two_corners!(round_robin_takes_the_backends_in_turn_by_weight);

fn least_connections_evens_out_what_a_drain_left_uneven(world: &mut World, family: Family) -> Result<()> {
    let lasting = Lasting::new(world, family, &["--algorithm", "least-connections"], &[1, 1, 1])?;
    let (tcp, udp) = (lasting.open(Kind::Tcp, 300)?, lasting.open(Kind::Udp, 300)?);
    // The less loaded of two at random: no backend is ever more than a few flows ahead.
    for flows in [&tcp, &udp] {
        is_even(&flows.homes(), 100)?;
    }
    counts_are_right(&lasting, TCP, &tcp.homes())?;
    counts_are_right(&lasting, UDP, &udp.homes())?;
    lasting.drain(0, &tcp, &udp)?;
    let name = lasting.name(0);
    ensure!(tcp.at(name) == 0 && udp.at(name) == 0, "{name} is drained and has flows");
    lasting.backend("set", 0, &["--up"])?;
    let (more_tcp, more_udp) = (lasting.open(Kind::Tcp, 600)?, lasting.open(Kind::Udp, 600)?);
    for (flows, more, listener) in [(&tcp, &more_tcp, TCP), (&udp, &more_udp, UDP)] {
        let mut homes = flows.homes();
        for (name, count) in more.homes() {
            *homes.entry(name).or_default() += count;
        }
        is_even(&homes, 300)?;
        counts_are_right(&lasting, listener, &homes)?;
    }
    [tcp, udp, more_tcp, more_udp].into_iter().try_for_each(|flows| flows.stop()?.none_suffered())
}
at_two_corners!(least_connections_evens_out_what_a_drain_left_uneven);

fn persistence_keeps_the_clients_of_a_prefix_together(world: &mut World, family: Family) -> Result<()> {
    // Four bits less than an address: sixteen addresses are one client.
    let prefix = if family == Family::V4 { "source-ip:5m/28" } else { "source-ip:5m/124" };
    let options = ["--algorithm", "round-robin", "--persistence", prefix];
    let lasting = Lasting::new(world, family, &options, &[1, 1, 1])?;
    let client = lasting.world.client();
    let address = |group: u8, member: u8| -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::new(192, 0, 2, 144 + 16 * group + member).into(),
            Family::V6 => {
                let number = 0x1440 + 16 * u16::from(group) + u16::from(member);
                Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number).into()
            }
        }
    };
    let length = if family == Family::V4 { 24 } else { 64 };
    let no_check = if family == Family::V4 { "" } else { "nodad" };
    let mut homes = BTreeMap::<u8, String>::new();
    for (group, member) in [0, 1, 2].into_iter().flat_map(|group| [0, 1, 15].map(|member| (group, member))) {
        let from = address(group, member);
        client.ip(&format!("address add {from}/{length} dev eth0 {no_check}\n"))?;
        let flows = Flows::start_at(client, from, Kind::Tcp, lasting.to, 5)?;
        let home = only_home(&flows)?;
        let expected = homes.entry(group).or_insert_with(|| home.clone());
        ensure!(home == *expected, "client {group} was at {expected}, and its address {from} is at {home}");
        flows.stop()?.none_suffered()?;
    }
    ensure!(homes.values().collect::<std::collections::BTreeSet<_>>().len() > 1, "all clients are at {homes:?}");

    // When its backend drains, a client goes to another, and stays there when the first one is back.
    let index = (0..3).find(|index| lasting.name(*index) == homes[&0]).context("an unknown backend")?;
    lasting.backend("drain", index, &[])?;
    let flows = Flows::start_at(client, address(0, 0), Kind::Tcp, lasting.to, 5)?;
    let other = only_home(&flows)?;
    ensure!(other != homes[&0], "a client came to {other}, which is draining");
    lasting.backend("set", index, &["--up"])?;
    let more = Flows::start_at(client, address(0, 1), Kind::Tcp, lasting.to, 5)?;
    ensure!(only_home(&more)? == other, "a client went from {other} to {:?}", more.homes());
    flows.stop()?.none_suffered()?;
    more.stop()?.none_suffered()
}
at_two_corners!(persistence_keeps_the_clients_of_a_prefix_together);

fn a_session_ends_with_its_time(world: &mut World, family: Family) -> Result<()> {
    let options = ["--algorithm", "round-robin", "--persistence", "source-ip:3s"];
    let lasting = Lasting::new(world, family, &options, &[1, 1, 1])?;
    let mut homes = std::collections::BTreeSet::new();
    // In turn, three clients without a session come to three backends; each CPU has turns of its own.
    for _ in 0..6 {
        let flows = lasting.open(Kind::Tcp, 1)?;
        let more = lasting.open(Kind::Tcp, 5)?;
        let home = only_home(&flows)?;
        ensure!(only_home(&more)? == home, "a client at {home} came to {:?} within its session", more.homes());
        flows.stop()?.none_suffered()?;
        more.stop()?.none_suffered()?;
        homes.insert(home);
        until("the session to end", SOON, || {
            let sessions = lasting.world.agent.status().map_err(|error| format!("{error:#}"))?.tracking.sessions;
            if sessions == 0 { Ok(()) } else { Err(format!("there are {sessions}")) }
        })?;
    }
    ensure!(homes.len() > 1, "a client without a session came to {homes:?} each time");
    Ok(())
}
at_two_corners!(a_session_ends_with_its_time);

fn another_algorithm_breaks_and_moves_nothing(world: &mut World, family: Family) -> Result<()> {
    let lasting = Lasting::new(world, family, &[], &[1, 2, 1])?;
    let mut all = vec![lasting.open(Kind::Tcp, 200)?, lasting.open(Kind::Udp, 200)?];
    for options in [
        &["--algorithm", "round-robin"][..],
        &["--algorithm", "source-ip"],
        &["--algorithm", "least-connections", "--persistence", "source-ip:10m"],
        &["--no-persistence"],
        &["--algorithm", "source-ip-port", "--persistence", "source-ip"],
        &["--algorithm", "source-ip", "--no-persistence"],
        &["--algorithm", "source-ip-port"],
    ] {
        lasting.set(options)?;
        // Flows that begin with this algorithm have to outlive the next ones, too.
        all.extend([lasting.open(Kind::Tcp, 20)?, lasting.open(Kind::Udp, 20)?]);
        all.iter().try_for_each(|flows| flows.wait_for_all(1))?;
    }
    all.iter().try_for_each(|flows| flows.wait_for_all(1))?;
    all.into_iter().try_for_each(|flows| flows.stop()?.none_suffered())?;
    lasting.wait_until_nothing_is_remembered()
}
at_two_corners!(another_algorithm_breaks_and_moves_nothing);

/// A listener for every protocol of the VIP, and servers of TCP, UDP and GRE behind it.
fn every_protocol(world: &World, family: Family, algorithm: &str) -> Result<(SocketAddr, Vec<(Servers, Echo)>)> {
    let to = SocketAddr::new(vip(family, 0), PORT);
    let vip = to.ip().to_string();
    world.agent.tell(&["listener", "add", ALL, "--vip", &vip, "--protocol", "ip", "--algorithm", algorithm])?;
    let mut servers = Vec::new();
    for backend in &world.segment.backends {
        servers.push((Servers::start(&backend.host, to.ip(), PORT)?, Echo::ip(&backend.host, to.ip(), GRE)?));
        world.add_backend(ALL, backend.address(family), 1)?;
    }
    world.agent.wait_until_serving(ALL)?;
    world.agent.wait_until_nothing_moves(ALL)?;
    Ok((to, servers))
}

fn source_ip_sends_every_port_and_protocol_of_a_client_to_one_backend(world: &mut World, family: Family) -> Result<()> {
    let (to, _servers) = every_protocol(world, family, "source-ip")?;
    let tcp = Flows::start(world.client(), Kind::Tcp, to, 30)?;
    let udp = Flows::start(world.client(), Kind::Udp, to, 30)?;
    let homes = [only_home(&tcp)?, only_home(&udp)?, ask_ip(world.client(), to.ip(), GRE, "where am I?")?];
    ensure!(homes[0] == homes[1] && homes[1] == homes[2], "TCP, UDP and GRE of one client are at {homes:?}");
    tcp.stop()?.none_suffered()?;
    udp.stop()?.none_suffered()
}
at_two_corners!(source_ip_sends_every_port_and_protocol_of_a_client_to_one_backend);

fn every_protocol_goes_by_each_algorithm_and_stays_when_it_changes(world: &mut World, family: Family) -> Result<()> {
    let (to, _servers) = every_protocol(world, family, "source-ip-port")?;
    let mut all = Vec::new();
    let mut gre = None;
    for algorithm in ["source-ip-port", "round-robin", "least-connections", "source-ip"] {
        world.agent.tell(&["listener", "set", ALL, "--algorithm", algorithm])?;
        let connections = Flows::start(world.client(), Kind::Tcp, to, 90)?;
        let homes = connections.homes();
        match algorithm {
            "source-ip-port" => ensure!(homes.len() == 3, "connections by {algorithm} are at {homes:?}"),
            "round-robin" => is_even(&homes, 30)?,
            // Those that were there before count, too.
            "least-connections" => {
                let mut loads = homes;
                for (name, count) in all.iter().flat_map(Flows::homes) {
                    *loads.entry(name).or_default() += count;
                }
                is_even(&loads, loads.values().sum::<u64>() / 3)?;
            }
            _ => drop(only_home(&connections)?),
        }
        // A UDP flow is not told from one of before the switch: it has to stay, wherever that is.
        all.extend([connections, Flows::start(world.client(), Kind::Udp, to, 90)?]);
        // GRE has no ports, so all of it is one flow, which has begun with the first question.
        let home = ask_ip(world.client(), to.ip(), GRE, "where am I?")?;
        let before = gre.get_or_insert_with(|| home.clone());
        ensure!(home == *before, "GRE was at {before}, and is at {home} with {algorithm}");
        all.iter().try_for_each(|flows| flows.wait_for_all(1))?;
    }
    all.into_iter().try_for_each(|flows| flows.stop()?.none_suffered())
}
at_two_corners!(every_protocol_goes_by_each_algorithm_and_stays_when_it_changes);

/// The one backend that these flows are at.
fn only_home(flows: &Flows) -> Result<String> {
    let homes = flows.homes();
    ensure!(homes.len() == 1, "flows of one client are at {homes:?}");
    homes.into_keys().next().context("no flow is open")
}

/// Fails unless each of three backends has about `expected` flows.
fn is_even(homes: &BTreeMap<String, u64>, expected: u64) -> Result<()> {
    let even = homes.len() == 3 && homes.values().all(|count| count.abs_diff(expected) <= expected / 10);
    ensure!(even, "each backend should have about {expected} flows: {homes:?}");
    Ok(())
}

/// Waits until the status counts exactly the flows that there are.
fn counts_are_right(lasting: &Lasting, listener: &str, homes: &BTreeMap<String, u64>) -> Result<()> {
    until("the counts of flows to be right", SOON, || {
        let backends = lasting.world.agent.listener(listener).map_err(|error| format!("{error:#}"))?.backends;
        let counted: BTreeMap<_, _> = (0..3)
            .filter_map(|index| {
                let backend = backends.iter().find(|backend| backend.address.to_string() == lasting.address(index))?;
                Some((lasting.name(index).to_owned(), backend.flows?))
            })
            .collect();
        if counted == *homes { Ok(()) } else { Err(format!("{counted:?} are counted, {homes:?} are there")) }
    })
}
