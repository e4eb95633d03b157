//! Listeners.

use std::net::IpAddr;

use lb_common::limits;
use serde_json::{Value, json};

use super::catalogue::Object;
use super::load_balancers::{statistics, text};
use super::refusal::Refusal;
use super::schema::Kind;
use super::value::Attributes;
use super::work::{Reply, Work};
use super::{members, pools};
use crate::model::Protocol;

/// The tag that makes a TCP listener the DR-mode listener: some clients cannot send port 0.
pub const DR_MODE: &str = "dr-mode";
/// An attribute that is not shown: the protocol of the model, where Octavia has no word for it.
pub(super) const OWN_PROTOCOL: &str = "drlb_protocol";

/// What a listener takes of its VIP's traffic.
pub(super) fn takes(listener: &Object) -> (Protocol, u16) {
    let port = u16::try_from(listener.number("protocol_port")).unwrap_or(0);
    match listener.text("protocol") {
        _ if listener.text(OWN_PROTOCOL) == Protocol::Tcp.name() => (Protocol::Tcp, port),
        "UDP" => (Protocol::Udp, port),
        "SCTP" => (Protocol::Sctp, port),
        "TCP" if port == 0 || listener.has_tag(DR_MODE) => (Protocol::Ip, 0),
        _ => (Protocol::Tcp, port),
    }
}

/// Makes a listener and returns its id.
pub(super) fn create(work: &mut Work<'_>, mut attributes: Attributes) -> Result<String, Refusal> {
    let owner = text(&attributes, "loadbalancer_id").unwrap_or_default().to_owned();
    let project = work.catalogue.find(Kind::LoadBalancer, &owner)?.project.clone();
    work.may_change(&project)?;
    check_protocol(&attributes)?;
    work.quota(Kind::Listener, &project, 1)?;
    work.must_be_at_rest(&owner)?;
    check_options(work, &owner, text(&attributes, "protocol").unwrap_or_default(), &attributes)?;
    if let Some(Value::Object(mut pool)) = attributes.remove("default_pool") {
        pool.insert("loadbalancer_id".to_owned(), json!(owner));
        work.touched.insert(owner.clone());
        attributes.insert("default_pool_id".to_owned(), json!(pools::create(work, pool)?));
    }
    let id = (work.context.new_id)();
    let name = work.name_for(Kind::Listener, text(&attributes, "name").unwrap_or_default(), &id)?;
    let pool = text(&attributes, "default_pool_id").map(str::to_owned);
    work.add(Kind::Listener, &id, &project, Some(name), attributes);
    check_place(work, &owner, &id)?;
    if let Some(pool) = &pool {
        check_pool(work, &owner, &id, pool)?;
    }
    work.touch(&owner, pool.as_deref());
    Ok(id)
}

fn check_protocol(attributes: &Attributes) -> Result<(), Refusal> {
    let protocol = text(attributes, "protocol").unwrap_or_default();
    let why = match protocol {
        "HTTP" => "protocol HTTP, as direct routing does not look into connections; use TCP",
        "TERMINATED_HTTPS" => "protocol TERMINATED_HTTPS, as in direct routing the members end TLS; use HTTPS or TCP",
        "PROMETHEUS" => "protocol PROMETHEUS, as the agent has its metrics elsewhere",
        _ => return Ok(()),
    };
    Err(Refusal::unsupported(why))
}

/// Checks what can be given at creation and changed later.
fn check_options(work: &Work<'_>, owner: &str, protocol: &str, attributes: &Attributes) -> Result<(), Refusal> {
    let list = |name: &str| attributes.get(name).and_then(Value::as_array).filter(|list| !list.is_empty());
    if attributes.get("insert_headers").and_then(Value::as_object).is_some_and(|headers| !headers.is_empty()) {
        return Err(Refusal::option("insert-headers", format!("a {protocol} protocol listener.")));
    }
    let certificates = ["default_tls_container_ref", "client_ca_tls_container_ref", "client_crl_container_ref"];
    if certificates.iter().any(|name| text(attributes, name).is_some()) || list("sni_container_refs").is_some() {
        return Err(Refusal::validation(format!(
            "Certificate container references are not allowed on {protocol} protocol listeners."
        )));
    }
    if let Some(mode) = text(attributes, "client_authentication").filter(|mode| *mode != "NONE") {
        return Err(Refusal::validation(format!(
            "Client authentication setting {mode} requires a client CA container reference."
        )));
    }
    let tls = text(attributes, "tls_ciphers").is_some() || list("tls_versions").is_some();
    if tls || list("alpn_protocols").is_some() || attributes.get("hsts_max_age").is_some_and(|age| !age.is_null()) {
        return Err(Refusal::unsupported("TLS settings, as in direct routing the members end TLS"));
    }
    if list("l7policies").is_some() {
        return Err(Refusal::unsupported("L7 policies, as direct routing does not look into connections"));
    }
    for (name, why) in [
        ("timeout_member_data", "as what members send does not pass the balancer"),
        ("timeout_tcp_inspect", "as direct routing does not look into connections"),
    ] {
        let default = Kind::Listener.fields().iter().find(|field| field.name == name);
        let default = default.map(|field| field.otherwise.value());
        if attributes.get(name).is_some_and(|given| Some(given) != default.as_ref()) {
            return Err(Refusal::unsupported(format!("{name}, {why}")));
        }
    }
    check_access(work, owner, attributes)
}

/// Checks the allowed ranges and the limit of connections.
fn check_access(work: &Work<'_>, owner: &str, attributes: &Attributes) -> Result<(), Refusal> {
    let most = i64::from(limits::MAX_ESTABLISHED_PINS);
    let limit = attributes.get("connection_limit").and_then(Value::as_i64).unwrap_or(-1);
    if limit == 0 || limit > most {
        return Err(Refusal::unsupported(format!("connection_limit {limit}; give 1 to {most}, or -1 for any number")));
    }
    let Some(ranges) = attributes.get("allowed_cidrs").and_then(Value::as_array) else { return Ok(()) };
    let vip = work.catalogue.find(Kind::LoadBalancer, owner)?.text("vip_address").to_owned();
    let is_v6 = vip.parse::<IpAddr>().is_ok_and(|vip| vip.is_ipv6());
    if let Some(range) = ranges.iter().filter_map(Value::as_str).find(|range| range.contains(':') != is_v6) {
        let detail = format!("CIDR {range} IP version incompatible with all VIPs ['{vip}'] IP version.");
        return Err(Refusal::validation(detail));
    }
    let most = limits::MAX_ALLOWED;
    if ranges.len() > most {
        return Err(Refusal::unsupported(format!("more than {most} allowed_cidrs")));
    }
    Ok(())
}

/// # Errors
/// Another listener of the load balancer takes the same.
fn check_place(work: &Work<'_>, owner: &str, id: &str) -> Result<(), Refusal> {
    let listener = work.catalogue.find(Kind::Listener, id)?;
    if listener.has_tag(DR_MODE) && listener.text("protocol") != "TCP" {
        let protocol = listener.text("protocol");
        return Err(Refusal::validation(format!("The tag {DR_MODE} needs protocol TCP, and not {protocol}.")));
    }
    let wanted = takes(listener);
    let others = work.catalogue.children(Kind::LoadBalancer, owner, Kind::Listener);
    match others.into_iter().find(|(other, object)| *other != id && takes(object) == wanted) {
        None => Ok(()),
        Some((_, other)) => {
            let (protocol, port) = (other.text("protocol"), wanted.1);
            Err(Refusal::new(
                409,
                format!(
                    "Another Listener on this Load Balancer is already using protocol {protocol} and protocol_port {port}"
                ),
            ))
        }
    }
}

/// # Errors
/// A pool cannot be the one of a listener.
fn check_pool(work: &Work<'_>, owner: &str, id: &str, pool_id: &str) -> Result<(), Refusal> {
    let pool = work.catalogue.get(Kind::Pool, pool_id).filter(|pool| pool.text("loadbalancer_id") == owner);
    let pool = pool.ok_or_else(|| Refusal::not_found(Kind::Pool.title(), pool_id))?;
    let listener = work.catalogue.find(Kind::Listener, id)?;
    fits(listener.text("protocol"), pool.text("protocol"))?;
    let (_, port) = takes(listener);
    for (_, member) in work.catalogue.children(Kind::Pool, pool_id, Kind::Member) {
        members::check_port(port, member.number("protocol_port"))?;
    }
    members::must_have_ports(work, owner, pool_id)
}

/// # Errors
/// A listener of the one protocol cannot have a pool of the other.
pub(super) fn fits(listener: &str, pool: &str) -> Result<(), Refusal> {
    let pools: &[&str] = match listener {
        "TCP" => &["HTTP", "HTTPS", "PROXY", "PROXYV2", "TCP"],
        "HTTPS" => &["HTTPS", "PROXY", "PROXYV2", "TCP"],
        "UDP" => &["UDP"],
        "SCTP" => &["SCTP"],
        _ => &[],
    };
    if pools.contains(&pool) {
        return Ok(());
    }
    Err(Refusal::validation(format!(
        "The pool protocol '{pool}' is invalid while the listener protocol is '{listener}'."
    )))
}

/// Changes a listener.
pub(super) fn update(work: &mut Work<'_>, id: &str, changes: Attributes) -> Result<(), Refusal> {
    let before = work.catalogue.find(Kind::Listener, id)?.clone();
    work.may_change(&before.project)?;
    let owner = before.text("loadbalancer_id").to_owned();
    work.must_be_at_rest(&owner)?;
    check_options(work, &owner, before.text("protocol"), &changes)?;
    work.change(Kind::Listener, id, changes)?;
    check_place(work, &owner, id)?;
    let pool = work.catalogue.find(Kind::Listener, id)?.some_text("default_pool_id").map(str::to_owned);
    if let Some(pool) = &pool {
        check_pool(work, &owner, id, pool)?;
    }
    work.touch(&owner, None);
    Ok(())
}

/// Removes a listener. Its pool stays.
pub(super) fn delete(work: &mut Work<'_>, id: &str) -> Result<(), Refusal> {
    let listener = work.catalogue.find(Kind::Listener, id)?;
    work.may_change(&listener.project)?;
    let owner = listener.text("loadbalancer_id").to_owned();
    work.must_be_at_rest(&owner)?;
    work.catalogue.remove(Kind::Listener, id);
    work.touch(&owner, None);
    Ok(())
}

/// What a listener has been sent.
pub(super) fn stats(work: &Work<'_>, id: &str) -> Result<Reply, Refusal> {
    let listener = work.catalogue.find(Kind::Listener, id)?;
    work.may_see(&listener.project)?;
    Ok(statistics(listener.name.as_ref().map(|name| work.context.observed.traffic(name)).unwrap_or_default()))
}
