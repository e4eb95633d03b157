//! The description of the API in OpenAPI 3.1, made of the same tables that requests are read by.

use serde_json::{Map, Value, json};

use super::schema::{Field, Kind, Shape};

/// The kinds that have paths of their own.
const LISTED: &[Kind] = &[
    Kind::LoadBalancer,
    Kind::Listener,
    Kind::Pool,
    Kind::Monitor,
    Kind::Flavor,
    Kind::FlavorProfile,
    Kind::Zone,
    Kind::ZoneProfile,
];

/// The whole document.
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    for kind in LISTED {
        let path = format!("/{}", kind.path());
        paths.insert(path.clone(), json!({ "get": list(*kind), "post": create(*kind) }));
        paths.insert(format!("{path}/{{id}}"), one(*kind, &["id"]));
    }
    let members = "/pools/{pool_id}/members".to_owned();
    let mut of_pool = json!({ "get": list(Kind::Member), "post": create(Kind::Member), "put": batch() });
    of_pool["parameters"] = parameters(&["pool_id"]);
    paths.insert(members.clone(), of_pool);
    paths.insert(format!("{members}/{{id}}"), one(Kind::Member, &["pool_id", "id"]));
    for (path, what) in [
        ("/loadbalancers/{id}/status", "The tree of statuses."),
        ("/loadbalancers/{id}/stats", "What its listeners have been sent."),
        ("/listeners/{id}/stats", "What it has been sent."),
    ] {
        let answers = answers(&[(200, what), (404, "There is no such object.")]);
        paths.insert(path.to_owned(), json!({ "parameters": parameters(&["id"]), "get": { "responses": answers } }));
    }
    let answers_to_failover =
        answers(&[(202, "It is carried out anew."), (404, "There is none."), (409, "It changes.")]);
    paths.insert(
        "/loadbalancers/{id}/failover".to_owned(),
        json!({ "parameters": parameters(&["id"]), "put": { "responses": answers_to_failover } }),
    );
    paths.insert("/quotas".to_owned(), json!({ "get": list(Kind::Quota) }));
    paths.insert("/quotas/{id}".to_owned(), quota());
    others(&mut paths);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "drlb: OpenStack load balancing",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Octavia v2 and LBaaSv2, as far as direct routing goes. See docs/openstack.md.",
        },
        "servers": [{ "url": "/v2.0/lbaas" }, { "url": "/v2/lbaas" }],
        "paths": paths,
    })
}

/// The paths of what is only looked at, and of what direct routing does not do.
fn others(paths: &mut Map<String, Value>) {
    let mut look = |path: &str, names: &[&str], what: &str| {
        let mut found = json!({ "get": { "responses": answers(&[(200, what), (404, "There is no such object.")]) } });
        if !names.is_empty() {
            found["parameters"] = parameters(names);
        }
        paths.insert(path.to_owned(), found);
    };
    look("/quotas/defaults", &[], "The quota of a project that has none of its own.");
    look("/quotas/{id}/default", &["id"], "What the project's quota is unless set.");
    look("/providers", &[], "The provider.");
    look("/providers/{id}/flavor_capabilities", &["id"], "What flavors can say: nothing.");
    look("/providers/{id}/availability_zone_capabilities", &["id"], "What availability zones can say: nothing.");
    look("/l7policies", &[], "There is none.");
    let refused = answers(&[(501, "Direct routing does not look into connections.")]);
    let body = body(&json!({ "type": "object" }));
    paths["/l7policies"]["post"] = json!({ "requestBody": body, "responses": refused });
    paths.insert(
        "/l7policies/{id}/rules".to_owned(),
        json!({ "parameters": parameters(&["id"]), "post": { "requestBody": body, "responses": refused } }),
    );
}

fn parameters(names: &[&str]) -> Value {
    let parameter =
        |name: &&str| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
    Value::Array(names.iter().map(parameter).collect())
}

fn answers(statuses: &[(u16, &str)]) -> Value {
    let all = statuses.iter().map(|(status, what)| (status.to_string(), json!({ "description": what })));
    let mut all: Map<String, Value> = all.collect();
    all.insert("400".to_owned(), json!({ "description": "Something in the request is wrong." }));
    all.insert("401".to_owned(), json!({ "description": "Nobody has signed the request." }));
    all.insert("403".to_owned(), json!({ "description": "The caller may not, or its project has no more quota." }));
    Value::Object(all)
}

fn list(kind: Kind) -> Value {
    let names = ["limit", "marker", "sort", "sort_key", "sort_dir", "fields", "page_reverse", "project_id"];
    let parameter = |name: &str| json!({ "name": name, "in": "query", "schema": { "type": "string" } });
    let parameters: Vec<Value> = names.iter().map(|name| parameter(name)).collect();
    let what = format!("A page of {}.", kind.plural());
    json!({ "parameters": parameters, "responses": answers(&[(200, &what), (404, "There is no such pool.")]) })
}

fn body(schema: &Value) -> Value {
    json!({ "required": true, "content": { "application/json": { "schema": schema } } })
}

fn wrapped(kind: Kind, inner: Value) -> Value {
    json!({ "type": "object", "required": [kind.singular()], "properties": { kind.singular(): inner } })
}

const REFUSALS: &[(u16, &str)] = &[
    (404, "There is no such object."),
    (409, "It contradicts what is there, or that is being changed."),
    (501, "Direct routing cannot do this; the text says why."),
];

fn create(kind: Kind) -> Value {
    let mut all = vec![(201, "It is made, and carried out next.")];
    all.extend(REFUSALS);
    let schema = wrapped(kind, object(kind.fields(), false));
    json!({ "requestBody": body(&schema), "responses": answers(&all) })
}

fn one(kind: Kind, path: &[&str]) -> Value {
    let gone = [(204, "It is removed."), (404, "There is none."), (409, "It is in use, or changes.")];
    let mut remove = json!({ "responses": answers(&gone) });
    if kind == Kind::LoadBalancer {
        remove["parameters"] = json!([{ "name": "cascade", "in": "query", "schema": { "type": "string" } }]);
    }
    let mut changed = vec![(200, "It is changed, and carried out next.")];
    changed.extend(REFUSALS);
    let schema = wrapped(kind, object(kind.fields(), true));
    json!({
        "parameters": parameters(path),
        "get": { "responses": answers(&[(200, "The object."), (404, "There is no such object.")]) },
        "put": { "requestBody": body(&schema), "responses": answers(&changed) },
        "delete": remove,
    })
}

fn batch() -> Value {
    let mut all = vec![(202, "The members are those of the list.")];
    all.extend(REFUSALS);
    let items = json!({ "type": "array", "items": object(Kind::Member.fields(), false) });
    let schema = json!({ "type": "object", "required": ["members"], "properties": { "members": items } });
    let additive = json!([{ "name": "additive_only", "in": "query", "schema": { "type": "string" } }]);
    json!({ "parameters": additive, "requestBody": body(&schema), "responses": answers(&all) })
}

fn quota() -> Value {
    let schema = wrapped(Kind::Quota, object(Kind::Quota.fields(), true));
    json!({
        "parameters": parameters(&["id"]),
        "get": { "responses": answers(&[(200, "The project's quota.")]) },
        "put": { "requestBody": body(&schema), "responses": answers(&[(202, "It is set.")]) },
        "delete": { "responses": answers(&[(202, "It is as it is unless set.")]) },
    })
}

fn object(fields: &[Field], update: bool) -> Value {
    let fields: Vec<&Field> = fields.iter().filter(|field| !update || field.changes).collect();
    let properties: Map<String, Value> =
        fields.iter().map(|field| (field.name.to_owned(), schema(field.shape))).collect();
    let required: Vec<&str> = fields.iter().filter(|field| field.required && !update).map(|field| field.name).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties, "required": required })
}

fn schema(shape: Shape) -> Value {
    match shape {
        Shape::Text(most) => json!({ "type": ["string", "null"], "maxLength": most }),
        Shape::Number(least, most) => json!({ "type": ["integer", "null"], "minimum": least, "maximum": most }),
        Shape::From(least) => json!({ "type": ["integer", "null"], "minimum": least }),
        Shape::Flag => json!({ "type": ["boolean", "null"] }),
        Shape::Choice(words) => json!({ "type": "string", "enum": words }),
        Shape::Id => json!({ "type": ["string", "null"], "format": "uuid" }),
        Shape::Address => json!({ "type": ["string", "null"], "description": "An IPv4 or IPv6 address." }),
        Shape::Ranges => json!({ "type": ["array", "null"], "items": { "type": "string" } }),
        Shape::Texts(most) => json!({ "type": ["array", "null"], "items": { "type": "string", "maxLength": most } }),
        Shape::UrlPath => json!({ "type": ["string", "null"], "pattern": "^/" }),
        Shape::Codes => json!({ "type": ["string", "null"], "pattern": r"^(\d{3}(\s*,\s*\d{3})*)$|^(\d{3}-\d{3})$" }),
        Shape::HttpVersion => json!({ "type": ["number", "null"], "enum": [1.0, 1.1, null] }),
        Shape::Domain | Shape::Cookie => json!({ "type": ["string", "null"], "minLength": 1, "maxLength": 255 }),
        Shape::Headers => json!({ "type": ["object", "null"], "additionalProperties": { "type": "string" } }),
        Shape::Object(fields) => object(fields, false),
        Shape::Objects(fields) => json!({ "type": ["array", "null"], "items": object(fields, false) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To write it anew: `DRLB_WRITE_OPENAPI=1 cargo test -p lb-userspace openapi`.
    #[test]
    fn the_committed_document_is_what_the_tables_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openstack-api.json");
        let text = serde_json::to_string_pretty(&document()).expect("a document") + "\n";
        if std::env::var_os("DRLB_WRITE_OPENAPI").is_some() {
            std::fs::write(path, &text).expect("docs/openstack-api.json can be written");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == text, "docs/openstack-api.json is not what the tables say; write it anew as told here");
    }
}
