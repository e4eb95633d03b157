//! Health monitors.

use serde_json::{Value, json};

use super::load_balancers::text;
use super::refusal::Refusal;
use super::schema::Kind;
use super::value::Attributes;
use super::work::Work;

/// Makes a pool's monitor and returns its id.
pub(super) fn create(work: &mut Work<'_>, mut attributes: Attributes) -> Result<String, Refusal> {
    let pool_id = text(&attributes, "pool_id").unwrap_or_default().to_owned();
    let pool = work.catalogue.find(Kind::Pool, &pool_id)?;
    let (project, owner) = (pool.project.clone(), pool.text("loadbalancer_id").to_owned());
    let protocol = pool.text("protocol").to_owned();
    work.may_change(&project)?;
    let kind = text(&attributes, "type").unwrap_or_default().to_owned();
    check_type(&protocol, &kind, &attributes)?;
    work.quota(Kind::Monitor, &project, 1)?;
    work.must_be_at_rest(&owner)?;
    if !is_http(&kind) {
        for name in ["http_method", "url_path", "expected_codes"] {
            if text(&attributes, name).is_some() {
                return Err(Refusal::option(name, format!("health monitors of type {kind}")));
            }
        }
    } else {
        for (name, default) in HTTP_DEFAULTS {
            if text(&attributes, name).is_none() {
                attributes.insert((*name).to_owned(), json!(default));
            }
        }
    }
    check_domain(&attributes)?;
    super::project::must_check(&kind, &attributes)?;
    if !work.catalogue.children(Kind::Pool, &pool_id, Kind::Monitor).is_empty() {
        return Err(Refusal::new(409, "This pool already has a health monitor"));
    }
    let id = (work.context.new_id)();
    work.add(Kind::Monitor, &id, &project, None, attributes);
    super::members::must_have_ports(work, &owner, &pool_id)?;
    work.touch(&owner, Some(&pool_id));
    Ok(id)
}

/// What an HTTP or HTTPS monitor does unless set.
const HTTP_DEFAULTS: &[(&str, &str)] = &[("http_method", "GET"), ("url_path", "/"), ("expected_codes", "200")];

fn is_http(kind: &str) -> bool {
    matches!(kind, "HTTP" | "HTTPS")
}

fn check_type(protocol: &str, kind: &str, attributes: &Attributes) -> Result<(), Refusal> {
    if !matches!(protocol, "UDP" | "SCTP") {
        if matches!(kind, "UDP-CONNECT" | "SCTP") {
            let detail = format!("The {kind} type is only supported for pools of type UDP/SCTP.");
            return Err(Refusal::validation(detail));
        }
        return Ok(());
    }
    if !matches!(kind, "UDP-CONNECT" | "SCTP" | "TCP" | "HTTP") {
        return Err(Refusal::validation(format!(
            "The associated pool protocol is {protocol}, so only a UDP-CONNECT/SCTP/TCP/HTTP health monitor is supported."
        )));
    }
    match attributes.get("delay").and_then(Value::as_i64) {
        Some(delay) if kind == "UDP-CONNECT" && delay < 3 => Err(Refusal::validation(format!(
            "The request delay value {delay} should be larger than 3 for UDP-CONNECT health monitor type."
        ))),
        _ => Ok(()),
    }
}

fn check_domain(attributes: &Attributes) -> Result<(), Refusal> {
    let version = attributes.get("http_version").and_then(Value::as_f64);
    match (text(attributes, "domain_name"), version) {
        (Some(_), None) => Err(Refusal::validation("'http_version' must be specified when 'domain_name' is provided.")),
        (Some(_), Some(version)) if version < 1.1 => {
            let value = format!("http_version {version:.1}");
            Err(Refusal::option(value, "health monitors HTTP 1.1 domain name health check"))
        }
        _ => Ok(()),
    }
}

/// Changes a monitor.
pub(super) fn update(work: &mut Work<'_>, id: &str, mut changes: Attributes) -> Result<(), Refusal> {
    let monitor = work.catalogue.find(Kind::Monitor, id)?.clone();
    work.may_change(&monitor.project)?;
    let kind = monitor.text("type").to_owned();
    if is_http(&kind) {
        for (name, default) in HTTP_DEFAULTS {
            if changes.get(*name).is_some_and(Value::is_null) {
                changes.insert((*name).to_owned(), json!(default));
            }
        }
    } else if let Some(name) =
        ["http_method", "url_path", "expected_codes"].iter().find(|name| changes.contains_key(**name))
    {
        return Err(Refusal::option(name, format!("health monitors of type {kind}")));
    }
    let pool_id = monitor.text("pool_id").to_owned();
    let pool = work.catalogue.find(Kind::Pool, &pool_id)?;
    check_type(pool.text("protocol"), &kind, &changes)?;
    let owner = pool.text("loadbalancer_id").to_owned();
    let mut after = monitor.attributes.to_attributes();
    after.extend(changes.clone());
    check_domain(&after)?;
    super::project::must_check(&kind, &after)?;
    work.must_be_at_rest(&owner)?;
    work.change(Kind::Monitor, id, changes)?;
    work.touch(&owner, Some(&pool_id));
    Ok(())
}

/// Removes a monitor.
pub(super) fn delete(work: &mut Work<'_>, id: &str) -> Result<(), Refusal> {
    let monitor = work.catalogue.find(Kind::Monitor, id)?;
    work.may_change(&monitor.project)?;
    let pool = monitor.text("pool_id").to_owned();
    let owner = work.catalogue.find(Kind::Pool, &pool)?.text("loadbalancer_id").to_owned();
    work.must_be_at_rest(&owner)?;
    work.catalogue.remove(Kind::Monitor, id);
    work.touch(&owner, Some(&pool));
    Ok(())
}
