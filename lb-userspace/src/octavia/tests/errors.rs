//! Refusals, to the letter.

use serde_json::{Value, json};

use super::super::Method;
use super::{SUBNET, World};

#[test]
fn attributes_are_refused_in_octavias_words() {
    let mut world = World::new();
    let lb = world.load_balancer();
    let with = |field: &str, value: Value| {
        let mut listener = json!({ "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 80 });
        listener[field] = value;
        json!({ "listener": listener })
    };
    let long = "x".repeat(256);
    for (field, value, shown, why) in [
        ("protocol_port", json!(65_536), "65536", "Value should be lower or equal to 65535"),
        ("protocol_port", json!(-1), "-1", "Value should be greater or equal to 0"),
        ("protocol_port", json!(null), "None", "Mandatory field missing."),
        (
            "protocol",
            json!("tcp"),
            "tcp",
            "Value should be one of: TCP, HTTP, HTTPS, TERMINATED_HTTPS, UDP, SCTP, PROMETHEUS",
        ),
        ("loadbalancer_id", json!("x"), "x", "Value should be UUID format"),
        ("connection_limit", json!(-2), "-2", "Value should be greater or equal to -1"),
        ("timeout_client_data", json!("-1"), "-1", "Value should be greater or equal to 0"),
        ("allowed_cidrs", json!(["10.0.0.0/33"]), "['10.0.0.0/33']", "Value should be IPv4 or IPv6 CIDR format"),
        ("name", json!(5), "5", "Value should be string"),
        ("name", json!(long), &long, "Value should have a maximum character requirement of 255"),
        ("admin_state_up", json!("maybe"), "maybe", "Value not an unambiguous boolean: maybe"),
    ] {
        let text = format!("Invalid input for field/attribute {field}. Value: '{shown}'. {why}");
        world.refused(Method::Post, "listeners", with(field, value), 400, &text);
    }
    let text = "Unknown attribute for argument listener_.listener: nonsense";
    world.refused(Method::Post, "listeners", with("nonsense", json!(1)), 400, text);
    world.listener(&lb, json!(80));
    let text = "Another Listener on this Load Balancer is already using protocol TCP and protocol_port 80";
    world.refused(Method::Post, "listeners", with("protocol", json!("HTTPS")), 409, text);
    let absent = "00000000-0000-4000-8000-0000000000ff";
    let text = format!("Load Balancer {absent} not found.");
    world.refused(Method::Post, "listeners", with("loadbalancer_id", json!(absent)), 404, &text);
    world.refused(
        Method::Get,
        &format!("listeners/{absent}"),
        Value::Null,
        404,
        &format!("Listener {absent} not found."),
    );
    world.refused(
        Method::Delete,
        &format!("loadbalancers/{lb}"),
        Value::Null,
        400,
        &format!("Validation failure: Cannot delete Load Balancer {lb} - it has children"),
    );
    let text = "Validation failure: VIP must contain one of: vip_port_id, vip_network_id, vip_subnet_id.";
    world.refused(Method::Post, "loadbalancers", json!({ "loadbalancer": {} }), 400, text);
    world.refused(
        Method::Post,
        "loadbalancers",
        json!({ "loadbalancer": { "vip_subnet_id": SUBNET, "provider": "amphora" } }),
        400,
        "Provider 'amphora' is not enabled.",
    );
}

#[test]
fn what_direct_routing_cannot_do_is_refused_with_the_reason() {
    let mut world = World::new();
    let lb = world.load_balancer();
    let listener = world.listener(&lb, json!(80));
    let mut unsupported = |path: &str, body: Value, why: &str| {
        let text = format!("Provider 'drlb' does not support a requested option: {why}");
        world.refused(Method::Post, path, body, 501, &text);
    };
    let of =
        |protocol: &str| json!({ "listener": { "loadbalancer_id": lb, "protocol": protocol, "protocol_port": 81 } });
    unsupported("listeners", of("HTTP"), "protocol HTTP, as direct routing does not look into connections; use TCP");
    unsupported(
        "listeners",
        of("TERMINATED_HTTPS"),
        "protocol TERMINATED_HTTPS, as in direct routing the members end TLS; use HTTPS or TCP",
    );
    let pool = |protocol: &str, persistence: Value| {
        json!({ "pool": {
            "listener_id": listener, "protocol": protocol, "lb_algorithm": "ROUND_ROBIN",
            "session_persistence": persistence,
        } })
    };
    unsupported(
        "pools",
        pool("PROXY", Value::Null),
        "protocol PROXY, as direct routing hands packets on unchanged, and so adds no PROXY header",
    );
    unsupported(
        "pools",
        pool("TCP", json!({ "type": "HTTP_COOKIE" })),
        "session persistence HTTP_COOKIE, as direct routing does not look into connections; use SOURCE_IP",
    );
    let text = "Provider 'drlb' does not support a requested action: L7 policies, as direct routing does not look into \
                connections";
    world.refused(Method::Post, "l7policies", json!({ "l7policy": {} }), 501, text);
    assert_eq!(world.get("l7policies"), json!({ "l7policies": [], "l7policies_links": [] }));
}

#[test]
fn a_members_port_must_be_the_listeners() {
    let mut world = World::new();
    let lb = world.load_balancer();
    let listener = world.listener(&lb, json!(80));
    let pool = world.pool(&listener);
    let text = "Validation failure: The member protocol_port 8080 must equal the listener protocol_port 80: in direct \
                routing packets keep their port.";
    let member = |address: &str, port: u16| json!({ "member": { "address": address, "protocol_port": port } });
    let path = format!("pools/{pool}/members");
    world.refused(Method::Post, &path, member("192.0.2.21", 8080), 400, text);
    world.member(&pool, "192.0.2.21", 80);
    let text = "Another member on this pool is already using ip 192.0.2.21 on protocol_port 80";
    world.refused(Method::Post, &path, member("192.0.2.21", 80), 409, text);
    let text = "169.254.169.254 is not a valid option for member address";
    world.refused(Method::Post, &path, member("169.254.169.254", 80), 400, text);
    let text = "Validation failure: The member address 2001:db8::1 must be of the IP version of the VIP 192.0.2.10: direct \
                routing does not translate.";
    world.refused(Method::Post, &path, member("2001:db8::1", 80), 400, text);
    // The other way round: a pool whose members have other ports cannot serve the listener.
    let other = json!({ "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 81, "default_pool_id": pool });
    let text = "Validation failure: The member protocol_port 80 must equal the listener protocol_port 81: in direct \
                routing packets keep their port.";
    world.refused(Method::Post, "listeners", json!({ "listener": other }), 400, text);
}

#[test]
fn monitors_are_refused_where_they_do_not_fit() {
    let mut world = World::new();
    let lb = world.load_balancer();
    let listener = world.listener(&lb, json!(80));
    let pool = world.pool(&listener);
    let monitor = |kind: &str, more: Value| {
        let mut monitor = json!({ "pool_id": pool, "type": kind, "delay": 3, "timeout": 9, "max_retries": 2 });
        for (name, value) in more.as_object().into_iter().flatten() {
            monitor[name] = value.clone();
        }
        json!({ "healthmonitor": monitor })
    };
    for (kind, more, text) in [
        (
            "UDP-CONNECT",
            json!({}),
            "Validation failure: The UDP-CONNECT type is only supported for pools of type UDP/SCTP.",
        ),
        ("TCP", json!({ "url_path": "/" }), "url_path is not a valid option for health monitors of type TCP"),
        (
            "HTTP",
            json!({ "domain_name": "a.example" }),
            "Validation failure: 'http_version' must be specified when 'domain_name' is provided.",
        ),
        (
            "HTTP",
            json!({ "domain_name": "a.example", "http_version": "1.0" }),
            "http_version 1.0 is not a valid option for health monitors HTTP 1.1 domain name health check",
        ),
        (
            "HTTP",
            json!({ "max_retries": 11 }),
            "Invalid input for field/attribute max_retries. Value: '11'. Value should be lower or equal to 10",
        ),
    ] {
        world.refused(Method::Post, "healthmonitors", monitor(kind, more), 400, text);
    }
    let made = world.make("healthmonitors", monitor("HTTP", json!({})));
    assert_eq!(
        (&made["http_method"], &made["url_path"], &made["expected_codes"]),
        (&json!("GET"), &json!("/"), &json!("200"))
    );
    let text = "This pool already has a health monitor";
    world.refused(Method::Post, "healthmonitors", monitor("TCP", json!({})), 409, text);
    let text = "This listener already has a default pool";
    let second = json!({ "pool": { "listener_id": listener, "protocol": "TCP", "lb_algorithm": "SOURCE_IP" } });
    world.refused(Method::Post, "pools", second, 409, text);
    let second = json!({ "pool": { "loadbalancer_id": lb, "listener_id": listener, "protocol": "UDP", "lb_algorithm": "SOURCE_IP" } });
    let text = "Validation failure: The pool protocol 'UDP' is invalid while the listener protocol is 'TCP'.";
    world.refused(Method::Post, "pools", second, 400, text);
}

#[test]
fn refusals_have_octavias_bodies() {
    let mut world = World::new();
    let refusal = world.ask(Method::Get, "pools/x", None).expect_err("no such pool");
    let body = json!({ "faultcode": "Client", "faultstring": "Pool x not found.", "debuginfo": null });
    assert_eq!(refusal.body(), body);
    // Below /members, what is missing has the answer of a path that is not there.
    for (path, text) in [("pools/x/members", "Pool x not found."), ("nonsense", "The resource could not be found.")] {
        let refusal = world.ask(Method::Get, path, None).expect_err("nothing there");
        assert_eq!(refusal.body(), json!({ "code": 404, "title": "Not Found", "description": text }));
    }
    let refusal = world.ask(Method::Get, "pools?limit=x", None).expect_err("no limit");
    let text = "Supplied pagination limit 'x' is not valid.";
    assert_eq!(refusal.body(), json!({ "code": 400, "title": "Bad Request", "description": text }));
    let refusal = world.ask(Method::Delete, "pools", None).expect_err("not that method");
    assert_eq!(refusal.status, 405);
}
