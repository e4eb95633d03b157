//! The command line and the API show and change the same.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::{Area, Method};
use super::{SUBNET, World, id_of, name};
use crate::model::{Algorithm, BackendChange, Command, ListenerChange, NewListener, Protocol, Timeouts};

fn add(text: &str, vip: &str, protocol: Protocol, port: u16) -> Command {
    Command::AddListener(NewListener {
        name: name(text),
        vip: vip.parse().expect("a VIP"),
        protocol,
        port,
        algorithm: Algorithm::SourceIpPort,
        persistence: None,
        timeouts: Timeouts::default(),
        slots: Some(251),
        allowed: crate::model::AllowList::default(),
        vip_owner: None,
        source_rate: None,
        max_flows: None,
    })
}

#[test]
fn what_the_command_line_makes_the_api_shows_and_changes() {
    let mut world = World::new();
    world.command(&add("web", "192.0.2.10", Protocol::Tcp, 80));
    world.command(&add("all", "192.0.2.10", Protocol::Ip, 0));
    world.command(&add("every-tcp", "192.0.2.10", Protocol::Tcp, 0));
    let address = "192.0.2.21".parse().expect("an address");
    world.command(&Command::AddBackend { listener: name("web"), address, weight: 4 });
    let listed = world.get("loadbalancers");
    let lb = &listed["loadbalancers"][0];
    assert_eq!((&lb["name"], &lb["vip_address"]), (&json!("192.0.2.10"), &json!("192.0.2.10")));
    assert_eq!((&lb["vip_subnet_id"], &lb["project_id"]), (&json!(SUBNET), &json!("home")));
    let listeners = world.get("listeners?sort=name");
    let shown = |index: usize| {
        (listeners["listeners"][index]["name"].clone(), listeners["listeners"][index]["protocol_port"].clone())
    };
    assert_eq!(
        [shown(0), shown(1), shown(2)],
        [(json!("all"), json!(0)), (json!("every-tcp"), json!(0)), (json!("web"), json!(80))]
    );
    let pool = id_of(&world.get("pools?name=web")["pools"][0]);
    let member = world.get(&format!("pools/{pool}/members"))["members"][0].clone();
    assert_eq!((&member["address"], &member["weight"]), (&json!("192.0.2.21"), &json!(4)));
    let path = format!("pools/{pool}/members/{}", id_of(&member));
    world.put(&path, json!({ "member": { "weight": 9 } }));
    assert_eq!(world.desired.pools[&name("web")].backends[&address].weight, 9);
    let change = BackendChange { weight: Some(2), ..BackendChange::default() };
    world.command(&Command::SetBackend { listener: name("web"), address, change });
    assert_eq!(world.get(&path)["member"]["weight"], json!(2), "under the same id");
    let change = ListenerChange { algorithm: Some(Algorithm::RoundRobin), ..ListenerChange::default() };
    world.command(&Command::SetListener { name: name("web"), change });
    assert_eq!(world.get(&format!("pools/{pool}"))["pool"]["lb_algorithm"], "ROUND_ROBIN");
    for listener in ["web", "all", "every-tcp"] {
        world.command(&Command::RemoveListener { name: name(listener) });
    }
    assert_eq!(world.get("pools")["pools"], json!([]));
    assert_eq!(world.get("loadbalancers")["loadbalancers"][0]["name"], "192.0.2.10", "it has been the API's");
    world.command(&add("web", "192.0.2.11", Protocol::Tcp, 80));
    world.command(&Command::RemoveListener { name: name("web") });
    assert_eq!(world.get("loadbalancers?vip_address=192.0.2.11")["loadbalancers"], json!([]));
}

#[test]
fn what_the_api_makes_the_command_line_changes() {
    let mut world = World::new();
    let lb = world.load_balancer();
    let listener = world.listener(&lb, json!(80));
    let address = "192.0.2.21".parse().expect("an address");
    world.command(&Command::AddBackend { listener: name("l"), address, weight: 4 });
    let pool = world.get(&format!("listeners/{listener}"))["listener"]["default_pool_id"].clone();
    let pool = pool.as_str().expect("the pool that the backend stands in");
    assert_eq!(world.get(&format!("pools/{pool}/members"))["members"][0]["weight"], json!(4));
    world.command(&Command::RemoveListener { name: name("l") });
    assert_eq!(world.get(&format!("loadbalancers/{lb}"))["loadbalancer"]["listeners"], json!([]), "it stays");
}

#[test]
fn names_are_kept_where_they_can_be_and_are_unique_in_the_model() {
    let mut world = World::new();
    let lb = world.load_balancer();
    for (port, given) in [(80, "web"), (81, "web"), (82, "with space"), (83, "")] {
        let listener = json!({ "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": port, "name": given });
        let made = world.make("listeners", json!({ "listener": listener }));
        assert_eq!(made["name"], given);
    }
    let names: Vec<String> = world.desired.listeners.keys().map(ToString::to_string).collect();
    assert_eq!(names.len(), 4);
    assert!(names.contains(&"web".to_owned()));
    assert!(names.iter().filter(|name| name.starts_with("listener-")).count() == 2, "{names:?}");
}

#[test]
fn ports_of_vips_are_found_and_their_address_pairs_set() {
    let mut world = World::new();
    let lb = world.load_balancer();
    let ports =
        world.ask_of(Area::Networks, Method::Get, "ports?fixed_ips=ip_address=192.0.2.10", None).expect("ports");
    let port = ports.body.expect("a body")["ports"][0].clone();
    assert_eq!(port["device_id"], format!("lb-{lb}"));
    let path = format!("ports/{}", id_of(&port));
    let pairs = json!({ "port": { "allowed_address_pairs": [{ "ip_address": "1.1.1.1/0" }] } });
    let changed = world.ask_of(Area::Networks, Method::Put, &path, Some(pairs)).expect("a change");
    let pair = &changed.body.expect("a body")["port"]["allowed_address_pairs"][0];
    assert_eq!((&pair["ip_address"], &pair["mac_address"]), (&json!("1.1.1.1/0"), &port["mac_address"]));
    let subnets = world.ask_of(Area::Networks, Method::Get, "subnets?name=front&fields=id", None).expect("subnets");
    assert_eq!(subnets.body, Some(json!({ "subnets": [{ "id": SUBNET }] })));
}

/// A step of either view.
#[derive(Clone, Debug)]
enum Step {
    Api(u8, u8, u8),
    Line(u8, u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..14u8, any::<u8>(), any::<u8>()).prop_map(|(what, one, other)| Step::Api(what, one, other)),
        (0..6u8, any::<u8>(), any::<u8>()).prop_map(|(what, one, other)| Step::Line(what, one, other)),
    ]
}

fn pick(world: &mut World, path: &str, which: u8) -> Option<String> {
    let list = world.get(path);
    let list = list.as_object()?.values().find_map(Value::as_array)?.clone();
    list.get(usize::from(which) % list.len().max(1)).map(id_of)
}

fn api_step(world: &mut World, what: u8, one: u8, other: u8) -> Option<()> {
    let up = json!(other.is_multiple_of(2));
    let path_and_body = match what {
        0 => ("loadbalancers".to_owned(), json!({ "loadbalancer": { "vip_subnet_id": SUBNET } })),
        1 | 2 => {
            let lb = pick(world, "loadbalancers", one)?;
            let port = if what == 1 { 80 + u16::from(other % 3) } else { 0 };
            (
                "listeners".to_owned(),
                json!({ "listener": { "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": port } }),
            )
        }
        3 => {
            let listener = pick(world, "listeners", one)?;
            let pool = json!({ "listener_id": listener, "protocol": "TCP", "lb_algorithm": "SOURCE_IP" });
            ("pools".to_owned(), json!({ "pool": pool }))
        }
        4 => {
            let lb = pick(world, "loadbalancers", one)?;
            let pool = json!({ "loadbalancer_id": lb, "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN" });
            ("pools".to_owned(), json!({ "pool": pool }))
        }
        5 => {
            let pool = pick(world, "pools", one)?;
            let address = format!("192.0.2.{}", 100 + other % 4);
            let port = if other.is_multiple_of(3) { 80 } else { 0 };
            let member = json!({ "address": address, "protocol_port": port, "backup": up });
            (format!("pools/{pool}/members"), json!({ "member": member }))
        }
        6 => {
            let monitor = json!({ "pool_id": pick(world, "pools", one)?, "type": "PING", "delay": 2, "timeout": 1, "max_retries": 1 });
            ("healthmonitors".to_owned(), json!({ "healthmonitor": monitor }))
        }
        7 => {
            let path = format!("listeners/{}", pick(world, "listeners", one)?);
            let pool = pick(world, "pools", other);
            let _ = world.ask(
                Method::Put,
                &path,
                Some(json!({ "listener": { "default_pool_id": pool, "admin_state_up": up } })),
            );
            return Some(());
        }
        8 => {
            let path = format!("pools/{}", pick(world, "pools", one)?);
            let persistence = if other.is_multiple_of(3) { json!({ "type": "SOURCE_IP" }) } else { Value::Null };
            let body = json!({ "pool": { "admin_state_up": up, "session_persistence": persistence } });
            let _ = world.ask(Method::Put, &path, Some(body));
            return Some(());
        }
        9 => {
            let path = format!("loadbalancers/{}", pick(world, "loadbalancers", one)?);
            let _ = world.ask(Method::Put, &path, Some(json!({ "loadbalancer": { "admin_state_up": up } })));
            return Some(());
        }
        kind => {
            let list = ["loadbalancers", "listeners", "pools", "healthmonitors"][usize::from(kind - 10)];
            let cascade = if kind == 10 { "?cascade=true" } else { "" };
            let path = format!("{list}/{}{cascade}", pick(world, list, one)?);
            let _ = world.ask(Method::Delete, &path, None);
            return Some(());
        }
    };
    let _ = world.ask(Method::Post, &path_and_body.0, Some(path_and_body.1));
    Some(())
}

fn line_step(world: &mut World, what: u8, one: u8, other: u8) -> Option<()> {
    let names: Vec<_> = world.desired.listeners.keys().cloned().collect();
    let listener = names.get(usize::from(one) % names.len().max(1)).cloned();
    let address = format!("192.0.2.{}", 100 + other % 4).parse().expect("an address");
    let command = match what {
        0 => add(&format!("cli-{}", one % 4), &format!("192.0.2.{}", 10 + other % 3), Protocol::Tcp, 80),
        1 => Command::AddBackend { listener: listener?, address, weight: u16::from(one) },
        2 => {
            let change = BackendChange {
                weight: Some(u16::from(one)),
                admin_up: Some(one.is_multiple_of(2)),
                backup: Some(other.is_multiple_of(3)),
                ..BackendChange::default()
            };
            Command::SetBackend { listener: listener?, address, change }
        }
        3 => Command::RemoveBackend { listener: listener?, address },
        4 => Command::RemoveListener { name: listener? },
        _ => {
            let change = ListenerChange { algorithm: Some(Algorithm::LeastConnections), ..ListenerChange::default() };
            Command::SetListener { name: listener?, change }
        }
    };
    if world.desired.check(&command, 0).is_ok() {
        world.command(&command);
    }
    Some(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done in whatever order, the objects say what the model says: every step checks it.
    #[test]
    fn the_views_never_part(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Api(what, one, other) => api_step(&mut world, what, one, other),
                Step::Line(what, one, other) => line_step(&mut world, what, one, other),
            };
        }
        while let Some(id) = pick(&mut world, "loadbalancers", 0) {
            world.delete(&format!("loadbalancers/{id}?cascade=true"));
        }
        prop_assert_eq!(&world.desired, &crate::model::Desired::default());
    }
}
