//! The real OpenStack clients make DR-mode listeners, and traffic goes through them.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use drlb_tests::http;
use drlb_tests::load::requests;
use drlb_tests::openstack::{Cloud, SUBNET, script};
use drlb_tests::segment::{Family, Legs, Mode, Plan, vip};
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::{HTTP, World, none_failed, spreads_like};

fn servers(world: &World, family: Family) -> Vec<String> {
    world.segment.backends.iter().map(|backend| backend.address(family).to_string()).collect()
}

/// Every protocol goes to the servers, in these shares.
fn served(world: &World, family: Family, listener: &str, weights: &[u16]) -> Result<()> {
    world.agent.wait_until_serving(listener)?;
    let to = SocketAddr::new(vip(family, 0), HTTP);
    world.introduce(to)?;
    let counts = requests(world.client(), to, 300)?;
    none_failed(&counts)?;
    spreads_like(&counts, weights)
}

/// Nothing answers at the VIP.
fn is_not_served(world: &World, family: Family) -> Result<()> {
    until("the VIP not to answer", SOON, || match http::get(world.client(), vip(family, 0), HTTP) {
        Ok(answer) => Err(format!("`{answer}` answers")),
        Err(_) => Ok(()),
    })
}

fn the_published_commands(world: &mut World, family: Family) -> Result<()> {
    let cloud = Cloud::start(world, family)?;
    let servers = servers(world, family);
    let script = script("seed.sh");
    let script = script.to_str().context("a path")?;
    let assignments = [format!("IP={}", servers[0]), format!("SERVERS={}", servers.join(" "))];
    cloud.run("env", &[&assignments[0], &assignments[1], "sh", script])?;
    served(world, family, "my_ip_listener", &[1, 1, 1])?;
    let listed = world.agent.tell(&["listener", "list"])?;
    ensure!(listed.contains("my_ip_listener") && listed.contains(" ip "), "the command line shows:\n{listed}");
    cloud.run("neutron", &["lbaas-listener-update", "my_ip_listener", "--admin-state-up", "False"])?;
    is_not_served(world, family)
}

fn a_full_life_by_openstack(world: &mut World, family: Family) -> Result<()> {
    let cloud = Cloud::start(world, family)?;
    let client = world.segment.clients[0].address(family);
    cloud.openstack(&format!("create --name lb --vip-subnet-id {SUBNET} --wait"))?;
    cloud.openstack("listener create --name all --protocol TCP --protocol-port 1 --tag dr-mode lb --wait")?;
    cloud.openstack("pool create --name servers --listener all --protocol TCP --lb-algorithm SOURCE_IP_PORT --wait")?;
    for (index, server) in servers(world, family).iter().enumerate() {
        let weight = if index == 2 { 2 } else { 1 };
        let member =
            format!("member create --name m{index} --address {server} --protocol-port 80 --weight {weight} servers");
        cloud.openstack(&format!("{member} --wait"))?;
    }
    served(world, family, "all", &[1, 1, 2])?;
    cloud.openstack("member set --weight 0 servers m2 --wait")?;
    let counts = requests(world.client(), SocketAddr::new(vip(family, 0), HTTP), 200)?;
    none_failed(&counts)?;
    spreads_like(&counts, &[1, 1, 0])?;
    // A listener of its own for port 80 wins, and lets nobody in but who it is told.
    let other = if client.is_ipv4() { "203.0.113.0/24" } else { "2001:db8:ffff::/64" };
    cloud.openstack(&format!(
        "listener create --name web --protocol TCP --protocol-port 80 --allowed-cidr {other} lb --wait"
    ))?;
    cloud.openstack("pool create --name web --listener web --protocol TCP --lb-algorithm ROUND_ROBIN --wait")?;
    for server in servers(world, family) {
        cloud.openstack(&format!("member create --address {server} --protocol-port 80 web --wait"))?;
    }
    is_not_served(world, family)?;
    cloud.openstack(&format!("listener set --allowed-cidr {client} web --wait"))?;
    let counts = requests(world.client(), SocketAddr::new(vip(family, 0), HTTP), 300)?;
    none_failed(&counts)?;
    spreads_like(&counts, &[1, 1, 1])?;
    // A server that ends is found out by the monitor, and takes nothing.
    cloud.openstack(
        "healthmonitor create --delay 1 --timeout 1 --max-retries 1 --max-retries-down 1 --type TCP web --wait",
    )?;
    let gone = world.servers.remove(0);
    drop(gone);
    until("the first server to be found out", SOON, || {
        let status = cloud.openstack("member list web -f value -c operating_status");
        let status = status.map_err(|error| format!("{error:#}"))?;
        if status.contains("ERROR") { Ok(()) } else { Err(format!("they are {status}")) }
    })?;
    let counts = requests(world.client(), SocketAddr::new(vip(family, 0), HTTP), 200)?;
    none_failed(&counts)?;
    spreads_like(&counts, &[0, 1, 1])?;
    let status = cloud.openstack("show lb -f value -c operating_status")?;
    ensure!(status.trim() == "DEGRADED", "the status is {status}");
    cloud.openstack("set --disable lb --wait")?;
    is_not_served(world, family)?;
    cloud.openstack("set --enable lb --wait")?;
    let status = cloud.openstack("show lb -f value -c provisioning_status -c operating_status")?;
    ensure!(status.split_whitespace().collect::<Vec<_>>() == ["DEGRADED", "ACTIVE"], "the status is {status}");
    cloud.openstack("delete lb --cascade --wait")?;
    is_not_served(world, family)?;
    ensure!(world.agent.status()?.listeners.is_empty(), "the command line still shows listeners");
    Ok(())
}

fn a_full_life_by_openstacksdk(world: &mut World, family: Family) -> Result<()> {
    let cloud = Cloud::start(world, family)?;
    let script = script("life.py");
    let script = script.to_str().context("a path")?;
    let servers = servers(world, family);
    let mut arguments = vec![script, "make", SUBNET];
    arguments.extend(servers.iter().map(String::as_str));
    cloud.run("python", &arguments)?;
    served(world, family, "sdk-web", &[1, 1, 1])?;
    let answer = http::get(world.client(), vip(family, 0), HTTP)?;
    ensure!(answer.starts_with("backend-"), "`{answer}` answered");
    cloud.run("python", &[script, "remove"])?;
    is_not_served(world, family)
}

fn a_full_life_by_gophercloud(world: &mut World, family: Family) -> Result<()> {
    let cloud = Cloud::start(world, family)?;
    let servers = servers(world, family);
    // gophercloud has a name of its own for the user's domain.
    let life = ["OS_DOMAIN_NAME=Default", "gophercloud-life"];
    let arguments: Vec<&str> =
        life.into_iter().chain(["make", SUBNET]).chain(servers.iter().map(String::as_str)).collect();
    cloud.run("env", &arguments)?;
    served(world, family, "go-dr", &[1, 1, 1])?;
    cloud.run("env", &[life[0], life[1], "remove"])?;
    is_not_served(world, family)
}

fn on_one_leg(mode: Mode, scenario: impl FnOnce(&mut World) -> Result<()>) -> Result<()> {
    World::play(Plan::new(mode, Legs::One), scenario)
}

#[test]
fn the_published_commands_make_a_dr_mode_listener_that_is_served() -> Result<()> {
    on_one_leg(Mode::Native, |world| the_published_commands(world, Family::V4))
}

#[test]
fn openstack_makes_changes_and_removes_listeners_that_are_served() -> Result<()> {
    on_one_leg(Mode::Generic, |world| a_full_life_by_openstack(world, Family::V4))
}

#[test]
fn openstack_makes_changes_and_removes_listeners_that_are_served_over_ipv6() -> Result<()> {
    on_one_leg(Mode::Native, |world| a_full_life_by_openstack(world, Family::V6))
}

#[test]
fn openstacksdk_makes_and_removes_listeners_that_are_served() -> Result<()> {
    on_one_leg(Mode::Native, |world| a_full_life_by_openstacksdk(world, Family::V4))
}

#[test]
fn gophercloud_makes_and_removes_a_dr_mode_listener_that_is_served() -> Result<()> {
    on_one_leg(Mode::Native, |world| a_full_life_by_gophercloud(world, Family::V4))
}
