//! The life of objects, and what becomes of them in the model.

use std::collections::BTreeSet;

use serde_json::json;

use super::super::{Method, Seen};
use super::{SUBNET, World, id_of, name};
use crate::model::{Algorithm, Probe, Protocol};

#[test]
fn what_is_made_is_in_the_model_until_it_is_removed() {
    let mut world = World::new();
    let lb = world.load_balancer();
    let listener = world.listener(&lb, json!(80));
    assert_eq!(world.desired.listeners[&name("l")].vip.to_string(), "192.0.2.10");
    assert!(world.desired.pools[&name("l")].backends.is_empty(), "a listener without a pool has an empty one");
    let pool = world.pool(&listener);
    assert_eq!(world.desired.listeners[&name("l")].pool, name("p"));
    assert!(!world.desired.pools.contains_key(&name("l")), "its own empty pool is gone");
    let member = world.member(&pool, "192.0.2.21", 80);
    world.put(&format!("pools/{pool}/members/{member}"), json!({ "member": { "weight": 7, "admin_state_up": false } }));
    let backend = world.desired.pools[&name("p")].backends.values().next().expect("a backend").clone();
    assert_eq!((backend.weight, backend.admin_up), (7, false));
    world.put(&format!("pools/{pool}"), json!({ "pool": { "lb_algorithm": "SOURCE_IP" } }));
    assert_eq!(world.desired.pools[&name("p")].algorithm, Algorithm::SourceIp);
    world.put(&format!("listeners/{listener}"), json!({ "listener": { "admin_state_up": false } }));
    assert!(!world.desired.listeners[&name("l")].admin_up);
    world.delete(&format!("pools/{pool}"));
    assert_eq!(world.get(&format!("listeners/{listener}"))["listener"]["default_pool_id"], json!(null));
    assert_eq!(world.desired.listeners[&name("l")].pool, name("l"));
    world.delete(&format!("listeners/{listener}"));
    world.delete(&format!("loadbalancers/{lb}"));
    assert_eq!(world.desired, crate::model::Desired::default());
}

#[test]
fn a_dr_mode_listener_is_port_0_of_tcp_as_a_number_or_a_text_or_has_the_tag() {
    for (port, tags) in [(json!(0), json!([])), (json!("0"), json!([])), (json!(443), json!(["dr-mode"]))] {
        let mut world = World::new();
        let lb = world.load_balancer();
        let listener = json!({
            "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": port, "name": "l", "tags": tags,
        });
        let listener = id_of(&world.make("listeners", json!({ "listener": listener })));
        let made = &world.desired.listeners[&name("l")];
        assert_eq!((made.protocol, made.port), (Protocol::Ip, 0), "{port} {tags}");
        let pool = world.pool(&listener);
        // Any port is taken below it, and ignored.
        world.member(&pool, "192.0.2.21", 0);
        world.member(&pool, "192.0.2.22", 8080);
    }
}

#[test]
fn exact_listeners_are_just_that() {
    let mut world = World::new();
    let lb = world.load_balancer();
    for (protocol, wanted) in
        [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp), ("HTTPS", Protocol::Tcp)]
    {
        let port = if protocol == "HTTPS" { 443 } else { 80 };
        let listener = json!({ "loadbalancer_id": lb, "protocol": protocol, "protocol_port": port, "name": protocol });
        world.make("listeners", json!({ "listener": listener }));
        let made = &world.desired.listeners[&name(protocol)];
        assert_eq!((made.protocol, made.port), (wanted, port));
    }
}

#[test]
fn a_whole_tree_is_made_at_once_and_removed_by_cascade() {
    let mut world = World::new();
    let tree = json!({ "loadbalancer": {
        "name": "tree", "vip_subnet_id": SUBNET,
        "pools": [{
            "name": "shared", "protocol": "TCP", "lb_algorithm": "SOURCE_IP_PORT",
            "members": [{ "address": "192.0.2.31", "protocol_port": 80, "weight": 3 }],
            "healthmonitor": { "type": "PING", "delay": 3, "timeout": 2, "max_retries": 2 },
        }],
        "listeners": [
            { "name": "one", "protocol": "TCP", "protocol_port": 80, "default_pool": { "name": "shared" } },
            { "name": "dr", "protocol": "TCP", "protocol_port": 0, "default_pool": {
                "name": "own", "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN",
                "members": [{ "address": "192.0.2.32", "protocol_port": 0 }],
            } },
        ],
    } });
    let lb = id_of(&world.make("loadbalancers", tree));
    let shared = &world.desired.pools[&name("shared")];
    assert_eq!(shared.backends.values().next().expect("a backend").weight, 3);
    let check = shared.health.as_ref().expect("a health check");
    assert_eq!((&check.probe, check.delay_ms, check.rise, check.fall), (&Probe::Icmp, 3_000, 2, 3));
    assert_eq!(world.desired.listeners[&name("dr")].pool, name("own"));
    let shown = world.get(&format!("loadbalancers/{lb}"));
    assert_eq!(shown["loadbalancer"]["listeners"].as_array().map(Vec::len), Some(2));
    world.delete(&format!("loadbalancers/{lb}?cascade=true"));
    assert_eq!(world.desired, crate::model::Desired::default());
}

#[test]
fn members_become_those_of_a_batch() {
    let mut world = World::new();
    let lb = world.load_balancer();
    let listener = world.listener(&lb, json!(80));
    let pool = world.pool(&listener);
    let first = world.member(&pool, "192.0.2.21", 80);
    let path = format!("pools/{pool}/members");
    let batch = json!({ "members": [
        { "address": "192.0.2.21", "protocol_port": 80, "weight": 9 },
        { "address": "192.0.2.22", "protocol_port": 80 },
    ] });
    let reply = world.ask(Method::Put, &path, Some(batch)).expect("a batch");
    assert_eq!((reply.status, reply.body), (202, None));
    assert_eq!(world.get(&format!("{path}/{first}"))["member"]["weight"], json!(9));
    let more = json!({ "members": [{ "address": "192.0.2.23", "protocol_port": 80 }] });
    world.put(&format!("{path}?additive_only=true"), more.clone());
    assert_eq!(world.desired.pools[&name("p")].backends.len(), 3);
    world.put(&path, more);
    let left: Vec<_> = world.desired.pools[&name("p")].backends.keys().map(ToString::to_string).collect();
    assert_eq!(left, ["192.0.2.23"]);
}

#[test]
fn vips_are_taken_from_the_subnets_free_range_and_given_back() {
    let mut world = World::new();
    let made = (0..10).map(|_| world.load_balancer()).collect::<Vec<_>>();
    let full = json!({ "loadbalancer": { "vip_subnet_id": SUBNET } });
    let text = "Validation failure: Subnet(s) in the supplied network do not contain enough available IPs.";
    world.refused(Method::Post, "loadbalancers", full.clone(), 400, text);
    world.delete(&format!("loadbalancers/{}", made[3]));
    assert_eq!(world.make("loadbalancers", full)["vip_address"], "192.0.2.13");
    let taken = json!({ "loadbalancer": { "vip_subnet_id": SUBNET, "vip_address": "192.0.2.13" } });
    let text =
        format!("The VIP IP address is already in use: IP address 192.0.2.13 already allocated in subnet {SUBNET}");
    world.refused(Method::Post, "loadbalancers", taken, 409, &text);
}

#[test]
fn without_a_data_plane_any_network_is_taken_and_vips_repeat() {
    let mut world = World::new();
    (world.settings.data_plane, world.plane.forwards) = (false, false);
    let body = json!({ "loadbalancer": {
        "vip_network_id": "99999999-9999-4999-8999-999999999999", "vip_address": "203.0.113.7",
    } });
    let one = world.make("loadbalancers", body.clone());
    let other = world.make("loadbalancers", body);
    assert_eq!((&one["vip_address"], &other["vip_address"]), (&json!("203.0.113.7"), &json!("203.0.113.7")));
    for lb in [&one, &other] {
        world.listener(&id_of(lb), json!(80));
    }
    assert_eq!(world.desired.listeners.len(), 2, "each under a name of its own: {:?}", world.desired.listeners);
    assert_eq!(world.get(&format!("loadbalancers/{}", id_of(&one)))["loadbalancer"]["operating_status"], "OFFLINE");
}

#[test]
fn statuses_follow_the_backends() {
    let mut world = World::new();
    let lb = world.load_balancer();
    let listener = world.listener(&lb, json!(80));
    let pool = world.pool(&listener);
    let member = world.member(&pool, "192.0.2.21", 80);
    let path = format!("pools/{pool}/members/{member}");
    assert_eq!(world.get(&path)["member"]["operating_status"], "NO_MONITOR");
    let monitor = json!({ "pool_id": pool, "type": "TCP", "delay": 3, "timeout": 2, "max_retries": 2 });
    let monitor = id_of(&world.make("healthmonitors", json!({ "healthmonitor": monitor })));
    for (seen, member_is, pool_is) in
        [(Seen::Unknown, "OFFLINE", "ONLINE"), (Seen::Up, "ONLINE", "ONLINE"), (Seen::Down, "ERROR", "ERROR")]
    {
        world.plane.seen = seen;
        assert_eq!(world.get(&path)["member"]["operating_status"], member_is);
        let tree = world.get(&format!("loadbalancers/{lb}/status"));
        assert_eq!(tree["statuses"]["loadbalancer"]["listeners"][0]["pools"][0]["operating_status"], pool_is);
        assert_eq!(tree["statuses"]["loadbalancer"]["operating_status"], pool_is);
    }
    world.plane.seen = Seen::Up;
    world.put(&path, json!({ "member": { "weight": 0 } }));
    assert_eq!(world.get(&path)["member"]["operating_status"], "DRAINING");
    world.put(&format!("healthmonitors/{monitor}"), json!({ "healthmonitor": { "admin_state_up": false } }));
    assert!(world.desired.pools[&name("p")].health.is_none(), "a monitor that is out of service checks nothing");
}

#[test]
fn monitors_try_the_members_own_ports_below_a_dr_mode_listener() {
    let mut world = World::new();
    let lb = world.load_balancer();
    let listener = world.listener(&lb, json!(0));
    let pool = world.pool(&listener);
    world.member(&pool, "192.0.2.21", 8080);
    let monitor = json!({ "pool_id": pool, "type": "TCP", "delay": 3, "timeout": 2, "max_retries": 2 });
    world.make("healthmonitors", json!({ "healthmonitor": monitor }));
    let backend = world.desired.pools[&name("p")].backends.values().next().expect("a backend").clone();
    assert_eq!((backend.monitor.address, backend.monitor.port), (None, Some(8080)));
    let text = "Validation failure: A TCP health monitor has no port to try at the member 192.0.2.22, as the listener takes \
                every port: give the member a protocol_port or a monitor_port, or take a monitor of type PING.";
    let member = json!({ "member": { "address": "192.0.2.22", "protocol_port": 0 } });
    world.refused(Method::Post, &format!("pools/{pool}/members"), member, 400, text);
    let member = json!({ "member": { "address": "192.0.2.22", "protocol_port": 0, "monitor_port": 9 } });
    world.make(&format!("pools/{pool}/members"), member);
}

#[test]
fn what_is_begun_is_pending_and_then_active() {
    let mut world = World::new();
    world.settles = false;
    let made = world.make("loadbalancers", json!({ "loadbalancer": { "vip_subnet_id": SUBNET } }));
    assert_eq!((&made["provisioning_status"], &made["updated_at"]), (&json!("PENDING_CREATE"), &json!(null)));
    let lb = id_of(&made);
    let listener = json!({ "listener": { "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 80 } });
    let text = format!("Load Balancer {lb} is immutable and cannot be updated.");
    world.refused(Method::Post, "listeners", listener.clone(), 409, &text);
    let text = format!("Invalid state PENDING_CREATE of loadbalancer resource {lb}");
    let change = json!({ "loadbalancer": { "name": "x" } });
    world.refused(Method::Put, &format!("loadbalancers/{lb}"), change.clone(), 409, &text);
    world.catalogue.settle();
    assert_eq!(world.get(&format!("loadbalancers/{lb}"))["loadbalancer"]["provisioning_status"], "ACTIVE");
    world.make("listeners", listener);
    assert_eq!(world.get(&format!("loadbalancers/{lb}"))["loadbalancer"]["provisioning_status"], "PENDING_UPDATE");
    world.catalogue.carried_out(&BTreeSet::from([lb.clone()]), Some("the kernel has no room"));
    world.catalogue.settle();
    assert_eq!(world.get(&format!("loadbalancers/{lb}"))["loadbalancer"]["provisioning_status"], "ERROR");
    let tree = world.get(&format!("loadbalancers/{lb}/status"));
    assert_eq!(tree["statuses"]["loadbalancer"]["error"], "the kernel has no room");
    world.refused(
        Method::Put,
        &format!("loadbalancers/{lb}"),
        change,
        409,
        &format!("Invalid state ERROR of loadbalancer resource {lb}"),
    );
    world.delete(&format!("loadbalancers/{lb}?cascade=1"));
}
