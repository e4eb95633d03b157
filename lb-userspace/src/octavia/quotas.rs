//! Quotas: how many objects a project may have. Without one, as many as it likes.

use serde_json::{Value, json};

use super::catalogue::{Catalogue, Object};
use super::kept::Kept;
use super::query::{View, page};
use super::refusal::Refusal;
use super::schema::Kind;
use super::value::updated;
use super::work::{Method, Reply, Work, not_that_method};

/// What is counted: the name and the older name of its limit.
const COUNTED: &[(&str, &str)] = &[
    ("loadbalancer", "load_balancer"),
    ("listener", "listener"),
    ("pool", "pool"),
    ("healthmonitor", "health_monitor"),
    ("member", "member"),
    ("l7policy", "l7policy"),
    ("l7rule", "l7rule"),
];

/// No limit.
const UNLIMITED: i64 = -1;

/// How many objects of a kind a project may have; -1 for as many as it likes.
pub(super) fn limit(catalogue: &Catalogue, project: &str, kind: Kind) -> i64 {
    let quota = catalogue.get(Kind::Quota, project);
    quota.and_then(|quota| quota.attributes.get(kind.singular())).and_then(Value::as_i64).unwrap_or(UNLIMITED)
}

/// A project's quota as it is shown.
pub(super) fn view(project: &str, quota: &Object) -> View {
    let mut view = limits(&quota.attributes);
    view.insert("project_id".to_owned(), json!(project));
    view.insert("tenant_id".to_owned(), json!(project));
    view
}

fn limits(attributes: &Kept) -> View {
    let mut view = View::new();
    for (name, older) in COUNTED {
        let limit = attributes.get(name).and_then(Value::as_i64).unwrap_or(UNLIMITED);
        view.insert((*name).to_owned(), json!(limit));
        view.insert((*older).to_owned(), json!(limit));
    }
    view
}

/// Answers what is asked of quotas.
pub(super) fn answer(work: &mut Work<'_>, method: Method, path: &[&str]) -> Result<Reply, Refusal> {
    match (method, path) {
        (Method::Get, []) => list(work),
        (Method::Get, ["defaults"]) => Ok(shown(limits(&Kept::default()), 200)),
        (Method::Get, [project]) => {
            work.may_see(project)?;
            Ok(shown(of_project(work, project), 200))
        }
        (Method::Get, [project, "default"]) => {
            work.may_see(project)?;
            Ok(shown(view(project, &empty(work)), 200))
        }
        (Method::Put, [project]) => set(work, project),
        (Method::Delete, [project]) => {
            work.must_be_admin()?;
            work.catalogue.remove(Kind::Quota, project);
            Ok(shown(of_project(work, project), 202))
        }
        (_, [] | [_] | [_, "default"]) => Err(not_that_method()),
        _ => Err(Refusal::early(404, "The resource could not be found.")),
    }
}

fn shown(view: View, status: u16) -> Reply {
    Reply { status, body: Some(json!({ "quota": view })) }
}

fn empty(work: &Work<'_>) -> Object {
    Object {
        project: String::new(),
        created: work.context.now,
        updated: None,
        name: None,
        follows: false,
        attributes: Kept::default(),
    }
}

fn of_project(work: &Work<'_>, project: &str) -> View {
    match work.catalogue.get(Kind::Quota, project) {
        Some(quota) => view(project, quota),
        None => view(project, &empty(work)),
    }
}

fn list(work: &Work<'_>) -> Result<Reply, Refusal> {
    let views = work.catalogue.all(Kind::Quota).filter(|(project, _)| work.may_see(project).is_ok());
    let views = views.map(|(project, quota)| view(project, quota)).collect();
    let body = page(Kind::Quota, views, &work.request.parameters, &work.request.here)?;
    Ok(Reply { status: 200, body: Some(body) })
}

fn set(work: &mut Work<'_>, project: &str) -> Result<Reply, Refusal> {
    work.must_be_admin()?;
    let changes = updated(Kind::Quota, work.request.body.as_ref())?;
    if project.len() > 64 || project.chars().any(char::is_control) {
        return Err(Refusal::validation("A project's id has at most 64 characters."));
    }
    let mut quota = work.catalogue.get(Kind::Quota, project).cloned().unwrap_or_else(|| empty(work));
    for (name, older) in COUNTED {
        if let Some(limit) = changes.get(*name).or_else(|| changes.get(*older)) {
            quota.attributes.put(name, limit.clone());
        }
    }
    work.catalogue.put(Kind::Quota, project, quota);
    Ok(shown(of_project(work, project), 202))
}
