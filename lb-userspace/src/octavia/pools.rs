//! Pools.

use serde_json::{Value, json};

use super::load_balancers::{items, text};
use super::refusal::Refusal;
use super::schema::Kind;
use super::value::Attributes;
use super::work::Work;
use super::{listeners, members, monitors};

/// Makes a pool, with all that the body has of it, and returns its id.
pub(super) fn create(work: &mut Work<'_>, mut attributes: Attributes) -> Result<String, Refusal> {
    let listener = text(&attributes, "listener_id").map(str::to_owned);
    let owner = match (text(&attributes, "loadbalancer_id"), &listener) {
        (Some(owner), _) => owner.to_owned(),
        (None, Some(listener)) => work.catalogue.find(Kind::Listener, listener)?.text("loadbalancer_id").to_owned(),
        (None, None) => {
            return Err(Refusal::validation("Must provide at least one of: loadbalancer_id, listener_id"));
        }
    };
    let project = work.catalogue.find(Kind::LoadBalancer, &owner)?.project.clone();
    work.may_change(&project)?;
    attributes.insert("loadbalancer_id".to_owned(), json!(owner));
    if let Some(listener) = &listener {
        let found = work.catalogue.find(Kind::Listener, listener)?;
        if found.text("loadbalancer_id") != owner {
            return Err(Refusal::not_found(Kind::Listener.title(), listener));
        }
        listeners::fits(found.text("protocol"), text(&attributes, "protocol").unwrap_or_default())?;
    }
    check_options(text(&attributes, "protocol").unwrap_or_default(), &attributes)?;
    work.quota(Kind::Pool, &project, 1)?;
    if let Some(listener) = &listener
        && work.catalogue.find(Kind::Listener, listener)?.some_text("default_pool_id").is_some()
    {
        return Err(Refusal::new(409, "This listener already has a default pool"));
    }
    work.must_be_at_rest(&owner)?;
    let trees = items(&mut attributes, "members");
    let monitor = attributes.remove("healthmonitor");
    let id = (work.context.new_id)();
    let name = work.name_for(Kind::Pool, text(&attributes, "name").unwrap_or_default(), &id)?;
    work.add(Kind::Pool, &id, &project, Some(name), attributes);
    if let Some(listener) = &listener {
        let served = Attributes::from_iter([("default_pool_id".to_owned(), json!(id))]);
        work.change(Kind::Listener, listener, served)?;
    }
    work.touch(&owner, Some(&id));
    if let Some(Value::Object(mut monitor)) = monitor {
        monitor.insert("pool_id".to_owned(), json!(id));
        monitors::create(work, monitor)?;
    }
    work.quota(Kind::Member, &project, trees.len())?;
    for member in trees {
        members::add(work, &id, member)?;
    }
    Ok(id)
}

/// Checks what direct routing cannot do, and what does not go together.
fn check_options(protocol: &str, attributes: &Attributes) -> Result<(), Refusal> {
    if matches!(protocol, "PROXY" | "PROXYV2") {
        let why = "as direct routing hands packets on unchanged, and so adds no PROXY header";
        return Err(Refusal::unsupported(format!("protocol {protocol}, {why}")));
    }
    let list = |name: &str| attributes.get(name).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    let texts = ["tls_container_ref", "ca_tls_container_ref", "crl_container_ref", "tls_ciphers"];
    let enabled = attributes.get("tls_enabled").and_then(Value::as_bool).unwrap_or(false);
    if enabled
        || texts.iter().any(|name| text(attributes, name).is_some())
        || list("tls_versions")
        || list("alpn_protocols")
    {
        return Err(Refusal::unsupported("TLS to members, as direct routing hands packets on unchanged"));
    }
    let Some(persistence) = attributes.get("session_persistence").and_then(Value::as_object) else { return Ok(()) };
    let kind = text(persistence, "type").unwrap_or_default();
    let timing = |name: &str| persistence.get(name).is_some_and(|value| !value.is_null() && *value != json!(0));
    if matches!(protocol, "UDP" | "SCTP") {
        if text(persistence, "cookie_name").is_some() {
            return Err(Refusal::validation("Cookie names are not supported for UDP/SCTP pools."));
        }
        if kind != "SOURCE_IP" {
            let detail = format!("Session persistence of type {kind} is not supported for UDP/SCTP protocol pools.");
            return Err(Refusal::validation(detail));
        }
    } else if timing("persistence_timeout") || timing("persistence_granularity") {
        return Err(Refusal::validation(
            "persistence_timeout and persistence_granularity is only for UDP and SCTP protocol pools.",
        ));
    }
    let cookie = text(persistence, "cookie_name");
    if cookie.is_some() && kind != "APP_COOKIE" {
        return Err(Refusal::validation(
            "Field \"cookie_name\" can only be specified with session persistence of type \"APP_COOKIE\".",
        ));
    }
    if kind == "APP_COOKIE" && cookie.is_none() {
        return Err(Refusal::validation(
            "Field \"cookie_name\" must be specified when using the \"APP_COOKIE\" session persistence type.",
        ));
    }
    if kind != "SOURCE_IP" {
        let why = "as direct routing does not look into connections; use SOURCE_IP";
        return Err(Refusal::unsupported(format!("session persistence {kind}, {why}")));
    }
    super::project::persistence_of(persistence).map(|_persistence| ())
}

/// Changes a pool.
pub(super) fn update(work: &mut Work<'_>, id: &str, changes: Attributes) -> Result<(), Refusal> {
    let pool = work.catalogue.find(Kind::Pool, id)?.clone();
    work.may_change(&pool.project)?;
    check_options(pool.text("protocol"), &changes)?;
    let owner = pool.text("loadbalancer_id").to_owned();
    work.must_be_at_rest(&owner)?;
    work.change(Kind::Pool, id, changes)?;
    work.touch(&owner, Some(id));
    Ok(())
}

/// Removes a pool, its members and its monitor. Listeners that it served have none then.
pub(super) fn delete(work: &mut Work<'_>, id: &str) -> Result<(), Refusal> {
    let pool = work.catalogue.find(Kind::Pool, id)?;
    work.may_change(&pool.project)?;
    let owner = pool.text("loadbalancer_id").to_owned();
    work.must_be_at_rest(&owner)?;
    for listener in work.served_by(&owner, id) {
        let unserved = Attributes::from_iter([("default_pool_id".to_owned(), Value::Null)]);
        work.change(Kind::Listener, &listener, unserved)?;
    }
    remove(work, id);
    work.touch(&owner, None);
    Ok(())
}

/// Removes a pool, its members and its monitor.
pub(super) fn remove(work: &mut Work<'_>, id: &str) {
    for kind in [Kind::Member, Kind::Monitor] {
        let children = work.catalogue.children(Kind::Pool, id, kind);
        let ids: Vec<String> = children.into_iter().map(|(id, _)| id.to_owned()).collect();
        for id in ids {
            work.catalogue.remove(kind, &id);
        }
    }
    work.catalogue.remove(Kind::Pool, id);
}
