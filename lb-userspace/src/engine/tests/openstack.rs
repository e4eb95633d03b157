//! What the API says of what is carried out, and of what cannot be.

use serde_json::{Value, json};

use super::told::told;
use super::*;
use crate::model::Tables;
use crate::octavia::networks::{Network, Networks, Range, Subnet};
use crate::octavia::query::Parameters;
use crate::octavia::{Area, Caller, Method, Refusal, Request, Role};
use crate::reconcile::work;

const SUBNET: &str = "11111111-1111-4111-8111-111111111111";

/// A host whose maps have room for the tables of four pools, and a core that has seen its network.
fn small() -> (Host, Core) {
    let host = Host::new();
    let core = small_of(&host);
    (host, core)
}

fn small_of(host: &Host) -> Core {
    let mut core = host.start();
    do_all(&mut core, [attach("eth1")]);
    with_room_for_four(&mut core);
    core
}

fn with_room_for_four(core: &mut Core) {
    let range = Range::parse("192.0.2.0/24").expect("a range");
    let free = vec![("192.0.2.200".parse().expect("first"), "192.0.2.219".parse().expect("last"))];
    let subnet = Subnet { id: SUBNET.to_owned(), name: "front".to_owned(), range, gateway: None, free };
    let network = Network { id: SUBNET.to_owned(), name: "net".to_owned(), subnets: vec![subnet] };
    core.openstack.settings.networks = Networks { networks: vec![network], ports: vec![] };
    // What is counted on is more than there is, as when it lies in pieces.
    core.desired.tables = Tables { room: 1 << 20, slots: 101 };
}

fn ask(core: &mut Core, method: Method, path: &str, body: Option<Value>) -> Result<Value, Refusal> {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parameters = query.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let request = Request {
        area: Area::LoadBalancing,
        method,
        path: path.split('/').map(str::to_owned).collect(),
        parameters: Parameters(parameters.into_iter().collect()),
        body,
        caller: Caller { project: "home".to_owned(), role: Role::Admin },
        here: String::new(),
    };
    core.octavia(&request).map(|reply| reply.body.unwrap_or_default())
}

/// Makes a load balancer with a listener, a pool and a member, and returns its id. It is not carried out yet.
fn make(core: &mut Core, text: &str) -> String {
    let members = json!([{ "address": "192.0.2.21", "protocol_port": 80 }]);
    let pool = json!({ "name": format!("{text}-pool"), "protocol": "TCP", "lb_algorithm": "SOURCE_IP_PORT", "members": members });
    let listener = json!({ "name": text, "protocol": "TCP", "protocol_port": 80, "default_pool": pool });
    let tree = json!({ "name": text, "vip_subnet_id": SUBNET, "listeners": [listener] });
    let made = ask(core, Method::Post, "loadbalancers", Some(json!({ "loadbalancer": tree }))).expect("made");
    made["loadbalancer"]["id"].as_str().expect("an id").to_owned()
}

fn status(core: &mut Core, id: &str) -> String {
    let shown = ask(core, Method::Get, &format!("loadbalancers/{id}"), None).expect("shown");
    shown["loadbalancer"]["provisioning_status"].as_str().expect("a status").to_owned()
}

fn statuses(core: &mut Core, ids: &[String]) -> Vec<String> {
    ids.iter().map(|id| status(core, id)).collect()
}

#[test]
fn what_there_is_no_room_for_is_in_error_with_the_reason_and_keeps_nobody_else_from_anything() {
    let (mut host, mut core) = small();
    let four: Vec<String> = ["a", "b", "c", "d"].map(|name| make(&mut core, name)).into();
    assert_eq!(status(&mut core, &four[0]), "PENDING_CREATE", "until it is carried out");
    core.settle().expect("room for four");
    let fifth = make(&mut core, "e");
    assert_eq!(status(&mut core, &fifth), "PENDING_CREATE");
    core.settle().expect("what there is room for");
    assert_eq!((statuses(&mut core, &four), status(&mut core, &fifth)), (vec!["ACTIVE".into(); 4], "ERROR".into()));
    let tree = ask(&mut core, Method::Get, &format!("loadbalancers/{fifth}/status"), None).expect("the tree");
    let reason = tree["statuses"]["loadbalancer"]["error"].as_str().expect("a reason").to_owned();
    assert!(reason.starts_with("there is no room of one piece for the slots of pool `e-pool`"), "{reason}");
    let listeners = ask(&mut core, Method::Get, "listeners?name=e", None).expect("listed");
    assert_eq!(listeners["listeners"][0]["provisioning_status"], "ERROR", "what belongs to it is, too");
    let seen = core.status().expect("a status").listeners;
    let faults: Vec<_> = seen.iter().map(|listener| (listener.name.as_str(), listener.fault.as_deref())).collect();
    assert_eq!(faults, [("a", None), ("b", None), ("c", None), ("d", None), ("e", Some(reason.as_str()))]);
    assert_eq!(host.plane().held.vips.len(), 4, "nobody answers for the fifth VIP");

    // Only what is at rest can be changed.
    let name = Some(json!({ "loadbalancer": { "name": "z" } }));
    let refused = ask(&mut core, Method::Put, &format!("loadbalancers/{fifth}"), name).expect_err("in error");
    assert_eq!(refused, Refusal::new(409, format!("Invalid state ERROR of loadbalancer resource {fifth}")));
    let pool = json!({ "pool": { "loadbalancer_id": fifth, "protocol": "TCP", "lb_algorithm": "SOURCE_IP" } });
    let refused = ask(&mut core, Method::Post, "pools", Some(pool)).expect_err("in error");
    assert_eq!(refused, Refusal::new(409, format!("Load Balancer {fifth} is immutable and cannot be updated.")));

    // What others ask for is carried out, and does not say that the fifth is.
    let members = members_of(&mut core, "a-pool");
    let member = json!({ "member": { "address": "192.0.2.22", "protocol_port": 80 } });
    ask(&mut core, Method::Post, &members, Some(member)).expect("a second member");
    core.settle().expect("what there is room for");
    assert!(slots(&mut core, "a").iter().all(|slots| *slots > 0), "both members of the first serve");
    core.execute(&attach("eth2")).expect("what is left out is no fault of this command");
    host.link("eth1", 2, 9);
    host.look(&mut core);
    core.compare_everything().expect("a comparison");
    assert_eq!((statuses(&mut core, &four), status(&mut core, &fifth)), (vec!["ACTIVE".into(); 4], "ERROR".into()));
    assert!(told(&core, &[EventKind::MapsRepaired]).is_empty(), "nothing was broken");

    // An agent that starts anew finds it so.
    drop(core);
    let mut core = host.start();
    with_room_for_four(&mut core);
    assert_eq!((statuses(&mut core, &four), status(&mut core, &fifth)), (vec!["ACTIVE".into(); 4], "ERROR".into()));

    // It can be removed; and where there is room again, what is left is carried out.
    let sixth = make(&mut core, "f");
    core.settle().expect("what there is room for");
    assert_eq!(status(&mut core, &sixth), "ERROR");
    ask(&mut core, Method::Delete, &format!("loadbalancers/{sixth}?cascade=true"), None).expect("removed");
    ask(&mut core, Method::Delete, &format!("loadbalancers/{}?cascade=true", four[1]), None).expect("removed");
    core.settle().expect("what there is room for");
    assert!(core.leaves_out(), "so the next comparison is soon");
    core.compare_everything().expect("a comparison");
    assert_eq!(status(&mut core, &fifth), "ACTIVE");
    assert!(slots(&mut core, "e")[0] > 0);
    let events = told(&core, &[EventKind::OpenstackError, EventKind::OpenstackRecovered]);
    let [fifth_again, sixth_too, recovered] = &events[..] else { panic!("{events:#?}") };
    assert!(fifth_again.contains(&format!("{fifth} (e) went to ERROR: {reason}")), "{fifth_again}");
    assert!(sixth_too.contains(&format!("{sixth} (f) went to ERROR")), "{sixth_too}");
    assert!(recovered.contains(&format!("{fifth} (e) is ACTIVE again")), "{recovered}");
}

/// The path of the members of a pool.
fn members_of(core: &mut Core, pool: &str) -> String {
    let pools = ask(core, Method::Get, &format!("pools?name={pool}"), None).expect("listed");
    format!("pools/{}/members", pools["pools"][0]["id"].as_str().expect("an id"))
}

#[test]
fn a_request_is_planned_before_it_is_written_down_and_carried_out_before_it_is_answered() {
    let (host, mut core) = small();
    let id = make(&mut core, "a");
    assert_eq!(host.plane().held.vips.len(), 1, "the VIP is in the maps");
    assert_eq!(status(&mut core, &id), "PENDING_CREATE", "to those who asked before the answer");
    core.settle().expect("nothing in the way");
    let members = members_of(&mut core, "a-pool");
    let member = json!({ "member": { "address": "192.0.2.22", "protocol_port": 80 } });
    let before = work::pools_planned();
    ask(&mut core, Method::Post, &members, Some(member)).expect("a second member");
    assert!(slots(&mut core, "a").iter().all(|slots| *slots > 0), "both members serve");
    assert_eq!((work::pools_planned(), host.store.lock().expect("entries").planned), (before + 1, before + 1));
    assert_eq!(status(&mut core, &id), "PENDING_UPDATE");
    core.settle().expect("nothing in the way");
    assert_eq!(status(&mut core, &id), "ACTIVE");
    nothing_was_missed(&mut core);
}

#[test]
fn a_request_that_cannot_be_written_down_leaves_all_as_it_was() {
    let (host, mut core) = small();
    let id = make(&mut core, "a");
    core.settle().expect("nothing in the way");
    let members = members_of(&mut core, "a-pool");
    let (desired, serving) = (core.desired.clone(), slots(&mut core, "a"));
    host.store.lock().expect("entries").refuses = true;
    let member = json!({ "member": { "address": "192.0.2.22", "protocol_port": 80 } });
    let refused = ask(&mut core, Method::Post, &members, Some(member)).expect_err("the disk is full");
    assert_eq!(refused, Refusal::new(503, "the disk is full"));
    host.store.lock().expect("entries").refuses = false;
    assert_eq!(slots(&mut core, "a"), serving);
    assert_eq!(core.desired, desired);
    assert_eq!(status(&mut core, &id), "ACTIVE", "a refused request leaves all ACTIVE");
    let listed = ask(&mut core, Method::Get, &members, None).expect("listed");
    assert_eq!(listed["members"].as_array().map(Vec::len), Some(1));
    nothing_was_missed(&mut core);
}

#[test]
fn what_is_asked_for_before_the_network_is_known_is_pending_until_it_is_carried_out() {
    let host = Host::new();
    drop(small_of(&host));
    let mut core = host.boot();
    with_room_for_four(&mut core);
    let id = make(&mut core, "a");
    core.settle().expect("nothing to do yet");
    assert_eq!((status(&mut core, &id), host.plane().held.vips.len()), ("PENDING_CREATE".into(), 0));
    host.look(&mut core);
    core.settle().expect("nothing in the way");
    assert_eq!((status(&mut core, &id), host.plane().held.vips.len()), ("ACTIVE".into(), 1));
}

#[test]
fn a_change_that_the_maps_refuse_is_in_error_until_it_is_carried_out() {
    let (host, mut core) = small();
    let (one, other) = (make(&mut core, "a"), make(&mut core, "b"));
    core.settle().expect("room for both");
    host.plane().changes_left = Some(0);
    let name = json!({ "listener": { "loadbalancer_id": one, "protocol": "UDP", "protocol_port": 53, "name": "dns" } });
    ask(&mut core, Method::Post, "listeners", Some(name)).expect("it is written down");
    assert_eq!(status(&mut core, &one), "PENDING_UPDATE");
    core.settle().expect_err("the maps refuse");
    assert_eq!((status(&mut core, &one), status(&mut core, &other)), ("ERROR".into(), "ACTIVE".into()));
    host.plane().changes_left = None;
    // What another one asks for is no word about this one.
    let name = Some(json!({ "loadbalancer": { "name": "z" } }));
    ask(&mut core, Method::Put, &format!("loadbalancers/{other}"), name).expect("a change");
    core.settle().expect("nothing in the way");
    assert_eq!((status(&mut core, &one), status(&mut core, &other)), ("ERROR".into(), "ACTIVE".into()));
    core.compare_everything().expect("a comparison");
    assert_eq!(status(&mut core, &one), "ACTIVE");
}
