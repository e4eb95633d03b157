//! Projects, roles and quotas.

use serde_json::{Value, json};

use super::super::{Caller, Method, Role};
use super::{SUBNET, World, id_of};

fn caller(project: &str, role: Role) -> Caller {
    Caller { project: project.to_owned(), role }
}

#[test]
fn projects_see_their_own_alone() {
    let mut world = World::new();
    world.caller = caller("red", Role::Member);
    let lb = world.load_balancer();
    world.caller = caller("blue", Role::Member);
    let forbidden = "Policy does not allow this request to be performed.";
    assert_eq!(world.get("loadbalancers")["loadbalancers"], json!([]));
    for list in ["loadbalancers?project_id=red", "listeners?tenant_id=red"] {
        world.refused(Method::Get, list, Value::Null, 403, forbidden);
    }
    for (method, path, body) in [
        (Method::Get, format!("loadbalancers/{lb}"), Value::Null),
        (Method::Get, format!("loadbalancers/{lb}/status"), Value::Null),
        (Method::Put, format!("loadbalancers/{lb}"), json!({ "loadbalancer": { "name": "mine" } })),
        (Method::Delete, format!("loadbalancers/{lb}"), Value::Null),
        (
            Method::Post,
            "listeners".to_owned(),
            json!({ "listener": { "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 80 } }),
        ),
        (
            Method::Post,
            "loadbalancers".to_owned(),
            json!({ "loadbalancer": { "vip_subnet_id": SUBNET, "project_id": "red" } }),
        ),
    ] {
        world.refused(method, &path, body, 403, forbidden);
    }
    world.caller = caller("red", Role::Reader);
    assert_eq!(world.get("loadbalancers")["loadbalancers"].as_array().map(Vec::len), Some(1));
    world.refused(Method::Delete, &format!("loadbalancers/{lb}"), Value::Null, 403, forbidden);
    world.refused(Method::Put, &format!("loadbalancers/{lb}/failover"), Value::Null, 403, forbidden);
    world.caller = caller("blue", Role::Admin);
    assert_eq!(world.get("loadbalancers")["loadbalancers"].as_array().map(Vec::len), Some(1));
    assert_eq!(world.get("loadbalancers?project_id=blue")["loadbalancers"], json!([]));
    world.delete(&format!("loadbalancers/{lb}"));
}

#[test]
fn a_project_has_no_more_than_its_quota() {
    let mut world = World::new();
    let quota = json!({ "quota": { "load_balancer": 1, "listener": 0 } });
    let set = world.put("quotas/home", quota);
    assert_eq!((&set["quota"]["loadbalancer"], &set["quota"]["load_balancer"]), (&json!(1), &json!(1)));
    assert_eq!(set["quota"]["pool"], json!(-1));
    let lb = world.load_balancer();
    let second = json!({ "loadbalancer": { "vip_subnet_id": SUBNET } });
    world.refused(
        Method::Post,
        "loadbalancers",
        second.clone(),
        403,
        "Quota has been met for resources: Load Balancer",
    );
    let listener = json!({ "listener": { "loadbalancer_id": lb, "protocol": "TCP", "protocol_port": 80 } });
    world.refused(Method::Post, "listeners", listener, 403, "Quota has been met for resources: Listener");
    let reply = world.ask(Method::Delete, "quotas/home", None).expect("reset");
    assert_eq!(reply.status, 202);
    world.make("loadbalancers", second);
}

#[test]
fn flavors_and_zones_are_administered() {
    let mut world = World::new();
    let profile = json!({ "flavorprofile": { "name": "fp", "provider_name": "drlb", "flavor_data": "{}" } });
    let profile = id_of(&world.make("flavorprofiles", profile));
    let flavor = json!({ "flavor": { "name": "f", "flavor_profile_id": profile } });
    let flavor = id_of(&world.make("flavors", flavor));
    let text = format!("Flavor Profile {profile} is in use and cannot be modified.");
    world.refused(Method::Delete, &format!("flavorprofiles/{profile}"), Value::Null, 409, &text);
    let lb = json!({ "loadbalancer": { "vip_subnet_id": SUBNET, "flavor_id": flavor } });
    world.make("loadbalancers", lb);
    assert_eq!(world.get("flavorprofiles")["flavorprofile_links"], json!([]));
    let zone_profile = json!({ "availability_zone_profile": {
        "name": "zp", "provider_name": "drlb", "availability_zone_data": "{}",
    } });
    let zone_profile = id_of(&world.make("availabilityzoneprofiles", zone_profile));
    let zone = json!({ "availability_zone": { "name": "z", "availability_zone_profile_id": zone_profile } });
    world.make("availabilityzones", zone);
    assert_eq!(world.get("availabilityzones/z")["availability_zone"]["enabled"], json!(true));
    world.caller = caller("home", Role::Member);
    let forbidden = "Policy does not allow this request to be performed.";
    world.refused(Method::Delete, "availabilityzones/z", Value::Null, 403, forbidden);
}
