use serde_json::json;

use super::*;

fn views() -> Vec<View> {
    let view = |id: &str, name: &str, created: &str, tags: Value| {
        let view = json!({
            "id": id, "name": name, "created_at": created, "tags": tags, "admin_state_up": true, "vip_address": null,
        });
        view.as_object().cloned().expect("an object")
    };
    vec![
        view("c", "one", "2026-01-01T00:00:00", json!(["red"])),
        view("a", "two", "2026-01-02T00:00:00", json!(["red", "blue"])),
        view("b", "one", "2026-01-02T00:00:00", json!([])),
    ]
}

fn ids(query: &str) -> Vec<String> {
    let body = page(Kind::LoadBalancer, views(), &parameters(query), "http://lb/x").expect(query);
    let ids = body["loadbalancers"].as_array().expect("a list").iter();
    ids.map(|view| view["id"].as_str().unwrap_or_default().to_owned()).collect()
}

fn parameters(query: &str) -> Parameters {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').expect("a pair"));
    Parameters(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

#[test]
fn lists_are_filtered_sorted_and_cut() {
    for (query, wanted) in [
        ("", vec!["c", "a", "b"]),
        ("sort=name:desc", vec!["a", "c", "b"]),
        ("sort_key=name,id&sort_dir=asc,desc", vec!["c", "b", "a"]),
        ("name=one", vec!["c", "b"]),
        ("admin_state_up=yes&id=a", vec!["a"]),
        ("enabled=False", vec![]),
        ("tags=red", vec!["c", "a"]),
        ("tags=red,blue", vec!["a"]),
        ("tags=red&tags=blue", vec!["a"]),
        ("tags-any=blue,green", vec!["a"]),
        ("not-tags=red", vec!["b"]),
        ("not-tags=red,blue", vec!["c", "b"]),
        ("not-tags-any=red,blue", vec!["b"]),
        ("limit=2", vec!["c", "a"]),
        ("limit=2&marker=c", vec!["a", "b"]),
        ("limit=1&marker=b&page_reverse=True", vec!["a"]),
        ("limit=0", vec!["c", "a", "b"]),
    ] {
        assert_eq!(ids(query), wanted, "{query}");
    }
}

#[test]
fn pages_lead_to_each_other() {
    let body =
        page(Kind::LoadBalancer, views(), &parameters("limit=1&marker=c&tags=red"), "http://lb/x").expect("a page");
    assert_eq!(
        body["loadbalancers_links"],
        json!([
            { "rel": "previous", "href": "http://lb/x?limit=1&tags=red&marker=a&page_reverse=True" },
            { "rel": "next", "href": "http://lb/x?limit=1&tags=red&marker=a" },
        ])
    );
    let body = page(Kind::LoadBalancer, views(), &parameters(""), "http://lb/x").expect("a page");
    assert_eq!(body["loadbalancers_links"], json!([]));
}

#[test]
fn only_the_fields_that_are_asked_for_are_shown() {
    let body = page(Kind::LoadBalancer, views(), &parameters("fields=id&fields=name&id=a"), "").expect("a page");
    assert_eq!(body["loadbalancers"], json!([{ "id": "a", "name": "two" }]));
}

#[test]
fn wrong_parameters_are_refused() {
    for (query, text) in [
        ("nonsense=1", "One or more arguments are either duplicate or invalid"),
        ("sort=nonsense", "Supplied sort key 'nonsense' is not valid."),
        ("sort=name:up", "Supplied sort direction 'up' is not valid."),
        ("marker=x", "Supplied pagination marker 'x' is not valid."),
        ("limit=x", "Supplied pagination limit 'x' is not valid."),
    ] {
        let refusal = page(Kind::LoadBalancer, views(), &parameters(query), "").expect_err(query);
        assert_eq!((refusal.status, refusal.text.as_str()), (400, text));
    }
}
