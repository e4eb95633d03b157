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
    for (field, shown, why) in [
        ("vip_address", "here", "Value should be IPv4 or IPv6 format"),
        ("vip_subnet_id", "here", "Value should be UUID format"),
        ("vip_network_id", "front", "Value should be UUID format"),
    ] {
        let body = json!({ "loadbalancer": { field: shown } });
        let text = format!("Invalid input for field/attribute {field}. Value: '{shown}'. {why}");
        world.refused(Method::Post, "loadbalancers", body, 400, &text);
    }
    // What stays as it was made is no attribute of an update, as upstream.
    let made = world.listener(&lb, json!(8080));
    for field in ["protocol", "protocol_port", "loadbalancer_id"] {
        let text = format!("Unknown attribute for argument listener_.listener: {field}");
        world.refused(Method::Put, &format!("listeners/{made}"), json!({ "listener": { field: 1 } }), 400, &text);
    }
    let text = "Unknown attribute for argument load_balancer.loadbalancer: vip_address";
    let body = json!({ "loadbalancer": { "vip_address": "192.0.2.11" } });
    world.refused(Method::Put, &format!("loadbalancers/{lb}"), body, 400, text);
    world.delete(&format!("listeners/{made}"));
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
    unsupported("listeners", of("PROMETHEUS"), "protocol PROMETHEUS, as the agent has its metrics elsewhere");
    let set = |name: &str, value: Value| {
        let mut listener = json!({ "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 81 });
        listener[name] = value;
        json!({ "listener": listener })
    };
    let most = lb_common::limits::MAX_ESTABLISHED_PINS;
    for (name, value, why) in [
        (
            "timeout_member_data",
            json!(1_000),
            "timeout_member_data, as what members send does not pass the balancer".to_owned(),
        ),
        (
            "timeout_tcp_inspect",
            json!(1_000),
            "timeout_tcp_inspect, as direct routing does not look into connections".to_owned(),
        ),
        ("connection_limit", json!(0), format!("connection_limit 0; give 1 to {most}, or -1 for any number")),
        ("tls_versions", json!(["TLSv1.3"]), "TLS settings, as in direct routing the members end TLS".to_owned()),
        (
            "l7policies",
            json!([{ "action": "REJECT" }]),
            "L7 policies, as direct routing does not look into connections".to_owned(),
        ),
    ] {
        unsupported("listeners", set(name, value), &why);
    }
    for (name, value, why) in [
        ("additional_vips", json!([{ "subnet_id": SUBNET }]), "additional_vips; make a load balancer for each VIP"),
        ("vip_qos_policy_id", json!(SUBNET), "vip_qos_policy_id, as answers do not pass the balancer"),
        ("vip_sg_ids", json!(["x"]), "vip_sg_ids; use allowed_cidrs of the listeners"),
    ] {
        let mut balancer = json!({ "vip_subnet_id": SUBNET });
        balancer[name] = value;
        unsupported("loadbalancers", json!({ "loadbalancer": balancer }), why);
    }
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
    unsupported(
        "pools",
        json!({ "pool": {
            "listener_id": listener, "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN", "tls_enabled": true,
        } }),
        "TLS to members, as direct routing hands packets on unchanged",
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
fn what_is_being_changed_is_refused_in_octavias_words() {
    let mut world = World::new();
    let lb = world.load_balancer();
    let listener = world.listener(&lb, json!(80));
    let pool = world.pool(&listener);
    let member = world.member(&pool, "192.0.2.21", 80);
    let monitor = json!({ "pool_id": pool, "type": "PING", "delay": 3, "timeout": 2, "max_retries": 2 });
    let monitor = super::id_of(&world.make("healthmonitors", json!({ "healthmonitor": monitor })));
    world.settles = false;
    world.put(&format!("loadbalancers/{lb}"), json!({ "loadbalancer": { "name": "z" } }));
    let invalid = format!("Invalid state PENDING_UPDATE of loadbalancer resource {lb}");
    let immutable = format!("Load Balancer {lb} is immutable and cannot be updated.");
    let named = |kind: &str| json!({ kind: { "name": "z" } });
    let body = |kind: &str, body: Value| json!({ kind: body });
    for (method, path, body, text) in [
        (Method::Put, format!("loadbalancers/{lb}"), named("loadbalancer"), &invalid),
        (Method::Put, format!("loadbalancers/{lb}/failover"), Value::Null, &invalid),
        (Method::Delete, format!("loadbalancers/{lb}?cascade=true"), Value::Null, &invalid),
        (
            Method::Post,
            "listeners".to_owned(),
            body("listener", json!({ "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 81 })),
            &immutable,
        ),
        (Method::Put, format!("listeners/{listener}"), named("listener"), &immutable),
        (Method::Delete, format!("listeners/{listener}"), Value::Null, &immutable),
        (
            Method::Post,
            "pools".to_owned(),
            body("pool", json!({ "loadbalancer_id": lb, "protocol": "TCP", "lb_algorithm": "SOURCE_IP" })),
            &immutable,
        ),
        (Method::Put, format!("pools/{pool}"), named("pool"), &immutable),
        (Method::Delete, format!("pools/{pool}"), Value::Null, &immutable),
        (
            Method::Post,
            format!("pools/{pool}/members"),
            body("member", json!({ "address": "192.0.2.22", "protocol_port": 80 })),
            &immutable,
        ),
        (Method::Put, format!("pools/{pool}/members"), json!({ "members": [] }), &immutable),
        (Method::Put, format!("pools/{pool}/members/{member}"), named("member"), &immutable),
        (Method::Delete, format!("pools/{pool}/members/{member}"), Value::Null, &immutable),
        (Method::Put, format!("healthmonitors/{monitor}"), named("healthmonitor"), &immutable),
        (Method::Delete, format!("healthmonitors/{monitor}"), Value::Null, &immutable),
    ] {
        world.refused(method, &path, body, 409, text);
    }
    // What is refused leaves what is pending pending, and nothing more.
    world.catalogue.settle();
    world.delete(&format!("loadbalancers/{lb}?cascade=true"));
}

#[test]
fn rules_of_pools_members_and_monitors_are_octavias() {
    let mut world = World::new();
    let lb = world.load_balancer();
    let udp = json!({ "loadbalancer_id": lb, "protocol": "UDP", "protocol_port": 53, "name": "dns" });
    let udp = super::id_of(&world.make("listeners", json!({ "listener": udp })));
    let tcp = world.listener(&lb, json!(53));
    let pool = |listener: &str, protocol: &str, persistence: Value| {
        json!({ "pool": {
            "listener_id": listener, "protocol": protocol, "lb_algorithm": "ROUND_ROBIN",
            "session_persistence": persistence,
        } })
    };
    let text = "Validation failure: Must provide at least one of: loadbalancer_id, listener_id";
    let body = json!({ "pool": { "protocol": "TCP", "lb_algorithm": "ROUND_ROBIN" } });
    world.refused(Method::Post, "pools", body, 400, text);
    let cookie = json!({ "type": "APP_COOKIE", "cookie_name": "c" });
    for (body, text) in [
        (
            pool(&tcp, "TCP", json!({ "type": "SOURCE_IP", "persistence_timeout": 5 })),
            "Validation failure: persistence_timeout and persistence_granularity is only for UDP and SCTP protocol pools.",
        ),
        (pool(&udp, "UDP", cookie), "Validation failure: Cookie names are not supported for UDP/SCTP pools."),
        (
            pool(&udp, "UDP", json!({ "type": "HTTP_COOKIE" })),
            "Validation failure: Session persistence of type HTTP_COOKIE is not supported for UDP/SCTP protocol pools.",
        ),
        (
            pool(&tcp, "TCP", json!({ "type": "APP_COOKIE" })),
            "Validation failure: Field \"cookie_name\" must be specified when using the \"APP_COOKIE\" session persistence \
             type.",
        ),
        (
            pool(&tcp, "TCP", json!({ "type": "SOURCE_IP", "cookie_name": "c" })),
            "Validation failure: Field \"cookie_name\" can only be specified with session persistence of type \"APP_COOKIE\".",
        ),
        (
            pool(&tcp, "TCP", json!({ "type": "NONE" })),
            "Invalid input for field/attribute type. Value: 'NONE'. Value should be one of: SOURCE_IP, HTTP_COOKIE, APP_COOKIE",
        ),
    ] {
        world.refused(Method::Post, "pools", body, 400, text);
    }
    let text = "This pool already has a health monitor";
    let made = super::id_of(&world.make("pools", pool(&udp, "UDP", Value::Null)));
    let monitor = |kind: &str, delay: u32| {
        let monitor = json!({ "pool_id": made, "type": kind, "delay": delay, "timeout": 9, "max_retries": 2 });
        json!({ "healthmonitor": monitor })
    };
    let only = "Validation failure: The associated pool protocol is UDP, so only a UDP-CONNECT/SCTP/TCP/HTTP health monitor \
                is supported.";
    world.refused(Method::Post, "healthmonitors", monitor("PING", 3), 400, only);
    world.refused(
        Method::Post,
        "healthmonitors",
        monitor("UDP-CONNECT", 2),
        400,
        "Validation failure: The request delay value 2 should be larger than 3 for UDP-CONNECT health monitor type.",
    );
    // A timeout beyond the delay is accepted.
    world.make("healthmonitors", monitor("UDP-CONNECT", 3));
    world.refused(Method::Post, "healthmonitors", monitor("UDP-CONNECT", 3), 409, text);
    let path = format!("pools/{made}/members");
    for (field, value, text) in [
        (
            "weight",
            json!(257),
            "Invalid input for field/attribute weight. Value: '257'. Value should be lower or equal to 256",
        ),
        (
            "address",
            json!("here"),
            "Invalid input for field/attribute address. Value: 'here'. Value should be IPv4 or IPv6 format",
        ),
        (
            "monitor_port",
            json!(0),
            "Invalid input for field/attribute monitor_port. Value: '0'. Value should be greater or equal to 1",
        ),
    ] {
        let mut member = json!({ "address": "192.0.2.21", "protocol_port": 53 });
        member[field] = value;
        world.refused(Method::Post, &path, json!({ "member": member }), 400, text);
    }
    let twice = json!({ "address": "192.0.2.21", "protocol_port": 53 });
    let text = "Validation failure: Member must be updated only once in the same request.";
    world.refused(Method::Put, &path, json!({ "members": [twice, twice] }), 400, text);
}

#[test]
fn two_members_with_one_address_are_refused_with_the_reason() {
    let mut world = World::new();
    let lb = world.load_balancer();
    let listener = world.listener(&lb, json!(0));
    let pool = world.pool(&listener);
    world.member(&pool, "192.0.2.21", 80);
    let text = "Provider 'drlb' does not support a requested option: two members with the address 192.0.2.21, as direct \
                routing sends packets to a server at the port that the client chose";
    let second = json!({ "member": { "address": "192.0.2.21", "protocol_port": 81 } });
    world.refused(Method::Post, &format!("pools/{pool}/members"), second, 501, text);
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
