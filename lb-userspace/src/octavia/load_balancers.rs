//! Load balancers: a VIP, and all that is served on it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::catalogue::{ACTIVE, ERROR};
use super::refusal::Refusal;
use super::schema::Kind;
use super::value::Attributes;
use super::work::{Reply, Traffic, Work};
use super::{PROVIDER, listeners, networks, pools};

/// The text of an attribute, if it has one.
pub(super) fn text<'a>(attributes: &'a Attributes, name: &str) -> Option<&'a str> {
    attributes.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The items of a list that an attribute is.
pub(super) fn items(attributes: &mut Attributes, name: &str) -> Vec<Attributes> {
    let Some(Value::Array(items)) = attributes.remove(name) else { return vec![] };
    items.into_iter().filter_map(|item| if let Value::Object(item) = item { Some(item) } else { None }).collect()
}

/// Makes a load balancer, with all that the body has of it, and returns its id.
pub(super) fn create(work: &mut Work<'_>, mut attributes: Attributes) -> Result<String, Refusal> {
    let project = text(&attributes, "project_id").unwrap_or(&work.request.caller.project).to_owned();
    work.may_change(&project)?;
    check_options(work, &attributes)?;
    let trees = (items(&mut attributes, "pools"), items(&mut attributes, "listeners"));
    work.quota(Kind::LoadBalancer, &project, 1)?;
    let id = (work.context.new_id)();
    networks::choose_vip(work.catalogue, work.context, &id, &mut attributes)?;
    work.add(Kind::LoadBalancer, &id, &project, None, attributes);
    work.touched.insert(id.clone());
    plant(work, &id, trees.0, trees.1)?;
    Ok(id)
}

fn check_options(work: &Work<'_>, attributes: &Attributes) -> Result<(), Refusal> {
    if let Some(other) = text(attributes, "provider").filter(|provider| *provider != PROVIDER) {
        return Err(Refusal::new(400, format!("Provider '{other}' is not enabled.")));
    }
    if let Some(flavor) = text(attributes, "flavor_id") {
        match work.catalogue.get(Kind::Flavor, flavor) {
            None => return Err(Refusal::validation("Invalid flavor_id.")),
            Some(flavor) if !flavor.flag("enabled") => {
                return Err(Refusal::new(400, "The selected flavor is not allowed in this deployment: flavor"));
            }
            Some(_) => {}
        }
    }
    if let Some(zone) = text(attributes, "availability_zone") {
        match work.catalogue.get(Kind::Zone, zone) {
            None => return Err(Refusal::validation("Invalid availability zone.")),
            Some(found) if !found.flag("enabled") => {
                let text = format!("The selected availability_zone is not allowed in this deployment: {zone}");
                return Err(Refusal::new(400, text));
            }
            Some(_) => {}
        }
    }
    let given = |name: &str| attributes.get(name).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if given("additional_vips") {
        return Err(Refusal::unsupported("additional_vips; make a load balancer for each VIP"));
    }
    check_port_options(attributes)
}

/// What would be set at a VIP's port, which direct routing has none of.
fn check_port_options(attributes: &Attributes) -> Result<(), Refusal> {
    if text(attributes, "vip_qos_policy_id").is_some() {
        return Err(Refusal::unsupported("vip_qos_policy_id, as answers do not pass the balancer"));
    }
    if attributes.get("vip_sg_ids").and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
        return Err(Refusal::unsupported("vip_sg_ids; use allowed_cidrs of the listeners"));
    }
    Ok(())
}

/// Makes the pools and then the listeners of a load balancer that is given as a tree.
fn plant(
    work: &mut Work<'_>,
    id: &str,
    mut pool_trees: Vec<Attributes>,
    mut listener_trees: Vec<Attributes>,
) -> Result<(), Refusal> {
    let named = |pool: &Attributes| text(pool, "name").map(str::to_owned);
    let mut references = Vec::new();
    for listener in &mut listener_trees {
        let Some(Value::Object(pool)) = listener.remove("default_pool") else {
            references.push(None);
            continue;
        };
        let name = named(&pool)
            .ok_or_else(|| Refusal::validation("Pools must be named when creating a fully populated loadbalancer."))?;
        references.push(Some(name));
        // One that has more than a name is that pool itself; else it stands among the load balancer's.
        if text(&pool, "protocol").is_some() || text(&pool, "lb_algorithm").is_some() {
            pool_trees.push(pool);
        }
    }
    let names: Vec<String> = pool_trees.iter().filter_map(named).collect();
    if names.len() < pool_trees.len() && !listener_trees.is_empty() && references.iter().any(Option::is_some) {
        return Err(Refusal::validation("Pools must be named when creating a fully populated loadbalancer."));
    }
    if (1..names.len()).any(|i| names[..i].contains(&names[i])) {
        let detail = "Pool names must be unique when creating a fully populated loadbalancer.";
        return Err(Refusal::validation(detail));
    }
    if let Some(name) = references.iter().flatten().find(|name| !names.contains(name)) {
        let detail = format!("Pool '{name}' was referenced but no full definition was found.");
        return Err(Refusal::validation(detail));
    }
    let mut ids = Vec::new();
    for mut pool in pool_trees {
        let name = named(&pool);
        if let Some(missing) = ["protocol", "lb_algorithm"].iter().find(|attribute| text(&pool, attribute).is_none()) {
            let name = name.unwrap_or_default();
            let detail = format!("Pool definition for '{name}' missing required attribute: {missing}");
            return Err(Refusal::validation(detail));
        }
        pool.insert("loadbalancer_id".to_owned(), json!(id));
        ids.push((name, pools::create(work, pool)?));
    }
    for (mut listener, reference) in listener_trees.into_iter().zip(references) {
        if let Some((_, pool)) = ids.iter().find(|(name, _)| reference.is_some() && *name == reference) {
            listener.insert("default_pool_id".to_owned(), json!(pool));
        }
        listener.insert("loadbalancer_id".to_owned(), json!(id));
        listeners::create(work, listener)?;
    }
    Ok(())
}

/// Changes a load balancer.
pub(super) fn update(work: &mut Work<'_>, id: &str, changes: Attributes) -> Result<(), Refusal> {
    let project = work.catalogue.find(Kind::LoadBalancer, id)?.project.clone();
    work.may_change(&project)?;
    check_port_options(&changes)?;
    at_rest(work, id, &[ACTIVE])?;
    work.change(Kind::LoadBalancer, id, changes)?;
    work.touch(id, None);
    Ok(())
}

/// # Errors
/// Its provisioning status is none of these.
fn at_rest(work: &Work<'_>, id: &str, statuses: &[&str]) -> Result<(), Refusal> {
    let status = work.catalogue.provisioning(Kind::LoadBalancer, id);
    if statuses.contains(&status) {
        return Ok(());
    }
    Err(Refusal::new(409, format!("Invalid state {status} of loadbalancer resource {id}")))
}

/// Removes a load balancer, with all that it has if so asked.
pub(super) fn delete(work: &mut Work<'_>, id: &str) -> Result<(), Refusal> {
    let project = work.catalogue.find(Kind::LoadBalancer, id)?.project.clone();
    work.may_change(&project)?;
    let ids = |kind| {
        let children = work.catalogue.children(Kind::LoadBalancer, id, kind);
        children.into_iter().map(|(id, _)| id.to_owned()).collect::<Vec<_>>()
    };
    let (listeners, pools) = (ids(Kind::Listener), ids(Kind::Pool));
    let has_children = !listeners.is_empty() || !pools.is_empty();
    if has_children && !work.request.parameters.says("cascade") {
        return Err(Refusal::validation(format!("Cannot delete Load Balancer {id} - it has children")));
    }
    at_rest(work, id, &[ACTIVE, ERROR])?;
    for listener in &listeners {
        work.catalogue.remove(Kind::Listener, listener);
    }
    for pool in &pools {
        pools::remove(work, pool);
    }
    work.catalogue.remove(Kind::LoadBalancer, id);
    work.touched.insert(id.to_owned());
    Ok(())
}

/// The tree of statuses.
pub(super) fn status(work: &Work<'_>, id: &str) -> Result<Reply, Refusal> {
    let object = work.catalogue.find(Kind::LoadBalancer, id)?;
    work.may_see(&object.project)?;
    Ok(Reply { status: 200, body: Some(work.viewer().tree(id, object)) })
}

/// What all listeners have been sent.
pub(super) fn stats(work: &Work<'_>, id: &str) -> Result<Reply, Refusal> {
    let object = work.catalogue.find(Kind::LoadBalancer, id)?;
    work.may_see(&object.project)?;
    let listeners = work.catalogue.children(Kind::LoadBalancer, id, Kind::Listener);
    let names = listeners.iter().filter_map(|(_, listener)| listener.name.as_ref());
    let mut sum = Traffic::default();
    let mut pools = BTreeSet::new();
    for traffic in names.map(|name| work.context.observed.traffic(name)) {
        sum.bytes_in = sum.bytes_in.saturating_add(traffic.bytes_in);
        // Of listeners that share a pool, each knows of all its flows.
        if pools.insert(traffic.pool) {
            sum.flows = sum.flows.saturating_add(traffic.flows);
        }
    }
    Ok(statistics(sum))
}

/// Statistics as Octavia shows them. Answers do not pass the balancer, and connections are not counted: these are 0.
pub(super) fn statistics(traffic: Traffic) -> Reply {
    let body = json!({ "stats": {
        "active_connections": traffic.flows,
        "bytes_in": traffic.bytes_in,
        "bytes_out": 0,
        "request_errors": 0,
        "total_connections": 0,
    } });
    Reply { status: 200, body: Some(body) }
}

/// Carries a load balancer out anew: everything that it has is compared with the data plane.
pub(super) fn failover(work: &mut Work<'_>, id: &str) -> Result<Reply, Refusal> {
    work.catalogue.find(Kind::LoadBalancer, id)?;
    work.must_be_admin()?;
    at_rest(work, id, &[ACTIVE, ERROR])?;
    work.touch(id, None);
    Ok(Reply { status: 202, body: None })
}
