use serde_json::json;

use super::*;

#[test]
fn numbers_and_truths_come_as_texts_too() {
    let body = json!({ "listener": {
        "loadbalancer_id": "6a0a707c45ef4758b533e55adddba8ce", "protocol": "TCP", "protocol_port": "80",
        "admin_state_up": "no", "connection_limit": "-1", "tags": ["b", "a", "b"],
    } });
    let read = created(Kind::Listener, Some(&body)).expect("a listener");
    assert_eq!((&read["protocol_port"], &read["admin_state_up"]), (&json!(80), &json!(false)));
    assert_eq!(read["loadbalancer_id"], "6a0a707c-45ef-4758-b533-e55adddba8ce");
    assert_eq!(read["tags"], json!(["b", "a"]), "each once");
}

#[test]
fn an_update_reads_what_is_named_and_null_resets() {
    let body = json!({ "listener": { "timeout_client_data": null, "name": null, "admin_state_up": null } });
    let read = updated(Kind::Listener, Some(&body)).expect("an update");
    let wanted = json!({ "timeout_client_data": 50_000, "name": "", "admin_state_up": false });
    assert_eq!(Value::Object(read), wanted);
    let fixed = updated(Kind::Listener, Some(&json!({ "listener": { "protocol": "UDP" } })));
    assert_eq!(fixed.expect_err("fixed").text, "Unknown attribute for argument listener_.listener: protocol");
}

#[test]
fn ranges_lose_the_bits_behind_their_prefix() {
    for (given, kept) in [
        ("10.1.2.3/8", Some("10.0.0.0/8")),
        ("10.1.2.3", Some("10.1.2.3/32")),
        ("0.0.0.0/0", Some("0.0.0.0/0")),
        ("2001:db8::1/32", Some("2001:db8::/32")),
        ("10.0.0.0/33", None),
        ("10.0.0.0/+8", None),
        ("x/8", None),
    ] {
        assert_eq!(range(given).as_deref(), kept, "{given}");
    }
}

#[test]
fn codes_paths_and_names_are_what_they_must_be() {
    for (codes, right) in
        [("200", true), ("200, 201", true), ("200-204", true), ("20", false), ("200-", false), ("", false)]
    {
        assert_eq!(are_codes(codes), right, "{codes}");
    }
    for (name, right) in [("a.example", true), ("-a.example", false), ("a..b", false), ("", false)] {
        assert_eq!(is_domain(name), right, "{name}");
    }
}

#[test]
fn a_body_without_its_key_is_refused() {
    for body in [None, Some(json!({})), Some(json!([])), Some(json!({ "listener": 5 }))] {
        let refusal = created(Kind::Listener, body.as_ref()).expect_err("no listener");
        assert_eq!(refusal.status, 400);
    }
}
