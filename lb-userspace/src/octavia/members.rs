//! Members: the backends of a pool.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::catalogue::Object;
use super::listeners::takes;
use super::load_balancers::text;
use super::networks;
use super::project::{serves_every_port, target_of};
use super::query::page;
use super::refusal::Refusal;
use super::schema::Kind;
use super::value::{Attributes, created, item, one_project, updated};
use super::work::{Method, Reply, Work, not_that_method};
use crate::model::BackendAddr;

/// The address at which clouds tell their servers about themselves; no server may be reached by it.
const METADATA: &str = "169.254.169.254";

/// The pool of a path. One that is not there has the answer of a path that is not.
fn pool_of_path(work: &Work<'_>, pool: &str) -> Result<(String, String), Refusal> {
    let found = work.catalogue.get(Kind::Pool, pool);
    let found = found.ok_or_else(|| Refusal::early(404, format!("Pool {pool} not found.")))?;
    Ok((found.project.clone(), found.text("loadbalancer_id").to_owned()))
}

/// Lists the members of a pool.
pub(super) fn list(work: &Work<'_>, pool: &str) -> Result<Reply, Refusal> {
    let (project, _) = pool_of_path(work, pool)?;
    work.may_see(&project)?;
    let viewer = work.viewer();
    let members = work.catalogue.children(Kind::Pool, pool, Kind::Member);
    let views = members.into_iter().map(|(id, member)| viewer.view(Kind::Member, id, member)).collect();
    let body = page(Kind::Member, views, &work.request.parameters, &work.request.here)?;
    Ok(Reply { status: 200, body: Some(body) })
}

/// Makes a member.
pub(super) fn create(work: &mut Work<'_>, pool: &str) -> Result<Reply, Refusal> {
    let (project, owner) = pool_of_path(work, pool)?;
    let attributes = created(Kind::Member, work.request.body.as_ref())?;
    work.may_change(&project)?;
    work.quota(Kind::Member, &project, 1)?;
    work.must_be_at_rest(&owner)?;
    let id = add(work, pool, attributes)?;
    work.touch(&owner, Some(pool));
    work.shown(Kind::Member, &id, 201)
}

/// Adds a member to a pool and returns its id.
pub(super) fn add(work: &mut Work<'_>, pool_id: &str, mut attributes: Attributes) -> Result<String, Refusal> {
    let pool = work.catalogue.find(Kind::Pool, pool_id)?;
    let (project, owner) = (pool.project.clone(), pool.text("loadbalancer_id").to_owned());
    let address = text(&attributes, "address").unwrap_or_default().to_owned();
    let port = attributes.get("protocol_port").and_then(Value::as_i64).unwrap_or(0);
    if address == METADATA {
        return Err(Refusal::option(METADATA, "member address"));
    }
    if let Some(subnet) = text(&attributes, "subnet_id") {
        networks::must_have_subnet(work.context.settings, subnet)?;
    }
    if attributes.get("request_sriov").and_then(Value::as_bool).unwrap_or(false) {
        return Err(Refusal::new(400, "The load balancer flavor does not allow SR-IOV member ports."));
    }
    check_options(&attributes)?;
    check_address(work, &owner, &address)?;
    for listener in work.served_by(&owner, pool_id) {
        let (_, listened) = takes(work.catalogue.find(Kind::Listener, &listener)?);
        check_port(listened, port)?;
    }
    for (_, other) in work.catalogue.children(Kind::Pool, pool_id, Kind::Member) {
        if other.text("address") != address {
            continue;
        }
        if other.number("protocol_port") == port {
            return Err(Refusal::new(
                409,
                format!("Another member on this pool is already using ip {address} on protocol_port {port}"),
            ));
        }
        let why = "as direct routing sends packets to a server at the port that the client chose";
        return Err(Refusal::unsupported(format!("two members with the address {address}, {why}")));
    }
    attributes.insert("pool_id".to_owned(), json!(pool_id));
    let id = (work.context.new_id)();
    work.add(Kind::Member, &id, &project, None, attributes);
    must_have_ports(work, &owner, pool_id)?;
    Ok(id)
}

/// # Errors
/// A pool has a monitor that tries a port, and a member has none: below a listener of every port, it is the member's own.
pub(super) fn must_have_ports(work: &Work<'_>, owner: &str, pool: &str) -> Result<(), Refusal> {
    let monitors = work.catalogue.children(Kind::Pool, pool, Kind::Monitor);
    let Some((_, monitor)) = monitors.first().filter(|(_, monitor)| monitor.text("type") != "PING") else {
        return Ok(());
    };
    if !serves_every_port(work.catalogue, owner, pool) {
        return Ok(());
    }
    let members = work.catalogue.children(Kind::Pool, pool, Kind::Member);
    let portless = members.iter().find(|(_, member)| target_of(member, true).is_ok_and(|target| target.port.is_none()));
    match portless {
        None => Ok(()),
        Some((_, member)) => Err(Refusal::validation(format!(
            "A {} health monitor has no port to try at the member {}, as the listener takes every port: give the member a \
             protocol_port or a monitor_port, or take a monitor of type PING.",
            monitor.text("type"),
            member.text("address")
        ))),
    }
}

/// # Errors
/// A member's port is not the listener's: in direct routing, packets keep theirs.
pub(super) fn check_port(listener: u16, member: i64) -> Result<(), Refusal> {
    if listener == 0 || member == i64::from(listener) {
        return Ok(());
    }
    Err(Refusal::validation(format!(
        "The member protocol_port {member} must equal the listener protocol_port {listener}: in direct routing packets keep \
         their port."
    )))
}

fn check_address(work: &Work<'_>, owner: &str, address: &str) -> Result<(), Refusal> {
    let vip = work.catalogue.find(Kind::LoadBalancer, owner)?.text("vip_address");
    let usable = address.parse::<BackendAddr>().map_err(|fault| Refusal::validation(fault.message))?;
    let vip: Option<IpAddr> = vip.parse().ok();
    if let Some(vip) = vip {
        if vip.is_ipv6() != usable.ip().is_ipv6() {
            return Err(Refusal::validation(format!(
                "The member address {address} must be of the IP version of the VIP {vip}: direct routing does not translate."
            )));
        }
        if vip == usable.ip() && work.context.settings.data_plane {
            return Err(Refusal::validation(format!(
                "The member address {address} is the VIP; give the server's own address."
            )));
        }
    }
    Ok(())
}

/// What can be given at creation and changed later.
fn check_options(attributes: &Attributes) -> Result<(), Refusal> {
    match text(attributes, "monitor_address").map(str::parse::<BackendAddr>) {
        Some(Err(fault)) => Err(Refusal::validation(fault.message)),
        _ => Ok(()),
    }
}

/// Shows, changes or removes a member.
pub(super) fn one(work: &mut Work<'_>, method: Method, pool: &str, id: &str) -> Result<Reply, Refusal> {
    let (_, owner) = pool_of_path(work, pool)?;
    let member = work.catalogue.get(Kind::Member, id).filter(|member| member.text("pool_id") == pool);
    let member = member.ok_or_else(|| Refusal::not_found(Kind::Member.title(), id))?;
    let project = member.project.clone();
    match method {
        Method::Get => {
            work.may_see(&project)?;
            work.shown(Kind::Member, id, 200)
        }
        Method::Put => {
            let changes = updated(Kind::Member, work.request.body.as_ref())?;
            work.may_change(&project)?;
            check_options(&changes)?;
            work.must_be_at_rest(&owner)?;
            work.change(Kind::Member, id, changes)?;
            must_have_ports(work, &owner, pool)?;
            work.touch(&owner, Some(pool));
            work.shown(Kind::Member, id, 200)
        }
        Method::Delete => {
            work.may_change(&project)?;
            work.must_be_at_rest(&owner)?;
            work.catalogue.remove(Kind::Member, id);
            work.touch(&owner, Some(pool));
            Ok(Reply { status: 204, body: None })
        }
        Method::Post => Err(not_that_method()),
    }
}

/// Makes the members of a pool those of a list; with `additive_only`, none is removed.
pub(super) fn replace(work: &mut Work<'_>, pool: &str) -> Result<Reply, Refusal> {
    let (project, owner) = pool_of_path(work, pool)?;
    let body = work.request.body.as_ref().and_then(|body| body.get("members")).and_then(Value::as_array);
    let body = body.ok_or_else(|| Refusal::new(400, "Request must be a JSON dict with the key \"members\""))?;
    work.may_change(&project)?;
    work.must_be_at_rest(&owner)?;
    let additive = work.request.parameters.says("additive_only");
    let mut wanted = Vec::new();
    for given in body {
        let mut attributes = item("members_.members", Kind::Member.fields(), given)?;
        one_project(&mut attributes);
        wanted.push((given, attributes));
    }
    let place = |member: &Attributes| {
        let port = member.get("protocol_port").and_then(Value::as_i64).unwrap_or(0);
        (text(member, "address").unwrap_or_default().to_owned(), port)
    };
    let held_place = |member: &Object| (member.text("address").to_owned(), member.number("protocol_port"));
    let held: Vec<(String, (String, i64))> = {
        let members = work.catalogue.children(Kind::Pool, pool, Kind::Member);
        members.into_iter().map(|(id, member)| (id.to_owned(), held_place(member))).collect()
    };
    let places: Vec<_> = wanted.iter().map(|(_, member)| place(member)).collect();
    if places.iter().collect::<BTreeSet<_>>().len() < places.len() {
        return Err(Refusal::validation("Member must be updated only once in the same request."));
    }
    // What goes makes room before others come.
    let gone = held.iter().filter(|(_, place)| !additive && !places.contains(place));
    let gone: Vec<&String> = gone.map(|(id, _)| id).collect();
    for id in &gone {
        work.catalogue.remove(Kind::Member, id);
    }
    let new = places.iter().filter(|place| held.iter().all(|(_, other)| other != *place)).count();
    work.quota(Kind::Member, &project, new)?;
    for ((given, attributes), place) in wanted.into_iter().zip(places) {
        match held.iter().find(|(_, other)| *other == place) {
            None => {
                add(work, pool, attributes)?;
            }
            Some((id, _)) => {
                check_options(&attributes)?;
                let named = |name: &String| given.get(name).is_some();
                let changeable = |name: &String| {
                    Kind::Member.fields().iter().any(|field| field.name == name && field.changes && field.kept)
                };
                let changes = attributes.into_iter().filter(|(name, _)| named(name) && changeable(name)).collect();
                work.change(Kind::Member, id, changes)?;
            }
        }
    }
    work.touch(&owner, Some(pool));
    Ok(Reply { status: 202, body: None })
}
