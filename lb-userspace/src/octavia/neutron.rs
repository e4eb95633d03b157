//! Networks, subnets and ports, as far as clients of the load balancing API look them up.
//!
//! They are those of the configuration, and the ports of VIPs. Without a data plane, whatever is asked for by a name or an
//! id is there, as any network is taken.

use std::net::IpAddr;

use serde_json::{Value, json};
use uuid::Uuid;

use super::catalogue::Object;
use super::load_balancers::text;
use super::networks::{Network, Port, Subnet, id_of};
use super::query::{View, chosen};
use super::refusal::{Refusal, shown};
use super::schema::Kind;
use super::value::Attributes;
use super::work::{Method, Reply, Work};

/// The attribute of a port that can be changed.
const PAIRS: &str = "allowed_address_pairs";

/// Answers what is asked of networks. The refusals' texts become Neutron's bodies.
pub(super) fn answer(work: &mut Work<'_>) -> Result<Reply, Refusal> {
    let request = work.request;
    let path: Vec<&str> = request.path.iter().map(String::as_str).filter(|segment| !segment.is_empty()).collect();
    match (request.method, path.as_slice()) {
        (Method::Get, ["extensions"]) => Ok(found(json!({ "extensions": [extension()] }))),
        (Method::Get, ["extensions", _]) => Ok(found(json!({ "extension": extension() }))),
        (Method::Get, [list]) => {
            let (sort, views) = views(work, list)?;
            let views = matching(work, sort, views);
            let views: Vec<Value> =
                views.into_iter().map(|view| Value::Object(chosen(view, &request.parameters))).collect();
            Ok(found(json!({ *list: views })))
        }
        (Method::Get, [list, id]) => {
            let (sort, view) = one(work, list, id)?;
            Ok(found(json!({ sort: chosen(view, &request.parameters) })))
        }
        (Method::Put, ["ports", id]) => update_port(work, id),
        (_, [list] | [list, _]) if matches!(*list, "networks" | "subnets" | "ports") => {
            Err(Refusal::new(501, "The networks of this API come from the agent's configuration; change them there."))
        }
        _ => Err(Refusal::new(404, "The resource could not be found.")),
    }
}

fn found(body: Value) -> Reply {
    Reply { status: 200, body: Some(body) }
}

fn extension() -> Value {
    json!({
        "alias": "allowed-address-pairs",
        "name": "Allowed Address Pairs",
        "description": "Addresses that a port may send from beside its own.",
        "links": [],
        "updated": "2012-07-23T10:00:00-00:00",
    })
}

/// What a list is called for one of it, and all of it.
fn views(work: &Work<'_>, list: &str) -> Result<(&'static str, Vec<View>), Refusal> {
    let networks = &work.context.settings.networks;
    let home = &work.context.settings.project;
    Ok(match list {
        "networks" => ("network", networks.networks.iter().map(|network| network_view(network, home)).collect()),
        "subnets" => {
            let subnets = networks.subnets();
            ("subnet", subnets.map(|(network, subnet)| subnet_view(network, subnet, home)).collect())
        }
        "ports" => {
            let given = networks.ports.iter().map(|port| port_view(work, port));
            let vips =
                work.catalogue.all(Kind::LoadBalancer).filter(|(_, object)| work.may_see(&object.project).is_ok());
            ("port", given.chain(vips.map(|(id, object)| vip_view(work, id, object))).collect())
        }
        _ => return Err(Refusal::new(404, "The resource could not be found.")),
    })
}

fn view(fields: Value) -> View {
    if let Value::Object(view) = fields { view } else { View::new() }
}

fn network_view(network: &Network, home: &str) -> View {
    let subnets: Vec<&str> = network.subnets.iter().map(|subnet| subnet.id.as_str()).collect();
    view(json!({
        "id": network.id, "name": network.name, "description": "", "project_id": home, "tenant_id": home,
        "admin_state_up": true, "status": "ACTIVE", "shared": true, "router:external": false, "subnets": subnets,
        "availability_zones": [], "availability_zone_hints": [], "port_security_enabled": true, "tags": [],
        "mtu": 1500,
    }))
}

fn subnet_view(network: &Network, subnet: &Subnet, home: &str) -> View {
    let pools: Vec<Value> = subnet
        .free
        .iter()
        .map(|(first, last)| json!({ "start": first.to_string(), "end": last.to_string() }))
        .collect();
    let version = if subnet.range.address.is_ipv4() { 4 } else { 6 };
    view(json!({
        "id": subnet.id, "name": subnet.name, "description": "", "project_id": home, "tenant_id": home,
        "network_id": network.id, "cidr": subnet.range.to_string(), "ip_version": version,
        "gateway_ip": subnet.gateway.map(|gateway| gateway.to_string()), "allocation_pools": pools,
        "enable_dhcp": false, "dns_nameservers": [], "host_routes": [], "tags": [], "subnetpool_id": null,
        "ipv6_address_mode": null, "ipv6_ra_mode": null,
    }))
}

fn port_view(work: &Work<'_>, port: &Port) -> View {
    let fixed: Vec<Value> = port
        .addresses
        .iter()
        .map(|(subnet, address)| json!({ "subnet_id": subnet, "ip_address": address.to_string() }))
        .collect();
    let pairs = work.catalogue.get(Kind::Port, &port.id).and_then(|port| port.attributes.get(PAIRS).cloned());
    let home = &work.context.settings.project;
    view(json!({
        "id": port.id, "name": port.name, "description": "", "project_id": home, "tenant_id": home,
        "network_id": port.network, "mac_address": port.mac, "fixed_ips": fixed, "admin_state_up": true,
        "status": "ACTIVE", "device_id": "", "device_owner": "compute:nova", "security_groups": [], "tags": [],
        PAIRS: pairs.unwrap_or_else(|| json!([])),
    }))
}

fn vip_view(work: &Work<'_>, id: &str, object: &Object) -> View {
    let addresses = object.text("vip_address").parse::<IpAddr>().ok();
    let addresses = addresses.map(|address| (object.text("vip_subnet_id").to_owned(), address)).into_iter().collect();
    let port = Port {
        id: object.text("vip_port_id").to_owned(),
        name: format!("octavia-lb-{id}"),
        network: object.text("vip_network_id").to_owned(),
        addresses,
        mac: made_up_mac(object.text("vip_port_id")),
    };
    let mut shown = port_view(work, &port);
    for (name, value) in [("project_id", object.project.as_str()), ("tenant_id", object.project.as_str())] {
        shown.insert(name.to_owned(), json!(value));
    }
    shown.insert("device_owner".to_owned(), json!("Octavia"));
    shown.insert("device_id".to_owned(), json!(format!("lb-{id}")));
    shown
}

/// A MAC that a port without one is shown with: locally administered, and the same each time.
#[must_use]
pub fn made_up_mac(id: &str) -> String {
    let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(10).collect();
    let pairs: Vec<&str> = (0..5).filter_map(|pair| digits.get(pair * 2..pair * 2 + 2)).collect();
    format!("02:{}", pairs.join(":"))
}

/// Those of a list that the parameters ask for.
fn matching(work: &Work<'_>, sort: &str, mut views: Vec<View>) -> Vec<View> {
    let parameters = &work.request.parameters;
    for (name, wanted) in &parameters.0 {
        match name.as_str() {
            "fixed_ips" => {
                let wanted: Vec<_> = parameters.all(name).filter_map(|pair| pair.split_once('=')).collect();
                views.retain(|view| {
                    let fixed = view.get("fixed_ips").and_then(Value::as_array);
                    fixed.is_some_and(|all| all.iter().any(|one| wanted.iter().all(|(key, value)| one[*key] == *value)))
                });
            }
            "project_id" | "tenant_id" | "fields" | "limit" | "marker" | "sort_key" | "sort_dir" | "page_reverse" => {}
            name => views.retain(|view| {
                let mut any = parameters.all(name).map(str::to_lowercase);
                view.get(name).is_none_or(|value| any.any(|wanted| shown(value).to_lowercase() == wanted))
            }),
        }
        if views.is_empty() && !work.context.settings.data_plane && (name == "id" || name == "name") {
            return made_up(sort, wanted).into_iter().collect();
        }
    }
    views
}

/// A network or subnet that is there because it is asked for.
fn made_up(sort: &str, wanted: &str) -> Option<View> {
    let id = Uuid::try_parse(wanted).map_or_else(|_| id_of(sort, wanted), |id| id.to_string());
    let network = Network { id: id.clone(), name: wanted.to_owned(), subnets: vec![] };
    match sort {
        "network" => Some(network_view(&network, "")),
        "subnet" => {
            let network = Network { id: id_of("network", &id), name: String::new(), subnets: vec![] };
            let range = super::networks::Range::parse("198.18.0.0/15")?;
            let subnet = Subnet { id, name: wanted.to_owned(), range, gateway: None, free: vec![] };
            Some(subnet_view(&network, &subnet, ""))
        }
        _ => None,
    }
}

fn one(work: &Work<'_>, list: &str, id: &str) -> Result<(&'static str, View), Refusal> {
    let (sort, views) = views(work, list)?;
    let view = views.into_iter().find(|view| view.get("id").is_some_and(|one| one == id));
    let by_id = Uuid::try_parse(id).is_ok() && !work.context.settings.data_plane;
    let view = view.or_else(|| if by_id { made_up(sort, id) } else { None });
    let title = match sort {
        "network" => "Network",
        "subnet" => "Subnet",
        _ => "Port",
    };
    view.map(|view| (sort, view)).ok_or_else(|| Refusal::new(404, format!("{title} {id} could not be found.")))
}

/// Changes the addresses that a port may send from beside its own. It is written down for whoever asks; the network that
/// the servers are in is not drlb's.
fn update_port(work: &mut Work<'_>, id: &str) -> Result<Reply, Refusal> {
    let (_, port) = one(work, "ports", id)?;
    work.may_change(text(&port, "project_id").unwrap_or_default())?;
    let changes = work.request.body.as_ref().and_then(|body| body["port"].as_object()).cloned();
    let changes = changes.ok_or_else(|| Refusal::new(400, "The body must have the key \"port\"."))?;
    if let Some(other) = changes.keys().find(|name| *name != PAIRS) {
        return Err(Refusal::new(400, format!("The attribute {other} of a port cannot be changed here.")));
    }
    let mac = port.get("mac_address").cloned().unwrap_or_default();
    let pairs = match changes.get(PAIRS) {
        None => return Ok(found(json!({ "port": port }))),
        Some(Value::Null) => Vec::new(),
        Some(pairs) => {
            let pairs = pairs.as_array().ok_or_else(|| Refusal::new(400, format!("{PAIRS} must be a list.")))?;
            pairs.iter().map(|pair| address_pair(pair, &mac)).collect::<Result<_, _>>()?
        }
    };
    let mut attributes = Attributes::new();
    attributes.insert(PAIRS.to_owned(), Value::Array(pairs));
    work.catalogue.put(
        Kind::Port,
        id,
        Object {
            project: String::new(),
            created: work.context.now,
            updated: None,
            name: None,
            follows: false,
            attributes: attributes.into(),
        },
    );
    let (_, port) = one(work, "ports", id)?;
    Ok(found(json!({ "port": port })))
}

/// An address or range, with the port's MAC if it names none.
fn address_pair(pair: &Value, mac: &Value) -> Result<Value, Refusal> {
    let address = pair["ip_address"].as_str().unwrap_or_default();
    let plain = address.parse::<IpAddr>().is_ok();
    if !plain && super::value::range(address).is_none() {
        return Err(Refusal::new(
            400,
            format!("Invalid input for {PAIRS}. Reason: '{address}' is not a valid IP address or CIDR."),
        ));
    }
    let given = pair["mac_address"].as_str().map(|mac| json!(mac));
    Ok(json!({ "ip_address": address, "mac_address": given.unwrap_or_else(|| mac.clone()) }))
}
