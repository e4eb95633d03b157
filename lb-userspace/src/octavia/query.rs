//! Lists: filters, order, pages and the choice of attributes.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};

use super::refusal::{Refusal, shown};
use super::schema::Kind;
use super::value::flag;

/// The parameters of a request, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters(pub Vec<(String, String)>);

/// Parameters that are no filters.
const AUXILIARY: &[&str] = &["limit", "marker", "sort", "sort_key", "sort_dir", "fields", "page_reverse"];
/// The most objects of a page.
const PAGE: usize = 1_000;

impl Parameters {
    /// The last value of a parameter.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// True if a parameter says so, in one of the words for it.
    #[must_use]
    pub fn says(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| flag(&json!(value)).unwrap_or(false))
    }

    /// The attributes that are asked for; all if none are named.
    fn fields(&self) -> Vec<&str> {
        self.all("fields").flat_map(|value| value.split(',')).filter(|field| !field.is_empty()).collect()
    }
}

/// An object as it is shown.
pub type View = Map<String, Value>;

/// Leaves only the attributes that are asked for.
#[must_use]
pub fn chosen(view: View, parameters: &Parameters) -> View {
    let fields = parameters.fields();
    if fields.is_empty() {
        return view;
    }
    view.into_iter().filter(|(name, _)| fields.contains(&name.as_str())).collect()
}

/// Makes a page of views: the body of a list. `here` is the list's own address, for the links.
///
/// # Errors
/// A parameter is wrong.
pub fn page(kind: Kind, views: Vec<View>, parameters: &Parameters, here: &str) -> Result<Value, Refusal> {
    let order = order(kind, parameters)?;
    let mut views = filtered(kind, views, parameters)?;
    views.sort_by(|one, other| compare(one, other, &order));
    let limit = limit(parameters)?;
    let reverse = parameters.says("page_reverse");
    let id = id_of(kind);
    let marker = parameters.get("marker");
    if let Some(marker) = marker {
        let at = views.iter().position(|view| view.get(id).is_some_and(|id| id == marker));
        let at =
            at.ok_or_else(|| Refusal::early(400, format!("Supplied pagination marker '{marker}' is not valid.")))?;
        views = if reverse {
            let from = at.saturating_sub(limit);
            views.drain(from..at).collect()
        } else {
            views.drain(at + 1..).collect()
        };
    }
    let full = views.len() >= limit;
    views.truncate(limit);
    let links = links(kind, &views, parameters, limit, here, full);
    let views: Vec<Value> = views.into_iter().map(|view| Value::Object(chosen(view, parameters))).collect();
    Ok(json!({ kind.plural(): views, kind.links(): links }))
}

const fn id_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Zone => "name",
        Kind::Quota => "project_id",
        _ => "id",
    }
}

fn limit(parameters: &Parameters) -> Result<usize, Refusal> {
    let Some(limit) = parameters.get("limit") else { return Ok(PAGE) };
    if limit == "infinite" {
        return Ok(PAGE);
    }
    match limit.parse::<i64>() {
        Ok(limit) if limit < 1 => Ok(PAGE),
        Ok(limit) => Ok(usize::try_from(limit).unwrap_or(PAGE).min(PAGE)),
        Err(_) => Err(Refusal::early(400, format!("Supplied pagination limit '{limit}' is not valid."))),
    }
}

fn links(kind: Kind, views: &[View], parameters: &Parameters, limit: usize, here: &str, full: bool) -> Vec<Value> {
    let (Some(first), Some(last)) = (views.first(), views.last()) else { return vec![] };
    let id = |view: &View| view.get(id_of(kind)).map(shown).unwrap_or_default();
    let mut same = format!("limit={limit}");
    for name in ["sort", "sort_key", "sort_dir"] {
        if let Some(value) = parameters.get(name) {
            same += &format!("&{name}={}", escaped(value));
        }
    }
    // The next page is of the same objects, so it has the same filters.
    let filters = parameters.0.iter().filter(|(name, _)| !AUXILIARY.contains(&name.as_str()) || name == "fields");
    for (name, value) in filters {
        same += &format!("&{}={}", escaped(name), escaped(value));
    }
    let mut links = Vec::new();
    if parameters.get("marker").is_some() {
        let href = format!("{here}?{same}&marker={}&page_reverse=True", escaped(&id(first)));
        links.push(json!({ "rel": "previous", "href": href }));
    }
    if full {
        links.push(json!({ "rel": "next", "href": format!("{here}?{same}&marker={}", escaped(&id(last))) }));
    }
    links
}

/// A parameter's text as it stands in an address (RFC 3986, section 2.3).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' | b',' => {
                escaped.push(char::from(byte));
            }
            other => escaped += &format!("%{other:02X}"),
        }
    }
    escaped
}

/// An attribute to sort by, and whether downwards.
type Order<'a> = Vec<(&'a str, bool)>;

fn order(kind: Kind, parameters: &Parameters) -> Result<Order<'_>, Refusal> {
    let mut order = Order::new();
    if let Some(sort) = parameters.get("sort").filter(|sort| !sort.is_empty()) {
        for item in sort.split(',') {
            order.push(match item.split_once(':') {
                Some((key, direction)) => (key, is_down(direction)?),
                None => (item, false),
            });
        }
    } else if let Some(keys) = parameters.get("sort_key").filter(|keys| !keys.is_empty()) {
        let mut directions = parameters.get("sort_dir").unwrap_or_default().split(',');
        for key in keys.split(',') {
            let direction = directions.next().filter(|direction| !direction.is_empty());
            order.push((key, direction.map_or(Ok(false), is_down)?));
        }
    }
    if let Some((key, _)) = order.iter().find(|(key, _)| !is_shown(kind, key)) {
        return Err(Refusal::new(400, format!("Supplied sort key '{key}' is not valid.")));
    }
    for key in ["created_at", id_of(kind)] {
        if order.iter().all(|(known, _)| *known != key) {
            order.push((key, false));
        }
    }
    Ok(order)
}

fn is_down(direction: &str) -> Result<bool, Refusal> {
    match direction.to_ascii_lowercase().as_str() {
        "asc" => Ok(false),
        "desc" => Ok(true),
        other => Err(Refusal::early(400, format!("Supplied sort direction '{other}' is not valid."))),
    }
}

fn compare(one: &View, other: &View, order: &Order<'_>) -> Ordering {
    let by = |(key, down): &(&str, bool)| {
        let ordering = compare_values(one.get(*key), other.get(*key));
        if *down { ordering.reverse() } else { ordering }
    };
    order.iter().map(by).find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
}

fn compare_values(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    match (one, other) {
        (Some(Value::Number(one)), Some(Value::Number(other))) => {
            one.as_f64().partial_cmp(&other.as_f64()).unwrap_or(Ordering::Equal)
        }
        (one, other) => {
            let text = |value: Option<&Value>| value.filter(|value| !value.is_null()).map(shown).unwrap_or_default();
            text(one).cmp(&text(other))
        }
    }
}

/// True if a kind has such an attribute to filter and sort by.
fn is_shown(kind: Kind, name: &str) -> bool {
    let computed: &[&str] = if kind.is_managed() {
        &["id", "created_at", "updated_at", "provisioning_status", "operating_status", "project_id", "tenant_id"]
    } else {
        &["id", "project_id"]
    };
    computed.contains(&name)
        || kind.fields().iter().any(|field| field.kept && field.name == name)
        || matches!((kind, name), (Kind::Pool, "healthmonitor_id"))
}

fn filtered(kind: Kind, mut views: Vec<View>, parameters: &Parameters) -> Result<Vec<View>, Refusal> {
    let filters = parameters.0.iter().filter(|(name, _)| !AUXILIARY.contains(&name.as_str()));
    for (name, wanted) in filters {
        let name = match name.as_str() {
            "load_balancer_id" => "loadbalancer_id",
            "enabled" if kind.is_managed() => "admin_state_up",
            name => name,
        };
        if name == "project_id" || name == "tenant_id" {
            // Which projects are listed was decided before.
            continue;
        }
        let tags: Vec<&str> = parameters.all(name).flat_map(|value| value.split(',')).collect();
        let has = |view: &View, tag: &str| {
            view.get("tags").and_then(Value::as_array).is_some_and(|tags| tags.iter().any(|one| one == tag))
        };
        match name {
            "tags" if kind.is_managed() => views.retain(|view| tags.iter().all(|tag| has(view, tag))),
            "tags-any" if kind.is_managed() => views.retain(|view| tags.iter().any(|tag| has(view, tag))),
            "not-tags" if kind.is_managed() => views.retain(|view| !tags.iter().all(|tag| has(view, tag))),
            "not-tags-any" if kind.is_managed() => views.retain(|view| !tags.iter().any(|tag| has(view, tag))),
            "loadbalancer_id" if matches!(kind, Kind::Listener | Kind::Pool) => {
                views.retain(|view| names(view, "loadbalancers", wanted));
            }
            "listener_id" if kind == Kind::Pool => views.retain(|view| names(view, "listeners", wanted)),
            "pool_id" if kind == Kind::Monitor => views.retain(|view| names(view, "pools", wanted)),
            // The members of a path are of its pool.
            "pool_id" if kind == Kind::Member => {}
            name if is_shown(kind, name) => views.retain(|view| matches(view.get(name), wanted)),
            _ => return Err(Refusal::new(400, "One or more arguments are either duplicate or invalid")),
        }
    }
    Ok(views)
}

/// True if a list of ids has one.
fn names(view: &View, list: &str, id: &str) -> bool {
    view.get(list).and_then(Value::as_array).is_some_and(|items| items.iter().any(|item| item["id"] == id))
}

fn matches(value: Option<&Value>, wanted: &str) -> bool {
    match value {
        Some(Value::Bool(is)) => flag(&json!(wanted)) == Some(*is),
        Some(Value::Null) | None => wanted.is_empty() || wanted == "None" || wanted == "null",
        Some(value) => shown(value) == wanted,
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
