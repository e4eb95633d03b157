//! Each option of the OpenStack API that the data plane has is set, and its effect is seen with traffic.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use drlb_tests::host::Host;
use drlb_tests::load::{Connections, Load, requests};
use drlb_tests::openstack::{Api, Cloud, SUBNET_ID};
use drlb_tests::segment::{Family, Legs, Mode, Plan, vip};
use drlb_tests::traffic::{Echo, ask_udp};
use drlb_tests::wait::{SOON, until};
use drlb_tests::world::{HTTP, WEB, World, none_failed, spreads_like};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

const FAMILY: Family = Family::V4;
/// The port of the UDP servers.
const ECHO: u16 = 7;

/// A world, and the API of its agent.
struct Stage<'a> {
    world: &'a mut World,
    api: Api,
    to: SocketAddr,
}

/// A load balancer with a listener, a pool and all servers as members.
struct Made {
    lb: String,
    listener: String,
    pool: String,
    members: Vec<String>,
}

impl Made {
    fn lb(&self) -> String {
        format!("loadbalancers/{}", self.lb)
    }

    fn listener(&self) -> String {
        format!("listeners/{}", self.listener)
    }

    fn pool(&self) -> String {
        format!("pools/{}", self.pool)
    }

    fn member(&self, index: usize) -> String {
        format!("pools/{}/members/{}", self.pool, self.members[index])
    }
}

impl Stage<'_> {
    fn server(&self, index: usize) -> String {
        self.world.segment.backends[index].address(FAMILY).to_string()
    }

    /// Makes all at once, and waits until it serves.
    fn make(&self, protocol: &str, port: u16, algorithm: &str) -> Result<Made> {
        let members: Vec<Value> =
            (0..3).map(|index| json!({ "address": self.server(index), "protocol_port": port })).collect();
        let pool = json!({ "name": "servers", "protocol": protocol, "lb_algorithm": algorithm, "members": members });
        let listener = json!({ "name": WEB, "protocol": protocol, "protocol_port": port, "default_pool": pool });
        let tree = json!({ "name": "lb", "vip_subnet_id": SUBNET_ID, "listeners": [listener] });
        let lb = self.api.make("loadbalancers", &json!({ "loadbalancer": tree }))?;
        let first = |object: &Value, list: &str| Ok(object[list][0]["id"].as_str().context("no id")?.to_owned());
        let shown = self.api.get(&format!("loadbalancers/{lb}"))?;
        let (listener, pool): (Result<String>, Result<String>) = (first(&shown, "listeners"), first(&shown, "pools"));
        let (listener, pool) = (listener?, pool?);
        let listed = self.api.get(&format!("pools/{pool}/members"))?;
        let id_of = |address: String| {
            let mut listed = listed.as_array().into_iter().flatten();
            let member = listed.find(|member| member["address"] == address.as_str());
            Ok(member.and_then(|member| member["id"].as_str()).context("no such member")?.to_owned())
        };
        let members = (0..3).map(|index| id_of(self.server(index))).collect::<Result<_>>()?;
        self.world.agent.wait_until_serving(WEB)?;
        Ok(Made { lb, listener, pool, members })
    }

    fn remove(&self, made: &Made) -> Result<()> {
        self.api.delete(&format!("{}?cascade=true", made.lb()))
    }

    fn set(&self, path: &str, attribute: &str, value: impl Into<Value>) -> Result<()> {
        let kind = match path.split('/').rev().nth(1) {
            Some("loadbalancers") => "loadbalancer",
            Some("listeners") => "listener",
            Some("pools") => "pool",
            Some("members") => "member",
            _ => "healthmonitor",
        };
        self.api.put(path, &json!({ kind: { attribute: value.into() } }))?;
        // The answer comes when it is written down; who asks then finds it carried out.
        let status = self.api.get(path)?["provisioning_status"].clone();
        ensure!(status == "ACTIVE", "{path} is {status} after {attribute}");
        Ok(())
    }

    /// New connections get to the servers in these shares.
    fn spreads(&self, weights: &[u16]) -> Result<()> {
        let counts = requests(self.world.client(), self.to, 90)?;
        none_failed(&counts)?;
        spreads_like(&counts, weights)
    }

    /// The servers that new connections get to.
    fn homes(&self) -> Result<BTreeSet<String>> {
        let counts = requests(self.world.client(), self.to, 60)?;
        none_failed(&counts)?;
        Ok(counts.by_backend.into_keys().collect())
    }

    /// Nobody gets in.
    fn is_shut(&self) -> Result<()> {
        let got_in = connect(self.world.client(), self.to)?.is_some();
        ensure!(!got_in, "a connection was made");
        Ok(())
    }
}

/// A connection; none if nobody answers the first packet or the second, or with a refusal.
fn connect(host: &Host, to: SocketAddr) -> Result<Option<TcpStream>> {
    host.enter(|| Ok(TcpStream::connect_timeout(&to, Duration::from_millis(1_500)).ok()))
}

fn lb_algorithm(stage: &mut Stage<'_>) -> Result<()> {
    let made = stage.make("TCP", HTTP, "ROUND_ROBIN")?;
    stage.world.introduce(stage.to)?;
    for (algorithm, homes) in
        [("ROUND_ROBIN", 3), ("LEAST_CONNECTIONS", 3), ("SOURCE_IP_PORT", 3), ("SOURCE_IP", 1), ("ROUND_ROBIN", 3)]
    {
        stage.set(&made.pool(), "lb_algorithm", algorithm)?;
        let found = stage.homes()?;
        ensure!(found.len() == homes, "by {algorithm}, the connections of a client get to {found:?}");
    }
    stage.remove(&made)
}

fn session_persistence(stage: &mut Stage<'_>) -> Result<()> {
    let made = stage.make("TCP", HTTP, "ROUND_ROBIN")?;
    stage.set(&made.pool(), "session_persistence", json!({ "type": "SOURCE_IP" }))?;
    let found = stage.homes()?;
    ensure!(found.len() == 1, "in one session, the connections of a client get to {found:?}");
    stage.set(&made.pool(), "session_persistence", Value::Null)?;
    let found = stage.homes()?;
    ensure!(found.len() == 3, "without sessions, the connections of a client get to {found:?}");
    stage.remove(&made)
}

fn persistence_timeout_and_granularity(stage: &mut Stage<'_>) -> Result<()> {
    let vip = stage.to.ip();
    let servers = stage.world.segment.backends.iter().map(|backend| Echo::udp(&backend.host, vip, ECHO));
    let _servers = servers.collect::<Result<Vec<_>>>()?;
    let made = stage.make("UDP", ECHO, "ROUND_ROBIN")?;
    let to = SocketAddr::new(vip, ECHO);
    let sessions = || Ok::<_, anyhow::Error>(stage.world.agent.status()?.tracking.sessions);
    let ask = || {
        let asked = stage.world.segment.clients.iter().map(|client| ask_udp(&client.host, to, "who are you?"));
        asked.collect::<Result<BTreeSet<_>>>()
    };
    // Clients of one range have one session, or each its own, for two seconds.
    for (mask, wanted) in [("255.255.255.0", 1), ("255.255.255.255", 2)] {
        let persistence = json!({ "type": "SOURCE_IP", "persistence_timeout": 2, "persistence_granularity": mask });
        stage.set(&made.pool(), "session_persistence", persistence)?;
        until(&format!("sessions by {mask}"), SOON, || {
            let homes = ask().map_err(|error| format!("{error:#}"))?;
            let found = sessions().map_err(|error| format!("{error:#}"))?;
            if found == wanted && (wanted > 1 || homes.len() == 1) {
                return Ok(());
            }
            Err(format!("there are {found}, and the clients get to {homes:?}"))
        })?;
    }
    until("the sessions to end", SOON, || match sessions() {
        Ok(0) => Ok(()),
        other => Err(format!("there are {other:?}")),
    })?;
    stage.remove(&made)
}

fn weight(stage: &mut Stage<'_>) -> Result<()> {
    let made = stage.make("TCP", HTTP, "SOURCE_IP_PORT")?;
    stage.set(&made.member(0), "weight", 4)?;
    stage.spreads(&[4, 1, 1])?;
    let kept = Load::start(stage.world.client(), stage.to, 8, Connections::Kept)?;
    kept.wait_for(40)?;
    stage.set(&made.member(0), "weight", 0)?;
    stage.spreads(&[0, 1, 1])?;
    kept.wait_for(40)?;
    none_failed(&kept.stop()?)?;
    stage.api.wait_for(&made.member(0), "operating_status", "DRAINING")?;
    stage.remove(&made)
}

fn backup(stage: &mut Stage<'_>) -> Result<()> {
    let made = stage.make("TCP", HTTP, "SOURCE_IP_PORT")?;
    stage.set(&made.member(2), "backup", true)?;
    stage.spreads(&[1, 1, 0])?;
    stage.set(&made.member(0), "admin_state_up", false)?;
    stage.set(&made.member(1), "weight", 0)?;
    stage.spreads(&[0, 0, 1])?;
    stage.remove(&made)
}

fn admin_state_up(stage: &mut Stage<'_>) -> Result<()> {
    let made = stage.make("TCP", HTTP, "SOURCE_IP_PORT")?;
    stage.set(&made.member(1), "admin_state_up", false)?;
    stage.spreads(&[1, 0, 1])?;
    stage.set(&made.member(1), "admin_state_up", true)?;
    for path in [made.pool(), made.listener(), made.lb()] {
        stage.set(&path, "admin_state_up", false)?;
        stage.is_shut().with_context(|| path.clone())?;
        let status = stage.api.get(&path)?["operating_status"].clone();
        ensure!(status == "OFFLINE", "{path} is {status}");
        stage.set(&path, "admin_state_up", true)?;
        stage.spreads(&[1, 1, 1]).with_context(|| path.clone())?;
    }
    stage.remove(&made)
}

fn monitors(stage: &mut Stage<'_>) -> Result<()> {
    let made = stage.make("TCP", HTTP, "SOURCE_IP_PORT")?;
    let monitor = json!({
        "pool_id": made.pool, "type": "TCP", "delay": 1, "timeout": 1, "max_retries": 1, "max_retries_down": 1,
    });
    let monitor = format!("healthmonitors/{}", stage.api.make("healthmonitors", &json!({ "healthmonitor": monitor }))?);
    for index in 0..3 {
        stage.api.wait_for(&made.member(index), "operating_status", "ONLINE")?;
    }
    // At another port, where nobody is; at another's address, who is well; at nobody's.
    for (attribute, value, status, weights) in [
        ("monitor_port", json!(81), "ERROR", [0, 1, 1]),
        ("monitor_port", Value::Null, "ONLINE", [1, 1, 1]),
        ("monitor_address", json!("192.0.2.250"), "ERROR", [0, 1, 1]),
        ("monitor_address", json!(stage.server(1)), "ONLINE", [1, 1, 1]),
        ("monitor_address", json!("192.0.2.250"), "ERROR", [0, 1, 1]),
    ] {
        stage.set(&made.member(0), attribute, value.clone())?;
        stage.api.wait_for(&made.member(0), "operating_status", status)?;
        stage.spreads(&weights).with_context(|| format!("{attribute} {value}"))?;
    }
    ensure!(stage.api.get(&made.lb())?["operating_status"] == "DEGRADED");
    // Nobody asks any more, so nobody is down.
    stage.set(&monitor, "admin_state_up", false)?;
    stage.spreads(&[1, 1, 1])?;
    stage.remove(&made)
}

fn allowed_cidrs(stage: &mut Stage<'_>) -> Result<()> {
    let made = stage.make("TCP", HTTP, "SOURCE_IP_PORT")?;
    stage.set(&made.listener(), "allowed_cidrs", json!(["203.0.113.0/24"]))?;
    stage.is_shut()?;
    let client = stage.world.segment.clients[0].address(FAMILY).to_string();
    stage.set(&made.listener(), "allowed_cidrs", json!(["203.0.113.0/24", client]))?;
    stage.spreads(&[1, 1, 1])?;
    let other = connect(&stage.world.segment.clients[1].host, stage.to)?;
    ensure!(other.is_none(), "who is not on the list got in");
    stage.set(&made.listener(), "allowed_cidrs", Value::Null)?;
    let other = connect(&stage.world.segment.clients[1].host, stage.to)?;
    ensure!(other.is_some(), "without a list somebody is shut out");
    stage.remove(&made)
}

fn connection_limit(stage: &mut Stage<'_>) -> Result<()> {
    let made = stage.make("TCP", HTTP, "SOURCE_IP_PORT")?;
    // The client may have asked for the VIP while nobody had it, and waits before it asks again.
    stage.world.introduce(stage.to)?;
    stage.set(&made.listener(), "connection_limit", 2)?;
    let open =
        |number: usize| connect(stage.world.client(), stage.to)?.with_context(|| format!("no connection {number}"));
    let open = [open(1)?, open(2)?];
    // As soon as a sweep has counted them, they are what the statistics tell.
    stage.api.wait_for(&format!("{}/stats", made.listener()), "active_connections", 2)?;
    stage.api.wait_for(&format!("{}/stats", made.lb()), "active_connections", 2)?;
    stage.is_shut().context("a third one")?;
    stage.set(&made.listener(), "connection_limit", -1)?;
    stage.spreads(&[1, 1, 1])?;
    drop(open);
    stage.remove(&made)
}

/// Waits until it is as `wanted` whether the flow from a client's port is remembered. Others may be there still: a connection
/// that was closed when its listener went tries to end for minutes.
fn until_remembered(stage: &Stage<'_>, port: u16, wanted: bool, limit: Duration) -> Result<()> {
    let looked = || -> Result<bool> {
        let flows: Value = serde_json::from_str(&stage.world.agent.tell(&["flows", WEB, "-o", "json"])?)?;
        Ok(flows["flows"].as_array().context("no flows")?.iter().any(|flow| flow["source_port"] == port))
    };
    let what = if wanted { "to be remembered" } else { "to be forgotten" };
    until(&format!("the flow from port {port} {what}"), limit, || match looked() {
        Ok(found) if found == wanted => Ok(()),
        other => Err(format!("it is {other:?}")),
    })
}

/// Last, as the servers end here.
fn timeouts(stage: &mut Stage<'_>) -> Result<()> {
    let made = stage.make("TCP", HTTP, "ROUND_ROBIN")?;
    stage.world.introduce(stage.to)?;
    stage.set(&made.listener(), "timeout_client_data", 2_000)?;
    stage.set(&made.listener(), "timeout_member_connect", 4_000)?;
    // A connection that is silent for so long counts as ended. Unless set, that takes minutes.
    let silent = connect(stage.world.client(), stage.to)?.context("no connection")?;
    let port = silent.local_addr()?.port();
    until_remembered(stage, port, true, SOON)?;
    until_remembered(stage, port, false, SOON)?;
    // One that is not made counts as ended, too: unless set, after a minute.
    stage.world.servers.clear();
    let port = stage.world.client().enter(|| {
        let socket = Socket::new(Domain::for_address(stage.to), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0).into())?;
        let port = socket.local_addr()?.as_socket().context("an address")?.port();
        ensure!(socket.connect(&stage.to.into()).is_err(), "a connection was made");
        Ok(port)
    })?;
    until_remembered(stage, port, true, SOON)?;
    until_remembered(stage, port, false, Duration::from_secs(30))?;
    drop(silent);
    stage.remove(&made)
}

/// Sets an option, and sees what that does.
type Effect = fn(&mut Stage<'_>) -> Result<()>;

#[test]
fn each_option_has_its_effect_on_traffic() -> Result<()> {
    let plan = Plan { clients: 2, ..Plan::new(Mode::Native, Legs::One) };
    World::play(plan, |world| {
        let api = Cloud::start(world, FAMILY)?.api();
        let vip: IpAddr = vip(FAMILY, 0);
        let mut stage = Stage { world, api, to: SocketAddr::new(vip, HTTP) };
        let options: [(&str, Effect); 10] = [
            ("lb_algorithm", lb_algorithm),
            ("session_persistence", session_persistence),
            ("persistence_timeout and persistence_granularity", persistence_timeout_and_granularity),
            ("weight", weight),
            ("backup", backup),
            ("admin_state_up", admin_state_up),
            ("monitor_address, monitor_port and the monitor's admin_state_up", monitors),
            ("allowed_cidrs", allowed_cidrs),
            ("connection_limit", connection_limit),
            ("timeout_client_data and timeout_member_connect", timeouts),
        ];
        options.into_iter().try_for_each(|(name, option)| option(&mut stage).context(name))
    })
}
