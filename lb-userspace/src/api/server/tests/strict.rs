//! What is refused, and in which words.

use super::*;

#[tokio::test]
async fn a_wrong_body_is_refused_with_the_place_and_reaches_nobody() {
    let served = Served::start(None);
    let listener = |extra: &str| format!(r#"{{"name": "web", "vip": "192.0.2.10", "protocol": "tcp"{extra}}}"#);
    let cases = [
        ("POST", "/v1/listeners", "{".into(), "EOF while parsing an object at line 1 column 1"),
        ("POST", "/v1/listeners", String::new(), "EOF while parsing a value at line 1 column 0"),
        ("POST", "/v1/listeners", "[]".into(), "at line 1 column"),
        ("POST", "/v1/listeners", listener(r#", "port": 80, "colour": 1"#), "unknown field `colour`, expected one of"),
        ("POST", "/v1/listeners", listener(""), "the listener `web` needs a `port` with protocol tcp"),
        ("POST", "/v1/listeners", listener(r#", "port": 65536"#), "invalid value: integer `65536`, expected u16"),
        ("POST", "/v1/listeners", listener(r#", "port": 80, "port": 81"#), "duplicate field `port`"),
        ("POST", "/v1/listeners", r#"{"name": "a b"}"#.into(), "the name `a b` contains ' '"),
        ("POST", "/v1/listeners", r#"{"name": "a", "vip": "x"}"#.into(), "VIP `x` is not an IP address"),
        ("POST", "/v1/listeners", r#"{"name": "a"}"#.into(), "missing field `vip`"),
        (
            "POST",
            "/v1/interfaces",
            r#"{"name": "eth1", "mode": "fast"}"#.into(),
            "unknown variant `fast`, expected one of",
        ),
        (
            "PATCH",
            "/v1/listeners/web",
            "{}".into(),
            "the body changes nothing; give `algorithm`, `persistence`, `allowed_cidrs`, `vip_owner`, `source_rate`, `max_flows`, `admin_up` or one of the `timeouts`",
        ),
        ("PATCH", "/v1/listeners/web", r#"{"timeouts": {}}"#.into(), "the body changes nothing"),
        (
            "PATCH",
            "/v1/listeners/web",
            r#"{"timeouts": {"tcp": 1}}"#.into(),
            "unknown field `tcp`, expected one of `handshake`",
        ),
        ("PATCH", "/v1/listeners/web", r#"{"persistence": {}}"#.into(), "missing field `timeout`"),
        ("PATCH", "/v1/listeners/web", r#"{"algorithm": "fair"}"#.into(), "unknown variant `fair`, expected one of"),
        ("POST", "/v1/listeners/web/backends/192.0.2.21/drain", r#"{"deadlin": 1}"#.into(), "unknown field `deadlin`"),
        ("POST", "/v1/listeners/web/backends/192.0.2.21/drain", r#"{"deadline": "5m"}"#.into(), "invalid type: string"),
        ("PATCH", "/v1/listeners/web", r#"{"port": 1}"#.into(), "unknown field `port`, expected one of `algorithm`"),
        (
            "PATCH",
            "/v1/listeners/web/backends/192.0.2.21",
            "{}".into(),
            "give `weight`, `admin_up`, `backup`, `monitor_address`",
        ),
        ("PATCH", "/v1/listeners/web/health", r#"{"dealy_ms": 1}"#.into(), "unknown field `dealy_ms`"),
        ("PATCH", "/v1/listeners/web/health", r#"{"expect": "2xx"}"#.into(), "`2xx` are no status codes"),
        ("PATCH", "/v1/listeners/web/backends/192.0.2.21", r#"{"weight": -1}"#.into(), "integer `-1`, expected u16"),
        ("PATCH", "/v1/listeners/web/backends/here", r#"{"weight": 1}"#.into(), "backend `here` is not an IP address"),
        ("POST", "/v1/listeners/web/backends", r#"{"address": "::"}"#.into(), "is the unspecified address"),
    ];
    for (method, path, body, expected) in cases {
        let (status, kind, message) = served.refusal(method, path, &body).await;
        assert_eq!((status, kind.as_str()), (400, "invalid"), "{method} {path} {body}: {message}");
        assert!(message.contains(expected), "{method} {path} {body}: {message}");
    }
    let (status, kind, message) = served.refusal("GET", "/v1/listeners/%ff", "").await;
    assert_eq!((status, kind.as_str()), (400, "invalid"));
    assert!(message.starts_with("the path /v1/listeners/%ff is refused: "), "{message}");
    assert!(served.balancer.commands.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn a_parameter_that_is_not_known_is_refused_by_its_name() {
    let served = Served::start(None);
    for (method, path, expected) in [
        ("GET", "/v1/status?pretty=1", "/v1/status does not know the parameter `pretty`; it takes none"),
        ("GET", "/v1/listeners/web?a&b", "/v1/listeners/web does not know the parameter `a`; it takes none"),
        (
            "DELETE",
            "/v1/listeners/web?%66orce=1",
            "/v1/listeners/web does not know the parameter `force`; it takes none",
        ),
        (
            "GET",
            "/v1/flows?listner=web",
            "the parameters of /v1/flows are refused: listner: unknown field `listner`, expected `listener` or `limit`",
        ),
        ("GET", "/v1/flows?limit=1&limit=2", "the parameters of /v1/flows are refused: duplicate field `limit`"),
        ("GET", "/v1/flows?limit=0", "`limit` cannot be 0; give 1 to 10000"),
        ("GET", "/v1/flows?limit=10001", "`limit` cannot be 10001; give 1 to 10000"),
        ("GET", "/v1/flows?limit=-1", "the parameters of /v1/flows are refused: limit: invalid digit found in string"),
        (
            "GET",
            "/v1/flows?listener=a/b",
            "the parameters of /v1/flows are refused: listener: the name `a/b` contains '/'",
        ),
    ] {
        let (status, kind, message) = served.refusal(method, path, "").await;
        assert_eq!((status, kind.as_str()), (400, "invalid"), "{path}: {message}");
        assert!(message.starts_with(expected), "{path}: {message}");
    }
    assert!(served.balancer.commands.lock().expect("no panic").is_empty());
    let (status, ..) = served.raw("GET", "/v1/status?", "").await;
    assert_eq!(status, 200, "an empty query has no parameter");
    let (status, ..) = served.refusal("GET", "/v1/nothing?a=1", "").await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn what_is_not_there_is_404_and_a_wrong_method_405() {
    let served = Served::start(None);
    for path in ["/", "/v1", "/v1/status/", "/v2/status", "/v1/listeners/web/backends/192.0.2.21/x"] {
        let (status, kind, message) = served.refusal("GET", path, "").await;
        assert_eq!((status, kind.as_str()), (404, "not-found"), "{path}: {message}");
        assert!(message.contains(path), "{message}");
    }
    for path in ["/v1/listeners/none", "/v1/listeners/none/backends", "/v1/interfaces/eth9"] {
        let (status, kind, _) = served.refusal("GET", path, "").await;
        assert_eq!((status, kind.as_str()), (404, "not-found"), "{path}");
    }
    for (method, path) in [("PUT", "/v1/listeners"), ("DELETE", "/v1/status"), ("POST", "/v1/listeners/web")] {
        let (status, headers, text) = served.raw(method, path, "{}").await;
        assert_eq!(status, 405, "{method} {path}: {text}");
        assert!(headers.contains_key("allow"), "{method} {path}: {headers:?}");
        assert!(text.contains(&format!("{path} does not take {method}")), "{text}");
    }
}

#[tokio::test]
async fn a_body_without_end_is_not_read() {
    let served = Served::start(None);
    let (status, kind, message) = served.refusal("POST", "/v1/listeners", &" ".repeat(LONGEST_BODY + 1)).await;
    assert_eq!((status, kind.as_str()), (413, "invalid"));
    assert_eq!(message, "the request's body is too long; 4194304 bytes are read");
}
